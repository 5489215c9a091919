//! Files as text, as `ls -l` has them, and as JSON. Times are UTC, so that the same image says the same everywhere.

use std::fmt::Write as _;

use imagegen::disk::table::{Partition, Table};
use imagegen::tree::Timestamp;
use imagegen::volume::{Kind, Node, VolumeError, show};
use serde_json::{Map, Value, json};

use crate::file::hexadecimal;

/// A file under a name.
pub struct Row {
    /// Its name in its folder, or its path where it stands alone.
    pub name: Vec<u8>,
    /// Its path in the volume.
    pub path: Vec<u8>,
    /// What it is, if that could be read.
    pub node: Result<Node, VolumeError>,
}

/// Writes type and permissions as `ls -l` does; a `+` behind them says that there are extended attributes.
pub fn mode(node: &Node) -> String {
    let mode = node.metadata.mode;
    let mut text = String::from(node.kind.letter());
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text.push(if node.metadata.xattrs.is_empty() { ' ' } else { '+' });
    text
}

/// Writes a time to the second, in UTC.
pub fn time(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("@{}", time.seconds),
    }
}

/// Writes a time to the nanosecond, as RFC 3339 has it.
pub fn exact_time(time: Timestamp) -> String {
    match jiff::Timestamp::new(time.seconds, time.nanoseconds as i32) {
        Ok(time) => time.to_string(),
        Err(_) => format!("@{}.{:09}", time.seconds, time.nanoseconds),
    }
}

/// Writes an attribute's value: as text where it is some, else in hexadecimal.
pub fn value(bytes: &[u8]) -> String {
    let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    match text.iter().all(|byte| matches!(byte, b' '..=b'~')) && !text.is_empty() {
        true => format!("{:?}", String::from_utf8_lossy(text)),
        false => format!("0x{}", hexadecimal(bytes)),
    }
}

/// Writes rows in columns: mode, links, owner, group, size (as `size` writes it) or device, time, name. With `xattrs`,
/// attributes stand below.
pub fn long(rows: &[Row], xattrs: bool, size: fn(u64) -> String) -> String {
    let cells = |row: &Row| match &row.node {
        Err(_) => ["?".repeat(10), "?".into(), "?".into(), "?".into(), "?".into(), "?".into()],
        Ok(node) => {
            let size_or_device = match node.kind {
                Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                    format!("{major}, {minor}")
                }
                _ => size(node.size_bytes),
            };
            let metadata = &node.metadata;
            let (uid, gid) = (metadata.uid.to_string(), metadata.gid.to_string());
            [mode(node), node.links.to_string(), uid, gid, size_or_device, time(metadata.mtime)]
        }
    };
    let table: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4, 5].map(width);
    let mut text = String::new();
    for (row, cells) in rows.iter().zip(&table) {
        let _ = write!(text, "{:<1$} ", cells[0], widths[0]);
        for column in 1..6 {
            let _ = write!(text, "{:>1$} ", cells[column], widths[column]);
        }
        text.push_str(&show(&row.name));
        if let Ok(Node { kind: Kind::Symlink(target), .. }) = &row.node {
            let _ = write!(text, " -> {}", show(target));
        }
        text.push('\n');
        for (name, bytes) in row.node.iter().filter(|_| xattrs).flat_map(|node| &node.metadata.xattrs) {
            let _ = writeln!(text, "    {}={}", show(name), value(bytes));
        }
        if let Some(flags) = row.node.as_ref().ok().map(|node| &node.flags).filter(|flags| xattrs && !flags.is_empty())
        {
            let _ = writeln!(text, "    flags {flags}");
        }
    }
    text
}

/// Puts bytes into an object: as text, and where that is not all of it, in hexadecimal too.
pub fn put_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    object.insert(key.into(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{key}-hex"), hexadecimal(bytes).into());
    }
}

/// Returns a row as JSON.
pub fn row_json(row: &Row) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "path", &row.path);
    match &row.node {
        Ok(node) => node_json(node, &mut object),
        Err(error) => {
            object.insert("error".into(), error.to_string().into());
        }
    }
    object.into()
}

