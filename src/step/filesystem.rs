//! `filesystem`: layers of archives and folders, kernel modules, single files and users become one file tree, and that
//! an ext2, ext3 or ext4 image, an initramfs or a tar archive.
//!
//! Filled in this order, so that later wins: packages and includes (layers), kernel modules, guests' files, files, users.

use std::collections::BTreeMap;

use super::{Description, Digest, Kind, Workspace};
use crate::error::Result;
use crate::recipe::{Format, Owner, User};

mod fill;
mod users;
mod write;

/// The name of the output, whatever its format.
pub const OUTPUT: &str = "image";
/// Beside the image of a disk: which of its bytes mean something.
pub const MAP: &str = super::output::MAP;

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filesystem {
    /// How errors call it: the recipe's key.
    pub title: String,
    /// How it is written.
    pub format: Format,
    /// The time of all that has none of its own: seconds since 1970.
    pub epoch: i64,
    /// Begin with `/bin`, `/sbin` and `/lib` as links into `/usr`.
    pub merged_usr: bool,
    /// What layers bring that is left out.
    pub exclude: Vec<String>,
    /// Packages, then includes.
    pub layers: Vec<Layer>,
    /// Kernel modules.
    pub modules: Option<Modules>,
    /// Guests' files, by path.
    pub guests: BTreeMap<String, File>,
    /// Single entries, by path.
    pub files: BTreeMap<String, File>,
    /// Users, by name.
    pub users: BTreeMap<String, User>,
}

/// An archive or a folder, laid over what came before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Layer {
    /// The name of the input: an unpacked archive, or a folder.
    pub input: String,
    /// Where it goes.
    pub to: String,
    /// How many leading names to cut from each path.
    pub strip: u32,
    /// Whom all of it belongs to, instead of what it says itself.
    pub owner: Option<Owner>,
}

/// Kernel modules, and all that they need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Modules {
    /// Names of the inputs that hold `lib/modules/VERSION`: unpacked archives, or one folder.
    pub inputs: Vec<String>,
    /// Names, or aliases.
    pub names: Vec<String>,
    /// The file that lists the modules' paths in load order.
    pub list: String,
}

/// A single entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// What it is.
    pub content: FileContent,
    /// Owner.
    pub owner: Owner,
    /// Permission bits; `None`: what the kind of entry usually has, or as the source says.
    pub mode: Option<u16>,
}

/// What a single entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileContent {
    /// A file with this text.
    Text(String),
    /// A local file: the name of the input.
    Local(String),
    /// An image that another step made: the name of the input.
    Image(String),
    /// A file out of unpacked archives.
    Archived {
        /// Names of the inputs.
        inputs: Vec<String>,
        /// Path inside; exactly one must match.
        pattern: String,
        /// How errors call the archives.
        title: String,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(String),
    /// Another name for an entry that is there already.
    Hardlink(String),
    /// A character device.
    CharacterDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// Nothing: what layers brought there, and below, is taken away.
    Absent,
}

impl Kind for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn version(&self) -> u32 {
        4
    }

    fn describe(&self, description: &mut Description) {
        describe_format(&self.format, description);
        description.parameter("epoch", self.epoch);
        description.parameter("merged-usr", self.merged_usr);
        for pattern in &self.exclude {
            description.parameter(format!("exclude {pattern}"), "yes");
        }
        for Layer { input, to, strip, owner } in &self.layers {
            // A plain layer says nothing besides its input, which is a line of its own.
            let mut words = Vec::new();
            if !matches!(to.as_str(), "" | "/") {
                words.push(format!("to {to}"));
            }
            if *strip > 0 {
                words.push(format!("strip {strip}"));
            }
            if let Some(owner) = owner {
                words.push(format!("owner {}:{}", owner.uid, owner.gid));
            }
            if !words.is_empty() {
                description.parameter(format!("layer {input}"), words.join(", "));
            }
        }
        if let Some(modules) = &self.modules {
            for name in &modules.names {
                description.parameter(format!("module {name}"), "yes");
            }
            description.parameter("modules list", &modules.list);
        }
        for (path, file) in self.guests.iter().chain(&self.files) {
            describe_file(path, file, description);
        }
        for (name, user) in &self.users {
            let User { uid, gid, home, shell, password } = user;
            let password = match password.as_deref() {
                None => "locked".to_owned(),
                Some("") => "empty".to_owned(),
                // The manifest is no place for a hash that could be guessed from.
                Some(hash) => format!("sha256 {}", Digest::of(hash.as_bytes())),
            };
            description.parameter(format!("user {name}"), format!("{uid}:{gid} {home} {shell}, password {password}"));
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let tree = fill::tree(self, workspace)?;
        write::image(self, &tree, workspace)
    }
}

fn describe_format(format: &Format, description: &mut Description) {
    let packed = |gzip: bool| if gzip { " with gzip" } else { "" };
    match format {
        Format::Ext { version, size_bytes, free_bytes, label } => {
            description.parameter("format", version.name());
            match size_bytes {
                Some(size) => description.parameter("size", size.value),
                None => description.parameter("size", "as needed"),
            }
            description.parameter("free", free_bytes);
            description.parameter("label", label);
        }
        Format::Fat { width, size_bytes, free_bytes, label } => {
            match width {
                Some(width) => description.parameter("format", format_args!("fat{}", width.bits())),
                None => description.parameter("format", "fat"),
            }
            match size_bytes {
                Some(size) => description.parameter("size", size.value),
                None => description.parameter("size", "as needed"),
            }
            description.parameter("free", free_bytes);
            description.parameter("label", &label.value);
        }
        Format::Cpio { gzip } => description.parameter("format", format_args!("cpio{}", packed(*gzip))),
        Format::Tar { gzip } => description.parameter("format", format_args!("tar{}", packed(*gzip))),
    }
}

fn describe_file(path: &str, file: &File, description: &mut Description) {
    let content = match &file.content {
        FileContent::Text(text) => {
            format!("text of {} bytes, sha256 {}", text.len(), Digest::of(text.as_bytes()))
        }
        FileContent::Local(_) => "local file".to_owned(),
        FileContent::Image(_) => "image".to_owned(),
        FileContent::Archived { pattern, .. } => format!("archived {pattern}"),
        FileContent::Directory => "directory".to_owned(),
        FileContent::Symlink(target) => format!("link to {target}"),
        FileContent::Hardlink(existing) => format!("the same as {existing}"),
        FileContent::CharacterDevice(major, minor) => format!("character device {major}:{minor}"),
        FileContent::BlockDevice(major, minor) => format!("block device {major}:{minor}"),
        FileContent::Fifo => "named pipe".to_owned(),
        FileContent::Absent => "absent".to_owned(),
    };
    let mode = file.mode.map_or(String::new(), |mode| format!(", mode {mode:04o}"));
    let Owner { uid, gid } = file.owner;
    description.parameter(format!("file {path}"), format!("{content}, owner {uid}:{gid}{mode}"));
}

#[cfg(test)]
mod tests;
