//! How large an image must be: the smallest that holds what is asked for, or whether a given size does.

use super::Options;
use super::geometry::Geometry;
use super::journal;
use super::layout::{Layout, Slot};
use super::map::Map;

/// What must fit.
#[derive(Clone, Copy)]
pub(super) struct Demand<'a> {
    /// Blocks of content, of directories and of attributes, and the room asked for: what it takes in any layout.
    pub slots: u64,
    /// Inodes, reserved ones and the room asked for included.
    pub inodes: u64,
    /// Returns what more it takes in this one, beginning at a slot; `None` if it does not fit at all.
    pub more: &'a dyn Fn(&Layout, Slot) -> Option<u64>,
}

/// A file system that something fits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fit {
    pub layout: Layout,
    /// 0 without a journal.
    pub journal_blocks: u32,
    /// The slots of the journal, with what says where they lie.
    pub journal_slots: u64,
}

impl Fit {
    /// Returns the journal's first slot: behind the resize inode's, if there is one.
    pub fn first_of_journal(&self) -> Slot {
        first_of_journal(&self.layout.geometry)
    }

    /// Returns the first slot of what comes from the tree.
    pub fn first_of_content(&self) -> Slot {
        Slot(self.first_of_journal().0 + self.journal_slots)
    }
}

fn first_of_journal(geometry: &Geometry) -> Slot {
    Slot(u64::from(geometry.has_resize_inode()))
}

/// Returns the smallest image, or `None` if block numbers do not reach so far.
pub(super) fn exact(options: &Options, demand: &Demand<'_>) -> Option<Fit> {
    // A longer journal takes more than the next block brings, so "fits" is monotonous only within one length of it.
    let blocks_max = options.version.blocks_max();
    let fixed_journal = options.journal_blocks.is_some() || !options.version.has_journal();
    let mut from = 1;
    for (below, _) in journal::DEFAULTS {
        let last = if fixed_journal { blocks_max } else { (below - 1).min(blocks_max) };
        let inodes = [demand.inodes];
        let least = smallest(from.max(demand.slots), last, |blocks| {
            frame(options, demand, blocks, demand.inodes, u32::MAX).map(|frame| frame.geometry.blocks)
        });
        // Layouts cost more than geometries, and hardly ever need more blocks.
        let found =
            least.and_then(|least| smallest(least, last, |blocks| fit(options, demand, blocks, &inodes, u32::MAX)));
        if found.is_some() {
            return found;
        }
        from = last;
    }
    None
}

/// Returns what `fits` makes of the smallest number it makes something of: by strides first, from the lowest on, since
/// far beyond it there may be more groups than can be described.
fn smallest<T>(from: u64, last: u64, fits: impl Fn(u64) -> Option<T>) -> Option<T> {
    let (mut too_small, mut enough, mut stride) = (from.checked_sub(1)?, from, 1_u64);
    let mut best = fits(enough).filter(|_| from <= last);
    while best.is_none() {
        if enough >= last {
            return None;
        }
        (too_small, enough, stride) = (enough, enough.saturating_add(stride).min(last), stride.saturating_mul(2));
        best = fits(enough);
    }
    while enough - too_small > 1 {
        let middle = too_small + (enough - too_small) / 2;
        match fits(middle) {
            Some(found) => (enough, best) = (middle, Some(found)),
            None => too_small = middle,
        }
    }
    best
}

/// Returns what becomes of a given number of blocks, or `None` if they are too few.
///
/// Without a number of inodes from the caller there are as many as mke2fs would make, or, where these leave too little
/// room, as many as are needed. Likewise the journal is as long as mke2fs would make it, or, where that leaves too
/// little room, the longest of the shorter ones it makes that does: else more blocks could hold less than fewer.
pub(super) fn given(options: &Options, demand: &Demand<'_>, blocks: u64) -> Option<Fit> {
    let usual = blocks * u64::from(options.block_size.bytes()) / bytes_per_inode(options, blocks);
    let usual = usual.clamp(demand.inodes, demand.inodes.max(u64::from(u32::MAX) / 2));
    let usual_journal = journal::default_blocks(blocks);
    let lengths = journal::DEFAULTS.iter().rev().map(|&(_, length)| length).filter(|&length| length <= usual_journal);
    let fixed_journal = options.journal_blocks.is_some() || !options.version.has_journal();
    let attempts = if fixed_journal { 1 } else { journal::DEFAULTS.len() };
    lengths.take(attempts).find_map(|longest| fit(options, demand, blocks, &[usual, demand.inodes], longest))
}

/// Returns mke2fs's `inode_ratio` for its usage types `floppy`, `small`, `default`, `big` and `huge`.
fn bytes_per_inode(options: &Options, blocks: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    match blocks * u64::from(options.block_size.bytes()) / MIB {
        0..3 => 8192,
        3..512 => 4096,
        512..0x40_0000 => 16_384,
        0x40_0000..0x100_0000 => 32_768,
        _ => 65_536,
    }
}

/// Tries numbers of inodes in turn, with the journal asked for, or the usual one but not longer than `longest_journal`.
fn fit(options: &Options, demand: &Demand<'_>, blocks: u64, inodes: &[u64], longest_journal: u32) -> Option<Fit> {
    inodes.iter().find_map(|&inodes| {
        let Frame { geometry, journal, journal_blocks } = frame(options, demand, blocks, inodes, longest_journal)?;
        let layout = Layout::new(geometry);
        let first = first_of_journal(&layout.geometry);
        let journal_slots = journal.blocks(&layout, first);
        let more = (demand.more)(&layout, Slot(first.0 + journal_slots))?;
        let slots = first.0 + journal_slots + demand.slots + more;
        (slots <= layout.slots()).then_some(Fit { layout, journal_blocks, journal_slots })
    })
}

