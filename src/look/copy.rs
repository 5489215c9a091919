//! What `cp` and `cat` do: content goes out of an image, and stays where it is told to.
//!
//! The image is anybody's: names in it lead nowhere but down, and each folder of the host is entered by its handle
//! without following a link, so that neither a link in the image nor one that lies about at the destination leads out.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imagegen::tree::{Metadata, Source};
use imagegen::volume::{Kind as NodeKind, Node, Step, Walk, show};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{FilePlace, read_fault};
use crate::error::{Error, Kind, Result};

/// How much is read at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// How deep folders are made: each of them keeps a handle while it is filled.
const DEPTH_MAX: usize = 256;

/// How to copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Folders, with all that is in them.
    pub recursive: bool,
    /// Owners, set-id bits, extended attributes and devices too, as far as the host lets us.
    pub preserve: bool,
}

/// Writes content to a stream, holes as zeros.
///
/// # Errors
/// The content cannot be read, or the stream takes no more; `None` then says that nobody listens.
pub fn cat(what: &str, content: &dyn Source, out: &mut dyn Write) -> Result<()> {
    let size = content.size_bytes();
    let mut buffer = vec![0; size.min(CHUNK_BYTES) as usize];
    let mut at = 0;
    while at < size {
        let part = &mut buffer[..(size - at).min(CHUNK_BYTES) as usize];
        content.read_at(at, part).map_err(|error| read_fault(what, error))?;
        match out.write_all(part) {
            // A reader that has seen enough is no error.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Error::io("cannot write to standard output", error)),
            Ok(()) => at += part.len() as u64,
        }
    }
    Ok(())
}

/// Copies a file or folder to the host: into `to` if that is a folder, else as it. What cannot be made is left out, with
/// a word to `warn`.
///
/// # Errors
/// The image cannot be read, the host not be written, or a folder is to be copied without being asked for.
pub fn copy(place: &FilePlace, to: &Path, options: Options, warn: &mut dyn FnMut(String)) -> Result<()> {
    let node = place.volume.node(place.id).map_err(|error| super::fault(&place.address(), error))?;
    if node.kind.is_directory() && !options.recursive {
        let message = format!("{} is a folder", place.address());
        return Err(Error::new(Kind::Usage, message).hint("-r copies folders"));
    }
    let own_name =
        place.path.split(|&byte| byte == b'/').rfind(|name| !name.is_empty() && *name != b"." && *name != b"..");
    let (parent, name, into) = match (to.is_dir(), own_name) {
        (true, Some(name)) => (to, Some(name.to_vec()), to.to_path_buf()),
        // The root of an image has no name: what is in it goes into the folder.
        (true, None) if node.kind.is_directory() => (to, None, to.to_path_buf()),
        (true, None) => return Err(Error::new(Kind::Usage, format!("{} needs a name", place.address()))),
        (false, _) => {
            let name = to.file_name().map(|name| name.as_bytes().to_vec());
            let Some(name) = name else {
                return Err(Error::new(Kind::Usage, format!("{}: no such folder", to.display())));
            };
            let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (parent, Some(name), parent.to_path_buf())
        }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(CWD, parent, flags, Mode::empty())
        .map_err(|error| Error::io(format!("cannot open {}", into.display()), error.into()))?;
    let mut copy = Copy { place, options, warn, open: Vec::new() };
    copy.all(handle, name)
}

struct Copy<'a> {
    place: &'a FilePlace,
    options: Options,
    warn: &'a mut dyn FnMut(String),
    /// The folders being filled, outermost first, each with what it is to become in the end.
    open: Vec<(OwnedFd, Option<Metadata>)>,
}

