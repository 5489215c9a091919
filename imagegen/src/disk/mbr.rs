//! Master boot records and extended ones as bytes.

use super::SECTOR;

/// Where the disk signature is: what comes before belongs to a boot loader.
pub(super) const SIGNATURE: u64 = 440;
/// Type codes of an MBR's own: those that hold logical partitions, the one of them that is written, the one that protects
/// a GPT.
pub(super) const EXTENDED_ALL: [u8; 3] = [0x05, EXTENDED, 0x85];
pub(super) const EXTENDED: u8 = 0x0f;
pub(super) const PROTECTIVE: u8 = 0xee;
/// What tools take for the geometry of disks that have none.
const HEADS: u64 = 255;
const SECTORS_PER_TRACK: u64 = 63;

/// A partition as its entry says it; places are sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub active: bool,
    pub code: u8,
    /// Relative to what the record says: the disk, its own sector, or the extended partition.
    pub first: u32,
    pub count: u32,
    /// The first sector counted from the start of the disk, for the old way of saying places.
    pub absolute: u64,
}

/// Returns the bytes from [`SIGNATURE`] on to the end of the sector.
pub(super) fn record(signature: u32, entries: &[Entry]) -> [u8; (SECTOR - SIGNATURE) as usize] {
    let mut bytes = [0; (SECTOR - SIGNATURE) as usize];
    bytes[0..4].copy_from_slice(&signature.to_le_bytes());
    for (entry, out) in entries.iter().zip(bytes[6..70].chunks_exact_mut(16)) {
        out[0] = if entry.active { 0x80 } else { 0 };
        out[1..4].copy_from_slice(&cylinder(entry.absolute));
        out[4] = entry.code;
        out[5..8].copy_from_slice(&cylinder(entry.absolute + u64::from(entry.count).saturating_sub(1)));
        out[8..12].copy_from_slice(&entry.first.to_le_bytes());
        out[12..16].copy_from_slice(&entry.count.to_le_bytes());
    }
    bytes[70..72].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// Returns a sector's place as cylinder, head and sector; the largest there is for those beyond.
fn cylinder(sector: u64) -> [u8; 3] {
    let cylinder = sector / (HEADS * SECTORS_PER_TRACK);
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    let head = sector / SECTORS_PER_TRACK % HEADS;
    let number = sector % SECTORS_PER_TRACK + 1;
    [head as u8, (number | ((cylinder >> 2) & 0xc0)) as u8, cylinder as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_old_way() {
        assert_eq!(cylinder(0), [0, 1, 0]);
        assert_eq!(cylinder(1), [0, 2, 0]);
        assert_eq!(cylinder(2048), [32, 33, 0]);
        assert_eq!(cylinder(1023 * 255 * 63), [0, 0xc1, 0xff]);
        assert_eq!(cylinder(1024 * 255 * 63), [0xfe, 0xff, 0xff]);
    }
}
