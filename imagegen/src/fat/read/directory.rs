//! Folders: entries of 32 bytes, and the slots of long names before them.

use crate::little_endian::{u16_at, u32_at};
use crate::tree::Timestamp;
use crate::volume::{Result, corrupt, read_exact};

use super::super::Width;
use super::super::date::timestamp;
use super::super::directory::{DIRECTORY, LAST_SLOT, LONG_NAME, UNIT_PLACES, VOLUME_LABEL, checksum};
use super::super::name::{LOWER_BASE, LOWER_EXTENSION, SLOT_UNITS};
use super::{Inner, chain};

/// Bytes of an entry.
const ENTRY: usize = 32;
/// The most slots of a name.
const SLOTS_MAX: u8 = 20;
const READ_ONLY: u8 = 0x01;

/// What the upper half of code page 437 stands for: what short names are in unless something else is said.
const UPPER_HALF: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// An entry as it stands.
pub(super) struct Record(pub [u8; ENTRY]);

impl Record {
    pub fn is_directory(&self) -> bool {
        self.0[11] & DIRECTORY != 0
    }

    pub fn is_read_only(&self) -> bool {
        self.0[11] & READ_ONLY != 0
    }

    pub fn first_cluster(&self, width: Width) -> u32 {
        let high = if width == Width::Fat32 { u16_at(&self.0, 20) } else { 0 };
        u32::from(high) << 16 | u32::from(u16_at(&self.0, 26))
    }

    pub fn size(&self) -> u32 {
        u32_at(&self.0, 28)
    }

    pub fn mtime(&self) -> Timestamp {
        timestamp(u16_at(&self.0, 24), u16_at(&self.0, 22))
    }

    /// Returns the attributes that people set.
    pub fn flag_letters(&self) -> String {
        let letters = [(0x20, 'A'), (0x04, 'S'), (0x02, 'H'), (READ_ONLY, 'R')];
        letters.iter().filter(|(bit, _)| self.0[11] & bit != 0).map(|(_, letter)| letter).collect()
    }

    /// Returns the short name in the case it is to be shown in.
    fn name(&self) -> String {
        let part = |bytes: &[u8], lower: bool| {
            let text: String = bytes.iter().map(|&byte| letter(byte)).collect();
            let text = text.trim_end_matches(' ');
            if lower { text.to_lowercase() } else { text.to_string() }
        };
        let mut base = [0; 8];
        base.copy_from_slice(&self.0[..8]);
        if base[0] == 0x05 {
            base[0] = 0xe5;
        }
        let base = part(&base, self.0[12] & LOWER_BASE != 0);
        let extension = part(&self.0[8..11], self.0[12] & LOWER_EXTENSION != 0);
        if extension.is_empty() { base } else { format!("{base}.{extension}") }
    }
}

fn letter(byte: u8) -> char {
    match byte {
        0x80.. => UPPER_HALF.chars().nth(usize::from(byte - 0x80)).unwrap_or('\u{fffd}'),
        _ => char::from(byte),
    }
}

/// An entry with its name.
pub(super) struct Found {
    pub name: String,
    /// Where the entry stands, in bytes.
    pub position: u64,
    /// Whether it is the label, and no file.
    pub is_label: bool,
}

/// Reads the root folder of FAT12 and FAT16.
pub(super) fn fixed_root(inner: &Inner) -> Result<Vec<Found>> {
    let mut bytes = vec![0; inner.boot.root_bytes as usize];
    read_exact(&*inner.device, inner.boot.root, &mut bytes, || "the root folder".into())?;
    let mut reader = Reader::default();
    reader.take(&bytes, inner.boot.root);
    Ok(reader.found)
}

