//! The strings block: property names, shared down to their tails.

use alloc::vec;
use alloc::vec::Vec;

/// A strings block under construction.
///
/// A name that equals the tail of an earlier one shares its bytes (`phandle` inside `linux,phandle`), and of several
/// places the first is taken. dtc and libfdt find that place by trying every offset; here a hash of every suffix
/// gives the same answer at once.
#[derive(Debug, Clone, Default)]
pub struct StringTable {
    bytes: Vec<u8>,
    /// Open addressing by suffix hash; a slot holds offset + 1, or 0 when free. The length is a power of two.
    slots: Vec<u32>,
    used: usize,
}

/// Extends the hash of a suffix by the byte before it.
fn step(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

/// Spreads a hash over the slots, whose count takes only the low bits.
fn spread(hash: u32) -> usize {
    (hash ^ hash >> 15).wrapping_mul(0x9e37_79b1) as usize >> 7
}

fn hash(name: &[u8]) -> u32 {
    name.iter().rev().fold(0x811c_9dc5, |hash, &byte| step(hash, byte))
}

impl StringTable {
    /// Starts from an existing strings block, so that its names keep their offsets.
    pub fn from_bytes(bytes: &[u8]) -> StringTable {
        let mut table = StringTable::default();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == 0) {
            table.append(&rest[..end]);
            rest = &rest[end + 1..];
        }
        table.bytes.extend_from_slice(rest);
        table
    }

    /// Returns the block.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the offset of `name`, adding it if no tail in the table equals it. `name` holds no NUL.
    pub fn offset(&mut self, name: &[u8]) -> u32 {
        match self.find(name) {
            Some(offset) => offset,
            None => self.append(name),
        }
    }

    fn find(&self, name: &[u8]) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = spread(hash(name)) & mask;
        loop {
            let offset = self.slots[at].checked_sub(1)?;
            let tail = &self.bytes[offset as usize..];
            if tail.len() > name.len() && tail[name.len()] == 0 && &tail[..name.len()] == name {
                return Some(offset);
            }
            at = (at + 1) & mask;
        }
    }

    fn append(&mut self, name: &[u8]) -> u32 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        if (self.used + name.len() + 1) * 2 > self.slots.len() {
            self.grow((self.used + name.len() + 1) * 4);
        }
        self.enter(start, self.bytes.len() - 1);
        start as u32
    }

    /// Enters every suffix of the name between `start` and its NUL at `end`, unless an equal one came earlier.
    fn enter(&mut self, start: usize, end: usize) {
        let mask = self.slots.len() - 1;
        let mut suffix = hash(b"");
        for offset in (start..=end).rev() {
            if offset < end {
                suffix = step(suffix, self.bytes[offset]);
            }
            let mut at = spread(suffix) & mask;
            let length = end - offset;
            while let Some(other) = self.slots[at].checked_sub(1) {
                let other = other as usize;
                if self.bytes.get(other..=other + length) == Some(&self.bytes[offset..=end]) {
                    break;
                }
                at = (at + 1) & mask;
            }
            if self.slots[at] == 0 {
                self.slots[at] = offset as u32 + 1;
                self.used += 1;
            }
        }
    }

    fn grow(&mut self, at_least: usize) {
        self.slots = vec![0; at_least.next_power_of_two().max(256)];
        self.used = 0;
        let mut start = 0;
        while let Some(length) = self.bytes[start..].iter().position(|&byte| byte == 0) {
            self.enter(start, start + length);
            start += length + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_shared_and_the_first_place_wins() {
        let mut table = StringTable::default();
        assert_eq!(table.offset(b"linux,phandle"), 0);
        assert_eq!(table.offset(b"phandle"), 6);
        assert_eq!(table.offset(b"reg"), 14);
        assert_eq!(table.offset(b"xreg"), 18);
        assert_eq!(table.offset(b"reg"), 14, "the earlier of two equal tails");
        assert_eq!(table.offset(b""), 13, "an empty name is the first NUL");
        assert_eq!(table.as_bytes(), b"linux,phandle\0reg\0xreg\0");
    }

    #[test]
    fn agrees_with_trying_every_offset() {
        let mut table = StringTable::default();
        let mut seed = 1u32;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let name: Vec<u8> = (0..seed >> 28).map(|i| b"abc"[(seed >> (8 + i)) as usize % 3]).collect();
            let with_nul = [&name[..], b"\0"].concat();
            let expected = table.as_bytes().windows(with_nul.len()).position(|w| w == with_nul);
            let before = table.as_bytes().len();
            assert_eq!(table.offset(&name) as usize, expected.unwrap_or(before));
        }
        let again = StringTable::from_bytes(table.as_bytes());
        assert_eq!(again.as_bytes(), table.as_bytes());
        assert_eq!(again.find(b"ab"), table.find(b"ab"));
    }
}
