//! Unified diffs, applied to a file tree as GNU patch does: where a hunk has moved its offset is found, and up to a
//! given fuzz its outer context may differ.
//!
//! Source: POSIX.1-2017 `diff -u` and `patch`; GNU diffutils manual 2.2.2; git's extended headers (`git help diff`).

use std::fmt;
use std::sync::Arc;

use crate::tree::{Kind, Metadata, Tree};

mod apply;
mod parse;

pub use parse::{FilePatch, Hunk, Line, Patch};

/// The largest file that is patched, in bytes.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// How a patch is applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// How many leading names are cut from each path: 1 for `a/` and `b/`.
    pub strip: usize,
    /// How many outer lines of context may differ: 0 for Debian's series (dpkg-source(1)), 2 as `patch` does by itself.
    pub fuzz: usize,
}

/// Why a patch could not be read or applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PatchError {
    /// The file that was to be changed.
    pub file: Option<String>,
    /// The hunk, counted from 1.
    pub hunk: Option<usize>,
    /// The line of the patch, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some(hunk) = self.hunk {
            write!(f, "hunk {hunk} ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for PatchError {}

/// A hunk that did not go where, or as, it said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The file.
    pub file: String,
    /// The hunk, counted from 1.
    pub hunk: usize,
    /// How many lines further down it went.
    pub offset: i64,
    /// How many outer lines of context were passed over.
    pub fuzz: usize,
}

/// Applies a whole patch; returns which hunks moved. After an error the tree holds what came before.
///
/// # Errors
/// With file, hunk and line: what cannot be found in the tree, or is there already.
pub fn apply(tree: &mut Tree, patch: &Patch, options: &Options) -> Result<Vec<Moved>, PatchError> {
    let mut moved = Vec::new();
    for file in &patch.files {
        one_file(tree, file, options, &mut moved)?;
    }
    Ok(moved)
}

fn one_file(tree: &mut Tree, file: &FilePatch, options: &Options, moved: &mut Vec<Moved>) -> Result<(), PatchError> {
    let cut = |name: &Option<Vec<u8>>| match name {
        None => Ok(None),
        Some(name) => strip(name, options.strip).map(Some).ok_or_else(|| PatchError {
            file: Some(String::from_utf8_lossy(name).into_owned()),
            hunk: None,
            line: file.line,
            reason: format!("has fewer than {} names to cut", options.strip),
        }),
    };
    let (old, new) = (cut(&file.old)?, cut(&file.new)?);
    let is_file = |tree: &Tree, path: &[u8]| tree.lookup(path, true).is_some();
    let (source, target) = match (&old, &new) {
        (Some(old), Some(new)) if file.renames || file.copies => (Some(old), Some(new)),
        // `file.orig` and `file`: the one that is there.
        (Some(old), Some(new)) => {
            let one = if is_file(tree, new) || !is_file(tree, old) { new } else { old };
            (Some(one), Some(one))
        }
        (None, Some(new)) => (None, Some(new)),
        (Some(old), None) => (Some(old), None),
        (None, None) => (None, None),
    };
    let Some(name) = target.or(source) else {
        return Err(PatchError { file: None, hunk: None, line: file.line, reason: "names no file".into() });
    };
    let shown = String::from_utf8_lossy(name).into_owned();
    let fail = |reason: String| PatchError { file: Some(shown.clone()), hunk: None, line: file.line, reason };
    let (text, metadata) = match source {
        Some(source) => read(tree, source).map_err(&fail)?,
        None => match tree.lookup(name, true) {
            None => (Vec::new(), Metadata::root(0o644, tree.inode(Tree::ROOT).metadata.mtime)),
            // An empty file is as good as none.
            Some(_) => match read(tree, name).map_err(&fail)? {
                (text, metadata) if text.is_empty() => (text, metadata),
                _ => return Err(fail("is there already, but the patch makes it".into())),
            },
        },
    };
    let text = apply::hunks(&text, &file.hunks, options.fuzz, &shown, moved)?;
    match target {
        Some(target) => {
            let mode = file.mode.unwrap_or(metadata.mode);
            let kind = Kind::File(Arc::new(text));
            tree.insert(target, kind, Metadata { mode, ..metadata }).map_err(|error| fail(error.to_string()))?;
            if let Some(source) = source
                && file.renames
                && source != target
            {
                tree.remove(source);
            }
        }
        None if text.is_empty() => {
            tree.remove(name);
        }
        None => return Err(fail("is to be removed, but holds more than the patch says".into())),
    }
    Ok(())
}

/// Reads a regular file of the tree.
fn read(tree: &Tree, path: &[u8]) -> Result<(Vec<u8>, Metadata), String> {
    let Some(id) = tree.lookup(path, true) else { return Err("is not there".into()) };
    let inode = tree.inode(id);
    let Kind::File(source) = &inode.kind else { return Err("is no regular file".into()) };
    if source.size_bytes() > FILE_MAX_BYTES {
        return Err(format!("is larger than the {FILE_MAX_BYTES} bytes that can be patched"));
    }
    let mut text = vec![0; source.size_bytes() as usize];
    source.read_at(0, &mut text).map_err(|error| format!("cannot be read: {error}"))?;
    Ok((text, inode.metadata.clone()))
}

/// Cuts leading names; none if there would be nothing left.
fn strip(name: &[u8], count: usize) -> Option<Vec<u8>> {
    let names: Vec<&[u8]> = name.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    (names.len() > count).then(|| names[count..].join(&b'/'))
}
