//! What is handed on with the artifacts: `manifest.json`, `SHA256SUMS` and `junit.xml` beside them in `out/RECIPE/`.
//! Knows what is written there and how it is checked; not how artifacts come about.
//!
//! ```text
//! manifest.json   each artifact: size, SHA-256, key, what it was made of; written last, taken away first
//! SHA256SUMS      the same files and manifest.json itself, for `sha256sum -c`
//! junit.xml       how the recipe's test went, if it was run; serial.log, the console of that test
//! ```
//!
//! A folder without its `manifest.json` is one that a build has not finished.

use std::io;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::file;
use crate::step::Digest;

pub mod document;
pub mod schema;
pub mod sums;
pub mod verify;

pub use document::{Artifact, Document, Evidence, EvidenceName, Material, Name, Package, Recipe, Reference, Test};

/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";
/// The name of the list of checksums.
pub const SUMS: &str = "SHA256SUMS";
/// The name of the test's results.
pub const JUNIT: &str = "junit.xml";
/// The name of the console's log.
pub const SERIAL_LOG: &str = "serial.log";
/// The name of the log before that.
pub const SERIAL_LOG_BEFORE: &str = "serial.log.1";
/// Names that no artifact can have.
pub const RESERVED: [&str; 4] = [MANIFEST, SUMS, JUNIT, SERIAL_LOG];

/// A manifest of a million files is smaller.
const MANIFEST_BYTES_MAX: u64 = 128 << 20;
/// The sums of as many.
const SUMS_BYTES_MAX: u64 = 64 << 20;

/// What a folder has, as it stands there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// The manifest.
    pub document: Document,
    /// The manifest's own digest.
    pub sha256: Digest,
}

/// Says whether a folder has a manifest.
pub fn is_complete(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file()
}

/// Reads a folder's manifest; `None` if there is none.
///
/// # Errors
/// It cannot be read, or is not one.
pub fn read(folder: &Path) -> Result<Option<Delivered>> {
    let path = folder.join(MANIFEST);
    let Some(bytes) = read_if_there(&path, MANIFEST_BYTES_MAX)? else { return Ok(None) };
    let bad = |why: String| Error::new(Kind::Input, format!("{}: {why}", path.display()));
    Ok(Some(Delivered { document: Document::read(&bytes).map_err(bad)?, sha256: Digest::of(&bytes) }))
}

/// Writes checksums and, last, the manifest.
pub fn write(folder: &Path, document: &Document) -> Result<()> {
    let text = document.to_text();
    let sums = sums::text(document, Digest::of(text.as_bytes()));
    // From the moment in which the manifest is there, the sums are.
    for (name, text) in [(SUMS, sums), (MANIFEST, text)] {
        let path = folder.join(name);
        file::replace(&path, text.as_bytes(), 0o444)
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
    }
    Ok(())
}

/// Says whether a folder's manifest and checksums are those of this document, whatever was tested since.
pub fn is_current(folder: &Path, document: &Document) -> bool {
    let Ok(Some(there)) = read(folder) else { return false };
    let whole = Document { test: None, ..there.document.clone() } == *document
        && Digest::of(there.document.to_text().as_bytes()) == there.sha256;
    let sums = || read_if_there(&folder.join(SUMS), SUMS_BYTES_MAX).ok().flatten();
    let evidence = |evidence: &Evidence| {
        let found = std::fs::symlink_metadata(folder.join(evidence.name.as_str()));
        found.is_ok_and(|found| found.is_file() && found.len() == evidence.bytes)
    };
    whole
        && sums().is_some_and(|text| text == sums::text(&there.document, there.sha256).as_bytes())
        && there.document.test.iter().flat_map(|test| &test.files).all(evidence)
}

/// Takes the manifest away, and then all that says something of what it lists.
pub fn withdraw(folder: &Path) -> Result<()> {
    for name in [MANIFEST, SUMS, JUNIT] {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(format!("cannot remove {}", path.display()), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads a file of at most so many bytes; `None` if there is none.
fn read_if_there(path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
    match std::fs::symlink_metadata(path) {
        // A pipe would block for ever, and a link leads elsewhere.
        Ok(metadata) if !metadata.is_file() => {
            return Err(Error::new(Kind::Input, format!("{}: not a regular file", path.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    match file::read_limited(path, limit_bytes) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(Error::new(Kind::Input, format!("{}: {error}", path.display())))
        }
        Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
    }
}
