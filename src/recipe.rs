//! The recipe as meant: every value checked, every reference resolved to a name that exists.
//!
//! ```text
//! recipe.toml -> raw (as written, with spans) -> shape -> inherit, variant, variables -> defaults -> resolve -> meaning -> Recipe
//!                                                  ^          ^                             ^
//!                                                  +----------+------------ keys -----------+---> schema, reference, show
//! ```
//!
//! [`keys`] is the one table of all keys. Nothing here touches the network or reads the files that a recipe names.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imagegen::compress;
use imagegen::disk::{Guid, PartitionType, Scheme, Size};
use imagegen::fat::Width;

use crate::error::{Error, Kind, Result};
use report::{Class, Finding, Report};

mod boot;
mod complete;
mod defaults;
mod disk;
pub mod form;
mod inherit;
pub mod keys;
mod meaning;
mod named;
pub mod raw;
pub mod reference;
pub mod report;
mod resolve;
pub mod schema;
mod shape;
pub mod show;
mod variables;

/// Reads a recipe: with the named variant laid over it, and these variables set.
///
/// # Errors
///
/// Everything that is wrong with it, at once, as one rendered [`Kind::Recipe`] error.
pub fn load(path: &Path, variant: Option<&str>, set: &[(String, String)]) -> Result<Recipe> {
    read(path, variant, set).map(|reading| reading.recipe).map_err(Report::into_error)
}

/// A recipe, and the document that it was made from.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The recipe as meant.
    pub recipe: Recipe,
    /// Its values as written, inherited, or put in by default, each with its place.
    pub document: raw::Node,
}

/// Reads a recipe as [`load`] does, and tells errors one by one.
pub fn read(path: &Path, variant: Option<&str>, set: &[(String, String)]) -> Result<Reading, Report> {
    let mut files = inherit::Files::default();
    let mut findings = Vec::new();
    let document = files.read(path);
    findings.append(&mut files.findings);
    let Some(mut document) = document else { return Err(Report::new(&files.sources, findings)) };
    let name = recipe_name(path, variant).unwrap_or_else(|finding| {
        findings.push(finding);
        String::new()
    });
    // What is missing here may be what a variant or a base was to bring: then no schema of one file can tell.
    let alone = variant.is_none() && document.get("inherit").is_none();
    inherit::choose_variant(&mut document, variant, &mut findings);
    variables::expand(&mut document, set, &files.sources, &mut findings);
    shape::expanded(&mut document, &mut findings);
    complete::complete(&document, if alone { Class::Shape } else { Class::Meaning }, &mut findings);
    defaults::fill(&mut document);
    let recipe = resolve::resolve(&document, name, &files.sources, &mut findings);
    meaning::check(&recipe, &mut findings);
    if findings.is_empty() { Ok(Reading { recipe, document }) } else { Err(Report::new(&files.sources, findings)) }
}

/// Returns the name of what is made from a recipe: its file's stem, and the variant's name.
fn recipe_name(path: &Path, variant: Option<&str>) -> Result<String, Finding> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if !form::NAME.matches(&stem) {
        let message = format!("a recipe's file has {}, and `.toml`; found `{stem}`", form::NAME.what);
        return Err(Finding::nowhere(message).help("what is made from it will have its name"));
    }
    if stem == "cache" && variant.is_none() {
        let message = "a recipe cannot be called `cache`: what is made from it would be in the folder of the cache";
        return Err(Finding::nowhere(message).help("rename the file"));
    }
    Ok(match variant {
        // No file of a recipe can be called so: `a.toml`'s variant `b` is not `a-b.toml`.
        Some(variant) => format!("{stem}@{variant}"),
        None => stem.into_owned(),
    })
}

impl Recipe {
    /// Makes the error of something that turned out wrong after reading: shown with file, line and caret.
    pub fn error_at(&self, origin: &Origin, message: impl Into<String>) -> Error {
        self.errors_at([(origin.clone(), message.into())])
    }

    /// Makes one error of several things that turned out wrong. A message's first line goes with its place; what comes after it,
    /// a memory map for example, below.
    pub fn errors_at(&self, wrong: impl IntoIterator<Item = (Origin, String)>) -> Error {
        let finding = |(origin, message): (Origin, String)| {
            let (first, below) = message.split_once('\n').unwrap_or((&message, ""));
            Finding { below: below.trim_end().to_owned(), ..Finding::at(&origin, first) }
        };
        let findings = wrong.into_iter().map(finding).collect();
        Report::new(&self.sources, findings).into_error()
    }

