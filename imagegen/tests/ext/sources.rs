//! Content for test trees: sparse files, files on the host, files that misbehave.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use imagegen::tree::{Extent, Source};

/// A file of which only some ranges hold data.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    pub size: u64,
    pub data: BTreeMap<u64, Vec<u8>>,
}

impl Source for Sparse {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn extents(&self) -> Vec<Extent> {
        self.data.iter().map(|(&offset, data)| Extent { offset, length: data.len() as u64 }).collect()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        let first = self.data.range(..=offset).next_back().map_or(offset, |(&start, _)| start);
        for (&start, data) in self.data.range(first..end) {
            let (from, to) = (start.max(offset), (start + data.len() as u64).min(end));
            if from < to {
                let part = &data[(from - start) as usize..(to - start) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
            }
        }
        Ok(())
    }
}

/// A part of a file on the host, which the kernel may copy.
pub struct Part {
    pub file: File,
    pub offset: u64,
    pub size: u64,
}

impl Source for Part {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, self.offset + offset)
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        Some((&self.file, self.offset + offset))
    }
}

/// A file that somebody else appends to.
#[derive(Default)]
pub struct Growing(AtomicU64);

impl Growing {
    pub fn grow(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Source for Growing {
    fn size_bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn read_at(&self, _: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(1);
        Ok(())
    }
}

/// A file that cannot be read, or describes itself wrongly.
pub struct Broken {
    pub size: u64,
    pub extents: Vec<Extent>,
}

impl Source for Broken {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn extents(&self) -> Vec<Extent> {
        self.extents.clone()
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("the drawer is stuck"))
    }
}
