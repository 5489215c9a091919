//! Files beside files: two trees, name by name.

use std::cmp::Ordering;
use std::collections::HashSet;

use imagegen::tree::Timestamp;
use imagegen::volume::{Entry, Kind, Node, NodeId, Volume, VolumeError, show};

use super::{Differ, FilePlace, Side, What, compared};
use crate::error::Result;
use crate::look::show::{exact_time, value};
use crate::run::history;

/// The longest path that is followed, in bytes.
const PATH_BYTES_MAX: usize = 64 << 10;
/// How the console's record of a machine is called: each boot writes another.
const CONSOLE: &[u8] = b"serial.log";

/// How the two sides are called.
const SIDES: [&str; 2] = ["the first's", "the second's"];

/// What of a file both formats keep.
#[derive(Clone, Copy)]
struct Kept {
    /// Owner, mode, number of names.
    owners: bool,
    /// Extended attributes.
    attributes: bool,
    /// The steps in which they count time, in nanoseconds; 0 if that is not compared.
    step: i128,
    /// Whether both are of one format, so that its own words can be compared.
    same: bool,
}

impl Kept {
    fn by(a: &str, b: &str) -> Self {
        let step = |format: &str| match format {
            "folder" => 0,
            "cpio" => 1_000_000_000,
            _ if is_fat(format) => 2_000_000_000,
            _ => 1,
        };
        let either = |is: &dyn Fn(&str) -> bool| is(a) || is(b);
        let plain = either(&is_fat) || either(&|format| format == "folder");
        Kept {
            owners: !plain,
            attributes: !plain && !either(&|format| format == "cpio"),
            step: if step(a) == 0 || step(b) == 0 { 0 } else { step(a).max(step(b)) },
            same: a == b && a != "folder",
        }
    }

    fn time(&self, time: Timestamp) -> i128 {
        (i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)).div_euclid(self.step.max(1))
    }
}

fn is_fat(format: &str) -> bool {
    format.starts_with("FAT")
}

