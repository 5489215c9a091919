//! What a tree needs before any place is chosen: the blocks of every inode, the attributes they share, and what ext3
//! cannot hold.

use std::collections::HashMap;
use std::collections::hash_map;

use sha2::{Digest, Sha256};

use super::Options;
use super::blocks::{self, Map};
use super::directory::Directory;
use super::error::PlanError;
use super::inode::{POINTER_BYTES, encode_device};
use super::number::{Numbers, file};
use super::plan::{Place, Shared, Usage, path_of};
use super::size::{self, Fit};
use super::xattr;
use crate::tree::{InodeId, Kind, Source, Tree};

/// Files named in a [`Shortage`](super::Shortage).
const BIGGEST: usize = 5;
/// The most a directory's size may be: it has only 32 bits, and drivers take them as signed.
const DIRECTORY_BYTES_MAX: u64 = (1 << 31) - 1;

/// What a tree needs, before any place is chosen.
pub(super) struct Measured {
    pub places: Vec<Place>,
    pub shared: Vec<Shared>,
    directory_blocks: u64,
    file_blocks: u64,
}

impl Measured {
    pub fn new(tree: &Tree, options: &Options, numbers: &Numbers) -> Result<Self, PlanError> {
        let mut measured = Measured {
            places: vec![Place::default(); numbers.nodes.len()],
            shared: Vec::new(),
            directory_blocks: 0,
            file_blocks: 0,
        };
        let block_size = options.block_size.bytes();
        // By the digest of a block of attributes, the last block that holds it and may take more references.
        let mut known = HashMap::new();
        for (number, node) in numbers.nodes.iter().enumerate() {
            let place = &mut measured.places[number];
            let blocks = match node.id {
                Some(id) if !is_directory(tree, id) => content_blocks(tree, id, block_size)?,
                id => {
                    let directory = directory(tree, options, numbers, number);
                    let blocks = directory.blocks() as u64;
                    if blocks * u64::from(block_size) > DIRECTORY_BYTES_MAX {
                        let reason = "has more names than a directory of 2 GiB can hold".to_string();
                        return Err(file(tree, id.unwrap_or(Tree::ROOT), reason));
                    }
                    (place.directory_blocks, place.hashed) = (blocks as u32, directory.is_hashed());
                    Map::dense(block_size, blocks).total()
                }
            };
            *(if place.directory_blocks > 0 { &mut measured.directory_blocks } else { &mut measured.file_blocks }) +=
                blocks;
            if (blocks + 1) * u64::from(block_size / 512) > u64::from(u32::MAX) {
                let reason = "has more blocks than an inode's count of 512-byte sectors can say".to_string();
                return Err(file(tree, node.id.unwrap_or(Tree::ROOT), reason));
            }
            place.blocks = blocks as u32;
            if let Some(id) = node.id {
                measured.places[number].shared = measured.share(tree, id, block_size, &mut known)?;
            }
        }
        Ok(measured)
    }

    /// Finds or adds an inode's block of attributes; returns its place, counted from 1, or 0.
    fn share(
        &mut self,
        tree: &Tree,
        id: InodeId,
        block_size: u32,
        known: &mut HashMap<[u8; 32], u32>,
    ) -> Result<u32, PlanError> {
        let attributes = xattr::encode(&tree.inode(id).metadata.xattrs, block_size);
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

    /// Returns the slots for all of it, the resize inode's block included.
    pub fn slots(&self) -> u64 {
        1 + self.directory_blocks + self.file_blocks + self.shared.len() as u64
    }

    pub fn usage(&self, numbers: &Numbers, fit: &Fit, size_bytes: u64) -> Usage {
        let Fit { geometry, journal_blocks } = fit;
        let size = u64::from(geometry.block_size.bytes());
        let inode_table_bytes = u64::from(geometry.groups) * u64::from(geometry.inode_table_blocks()) * size;
        let tables = u64::from(geometry.first_data_block) + u64::from(geometry.tables_total()) + 1;
        let journal_slots = size::journal_slots(geometry.block_size.bytes(), *journal_blocks);
        let used = tables + journal_slots + self.slots() - 1;
        Usage {
            file_bytes: self.file_blocks * size,
            directory_bytes: self.directory_blocks * size,
            attribute_bytes: self.shared.len() as u64 * size,
            inode_table_bytes,
            journal_bytes: journal_slots * size,
            group_table_bytes: tables * size - inode_table_bytes,
            free_bytes: size_bytes - used * size,
            inodes: geometry.inodes(),
            used_inodes: numbers.last(),
        }
    }

    pub fn biggest(&self, tree: &Tree, numbers: &Numbers, block_size: u64) -> Vec<(String, u64)> {
        let nodes = numbers.nodes.iter().zip(&self.places);
        let mut files: Vec<(u32, InodeId)> = nodes
            .filter(|(_, place)| place.blocks > 0 && !place.is_directory())
            .filter_map(|(node, place)| Some((place.blocks, node.id?)))
            .collect();
        files.sort_by_key(|&(blocks, id)| (std::cmp::Reverse(blocks), id));
        files.truncate(BIGGEST);
        files.into_iter().map(|(blocks, id)| (path_of(tree, id), u64::from(blocks) * block_size)).collect()
    }
}

/// Returns the layout of a directory.
pub(super) fn directory<'a>(tree: &'a Tree, options: &Options, numbers: &Numbers, node: usize) -> Directory<'a> {
    let block_size = options.block_size.bytes();
    // mke2fs gives lost+found 16 KiB, or as much as needs no indirect block.
    let blocks_min = if node == 1 { (16_384 / block_size).min(12) } else { 1 };
    Directory::new(block_size, &options.hash_seed, numbers.entries(tree, node), blocks_min as usize)
}

/// Returns the blocks of anything but a directory, and refuses what ext3 cannot hold.
fn content_blocks(tree: &Tree, id: InodeId, block_size: u32) -> Result<u64, PlanError> {
    let refuse = |reason: String| Err(file(tree, id, reason));
    match &tree.inode(id).kind {
        Kind::File(source) => match file_map(&**source, block_size) {
            Ok(map) => Ok(map.total()),
            Err(reason) => refuse(reason),
        },
        Kind::Symlink(target) if target.len() < POINTER_BYTES => Ok(0),
        Kind::Symlink(target) if target.len() < block_size as usize => Ok(1),
        Kind::Symlink(target) => refuse(format!(
            "a symbolic link's target of {} bytes does not fit into a block of {block_size}",
            target.len()
        )),
        Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            match encode_device(*major, *minor) {
                Some(_) => Ok(0),
                None => refuse(format!("a device number {major}:{minor} is above 4095:1048575")),
            }
        }
        Kind::Directory(_) | Kind::Fifo | Kind::Socket => Ok(0),
    }
}

/// Returns a file's blocks as its source describes them, or what is wrong with the description.
pub(super) fn file_map(source: &dyn Source, block_size: u32) -> Result<Map, String> {
    let (size, block) = (source.size_bytes(), u64::from(block_size));
    let limit = blocks::addressable(block_size) * block;
    if size > limit {
        return Err(format!("its {size} bytes are more than ext3's {limit} with blocks of {block_size}"));
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
    Ok(Map::new(block_size, runs.map(|run| (run.offset / block, (run.offset + run.length).div_ceil(block)))))
}

/// Says whether an inode of the tree is a directory.
fn is_directory(tree: &Tree, id: InodeId) -> bool {
    matches!(tree.inode(id).kind, Kind::Directory(_))
}
