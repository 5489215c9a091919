//! Writes the block map of an image.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use crate::tree::Extent;

/// Bytes of a block.
pub const BLOCK_BYTES: u64 = 4096;
/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Returns the map of an image, as XML. `mapped` are the ranges that mean something, ascending; `proceed` hears how many
/// of their bytes are read, and may break off with an error.
///
/// # Errors
/// Those of reading the image, and of `proceed`.
pub fn of(
    image: &File,
    size_bytes: u64,
    mapped: &[Extent],
    proceed: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<String> {
    let blocks = size_bytes.div_ceil(BLOCK_BYTES);
    let ranges = ranges(mapped, blocks);
    let count: u64 = ranges.iter().map(|(first, last)| last - first + 1).sum();
    let mut lines = String::new();
    let (mut buffer, mut done) = (vec![0; CHUNK_BYTES], 0);
    for (first, last) in ranges {
        let (mut at, end) = (first * BLOCK_BYTES, size_bytes.min((last + 1) * BLOCK_BYTES));
        let mut sum = Sha256::new();
        while at < end {
            let length = (end - at).min(CHUNK_BYTES as u64) as usize;
            image.read_exact_at(&mut buffer[..length], at)?;
            sum.update(&buffer[..length]);
            at += length as u64;
            done += length as u64;
            proceed(done)?;
        }
        let blocks = if first == last { first.to_string() } else { format!("{first}-{last}") };
        writeln!(lines, "        <Range chksum=\"{}\"> {blocks} </Range>", hex(&sum.finalize()))
            .expect("writing to a string succeeds");
    }
    // The file's own sum is that of the file with zeros in its place.
    let zeros = "0".repeat(64);
    let text = text(size_bytes, blocks, count, &zeros, &lines);
    let own = hex(&Sha256::digest(&text));
    Ok(text.replacen(&zeros, &own, 1))
}

/// Returns the blocks that the extents touch: first and last of each run, ascending.
fn ranges(mapped: &[Extent], blocks: u64) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for extent in mapped.iter().filter(|extent| extent.length > 0) {
        let first = extent.offset / BLOCK_BYTES;
        let last = ((extent.offset + extent.length - 1) / BLOCK_BYTES).min(blocks.saturating_sub(1));
        match ranges.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ if first <= last => ranges.push((first, last)),
            _ => {}
        }
    }
    ranges
}

fn text(size_bytes: u64, blocks: u64, count: u64, sum: &str, ranges: &str) -> String {
    format!(
        "<?xml version=\"1.0\" ?>\n\
         <!-- Which blocks of an image mean something: all others may be left as they are on the medium. -->\n\
         <bmap version=\"2.0\">\n    \
             <ImageSize> {size_bytes} </ImageSize>\n    \
             <BlockSize> {BLOCK_BYTES} </BlockSize>\n    \
             <BlocksCount> {blocks} </BlocksCount>\n    \
             <MappedBlocksCount> {count} </MappedBlocksCount>\n    \
             <ChecksumType> sha256 </ChecksumType>\n    \
             <BmapFileChecksum> {sum} </BmapFileChecksum>\n    \
             <BlockMap>\n{ranges}    </BlockMap>\n</bmap>\n"
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_become_runs_of_whole_blocks() {
        let extent = |offset, length| Extent { offset, length };
        let mapped = [extent(440, 72), extent(4095, 1), extent(8191, 2), extent(40_960, 0), extent(50_000, 10_000)];
        assert_eq!(ranges(&mapped, 14), [(0, 2), (12, 13)]);
        assert_eq!(ranges(&[extent(0, 1)], 1), [(0, 0)]);
        assert_eq!(ranges(&[], 0), []);
    }
}
