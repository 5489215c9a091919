//! PAX extended headers: records of `LENGTH KEYWORD=VALUE`, read and written.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::Timestamp;

/// Keywords without meaning for a tree: other times, names of owners, where the file came from.
const SILENT: &[&str] = &[
    "atime",
    "ctime",
    "uname",
    "gname",
    "comment",
    "hdrcharset",
    "charset",
    "LIBARCHIVE.creationtime",
    "SCHILY.dev",
    "SCHILY.ino",
    "SCHILY.nlink",
    "SCHILY.filetype",
    "SCHILY.volhdr",
    "SCHILY.offset",
];

/// What keywords of extended attributes begin with: with plain values, and with values in base64.
const SCHILY_XATTR: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";

/// One record: keyword and value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// What the records in force say of the next member.
#[derive(Default)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link_path: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<Timestamp>,
    pub dev_major: Option<u32>,
    pub dev_minor: Option<u32>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: SparseRecords,
    pub ignored: BTreeSet<String>,
}

/// What GNU tar says of a sparse file, in any of its three ways.
#[derive(Default)]
pub(super) struct SparseRecords {
    /// 1 for format 1.0, whose map is in the content.
    pub major: Option<u64>,
    pub name: Option<Vec<u8>>,
    /// The size with all holes.
    pub size: Option<u64>,
    /// Offsets and lengths in turn (formats 0.0 and 0.1).
    pub map: Vec<u64>,
}

/// Splits the content of an extended header into records.
pub(super) fn records(mut bytes: &[u8]) -> Result<Vec<Record>, String> {
    let broken = || "a PAX record's length is wrong".to_owned();
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|&byte| byte == b' ').ok_or_else(broken)?;
        let length = decimal(&bytes[..space]).and_then(|length| usize::try_from(length).ok()).ok_or_else(broken)?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|&byte| byte == b'=').ok_or("a PAX record has no `=`")?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

impl Pax {
    /// Applies one record over what earlier ones said. An empty value takes a standard keyword back.
    pub fn apply(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), String> {
        let wrong = || format!("the PAX keyword `{}` has a bad value", String::from_utf8_lossy(keyword));
        fn number<T: TryFrom<u64>>(value: &[u8], wrong: impl Fn() -> String) -> Result<Option<T>, String> {
            if value.is_empty() {
                return Ok(None);
            }
            decimal(value).and_then(|value| T::try_from(value).ok()).map(Some).ok_or_else(wrong)
        }
        let text = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
        match keyword {
            b"path" => self.path = text(value),
            b"linkpath" => self.link_path = text(value),
            b"size" => self.size = number(value, wrong)?,
            b"uid" => self.uid = number(value, wrong)?,
            b"gid" => self.gid = number(value, wrong)?,
            b"SCHILY.devmajor" => self.dev_major = number(value, wrong)?,
            b"SCHILY.devminor" => self.dev_minor = number(value, wrong)?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(timestamp(value).ok_or_else(wrong)?),
            b"GNU.sparse.major" => self.sparse.major = number(value, wrong)?,
            b"GNU.sparse.minor" | b"GNU.sparse.numblocks" => {}
            b"GNU.sparse.name" => self.sparse.name = text(value),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = number(value, wrong)?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                // An offset comes before its length; two of a kind in a row would shift everything behind.
                if self.sparse.map.len().is_multiple_of(2) != (keyword == b"GNU.sparse.offset") {
                    return Err("GNU.sparse.offset and GNU.sparse.numbytes do not alternate".into());
                }
                self.sparse.map.push(decimal(value).ok_or_else(wrong)?);
            }
            b"GNU.sparse.map" => {
                let map = value.split(|&byte| byte == b',').map(decimal).collect::<Option<_>>();
                self.sparse.map = if value.is_empty() { Vec::new() } else { map.ok_or_else(wrong)? };
            }
            _ => self.apply_other(keyword, value).ok_or_else(wrong)?,
        }
        Ok(())
    }

    fn apply_other(&mut self, keyword: &[u8], value: &[u8]) -> Option<()> {
        if let Some(name) = keyword.strip_prefix(SCHILY_XATTR) {
            self.xattrs.insert(percent_decode(name), value.to_vec());
        } else if let Some(name) = keyword.strip_prefix(LIBARCHIVE_XATTR) {
            self.xattrs.insert(percent_decode(name), base64_decode(value)?);
        } else if !SILENT.iter().any(|silent| silent.as_bytes() == keyword) {
            self.ignored.insert(String::from_utf8_lossy(keyword).into_owned());
        }
        Some(())
    }
}

/// Says whether a keyword gives an extended attribute.
pub(super) fn is_xattr(keyword: &[u8]) -> bool {
    keyword.starts_with(SCHILY_XATTR) || keyword.starts_with(LIBARCHIVE_XATTR)
}

