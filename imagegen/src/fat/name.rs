//! Names: what VFAT can say, the short alias that each entry has, and when a long name stands beside it.

use std::collections::{HashMap, HashSet};

/// UTF-16 units in one slot of a long name (`LDIR_Name1` to `LDIR_Name3`).
pub(super) const SLOT_UNITS: usize = 13;
/// The longest name, in UTF-16 units.
const UNITS_MAX: usize = 255;
/// What short names may hold besides letters and digits.
const SHORT_MARKS: &[u8] = b"$%'-_@~`!(){}^#&";
/// Bits of `DIR_NTRes`: the base, or the extension, is to be shown in lower case.
pub(super) const LOWER_BASE: u8 = 0x08;
pub(super) const LOWER_EXTENSION: u8 = 0x10;

/// An entry's name as its directory holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name {
    /// `DIR_Name`: base and extension, padded with spaces.
    pub short: [u8; 11],
    /// `DIR_NTRes`.
    pub case: u8,
    /// Whether slots with the long name stand before the entry.
    pub long: bool,
}

impl Name {
    /// Returns the number of 32-byte entries that a name takes, its own included.
    pub fn entries(&self, text: &str) -> u32 {
        let slots = if self.long { text.encode_utf16().count().div_ceil(SLOT_UNITS) } else { 0 };
        slots as u32 + 1
    }
}

/// Says why a name cannot be in a FAT directory.
pub(super) fn check(name: &[u8]) -> Result<&str, String> {
    let Ok(text) = std::str::from_utf8(name) else { return Err("the name is not UTF-8".into()) };
    let forbidden = |&c: &char| c < ' ' || "\"*/:<>?\\|".contains(c);
    if let Some(character) = text.chars().find(forbidden) {
        return Err(format!("FAT names cannot hold {character:?}"));
    }
    if text.ends_with(['.', ' ']) {
        return Err("FAT names cannot end in a dot or a space".into());
    }
    if text.encode_utf16().count() > UNITS_MAX {
        return Err(format!("FAT names have at most {UNITS_MAX} characters"));
    }
    Ok(text)
}

/// Returns what two names of a directory must not share: FAT does not tell upper from lower case.
pub(super) fn folded(name: &str) -> String {
    let upper = |character: char| {
        let mut upper = character.to_uppercase();
        // One character for one, as readers' tables have it: `ß` stays.
        match (upper.next(), upper.next()) {
            (Some(single), None) => single,
            _ => character,
        }
    };
    name.chars().map(upper).collect()
}

/// Names all entries of one directory. Each must have passed [`check`], and no two may fold to the same.
pub(super) fn assign(names: &[&str]) -> Vec<Name> {
    let mut assigned: Vec<Option<Name>> = names.iter().map(|name| direct(name)).collect();
    let mut taken: HashSet<[u8; 11]> = assigned.iter().flatten().map(|name| name.short).collect();
    // Where counting goes on for names that begin alike: without it a large directory would be quadratic.
    let mut next: HashMap<(Vec<u8>, Vec<u8>), u32> = HashMap::new();
    for (name, place) in names.iter().zip(&mut assigned).filter(|(_, place)| place.is_none()) {
        let (base, extension) = stem(name);
        let count = next.entry((base[..base.len().min(6)].to_vec(), extension.clone())).or_insert(1);
        let short = loop {
            let tail = format!("~{count}");
            let kept = base.len().min(8 - tail.len());
            let short = padded(&[&base[..kept], tail.as_bytes()].concat(), &extension);
            *count += 1;
            if taken.insert(short) {
                break short;
            }
        };
        *place = Some(Name { short, case: 0, long: true });
    }
    assigned.into_iter().flatten().collect()
}

/// Returns a name that is its own alias: 8.3, whatever the case of its letters.
fn direct(name: &str) -> Option<Name> {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = |part: &str| part.bytes().all(is_short);
    if !(1..=8).contains(&base.len()) || extension.len() > 3 || !fits(base) || !fits(extension) {
        return None;
    }
    let lower = |part: &str| part.bytes().any(|byte| byte.is_ascii_lowercase());
    let mixed = |part: &str| lower(part) && part.bytes().any(|byte| byte.is_ascii_uppercase());
    let short = padded(&base.as_bytes().to_ascii_uppercase(), &extension.as_bytes().to_ascii_uppercase());
    if mixed(base) || mixed(extension) {
        return Some(Name { short, case: 0, long: true });
    }
    let flag = |part, bit| if lower(part) { bit } else { 0 };
    Some(Name { short, case: flag(base, LOWER_BASE) | flag(extension, LOWER_EXTENSION), long: false })
}

