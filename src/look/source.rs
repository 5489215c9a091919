//! Bytes to look into: a file of the host with its holes, and temporary files where something has to be unpacked first.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use imagegen::decompress;
use imagegen::tree::{Extent, Source};
use rustix::fs::{SeekFrom, seek};

/// What is unpacked at most, in bytes that are not zeros, and in all: a file that claims more means no good.
const DATA_BYTES_MAX: u64 = 64 << 30;
const SIZE_BYTES_MAX: u64 = 1 << 40;
/// How much is read at once, and the grain of the holes that are left.
const CHUNK_BYTES: usize = 256 << 10;
const GRAIN_BYTES: usize = 4 << 10;

/// A file of the host.
pub struct HostFile {
    file: Arc<File>,
    length: u64,
}

impl HostFile {
    /// Takes an open file as long as it is now.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(HostFile { file: Arc::new(file), length })
    }
}

impl Source for HostFile {
    fn size_bytes(&self) -> u64 {
        self.length
    }

    fn extents(&self) -> Vec<Extent> {
        let mut extents = Vec::new();
        let mut at = 0;
        while at < self.length {
            let start = match seek(&*self.file, SeekFrom::Data(at)) {
                Ok(start) if start < self.length => start,
                Err(rustix::io::Errno::NXIO) | Ok(_) => break,
                Err(_) => at,
            };
            let end = seek(&*self.file, SeekFrom::Hole(start)).unwrap_or(self.length).min(self.length);
            if end <= start {
                break;
            }
            extents.push(Extent { offset: start, length: end - start });
            at = end;
        }
        extents
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        (offset < self.length).then_some((&*self.file, offset))
    }
}

/// A source read from front to back.
struct Stream {
    source: Arc<dyn Source>,
    at: u64,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.source.size_bytes() - self.at).min(buffer.len() as u64) as usize;
        self.source.read_at(self.at, &mut buffer[..length])?;
        self.at += length as u64;
        Ok(length)
    }
}

/// Unpacks a compressed source into a temporary file, which is gone when nobody looks into it any more.
///
/// # Errors
/// What the decoder says, no room, or more than anybody would compress.
pub fn decompressed(source: &Arc<dyn Source>) -> io::Result<File> {
    let stream = BufReader::with_capacity(CHUNK_BYTES, Stream { source: source.clone(), at: 0 });
    copied(&mut decompress::reader(Box::new(stream))?)
}

/// Returns a source as a file of its own that begins and ends with it: itself, if it is one.
///
/// # Errors
/// It cannot be read, or there is no room for the copy.
pub fn as_file(source: &Arc<dyn Source>) -> io::Result<Arc<File>> {
    let size = source.size_bytes();
    if let Some((file, 0)) = source.file_at(0)
        && file.metadata()?.len() == size
    {
        return Ok(Arc::new(file.try_clone()?));
    }
    Ok(Arc::new(copied(&mut Stream { source: source.clone(), at: 0 })?))
}

/// Copies a stream into a temporary file, zeros left out.
fn copied(stream: &mut dyn Read) -> io::Result<File> {
    let file = tempfile::tempfile()?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut at, mut data) = (0, 0);
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match stream.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        for (index, grain) in buffer[..filled].chunks(GRAIN_BYTES).enumerate() {
            if grain.iter().any(|&byte| byte != 0) {
                file.write_all_at(grain, at + (index * GRAIN_BYTES) as u64)?;
                data += grain.len() as u64;
            }
        }
        at += filled as u64;
        if at > SIZE_BYTES_MAX || data > DATA_BYTES_MAX {
            let message = "it unpacks to more than 1 TiB, or more than 64 GiB of data";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if filled < buffer.len() {
            file.set_len(at)?;
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_keeps_its_holes() {
        let mut content = vec![0; 3 << 20];
        content[5] = 1;
        content[2 << 20] = 2;
        let source: Arc<dyn Source> = Arc::new(content.clone());
        let file = HostFile::new(copied(&mut Stream { source, at: 0 }).unwrap()).unwrap();
        assert_eq!(file.size_bytes(), content.len() as u64);
        let mut back = vec![9; content.len()];
        file.read_at(0, &mut back).unwrap();
        assert!(back == content);
        let data: u64 = file.extents().iter().map(|extent| extent.length).sum();
        assert!(data <= content.len() as u64 && file.extents().iter().any(|extent| extent.offset <= 5));
        let empty = HostFile::new(tempfile::tempfile().unwrap()).unwrap();
        assert_eq!(empty.extents(), []);
    }
}
