//! How sources reach the compiler, which reads no file of its own.

use std::collections::BTreeMap;
use std::fmt;

/// Why a file could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// There is no such file; the search goes on in the next folder.
    NotFound,
    /// There is one, but reading it failed; the text says how.
    Failed(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::NotFound => f.write_str("no such file"),
            LoadError::Failed(reason) => f.write_str(reason),
        }
    }
}

/// Gives the content of files. Paths are those of the sources, joined with `/`; what they mean is the loader's
/// business.
pub trait Loader {
    /// Returns the content of the file at `path`.
    fn load(&self, path: &str) -> Result<Vec<u8>, LoadError>;
}

/// Files in memory, by path.
#[derive(Debug, Clone, Default)]
pub struct MemoryLoader {
    files: BTreeMap<String, Vec<u8>>,
}

impl MemoryLoader {
    /// Returns a loader without files.
    pub fn new() -> MemoryLoader {
        MemoryLoader::default()
    }

    /// Adds or replaces a file.
    pub fn with(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> MemoryLoader {
        self.files.insert(path.into(), content.into());
        self
    }
}

impl Loader for MemoryLoader {
    fn load(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        self.files.get(path).cloned().ok_or(LoadError::NotFound)
    }
}

/// Asks `first`, then `second` for what `first` does not have.
pub struct Either<'a>(pub &'a dyn Loader, pub &'a dyn Loader);

impl Loader for Either<'_> {
    fn load(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        match self.0.load(path) {
            Err(LoadError::NotFound) => self.1.load(path),
            result => result,
        }
    }
}

/// Joins a folder and a path relative to it.
pub(crate) fn join(folder: &str, path: &str) -> String {
    if folder.is_empty() || path.starts_with('/') {
        return path.into();
    }
    format!("{}/{path}", folder.trim_end_matches('/'))
}

/// Returns the folder a file lies in: all before the last `/`; empty for a bare name.
pub(crate) fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => "",
    }
}
