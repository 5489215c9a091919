//! Reads partition tables: GPT (UEFI specification 2.10, chapter 5) and MBR with logical partitions.

use std::fmt;
use std::io;
use std::ops::Range;

use super::gpt::crc32;
use super::mbr::{EXTENDED_ALL, PROTECTIVE, SIGNATURE};
use super::{Guid, PartitionType, ReadAt, Scheme};
use crate::little_endian::{u32_at, u64_at};

/// The largest array of GPT entries that is read, in bytes: sixty-four times the usual one.
const ENTRIES_BYTES_MAX: u64 = 1 << 20;
/// The most logical partitions that are followed.
const LOGICAL_MAX: usize = 256;
/// The bytes of an MBR entry, and where the first one stands.
pub(super) const MBR_ENTRY: (usize, usize) = (16, 446);

/// The sizes that sectors can have.
const SECTORS_BYTES: [u64; 2] = [512, 4096];
/// What a GPT's header begins with.
const MAGIC: &[u8; 8] = b"EFI PART";

/// Who is told of damage.
type Tell<'a> = &'a mut dyn FnMut(String);

/// A partition table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// How it is written. A hybrid one is a GPT with other entries in its MBR than the protective one.
    pub scheme: Scheme,
    /// What the header says, where there is a GPT.
    pub gpt: Option<Box<Header>>,
    /// The MBR's disk signature.
    pub signature: u32,
    /// The size of the sectors in which it counts, in bytes.
    pub sector_bytes: u64,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
    /// The smallest device that holds all it speaks of, in bytes.
    pub end_bytes: u64,
}

/// What a GPT's header says; addresses count sectors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The disk's GUID.
    pub guid: Guid,
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
    /// What the table says it is: one of the two that a type can have.
    pub kind: PartitionType,
    /// Its name; MBR knows none.
    pub name: String,
    /// Its own GUID; MBR knows none.
    pub guid: Option<Guid>,
    /// GPT: its attribute bits. MBR: whether it is the one to boot from, as `0x80`.
    pub attributes: u64,
    /// Where its entry stands, in bytes from the start of the disk; of a logical one, also the link that leads to it.
    pub(super) entries: Vec<u64>,
}

impl Partition {
    /// Says whether this holds logical partitions.
    pub fn is_extended(&self) -> bool {
        self.kind.code.is_some_and(|code| EXTENDED_ALL.contains(&code))
    }

    /// Returns what the type is for, where it is a common one.
    pub fn purpose(&self) -> Option<&'static str> {
        if self.is_extended() { Some("extended") } else { self.kind.purpose() }
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
    read_either(disk, disk_bytes, None)
}

/// Reads as much as can be made out of the partition table of a damaged disk, to look at and not to write by: of a GPT
/// the backup, where the primary is damaged; of an MBR the partitions before a link that is bad. Damage is told.
///
/// # Errors
/// The disk cannot be read, or nothing of its table can be made out.
pub fn read_damaged(
    disk: &mut ReadAt<'_>,
    disk_bytes: u64,
    tell: &mut dyn FnMut(String),
) -> Result<Option<Table>, TableError> {
    read_either(disk, disk_bytes, Some(tell))
}

/// Reads a table; with `tell`, a damaged one too.
fn read_either(disk: &mut ReadAt<'_>, disk_bytes: u64, tell: Option<Tell<'_>>) -> Result<Option<Table>, TableError> {
    if disk_bytes < 512 {
        return Ok(None);
    }
    let mut first = [0; 512];
    disk(0, &mut first)?;
    if first[510..] != [0x55, 0xaa] {
        return Ok(None);
    }
    // As the kernel does: without the protective entry, a GPT is only what is left of one.
    if !entries(&first).any(|entry| entry[4] == PROTECTIVE) {
        return mbr(disk, disk_bytes, &first, tell);
    }
    match (primary(disk, disk_bytes, &first), tell) {
        (Err(TableError::Corrupt(reason)), Some(tell)) => {
            let Some(table) = backup(disk, disk_bytes, &first)? else {
                return corrupt(format!("{reason}; and there is no backup of it at the end"));
            };
            tell(format!("the primary partition table is damaged, so this is its backup: {reason}"));
            Ok(Some(table))
        }
        (table, _) => table.map(Some),
    }
}

/// Reads the GPT in the second sector, of whatever size sectors are.
fn primary(disk: &mut ReadAt<'_>, disk_bytes: u64, first: &[u8; 512]) -> Result<Table, TableError> {
    for sector_bytes in SECTORS_BYTES {
        let mut magic = [0; 8];
        if disk_bytes >= sector_bytes * 2 {
            disk(sector_bytes, &mut magic)?;
        }
        if magic == *MAGIC {
            return gpt(disk, disk_bytes, (sector_bytes, 1), first);
        }
    }
    corrupt("its MBR protects a GPT, but there is no GPT header")
}

