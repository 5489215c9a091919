//! What a tree needs before any place is chosen: the blocks of every inode, the attributes they share, and what the
//! version cannot hold.

use std::collections::HashMap;
use std::collections::hash_map;

use sha2::{Digest, Sha256};

use super::Options;
use super::directory::Directory;
use super::error::PlanError;
use super::inode::{POINTER_BYTES, encode_device};
use super::layout::{Layout, Slot};
use super::map::{self, Map};
use super::number::{Numbers, file};
use super::plan::{Place, Shared, path_of};
use super::xattr;
use crate::tree::{InodeId, Kind, Source, Tree};

/// Files named in a [`Shortage`](super::Shortage).
const BIGGEST: usize = 5;
/// The most a directory's size may be: it has only 32 bits, and drivers take them as signed.
const DIRECTORY_BYTES_MAX: u64 = (1 << 31) - 1;
/// So few blocks of content need no node above their extents, wherever they lie: an inode has room for four.
const NEVER_NODES: u64 = 4;

/// What a tree needs, before any place is chosen.
pub(super) struct Measured {
    pub places: Vec<Place>,
    pub shared: Vec<Shared>,
    /// By place: maps of those whose blocks are more or fewer depending on where they lie.
    maps: Vec<(usize, Map)>,
    /// The blocks of all places, wherever they lie.
    blocks: u64,
}

/// The end of an arrangement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arranged {
    /// The first slot of shared attributes.
    pub first_shared: Slot,
    /// The first slot that nothing takes.
    pub end: Slot,
    pub directory_blocks: u64,
    pub file_blocks: u64,
}

impl Measured {
    pub fn new(tree: &Tree, options: &Options, numbers: &Numbers) -> Result<Self, PlanError> {
        let mut measured = Measured {
            places: vec![Place::default(); numbers.nodes.len()],
            shared: Vec::new(),
            maps: Vec::new(),
            blocks: 0,
        };
        let (version, block_size) = (options.version, options.block_size.bytes());
        // By the digest of a block of attributes, the last block that holds it and may take more references.
        let mut known = HashMap::new();
        for (number, node) in numbers.nodes.iter().enumerate() {
            let place = &mut measured.places[number];
            let map = match node.id {
                Some(id) if !is_directory(tree, id) => content(tree, options, id)?,
                id => {
                    let directory = directory(tree, options, numbers, number);
                    let blocks = directory.blocks() as u64;
                    if blocks * u64::from(block_size) > DIRECTORY_BYTES_MAX {
                        let reason = "has more names than a directory of 2 GiB can hold".to_string();
                        return Err(file(tree, id.unwrap_or(Tree::ROOT), reason));
                    }
                    (place.directory_blocks, place.hashed) = (blocks as u32, directory.is_hashed());
                    Map::dense(version, block_size, blocks)
                }
            };
            place.blocks = map.blocks_anywhere();
            if (place.blocks + 1) * u64::from(block_size / 512) > u64::from(u32::MAX) && !version.has_huge_file() {
                let reason = "has more blocks than an inode's count of 512-byte sectors can say".to_string();
                return Err(file(tree, node.id.unwrap_or(Tree::ROOT), reason));
            }
            measured.blocks += place.blocks;
            if version.has_extents() && place.blocks > NEVER_NODES {
                measured.maps.push((number, map));
            }
            if let Some(id) = node.id {
                measured.places[number].shared = measured.share(tree, options, id, &mut known)?;
            }
        }
        Ok(measured)
    }

    /// Finds or adds an inode's block of attributes; returns its place, counted from 1, or 0.
    fn share(
        &mut self,
        tree: &Tree,
        options: &Options,
        id: InodeId,
        known: &mut HashMap<[u8; 32], u32>,
    ) -> Result<u32, PlanError> {
        let xattrs = &tree.inode(id).metadata.xattrs;
        let attributes = xattr::encode(xattrs, options.version, options.block_size.bytes());
        let Some(block) = attributes.map_err(|reason| file(tree, id, reason))?.block else { return Ok(0) };
        let place = match known.entry(Sha256::digest(&block).into()) {
            hash_map::Entry::Occupied(mut entry) => {
                if self.shared[*entry.get() as usize].references == xattr::REFERENCES_MAX {
                    entry.insert(self.shared.len() as u32);
                    self.shared.push(Shared { id, references: 0 });
                }
                *entry.get()
            }
            hash_map::Entry::Vacant(entry) => {
                self.shared.push(Shared { id, references: 0 });
                *entry.insert(self.shared.len() as u32 - 1)
            }
        };
        self.shared[place as usize].references += 1;
        Ok(place + 1)
    }

    /// Returns the slots for all of it, but for what depends on where it lies.
    pub fn slots(&self) -> u64 {
        self.blocks + self.shared.len() as u64
    }

    /// Returns the slots that depend on where things lie when they begin at a slot; `None` if the layout has too few.
    pub fn slots_more(&self, layout: &Layout, first: Slot) -> Option<u64> {
        if self.maps.is_empty() {
            return Some(0);
        }
        let arranged = self.arrange(layout, first, |_, _, _| {})?;
        Some(arranged.end.0 - first.0 - self.slots())
    }

