//! `Release` files: what a suite is called, how long it holds, and the digest of every index in it.
//!
//! Takes the text inside an `InRelease`; who signed it is for others to find out.

use std::collections::BTreeMap;

use super::deb822::{self, ParseError, Stanza};

/// A file listed in a `Release`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256, in lower-case hexadecimal.
    pub sha256: String,
}

/// The contents of a `Release` file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// All fields, dates among them, as they were written.
    pub stanza: Stanza,
    /// The indices by path below the suite's folder: `main/binary-arm64/Packages.xz`.
    pub files: BTreeMap<String, Listed>,
}

impl Release {
    /// Reads the text of a `Release` file.
    ///
    /// # Errors
    /// With the line: what is no control file, a file without SHA-256 digests, an entry that is not `digest size path`,
    /// or a path that leads out of the suite.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let mut stanzas = deb822::parse(text)?;
        if stanzas.len() != 1 {
            return Err(ParseError { line: 1, reason: format!("{} stanzas in place of one", stanzas.len()) });
        }
        let stanza = stanzas.remove(0);
        let field = stanza.field("SHA256");
        let field = field.ok_or_else(|| ParseError { line: 1, reason: "there are no SHA-256 digests".into() })?;
        let mut files = BTreeMap::new();
        for (offset, line) in field.value.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fail =
                |reason: &str| ParseError { line: field.line + offset, reason: format!("{reason}: `{}`", line.trim()) };
            let parts: Vec<&str> = line.split_whitespace().collect();
            let &[digest, size, path] = parts.as_slice() else { return Err(fail("not `digest size path`")) };
            if digest.len() != 64 || !digest.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(fail("not a SHA-256 digest"));
            }
            let size_bytes = size.parse().map_err(|_| fail("the size is no number"))?;
            if path.split('/').any(|name| name.is_empty() || name == "." || name == "..") {
                return Err(fail("the path leads out of the suite"));
            }
            let listed = Listed { size_bytes, sha256: digest.to_ascii_lowercase() };
            if files.insert(path.to_owned(), listed.clone()).is_some_and(|before| before != listed) {
                return Err(fail("listed twice, with different digests"));
            }
        }
        Ok(Release { stanza, files })
    }

    /// Returns a field: `Suite`, `Codename`, `Date`, `Valid-Until`.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.stanza.get(field)
    }

    /// Returns the words of a field: `Architectures`, `Components`.
    pub fn words(&self, field: &str) -> impl Iterator<Item = &str> {
        self.get(field).unwrap_or_default().split_whitespace()
    }

    /// Says whether the indices are also found under `by-hash/SHA256/`, where an update of the mirror cannot swap them.
    pub fn by_hash(&self) -> bool {
        self.get("Acquire-By-Hash").is_some_and(|value| value.eq_ignore_ascii_case("yes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn files_and_fields() {
        let text = format!(
            "Origin: O\nCodename: bookworm\nAcquire-By-Hash: yes\nComponents: main contrib\nMD5Sum:\n 0 1 x\nSHA256:\n \
             {DIGEST}        0 main/binary-arm64/Packages\n {DIGEST} 12 main/binary-arm64/Packages.xz\n"
        );
        let release = Release::parse(text.as_bytes()).unwrap();
        assert_eq!(release.get("codename"), Some("bookworm"));
        assert!(release.by_hash());
        assert_eq!(release.words("Components").collect::<Vec<_>>(), ["main", "contrib"]);
        let listed = &release.files["main/binary-arm64/Packages.xz"];
        assert_eq!((listed.size_bytes, &*listed.sha256), (12, &*DIGEST.to_ascii_lowercase()));
        assert_eq!(release.files.len(), 2);
    }

    #[test]
    fn a_bad_entry_is_named_by_its_line() {
        for (entry, expected) in [
            (format!("{DIGEST} 1"), "line 3: not `digest size path`"),
            (format!("{DIGEST} 1x a"), "line 3: the size is no number"),
            ("abc 1 a".to_owned(), "line 3: not a SHA-256 digest"),
            (format!("{DIGEST} 1 ../a"), "line 3: the path leads out of the suite"),
            (format!("{DIGEST} 1 /a"), "line 3: the path leads out of the suite"),
            (format!("{DIGEST} 1 a\n {DIGEST} 2 a"), "line 4: listed twice, with different digests"),
        ] {
            let error = Release::parse(format!("Suite: s\nSHA256:\n {entry}\n").as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(Release::parse(b"Suite: s\n").is_err());
        assert!(Release::parse(b"").is_err());
    }
}
