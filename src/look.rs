//! Looks inside images: disks, file systems and archives, each also compressed, each also inside another.
//!
//! ```text
//! IMAGE[:PARTITION]:PATH        sd.img:2:/etc/fstab     rootfs.img:/srv/guest.img:1:/boot
//! ```
//!
//! - [`open`]: what a file is, and what is in it.
//! - [`address`]: an address as it is typed becomes a [`Place`].
//! - [`list`], [`usage`], [`copy`], [`diff`]: what the commands do there.
//! - [`show`]: files as text and as JSON.
//!
//! Images are anybody's: nothing is believed, and nothing is written to the host under a path that an image chose.

pub mod address;
pub mod copy;
pub mod diff;
pub mod list;
pub mod open;
pub mod show;
mod source;
pub mod usage;

use std::sync::Arc;

use imagegen::tree::Source;
use imagegen::volume::{NodeId, Volume, VolumeError};

use crate::error::{Error, Kind};
use open::Disk;

/// Where an address leads.
pub enum Place {
    /// A partitioned disk as a whole.
    Disk(Disk),
    /// A file or folder in a file system or archive.
    File(FilePlace),
    /// A file of the host, or a partition, that is no image.
    Data {
        /// How it was called.
        name: String,
        /// Its bytes.
        source: Arc<dyn Source>,
    },
}

/// A file or folder in a file system or archive.
pub struct FilePlace {
    /// How the image, with its partition, was called.
    pub image: String,
    /// What the file is in.
    pub volume: Arc<dyn Volume>,
    /// What the file system lies on.
    pub source: Arc<dyn Source>,
    /// Its path as it was given, with a leading slash.
    pub path: Vec<u8>,
    /// Its number.
    pub id: NodeId,
}

impl FilePlace {
    /// Returns the whole address.
    pub fn address(&self) -> String {
        format!("{}:{}", self.image, imagegen::volume::show(&self.path))
    }

    /// Returns the address of something below it.
    pub fn below(&self, path: &[u8]) -> String {
        let slash = if self.path.ends_with(b"/") || path.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.address(), imagegen::volume::show(path))
    }
}

/// Makes the error of something in an image: not there is the caller's fault, damage the image's.
pub fn fault(what: &str, error: VolumeError) -> Error {
    match error {
        VolumeError::Path { path, reason } => Error::new(Kind::Usage, format!("{what}: {path}: {reason}")),
        VolumeError::Io(error) => Error::io(format!("cannot read {what}"), std::io::Error::new(error.kind(), error)),
        damage => Error::new(Kind::Input, format!("{what}: {damage}")),
    }
}

/// Makes the error of content that could not be read: what is wrong with the image is told from what is with the host.
pub fn read_fault(what: &str, error: std::io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<VolumeError>()) {
        Some(inner) => fault(what, inner.clone()),
        None => Error::io(format!("cannot read {what}"), error),
    }
}