    /// Makes one error of several that know their places. It is of their kind, if that is one: the recipe's fault otherwise.
    pub fn join(&self, errors: Vec<Error>) -> Error {
        let kind = errors.first().map(|error| error.kind);
        let kind = kind.filter(|kind| errors.iter().all(|error| error.kind == *kind)).unwrap_or(Kind::Recipe);
        let placed = errors.into_iter().filter_map(|mut error| Some((*error.place.take()?, error.to_string())));
        Error { kind, ..self.errors_at(placed) }
    }
}

/// Where a value was written: enough to show the line with a caret, long after parsing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The recipe file, by its index in [`Recipe::sources`]; `None` for a default.
    pub file: Option<usize>,
    /// Byte range in that file.
    pub span: Range<usize>,
    /// The key's full path, as the recipe would write it: `filesystem.dom0.size`.
    pub key: String,
}

/// A value and where it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub origin: Origin,
}

/// A recipe file's name and text, kept for error messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceText {
    /// The path, as the user gave it or as `inherit` names it.
    pub path: PathBuf,
    /// Its whole text.
    pub text: Arc<str>,
}

/// A recipe, resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// The file stem, plus `@variant` where a variant was chosen: names the folder under `out/`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// All files read: the recipe itself first, then what it inherits.
    pub sources: Vec<SourceText>,
    /// The time that every made file gets: seconds since 1970.
    pub epoch: i64,
    /// Where Debian packages come from.
    pub packages: Packages,
    /// The machine to boot on.
    pub machine: Machine,
    /// The hypervisor.
    pub hypervisor: Hypervisor,
    /// Source trees to compile, by name.
    pub source_trees: BTreeMap<String, SourceTree>,
    /// Kernels, by name.
    pub kernels: BTreeMap<String, Kernel>,
    /// The machine's device tree.
    pub device_tree: DeviceTree,
    /// File systems, by name.
    pub filesystems: BTreeMap<String, Filesystem>,
    /// Partitioned disks, by name.
    pub disks: BTreeMap<String, DiskImage>,
    /// Domain 0.
    pub dom0: Dom0,
    /// Guests, by name.
    pub guests: BTreeMap<String, Guest>,
    /// What is made to boot from.
    pub boot: Boot,
    /// What `xenbuild test` types and expects.
    pub test: Test,
}

/// `[packages]`: a Debian archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packages {
    /// `bookworm`, `bookworm-security`; the first is the one people mean.
    pub suites: Vec<String>,
    /// `main`.
    pub components: Vec<String>,
    /// Debian's name of the target architecture: `arm64`.
    pub architecture: String,
    /// Base URL or `file:` folder, where the recipe fixes it; otherwise configuration, environment or host decide.
    pub mirror: Option<Located<String>>,
    /// OpenPGP keyring, where the recipe fixes it.
    pub keyring: Option<Located<PathBuf>>,
}

/// A machine that an image can boot on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachineKind {
    /// QEMU's `virt`.
    QemuVirt,
    /// Arm's Foundation Platform.
    FoundationV8,
    /// Arm's FVP Base RevC.
    FvpBaseRevC,
    /// Any other, which its device tree describes.
    Board,
}

/// `[machine]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Which.
    pub kind: MachineKind,
    /// GIC architecture version: 2 or 3.
    pub gic: u8,
    /// Number of CPUs, 1 to 8 with GICv2, to 64 with GICv3.
    pub cpus: Located<u32>,
    /// QEMU's name of the CPU: `cortex-a57`.
    pub cpu: String,
    /// RAM in bytes.
    pub memory_bytes: Located<u64>,
    /// Where the boot artifact is entered: 2, or 3 (reset, with our stub as firmware).
    pub exception_level: u8,
    /// Ports of the host that lead into Dom0 (user networking).
    pub forwards: Vec<Forward>,
    /// What an emulator starts instead of the boot artifact.
    pub firmware: Option<FileSource>,
    /// QEMU's model of a board, as `-M` takes it.
    pub qemu: Option<String>,
    /// Which of that model's card slots the first disk is in.
    pub slot: u32,
    /// Where its type stands.
    pub origin: Origin,
}

