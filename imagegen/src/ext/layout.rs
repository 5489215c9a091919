//! Where everything lies: block groups by arithmetic, and the n-th block that a group's own tables leave free.
//!
//! ```text
//! group 0, 1, 3^n, 5^n, 7^n:  superblock | descriptors | reserved descriptors | bitmaps | inode table | slots ...
//! every other group:                                                            bitmaps | inode table | slots ...
//! ```
//!
//! Knows no tree: [`Geometry`] is a pure function of block size, block count and inode count.

use super::BlockSize;
use super::inode::INODE_SIZE;

/// Bytes of one group descriptor (`struct ext2_group_desc`).
pub(super) const DESCRIPTOR_SIZE: u32 = 32;
/// A last group with less room than this beside its tables is left out, as mke2fs does.
const LAST_GROUP_MIN: u32 = 50;
/// The smallest group mke2fs makes.
const BLOCKS_PER_GROUP_MIN: u32 = 256;
/// The reserved descriptors let an image grow by this factor, as mke2fs has it.
const GROWTH: u64 = 1024;
/// Blocks are 32-bit numbers.
pub(super) const BLOCKS_MAX: u64 = u32::MAX as u64;

/// The n-th block of the image that is no group's own table: content of every kind is laid out in these, gapless.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot(pub u32);

