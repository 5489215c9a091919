//! Disk images: partition tables with the content of the partitions, planned by arithmetic alone, then written once,
//! front to back.
//!
//! ```text
//! MBR         | GPT header | GPT entries | gap: a boot loader | partition | partition ... | GPT entries | GPT header
//! 440..512     1 sector     32 sectors     where the ROM looks   aligned                    backup, at the very end
//! ```
//!
//! [`Plan::new`] places everything; errors show the whole table as text. [`Plan::write`] writes it, holes left out.
//! Sectors are 512 bytes: what SD cards, eMMC user areas and disks of virtual machines have.
//!
//! The other way round, [`table`], [`signature`] and [`bmap`] tell what stands on a disk from its bytes, and
//! [`grow`] fits an image to a larger device.

mod error;
mod gpt;
mod guid;
mod layout;
mod mbr;
mod plan;
mod region;
mod types;
mod write;

pub mod bmap;
pub mod grow;
pub mod signature;
pub mod table;

use std::fmt;
use std::sync::Arc;

use crate::tree::{Extent, Source};

pub use error::{PlanError, WriteError};
pub use guid::Guid;
pub use plan::{Plan, check};
pub use types::{NAMED, Named, PartitionType};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Where partitions begin unless told otherwise: at multiples of this, as every partitioning tool has it.
pub const ALIGNMENT: u64 = 1 << 20;

/// Reads exactly so many bytes at an offset: how everything that reads a disk sees it.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> std::io::Result<()> + 'a;

/// The kind of partition table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// GUID partition table with a protective MBR (UEFI Specification 2.10, chapter 5).
    Gpt,
    /// Master boot record: four primary partitions, or three and any number of logical ones.
    Mbr,
    /// A GPT, and up to three of its partitions in the MBR too.
    Hybrid,
}

impl Scheme {
    /// Says whether there is a GPT.
    pub fn has_gpt(self) -> bool {
        self != Scheme::Mbr
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Gpt => "GPT",
            Scheme::Mbr => "MBR",
            Scheme::Hybrid => "hybrid MBR",
        })
    }
}

/// What the caller decides about a disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kind of table.
    pub scheme: Scheme,
    /// The disk's size; `None` makes it as large as its content needs, in whole 4 KiB.
    pub size_bytes: Option<u64>,
    /// Partitions without an offset begin at multiples of this: whole sectors.
    pub alignment_bytes: u64,
    /// The GPT's own GUID.
    pub guid: Guid,
    /// The MBR's disk signature.
    pub signature: u32,
    /// Where the GPT's entries lie; `None`: right behind its header. For boot ROMs that look there for a loader.
    pub entries_offset: Option<u64>,
}

impl Options {
    /// Returns the options for a disk as large as its content.
    pub fn new(scheme: Scheme, guid: Guid, signature: u32) -> Self {
        Options { scheme, size_bytes: None, alignment_bytes: ALIGNMENT, guid, signature, entries_offset: None }
    }
}

/// How large a partition is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// As large as its content.
    Content,
    /// So many bytes, in whole sectors.
    Bytes(u64),
    /// All that the others leave. Only one partition of a disk can have it, and only if the disk's size is given.
    Rest,
}

/// What lies in a partition or a gap.
#[derive(Clone)]
pub struct Content {
    /// The bytes.
    pub source: Arc<dyn Source>,
    /// Which of them mean something, ascending; `None`: all. A medium with old content needs no others.
    pub mapped: Option<Vec<Extent>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.source.size_bytes())
    }
}

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// What errors and tables call it; the GPT's name for it too, if `label` is `None`.
    pub name: String,
    /// What it is for.
    pub kind: PartitionType,
    /// What it holds; `None` for nothing.
    pub content: Option<Content>,
    /// Where it begins; `None`: behind what comes before, aligned.
    pub offset: Option<u64>,
    /// How large it is.
    pub size: Size,
    /// GPT: its name, up to 36 UTF-16 units.
    pub label: Option<String>,
    /// GPT: its own GUID.
    pub guid: Guid,
    /// GPT: its attribute bits.
    pub attributes: u64,
    /// MBR: whether it is the one to boot from.
    pub active: bool,
    /// MBR: whether it is a logical partition; `None`: from the fourth on, where there are more than four.
    pub logical: Option<bool>,
    /// Hybrid: whether the MBR lists it too.
    pub hybrid: bool,
}

impl Partition {
    /// Returns a partition as large as its content.
    pub fn new(name: impl Into<String>, kind: PartitionType, guid: Guid) -> Self {
        Partition {
            name: name.into(),
            kind,
            content: None,
            offset: None,
            size: Size::Content,
            label: None,
            guid,
            attributes: 0,
            active: false,
            logical: None,
            hybrid: false,
        }
    }
}

/// Content that no table lists: a boot loader where the boot ROM looks for it.
#[derive(Clone, Debug)]
pub struct Gap {
    /// What errors and tables call it.
    pub name: String,
    /// Its first byte.
    pub offset: u64,
    /// What it holds.
    pub content: Content,
}