/// `tcp:2222:22`: a port of the host (on loopback) that leads to a port of Dom0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// `tcp`, or `udp`.
    pub udp: bool,
    /// The host's port; 0 lets the system choose.
    pub host: u16,
    /// Dom0's port.
    pub guest: u16,
}

/// One file from somewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileSource {
    /// The hypervisor that xenbuild carries.
    Integrated,
    /// A local file.
    Path {
        /// Absolute.
        path: Located<PathBuf>,
        /// What its content must hash to, 64 hex digits, where the recipe says so.
        sha256: Option<Located<String>>,
    },
    /// A file out of a Debian package, or out of those that it depends on in exactly its own version (metapackages).
    Package {
        /// Package name, optionally `name=version`.
        package: Located<String>,
        /// Path inside, `*` allowed; exactly one file must match.
        file: Located<String>,
    },
    /// A file out of a tarball.
    Tarball {
        /// Absolute path of the archive: plain, gz, xz, zst or bz2.
        tarball: Located<PathBuf>,
        /// What the archive must hash to.
        sha256: Option<Located<String>>,
        /// Path inside, `*` allowed; exactly one file must match.
        file: Located<String>,
    },
    /// Compiled from a source tree; only kernels and the hypervisor can be.
    Compiled(Box<Compiled>),
}

/// How a kernel or hypervisor is compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compiled {
    /// A name in [`Recipe::source_trees`].
    pub source: Located<String>,
    /// The target of the source's own make that the configuration begins with: `defconfig`.
    pub defconfig: Located<String>,
    /// Laid over it, in order.
    pub fragments: Vec<Fragment>,
    /// Single options on top, by name without `CONFIG_`.
    pub config: BTreeMap<String, Located<ConfigValue>>,
}

/// A fragment of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fragment {
    /// One that xenbuild carries.
    Named(Located<String>),
    /// A local file.
    File(Located<PathBuf>),
}

/// What an option is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigValue {
    /// `y`, or not set.
    Boolean(bool),
    /// A number; written as the option's type wants it.
    Number(i64),
    /// `m`, or a text.
    Text(String),
}

/// `[source.NAME]`: a source tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceTree {
    /// Where it comes from.
    pub from: SourceFrom,
    /// Unified diffs, applied in order.
    pub patches: Vec<Located<PathBuf>>,
    /// Single files on top, by their path in the tree.
    pub files: BTreeMap<String, SourceFile>,
    /// Where `[source.NAME]` stands.
    pub origin: Origin,
}

/// Where a source tree comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceFrom {
    /// A local tarball.
    Tarball {
        /// Absolute path of the archive: plain, gz, xz, zst or bz2.
        tarball: Located<PathBuf>,
        /// What the archive must hash to.
        sha256: Option<Located<String>>,
    },
    /// A tarball from the network.
    Url {
        /// Its address.
        url: Located<String>,
        /// What it must hash to.
        sha256: Located<String>,
    },
    /// A commit.
    Git {
        /// The repository; a local path is absolute.
        url: Located<String>,
        /// A commit, a tag or a branch.
        revision: Located<String>,
    },
    /// A Debian source package: `xen`, `xen=VERSION` or `xen/SUITE`.
    Debian {
        /// Its name, with what narrows it down.
        package: Located<String>,
    },
    /// A tarball in a Debian package.
    Package {
        /// Package name, optionally `name=version`.
        package: Located<String>,
        /// Path inside, `*` allowed; exactly one file must match.
        file: Located<String>,
    },
}

/// A file put into a source tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceFile {
    /// With this text.
    Text(String),
    /// A local file.
    Path(Located<PathBuf>),
}

/// `[hypervisor]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hypervisor {
    /// The arm64 Image.
    pub image: FileSource,
    /// Its command line; `dom0_mem` and `dom0_max_vcpus` are added from `[dom0]` where it does not give them.
    pub bootargs: String,
}

/// `[kernel.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Image, Image.gz or EFI zboot.
    pub image: FileSource,
    /// Where its modules are: a folder or archive that holds `lib/modules/VERSION` (or `usr/lib/modules/VERSION`).
    pub modules: Option<TreeSource>,
}

/// Many files from somewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TreeSource {
    /// A local folder.
    Folder {
        /// Absolute.
        path: Located<PathBuf>,
        /// Take owner, mode, times and attributes as they are, instead of root's and 0644/0755.
        keep: bool,
    },
    /// A tarball.
    Tarball {
        /// Absolute path: plain, gz, xz, zst or bz2.
        tarball: Located<PathBuf>,
        /// What the archive must hash to.
        sha256: Option<Located<String>>,
    },
    /// One Debian package without its dependencies (but with those of exactly its own version).
    Package {
        /// Package name, optionally `name=version`.
        package: Located<String>,
    },
    /// The modules of a kernel that is compiled: its name in [`Recipe::kernels`].
    Compiled(String),
}

