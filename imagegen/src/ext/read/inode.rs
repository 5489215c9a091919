//! The fields of an inode (`struct ext2_inode_large`).

use crate::little_endian::{u16_at, u32_at};
use crate::tree::Timestamp;

use super::super::inode::POINTER_BYTES;
use super::superblock::Superblock;

/// `EXT4_ENCRYPT_FL`.
pub(super) const FLAG_ENCRYPT: u32 = 0x800;
/// `EXT4_INLINE_DATA_FL`.
pub(super) const FLAG_INLINE: u32 = 0x1000_0000;
/// `EXT4_HUGE_FILE_FL`: its blocks are counted, not sectors.
const FLAG_HUGE: u32 = 0x4_0000;

/// Flags that people set, with lsattr's letters, in its order.
const LETTERS: [(u32, char); 15] = [
    (0x0000_0001, 's'),
    (0x0000_0002, 'u'),
    (0x0000_0008, 'S'),
    (0x0001_0000, 'D'),
    (0x0000_0010, 'i'),
    (0x0000_0020, 'a'),
    (0x0000_0040, 'd'),
    (0x0000_0080, 'A'),
    (0x0000_0004, 'c'),
    (FLAG_ENCRYPT, 'E'),
    (0x0000_4000, 'j'),
    (0x0000_8000, 't'),
    (0x0002_0000, 'T'),
    (0x2000_0000, 'P'),
    (0x4000_0000, 'F'),
];

/// An inode as it stands.
pub(super) struct Raw {
    pub number: u32,
    /// 128 at least.
    pub bytes: Vec<u8>,
}

impl Raw {
    pub fn mode(&self) -> u16 {
        u16_at(&self.bytes, 0)
    }

    pub fn is_directory(&self) -> bool {
        self.mode() & 0o170000 == 0o040000
    }

    pub fn uid(&self) -> u32 {
        u32::from(u16_at(&self.bytes, 2)) | u32::from(u16_at(&self.bytes, 120)) << 16
    }

    pub fn gid(&self) -> u32 {
        u32::from(u16_at(&self.bytes, 24)) | u32::from(u16_at(&self.bytes, 122)) << 16
    }

    pub fn links(&self) -> u16 {
        u16_at(&self.bytes, 26)
    }

    pub fn flags(&self) -> u32 {
        u32_at(&self.bytes, 32)
    }

    pub fn flag_letters(&self) -> String {
        LETTERS.iter().filter(|(bit, _)| self.flags() & bit != 0).map(|(_, letter)| letter).collect()
    }

    /// Returns the size; that of folders has an upper half only with `large_dir`.
    pub fn size_bytes(&self, large_directories: bool) -> u64 {
        let regular = self.mode() & 0o170000 == 0o100000;
        let high = if regular || large_directories && self.is_directory() { u32_at(&self.bytes, 108) } else { 0 };
        u64::from(high) << 32 | u64::from(u32_at(&self.bytes, 4))
    }

    /// Returns what it takes, in units of 512 bytes.
    pub fn units(&self, superblock: &Superblock) -> u64 {
        let low = u64::from(u32_at(&self.bytes, 28));
        if !superblock.has_huge_files() {
            return low;
        }
        let count = low | u64::from(u16_at(&self.bytes, 116)) << 32;
        if self.flags() & FLAG_HUGE != 0 { count.saturating_mul(superblock.block_bytes / 512) } else { count }
    }

    /// Returns `i_block`.
    pub fn block(&self) -> [u8; POINTER_BYTES] {
        self.bytes[40..40 + POINTER_BYTES].try_into().expect("sixty bytes")
    }

    /// Returns the block with attributes, or 0.
    pub fn attribute_block(&self) -> u64 {
        u64::from(u32_at(&self.bytes, 104)) | u64::from(u16_at(&self.bytes, 118)) << 32
    }

    /// Returns what stands behind the fields: attributes; empty if there is no room.
    pub fn tail(&self) -> &[u8] {
        self.bytes.get(128 + self.extra_bytes()..).unwrap_or_default()
    }

    /// Returns how many bytes of fields there are behind the first 128.
    fn extra_bytes(&self) -> usize {
        if self.bytes.len() > 128 { usize::from(u16_at(&self.bytes, 128)) } else { 0 }
    }

    pub fn mtime(&self) -> Timestamp {
        let low = i64::from(u32_at(&self.bytes, 16) as i32);
        // `i_mtime_extra`, up to byte 140.
        if self.extra_bytes() < 12 || self.bytes.len() < 140 {
            return Timestamp { seconds: low, nanoseconds: 0 };
        }
        let extra = u32_at(&self.bytes, 136);
        Timestamp { seconds: low + (i64::from(extra & 3) << 32), nanoseconds: (extra >> 2).min(999_999_999) }
    }

    /// Returns major and minor number: of the old form in the first word of `i_block`, or of the new one in the second.
    pub fn device(&self) -> (u32, u32) {
        let (old, new) = (u32_at(&self.bytes, 40), u32_at(&self.bytes, 44));
        match old {
            0 => (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00),
            _ => (old >> 8 & 0xff, old & 0xff),
        }
    }
}
