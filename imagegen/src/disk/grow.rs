//! Grows the last partition of a table to the end of a larger device, as edits of the image: nothing is written here.
//!
//! ```text
//!   image    | MBR | GPT | boot | root          | backup |
//!   device   | MBR | GPT | boot | root                          | backup |
//! ```
//!
//! The file system in the partition keeps its size: that is for `resize2fs` and its like, on the running system.

use std::ops::Range;

use super::ReadAt;
use super::gpt::crc32;
use super::mbr::PROTECTIVE;
use super::table::{Header, MBR_ENTRY, Partition, Table, TableError, corrupt, entries};
use crate::little_endian::u32_at;

/// Partitions end where the next one could be aligned.
const ALIGNMENT_BYTES: u64 = 1 << 20;

/// What growing changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Growth {
    /// The edits, none overlapping another.
    pub patches: Vec<Patch>,
    /// The partition that grows.
    pub number: u32,
    /// Where it was, in bytes.
    pub from: Range<u64>,
    /// Where it is then.
    pub to: Range<u64>,
}

/// Bytes that replace those of the image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Where, in bytes from the start of the disk.
    pub offset: u64,
    /// With what.
    pub bytes: Vec<u8>,
}

/// Returns the edits that fit an image with this table to a device of this size: its last partition ends with the
/// device, and so does a GPT's backup. Where nothing is to be gained, the partition stays as it is.
///
/// # Errors
/// There is no partition, the device is smaller than the table says, or the image cannot be read.
pub fn grow(image: &mut ReadAt<'_>, table: &Table, device_bytes: u64) -> Result<Growth, TableError> {
    let Some(last) = table.partitions.iter().filter(|p| !p.is_extended()).max_by_key(|p| p.range.start) else {
        return corrupt("there is no partition that could grow");
    };
    if device_bytes < table.end_bytes {
        return corrupt(format!("the device has {device_bytes} bytes, the table {}", table.end_bytes));
    }
    let mut first = [0; 512];
    image(0, &mut first)?;
    match &table.gpt {
        Some(header) => gpt(table, header, last, device_bytes, &first),
        None => mbr(image, table, last, device_bytes, &first),
    }
}

/// Returns where a partition may end at most, given the room behind it.
fn new_end(last: &Partition, room_end: u64) -> u64 {
    let aligned = room_end / ALIGNMENT_BYTES * ALIGNMENT_BYTES;
    aligned.max(last.range.end)
}

fn gpt(
    table: &Table,
    header: &Header,
    last: &Partition,
    device_bytes: u64,
    first: &[u8; 512],
) -> Result<Growth, TableError> {
    let sector = table.sector_bytes;
    let array_sectors = (header.array.len() as u64).div_ceil(sector);
    let alternate = device_bytes / sector - 1;
    let primary_end = header.entries + array_sectors;
    let Some(backup_entries) = alternate.checked_sub(array_sectors).filter(|backup| *backup > primary_end) else {
        return corrupt("there is no room for the backup table");
    };
    let to = last.range.start..new_end(last, backup_entries * sector);
    if to.end > backup_entries * sector {
        return corrupt("there is no room for the backup table behind the last partition");
    }
    let mut array = header.array.clone();
    let at = (last.number as usize - 1) * header.entry_bytes as usize;
    array[at + 40..at + 48].copy_from_slice(&(to.end / sector - 1).to_le_bytes());

    let write_header = |lba: u64, other: u64, entries_lba: u64| {
        let mut bytes = header.sector.clone();
        let length = u32_at(&bytes, 12) as usize;
        bytes[24..32].copy_from_slice(&lba.to_le_bytes());
        bytes[32..40].copy_from_slice(&other.to_le_bytes());
        bytes[48..56].copy_from_slice(&(backup_entries - 1).to_le_bytes());
        bytes[72..80].copy_from_slice(&entries_lba.to_le_bytes());
        bytes[88..92].copy_from_slice(&crc32(&array).to_le_bytes());
        bytes[16..20].fill(0);
        let crc = crc32(&bytes[..length]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    let mut backup = array.clone();
    backup.resize((array_sectors * sector) as usize, 0);
    backup.extend(write_header(alternate, 1, backup_entries));
    let mut patches = protective(first, last, &to, sector, alternate);
    patches.push(Patch { offset: sector, bytes: write_header(1, alternate, header.entries) });
    patches.push(Patch { offset: header.entries * sector, bytes: array });
    // The old backup header would lie about in the partition that grew over it.
    if header.alternate * sector < backup_entries * sector && header.alternate > header.entries {
        patches.push(Patch { offset: header.alternate * sector, bytes: vec![0; sector as usize] });
    }
    patches.push(Patch { offset: backup_entries * sector, bytes: backup });
    Ok(Growth { patches, number: last.number, from: last.range.clone(), to })
}

/// Returns the edits of the MBR before a GPT: its protective entry spans the device, where it did before, and a hybrid
/// one's entry of the partition grows with it.
fn protective(first: &[u8; 512], last: &Partition, to: &Range<u64>, sector: u64, alternate: u64) -> Vec<Patch> {
    let used = entries(first).filter(|entry| entry[4] != 0).count();
    let patch = |index: usize, sectors: u64| {
        let sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
        let offset = (MBR_ENTRY.1 + index * MBR_ENTRY.0 + 12) as u64;
        Patch { offset, bytes: sectors.to_le_bytes().into() }
    };
    let grown = |(index, entry): (usize, &[u8])| {
        let mirrors = u64::from(u32_at(entry, 8)) * sector == last.range.start
            && u64::from(u32_at(entry, 12)) * sector == last.range.end - last.range.start;
        match entry[4] {
            PROTECTIVE if used == 1 => Some(patch(index, alternate)),
            PROTECTIVE | 0 => None,
            _ => mirrors.then(|| patch(index, (to.end - to.start) / sector)),
        }
    };
    entries(first).enumerate().filter_map(grown).collect()
}

fn mbr(
    image: &mut ReadAt<'_>,
    table: &Table,
    last: &Partition,
    device_bytes: u64,
    first: &[u8; 512],
) -> Result<Growth, TableError> {
    let logical = last.number > 4;
    let outer = table.partitions.iter().find(|partition| logical && partition.is_extended());
    // An entry counts sectors in 32 bits, from its base: a logical one's is its own table, the outer one's is zero.
    let addressable = (u64::from(u32::MAX) * 512).saturating_add(outer.unwrap_or(last).range.start);
    let end = new_end(last, device_bytes.min(addressable));
    let to = last.range.start..end;
    let mut patches = Vec::new();
    let mut set_length = |offset: u64, entry: &[u8], start: u64| {
        let mut bytes = entry.to_vec();
        bytes[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
        let sectors = u32::try_from((end - start) / 512).unwrap_or(u32::MAX);
        bytes[12..16].copy_from_slice(&sectors.to_le_bytes());
        patches.push(Patch { offset, bytes });
    };
    if end > last.range.end {
        for (index, place) in last.entries.iter().enumerate() {
            let mut entry = [0; 16];
            image(*place, &mut entry)?;
            // The link before a logical partition counts from where that one's own table stands.
            let start = if index == 0 { last.range.start } else { last.entries[0] - MBR_ENTRY.1 as u64 };
            set_length(*place, &entry, start);
        }
        for place in outer.iter().filter(|outer| outer.range.end < end).flat_map(|outer| &outer.entries) {
            let entry = &first[*place as usize..][..16];
            set_length(*place, entry, outer.expect("it has an entry").range.start);
        }
    }
    Ok(Growth { patches, number: last.number, from: last.range.clone(), to })
}
