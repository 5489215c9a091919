//! The plan carried out: groups' tables and content, front to back.

use std::fs::File;
use std::ops::ControlFlow;

use super::checksum::Sum;
use super::group;
use super::inode::{JOURNAL_INO, POINTER_BYTES};
use super::journal;
use super::layout::Slot;
use super::map::Map;
use super::map::extents::Tree;
use super::map::indirect::Piece;
use super::measure::{directory, file_map};
use super::number::number;
use super::plan::{Place, Plan, path_of};
use super::xattr;
use crate::image_error::WriteError;
use crate::sink::{CopyError, Sink};
use crate::tree::{Extent, InodeId, Kind, Source};

/// Between two reports of progress, in bytes.
const REPORT_EVERY: u64 = 1 << 20;

impl Plan<'_> {
    /// Writes the image into a file, from `offset` on, and leaves the file at least so long.
    ///
    /// The range becomes holes first; only what is not zero by plan is written. `progress` hears how many of
    /// [`Plan::content_bytes`] are done, and may break off.
    ///
    /// # Errors
    /// The file that could not be read or no longer is what it was; the output; [`WriteError::Cancelled`].
    pub fn write(
        &self,
        file: &File,
        offset: u64,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), WriteError> {
        let sink = Sink::new(file, offset, self.size_bytes()).map_err(WriteError::Output)?;
        let map = self.map_of_blocks(u64::from(self.journal_blocks));
        let usages = self.usages();
        let mut writer = Writer {
            plan: self,
            block_size: self.options.block_size.bytes(),
            sink,
            descriptors: self.descriptors(&usages),
            usages,
            journal_pointers: map.root(&self.layout, self.first_of_journal),
            next_table: 0,
            reported: 0,
            progress,
        };
        writer.content(&map)?;
        writer.tables_to(u64::MAX)?;
        writer.sink.flush().map_err(WriteError::Output)?;
        match (writer.progress)(self.content_bytes()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(WriteError::Cancelled),
        }
    }

    /// Returns the map of so many blocks without a hole.
    pub(super) fn map_of_blocks(&self, blocks: u64) -> Map {
        Map::dense(self.options.version, self.options.block_size.bytes(), blocks)
    }

    /// Returns what the file system's checksums begin with, if it has any.
    pub(super) fn sum(&self) -> Option<Sum> {
        self.options.version.has_checksums().then(|| Sum::of_file_system(&self.options.uuid))
    }

    /// Returns the error for content that is not what was planned.
    pub(super) fn changed(&self, id: InodeId) -> WriteError {
        WriteError::Changed { path: path_of(self.tree, id) }
    }

    /// Returns a file's blocks, if they still are as many as were planned.
    pub(super) fn map(&self, id: InodeId, source: &dyn Source, place: &Place) -> Result<Map, WriteError> {
        let map = file_map(source, &self.options).map_err(|_| self.changed(id))?;
        let fits = map.blocks_anywhere() <= place.blocks;
        if fits && map.blocks(&self.layout, Slot(place.first)) == place.blocks {
            Ok(map)
        } else {
            Err(self.changed(id))
        }
    }
}

