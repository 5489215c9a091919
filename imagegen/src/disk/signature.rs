//! Tells by its first bytes what a partition or a whole disk holds: a file system, swap, or a part of something larger.
//! Offsets are those of each format's own documentation; the list is what one finds on cards and PC disks.

use std::io;

use super::ReadAt;
use crate::little_endian::{u16_at, u32_at, u64_at};

/// How much is read from the start: up to Btrfs's superblock and its label.
const HEAD_BYTES: u64 = 68 << 10;

/// What was recognised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// What it is: `ext4`, `FAT32`, `LVM`.
    pub kind: &'static str,
    /// Its label; empty where it has none.
    pub label: String,
    /// The bytes in use, and the bytes it spans, where its head says so.
    pub used: Option<(u64, u64)>,
    /// Where it is a part of something larger, what that is.
    pub member_of: Option<Larger>,
}

/// What a partition can be part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Larger {
    /// A Linux software RAID.
    Raid,
    /// An LVM volume group.
    Lvm,
    /// A pool of ZFS.
    Pool,
}

impl Signature {
    fn new(kind: &'static str, label: &[u8]) -> Self {
        Signature { kind, label: text(label), used: None, member_of: None }
    }

    fn member(kind: &'static str, larger: Larger) -> Self {
        Signature { member_of: Some(larger), ..Signature::new(kind, b"") }
    }
}

/// Returns what a partition of this size holds, if that is known here.
///
/// # Errors
/// The partition cannot be read.
pub fn identify(partition: &mut ReadAt<'_>, size_bytes: u64) -> io::Result<Option<Signature>> {
    let length = size_bytes.min(HEAD_BYTES);
    let mut head = vec![0; HEAD_BYTES as usize];
    partition(0, &mut head[..length as usize])?;
    if let Some(found) = raid(partition, size_bytes, &head)? {
        return Ok(Some(found));
    }
    Ok(container(&head).or_else(|| ext(&head)).or_else(|| other(&head)).or_else(|| fat(&head)))
}