/// What something fits if it takes no more than it does in any layout.
struct Frame {
    geometry: Geometry,
    journal: Map,
    journal_blocks: u32,
}

/// Returns the frame of so many blocks and inodes, or as many inodes as the caller asked for.
fn frame(options: &Options, demand: &Demand<'_>, blocks: u64, inodes: u64, longest_journal: u32) -> Option<Frame> {
    let inodes = options.inodes.map_or(inodes, u64::from);
    let geometry = Geometry::new(options.version, options.block_size, blocks, inodes)?;
    let usual_journal = || journal::default_blocks(geometry.blocks).min(longest_journal);
    let journal_blocks = match options.version.has_journal() {
        true => options.journal_blocks.unwrap_or_else(usual_journal),
        false => 0,
    };
    let journal = Map::dense(options.version, options.block_size.bytes(), u64::from(journal_blocks));
    let least = (first_of_journal(&geometry).0 + journal.blocks_anywhere()).checked_add(demand.slots)?;
    (least <= geometry.slots()).then_some(Frame { geometry, journal, journal_blocks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::{BlockSize, Version};

    fn demand(slots: u64, inodes: u64) -> Demand<'static> {
        Demand { slots, inodes, more: &|_, _| Some(0) }
    }

    fn options(version: Version, block_size: BlockSize) -> Options {
        Options { version, block_size, ..Options::new([1; 16], [2; 16], 0) }
    }

    const VERSIONS: [Version; 3] = [Version::Ext2, Version::Ext3, Version::Ext4];

    #[test]
    fn exact_is_the_smallest_that_fits() {
        for (version, block_size) in
            VERSIONS.into_iter().flat_map(|version| [BlockSize::KiB1, BlockSize::KiB4].map(|size| (version, size)))
        {
            let options = options(version, block_size);
            for (slots, inodes) in [(5, 11), (30_000, 11), (31_000, 5_000), (5, 100_000), (600_000, 40_000)] {
                let demand = demand(slots, inodes);
                let found = exact(&options, &demand).unwrap();
                let blocks = found.layout.geometry.blocks;
                assert_eq!(given(&options, &demand, blocks).unwrap().layout.geometry.blocks, blocks);
                for fewer in (blocks.saturating_sub(40)..blocks).rev() {
                    // Only a journal shorter than usual makes it fit.
                    let found = given(&options, &demand, fewer);
                    let shorter = |found: &Fit| found.journal_blocks < journal::default_blocks(fewer);
                    let fits = found.as_ref().is_some_and(|found| version == Version::Ext2 || !shorter(found));
                    assert!(!fits, "{version:?} {block_size:?} {slots} {inodes} {fewer} < {blocks}");
                }
            }
        }
    }

    /// Where mke2fs's journal becomes longer, and with what no journal of the longer lengths would leave room for.
    #[test]
    fn one_block_more_never_holds_less() {
        for version in [Version::Ext3, Version::Ext4] {
            let options = options(version, BlockSize::KiB4);
            for (blocks, usual, shorter) in [(32_768, 4096, 1024), (262_144, 8192, 4096)] {
                assert_eq!(given(&options, &demand(5, 11), blocks).unwrap().journal_blocks, usual);
                let fewer = given(&options, &demand(5, 11), blocks - 1).unwrap();
                let taken = |layout: &Layout| {
                    let journal = Map::dense(version, 4096, shorter);
                    1 + journal.blocks(layout, Slot(1))
                };
                let fewest_inodes = Layout::new(Geometry::new(version, BlockSize::KiB4, blocks - 1, 11).unwrap());
                for layout in [&fewer.layout, &fewest_inodes] {
                    let demand = demand(layout.slots() - taken(layout), 11);
                    let journal = |blocks: u64| given(&options, &demand, blocks).unwrap().journal_blocks;
                    assert_eq!(u64::from(journal(blocks - 1)), shorter);
                    assert_eq!(u64::from(journal(blocks)), shorter, "{blocks}");
                    let asked = Options { journal_blocks: Some(usual), ..options.clone() };
                    assert_eq!(given(&asked, &demand, blocks), None, "an explicit length holds");
                }
            }
        }
    }

    #[test]
    fn an_exact_image_is_full() {
        for version in VERSIONS {
            let found = exact(&options(version, BlockSize::KiB4), &demand(20_000, 3_000)).unwrap();
            assert_eq!(found.layout.slots(), 20_000 + found.first_of_content().0);
            assert_eq!(found.journal_slots == 0, version == Version::Ext2);
        }
    }

    #[test]
    fn what_cannot_be_numbered_is_refused() {
        for version in VERSIONS {
            let options = options(version, BlockSize::KiB1);
            assert_eq!(exact(&options, &demand(5, u64::from(u32::MAX) + 1)), None);
            assert_eq!(exact(&options, &demand(1 << 50, 11)), None);
            assert_eq!(exact(&options, &demand(u64::MAX - 5, 11)), None);
        }
        assert_eq!(exact(&options(Version::Ext3, BlockSize::KiB1), &demand(u64::from(u32::MAX), 11)), None);
    }

    #[test]
    fn ext4_goes_beyond_32_bits() {
        let slots = (1 << 32) + 5;
        let found = exact(&options(Version::Ext4, BlockSize::KiB4), &demand(slots, 11)).unwrap();
        let Geometry { blocks, reserved_descriptor_blocks, .. } = found.layout.geometry;
        assert!(blocks > slots && blocks < slots + slots / 1000);
        assert_eq!((reserved_descriptor_blocks, found.first_of_journal()), (0, Slot(0)));
        assert_eq!(found.layout.slots(), slots + found.first_of_content().0);
    }
}
