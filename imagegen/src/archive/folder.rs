//! A folder of the host as a file tree; content is read when an image is written.
//!
//! Where a folder was checked out, by whom and under which umask must not show in an image. So, unless everything is
//! to be kept as it is: files belong to root, are 0755 if their owner may execute them and 0644 otherwise (what git
//! knows of a mode), folders are 0755, and every time is the one given. Holes are never taken from the host, see
//! [`super::holes`].

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{OFlags, major, minor};
use rustix::io::Errno;

use super::{ArchiveError, Problem, ReadOptions, Summary, holes};
use crate::tree::{Extent, Kind, Metadata, Source, Timestamp, Tree};

/// How many files of one folder are open at once.
const OPEN_MAX: usize = 32;

/// What becomes of a folder's metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Nothing but the owner's right to execute: root's files, normal modes, this time.
    Content(Timestamp),
    /// Everything: owners, modes, times, extended attributes, hard links.
    Everything,
}

/// Puts a folder of the host, the folder itself included, into a tree.
///
/// Symbolic links stay links. Devices, pipes and sockets are taken as what they are. Files are opened when they are
/// read, a bounded number at once; a file that has changed by then is an error of that read.
///
/// # Errors
/// Names the path: whatever the operating system says, a file in place of a folder in the tree.
pub fn read_into(tree: &mut Tree, root: &Path, options: &ReadOptions, keep: Keep) -> Result<Summary, ArchiveError> {
    let pool = Arc::new(Pool::default());
    let mut summary = Summary::default();
    // The first name of each file that has several, by device and inode.
    let mut names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut todo = vec![Vec::new()];
    while let Some(name) = todo.pop() {
        let path = if name.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(&name)) };
        let fail = |problem| ArchiveError::new(Some(path.as_os_str().as_bytes()), None, problem);
        let io_error = |error| fail(Problem::Io(error));
        // The root may be a link to the folder; below it, links are links.
        let stat = if name.is_empty() { fs::metadata(&path) } else { fs::symlink_metadata(&path) }.map_err(io_error)?;
        if name.is_empty() && !stat.is_dir() {
            return Err(io_error(io::ErrorKind::NotADirectory.into()));
        }
        // A folder left out for itself may hold something that is taken, unless it is excluded.
        let excluded = options.exclude.iter().any(|pattern| pattern.covers(&name));
        if stat.is_dir() && !excluded {
            todo.extend(children(&path, &name).map_err(io_error)?);
        }
        let Some(place) = options.place(&name).filter(|_| options.selects(&name)) else {
            summary.left_out += 1;
            continue;
        };
        let linked = keep == Keep::Everything && stat.nlink() > 1 && !stat.is_dir();
        if linked && let Some(first) = names.get(&(stat.dev(), stat.ino())) {
            tree.link(first, &place).map_err(|error| fail(Problem::Path(error)))?;
        } else {
            let kind = kind(&pool, &path, &stat).map_err(io_error)?;
            let metadata = metadata(&path, &stat, options, keep).map_err(io_error)?;
            tree.insert(&place, kind, metadata).map_err(|error| fail(Problem::Path(error)))?;
            if linked {
                names.insert((stat.dev(), stat.ino()), place);
            }
        }
        summary.taken += 1;
    }
    Ok(summary)
}

/// Returns the names in a folder, last first, each behind the folder's own name.
fn children(path: &Path, name: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut children = Vec::new();
    for entry in fs::read_dir(path)? {
        let mut child = name.to_vec();
        if !child.is_empty() {
            child.push(b'/');
        }
        child.extend(entry?.file_name().into_vec());
        children.push(child);
    }
    // What the file system happens to list first must not matter.
    children.sort_unstable_by(|left, right| right.cmp(left));
    Ok(children)
}

fn kind(pool: &Arc<Pool>, path: &Path, stat: &fs::Metadata) -> io::Result<Kind> {
    let kind = stat.file_type();
    let (major, minor) = (major(stat.rdev()), minor(stat.rdev()));
    Ok(if kind.is_dir() {
        Kind::Directory(Default::default())
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(path)?.into_os_string().into_vec().into())
    } else if kind.is_char_device() {
        Kind::CharacterDevice { major, minor }
    } else if kind.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        let (path, stamp) = (path.to_owned(), Stamp::of(stat));
        Kind::File(Arc::new(HostFile { pool: pool.clone(), path, stamp, extents: OnceLock::new() }))
    })
}

