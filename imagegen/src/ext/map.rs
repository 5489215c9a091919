//! A file's blocks: which it has, and what says where they lie.

pub(super) mod extents;
pub(super) mod indirect;
pub(super) mod ranks;

use extents::Tree;
use indirect::{Indirect, POINTERS};
use ranks::Ranks;

use super::inode::POINTER_BYTES;
use super::layout::{Layout, Slot};
use super::version::Version;

/// The blocks of one file.
#[derive(Debug)]
pub(super) enum Map {
    /// ext2 and ext3.
    Indirect(Indirect),
    /// ext4: the blocks of content.
    Extents { block_size: u32, content: Ranks },
}

impl Map {
    /// Returns the map of a file that has these logical blocks: ascending, possibly touching runs, all of them below
    /// [`addressable`].
    pub fn new(version: Version, block_size: u32, runs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut content = Ranks::default();
        for (start, end) in runs {
            content.add(start, end);
        }
        match version.has_extents() {
            true => Map::Extents { block_size, content },
            false => Map::Indirect(Indirect::new(block_size, content)),
        }
    }

    /// Returns the map of a file without holes.
    pub fn dense(version: Version, block_size: u32, blocks: u64) -> Self {
        Map::new(version, block_size, (blocks > 0).then_some((0, blocks)))
    }

    /// Returns the number of blocks, whatever lies wherever: with indirect ones, but without nodes of extents.
    pub fn blocks_anywhere(&self) -> u64 {
        match self {
            Map::Indirect(map) => map.total(),
            Map::Extents { content, .. } => content.total,
        }
    }

    /// Returns the number of blocks of a file that begins at a slot: with indirect ones, or nodes of extents.
    pub fn blocks(&self, layout: &Layout, first: Slot) -> u64 {
        match self {
            Map::Indirect(map) => map.total(),
            Map::Extents { block_size, content } => {
                content.total + extents::node_count(*block_size, content, layout, first)
            }
        }
    }

    /// Returns `i_block` of a file that begins at a slot.
    pub fn root(&self, layout: &Layout, first: Slot) -> [u8; POINTER_BYTES] {
        let mut out = [0; POINTER_BYTES];
        match self {
            Map::Indirect(map) => map.inode_pointers(|place, position| {
                debug_assert!(place < POINTERS);
                let block = layout.block(Slot(first.0 + position));
                out[place * 4..place * 4 + 4].copy_from_slice(&(block as u32).to_le_bytes());
            }),
            Map::Extents { block_size, content } => {
                Tree::new(*block_size, content, layout, first).write_root(layout, &mut out);
            }
        }
        out
    }
}

/// Returns how many blocks long a file can be.
pub(super) fn addressable(version: Version, block_size: u32) -> u64 {
    if version.has_extents() { extents::addressable() } else { indirect::addressable(block_size) }
}
