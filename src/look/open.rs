//! What a file is: a disk with a table, a file system, an archive, or none of them. Compressed ones are unpacked first.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use imagegen::archive::folder::{self, Keep};
use imagegen::archive::{ArchiveError, ReadOptions, Summary, cpio, tar};
use imagegen::decompress::{Compression, DecompressError};
use imagegen::disk::table::{self, Partition, Table, TableError};
use imagegen::ext::Ext;
use imagegen::fat::Fat;
use imagegen::tree::{Metadata, Source, Timestamp, Tree};
use imagegen::volume::{Archive, Volume, VolumeError, Window};

use super::source::{HostFile, as_file, decompressed};
use crate::error::{Error, Kind, Result};

/// How much of the start tells what something is.
const HEAD_BYTES: usize = 1024;

/// What something turns out to be.
pub enum Thing {
    /// A partitioned disk.
    Disk(Disk),
    /// A file system or an archive, and what it lies on.
    Volume(Arc<dyn Volume>, Arc<dyn Source>),
    /// Nothing that can be looked into.
    Data(Arc<dyn Source>),
}

impl Thing {
    /// Returns its bytes, unpacked.
    pub fn source(&self) -> &Arc<dyn Source> {
        match self {
            Thing::Disk(Disk { source, .. }) | Thing::Volume(_, source) | Thing::Data(source) => source,
        }
    }

    /// Returns what it is called.
    pub fn format(&self) -> &'static str {
        match self {
            Thing::Disk(_) => "disk",
            Thing::Volume(volume, _) => volume.format(),
            Thing::Data(_) => "data",
        }
    }
}

/// A partitioned disk.
#[derive(Clone)]
pub struct Disk {
    /// How it was called.
    pub name: String,
    /// Its table.
    pub table: Table,
    /// What of it is damaged, though it could be read.
    pub damages: Vec<String>,
    /// Its bytes.
    pub source: Arc<dyn Source>,
}

impl Disk {
    /// Returns the bytes of a partition.
    pub fn partition(&self, partition: &Partition) -> Arc<dyn Source> {
        let length = partition.range.end - partition.range.start;
        Arc::new(Window::new(self.source.clone(), partition.range.start, length))
    }

    /// Says what is in a partition, as far as its beginning tells: nothing is unpacked.
    pub fn held(&self, partition: &Partition) -> Held {
        if partition.is_extended() {
            return Held::Nothing;
        }
        glance(&format!("{}:{}", self.name, partition.number), &self.partition(partition)).unwrap_or_else(Held::Damaged)
    }

    /// Returns the partitions that files can be in: where there is none, those that have to be unpacked to know.
    pub fn with_files(&self) -> Vec<&Partition> {
        let (mut sure, mut packed) = (Vec::new(), Vec::new());
        for partition in &self.table.partitions {
            match self.held(partition) {
                Held::Volume(_) | Held::Archive(_) => sure.push(partition),
                Held::Packed(_) => packed.push(partition),
                Held::Damaged(_) | Held::Nothing => {}
            }
        }
        if sure.is_empty() { packed } else { sure }
    }

    /// Finds a partition by its number, by the name that a GPT gives it, or by the label of its file system.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, wanted: &str) -> Result<&Partition> {
        let partitions = &self.table.partitions;
        if let Ok(number) = wanted.parse::<u32>()
            && let Some(found) = partitions.iter().find(|partition| partition.number == number)
        {
            return Ok(found);
        }
        let named: Vec<&Partition> = partitions.iter().filter(|partition| partition.name == wanted).collect();
        let labelled = || {
            let has_label = |partition: &&Partition| matches!(self.held(partition), Held::Volume(volume) if volume.label() == wanted);
            partitions.iter().filter(has_label).collect::<Vec<&Partition>>()
        };
        let found = if named.is_empty() && !wanted.is_empty() { labelled() } else { named };
        match found[..] {
            [one] => Ok(one),
            [] => {
                Err(Error::new(Kind::Usage, format!("{} has no partition `{wanted}`", self.name)).hint(self.choices()))
            }
            _ => {
                let message = format!("{} has {} partitions called `{wanted}`", self.name, found.len());
                Err(Error::new(Kind::Usage, message).hint(self.choices()))
            }
        }
    }

    /// Says which partitions there are.
    pub fn choices(&self) -> String {
        let one = |partition: &Partition| {
            let name = if partition.name.is_empty() { String::new() } else { format!(" ({})", partition.name) };
            format!("{}{name}", partition.number)
        };
        let list: Vec<String> = self.table.partitions.iter().map(one).collect();
        if list.is_empty() { "there are no partitions".into() } else { format!("partitions are {}", list.join(", ")) }
    }
}

/// What a partition holds, as far as its beginning tells.
pub enum Held {
    /// A file system.
    Volume(Arc<dyn Volume>),
    /// An archive of this format.
    Archive(&'static str),
    /// Something that is compressed, as this.
    Packed(Compression),
    /// A file system that cannot be read.
    Damaged(Error),
    /// Nothing that is known.
    Nothing,
}

/// Opens a file of the host, and says what it is.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn open(path: &Path) -> Result<Thing> {
    let name = path.display().to_string();
    identify(&name, &host_file(path)?)
}

/// Opens a file of the host as bytes.
pub fn host_file(path: &Path) -> Result<Arc<dyn Source>> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    // Before it is opened: a pipe would wait.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(Error::new(Kind::Usage, format!("{} is not a file", path.display())));
    }
    let file = File::open(path).map_err(failed)?;
    Ok(Arc::new(HostFile::new(file).map_err(failed)?))
}

