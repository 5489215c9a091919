//! Directories as bytes: entries of 32 bytes, long names in slots before them, last part first.

use super::boot;
use super::date::Moment;
use super::name::{Name, SLOT_UNITS};
use super::{Options, Width};
use crate::tree::Timestamp;

const ENTRY_BYTES: usize = super::layout::ENTRY as usize;
/// Bits of `DIR_Attr`.
pub(super) const VOLUME_LABEL: u8 = 0x08;
pub(super) const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
pub(super) const LONG_NAME: u8 = 0x0f;
/// Marks the slot with a long name's end, which comes first.
pub(super) const LAST_SLOT: u8 = 0x40;
/// Where in a slot its 13 units are.
pub(super) const UNIT_PLACES: [usize; SLOT_UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// What an entry says besides its name.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub directory: bool,
    /// 0 where there is no content, and for the root directory.
    pub first_cluster: u32,
    /// 0 for directories.
    pub size: u32,
    pub time: Timestamp,
}

/// A directory being put together.
pub(super) struct Builder<'a> {
    width: Width,
    options: &'a Options,
    bytes: Vec<u8>,
}

impl<'a> Builder<'a> {
    pub fn new(width: Width, options: &'a Options) -> Self {
        Builder { width, options, bytes: Vec::new() }
    }

    /// Adds the volume's label, if it has one.
    pub fn label(&mut self) {
        if let Some(label) = boot::label(self.options) {
            let moment = Moment::new(Timestamp { seconds: self.options.epoch, nanoseconds: 0 });
            let mut entry = [0; ENTRY_BYTES];
            entry[..11].copy_from_slice(&label);
            entry[11] = VOLUME_LABEL;
            entry[22..24].copy_from_slice(&moment.time.to_le_bytes());
            entry[24..26].copy_from_slice(&moment.date.to_le_bytes());
            self.bytes.extend_from_slice(&entry);
        }
    }

    /// Adds `.` and `..`.
    pub fn dots(&mut self, own: Facts, parent: Facts) {
        self.entry(b".          ", 0, own);
        self.entry(b"..         ", 0, parent);
    }

    /// Adds an entry with what its name needs.
    pub fn add(&mut self, name: &Name, text: &str, facts: Facts) {
        if name.long {
            self.slots(name, text);
        }
        self.entry(&name.short, name.case, facts);
    }

    /// Returns what was added.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn slots(&mut self, name: &Name, text: &str) {
        let units: Vec<u16> = text.encode_utf16().collect();
        let sum = checksum(&name.short);
        let count = units.len().div_ceil(SLOT_UNITS);
        for number in (0..count).rev() {
            let mut slot = [0; ENTRY_BYTES];
            slot[0] = (number as u8 + 1) | if number + 1 == count { LAST_SLOT } else { 0 };
            (slot[11], slot[13]) = (LONG_NAME, sum);
            let part = &units[number * SLOT_UNITS..];
            for (index, place) in UNIT_PLACES.into_iter().enumerate() {
                // A name that ends within a slot ends in 0; what is behind that is all ones.
                let unit = part.get(index).copied().unwrap_or(if index == part.len() { 0 } else { 0xffff });
                slot[place..place + 2].copy_from_slice(&unit.to_le_bytes());
            }
            self.bytes.extend_from_slice(&slot);
        }
    }

    fn entry(&mut self, short: &[u8; 11], case: u8, facts: Facts) {
        let mut time = facts.time;
        if self.options.clamp_times {
            time = time.min(Timestamp { seconds: self.options.epoch, nanoseconds: 0 });
        }
        let moment = Moment::new(time);
        let cluster = facts.first_cluster.to_le_bytes();
        let mut entry = [0; ENTRY_BYTES];
        entry[..11].copy_from_slice(short);
        entry[11] = if facts.directory { DIRECTORY } else { ARCHIVE };
        entry[12] = case;
        entry[13] = moment.hundredths;
        entry[14..16].copy_from_slice(&moment.time.to_le_bytes());
        entry[16..18].copy_from_slice(&moment.date.to_le_bytes());
        entry[18..20].copy_from_slice(&moment.date.to_le_bytes());
        if self.width == Width::Fat32 {
            entry[20..22].copy_from_slice(&cluster[2..]);
        }
        entry[22..24].copy_from_slice(&moment.time.to_le_bytes());
        entry[24..26].copy_from_slice(&moment.date.to_le_bytes());
        entry[26..28].copy_from_slice(&cluster[..2]);
        entry[28..32].copy_from_slice(&facts.size.to_le_bytes());
        self.bytes.extend_from_slice(&entry);
    }
}

/// Returns what binds the slots of a long name to their entry's short one.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum, &byte| sum.rotate_right(1).wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::super::name::assign;
    use super::*;

    #[test]
    fn a_long_name_stands_before_its_alias_in_slots() {
        let text = "a name of 26 characters.tx";
        let name = &assign(&[text])[0];
        let options = Options::default();
        let mut builder = Builder::new(Width::Fat16, &options);
        let facts = Facts { directory: false, first_cluster: 7, size: 9, time: Timestamp::default() };
        builder.add(name, text, facts);
        let bytes = builder.finish();
        assert_eq!(bytes.len(), 3 * 32);
        assert_eq!((bytes[0], bytes[32]), (0x42, 1));
        // 26 characters fill two slots: no end mark, no padding.
        assert_eq!(&bytes[28..32], b"t\0x\0");
        assert_eq!(&bytes[33..43], b"a\0 \0n\0a\0m\0");
        assert_eq!(&bytes[64..75], b"ANAMEO~1TX ");
        assert_eq!((bytes[64 + 26], bytes[64 + 28]), (7, 9));
    }
}
