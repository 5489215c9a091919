//! The plan carried out: groups' tables and content, front to back.

use std::fs::File;
use std::ops::ControlFlow;

use super::blocks::{Map, POINTERS, Piece};
use super::error::WriteError;
use super::group;
use super::inode::POINTER_BYTES;
use super::journal;
use super::layout::Slot;
use super::measure::{directory, file_map};
use super::number::number;
use super::plan::{Plan, path_of};
use super::sink::{CAPACITY, Sink};
use super::xattr;
use crate::tree::{Extent, InodeId, Kind, Source};

/// Between two reports of progress, in bytes.
const REPORT_EVERY: u64 = 1 << 20;
/// From this many bytes on the kernel is asked to copy.
const COPY_MIN: u64 = 64 << 10;

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
        let mut journal_pointers = [0; POINTER_BYTES];
        let map = Map::dense(self.options.block_size.bytes(), u64::from(self.journal_blocks));
        self.pointers(&map, Slot(1), &mut journal_pointers);
        let mut writer = Writer {
            plan: self,
            block_size: self.options.block_size.bytes(),
            sink,
            descriptors: self.descriptors(),
            journal_pointers,
            next_group: 0,
            reported: 0,
            progress,
        };
        writer.content(&map)?;
        writer.tables_to(self.layout.geometry.groups)?;
        writer.sink.flush().map_err(WriteError::Output)?;
        match (writer.progress)(self.content_bytes()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(WriteError::Cancelled),
        }
    }

    /// Writes the pointers of an inode whose blocks begin at a slot.
    pub(super) fn pointers(&self, map: &Map, first: Slot, out: &mut [u8; POINTER_BYTES]) {
        map.inode_pointers(|place, position| {
            debug_assert!(place < POINTERS);
            let block = self.layout.block(Slot(first.0 + position as u32));
            out[place * 4..place * 4 + 4].copy_from_slice(&block.to_le_bytes());
        });
    }

    /// Returns the error for content that is not what was planned.
    pub(super) fn changed(&self, id: InodeId) -> WriteError {
        WriteError::Changed { path: path_of(self.tree, id) }
    }

    /// Returns a file's blocks, if they still are as many as were planned.
    pub(super) fn map(&self, id: InodeId, source: &dyn Source, blocks: u32) -> Result<Map, WriteError> {
        let map = file_map(source, self.options.block_size.bytes()).map_err(|_| self.changed(id))?;
        if map.total() == u64::from(blocks) { Ok(map) } else { Err(self.changed(id)) }
    }
}

