//! The superblock (`struct ext2_super_block`), and the one place that says which features an image has.

use super::checksum::Sum;
use super::geometry::Geometry;
use super::htree::{FLAG_SIGNED_HASH, HASH_HALF_MD4};
use super::inode::{EXTRA_SIZE, FIRST_INO, INODE_SIZE, JOURNAL_INO, POINTER_BYTES, put16, put32};
use super::version::Version;

/// Bytes of a superblock.
pub(super) const SUPERBLOCK_SIZE: usize = 1024;
/// Where the first superblock lies, whatever the block size.
pub(super) const SUPERBLOCK_AT: u64 = 1024;

/// Feature words: what a reader may ignore, must know, and must know to write.
#[derive(Clone, Copy, Debug)]
struct Features {
    compat: u32,
    incompat: u32,
    ro_compat: u32,
}

/// `has_journal`, in `compat`.
const HAS_JOURNAL: u32 = 0x0004;
/// `resize_inode`, in `compat`.
const RESIZE_INODE: u32 = 0x0010;

/// What makes an ext2 of today: `ext_attr resize_inode dir_index`, `filetype`, `sparse_super large_file`.
const EXT2: Features =
    Features { compat: 0x0008 | RESIZE_INODE | 0x0020, incompat: 0x0002, ro_compat: 0x0001 | 0x0002 };
/// ext3: `has_journal` too.
const EXT3: Features = Features { compat: EXT2.compat | HAS_JOURNAL, ..EXT2 };
/// ext4: `extent 64bit flex_bg`, `huge_file dir_nlink extra_isize metadata_csum` too.
const EXT4: Features = Features {
    incompat: EXT3.incompat | 0x0040 | 0x0080 | 0x0200,
    ro_compat: EXT3.ro_compat | 0x0008 | 0x0020 | 0x0040 | 0x0400,
    ..EXT3
};

impl Features {
    fn of(geometry: &Geometry) -> Self {
        let mut features = match geometry.version {
            Version::Ext2 => EXT2,
            Version::Ext3 => EXT3,
            Version::Ext4 => EXT4,
        };
        if !geometry.has_resize_inode() {
            features.compat &= !RESIZE_INODE;
        }
        features
    }
}

/// What a superblock says beside its geometry.
#[derive(Clone, Debug)]
pub(super) struct Superblock<'a> {
    pub geometry: &'a Geometry,
    pub reserved_blocks: u64,
    pub free_blocks: u64,
    pub free_inodes: u32,
    /// 0 without a journal.
    pub journal_blocks: u32,
    /// `i_block` of the journal's inode.
    pub journal_pointers: &'a [u8; POINTER_BYTES],
    pub label: &'a [u8],
    pub uuid: &'a [u8; 16],
    pub hash_seed: &'a [u8; 16],
    /// Time of creation, of the last write and of the last check, in seconds.
    pub time: i64,
}

impl Superblock<'_> {
    /// Writes a group's copy into zeroed bytes.
    pub fn encode(&self, group: u32, out: &mut [u8]) {
        let geometry = self.geometry;
        let size = geometry.block_size.bytes();
        put32(out, 0, geometry.inodes());
        for (value, low, high) in
            [(geometry.blocks, 4, 336), (self.reserved_blocks, 8, 340), (self.free_blocks, 12, 344)]
        {
            put32(out, low, value as u32);
            put32(out, high, (value >> 32) as u32);
        }
        put32(out, 16, self.free_inodes);
        put32(out, 20, geometry.first_data_block);
        put32(out, 24, size.ilog2() - 10);
        put32(out, 28, size.ilog2() - 10);
        put32(out, 32, geometry.blocks_per_group);
        put32(out, 36, geometry.blocks_per_group);
        put32(out, 40, geometry.inodes_per_group);
        put16(out, 54, u16::MAX); // s_max_mnt_count: never check for the number of mounts
        put16(out, 56, 0xef53);
        put16(out, 58, 1); // s_state: clean
        put16(out, 60, 1); // s_errors: continue
        put32(out, 76, 1); // s_rev_level
        put32(out, 84, FIRST_INO);
        put16(out, 88, INODE_SIZE as u16);
        put16(out, 90, group as u16);
        let features = Features::of(geometry);
        put32(out, 92, features.compat);
        put32(out, 96, features.incompat);
        put32(out, 100, features.ro_compat);
        out[104..120].copy_from_slice(self.uuid);
        out[120..120 + self.label.len()].copy_from_slice(self.label);
        put16(out, 206, geometry.reserved_descriptor_blocks as u16);
        out[236..252].copy_from_slice(self.hash_seed);
        out[252] = HASH_HALF_MD4;
        put32(out, 256, 0x0004 | 0x0008); // s_default_mount_opts: user_xattr, acl
        if geometry.version.has_journal() {
            put32(out, 224, JOURNAL_INO);
            out[253] = 1; // s_jnl_backup_type: s_jnl_blocks holds i_block, i_size_high and i_size of the journal
            out[268..268 + POINTER_BYTES].copy_from_slice(self.journal_pointers);
            let journal_bytes = u64::from(self.journal_blocks) * u64::from(size);
            put32(out, 328, (journal_bytes >> 32) as u32);
            put32(out, 332, journal_bytes as u32);
        }
        put16(out, 348, EXTRA_SIZE);
        put16(out, 350, EXTRA_SIZE);
        put32(out, 352, FLAG_SIGNED_HASH);
        put32(out, 584, self.overhead_blocks());
        let time = self.time.clamp(0, (1 << 40) - 1) as u64;
        for (low, high) in [(48, 0x274), (264, 0x276), (64, 0x277)] {
            put32(out, low, time as u32);
            out[high] = (time >> 32) as u8;
        }
        if geometry.version.descriptor_size() > 32 {
            put16(out, 254, geometry.version.descriptor_size() as u16);
        }
        if geometry.version.groups_per_flex() > 1 {
            out[372] = geometry.version.groups_per_flex().ilog2() as u8;
        }
        if geometry.version.has_checksums() {
            out[373] = 1; // s_checksum_type: crc32c
            let sum = Sum::START.then(&out[..SUPERBLOCK_SIZE - 4]);
            put32(out, SUPERBLOCK_SIZE - 4, sum.0);
        }
    }

    /// Returns what `statfs` leaves out: groups' tables and the journal's content (`s_overhead_clusters`).
    fn overhead_blocks(&self) -> u32 {
        (u64::from(self.geometry.first_data_block) + self.geometry.tables_total()) as u32 + self.journal_blocks
    }
}