/// Reads a decimal number.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads `[-]SECONDS[.FRACTION]`; finer than a nanosecond is cut off, towards the past.
fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let digit = |at: usize| fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'));
    let nanoseconds = (0..9).fold(0, |value, at| value * 10 + digit(at));
    let finer = fraction.iter().skip(9).any(|&digit| digit != b'0');
    if !negative {
        return Some(Timestamp { seconds, nanoseconds });
    }
    Some(match nanoseconds + u32::from(finer) {
        0 => Timestamp { seconds: -seconds, nanoseconds: 0 },
        past => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - past },
    })
}

/// Undoes `%3D` and the like, in which `=` and `%` stand in attribute names.
fn percent_decode(text: &[u8]) -> Vec<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        match rest {
            [b'%', high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                decoded.push((hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    decoded
}

/// Reads base64 (RFC 4648), padded or not, as libarchive writes it.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let (mut value, mut bits, mut decoded) = (0u32, 0, Vec::with_capacity(text.len() / 4 * 3 + 3));
    for &digit in &text[..end] {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'\n' | b'\r' => continue,
            _ => return None,
        };
        value = value << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            decoded.push((value >> bits) as u8);
            value &= (1 << bits) - 1;
        }
    }
    (bits < 6).then_some(decoded)
}

/// Appends a record; its length counts its own digits.
pub(super) fn push_record(out: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(keyword);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Writes an attribute's name so that it holds no `=`, as GNU tar does.
pub(super) fn xattr_keyword(name: &[u8]) -> Vec<u8> {
    let mut keyword = SCHILY_XATTR.to_vec();
    for &byte in name {
        match byte {
            b'=' => keyword.extend_from_slice(b"%3D"),
            b'%' => keyword.extend_from_slice(b"%25"),
            _ => keyword.push(byte),
        }
    }
    keyword
}

/// Writes a time as PAX does: a negative one with a fraction counts back from zero.
pub(super) fn format_timestamp(time: Timestamp) -> String {
    let (sign, seconds, nanoseconds) = match time {
        Timestamp { seconds, nanoseconds: 0 } => (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs(), 0),
        Timestamp { seconds, nanoseconds } if seconds < 0 => {
            ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds)
        }
        Timestamp { seconds, nanoseconds } => ("", seconds.unsigned_abs(), nanoseconds),
    };
    let fraction = format!(".{nanoseconds:09}");
    format!("{sign}{seconds}{}", fraction.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..1200 {
            let mut bytes = Vec::new();
            push_record(&mut bytes, b"path", &vec![b'x'; length]);
            push_record(&mut bytes, b"a", b"b\n=");
            let expected: Vec<Record> = vec![(b"path".to_vec(), vec![b'x'; length]), (b"a".to_vec(), b"b\n=".to_vec())];
            assert_eq!(records(&bytes).unwrap(), expected);
        }
    }

    #[test]
    fn broken_records_are_errors() {
        let broken: [&[u8]; 8] =
            [b"5", b"x a=b\n", b"99 a=b\n", b"6 a=b", b"5 ab\n", b"0 a=b\n", b"2 \n", b"7 a=b\n\0"];
        for bytes in broken {
            assert!(records(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn times_survive_the_round_trip() {
        for (seconds, nanoseconds) in
            [(0, 0), (5, 0), (5, 120), (-1, 0), (-2, 500_000_000), (-1, 999_999_999), (i64::MIN + 1, 1)]
        {
            let time = Timestamp { seconds, nanoseconds };
            assert_eq!(timestamp(format_timestamp(time).as_bytes()), Some(time), "{time:?}");
        }
        assert_eq!(format_timestamp(Timestamp { seconds: -2, nanoseconds: 500_000_000 }), "-1.5");
        assert_eq!(timestamp(b"1.0000000019"), Some(Timestamp { seconds: 1, nanoseconds: 1 }));
        for bad in ["", "-", ".5", "1.x", "1 ", "99999999999999999999"] {
            assert_eq!(timestamp(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn attributes_in_both_spellings() {
        let mut pax = Pax::default();
        pax.apply(b"SCHILY.xattr.user.a%3Db%25", b"\0=\xff").unwrap();
        pax.apply(b"LIBARCHIVE.xattr.security.capability", b"AQAAAgAgAAA").unwrap();
        pax.apply(b"SCHILY.xattr.user.empty", b"").unwrap();
        assert_eq!(pax.xattrs[&b"user.a=b%"[..]], b"\0=\xff");
        assert_eq!(pax.xattrs[&b"security.capability"[..]], [1, 0, 0, 2, 0, 32, 0, 0]);
        assert_eq!(pax.xattrs[&b"user.empty"[..]], b"");
        assert!(pax.apply(b"LIBARCHIVE.xattr.x", b"A*").is_err());
        assert_eq!(base64_decode(b"Zm9vYg=="), Some(b"foob".to_vec()));
        assert_eq!(base64_decode(b"A"), None);
    }

    #[test]
    fn an_empty_value_takes_a_keyword_back() {
        let mut pax = Pax::default();
        pax.apply(b"path", b"global").unwrap();
        pax.apply(b"path", b"").unwrap();
        assert_eq!(pax.path, None);
        assert!(pax.apply(b"uid", b"4294967296").is_err());
        assert!(pax.apply(b"size", b"-1").is_err());
    }
}
