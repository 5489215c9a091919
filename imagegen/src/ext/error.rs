//! Why an image cannot be made, in words for the person who asked for it.

use std::fmt;

use super::plan::Usage;
use crate::image_error::write_shortage;

const MIB: u64 = 1 << 20;

/// Why a tree does not become an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// Something in the tree that the version cannot hold.
    File {
        /// Its path, without leading slash; `/` for the root.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option out of range.
    Option {
        /// The field of [`Options`](super::Options).
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The given size does not suffice.
    TooSmall(Box<Shortage>),
    /// No size suffices: inodes are 32-bit numbers, and so are blocks but those of ext4.
    TooLarge {
        /// What the tree needs, before groups' tables.
        needed_bytes: u64,
        /// Inodes the tree needs.
        needed_inodes: u64,
    },
}

/// What is needed beside what is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// The size that was given.
    pub given_bytes: u64,
    /// The smallest size that suffices with a journal as long as mke2fs makes it.
    pub needed_bytes: u64,
    /// What that size is needed for.
    pub usage: Usage,
    /// Up to five files with the most blocks: path, and bytes of blocks.
    pub biggest: Vec<(String, u64)>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::File { path, reason } => write!(f, "{path}: {reason}"),
            PlanError::Option { name, reason } => write!(f, "{name}: {reason}"),
            PlanError::TooSmall(shortage) => shortage.fmt(f),
            PlanError::TooLarge { needed_bytes, needed_inodes } => write!(
                f,
                "{} MiB in {needed_inodes} inodes are more than a file system of this block size can hold",
                needed_bytes.div_ceil(MIB)
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
            (usage.attribute_bytes, "of extended attributes".to_string()),
            (usage.inode_table_bytes, format!("of tables for {} inodes", usage.inodes)),
            (usage.journal_bytes, "of journal".to_string()),
            (usage.group_table_bytes, "of superblocks, descriptors and bitmaps".to_string()),
            (usage.free_bytes, "of free room".to_string()),
        ];
        write_shortage(f, (self.given_bytes, self.needed_bytes), parts, &self.biggest)
    }
}

impl std::error::Error for PlanError {}