/// Reads a folder by its first cluster.
pub(super) fn in_clusters(inner: &Inner, first: u32) -> Result<Vec<Found>> {
    let clusters = chain::folder(inner, first)?;
    if clusters.is_empty() {
        return corrupt("a folder", "has no cluster");
    }
    let mut bytes = vec![0; inner.boot.cluster_bytes as usize];
    let mut reader = Reader::default();
    for cluster in clusters {
        let at = inner.boot.position(cluster);
        read_exact(&*inner.device, at, &mut bytes, || format!("cluster {cluster}"))?;
        if !reader.take(&bytes, at) {
            break;
        }
    }
    Ok(reader.found)
}

/// What is known in the middle of a folder.
#[derive(Default)]
struct Reader {
    found: Vec<Found>,
    long: Long,
}

/// The slots of a long name so far.
#[derive(Default)]
struct Long {
    /// The units, last slot first as they stand.
    slots: Vec<[u16; SLOT_UNITS]>,
    /// The number of the slot that has to come next; 0: the entry itself.
    expected: u8,
    sum: u8,
}

impl Reader {
    /// Takes the entries of a piece of the folder; says whether more may follow.
    fn take(&mut self, bytes: &[u8], at: u64) -> bool {
        for (index, entry) in bytes.as_chunks::<ENTRY>().0.iter().enumerate() {
            match (entry[0], entry[11]) {
                (0, _) => return false,
                (0xe5, _) => self.long = Long::default(),
                (_, attributes) if attributes & 0x3f == LONG_NAME => self.long.slot(entry),
                (b'.', attributes) if attributes & DIRECTORY != 0 && is_dots(entry) => self.long = Long::default(),
                (_, attributes) => {
                    let long = std::mem::take(&mut self.long).name(entry);
                    let is_label = attributes & VOLUME_LABEL != 0;
                    let record = Record(*entry);
                    let name = match long {
                        Some(name) => name,
                        None if is_label => {
                            entry[..11].iter().map(|&byte| letter(byte)).collect::<String>().trim_end().into()
                        }
                        None => record.name(),
                    };
                    self.found.push(Found { name, position: at + (index * ENTRY) as u64, is_label });
                }
            }
        }
        true
    }
}

/// Says whether an entry is `.` or `..`.
fn is_dots(entry: &[u8; ENTRY]) -> bool {
    entry[..11] == *b".          " || entry[..11] == *b"..         "
}

impl Long {
    /// Takes a slot; one that does not continue those before begins anew, or is left over from a name that is gone.
    fn slot(&mut self, entry: &[u8; ENTRY]) {
        let (number, sum) = (entry[0] & !LAST_SLOT, entry[13]);
        if entry[0] & LAST_SLOT != 0 && (1..=SLOTS_MAX).contains(&number) {
            *self = Long { slots: Vec::new(), expected: number, sum };
        }
        if number == 0 || number != self.expected || sum != self.sum {
            *self = Long::default();
            return;
        }
        self.slots.push(UNIT_PLACES.map(|place| u16_at(entry, place)));
        self.expected -= 1;
    }

    /// Returns the name, if it is whole and that of this entry.
    fn name(self, entry: &[u8; ENTRY]) -> Option<String> {
        let short = entry.first_chunk::<11>()?;
        if self.slots.is_empty() || self.expected != 0 || self.sum != checksum(short) {
            return None;
        }
        let units = self.slots.iter().rev().flatten().copied().take_while(|&unit| unit != 0);
        Some(char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_shown_in_their_case() {
        let name = |short: &[u8; 11], case| {
            let mut entry = [0; ENTRY];
            entry[..11].copy_from_slice(short);
            entry[12] = case;
            Record(entry).name()
        };
        assert_eq!(name(b"BOOT    SCR", 0), "BOOT.SCR");
        assert_eq!(name(b"BOOT    SCR", LOWER_BASE | LOWER_EXTENSION), "boot.scr");
        assert_eq!(name(b"IMAGE      ", LOWER_EXTENSION), "IMAGE");
        assert_eq!(name(b"\x05\x8e      TXT", 0), "σÄ.TXT");
        assert_eq!(UPPER_HALF.chars().count(), 128);
    }
}
