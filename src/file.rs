//! Files as every part of the program treats them: hashed in pieces, read within a limit, replaced in one step.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::task::Cancel;

/// How much is read between two looks at the cancel flag.
const CHUNK_BYTES: usize = 256 << 10;

/// Returns bytes as hexadecimal digits in small letters.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the SHA-256 of a whole file, in hexadecimal.
pub fn sha256_of(path: &Path, cancel: &Cancel) -> Result<String> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        cancel.check()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hexadecimal(&hasher.finalize())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Reads a whole file that has no business being larger than `limit_bytes`.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] if it is.
pub fn read_limited(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit_bytes {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit_bytes} bytes"))),
        false => Ok(bytes),
    }
}

/// Begins a file beside `path`, which it is to replace; it vanishes again unless it is put in place.
pub fn beside(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    // Not as the umask has it.
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Puts a file in its place, once it is on the disk.
pub fn put(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_data()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Replaces a small file in one step.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = beside(path, mode)?;
    file.write_all(bytes)?;
    put(file, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_hashed_and_read_within_limits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for (text, mode) in [("one", 0o644), ("other", 0o600)] {
            replace(&path, text.as_bytes(), mode).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode);
        }
        assert_eq!(sha256_of(&path, &Cancel::default()).unwrap(), hexadecimal(&Sha256::digest(b"other")));
        assert_eq!(read_limited(&path, 5).unwrap(), b"other");
        assert_eq!(read_limited(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let cancel = Cancel::default();
        cancel.set();
        assert_eq!(sha256_of(&path, &cancel).unwrap_err().kind, crate::error::Kind::Interrupted);
        drop(beside(&path, 0o644).unwrap());
        assert!(replace(&folder.path().join("none/b"), b"", 0o644).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