impl Differ<'_> {
    /// Compares two files or folders.
    pub(super) fn trees(&mut self, address: &str, a: &FilePlace, b: &FilePlace) -> Result<()> {
        self.trees_at(address, a, b, 0)
    }

    pub(super) fn trees_at(&mut self, address: &str, a: &FilePlace, b: &FilePlace, depth: usize) -> Result<()> {
        let kept = Kept::by(a.volume.format(), b.volume.format());
        let start = [a, b].map(FilePlace::address);
        let start = if start[0] == start[1] { start[0].clone() } else { start.join(" -> ") };
        let mut pair =
            Pair { start, volumes: [&*a.volume, &*b.volume], kept, depth, seen: [HashSet::new(), HashSet::new()] };
        // The colon stands between an image and a path in it.
        let prefix = if address.is_empty() { String::new() } else { format!("{address}:") };
        let mut todo = vec![(Vec::new(), [a.id, b.id])];
        while let Some((path, ids)) = todo.pop() {
            self.pair(&prefix, &path, ids, &mut pair, &mut todo)?;
        }
        Ok(())
    }

    /// Compares two files of the same path; of folders, the names come next.
    fn pair(
        &mut self,
        prefix: &str,
        path: &[u8],
        ids: [NodeId; 2],
        pair: &mut Pair<'_>,
        todo: &mut Vec<(Vec<u8>, [NodeId; 2])>,
    ) -> Result<()> {
        let mut address = format!("{prefix}/{}", show(path));
        let Some([a, b]) = self.both(&address, [0, 1].map(|side: usize| pair.volumes[side].node(ids[side]))) else {
            return Ok(());
        };
        if path.is_empty() && !(a.kind.is_directory() && b.kind.is_directory()) {
            address.clone_from(&pair.start);
        }
        if std::mem::discriminant(&a.kind) != std::mem::discriminant(&b.kind) {
            let (a, b) = (Some(a.kind.name().into()), Some(b.kind.name().into()));
            return self.report(&address, What::Value { name: "type".into(), a, b });
        }
        self.metadata(&address, &a, &b, pair.kept)?;
        match (&a.kind, &b.kind) {
            (Kind::Directory, Kind::Directory) => return self.folders(prefix, path, ids, pair, todo),
            (Kind::File(left), Kind::File(right)) => match compared(&address, left, right, false) {
                Ok(None) => {
                    let (left, right) = (a.allocated_bytes, b.allocated_bytes);
                    if pair.kept.same && left != right {
                        self.value(&address, "allocated-bytes", left.to_string(), right.to_string())?;
                    }
                }
                Ok(Some(_)) => self.sources(&address, left, right, pair.depth + 1)?,
                Err(error) => self.watch.unreadable(error.to_string()),
            },
            (Kind::Symlink(left), Kind::Symlink(right)) if left != right => {
                self.value(&address, "target", show(left), show(right))?;
            }
            (left, right) => {
                let device = |kind: &Kind| match kind {
                    Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                        format!("{major}:{minor}")
                    }
                    _ => String::new(),
                };
                let (left, right) = (device(left), device(right));
                if left != right {
                    self.value(&address, "device", left, right)?;
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, address: &str, name: &str, a: String, b: String) -> Result<()> {
        self.report(address, What::Value { name: name.into(), a: Some(a), b: Some(b) })
    }

    /// Takes what could be read of both; else says what could not.
    fn both<T>(&mut self, address: &str, read: [Result<T, VolumeError>; 2]) -> Option<[T; 2]> {
        match read {
            [Ok(a), Ok(b)] => Some([a, b]),
            read => {
                for (side, result) in SIDES.iter().zip(read) {
                    if let Err(error) = result {
                        self.watch.unreadable(format!("{side} {address}: {error}"));
                    }
                }
                None
            }
        }
    }

    /// Compares what is said of a file beside its content.
    fn metadata(&mut self, address: &str, a: &Node, b: &Node, kept: Kept) -> Result<()> {
        let (left, right) = (&a.metadata, &b.metadata);
        if kept.owners {
            if left.mode != right.mode {
                self.value(address, "mode", format!("{:04o}", left.mode), format!("{:04o}", right.mode))?;
            }
            if (left.uid, left.gid) != (right.uid, right.gid) {
                let owner = |uid, gid| format!("{uid}:{gid}");
                self.value(address, "owner", owner(left.uid, left.gid), owner(right.uid, right.gid))?;
            }
            if a.links != b.links && !a.kind.is_directory() {
                self.value(address, "links", a.links.to_string(), b.links.to_string())?;
            }
        }
        if kept.step > 0 && kept.time(left.mtime) != kept.time(right.mtime) {
            self.value(address, "mtime", exact_time(left.mtime), exact_time(right.mtime))?;
        }
        if kept.same && a.flags != b.flags {
            self.value(address, "flags", a.flags.clone(), b.flags.clone())?;
        }
        if kept.attributes && left.xattrs != right.xattrs {
            let mut names: Vec<&Vec<u8>> = left.xattrs.keys().chain(right.xattrs.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let [a, b] = [left, right].map(|side| side.xattrs.get(name));
                if a != b {
                    let [a, b] = [a, b].map(|bytes| bytes.map(|bytes| value(bytes)));
                    self.report(address, What::Value { name: format!("xattr {}", show(name)), a, b })?;
                }
            }
        }
        Ok(())
    }

    /// Compares the names in two folders.
    fn folders(
        &mut self,
        prefix: &str,
        path: &[u8],
        ids: [NodeId; 2],
        pair: &mut Pair<'_>,
        todo: &mut Vec<(Vec<u8>, [NodeId; 2])>,
    ) -> Result<()> {
        let address = format!("{prefix}/{}", show(path));
        for (side, name) in SIDES.iter().enumerate() {
            if !pair.seen[side].insert(pair.volumes[side].folder_number(ids[side])) || path.len() > PATH_BYTES_MAX {
                self.watch
                    .unreadable(format!("{name} {address}: the folder is in itself, or in two folders, or too deep"));
                return Ok(());
            }
        }
        let Some([a, b]) = self.both(&address, [0, 1].map(|side: usize| pair.volumes[side].entries(ids[side]))) else {
            return Ok(());
        };
        for (side, names) in SIDES.iter().zip([&a, &b]) {
            for error in &names.refused {
                self.watch.unreadable(format!("{side} {address}: {error}"));
            }
        }
        let (a, b) = (a.entries, b.entries);
        let ours = [&a, &b].iter().all(|list| list.iter().any(|entry| *entry.name == *history::FILE_NAME.as_bytes()));
        let counts = |entry: &Entry| !(ours && is_record(&entry.name));
        let (mut left, mut right) = (a.into_iter().filter(counts).peekable(), b.into_iter().filter(counts).peekable());
        let mut below = Vec::new();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.name.cmp(&right.name),
            };
            let a = if order == Ordering::Greater { None } else { left.next() };
            let b = if order == Ordering::Less { None } else { right.next() };
            let Some(name) = a.as_ref().or(b.as_ref()).map(|entry| entry.name.clone()) else { break };
            let path = if path.is_empty() { name.to_vec() } else { [path, b"/", &name].concat() };
            match (a, b) {
                (Some(a), Some(b)) => below.push((path, [a.id, b.id])),
                (Some(a), None) => self.alone(prefix, &path, Side::A, pair.volumes[0], a.id)?,
                (None, Some(b)) => self.alone(prefix, &path, Side::B, pair.volumes[1], b.id)?,
                (None, None) => {}
            }
        }
        todo.extend(below.into_iter().rev());
        Ok(())
    }

    fn alone(&mut self, prefix: &str, path: &[u8], side: Side, volume: &dyn Volume, id: NodeId) -> Result<()> {
        let kind = volume.node(id).map_or("unreadable", |node| node.kind.name());
        self.report(&format!("{prefix}/{}", show(path)), What::OnlyIn(side, kind))
    }
}

/// Says whether a name in a folder of artifacts is that of a record, which no two builds or boots share.
fn is_record(name: &[u8]) -> bool {
    name == history::FILE_NAME.as_bytes() || name.starts_with(CONSOLE)
}

/// Two trees while they are compared.
struct Pair<'a> {
    /// The addresses that were given.
    start: String,
    volumes: [&'a dyn Volume; 2],
    kept: Kept,
    depth: usize,
    /// The folders that were come to, on each side.
    seen: [HashSet<NodeId>; 2],
}
