//! One 512-byte tar header: its fields, its checksum, its numbers.

use std::ops::Range;

/// Headers and content come in blocks of this many bytes.
pub(super) const BLOCK: usize = 512;

// POSIX.1-2017 pax, "ustar Header Block".
pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK_NAME: Range<usize> = 157..257;
pub(super) const MAGIC_VERSION: Range<usize> = 257..265;
pub(super) const DEV_MAJOR: Range<usize> = 329..337;
pub(super) const DEV_MINOR: Range<usize> = 337..345;
pub(super) const PREFIX: Range<usize> = 345..500;

/// The magic and version of POSIX archives.
pub(super) const USTAR: &[u8; 8] = b"ustar\x0000";

/// A header block whose checksum has been found right.
pub(super) struct Header<'a>(pub &'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Takes a block for a header if its checksum says so.
    pub fn check(block: &'a [u8; BLOCK]) -> Option<Self> {
        let expected = number(&block[CHECKSUM])?;
        // Ancient writers summed signed characters.
        let (mut unsigned, mut signed) = (0i128, 0i128);
        for (at, &byte) in block.iter().enumerate() {
            let byte = if CHECKSUM.contains(&at) { b' ' } else { byte };
            unsigned += i128::from(byte);
            signed += i128::from(byte.cast_signed());
        }
        (expected == unsigned || expected == signed).then_some(Header(block))
    }

    /// Returns a text field, up to its first NUL.
    pub fn text(&self, field: Range<usize>) -> &'a [u8] {
        until_nul(&self.0[field])
    }

    /// Returns a numeric field, or what is wrong with it.
    pub fn number<T: TryFrom<i128>>(&self, field: Range<usize>, name: &str) -> Result<T, String> {
        number(&self.0[field])
            .ok_or_else(|| format!("the header's {name} is no number"))
            .and_then(|value| T::try_from(value).map_err(|_| format!("the header's {name} is out of range: {value}")))
    }

    /// Returns the name, with its prefix where the header has one.
    pub fn path(&self) -> Vec<u8> {
        let name = self.text(NAME);
        // GNU headers ("ustar  \0") keep times where POSIX has the prefix; star keeps them behind a shorter one.
        let star = self.0[508..] == *b"tar\0";
        let prefix = match &self.0[MAGIC_VERSION] {
            [b'u', b's', b't', b'a', b'r', 0, ..] if star => self.text(345..476),
            [b'u', b's', b't', b'a', b'r', 0, ..] => self.text(PREFIX),
            _ => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }
}

/// Returns the bytes before the first NUL.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Reads a number: octal text, or GNU's base-256 with the first bit set. Blank is 0.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    debug_assert!(field.len() <= 12, "fits 128 bits");
    if let Some((&first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        // Two's complement, whose highest bit is the second one of the first byte.
        let start = i128::from(first & 0x7f) - if first & 0x40 != 0 { 0x80 } else { 0 };
        return Some(rest.iter().fold(start, |value, &byte| value << 8 | i128::from(byte)));
    }
    let digits = until_nul(field).trim_ascii();
    digits
        .iter()
        .try_fold(0, |value, &digit| matches!(digit, b'0'..=b'7').then(|| value << 3 | i128::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"77777777"), Some(0o77777777));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"        "), Some(0));
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"-1\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78]), Some(0x12345678));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some(0xff_ffff_ffff_ffff));
    }
}
