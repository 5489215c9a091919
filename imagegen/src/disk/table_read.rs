//! Reads partition tables: GPT (UEFI specification 2.10, chapter 5) and MBR with logical partitions.

use std::fmt;
use std::io;
use std::ops::Range;

use super::gpt::crc32;
use super::mbr::{EXTENDED_ALL, PROTECTIVE};
use super::{ReadAt, u32_at, u64_at};

/// The largest array of GPT entries that is read, in bytes: sixty-four times the usual one.
const ENTRIES_BYTES_MAX: u64 = 1 << 20;
/// The most logical partitions that are followed.
const LOGICAL_MAX: usize = 256;
/// The bytes of an MBR entry, and where the first one stands.
pub(super) const MBR_ENTRY: (usize, usize) = (16, 446);

/// A partition table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// How it is written.
    pub scheme: Scheme,
    /// The size of the sectors in which it counts, in bytes.
    pub sector_bytes: u64,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
    /// The smallest device that holds all it speaks of, in bytes.
    pub end_bytes: u64,
}

/// How a table is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// With GUIDs; its header as it stands on the disk.
    Gpt(Box<Header>),
    /// In the first sector, with extended partitions.
    Mbr,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Gpt(_) => "GPT",
            Scheme::Mbr => "MBR",
        })
    }
}

/// What a GPT's header says; addresses count sectors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The sector of the other header.
    pub alternate: u64,
    /// The last sector a partition may use.
    pub last_usable: u64,
    /// Where the entries begin.
    pub entries: u64,
    /// The bytes of one entry.
    pub entry_bytes: u32,
    /// The header, padded to a sector.
    pub(super) sector: Vec<u8>,
    /// The entries.
    pub(super) array: Vec<u8>,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its number, as in `sda1`.
    pub number: u32,
    /// Where it is, in bytes.
    pub range: Range<u64>,
    /// What the table says it is.
    pub kind: Kind,
    /// Its name; MBR knows none.
    pub name: String,
    /// Where its entry stands, in bytes from the start of the disk; of a logical one, also the link that leads to it.
    pub(super) entries: Vec<u64>,
}

/// What a table says a partition is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A GPT type, in the byte order of the disk.
    Guid([u8; 16]),
    /// An MBR type.
    Byte(u8),
}

impl Kind {
    /// Returns what this type is called, where it is a common one.
    pub fn name(self) -> Option<&'static str> {
        let guid = |first: u32| match first {
            0xc12a_7328 => Some("EFI system"),
            0x0fc6_3daf => Some("Linux"),
            0x0657_fd6d => Some("Linux swap"),
            0xb921_b045 => Some("Linux root (arm64)"),
            0x4f68_bce3 => Some("Linux root (x86-64)"),
            0xe6d6_d379 => Some("LVM"),
            0xa19d_880f => Some("Linux RAID"),
            0xebd0_a0a2 => Some("Microsoft data"),
            0x2168_6148 => Some("BIOS boot"),
            0xbc13_c2ff => Some("Linux boot"),
            _ => None,
        };
        match self {
            Kind::Guid(bytes) => guid(u32_at(&bytes, 0)),
            Kind::Byte(byte) => match byte {
                0x01 | 0x04 | 0x06 | 0x0b | 0x0c | 0x0e => Some("FAT"),
                0x07 => Some("NTFS or exFAT"),
                0x82 => Some("Linux swap"),
                0x83 => Some("Linux"),
                0x8e => Some("LVM"),
                0xef => Some("EFI system"),
                0xfd => Some("Linux RAID"),
                _ if EXTENDED_ALL.contains(&byte) => Some("extended"),
                _ => None,
            },
        }
    }

    /// Says whether this holds logical partitions.
    pub fn is_extended(self) -> bool {
        matches!(self, Kind::Byte(byte) if EXTENDED_ALL.contains(&byte))
    }
}