/// `[device-tree]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceTree {
    /// The source or blob; `None` takes the machine's own board source, which xenbuild carries.
    pub source: Option<FileSource>,
    /// `-D`: names for the preprocessor, besides those that describe the machine.
    pub defines: BTreeMap<String, String>,
    /// Overlays applied on top, in order: sources or blobs.
    pub overlays: Vec<FileSource>,
}

/// Which of the file systems that began as ext2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ext {
    /// Without journal.
    Ext2,
    /// With journal.
    Ext3,
    /// With journal, extents and checksums.
    Ext4,
}

impl Ext {
    /// Returns the name that recipes and `mount -t` have for it.
    pub fn name(self) -> &'static str {
        match self {
            Ext::Ext2 => "ext2",
            Ext::Ext3 => "ext3",
            Ext::Ext4 => "ext4",
        }
    }
}

/// How a file system is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// ext2, ext3 or ext4: a disk.
    Ext {
        /// Which.
        version: Ext,
        /// Whole size; `None`: as large as its content needs, plus `free_bytes`.
        size_bytes: Option<Located<u64>>,
        /// Room to leave for data beyond the content.
        free_bytes: u64,
        /// Volume label, up to 16 bytes.
        label: String,
    },
    /// FAT, for boot ROMs and firmware.
    Fat {
        /// Which; `None`: as the size has it.
        width: Option<Width>,
        /// Whole size; `None`: as large as its content needs, plus `free_bytes`.
        size_bytes: Option<Located<u64>>,
        /// Room to leave for data beyond the content.
        free_bytes: u64,
        /// Volume label, up to 11 characters.
        label: Located<String>,
    },
    /// A newc archive: an initramfs.
    Cpio {
        /// Compress with gzip.
        gzip: bool,
    },
    /// A tar archive.
    Tar {
        /// Compress with gzip.
        gzip: bool,
    },
}

/// `[filesystem.NAME]`. Filled in this order: packages, `include`s, kernel modules, guests, files, users; later wins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filesystem {
    /// How it is written.
    pub format: Format,
    /// Where `[filesystem.NAME]` stands.
    pub origin: Origin,
    /// Debian packages, with all they depend on.
    pub packages: Vec<Located<String>>,
    /// Packages that are taken as installed already, whatever depends on them.
    pub without: Vec<String>,
    /// Patterns of paths that packages and includes bring but that are left out: `/usr/share/doc/*`.
    pub exclude: Vec<String>,
    /// Begin with `/bin`, `/sbin` and `/lib` as links into `/usr`.
    pub merged_usr: bool,
    /// Trees from elsewhere, in order.
    pub include: Vec<Include>,
    /// Kernel modules.
    pub modules: Option<Modules>,
    /// Single entries, by absolute path.
    pub files: BTreeMap<String, Entry>,
    /// Users added to `/etc/passwd`, `/etc/group` and `/etc/shadow`, by name.
    pub users: BTreeMap<String, User>,
}

/// One `include` of a file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Include {
    /// What.
    pub source: TreeSource,
    /// Where it goes: an absolute path in the file system.
    pub to: String,
    /// How many leading names to cut from each path.
    pub strip: u32,
    /// Whom all of it belongs to, instead of what the source says.
    pub owner: Option<Owner>,
}

/// `1000:1000`, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// `modules` of a file system: the named ones, and all they need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Modules {
    /// Whose: a name in [`Recipe::kernels`] that has modules.
    pub kernel: Located<String>,
    /// Names (or aliases).
    pub names: Vec<Located<String>>,
    /// File that lists the modules' paths in load order, one a line: `/lib/modules/load-order`.
    pub list: String,
}

/// One of `files`: what is at that path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it is.
    pub content: EntryContent,
    /// Owner.
    pub owner: Owner,
    /// Permission bits; `None`: 0755 for directories, 0644 for files, or as the source says.
    pub mode: Option<u16>,
    /// Where it was written.
    pub origin: Origin,
}

