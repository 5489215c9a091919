//! FAT12, FAT16 and FAT32 images from file trees: planned by arithmetic alone, then written once, front to back.
//!
//! ```text
//! boot sector, FAT32: FSInfo, copy of both | FAT | FAT | FAT12/16: root directory | directories file file file ...
//! ```
//!
//! [`Plan::new`] names every entry, measures every file and lays all of it out without reading any content, so an
//! image's size is known (and exact) before its first byte is written. The same tree and options give the same bytes.
//!
//! - Directories come first, folder by folder; files follow in the same order. Everything is in one piece.
//! - Names are those of the tree, as VFAT has them: a short alias, and a long name where that cannot say it. Names
//!   that are 8.3 but for being all lower case say so by the two flags that Windows NT, Linux and mtools know.
//! - What a [`Source`](crate::tree::Source) calls a hole is left out of the output, and reads as zeros.
//! - Owners, modes and extended attributes have no place here and are dropped; a second name for a file is a second
//!   copy of it. What cannot be dropped silently (links, devices, names, sizes) is refused, all of it at once.
//!
//! Fields are named as in Microsoft's "FAT32 File System Specification" 1.03 (BPB_, BS_, FSI_, DIR_, LDIR_).

mod boot;
mod date;
mod directory;
mod error;
mod layout;
mod name;
mod plan;
mod read;
mod table;
mod write;

pub use crate::image_error::WriteError;
pub use error::{PlanError, Refusal, Shortage};
pub use plan::{Plan, Usage, check_label};
pub use read::Fat;

/// How many bits an entry of the allocation table has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Width {
    /// FAT12: up to 4084 clusters.
    Fat12,
    /// FAT16: 4085 to 65,524 clusters.
    Fat16,
    /// FAT32: 65,525 clusters and more.
    Fat32,
}

impl Width {
    /// Returns the number of bits an entry takes.
    pub fn bits(self) -> u32 {
        match self {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        }
    }
}

/// What the caller decides about an image.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which FAT; `None` means what Microsoft's tables say for the size: up to 4 MiB FAT12, up to 512 MiB FAT16.
    pub width: Option<Width>,
    /// The size of a cluster, a power of two from 512 to 32,768; `None` means what those tables say for the size.
    pub cluster_bytes: Option<u32>,
    /// The image's size; `None` makes it exactly as large as the tree needs.
    pub size_bytes: Option<u64>,
    /// Room for more content that must be left.
    pub free_bytes: u64,
    /// The volume's name: at most 11 ASCII characters; empty for none.
    pub label: String,
    /// `BS_VolID`: what `blkid` shows as UUID.
    pub serial: u32,
    /// The time of the root directory and the label, in seconds since 1970.
    pub epoch: i64,
    /// Whether files' later times are cut to `epoch`.
    pub clamp_times: bool,
}
