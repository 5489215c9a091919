//! The plan: every inode measured and given its blocks, the image's geometry chosen.

use super::Options;
use super::error::{PlanError, Shortage};
use super::journal;
use super::layout::{BLOCKS_MAX, Layout, Slot};
use super::measure::Measured;
use super::number::Numbers;
use super::size::{self, Demand, Fit};
use crate::tree::{Extent, InodeId, Tree};

/// A tree laid out as an ext3 file system, ready to be written. It borrows the tree, so what is written is what was
/// planned.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) tree: &'a Tree,
    pub(super) options: Options,
    pub(super) numbers: Numbers,
    /// One for each node.
    pub(super) places: Vec<Place>,
    pub(super) shared: Vec<Shared>,
    /// The slot of the first of them.
    pub(super) first_shared: Slot,
    pub(super) layout: Layout,
    pub(super) journal_blocks: u32,
    /// Slots in use: the first of all.
    pub(super) used_slots: u32,
    pub(super) reserved_blocks: u32,
    usage: Usage,
}

/// Where an inode's blocks lie.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The first of its blocks.
    pub first: u32,
    /// Blocks of content with their indirect blocks.
    pub blocks: u32,
    /// A directory's blocks without the indirect ones.
    pub directory_blocks: u32,
    /// Whether that directory is hashed.
    pub hashed: bool,
    /// The place of its attribute block in [`Plan::shared`], counted from 1; 0 if it has none.
    pub shared: u32,
}

impl Place {
    /// Says whether the inode is a directory: each has at least one block.
    pub fn is_directory(&self) -> bool {
        self.directory_blocks > 0
    }
}

/// A block of attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    /// One of the inodes that have these attributes.
    pub id: InodeId,
    pub references: u32,
}

/// What an image's bytes are for; the fields ending in `_bytes` add up to its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Content of files and long symbolic links, with their indirect blocks.
    pub file_bytes: u64,
    /// Directories.
    pub directory_bytes: u64,
    /// Blocks of extended attributes.
    pub attribute_bytes: u64,
    /// Inode tables.
    pub inode_table_bytes: u64,
    /// The journal with its indirect blocks.
    pub journal_bytes: u64,
    /// Boot block, superblocks, descriptors with their room to grow, bitmaps.
    pub group_table_bytes: u64,
    /// What is left: asked for, or behind the last whole group.
    pub free_bytes: u64,
    /// Inodes there are.
    pub inodes: u32,
    /// Inodes in use, reserved ones included.
    pub used_inodes: u32,
}

impl<'a> Plan<'a> {
    /// Lays a tree out; reads sizes and extents, but no content.
    ///
    /// # Errors
    /// Whatever ext3 cannot hold, by path; options out of range; a given size that does not suffice, with the reasons.
    pub fn new(tree: &'a Tree, options: &Options) -> Result<Self, PlanError> {
        check(options)?;
        let numbers = Numbers::new(tree)?;
        let measured = Measured::new(tree, options, &numbers)?;
        let block_size = u64::from(options.block_size.bytes());
        let content = measured.slots();
        let inodes = u64::from(numbers.last()) + u64::from(options.free_inodes);
        if let Some(asked) = options.inodes
            && u64::from(asked) < inodes
        {
            let reason = format!("{asked} do not suffice, {inodes} are needed");
            return Err(PlanError::Option { name: "inodes", reason });
        }
        let demand = Demand { slots: content + options.free_bytes.div_ceil(block_size), inodes };
        let smallest = || {
            let error =
                PlanError::TooLarge { needed_bytes: demand.slots.saturating_mul(block_size), needed_inodes: inodes };
            size::exact(options, demand).ok_or(error)
        };
        let fit = match options.size_bytes {
            None => smallest()?,
            Some(bytes) => match size::given(options, demand, bytes / block_size) {
                Some(fit) => fit,
                None => {
                    let fit = smallest()?;
                    let bytes_needed = u64::from(fit.geometry.blocks) * block_size;
                    if bytes_needed <= bytes {
                        let reason = format!("{bytes} bytes need more groups than blocks of {block_size} can describe");
                        return Err(PlanError::Option { name: "size_bytes", reason });
                    }
                    return Err(PlanError::TooSmall(Box::new(Shortage {
                        given_bytes: bytes,
                        needed_bytes: bytes_needed,
                        usage: measured.usage(&numbers, &fit, bytes_needed),
                        biggest: measured.biggest(tree, &numbers, block_size),
                    })));
                }
            },
        };
        Ok(Plan::assemble(tree, options, numbers, measured, fit))
    }

