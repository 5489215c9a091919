//! Why an image cannot be made, in words for the person who asked for it.

use std::fmt;

use super::plan::Usage;
use crate::image_error::{mib, write_shortage};

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
        let usage = &self.usage;
        let parts = vec![
            (usage.file_bytes, "of file content".to_string()),
            (usage.directory_bytes, "of directories".to_string()),
            (usage.table_bytes, "of boot sectors and allocation tables".to_string()),
            (usage.free_bytes, "of free room".to_string()),
            (usage.least_bytes, "because a FAT of this kind has no fewer clusters".to_string()),
        ];
        write_shortage(f, (self.given_bytes, self.needed_bytes), parts, &self.biggest)
    }
}

impl std::error::Error for PlanError {}
