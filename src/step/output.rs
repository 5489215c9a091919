//! Files that steps write, and files that they read whole: explicit modes, bounded sizes, named in every error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::file;
use crate::task::Task;

/// How much is copied between two looks at the cancel flag.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Creates a new file; its mode is fixed later, when it is stored, so the umask decides nothing.
pub fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io(format!("cannot create {}", path.display()), error))
}

/// Writes a whole new file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path)?.write_all(bytes).map_err(|error| write_error(path, error))
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Error::io(format!("cannot open {}", path.display()), error))
}

/// Reads a whole file that has no business being larger than `limit_bytes`.
pub fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    file::read_limited(path, limit_bytes).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let message = format!("{} is larger than the {limit_bytes} bytes allowed for it", path.display());
            Error::new(Kind::Input, message)
        }
        _ => Error::io(format!("cannot read {}", path.display()), error),
    })
}

/// Copies until the end of `from`, watching for cancellation; returns the number of bytes.
pub fn copy(from: &mut dyn Read, to: &mut dyn Write, task: &dyn Task, names: (&str, &Path)) -> Result<u64> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut total = 0;
    loop {
        task.cancel().check()?;
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::new(Kind::Input, format!("cannot read {}", names.0)).caused_by(error)),
        };
        to.write_all(&buffer[..length]).map_err(|error| write_error(names.1, error))?;
        total += length as u64;
    }
}

/// Makes the error of a write that failed: a full disk, mostly.
pub fn write_error(path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()), error)
}

/// Returns all extended attributes of a file, a link's own for a link, by name in byte order.
pub fn xattrs(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // The most the kernel gives: XATTR_LIST_MAX and XATTR_SIZE_MAX.
    let mut buffer = vec![0; 64 << 10];
    let failed = |error: rustix::io::Errno| Error::io(format!("cannot read {}", path.display()), error.into());
    let length = match rustix::fs::llistxattr(path, &mut buffer[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(failed(error)),
    };
    let mut names: Vec<Vec<u8>> =
        buffer[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(Vec::from).collect();
    names.sort_unstable();
    let mut xattrs = Vec::new();
    for name in names {
        let length = rustix::fs::lgetxattr(path, name.as_slice(), &mut buffer[..]).map_err(failed)?;
        xattrs.push((name, buffer[..length].to_vec()));
    }
    Ok(xattrs)
}
