//! Extended attributes: in the inode's spare bytes, in a block that inodes with the same attributes share, or both.
//!
//! ```text
//! inode, from byte 160:  magic | entry | entry | 0 ->            <- value | value |
//! block:                 header (refcount, hash) | entry | ... | 0 ->     <- value |
//! ```

use std::collections::BTreeMap;

use super::checksum::Sum;
use super::inode::{ATTRIBUTES_AT, INODE_SIZE, put16, put32};
use super::version::Version;

/// `EXT4_XATTR_MAGIC`.
pub(super) const MAGIC: u32 = 0xea02_0000;
/// How many inodes may share a block (`EXT4_XATTR_REFCOUNT_MAX`).
pub(super) const REFERENCES_MAX: u32 = 1024;
/// Bytes of the magic number before an inode's entries (`struct ext4_xattr_ibody_header`).
pub(super) const INLINE_HEAD: usize = 4;
/// Bytes for entries and values in an inode.
const INLINE_ROOM: usize = INODE_SIZE - ATTRIBUTES_AT - INLINE_HEAD;
/// Bytes of a block's header (`struct ext4_xattr_header`).
pub(super) const BLOCK_HEAD: usize = 32;
/// Bytes of an entry before its name (`struct ext4_xattr_entry`).
pub(super) const ENTRY_HEAD: usize = 16;
/// Bytes of the null word after the last entry.
const END: usize = 4;

/// The name spaces the format has numbers for.
pub(super) const SPACES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
/// The two names that are a number as a whole, and hold access-control lists.
pub(super) const LISTS: [(&[u8], u8); 2] = [(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3)];

/// The attributes of one inode as they are written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Attributes {
    /// What goes into the inode at [`ATTRIBUTES_AT`]; empty if nothing does.
    pub inline: Vec<u8>,
    /// A block for the rest, its reference count still 0.
    pub block: Option<Vec<u8>>,
}

/// One attribute in the format's terms. The derived order is the format's: number, then length, then name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Attribute<'a> {
    space: u8,
    name_length: usize,
    name: &'a [u8],
    value: Vec<u8>,
}

impl Attribute<'_> {
    fn entry_size(&self) -> usize {
        ENTRY_HEAD + self.name_length.next_multiple_of(4)
    }

    fn size(&self) -> usize {
        self.entry_size() + self.value.len().next_multiple_of(4)
    }
}

/// Lays out attributes given by full name, or says why the format cannot hold them.
///
/// All of them go into the inode if they fit, unless a block is preferred; else into a block, else into both.
pub(super) fn encode(
    xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    version: Version,
    block_size: u32,
) -> Result<Attributes, String> {
    if xattrs.is_empty() {
        return Ok(Attributes::default());
    }
    let mut attributes =
        xattrs.iter().map(|(name, value)| attribute(name, value, version)).collect::<Result<Vec<_>, _>>()?;
    attributes.sort_unstable();
    let size = |attributes: &[Attribute]| attributes.iter().map(Attribute::size).sum::<usize>() + END;
    if version.prefers_inline_attributes() && size(&attributes) <= INLINE_ROOM {
        return Ok(Attributes { inline: inline(&attributes), block: None });
    }
    let room = block_size as usize - BLOCK_HEAD;
    let inside = if size(&attributes) <= room { Vec::new() } else { take_for_inode(&mut attributes) };
    if size(&attributes) > room {
        let wanted = attributes.iter().chain(&inside).map(Attribute::size).sum::<usize>();
        return Err(format!(
            "its extended attributes need {wanted} bytes; an inode holds {} and one block of {block_size} holds {}",
            INLINE_ROOM - END,
            room - END
        ));
    }
    let inline = if inside.is_empty() { Vec::new() } else { inline(&inside) };
    Ok(Attributes { inline, block: Some(block(&attributes, block_size)) })
}

/// Translates a full name and the kernel's form of a value.
fn attribute<'a>(name: &'a [u8], value: &[u8], version: Version) -> Result<Attribute<'a>, String> {
    let shown = String::from_utf8_lossy(name);
    if let Some((_, space)) = LISTS.iter().find(|(list, _)| *list == name) {
        let value = access_list(value).map_err(|reason| format!("its {shown} {reason}"))?;
        return Ok(Attribute { space: *space, name_length: 0, name: b"", value });
    }
    let space = SPACES.iter().find_map(|(prefix, space)| Some((*space, name.strip_prefix(*prefix)?)));
    match space {
        Some((space, name)) if (1..=255).contains(&name.len()) && !name.contains(&0) => {
            Ok(Attribute { space, name_length: name.len(), name, value: value.to_vec() })
        }
        Some(_) => {
            Err(format!("its extended attribute '{shown}' needs 1 to 255 bytes after the first dot, and no NUL"))
        }
        None => Err(format!(
            "{} has no place for its extended attribute '{shown}': only for user., trusted., security. and POSIX ACLs",
            version.name()
        )),
    }
}

