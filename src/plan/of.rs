//! A recipe, and its lock, become a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Artifact, Plan, Role};
use crate::error::{Error, Kind, Result};
use crate::fetch::{Lock, LockedPackage, Request};
use crate::recipe::{
    BootFormat, DiskImage, DiskSource, EntryContent, FileSource, Filesystem, Format, Guest, Include, Located, Machine,
    MachineKind, Origin, PartitionContent, Recipe, TreeSource,
};
use crate::step::bmap::{self, Bmap};
use crate::step::compress::{self, Compress};
use crate::step::device_tree::{self, DeviceTree};
use crate::step::disk::{self, Disk};
use crate::step::extract::Extract;
use crate::step::fetch::{Fetch, Unlocked};
use crate::step::filesystem::{self as fs, FileContent, Layer};
use crate::step::guest_config::{self, GuestConfig, image_path};
use crate::step::integrated::{self, Integrated};
use crate::step::kernel::{self, Kernel};
use crate::step::unpack::{self, Form, Unpack};
use crate::step::wrap::{self, Wrap};
use crate::step::{Digest, Input, InputSource, Step, StepId};

mod compiled;
mod uboot;

/// How deep file systems may lie in each other.
const DEPTH_MAX: usize = 16;
const MIB: u64 = 1 << 20;

impl Plan {
    /// Plans a recipe. Without a lock, or where it lacks something, steps of kind `lock` stand for the packages: such
    /// a plan can be shown, but not carried out.
    ///
    /// # Errors
    /// What cannot be planned, with its place in the recipe: a file system that is part of itself, for example.
    pub fn of(recipe: &Recipe, lock: Option<&Lock>) -> Result<Plan> {
        Plan::attempt(recipe, lock).map_err(|errors| {
            let (placed, mut others): (Vec<_>, Vec<_>) = errors.into_iter().partition(|error| error.place.is_some());
            if placed.is_empty() {
                return others.remove(0);
            }
            recipe.join(placed)
        })
    }

    /// Plans a recipe as [`Plan::of`] does, and tells errors one by one.
    pub fn attempt(recipe: &Recipe, lock: Option<&Lock>) -> Result<Plan, Vec<Error>> {
        let file = recipe.sources.first().map(|source| source.path.as_path()).unwrap_or(Path::new(""));
        // Local paths of a recipe are absolute; its own may not be.
        let folder = file.parent().unwrap_or(Path::new(""));
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let mut planner = Planner {
            recipe,
            lock,
            plan: Plan::new(&recipe.name, folder),
            packages: BTreeMap::new(),
            tarballs: BTreeMap::new(),
            kernels: BTreeMap::new(),
            sources: BTreeMap::new(),
            compiled: BTreeMap::new(),
            filesystems: BTreeMap::new(),
            configs: BTreeMap::new(),
            disks: BTreeMap::new(),
            hypervisor: None,
            device_tree: None,
            uboot: None,
            open: Vec::new(),
        };
        let unwritable = recipe.guests.iter().filter_map(|(name, guest)| {
            guest_config::write(name, guest).err().map(|error| wrong_at(&guest.origin, error.message))
        });
        let mut errors: Vec<Error> = unwritable.collect();
        if errors.is_empty() {
            errors.extend(planner.all().err());
        }
        if errors.is_empty() { Ok(planner.plan) } else { Err(errors) }
    }
}

struct Planner<'a> {
    recipe: &'a Recipe,
    lock: Option<&'a Lock>,
    plan: Plan,
    /// The step that unpacks a package, by the package's name and version; or the one that stands for a request.
    packages: BTreeMap<(String, String), StepId>,
    /// The step that unpacks a local tarball.
    tarballs: BTreeMap<(PathBuf, Option<Digest>), StepId>,
    kernels: BTreeMap<String, StepId>,
    /// The step whose output is a source tree, by the tree's name.
    sources: BTreeMap<String, StepId>,
    /// The step that compiles, by the name of what it is for.
    compiled: BTreeMap<String, StepId>,
    filesystems: BTreeMap<String, StepId>,
    configs: BTreeMap<String, StepId>,
    disks: BTreeMap<String, StepId>,
    hypervisor: Option<StepId>,
    device_tree: Option<StepId>,
    uboot: Option<StepId>,
    /// File systems being planned, outermost first.
    open: Vec<String>,
}