/// Returns the letters an alias is made of: base and extension, in upper case, what cannot be said as `_`.
fn stem(name: &str) -> (Vec<u8>, Vec<u8>) {
    let name = name.trim_start_matches(['.', ' ']);
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let letters = |part: &str, most: usize| -> Vec<u8> {
        let kept = part.chars().filter(|character| !matches!(character, '.' | ' '));
        let byte = |character: char| u8::try_from(character).ok().filter(|&byte| is_short(byte)).unwrap_or(b'_');
        kept.map(|character| byte(character).to_ascii_uppercase()).take(most).collect()
    };
    let base = letters(base, 8);
    (if base.is_empty() { b"_".to_vec() } else { base }, letters(extension, 3))
}

fn is_short(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || SHORT_MARKS.contains(&byte)
}

fn padded(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases(names: &[&str]) -> Vec<String> {
        let show = |name: &Name| {
            let short = String::from_utf8(name.short.to_vec()).unwrap();
            format!("{}|{}|{:x}|{}", &short[..8], &short[8..], name.case, if name.long { "long" } else { "short" })
        };
        assign(names).iter().map(show).collect()
    }

    #[test]
    fn names_that_are_8_3_are_their_own_alias() {
        assert_eq!(
            aliases(&["KERNEL8.IMG", "boot.scr", "README.txt", "a", "A$~.x", "Image", "start4.ELF"]),
            [
                "KERNEL8 |IMG|0|short",
                "BOOT    |SCR|18|short",
                "README  |TXT|10|short",
                "A       |   |8|short",
                "A$~     |X  |10|short",
                "IMAGE   |   |0|long",
                "START4  |ELF|8|short",
            ]
        );
    }

    #[test]
    fn longer_names_are_cut_and_counted() {
        assert_eq!(
            aliases(&["bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-c.dtb", ".profile", "a.b.c", "über.txt", "a b", "x.html"]),
            [
                "BCM271~1|DTB|0|long",
                "BCM271~2|DTB|0|long",
                "PROFIL~1|   |0|long",
                "AB~1    |C  |0|long",
                "_BER~1  |TXT|0|long",
                "AB~1    |   |0|long",
                "X~1     |HTM|0|long",
            ]
        );
    }

    #[test]
    fn aliases_leave_other_files_names_alone() {
        let made = aliases(&["LONGNA~1.TXT", "longname-one.txt", "longna~2.txt", "longname-two.txt", "日本語.日本"]);
        assert_eq!(made[1], "LONGNA~3|TXT|0|long");
        assert_eq!(made[3], "LONGNA~4|TXT|0|long");
        assert_eq!(made[4], "___~1   |__ |0|long");
    }

    #[test]
    fn many_that_begin_alike_get_each_their_own() {
        let names: Vec<String> = (0..30_000).map(|number| format!("package-{number}.deb")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let shorts: HashSet<[u8; 11]> = assign(&names).iter().map(|name| name.short).collect();
        assert_eq!(shorts.len(), names.len());
        assert!(shorts.contains(b"PA~30000DEB"));
    }

    #[test]
    fn names_fat_cannot_hold() {
        for (name, reason) in [
            (&b"a:b"[..], "cannot hold ':'"),
            (b"tab\t", "cannot hold '\\t'"),
            (b"dot.", "end in a dot"),
            (b"...", "end in a dot"),
            (b"space ", "end in a dot or a space"),
            (b"\xff", "not UTF-8"),
        ] {
            assert!(check(name).unwrap_err().contains(reason), "{name:?}");
        }
        assert!(check(" leading, [and] +=; other".as_bytes()).is_ok());
        assert!(check("日".repeat(85).as_bytes()).is_ok());
        assert_eq!(folded("Straße.Txt"), "STRAßE.TXT");
    }
}