/// Sizes and counts of a file system; all else follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub block_size: BlockSize,
    /// `s_first_data_block`: 1 where the boot block needs a block of its own.
    pub first_data_block: u32,
    pub blocks: u32,
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
    pub fn new(block_size: BlockSize, mut blocks: u64, inodes: u64) -> Option<Self> {
        let size = u64::from(block_size.bytes());
        let first = u64::from(block_size == BlockSize::KiB1);
        let bits = size * 8;
        blocks = blocks.min(BLOCKS_MAX);
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
            let descriptor_blocks = (groups * u64::from(DESCRIPTOR_SIZE)).div_ceil(size);
            let geometry = Geometry {
                block_size,
                first_data_block: first as u32,
                blocks: blocks as u32,
                blocks_per_group: per_group as u32,
                inodes_per_group: inodes_per_group as u32,
                groups: groups as u32,
                descriptor_blocks: descriptor_blocks as u32,
                reserved_descriptor_blocks: reserved_descriptors(size, blocks, first, per_group, descriptor_blocks),
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

    /// Returns the first block of a group.
    pub fn group_start(&self, group: u32) -> u32 {
        self.first_data_block + group * self.blocks_per_group
    }

    /// Returns the number of blocks in a group; only the last can be shorter.
    pub fn group_blocks(&self, group: u32) -> u32 {
        (self.blocks - self.group_start(group)).min(self.blocks_per_group)
    }

    /// Returns the blocks before a group's bitmaps: superblock, descriptors and room for more of them, or none.
    pub fn head(&self, group: u32) -> u32 {
        if has_superblock(group) { 1 + self.descriptor_blocks + self.reserved_descriptor_blocks } else { 0 }
    }

    /// Returns the blocks a group uses for itself.
    pub fn tables(&self, group: u32) -> u32 {
        self.head(group) + 2 + self.inode_table_blocks()
    }

    /// Returns the blocks all groups use for themselves.
    pub fn tables_total(&self) -> u32 {
        let copies = superblock_groups(self.groups).count() as u32;
        copies * self.head(0) + self.groups * (2 + self.inode_table_blocks())
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> u32 {
        self.blocks - self.first_data_block - self.tables_total()
    }
}

/// Returns `s_reserved_gdt_blocks` as mke2fs would: for growing by [`GROWTH`] or to 2^32 blocks.
fn reserved_descriptors(block_size: u64, blocks: u64, first: u64, per_group: u64, descriptor_blocks: u64) -> u32 {
    let most = (blocks * GROWTH).min(BLOCKS_MAX);
    let groups = (most - first).div_ceil(per_group);
    let reserved = (groups * u64::from(DESCRIPTOR_SIZE)).div_ceil(block_size).saturating_sub(descriptor_blocks);
    // The resize inode's indirect block has a pointer to each.
    reserved.min(block_size / 4) as u32
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

/// A geometry with the numbers of its slots.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub geometry: Geometry,
    /// The first slot of each group, and the number of slots at the end.
    first_slots: Vec<u32>,
}

impl Layout {
    pub fn new(geometry: Geometry) -> Self {
        let mut first_slots = Vec::with_capacity(geometry.groups as usize + 1);
        let mut slot = 0;
        for group in 0..geometry.groups {
            first_slots.push(slot);
            slot += geometry.group_blocks(group) - geometry.tables(group);
        }
        first_slots.push(slot);
        debug_assert_eq!(slot, geometry.slots());
        Layout { geometry, first_slots }
    }

    /// Returns the group a slot lies in.
    pub fn group_of(&self, slot: Slot) -> u32 {
        debug_assert!(slot.0 < self.geometry.slots());
        self.first_slots.partition_point(|&first| first <= slot.0) as u32 - 1
    }

    /// Returns a slot's block.
    pub fn block(&self, slot: Slot) -> u32 {
        let group = self.group_of(slot);
        let into = slot.0 - self.first_slots[group as usize];
        self.geometry.group_start(group) + self.geometry.tables(group) + into
    }

    /// Returns how many slots lie in one piece from this one on.
    pub fn contiguous(&self, slot: Slot) -> u32 {
        self.first_slots[self.group_of(slot) as usize + 1] - slot.0
    }

    /// Returns how many of a group's slots are among the first `used`.
    pub fn used_in(&self, group: u32, used: u32) -> u32 {
        let (first, end) = (self.first_slots[group as usize], self.first_slots[group as usize + 1]);
        used.clamp(first, end) - first
    }
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
            let geometry = Geometry::new(size, blocks, 4_096).unwrap();
            let made = (u64::from(geometry.blocks), geometry.inodes_per_group, geometry.reserved_descriptor_blocks);
            assert_eq!(made, (blocks, inodes_per_group, reserved), "{size:?}");
        }
    }

    #[test]
    fn a_last_group_without_room_is_left_out() {
        let full = Geometry::new(BlockSize::KiB4, 2 * 32_768, 4_096).unwrap();
        let more = Geometry::new(BlockSize::KiB4, 2 * 32_768 + 100, 4_096).unwrap();
        assert_eq!(full, more);
        let enough = u64::from(2 * 32_768 + full.tables(2) + LAST_GROUP_MIN);
        assert_eq!(Geometry::new(BlockSize::KiB4, enough, 4_096).unwrap().groups, 3);
        assert_eq!(Geometry::new(BlockSize::KiB4, enough - 100, 4_096).unwrap().groups, 2);
    }

    #[test]
    fn many_inodes_make_smaller_groups() {
        let geometry = Geometry::new(BlockSize::KiB4, 20_000, 100_000).unwrap();
        assert!(geometry.inodes() >= 100_000 && geometry.blocks_per_group < 32_768 && geometry.groups >= 4);
        assert_eq!(Geometry::new(BlockSize::KiB4, 5_000, 1_000_000), None);
    }

    #[test]
    fn slots_are_all_blocks_but_the_tables() {
        for size in [BlockSize::KiB1, BlockSize::KiB4] {
            let layout = Layout::new(Geometry::new(size, 90_000, 20_000).unwrap());
            let geometry = &layout.geometry;
            let mut expected = Vec::new();
            for group in 0..geometry.groups {
                let start = geometry.group_start(group);
                expected.extend(start + geometry.tables(group)..start + geometry.group_blocks(group));
            }
            let slots: Vec<u32> = (0..geometry.slots()).map(|slot| layout.block(Slot(slot))).collect();
            assert_eq!(slots, expected);
            let used: u32 = (0..geometry.groups).map(|group| layout.used_in(group, 50_000)).sum();
            assert_eq!(used, 50_000);
        }
    }
}
