//! A folder's names, block by block. The tables of a hashed folder look like empty blocks to who does not know them.

use std::sync::Arc;

use crate::little_endian::{u16_at, u32_at};
use crate::volume::{Entry, NAME_BYTES_MAX, NAMES_MAX, Names, NodeId, Result, corrupt, read_exact, sorted};

use super::content::{Content, Placed};
use super::inode::{FLAG_INLINE, Raw};
use super::{Inner, xattr};

/// Bytes of an entry before its name.
const HEAD: usize = 8;
/// The bytes of the parent's number with which a folder inside its inode begins.
const INLINE_PARENT: usize = 4;
/// How much of a folder inside its inode stands in `i_block`; the rest is an attribute.
const INLINE_FIRST: usize = 60;

/// Returns a folder's names, without `.` and `..`.
pub(super) fn entries(inner: &Arc<Inner>, raw: &Raw) -> Result<Names> {
    let place = || format!("inode {}", raw.number);
    let mut found = Vec::new();
    let types = inner.superblock.has_file_types();
    if raw.flags() & FLAG_INLINE != 0 {
        let bytes = xattr::inline_data(inner, raw)?;
        let (first, second) = bytes.split_at(bytes.len().min(INLINE_FIRST));
        collect(first.get(INLINE_PARENT..).unwrap_or_default(), types, &mut found, place)?;
        collect(second, types, &mut found, place)?;
        return Ok(sorted(found, NAME_BYTES_MAX, place));
    }
    let (size, block_bytes) = (raw.size_bytes(inner.superblock.has_large_directories()), inner.superblock.block_bytes);
    if !size.is_multiple_of(block_bytes) {
        return corrupt(place(), format!("is a folder of {size} bytes, which are no whole blocks"));
    }
    let content = Content::new(inner.clone(), Placed::of(raw), size);
    let mut block = vec![0; block_bytes as usize];
    let mut next = 0;
    for run in content.runs()? {
        for (logical, physical) in (run.logical..run.logical + run.length).zip(run.physical..) {
            if logical * block_bytes >= size {
                break;
            }
            if logical != next {
                return corrupt(place(), format!("is a folder without its block {next}"));
            }
            next += 1;
            read_exact(&*inner.device, physical * block_bytes, &mut block, place)?;
            collect(&block, types, &mut found, place)?;
        }
    }
    if next * block_bytes != size {
        return corrupt(place(), format!("is a folder without its block {next}"));
    }
    Ok(sorted(found, NAME_BYTES_MAX, place))
}

/// Adds the names of one block.
fn collect(block: &[u8], types: bool, found: &mut Vec<Entry>, place: impl Fn() -> String) -> Result<()> {
    let mut at = 0;
    while at + HEAD <= block.len() {
        let (number, length) = (u32_at(block, at), usize::from(u16_at(block, at + 4)));
        // The length of a block of 64 KiB does not fit: it is written as one of these.
        let length = if block.len() == 65_536 && matches!(length, 0 | 65_535) { 65_536 - at } else { length };
        // Without file types the length of a name has sixteen bits.
        let name_length = if types { usize::from(block[at + 6]) } else { usize::from(u16_at(block, at + 6)) };
        if length < HEAD || length % 4 != 0 || at + length > block.len() || HEAD + name_length > length && number != 0 {
            return corrupt(place(), format!("has an entry of {length} bytes at byte {at} of a block"));
        }
        let name = &block[at + HEAD..][..if number == 0 { 0 } else { name_length }];
        if number != 0 && name != b"." && name != b".." {
            if found.len() >= NAMES_MAX {
                return corrupt(place(), format!("has more than {NAMES_MAX} names"));
            }
            found.push(Entry { name: name.into(), id: NodeId(number.into()) });
        }
        at += length;
    }
    Ok(())
}
