//! `fdtdump`: prints a blob as it lies there, token by token, whether or not it makes a tree.

use dts::Loader;
use fdt::{Header, MAGIC};

use super::options::{Parsed, Usage};
use super::{Outcome, load, value};

/// How it is used.
pub const USAGE: Usage = Usage {
    synopsis: "fdtdump [options] FILE",
    options: &[
        ('d', "debug", "", "say where everything lies"),
        ('s', "scan", "", "look for a blob anywhere in the file"),
    ],
};

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Runs it.
pub fn run(parsed: &Parsed, loader: &dyn Loader) -> Result<Outcome, String> {
    let [file] = &parsed.rest[..] else { return Err("one file is dumped, and one must be named".into()) };
    let bytes = load(loader, file)?;
    let debug = parsed.has('d');
    let mut dump = Dump { blob: &bytes, version: 0, text: Vec::new(), debug };
    let header = if parsed.has('s') {
        let (offset, header) = dump.scan(file).ok_or_else(|| format!("{file}: no blob is in it"))?;
        dump.blob = &bytes[offset..];
        dump.print(&format!("{file}: found fdt at offset {}\n", prefixed(offset as u64)));
        header
    } else {
        Header::parse(&bytes).map_err(|error| format!("{file}: {error}"))?
    };
    dump.version = header.version;
    let walked = dump.header(&header).and_then(|()| dump.structure(&header));
    Ok(Outcome { output: dump.text, error: walked.err().map(|error| format!("{file}: {error}")), ..Outcome::default() })
}

/// Writes a number as C's `%#x` does: zero has no prefix.
fn prefixed(number: u64) -> String {
    if number == 0 { "0".into() } else { format!("{number:#x}") }
}

struct Dump<'a> {
    blob: &'a [u8],
    version: u32,
    text: Vec<u8>,
    debug: bool,
}

impl<'a> Dump<'a> {
    fn print(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn note(&mut self, text: &str) {
        if self.debug {
            self.print(&format!("// {text}\n"));
        }
    }

    /// Finds the first place in the file where a blob's header is.
    fn scan(&mut self, file: &str) -> Option<(usize, Header)> {
        let (bytes, magic) = (self.blob, MAGIC.to_be_bytes());
        let places = bytes.windows(magic.len()).enumerate().filter(|(_, window)| **window == magic);
        for (offset, _) in places {
            match Header::parse(&bytes[offset..]) {
                Ok(header) => return Some((offset, header)),
                Err(_) if self.debug => {
                    self.print(&format!("{file}: skipping fdt magic at offset {}\n", prefixed(offset as u64)));
                }
                Err(_) => {}
            }
        }
        None
    }

    fn bytes(&self, at: usize, length: usize) -> Result<&'a [u8], String> {
        let found = at.checked_add(length).and_then(|end| self.blob.get(at..end));
        found.ok_or_else(|| format!("the blob ends before byte {:#x}", at.saturating_add(length)))
    }

