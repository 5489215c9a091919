//! What `ls`, `cat`, `cp`, `du` and `diff` share: finding places, words on standard error, the exit code.

use std::ffi::OsStr;
use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind, Result};
use crate::look::{FilePlace, Place, address};

/// How many warnings of a kind are written before they are only counted.
const WARNINGS_MAX: usize = 20;

/// What addresses look like: the end of each command's help. A paragraph is one line: clap breaks it.
pub const ADDRESSES: &str = "\
An address is IMAGE[:PARTITION]:PATH. IMAGE is a disk (GPT, MBR, hybrid), a file system (ext2, ext3, ext4, FAT), a \
cpio or a tar archive; each may be compressed with gzip, xz, zstd or bzip2. PARTITION is a number, the name that a \
GPT gives, or the label of the file system in it; it may be left out where only one holds files. A file in an image \
can be an image itself: the address goes on behind it.

  rootfs.img:/etc/fstab
  sd.img.xz:2:/boot
  sd.img:boot:/config.txt
  sd.img:2:/srv/guest.img:1:/etc/hostname";

/// Finds a file or folder; what is damaged on the way there is warned of.
///
/// # Errors
/// There is none, or the address is that of a whole disk.
pub fn file(text: &OsStr, follow: bool, words: &mut Words) -> Result<FilePlace> {
    match address::resolve(text, follow, &mut |damage| words.warn(damage))? {
        Place::File(place) => Ok(place),
        Place::Disk(disk) => {
            let message = format!("{} is a disk with partitions: say which, and a path", disk.name);
            Err(Error::new(Kind::Usage, message).hint(format!("{}, as in {}:1:/", disk.choices(), disk.name)))
        }
        Place::Data { name, .. } => {
            Err(Error::new(Kind::Input, format!("{name} is no disk, file system or archive that is known here")))
        }
    }
}

/// Words on standard error, and what they mean for the exit code.
#[derive(Default)]
pub struct Words {
    count: usize,
    /// Whose fault was the first thing that could not be done.
    failed: Option<Kind>,
    quiet: bool,
}

impl Words {
    /// Begins without any.
    pub fn new(global: &Global) -> Self {
        Words { count: 0, failed: None, quiet: global.quiet }
    }

    /// Writes a warning: something was left out.
    pub fn warn(&mut self, text: &str) {
        self.count += 1;
        if !self.quiet && self.count <= WARNINGS_MAX {
            eprintln!("warning: {}", super::harmless(text));
        }
    }

    /// Writes what could not be read.
    pub fn complain(&mut self, text: &str) {
        self.fail(&Error::new(Kind::Input, text));
    }

    /// Writes what could not be done, while the rest is.
    pub fn fail(&mut self, error: &Error) {
        self.count += 1;
        self.failed.get_or_insert(error.kind);
        if self.count <= WARNINGS_MAX {
            eprintln!("error: {}", super::harmless(&error.to_string()));
        }
    }

    /// Says how many were not written.
    fn rest(&self) {
        if self.count > WARNINGS_MAX && !self.quiet {
            eprintln!("and {} more like these", self.count - WARNINGS_MAX);
        }
    }

    /// Ends a command: it failed where there was something that could not be done; warnings are no failure.
    pub fn verdict(self) -> ExitCode {
        self.rest();
        self.failed.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code()))
    }
}