impl<'a> Planner<'a> {
    fn all(&mut self) -> Result<()> {
        let recipe = self.recipe;
        let hypervisor = self.hypervisor()?;
        self.artifact(Role::Image, "xen", hypervisor, kernel::OUTPUT);
        let kernel = self.kernel(&recipe.dom0.kernel)?;
        self.artifact(Role::Image, "Image", kernel, kernel::OUTPUT);
        for name in recipe.kernels.keys() {
            self.kernel_of(name)?;
        }
        let device_tree = self.device_tree()?;
        self.artifact(Role::DeviceTree, "machine.dtb", device_tree, device_tree::OUTPUT);
        for (name, guest) in &recipe.guests {
            let config = self.config(name, guest)?;
            self.artifact(Role::GuestConfig, &format!("{name}.cfg"), config, guest_config::OUTPUT);
        }
        for (name, filesystem) in &recipe.filesystems {
            let id = self.filesystem(name, &filesystem.origin)?;
            self.artifact(Role::Filesystem, &file_name(name, &filesystem.format), id, fs::OUTPUT);
        }
        for (name, disk) in &recipe.disks {
            self.disk_artifacts(name, disk)?;
        }
        if let (None, Some(guest)) = (&recipe.dom0.root, recipe.guests.values().next()) {
            let message = "Dom0 has no root file system to put this guest's files in: `dom0.root` names one";
            return Err(wrong_at(&guest.origin, message));
        }
        if recipe.boot.format == BootFormat::Axf {
            self.boot(hypervisor, kernel, device_tree)?;
        }
        self.uboot_artifacts()
    }

    fn artifact(&mut self, role: Role, name: &str, step: StepId, output: &str) {
        self.plan.artifacts.push(Artifact { role, name: name.to_owned(), step, output: output.to_owned() });
    }

    fn boot(&mut self, hypervisor: StepId, kernel: StepId, device_tree: StepId) -> Result<()> {
        let recipe = self.recipe;
        let mut inputs = vec![
            Input::carried("stub", crate::carried::EL3),
            Input::step("hypervisor", hypervisor),
            Input::step("kernel", kernel),
            Input::step("device-tree", device_tree),
        ];
        if let Some(initramfs) = &recipe.dom0.initramfs {
            let id = self.filesystem(&initramfs.value, &initramfs.origin)?;
            inputs.push(Input::step("initramfs", id));
        }
        let step = Step::Wrap(Wrap {
            exception_level: recipe.machine.exception_level,
            hypervisor_bootargs: hypervisor_bootargs(recipe),
            kernel_bootargs: recipe.dom0.bootargs.clone(),
            initramfs: recipe.dom0.initramfs.is_some(),
            addresses: self.addresses("fit"),
        });
        let boot = self.plan.push("boot", step, inputs)?;
        self.artifact(Role::Boot, &format!("{}.axf", recipe.name), boot, wrap::OUTPUT);
        self.artifact(Role::MemoryMap, "memory-map.txt", boot, wrap::MEMORY_MAP);
        Ok(())
    }

    /// Plans a kernel or hypervisor as an Image.
    fn image(&mut self, name: &str, source: &FileSource) -> Result<StepId> {
        let input = self.one_file(name, kernel::INPUT, source)?;
        let title = match source {
            FileSource::Path { path, .. } => self.plan.show_path(&path.value),
            FileSource::Package { package, file } => format!("{} of the package {}", file.value, package.value),
            FileSource::Tarball { tarball, file, .. } => {
                format!("{} of {}", file.value, self.plan.show_path(&tarball.value))
            }
            FileSource::Integrated => "the integrated hypervisor".to_owned(),
            FileSource::Compiled(compiled) => format!("what was compiled of source.{}", compiled.source.value),
        };
        self.plan.push(name, Step::Kernel(Kernel { title }), vec![input])
    }

