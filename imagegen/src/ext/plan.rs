//! The plan: every inode measured and given its blocks, the image's geometry chosen.

use super::Options;
use super::error::{PlanError, Shortage};
use super::journal;
use super::layout::{Layout, Slot};
use super::measure::Measured;
use super::number::Numbers;
use super::size::{self, Demand, Fit};
use crate::tree::{Extent, InodeId, Tree};

/// A tree laid out as a file system, ready to be written. It borrows the tree, so what is written is what was
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
    pub(super) first_of_journal: Slot,
    /// Slots in use: the first of all.
    pub(super) used_slots: u64,
    pub(super) reserved_blocks: u64,
    usage: Usage,
}

/// Where an inode's blocks lie.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The first of its blocks.
    pub first: u64,
    /// Blocks of content with what says where they lie: indirect blocks, or nodes of extents.
    pub blocks: u64,
    /// A directory's blocks without those.
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
    /// Content of files and long symbolic links, with their indirect blocks or nodes of extents.
    pub file_bytes: u64,
    /// Directories, likewise.
    pub directory_bytes: u64,
    /// Blocks of extended attributes.
    pub attribute_bytes: u64,
    /// Inode tables.
    pub inode_table_bytes: u64,
    /// The journal, likewise.
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
    /// Whatever the version cannot hold, by path; options out of range; a given size that does not suffice, with the
    /// reasons.
    pub fn new(tree: &'a Tree, options: &Options) -> Result<Self, PlanError> {
        check(options)?;
        let numbers = Numbers::new(tree, options.version)?;
        let measured = Measured::new(tree, options, &numbers)?;
        let block_size = u64::from(options.block_size.bytes());
        let inodes = u64::from(numbers.last()) + u64::from(options.free_inodes);
        if let Some(asked) = options.inodes
            && u64::from(asked) < inodes
        {
            let reason = format!("{asked} do not suffice, {inodes} are needed");
            return Err(PlanError::Option { name: "inodes", reason });
        }
        let more = |layout: &Layout, first: Slot| measured.slots_more(layout, first);
        let slots = measured.slots() + options.free_bytes.div_ceil(block_size);
        let demand = Demand { slots, inodes, more: &more };
        let smallest = || {
            let needed_bytes = demand.slots.saturating_mul(block_size);
            size::exact(options, &demand).ok_or(PlanError::TooLarge { needed_bytes, needed_inodes: inodes })
        };
        let fit = match options.size_bytes {
            None => smallest()?,
            Some(bytes) => match size::given(options, &demand, bytes / block_size) {
                Some(fit) => fit,
                None => {
                    let fit = smallest()?;
                    let bytes_needed = fit.layout.geometry.blocks * block_size;
                    if bytes_needed <= bytes {
                        let reason = format!("{bytes} bytes need more groups than blocks of {block_size} can describe");
                        return Err(PlanError::Option { name: "size_bytes", reason });
                    }
                    let biggest = measured.biggest(tree, &numbers, block_size);
                    let exact = Options { size_bytes: None, ..options.clone() };
                    return Err(PlanError::TooSmall(Box::new(Shortage {
                        given_bytes: bytes,
                        needed_bytes: bytes_needed,
                        usage: Plan::assemble(tree, &exact, numbers, measured, fit)?.usage,
                        biggest,
                    })));
                }
            },
        };
        Plan::assemble(tree, options, numbers, measured, fit)
    }

    fn assemble(
        tree: &'a Tree,
        options: &Options,
        numbers: Numbers,
        measured: Measured,
        fit: Fit,
    ) -> Result<Self, PlanError> {
        let mut places = measured.places.clone();
        let put = |number: usize, first: Slot, blocks: u64| {
            (places[number].first, places[number].blocks) = (first.0, blocks);
        };
        let Some(arranged) = measured.arrange(&fit.layout, fit.first_of_content(), put) else {
            // What fits was arranged before.
            let (needed_bytes, needed_inodes) = (u64::MAX, u64::from(numbers.last()));
            return Err(PlanError::TooLarge { needed_bytes, needed_inodes });
        };
        let shared = measured.shared;
        let first_of_journal = fit.first_of_journal();
        let Fit { layout, journal_blocks, journal_slots } = fit;
        let geometry = &layout.geometry;
        let block_size = u64::from(options.block_size.bytes());
        let size_bytes = options.size_bytes.unwrap_or(geometry.blocks * block_size);
        let tables = u64::from(geometry.first_data_block) + geometry.tables_total() + first_of_journal.0;
        let inode_tables = u64::from(geometry.groups) * u64::from(geometry.inode_table_blocks());
        let used = u64::from(geometry.first_data_block) + geometry.tables_total() + arranged.end.0;
        let usage = Usage {
            file_bytes: arranged.file_blocks * block_size,
            directory_bytes: arranged.directory_blocks * block_size,
            attribute_bytes: shared.len() as u64 * block_size,
            inode_table_bytes: inode_tables * block_size,
            journal_bytes: journal_slots * block_size,
            group_table_bytes: (tables - inode_tables) * block_size,
            free_bytes: size_bytes - used * block_size,
            inodes: geometry.inodes(),
            used_inodes: numbers.last(),
        };
        let percent = options.reserved_percent.unwrap_or(if options.size_bytes.is_some() { 5 } else { 0 });
        let reserved_blocks = geometry.blocks * u64::from(percent) / 100;
        Ok(Plan {
            tree,
            options: options.clone(),
            numbers,
            places,
            shared,
            first_shared: arranged.first_shared,
            journal_blocks,
            first_of_journal,
            used_slots: arranged.end.0,
            reserved_blocks: reserved_blocks.min(layout.slots() - arranged.end.0),
            layout,
            usage,
        })
    }

    /// Returns the image's size: the given one, or the exact one.
    pub fn size_bytes(&self) -> u64 {
        let blocks = self.layout.geometry.blocks;
        self.options.size_bytes.unwrap_or(blocks * u64::from(self.options.block_size.bytes()))
    }

    /// Returns what the image's bytes are for.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Returns the bytes that [`Plan::write`] reports as its progress when it is done.
    pub fn content_bytes(&self) -> u64 {
        self.used_slots * u64::from(self.options.block_size.bytes())
    }

    /// Returns the ranges of the image that mean something, ascending: what a medium with old content must be given,
    /// zeros (unused inodes, the empty journal) included. All else is free.
    pub fn extents(&self) -> Vec<Extent> {
        let size = u64::from(self.options.block_size.bytes());
        let tables = self.layout.tables.iter();
        let tables = tables.map(|table| table.block..table.block + u64::from(self.layout.table_blocks(table)));
        let boot = 0..u64::from(self.layout.geometry.first_data_block);
        let mut ranges: Vec<_> = tables.chain(self.layout.blocks_of(0..self.used_slots)).chain([boot]).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut extents: Vec<Extent> = Vec::new();
        for (offset, length) in ranges.into_iter().map(|range| (range.start * size, (range.end - range.start) * size)) {
            match extents.last_mut() {
                Some(last) if last.offset + last.length == offset => last.length += length,
                _ if length == 0 => {}
                _ => extents.push(Extent { offset, length }),
            }
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
        && bytes / u64::from(options.block_size.bytes()) > options.version.blocks_max()
    {
        let bits = options.version.blocks_max().count_ones();
        let reason = format!("{bytes} bytes are more than 2^{bits}-1 blocks of {}", options.block_size.bytes());
        return refuse("size_bytes", reason);
    }
    if options.journal_blocks.is_some() && !options.version.has_journal() {
        return refuse("journal_blocks", format!("{} has no journal", options.version.name()));
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
