//! An image inside an image: its blocks of zeros become holes.
//!
//! They are found by reading, not by asking the file system for its holes: what that answers differs from one host to
//! the next, and would show in the bytes of what is made.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imagegen::tree::{Extent, Source};
use rustix::fs::SeekFrom;

use crate::error::{Error, Result};
use crate::step::output;
use crate::task::Task;

/// The grain of holes: the block size of what is written.
const BLOCK_BYTES: usize = 4096;

/// A file's content without its blocks of zeros.
#[derive(Debug)]
pub struct Sparse {
    file: File,
    size_bytes: u64,
    extents: Vec<Extent>,
}

impl Sparse {
    /// Opens a file and reads all of it that its file system does not already know to be zeros.
    pub fn open(path: &Path, task: &dyn Task) -> Result<Self> {
        let file = output::open(path)?;
        let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
        let size_bytes = file.metadata().map_err(failed)?.len();
        let mut extents: Vec<Extent> = Vec::new();
        let mut buffer = vec![0; output::CHUNK_BYTES];
        let mut at = 0;
        while at < size_bytes {
            task.cancel().check()?;
            // Skipping is only faster; a file system without holes answers with `at` itself.
            at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
                Ok(data) => data.max(at) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64,
                Err(rustix::io::Errno::NXIO) => break,
                Err(_) => at,
            };
            let length = usize::try_from(size_bytes - at).unwrap_or(usize::MAX).min(buffer.len());
            file.read_exact_at(&mut buffer[..length], at).map_err(failed)?;
            for block in buffer[..length].chunks(BLOCK_BYTES) {
                if block.iter().any(|&byte| byte != 0) {
                    match extents.last_mut() {
                        Some(last) if last.offset + last.length == at => last.length += block.len() as u64,
                        _ => extents.push(Extent { offset: at, length: block.len() as u64 }),
                    }
                }
                at += block.len() as u64;
            }
        }
        Ok(Sparse { file, size_bytes, extents })
    }
}

impl Source for Sparse {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn extents(&self) -> Vec<Extent> {
        self.extents.clone()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        (offset < self.size_bytes).then_some((&self.file, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Silent;

    #[test]
    fn zeros_are_holes_wherever_the_host_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 3 << 20];
        bytes[5000] = 1;
        bytes[9000] = 1;
        bytes[2 << 20] = 1;
        bytes.extend(b"tail");
        let (dense, sparse) = (folder.path().join("dense"), folder.path().join("sparse"));
        std::fs::write(&dense, &bytes).unwrap();
        let file = File::create(&sparse).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for at in [5000, 9000, 2 << 20] {
            file.write_all_at(&[1], at).unwrap();
        }
        file.write_all_at(b"tail", 3 << 20).unwrap();
        let wanted = [(4096, 8192), (2 << 20, 4096), (3 << 20, 4)];
        for path in [dense, sparse] {
            let source = Sparse::open(&path, &Silent::default()).unwrap();
            assert_eq!(source.size_bytes(), bytes.len() as u64);
            let extents: Vec<_> = source.extents().iter().map(|extent| (extent.offset, extent.length)).collect();
            assert_eq!(extents, wanted);
        }
    }
}
