//! Tar archives: v7, ustar, PAX and GNU, indexed where they lie; and written as PAX.
//!
//! Sources: POSIX.1-2017 `pax` (ustar and pax interchange formats), GNU tar's manual ("Basic Tar Format", "Storing
//! Sparse Files"). Owners are taken by number; names of users and groups mean nothing on another system.

mod header;
mod pax;
mod scan;
mod sparse;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

pub use write::{WriteOptions, WriteSummary, write};

use super::slice::{FileSlice, Segment, SparseSlice};
use super::{ArchiveError, Problem, ReadOptions, Summary, clean_name};
use crate::tree::{Inode, Kind, Metadata, Tree};
use scan::{Content, Member, Members};

/// Bytes that can be read from any position: an open file, or memory.
pub(crate) trait ReadAt {
    /// Reads some bytes from `position` on; 0 only at the end.
    fn read_some_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_some_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_at(buffer, position)
    }
}

impl ReadAt for [u8] {
    fn read_some_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(position).ok().and_then(|start| self.get(start..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// Puts the members of an uncompressed tar file into a tree. Content stays in `file`.
///
/// Later members replace earlier ones of the same name. Names are made relative, as `tar` does. Symbolic links may
/// point anywhere: following them never leaves the tree.
///
/// # Errors
/// Names the member and its offset: a broken or truncated archive, a name with `..`, a hard link to what did not come
/// before it, a file in place of a folder. The tree then holds the members before it.
pub fn read_into(tree: &mut Tree, file: &Arc<File>, options: &ReadOptions) -> Result<Summary, ArchiveError> {
    let length = file.metadata().map_err(|error| ArchiveError::new(None, 0, Problem::Io(error)))?.len();
    read_range_into(tree, file, 0, length, options)
}

/// Does what [`read_into`] does for an archive that is only a part of a file.
pub fn read_range_into(
    tree: &mut Tree,
    file: &Arc<File>,
    start: u64,
    length: u64,
    options: &ReadOptions,
) -> Result<Summary, ArchiveError> {
    let mut members = Members::new(&**file, start, length);
    let mut placing = Placing { tree, file, options, skipped: HashMap::new(), summary: Summary::default() };
    let mut ignored = BTreeSet::new();
    while let Some(member) = members.next()? {
        let (name, offset) = (member.name.clone(), member.offset);
        placing.member(member, &mut ignored).map_err(|problem| ArchiveError::new(Some(&name), offset, problem))?;
    }
    let mut summary = placing.summary;
    summary.ignored = ignored.into_iter().collect();
    summary.end = members.position();
    Ok(summary)
}

/// Finds one member by its path, following symbolic links and hard links within the archive.
///
/// # Errors
/// As [`read_into`]: the whole archive is read, since the last member of a name counts.
pub fn member(file: &Arc<File>, path: &[u8]) -> Result<Option<Inode>, ArchiveError> {
    let mut tree = Tree::new(Metadata::default());
    read_into(&mut tree, file, &ReadOptions::default())?;
    Ok(tree.lookup(path, true).map(|id| tree.inode(id).clone()))
}

/// Returns the content of small regular files of a tar archive in memory, by cleaned name. Other members are left out.
pub(crate) fn small_files(bytes: &[u8]) -> Result<HashMap<Vec<u8>, Vec<u8>>, ArchiveError> {
    let mut members = Members::new(bytes, 0, bytes.len() as u64);
    let mut files = HashMap::new();
    while let Some(member) = members.next()? {
        if let Content::File { position, size } = member.content {
            let name = clean_name(&member.name)
                .map_err(|problem| ArchiveError::new(Some(&member.name), member.offset, problem))?;
            // The scan has checked that all of the content is there.
            files.insert(name, bytes[position as usize..(position + size) as usize].to_vec());
        }
    }
    Ok(files)
}

/// What becomes of members: the tree so far, and what was left out but may be needed.
struct Placing<'a> {
    tree: &'a mut Tree,
    file: &'a Arc<File>,
    options: &'a ReadOptions,
    /// Members left out, by cleaned name: a later hard link may need the file, a later file the folder's metadata.
    skipped: HashMap<Vec<u8>, Skipped>,
    summary: Summary,
}

enum Skipped {
    Inode(Kind, Metadata),
    /// Taken in after all, under this path.
    Placed(Vec<u8>),
}

impl Placing<'_> {
    fn member(&mut self, member: Member, ignored: &mut BTreeSet<String>) -> Result<(), Problem> {
        let name = clean_name(&member.name)?;
        let mut metadata = member.metadata;
        if let Some((uid, gid)) = self.options.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        let Some(path) = self.options.place(&name).filter(|_| self.options.selects(&name)) else {
            self.summary.left_out += 1;
            if let Some(kind) = self.kind_of(&member.content) {
                self.skipped.insert(name, Skipped::Inode(kind, metadata));
            }
            return Ok(());
        };
        self.restore_folders(&name)?;
        match (&member.content, self.kind_of(&member.content)) {
            (Content::HardLink(target), _) => self.hard_link(target, &path)?,
            (_, Some(kind)) => {
                self.tree.insert(&path, kind, metadata).map_err(Problem::Path)?;
            }
            (_, None) => unreachable!("only a hard link is no kind of inode"),
        }
        self.summary.taken += 1;
        ignored.extend(member.ignored);
        Ok(())
    }

    fn kind_of(&self, content: &Content) -> Option<Kind> {
        Some(match content {
            Content::Directory => Kind::Directory(Default::default()),
            Content::File { size: 0, .. } => Kind::File(Arc::new(Vec::new())),
            Content::File { position, size } => {
                Kind::File(Arc::new(FileSlice::new(self.file.clone(), *position, *size)))
            }
            Content::Sparse { size, segments } => {
                let segments: Vec<Segment> = segments.clone();
                Kind::File(Arc::new(SparseSlice::new(self.file.clone(), *size, segments)))
            }
            Content::Symlink(target) => Kind::Symlink(target.as_slice().into()),
            &Content::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
            &Content::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            Content::Fifo => Kind::Fifo,
            Content::HardLink(_) => return None,
        })
    }

    /// Puts in the folders above `name` that were left out for themselves but are needed now.
    fn restore_folders(&mut self, name: &[u8]) -> Result<(), Problem> {
        if self.skipped.is_empty() {
            return Ok(());
        }
        let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in std::iter::once(0).chain(slashes) {
            let folder = &name[..end];
            if let Some(Skipped::Inode(Kind::Directory(_), _)) = self.skipped.get(folder)
                && let Some(path) = self.options.place(folder)
                && let Some(Skipped::Inode(kind, metadata)) = self.skipped.remove(folder)
            {
                self.tree.insert(&path, kind, metadata).map_err(Problem::Path)?;
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, target: &[u8], path: &[u8]) -> Result<(), Problem> {
        let target = clean_name(target)?;
        match self.skipped.get_mut(&target) {
            Some(Skipped::Placed(existing)) => {
                self.tree.link(existing, path).map_err(Problem::Path)?;
            }
            Some(skipped @ Skipped::Inode(..)) => {
                if let Skipped::Inode(kind, metadata) = std::mem::replace(skipped, Skipped::Placed(path.to_vec())) {
                    self.tree.insert(path, kind, metadata).map_err(Problem::Path)?;
                }
            }
            None => {
                let existing = self.options.place(&target).unwrap_or_default();
                self.tree.link(&existing, path).map_err(Problem::Path)?;
            }
        }
        Ok(())
    }
}
