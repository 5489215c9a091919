//! Why a disk cannot be made, in words for the person who asked for it.

use std::fmt;
use std::io;

use super::region::Regions;

/// Why partitions do not become a disk: everything that is wrong, and where all of it would lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanError {
    /// One sentence each.
    pub problems: Vec<String>,
    pub(super) regions: Regions,
}

impl PlanError {
    /// Returns the table of what lies where, as text; empty if that was not decided yet.
    pub fn table(&self) -> String {
        if self.regions.0.is_empty() { String::new() } else { self.regions.to_string() }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))?;
        if !self.regions.0.is_empty() {
            write!(f, "\n{}", self.regions)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {}

/// Why a disk was not written to its end.
#[derive(Debug)]
pub enum WriteError {
    /// A partition's content could not be read.
    Source {
        /// The partition or gap.
        name: String,
        /// What the source said.
        error: io::Error,
    },
    /// Content is no longer what it was when the disk was planned.
    Changed {
        /// The partition or gap.
        name: String,
    },
    /// The image could not be written.
    Output(io::Error),
    /// The progress function asked to stop.
    Cancelled,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Source { name, error } => write!(f, "cannot read the content of {name}: {error}"),
            WriteError::Changed { name } => write!(f, "the content of {name} changed while the disk was made"),
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
