//! The file tree that every archive becomes and every file system is made from.
//!
//! A tree is an arena of inodes; directories map names to inodes, so a hard link is two names for one inode.
//! File content stays behind a [`Source`]: the tree itself never reads a byte of it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// The longest name a directory entry may have, in bytes (`EXT2_NAME_LEN`, `NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// The longest path and symbolic-link target, in bytes (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// How many symbolic links one look-up may follow, as in the kernel (`MAXSYMLINKS`).
const SYMLINKS_MAX: usize = 40;

/// An inode's index in its [`Tree`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InodeId(u32);

impl InodeId {
    /// Returns the position in the tree's arena: dense, root first.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A point in time: seconds since 1970-01-01 UTC and nanoseconds (0..1e9) after that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp {
    /// Seconds since the epoch; may be negative.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What every inode has besides its kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission, set-id and sticky bits: `0..=0o7777`.
    pub mode: u16,
    /// Last modification.
    pub mtime: Timestamp,
    /// Extended attributes by full name, `security.capability` for example; values in the kernel's on-wire form.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    /// Returns metadata of root's with these permission bits and time.
    pub fn root(mode: u16, mtime: Timestamp) -> Self {
        Metadata { mode, mtime, ..Metadata::default() }
    }
}

/// A range of a source that holds data; what lies between two of them is a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First byte, from the start of the content.
    pub offset: u64,
    /// Length in bytes, above 0.
    pub length: u64,
}

/// Content of a regular file, read when an image is written.
pub trait Source: Send + Sync {
    /// Returns the length in bytes, holes included.
    fn size_bytes(&self) -> u64;

    /// Returns the ranges that hold data: ascending, not overlapping, within the size.
    fn extents(&self) -> Vec<Extent> {
        let length = self.size_bytes();
        if length == 0 { Vec::new() } else { vec![Extent { offset: 0, length }] }
    }

    /// Fills `buffer` from `offset`; holes read as zeros. Reading past the end is an error.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Returns an open file and the position in it where the byte at `offset` lies, if all data of
    /// the extent that holds `offset` is contiguous there: a writer may then let the kernel copy.
    fn file_at(&self, _offset: u64) -> Option<(&File, u64)> {
        None
    }
}

/// Content held in memory.
impl Source for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What an inode is.
#[derive(Clone)]
pub enum Kind {
    /// A directory, its names in byte order.
    Directory(BTreeMap<Box<[u8]>, InodeId>),
    /// A regular file.
    File(Arc<dyn Source>),
    /// A symbolic link and its target: 1 to [`PATH_MAX`]−1 bytes, no NUL.
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
    /// Returns the type bits of `st_mode` (`S_IFDIR` and so on).
    pub fn mode_bits(&self) -> u16 {
        match self {
            Kind::Fifo => 0o010000,
            Kind::CharacterDevice { .. } => 0o020000,
            Kind::Directory(_) => 0o040000,
            Kind::BlockDevice { .. } => 0o060000,
            Kind::File(_) => 0o100000,
            Kind::Symlink(_) => 0o120000,
            Kind::Socket => 0o140000,
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Directory(entries) => write!(f, "Directory({} names)", entries.len()),
            Kind::File(source) => write!(f, "File({} bytes)", source.size_bytes()),
            Kind::Symlink(target) => write!(f, "Symlink({})", String::from_utf8_lossy(target)),
            Kind::CharacterDevice { major, minor } => write!(f, "CharacterDevice({major}:{minor})"),
            Kind::BlockDevice { major, minor } => write!(f, "BlockDevice({major}:{minor})"),
            Kind::Fifo => write!(f, "Fifo"),
            Kind::Socket => write!(f, "Socket"),
        }
    }
}

/// One inode: what it is, and what is said about it.
#[derive(Clone, Debug)]
pub struct Inode {
    /// What it is, with its content.
    pub kind: Kind,
    /// Owner, mode, time, attributes.
    pub metadata: Metadata,
}

/// Why a path could not be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeError {
    /// The path as it was given.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for TreeError {}

/// A file tree; its root is always a directory.
///
/// Paths are bytes, absolute or relative to the root alike. `.` and empty components are ignored; `..` is refused, so
/// no path can name anything outside. A symbolic link in the middle of a path is followed *within the tree*, as
/// `chroot` would, which is how `/bin/ls` lands in `/usr/bin` when `/bin` is a link.
#[derive(Clone, Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
}

impl Tree {
    /// The root directory.
    pub const ROOT: InodeId = InodeId(0);

    /// Returns an empty tree whose root directory has this metadata.
    pub fn new(root: Metadata) -> Self {
        Tree { inodes: vec![Inode { kind: Kind::Directory(BTreeMap::new()), metadata: root }] }
    }

