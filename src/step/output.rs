//! Files that steps write, and files that they read whole: explicit modes, bounded sizes, named in every error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use imagegen::tree::Extent;

use super::Workspace;
use crate::error::{Error, Kind, Result};
use crate::file;
use crate::task::Task;

/// The name of a file beside an image, that lists which of the image's bytes mean something: a line for each range,
/// offset and length. All else is free, and may be whatever a medium holds.
pub const MAP: &str = "map";
/// A list for a disk of many TiB is shorter.
const MAP_BYTES_MAX: u64 = 64 << 20;
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

/// Has `work` report its progress to the task, and break off when that is cancelled.
pub fn watched<T>(
    workspace: &Workspace<'_>,
    total: u64,
    work: impl FnOnce(&mut dyn FnMut(u64) -> ControlFlow<()>) -> T,
) -> T {
    let task = workspace.task;
    task.total(total);
    let mut told = 0;
    work(&mut |done| {
        task.advance(done.saturating_sub(told));
        told = done;
        if task.cancel().is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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

/// Removes a file or link, if there is one.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Makes the error of a write that failed: a full disk, mostly.
pub fn write_error(path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()), error)
}

/// Writes the list of the ranges of an image that mean something.
pub fn write_map(folder: &Path, extents: &[Extent]) -> Result<()> {
    let line = |extent: &Extent| format!("{} {}\n", extent.offset, extent.length);
    write(&folder.join(MAP), extents.iter().map(line).collect::<String>().as_bytes())
}

/// Reads what [`write_map`] wrote.
pub fn read_map(path: &Path) -> Result<Vec<Extent>> {
    let bytes = read_limited(path, MAP_BYTES_MAX)?;
    let extent = |line: &str| {
        let (offset, length) = line.split_once(' ')?;
        Some(Extent { offset: offset.parse().ok()?, length: length.parse().ok()? })
    };
    let extents: Option<Vec<Extent>> = String::from_utf8_lossy(&bytes).lines().map(extent).collect();
    extents.ok_or_else(|| Error::new(Kind::Internal, format!("{} is no list of ranges", path.display())))
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
