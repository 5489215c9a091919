//! Bytes to be placed, read only while they are written out: an initramfs need not fit into our memory.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Something of known length that can be copied out, more than once and always alike.
pub trait Payload {
    /// Returns the length in bytes.
    fn size_bytes(&self) -> u64;
    /// Writes exactly that many bytes.
    fn copy_to(&self, out: &mut dyn Write) -> io::Result<()>;
}

impl Payload for [u8] {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn copy_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self)
    }
}

impl Payload for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn copy_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self)
    }
}

/// A file from its beginning to the length it had when it was handed over.
#[derive(Debug)]
pub struct FilePayload {
    file: File,
    size_bytes: u64,
}

impl FilePayload {
    /// Takes a regular file.
    pub fn new(file: File) -> io::Result<FilePayload> {
        let size_bytes = file.metadata()?.len();
        Ok(FilePayload { file, size_bytes })
    }
}

impl Payload for FilePayload {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn copy_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 18];
        let mut offset = 0;
        while offset < self.size_bytes {
            let length = (self.size_bytes - offset).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..length], offset)?;
            out.write_all(&buffer[..length])?;
            offset += length as u64;
        }
        Ok(())
    }
}
