//! Where everything lies: each group's tables, and the n-th block that no table takes.
//!
//! ```text
//! group 0, 1, 3^n, 5^n, 7^n:  superblock | descriptors | reserved descriptors | tables | slots ...
//! every other group:                                                            tables | slots ...
//!
//! tables, ext2 and ext3:      the group's two bitmaps | its inode table
//! tables, ext4:               16 groups' block bitmaps | inode bitmaps | inode tables, in the first of the 16
//! ```
//!
//! The first of 16 overflows into the next where its tables are long. They leave out what the superblocks' copies
//! take; a gap that is too short for the next table is slots, like all that is behind the last.

use std::ops::Range;

use super::geometry::{Geometry, has_superblock};

/// The n-th block of the image that is no group's own table: content of every kind is laid out in these, gapless.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot(pub u64);

/// What a group has for itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// Superblock, descriptors and room for more of them.
    Head,
    BlockBitmap,
    InodeBitmap,
    InodeTable,
}

/// One of a group's tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Table {
    /// Its first block.
    pub block: u64,
    pub group: u32,
    pub kind: Kind,
}

/// Where a group's tables lie: their first blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Places {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
}

/// Consecutive slots in consecutive blocks, as far as the next table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stretch {
    slot: u64,
    block: u64,
}

/// A geometry with the places of everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub geometry: Geometry,
    /// By group.
    pub places: Vec<Places>,
    /// All groups' tables in the order they lie.
    pub tables: Vec<Table>,
    stretches: Vec<Stretch>,
    slots: u64,
}

