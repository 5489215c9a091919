//! Checks what a recipe means: names that must exist, things that must fit together. No file is read for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imagegen::disk::Content;
use imagegen::tree::Source;
use sha2::{Digest, Sha256};

use super::report::Finding;
use super::resolve::{GICV2_CPUS_MAX, MEMORY_MIN};
use super::{
    BootFormat, BootPart, DiskImage, DiskSource, EntryContent, FileSource, Filesystem, Format, Fragment, Located,
    MachineKind, Origin, PartitionContent, Recipe, ScriptText, SourceFrom, TestAction,
};

const MIB: u64 = 1 << 20;
/// What the hypervisor keeps of the machine's memory: itself, its page tables, its heap.
const RESERVE_MIB: u64 = 64;
/// The longest name in a path, and the longest path, in bytes (`NAME_MAX`, `PATH_MAX`).
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// Checks a recipe.
pub fn check(recipe: &Recipe, findings: &mut Vec<Finding>) {
    let mut checker = Checker { recipe, findings };
    checker.packages();
    checker.sources();
    checker.dom0();
    checker.guests();
    checker.memory();
    for (name, filesystem) in &recipe.filesystems {
        checker.filesystem(name, filesystem);
    }
    for (name, disk) in &recipe.disks {
        checker.disk_image(name, disk);
    }
    checker.cycles();
    // What was found wrong before is a gap that more would be found wrong with.
    if checker.findings.is_empty() {
        recipe.disks.values().for_each(|disk| checker.disk_wishes(disk));
    }
    checker.machine();
    checker.boot();
    checker.dialogue();
}

struct Checker<'a> {
    recipe: &'a Recipe,
    findings: &'a mut Vec<Finding>,
}

/// Whether somebody wrote this, or a default did; not so for the gaps that other findings leave.
fn known(origin: &Origin) -> bool {
    !origin.key.is_empty()
}

