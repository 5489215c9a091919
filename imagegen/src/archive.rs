//! Archives: read into a [`crate::tree::Tree`], or written from one.
//!
//! Readers index: they take an open file and leave the content where it is, as [`slice::FileSlice`]s of that file.

pub mod cpio;
pub mod deb;
pub mod filter;
pub mod folder;
pub mod holes;
pub mod slice;
pub mod tar;

use std::borrow::Cow;
use std::{fmt, io};

use crate::tree::TreeError;
use filter::Pattern;

/// The longest path a reader accepts, in bytes: `PATH_MAX` without its NUL.
pub(crate) const PATH_LENGTH_MAX: usize = crate::tree::PATH_MAX - 1;

/// What is wrong with an archive.
#[derive(Debug)]
pub enum Problem {
    /// The file could not be read or written.
    Io(io::Error),
    /// The archive ends before this is complete.
    Truncated(&'static str),
    /// The bytes break the format's rules.
    Malformed(Cow<'static, str>),
    /// The member's name cannot be put into a tree, or leads out of it.
    Path(TreeError),
    /// The format allows it, but it cannot be represented.
    Unsupported(Cow<'static, str>),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Io(error) => write!(f, "{error}"),
            Problem::Truncated(what) => write!(f, "the archive is truncated: it ends in {what}"),
            Problem::Malformed(reason) | Problem::Unsupported(reason) => write!(f, "{reason}"),
            Problem::Path(error) => write!(f, "{error}"),
        }
    }
}

/// Why an archive could not be read or written: which member, where, what. The caller knows the archive's name.
#[derive(Debug)]
pub struct ArchiveError {
    /// The member's name, if it got that far.
    pub member: Option<String>,
    /// Where the member starts, in bytes from the start of the (uncompressed) archive; nothing for a folder.
    pub offset: Option<u64>,
    /// What is wrong.
    pub problem: Problem,
}

impl ArchiveError {
    pub(crate) fn new(member: Option<&[u8]>, offset: impl Into<Option<u64>>, problem: Problem) -> Self {
        let member = member.map(|name| String::from_utf8_lossy(name).into_owned());
        ArchiveError { member, offset: offset.into(), problem }
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(member) = &self.member {
            write!(f, "member `{}`", member.escape_debug())?;
        }
        if let Some(offset) = self.offset {
            write!(f, "{}at byte {offset}", if self.member.is_some() { " " } else { "" })?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ArchiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            Problem::Path(error) => Some(error),
            _ => None,
        }
    }
}

/// Which members of an archive are taken, and where they go.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The folder of the tree that the archive's root becomes; empty means the tree's root.
    pub to: Vec<u8>,
    /// How many leading names are taken off each path (`.` does not count); members with no more names are skipped.
    pub strip: usize,
    /// What to take, by the name in the archive; empty means everything. Folders on the way keep their metadata.
    pub include: Vec<Pattern>,
    /// What to leave out, with everything below it; wins over `include`.
    pub exclude: Vec<Pattern>,
    /// The user and group that everything belongs to, whatever the archive says.
    pub owner: Option<(u32, u32)>,
}

impl ReadOptions {
    /// Says whether the member of this (cleaned) name is taken.
    fn selects(&self, name: &[u8]) -> bool {
        (self.include.is_empty() || self.include.iter().any(|pattern| pattern.covers(name)))
            && !self.exclude.iter().any(|pattern| pattern.covers(name))
    }

    /// Returns where a (cleaned) name goes in the tree, or nothing if stripping leaves nothing of it.
    fn place(&self, name: &[u8]) -> Option<Vec<u8>> {
        let mut rest = name;
        for _ in 0..self.strip {
            let slash = rest.iter().position(|&byte| byte == b'/')?;
            rest = &rest[slash + 1..];
        }
        if rest.is_empty() && self.strip > 0 {
            return None;
        }
        let slash: &[u8] = if self.to.is_empty() { b"" } else { b"/" };
        Some([&self.to, slash, rest].concat())
    }
}

/// What a reader took out of an archive.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Members put into the tree.
    pub taken: u64,
    /// Members that the options left out.
    pub left_out: u64,
    /// What was said of taken members that a tree cannot hold: PAX keywords, for example. Sorted, each once.
    pub ignored: Vec<String>,
    /// Where the archive ends, in bytes from the start of the file.
    pub end: u64,
}

/// Cleans a member's name: no leading slash, no `.`, no empty names.
///
/// # Errors
/// A `..`, a NUL, or more than `PATH_MAX` bytes.
fn clean_name(name: &[u8]) -> Result<Vec<u8>, Problem> {
    let refuse = |reason| {
        let path = String::from_utf8_lossy(&name[..name.len().min(PATH_LENGTH_MAX)]).into_owned();
        Err(Problem::Path(TreeError { path, reason }))
    };
    if name.len() > PATH_LENGTH_MAX {
        return refuse("has more than 4095 bytes");
    }
    if name.contains(&0) {
        return refuse("a path cannot hold a NUL byte");
    }
    let mut clean = Vec::with_capacity(name.len());
    for part in name.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return refuse("leads out of its folder with `..`");
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_relative_and_never_lead_out() {
        assert_eq!(clean_name(b"/./usr//bin/").unwrap(), b"usr/bin");
        assert_eq!(clean_name(b"./").unwrap(), b"");
        assert_eq!(clean_name(b"a..b/..c").unwrap(), b"a..b/..c");
        assert!(clean_name(b"a/../b").is_err());
        assert!(clean_name(&[b'a'; 5000]).is_err());
    }

    #[test]
    fn stripping_takes_names_off_the_front() {
        let options = ReadOptions { to: b"opt".to_vec(), strip: 1, ..ReadOptions::default() };
        assert_eq!(options.place(b"top/a/b").unwrap(), b"opt/a/b");
        assert_eq!(options.place(b"top"), None);
        assert_eq!(ReadOptions::default().place(b"").unwrap(), b"");
    }
}