/// Finds a GPT's backup: in the last sector, or, on a disk that became larger, where the primary header says, which is
/// believed in nothing else.
fn backup(disk: &mut ReadAt<'_>, disk_bytes: u64, first: &[u8; 512]) -> Result<Option<Table>, TableError> {
    for sector_bytes in SECTORS_BYTES {
        if disk_bytes < sector_bytes * 3 {
            continue;
        }
        let last = disk_bytes / sector_bytes - 1;
        let mut stated = [0; 8];
        disk(sector_bytes + 32, &mut stated)?;
        for lba in [last, u64::from_le_bytes(stated)] {
            let mut magic = [0; 8];
            if (2..=last).contains(&lba) {
                disk(lba * sector_bytes, &mut magic)?;
            }
            if magic != *MAGIC {
                continue;
            }
            match gpt(disk, disk_bytes, (sector_bytes, lba), first) {
                Err(TableError::Corrupt(_)) => {}
                table => return table.map(Some),
            }
        }
    }
    Ok(None)
}

/// Returns the four entries of an MBR.
pub(super) fn entries(sector: &[u8; 512]) -> impl Iterator<Item = &[u8]> {
    sector[MBR_ENTRY.1..510].chunks_exact(MBR_ENTRY.0)
}

/// Reads the GPT whose header is in a sector of the disk, which is given with the size of sectors.
fn gpt(
    disk: &mut ReadAt<'_>,
    disk_bytes: u64,
    (sector_bytes, lba): (u64, u64),
    first: &[u8; 512],
) -> Result<Table, TableError> {
    let mut sector = vec![0; sector_bytes as usize];
    disk(lba * sector_bytes, &mut sector)?;
    let length = u32_at(&sector, 12) as usize;
    if !(92..=sector.len()).contains(&length) {
        return corrupt(format!("the GPT header says it has {length} bytes"));
    }
    let mut zeroed = sector[..length].to_vec();
    zeroed[16..20].fill(0);
    if crc32(&zeroed) != u32_at(&sector, 16) {
        return corrupt("the GPT header does not match its checksum");
    }
    if u64_at(&sector, 24) != lba {
        return corrupt(format!("the GPT header in sector {lba} says that it is in sector {}", u64_at(&sector, 24)));
    }
    let (count, entry_bytes) = (u32_at(&sector, 80), u32_at(&sector, 84));
    let bytes = u64::from(count) * u64::from(entry_bytes);
    if entry_bytes < 128 || !entry_bytes.is_power_of_two() || bytes > ENTRIES_BYTES_MAX {
        return corrupt(format!("the GPT header speaks of {count} entries of {entry_bytes} bytes"));
    }
    let guid = |bytes: &[u8]| Guid::from_gpt(bytes.try_into().expect("sixteen bytes"));
    let header = Header {
        guid: guid(&sector[56..72]),
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
            kind: PartitionType { guid: Some(guid(&entry[..16])), code: None },
            name,
            guid: Some(guid(&entry[16..32])),
            attributes: u64_at(entry, 48),
            entries: vec![start + index as u64 * u64::from(entry_bytes)],
        });
    }
    let end = partitions.iter().map(|partition| partition.range.end).max().unwrap_or(0);
    let end_bytes = end.max(last.max(lba * sector_bytes) + sector_bytes);
    let mirrored = entries(first).any(|entry| !matches!(entry[4], 0 | PROTECTIVE));
    let scheme = if mirrored { Scheme::Hybrid } else { Scheme::Gpt };
    let (gpt, signature) = (Some(Box::new(header)), u32_at(first, SIGNATURE as usize));
    Ok(Table { scheme, gpt, signature, sector_bytes, partitions, end_bytes })
}

fn mbr(
    disk: &mut ReadAt<'_>,
    disk_bytes: u64,
    first: &[u8; 512],
    tell: Option<Tell<'_>>,
) -> Result<Option<Table>, TableError> {
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
        if partition.is_extended() {
            extended = extended.or(Some(partition.range.start));
        }
        partitions.push(partition);
    }
    if let Some(start) = extended {
        match (logical(disk, disk_bytes, start, &mut partitions), tell) {
            (Err(TableError::Corrupt(damage)), Some(tell)) => tell(format!("not all partitions are known: {damage}")),
            (followed, _) => followed?,
        }
    }
    let end_bytes = partitions.iter().map(|partition| partition.range.end).max().unwrap_or(0);
    let signature = u32_at(first, SIGNATURE as usize);
    Ok(Some(Table { scheme: Scheme::Mbr, gpt: None, signature, sector_bytes: 512, partitions, end_bytes }))
}

fn mbr_partition(number: u32, entry: &[u8], base: u64, entries: Vec<u64>) -> Partition {
    let start = base + u64::from(u32_at(entry, 8)) * 512;
    let range = start..start + u64::from(u32_at(entry, 12)) * 512;
    let kind = PartitionType { guid: None, code: Some(entry[4]) };
    let attributes = u64::from(entry[0] & 0x80);
    Partition { number, range, kind, name: String::new(), guid: None, attributes, entries }
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