/// What an [`Entry`] is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryContent {
    /// A file with this text.
    Text(String),
    /// A file from somewhere.
    File(FileSource),
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(String),
    /// Another name for an entry that is there already.
    Hardlink(String),
    /// A character device.
    CharacterDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// Another file system of the recipe, as one file.
    Filesystem(Located<String>),
    /// A disk of the recipe, as one file.
    Disk(Located<String>),
    /// A kernel of the recipe, as an Image.
    Kernel(Located<String>),
    /// Something to boot from.
    Boot(BootPart),
    /// Nothing: what packages or includes brought at this path, and below, is taken away.
    Absent,
}

/// `[disk.NAME]`: a partitioned disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskImage {
    /// The kind of partition table.
    pub scheme: Scheme,
    /// Whole size; `None`: as large as its content needs.
    pub size_bytes: Option<Located<u64>>,
    /// Where partitions begin unless told otherwise: at multiples of this.
    pub alignment_bytes: u64,
    /// The GPT's own GUID; `None`: one that follows from what is on the disk.
    pub guid: Option<Guid>,
    /// The MBR's disk signature, likewise.
    pub signature: Option<u32>,
    /// Where the GPT's entries lie; `None`: behind its header.
    pub entries_offset: Option<u64>,
    /// The partitions, in order.
    pub partitions: Vec<Partition>,
    /// What lies outside of them.
    pub gaps: Vec<Gap>,
    /// How a second, compressed image is made.
    pub compress: Option<compress::Format>,
    /// Whether a block map is made.
    pub bmap: bool,
    /// Where `[disk.NAME]` stands.
    pub origin: Origin,
}

/// One `partition` of a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// What tables and errors call it.
    pub label: String,
    /// What it is for.
    pub kind: PartitionType,
    /// What it holds.
    pub content: Option<PartitionContent>,
    /// How large it is.
    pub size: Size,
    /// Where it begins; `None`: behind what comes before.
    pub offset: Option<u64>,
    /// Its own GUID; `None`: one that follows from what is on the disk.
    pub guid: Option<Guid>,
    /// The GPT's attribute bits.
    pub attributes: u64,
    /// Whether the MBR marks it as the one to boot from.
    pub active: bool,
    /// Whether it is a logical partition; `None`: from the fourth on, where there are more than four.
    pub logical: Option<bool>,
    /// Whether a hybrid MBR lists it.
    pub hybrid: bool,
    /// Where it stands.
    pub origin: Origin,
}

/// What a partition holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartitionContent {
    /// A file system of the recipe.
    Filesystem(Located<String>),
    /// A file from somewhere.
    File(FileSource),
}

/// One `gap` of a disk: a boot loader where the boot ROM looks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Its first byte on the disk.
    pub offset: u64,
    /// What lies there.
    pub file: FileSource,
}

/// `[filesystem.X.users.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Number.
    pub uid: u32,
    /// Group number; a group of the user's name is made if there is none.
    pub gid: u32,
    /// Home folder; made, and the user's own.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// `crypt(3)` hash; `None` locks the password, `""` lets in without one.
    pub password: Option<String>,
}

/// `[dom0]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dom0 {
    /// A name in [`Recipe::kernels`].
    pub kernel: Located<String>,
    /// A cpio file system of the recipe.
    pub initramfs: Option<Located<String>>,
    /// The file system on its first disk (`/dev/vda`); guests' files go there.
    pub root: Option<Located<String>>,
    /// File systems on its further disks.
    pub disks: Vec<Located<String>>,
    /// `dom0_mem`.
    pub memory_bytes: Located<u64>,
    /// `dom0_max_vcpus`.
    pub vcpus: Located<u32>,
    /// The kernel's command line.
    pub bootargs: String,
}

/// `[guest.NAME]`: becomes `/etc/xen/NAME.cfg` in Dom0's root, its files under `/var/lib/xen/images/NAME/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// A name in [`Recipe::kernels`].
    pub kernel: Located<String>,
    /// A cpio file system of the recipe.
    pub initramfs: Option<Located<String>>,
    /// `memory`.
    pub memory_bytes: Located<u64>,
    /// `vcpus`.
    pub vcpus: Located<u32>,
    /// `disk`.
    pub disks: Vec<Disk>,
    /// `vif`.
    pub vifs: Vec<Vif>,
    /// `extra`: the kernel's command line.
    pub extra: String,
    /// Further settings of xl.cfg(5), as TOML values: strings, integers, booleans, lists of strings.
    pub settings: BTreeMap<String, Setting>,
    /// Where `[guest.NAME]` stands.
    pub origin: Origin,
}