    fn cell(&self, at: usize) -> Result<u32, String> {
        Ok(self.bytes(at, 4)?.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    fn double_cell(&self, at: usize) -> Result<u64, String> {
        Ok(u64::from(self.cell(at)?) << 32 | u64::from(self.cell(at + 4)?))
    }

    /// Returns the text at `at`, without its NUL.
    fn string(&self, at: usize) -> Result<&'a [u8], String> {
        let rest = self.blob.get(at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == 0);
        length.map(|length| &rest[..length]).ok_or_else(|| format!("the text at byte {at:#x} never ends"))
    }

    fn header(&mut self, header: &Header) -> Result<(), String> {
        let word = |index: usize| self.cell(4 * index);
        let mut text = format!("/dts-v1/;\n// magic:\t\t{:#x}\n", word(0)?);
        text += &format!("// totalsize:\t\t{0:#x} ({0})\n", word(1)?);
        text += &format!("// off_dt_struct:\t{:#x}\n// off_dt_strings:\t{:#x}\n", word(2)?, word(3)?);
        text += &format!("// off_mem_rsvmap:\t{:#x}\n// version:\t\t{}\n", word(4)?, word(5)?);
        text += &format!("// last_comp_version:\t{}\n", word(6)?);
        for (since, index, name) in [(2, 7, "boot_cpuid_phys"), (3, 8, "size_dt_strings"), (17, 9, "size_dt_struct")] {
            if self.version >= since {
                text += &format!("// {name}:\t{:#x}\n", word(index)?);
            }
        }
        text.push('\n');
        let mut at = header.reservations_offset;
        loop {
            let (address, size) = (self.double_cell(at)?, self.double_cell(at + 8)?);
            if address == 0 && size == 0 {
                break;
            }
            text += &format!("/memreserve/ {} {};\n", prefixed(address), prefixed(size));
            at += 16;
        }
        self.print(&text);
        Ok(())
    }

    fn structure(&mut self, header: &Header) -> Result<(), String> {
        let (mut at, mut depth) = (header.struct_offset, 0usize);
        loop {
            let (tag, tag_at) = (self.cell(at)?, at);
            at += 4;
            let name = match tag {
                BEGIN_NODE => "FDT_BEGIN_NODE",
                END_NODE => "FDT_END_NODE",
                PROP => "FDT_PROP",
                NOP => "FDT_NOP",
                END => return Ok(()),
                _ => return Err(format!("unknown token {tag:#010x} at byte {tag_at:#x}")),
            };
            self.note(&format!("{tag_at:04x}: tag: {tag:#010x} ({name})"));
            if tag == END_NODE {
                depth = depth.checked_sub(1).ok_or_else(|| format!("no node is open at byte {tag_at:#x}"))?;
            }
            self.text.resize(self.text.len() + 4 * depth, b' ');
            match tag {
                BEGIN_NODE => {
                    if depth >= fdt::MAX_DEPTH {
                        return Err(format!("nodes nest deeper than {} at byte {tag_at:#x}", fdt::MAX_DEPTH));
                    }
                    let name = self.string(at)?;
                    self.text.extend_from_slice(if name.is_empty() { b"/" } else { name });
                    self.print(" {\n");
                    at = (at + name.len() + 1).next_multiple_of(4);
                    depth += 1;
                }
                END_NODE => self.print("};\n"),
                NOP => self.print("// [NOP]\n"),
                _ => at = self.property(header, at, depth)?,
            }
        }
    }

    /// Prints the property whose length is at `at`, its indent being there; returns where the next token is.
    fn property(&mut self, header: &Header, at: usize, depth: usize) -> Result<usize, String> {
        let length = self.cell(at)? as usize;
        let name_at = header.strings_offset + self.cell(at + 4)? as usize;
        let name = self.string(name_at)?;
        let mut start = at + 8;
        if self.version < 16 && length >= 8 {
            start = start.next_multiple_of(8);
        }
        let value = self.bytes(start, length)?;
        if self.debug {
            self.text.truncate(self.text.len() - 4 * depth);
            self.note(&format!("{name_at:04x}: string: {}", String::from_utf8_lossy(name)));
            self.note(&format!("{start:04x}: value"));
            self.text.resize(self.text.len() + 4 * depth, b' ');
        }
        self.text.extend_from_slice(name);
        self.value(value);
        self.print(";\n");
        Ok((start + length).next_multiple_of(4))
    }

    fn value(&mut self, value: &[u8]) {
        let shown = match value {
            [] => return,
            [texts @ .., 0] if value::is_text(value) => {
                let texts = texts.split(|&byte| byte == 0).map(|text| format!("\"{}\"", String::from_utf8_lossy(text)));
                texts.collect::<Vec<_>>().join(", ")
            }
            _ if value.len().is_multiple_of(4) => {
                let cells = value.chunks_exact(4).map(|cell| {
                    let digits: String = cell.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("0x{digits}")
                });
                format!("<{}>", cells.collect::<Vec<_>>().join(" "))
            }
            _ => {
                let bytes = value.iter().map(|byte| format!("{byte:02x}"));
                format!("[{}]", bytes.collect::<Vec<_>>().join(" "))
            }
        };
        self.print(" = ");
        self.print(&shown);
    }
}
