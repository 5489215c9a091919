//! `[dom0]` and `[guest.NAME]`.

use super::super::raw::Value;
use super::super::{Disk, DiskSource, Dom0, Guest, Origin, Setting, Vif};
use super::{Cursor, nobodys};

pub(super) fn dom0(table: &Cursor<'_>) -> Dom0 {
    Dom0 {
        kernel: table.required_text("kernel"),
        initramfs: table.located_text("initramfs"),
        root: table.located_text("root"),
        disks: table.located_texts("disks"),
        memory_bytes: table.required_size("memory"),
        vcpus: table.number("vcpus"),
        bootargs: table.text("bootargs"),
    }
}

pub(super) fn guest(table: &Cursor<'_>) -> Guest {
    Guest {
        kernel: table.required_text("kernel"),
        initramfs: table.located_text("initramfs"),
        memory_bytes: table.required_size("memory"),
        vcpus: table.number("vcpus"),
        disks: table.elements("disk").iter().map(disk).collect(),
        vifs: table.elements("vif").iter().map(vif).collect(),
        extra: table.text("extra"),
        settings: table.get("settings").map(|settings| settings.named(setting)).unwrap_or_default(),
        origin: table.origin(),
    }
}

fn disk(table: &Cursor<'_>) -> Disk {
    Disk {
        image: match table.located_text("disk") {
            Some(name) => DiskSource::Disk(name),
            None => DiskSource::Filesystem(table.required_text("filesystem")),
        },
        device: table.text("device"),
        writable: table.boolean("writable"),
        origin: origin(table, "device"),
    }
}

fn vif(table: &Cursor<'_>) -> Vif {
    Vif { bridge: table.text("bridge"), mac: table.text("mac").to_ascii_lowercase(), origin: origin(table, "mac") }
}

/// Returns the place of a key, of its table where a default stands for it, or nobody's where it was found wrong.
fn origin(table: &Cursor<'_>, key: &str) -> Origin {
    match (table.get(key), table.node.get(key)) {
        (Some(cursor), _) if cursor.node.place.file.is_some() => cursor.origin(),
        (None, Some(_)) => nobodys(()).origin,
        _ => table.origin(),
    }
}

fn setting(cursor: &Cursor<'_>) -> Setting {
    match &cursor.node.value {
        Value::Integer(value, _) => Setting::Number(value.unwrap_or_default()),
        Value::Boolean(value) => Setting::Number(i64::from(*value)),
        Value::Array(elements) => {
            Setting::List(elements.iter().filter_map(|element| element.text().map(String::from)).collect())
        }
        _ => Setting::Text(cursor.node.text().unwrap_or_default().to_string()),
    }
}
