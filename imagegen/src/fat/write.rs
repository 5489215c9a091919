//! The plan carried out: boot sectors, tables, directories, files, front to back.

use std::fs;
use std::ops::ControlFlow;

use super::Width;
use super::boot;
use super::directory::{Builder, Facts};
use super::layout::{FATS, FIRST_CLUSTER, SECTOR};
use super::plan::{Directory, File, Node, Plan};
use super::table::{self, Run};
use crate::image_error::WriteError;
use crate::sink::{CopyError, Sink};
use crate::tree::Source;

/// Between two reports of progress, in bytes.
const REPORT_EVERY: u64 = 1 << 20;

impl Plan<'_> {
    /// Writes the image into a file, from `offset` on, and leaves the file at least so long.
    ///
    /// The range becomes holes first; only what is not zero by plan is written. `progress` hears how many of
    /// [`Plan::content_bytes`] are done, and may break off.
    ///
    /// # Errors
    /// The file that could not be read or no longer is what it was; the output; [`WriteError::Cancelled`].
    pub fn write(
        &self,
        file: &fs::File,
        offset: u64,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), WriteError> {
        let sink = Sink::new(file, offset, self.size_bytes()).map_err(WriteError::Output)?;
        let mut writer = Writer { plan: self, sink, reported: 0, progress };
        writer.tables()?;
        for (index, directory) in self.directories.iter().enumerate() {
            writer.directory(index, directory)?;
        }
        for file in self.files.iter().filter(|file| file.size > 0) {
            writer.file(file)?;
        }
        writer.sink.flush().map_err(WriteError::Output)?;
        match (writer.progress)(self.content_bytes()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(WriteError::Cancelled),
        }
    }

    /// Returns what entries say of a directory; `..` says 0 for the root, whatever the root has.
    fn facts(&self, index: usize) -> Facts {
        let Directory { id, clusters, .. } = &self.directories[index];
        let time = self.tree.inode(*id).metadata.mtime;
        Facts { directory: true, first_cluster: if index == 0 { 0 } else { clusters.first }, size: 0, time }
    }
}

/// An image being written.
struct Writer<'p, 'a> {
    plan: &'p Plan<'a>,
    sink: Sink<'p>,
    reported: u64,
    progress: &'p mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Writer<'_, '_> {
    /// Writes all that comes before the root directory.
    fn tables(&mut self) -> Result<(), WriteError> {
        let plan = self.plan;
        let geometry = &plan.geometry;
        let boot = boot::sector(geometry, &plan.options);
        self.put(0, &boot)?;
        if geometry.width == Width::Fat32 {
            let next_free = FIRST_CLUSTER + plan.used_clusters;
            let full = plan.used_clusters == geometry.clusters;
            let next_free = if full { u32::MAX } else { next_free };
            let info = boot::fsinfo(geometry.clusters - plan.used_clusters, next_free);
            self.put(u64::from(boot::FSINFO) * SECTOR, &info)?;
            self.put(u64::from(boot::BACKUP) * SECTOR, &boot)?;
            self.put(u64::from(boot::BACKUP + boot::FSINFO) * SECTOR, &info)?;
        }
        let runs = plan.directories.iter().map(|directory| directory.clusters);
        let runs = runs.chain(plan.files.iter().map(|file| file.clusters));
        let runs: Vec<Run> = runs.filter(|run| run.count > 0).collect();
        for copy in 0..FATS {
            let start = u64::from(geometry.reserved_sectors + copy * geometry.fat_sectors) * SECTOR;
            table::write(geometry.width, &runs, |at, bytes| self.put(start + at, bytes))?;
        }
        Ok(())
    }

    fn directory(&mut self, index: usize, directory: &Directory<'_>) -> Result<(), WriteError> {
        let plan = self.plan;
        let mut builder = Builder::new(plan.geometry.width, &plan.options);
        if index == 0 {
            builder.label();
        } else {
            builder.dots(plan.facts(index), plan.facts(directory.parent));
        }
        for entry in &directory.entries {
            let facts = match entry.node {
                Node::Directory(child) => plan.facts(child),
                Node::File(child) => {
                    let file = &plan.files[child];
                    let first_cluster = if file.size == 0 { 0 } else { file.clusters.first };
                    let time = plan.tree.inode(file.id).metadata.mtime;
                    Facts { directory: false, first_cluster, size: file.size, time }
                }
            };
            builder.add(&entry.name, entry.text, facts);
        }
        let position = match directory.clusters {
            Run { count: 0, .. } => u64::from(plan.geometry.root_start()) * SECTOR,
            Run { first, .. } => self.reach(first)?,
        };
        self.put(position, &builder.finish())
    }

    fn file(&mut self, file: &File) -> Result<(), WriteError> {
        let plan = self.plan;
        let changed = || WriteError::Changed { path: plan.path(file) };
        let source: &dyn Source = plan.source(file).ok_or_else(changed)?;
        let position = self.reach(file.clusters.first)?;
        let start = position - plan.geometry.position(FIRST_CLUSTER);
        let Writer { sink, reported, progress, .. } = self;
        let report = |done: u64| {
            *reported = start + done;
            progress(start + done).is_continue()
        };
        sink.whole(source, file.size.into(), position, report).map_err(|error| match error {
            CopyError::Source(error) => WriteError::Source { path: plan.path(file), error },
            CopyError::Output(error) => WriteError::Output(error),
            CopyError::Changed => changed(),
            CopyError::Cancelled => WriteError::Cancelled,
        })
    }

    /// Reports progress up to a cluster now and then, and returns its position in the image.
    fn reach(&mut self, cluster: u32) -> Result<u64, WriteError> {
        let position = self.plan.geometry.position(cluster);
        let done = position - self.plan.geometry.position(FIRST_CLUSTER);
        if done - self.reported >= REPORT_EVERY {
            self.reported = done;
            if (self.progress)(done).is_break() {
                return Err(WriteError::Cancelled);
            }
        }
        Ok(position)
    }

    fn put(&mut self, position: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.sink.put(position, bytes).map_err(WriteError::Output)
    }
}