/// Why a table could not be read.
#[derive(Debug)]
pub enum TableError {
    /// The bytes could not be had.
    Io(io::Error),
    /// The bytes are wrong.
    Corrupt(String),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::Io(error) => error.fmt(f),
            TableError::Corrupt(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for TableError {}

impl From<io::Error> for TableError {
    fn from(error: io::Error) -> Self {
        TableError::Io(error)
    }
}

/// Returns an error about the bytes.
pub(super) fn corrupt<T>(message: impl Into<String>) -> Result<T, TableError> {
    Err(TableError::Corrupt(message.into()))
}

/// Reads the partition table of a disk of this size, if it has one.
///
/// # Errors
/// The disk cannot be read, or what stands there is a table with mistakes.
pub fn read(disk: &mut ReadAt<'_>, disk_bytes: u64) -> Result<Option<Table>, TableError> {
    if disk_bytes < 512 {
        return Ok(None);
    }
    let mut first = [0; 512];
    disk(0, &mut first)?;
    if first[510..] != [0x55, 0xaa] {
        return Ok(None);
    }
    let protected = entries(&first).any(|entry| entry[4] == PROTECTIVE);
    for sector_bytes in [512, 4096] {
        let mut magic = [0; 8];
        if disk_bytes >= sector_bytes * 2 {
            disk(sector_bytes, &mut magic)?;
        }
        // As the kernel does: without the protective entry, a GPT is only what is left of one.
        if protected && magic == *b"EFI PART" {
            return gpt(disk, disk_bytes, sector_bytes).map(Some);
        }
    }
    if protected {
        return corrupt("its MBR protects a GPT, but there is no GPT header");
    }
    mbr(disk, disk_bytes, &first)
}

/// Returns the four entries of an MBR.
pub(super) fn entries(sector: &[u8; 512]) -> impl Iterator<Item = &[u8]> {
    sector[MBR_ENTRY.1..510].chunks_exact(MBR_ENTRY.0)
}

fn gpt(disk: &mut ReadAt<'_>, disk_bytes: u64, sector_bytes: u64) -> Result<Table, TableError> {
    let mut sector = vec![0; sector_bytes as usize];
    disk(sector_bytes, &mut sector)?;
    let length = u32_at(&sector, 12) as usize;
    if !(92..=sector.len()).contains(&length) {
        return corrupt(format!("the GPT header says it has {length} bytes"));
    }
    let mut zeroed = sector[..length].to_vec();
    zeroed[16..20].fill(0);
    if crc32(&zeroed) != u32_at(&sector, 16) {
        return corrupt("the GPT header does not match its checksum");
    }
    let (count, entry_bytes) = (u32_at(&sector, 80), u32_at(&sector, 84));
    let bytes = u64::from(count) * u64::from(entry_bytes);
    if entry_bytes < 128 || !entry_bytes.is_power_of_two() || bytes > ENTRIES_BYTES_MAX {
        return corrupt(format!("the GPT header speaks of {count} entries of {entry_bytes} bytes"));
    }
    let header = Header {
        alternate: u64_at(&sector, 32),
        last_usable: u64_at(&sector, 48),
        entries: u64_at(&sector, 72),
        entry_bytes,
        array: vec![0; bytes as usize],
        sector,
    };
    let at = |lba: u64| lba.checked_mul(sector_bytes).filter(|at| *at < 1 << 62);
    let Some(start) = at(header.entries).filter(|start| start + bytes <= disk_bytes && header.entries > 1) else {
        return corrupt(format!("the GPT's entries are at sector {}, past the end", header.entries));
    };
    let (Some(last), Some(_)) = (at(header.alternate), at(header.last_usable)) else {
        return corrupt("the GPT header speaks of sectors that no disk has");
    };
    let mut header = header;
    disk(start, &mut header.array)?;
    if crc32(&header.array) != u32_at(&header.sector, 88) {
        return corrupt("the GPT's entries do not match their checksum");
    }
    let mut partitions = Vec::new();
    for (index, entry) in header.array.chunks_exact(entry_bytes as usize).enumerate() {
        if entry[..16] == [0; 16] {
            continue;
        }
        let (from, to) = (u64_at(entry, 32), u64_at(entry, 40));
        let (Some(from), Some(to), true) = (at(from), to.checked_add(1).and_then(at), from <= to) else {
            return corrupt(format!("GPT partition {} is from sector {from} to {to}", index + 1));
        };
        let name = entry[56..128].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let name = char::decode_utf16(name.take_while(|unit| *unit != 0)).map(|c| c.unwrap_or('\u{fffd}')).collect();
        partitions.push(Partition {
            number: index as u32 + 1,
            range: from..to,
            kind: Kind::Guid(entry[..16].try_into().expect("sixteen bytes")),
            name,
            entries: vec![start + index as u64 * u64::from(entry_bytes)],
        });
    }
    let end = partitions.iter().map(|partition| partition.range.end).max().unwrap_or(0);
    let end_bytes = end.max(last + sector_bytes);
    Ok(Table { scheme: Scheme::Gpt(Box::new(header)), sector_bytes, partitions, end_bytes })
}

fn mbr(disk: &mut ReadAt<'_>, disk_bytes: u64, first: &[u8; 512]) -> Result<Option<Table>, TableError> {
    let sane = entries(first).all(|entry| entry[0] & 0x7f == 0);
    // A file system's own boot sector ends in the same two bytes.
    let boot_sector = first[54..57] == *b"FAT" || first[82..85] == *b"FAT" || first[3..7] == *b"NTFS";
    let boot_sector = boot_sector || first[3..8] == *b"EXFAT";
    let used = |entry: &&[u8]| entry[4] != 0 && u32_at(entry, 12) != 0;
    if !sane || boot_sector || !entries(first).any(|entry| used(&entry)) {
        return Ok(None);
    }
    let mut partitions = Vec::new();
    let mut extended = None;
    for (index, entry) in entries(first).enumerate().filter(|(_, entry)| used(entry)) {
        let at = (MBR_ENTRY.1 + index * MBR_ENTRY.0) as u64;
        let partition = mbr_partition(index as u32 + 1, entry, 0, vec![at]);
        if partition.kind.is_extended() {
            extended = extended.or(Some(partition.range.start));
        }
        partitions.push(partition);
    }
    if let Some(start) = extended {
        logical(disk, disk_bytes, start, &mut partitions)?;
    }
    let end_bytes = partitions.iter().map(|partition| partition.range.end).max().unwrap_or(0);
    Ok(Some(Table { scheme: Scheme::Mbr, sector_bytes: 512, partitions, end_bytes }))
}

fn mbr_partition(number: u32, entry: &[u8], base: u64, entries: Vec<u64>) -> Partition {
    let start = base + u64::from(u32_at(entry, 8)) * 512;
    let range = start..start + u64::from(u32_at(entry, 12)) * 512;
    Partition { number, range, kind: Kind::Byte(entry[4]), name: String::new(), entries }
}

/// Follows the chain of logical partitions: each sector of it describes one, and links to the next.
fn logical(
    disk: &mut ReadAt<'_>,
    disk_bytes: u64,
    extended: u64,
    partitions: &mut Vec<Partition>,
) -> Result<(), TableError> {
    let (mut at, mut link) = (extended, None);
    for number in 5..5 + LOGICAL_MAX as u32 {
        let mut sector = [0; 512];
        if at + 512 > disk_bytes {
            return corrupt(format!("the table of logical partition {number} is past the end"));
        }
        disk(at, &mut sector)?;
        if sector[510..] != [0x55, 0xaa] {
            // Where an extended partition was made and nothing put into it.
            return if link.is_none() { Ok(()) } else { corrupt(format!("logical partition {number} has no table")) };
        }
        let all: Vec<&[u8]> = entries(&sector).collect();
        if all[0][4] != 0 && u32_at(all[0], 12) != 0 {
            let places = [at + MBR_ENTRY.1 as u64].into_iter().chain(link).collect();
            partitions.push(mbr_partition(number, all[0], at, places));
        }
        if !EXTENDED_ALL.contains(&all[1][4]) || u32_at(all[1], 12) == 0 {
            return Ok(());
        }
        link = Some(at + (MBR_ENTRY.1 + MBR_ENTRY.0) as u64);
        at = extended + u64::from(u32_at(all[1], 8)) * 512;
    }
    corrupt("the chain of logical partitions does not end")
}