/// An image being written.
pub(super) struct Writer<'p, 'a> {
    pub plan: &'p Plan<'a>,
    pub block_size: u32,
    sink: Sink<'p>,
    /// By group.
    pub usages: Vec<group::Usage>,
    pub descriptors: Vec<u8>,
    pub journal_pointers: [u8; POINTER_BYTES],
    /// The first of the layout's tables that is not written yet.
    next_table: usize,
    reported: u64,
    progress: &'p mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Writer<'_, '_> {
    /// Writes all content, in the order of its slots.
    fn content(&mut self, journal: &Map) -> Result<(), WriteError> {
        let plan = self.plan;
        let size = self.block_size as usize;
        if plan.layout.geometry.has_resize_inode() {
            let position = self.reach(Slot(0))?;
            group::write_resize_block(&plan.layout.geometry, self.room(position, size)?);
        }
        self.blocks(JOURNAL_INO, plan.first_of_journal, journal, |writer, logical, position, _| match logical {
            0 => {
                let mut block = vec![0; size];
                journal::write_superblock(&mut block, size as u32, plan.journal_blocks, &plan.options.uuid);
                writer.put(position, &block)
            }
            _ => Ok(()),
        })?;
        for node in (0..plan.places.len()).filter(|&node| plan.places[node].is_directory()) {
            self.directory(node)?;
        }
        for (number, shared) in plan.shared.iter().enumerate() {
            let position = self.reach(Slot(plan.first_shared.0 + number as u64))?;
            let xattrs = &plan.tree.inode(shared.id).metadata.xattrs;
            let attributes = xattr::encode(xattrs, plan.options.version, self.block_size);
            let Some(mut block) = attributes.ok().and_then(|made| made.block) else {
                return Err(plan.changed(shared.id));
            };
            xattr::set_references(&mut block, shared.references);
            if let Some(sum) = plan.sum() {
                xattr::set_checksum(&mut block, position / u64::from(self.block_size), sum);
            }
            self.put(position, &block)?;
        }
        for (node, place) in plan.places.iter().enumerate().filter(|(_, place)| place.blocks > 0) {
            let Some(id) = plan.numbers.nodes[node].id else { continue };
            match &plan.tree.inode(id).kind {
                Kind::File(source) => self.file(id, number(node), &**source, place)?,
                Kind::Symlink(target) => {
                    let position = self.reach(Slot(place.first))?;
                    self.put(position, target)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn directory(&mut self, node: usize) -> Result<(), WriteError> {
        let plan = self.plan;
        let directory = directory(plan.tree, &plan.options, &plan.numbers, node);
        let map = plan.map_of_blocks(directory.blocks() as u64);
        let (ino, parent) = (number(node), plan.numbers.nodes[node].parent);
        let sum = plan.sum().map(|sum| sum.of_inode(ino));
        self.blocks(ino, Slot(plan.places[node].first), &map, |writer, logical, position, count| {
            let size = writer.block_size as usize;
            for block in 0..count {
                let out = writer.room(position + block * size as u64, size)?;
                directory.write((logical + block) as usize, ino, parent, sum, out);
            }
            Ok(())
        })
    }

    fn file(&mut self, id: InodeId, ino: u32, source: &dyn Source, place: &Place) -> Result<(), WriteError> {
        let plan = self.plan;
        let map = plan.map(id, source, place)?;
        let size = source.size_bytes();
        let extents = source.extents();
        self.blocks(ino, Slot(place.first), &map, |writer, logical, position, count| {
            let start = logical * u64::from(writer.block_size);
            let end = size.min(start + count * u64::from(writer.block_size));
            if end <= start {
                return Err(plan.changed(id));
            }
            writer.bytes(id, source, &extents, start, end, position)
        })
    }

    /// Copies a file's bytes `start..end` to a position of the image.
    fn bytes(
        &mut self,
        id: InodeId,
        source: &dyn Source,
        extents: &[Extent],
        start: u64,
        end: u64,
        position: u64,
    ) -> Result<(), WriteError> {
        self.sink.content(source, extents, (start, end), position).map_err(|error| match error {
            CopyError::Source(error) => WriteError::Source { path: path_of(self.plan.tree, id), error },
            CopyError::Output(error) => WriteError::Output(error),
            CopyError::Changed => self.plan.changed(id),
            CopyError::Cancelled => WriteError::Cancelled,
        })
    }

    /// Visits the blocks of one inode: writes those that say where the others lie, and has `fill` write content, given
    /// the logical block, its position in the image and how many follow each other there.
    fn blocks(
        &mut self,
        ino: u32,
        first: Slot,
        map: &Map,
        mut fill: impl FnMut(&mut Self, u64, u64, u64) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let layout = &self.plan.layout;
        let mut slot = first;
        let mut content = |writer: &mut Self, slot: &mut Slot, mut logical: u64, mut count: u64| {
            while count > 0 {
                let position = writer.reach(*slot)?;
                let run = count.min(layout.stretch(*slot).1);
                fill(writer, logical, position, run)?;
                (logical, count, *slot) = (logical + run, count - run, Slot(slot.0 + run));
            }
            Ok(())
        };
        match map {
            Map::Indirect(map) => map.visit(|piece| match piece {
                Piece::Data { logical, count } => content(self, &mut slot, logical, count),
                Piece::Indirect { level, index } => {
                    let position = self.reach(slot)?;
                    let out = self.room(position, self.block_size as usize)?;
                    out.fill(0);
                    map.pointers(level, index, |place, at| {
                        let block = layout.block(Slot(first.0 + at)) as u32;
                        out[place * 4..place * 4 + 4].copy_from_slice(&block.to_le_bytes());
                    });
                    slot.0 += 1;
                    Ok(())
                }
            }),
            Map::Extents { content: runs, .. } => {
                for run in &runs.runs {
                    content(self, &mut slot, run.start, run.end - run.start)?;
                }
                self.nodes(ino, &Tree::new(self.block_size, runs, layout, first), slot)
            }
        }
    }

    /// Writes the nodes above an inode's extents.
    fn nodes(&mut self, ino: u32, tree: &Tree, first: Slot) -> Result<(), WriteError> {
        let plan = self.plan;
        let Some(sum) = plan.sum().map(|sum| sum.of_inode(ino)) else { return Ok(()) };
        for node in 0..tree.nodes() {
            let position = self.reach(Slot(first.0 + node as u64))?;
            tree.write_node(&plan.layout, node, sum, self.room(position, self.block_size as usize)?);
        }
        Ok(())
    }

    /// Writes all tables that lie before a slot, reports progress, and returns the slot's position in the image.
    fn reach(&mut self, slot: Slot) -> Result<u64, WriteError> {
        let block = self.plan.layout.block(slot);
        self.tables_to(block)?;
        let done = slot.0 * u64::from(self.block_size);
        if done - self.reported >= REPORT_EVERY {
            self.reported = done;
            if (self.progress)(done).is_break() {
                return Err(WriteError::Cancelled);
            }
        }
        Ok(block * u64::from(self.block_size))
    }

    /// Writes all tables before a block.
    fn tables_to(&mut self, block: u64) -> Result<(), WriteError> {
        while let Some(table) = self.plan.layout.tables.get(self.next_table)
            && table.block < block
        {
            self.table(table)?;
            self.next_table += 1;
        }
        Ok(())
    }

    pub(super) fn room(&mut self, position: u64, length: usize) -> Result<&mut [u8], WriteError> {
        self.sink.room(position, length).map_err(WriteError::Output)
    }

    pub(super) fn put(&mut self, position: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.sink.put(position, bytes).map_err(WriteError::Output)
    }
}
