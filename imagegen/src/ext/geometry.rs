//! Sizes and counts of a file system: block groups by arithmetic.
//!
//! Knows no tree and no places: [`Geometry`] is a pure function of version, block size, block count and inode count.

use super::BlockSize;
use super::inode::INODE_SIZE;
use super::version::Version;

/// A last group with less room than this beside its tables is left out, as mke2fs does.
const LAST_GROUP_MIN: u32 = 50;
/// The smallest group mke2fs makes.
const BLOCKS_PER_GROUP_MIN: u32 = 256;
/// The reserved descriptors let an image grow by this factor, as mke2fs has it.
const GROWTH: u64 = 1024;
/// Blocks that the resize inode, having no extents, can point to.
const RESIZE_BLOCKS_MAX: u64 = u32::MAX as u64;

/// Sizes and counts of a file system; all else follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub version: Version,
    pub block_size: BlockSize,
    /// `s_first_data_block`: 1 where the boot block needs a block of its own.
    pub first_data_block: u32,
    pub blocks: u64,
    pub blocks_per_group: u32,
    pub inodes_per_group: u32,
    pub groups: u32,
    pub descriptor_blocks: u32,
    pub reserved_descriptor_blocks: u32,
}

impl Geometry {
    /// Returns the geometry of at most `blocks` blocks with at least `inodes` inodes, if there is one.
    ///
    /// Groups are as large as one bitmap block allows, unless their inode bitmaps would then be too few: many small
    /// files in a small image make the groups smaller, as `mke2fs -N` does.
    pub fn new(version: Version, block_size: BlockSize, mut blocks: u64, inodes: u64) -> Option<Self> {
        let size = u64::from(block_size.bytes());
        let first = u64::from(block_size == BlockSize::KiB1);
        let bits = size * 8;
        blocks = blocks.min(version.blocks_max());
        loop {
            let span = blocks.checked_sub(first)?;
            let groups_for_inodes = inodes.div_ceil(bits).max(1);
            let per_group =
                if span.div_ceil(bits) < groups_for_inodes { (span / groups_for_inodes) & !7 } else { bits };
            if per_group < u64::from(BLOCKS_PER_GROUP_MIN) {
                return None;
            }
            let groups = span.div_ceil(per_group);
            let inodes_per_group = inodes.div_ceil(groups).max(1).next_multiple_of((size / INODE_SIZE as u64).max(8));
            if inodes_per_group > bits || inodes_per_group * groups > u64::from(u32::MAX) {
                return None;
            }
            let descriptor_size = u64::from(version.descriptor_size());
            let descriptor_blocks = (groups * descriptor_size).div_ceil(size);
            if descriptor_blocks >= per_group {
                return None;
            }
            let geometry = Geometry {
                version,
                block_size,
                first_data_block: first as u32,
                blocks,
                blocks_per_group: per_group as u32,
                inodes_per_group: inodes_per_group as u32,
                groups: groups as u32,
                descriptor_blocks: descriptor_blocks as u32,
                reserved_descriptor_blocks: reserved_descriptors(
                    size / descriptor_size,
                    size / 4,
                    blocks,
                    (blocks * GROWTH).min(RESIZE_BLOCKS_MAX).saturating_sub(first).div_ceil(per_group),
                    descriptor_blocks,
                ),
            };
            if u64::from(geometry.tables(0)) >= per_group {
                return None;
            }
            let last = geometry.groups - 1;
            if geometry.group_blocks(last) >= geometry.tables(last) + if last > 0 { LAST_GROUP_MIN } else { 0 } {
                return Some(geometry);
            }
            if last == 0 {
                return None;
            }
            blocks = first + u64::from(last) * per_group;
        }
    }

    /// Returns the number of inodes.
    pub fn inodes(&self) -> u32 {
        self.inodes_per_group * self.groups
    }

    /// Returns the blocks of one group's inode table.
    pub fn inode_table_blocks(&self) -> u32 {
        (self.inodes_per_group * INODE_SIZE as u32).div_ceil(self.block_size.bytes())
    }

    /// Says whether there is a resize inode: only where its pointers reach every block.
    pub fn has_resize_inode(&self) -> bool {
        self.blocks <= RESIZE_BLOCKS_MAX
    }

