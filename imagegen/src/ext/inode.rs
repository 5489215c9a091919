//! One inode's 256 bytes (`struct ext2_inode_large`).

use super::checksum::Sum;
use crate::tree::Timestamp;

/// Bytes of an inode.
pub(super) const INODE_SIZE: usize = 256;
/// Bytes used beyond the first 128 (`i_extra_isize`): up to and with `i_projid`.
pub(super) const EXTRA_SIZE: u16 = 32;
/// Bytes of `i_block`.
pub(super) const POINTER_BYTES: usize = 60;
/// Where attributes may begin.
pub(super) const ATTRIBUTES_AT: usize = 128 + EXTRA_SIZE as usize;

/// Inode numbers with a fixed meaning.
pub(super) const ROOT_INO: u32 = 2;
/// The inode that owns the reserved descriptor blocks.
pub(super) const RESIZE_INO: u32 = 7;
/// The inode that is the journal.
pub(super) const JOURNAL_INO: u32 = 8;
/// The first inode a file may have; mke2fs gives it to `lost+found`.
pub(super) const FIRST_INO: u32 = 11;

/// The directory is hashed (`EXT2_INDEX_FL`).
pub(super) const FLAG_INDEX: u32 = 0x1000;

/// Its blocks are described by extents (`EXT4_EXTENTS_FL`).
pub(super) const FLAG_EXTENTS: u32 = 0x8_0000;

/// The latest time written: from 2310 on, `e2fsck` takes the two epoch bits for those of a kernel that got dates
/// before 1970 wrong.
const LATEST: Timestamp = Timestamp { seconds: 3 * (1 << 32) - (1 << 31) - 1, nanoseconds: 999_999_999 };
/// The earliest time the format can hold, in 1901.
const EARLIEST: Timestamp = Timestamp { seconds: -(1 << 31), nanoseconds: 0 };

/// An inode as it is written.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    /// Type and permissions.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub size_bytes: u64,
    /// The one time of all four: access, change, modification, creation.
    pub time: Timestamp,
    pub links: u16,
    /// 512-byte units, indirect and attribute blocks included.
    pub sectors: u64,
    pub flags: u32,
    /// Block pointers, extents, device number or the target of a short symbolic link.
    pub block: [u8; POINTER_BYTES],
    /// The block with attributes, or 0 (`i_file_acl`).
    pub attribute_block: u64,
    /// Attributes kept in the inode, with their magic number; may be empty.
    pub attributes: &'a [u8],
}

impl Record<'_> {
    /// Returns an empty inode of root's with one link.
    pub fn new(mode: u16, time: Timestamp) -> Self {
        Record {
            mode,
            uid: 0,
            gid: 0,
            size_bytes: 0,
            time,
            links: 1,
            sectors: 0,
            flags: 0,
            block: [0; POINTER_BYTES],
            attribute_block: 0,
            attributes: &[],
        }
    }

    /// Writes the inode into zeroed bytes, with a checksum if there is what it begins with.
    pub fn encode(&self, sum: Option<Sum>, out: &mut [u8]) {
        let (time, extra) = encode_time(self.time);
        put16(out, 0, self.mode);
        put16(out, 2, self.uid as u16);
        put32(out, 4, self.size_bytes as u32);
        for at in [8, 12, 16, 144] {
            put32(out, at, time);
        }
        put16(out, 24, self.gid as u16);
        put16(out, 26, self.links);
        put32(out, 28, self.sectors as u32);
        put32(out, 32, self.flags);
        out[40..100].copy_from_slice(&self.block);
        put32(out, 104, self.attribute_block as u32);
        put32(out, 108, (self.size_bytes >> 32) as u32);
        put16(out, 116, (self.sectors >> 32) as u16);
        put16(out, 118, (self.attribute_block >> 32) as u16);
        put16(out, 120, (self.uid >> 16) as u16);
        put16(out, 122, (self.gid >> 16) as u16);
        put16(out, 128, EXTRA_SIZE);
        for at in [132, 136, 140, 148] {
            put32(out, at, extra);
        }
        out[ATTRIBUTES_AT..ATTRIBUTES_AT + self.attributes.len()].copy_from_slice(self.attributes);
        if let Some(sum) = sum {
            let sum = sum.then(out);
            put16(out, 124, sum.0 as u16);
            put16(out, 130, (sum.0 >> 16) as u16);
        }
    }
}

/// Returns the 32 bits of old and the 32 extra ones: two more of the seconds, thirty of nanoseconds.
fn encode_time(time: Timestamp) -> (u32, u32) {
    let time = time.clamp(EARLIEST, LATEST);
    let low = time.seconds as i32;
    let epoch = ((time.seconds - i64::from(low)) >> 32) as u32 & 3;
    (low as u32, epoch | time.nanoseconds.min(999_999_999) << 2)
}

/// Returns a device's number as `i_block` holds it: 16 bits in the first word, or 32 in the second; `None` if it fits
/// neither.
pub(super) fn encode_device(major: u32, minor: u32) -> Option<[u8; POINTER_BYTES]> {
    let mut block = [0; POINTER_BYTES];
    if major < 256 && minor < 256 {
        put32(&mut block, 0, major << 8 | minor);
    } else if major < 1 << 12 && minor < 1 << 20 {
        put32(&mut block, 4, minor & 0xff | major << 8 | (minor & !0xff) << 12);
    } else {
        return None;
    }
    Some(block)
}

/// Writes a little-endian number.
pub(super) fn put16(out: &mut [u8], at: usize, value: u16) {
    out[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Writes a little-endian number.
pub(super) fn put32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_time(low: u32, extra: u32) -> Timestamp {
        let seconds = i64::from(low as i32) + (i64::from(extra & 3) << 32);
        Timestamp { seconds, nanoseconds: extra >> 2 }
    }

    #[test]
    fn times_come_back_from_1901_to_2310() {
        for seconds in [-(1 << 31), -1, 0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, LATEST.seconds] {
            let time = Timestamp { seconds, nanoseconds: 123_456_789 };
            let (low, extra) = encode_time(time);
            assert_eq!(decode_time(low, extra), time);
        }
        for (far, end) in [(i64::MIN, EARLIEST), (i64::MAX, LATEST)] {
            let (low, extra) = encode_time(Timestamp { seconds: far, nanoseconds: 0 });
            assert_eq!(decode_time(low, extra), end);
        }
    }

    #[test]
    fn devices_use_the_old_form_where_it_suffices() {
        assert_eq!(encode_device(5, 1).unwrap()[..8], [1, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode_device(259, 0x12345).unwrap()[..8], [0, 0, 0, 0, 0x45, 0x03, 0x31, 0x12]);
        assert_eq!(encode_device(4095, (1 << 20) - 1).unwrap()[4..8], [0xff; 4]);
        assert_eq!(encode_device(4096, 0), None);
        assert_eq!(encode_device(8, 1 << 20), None);
    }
}
