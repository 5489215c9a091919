//! Values: big-endian cells, address and size pairs, lists of strings.

use alloc::vec::Vec;

/// Reads numbers of so many cells each from a property's value.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Cells<'a> {
    /// Starts at the front of `value`.
    pub fn new(value: &'a [u8]) -> Cells<'a> {
        Cells { rest: value }
    }

    /// Takes `count` cells as one number. Of more than two cells the last two (the low 64 bits) count, as in PCI
    /// addresses; zero cells are 0. Returns `None`, and takes nothing, if fewer are left.
    pub fn number(&mut self, count: u32) -> Option<u64> {
        let length = usize::try_from(count).ok()?.checked_mul(4)?;
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// Returns the bytes not yet taken.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl Iterator for Cells<'_> {
    type Item = u32;

    /// Takes one cell; stray bytes at the end are left.
    fn next(&mut self) -> Option<u32> {
        self.number(1).map(|cell| cell as u32)
    }
}

/// Reads the (address, size) pairs of a `reg` property.
#[derive(Debug, Clone, Copy)]
pub struct Reg<'a> {
    cells: Cells<'a>,
    address_cells: u32,
    size_cells: u32,
}

impl<'a> Reg<'a> {
    /// Reads `value` with the parent's `#address-cells` and `#size-cells`.
    pub fn new(value: &'a [u8], address_cells: u32, size_cells: u32) -> Reg<'a> {
        Reg { cells: Cells::new(value), address_cells, size_cells }
    }
}

impl Iterator for Reg<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        if self.address_cells == 0 && self.size_cells == 0 {
            return None;
        }
        let mut ahead = self.cells;
        let pair = (ahead.number(self.address_cells)?, ahead.number(self.size_cells)?);
        self.cells = ahead;
        Some(pair)
    }
}

/// Iterates over the NUL-terminated strings of a value; stops at one that is unterminated or not UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct StringList<'a> {
    rest: &'a [u8],
}

impl<'a> StringList<'a> {
    /// Starts at the front of `value`.
    pub fn new(value: &'a [u8]) -> StringList<'a> {
        StringList { rest: value }
    }
}

impl<'a> Iterator for StringList<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == 0)?;
        let text = core::str::from_utf8(&self.rest[..end]).ok()?;
        self.rest = &self.rest[end + 1..];
        Some(text)
    }
}

/// Appends `value` to `out` as `count` big-endian cells; high bits that do not fit are dropped.
pub fn push_cells(out: &mut Vec<u8>, value: u64, count: u32) {
    for index in (0..count).rev() {
        let cell = if index < 2 { (value >> (index * 32)) as u32 } else { 0 };
        out.extend_from_slice(&cell.to_be_bytes());
    }
}
