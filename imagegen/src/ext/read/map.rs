//! Which blocks hold a file's content: by extents, or by the block map with its indirect blocks.

use std::collections::HashSet;

use crate::little_endian::{u16_at, u32_at};
use crate::volume::{Result, corrupt};

use super::super::inode::POINTER_BYTES;
use super::Inner;
use super::content::Placed;

/// `EXT4_EXT_MAGIC`.
const MAGIC: u16 = 0xf30a;
/// Bytes of a header, and of an entry.
const ENTRY: usize = 12;
/// How many levels there are above the lowest, at most (`EXT4_MAX_EXTENT_DEPTH`).
const DEPTH_MAX: u16 = 5;
/// Lengths above say that the blocks were not written yet (`EXT_INIT_MAX_LEN`).
const WRITTEN_MAX: u16 = 1 << 15;
/// The most pieces of one file: a fragment of every block of 16 GiB.
const RUNS_MAX: usize = 1 << 24;

/// Blocks that follow each other in the file and in the image. What lies between two runs is a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
}

/// Returns the runs of the first `blocks` blocks of a file, in ascending order.
pub(super) fn runs(inner: &Inner, placed: &Placed, blocks: u64) -> Result<Vec<Run>> {
    let mut map =
        Map { inner, number: placed.number, blocks, runs: Vec::new(), mapped: 0, next: 0, seen: HashSet::new() };
    if super::has_extents(placed.flags) {
        map.extents(&placed.block, None)?;
    } else {
        map.pointers(&placed.block)?;
    }
    Ok(map.runs)
}

struct Map<'a> {
    inner: &'a Inner,
    number: u32,
    blocks: u64,
    runs: Vec<Run>,
    /// How many blocks they are: no more than there are, however often one is used.
    mapped: u64,
    /// The first logical block that was not spoken of yet: entries ascend, so that no node can be used twice.
    next: u64,
    /// Indirect blocks that were read.
    seen: HashSet<u64>,
}

impl Map<'_> {
    fn place(&self) -> String {
        format!("inode {}", self.number)
    }

    fn push(&mut self, run: Run) -> Result<()> {
        self.inner.check_blocks(run.physical, run.length, || self.place())?;
        self.mapped += run.length;
        if self.mapped > self.inner.superblock.blocks {
            let message =
                format!("uses more blocks than the {} that the file system has", self.inner.superblock.blocks);
            return corrupt(self.place(), message);
        }
        let full = self.runs.len() >= RUNS_MAX;
        match self.runs.last_mut() {
            Some(last) if last.logical + last.length == run.logical && last.physical + last.length == run.physical => {
                last.length += run.length;
            }
            _ if full => return corrupt(self.place(), "has more pieces than a file can have"),
            _ => self.runs.push(run),
        }
        Ok(())
    }

    /// Reads a node of the tree; `depth` is what it must say of itself.
    fn extents(&mut self, node: &[u8], depth: Option<u16>) -> Result<()> {
        let (magic, count, own) = (u16_at(node, 0), usize::from(u16_at(node, 2)), u16_at(node, 6));
        if magic != MAGIC || own > DEPTH_MAX || depth.is_some_and(|depth| depth != own) {
            return corrupt(self.place(), "has a node of its extents that is none");
        }
        if (count + 1) * ENTRY > node.len() || count == 0 && depth.is_some() {
            return corrupt(self.place(), format!("has a node of {count} extents"));
        }
        for entry in node[ENTRY..(count + 1) * ENTRY].chunks_exact(ENTRY) {
            let logical = u64::from(u32_at(entry, 0));
            if logical < self.next {
                return corrupt(self.place(), format!("has extents that overlap at its block {logical}"));
            }
            if own > 0 {
                let block = u64::from(u16_at(entry, 8)) << 32 | u64::from(u32_at(entry, 4));
                let child = self.inner.block(block, || self.place())?;
                self.extents(&child, Some(own - 1))?;
                continue;
            }
            let length = u16_at(entry, 4);
            let (length, written) = if length > WRITTEN_MAX { (length - WRITTEN_MAX, false) } else { (length, true) };
            if length == 0 {
                return corrupt(self.place(), "has an extent of no blocks");
            }
            self.next = logical + u64::from(length);
            if written {
                let physical = u64::from(u16_at(entry, 6)) << 32 | u64::from(u32_at(entry, 8));
                self.push(Run { logical, physical, length: length.into() })?;
            }
        }
        Ok(())
    }

    /// Reads the twelve direct pointers and the three trees of indirect ones.
    fn pointers(&mut self, block: &[u8; POINTER_BYTES]) -> Result<()> {
        let fan = self.inner.superblock.block_bytes / 4;
        let mut logical = 0;
        for index in 0..15 {
            let level = (index as u32).saturating_sub(11);
            self.pointer(u64::from(u32_at(block, index * 4)), level, logical)?;
            logical += fan.pow(level);
        }
        Ok(())
    }

    /// Follows a pointer to content (level 0), or to a block of pointers.
    fn pointer(&mut self, physical: u64, level: u32, logical: u64) -> Result<()> {
        if physical == 0 || logical >= self.blocks {
            return Ok(());
        }
        if level == 0 {
            return self.push(Run { logical, physical, length: 1 });
        }
        if !self.seen.insert(physical) {
            return corrupt(self.place(), format!("uses block {physical} twice for its map"));
        }
        let block = self.inner.block(physical, || self.place())?;
        let below = (self.inner.superblock.block_bytes / 4).pow(level - 1);
        for (index, pointer) in block.chunks_exact(4).enumerate() {
            self.pointer(u64::from(u32_at(pointer, 0)), level - 1, logical + index as u64 * below)?;
        }
        Ok(())
    }
}
