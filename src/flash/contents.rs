//! What is on a disk or in an image, read with our own eyes: its table, and what each partition holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imagegen::disk::ReadAt;
use imagegen::disk::signature::{self, Signature};
use imagegen::disk::table::{self, Partition, Table, TableError};

use super::show_bytes;

/// What is on a disk.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Its partition table.
    pub table: Option<Table>,
    /// What is wrong with the table.
    pub damage: Option<String>,
    /// The name of the disk, and what it holds beside or instead of a table.
    pub whole: (String, Option<Signature>),
    /// What the partitions hold, in the order of the table, each with its name.
    pub parts: Vec<(String, Option<Signature>)>,
}

impl Contents {
    /// Reads what is on a device or in a file; `name` is how to call it.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub fn of_path(path: &Path, name: &str, bytes: u64) -> io::Result<Contents> {
        let file = File::open(path)?;
        Contents::of(&mut |at, buffer| file.read_exact_at(buffer, at), name, bytes)
    }

    /// Reads what is on something of this size.
    ///
    /// # Errors
    /// Its first sectors cannot be read. What lies deeper and cannot be read is taken as unknown.
    pub fn of(disk: &mut ReadAt<'_>, name: &str, bytes: u64) -> io::Result<Contents> {
        let mut found = Contents { whole: (name.into(), None), ..Contents::default() };
        match table::read(disk, bytes) {
            Ok(table) => found.table = table,
            Err(TableError::Io(error)) => return Err(error),
            Err(TableError::Corrupt(reason)) => found.damage = Some(reason),
        }
        if found.table.is_none() {
            found.whole.1 = signature::identify(disk, bytes).unwrap_or_default();
        }
        let partitions = found.table.iter().flat_map(|table| &table.partitions);
        for partition in partitions {
            let Partition { number, range, .. } = partition;
            let length = range.end.min(bytes).saturating_sub(range.start);
            let mut part = |at: u64, buffer: &mut [u8]| disk(range.start + at, buffer);
            let known =
                if partition.is_extended() || length == 0 { Ok(None) } else { signature::identify(&mut part, length) };
            found.parts.push((partition_name(name, *number), known.unwrap_or_default()));
        }
        Ok(found)
    }

    /// Returns everything recognised, with the name of where it is.
    pub fn signatures(&self) -> impl Iterator<Item = (&str, &Signature)> {
        let all = std::iter::once(&self.whole).chain(&self.parts);
        all.filter_map(|(name, found)| Some((name.as_str(), found.as_ref()?)))
    }

    /// Says in one line what is there.
    pub fn summary(&self) -> String {
        if let Some(damage) = &self.damage {
            return format!("a damaged partition table ({damage})");
        }
        let Some(table) = &self.table else {
            return self.whole.1.as_ref().map_or_else(|| "nothing that is known".into(), show);
        };
        let parts: Vec<String> = self.parts.iter().filter_map(|(_, found)| found.as_ref().map(show)).collect();
        match (table.partitions.len(), parts.len()) {
            (0, _) => format!("{}, no partitions", table.scheme),
            (1, 0) => format!("{}, 1 partition", table.scheme),
            (count, 0) => format!("{}, {count} partitions", table.scheme),
            _ => format!("{}: {}", table.scheme, parts.join(", ")),
        }
    }

    /// Describes each partition in a line: what would be lost.
    pub fn lines(&self) -> Vec<String> {
        let Some(table) = &self.table else { return vec![self.summary()] };
        let width = self.parts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let line = |(partition, (name, found)): (&Partition, &(String, Option<Signature>))| {
            let size = show_bytes(partition.range.end - partition.range.start);
            let what = match (found, partition.purpose()) {
                (Some(found), _) => show(found),
                (None, Some(kind)) => format!("marked as {kind}, nothing in it that is known"),
                (None, None) => "nothing that is known".into(),
            };
            let named = if partition.name.is_empty() { String::new() } else { format!(", named {:?}", partition.name) };
            let used = found.as_ref().and_then(|found| found.used);
            let used = used.map(|(used, _)| format!(", {} in use", show_bytes(used))).unwrap_or_default();
            format!("{name:width$}  {size:>10}  {what}{named}{used}")
        };
        let mut lines: Vec<String> = table.partitions.iter().zip(&self.parts).map(line).collect();
        if lines.is_empty() {
            lines.push(self.summary());
        }
        lines
    }
}

/// Returns how a partition is called: the kernel puts a `p` after a name that ends in a digit.
fn partition_name(disk: &str, number: u32) -> String {
    match disk {
        "" => format!("partition {number}"),
        _ if disk.ends_with(|c: char| c.is_ascii_digit()) => format!("{disk}p{number}"),
        _ => format!("{disk}{number}"),
    }
}

fn show(found: &Signature) -> String {
    if found.label.is_empty() { found.kind.into() } else { format!("{} {:?}", found.kind, found.label) }
}
