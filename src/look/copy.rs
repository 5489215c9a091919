//! What `cp` and `cat` do: content goes out of an image, and stays where it is told to.
//!
//! The image is anybody's: names in it lead nowhere but down, and each folder of the host is entered by its handle
//! without following a link, so that neither a link in the image nor one that lies about at the destination leads out.

use std::ffi::{OsStr, OsString};
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
/// How many names are tried for a file that is not whole yet.
const NAMES_TRIED: u32 = 1000;

/// How to copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Folders, with all that is in them.
    pub recursive: bool,
    /// Owners, set-id bits, extended attributes and devices too, as far as the host lets us.
    pub preserve: bool,
}

/// Writes content to a stream, holes as zeros; says whether anybody listens.
///
/// # Errors
/// The content cannot be read, or the stream, which is called `to`, takes no more.
pub fn write_to(what: &str, content: &dyn Source, out: &mut dyn Write, to: &str) -> Result<bool> {
    let size = content.size_bytes();
    let mut buffer = vec![0; size.min(CHUNK_BYTES) as usize];
    let mut at = 0;
    while at < size {
        let part = &mut buffer[..(size - at).min(CHUNK_BYTES) as usize];
        content.read_at(at, part).map_err(|error| read_fault(what, error))?;
        if !heard(out.write_all(part), to)? {
            return Ok(false);
        }
        at += part.len() as u64;
    }
    // What is only kept for later may still find no room.
    heard(out.flush(), to)
}

/// Takes a reader that has seen enough for no error, but for the end.
fn heard(result: std::io::Result<()>, to: &str) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::io(format!("cannot write to {to}"), error)),
    }
}

/// What a copy says of something in an image, while it goes on with the rest.
pub enum Word {
    /// It was left out, as is said of the command.
    LeftOut(String),
    /// It should have been copied, and could not be.
    Failed(Error),
}

/// Copies a file or folder to the host: into `to` if that is a folder, else as it. Of what is in a folder, that which
/// cannot be made or read is left out, with a word to `tell`.
///
/// # Errors
/// The file or folder itself cannot be read, or not be made; or a folder is to be copied without being asked for.
pub fn copy(place: &FilePlace, to: &Path, options: Options, tell: &mut dyn FnMut(Word)) -> Result<()> {
    let node = place.volume.node(place.id).map_err(|error| super::fault(&place.address(), error))?;
    if node.kind.is_directory() && !options.recursive {
        let message = format!("{} is a folder", place.address());
        return Err(Error::new(Kind::Usage, message).hint("-r copies folders"));
    }
    if to.is_dir() {
        // The root of an image has no name, nor do `.` and `..`: what is in it goes into the folder.
        let last = place.path.split(|&byte| byte == b'/').rfind(|name| !name.is_empty());
        let name = last.filter(|name| *name != b"." && *name != b"..").map(<[u8]>::to_vec);
        if name.is_none() && !node.kind.is_directory() {
            return Err(Error::new(Kind::Usage, format!("{} needs a name", place.address())));
        }
        return Copy { place, options, tell, open: Vec::new() }.all(folder(to)?, name);
    }
    let Some(name) = to.file_name().filter(|_| node.kind.is_directory() || !to.as_os_str().as_bytes().ends_with(b"/"))
    else {
        return Err(Error::new(Kind::Usage, format!("{}: no such folder", to.display())));
    };
    let mut path = to.to_path_buf();
    // What stands at the very place that was typed is written to, as the host's cp does, and not taken away.
    if let Ok(there) = to.symlink_metadata() {
        let failed = |error| Error::io(format!("cannot write to {}", to.display()), error);
        let NodeKind::File(content) = &node.kind else {
            let message =
                format!("{} is there already, and {} is a {}", to.display(), place.address(), node.kind.name());
            return Err(Error::new(Kind::Usage, message));
        };
        let target = to.metadata().map_err(failed)?;
        if !target.is_file() {
            let mut stream = File::options().write(true).open(to).map_err(failed)?;
            return write_to(&place.address(), &**content, &mut stream, &to.display().to_string()).map(drop);
        }
        if there.is_symlink() {
            path = to.canonicalize().map_err(failed)?;
        }
    }
    let name = path.file_name().unwrap_or(name).as_bytes().to_vec();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Copy { place, options, tell, open: Vec::new() }.all(folder(parent)?, Some(name))
}

/// Opens a folder of the host that was typed.
fn folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|error| Error::io(format!("cannot open {}", path.display()), error.into()))
}

struct Copy<'a> {
    place: &'a FilePlace,
    options: Options,
    tell: &'a mut dyn FnMut(Word),
    /// The folders being filled, outermost first, each with its address and what it is to become in the end.
    open: Vec<(OwnedFd, Option<(String, Metadata)>)>,
}

