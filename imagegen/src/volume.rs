//! File systems and archives seen from inside: files by number, names in folders, content behind a [`Source`].
//!
//! A [`Volume`] reads what it is asked for and nothing else, so damage in one folder hides no other. What it reads is
//! anybody's bytes: whatever they say, no answer is larger than what holds it, and nothing goes round in circles.
//!
//! A source is also what a volume lies on. So a file in a volume can be a volume, and a partition is a [`Window`].

mod archive;
mod walk;
mod window;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::tree::{Metadata, NAME_MAX, Source};

pub use archive::Archive;
pub use walk::{Step, Walk, WalkError};
pub use window::Window;

/// The most names one folder may have: more than anybody keeps, and what memory has room for.
pub const NAMES_MAX: usize = 1 << 22;
/// How many symbolic links one look-up may follow, as in the kernel (`MAXSYMLINKS`).
const SYMLINKS_MAX: usize = 40;

/// A file's number within its volume: an inode's, or the place of its entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

/// What a file is.
#[derive(Clone)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A regular file.
    File(Arc<dyn Source>),
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// Returns the letter by which `ls -l` calls it.
    pub fn letter(&self) -> char {
        match self {
            Kind::Directory => 'd',
            Kind::File(_) => '-',
            Kind::Symlink(_) => 'l',
            Kind::CharacterDevice { .. } => 'c',
            Kind::BlockDevice { .. } => 'b',
            Kind::Fifo => 'p',
            Kind::Socket => 's',
        }
    }

    /// Returns what it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Directory => "directory",
            Kind::File(_) => "file",
            Kind::Symlink(_) => "symlink",
            Kind::CharacterDevice { .. } => "character-device",
            Kind::BlockDevice { .. } => "block-device",
            Kind::Fifo => "fifo",
            Kind::Socket => "socket",
        }
    }

    /// Says whether this is a folder.
    pub fn is_directory(&self) -> bool {
        matches!(self, Kind::Directory)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::File(source) => write!(f, "file of {} bytes", source.size_bytes()),
            Kind::Symlink(target) => write!(f, "symlink to {}", target.escape_ascii()),
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                write!(f, "{} {major}:{minor}", self.name())
            }
            other => f.write_str(other.name()),
        }
    }
}

/// A file, and what is said about it.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Owner, mode, time, attributes; what the format does not keep is root's, 0755 or 0644, and 1970.
    pub metadata: Metadata,
    /// The length in bytes: of the content, of a link's target, of a folder as the format counts it.
    pub size_bytes: u64,
    /// The bytes it takes of the volume, with its tables, without its inode.
    pub allocated_bytes: u64,
    /// How many names it has, as far as the format says so.
    pub links: u32,
    /// The flags of its format in letters, as `lsattr` (ext) and `mattrib` (FAT) write them.
    pub flags: String,
}

/// A name in a folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The name: 1 to 255 bytes, not `.` or `..`, no slash and no NUL. FAT's 255 units may be more bytes.
    pub name: Box<[u8]>,
    /// What it names.
    pub id: NodeId,
}

/// The names in a folder.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// In byte order, each once.
    pub entries: Vec<Entry>,
    /// What stands there and cannot be a name: what is beside it can still be read.
    pub refused: Vec<VolumeError>,
}

/// Why something in a volume cannot be read.
#[derive(Clone, Debug)]
pub enum VolumeError {
    /// What the volume lies on cannot be read.
    Io(Arc<io::Error>),
    /// The bytes break the format's rules.
    Corrupt {
        /// Where: `inode 12`, `cluster 7`.
        place: String,
        /// What is wrong.
        reason: Cow<'static, str>,
    },
    /// The format allows it, but it is not understood here.
    Unsupported(Cow<'static, str>),
    /// No file has this path.
    Path {
        /// The path as far as it was followed.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What reading a volume comes to.
pub type Result<T, E = VolumeError> = std::result::Result<T, E>;

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VolumeError::Io(error) => error.fmt(f),
            VolumeError::Corrupt { place, reason } => write!(f, "{place}: {reason}"),
            VolumeError::Unsupported(what) => f.write_str(what),
            VolumeError::Path { path, reason } => write!(f, "{path}: {reason}"),
        }
    }
}

impl std::error::Error for VolumeError {}