    fn hypervisor(&mut self) -> Result<StepId> {
        if let Some(id) = self.hypervisor {
            return Ok(id);
        }
        let id = self.image("hypervisor", &self.recipe.hypervisor.image)?;
        self.hypervisor = Some(id);
        Ok(id)
    }

    fn kernel(&mut self, name: &Located<String>) -> Result<StepId> {
        if self.recipe.kernels.contains_key(&name.value) {
            return self.kernel_of(&name.value);
        }
        Err(wrong_at(&name.origin, format!("there is no kernel called `{}`", name.value)))
    }

    fn kernel_of(&mut self, name: &str) -> Result<StepId> {
        if let Some(&id) = self.kernels.get(name) {
            return Ok(id);
        }
        let recipe = self.recipe;
        let id = self.image(&format!("kernel.{name}"), &recipe.kernels[name].image)?;
        self.kernels.insert(name.to_owned(), id);
        Ok(id)
    }

    fn device_tree(&mut self) -> Result<StepId> {
        if let Some(id) = self.device_tree {
            return Ok(id);
        }
        let recipe = self.recipe;
        let mut inputs = Vec::new();
        let mut defines = defines(&recipe.machine, recipe.device_tree.source.is_none());
        defines.extend(recipe.device_tree.defines.clone());
        let board = match &recipe.device_tree.source {
            None => Some(board(recipe.machine.kind).ok_or_else(|| {
                Error::new(Kind::Recipe, "the machine is a `board`, but no `[device-tree]` describes it")
            })?),
            Some(source) => {
                let input = self.one_file("device-tree", device_tree::SOURCE, source)?;
                inputs.push(as_tree_source(input));
                None
            }
        };
        let mut overlays = Vec::new();
        for (number, source) in recipe.device_tree.overlays.iter().enumerate() {
            let name = format!("overlay {}", number + 1);
            let input = self.one_file(&format!("device-tree.overlay-{}", number + 1), &name, source)?;
            inputs.push(as_tree_source(input));
            overlays.push(name);
        }
        for (name, bytes) in device_tree::carried() {
            inputs.push(Input::carried(format!("board {name}"), bytes));
        }
        let id = self.plan.push("device-tree", Step::DeviceTree(DeviceTree { board, defines, overlays }), inputs)?;
        self.device_tree = Some(id);
        Ok(id)
    }

