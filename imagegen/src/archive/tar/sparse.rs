//! Sparse files in tar: GNU's old header map and the three PAX ways, all turned into segments.

use std::ops::Range;

use super::ReadAt;
use super::header::{BLOCK, Header};
use super::pax::SparseRecords;
use super::scan::{Bytes, Content, malformed};
use crate::archive::Problem;
use crate::archive::slice::Segment;

// GNU tar's manual, "Basic Tar Format": `struct oldgnu_header` and `struct sparse_header`.
const OLD_MAP: Range<usize> = 386..482;
const OLD_EXTENDED: usize = 482;
const OLD_REAL_SIZE: Range<usize> = 483..495;
const ENTRY_BYTES: usize = 24;
const EXTENSION_MAP: Range<usize> = 0..504;
const EXTENSION_EXTENDED: usize = 504;

/// A piece of content: its offset in the file and its length.
pub(super) type Piece = (u64, u64);

/// Reads the map of an old GNU sparse header and its extension blocks. Returns the real size, the pieces, and the
/// position of the content.
pub(super) fn old_gnu<R: ReadAt + ?Sized>(
    bytes: &mut Bytes<'_, R>,
    header: &Header<'_>,
    header_at: u64,
) -> Result<(u64, Vec<Piece>, u64), Problem> {
    let size = header.number(OLD_REAL_SIZE, "real size").map_err(malformed)?;
    let mut pieces = Vec::new();
    read_entries(&header.0[OLD_MAP], &mut pieces)?;
    let mut more = header.0[OLD_EXTENDED] != 0;
    let mut at = header_at + BLOCK as u64;
    while more {
        let block = bytes.block(at)?.ok_or(Problem::Truncated("a sparse file's map"))?;
        read_entries(&block[EXTENSION_MAP], &mut pieces)?;
        more = block[EXTENSION_EXTENDED] != 0;
        at += BLOCK as u64;
    }
    Ok((size, pieces, at))
}

/// Reads the entries of one block, up to the first empty one.
fn read_entries(map: &[u8], pieces: &mut Vec<Piece>) -> Result<(), Problem> {
    for entry in map.chunks_exact(ENTRY_BYTES) {
        if entry[0] == 0 {
            break;
        }
        let number = |field: &[u8]| super::header::number(field).and_then(|value| u64::try_from(value).ok());
        let piece = number(&entry[..12]).zip(number(&entry[12..]));
        pieces.push(piece.ok_or_else(|| malformed("a sparse file's map holds something that is no number"))?);
    }
    Ok(())
}

/// Decides, for a regular member, whether PAX records make it sparse, and returns its content.
pub(super) fn pax_content<R: ReadAt + ?Sized>(
    bytes: &mut Bytes<'_, R>,
    records: &SparseRecords,
    position: u64,
    stored: u64,
) -> Result<Content, Problem> {
    match (records.major, records.size) {
        (Some(1), Some(size)) => {
            let (pieces, map_bytes) = map_in_content(bytes, position, stored)?;
            content(&pieces, size, position + map_bytes, stored - map_bytes)
        }
        (None | Some(0), Some(size)) => {
            if !records.map.len().is_multiple_of(2) {
                return Err(malformed("a sparse file's map ends with an offset that has no length"));
            }
            let pieces: Vec<Piece> = records.map.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            content(&pieces, size, position, stored)
        }
        (None, None) if records.map.is_empty() => Ok(Content::File { position, size: stored }),
        (Some(0 | 1) | None, None) => Err(malformed("a sparse file without its real size")),
        (Some(major), _) => Err(Problem::Unsupported(format!("GNU sparse format {major}").into())),
    }
}

/// Reads the map of format 1.0: decimal lines at the head of the content, in whole blocks. Returns the pieces and the
/// bytes that the map takes.
fn map_in_content<R: ReadAt + ?Sized>(
    bytes: &mut Bytes<'_, R>,
    position: u64,
    stored: u64,
) -> Result<(Vec<Piece>, u64), Problem> {
    let (mut numbers, mut wanted) = (Vec::new(), None);
    let (mut value, mut digits) = (0u64, 0);
    let mut used = 0;
    while wanted != Some(numbers.len()) {
        if used + BLOCK as u64 > stored {
            return Err(malformed("a sparse file's map is longer than its content"));
        }
        let block = bytes.block(position + used)?.ok_or(Problem::Truncated("a sparse file's map"))?;
        used += BLOCK as u64;
        for &byte in &block {
            match byte {
                b'0'..=b'9' => {
                    let next = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(byte - b'0')));
                    value = next.ok_or_else(|| malformed("a number in a sparse file's map is too large"))?;
                    digits += 1;
                }
                b'\n' if digits > 0 => {
                    match wanted {
                        None => {
                            let count = usize::try_from(value).ok().and_then(|count| count.checked_mul(2));
                            wanted = Some(count.ok_or_else(|| malformed("a sparse file's map is too long"))?);
                        }
                        Some(_) => numbers.push(value),
                    }
                    (value, digits) = (0, 0);
                }
                _ => return Err(malformed("a sparse file's map holds something that is no number")),
            }
            if wanted == Some(numbers.len()) {
                break;
            }
        }
    }
    Ok((numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect(), used))
}

/// Lays the pieces over the stored bytes.
///
/// # Errors
/// Pieces that overlap, go backwards or past `size`, or do not add up to what is stored.
pub(super) fn content(pieces: &[Piece], size: u64, position: u64, stored: u64) -> Result<Content, Problem> {
    let (mut segments, mut at, mut used) = (Vec::new(), 0u64, 0u64);
    for &(offset, length) in pieces {
        let end = offset.checked_add(length).filter(|&end| end <= size);
        let end = end.ok_or_else(|| malformed("a piece of a sparse file lies behind its end"))?;
        if length == 0 {
            continue;
        }
        if offset < at {
            return Err(malformed("the pieces of a sparse file overlap or go backwards"));
        }
        segments.push(Segment { offset, length, position: position.saturating_add(used) });
        at = end;
        // No overflow: the pieces do not overlap and lie within `size`.
        used += length;
    }
    if used != stored {
        return Err(malformed(format!("the pieces of a sparse file have {used} bytes, but {stored} are stored")));
    }
    if i64::try_from(size).is_err() {
        return Err(malformed("a sparse file is larger than any file can be"));
    }
    Ok(Content::Sparse { size, segments })
}