impl From<VolumeError> for io::Error {
    fn from(error: VolumeError) -> Self {
        match error {
            VolumeError::Io(error) => io::Error::new(error.kind(), VolumeError::Io(error)),
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Returns an error about bytes.
pub(crate) fn corrupt<T>(place: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Result<T> {
    Err(VolumeError::Corrupt { place: place.into(), reason: reason.into() })
}

/// Reads exactly so many bytes; what lies behind the end is the volume's fault, and `place` says whose.
pub(crate) fn read_exact(
    device: &dyn Source,
    at: u64,
    buffer: &mut [u8],
    place: impl FnOnce() -> String,
) -> Result<()> {
    let size = device.size_bytes();
    if at.checked_add(buffer.len() as u64).is_none_or(|end| end > size) {
        return corrupt(place(), format!("lies at byte {at}, behind the end of the image, which has {size} bytes"));
    }
    device.read_at(at, buffer).map_err(read_error)
}

/// Says why a source could not be read; one that lies in a volume has an error of that inside.
pub(crate) fn read_error(error: io::Error) -> VolumeError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<VolumeError>()) {
        Some(inner) => inner.clone(),
        None => VolumeError::Io(Arc::new(error)),
    }
}

/// Something that holds files.
pub trait Volume: Send + Sync {
    /// Returns what it is: `ext4`, `FAT16`, `cpio`.
    fn format(&self) -> &'static str;

    /// Returns its label; empty if it has none.
    fn label(&self) -> String {
        String::new()
    }

    /// Returns what is said of the volume as a whole: names and values, always in the same order.
    fn facts(&self) -> Vec<(&'static str, String)>;

    /// Returns the unit in which it places content, in bytes, and what that is called: `block`, `cluster`.
    fn unit(&self) -> (u64, &'static str);

    /// Returns the root folder.
    fn root(&self) -> NodeId;

    /// Returns what a number stands for.
    ///
    /// # Errors
    /// There is no such number, or what it stands for cannot be believed.
    fn node(&self, id: NodeId) -> Result<Node>;

    /// Returns a folder's names.
    ///
    /// # Errors
    /// It is no folder, or damaged.
    fn entries(&self, directory: NodeId) -> Result<Names>;

    /// Returns a number that a folder has under each of its names, for noticing that it was come to before.
    fn folder_number(&self, directory: NodeId) -> NodeId {
        directory
    }

    /// Returns what a name in a folder stands for.
    ///
    /// # Errors
    /// As [`entries`](Volume::entries).
    fn child(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let Names { entries, .. } = self.entries(directory)?;
        let found = entries.binary_search_by(|entry| (*entry.name).cmp(name));
        Ok(found.ok().map(|index| entries[index].id))
    }
}

/// Returns the file at a path, absolute or relative to the root alike. Symbolic links on the way are followed within the
/// volume, as `chroot` would; one in last place only if `follow` says so. `..` of the root is the root.
///
/// # Errors
/// There is no such file, too many links follow each other, or a folder on the way cannot be read.
pub fn lookup(volume: &dyn Volume, path: &[u8], follow: bool) -> Result<NodeId> {
    let failed = |reason| VolumeError::Path { path: show(path), reason };
    let mut parents = Vec::new();
    let mut at = volume.root();
    let mut links = 0;
    let mut todo: Vec<Box<[u8]>> = components(path);
    // A path that ends in a slash, or in a dot, means the folder that a link leads to.
    let follow = follow || path.ends_with(b"/") || path.ends_with(b"/.");
    while let Some(name) = todo.pop() {
        if *name == *b".." {
            at = parents.pop().unwrap_or(volume.root());
            continue;
        }
        if !volume.node(at)?.kind.is_directory() {
            return Err(failed("passes through something that is no folder"));
        }
        let Some(next) = volume.child(at, &name)? else { return Err(failed("no such file")) };
        match volume.node(next)?.kind {
            Kind::Symlink(target) if follow || !todo.is_empty() => {
                links += 1;
                if links > SYMLINKS_MAX {
                    return Err(failed("too many symbolic links follow each other"));
                }
                if target.first() == Some(&b'/') {
                    at = volume.root();
                    parents.clear();
                }
                todo.extend(components(&target));
            }
            _ => {
                parents.push(at);
                at = next;
            }
        }
    }
    if path.ends_with(b"/") && !volume.node(at)?.kind.is_directory() {
        return Err(failed("is no folder"));
    }
    Ok(at)
}

/// Splits a path into names, last first, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Box<[u8]>> {
    let names = path.split(|&byte| byte == b'/').rev().filter(|name| !name.is_empty() && *name != b".");
    names.map(Into::into).collect()
}

/// Writes a path so that it can be read; what is no UTF-8, or acts, is escaped.
pub fn show(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() { text.extend(letter.escape_default()) } else { text.push(letter) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Puts a folder's names in order. Those that no file can have are refused, and the later of two that are the same.
pub(crate) fn sorted(mut entries: Vec<Entry>, name_bytes_max: usize, place: impl Fn() -> String) -> Names {
    entries.sort_unstable();
    let (mut names, mut refused) = (Vec::<Entry>::with_capacity(entries.len()), Vec::new());
    let mut uncounted = 0;
    for entry in entries {
        let name = &*entry.name;
        let bad = name.is_empty() || name == b"." || name == b".." || name.len() > name_bytes_max;
        let reason = if bad || name.contains(&b'/') || name.contains(&0) {
            ", which no file can have"
        } else if names.last().is_some_and(|last| last.name == entry.name) {
            " twice"
        } else {
            names.push(entry);
            continue;
        };
        if refused.len() >= REFUSED_MAX {
            uncounted += 1;
            continue;
        }
        let reason = format!("holds the name `{}`{reason}", show(name)).into();
        refused.push(VolumeError::Corrupt { place: place(), reason });
    }
    if uncounted > 0 {
        let reason = format!("holds {uncounted} more names that cannot be taken").into();
        refused.push(VolumeError::Corrupt { place: place(), reason });
    }
    Names { entries: names, refused }
}

/// How many names of a folder are refused one by one.
const REFUSED_MAX: usize = 100;

/// The most bytes of a name in formats that count bytes.
pub(crate) const NAME_BYTES_MAX: usize = NAME_MAX;
