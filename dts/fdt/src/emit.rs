//! The emitter: a tree's tokens in, the bytes that dtc would write out.
//!
//! ```text
//!   0x00  header            28, 32, 36 or 40 bytes by version
//!         padding to 8
//!         reservations      16 bytes each, then the free slots asked for, then one that is all zero
//!         structure         tokens, each 4-byte aligned
//!         strings           names, tails shared
//!         padding           only when asked for
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use crate::header::{MAGIC, Reservation};
use crate::reader::{BEGIN_NODE, END, END_NODE, PROP};
use crate::{Error, StringTable};

/// A version of the flattened format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// Full paths as node names, `name` properties, values of 8 bytes and more aligned to 8.
    V1,
    /// As 1, with the boot CPU in the header.
    V2,
    /// As 2, with the size of the strings block in the header.
    V3,
    /// Plain node names; no alignment beyond 4.
    V16,
    /// As 16, with the size of the structure block in the header.
    #[default]
    V17,
}

impl Version {
    /// Returns the version with this number.
    pub fn from_number(number: u32) -> Option<Version> {
        Some(match number {
            1 => Version::V1,
            2 => Version::V2,
            3 => Version::V3,
            16 => Version::V16,
            17 => Version::V17,
            _ => return None,
        })
    }

    /// Returns (number, last compatible number, header size).
    fn header(self) -> (u32, u32, usize) {
        match self {
            Version::V1 => (1, 1, 28),
            Version::V2 => (2, 1, 32),
            Version::V3 => (3, 1, 36),
            Version::V16 => (16, 16, 36),
            Version::V17 => (17, 16, 40),
        }
    }

    /// Whether nodes carry their whole path, values are aligned to 8, and `name` is always there.
    pub fn is_old(self) -> bool {
        matches!(self, Version::V1 | Version::V2 | Version::V3)
    }
}

/// How to lay a blob out; the default is what dtc does without options.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmitOptions {
    /// Format version.
    pub version: Version,
    /// Empty entries to leave in the memory reservation block.
    pub free_reservations: usize,
    /// Smallest size of the blob in bytes; zeros are appended.
    pub size: u32,
    /// Zero bytes to append; overrides `size` unless 0.
    pub padding: u32,
    /// Power of two the whole size is rounded up to, after the other two; 0 for none.
    pub align: u32,
}

/// Writes a blob token by token. The caller balances [`Writer::begin_node`] and [`Writer::end_node`] and writes
/// properties before subnodes; [`Writer::finish`] closes what is still open.
#[derive(Debug, Clone)]
pub struct Writer {
    version: Version,
    structure: Vec<u8>,
    strings: StringTable,
    path: String,
    /// For every open node, the length of `path` before it.
    open: Vec<usize>,
    /// Old formats: the base name of the node just begun, until its properties are over and `name` is due.
    due_name: Option<String>,
}

impl Writer {
    /// Starts an empty blob.
    pub fn new(version: Version) -> Writer {
        Writer::with_strings(version, StringTable::default())
    }

    /// Starts an empty blob whose strings block continues `strings`.
    pub fn with_strings(version: Version, strings: StringTable) -> Writer {
        Writer { version, structure: Vec::new(), strings, path: String::new(), open: Vec::new(), due_name: None }
    }

    fn cell(&mut self, cell: u32) {
        self.structure.extend_from_slice(&cell.to_be_bytes());
    }

    fn align(&mut self, to: usize) {
        self.structure.resize(self.structure.len().next_multiple_of(to), 0);
    }

    /// Opens a node. The root's name is empty.
    pub fn begin_node(&mut self, name: &str) {
        self.write_due_name();
        self.open.push(self.path.len());
        self.cell(BEGIN_NODE);
        if self.version.is_old() {
            if self.open.len() > 1 {
                self.path.push('/');
            }
            self.path.push_str(name);
            let path = if self.path.is_empty() { "/" } else { &self.path };
            self.structure.extend_from_slice(path.as_bytes());
            self.due_name = Some(name.split('@').next().unwrap_or(name).into());
        } else {
            self.structure.extend_from_slice(name.as_bytes());
        }
        self.structure.push(0);
        self.align(4);
    }

    /// Writes a property of the open node.
    pub fn property(&mut self, name: &str, value: &[u8]) {
        if name == "name" {
            self.due_name = None;
        }
        let name_offset = self.strings.offset(name.as_bytes());
        self.cell(PROP);
        self.cell(value.len() as u32);
        self.cell(name_offset);
        if self.version.is_old() && value.len() >= 8 {
            self.align(8);
        }
        self.structure.extend_from_slice(value);
        self.align(4);
    }

    /// Closes the open node.
    pub fn end_node(&mut self) {
        self.write_due_name();
        if let Some(length) = self.open.pop() {
            self.path.truncate(length);
        }
        self.cell(END_NODE);
    }

    fn write_due_name(&mut self) {
        if let Some(mut name) = self.due_name.take() {
            name.push('\0');
            self.property("name", name.as_bytes());
        }
    }

    /// Closes the tree and returns the blob.
    pub fn finish(
        mut self,
        reservations: &[Reservation],
        boot_cpu: u32,
        options: &EmitOptions,
    ) -> Result<Vec<u8>, Error> {
        while !self.open.is_empty() {
            self.end_node();
        }
        self.cell(END);
        let (number, last_compatible, header_size) = self.version.header();
        let strings = self.strings.as_bytes();
        let reservations_offset = header_size.next_multiple_of(8);
        let entries = reservations.len().saturating_add(options.free_reservations).saturating_add(1);
        let struct_offset = entries.saturating_mul(16).saturating_add(reservations_offset);
        let strings_offset = struct_offset.saturating_add(self.structure.len());
        let end = strings_offset.saturating_add(strings.len());
        let mut total = match options.padding {
            0 => end.max(options.size as usize),
            padding => end.saturating_add(padding as usize),
        };
        if options.align > 0 {
            total = total.checked_next_multiple_of(options.align as usize).ok_or(Error::TooLarge)?;
        }
        if u32::try_from(total).is_err() {
            return Err(Error::TooLarge);
        }

        let mut out = Vec::with_capacity(total);
        let fields = [
            MAGIC,
            total as u32,
            struct_offset as u32,
            strings_offset as u32,
            reservations_offset as u32,
            number,
            last_compatible,
            boot_cpu,
            strings.len() as u32,
            self.structure.len() as u32,
        ];
        for field in &fields[..header_size / 4] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.resize(reservations_offset, 0);
        for entry in reservations {
            out.extend_from_slice(&entry.address.to_be_bytes());
            out.extend_from_slice(&entry.size.to_be_bytes());
        }
        out.resize(struct_offset, 0);
        out.extend_from_slice(&self.structure);
        out.extend_from_slice(strings);
        out.resize(total, 0);
        Ok(out)
    }
}
