//! File content that lies in an open archive: one range of it, or several with holes between.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::tree::{Extent, Source};

/// A contiguous range of a file.
#[derive(Clone, Debug)]
pub struct FileSlice {
    file: Arc<File>,
    start: u64,
    length: u64,
}

impl FileSlice {
    /// Takes `length` bytes from `start`; the caller has checked that the file has them.
    pub fn new(file: Arc<File>, start: u64, length: u64) -> Self {
        FileSlice { file, start, length }
    }
}

impl Source for FileSlice {
    fn size_bytes(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, self.start + offset)
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        (offset < self.length).then(|| (&*self.file, self.start + offset))
    }
}

/// A range of a sparse file's content, and where its bytes lie in the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// First byte, from the start of the content.
    pub offset: u64,
    /// Length in bytes, above 0.
    pub length: u64,
    /// Where its first byte lies in the archive's file.
    pub position: u64,
}

/// A sparse file's content: segments of an archive, zeros between them.
#[derive(Clone, Debug)]
pub struct SparseSlice {
    file: Arc<File>,
    size: u64,
    segments: Vec<Segment>,
}

impl SparseSlice {
    /// Takes segments that ascend, do not overlap, are not empty and lie within `size`; the caller has checked that.
    pub fn new(file: Arc<File>, size: u64, segments: Vec<Segment>) -> Self {
        debug_assert!(segments.windows(2).all(|pair| pair[0].offset + pair[0].length <= pair[1].offset));
        debug_assert!(segments.last().is_none_or(|last| last.offset + last.length <= size));
        SparseSlice { file, size, segments }
    }

    /// Returns the index of the first segment that ends after `offset`.
    fn first_after(&self, offset: u64) -> usize {
        self.segments.partition_point(|segment| segment.offset + segment.length <= offset)
    }
}

impl Source for SparseSlice {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn extents(&self) -> Vec<Extent> {
        self.segments.iter().map(|&Segment { offset, length, .. }| Extent { offset, length }).collect()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.fill(0);
        for segment in &self.segments[self.first_after(offset)..] {
            if segment.offset >= end {
                break;
            }
            let from = segment.offset.max(offset);
            let to = (segment.offset + segment.length).min(end);
            let part = &mut buffer[(from - offset) as usize..(to - offset) as usize];
            self.file.read_exact_at(part, segment.position + (from - segment.offset))?;
        }
        Ok(())
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        let segment = self.segments.get(self.first_after(offset))?;
        (segment.offset <= offset).then(|| (&*self.file, segment.position + (offset - segment.offset)))
    }
}
