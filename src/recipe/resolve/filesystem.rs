//! `[filesystem.NAME]`.

use std::path::PathBuf;

use imagegen::fat::Width;

use super::super::{
    BootPart, Entry, EntryContent, Ext, FileSource, Filesystem, Format, Include, Modules, TreeSource, User,
};
use super::{Cursor, nobodys};

pub(super) fn filesystem(table: &Cursor<'_>) -> Filesystem {
    Filesystem {
        format: format(table),
        origin: table.origin(),
        packages: table.located_texts("packages"),
        without: table.texts("without"),
        exclude: table.texts("exclude"),
        merged_usr: table.boolean("merged-usr"),
        include: table.elements("include").iter().map(include).collect(),
        modules: table.get("modules").map(|modules| Modules {
            kernel: modules.required_text("kernel"),
            names: modules.located_texts("names"),
            list: modules.text("list"),
        }),
        files: table.get("files").map(|files| files.named(entry)).unwrap_or_default(),
        users: table.get("users").map(|users| users.named(user)).unwrap_or_default(),
    }
}

fn format(table: &Cursor<'_>) -> Format {
    match table.text("format").as_str() {
        "cpio" => Format::Cpio { gzip: table.boolean("gzip") },
        "tar" => Format::Tar { gzip: table.boolean("gzip") },
        "fat" => Format::Fat {
            width: width(table),
            size_bytes: table.size("size"),
            free_bytes: table.required_size("free").value,
            label: table.required_text("label"),
        },
        other => Format::Ext {
            version: match other {
                "ext2" => Ext::Ext2,
                "ext4" => Ext::Ext4,
                _ => Ext::Ext3,
            },
            size_bytes: table.size("size"),
            free_bytes: table.required_size("free").value,
            label: table.text("label"),
        },
    }
}

/// `fat`: 12, 16, 32, or `auto`.
fn width(table: &Cursor<'_>) -> Option<Width> {
    let number = table.integer("fat")?;
    match number.value {
        12 => Some(Width::Fat12),
        16 => Some(Width::Fat16),
        32 => Some(Width::Fat32),
        _ => {
            table.get("fat")?.finding("there are FAT12, FAT16 and FAT32 only");
            None
        }
    }
}

fn include(table: &Cursor<'_>) -> Include {
    Include {
        source: table.tree_source().unwrap_or(TreeSource::Folder { path: nobodys(PathBuf::new()), keep: false }),
        to: table.text("to"),
        strip: table.number("strip").value,
        owner: table.owner("owner"),
    }
}

fn entry(table: &Cursor<'_>) -> Entry {
    Entry {
        content: content(table),
        owner: table.owner("owner").unwrap_or_default(),
        mode: table.integer("mode").map(|mode| mode.value as u16),
        origin: table.origin(),
    }
}

fn content(table: &Cursor<'_>) -> EntryContent {
    let has = |key: &str| table.get(key).is_some();
    if has("path") || has("package") || has("tarball") {
        EntryContent::File(
            table.file_source().unwrap_or_else(|| FileSource::Path { path: nobodys(PathBuf::new()), sha256: None }),
        )
    } else if has("directory") {
        EntryContent::Directory
    } else if has("symlink") {
        EntryContent::Symlink(table.text("symlink"))
    } else if has("hardlink") {
        EntryContent::Hardlink(table.text("hardlink"))
    } else if let Some(device) = table.get("device") {
        device_node(&device)
    } else if has("fifo") {
        EntryContent::Fifo
    } else if let Some(name) = table.located_text("filesystem") {
        EntryContent::Filesystem(name)
    } else if let Some(name) = table.located_text("disk") {
        EntryContent::Disk(name)
    } else if let Some(name) = table.located_text("kernel") {
        EntryContent::Kernel(name)
    } else if let Some(part) = table.located_text("boot") {
        EntryContent::Boot(match part.value.as_str() {
            "script" => BootPart::Script,
            "fit" => BootPart::Fit,
            "xen" => BootPart::Hypervisor,
            "kernel" => BootPart::Kernel,
            "initramfs" => BootPart::Initramfs,
            _ => BootPart::DeviceTree,
        })
    } else if has("absent") {
        EntryContent::Absent
    } else {
        EntryContent::Text(table.text("text"))
    }
}

/// `c 5:1`: Linux keeps 12 bits of the major and 20 of the minor number.
fn device_node(cursor: &Cursor<'_>) -> EntryContent {
    let text = cursor.node.text().unwrap_or_default();
    let (kind, numbers) = text.split_once(' ').unwrap_or_default();
    let (major, minor) = numbers.split_once(':').unwrap_or_default();
    let number = |text: &str, most: u32| text.parse::<u32>().ok().filter(|number| *number <= most);
    let (major, minor) = match (number(major, 0xfff), number(minor, 0xf_ffff)) {
        (Some(major), Some(minor)) => (major, minor),
        _ => {
            cursor.finding("a device's major number goes up to 4095, its minor number up to 1048575");
            (0, 0)
        }
    };
    if kind == "b" { EntryContent::BlockDevice(major, minor) } else { EntryContent::CharacterDevice(major, minor) }
}

fn user(table: &Cursor<'_>) -> User {
    User {
        uid: table.number("uid").value,
        gid: table.number("gid").value,
        home: table.text("home"),
        shell: table.text("shell"),
        password: table.located_text("password").map(|password| password.value),
    }
}