/// Takes out what goes into the inode so that as little as possible remains: exactly, as a knapsack of 22 words.
fn take_for_inode<'a>(attributes: &mut Vec<Attribute<'a>>) -> Vec<Attribute<'a>> {
    let room = (INLINE_ROOM - END) / 4;
    // For each number of words, the attributes that fill exactly those.
    let mut fillings: Vec<Option<Vec<usize>>> = vec![None; room + 1];
    fillings[0] = Some(Vec::new());
    for (index, attribute) in attributes.iter().enumerate() {
        let words = attribute.size() / 4;
        for filled in (words..=room).rev() {
            if fillings[filled].is_none()
                && let Some(before) = &fillings[filled - words]
            {
                fillings[filled] = Some(before.iter().copied().chain([index]).collect());
            }
        }
    }
    let mut taken = fillings.into_iter().rev().flatten().next().unwrap_or_default();
    taken.sort_unstable();
    let mut inside: Vec<Attribute<'a>> = taken.into_iter().rev().map(|index| attributes.remove(index)).collect();
    inside.reverse();
    inside
}

fn inline(attributes: &[Attribute]) -> Vec<u8> {
    let mut out = vec![0; INLINE_HEAD + INLINE_ROOM];
    put32(&mut out, 0, MAGIC);
    // Offsets count from the first entry; hashes stay 0 in an inode.
    write(attributes, &mut out[INLINE_HEAD..], 0, false);
    out
}

fn block(attributes: &[Attribute], block_size: u32) -> Vec<u8> {
    let mut out = vec![0; block_size as usize];
    put32(&mut out, 0, MAGIC);
    put32(&mut out, 8, 1);
    let hash = write(attributes, &mut out, BLOCK_HEAD, true);
    put32(&mut out, 12, hash);
    out
}

/// Says how many inodes share a block.
pub(super) fn set_references(block: &mut [u8], references: u32) {
    put32(block, 4, references);
}

/// Writes a block's checksum: with where it lies, which is all that tells it from another.
pub(super) fn set_checksum(block: &mut [u8], number: u64, sum: Sum) {
    put32(block, 16, 0);
    let sum = sum.then(&number.to_le_bytes()).then(block);
    put32(block, 16, sum.0);
}

/// Writes entries from `at` up and values from the end down; returns the hash of the entries' hashes.
fn write(attributes: &[Attribute], out: &mut [u8], mut at: usize, hashed: bool) -> u32 {
    let (mut end, mut hash) = (out.len(), 0_u32);
    for attribute in attributes {
        let length = attribute.value.len();
        out[at] = attribute.name.len() as u8;
        out[at + 1] = attribute.space;
        if length > 0 {
            end -= length.next_multiple_of(4);
            put16(out, at + 2, end as u16);
            out[end..end + length].copy_from_slice(&attribute.value);
        }
        put32(out, at + 8, length as u32);
        if hashed {
            let own = entry_hash(attribute);
            put32(out, at + 12, own);
            hash = hash.rotate_left(16) ^ own;
        }
        out[at + ENTRY_HEAD..at + ENTRY_HEAD + attribute.name.len()].copy_from_slice(attribute.name);
        at += attribute.entry_size();
    }
    hash
}

