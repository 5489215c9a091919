//! A gzip file of one member (RFC 1952), unpacked to where the caller wants it; the inflating itself is a library's.

use alloc::boxed::Box;
use core::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// Header flags (RFC 1952, 2.3.1).
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Bytes of the header's fixed part, and of the trailer.
const HEADER: usize = 10;
const TRAILER: usize = 8;

/// Output is one buffer, from its start.
const FLAGS: u32 = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;

/// Why a file cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The header is not whole, or asks for what the format does not know.
    Header,
    /// The packed data ends too early.
    Truncated,
    /// The packed data is none.
    Broken,
    /// More comes out than the trailer says.
    Longer,
    /// Less comes out than the trailer says.
    Shorter,
    /// Something follows the packed data: another member, or rubbish.
    Followed,
    /// What came out is not what went in.
    Checksum,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Fault::Header => "its gzip header is broken",
            Fault::Truncated => "it is truncated",
            Fault::Broken => "its packed data is broken",
            Fault::Longer => "more comes out of it than it says, or it has several members",
            Fault::Shorter => "less comes out of it than it says",
            Fault::Followed => "something follows its packed data; only one member is unpacked",
            Fault::Checksum => "its checksum is wrong",
        })
    }
}

/// A member that ends where its file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    packed: &'a [u8],
    checksum: u32,
    size: u32,
}

/// Whether a file begins as gzip files do.
pub fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

impl<'a> Member<'a> {
    /// Finds a file's packed data, and what its trailer says of it.
    ///
    /// # Errors
    /// The header or the trailer is not there.
    pub fn read(bytes: &'a [u8]) -> Result<Member<'a>, Fault> {
        let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or(Fault::Header)?;
        let flags = header[3];
        // Method 8 is deflate, and there is no other.
        if !is_packed(header) || header[2] != 8 || flags & RESERVED != 0 {
            return Err(Fault::Header);
        }
        let skip = |rest: &'a [u8], count: usize| rest.get(count..).ok_or(Fault::Header);
        if flags & FEXTRA != 0 {
            let &[low, high] = rest.first_chunk().ok_or(Fault::Header)?;
            rest = skip(rest, 2 + usize::from(u16::from_le_bytes([low, high])))?;
        }
        for text in [FNAME, FCOMMENT] {
            if flags & text != 0 {
                let end = rest.iter().position(|&byte| byte == 0).ok_or(Fault::Header)?;
                rest = skip(rest, end + 1)?;
            }
        }
        if flags & FHCRC != 0 {
            let sum = rest.first_chunk().ok_or(Fault::Header)?;
            if u16::from_le_bytes(*sum) != crc32(&bytes[..bytes.len() - rest.len()]) as u16 {
                return Err(Fault::Header);
            }
            rest = skip(rest, 2)?;
        }
        let (packed, trailer) = rest.split_last_chunk::<TRAILER>().ok_or(Fault::Truncated)?;
        let [c0, c1, c2, c3, s0, s1, s2, s3] = *trailer;
        Ok(Member {
            packed,
            checksum: u32::from_le_bytes([c0, c1, c2, c3]),
            size: u32::from_le_bytes([s0, s1, s2, s3]),
        })
    }

    /// Returns the size of what it holds, in bytes, as the trailer says.
    pub fn size(&self) -> u64 {
        self.size.into()
    }

    /// Unpacks what it begins with; returns how many bytes of `out` that are.
    ///
    /// # Errors
    /// It cannot be unpacked so far.
    pub fn begin(&self, out: &mut [u8]) -> Result<usize, Fault> {
        match decompress(&mut decompressor(), self.packed, out, 0, FLAGS) {
            (TINFLStatus::Done | TINFLStatus::HasMoreOutput, _, written) => Ok(written),
            (status, ..) => Err(fault(status)),
        }
    }

    /// Unpacks all of it into `out`, which has as many bytes as [`Self::size`] says.
    ///
    /// # Errors
    /// It is not what it says; `out` holds nothing of use then.
    pub fn unpack(&self, out: &mut [u8]) -> Result<(), Fault> {
        match decompress(&mut decompressor(), self.packed, out, 0, FLAGS) {
            (TINFLStatus::Done, read, _) if read < self.packed.len() => Err(Fault::Followed),
            (TINFLStatus::Done, _, written) if written < out.len() => Err(Fault::Shorter),
            (TINFLStatus::Done, ..) if crc32(out) != self.checksum => Err(Fault::Checksum),
            (TINFLStatus::Done, ..) => Ok(()),
            (status, ..) => Err(fault(status)),
        }
    }
}

/// Returns a decompressor, whose 10 KiB are too many for a stack.
fn decompressor() -> Box<DecompressorOxide> {
    Box::default()
}

fn fault(status: TINFLStatus) -> Fault {
    match status {
        TINFLStatus::HasMoreOutput => Fault::Longer,
        TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => Fault::Truncated,
        _ => Fault::Broken,
    }
}

/// What eight bytes, of which all but the last are zero, do to the sum: by the place and the value of that which is not.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = sum >> 1 ^ if sum & 1 != 0 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut place = 1;
    while place < 8 {
        let mut byte = 0;
        while byte < 256 {
            let sum = tables[place - 1][byte];
            tables[place][byte] = sum >> 8 ^ tables[0][(sum & 0xff) as usize];
            byte += 1;
        }
        place += 1;
    }
    tables
}