    /// Returns an inode.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    /// Returns the inode at a position in the arena, if there is one.
    pub(crate) fn by_index(&self, index: u64) -> Option<&Inode> {
        self.inodes.get(usize::try_from(index).ok()?)
    }

    /// Returns an inode's metadata, to change.
    pub fn metadata_mut(&mut self, id: InodeId) -> &mut Metadata {
        &mut self.inodes[id.index()].metadata
    }

    /// Returns the size of the arena: every [`InodeId::index`] is below. Some inodes may no longer have a name.
    pub fn arena_len(&self) -> usize {
        self.inodes.len()
    }

    /// Returns a directory's names and inodes, in byte order; nothing if it is no directory.
    pub fn entries(&self, id: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
        let entries = match &self.inode(id).kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        };
        entries.into_iter().flatten().map(|(name, &id)| (&**name, id))
    }

    /// Visits every name depth first, parents before children, siblings in byte order; the root comes first, as `""`.
    /// Paths have no leading slash. An inode with several names is visited once for each.
    pub fn walk(&self, mut visit: impl FnMut(&[u8], InodeId)) {
        let mut path = Vec::new();
        self.walk_from(Self::ROOT, &mut path, &mut visit);
    }

    fn walk_from(&self, start: InodeId, path: &mut Vec<u8>, visit: &mut impl FnMut(&[u8], InodeId)) {
        // An explicit stack: the depth of a hostile archive's folders must not be the depth of ours.
        let mut stack = vec![(start, path.len(), None::<&[u8]>)];
        while let Some((id, parent_length, name)) = stack.pop() {
            path.truncate(parent_length);
            if let Some(name) = name {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
            }
            visit(path, id);
            if let Kind::Directory(entries) = &self.inode(id).kind {
                let length = path.len();
                stack.extend(entries.iter().rev().map(|(name, &id)| (id, length, Some(&**name))));
            }
        }
    }

    /// Returns the inode at `path`; a link in last place is followed only if `follow` says so.
    pub fn lookup(&self, path: &[u8], follow: bool) -> Option<InodeId> {
        Place::default().resolve(self, components(path), follow).map(|place| place.at)
    }

    /// Puts a new inode at `path`, making missing parents (root's, 0755, with the inode's own time).
    ///
    /// What was there is replaced, except that a directory put on a directory (or on a link to one) keeps its names
    /// and takes the new metadata. Anything else put on a directory is an error, as it is for `tar` and `dpkg`.
    pub fn insert(&mut self, path: &[u8], kind: Kind, metadata: Metadata) -> Result<InodeId, TreeError> {
        let Some((parent, name)) = self.parent_of(path, metadata.mtime)? else {
            return match kind {
                Kind::Directory(_) => {
                    self.inodes[0].metadata = metadata;
                    Ok(Self::ROOT)
                }
                _ => Err(error(path, "the root can only be a directory")),
            };
        };
        if let Kind::Symlink(target) = &kind
            && (target.is_empty() || target.len() >= PATH_MAX || target.contains(&0))
        {
            return Err(error(path, "a symbolic link's target needs 1 to 4095 bytes and no NUL"));
        }
        if let Some(old) = self.child(parent, name) {
            let directory = if matches!(kind, Kind::Directory(_)) { self.lookup(path, true) } else { Some(old) }
                .filter(|&id| matches!(self.inode(id).kind, Kind::Directory(_)));
            match (directory, &kind) {
                (Some(id), Kind::Directory(_)) => {
                    self.inodes[id.index()].metadata = metadata;
                    return Ok(id);
                }
                (Some(_), _) => return Err(error(path, "is a directory already")),
                (None, _) => {}
            }
        }
        let kind = match kind {
            Kind::Directory(_) => Kind::Directory(BTreeMap::new()),
            other => other,
        };
        let id = self.push(path, kind, metadata)?;
        self.set_child(parent, name.into(), id);
        Ok(id)
    }

    /// Gives the inode at `existing` a second name, as `link(2)` does; the last link of `existing` is not followed.
    pub fn link(&mut self, existing: &[u8], path: &[u8]) -> Result<InodeId, TreeError> {
        let id = self
            .lookup(existing, false)
            .ok_or_else(|| error(existing, "a hard link names it, but nothing of that name came before"))?;
        if matches!(self.inode(id).kind, Kind::Directory(_)) {
            return Err(error(existing, "a directory cannot have a second name"));
        }
        let mtime = self.inode(id).metadata.mtime;
        let Some((parent, name)) = self.parent_of(path, mtime)? else {
            return Err(error(path, "the root can only be a directory"));
        };
        if let Some(old) = self.child(parent, name)
            && matches!(self.inode(old).kind, Kind::Directory(_))
        {
            return Err(error(path, "is a directory already"));
        }
        self.set_child(parent, name.into(), id);
        Ok(id)
    }

    /// Takes a name, and everything below it, out of the tree; says whether it was there.
    pub fn remove(&mut self, path: &[u8]) -> bool {
        let mut names: Vec<&[u8]> = components(path).collect();
        let Some(last) = names.pop() else { return false };
        let Some(parent) = self.lookup(&names.join(&b'/'), true) else { return false };
        match &mut self.inodes[parent.index()].kind {
            Kind::Directory(entries) => entries.remove(last).is_some(),
            _ => false,
        }
    }

    /// Finds the directory a path's last name belongs in, making what is missing; `None` for the root itself.
    fn parent_of<'a>(&mut self, path: &'a [u8], mtime: Timestamp) -> Result<Option<(InodeId, &'a [u8])>, TreeError> {
        if path.contains(&0) {
            return Err(error(path, "a path cannot hold a NUL byte"));
        }
        if components(path).any(|name| name == b"..") {
            return Err(error(path, "leads out of its folder with `..`"));
        }
        if components(path).any(|name| name.len() > NAME_MAX) {
            return Err(error(path, "has a name of more than 255 bytes"));
        }
        let mut names = components(path);
        let Some(last) = names.next_back() else { return Ok(None) };
        let mut place = Place::default();
        for name in names {
            match self.child(place.at, name) {
                None => {
                    let id = self.push(path, Kind::Directory(BTreeMap::new()), Metadata::root(0o755, mtime))?;
                    self.set_child(place.at, name.into(), id);
                    place.enter(id);
                }
                Some(id) if matches!(self.inode(id).kind, Kind::Directory(_)) => place.enter(id),
                Some(_) => {
                    place = place
                        .resolve(self, std::iter::once(name), true)
                        .ok_or_else(|| error(path, "passes through a symbolic link that leads nowhere"))?;
                    if !matches!(self.inode(place.at).kind, Kind::Directory(_)) {
                        return Err(error(path, "passes through something that is no directory"));
                    }
                }
            }
        }
        Ok(Some((place.at, last)))
    }

    /// Puts an inode, still without a name, into the arena.
    fn push(&mut self, path: &[u8], kind: Kind, metadata: Metadata) -> Result<InodeId, TreeError> {
        let id = InodeId(u32::try_from(self.inodes.len()).map_err(|_| error(path, "too many files for one tree"))?);
        self.inodes.push(Inode { kind, metadata });
        Ok(id)
    }

    fn child(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        match &self.inode(directory).kind {
            Kind::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    fn set_child(&mut self, directory: InodeId, name: Box<[u8]>, id: InodeId) {
        match &mut self.inodes[directory.index()].kind {
            Kind::Directory(entries) => entries.insert(name, id),
            _ => unreachable!("parent_of and the root are directories"),
        };
    }
}

/// Where a walk through the tree stands.
struct Place {
    at: InodeId,
    /// Where each open folder was entered from, for the `..` of link targets.
    parents: Vec<InodeId>,
    /// How many links were followed.
    links: usize,
}

impl Default for Place {
    fn default() -> Self {
        Place { at: Tree::ROOT, parents: Vec::new(), links: 0 }
    }
}

impl Place {
    fn enter(&mut self, id: InodeId) {
        self.parents.push(self.at);
        self.at = id;
    }

    /// Goes down these names; a link in last place is followed only if `follow` says so.
    fn resolve<'a>(
        mut self,
        tree: &'a Tree,
        names: impl DoubleEndedIterator<Item = &'a [u8]>,
        follow: bool,
    ) -> Option<Self> {
        // The components still to come, last first.
        let mut todo: Vec<&[u8]> = names.rev().collect();
        while let Some(name) = todo.pop() {
            if name == b".." {
                self.at = self.parents.pop().unwrap_or(Tree::ROOT);
                continue;
            }
            let next = tree.child(self.at, name)?;
            match &tree.inode(next).kind {
                Kind::Symlink(target) if follow || !todo.is_empty() => {
                    self.links += 1;
                    if self.links > SYMLINKS_MAX {
                        return None;
                    }
                    if target.first() == Some(&b'/') {
                        self.at = Tree::ROOT;
                        self.parents.clear();
                    }
                    todo.extend(components(target).rev());
                }
                _ => self.enter(next),
            }
        }
        Some(self)
    }
}