impl Layout {
    pub fn new(geometry: Geometry) -> Self {
        let (mut places, mut tables) = (Vec::with_capacity(geometry.groups as usize), Vec::new());
        let per_flex = geometry.version.groups_per_flex();
        for first in (0..geometry.groups).step_by(per_flex as usize) {
            let groups = first..geometry.groups.min(first + per_flex);
            let begin = tables.len();
            match together(&geometry, groups.clone()) {
                Some(found) => places.extend(found),
                // Each group has room for its own tables.
                None => {
                    places.extend(groups.clone().filter_map(|group| together(&geometry, group..group + 1)).flatten())
                }
            }
            for group in groups {
                let Places { block_bitmap, inode_bitmap, inode_table } = places[group as usize];
                let mut add = |block, kind| tables.push(Table { block, group, kind });
                if has_superblock(group) {
                    add(geometry.group_start(group), Kind::Head);
                }
                add(block_bitmap, Kind::BlockBitmap);
                add(inode_bitmap, Kind::InodeBitmap);
                add(inode_table, Kind::InodeTable);
            }
            tables[begin..].sort_unstable();
        }
        let (stretches, slots) = stretches(&geometry, &tables);
        debug_assert_eq!(slots, geometry.slots());
        Layout { geometry, places, tables, stretches, slots }
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// Returns a slot's block and how many slots lie in one piece from it on.
    pub fn stretch(&self, slot: Slot) -> (u64, u64) {
        debug_assert!(slot.0 < self.slots);
        let next = self.stretches.partition_point(|stretch| stretch.slot <= slot.0);
        let stretch = self.stretches[next - 1];
        let end = self.stretches.get(next).map_or(self.slots, |next| next.slot);
        (stretch.block + (slot.0 - stretch.slot), end - slot.0)
    }

    /// Returns a slot's block.
    pub fn block(&self, slot: Slot) -> u64 {
        self.stretch(slot).0
    }

    /// Returns the ranges of blocks, ascending, that some slots take.
    pub fn blocks_of(&self, slots: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let mut slot = slots.start;
        std::iter::from_fn(move || {
            (slot < slots.end).then(|| {
                let (block, contiguous) = self.stretch(Slot(slot));
                let length = contiguous.min(slots.end - slot);
                slot += length;
                block..block + length
            })
        })
    }

    /// Returns the slots in a group.
    pub fn slots_in(&self, group: u32) -> Range<u64> {
        let start = self.geometry.group_start(group);
        self.slots_below(start)..self.slots_below(start + u64::from(self.geometry.group_blocks(group)))
    }

    /// Returns how many slots lie before a block.
    fn slots_below(&self, block: u64) -> u64 {
        let next = self.stretches.partition_point(|stretch| stretch.block < block);
        let Some(stretch) = next.checked_sub(1).map(|last| self.stretches[last]) else { return 0 };
        let end = self.stretches.get(next).map_or(self.slots, |next| next.slot);
        end.min(stretch.slot + (block - stretch.block))
    }

    /// Returns the length of a table in blocks.
    pub fn table_blocks(&self, table: &Table) -> u32 {
        table_blocks(&self.geometry, table)
    }
}

fn table_blocks(geometry: &Geometry, table: &Table) -> u32 {
    match table.kind {
        Kind::Head => geometry.head(table.group),
        Kind::BlockBitmap | Kind::InodeBitmap => 1,
        Kind::InodeTable => geometry.inode_table_blocks(),
    }
}

/// Places the tables of consecutive groups one behind the other, around the superblocks' copies; `None` if they reach
/// beyond these groups.
fn together(geometry: &Geometry, groups: Range<u32>) -> Option<Vec<Places>> {
    let end = geometry.group_start(groups.end - 1) + u64::from(geometry.group_blocks(groups.end - 1));
    let mut next = geometry.group_start(groups.start);
    let mut heads = groups.clone().filter(|&group| has_superblock(group)).peekable();
    let mut take = |length: u32| {
        while let Some(&group) = heads.peek()
            && geometry.group_start(group) < next + u64::from(length)
        {
            next = geometry.group_start(group) + u64::from(geometry.head(group));
            heads.next();
        }
        next += u64::from(length);
        (next <= end).then(|| next - u64::from(length))
    };
    let block_bitmaps = groups.clone().map(|_| take(1)).collect::<Option<Vec<u64>>>()?;
    let inode_bitmaps = groups.clone().map(|_| take(1)).collect::<Option<Vec<u64>>>()?;
    let bitmaps = block_bitmaps.into_iter().zip(inode_bitmaps);
    bitmaps
        .map(|(block_bitmap, inode_bitmap)| {
            Some(Places { block_bitmap, inode_bitmap, inode_table: take(geometry.inode_table_blocks())? })
        })
        .collect()
}

/// Returns what lies between tables, and the number of slots in it.
fn stretches(geometry: &Geometry, tables: &[Table]) -> (Vec<Stretch>, u64) {
    let (mut stretches, mut slot, mut block) = (Vec::new(), 0, u64::from(geometry.first_data_block));
    let ends = tables.iter().map(|table| (table.block, u64::from(table_blocks(geometry, table))));
    for (start, length) in ends.chain([(geometry.blocks, 0)]) {
        debug_assert!(block <= start);
        if block < start {
            stretches.push(Stretch { slot, block });
            slot += start - block;
        }
        block = start + length;
    }
    (stretches, slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::{BlockSize, Version};

    fn layouts() -> impl Iterator<Item = Layout> {
        let cases = [
            (BlockSize::KiB1, 90_000, 20_000),
            (BlockSize::KiB2, 400_000, 90_000),
            (BlockSize::KiB4, 90_000, 20_000),
            // Tables that fill more than the first group, and next to everything.
            (BlockSize::KiB1, 300_000, 400_000),
            (BlockSize::KiB4, 300_000, 280_000),
            (BlockSize::KiB4, 20_000, 250_000),
        ];
        let versions = [Version::Ext2, Version::Ext3, Version::Ext4].into_iter();
        versions.flat_map(move |version| {
            cases.into_iter().map(move |(size, blocks, inodes)| {
                Layout::new(Geometry::new(version, size, blocks, inodes).unwrap_or_else(|| panic!("{size:?} {blocks}")))
            })
        })
    }

    #[test]
    fn slots_are_all_blocks_but_the_tables() {
        for layout in layouts() {
            let geometry = &layout.geometry;
            let mut taken = vec![0_u8; geometry.blocks as usize];
            taken[..geometry.first_data_block as usize].fill(1);
            for table in &layout.tables {
                for block in table.block..table.block + u64::from(layout.table_blocks(table)) {
                    taken[block as usize] += 1;
                }
            }
            assert!(taken.iter().all(|&count| count <= 1), "overlap");
            let free: Vec<u64> = (0..geometry.blocks).filter(|&block| taken[block as usize] == 0).collect();
            let slots: Vec<u64> = layout.blocks_of(0..layout.slots()).flatten().collect();
            assert!(slots == free, "{geometry:?}");
            assert_eq!(layout.slots(), geometry.slots());
            assert!((0..slots.len()).step_by(97).all(|slot| layout.block(Slot(slot as u64)) == free[slot]));
            let mut next = 0;
            for group in 0..geometry.groups {
                let slots = layout.slots_in(group);
                assert_eq!(slots.start, next);
                next = slots.end;
                let groups =
                    free[slots.start as usize..slots.end as usize].iter().map(|&block| geometry.group_of(block));
                assert!(groups.into_iter().all(|found| found == group));
            }
            assert_eq!(next, geometry.slots());
            let end = free.len().min(5_000);
            let part: Vec<u64> = layout.blocks_of(7..end as u64).flatten().collect();
            assert!(part == free[7..end]);
        }
    }

    #[test]
    fn sixteen_groups_share_a_place_in_ext4_alone() {
        for layout in layouts() {
            let own = |group: u32| {
                let Places { block_bitmap, inode_bitmap, inode_table } = layout.places[group as usize];
                [block_bitmap, inode_bitmap, inode_table].map(|block| layout.geometry.group_of(block)) == [group; 3]
            };
            let away = (0..layout.geometry.groups).filter(|&group| !own(group)).count();
            assert_eq!(
                away > 0,
                layout.geometry.version == Version::Ext4 && layout.geometry.groups > 1,
                "{:?}",
                layout.geometry
            );
        }
    }

    /// What mke2fs 1.47.0 made with `-t ext4 -b 4096` of 600 MiB.
    #[test]
    fn places_are_those_of_mke2fs() {
        let geometry = Geometry::new(Version::Ext4, BlockSize::KiB4, 153_600, 38_400).unwrap();
        let places: Vec<[u64; 3]> = Layout::new(geometry)
            .places
            .iter()
            .map(|place| [place.block_bitmap, place.inode_bitmap, place.inode_table])
            .collect();
        assert_eq!(places, [[76, 81, 86], [77, 82, 566], [78, 83, 1046], [79, 84, 1526], [80, 85, 2006]]);
    }
}