/// A value of xl.cfg(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Setting {
    /// A string.
    Text(String),
    /// A number; booleans are 0 and 1.
    Number(i64),
    /// A list of strings.
    List(Vec<String>),
}

/// A guest's disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// What it is.
    pub image: DiskSource,
    /// `xvda`.
    pub device: String,
    /// May the guest write to it?
    pub writable: bool,
    /// Where it, or its device, was written.
    pub origin: Origin,
}

/// What a guest's disk is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskSource {
    /// An ext3 file system of the recipe.
    Filesystem(Located<String>),
    /// A partitioned disk of the recipe.
    Disk(Located<String>),
}

/// A guest's network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vif {
    /// The bridge in Dom0.
    pub bridge: String,
    /// `00:16:3e:xx:xx:xx`, in small letters; derived from the guest's name and number where not given.
    pub mac: String,
    /// Where it, or its address, was written.
    pub origin: Origin,
}

/// `[boot]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boot {
    /// What is made.
    pub format: BootFormat,
    /// Load addresses, by the name of the part: `kernel`.
    pub addresses: BTreeMap<String, Located<u64>>,
    /// U-Boot's script, where there is to be one.
    pub script: Option<Script>,
    /// The FIT, where there is to be one.
    pub fit: Option<Fit>,
}

/// Something to boot from, as a file of a file system.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum BootPart {
    /// U-Boot's script.
    Script,
    /// The FIT.
    Fit,
    /// The hypervisor.
    Hypervisor,
    /// Dom0's kernel.
    Kernel,
    /// Dom0's initramfs.
    Initramfs,
    /// The device tree that says where U-Boot's script loads the others.
    DeviceTree,
}

/// `[boot.script]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// What it says.
    pub text: ScriptText,
    /// The hypervisor gets the firmware's device tree, not ours.
    pub firmware_tree: bool,
    /// Where it stands.
    pub origin: Origin,
}

/// What a script says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScriptText {
    /// What follows from the recipe.
    Made,
    /// This.
    Text(String),
    /// What is in this local file.
    Path(Located<PathBuf>),
}

/// `[boot.fit]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fit {
    /// What it is signed with.
    pub key: Option<FitKey>,
}

/// A key to sign with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FitKey {
    /// The PEM file, absolute.
    pub path: Located<PathBuf>,
    /// The name by which U-Boot finds its public half.
    pub name: String,
    /// The device tree that the public half is added to.
    pub control: Option<FileSource>,
}

/// A boot artifact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootFormat {
    /// One ELF with everything in it: `RECIPE.axf`.
    Axf,
    /// What U-Boot boots from, and no ELF.
    UBoot,
}

/// `[test]`: a dialogue on the serial console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Test {
    /// For all of it.
    pub timeout: Duration,
    /// Regular expression of the shell's prompt, for `run` steps.
    pub prompt: String,
    /// Regular expressions that fail the test wherever they turn up.
    pub fail: Vec<Located<String>>,
    /// The dialogue.
    pub steps: Vec<TestStep>,
}

/// One step of the dialogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestStep {
    /// What to do.
    pub action: TestAction,
    /// Its own limit.
    pub within: Duration,
    /// Where it was written.
    pub origin: Origin,
}

/// What a step of the dialogue does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TestAction {
    /// Waits until a regular expression matches in what came since the last match.
    Expect(String),
    /// Types text.
    Send(String),
    /// Runs a shell command at the prompt and checks its exit status, and its output where `expect` is given.
    Run {
        /// The command line.
        command: String,
        /// Regular expressions that its output must match, all of them.
        expect: Vec<String>,
        /// The exit status it must have.
        status: u8,
    },
    /// Waits until the machine has powered itself off.
    PowerOff,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_recipe_is_made_in_the_caches_folder() {
        let wrong = recipe_name(Path::new("a/cache.toml"), None).unwrap_err();
        let told = Report::new(&[], vec![wrong]).into_error().to_string();
        assert!(told.contains("a recipe cannot be called `cache`"), "{told}");
        assert_eq!(recipe_name(Path::new("cache.toml"), Some("x")).ok().as_deref(), Some("cache@x"));
        assert_eq!(recipe_name(Path::new("caches.toml"), None).ok().as_deref(), Some("caches"));
    }
}