/// Splits a path into its names, leaving out empty ones and `.`.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

fn error(path: &[u8], reason: &'static str) -> TreeError {
    TreeError { path: String::from_utf8_lossy(path).into_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::new(Metadata::root(0o755, Timestamp::default()))
    }

    fn file(text: &str) -> Kind {
        Kind::File(Arc::new(text.as_bytes().to_vec()))
    }

    fn directory() -> Kind {
        Kind::Directory(BTreeMap::new())
    }

    fn paths(tree: &Tree) -> Vec<String> {
        let mut paths = Vec::new();
        tree.walk(|path, _| paths.push(String::from_utf8_lossy(path).into_owned()));
        paths
    }

    #[test]
    fn a_merged_usr_link_is_followed_inside_the_tree() {
        let mut tree = tree();
        tree.insert(b"usr/bin", directory(), Metadata::default()).unwrap();
        tree.insert(b"/bin", Kind::Symlink((*b"usr/bin").into()), Metadata::default()).unwrap();
        tree.insert(b"./bin/ls", file("ls"), Metadata::default()).unwrap();
        tree.insert(b"bin/", directory(), Metadata::root(0o700, Timestamp::default())).unwrap();
        assert_eq!(paths(&tree), ["", "bin", "usr", "usr/bin", "usr/bin/ls"]);
        assert_eq!(tree.inode(tree.lookup(b"usr/bin", false).unwrap()).metadata.mode, 0o700);
    }

    #[test]
    fn nothing_leaves_the_tree() {
        let mut tree = tree();
        let refused = tree.insert(b"a/../../etc/passwd", file(""), Metadata::default()).unwrap_err();
        assert_eq!(refused.to_string(), "a/../../etc/passwd: leads out of its folder with `..`");
        tree.insert(b"out", Kind::Symlink((*b"../../..").into()), Metadata::default()).unwrap();
        tree.insert(b"out/etc", file("inside"), Metadata::default()).unwrap();
        assert_eq!(paths(&tree), ["", "etc", "out"]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let mut tree = tree();
        tree.insert(b"a", Kind::Symlink((*b"b").into()), Metadata::default()).unwrap();
        tree.insert(b"b", Kind::Symlink((*b"a").into()), Metadata::default()).unwrap();
        assert_eq!(tree.lookup(b"a", true), None);
        assert!(tree.insert(b"a/x", file(""), Metadata::default()).is_err());
    }

    #[test]
    fn a_hard_link_is_a_second_name() {
        let mut tree = tree();
        let id = tree.insert(b"a", file("x"), Metadata::default()).unwrap();
        assert_eq!(tree.link(b"a", b"deep/b").unwrap(), id);
        assert!(tree.link(b"missing", b"c").is_err());
        assert!(tree.link(b"deep", b"c").is_err());
        assert!(tree.remove(b"a"));
        assert!(!tree.remove(b"a"));
        assert_eq!(tree.lookup(b"deep/b", false), Some(id));
    }

    #[test]
    fn a_link_target_climbs_from_where_the_link_stands() {
        let mut tree = tree();
        tree.insert(b"usr/lib/real/x", file("x"), Metadata::default()).unwrap();
        tree.insert(b"usr/lib/alias", Kind::Symlink((*b"../lib/real").into()), Metadata::default()).unwrap();
        tree.insert(b"top", Kind::Symlink((*b"/usr/lib/alias").into()), Metadata::default()).unwrap();
        let id = tree.insert(b"top/deep/y", file("y"), Metadata::default()).unwrap();
        assert_eq!(tree.lookup(b"usr/lib/real/deep/y", false), Some(id));
        assert!(tree.insert(b"top/x/y", file(""), Metadata::default()).unwrap_err().reason.contains("no directory"));
        tree.insert(b"gone", Kind::Symlink((*b"nowhere").into()), Metadata::default()).unwrap();
        assert!(tree.insert(b"gone/y", file(""), Metadata::default()).unwrap_err().reason.contains("leads nowhere"));
    }

    #[test]
    fn a_deep_tree_is_built_in_linear_time() {
        let mut tree = tree();
        let path = "d/".repeat(20_000) + "leaf";
        let id = tree.insert(path.as_bytes(), file(""), Metadata::default()).unwrap();
        assert_eq!(tree.lookup(path.as_bytes(), false), Some(id));
    }

    #[test]
    fn a_file_never_replaces_a_directory_silently() {
        let mut tree = tree();
        tree.insert(b"d/x", file("x"), Metadata::default()).unwrap();
        assert_eq!(tree.insert(b"d", file(""), Metadata::default()).unwrap_err().reason, "is a directory already");
        tree.insert(b"d/x", file("longer"), Metadata::default()).unwrap();
        assert!(matches!(&tree.inode(tree.lookup(b"d/x", false).unwrap()).kind, Kind::File(s) if s.size_bytes() == 6));
    }
}
