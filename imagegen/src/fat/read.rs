//! Reads FAT12, FAT16 and FAT32: those written here, and what mkfs.fat, mtools, cameras and others make.

mod boot;
mod chain;
mod directory;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::tree::{Extent, Metadata, Source, Timestamp};
use crate::volume::{Entry, Kind, Names, Node, NodeId, Result, Volume, VolumeError, corrupt, read_exact, sorted};
use boot::Boot;
use chain::Run;
use directory::{Found, Record};

use super::Width;
use super::name::folded;

/// The root folder, which has no entry; no entry is at byte 0.
const ROOT: NodeId = NodeId(0);
/// The most bytes of a name: 255 UTF-16 units, three bytes of UTF-8 each.
const NAME_BYTES_MAX: usize = 255 * 3;

/// How many folders' lengths are remembered.
const LENGTHS_MAX: usize = 1 << 16;
/// Marks a number that is a cluster's, and not the place of an entry.
const CLUSTER_NUMBER: u64 = 1 << 63;

/// A FAT file system, opened.
#[derive(Clone)]
pub struct Fat {
    inner: Arc<Inner>,
}

/// What the content of its files needs, too.
struct Inner {
    device: Arc<dyn Source>,
    boot: Boot,
    /// How many clusters folders have, by the first: any number of entries may name the same one.
    lengths: Mutex<HashMap<u32, Result<u64>>>,
}

impl Fat {
    /// Says whether there is a boot sector of a FAT.
    pub fn is_here(device: &dyn Source) -> bool {
        Boot::read(device).is_ok()
    }

    /// Opens a file system.
    ///
    /// # Errors
    /// It has no boot sector that can be believed.
    pub fn open(device: Arc<dyn Source>) -> Result<Self> {
        let boot = Boot::read(&*device)?;
        Ok(Fat { inner: Arc::new(Inner { device, boot, lengths: Mutex::default() }) })
    }

    /// Returns what is in a folder.
    fn read(&self, directory: NodeId) -> Result<Vec<Found>> {
        if directory == ROOT {
            return match self.inner.boot.root_cluster() {
                Some(cluster) => directory::in_clusters(&self.inner, cluster),
                None => directory::fixed_root(&self.inner),
            };
        }
        let record = self.record(directory)?;
        if !record.is_directory() {
            return corrupt(entry_place(directory), "is no folder");
        }
        // As where `..` leads to: 0 stands for the root.
        match record.first_cluster(self.inner.boot.width) {
            0 => corrupt(entry_place(directory), "is a folder without a cluster"),
            cluster => directory::in_clusters(&self.inner, cluster),
        }
    }

    /// Returns the number of clusters of a folder.
    fn folder_clusters(&self, first: u32) -> Result<u64> {
        let mut lengths = self.inner.lengths.lock().unwrap_or_else(PoisonError::into_inner);
        if lengths.len() >= LENGTHS_MAX {
            lengths.clear();
        }
        lengths.entry(first).or_insert_with(|| chain::length(&self.inner, first)).clone()
    }

    /// Reads an entry.
    fn record(&self, id: NodeId) -> Result<Record> {
        let mut bytes = [0; 32];
        read_exact(&*self.inner.device, id.0, &mut bytes, || entry_place(id))?;
        Ok(Record(bytes))
    }
}

fn entry_place(id: NodeId) -> String {
    format!("the entry at byte {}", id.0)
}