    fn config(&mut self, name: &str, guest: &Guest) -> Result<StepId> {
        if let Some(&id) = self.configs.get(name) {
            return Ok(id);
        }
        let text = guest_config::write(name, guest)?;
        let step = Step::GuestConfig(GuestConfig { name: name.to_owned(), text });
        let id = self.plan.push(format!("guest.{name}"), step, Vec::new())?;
        self.configs.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Plans a file system, and first all that lies in it.
    fn filesystem(&mut self, name: &str, asked: &Origin) -> Result<StepId> {
        if let Some(&id) = self.filesystems.get(name) {
            return Ok(id);
        }
        let recipe = self.recipe;
        let Some(filesystem) = recipe.filesystems.get(name) else {
            return Err(wrong_at(asked, format!("there is no file system called `{name}`")));
        };
        let title = format!("filesystem.{name}");
        let id = self.nested(&title, asked, |planner| planner.filesystem_step(name, filesystem))?;
        self.filesystems.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Plans something that may have others inside, and those may have others inside.
    fn nested(&mut self, name: &str, asked: &Origin, plan: impl FnOnce(&mut Self) -> Result<StepId>) -> Result<StepId> {
        if let Some(first) = self.open.iter().position(|open| open == name) {
            let circle = self.open[first..].join(" in ");
            return Err(wrong_at(asked, format!("{name} would be part of itself: {name} in {circle}")));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(wrong_at(
                asked,
                format!("file systems and disks lie more than {DEPTH_MAX} deep in each other"),
            ));
        }
        self.open.push(name.to_owned());
        let result = plan(self);
        self.open.pop();
        result
    }

    fn filesystem_step(&mut self, name: &str, filesystem: &'a Filesystem) -> Result<StepId> {
        let recipe = self.recipe;
        let mut inputs = Vec::new();
        let mut layers = Vec::new();
        if !filesystem.packages.is_empty() {
            let names = filesystem.packages.iter().map(|package| package.value.clone());
            let request = Request::new(names, filesystem.without.iter().cloned());
            for (package, id) in self.request(&request)? {
                let input = format!("package {package}");
                inputs.push(Input::step(&input, id));
                layers.push(Layer { input, ..Layer::default() });
            }
        }
        for (number, include) in filesystem.include.iter().enumerate() {
            let Include { source, to, strip, owner } = include;
            for input in self.tree_source(&format!("include {}", number + 1), source)? {
                let layer = Layer { input: input.name.clone(), to: to.clone(), strip: *strip, owner: *owner };
                layers.push(layer);
                inputs.push(input);
            }
        }
        let modules = match &filesystem.modules {
            None => None,
            Some(modules) => {
                let kernel = &recipe.kernels.get(&modules.kernel.value).and_then(|kernel| kernel.modules.as_ref());
                let Some(source) = kernel else {
                    let message = format!("the kernel `{}` has no modules", modules.kernel.value);
                    return Err(wrong_at(&modules.kernel.origin, message));
                };
                let sources = self.tree_source("modules", source)?;
                let names = modules.names.iter().map(|name| name.value.clone()).collect();
                let input_names = sources.iter().map(|input| input.name.clone()).collect();
                inputs.extend(sources);
                Some(fs::Modules { inputs: input_names, names, list: modules.list.clone() })
            }
        };
        let is_root = recipe.dom0.root.as_ref().is_some_and(|root| root.value == name);
        let guests = if is_root { self.guests(&mut inputs)? } else { BTreeMap::new() };
        let mut files = BTreeMap::new();
        for (path, entry) in &filesystem.files {
            let content = self.entry(path, &entry.content, &entry.origin, &mut inputs)?;
            files.insert(path.clone(), fs::File { content, owner: entry.owner, mode: entry.mode });
        }
        let title = format!("filesystem.{name}");
        let step = fs::Filesystem {
            title: title.clone(),
            format: filesystem.format.clone(),
            epoch: recipe.epoch,
            merged_usr: filesystem.merged_usr,
            exclude: filesystem.exclude.clone(),
            layers,
            modules,
            guests,
            files,
            users: filesystem.users.clone(),
        };
        self.plan.push(title, Step::Filesystem(Box::new(step)), inputs)
    }

    /// Plans a disk, and first all that lies on it.
    fn disk(&mut self, name: &str, asked: &Origin) -> Result<StepId> {
        if let Some(&id) = self.disks.get(name) {
            return Ok(id);
        }
        let recipe = self.recipe;
        let Some(disk) = recipe.disks.get(name) else {
            return Err(wrong_at(asked, format!("there is no disk called `{name}`")));
        };
        let title = format!("disk.{name}");
        let id = self.nested(&title, asked, |planner| planner.disk_step(&title, disk))?;
        self.disks.insert(name.to_owned(), id);
        Ok(id)
    }

    fn disk_step(&mut self, title: &str, disk: &'a DiskImage) -> Result<StepId> {
        let mut inputs = Vec::new();
        for (index, partition) in disk.partitions.iter().enumerate() {
            let input = Disk::partition_input(index);
            match &partition.content {
                None => {}
                Some(PartitionContent::Filesystem(name)) => {
                    inputs.push(Input::step(input, self.filesystem(&name.value, &name.origin)?));
                }
                Some(PartitionContent::File(source)) => {
                    inputs.push(self.one_file(&format!("{title}.partition-{}", index + 1), &input, source)?);
                }
            }
        }
        for (index, gap) in disk.gaps.iter().enumerate() {
            inputs.push(self.one_file(&format!("{title}.gap-{}", index + 1), &Disk::gap_input(index), &gap.file)?);
        }
        let step = Disk { title: title.to_owned(), image: disk.clone() };
        self.plan.push(title, Step::Disk(Box::new(step)), inputs)
    }

    /// Plans what is published of a disk.
    fn disk_artifacts(&mut self, name: &str, disk: &DiskImage) -> Result<()> {
        let id = self.disk(name, &disk.origin)?;
        let file = format!("{name}.img");
        self.artifact(Role::Disk, &file, id, disk::OUTPUT);
        // A colon, which no name in a recipe can have.
        if disk.bmap {
            let inputs = vec![Input::step(bmap::INPUT, id)];
            let bmap = self.plan.push(format!("disk.{name}:bmap"), Step::Bmap(Bmap), inputs)?;
            self.artifact(Role::Bmap, &format!("{file}.bmap"), bmap, bmap::OUTPUT);
        }
        if let Some(format) = disk.compress {
            let inputs = vec![Input::step(compress::INPUT, id)];
            let step = Step::Compress(Compress { format });
            let compressed = self.plan.push(format!("disk.{name}:{}", format.extension()), step, inputs)?;
            self.artifact(Role::Compressed, &format!("{file}.{}", format.extension()), compressed, compress::OUTPUT);
        }
        Ok(())
    }

    /// Plans what guests need in Dom0's root file system.
    fn guests(&mut self, inputs: &mut Vec<Input>) -> Result<BTreeMap<String, fs::File>> {
        let mut files = BTreeMap::new();
        let recipe = self.recipe;
        for (name, guest) in &recipe.guests {
            let mut add = |path: String, id: StepId| {
                let input = format!("file {path}");
                inputs.push(Input::step(&input, id));
                let file =
                    fs::File { content: FileContent::Image(input), owner: Default::default(), mode: Some(0o644) };
                files.insert(path, file);
            };
            add(format!("/etc/xen/{name}.cfg"), self.config(name, guest)?);
            add(image_path(name, "kernel"), self.kernel(&guest.kernel)?);
            if let Some(initramfs) = &guest.initramfs {
                add(image_path(name, "initramfs"), self.filesystem(&initramfs.value, &initramfs.origin)?);
            }
            for disk in &guest.disks {
                let id = match &disk.image {
                    DiskSource::Filesystem(name) => self.filesystem(&name.value, &name.origin)?,
                    DiskSource::Disk(name) => self.disk(&name.value, &name.origin)?,
                };
                add(image_path(name, &format!("{}.img", disk.device)), id);
            }
        }
        Ok(files)
    }

    /// Plans one entry of `files`.
    fn entry(
        &mut self,
        path: &str,
        content: &EntryContent,
        origin: &Origin,
        inputs: &mut Vec<Input>,
    ) -> Result<FileContent> {
        let input = format!("file {path}");
        // A guest's file that the recipe puts something else in the place of is an input no more.
        inputs.retain(|known| known.name != input);
        Ok(match content {
            EntryContent::Text(text) => FileContent::Text(text.clone()),
            EntryContent::Directory => FileContent::Directory,
            EntryContent::Symlink(target) => FileContent::Symlink(target.clone()),
            EntryContent::Hardlink(existing) => FileContent::Hardlink(existing.clone()),
            EntryContent::CharacterDevice(major, minor) => FileContent::CharacterDevice(*major, *minor),
            EntryContent::BlockDevice(major, minor) => FileContent::BlockDevice(*major, *minor),
            EntryContent::Fifo => FileContent::Fifo,
            EntryContent::Absent => FileContent::Absent,
            EntryContent::Filesystem(name) => {
                inputs.push(Input::step(&input, self.filesystem(&name.value, &name.origin)?));
                FileContent::Image(input)
            }
            EntryContent::Disk(name) => {
                inputs.push(Input::step(&input, self.disk(&name.value, &name.origin)?));
                FileContent::Image(input)
            }
            EntryContent::Kernel(name) => {
                inputs.push(Input::step(&input, self.kernel(name)?));
                FileContent::Image(input)
            }
            EntryContent::Boot(part) => {
                inputs.push(self.boot_part(&input, *part, origin)?);
                FileContent::Image(input)
            }
            EntryContent::File(FileSource::Path { path, sha256 }) => {
                let source = InputSource::File { path: path.value.clone(), sha256: digest(sha256)?, mode: true };
                inputs.push(Input { name: input.clone(), source, origin: Some(path.origin.clone()) });
                FileContent::Local(input)
            }
            EntryContent::File(FileSource::Package { package, file }) => {
                let mut names = Vec::new();
                for (name, id) in self.request(&Request::same_version(&package.value))? {
                    let input = format!("file {path} ({name})");
                    inputs.push(Input::step(&input, id));
                    names.push(input);
                }
                let title = format!("the package {}", package.value);
                FileContent::Archived { inputs: names, pattern: file.value.clone(), title }
            }
            EntryContent::File(FileSource::Compiled(_) | FileSource::Integrated) => {
                return Err(wrong_at(origin, "only kernels and the hypervisor are compiled"));
            }
            EntryContent::File(FileSource::Tarball { tarball, sha256, file }) => {
                let id = self.tarball(tarball, sha256, origin)?;
                inputs.push(Input::step(&input, id));
                let title = self.plan.show_path(&tarball.value);
                FileContent::Archived { inputs: vec![input], pattern: file.value.clone(), title }
            }
        })
    }

    /// Plans one file from somewhere, as the input of this name; `step` begins the names of steps that it needs.
    fn one_file(&mut self, step: &str, input: &str, source: &FileSource) -> Result<Input> {
        let (archives, pattern, title) = match source {
            FileSource::Path { path, sha256 } => {
                let source = InputSource::File { path: path.value.clone(), sha256: digest(sha256)?, mode: false };
                return Ok(Input { name: input.to_owned(), source, origin: Some(path.origin.clone()) });
            }
            FileSource::Integrated => {
                let carried = Input::carried(integrated::INPUT, crate::carried::HYPERVISOR);
                let id = self.plan.push(format!("{step}:carried"), Step::Integrated(Integrated), vec![carried])?;
                self.artifact(Role::Byproduct, integrated::SYMBOLS, id, integrated::SYMBOLS);
                return Ok(Input::output(input, id, integrated::IMAGE));
            }
            FileSource::Compiled(compiled) => {
                let (id, output) = self.compiled(step, compiled)?;
                return Ok(Input::output(input, id, output));
            }
            FileSource::Package { package, file } => {
                let packages = self.request(&Request::same_version(&package.value))?;
                let inputs = packages.into_iter().map(|(name, id)| Input::step(format!("package {name}"), id));
                (inputs.collect(), &file.value, format!("the package {}", package.value))
            }
            FileSource::Tarball { tarball, sha256, file } => {
                let id = self.tarball(tarball, sha256, &tarball.origin)?;
                (vec![Input::step("tarball", id)], &file.value, self.plan.show_path(&tarball.value))
            }
        };
        let extract = Step::Extract(Extract { pattern: pattern.clone(), title });
        // A colon, which no name in a recipe can have: a kernel might be called `debian.file`.
        let id = self.plan.push(format!("{step}:file"), extract, archives)?;
        Ok(Input::step(input, id))
    }

    /// Plans many files from somewhere, as inputs whose names begin like this.
    fn tree_source(&mut self, name: &str, source: &TreeSource) -> Result<Vec<Input>> {
        Ok(match source {
            TreeSource::Folder { path, keep } => {
                let source = InputSource::Folder { path: path.value.clone(), keep: *keep };
                vec![Input { name: name.to_owned(), source, origin: Some(path.origin.clone()) }]
            }
            TreeSource::Tarball { tarball, sha256 } => {
                vec![Input::step(name, self.tarball(tarball, sha256, &tarball.origin)?)]
            }
            TreeSource::Package { package } => {
                let packages = self.request(&Request::same_version(&package.value))?;
                packages.into_iter().map(|(package, id)| Input::step(format!("{name} {package}"), id)).collect()
            }
            TreeSource::Compiled(kernel) => vec![self.compiled_modules(name, kernel)?],
        })
    }

    /// Plans what a request came to: names and the steps that unpack.
    fn request(&mut self, request: &Request) -> Result<Vec<(String, StepId)>> {
        let Some(packages) = self.lock.and_then(|lock| lock.selection(request)) else {
            let title = request.names.join(", ");
            let key = (title.clone(), format!("without {}", request.without.join(", ")));
            let id = match self.packages.get(&key) {
                Some(&id) => id,
                None => {
                    let name = self.unique(format!("lock.{}", request.names.first().map_or("", String::as_str)));
                    let step = Step::Unlocked(Unlocked { request: request.clone(), source: None });
                    let id = self.plan.push(name, step, Vec::new())?;
                    self.packages.insert(key, id);
                    id
                }
            };
            return Ok(vec![(title, id)]);
        };
        packages.into_iter().map(|package| Ok((package.name.clone(), self.package(package)?))).collect()
    }

    fn package(&mut self, package: &LockedPackage) -> Result<StepId> {
        let LockedPackage { name, version, .. } = package;
        let key = (name.clone(), version.clone());
        if let Some(&id) = self.packages.get(&key) {
            return Ok(id);
        }
        let step_name = self.unique(format!("fetch.{name}"));
        let fetch = self.plan.push(step_name, Step::Fetch(Fetch::new(package)?), Vec::new())?;
        let step = Step::Unpack(Unpack { form: Form::Deb, title: format!("the package {name} {version}") });
        let step_name = self.unique(format!("unpack.{name}"));
        let id = self.plan.push(step_name, step, vec![Input::step(unpack::INPUT, fetch)])?;
        self.packages.insert(key, id);
        Ok(id)
    }

    fn tarball(
        &mut self,
        tarball: &Located<PathBuf>,
        sha256: &Option<Located<String>>,
        origin: &Origin,
    ) -> Result<StepId> {
        let sha256 = digest(sha256)?;
        let key = (tarball.value.clone(), sha256);
        if let Some(&id) = self.tarballs.get(&key) {
            return Ok(id);
        }
        let source = InputSource::File { path: tarball.value.clone(), sha256, mode: false };
        let input = Input { name: unpack::INPUT.to_owned(), source, origin: Some(origin.clone()) };
        let file = tarball.value.file_name().unwrap_or_default().to_string_lossy();
        let name = self.unique(format!("unpack.{file}"));
        let step = Step::Unpack(Unpack { form: Form::Tarball, title: self.plan.show_path(&tarball.value) });
        let id = self.plan.push(name, step, vec![input])?;
        self.tarballs.insert(key, id);
        Ok(id)
    }

    /// Returns a name that no step has yet.
    fn unique(&self, name: String) -> String {
        if self.plan.find(&name).is_none() {
            return name;
        }
        let numbered = (2u32..).map(|number| format!("{name}-{number}"));
        numbered.into_iter().find(|name| self.plan.find(name).is_none()).expect("there are enough numbers")
    }
}

/// Makes the error of something that cannot be planned.
fn wrong_at(origin: &Origin, message: impl Into<String>) -> Error {
    Error::new(Kind::Recipe, message).at(origin)
}

/// Reads a hash that the recipe gives; that it is one was checked with the recipe.
fn digest(sha256: &Option<Located<String>>) -> Result<Option<Digest>> {
    let Some(sha256) = sha256 else { return Ok(None) };
    let bad = || Error::new(Kind::Recipe, format!("{}: `{}` is no SHA-256", sha256.origin.key, sha256.value));
    Digest::from_hex(&sha256.value).map(Some).ok_or_else(bad)
}

/// A local file that is a device-tree source brings what it includes.
fn as_tree_source(input: Input) -> Input {
    match input.source {
        InputSource::File { path, sha256, .. } => Input { source: InputSource::TreeSource { path, sha256 }, ..input },
        _ => input,
    }
}

/// Returns the file name of a file system's image.
fn file_name(name: &str, format: &Format) -> String {
    let extension = match format {
        Format::Ext { .. } | Format::Fat { .. } => "img",
        Format::Cpio { gzip: false } => "cpio",
        Format::Cpio { gzip: true } => "cpio.gz",
        Format::Tar { gzip: false } => "tar",
        Format::Tar { gzip: true } => "tar.gz",
    };
    format!("{name}.{extension}")
}

fn board(kind: MachineKind) -> Option<&'static str> {
    match kind {
        MachineKind::QemuVirt => Some("qemu-virt"),
        MachineKind::FoundationV8 => Some("foundation-v8"),
        MachineKind::FvpBaseRevC => Some("fvp-base-revc"),
        MachineKind::Board => None,
    }
}

/// Returns the macros that describe the machine: those that a carried board takes, or all of them.
fn defines(machine: &Machine, carried: bool) -> BTreeMap<String, String> {
    let all = [
        ("GIC_VERSION", machine.gic.to_string()),
        ("CPUS", machine.cpus.value.to_string()),
        ("MEMORY_SIZE", format!("{:#x}", machine.memory_bytes.value)),
        ("CPU_COMPATIBLE", format!("\"{}\"", cpu_compatible(&machine.cpu))),
        ("VIRTUALIZATION", "1".to_owned()),
        ("SECURE", u8::from(machine.exception_level == 3).to_string()),
        ("PSCI", "1".to_owned()),
    ];
    let takes: &[&str] = match machine.kind {
        _ if !carried => &["GIC_VERSION", "CPUS", "MEMORY_SIZE", "CPU_COMPATIBLE", "VIRTUALIZATION", "SECURE", "PSCI"],
        MachineKind::QemuVirt => &["GIC_VERSION", "CPUS", "MEMORY_SIZE", "CPU_COMPATIBLE", "VIRTUALIZATION", "SECURE"],
        MachineKind::FoundationV8 => &["GIC_VERSION", "CPUS", "PSCI"],
        MachineKind::FvpBaseRevC | MachineKind::Board => &[],
    };
    let known = |name: &str| name != "CPU_COMPATIBLE" || !machine.cpu.is_empty();
    all.into_iter()
        .filter(|(name, _)| takes.contains(name) && known(name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Returns the `compatible` of QEMU's CPU of this name.
fn cpu_compatible(cpu: &str) -> String {
    match cpu {
        // No real CPU: the architecture, as the specification's binding for CPUs says.
        "max" => "arm,armv8".to_owned(),
        name => format!("arm,{name}"),
    }
}

/// Returns the hypervisor's whole command line: what the recipe says, and Dom0's share where it does not say.
fn hypervisor_bootargs(recipe: &Recipe) -> String {
    let mut words: Vec<String> = recipe.hypervisor.bootargs.split_whitespace().map(String::from).collect();
    let memory = recipe.dom0.memory_bytes.value;
    let memory = if memory.is_multiple_of(MIB) { format!("{}M", memory / MIB) } else { format!("{}K", memory / 1024) };
    for (name, value) in [("dom0_mem", memory), ("dom0_max_vcpus", recipe.dom0.vcpus.value.to_string())] {
        if !words.iter().any(|word| word.split('=').next() == Some(name)) {
            words.push(format!("{name}={value}"));
        }
    }
    words.join(" ")
}
