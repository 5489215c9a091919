//! Blocks through extents, as ext4 has them: runs of blocks, and the tree above them where there are many.
//!
//! ```text
//! inode        header | up to 4 extents            or, above a tree:   header | up to 4 (logical block, node)
//! node         header | extents or nodes ... | checksum
//! order        content ... | lowest nodes | nodes above them ...
//! ```
//!
//! The nodes lie behind the content, since their number follows from where the content lies: a run ends wherever a
//! group's tables interrupt it.

use super::ranks::Ranks;
use crate::ext::checksum::Sum;
use crate::ext::inode::{POINTER_BYTES, put16, put32};
use crate::ext::layout::{Layout, Slot};

/// `EXT4_EXT_MAGIC`.
const MAGIC: u16 = 0xf30a;
/// Bytes of a header (`struct ext4_extent_header`).
const HEAD: usize = 12;
/// Bytes of an extent, and of an index (`struct ext4_extent`, `struct ext4_extent_idx`).
const ENTRY_SIZE: usize = 12;
/// Entries in the inode.
const INSIDE: usize = (POINTER_BYTES - HEAD) / ENTRY_SIZE;
/// The most blocks of one extent with content (`EXT_INIT_MAX_LEN`).
const LENGTH_MAX: u64 = 1 << 15;

/// Returns how many blocks long a file can be: logical block numbers have 32 bits, and the kernel uses no block that
/// would begin where the last number ends.
pub(in crate::ext) const fn addressable() -> u64 {
    u32::MAX as u64
}

/// Consecutive blocks of a file in consecutive blocks of the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Extent {
    logical: u32,
    length: u16,
    block: u64,
}

/// Calls `visit` with every extent of a file whose content begins at a slot.
fn visit(content: &Ranks, layout: &Layout, first: Slot, mut visit: impl FnMut(Extent)) {
    for run in &content.runs {
        let (mut logical, mut slot) = (run.start, first.0 + run.before);
        while logical < run.end {
            let (block, contiguous) = layout.stretch(Slot(slot));
            let length = (run.end - logical).min(contiguous).min(LENGTH_MAX);
            visit(Extent { logical: logical as u32, length: length as u16, block });
            (logical, slot) = (logical + length, slot + length);
        }
    }
}

/// Returns the number of nodes a file needs whose content begins at a slot.
pub(in crate::ext) fn node_count(block_size: u32, content: &Ranks, layout: &Layout, first: Slot) -> u64 {
    // An extent has a block at least.
    if content.total <= INSIDE as u64 {
        return 0;
    }
    let mut extents = 0;
    visit(content, layout, first, |_| extents += 1);
    levels(block_size, extents).iter().sum::<usize>() as u64
}

/// Returns how many entries a node holds.
fn fan(block_size: u32) -> usize {
    (block_size as usize - HEAD) / ENTRY_SIZE
}

/// Returns the number of nodes at each level, the lowest first.
fn levels(block_size: u32, extents: usize) -> Vec<usize> {
    let (mut levels, mut count) = (Vec::new(), extents);
    while count > INSIDE {
        count = count.div_ceil(fan(block_size));
        levels.push(count);
    }
    levels
}

/// The extents of one file and the nodes above them.
#[derive(Debug)]
pub(in crate::ext) struct Tree {
    block_size: u32,
    extents: Vec<Extent>,
    levels: Vec<usize>,
    /// Where the nodes begin.
    nodes: Slot,
}

impl Tree {
    /// Returns the tree of a file whose content begins at a slot.
    pub fn new(block_size: u32, content: &Ranks, layout: &Layout, first: Slot) -> Self {
        let mut extents = Vec::with_capacity(content.runs.len());
        visit(content, layout, first, |extent| extents.push(extent));
        let levels = levels(block_size, extents.len());
        Tree { block_size, extents, levels, nodes: Slot(first.0 + content.total) }
    }

    /// Returns the number of nodes.
    pub fn nodes(&self) -> usize {
        self.levels.iter().sum()
    }

    /// Writes what is in the inode.
    pub fn write_root(&self, layout: &Layout, out: &mut [u8; POINTER_BYTES]) {
        let depth = self.levels.len();
        let below = depth.checked_sub(1).map_or(self.extents.len(), |top| self.levels[top]);
        self.write(layout, depth, 0, below, out);
    }

    /// Writes a node into a block, with what its inode's sums begin with.
    pub fn write_node(&self, layout: &Layout, node: usize, sum: Sum, out: &mut [u8]) {
        let (mut level, mut index) = (0, node);
        while index >= self.levels[level] {
            (level, index) = (level + 1, index - self.levels[level]);
        }
        let below = level.checked_sub(1).map_or(self.extents.len(), |below| self.levels[below]);
        let fan = fan(self.block_size);
        out.fill(0);
        self.write(layout, level, index * fan, below.min((index + 1) * fan), out);
        let tail = HEAD + fan * ENTRY_SIZE;
        let sum = sum.then(&out[..tail]);
        put32(out, tail, sum.0);
    }

    /// Writes a header and the entries `first..end` of what lies below a level: extents, or nodes.
    fn write(&self, layout: &Layout, level: usize, first: usize, end: usize, out: &mut [u8]) {
        put16(out, 0, MAGIC);
        put16(out, 2, (end - first) as u16);
        put16(out, 4, ((out.len() - HEAD) / ENTRY_SIZE) as u16);
        put16(out, 6, level as u16);
        let Some(below) = level.checked_sub(1) else {
            for (extent, out) in self.extents[first..end].iter().zip(out[HEAD..].chunks_exact_mut(ENTRY_SIZE)) {
                put32(out, 0, extent.logical);
                put16(out, 4, extent.length);
                put16(out, 6, (extent.block >> 32) as u16);
                put32(out, 8, extent.block as u32);
            }
            return;
        };
        let before: usize = self.levels[..below].iter().sum();
        // How many extents a node at that level stands for.
        let span = fan(self.block_size).pow(level as u32);
        for (node, out) in (first..end).zip(out[HEAD..].chunks_exact_mut(ENTRY_SIZE)) {
            let block = layout.block(Slot(self.nodes.0 + (before + node) as u64));
            put32(out, 0, self.extents[node * span].logical);
            put32(out, 4, block as u32);
            put16(out, 8, (block >> 32) as u16);
        }
    }
}
