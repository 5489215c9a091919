//! Chunks, compressed alone, and what joins them to one stream.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};
use lzma_rust2::{CheckType, XzOptions, XzWriter};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::Format;

/// The head of a gzip member: no name, no time, and no system (RFC 1952, 2.3.1).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block of deflate.
const DEFLATE_END: [u8; 2] = [3, 0];
/// The .xz file format, 2.1.1: magic bytes, and the stream's flags for CRC-64.
const XZ_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const XZ_FLAGS: [u8; 2] = [0, 4];
const XZ_HEAD_BYTES: usize = 12;

/// A chunk, compressed.
#[derive(Clone)]
pub(super) struct Chunk {
    pub bytes: Vec<u8>,
    size: u64,
    /// gzip's sum of the content.
    sum: Arc<Crc>,
    /// The size of xz's block without its padding.
    unpadded: u64,
}

impl Chunk {
    pub fn new(format: Format, level: u32, content: &[u8]) -> io::Result<Self> {
        let chunk = |bytes| Chunk { bytes, size: content.len() as u64, sum: Arc::default(), unpadded: 0 };
        match format {
            Format::Gzip => {
                let mut sum = Crc::new();
                sum.update(content);
                Ok(Chunk { sum: Arc::new(sum), ..chunk(deflate(content, level)?) })
            }
            Format::Xz => {
                let mut options = XzOptions::with_preset(level.min(9));
                options.set_check_sum_type(CheckType::Crc64);
                options.lzma_options.dict_size = options.lzma_options.dict_size.min(format.chunk_bytes() as u32);
                let mut writer = XzWriter::new(Vec::new(), options)?;
                writer.write_all(content)?;
                let stream = writer.finish()?;
                let (block, unpadded) = block_of(&stream).ok_or_else(|| io::Error::other("xz: not one block"))?;
                Ok(Chunk { unpadded, ..chunk(block.to_vec()) })
            }
            Format::Zstd => Ok(chunk(compress_to_vec(content, CompressionLevel::Fastest))),
        }
    }
}

/// Returns deflate blocks that end at a whole byte, and are not the last.
fn deflate(content: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(Level::new(level.min(9)), false);
    let mut bytes = Vec::with_capacity(content.len() / 2 + 1024);
    loop {
        let rest = &content[compress.total_in() as usize..];
        let status = compress.compress_vec(rest, &mut bytes, FlushCompress::Sync).map_err(io::Error::other)?;
        // All of the flush is out exactly if room is left behind it.
        if status == Status::Ok && compress.total_in() as usize == content.len() && bytes.len() < bytes.capacity() {
            return Ok(bytes);
        }
        bytes.reserve(bytes.len().max(1024));
    }
}

/// Takes the only block out of a stream, with its size before padding.
fn block_of(stream: &[u8]) -> Option<(&[u8], u64)> {
    let footer = stream.len().checked_sub(XZ_HEAD_BYTES)?;
    let backward: [u8; 4] = stream.get(footer + 4..footer + 8)?.try_into().ok()?;
    let index = footer.checked_sub((u32::from_le_bytes(backward) as usize + 1) * 4)?;
    let mut records = &stream[index..footer];
    let indicator = number(&mut records)?;
    let (count, unpadded) = (number(&mut records)?, number(&mut records)?);
    let block = stream.get(XZ_HEAD_BYTES..index)?;
    let whole = block.len() as u64 == unpadded.next_multiple_of(4);
    (indicator == 0 && count == 1 && whole).then_some((block, unpadded))
}

/// Reads one of xz's numbers of variable length (1.2).
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (place * 7);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// What stands before, behind and about the chunks of one stream.
pub(super) struct Joiner {
    format: Format,
    size: u64,
    sum: Crc,
    /// xz: unpadded size and content's size of each block.
    records: Vec<(u64, u64)>,
}

impl Joiner {
    pub fn new(format: Format) -> Self {
        Joiner { format, size: 0, sum: Crc::new(), records: Vec::new() }
    }

    /// Returns what comes first.
    pub fn head(&self) -> Vec<u8> {
        match self.format {
            Format::Gzip => GZIP_HEAD.to_vec(),
            Format::Xz => [&XZ_MAGIC[..], &XZ_FLAGS, &crc32(&XZ_FLAGS)].concat(),
            Format::Zstd => Vec::new(),
        }
    }

    /// Takes note of the next chunk.
    pub fn add(&mut self, chunk: &Chunk) {
        self.size += chunk.size;
        match self.format {
            Format::Gzip => self.sum.combine(&chunk.sum),
            Format::Xz => self.records.push((chunk.unpadded, chunk.size)),
            Format::Zstd => {}
        }
    }

    /// Returns what comes last.
    pub fn tail(&self) -> Vec<u8> {
        match self.format {
            Format::Gzip => {
                [&DEFLATE_END[..], &self.sum.sum().to_le_bytes(), &(self.size as u32).to_le_bytes()].concat()
            }
            Format::Xz => {
                let mut index = vec![0];
                put_number(&mut index, self.records.len() as u64);
                for &(unpadded, size) in &self.records {
                    put_number(&mut index, unpadded);
                    put_number(&mut index, size);
                }
                index.resize(index.len().next_multiple_of(4), 0);
                index.extend(crc32(&index));
                let backward = (index.len() / 4 - 1) as u32;
                let footer = [&backward.to_le_bytes()[..], &XZ_FLAGS].concat();
                [&index[..], &crc32(&footer), &footer, b"YZ"].concat()
            }
            // A stream is at least one frame, of nothing if need be.
            Format::Zstd if self.size == 0 => compress_to_vec(&[][..], CompressionLevel::Fastest),
            Format::Zstd => Vec::new(),
        }
    }
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_variable_length() {
        for value in [0, 1, 127, 128, 300, 1 << 40, (1 << 63) - 1] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            assert_eq!(number(&mut &bytes[..]), Some(value));
        }
        assert_eq!(number(&mut &[0x80; 20][..]), None);
        assert_eq!(number(&mut &[0x80][..]), None);
    }
}