/// Returns `e_hash`: over the name, as unsigned characters like current kernels, and over the value's padded words.
fn entry_hash(attribute: &Attribute) -> u32 {
    let name = attribute.name.iter().fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
    attribute.value.chunks(4).fold(name, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

/// Translates an access-control list from the form of `getxattr(2)` (version 2: tag, permissions, id each) into the
/// one on disk (version 1: an id only for the tags that have one).
fn access_list(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    let Some((head, entries)) = value.split_first_chunk::<4>() else { return Err("is shorter than its header") };
    if *head != [2, 0, 0, 0] {
        return Err("is no access-control list of version 2");
    }
    if !entries.len().is_multiple_of(8) {
        return Err("ends inside an entry");
    }
    let mut out = vec![1, 0, 0, 0];
    for entry in entries.chunks_exact(8) {
        let (tag, permissions) = (u16::from_le_bytes([entry[0], entry[1]]), u16::from_le_bytes([entry[2], entry[3]]));
        if !matches!(tag, 0x01 | USER | 0x04 | GROUP | 0x10 | 0x20) || permissions > 7 {
            return Err("has an entry of an unknown kind");
        }
        out.extend_from_slice(if matches!(tag, USER | GROUP) { entry } else { &entry[..4] });
    }
    Ok(out)
}

/// Translates an access-control list from the form on disk into that of `getxattr(2)`; `None` if it is none.
pub(super) fn access_list_from_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = value.split_first_chunk::<4>()?;
    if *head != [1, 0, 0, 0] {
        return None;
    }
    let mut out = vec![2, 0, 0, 0];
    while let Some((entry, behind)) = rest.split_first_chunk::<4>() {
        out.extend_from_slice(entry);
        // Those of a named user or group have an id.
        if matches!(entry[..2], [0x02 | 0x08, 0]) {
            let (id, behind) = behind.split_first_chunk::<4>()?;
            out.extend_from_slice(id);
            rest = behind;
        } else {
            out.extend_from_slice(&[0xff; 4]);
            rest = behind;
        }
    }
    rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(list: &[(&str, &[u8])], block_size: u32) -> Result<Attributes, String> {
        encoded_for(Version::Ext3, list, block_size)
    }

    fn encoded_for(version: Version, list: &[(&str, &[u8])], block_size: u32) -> Result<Attributes, String> {
        let list = list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
        encode(&list.collect(), version, block_size)
    }

    #[test]
    fn ext2_has_them_where_its_driver_looks() {
        let made = encoded_for(Version::Ext2, &[("user.a", b"1")], 1024).unwrap();
        assert!(made.inline.is_empty() && made.block.is_some());
        let most = [1; 1024 - 32 - 4 - 20];
        let made = encoded_for(Version::Ext2, &[("user.a", &most), ("user.b", b"1")], 1024).unwrap();
        assert!(!made.inline.is_empty() && made.block.is_some());
    }

    #[test]
    fn small_ones_stay_in_the_inode() {
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let made = encoded(&[("security.capability", &capability)], 4096).unwrap();
        assert_eq!(made.block, None);
        assert_eq!(made.inline.len(), 96);
        assert_eq!(made.inline[..6], [0, 0, 2, 0xea, 10, 6]);
        assert_eq!(made.inline[96 - 20..], capability);
        // 92 bytes: 4 at the end, 20 for entry and name, 68 for the value.
        assert_eq!(encoded(&[("user.a", &[7; 68])], 4096).unwrap().block, None);
        assert!(encoded(&[("user.a", &[7; 69])], 4096).unwrap().inline.is_empty());
    }

    #[test]
    fn a_block_is_sorted_by_number_length_and_name() {
        let made = encoded(&[("user.zz", &[1; 90]), ("user.abc", b""), ("security.x", b"v"), ("user.b", b"")], 1024);
        let block = made.unwrap().block.unwrap();
        let mut names = Vec::new();
        let mut at = BLOCK_HEAD;
        while block[at..at + 4] != [0; 4] {
            let length = usize::from(block[at]);
            names.push((block[at + 1], block[at + ENTRY_HEAD..at + ENTRY_HEAD + length].to_vec()));
            at += ENTRY_HEAD + length.next_multiple_of(4);
        }
        assert_eq!(names, [(1, b"b".to_vec()), (1, b"zz".to_vec()), (1, b"abc".to_vec()), (6, b"x".to_vec())]);
    }

    #[test]
    fn the_limit_is_reached_and_not_passed() {
        // A block of 1024 less header, end, entry and name; the inode's 88 less entry and name.
        let (most, inside) = ([1; 1024 - 32 - 4 - 20], [2; 68]);
        let both = encoded(&[("user.a", &most), ("user.b", &inside)], 1024).unwrap();
        assert!(both.block.is_some() && !both.inline.is_empty());
        let refused = encoded(&[("user.a", &most), ("user.b", &inside), ("user.c", b"")], 1024).unwrap_err();
        assert!(refused.contains("need 1096 bytes; an inode holds 88 and one block of 1024 holds 988"), "{refused}");
        assert!(encoded(&[("user.a", &[1; 1024 - 32 - 4 - 19])], 1024).is_err());
    }

    #[test]
    fn what_leaves_the_block_is_chosen_exactly() {
        // Only 44 + 44 bytes fill the inode's 88 to the last; taking the 60 first would not do.
        let most = [1; 1024 - 32 - 4 - 20 - 60];
        let list: &[(&str, &[u8])] =
            &[("user.a", &most), ("user.b", &[0; 40]), ("user.c", &[0; 24]), ("user.d", &[0; 24])];
        let made = encoded(list, 1024).unwrap();
        assert_eq!(made.inline.iter().filter(|&&byte| byte == b'c' || byte == b'd').count(), 2);
    }

    #[test]
    fn names_without_a_number_are_refused() {
        for name in ["system.nfs4_acl", "lustre.lov", "user.", "nodot"] {
            assert!(encoded(&[(name, b"x")], 4096).unwrap_err().contains(name));
        }
    }

    #[test]
    fn access_lists_lose_the_ids_that_mean_nothing() {
        let on_wire = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
        let on_disk = b"\x01\0\0\0\x01\0\x06\0\x02\0\x07\0\xe8\x03\0\0\x04\0\x04\0\x10\0\x07\0\x20\0\x04\0";
        assert_eq!(access_list(on_wire).unwrap(), on_disk);
        assert_eq!(access_list_from_disk(on_disk).unwrap(), on_wire);
        assert_eq!(access_list_from_disk(&on_disk[..on_disk.len() - 1]), None);
        assert_eq!(access_list(b"\x02\0\0\0").unwrap(), b"\x01\0\0\0");
        for bad in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01\0\x06\0", b"\x02\0\0\0\x03\0\x06\0\xff\xff\xff\xff"] {
            assert!(access_list(bad).is_err());
        }
    }
}
