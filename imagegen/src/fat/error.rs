//! Why an image cannot be made, in words for the person who asked for it.

use std::fmt;
use std::io;

use super::plan::Usage;

const MIB: u64 = 1 << 20;
/// How many refused files a message names.
const SHOWN: usize = 10;

/// Why a tree does not become an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// What in the tree FAT cannot hold: all of it.
    Files(Vec<Refusal>),
    /// An option out of range.
    Option {
        /// The field of [`Options`](super::Options).
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The given size does not suffice.
    TooSmall(Box<Shortage>),
    /// No size suffices.
    TooLarge {
        /// What the tree needs.
        needed_bytes: u64,
        /// How much can be had.
        largest_bytes: u64,
    },
}

/// Something that FAT cannot hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Its path, without leading slash; `/` for the root.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What is needed beside what is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// The size that was given.
    pub given_bytes: u64,
    /// The smallest size that suffices.
    pub needed_bytes: u64,
    /// What that size is needed for.
    pub usage: Usage,
    /// Up to five files with the most clusters: path, and bytes of clusters.
    pub biggest: Vec<(String, u64)>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Files(refused) => {
                for (number, Refusal { path, reason }) in refused.iter().take(SHOWN).enumerate() {
                    write!(f, "{}{path}: {reason}", if number > 0 { "; " } else { "" })?;
                }
                if refused.len() > SHOWN {
                    write!(f, "; and {} more", refused.len() - SHOWN)?;
                }
                Ok(())
            }
            PlanError::Option { name, reason } => write!(f, "{name}: {reason}"),
            PlanError::TooSmall(shortage) => shortage.fmt(f),
            PlanError::TooLarge { needed_bytes, largest_bytes } => write!(
                f,
                "{} are more than the {} that a FAT of this kind can hold",
                mib(*needed_bytes),
                mib(*largest_bytes)
            ),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = (self.needed_bytes - self.given_bytes).div_ceil(MIB);
        let (given, needed) = (mib(self.given_bytes), mib(self.needed_bytes));
        write!(f, "needs {more} MiB more, because {needed} are needed where {given} are given: ")?;
        let usage = &self.usage;
        let mut parts = vec![
            (usage.file_bytes, "of file content"),
            (usage.directory_bytes, "of directories"),
            (usage.table_bytes, "of boot sectors and allocation tables"),
            (usage.free_bytes, "of free room"),
            (usage.least_bytes, "because a FAT of this kind has no fewer clusters"),
        ];
        parts.retain(|&(bytes, _)| bytes > 0);
        parts.sort_by_key(|&(bytes, _)| std::cmp::Reverse(bytes));
        for (number, (bytes, what)) in parts.iter().enumerate() {
            write!(f, "{}{} {what}", if number > 0 { ", " } else { "" }, mib(*bytes))?;
        }
        for (number, (path, bytes)) in self.biggest.iter().enumerate() {
            write!(f, "{}{path} ({})", if number > 0 { ", " } else { "; the biggest files are " }, mib(*bytes))?;
        }
        Ok(())
    }
}

/// Writes a size in MiB with one decimal, rounded up so that nothing shows as nothing.
fn mib(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(MIB));
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

impl std::error::Error for PlanError {}

/// Why an image was not written to its end.
#[derive(Debug)]
pub enum WriteError {
    /// A file's content could not be read.
    Source {
        /// The file's path in the tree.
        path: String,
        /// What the source said.
        error: io::Error,
    },
    /// A file is no longer what it was when the image was planned.
    Changed {
        /// The file's path in the tree.
        path: String,
    },
    /// The image could not be written.
    Output(io::Error),
    /// The progress function asked to stop.
    Cancelled,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Source { path, error } => write!(f, "cannot read {path}: {error}"),
            WriteError::Changed { path } => write!(f, "{path} changed while its image was made"),
            WriteError::Output(error) => write!(f, "cannot write the image: {error}"),
            WriteError::Cancelled => write!(f, "cancelled"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WriteError::Source { error, .. } | WriteError::Output(error) => Some(error),
            WriteError::Changed { .. } | WriteError::Cancelled => None,
        }
    }
}
