//! Blocks through indirect ones, as ext2 and ext3 have them: their order, and what the pointers say.
//!
//! Blocks lie in the order a reader meets them: each indirect block directly before what it points to.
//!
//! ```text
//! logical   0..12          12..12+A       12+A..12+A+A²               ..12+A+A²+A³         A = block size / 4
//! order     data ...  IND  data ...  DIND IND data ... IND data ...   TIND DIND IND data ...
//! ```
//!
//! Chunk c of level 1 is what one indirect block points to: chunk 0 hangs in the inode (`EXT2_IND_BLOCK`), chunks 1..=A
//! below the double, the others below the triple indirect block; likewise one level up.

use super::ranks::Ranks;

/// Pointers in the inode itself (`EXT2_NDIR_BLOCKS`).
pub(in crate::ext) const DIRECT: u64 = 12;
/// All pointers of an inode (`EXT2_N_BLOCKS`).
pub(in crate::ext) const POINTERS: usize = 15;

/// A piece of a file in the order of its blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ext) enum Piece {
    /// Consecutive blocks of content, from this logical block on.
    Data { logical: u64, count: u64 },
    /// One indirect block: level 1 to 3, and which of that level.
    Indirect { level: usize, index: u64 },
}

/// The blocks of one file.
#[derive(Debug)]
pub(in crate::ext) struct Indirect {
    /// Pointers per indirect block.
    fan: u64,
    /// Blocks of content, then indirect blocks of level 1, 2 and 3.
    levels: [Ranks; 4],
}

impl Indirect {
    /// Returns the map of a file that has these logical blocks, all of them below [`addressable`].
    pub fn new(block_size: u32, content: Ranks) -> Self {
        let fan = u64::from(block_size / 4);
        let mut levels = [content, Ranks::default(), Ranks::default(), Ranks::default()];
        for level in 1..4 {
            let (below, here) = levels.split_at_mut(level);
            let unreached = if level == 1 { DIRECT } else { 1 };
            for run in &below[level - 1].runs {
                if run.end > unreached {
                    here[0].add((run.start.max(unreached) - unreached) / fan, (run.end - 1 - unreached) / fan + 1);
                }
            }
        }
        debug_assert!(levels[3].total <= 1);
        Indirect { fan, levels }
    }

    /// Returns the number of blocks, indirect ones included.
    pub fn total(&self) -> u64 {
        self.levels.iter().map(|level| level.total).sum()
    }

    /// Returns the runs of logical blocks that hold content.
    #[cfg(test)]
    fn data(&self) -> impl Iterator<Item = (u64, u64)> {
        self.levels[0].within(0, u64::MAX)
    }

    /// Returns where in the file's order a member of a level comes (level 0: a block of content).
    fn position(&self, level: usize, index: u64) -> u64 {
        let mut position = self.levels[level].rank(index);
        // Everything below that comes earlier.
        let mut first = index;
        for below in (0..level).rev() {
            first = first * self.fan + if below == 0 { DIRECT } else { 1 };
            position += self.levels[below].rank(first);
        }
        // The indirect blocks above come earlier too, being met first.
        let mut index = index;
        for above in level + 1..4 {
            let unreached = if above == 1 { DIRECT } else { 1 };
            if index < unreached {
                break;
            }
            index = (index - unreached) / self.fan;
            position += self.levels[above].rank(index + 1);
        }
        position
    }

    /// Visits all pieces in their order.
    pub fn visit<E>(&self, mut visit: impl FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
        for (start, end) in self.levels[0].within(0, DIRECT) {
            visit(Piece::Data { logical: start, count: end - start })?;
        }
        let (mut double, mut triple) = (None, false);
        for chunk in self.levels[1].runs.iter().flat_map(|run| run.start..run.end) {
            let above = chunk.checked_sub(1).map(|chunk| chunk / self.fan);
            if let Some(index) = above
                && above != double
            {
                if index > 0 && !std::mem::replace(&mut triple, true) {
                    visit(Piece::Indirect { level: 3, index: 0 })?;
                }
                visit(Piece::Indirect { level: 2, index })?;
                double = above;
            }
            visit(Piece::Indirect { level: 1, index: chunk })?;
            let start = DIRECT + chunk * self.fan;
            for (start, end) in self.levels[0].within(start, start + self.fan) {
                visit(Piece::Data { logical: start, count: end - start })?;
            }
        }
        Ok(())
    }

    /// Visits the pointers of an indirect block that are not null: its place in the block, and what it points to as a
    /// position in the file's order.
    pub fn pointers(&self, level: usize, index: u64, mut visit: impl FnMut(usize, u64)) {
        let first = index * self.fan + if level == 1 { DIRECT } else { 1 };
        for (start, end) in self.levels[level - 1].within(first, first + self.fan) {
            // Content between two pointers' targets is only ever indirect blocks' own, so level 0 is one stride.
            let position = self.position(level - 1, start);
            for member in start..end {
                let at = if level == 1 { position + (member - start) } else { self.position(level - 1, member) };
                visit((member - first) as usize, at);
            }
        }
    }

