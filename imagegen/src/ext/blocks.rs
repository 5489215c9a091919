//! A file's blocks: which it has, in which order they and their indirect blocks lie, and what the pointers say.
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

use super::layout::BLOCKS_MAX;

/// Pointers in the inode itself (`EXT2_NDIR_BLOCKS`).
pub(super) const DIRECT: u64 = 12;
/// All pointers of an inode (`EXT2_N_BLOCKS`).
pub(super) const POINTERS: usize = 15;

/// A piece of a file in the order of its blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// Consecutive blocks of content, from this logical block on.
    Data { logical: u64, count: u64 },
    /// One indirect block: level 1 to 3, and which of that level.
    Indirect { level: usize, index: u64 },
}

/// A set of numbers as ascending runs, each with how many members come before it.
#[derive(Default, Debug)]
struct Ranks {
    runs: Vec<Run>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    end: u64,
    before: u64,
}

impl Ranks {
    /// Adds `start..end`, which may begin inside the last run but not before it.
    fn add(&mut self, start: u64, end: u64) {
        match self.runs.last_mut() {
            Some(last) if start <= last.end => {
                self.total += end.saturating_sub(last.end);
                last.end = last.end.max(end);
            }
            _ => {
                self.runs.push(Run { start, end, before: self.total });
                self.total += end - start;
            }
        }
    }

    /// Returns how many members are below `number`.
    fn rank(&self, number: u64) -> u64 {
        match self.runs.partition_point(|run| run.start < number).checked_sub(1) {
            Some(last) => self.runs[last].before + number.min(self.runs[last].end) - self.runs[last].start,
            None => 0,
        }
    }

    fn contains(&self, number: u64) -> bool {
        self.rank(number + 1) > self.rank(number)
    }

    /// Returns the runs cut to `start..end`.
    fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let first = self.runs.partition_point(|run| run.end <= start);
        let runs = self.runs[first..].iter().take_while(move |run| run.start < end);
        runs.map(move |run| (run.start.max(start), run.end.min(end)))
    }
}

/// The blocks of one file.
#[derive(Debug)]
pub(super) struct Map {
    /// Pointers per indirect block.
    fan: u64,
    /// Blocks of content, then indirect blocks of level 1, 2 and 3.
    levels: [Ranks; 4],
}

impl Map {
    /// Returns the map of a file that has these logical blocks: ascending, possibly touching runs, all of them below
    /// [`addressable`].
    pub fn new(block_size: u32, runs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let fan = u64::from(block_size / 4);
        let mut levels: [Ranks; 4] = Default::default();
        for (start, end) in runs {
            levels[0].add(start, end);
        }
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
        Map { fan, levels }
    }

    /// Returns the map of a file without holes.
    pub fn dense(block_size: u32, blocks: u64) -> Self {
        Map::new(block_size, (blocks > 0).then_some((0, blocks)))
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
pub(super) fn addressable(block_size: u32) -> u64 {
    let fan = u64::from(block_size / 4);
    let reach = DIRECT + fan + fan * fan + fan * fan * fan;
    let countable = BLOCKS_MAX / u64::from(block_size / 512);
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

    /// Walks pointers as a reader does, from the inode down, and returns (logical block, position) pairs.
    fn resolve(map: &Map) -> Vec<(u64, u64)> {
        fn down(map: &Map, level: usize, index: u64, base: u64, found: &mut Vec<(u64, u64)>) {
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
    fn check(map: &Map) {
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
            check(&Map::dense(1024, blocks));
        }
        assert_eq!(Map::dense(4096, 12).total(), 12);
        assert_eq!(Map::dense(4096, 13).total(), 14);
        assert_eq!(Map::dense(4096, 12 + 1024 + 1).total(), 12 + 1024 + 1 + 3);
    }

    #[test]
    fn the_last_block_of_a_sparse_file_needs_one_indirect_block_per_level() {
        let last = addressable(1024) - 1;
        let map = Map::new(1024, [(last, last + 1)]);
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
            check(&Map::new(1024, runs));
        }
    }
}