    fn assemble(tree: &'a Tree, options: &Options, numbers: Numbers, measured: Measured, fit: Fit) -> Self {
        let block_size = options.block_size.bytes();
        let size_bytes = options.size_bytes.unwrap_or(u64::from(fit.geometry.blocks) * u64::from(block_size));
        let usage = measured.usage(&numbers, &fit, size_bytes);
        // The resize inode's block and the journal come first.
        let mut next = 1 + size::journal_slots(block_size, fit.journal_blocks) as u32;
        let Measured { mut places, shared, .. } = measured;
        let mut assign = |directories: bool, next: &mut u32| {
            for place in places.iter_mut().filter(|place| place.is_directory() == directories) {
                place.first = *next;
                *next += place.blocks;
            }
        };
        assign(true, &mut next);
        let first_shared = Slot(next);
        next += shared.len() as u32;
        assign(false, &mut next);
        let percent = options.reserved_percent.unwrap_or(if options.size_bytes.is_some() { 5 } else { 0 });
        let reserved = u64::from(fit.geometry.blocks) * u64::from(percent) / 100;
        let layout = Layout::new(fit.geometry);
        Plan {
            tree,
            options: options.clone(),
            numbers,
            places,
            shared,
            first_shared,
            journal_blocks: fit.journal_blocks,
            used_slots: next,
            reserved_blocks: reserved.min(u64::from(layout.geometry.slots() - next)) as u32,
            layout,
            usage,
        }
    }

    /// Returns the image's size: the given one, or the exact one.
    pub fn size_bytes(&self) -> u64 {
        let blocks = u64::from(self.layout.geometry.blocks) * u64::from(self.options.block_size.bytes());
        self.options.size_bytes.unwrap_or(blocks)
    }

    /// Returns what the image's bytes are for.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Returns the bytes that [`Plan::write`] reports as its progress when it is done.
    pub fn content_bytes(&self) -> u64 {
        u64::from(self.used_slots) * u64::from(self.options.block_size.bytes())
    }

    /// Returns the ranges of the image that mean something, ascending: what a medium with old content must be given,
    /// zeros (unused inodes, the empty journal) included. All else is free.
    pub fn extents(&self) -> Vec<Extent> {
        let geometry = &self.layout.geometry;
        let size = u64::from(self.options.block_size.bytes());
        let mut extents: Vec<Extent> = Vec::new();
        let mut add = |offset: u64, length: u64| match extents.last_mut() {
            Some(last) if last.offset + last.length == offset => last.length += length,
            _ => extents.push(Extent { offset, length }),
        };
        if geometry.first_data_block > 0 {
            add(0, size);
        }
        for group in 0..geometry.groups {
            let blocks = geometry.tables(group) + self.layout.used_in(group, self.used_slots);
            add(u64::from(geometry.group_start(group)) * size, u64::from(blocks) * size);
        }
        extents
    }
}

/// Checks what does not depend on the tree.
fn check(options: &Options) -> Result<(), PlanError> {
    let refuse = |name, reason: String| Err(PlanError::Option { name, reason });
    if options.label.len() > 16 || options.label.contains('\0') {
        return refuse("label", format!("'{}' has more than 16 bytes, or a NUL", options.label));
    }
    if let Some(percent) = options.reserved_percent
        && percent > 50
    {
        return refuse("reserved_percent", format!("{percent} is more than 50"));
    }
    if let Some(bytes) = options.size_bytes
        && bytes / u64::from(options.block_size.bytes()) > BLOCKS_MAX
    {
        let reason = format!("{bytes} bytes are more than 2^32-1 blocks of {}", options.block_size.bytes());
        return refuse("size_bytes", reason);
    }
    let journal = journal::BLOCKS_MIN..=journal::BLOCKS_MAX;
    if let Some(blocks) = options.journal_blocks
        && !journal.contains(&blocks)
    {
        return refuse("journal_blocks", format!("{blocks} is not from {} to {}", journal.start(), journal.end()));
    }
    Ok(())
}

/// Returns an inode's first path, for messages.
pub(super) fn path_of(tree: &Tree, wanted: InodeId) -> String {
    let mut found = None;
    tree.walk(|path, id| {
        if id == wanted && found.is_none() {
            found = Some(String::from_utf8_lossy(path).into_owned());
        }
    });
    found.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_string())
}
