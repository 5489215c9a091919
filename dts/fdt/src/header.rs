//! The blob's header and its memory reservation block.

use crate::Error;

/// The first word of every flattened tree, big endian.
pub const MAGIC: u32 = 0xd00d_feed;

/// A range of memory the operating system must leave alone (specification 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reservation {
    /// Physical address of its first byte.
    pub address: u64,
    /// Length in bytes.
    pub size: u64,
}

/// The checked header: every offset and size lies inside the blob (specification 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes the blob claims in all, padding included.
    pub total_size: usize,
    /// Offset of the structure block.
    pub struct_offset: usize,
    /// Length of the structure block; for formats before 17, up to what follows it.
    pub struct_size: usize,
    /// Offset of the strings block.
    pub strings_offset: usize,
    /// Length of the strings block; for formats before 3, up to the end of the blob.
    pub strings_size: usize,
    /// Offset of the memory reservation block.
    pub reservations_offset: usize,
    /// Format version, 1 to 17 or a later one that is compatible with 17.
    pub version: u32,
    /// Oldest version a reader must know.
    pub last_compatible_version: u32,
    /// Physical id of the boot CPU; 0 in version 1, which lacks the field.
    pub boot_cpu: u32,
}

/// Returns the big-endian word at `offset`, if it lies inside `bytes`.
pub(crate) fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let end = offset.checked_add(4)?;
    Some(u32::from_be_bytes(bytes.get(offset..end)?.try_into().ok()?))
}

/// Returns the big-endian double word at `offset`, if it lies inside `bytes`.
pub(crate) fn double_word(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from(word(bytes, offset)?) << 32 | u64::from(word(bytes, offset.checked_add(4)?)?))
}

impl Header {
    /// Reads and checks the header at the start of `bytes`, which may be longer than the blob.
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let field = |index: usize| {
            word(bytes, index * 4).ok_or(Error::Truncated { part: "header", need: index * 4 + 4, have: bytes.len() })
        };
        let magic = field(0)?;
        if magic != MAGIC {
            return Err(Error::BadMagic(magic));
        }
        let (version, last_compatible_version) = (field(5)?, field(6)?);
        if version == 0 || last_compatible_version > 17 || last_compatible_version > version {
            return Err(Error::BadVersion { version, last_compatible: last_compatible_version });
        }
        let total_size = field(1)? as usize;
        if total_size > bytes.len() {
            return Err(Error::Truncated { part: "blob", need: total_size, have: bytes.len() });
        }
        let header_size = match version {
            1 => 28,
            2 => 32,
            3..=16 => 36,
            _ => 40,
        };
        if total_size < header_size {
            return Err(Error::BadHeader("total size is smaller than the header"));
        }
        let inside = |offset: usize, what| {
            if (header_size..=total_size).contains(&offset) { Ok(offset) } else { Err(Error::BadHeader(what)) }
        };
        let struct_offset = inside(field(2)? as usize, "structure block starts outside the blob")?;
        let strings_offset = inside(field(3)? as usize, "strings block starts outside the blob")?;
        let reservations_offset = inside(field(4)? as usize, "reservation block starts outside the blob")?;
        if struct_offset % 4 != 0 {
            return Err(Error::BadHeader("structure block is not 4-byte aligned"));
        }
        let strings_size = if version >= 3 { field(8)? as usize } else { total_size - strings_offset };
        let struct_size = if version >= 17 {
            field(9)? as usize
        } else if strings_offset > struct_offset {
            strings_offset - struct_offset
        } else {
            total_size - struct_offset
        };
        if struct_size > total_size - struct_offset {
            return Err(Error::BadHeader("structure block ends outside the blob"));
        }
        if strings_size > total_size - strings_offset {
            return Err(Error::BadHeader("strings block ends outside the blob"));
        }
        let boot_cpu = if version >= 2 { field(7)? } else { 0 };
        Ok(Header {
            total_size,
            struct_offset,
            struct_size,
            strings_offset,
            strings_size,
            reservations_offset,
            version,
            last_compatible_version,
            boot_cpu,
        })
    }
}