    /// Gives everything its slots: directories, shared attributes, then files, each in the order of the inodes. Calls
    /// `put` with a place, its first slot and the number of them.
    pub fn arrange(&self, layout: &Layout, first: Slot, mut put: impl FnMut(usize, Slot, u64)) -> Option<Arranged> {
        let mut next = first;
        let mut row = |directories: bool, next: &mut Slot| {
            let row_start = *next;
            let of_row = |number: usize| self.places[number].is_directory() == directories;
            let mut maps = self.maps.iter().filter(|(number, _)| of_row(*number)).peekable();
            for number in (0..self.places.len()).filter(|&number| of_row(number)) {
                let mut blocks = self.places[number].blocks;
                if let Some((_, map)) = maps.next_if(|(other, _)| *other == number) {
                    if next.0 + blocks > layout.slots() {
                        return None;
                    }
                    blocks = map.blocks(layout, *next);
                }
                put(number, *next, blocks);
                next.0 += blocks;
            }
            Some(next.0 - row_start.0)
        };
        let directory_blocks = row(true, &mut next)?;
        let first_shared = next;
        next.0 += self.shared.len() as u64;
        let file_blocks = row(false, &mut next)?;
        Some(Arranged { first_shared, end: next, directory_blocks, file_blocks })
    }

    pub fn biggest(&self, tree: &Tree, numbers: &Numbers, block_size: u64) -> Vec<(String, u64)> {
        let nodes = numbers.nodes.iter().zip(&self.places);
        let mut files: Vec<(u64, InodeId)> = nodes
            .filter(|(_, place)| place.blocks > 0 && !place.is_directory())
            .filter_map(|(node, place)| Some((place.blocks, node.id?)))
            .collect();
        files.sort_by_key(|&(blocks, id)| (std::cmp::Reverse(blocks), id));
        files.truncate(BIGGEST);
        files.into_iter().map(|(blocks, id)| (path_of(tree, id), blocks * block_size)).collect()
    }
}

/// Returns the layout of a directory.
pub(super) fn directory<'a>(tree: &'a Tree, options: &Options, numbers: &Numbers, node: usize) -> Directory<'a> {
    let block_size = options.block_size.bytes();
    // mke2fs gives lost+found 16 KiB, or as much as needs no indirect block.
    let blocks_min = if node == 1 { (16_384 / block_size).min(12) } else { 1 };
    Directory::new(
        block_size,
        options.version.has_checksums(),
        &options.hash_seed,
        numbers.entries(tree, node),
        blocks_min as usize,
    )
}

/// Returns the blocks of anything but a directory, and refuses what the version cannot hold.
fn content(tree: &Tree, options: &Options, id: InodeId) -> Result<Map, PlanError> {
    let (version, block_size) = (options.version, options.block_size.bytes());
    let refuse = |reason: String| Err(file(tree, id, reason));
    let blocks = match &tree.inode(id).kind {
        Kind::File(source) => return file_map(&**source, options).or_else(refuse),
        Kind::Symlink(target) if target.len() < POINTER_BYTES => 0,
        Kind::Symlink(target) if target.len() < block_size as usize => 1,
        Kind::Symlink(target) => {
            return refuse(format!(
                "a symbolic link's target of {} bytes does not fit into a block of {block_size}",
                target.len()
            ));
        }
        Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            if encode_device(*major, *minor).is_none() {
                return refuse(format!("a device number {major}:{minor} is above 4095:1048575"));
            }
            0
        }
        Kind::Directory(_) | Kind::Fifo | Kind::Socket => 0,
    };
    Ok(Map::dense(version, block_size, blocks))
}

/// Returns a file's blocks as its source describes them, or what is wrong with the description.
pub(super) fn file_map(source: &dyn Source, options: &Options) -> Result<Map, String> {
    let (version, block_size) = (options.version, options.block_size.bytes());
    let (size, block) = (source.size_bytes(), u64::from(block_size));
    let limit = map::addressable(version, block_size) * block;
    if size > limit {
        let name = version.name();
        return Err(format!("its {size} bytes are more than {name}'s {limit} with blocks of {block_size}"));
    }
    let extents = source.extents();
    let mut end = 0;
    for extent in &extents {
        match extent.offset.checked_add(extent.length) {
            Some(next) if extent.offset >= end && next <= size => end = next,
            _ => return Err("its source describes overlapping data, or data behind its end".to_string()),
        }
    }
    let runs = extents.iter().filter(|extent| extent.length > 0);
    let runs = runs.map(|run| (run.offset / block, (run.offset + run.length).div_ceil(block)));
    Ok(Map::new(version, block_size, runs))
}

/// Says whether an inode of the tree is a directory.
fn is_directory(tree: &Tree, id: InodeId) -> bool {
    matches!(tree.inode(id).kind, Kind::Directory(_))
}
