//! Inode numbers: which inode of the tree gets which, how many links it has, and the entries of a directory.

use super::directory::Entry;
use super::error::PlanError;
use super::inode::{FIRST_INO, ROOT_INO};
use super::plan::path_of;
use super::version::Version;
use crate::tree::{InodeId, Kind, Tree};

/// The most names one inode may have (`EXT2_LINK_MAX`).
const LINKS_MAX: u32 = 65_000;
/// The most folders one folder may hold without `dir_nlink`: each is a link (`..`), and ext3 drivers allow 32,000.
const SUBDIRECTORIES_MAX: u32 = 31_998;
/// Where e2fsck puts what has lost its name.
pub(super) const LOST_AND_FOUND: &[u8] = b"lost+found";

/// One inode of the image that is not reserved, or the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The tree's inode; none for a `lost+found` that the tree does not have.
    pub id: Option<InodeId>,
    /// The inode of the first directory that names it.
    pub parent: u32,
    pub links: u32,
}

impl Node {
    /// Returns the link count as it is written: with `dir_nlink`, 1 stands for more than it can say.
    pub fn link_count(&self) -> u16 {
        if self.links > LINKS_MAX { 1 } else { self.links as u16 }
    }
}

/// All inodes of an image, in order: the root, `lost+found`, then the others folder by folder.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub nodes: Vec<Node>,
    /// By the tree's inode: its number, or 0 if no name leads to it.
    numbers: Vec<u32>,
}

impl Numbers {
    /// Numbers every inode that has a name.
    pub fn new(tree: &Tree, version: Version) -> Result<Self, PlanError> {
        let mut numbers =
            Numbers { nodes: Vec::with_capacity(tree.arena_len() + 1), numbers: vec![0; tree.arena_len()] };
        numbers.add(Some(Tree::ROOT), ROOT_INO, 2);
        let lost = tree.entries(Tree::ROOT).find(|(name, _)| *name == LOST_AND_FOUND).map(|(_, id)| id);
        if let Some(id) = lost
            && !matches!(tree.inode(id).kind, Kind::Directory(_))
        {
            return Err(file(tree, id, "must be a directory: e2fsck uses it".to_string()));
        }
        numbers.add(lost, ROOT_INO, 2);
        if lost.is_none() {
            numbers.nodes[0].links += 1;
        }
        let mut todo = vec![Tree::ROOT];
        while let Some(directory) = todo.pop() {
            let folders = numbers.add_entries(tree, directory, version)?;
            todo.extend(folders.into_iter().rev());
        }
        Ok(numbers)
    }

    fn add(&mut self, id: Option<InodeId>, parent: u32, links: u32) {
        let ino = number(self.nodes.len());
        if let Some(id) = id {
            self.numbers[id.index()] = ino;
        }
        self.nodes.push(Node { id, parent, links });
    }

    /// Numbers what a directory names for the first time, and returns the directories in it.
    fn add_entries(&mut self, tree: &Tree, directory: InodeId, version: Version) -> Result<Vec<InodeId>, PlanError> {
        let parent = self.numbers[directory.index()];
        let (mut folders, mut subdirectories) = (Vec::new(), 0);
        for (_, id) in tree.entries(directory) {
            let is_directory = matches!(tree.inode(id).kind, Kind::Directory(_));
            if is_directory {
                folders.push(id);
                subdirectories += 1;
            }
            match self.numbers[id.index()] {
                0 => self.add(Some(id), parent, if is_directory { 2 } else { 1 }),
                _ if is_directory => {}
                ino => self.nodes[index(ino)].links += 1,
            }
            let links = self.nodes[index(self.numbers[id.index()])].links;
            if links > LINKS_MAX && !is_directory {
                let reason = format!("has more than {LINKS_MAX} names (hard links), the most an inode can count");
                return Err(file(tree, id, reason));
            }
        }
        if subdirectories > SUBDIRECTORIES_MAX && !version.has_dir_nlink() {
            let name = version.name();
            let reason = format!("holds {subdirectories} folders; {name} allows {SUBDIRECTORIES_MAX} in one");
            return Err(file(tree, directory, reason));
        }
        self.nodes[index(parent)].links += subdirectories;
        Ok(folders)
    }

    /// Returns the highest inode number in use.
    pub fn last(&self) -> u32 {
        number(self.nodes.len() - 1)
    }

    /// Returns the entries of a directory, `.` and `..` left out.
    pub fn entries<'a>(&self, tree: &'a Tree, node: usize) -> Vec<Entry<'a>> {
        let entries = self.nodes[node].id.into_iter().flat_map(|id| tree.entries(id));
        let mut entries: Vec<Entry<'a>> = entries
            .map(|(name, id)| Entry { name, ino: self.numbers[id.index()], file_type: file_type(&tree.inode(id).kind) })
            .collect();
        if node == 0 && self.nodes[1].id.is_none() {
            let place = entries.partition_point(|entry| entry.name < LOST_AND_FOUND);
            entries.insert(place, Entry { name: LOST_AND_FOUND, ino: FIRST_INO, file_type: 2 });
        }
        entries
    }
}

