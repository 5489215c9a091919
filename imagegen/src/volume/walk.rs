//! A walk through a volume, depth first, a folder before what is in it, names in byte order.

use std::collections::HashSet;
use std::fmt;
use std::vec::IntoIter;

use super::{Entry, Names, Node, NodeId, Volume, VolumeError, corrupt, show};

/// The longest path that is walked to, in bytes: sixteen times what the kernel takes.
const PATH_BYTES_MAX: usize = 64 << 10;

/// A file that a walk has come to.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its path from where the walk began, without leading slash; empty for that itself.
    pub path: Vec<u8>,
    /// How many folders of the walk it lies in.
    pub depth: usize,
    /// Its number.
    pub id: NodeId,
    /// What it is.
    pub node: Node,
}

/// Something that a walk cannot show. It can go on.
#[derive(Clone, Debug)]
pub struct WalkError {
    /// Its path, as a step has it.
    pub path: Vec<u8>,
    /// What is wrong.
    pub error: VolumeError,
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}: {}", show(&self.path), self.error)
    }
}

impl std::error::Error for WalkError {}

/// The walk: each step is a file, or an error about one. A folder that contains itself is an error, since it is come to
/// twice.
pub struct Walk<'a> {
    volume: &'a dyn Volume,
    /// The folders on the way: the names still to come, and the length of the path to each.
    stack: Vec<(IntoIter<Entry>, usize)>,
    path: Vec<u8>,
    /// What comes next, if that is no name of the innermost folder.
    next: Next,
    seen: HashSet<NodeId>,
    /// What is still to be said of the folder that was entered last.
    refused: IntoIter<VolumeError>,
}

enum Next {
    Start(NodeId),
    Enter(NodeId),
    Name,
}

impl<'a> Walk<'a> {
    /// Begins a walk at a file or folder.
    pub fn new(volume: &'a dyn Volume, start: NodeId) -> Self {
        Walk {
            volume,
            stack: Vec::new(),
            path: Vec::new(),
            next: Next::Start(start),
            seen: HashSet::new(),
            refused: Vec::new().into_iter(),
        }
    }

    /// Does not go into the folder that the last step was.
    pub fn skip_folder(&mut self) {
        self.next = Next::Name;
    }

    /// Notes a folder, and prepares to enter it.
    fn step(&mut self, id: NodeId) -> Result<Step, VolumeError> {
        let node = self.volume.node(id)?;
        if node.kind.is_directory() {
            if !self.seen.insert(self.volume.folder_number(id)) {
                return corrupt("the folder", "is in itself, or in two folders");
            }
            self.next = Next::Enter(id);
        }
        Ok(Step { path: self.path.clone(), depth: self.stack.len(), id, node })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Step, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        let fail = |path: &[u8], error| Some(Err(WalkError { path: path.to_vec(), error }));
        match std::mem::replace(&mut self.next, Next::Name) {
            Next::Start(id) => {
                return match self.step(id) {
                    Ok(step) => Some(Ok(step)),
                    Err(error) => fail(&self.path, error),
                };
            }
            Next::Enter(id) => match self.volume.entries(id) {
                Ok(Names { entries, refused }) => {
                    self.stack.push((entries.into_iter(), self.path.len()));
                    self.refused = refused.into_iter();
                }
                Err(error) => return fail(&self.path, error),
            },
            Next::Name => {}
        }
        if let Some(error) = self.refused.next() {
            return fail(&self.path, error);
        }
        let Entry { name, id } = loop {
            let (names, length) = self.stack.last_mut()?;
            self.path.truncate(*length);
            match names.next() {
                Some(entry) => break entry,
                None => self.stack.pop(),
            };
        };
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&name);
        if self.path.len() > PATH_BYTES_MAX {
            let error = VolumeError::Unsupported("lies too deep".into());
            return fail(&self.path, error);
        }
        match self.step(id) {
            Ok(step) => Some(Ok(step)),
            Err(error) => fail(&self.path, error),
        }
    }
}