    /// Visits the inode's pointers that are not null, likewise.
    pub fn inode_pointers(&self, mut visit: impl FnMut(usize, u64)) {
        for logical in self.levels[0].within(0, DIRECT).flat_map(|(start, end)| start..end) {
            visit(logical as usize, self.position(0, logical));
        }
        for level in 1..4 {
            if self.levels[level].contains(0) {
                visit(DIRECT as usize + level - 1, self.position(level, 0));
            }
        }
    }
}

/// Returns how many blocks long a file can be: what three levels reach, and what `i_blocks`, counting 512-byte
/// sectors in 32 bits, can count together with the indirect blocks (the kernel's `ext4_max_bitmap_size`).
pub(in crate::ext) fn addressable(block_size: u32) -> u64 {
    let fan = u64::from(block_size / 4);
    let reach = DIRECT + fan + fan * fan + fan * fan * fan;
    let countable = u64::from(u32::MAX) / u64::from(block_size / 512);
    let indirect = |blocks: u64| {
        let chunks = (blocks - DIRECT).div_ceil(fan);
        let doubles = (chunks - 1).div_ceil(fan);
        chunks + doubles + 1
    };
    reach.min(countable - indirect(countable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sparse(block_size: u32, runs: impl IntoIterator<Item = (u64, u64)>) -> Indirect {
        let mut content = Ranks::default();
        runs.into_iter().for_each(|(start, end)| content.add(start, end));
        Indirect::new(block_size, content)
    }

    fn dense(block_size: u32, blocks: u64) -> Indirect {
        sparse(block_size, (blocks > 0).then_some((0, blocks)))
    }

    /// Walks pointers as a reader does, from the inode down, and returns (logical block, position) pairs.
    fn resolve(map: &Indirect) -> Vec<(u64, u64)> {
        fn down(map: &Indirect, level: usize, index: u64, base: u64, found: &mut Vec<(u64, u64)>) {
            map.pointers(level, index, |place, position| {
                if level == 1 {
                    found.push((base + place as u64, position));
                } else {
                    let span = map.fan.pow(level as u32 - 1);
                    let child = index * map.fan + 1 + place as u64;
                    down(map, level - 1, child, base + place as u64 * span, found);
                }
            });
        }
        let mut found = Vec::new();
        map.inode_pointers(|place, position| match place {
            12 => down(map, 1, 0, DIRECT, &mut found),
            13 => down(map, 2, 0, DIRECT + map.fan, &mut found),
            14 => down(map, 3, 0, DIRECT + map.fan + map.fan * map.fan, &mut found),
            _ => found.push((place as u64, position)),
        });
        found
    }

    /// Checks that pieces, in order, take positions 0, 1, 2 ... and that pointers agree with them.
    fn check(map: &Indirect) {
        let (mut next, mut data) = (0, Vec::new());
        map.visit(|piece| {
            match piece {
                Piece::Data { logical, count } => {
                    for block in logical..logical + count {
                        assert_eq!(map.position(0, block), next);
                        data.push((block, next));
                        next += 1;
                    }
                }
                Piece::Indirect { level, index } => {
                    assert_eq!(map.position(level, index), next);
                    next += 1;
                }
            }
            Ok::<(), ()>(())
        })
        .unwrap();
        assert_eq!(next, map.total());
        assert_eq!(resolve(map), data);
        assert_eq!(map.data().map(|(start, end)| end - start).sum::<u64>(), data.len() as u64);
    }

    #[test]
    fn dense_files_of_every_depth() {
        for blocks in [0, 1, 12, 13, 12 + 256, 13 + 256, 12 + 256 + 65_536, 13 + 256 + 65_536, 200_000] {
            check(&dense(1024, blocks));
        }
        assert_eq!(dense(4096, 12).total(), 12);
        assert_eq!(dense(4096, 13).total(), 14);
        assert_eq!(dense(4096, 12 + 1024 + 1).total(), 12 + 1024 + 1 + 3);
    }

    #[test]
    fn the_last_block_of_a_sparse_file_needs_one_indirect_block_per_level() {
        let last = addressable(1024) - 1;
        let map = sparse(1024, [(last, last + 1)]);
        assert_eq!(map.total(), 4);
        check(&map);
    }

    #[test]
    fn files_end_where_the_kernel_says() {
        assert_eq!(addressable(1024), 12 + 256 + 256 * 256 + 256 * 256 * 256);
        assert_eq!(addressable(4096) << 12, 2_196_873_666_560);
    }

    proptest! {
        #[test]
        fn sparse_files(gaps in proptest::collection::vec((0_u64..70_000, 1_u64..600), 1..20)) {
            let mut at = 0;
            let runs: Vec<(u64, u64)> = gaps
                .iter()
                .map(|&(gap, length)| {
                    let start = at + gap;
                    at = start + length;
                    (start, at)
                })
                .collect();
            check(&sparse(1024, runs));
        }
    }
}