/// Returns the inode number of the node at this place.
pub(super) fn number(node: usize) -> u32 {
    if node == 0 { ROOT_INO } else { FIRST_INO - 1 + node as u32 }
}

/// Returns the place of the node with this inode number: the inverse of [`number`].
pub(super) fn index(ino: u32) -> usize {
    if ino == ROOT_INO { 0 } else { (ino + 1 - FIRST_INO) as usize }
}

/// Returns an entry's type (`EXT2_FT_*`).
fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Directory(_) => 2,
        Kind::CharacterDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}

/// Returns the error about one file of the tree.
pub(super) fn file(tree: &Tree, id: InodeId, reason: String) -> PlanError {
    PlanError::File { path: path_of(tree, id), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Metadata, Timestamp};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn tree() -> Tree {
        Tree::new(Metadata::root(0o755, Timestamp::default()))
    }

    fn empty() -> Kind {
        Kind::File(Arc::new(Vec::new()))
    }

    #[test]
    fn a_folder_s_names_are_numbered_together() {
        let mut tree = tree();
        for path in ["b/x", "a/y", "c", "a/z/deep"] {
            tree.insert(path.as_bytes(), empty(), Metadata::default()).unwrap();
        }
        tree.link(b"c", b"a/again").unwrap();
        let numbers = Numbers::new(&tree, Version::Ext3).unwrap();
        let ino = |path: &str| numbers.numbers[tree.lookup(path.as_bytes(), false).unwrap().index()];
        let found: Vec<u32> = ["a", "b", "c", "a/y", "a/z", "a/z/deep", "b/x"].map(ino).into();
        assert_eq!(found, [12, 13, 14, 15, 16, 17, 18]);
        assert_eq!(numbers.last(), 18);
        assert_eq!(numbers.nodes[0].links, 2 + 3);
        assert_eq!(numbers.nodes[index(14)].links, 2);
        assert_eq!(numbers.nodes[index(16)].parent, 12);
        let root: Vec<&[u8]> = numbers.entries(&tree, 0).into_iter().map(|entry| entry.name).collect();
        assert_eq!(root, [&b"a"[..], b"b", b"c", b"lost+found"]);
    }

    #[test]
    fn the_tree_s_own_lost_and_found_is_used() {
        let mut tree = tree();
        let id = tree.insert(b"lost+found", Kind::Directory(BTreeMap::new()), Metadata::default()).unwrap();
        tree.insert(b"lost+found/x", empty(), Metadata::default()).unwrap();
        let numbers = Numbers::new(&tree, Version::Ext3).unwrap();
        assert_eq!((numbers.nodes[1].id, numbers.nodes[0].links, numbers.last()), (Some(id), 3, 12));
        tree.remove(b"lost+found");
        tree.insert(b"lost+found", empty(), Metadata::default()).unwrap();
        assert!(
            Numbers::new(&tree, Version::Ext3).unwrap_err().to_string().starts_with("lost+found: must be a directory")
        );
    }

    #[test]
    fn links_and_folders_have_their_limits() {
        let mut tree = tree();
        tree.insert(b"f", empty(), Metadata::default()).unwrap();
        for number in 1..65_000 {
            tree.link(b"f", format!("d/{number}").as_bytes()).unwrap();
        }
        assert!(Numbers::new(&tree, Version::Ext3).is_ok());
        tree.link(b"f", b"one-more").unwrap();
        let refused = Numbers::new(&tree, Version::Ext3).unwrap_err().to_string();
        assert!(refused.contains("more than 65000 names"), "{refused}");

        let mut tree = self::tree();
        for number in 0..31_998 {
            tree.insert(format!("d/{number}").as_bytes(), Kind::Directory(BTreeMap::new()), Metadata::default())
                .unwrap();
        }
        assert_eq!(Numbers::new(&tree, Version::Ext3).unwrap().nodes[2].links, 32_000);
        tree.insert(b"d/more", Kind::Directory(BTreeMap::new()), Metadata::default()).unwrap();
        assert_eq!(
            Numbers::new(&tree, Version::Ext3).unwrap_err().to_string(),
            "d: holds 31999 folders; ext3 allows 31998 in one"
        );
        assert_eq!(Numbers::new(&tree, Version::Ext4).unwrap().nodes[2].link_count(), 32_001);
        for number in 31_999..64_999 {
            tree.insert(format!("d/{number}").as_bytes(), Kind::Directory(BTreeMap::new()), Metadata::default())
                .unwrap();
        }
        let numbers = Numbers::new(&tree, Version::Ext4).unwrap();
        assert_eq!((numbers.nodes[2].links, numbers.nodes[2].link_count()), (65_001, 1));
    }
}