impl Copy<'_> {
    fn all(&mut self, outside: OwnedFd, name: Option<Vec<u8>>) -> Result<()> {
        let volume = self.place.volume.clone();
        // With no name for the start, its content goes where we are.
        let base = if name.is_some() { 0 } else { 1 };
        self.open.push((outside, None));
        let mut walk = Walk::new(&*volume, self.place.id);
        while let Some(step) = walk.next() {
            let step = step.map_err(|error| super::fault(&self.place.below(&error.path), error.error))?;
            if step.depth == 0 && base == 1 {
                continue;
            }
            while self.open.len() > step.depth + 1 - base {
                self.close()?;
            }
            let own = step.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            let own = if step.depth == 0 { name.as_deref().unwrap_or_default() } else { own };
            if !self.one(&step, own)? {
                walk.skip_folder();
            }
        }
        while self.open.len() > 1 {
            self.close()?;
        }
        Ok(())
    }

    /// Makes one file in the innermost folder; says whether it is now a folder to be filled.
    fn one(&mut self, step: &Step, name: &[u8]) -> Result<bool> {
        let address = self.place.below(&step.path);
        let name = OsStr::from_bytes(name);
        let Some((folder, _)) = self.open.last() else { return Ok(false) };
        let failed = |error: Errno| Error::io(format!("cannot make {address} here"), error.into());
        match &step.node.kind {
            NodeKind::Directory => {
                if self.open.len() > DEPTH_MAX {
                    (self.warn)(format!("{address} lies too deep: left out"));
                    return Ok(false);
                }
                match rustix::fs::mkdirat(folder, name, Mode::RWXU) {
                    Err(Errno::EXIST) | Ok(()) => {}
                    Err(error) => return Err(failed(error)),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(failed)?;
                self.open.push((made, Some(step.node.metadata.clone())));
                return Ok(true);
            }
            NodeKind::File(content) => {
                clear(folder, name).map_err(failed)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                let file = File::from(file);
                fill(&address, &**content, &file)?;
                self.finish(&file, &address, &step.node.metadata)?;
            }
            NodeKind::Symlink(target) => {
                clear(folder, name).map_err(failed)?;
                rustix::fs::symlinkat(OsStr::from_bytes(target), folder, name).map_err(failed)?;
                let times = times(&step.node.metadata);
                rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                if self.options.preserve {
                    let owner = owner(&step.node.metadata);
                    let kept = rustix::fs::chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
                    self.warn_owner(&address, kept);
                }
            }
            NodeKind::Fifo => self.special(&step.node, name, FileType::Fifo, (0, 0), &address)?,
            NodeKind::Socket => (self.warn)(format!("{address} is a socket: left out")),
            &NodeKind::CharacterDevice { major, minor } => {
                self.special(&step.node, name, FileType::CharacterDevice, (major, minor), &address)?;
            }
            &NodeKind::BlockDevice { major, minor } => {
                self.special(&step.node, name, FileType::BlockDevice, (major, minor), &address)?;
            }
        }
        Ok(false)
    }

    /// Makes a pipe or, if that is asked for, a device.
    fn special(&mut self, node: &Node, name: &OsStr, kind: FileType, device: (u32, u32), address: &str) -> Result<()> {
        let Some((folder, _)) = self.open.last() else { return Ok(()) };
        if kind != FileType::Fifo && !self.options.preserve {
            (self.warn)(format!("{address} is a device: left out (--preserve makes it, for root)"));
            return Ok(());
        }
        let mode = Mode::from_raw_mode(u32::from(node.metadata.mode & 0o777));
        let made = clear(folder, name)
            .and_then(|()| rustix::fs::mknodat(folder, name, kind, mode, rustix::fs::makedev(device.0, device.1)))
            .and_then(|()| rustix::fs::utimensat(folder, name, &times(&node.metadata), AtFlags::SYMLINK_NOFOLLOW));
        if let Err(error) = made {
            (self.warn)(format!("{address}: cannot make it here: {}: left out", std::io::Error::from(error)));
        } else if self.options.preserve {
            let owner = owner(&node.metadata);
            let kept = rustix::fs::chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
            self.warn_owner(address, kept);
        }
        Ok(())
    }

    /// Leaves the innermost folder, and gives it what it is to have.
    fn close(&mut self) -> Result<()> {
        let Some((folder, Some(metadata))) = self.open.pop() else { return Ok(()) };
        let address = self.place.address();
        self.finish(&folder, &address, &metadata)
    }

    /// Gives an open file its attributes, owner, mode and time: in an order in which none undoes another.
    fn finish(&mut self, file: &impl rustix::fd::AsFd, address: &str, metadata: &Metadata) -> Result<()> {
        let failed = |error: Errno| Error::io(format!("cannot finish {address} here"), error.into());
        let mut mode = metadata.mode & 0o777;
        if self.options.preserve {
            for (name, value) in &metadata.xattrs {
                let set = rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty());
                if let Err(error) = set {
                    let error = std::io::Error::from(error);
                    (self.warn)(format!("{address}: cannot keep its attribute {}: {error}", show(name)));
                }
            }
            let owner = owner(metadata);
            let kept = rustix::fs::fchown(file, owner.0, owner.1);
            // Whoever else owns it must not get another's rights.
            mode = if kept.is_ok() { metadata.mode & 0o7777 } else { mode };
            self.warn_owner(address, kept);
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode.into())).map_err(failed)?;
        rustix::fs::futimens(file, &times(metadata)).map_err(failed)
    }

    fn warn_owner(&mut self, address: &str, kept: Result<(), Errno>) {
        if let Err(error) = kept {
            (self.warn)(format!("{address}: cannot keep its owner: {}", std::io::Error::from(error)));
        }
    }
}

/// Takes away what is in a file's place, unless it is a folder.
fn clear(folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Writes content into an empty file, holes left out.
fn fill(address: &str, content: &dyn Source, file: &File) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write the copy of {address}"), error);
    let mut buffer = Vec::new();
    for extent in content.extents() {
        let end = extent.offset.saturating_add(extent.length);
        let mut at = extent.offset;
        while at < end {
            let length = (end - at).min(CHUNK_BYTES);
            buffer.resize(length as usize, 0);
            content.read_at(at, &mut buffer).map_err(|error| read_fault(address, error))?;
            file.write_all_at(&buffer, at).map_err(failed)?;
            at += length;
        }
    }
    file.set_len(content.size_bytes()).map_err(failed)
}

fn owner(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    // All ones would mean to leave it.
    let id = |id: u32| (id != u32::MAX).then_some(id);
    (id(metadata.uid).map(Uid::from_raw), id(metadata.gid).map(Gid::from_raw))
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec { tv_sec: metadata.mtime.seconds, tv_nsec: metadata.mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
