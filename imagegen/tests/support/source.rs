//! What tests of archives begin with: an empty tree, bytes as an open file, a folder of the host as a tree.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use imagegen::archive::ReadOptions;
use imagegen::archive::folder::{self, Keep};
use imagegen::tree::{Metadata, Timestamp, Tree};

/// Returns a tree of a root alone.
pub fn empty() -> Tree {
    Tree::new(Metadata::root(0o755, Timestamp::default()))
}

/// Returns an open file without a name that holds these bytes.
pub fn file(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

/// Reads a folder with everything that is known of it; `owner` may take its place.
pub fn folder_tree(path: &Path, owner: Option<(u32, u32)>) -> Tree {
    let mut tree = empty();
    folder::read_into(&mut tree, path, &ReadOptions { owner, ..ReadOptions::default() }, Keep::Everything).unwrap();
    tree
}