impl Volume for Fat {
    fn format(&self) -> &'static str {
        match self.inner.boot.width {
            Width::Fat12 => "FAT12",
            Width::Fat16 => "FAT16",
            Width::Fat32 => "FAT32",
        }
    }

    fn label(&self) -> String {
        let found = self.read(ROOT).unwrap_or_default();
        match found.into_iter().find(|found| found.is_label) {
            Some(label) => label.name,
            None => self.inner.boot.label(),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("format", self.format().to_string()), ("label", self.label())];
        facts.extend(self.inner.boot.facts());
        facts
    }

    fn unit(&self) -> (u64, &'static str) {
        (self.inner.boot.cluster_bytes, "cluster")
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        let boot = &self.inner.boot;
        if id == ROOT {
            let size_bytes = match boot.root_cluster() {
                Some(cluster) => self.folder_clusters(cluster)? * boot.cluster_bytes,
                None => boot.root_bytes,
            };
            let metadata = Metadata::root(0o755, Timestamp::default());
            let (allocated_bytes, flags) = (size_bytes, String::new());
            return Ok(Node { kind: Kind::Directory, metadata, size_bytes, allocated_bytes, links: 1, flags });
        }
        let record = self.record(id)?;
        let cluster = record.first_cluster(boot.width);
        let (kind, size_bytes, mode) = if record.is_directory() {
            (Kind::Directory, self.folder_clusters(cluster)? * boot.cluster_bytes, 0o755)
        } else {
            let size = u64::from(record.size());
            let content = Content { inner: self.inner.clone(), cluster, size, runs: OnceLock::new() };
            (Kind::File(Arc::new(content)), size, 0o644)
        };
        let mode = if record.is_read_only() { mode & 0o555 } else { mode };
        Ok(Node {
            kind,
            metadata: Metadata::root(mode, record.mtime()),
            size_bytes,
            allocated_bytes: size_bytes.next_multiple_of(boot.cluster_bytes),
            links: 1,
            flags: record.flag_letters(),
        })
    }

    fn entries(&self, directory: NodeId) -> Result<Names> {
        let found = self.read(directory)?.into_iter().filter(|found| !found.is_label);
        let entries = found.map(|found| Entry { name: found.name.into_bytes().into(), id: NodeId(found.position) });
        Ok(sorted(entries.collect(), NAME_BYTES_MAX, || match directory {
            ROOT => "the root folder".into(),
            id => format!("the folder of {}", entry_place(id)),
        }))
    }

    /// A folder has as many places as entries name it, and one first cluster.
    fn folder_number(&self, directory: NodeId) -> NodeId {
        let first = match directory {
            ROOT => self.inner.boot.root_cluster(),
            id => self.record(id).ok().map(|record| record.first_cluster(self.inner.boot.width)),
        };
        first.map_or(directory, |first| NodeId(CLUSTER_NUMBER | u64::from(first)))
    }

    /// As every FAT driver does, takes `README.TXT` for `readme.txt`, unless there are both.
    fn child(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let Names { entries, .. } = self.entries(directory)?;
        if let Ok(index) = entries.binary_search_by(|entry| (*entry.name).cmp(name)) {
            return Ok(Some(entries[index].id));
        }
        let fold = |name: &[u8]| std::str::from_utf8(name).ok().map(folded);
        let wanted = fold(name);
        Ok(entries.iter().find(|entry| wanted.is_some() && fold(&entry.name) == wanted).map(|entry| entry.id))
    }
}

/// A file's content; its clusters are looked up when it is first read.
struct Content {
    inner: Arc<Inner>,
    cluster: u32,
    size: u64,
    runs: OnceLock<Result<Vec<Run>>>,
}

impl Content {
    fn runs(&self) -> Result<&[Run]> {
        let clusters = self.size.div_ceil(self.inner.boot.cluster_bytes);
        let runs = self.runs.get_or_init(|| chain::runs(&self.inner, self.cluster, clusters));
        runs.as_deref().map_err(VolumeError::clone)
    }
}

impl Source for Content {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn extents(&self) -> Vec<Extent> {
        if self.size == 0 { Vec::new() } else { vec![Extent { offset: 0, length: self.size }] }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let boot = &self.inner.boot;
        let runs = self.runs()?;
        let first = runs.partition_point(|run| (run.index + run.count) * boot.cluster_bytes <= offset);
        for run in &runs[first..] {
            let start = run.index * boot.cluster_bytes;
            if start >= end {
                break;
            }
            let (from, to) = (start.max(offset), (start + run.count * boot.cluster_bytes).min(end));
            let part = &mut buffer[(from - offset) as usize..(to - offset) as usize];
            let at = boot.position(run.first) + (from - start);
            read_exact(&*self.inner.device, at, part, || format!("cluster {}", run.first))?;
        }
        Ok(())
    }
}
