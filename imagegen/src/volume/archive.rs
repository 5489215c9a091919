//! Archives, and folders of the host, as volumes: a [`Tree`] that was read before.

use super::{Entry, Kind, Names, Node, NodeId, Result, Volume, VolumeError, corrupt, show};
use crate::tree::{Kind as TreeKind, Tree};

/// A tree as a volume.
pub struct Archive {
    format: &'static str,
    tree: Tree,
    /// How many names each inode has.
    links: Vec<u32>,
}

impl Archive {
    /// Takes a tree; `format` is what it was read from.
    pub fn new(format: &'static str, tree: Tree) -> Self {
        let mut links = vec![0; tree.arena_len()];
        tree.walk(|_, id| links[id.index()] += 1);
        Archive { format, tree, links }
    }
}

impl Volume for Archive {
    fn format(&self) -> &'static str {
        self.format
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("format", self.format.into())]
    }

    fn unit(&self) -> (u64, &'static str) {
        (512, "block")
    }

    fn root(&self) -> NodeId {
        NodeId(Tree::ROOT.index() as u64)
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        let Some(inode) = self.tree.by_index(id.0) else { return corrupt(format!("file {}", id.0), "does not exist") };
        let (mut size_bytes, mut allocated_bytes) = (0, 0);
        let mut links = self.links[id.0 as usize];
        let kind = match &inode.kind {
            TreeKind::Directory(names) => {
                let folder = |id| matches!(self.tree.inode(id).kind, TreeKind::Directory(_));
                links = 2 + names.values().filter(|&&id| folder(id)).count() as u32;
                Kind::Directory
            }
            TreeKind::File(source) => {
                size_bytes = source.size_bytes();
                allocated_bytes = source.extents().iter().map(|extent| extent.length).sum();
                Kind::File(source.clone())
            }
            TreeKind::Symlink(target) => {
                size_bytes = target.len() as u64;
                Kind::Symlink(target.clone())
            }
            &TreeKind::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
            &TreeKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            TreeKind::Fifo => Kind::Fifo,
            TreeKind::Socket => Kind::Socket,
        };
        let metadata = inode.metadata.clone();
        Ok(Node { kind, metadata, size_bytes, allocated_bytes, links, flags: String::new() })
    }

    fn entries(&self, directory: NodeId) -> Result<Names> {
        match self.tree.by_index(directory.0).map(|inode| &inode.kind) {
            Some(TreeKind::Directory(names)) => {
                let entries = names.iter().map(|(name, id)| (name.clone(), NodeId(id.index() as u64)));
                let entries = entries.map(|(name, id)| Entry { name, id }).collect();
                Ok(Names { entries, refused: Vec::new() })
            }
            _ => Err(VolumeError::Path { path: format!("file {}", directory.0), reason: "is no folder" }),
        }
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        match self.tree.by_index(directory.0).map(|inode| &inode.kind) {
            Some(TreeKind::Directory(names)) => Ok(names.get(name).map(|id| NodeId(id.index() as u64))),
            _ => Err(VolumeError::Path { path: show(name), reason: "is in no folder" }),
        }
    }
}
