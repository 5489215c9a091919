//! ext2, ext3 and ext4 images from file trees: planned by arithmetic alone, then written once, front to back.
//!
//! ```text
//! group 0                                                            group 1 ...
//! superblock descriptors bitmaps inodes | journal directories attributes file file | tables | file file ...
//! ```
//!
//! [`Plan::new`] numbers the inodes, measures every file and lays all of it out without reading any content, so an
//! image's size is known (and exact) before its first byte is written. The same tree and options give the same bytes.
//!
//! - Inodes are numbered folder by folder, names in byte order; content follows in the same order without gaps.
//! - What a [`Source`](crate::tree::Source) calls a hole stays one, to whole blocks. Zeros that a source calls data
//!   are data: finding them would mean to read everything twice.
//! - All four times of an inode are its modification time.
//! - Inodes with equal attributes share one block of them, up to 1024 each.
//!
//! The three [`Version`]s have this order in common. They differ in the features the superblock names; ext4 also in
//! how blocks are mapped, where the groups' tables lie, and in the checksums.

mod checksum;
mod directory;
mod error;
mod geometry;
mod group;
mod htree;
mod inode;
mod journal;
mod layout;
mod map;
mod measure;
mod number;
mod plan;
mod read;
mod size;
mod superblock;
mod tables;
mod version;
mod write;
mod xattr;

pub use crate::image_error::WriteError;
pub use error::{PlanError, Shortage};
pub use plan::{Plan, Usage};
pub use read::Ext;
pub use version::Version;

/// The size of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BlockSize {
    /// 1024 bytes: for images of a few MiB.
    KiB1,
    /// 2048 bytes.
    KiB2,
    /// 4096 bytes: a page, and what every reader expects.
    #[default]
    KiB4,
}

impl BlockSize {
    /// Returns the size in bytes.
    pub fn bytes(self) -> u32 {
        match self {
            BlockSize::KiB1 => 1024,
            BlockSize::KiB2 => 2048,
            BlockSize::KiB4 => 4096,
        }
    }
}

/// What the caller decides about an image.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which file system it is.
    pub version: Version,
    /// The size of a block.
    pub block_size: BlockSize,
    /// The image's size; `None` makes it exactly as large as the tree needs.
    pub size_bytes: Option<u64>,
    /// Room for more content that must be left.
    pub free_bytes: u64,
    /// How many more inodes must be left.
    pub free_inodes: u32,
    /// The number of inodes, rounded up to whole blocks of them. `None` means what mke2fs would make of a given size,
    /// or what the tree needs where the size is exact (or mke2fs's number would leave too little room).
    pub inodes: Option<u32>,
    /// The share of blocks only root may fill; `None` means mke2fs's 5 of a given size, and 0 where the size is exact.
    pub reserved_percent: Option<u8>,
    /// The journal's length in blocks, 1024 to 10,240,000; `None` means mke2fs's choice for the size, but at least 1024.
    /// ext2 has none, and takes no length.
    pub journal_blocks: Option<u32>,
    /// The volume's name: at most 16 bytes.
    pub label: String,
    /// The file system's UUID.
    pub uuid: [u8; 16],
    /// What names' hashes begin with.
    pub hash_seed: [u8; 16],
    /// When the file system was made, in seconds since 1970; also the time of a `lost+found` the tree does not have.
    pub epoch: i64,
    /// Whether files' later times are cut to `epoch`.
    pub clamp_times: bool,
}

impl Options {
    /// Returns the options for an ext3 image of exact size with 4 KiB blocks.
    pub fn new(uuid: [u8; 16], hash_seed: [u8; 16], epoch: i64) -> Self {
        Options {
            version: Version::default(),
            block_size: BlockSize::default(),
            size_bytes: None,
            free_bytes: 0,
            free_inodes: 0,
            inodes: None,
            reserved_percent: None,
            journal_blocks: None,
            label: String::new(),
            uuid,
            hash_seed,
            epoch,
            clamp_times: false,
        }
    }
}
