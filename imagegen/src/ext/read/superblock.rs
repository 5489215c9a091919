//! The superblock, as far as reading needs it, and where group descriptors are.

use crate::little_endian::{u16_at, u32_at};
use crate::tree::Source;
use crate::volume::{Result, VolumeError, corrupt, read_exact, show};

use super::super::superblock::{SUPERBLOCK_AT, SUPERBLOCK_SIZE};

/// Names of the features of a word, by bit, as mke2fs and dumpe2fs call them.
type Names = &'static [(u32, &'static str)];

const COMPAT: Names = &[
    (0x0001, "dir_prealloc"),
    (0x0002, "imagic_inodes"),
    (0x0004, "has_journal"),
    (0x0008, "ext_attr"),
    (0x0010, "resize_inode"),
    (0x0020, "dir_index"),
    (0x0200, "sparse_super2"),
    (0x0400, "fast_commit"),
    (0x0800, "stable_inodes"),
    (0x1000, "orphan_file"),
];
const INCOMPAT: Names = &[
    (0x0002, "filetype"),
    (0x0004, "needs_recovery"),
    (META_BG, "meta_bg"),
    (0x0040, "extent"),
    (WIDE, "64bit"),
    (0x0100, "mmp"),
    (0x0200, "flex_bg"),
    (EA_INODE, "ea_inode"),
    (0x2000, "metadata_csum_seed"),
    (LARGE_DIRECTORIES, "large_dir"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];
const RO_COMPAT: Names = &[
    (SPARSE_SUPER, "sparse_super"),
    (0x0002, "large_file"),
    (HUGE_FILE, "huge_file"),
    (0x0010, "uninit_bg"),
    (0x0020, "dir_nlink"),
    (0x0040, "extra_isize"),
    (0x0100, "quota"),
    (BIGALLOC, "bigalloc"),
    (0x0400, "metadata_csum"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];

const FILETYPE: u32 = 0x0002;
const META_BG: u32 = 0x0010;
const WIDE: u32 = 0x0080;
const EA_INODE: u32 = 0x0400;
const LARGE_DIRECTORIES: u32 = 0x4000;
const SPARSE_SUPER: u32 = 0x0001;
const HUGE_FILE: u32 = 0x0008;
const BIGALLOC: u32 = 0x0200;
const SPARSE_SUPER2: u32 = 0x0200;

/// What the superblock says. Numbers are checked so far that no arithmetic on them overflows.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub block_bytes: u64,
    pub cluster_bytes: u64,
    pub blocks: u64,
    pub first_data_block: u64,
    pub inodes: u32,
    pub inodes_per_group: u32,
    pub inode_bytes: u16,
    pub descriptor_bytes: u64,
    pub label: String,
    blocks_per_group: u64,
    first_meta_group: u64,
    /// The groups with backups of `sparse_super2`.
    backups: [u64; 2],
    features: [u32; 3],
    /// As it stands.
    raw: Vec<u8>,
}

impl Superblock {
    pub fn read(device: &dyn Source) -> Result<Self> {
        let place = || "the superblock".to_string();
        let mut raw = vec![0; SUPERBLOCK_SIZE];
        read_exact(device, SUPERBLOCK_AT, &mut raw, place)?;
        let wrong = |reason: String| corrupt(place(), reason);
        if u16_at(&raw, 56) != 0xef53 {
            return wrong("is not there".into());
        }
        let dynamic = u32_at(&raw, 76) > 0;
        let features = if dynamic { [92, 96, 100].map(|at| u32_at(&raw, at)) } else { [0; 3] };
        let known = INCOMPAT.iter().fold(0, |known, (bit, _)| known | bit);
        if features[1] & !known != 0 {
            let message =
                format!("an ext file system with features that are unknown here: {:#x}", features[1] & !known);
            return Err(VolumeError::Unsupported(message.into()));
        }
        let (log_block, log_cluster) = (u32_at(&raw, 24), u32_at(&raw, 28));
        if log_block > 6 {
            return wrong(format!("speaks of blocks of 2^{log_block} KiB"));
        }
        let block_bytes = 1024 << log_block;
        let bigalloc = features[2] & BIGALLOC != 0;
        if bigalloc && !(log_block..=20).contains(&log_cluster) {
            return wrong(format!("speaks of clusters of 2^{log_cluster} KiB"));
        }
        let cluster_bytes = if bigalloc { 1024 << log_cluster } else { block_bytes };
        let inode_bytes = if dynamic { u16_at(&raw, 88) } else { 128 };
        if !inode_bytes.is_power_of_two() || !(128..=block_bytes).contains(&u64::from(inode_bytes)) {
            return wrong(format!("speaks of inodes of {inode_bytes} bytes"));
        }
        let is_wide = features[1] & WIDE != 0;
        let descriptor_bytes = if is_wide { u64::from(u16_at(&raw, 254)) } else { 32 };
        if !(32..=block_bytes).contains(&descriptor_bytes) || !descriptor_bytes.is_power_of_two() {
            return wrong(format!("speaks of group descriptors of {descriptor_bytes} bytes"));
        }
        let blocks = u64::from(u32_at(&raw, 4)) | if is_wide { u64::from(u32_at(&raw, 336)) << 32 } else { 0 };
        let first_data_block = u64::from(u32_at(&raw, 20));
        let (blocks_per_group, inodes_per_group) = (u64::from(u32_at(&raw, 32)), u32_at(&raw, 40));
        if blocks_per_group == 0 || inodes_per_group == 0 {
            return wrong("speaks of groups of nothing".into());
        }
        // A block's place in bytes then fits any file offset.
        if blocks <= first_data_block || first_data_block > 1 || blocks > (i64::MAX as u64) / block_bytes {
            return wrong(format!("speaks of {blocks} blocks from {first_data_block} on"));
        }
        let (inodes, groups) = (u32_at(&raw, 0), (blocks - first_data_block).div_ceil(blocks_per_group));
        if u64::from(inodes) > groups.saturating_mul(inodes_per_group.into()) {
            return wrong(format!("speaks of {inodes} inodes in {groups} groups of {inodes_per_group}"));
        }
        let label = raw[120..136].split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(Superblock {
            block_bytes,
            cluster_bytes,
            blocks,
            first_data_block,
            inodes,
            inodes_per_group,
            inode_bytes,
            descriptor_bytes,
            label: show(label),
            blocks_per_group,
            first_meta_group: if features[1] & META_BG != 0 { u32_at(&raw, 260).into() } else { u64::MAX },
            backups: [588, 592].map(|at| u32_at(&raw, at).into()),
            features,
            raw,
        })
    }

    /// Returns what it would be called to `mount`.
    pub fn version(&self) -> &'static str {
        // What ext3 does not know: beyond `filetype needs_recovery meta_bg`, and beyond `sparse_super large_file`.
        let [compat, incompat, ro_compat] = self.features;
        match (incompat & !0x16 != 0 || ro_compat & !0x7 != 0, compat & 0x4 != 0) {
            (true, _) => "ext4",
            (false, true) => "ext3",
            (false, false) => "ext2",
        }
    }

    pub fn has_file_types(&self) -> bool {
        self.features[1] & FILETYPE != 0
    }

    pub fn has_large_directories(&self) -> bool {
        self.features[1] & LARGE_DIRECTORIES != 0
    }

    pub fn has_huge_files(&self) -> bool {
        self.features[2] & HUGE_FILE != 0
    }

    pub fn has_value_inodes(&self) -> bool {
        self.features[1] & EA_INODE != 0
    }

    /// Returns where a group's descriptor is, in bytes. The group is one of those that there are.
    pub fn descriptor_at(&self, group: u64) -> u64 {
        let per_block = self.block_bytes / self.descriptor_bytes;
        let (number, within) = (group / per_block, group % per_block * self.descriptor_bytes);
        let block = if number < self.first_meta_group {
            // Behind the superblock: with `bigalloc`, even blocks of 1 KiB are counted from 0.
            SUPERBLOCK_AT / self.block_bytes + 1 + number
        } else {
            // With `meta_bg` it lies in the first of the groups that it describes.
            let first = number * per_block;
            let start = self.first_data_block + first * self.blocks_per_group;
            start + u64::from(self.has_superblock(first))
        };
        block.saturating_mul(self.block_bytes).saturating_add(within)
    }

    fn has_superblock(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            std::iter::successors(Some(base), |n| n.checked_mul(base)).take_while(|&n| n <= group).any(|n| n == group)
        };
        if self.features[0] & SPARSE_SUPER2 != 0 {
            return group == 0 || self.backups.contains(&group);
        }
        self.features[2] & SPARSE_SUPER == 0 || group <= 1 || [3, 5, 7].into_iter().any(power_of)
    }

    /// Returns what is worth comparing of it.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let raw = &self.raw;
        let hex = |range: std::ops::Range<usize>| {
            crate::disk::Guid(raw[range].try_into().expect("sixteen bytes")).to_string()
        };
        let free = wide(raw, 12, 344);
        let words = [COMPAT, INCOMPAT, RO_COMPAT];
        let names = words.iter().zip(self.features).flat_map(|(names, word)| {
            let known = names.iter().fold(0, |known, (bit, _)| known | bit);
            let rest = (word & !known != 0).then(|| format!("{:#x}", word & !known));
            names.iter().filter(move |(bit, _)| word & bit != 0).map(|(_, name)| name.to_string()).chain(rest)
        });
        let features = names.collect::<Vec<_>>().join(" ");
        let options = raw[512..576].split(|&byte| byte == 0).next().unwrap_or_default();
        vec![
            ("format", self.version().into()),
            ("label", self.label.clone()),
            ("uuid", hex(104..120)),
            ("hash-seed", hex(236..252)),
            ("features", features),
            ("block-bytes", self.block_bytes.to_string()),
            ("blocks", self.blocks.to_string()),
            ("free-blocks", free.to_string()),
            ("reserved-blocks", wide(raw, 8, 340).to_string()),
            ("blocks-per-group", self.blocks_per_group.to_string()),
            ("inodes", self.inodes.to_string()),
            ("free-inodes", u32_at(raw, 16).to_string()),
            ("inode-bytes", self.inode_bytes.to_string()),
            ("state", u16_at(raw, 58).to_string()),
            ("mounts", u16_at(raw, 52).to_string()),
            ("made", u32_at(raw, 264).to_string()),
            ("mounted", u32_at(raw, 44).to_string()),
            ("written", u32_at(raw, 48).to_string()),
            ("checked", u32_at(raw, 64).to_string()),
            ("mount-options", format!("{:#x} {}", u32_at(raw, 256), show(options)).trim_end().into()),
        ]
    }
}

/// Reads a number whose upper half stands elsewhere, where the structure reaches that far.
pub(super) fn wide(bytes: &[u8], low: usize, high: usize) -> u64 {
    let upper = if bytes.len() >= high + 4 { u32_at(bytes, high) } else { 0 };
    u64::from(upper) << 32 | u64::from(u32_at(bytes, low))
}