impl Checker<'_> {
    fn add(&mut self, origin: &Origin, message: impl Into<String>) {
        self.findings.push(Finding::at(origin, message));
    }

    /// A package is wanted: then there must be suites to take it from.
    fn packages(&mut self) {
        if !self.recipe.packages.suites.is_empty() {
            return;
        }
        let recipe = self.recipe;
        let from_sources = recipe.source_trees.values().filter_map(|source| match &source.from {
            SourceFrom::Debian { package } => Some(package),
            _ => None,
        });
        let from_lists = recipe.filesystems.values().flat_map(|filesystem| &filesystem.packages);
        let all = recipe.packages_for_files().chain(from_sources).chain(from_lists);
        let first = all.into_iter().find(|package| package.origin.file.is_some());
        if let Some(package) = first {
            let finding = Finding::at(&package.origin, "a package is named, but no suite to take it from");
            self.findings.push(finding.help("`[packages]` with `suites = [\"bookworm\"]` would say"));
        }
    }

    /// What is compiled is compiled from something that is there.
    fn sources(&mut self) {
        let recipe = self.recipe;
        let images = recipe.kernels.values().map(|kernel| &kernel.image).chain([&recipe.hypervisor.image]);
        for image in images {
            let FileSource::Compiled(compiled) = image else { continue };
            let name = &compiled.source;
            if !recipe.source_trees.contains_key(&name.value) {
                let finding = Finding::at(&name.origin, format!("there is no source `{}`", name.value));
                self.findings.push(finding.suggest(&name.value, recipe.source_trees.keys().map(String::as_str)));
            }
        }
        if let FileSource::Compiled(compiled) = &recipe.hypervisor.image {
            for fragment in &compiled.fragments {
                if let Fragment::Named(name) = fragment {
                    self.add(&name.origin, format!("the fragment `{}` is for Linux, not for Xen", name.value));
                }
            }
        }
    }

    fn kernel(&mut self, name: &Located<String>) {
        // Where there are none at all, the missing table has been complained about.
        let none = self.recipe.kernels.is_empty() && !self.findings.is_empty();
        if known(&name.origin) && !none && !self.recipe.kernels.contains_key(&name.value) {
            let kernels = self.recipe.kernels.keys().map(String::as_str);
            let finding = Finding::at(&name.origin, format!("there is no kernel `{}`", name.value));
            self.findings.push(finding.suggest(&name.value, kernels));
        }
    }

    /// Checks that a file system exists; returns it.
    fn exists(&mut self, name: &Located<String>) -> Option<&Filesystem> {
        let found = self.recipe.filesystems.get(&name.value);
        if found.is_none() && known(&name.origin) {
            let names = self.recipe.filesystems.keys().map(String::as_str);
            let finding = Finding::at(&name.origin, format!("there is no file system `{}`", name.value));
            self.findings.push(finding.suggest(&name.value, names));
        }
        found
    }

    fn initramfs(&mut self, name: &Option<Located<String>>) {
        let Some(name) = name else { return };
        if self.exists(name).is_some_and(|filesystem| !matches!(filesystem.format, Format::Cpio { .. })) {
            self.add(&name.origin, format!("an initramfs has format `cpio`, but `{}` has not", name.value));
        }
    }

    fn disk(&mut self, name: &Located<String>) {
        if self.exists(name).is_some_and(|filesystem| !matches!(filesystem.format, Format::Ext { .. })) {
            self.add(&name.origin, format!("a disk has format `ext2`, `ext3` or `ext4`, but `{}` has not", name.value));
        }
    }

    fn vcpus(&mut self, vcpus: &Located<u32>) {
        // A default has the machine's number, of which all has been said.
        if self.recipe.machine.gic == 2 && vcpus.value > GICV2_CPUS_MAX && vcpus.origin.file.is_some() {
            let message = format!("with GICv2 a domain has up to {GICV2_CPUS_MAX} virtual CPUs, not {}", vcpus.value);
            self.add(&vcpus.origin, message);
        }
    }

    fn whole_mib(&mut self, bytes: &Located<u64>) {
        if known(&bytes.origin) && (bytes.value == 0 || !bytes.value.is_multiple_of(MIB)) {
            self.add(&bytes.origin, "a domain's memory is whole MiB, at least one");
        }
    }

    fn dom0(&mut self) {
        let dom0 = &self.recipe.dom0;
        self.kernel(&dom0.kernel);
        self.initramfs(&dom0.initramfs);
        self.vcpus(&dom0.vcpus);
        self.whole_mib(&dom0.memory_bytes);
        let mut seen = BTreeSet::new();
        for disk in dom0.root.iter().chain(&dom0.disks) {
            self.disk(disk);
            if !seen.insert(&disk.value) {
                self.add(&disk.origin, format!("`{}` is one of Dom0's disks already", disk.value));
            }
        }
    }

    fn guests(&mut self) {
        let mut macs = BTreeMap::new();
        for (name, guest) in &self.recipe.guests {
            if self.recipe.dom0.root.is_none() {
                let finding = Finding::at(&guest.origin, format!("there is no place for the files of guest `{name}`"));
                self.findings.push(finding.help("they go to Dom0's root: give `[dom0]` a `root`"));
            }
            self.kernel(&guest.kernel);
            self.initramfs(&guest.initramfs);
            self.vcpus(&guest.vcpus);
            self.whole_mib(&guest.memory_bytes);
            let mut devices = BTreeSet::new();
            for disk in &guest.disks {
                match &disk.image {
                    DiskSource::Filesystem(name) => self.disk(name),
                    DiskSource::Disk(name) => self.disk_exists(name),
                }
                if !known(&disk.origin) {
                    continue;
                }
                if disk.device.is_empty() {
                    self.add(&disk.origin, "after `xvdp`, disks need a `device`");
                } else if !devices.insert(&disk.device) {
                    self.add(&disk.origin, format!("guest `{name}` has a disk `{}` already", disk.device));
                }
            }
            for vif in guest.vifs.iter().filter(|vif| !vif.mac.is_empty()) {
                if let Some(other) = macs.insert(&vif.mac, name) {
                    self.add(&vif.origin, format!("guest `{other}` has the address {} already", vif.mac));
                }
            }
        }
    }

    /// All domains run at the same time, so their memory has to be there at the same time.
    fn memory(&mut self) {
        let machine = &self.recipe.machine.memory_bytes;
        let dom0 = &self.recipe.dom0.memory_bytes;
        let guests = self.recipe.guests.values().map(|guest| &guest.memory_bytes);
        if machine.value < MEMORY_MIN || guests.clone().chain([dom0]).any(|memory| !known(&memory.origin)) {
            return;
        }
        let machine_mib = machine.value / MIB;
        let mib = |bytes: u64| bytes.div_ceil(MIB);
        let Some(mut left) = machine_mib.checked_sub(RESERVE_MIB).and_then(|left| left.checked_sub(mib(dom0.value)))
        else {
            let message = format!(
                "Dom0 wants {} MiB, but of the machine's {machine_mib} MiB only {} are left beside the hypervisor's {RESERVE_MIB}",
                mib(dom0.value),
                machine_mib.saturating_sub(RESERVE_MIB),
            );
            // A default cannot be shown; the machine's memory can, unless it is a default, too.
            let origin = if dom0.origin.file.is_some() { &dom0.origin } else { &machine.origin };
            return self.add(origin, message);
        };
        for (name, guest) in &self.recipe.guests {
            let wants = mib(guest.memory_bytes.value);
            match left.checked_sub(wants) {
                Some(rest) => left = rest,
                None => {
                    let message = format!("guest `{name}` wants {wants} MiB, but only {left} MiB are left");
                    let others = machine_mib - RESERVE_MIB - mib(dom0.value) - left;
                    let help = format!(
                        "the machine has {machine_mib} MiB: {RESERVE_MIB} for the hypervisor, {} for Dom0, {others} for other guests",
                        mib(dom0.value),
                    );
                    let memory = &guest.memory_bytes.origin;
                    let origin = if memory.file.is_some() { memory } else { &guest.origin };
                    self.findings.push(Finding::at(origin, message).help(help));
                }
            }
        }
    }

    fn filesystem(&mut self, name: &str, filesystem: &Filesystem) {
        if let Format::Ext { size_bytes: Some(size), .. } = &filesystem.format
            && (size.value == 0 || !size.value.is_multiple_of(1024))
        {
            self.add(&size.origin, "a file system's size is whole KiB, at least one");
        }
        if let Format::Fat { size_bytes, label, .. } = &filesystem.format {
            if let Some(size) = size_bytes
                && (size.value == 0 || !size.value.is_multiple_of(512))
            {
                self.add(&size.origin, "a FAT's size is whole sectors of 512 bytes, at least one");
            }
            if let Err(reason) = imagegen::fat::check_label(&label.value) {
                self.add(&label.origin, reason);
            }
        }
        if let Some(modules) = &filesystem.modules {
            self.kernel(&modules.kernel);
            let kernel = self.recipe.kernels.get(&modules.kernel.value);
            if kernel.is_some_and(|kernel| kernel.modules.is_none()) {
                let message = format!("kernel `{}` has no modules", modules.kernel.value);
                let help =
                    format!("give `[kernel.{}]` the tree that holds them: `modules = {{ ... }}`", modules.kernel.value);
                self.findings.push(Finding::at(&modules.kernel.origin, message).help(help));
            }
        }
        for (path, entry) in &filesystem.files {
            if path.len() > PATH_MAX - 1 || path.split('/').any(|part| part.len() > NAME_MAX) {
                self.add(
                    &entry.origin,
                    format!("a path has up to {} bytes, each name in it up to {NAME_MAX}", PATH_MAX - 1),
                );
            }
            match &entry.content {
                EntryContent::Kernel(kernel) => self.kernel(kernel),
                EntryContent::Filesystem(inner) => drop(self.exists(inner)),
                EntryContent::Disk(inner) => self.disk_exists(inner),
                _ => {}
            }
            let is_folder = matches!(entry.content, EntryContent::Directory);
            if path == "/" && !is_folder {
                self.add(&entry.origin, format!("the root of file system `{name}` is a folder"));
            }
            let above = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]);
            for above in above {
                let blocks = filesystem.files.get(above).is_some_and(|entry| {
                    !matches!(entry.content, EntryContent::Directory | EntryContent::Symlink(_) | EntryContent::Absent)
                });
                if blocks {
                    self.add(&entry.origin, format!("nothing can be in `{above}`: it is no folder"));
                }
            }
        }
    }

    fn disk_exists(&mut self, name: &Located<String>) {
        if known(&name.origin) && !self.recipe.disks.contains_key(&name.value) {
            let names = self.recipe.disks.keys().map(String::as_str);
            let finding = Finding::at(&name.origin, format!("there is no disk `{}`", name.value));
            self.findings.push(finding.suggest(&name.value, names));
        }
    }

    fn disk_image(&mut self, name: &str, disk: &DiskImage) {
        if self.recipe.filesystems.contains_key(name) {
            let message = format!("a file system is called `{name}` too: both images would be `{name}.img`");
            self.add(&disk.origin, message);
        }
        let filesystems = disk.partitions.iter().filter_map(|partition| match &partition.content {
            Some(PartitionContent::Filesystem(inner)) => Some(inner),
            _ => None,
        });
        for inner in filesystems {
            self.exists(inner);
        }
    }

    /// Checks all that can be checked before sizes are known.
    fn disk_wishes(&mut self, disk: &DiskImage) {
        // What is not there yet is taken for a byte; identifiers that follow from the content never are the same.
        let some = |index: usize| {
            let byte: Arc<dyn Source> = Arc::new(vec![0_u8]);
            disk.partitions[index].content.as_ref().map(|_| Content { source: byte, mapped: None })
        };
        let identify = |purpose: &str| Sha256::digest(purpose)[..16].try_into().expect("a digest has 32 bytes");
        let (options, partitions) = disk.parts(some, identify);
        for problem in imagegen::disk::check(&options, &partitions, &[]) {
            self.add(&disk.origin, problem);
        }
    }

    /// A file system or disk must not have itself inside, at whatever depth.
    fn cycles(&mut self) {
        let mut inside: BTreeMap<String, Vec<Located<String>>> = BTreeMap::new();
        // A name that no file system can have.
        let of_disk =
            |name: &Located<String>| Located { value: format!("disk {}", name.value), origin: name.origin.clone() };
        for (name, filesystem) in &self.recipe.filesystems {
            let files = filesystem.files.values().filter_map(|entry| match &entry.content {
                EntryContent::Filesystem(inner) => Some(inner.clone()),
                EntryContent::Disk(inner) => Some(of_disk(inner)),
                _ => None,
            });
            inside.entry(name.clone()).or_default().extend(files);
        }
        for (name, disk) in &self.recipe.disks {
            let contents = disk.partitions.iter().filter_map(|partition| match &partition.content {
                Some(PartitionContent::Filesystem(inner)) => Some(inner.clone()),
                _ => None,
            });
            inside.entry(format!("disk {name}")).or_default().extend(contents);
        }
        if let Some(root) = &self.recipe.dom0.root {
            let guests = self.recipe.guests.values();
            let disks = guests.clone().flat_map(|guest| &guest.disks).map(|disk| match &disk.image {
                DiskSource::Filesystem(name) => name.clone(),
                DiskSource::Disk(name) => of_disk(name),
            });
            let initramfs = guests.filter_map(|guest| guest.initramfs.clone());
            inside.entry(root.value.clone()).or_default().extend(disks.chain(initramfs));
        }
        let mut done = BTreeSet::new();
        for name in inside.keys() {
            self.walk(name, &inside, &mut done);
        }
    }

    /// Walks down from a file system, without recursion: a recipe may nest a hundred thousand of them.
    fn walk<'a>(
        &mut self,
        start: &'a str,
        inside: &'a BTreeMap<String, Vec<Located<String>>>,
        done: &mut BTreeSet<&'a str>,
    ) {
        let children = |name: &str| inside.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut open: Vec<(&str, usize)> = vec![(start, 0)];
        let mut on_path = BTreeSet::from([start]);
        while let Some((name, next)) = open.last_mut() {
            let Some(child) = children(name).get(*next) else {
                on_path.remove(name);
                done.insert(*name);
                open.pop();
                continue;
            };
            *next += 1;
            if on_path.contains(child.value.as_str()) {
                let circle = open.iter().map(|(name, _)| *name).skip_while(|name| *name != child.value).take(8);
                let path: Vec<&str> = circle.chain([child.value.as_str()]).collect();
                self.add(&child.origin, format!("a file system cannot be inside itself: {}", path.join(" > ")));
            } else if !done.contains(child.value.as_str()) && inside.contains_key(child.value.as_str()) {
                on_path.insert(&child.value);
                open.push((&child.value, 0));
            }
        }
    }

    fn boot(&mut self) {
        let recipe = self.recipe;
        self.uboot();
        // Where something else is wrong, that may be why there is none.
        if let (Some(address), None) = (recipe.boot.addresses.get("initramfs"), &recipe.dom0.initramfs)
            && self.findings.is_empty()
        {
            self.add(&address.origin, "an address for Dom0's initramfs, but Dom0 has none");
        }
    }

    /// What U-Boot's script loads is where it looks for it.
    fn uboot(&mut self) {
        let recipe = self.recipe;
        for (name, why) in [("boot", recipe.boot.format == BootFormat::UBoot), ("fit", recipe.boot.fit.is_none())] {
            if let Some(address) = recipe.boot.addresses.get(name).filter(|_| why) {
                self.add(&address.origin, format!("an address for `{name}`, which is not made"));
            }
        }
        for (_, path, part, origin) in recipe.boot_entries() {
            let made = match part {
                BootPart::Script | BootPart::DeviceTree => recipe.boot.script.is_some(),
                BootPart::Fit => recipe.boot.fit.is_some(),
                BootPart::Initramfs => recipe.dom0.initramfs.is_some(),
                BootPart::Hypervisor | BootPart::Kernel => true,
            };
            if !made {
                let help = match part {
                    BootPart::Initramfs => "`dom0.initramfs` names one",
                    BootPart::Fit => "`[boot.fit]` makes one",
                    _ => "`[boot]` with `format = \"u-boot\"`, or `[boot.script]`, makes one",
                };
                let message = format!("`{path}` is to be the {}, but there is none", part.name());
                self.findings.push(Finding::at(origin, message).help(help));
            }
        }
        let Some(script) = &recipe.boot.script else { return };
        let files = recipe.boot_files();
        let Some((filesystem, origin)) = files.filesystem.as_deref().zip(files.origin.as_ref()) else { return };
        let mut others = recipe.boot_entries().filter(|(_, _, part, _)| *part == BootPart::Script);
        if let Some((_, path, _, other)) = others.find(|(name, ..)| *name != filesystem) {
            let message = format!("the script lies in file system `{filesystem}` already, and loads what is there");
            self.add(other, format!("`{path}`: {message}"));
        }
        if script.text != ScriptText::Made {
            return;
        }
        for part in recipe.loaded_parts().iter().filter(|part| !files.paths.contains_key(part)) {
            let name = part.name();
            let message = format!("the script loads the {name}, but file system `{filesystem}` does not have it");
            let help = format!("`[filesystem.{filesystem}.files]` with `\"/{name}\" = {{ boot = \"{name}\" }}` would");
            self.findings.push(Finding::at(origin, message).help(help));
        }
    }

    /// Nobody but its device tree knows a board.
    fn machine(&mut self) {
        let recipe = self.recipe;
        if recipe.machine.kind == MachineKind::Board && recipe.device_tree.source.is_none() && self.findings.is_empty()
        {
            let message = "the machine is a `board`, but no `[device-tree]` describes it";
            let finding = Finding::at(&recipe.machine.origin, message);
            self.findings.push(
                finding.help(
                    "Debian's kernel packages hold many: `package`, and `file = \"usr/lib/linux-image-*/...dtb\"`",
                ),
            );
        }
        if recipe.machine.firmware.is_some() && recipe.machine_disks().is_empty() && self.findings.is_empty() {
            let message =
                "the machine starts with firmware, but the recipe has no `[disk.NAME]` that it could boot from";
            self.add(&recipe.machine.origin, message);
        }
    }

    fn dialogue(&mut self) {
        let steps = &self.recipe.test.steps;
        let off = steps.iter().position(|step| step.action == TestAction::PowerOff);
        if let Some(after) = off.and_then(|off| steps.get(off + 1)) {
            self.add(&after.origin, "nothing can follow `power-off`");
        }
    }
}
