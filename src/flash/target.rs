//! What is written to: a trait, so that a test can give a card that fails; and the real thing, a disk or a file, opened
//! for us alone and past the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::host::Number;
use super::show_bytes;
use crate::error::{Error, Kind, Result};

/// Something that is written to and read back. Memory is aligned, and so are offsets and lengths, except at the end of
/// a target that does not end with a sector.
pub trait Target: Sync {
    /// Returns how to call it.
    fn name(&self) -> &str;
    /// Says whether it is a file, for which the disk below it can become full.
    fn is_file(&self) -> bool {
        false
    }
    /// Returns its length as it is now, in bytes: 0 where the device has gone.
    fn size_bytes(&self) -> u64;
    /// Returns the grain of reading and writing.
    fn sector_bytes(&self) -> usize;
    /// Writes some of the bytes at an offset, and returns how many; 0 at the end.
    ///
    /// # Errors
    /// The device's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Reads some bytes from an offset, from the medium itself, and returns how many; 0 at the end.
    ///
    /// # Errors
    /// The device's.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes a range read as zeros if the device can do that faster than by writing; says whether it did.
    ///
    /// # Errors
    /// The device's.
    fn clear(&self, offset: u64, length: u64) -> io::Result<bool>;
    /// Returns when everything written has reached the medium, and nothing of it is remembered on the way.
    ///
    /// # Errors
    /// The device's.
    fn flush(&self) -> io::Result<()>;
}

/// A disk or a file.
#[derive(Debug)]
pub struct Medium {
    name: String,
    path: PathBuf,
    /// Past the page cache; none where the file system of a file cannot do that.
    direct: Option<File>,
    /// Through the page cache: for the end of a file that does not end with a sector.
    cached: File,
    sector_bytes: usize,
    is_disk: bool,
}

impl Medium {
    /// Opens a disk with this number, exclusively: while it is open, nobody can mount it.
    ///
    /// # Errors
    /// It is in use, read-only or gone, may not be opened, or is another one by now.
    pub fn disk(path: &Path, number: Number) -> Result<Medium> {
        let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::open(path, flags, Mode::empty()).map(File::from);
        let direct = open(flags | OFlags::DIRECT).map_err(|error| refused(path, error))?;
        let metadata = direct.metadata().map_err(|error| Error::io(path.display().to_string(), error))?;
        let found = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        if !metadata.file_type().is_block_device() || found != number {
            let message = format!("{} is not the device it was a moment ago", path.display());
            return Err(Error::new(Kind::Refused, message));
        }
        let sector_bytes = rustix::fs::ioctl_blksszget(&direct).map_or(512, |size| size.clamp(512, 4096) as usize);
        let cached = direct.try_clone().map_err(|error| Error::io(path.display().to_string(), error))?;
        Ok(Medium { name: name(path), path: path.into(), direct: Some(direct), cached, sector_bytes, is_disk: true })
    }

    /// Opens a file, which others that ask are kept from.
    ///
    /// # Errors
    /// It may not be written, or somebody else has locked it.
    pub fn file(path: &Path) -> Result<Medium> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::open(path, flags, Mode::empty()).map(File::from);
        let cached = open(flags).map_err(|error| refused(path, error))?;
        // A file system that knows no locks answers otherwise.
        if rustix::fs::flock(&cached, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            let message = format!("{} is in use: another program has locked it", path.display());
            return Err(Error::new(Kind::Refused, message));
        }
        let direct = open(flags | OFlags::DIRECT).ok();
        Ok(Medium { name: name(path), path: path.into(), direct, cached, sector_bytes: 512, is_disk: false })
    }

    /// Says whether the file system refuses this kind of access, rather than the device failing.
    fn must_cache<T>(&self, result: &io::Result<T>) -> bool {
        !self.is_disk && matches!(result, Err(error) if error.kind() == io::ErrorKind::InvalidInput)
    }
}

impl Target for Medium {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_file(&self) -> bool {
        !self.is_disk
    }

    fn size_bytes(&self) -> u64 {
        if self.is_disk && !self.path.exists() {
            return 0;
        }
        rustix::fs::seek(&self.cached, rustix::fs::SeekFrom::End(0)).unwrap_or(0)
    }

    fn sector_bytes(&self) -> usize {
        self.sector_bytes
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if let Some(direct) = &self.direct {
            let result = direct.write_at(bytes, offset);
            if !self.must_cache(&result) {
                return result;
            }
        }
        self.cached.write_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(direct) = &self.direct {
            let result = direct.read_at(bytes, offset);
            if !self.must_cache(&result) {
                return result;
            }
        }
        self.cached.read_at(bytes, offset)
    }

