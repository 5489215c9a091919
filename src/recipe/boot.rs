//! Where U-Boot's script finds what it loads: on the file system that it lies on itself.

use std::collections::BTreeMap;

use super::{BootPart, EntryContent, Format, Located, Origin, Recipe};

/// Files to boot from, by what they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BootFiles {
    /// The file system that the script lies on; none where the recipe puts it on none.
    pub filesystem: Option<String>,
    /// Where the script stands in it.
    pub origin: Option<Origin>,
    /// Their paths there, or else the artifacts' names.
    pub paths: BTreeMap<BootPart, String>,
}

impl BootPart {
    /// Returns what recipes call it.
    pub fn name(self) -> &'static str {
        match self {
            BootPart::Script => "script",
            BootPart::Fit => "fit",
            BootPart::Hypervisor => "xen",
            BootPart::Kernel => "kernel",
            BootPart::Initramfs => "initramfs",
            BootPart::DeviceTree => "device-tree",
        }
    }
}

impl Recipe {
    /// Lists every file that is something to boot from: its file system, its path, what it is, and where that is said.
    pub fn boot_entries(&self) -> impl Iterator<Item = (&str, &str, BootPart, &Origin)> {
        self.filesystems.iter().flat_map(|(name, filesystem)| {
            filesystem.files.iter().filter_map(move |(path, entry)| match entry.content {
                EntryContent::Boot(part) => Some((name.as_str(), path.as_str(), part, &entry.origin)),
                _ => None,
            })
        })
    }

    /// Finds the script, and what lies beside it. Of several scripts the first counts; of several files of a kind, too.
    pub fn boot_files(&self) -> BootFiles {
        let script = self.boot_entries().find(|(_, _, part, _)| *part == BootPart::Script);
        let Some((filesystem, _, _, origin)) = script else {
            return BootFiles { paths: self.boot_artifacts(), ..BootFiles::default() };
        };
        let mut paths = BTreeMap::new();
        for (_, path, part, _) in self.boot_entries().filter(|(name, ..)| *name == filesystem) {
            paths.entry(part).or_insert_with(|| path.to_owned());
        }
        BootFiles { filesystem: Some(filesystem.to_owned()), origin: Some(origin.clone()), paths }
    }

    /// Returns the artifacts' names, for a script that is loaded from elsewhere: from a server, for example.
    fn boot_artifacts(&self) -> BTreeMap<BootPart, String> {
        let initramfs = self.dom0.initramfs.as_ref().map(|name| {
            let packed = self.filesystems.get(&name.value).map(|filesystem| &filesystem.format);
            let ending = if packed == Some(&Format::Cpio { gzip: false }) { "" } else { ".gz" };
            (BootPart::Initramfs, format!("{}.cpio{ending}", name.value))
        });
        let fixed = [
            (BootPart::Script, "boot.scr".to_owned()),
            (BootPart::Hypervisor, "xen".to_owned()),
            (BootPart::Kernel, "Image".to_owned()),
            (BootPart::DeviceTree, "boot.dtb".to_owned()),
            (BootPart::Fit, format!("{}.itb", self.name)),
        ];
        fixed.into_iter().chain(initramfs).collect()
    }

    /// Lists the parts that a script has to find, if it is made from the recipe.
    pub fn loaded_parts(&self) -> Vec<BootPart> {
        if self.boot.fit.is_some() {
            return vec![BootPart::Fit];
        }
        let mut parts = vec![BootPart::Hypervisor, BootPart::Kernel];
        parts.extend(self.dom0.initramfs.as_ref().map(|_| BootPart::Initramfs));
        if self.boot.script.as_ref().is_some_and(|script| !script.firmware_tree) {
            parts.push(BootPart::DeviceTree);
        }
        parts
    }

    /// Says whether the machine starts from a disk of the recipe, and not from a boot artifact that it is handed.
    pub fn starts_from_disk(&self) -> bool {
        self.machine.firmware.is_some() || !self.disks.is_empty() && self.machine.kind == super::MachineKind::Board
    }

    /// Says whether an emulated machine's firmware is handed a device tree with the key that it has to insist on.
    pub fn hands_over_a_key(&self) -> bool {
        self.machine.firmware.is_some() && self.boot.fit.as_ref().is_some_and(|fit| fit.key.is_some())
    }

    /// Returns the names of the machine's disks: partitioned ones that lie in nothing else, or Dom0's root and the others.
    pub fn machine_disks(&self) -> Vec<&str> {
        if !self.starts_from_disk() {
            return self.dom0.root.iter().chain(&self.dom0.disks).map(|name| name.value.as_str()).collect();
        }
        let guests = self.guests.values().flat_map(|guest| &guest.disks);
        let of_guests = guests.filter_map(|disk| match &disk.image {
            super::DiskSource::Disk(name) => Some(name),
            super::DiskSource::Filesystem(_) => None,
        });
        let entries = self.filesystems.values().flat_map(|filesystem| filesystem.files.values());
        let in_files = entries.filter_map(|entry| match &entry.content {
            EntryContent::Disk(name) => Some(name),
            _ => None,
        });
        let inner: Vec<&Located<String>> = of_guests.chain(in_files).collect();
        let names = self.disks.keys().map(String::as_str);
        names.filter(|name| inner.iter().all(|inner| inner.value != *name)).collect()
    }
}