/// Returns the CRC-32 of RFC 1952 (section 8), eight bytes at a time: a kernel has tens of millions.
fn crc32(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(u32::MAX, |sum, word| {
        let mixed = (u64::from_le_bytes(*word) ^ u64::from(sum)).to_le_bytes();
        mixed.iter().rev().zip(&TABLES).fold(0, |sum, (&byte, table)| sum ^ table[usize::from(byte)])
    });
    !rest.iter().fold(sum, |sum, &byte| sum >> 8 ^ TABLES[0][(sum as u8 ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;
    use std::io::Write;

    /// Bytes that pack neither too well nor not at all.
    fn text(size: usize) -> Vec<u8> {
        (0..size as u32).map(|index| (index.wrapping_mul(0x9e37_79b9) >> 24 & index >> 5) as u8).collect()
    }

    fn pack(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut packer = GzBuilder::new().filename("Image").write(Vec::new(), Compression::new(level));
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    /// Unpacks as Dom0's kernel is: no more room than the trailer says, and nothing behind it touched.
    fn unpack(packed: &[u8]) -> Result<Vec<u8>, Fault> {
        let member = Member::read(packed)?;
        let size = usize::try_from(member.size()).unwrap().min(1 << 20);
        let mut out = vec![0xa5; size + 64];
        member.unpack(&mut out[..size])?;
        assert!(out[size..].iter().all(|&byte| byte == 0xa5));
        out.truncate(size);
        Ok(out)
    }

    #[test]
    fn what_was_packed_comes_out() {
        for size in [0, 1, 7, 8, 63, 64, 300, 70_000] {
            for level in [0, 1, 9] {
                let (bytes, mut start) = (text(size), [0; 64]);
                let packed = pack(&bytes, level);
                assert_eq!(unpack(&packed).as_ref(), Ok(&bytes), "{size} bytes at level {level}");
                let count = Member::read(&packed).unwrap().begin(&mut start).unwrap();
                assert_eq!(start[..count], bytes[..size.min(64)]);
            }
        }
    }

    #[test]
    fn every_kind_of_header_is_skipped() {
        let builder = GzBuilder::new().extra(vec![7; 300]).filename("vmlinux").comment("a kernel").mtime(1);
        let mut packer = builder.write(Vec::new(), Compression::fast());
        packer.write_all(b"what it holds").unwrap();
        let mut packed = packer.finish().unwrap();
        assert_eq!(unpack(&packed).unwrap(), b"what it holds");
        // With the header's own checksum, right and wrong.
        let header = HEADER + 2 + 300 + 8 + 9;
        packed[3] |= FHCRC;
        let sum = crc32(&packed[..header]) as u16;
        packed.splice(header..header, sum.to_le_bytes());
        assert_eq!(unpack(&packed).unwrap(), b"what it holds");
        packed[header] ^= 1;
        assert_eq!(unpack(&packed), Err(Fault::Header));
        packed[3] |= 0x20;
        assert_eq!(unpack(&packed), Err(Fault::Header));
    }

    #[test]
    fn what_is_not_whole_or_lies_is_refused() {
        let bytes = text(70_000);
        let packed = pack(&bytes, 6);
        let changed = |from_end: usize, with: u32| {
            let (mut packed, at) = (packed.clone(), packed.len() - from_end);
            packed[at..at + 4].copy_from_slice(&with.to_le_bytes());
            unpack(&packed)
        };
        assert_eq!(changed(8, 0x1234_5678), Err(Fault::Checksum));
        assert_eq!(changed(4, 69_999), Err(Fault::Longer));
        assert_eq!(changed(4, 70_001), Err(Fault::Shorter));
        assert_eq!(changed(4, 0), Err(Fault::Longer));
        // Two members, one of which has the size that the trailer says; and rubbish, whose size is nobody's.
        assert_eq!(unpack(&[&packed[..], &packed].concat()), Err(Fault::Followed));
        assert_eq!(unpack(&[&packed[..], &pack(b"short", 6)].concat()), Err(Fault::Longer));
        assert_eq!(unpack(&[&packed[..], &[0; 512]].concat()), Err(Fault::Longer));
        let mut rubbish = [&packed[..], b"rubbish"].concat();
        rubbish.extend(70_000u32.to_le_bytes());
        assert_eq!(unpack(&rubbish), Err(Fault::Followed));
        for end in (0..packed.len()).step_by(97).chain(packed.len() - 20..packed.len()) {
            assert!(unpack(&packed[..end]).is_err(), "the first {end} bytes");
        }
    }

    #[test]
    fn the_checksum_is_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(size in 0usize..2000, level in 0u32..10, at: prop::sample::Index, byte: u8, cut: bool) {
            let bytes = text(size);
            let mut packed = pack(&bytes, level);
            let at = at.index(packed.len());
            packed[at] = byte;
            if cut {
                packed.truncate(at + 1);
            }
            // A change in the header's time or name changes nothing.
            if let Ok(out) = unpack(&packed) {
                prop_assert_eq!(out, bytes);
            }
        }

        #[test]
        fn rubbish_is_refused(mut bytes: Vec<u8>) {
            let start = [0x1f, 0x8b, 8, 0];
            bytes.iter_mut().zip(start).for_each(|(byte, right)| *byte = right);
            // Four bytes of CRC are not met by chance; but an empty file's may be, for they are zero.
            if let Ok(out) = unpack(&bytes) {
                prop_assert!(out.is_empty());
            }
        }
    }
}
