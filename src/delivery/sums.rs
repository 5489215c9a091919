//! `SHA256SUMS`: a line for each file, as sha256sum(1) writes it with `--binary` left out and reads it with `--check`.

use std::collections::BTreeMap;

use super::{Document, MANIFEST};
use crate::step::Digest;

/// Returns the text: all files of a manifest, and the manifest itself, by name in byte order.
pub fn text(document: &Document, manifest: Digest) -> String {
    let mut lines: Vec<(&str, Digest)> = document.files().into_iter().map(|(name, _, sha256)| (name, sha256)).collect();
    lines.push((MANIFEST, manifest));
    lines.sort_unstable();
    // Names have nothing in them that would have to be escaped: `document::Name` sees to that.
    lines.into_iter().map(|(name, sha256)| format!("{sha256}  {name}\n")).collect()
}

/// Reads the text: digests by name.
///
/// # Errors
/// The first line that is none, by its number, or that is about a name that had one.
pub fn parse(text: &str) -> Result<BTreeMap<&str, Digest>, String> {
    let mut sums = BTreeMap::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        // Two blanks, or a blank and an asterisk for what sha256sum read as binary.
        let fields = line.split_at_checked(64).and_then(|(digest, rest)| {
            let name = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"))?;
            Some((Digest::from_hex(digest)?, name))
        });
        let Some((digest, name)) = fields.filter(|(_, name)| !name.is_empty()) else {
            return Err(format!("line {number} is not `digest, two blanks, name`"));
        };
        if sums.insert(name, digest).is_some() {
            return Err(format!("line {number}: {name:?} has a line already"));
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_sha256sum_writes_them() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!("{a}  one\n{} *two words\n", b.to_string().to_uppercase());
        assert_eq!(parse(&text), Ok(BTreeMap::from([("one", a), ("two words", b)])));
        assert_eq!(parse(""), Ok(BTreeMap::new()));
        let twice = format!("{a}  one\n{b}  one\n");
        for bad in ["x", &format!("{a} one"), &format!("{a}  "), &format!("\\{a}  one"), &"ä".repeat(40), &twice] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