    /// Returns the first block of a group.
    pub fn group_start(&self, group: u32) -> u64 {
        u64::from(self.first_data_block) + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Returns the number of blocks in a group; only the last can be shorter.
    pub fn group_blocks(&self, group: u32) -> u32 {
        (self.blocks - self.group_start(group)).min(u64::from(self.blocks_per_group)) as u32
    }

    /// Returns the group a block lies in.
    pub fn group_of(&self, block: u64) -> u32 {
        ((block - u64::from(self.first_data_block)) / u64::from(self.blocks_per_group)) as u32
    }

    /// Returns the blocks before a group's bitmaps: superblock, descriptors and room for more of them, or none.
    pub fn head(&self, group: u32) -> u32 {
        if has_superblock(group) { 1 + self.descriptor_blocks + self.reserved_descriptor_blocks } else { 0 }
    }

    /// Returns the blocks a group uses for itself, wherever they lie.
    pub fn tables(&self, group: u32) -> u32 {
        self.head(group) + 2 + self.inode_table_blocks()
    }

    /// Returns the blocks all groups use for themselves.
    pub fn tables_total(&self) -> u64 {
        let copies = superblock_groups(self.groups).count() as u64;
        copies * u64::from(self.head(0)) + u64::from(self.groups) * u64::from(2 + self.inode_table_blocks())
    }

    /// Returns the number of slots: blocks for content of every kind.
    pub fn slots(&self) -> u64 {
        self.blocks - u64::from(self.first_data_block) - self.tables_total()
    }
}

/// Returns `s_reserved_gdt_blocks` as mke2fs would: for growing to so many groups, but one pointer to each must fit
/// into a block, and there must be a resize inode to have them.
fn reserved_descriptors(per_block: u64, pointers: u64, blocks: u64, groups: u64, descriptor_blocks: u64) -> u32 {
    if blocks > RESIZE_BLOCKS_MAX {
        return 0;
    }
    groups.div_ceil(per_block).saturating_sub(descriptor_blocks).min(pointers) as u32
}

/// Says whether a group holds a superblock and descriptors (`sparse_super`).
pub(super) fn has_superblock(group: u32) -> bool {
    let power_of = |base: u64| {
        let mut power = base;
        while power < u64::from(group) {
            power *= base;
        }
        power == u64::from(group)
    };
    group <= 1 || power_of(3) || power_of(5) || power_of(7)
}

/// Returns the groups that hold a superblock, ascending.
pub(super) fn superblock_groups(groups: u32) -> impl Iterator<Item = u32> {
    let mut powers = vec![0, 1];
    for base in [3_u32, 5, 7] {
        powers.extend(std::iter::successors(Some(base), move |power| power.checked_mul(base)));
    }
    powers.sort_unstable();
    powers.into_iter().take_while(move |&group| group < groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_sit_where_sparse_super_says() {
        let listed: Vec<u32> = superblock_groups(400).collect();
        assert_eq!(listed, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343]);
        assert_eq!((0..400).filter(|&group| has_superblock(group)).collect::<Vec<_>>(), listed);
        assert!(!has_superblock(u32::MAX));
    }

    /// Block counts and what mke2fs 1.47.0 made of them with `-t ext3 -N 4096`.
    #[test]
    fn geometry_is_that_of_mke2fs() {
        for (size, blocks, inodes_per_group, reserved) in [
            (BlockSize::KiB1, 9_000, 2_048, 35),
            (BlockSize::KiB1, 32_764, 1_024, 127),
            (BlockSize::KiB1, 262_144, 128, 256),
            (BlockSize::KiB2, 32_768, 2_048, 31),
            (BlockSize::KiB2, 524_288, 128, 511),
            (BlockSize::KiB4, 9_000, 4_096, 2),
            (BlockSize::KiB4, 32_768, 4_096, 7),
            (BlockSize::KiB4, 524_288, 256, 127),
            (BlockSize::KiB4, 4_194_304, 32, 1_023),
            (BlockSize::KiB4, 33_554_432, 16, 1_016),
        ] {
            let geometry = Geometry::new(Version::Ext3, size, blocks, 4_096).unwrap();
            let made = (geometry.blocks, geometry.inodes_per_group, geometry.reserved_descriptor_blocks);
            assert_eq!(made, (blocks, inodes_per_group, reserved), "{size:?}");
        }
    }

    #[test]
    fn a_last_group_without_room_is_left_out() {
        let full = Geometry::new(Version::Ext3, BlockSize::KiB4, 2 * 32_768, 4_096).unwrap();
        let more = Geometry::new(Version::Ext3, BlockSize::KiB4, 2 * 32_768 + 100, 4_096).unwrap();
        assert_eq!(full, more);
        let enough = u64::from(2 * 32_768 + full.tables(2) + LAST_GROUP_MIN);
        assert_eq!(Geometry::new(Version::Ext3, BlockSize::KiB4, enough, 4_096).unwrap().groups, 3);
        assert_eq!(Geometry::new(Version::Ext3, BlockSize::KiB4, enough - 100, 4_096).unwrap().groups, 2);
    }

    #[test]
    fn many_inodes_make_smaller_groups() {
        let geometry = Geometry::new(Version::Ext3, BlockSize::KiB4, 20_000, 100_000).unwrap();
        assert!(geometry.inodes() >= 100_000 && geometry.blocks_per_group < 32_768 && geometry.groups >= 4);
        assert_eq!(Geometry::new(Version::Ext3, BlockSize::KiB4, 5_000, 1_000_000), None);
    }
}
