//! What a file holds: its blocks are looked up when it is first read.

use std::io;
use std::sync::{Arc, OnceLock};

use crate::tree::{Extent, Source};
use crate::volume::{Result, read_exact};

use super::super::inode::POINTER_BYTES;
use super::Inner;
use super::inode::Raw;
use super::map::{Run, runs};

/// Where an inode says that its content is.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub number: u32,
    pub flags: u32,
    pub block: [u8; POINTER_BYTES],
}

impl Placed {
    pub fn of(raw: &Raw) -> Self {
        Placed { number: raw.number, flags: raw.flags(), block: raw.block() }
    }
}

/// A file's content.
pub(super) struct Content {
    inner: Arc<Inner>,
    placed: Placed,
    size: u64,
    runs: OnceLock<Result<Vec<Run>>>,
}

impl Content {
    pub fn new(inner: Arc<Inner>, placed: Placed, size: u64) -> Self {
        Content { inner, placed, size, runs: OnceLock::new() }
    }

    /// Returns the runs that hold the content.
    pub fn runs(&self) -> Result<&[Run]> {
        let blocks = self.size.div_ceil(self.inner.superblock.block_bytes);
        let runs = self.runs.get_or_init(|| runs(&self.inner, &self.placed, blocks));
        runs.as_deref().map_err(Clone::clone)
    }
}

impl Source for Content {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    /// Where the map is damaged this is one piece, and reading it says what is wrong.
    fn extents(&self) -> Vec<Extent> {
        let Ok(runs) = self.runs() else { return whole(self.size) };
        let block_bytes = self.inner.superblock.block_bytes;
        let mut extents: Vec<Extent> = Vec::new();
        for run in runs {
            let offset = run.logical * block_bytes;
            if offset >= self.size {
                break;
            }
            let length = (run.length * block_bytes).min(self.size - offset);
            match extents.last_mut() {
                Some(last) if last.offset + last.length == offset => last.length += length,
                _ => extents.push(Extent { offset, length }),
            }
        }
        extents
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let runs = self.runs()?;
        let block_bytes = self.inner.superblock.block_bytes;
        buffer.fill(0);
        let first = runs.partition_point(|run| (run.logical + run.length) * block_bytes <= offset);
        for run in &runs[first..] {
            let start = run.logical * block_bytes;
            if start >= end {
                break;
            }
            let (from, to) = (start.max(offset), (start + run.length * block_bytes).min(end));
            let part = &mut buffer[(from - offset) as usize..(to - offset) as usize];
            let at = run.physical * block_bytes + (from - start);
            read_exact(&*self.inner.device, at, part, || format!("inode {}", self.placed.number))?;
        }
        Ok(())
    }
}

/// Returns all of a content of this size.
fn whole(size: u64) -> Vec<Extent> {
    if size == 0 { Vec::new() } else { vec![Extent { offset: 0, length: size }] }
}

/// Content that is there and cannot be read.
pub(super) struct Unreadable {
    pub size: u64,
    pub reason: &'static str,
}

impl Source for Unreadable {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, self.reason))
    }
}
