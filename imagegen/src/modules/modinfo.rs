//! The `.modinfo` section of a module: `key=value` texts, each ending with a NUL.

use std::io::{self, Read, Seek, SeekFrom};

use object::Endianness;
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader};
use object::read::{ReadCache, ReadRef};

use super::alias::normalize;
use crate::decompress::Compression;
use crate::tree::Source;

/// What a module says of itself; names of modules have `_` for `-`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ModuleInfo {
    /// Its name; empty before Linux 4.13.
    pub name: String,
    /// The modules it needs.
    pub depends: Vec<String>,
    /// Modules or aliases to load before it, if they are there (`softdep=pre:`).
    pub soft_before: Vec<String>,
    /// Modules or aliases to load after it, if they are there (`softdep=post:`).
    pub soft_after: Vec<String>,
    /// Both, as the module has them: one text for each `softdep`.
    pub soft: Vec<String>,
    /// The patterns that stand for it.
    pub aliases: Vec<String>,
    /// The kernel it belongs to, and how that was built.
    pub vermagic: String,
}

impl ModuleInfo {
    /// Reads the content of a `.modinfo` section; keys that mean nothing here are passed over.
    pub fn parse(section: &[u8]) -> Self {
        let mut info = ModuleInfo::default();
        for record in section.split(|&byte| byte == 0) {
            let record = String::from_utf8_lossy(record);
            let Some((key, value)) = record.split_once('=') else { continue };
            match key {
                "name" => info.name = normalize(value),
                "vermagic" => info.vermagic = value.to_owned(),
                "depends" => {
                    info.depends.extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(normalize));
                }
                "alias" => info.aliases.push(value.to_owned()),
                "softdep" => {
                    info.split_soft(value);
                    info.soft.push(value.to_owned());
                }
                _ => {}
            }
        }
        info
    }

    /// Reads `pre: a b post: c`.
    fn split_soft(&mut self, value: &str) {
        let mut list = None;
        for word in value.split_whitespace() {
            match (word, &mut list) {
                ("pre:", list) => *list = Some(true),
                ("post:", list) => *list = Some(false),
                (word, Some(true)) => self.soft_before.push(word.to_owned()),
                (word, Some(false)) => self.soft_after.push(word.to_owned()),
                // modprobe passes over words without a heading.
                (_, None) => {}
            }
        }
    }
}

/// Reads the information of a module, compressed or not. Of an uncompressed one only the headers and the section are
/// read.
pub(super) fn read(source: &dyn Source, limit: u64) -> io::Result<ModuleInfo> {
    let section = match decompress(source, limit)? {
        Some(bytes) => section(bytes.as_slice())?,
        None => section(&ReadCache::new(Cursor::new(source)))?,
    };
    Ok(ModuleInfo::parse(&section))
}

/// Finds `.modinfo` in an ELF file of either class.
fn section<'a>(elf: impl ReadRef<'a>) -> io::Result<Vec<u8>> {
    let ident = elf.read_bytes_at(0, 5).unwrap_or_default();
    if !ident.starts_with(b"\x7fELF") {
        return Err(invalid("this is no ELF file"));
    }
    match ident.get(4) {
        Some(1) => section_of::<FileHeader32<Endianness>>(elf),
        _ => section_of::<FileHeader64<Endianness>>(elf),
    }
}

fn section_of<'a, Elf: FileHeader>(elf: impl ReadRef<'a>) -> io::Result<Vec<u8>> {
    let wrong = |error: object::Error| invalid(&format!("the ELF file is broken: {error}"));
    let header = Elf::parse(elf).map_err(wrong)?;
    let endian = header.endian().map_err(wrong)?;
    let sections = header.sections(endian, elf).map_err(wrong)?;
    let (_, section) = sections
        .section_by_name(endian, b".modinfo")
        .ok_or_else(|| invalid("this is no kernel module: there is no section `.modinfo`"))?;
    Ok(section.data(endian, elf).map_err(wrong)?.to_vec())
}

/// Returns the uncompressed content of a source; nothing if it is not compressed.
pub(super) fn decompress(source: &dyn Source, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 6];
    let head = &mut head[..source.size_bytes().min(6) as usize];
    source.read_at(0, head)?;
    if Compression::detect(head) == Compression::Plain { Ok(None) } else { read_all(source, limit).map(Some) }
}

/// Reads all of a source, uncompressed, up to a limit.
pub(super) fn read_all(source: &dyn Source, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    super::stream(source)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(invalid("the file is too large")) } else { Ok(bytes) }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A source as a file that can be read and sought.
pub(super) struct Cursor<'a> {
    source: &'a dyn Source,
    at: u64,
}

impl<'a> Cursor<'a> {
    pub fn new(source: &'a dyn Source) -> Self {
        Cursor { source, at: 0 }
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.source.size_bytes().saturating_sub(self.at);
        let count = rest.min(buffer.len() as u64) as usize;
        self.source.read_at(self.at, &mut buffer[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.source.size_bytes().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_fields() {
        let info = ModuleInfo::parse(
            b"name=ext4\0softdep=pre: crc32c\0license=GPL\0alias=fs-ext4\0alias=ext3\0depends=mbcache,jbd-2\0\0\
              softdep=odd pre: a b post: c\0depends=\0no equals\0vermagic=6.1.0 SMP\0",
        );
        assert_eq!(info.name, "ext4");
        assert_eq!(info.depends, ["mbcache", "jbd_2"]);
        assert_eq!(
            (&info.soft_before[..], &info.soft_after[..]),
            (&["crc32c", "a", "b"].map(String::from)[..], &["c".to_owned()][..])
        );
        assert_eq!(info.aliases, ["fs-ext4", "ext3"]);
        assert_eq!(info.vermagic, "6.1.0 SMP");
    }
}