fn node_json(node: &Node, object: &mut Map<String, Value>) {
    let metadata = &node.metadata;
    let mut put = |key: &str, value: Value| object.insert(key.into(), value);
    put("type", node.kind.name().into());
    put("mode", format!("{:04o}", metadata.mode).into());
    put("uid", metadata.uid.into());
    put("gid", metadata.gid.into());
    put("size-bytes", node.size_bytes.into());
    put("allocated-bytes", node.allocated_bytes.into());
    put("links", node.links.into());
    put("mtime", exact_time(metadata.mtime).into());
    if let Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } = node.kind {
        put("major", major.into());
        put("minor", minor.into());
    }
    if !node.flags.is_empty() {
        put("flags", node.flags.clone().into());
    }
    if !metadata.xattrs.is_empty() {
        let pair = |(name, value): (&Vec<u8>, &Vec<u8>)| (show(name), Value::from(hexadecimal(value)));
        put("xattrs", Value::Object(metadata.xattrs.iter().map(pair).collect()));
    }
    if let Kind::Symlink(target) = &node.kind {
        put_bytes(object, "target", target);
    }
}

/// Returns what is said of a partition, by key: the JSON of it, and what two are compared by.
pub fn partition_facts(partition: &Partition) -> Vec<(&'static str, Value)> {
    let kind = match (partition.kind.guid, partition.kind.code) {
        (Some(guid), _) => guid.to_string(),
        (None, code) => format!("{:02x}", code.unwrap_or(0)),
    };
    let mut facts = vec![
        ("start-bytes", partition.range.start.into()),
        ("size-bytes", (partition.range.end - partition.range.start).into()),
        ("type", kind.into()),
    ];
    if let Some(guid) = partition.guid {
        facts.push(("name", partition.name.clone().into()));
        facts.push(("guid", guid.to_string().into()));
    }
    facts.push(("attributes", format!("{:#x}", partition.attributes).into()));
    facts
}

/// Returns what is said of a table as a whole, by key.
pub fn table_facts(table: &Table) -> Vec<(&'static str, Value)> {
    let mut facts = vec![("table", table.scheme.to_string().into()), ("sector-bytes", table.sector_bytes.into())];
    if let Some(gpt) = &table.gpt {
        facts.push(("guid", gpt.guid.to_string().into()));
    }
    facts.push(("signature", format!("{:08x}", table.signature).into()));
    facts
}

/// Returns facts as a JSON object.
pub fn facts_json(facts: Vec<(&'static str, Value)>) -> Value {
    Value::Object(facts.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

/// Returns the JSON of a partition, with what is in it.
pub fn partition_json(partition: &Partition, format: Option<&str>, label: &str) -> Value {
    let mut value = facts_json(partition_facts(partition));
    value["partition"] = json!(partition.number);
    if let Some(purpose) = partition.purpose() {
        value["purpose"] = json!(purpose);
    }
    if let Some(format) = format {
        value["format"] = json!(format);
        value["label"] = json!(label);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use imagegen::tree::Metadata;

    fn node(kind: Kind, mode: u16) -> Node {
        let metadata = Metadata::root(mode, Timestamp { seconds: 1_700_000_000, nanoseconds: 5 });
        Node { kind, metadata, size_bytes: 7, allocated_bytes: 4096, links: 1, flags: String::new() }
    }

    #[test]
    fn modes_are_written_as_ls_does() {
        for (bits, expected) in [
            (0o755, "drwxr-xr-x "),
            (0o4711, "drws--x--x "),
            (0o2644, "drw-r-Sr-- "),
            (0o1777, "drwxrwxrwt "),
            (0, "d--------- "),
        ] {
            assert_eq!(mode(&node(Kind::Directory, bits)), expected);
        }
    }

    #[test]
    fn columns_and_what_stands_below() {
        let mut link = node(Kind::Symlink((*b"a\x1bb").into()), 0o777);
        link.metadata.xattrs.insert(b"security.selinux".to_vec(), b"ctx\0".to_vec());
        link.metadata.xattrs.insert(b"user.raw".to_vec(), vec![1, 2]);
        let device = node(Kind::CharacterDevice { major: 5, minor: 1 }, 0o600);
        let row = |name: &[u8], node| Row { name: name.to_vec(), path: name.to_vec(), node };
        let text = long(&[row(b"l\xff", Ok(link)), row(b"console", Ok(device))], true, |bytes| bytes.to_string());
        let expected = "lrwxrwxrwx+ 1 0 0    7 2023-11-14 22:13:20 l\\xff -> a\\u{1b}b\n    security.selinux=\"ctx\"\n    user.raw=0x0102\n\
                        crw-------  1 0 0 5, 1 2023-11-14 22:13:20 console\n";
        assert_eq!(text, expected);
        assert_eq!(time(Timestamp { seconds: i64::MAX, nanoseconds: 0 }), format!("@{}", i64::MAX));
    }
}
