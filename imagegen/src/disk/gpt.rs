//! GPT headers and entries as bytes (UEFI Specification 2.10, 5.3).

use super::SECTOR;
use super::guid::Guid;

/// Entries of a table, and bytes of one.
pub(super) const ENTRIES: u64 = 128;
const ENTRY_BYTES: usize = 128;
/// Bytes of all entries.
pub(super) const ENTRIES_BYTES: u64 = ENTRIES * ENTRY_BYTES as u64;
/// UTF-16 units of a name.
pub(super) const NAME_UNITS: usize = 36;
const HEADER_BYTES: u32 = 92;

/// A partition as its entry says it; places are sectors, the last one included.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub kind: Guid,
    pub guid: Guid,
    pub first: u64,
    pub last: u64,
    pub attributes: u64,
    pub name: &'a str,
}

/// Where a table's parts lie, in sectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub header: u64,
    /// The other header.
    pub other: u64,
    pub entries: u64,
    pub first_usable: u64,
    pub last_usable: u64,
}

/// Returns all entries.
pub(super) fn entries(list: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = vec![0; ENTRIES_BYTES as usize];
    for (entry, out) in list.iter().zip(bytes.chunks_exact_mut(ENTRY_BYTES)) {
        out[0..16].copy_from_slice(&entry.kind.to_gpt());
        out[16..32].copy_from_slice(&entry.guid.to_gpt());
        out[32..40].copy_from_slice(&entry.first.to_le_bytes());
        out[40..48].copy_from_slice(&entry.last.to_le_bytes());
        out[48..56].copy_from_slice(&entry.attributes.to_le_bytes());
        for (unit, out) in entry.name.encode_utf16().take(NAME_UNITS).zip(out[56..].chunks_exact_mut(2)) {
            out.copy_from_slice(&unit.to_le_bytes());
        }
    }
    bytes
}

/// Returns a header for these entries.
pub(super) fn header(places: Places, disk: Guid, entries: &[u8]) -> [u8; SECTOR as usize] {
    let mut bytes = [0; SECTOR as usize];
    bytes[0..8].copy_from_slice(b"EFI PART");
    bytes[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&HEADER_BYTES.to_le_bytes());
    let numbers = [places.header, places.other, places.first_usable, places.last_usable];
    for (number, out) in numbers.iter().zip(bytes[24..56].chunks_exact_mut(8)) {
        out.copy_from_slice(&number.to_le_bytes());
    }
    bytes[56..72].copy_from_slice(&disk.to_gpt());
    bytes[72..80].copy_from_slice(&places.entries.to_le_bytes());
    bytes[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
    bytes[84..88].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
    bytes[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
    // The header's own sum is that of the header with zeros in its place.
    let sum = crc32(&bytes[..HEADER_BYTES as usize]);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Returns the checksum of headers and of arrays of entries.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}