/// md's superblock stands at the end (0.90, 1.0), at the start (1.1) or after 4 KiB (1.2).
fn raid(partition: &mut ReadAt<'_>, size_bytes: u64, head: &[u8]) -> io::Result<Option<Signature>> {
    const MAGIC: u32 = 0xa92b_4efc;
    let found = Some(Signature::member("Linux RAID", Larger::Raid));
    if [0, 4096].iter().any(|at| u32_at(head, *at) == MAGIC && u32_at(head, at + 4) == 1) {
        return Ok(found);
    }
    if size_bytes < 256 << 10 {
        return Ok(None);
    }
    let old = (size_bytes & !0xffff) - 0x10000;
    let one = (size_bytes / 512 - 16) / 8 * 8 * 512;
    for at in [old, one] {
        let mut magic = [0; 4];
        partition(at, &mut magic)?;
        if u32::from_le_bytes(magic) == MAGIC {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What holds other things: LVM, LUKS, ZFS, swap.
fn container(head: &[u8]) -> Option<Signature> {
    for sector in head[..2048].chunks_exact(512) {
        if sector.starts_with(b"LABELONE") && sector[24..32] == *b"LVM2 001" {
            return Some(Signature::member("LVM", Larger::Lvm));
        }
    }
    if head.starts_with(b"LUKS\xba\xbe") {
        let label: &[u8] = if head[7] == 2 { &head[24..72] } else { b"" };
        return Some(Signature::new("LUKS", label));
    }
    // The first label's array of uberblocks starts at 128 KiB, but its name-value list, at 16 KiB, suffices: an XDR
    // list that names its version first.
    if head[16 << 10..][..256].windows(7).any(|window| window == b"version") && head[(16 << 10)..][0] == 1 {
        return Some(Signature::member("ZFS", Larger::Pool));
    }
    for page in [4 << 10, 8 << 10, 16 << 10, 64 << 10] {
        let magic = &head[page - 10..page];
        if magic == b"SWAPSPACE2" || magic == b"SWAP-SPACE" {
            return Some(Signature::new("swap", &head[1052..1068]));
        }
        if magic[..9] == *b"S1SUSPEND" {
            return Some(Signature::new("suspended system", b""));
        }
    }
    None
}

fn ext(head: &[u8]) -> Option<Signature> {
    let superblock = &head[1024..2048];
    if u16_at(superblock, 56) != 0xef53 {
        return None;
    }
    let (compatible, incompatible) = (u32_at(superblock, 92), u32_at(superblock, 96));
    let read_only = u32_at(superblock, 100);
    // What ext3 does not know: extents, 64bit, flex_bg and later; huge_file, gdt_csum, metadata_csum and later.
    let kind = if incompatible & !0x1f != 0 || read_only & !0x7 != 0 {
        "ext4"
    } else if compatible & 0x4 != 0 {
        "ext3"
    } else {
        "ext2"
    };
    let block = 1024u64.checked_shl(u32_at(superblock, 24).min(6)).unwrap_or(1024);
    let wide = |low: usize, high: usize| {
        let high = if incompatible & 0x80 != 0 { u32_at(superblock, high) } else { 0 };
        u64::from(high) << 32 | u64::from(u32_at(superblock, low))
    };
    let (blocks, free) = (wide(4, 0x150), wide(12, 0x158));
    let used = blocks.checked_sub(free).and_then(|used| Some((used.checked_mul(block)?, blocks.checked_mul(block)?)));
    Some(Signature { used, ..Signature::new(kind, &superblock[120..136]) })
}

/// File systems with one magic number at one place.
fn other(head: &[u8]) -> Option<Signature> {
    if head.starts_with(b"XFSB") {
        return Some(Signature::new("XFS", &head[108..120]));
    }
    if head[0x10040..0x10048] == *b"_BHRfS_M" {
        let used = Some((u64_at(head, 0x10078), u64_at(head, 0x10070)));
        return Some(Signature { used, ..Signature::new("Btrfs", &head[0x1012b..0x1012b + 64]) });
    }
    if head[32769..32774] == *b"CD001" {
        return Some(Signature::new("ISO 9660", &head[32808..32840]));
    }
    if u32_at(head, 1024) == 0xf2f5_2010 {
        let units = head[1024 + 124..][..64].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let label: String = char::decode_utf16(units.take_while(|unit| *unit != 0)).flatten().collect();
        return Some(Signature::new("F2FS", label.as_bytes()));
    }
    let simple: [(usize, &[u8], &str); 8] = [
        (0, b"hsqs", "SquashFS"),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "EROFS"),
        (3, b"NTFS    ", "NTFS"),
        (3, b"EXFAT   ", "exFAT"),
        (4096, &[0xc6, 0x85, 0x73, 0xf6], "bcachefs"),
        (4120, &[0xc6, 0x85, 0x73, 0xf6], "bcachefs"),
        (1024, b"H+", "HFS+"),
        (32, b"NXSB", "APFS"),
    ];
    let found = simple.iter().find(|(at, magic, _)| head[*at..].starts_with(magic));
    found.map(|(_, _, kind)| Signature::new(kind, b""))
}

fn fat(head: &[u8]) -> Option<Signature> {
    if head[510..512] != [0x55, 0xaa] || !matches!(head[0], 0xeb | 0xe9) {
        return None;
    }
    let (kind, label) = match (&head[54..62], &head[82..90]) {
        (b"FAT12   ", _) => ("FAT12", 43),
        (b"FAT16   ", _) => ("FAT16", 43),
        (b"FAT     ", _) => ("FAT", 43),
        (_, b"FAT32   ") => ("FAT32", 71),
        _ => return None,
    };
    let mut found = Signature::new(kind, &head[label..label + 11]);
    if found.label == "NO NAME" {
        found.label.clear();
    }
    Some(found)
}

/// Reads a label: up to the first zero, without blanks around, without what would act on a terminal.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
