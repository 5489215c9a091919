//! Extended attributes: in the inode, in a block, and values in inodes of their own; and content kept as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::little_endian::{u16_at, u32_at};
use crate::tree::Source;
use crate::volume::{Result, corrupt, read_error};

use super::super::inode::POINTER_BYTES;
use super::super::xattr::{BLOCK_HEAD, ENTRY_HEAD, INLINE_HEAD, LISTS, MAGIC, SPACES, access_list_from_disk};
use super::Inner;
use super::content::{Content, Placed};
use super::inode::Raw;

/// The name space of what file systems keep for themselves, such as content.
const SYSTEM: u8 = 7;
/// The name under which the rest of a file's content is kept in its inode.
const DATA: &[u8] = b"data";
/// The longest value (`XATTR_SIZE_MAX`).
const VALUE_BYTES_MAX: usize = 64 << 10;

/// The most bytes of one file's values: many may lie in one inode, so that they take no room in the image.
const VALUES_BYTES_MAX: usize = 1 << 20;

/// An attribute as it is stored.
struct Stored<'a> {
    space: u8,
    name: &'a [u8],
    value: Vec<u8>,
}

/// Returns a file's attributes by full name, in the form of `getxattr(2)`.
pub(super) fn of(inner: &Arc<Inner>, raw: &Raw) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let block =
        if raw.attribute_block() == 0 { None } else { Some(inner.block(raw.attribute_block(), || place(raw))?) };
    let mut found = BTreeMap::new();
    let inside = stored(inner, raw, inline_area(raw), 0)?;
    let outside = match &block {
        Some(block) if u32_at(block, 0) != MAGIC => {
            return corrupt(place(raw), "has a block of attributes that is none");
        }
        Some(block) => stored(inner, raw, block, BLOCK_HEAD)?,
        None => Vec::new(),
    };
    for Stored { space, name, value } in inside.into_iter().chain(outside) {
        if space == SYSTEM && name == DATA {
            continue;
        }
        let (full, value) = match (LISTS.iter().find(|list| list.1 == space), prefix(space)) {
            (Some((list, _)), _) => match access_list_from_disk(&value) {
                Some(value) => (list.to_vec(), value),
                None => return corrupt(place(raw), "has an access-control list that is none"),
            },
            (None, Some(prefix)) => ([prefix, name].concat(), value),
            (None, None) => return corrupt(place(raw), format!("has an attribute of the unknown space {space}")),
        };
        found.insert(full, value);
    }
    Ok(found)
}

/// Returns content that is kept in the inode: in `i_block`, and further as an attribute.
pub(super) fn inline_data(inner: &Arc<Inner>, raw: &Raw) -> Result<Vec<u8>> {
    let size = raw.size_bytes(false);
    let mut data = raw.block().to_vec();
    let rest = stored(inner, raw, inline_area(raw), 0)?.into_iter().find(|one| one.space == SYSTEM && one.name == DATA);
    data.extend(rest.map(|rest| rest.value).unwrap_or_default());
    debug_assert!(data.len() >= POINTER_BYTES);
    if size > data.len() as u64 {
        return corrupt(place(raw), format!("keeps {size} bytes in itself, which holds {}", data.len()));
    }
    data.truncate(size as usize);
    Ok(data)
}

fn place(raw: &Raw) -> String {
    format!("inode {}", raw.number)
}

fn prefix(space: u8) -> Option<&'static [u8]> {
    match space {
        0 => Some(b""),
        SYSTEM => Some(b"system."),
        8 => Some(b"system.richacl"),
        _ => SPACES.iter().find(|(_, number)| *number == space).map(|(prefix, _)| *prefix),
    }
}

/// Returns the entries that stand behind an inode's fields; empty if there are none.
fn inline_area(raw: &Raw) -> &[u8] {
    match raw.tail().split_first_chunk::<INLINE_HEAD>() {
        Some((magic, entries)) if u32::from_le_bytes(*magic) == MAGIC => entries,
        _ => &[],
    }
}

/// Reads the entries from `at` on; values count from the start of the area.
fn stored<'a>(inner: &Arc<Inner>, raw: &Raw, area: &'a [u8], mut at: usize) -> Result<Vec<Stored<'a>>> {
    let wrong = |what: &'static str| corrupt(place(raw), what);
    let (mut found, mut sum) = (Vec::new(), 0);
    while at + 4 <= area.len() && area[at..at + 4] != [0; 4] {
        let Some(entry) = area.get(at..at + ENTRY_HEAD) else { return wrong("has a truncated attribute") };
        let (name_length, space) = (usize::from(entry[0]), entry[1]);
        let Some(name) = area.get(at + ENTRY_HEAD..at + ENTRY_HEAD + name_length) else {
            return wrong("has an attribute whose name does not fit");
        };
        let (offset, value_inode, size) = (usize::from(u16_at(entry, 2)), u32_at(entry, 4), u32_at(entry, 8) as usize);
        if size > VALUE_BYTES_MAX {
            return wrong("has an attribute of more than 64 KiB");
        }
        sum += size;
        if sum > VALUES_BYTES_MAX {
            return wrong("has attributes of more than 1 MiB");
        }
        let value = if value_inode != 0 && inner.superblock.has_value_inodes() {
            value_of(inner, raw, value_inode, size)?
        } else {
            match area.get(offset..offset + size) {
                Some(value) => value.to_vec(),
                None if size == 0 => Vec::new(),
                None => return wrong("has an attribute whose value does not fit"),
            }
        };
        found.push(Stored { space, name, value });
        at += ENTRY_HEAD + name_length.next_multiple_of(4);
    }
    Ok(found)
}

/// Reads a value that is the content of an inode of its own.
fn value_of(inner: &Arc<Inner>, raw: &Raw, number: u32, size: usize) -> Result<Vec<u8>> {
    let owner = inner.inode(number.into())?;
    if owner.size_bytes(false) != size as u64 {
        return corrupt(place(raw), format!("has an attribute of {size} bytes in inode {number}, which has others"));
    }
    let mut value = vec![0; size];
    Content::new(inner.clone(), Placed::of(&owner), size as u64).read_at(0, &mut value).map_err(read_error)?;
    Ok(value)
}