impl Copy<'_> {
    fn all(&mut self, outside: OwnedFd, name: Option<Vec<u8>>) -> Result<()> {
        let volume = self.place.volume.clone();
        // With no name for the start, its content goes where we are.
        let base = if name.is_some() { 0 } else { 1 };
        self.open.push((outside, None));
        let mut walk = Walk::new(&*volume, self.place.id);
        while let Some(step) = walk.next() {
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    (self.tell)(Word::Failed(super::fault(&self.place.below(&error.path), error.error)));
                    continue;
                }
            };
            if step.depth == 0 && base == 1 {
                continue;
            }
            while self.open.len() > step.depth + 1 - base {
                self.close();
            }
            let own = step.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            let own = if step.depth == 0 { name.as_deref().unwrap_or_default() } else { own };
            match self.one(&step, own) {
                Ok(true) => {}
                Ok(false) => walk.skip_folder(),
                Err(error) if step.depth == 0 => return Err(error),
                Err(error) => {
                    (self.tell)(Word::Failed(error));
                    walk.skip_folder();
                }
            }
        }
        while self.open.len() > 1 {
            self.close();
        }
        Ok(())
    }

    fn warn(&mut self, text: String) {
        (self.tell)(Word::LeftOut(text));
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
                    let message = format!("{address} lies below {DEPTH_MAX} folders: left out");
                    return Err(Error::new(Kind::Host, message));
                }
                match rustix::fs::mkdirat(folder, name, Mode::RWXU) {
                    Err(Errno::EXIST) | Ok(()) => {}
                    Err(error) => return Err(failed(error)),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(failed)?;
                self.open.push((made, Some((address, step.node.metadata.clone()))));
                return Ok(true);
            }
            NodeKind::File(content) => {
                let (beside, file) = beside(folder).map_err(failed)?;
                let made = fill(&address, &**content, &file)
                    .and_then(|()| self.finish(&file, &address, &step.node.metadata))
                    .and_then(|()| self.rename(&beside, name, &address));
                if made.is_err()
                    && let Some((folder, _)) = self.open.last()
                {
                    let _ = rustix::fs::unlinkat(folder, &*beside, AtFlags::empty());
                }
                made?;
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
            NodeKind::Socket => self.warn(format!("{address} is a socket: left out")),
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
            self.warn(format!("{address} is a device: left out (--preserve makes it, for root)"));
            return Ok(());
        }
        let mode = Mode::from_raw_mode(u32::from(node.metadata.mode & 0o777));
        let made = clear(folder, name)
            .and_then(|()| rustix::fs::mknodat(folder, name, kind, mode, rustix::fs::makedev(device.0, device.1)))
            .and_then(|()| rustix::fs::utimensat(folder, name, &times(&node.metadata), AtFlags::SYMLINK_NOFOLLOW));
        if let Err(error) = made {
            self.warn(format!("{address}: cannot make it here: {}: left out", std::io::Error::from(error)));
        } else if self.options.preserve {
            let owner = owner(&node.metadata);
            let kept = rustix::fs::chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
            self.warn_owner(address, kept);
        }
        Ok(())
    }

    /// Gives a finished file its name.
    fn rename(&self, beside: &OsStr, name: &OsStr, address: &str) -> Result<()> {
        let Some((folder, _)) = self.open.last() else { return Ok(()) };
        rustix::fs::renameat(folder, beside, folder, name)
            .map_err(|error| Error::io(format!("cannot make {address} here"), error.into()))
    }

    /// Leaves the innermost folder, and gives it what it is to have.
    fn close(&mut self) {
        if let Some((folder, Some((address, metadata)))) = self.open.pop()
            && let Err(error) = self.finish(&folder, &address, &metadata)
        {
            (self.tell)(Word::Failed(error));
        }
    }

    /// Gives an open file its owner, attributes, mode and time: in an order in which none undoes another.
    fn finish(&mut self, file: &impl rustix::fd::AsFd, address: &str, metadata: &Metadata) -> Result<()> {
        let failed = |error: Errno| Error::io(format!("cannot finish {address} here"), error.into());
        let mut mode = metadata.mode & 0o777;
        if self.options.preserve {
            // First: a new owner takes set-id bits and capabilities away.
            let owner = owner(metadata);
            let kept = rustix::fs::fchown(file, owner.0, owner.1);
            // Whoever else owns it must not get another's rights.
            mode = if kept.is_ok() { metadata.mode & 0o7777 } else { mode };
            self.warn_owner(address, kept);
            for (name, value) in &metadata.xattrs {
                let set = rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty());
                if let Err(error) = set {
                    let error = std::io::Error::from(error);
                    self.warn(format!("{address}: cannot keep its attribute {}: {error}", show(name)));
                }
            }
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode.into())).map_err(failed)?;
        rustix::fs::futimens(file, &times(metadata)).map_err(failed)
    }

    fn warn_owner(&mut self, address: &str, kept: Result<(), Errno>) {
        if let Err(error) = kept {
            self.warn(format!("{address}: cannot keep its owner: {}", std::io::Error::from(error)));
        }
    }
}

/// Makes a file under a name of its own, which it has until it is whole.
fn beside(folder: &OwnedFd) -> Result<(OsString, File), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut number = 0;
    loop {
        let name = OsString::from(format!(".copy-{}-{number}", std::process::id()));
        match rustix::fs::openat(folder, &*name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((name, File::from(file))),
            // Left over from one that was killed, or a file of the image.
            Err(Errno::EXIST) if number < NAMES_TRIED => number += 1,
            Err(error) => return Err(error),
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