/// Reads a folder of the host, as it is.
pub fn host_folder(path: &Path) -> Result<Arc<dyn Volume>> {
    let mut tree = empty();
    let options = ReadOptions::default();
    let read = folder::read_into(&mut tree, path, &options, Keep::Everything);
    read.map_err(|error| archive_fault(&path.display().to_string(), error))?;
    Ok(Arc::new(Archive::new("folder", tree)))
}

/// Says what bytes are; `name` is how to call them.
///
/// # Errors
/// They cannot be read, or begin like an image and go on otherwise.
pub fn identify(name: &str, source: &Arc<dyn Source>) -> Result<Thing> {
    let failed = |error| super::read_fault(name, error);
    let head = head(source).map_err(failed)?;
    if Compression::detect(&head) != Compression::Plain {
        let file = decompressed(source).map_err(|error| unpack_fault(name, error))?;
        let inner: Arc<dyn Source> = Arc::new(HostFile::new(file).map_err(failed)?);
        // Not again: of what is in it, only the bytes count.
        return plain(name, &inner, &self::head(&inner).map_err(failed)?);
    }
    plain(name, source, &head)
}

/// Reads what tells what something is.
fn head(source: &Arc<dyn Source>) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; source.size_bytes().min(HEAD_BYTES as u64) as usize];
    source.read_at(0, &mut head)?;
    Ok(head)
}

/// Says what a partition holds.
fn glance(name: &str, source: &Arc<dyn Source>) -> Result<Held> {
    let head = head(source).map_err(|error| super::read_fault(name, error))?;
    Ok(match Compression::detect(&head) {
        Compression::Plain => match (archive(&head), file_system(name, source)?) {
            (Some((format, _)), _) => Held::Archive(format),
            (None, Some(volume)) => Held::Volume(volume),
            (None, None) => Held::Nothing,
        },
        packed => Held::Packed(packed),
    })
}

/// Says which archive begins so, and how it is read.
fn archive(head: &[u8]) -> Option<(&'static str, Read)> {
    match head {
        [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => Some(("cpio", cpio::read_into)),
        _ if is_tar(head) => Some(("tar", tar::read_into)),
        _ => None,
    }
}

/// Opens a file system, if there is one.
fn file_system(name: &str, source: &Arc<dyn Source>) -> Result<Option<Arc<dyn Volume>>> {
    let fault = |error: VolumeError| super::fault(name, error);
    if Ext::is_here(&**source) {
        return Ok(Some(Arc::new(Ext::open(source.clone()).map_err(fault)?)));
    }
    if Fat::is_here(&**source) {
        return Ok(Some(Arc::new(Fat::open(source.clone()).map_err(fault)?)));
    }
    Ok(None)
}

fn plain(name: &str, source: &Arc<dyn Source>, head: &[u8]) -> Result<Thing> {
    if let Some((format, read)) = archive(head) {
        let file = as_file(source).map_err(|error| super::read_fault(name, error))?;
        let mut tree = empty();
        read(&mut tree, &file, &ReadOptions::default()).map_err(|error| archive_fault(name, error))?;
        return Ok(Thing::Volume(Arc::new(Archive::new(format, tree)), source.clone()));
    }
    let mut damages = Vec::new();
    let mut tell = |damage| damages.push(format!("{name}: {damage}"));
    let table = table::read_damaged(&mut |at, buffer| source.read_at(at, buffer), source.size_bytes(), &mut tell);
    if let Ok(Some(table)) = table {
        let size = source.size_bytes();
        if table.end_bytes > size {
            damages.push(format!("{name}: the disk of its table has {} bytes, the image {size}", table.end_bytes));
        }
        return Ok(Thing::Disk(Disk { name: name.into(), table, damages, source: source.clone() }));
    }
    if let Some(volume) = file_system(name, source)? {
        return Ok(Thing::Volume(volume, source.clone()));
    }
    match table {
        Err(TableError::Corrupt(reason)) => Err(Error::new(Kind::Input, format!("{name}: {reason}"))),
        Err(TableError::Io(error)) => Err(super::read_fault(name, error)),
        Ok(_) => Ok(Thing::Data(source.clone())),
    }
}

type Read = fn(&mut Tree, &Arc<File>, &ReadOptions) -> Result<Summary, ArchiveError>;

fn empty() -> Tree {
    Tree::new(Metadata::root(0o755, Timestamp::default()))
}

/// Says whether a header of a tar archive stands there: its checksum is right.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.first_chunk::<512>() else { return false };
    let digits = header[148..156].split(|byte| matches!(byte, 0 | b' ')).find(|part| !part.is_empty());
    let stated = digits.and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
    let sum = |range: std::ops::Range<usize>| header[range].iter().map(|&byte| u32::from(byte)).sum::<u32>();
    header[0] != 0 && stated == Some(sum(0..148) + 8 * u32::from(b' ') + sum(156..512))
}

fn archive_fault(name: &str, error: ArchiveError) -> Error {
    let kind = if matches!(error.problem, imagegen::archive::Problem::Io(_)) { Kind::Host } else { Kind::Input };
    let text = error.to_string();
    Error::new(kind, format!("{name}: {}", text.trim_start_matches(": ")))
}

fn unpack_fault(name: &str, error: std::io::Error) -> Error {
    let decoder = error.get_ref().is_some_and(|inner| inner.is::<DecompressError>());
    if decoder || error.kind() == std::io::ErrorKind::InvalidData {
        return Error::new(Kind::Input, format!("{name}: {error}"));
    }
    Error::io(format!("cannot unpack {name} into a temporary file"), error).hint("TMPDIR says where those are")
}
