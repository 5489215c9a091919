//! Every place where a recipe names a file, a tree or a package: listed once, for all who look at them.

use super::{EntryContent, FileSource, Located, PartitionContent, Recipe, SourceFrom, TreeSource};

impl Recipe {
    /// Lists every single file that the recipe names.
    pub fn files(&self) -> impl Iterator<Item = &FileSource> {
        let entries = self.filesystems.values().flat_map(|filesystem| filesystem.files.values());
        std::iter::once(&self.hypervisor.image)
            .chain(self.kernels.values().map(|kernel| &kernel.image))
            .chain(&self.device_tree.source)
            .chain(&self.device_tree.overlays)
            .chain(&self.machine.firmware)
            .chain(self.boot.fit.iter().flat_map(|fit| &fit.key).flat_map(|key| &key.control))
            .chain(entries.filter_map(|entry| match &entry.content {
                EntryContent::File(file) => Some(file),
                _ => None,
            }))
            .chain(self.disks.values().flat_map(|disk| disk.partitions.iter()).filter_map(|one| match &one.content {
                Some(PartitionContent::File(file)) => Some(file),
                _ => None,
            }))
            .chain(self.disks.values().flat_map(|disk| disk.gaps.iter()).map(|gap| &gap.file))
    }

    /// Lists every tree that the recipe names.
    pub fn trees(&self) -> impl Iterator<Item = &TreeSource> {
        let includes = self.filesystems.values().flat_map(|filesystem| &filesystem.include);
        let modules = self.kernels.values().filter_map(|kernel| kernel.modules.as_ref());
        modules.chain(includes.map(|include| &include.source))
    }

    /// Lists every package that is only taken for what is in it, not for what it depends on.
    pub fn packages_for_files(&self) -> impl Iterator<Item = &Located<String>> {
        let files = self.files().filter_map(|source| match source {
            FileSource::Package { package, .. } => Some(package),
            _ => None,
        });
        let trees = self.trees().filter_map(|source| match source {
            TreeSource::Package { package } => Some(package),
            _ => None,
        });
        let sources = self.source_trees.values().filter_map(|source| match &source.from {
            SourceFrom::Package { package, .. } => Some(package),
            _ => None,
        });
        files.chain(trees).chain(sources)
    }
}