fn metadata(path: &Path, stat: &fs::Metadata, options: &ReadOptions, keep: Keep) -> io::Result<Metadata> {
    let kind = stat.file_type();
    let mut metadata = match keep {
        Keep::Content(mtime) => {
            let executable = kind.is_dir() || kind.is_file() && stat.mode() & 0o100 != 0;
            let mode = match executable {
                _ if kind.is_symlink() => 0o777,
                true => 0o755,
                false => 0o644,
            };
            Metadata::root(mode, mtime)
        }
        Keep::Everything => Metadata {
            uid: stat.uid(),
            gid: stat.gid(),
            mode: (stat.mode() & 0o7777) as u16,
            mtime: Timestamp { seconds: stat.mtime(), nanoseconds: stat.mtime_nsec() as u32 },
            xattrs: xattrs(path)?,
        },
    };
    if let Some((uid, gid)) = options.owner {
        (metadata.uid, metadata.gid) = (uid, gid);
    }
    Ok(metadata)
}

/// Reads all extended attributes; a file system without them has none.
fn xattrs(path: &Path) -> io::Result<std::collections::BTreeMap<Vec<u8>, Vec<u8>>> {
    let names = match xattr_value(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::NOTSUP) => return Ok(Default::default()),
        names => names?,
    };
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let value = xattr_value(|buffer| rustix::fs::lgetxattr(path, OsStr::from_bytes(name), buffer))?;
            Ok((name.to_vec(), value))
        })
        .collect()
}

/// Reads what mostly is nothing, and can be as large as the kernel's own limits, XATTR_LIST_MAX and XATTR_SIZE_MAX.
fn xattr_value(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match read(&mut small) {
        Err(Errno::RANGE) => {}
        length => return Ok(small[..length?].to_vec()),
    }
    let mut large = vec![0; 64 << 10];
    let length = read(&mut large)?;
    large.truncate(length);
    Ok(large)
}

/// What must stay the same between looking at a file and reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
}

impl Stamp {
    fn of(stat: &fs::Metadata) -> Self {
        Stamp { device: stat.dev(), inode: stat.ino(), size: stat.size(), mtime: (stat.mtime(), stat.mtime_nsec()) }
    }
}

/// The content of a file of the host.
struct HostFile {
    pool: Arc<Pool>,
    path: PathBuf,
    stamp: Stamp,
    /// Found when first asked for, by reading all of it.
    extents: OnceLock<io::Result<Vec<Extent>>>,
}

impl HostFile {
    fn changed(&self) -> io::Error {
        io::Error::other(format!("`{}` changed while it was being read", self.path.display()))
    }

    fn open(&self) -> io::Result<Arc<File>> {
        self.pool.get(&self.stamp, || {
            // A link or a pipe put in its place since must not lead us elsewhere or make us wait.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
            let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?;
            self.check(&file)?;
            Ok(file)
        })
    }

    fn check(&self, file: &File) -> io::Result<()> {
        if Stamp::of(&file.metadata()?) == self.stamp { Ok(()) } else { Err(self.changed()) }
    }
}

impl Source for HostFile {
    fn size_bytes(&self) -> u64 {
        self.stamp.size
    }

    fn extents(&self) -> Vec<Extent> {
        let found = self.extents.get_or_init(|| {
            let file = self.open()?;
            let extents = holes::data_extents(&file, self.stamp.size, &mut || Ok(()))?;
            self.check(&file)?;
            Ok(extents)
        });
        match found {
            Ok(extents) => extents.clone(),
            // Whoever reads what is here gets the error.
            Err(_) => vec![Extent { offset: 0, length: self.stamp.size }],
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.stamp.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(Err(error)) = self.extents.get() {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let file = self.open()?;
        match file.read_exact_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed()),
            Err(error) => Err(error),
            // The last part is also the last chance to see that somebody wrote meanwhile.
            Ok(()) if end == self.stamp.size => self.check(&file),
            Ok(()) => Ok(()),
        }
    }
}

/// The files open just now, the one used last in front.
#[derive(Default)]
struct Pool {
    open: Mutex<VecDeque<(Stamp, Arc<File>)>>,
}

impl Pool {
    fn get(&self, stamp: &Stamp, open: impl FnOnce() -> io::Result<File>) -> io::Result<Arc<File>> {
        let mut files = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = files.iter().position(|(known, _)| known == stamp)
            && let Some(entry) = files.remove(at)
        {
            files.push_front(entry);
        } else {
            files.truncate(OPEN_MAX - 1);
            files.push_front((*stamp, Arc::new(open()?)));
        }
        Ok(files[0].1.clone())
    }
}
