//! Where an image's bytes go: collected into large writes, holes left out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;

use crate::tree::{Extent, Source};

/// Bytes collected before they are written: measured, larger ones leave the processor's cache and are slower.
pub(crate) const CAPACITY: usize = 1 << 17;
/// Gaps below this are written as zeros, being shorter than any block the output could leave out.
const GAP_MAX: u64 = 4096;
/// From this many bytes on the kernel is asked to copy.
const COPY_MIN: u64 = 64 << 10;

/// Between two reports of progress while one source is copied, in bytes.
const REPORT_EVERY: u64 = 16 << 20;

/// Which end of a copy failed.
pub(crate) enum CopyError {
    /// The content describes itself otherwise than before.
    Changed,
    /// The progress function asked to stop.
    Cancelled,
    /// The content could not be read.
    Source(io::Error),
    /// The output could not be written.
    Output(io::Error),
}

/// Writes pieces in ascending order into a file, from an offset on. What is left out reads as zeros.
pub(crate) struct Sink<'a> {
    file: &'a File,
    offset: u64,
    buffer: Box<[u8]>,
    /// The buffer's position in the image, and how much of it is filled.
    start: u64,
    filled: usize,
}

impl<'a> Sink<'a> {
    /// Prepares a range of the file: afterwards it reads as zeros and, at its end, exists.
    pub fn new(file: &'a File, offset: u64, size: u64) -> io::Result<Self> {
        let end = offset.checked_add(size).ok_or(io::ErrorKind::FileTooLarge)?;
        let length = file.metadata()?.len();
        if offset == 0 && length <= end {
            file.set_len(0)?;
        } else if length > offset {
            let old = length.min(end) - offset;
            rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, old)?;
        }
        if length <= end {
            file.set_len(end)?;
        }
        Ok(Sink { file, offset, buffer: vec![0; CAPACITY].into_boxed_slice(), start: 0, filled: 0 })
    }

    /// Returns room for up to [`CAPACITY`] bytes at a position, with old bytes in it: the caller fills all of it.
    pub fn room(&mut self, position: u64, length: usize) -> io::Result<&mut [u8]> {
        debug_assert!(position >= self.start + self.filled as u64 && length <= CAPACITY);
        let gap = position - (self.start + self.filled as u64);
        if self.filled == 0 || gap >= GAP_MAX || self.filled + gap as usize + length > CAPACITY {
            self.flush()?;
            self.start = position;
        } else {
            self.buffer[self.filled..self.filled + gap as usize].fill(0);
            self.filled += gap as usize;
        }
        let from = self.filled;
        self.filled += length;
        Ok(&mut self.buffer[from..self.filled])
    }

    /// Writes bytes at a position.
    pub fn put(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        for (number, chunk) in bytes.chunks(CAPACITY).enumerate() {
            self.room(position + (number * CAPACITY) as u64, chunk.len())?.copy_from_slice(chunk);
        }
        Ok(())
    }

    /// Lets the kernel copy from another file; returns how many bytes it would, which may be none.
    pub fn copy(&mut self, position: u64, from: &File, mut from_offset: u64, length: u64) -> io::Result<u64> {
        self.flush()?;
        let (mut at, mut left) = (self.offset + position, length);
        while left > 0 {
            let chunk = usize::try_from(left).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(from, Some(&mut from_offset), self.file, Some(&mut at), chunk) {
                Ok(0) => break,
                Ok(copied) => left -= copied as u64,
                Err(rustix::io::Errno::INTR) => {}
                // Other files, other kernels: what is not copied here is read and written.
                Err(rustix::io::Errno::NOSPC) => return Err(io::ErrorKind::StorageFull.into()),
                Err(_) => break,
            }
        }
        self.start = position + (length - left);
        Ok(length - left)
    }

    /// Copies a source's bytes `start..end`, of which `extents` are data, to a position: by the kernel where it can.
    pub fn content(
        &mut self,
        source: &dyn Source,
        extents: &[Extent],
        (mut start, end): (u64, u64),
        mut position: u64,
    ) -> Result<(), CopyError> {
        if end - start >= COPY_MIN
            && extent_at(extents, start).is_some_and(|extent| extent.offset + extent.length >= end)
            && let Some((file, at)) = source.file_at(start)
        {
            let copied = self.copy(position, file, at, end - start).map_err(CopyError::Output)?;
            (start, position) = (start + copied, position + copied);
        }
        while start < end {
            let length = (end - start).min(CAPACITY as u64) as usize;
            let room = self.room(position, length).map_err(CopyError::Output)?;
            source.read_at(start, room).map_err(CopyError::Source)?;
            (start, position) = (start + length as u64, position + length as u64);
        }
        Ok(())
    }

    /// Copies all of a source that is to be `size` bytes long; its holes are left out. `report` hears how far it is, and
    /// says whether to go on.
    pub fn whole(
        &mut self,
        source: &dyn Source,
        size: u64,
        position: u64,
        mut report: impl FnMut(u64) -> bool,
    ) -> Result<(), CopyError> {
        let extents = source.extents();
        let mut end = 0;
        for extent in &extents {
            let last = extent.offset.checked_add(extent.length).filter(|&last| last <= size && extent.offset >= end);
            end = last.ok_or(CopyError::Changed)?;
            let mut at = extent.offset;
            while at < end {
                let next = end.min(at + REPORT_EVERY);
                self.content(source, &extents, (at, next), position + at)?;
                at = next;
                if !report(at) {
                    return Err(CopyError::Cancelled);
                }
            }
        }
        if source.size_bytes() == size { Ok(()) } else { Err(CopyError::Changed) }
    }

    /// Writes what is collected.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer[..self.filled], self.offset + self.start)?;
        self.start += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

/// Returns the extent that holds a byte.
fn extent_at(extents: &[Extent], offset: u64) -> Option<&Extent> {
    let place = extents.partition_point(|extent| extent.offset <= offset).checked_sub(1)?;
    extents.get(place).filter(|extent| offset - extent.offset < extent.length)
}