    fn clear(&self, offset: u64, length: u64) -> io::Result<bool> {
        // On a disk this is the device's own way to zeros (BLKZEROOUT without falling back to writing); on a file, a hole.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.cached, flags, offset, length) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NODEV | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&self) -> io::Result<()> {
        // Of a disk this also empties the drive's own cache, of a file the drive's below it.
        self.cached.sync_all()?;
        // What the cache still holds is clean now, and can be let go.
        // Where it cannot, reading past the cache does not see it anyway.
        let _ = rustix::fs::fadvise(&self.cached, 0, None, Advice::DontNeed);
        Ok(())
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Says why a device or file could not be opened for writing.
fn refused(path: &Path, error: Errno) -> Error {
    let shown = path.display();
    let refuse = |what: &str| Error::new(Kind::Refused, format!("{shown} {what}"));
    match error {
        Errno::BUSY => refuse("is in use, by something that does not show here")
            .hint("another container may have mounted it, or another program may be writing to it: see lsof and lsblk"),
        Errno::ROFS => refuse("is read-only").hint("a card may have a lock switch, and so may the reader"),
        Errno::NOMEDIUM => refuse("has no medium in it"),
        Errno::ACCESS | Errno::PERM => needs_permission(path),
        Errno::NOENT | Errno::NXIO | Errno::NODEV => Error::new(Kind::Device, format!("{shown} has gone")),
        _ => Error::io(format!("cannot open {shown} for writing"), error.into()),
    }
}

/// Says exactly what it would take to write there.
pub fn needs_permission(path: &Path) -> Error {
    let shown = path.display();
    let mut error = Error::new(Kind::Host, format!("{shown}: permission denied"));
    let Ok(metadata) = path.metadata() else { return error };
    let owner = account("/etc/passwd", metadata.uid());
    let group = account("/etc/group", metadata.gid());
    let mode = metadata.mode() & 0o7777;
    error.message = format!(
        "{shown}: permission denied: reading and writing it is needed, and it belongs to user {owner} and group \
         {group} with mode {mode:04o}"
    );
    if mode & 0o060 == 0o060 && metadata.gid() != 0 {
        error = error.hint(format!(
            "as a member of the group {group} you may: `sudo usermod -aG {group} $USER`, then log in anew"
        ));
    }
    let user = if metadata.uid() == 0 { String::new() } else { format!(" -u {owner}") };
    error.hint(format!("or run this command with sudo{user}"))
}

/// Looks a user's or group's name up by its number.
fn account(file: &str, id: u32) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(id)).then(|| fields[0].to_owned())
    });
    found.unwrap_or_else(|| id.to_string())
}

/// Says what an error of a device means: whether it has gone, has shrunk, or failed at this place.
pub fn failure(target: &dyn Target, promised: u64, doing: &str, offset: u64, error: Option<&io::Error>) -> Error {
    let (name, size) = (target.name(), target.size_bytes());
    let gone = error.and_then(io::Error::raw_os_error).is_some_and(|code| {
        [Errno::NODEV, Errno::NXIO, Errno::NOMEDIUM].iter().any(|errno| errno.raw_os_error() == code)
    });
    if gone || size == 0 {
        return Error::new(Kind::Device, format!("{name} has gone: it vanished while {doing} byte {offset}"));
    }
    if size < promised {
        let (had, has) = (show_bytes(promised), show_bytes(size));
        let message = format!("{name} has shrunk: it had {had} ({promised} bytes), now it has {has} ({size} bytes)");
        return Error::new(Kind::Device, message);
    }
    if let Some(error) = error.filter(|error| target.is_file() && error.kind() == io::ErrorKind::StorageFull) {
        return Error::io(format!("cannot write {name}"), io::Error::new(error.kind(), error.to_string()));
    }
    let ended = error.is_none_or(|error| error.kind() == io::ErrorKind::StorageFull);
    if ended {
        let message = format!("{name} ends at byte {offset}, although it says that it has {promised}");
        return Error::new(Kind::Device, message).hint("a card that lies about its size is a forgery: do not use it");
    }
    let sector = offset / target.sector_bytes() as u64;
    let mut failed = Error::new(Kind::Device, format!("{name} failed while {doing} byte {offset} (sector {sector})"));
    if let Some(error) = error {
        failed = failed.caused_by(io::Error::new(error.kind(), error.to_string()));
    }
    failed
}