/// An image being written.
pub(super) struct Writer<'p, 'a> {
    pub plan: &'p Plan<'a>,
    pub block_size: u32,
    sink: Sink<'p>,
    pub descriptors: Vec<u8>,
    pub journal_pointers: [u8; POINTER_BYTES],
    /// The first group whose tables are not written yet.
    next_group: u32,
    reported: u64,
    progress: &'p mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Writer<'_, '_> {
    /// Writes all content, in the order of its slots.
    fn content(&mut self, journal: &Map) -> Result<(), WriteError> {
        let plan = self.plan;
        let position = self.reach(Slot(0))?;
        let size = self.block_size as usize;
        group::write_resize_block(&plan.layout.geometry, self.room(position, size)?);
        self.blocks(Slot(1), journal, |writer, logical, position, _| match logical {
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
            let position = self.reach(Slot(plan.first_shared.0 + number as u32))?;
            let attributes = xattr::encode(&plan.tree.inode(shared.id).metadata.xattrs, self.block_size);
            let Some(mut block) = attributes.ok().and_then(|made| made.block) else {
                return Err(plan.changed(shared.id));
            };
            xattr::set_references(&mut block, shared.references);
            self.put(position, &block)?;
        }
        for (node, place) in plan.places.iter().enumerate().filter(|(_, place)| place.blocks > 0) {
            let Some(id) = plan.numbers.nodes[node].id else { continue };
            match &plan.tree.inode(id).kind {
                Kind::File(source) => self.file(id, &**source, Slot(place.first), place.blocks)?,
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
        let map = Map::dense(self.block_size, directory.blocks() as u64);
        let (ino, parent) = (number(node), plan.numbers.nodes[node].parent);
        self.blocks(Slot(plan.places[node].first), &map, |writer, logical, position, count| {
            let size = writer.block_size as usize;
            for block in 0..count {
                let out = writer.room(position + block * size as u64, size)?;
                directory.write((logical + block) as usize, ino, parent, out);
            }
            Ok(())
        })
    }

    fn file(&mut self, id: InodeId, source: &dyn Source, first: Slot, blocks: u32) -> Result<(), WriteError> {
        let plan = self.plan;
        let map = plan.map(id, source, blocks)?;
        let size = source.size_bytes();
        let extents = source.extents();
        self.blocks(first, &map, |writer, logical, position, count| {
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
        mut start: u64,
        end: u64,
        mut position: u64,
    ) -> Result<(), WriteError> {
        if end - start >= COPY_MIN
            && extent_at(extents, start).is_some_and(|extent| extent.offset + extent.length >= end)
            && let Some((file, at)) = source.file_at(start)
        {
            let copied = self.sink.copy(position, file, at, end - start).map_err(WriteError::Output)?;
            (start, position) = (start + copied, position + copied);
        }
        while start < end {
            let length = (end - start).min(CAPACITY as u64) as usize;
            let read = source.read_at(start, self.room(position, length)?);
            read.map_err(|error| WriteError::Source { path: path_of(self.plan.tree, id), error })?;
            (start, position) = (start + length as u64, position + length as u64);
        }
        Ok(())
    }

    /// Visits the blocks of one inode: writes the indirect ones, and has `fill` write content, given the logical
    /// block, its position in the image and how many follow each other there.
    fn blocks(
        &mut self,
        first: Slot,
        map: &Map,
        mut fill: impl FnMut(&mut Self, u64, u64, u64) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let layout = &self.plan.layout;
        let mut slot = first;
        map.visit(|piece| {
            match piece {
                Piece::Data { mut logical, mut count } => {
                    while count > 0 {
                        let position = self.reach(slot)?;
                        let run = count.min(u64::from(layout.contiguous(slot)));
                        fill(self, logical, position, run)?;
                        (logical, count, slot) = (logical + run, count - run, Slot(slot.0 + run as u32));
                    }
                }
                Piece::Indirect { level, index } => {
                    let position = self.reach(slot)?;
                    let out = self.room(position, self.block_size as usize)?;
                    out.fill(0);
                    map.pointers(level, index, |place, at| {
                        let block = layout.block(Slot(first.0 + at as u32));
                        out[place * 4..place * 4 + 4].copy_from_slice(&block.to_le_bytes());
                    });
                    slot.0 += 1;
                }
            }
            Ok(())
        })
    }

    /// Writes the tables of all groups up to a slot's, reports progress, and returns the slot's position in the image.
    fn reach(&mut self, slot: Slot) -> Result<u64, WriteError> {
        self.tables_to(self.plan.layout.group_of(slot) + 1)?;
        let done = u64::from(slot.0) * u64::from(self.block_size);
        if done - self.reported >= REPORT_EVERY {
            self.reported = done;
            if (self.progress)(done).is_break() {
                return Err(WriteError::Cancelled);
            }
        }
        Ok(u64::from(self.plan.layout.block(slot)) * u64::from(self.block_size))
    }

    fn tables_to(&mut self, groups: u32) -> Result<(), WriteError> {
        while self.next_group < groups {
            self.tables(self.next_group)?;
            self.next_group += 1;
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

/// Returns the extent that holds a byte.
fn extent_at(extents: &[Extent], offset: u64) -> Option<&Extent> {
    let place = extents.partition_point(|extent| extent.offset <= offset).checked_sub(1)?;
    extents.get(place).filter(|extent| offset - extent.offset < extent.length)
}
