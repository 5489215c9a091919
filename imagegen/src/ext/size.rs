//! How large an image must be: the smallest that holds what is asked for, or whether a given size does.

use super::Options;
use super::blocks::Map;
use super::journal;
use super::layout::{BLOCKS_MAX, Geometry};

/// What must fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Blocks of content, of directories and of attributes, indirect blocks included, and the room asked for.
    pub slots: u64,
    /// Inodes, reserved ones and the room asked for included.
    pub inodes: u64,
}

/// A file system that something fits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fit {
    pub geometry: Geometry,
    pub journal_blocks: u32,
}

/// Returns the slots of a journal, its indirect blocks included.
pub(super) fn journal_slots(block_size: u32, journal_blocks: u32) -> u64 {
    Map::dense(block_size, u64::from(journal_blocks)).total()
}

/// Returns the smallest image, or `None` if 32-bit block numbers do not reach so far.
pub(super) fn exact(options: &Options, demand: Demand) -> Option<Fit> {
    // A longer journal takes more than the next block brings, so "fits" is monotonous only within one length of it.
    let mut from = 1;
    for (below, _) in journal::DEFAULTS {
        let last = if options.journal_blocks.is_some() { BLOCKS_MAX } else { (below - 1).min(BLOCKS_MAX) };
        let Some(largest) = fit(options, demand, last, &[demand.inodes], u32::MAX) else {
            from = last;
            continue;
        };
        let (mut too_small, mut enough, mut best) = (from - 1, last, largest);
        while enough - too_small > 1 {
            let middle = too_small + (enough - too_small) / 2;
            match fit(options, demand, middle, &[demand.inodes], u32::MAX) {
                Some(found) => (enough, best) = (middle, found),
                None => too_small = middle,
            }
        }
        return Some(best);
    }
    None
}

/// Returns what becomes of a given number of blocks, or `None` if they are too few.
///
/// Without a number of inodes from the caller there are as many as mke2fs would make, or, where these leave too little
/// room, as many as are needed. Likewise the journal is as long as mke2fs would make it, or, where that leaves too
/// little room, the longest of the shorter ones it makes that does: else more blocks could hold less than fewer.
pub(super) fn given(options: &Options, demand: Demand, blocks: u64) -> Option<Fit> {
    let usual = blocks * u64::from(options.block_size.bytes()) / bytes_per_inode(options, blocks);
    let usual = usual.clamp(demand.inodes, u64::from(u32::MAX) / 2);
    let usual_journal = journal::default_blocks(blocks);
    let lengths = journal::DEFAULTS.iter().rev().map(|&(_, length)| length).filter(|&length| length <= usual_journal);
    let attempts = if options.journal_blocks.is_some() { 1 } else { journal::DEFAULTS.len() };
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
fn fit(options: &Options, demand: Demand, blocks: u64, inodes: &[u64], longest_journal: u32) -> Option<Fit> {
    let asked = options.inodes.map(u64::from);
    let block_size = options.block_size.bytes();
    asked.as_slice().iter().chain(if asked.is_some() { &[] } else { inodes }).find_map(|&inodes| {
        let geometry = Geometry::new(options.block_size, blocks, inodes)?;
        let usual_journal = || journal::default_blocks(u64::from(geometry.blocks)).min(longest_journal);
        let journal_blocks = options.journal_blocks.unwrap_or_else(usual_journal);
        let slots = demand.slots + journal_slots(block_size, journal_blocks);
        (slots <= u64::from(geometry.slots())).then_some(Fit { geometry, journal_blocks })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::BlockSize;

    fn options(block_size: BlockSize) -> Options {
        Options { block_size, ..Options::new([1; 16], [2; 16], 0) }
    }

    #[test]
    fn exact_is_the_smallest_that_fits() {
        for block_size in [BlockSize::KiB1, BlockSize::KiB2, BlockSize::KiB4] {
            let options = options(block_size);
            for (slots, inodes) in [(5, 11), (30_000, 11), (31_000, 5_000), (5, 100_000), (600_000, 40_000)] {
                let demand = Demand { slots, inodes };
                let found = exact(&options, demand).unwrap();
                let blocks = u64::from(found.geometry.blocks);
                assert_eq!(given(&options, demand, blocks).unwrap().geometry.blocks as u64, blocks);
                for fewer in (blocks - 40..blocks).rev() {
                    // Only a journal shorter than usual makes it fit.
                    let found = given(&options, demand, fewer);
                    let shorter = |found: &Fit| found.journal_blocks < journal::default_blocks(fewer);
                    assert!(found.as_ref().is_none_or(shorter), "{block_size:?} {demand:?} {fewer} < {blocks}");
                }
            }
        }
    }

    /// Where mke2fs's journal becomes longer, and with what no journal of the longer lengths would leave room for.
    #[test]
    fn one_block_more_never_holds_less() {
        let options = options(BlockSize::KiB4);
        for (blocks, usual, shorter) in [(32_768, 4096, 1024), (262_144, 8192, 4096)] {
            assert_eq!(given(&options, Demand { slots: 5, inodes: 11 }, blocks).unwrap().journal_blocks, usual);
            let geometry = given(&options, Demand { slots: 5, inodes: 11 }, blocks - 1).unwrap().geometry;
            let fewest_inodes = Geometry::new(BlockSize::KiB4, blocks - 1, 11).unwrap();
            for room in [geometry.slots(), fewest_inodes.slots()] {
                let demand = Demand { slots: u64::from(room) - journal_slots(4096, shorter), inodes: 11 };
                assert_eq!(given(&options, demand, blocks - 1).unwrap().journal_blocks, shorter);
                assert_eq!(given(&options, demand, blocks).unwrap().journal_blocks, shorter, "{blocks} {demand:?}");
                let asked = Options { journal_blocks: Some(usual), ..options.clone() };
                assert_eq!(given(&asked, demand, blocks), None, "an explicit length holds");
            }
        }
    }

    #[test]
    fn an_exact_image_is_nearly_full() {
        let found = exact(&options(BlockSize::KiB4), Demand { slots: 20_000, inodes: 3_000 }).unwrap();
        assert_eq!(u64::from(found.geometry.slots()), 20_000 + journal_slots(4096, found.journal_blocks));
    }

    #[test]
    fn what_cannot_be_numbered_is_refused() {
        assert_eq!(exact(&options(BlockSize::KiB1), Demand { slots: u64::from(u32::MAX), inodes: 11 }), None);
        assert_eq!(exact(&options(BlockSize::KiB1), Demand { slots: 5, inodes: u64::from(u32::MAX) + 1 }), None);
    }
}
