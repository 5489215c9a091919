//! Steps: a closed set of kinds, one file per kind, each with two verbs: describe yourself, make your output.
//! Knows nothing of the graph, the cache or threads: a step is handed its inputs and a folder to write into.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use imagegen::tree::Extent;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::fetch::{LockedPackage, Wanted};
use crate::recipe::Origin;
use crate::task::Task;

pub mod bmap;
pub mod compile;
pub mod compress;
pub mod device_tree;
pub mod disk;
pub mod extract;
pub mod fetch;
pub mod filesystem;
pub mod guest_config;
pub mod host;
pub mod includes;
pub mod integrated;
pub mod kernel;
pub mod module_lists;
pub mod output;
#[cfg(test)]
pub mod probe;
pub mod source;
pub mod uboot;
pub mod unpack;
pub mod wrap;

/// A step's position in its plan: dense, and above that of every step it takes something from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StepId(pub u32);

impl StepId {
    /// Returns the position as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Hashes bytes that are in memory.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// Reads 64 hex digits of either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |digit: u8| (digit as char).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        Some(Digest(digest))
    }

    /// Returns the first twelve hex digits: enough for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes hex digits in small letters only: the same digest is the same text.
impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = Digest::from_hex(&text).filter(|digest| digest.to_string() == text);
        digest.ok_or_else(|| de::Error::custom(format_args!("{text:?} is not a SHA-256 of 64 digits in small letters")))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something a step takes, by the name under which its manifest lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// The role, and nothing of this host: `image`, `package libc6`, `file /etc/motd`.
    pub name: String,
    /// Where it comes from.
    pub source: InputSource,
    /// Where the recipe asks for it, for errors about local files.
    pub origin: Option<Origin>,
}

impl Input {
    /// Makes an input that is what an earlier step made.
    pub fn step(name: impl Into<String>, step: StepId) -> Self {
        Input { name: name.into(), source: InputSource::Step(step), origin: None }
    }

    /// Makes an input that is one of the things that an earlier step made.
    pub fn output(name: impl Into<String>, step: StepId, output: &'static str) -> Self {
        Input { name: name.into(), source: InputSource::Output(step, output), origin: None }
    }

    /// Says whether, of what the step made that this input comes from, it takes the output of this name.
    pub fn takes(&self, output: &str) -> bool {
        !matches!(&self.source, InputSource::Output(_, wanted) if *wanted != output)
    }

    /// Makes an input of bytes that xenbuild carries.
    pub fn carried(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Input { name: name.into(), source: InputSource::Carried(bytes.into()), origin: None }
    }
}

/// Where an input comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum InputSource {
    /// All that an earlier step made.
    Step(StepId),
    /// One thing that an earlier step made, by its name.
    Output(StepId, &'static str),
    /// The cross compiler: which it is, for what, and of what version.
    Compiler,
    /// A local file.
    File {
        /// Absolute.
        path: PathBuf,
        /// What it must hash to, where the recipe says so.
        sha256: Option<Digest>,
        /// Whether its owner may execute it counts too.
        mode: bool,
    },
    /// A local folder with all below it.
    Folder {
        /// Absolute.
        path: PathBuf,
        /// Owners, modes, times and attributes count too.
        keep: bool,
    },
    /// A local device-tree source, with the files that it includes.
    TreeSource {
        /// Absolute.
        path: PathBuf,
        /// What the source itself must hash to, where the recipe says so.
        sha256: Option<Digest>,
    },
    /// Bytes that xenbuild carries inside.
    Carried(Cow<'static, [u8]>),
}

impl InputSource {
    /// Returns the step that this comes from.
    pub fn step(&self) -> Option<StepId> {
        match self {
            InputSource::Step(id) | InputSource::Output(id, _) => Some(*id),
            _ => None,
        }
    }
}

impl fmt::Debug for InputSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputSource::Step(id) => write!(f, "Step({})", id.0),
            InputSource::Output(id, name) => write!(f, "Output({}, {name:?})", id.0),
            InputSource::Compiler => f.write_str("Compiler"),
            InputSource::File { path, sha256, mode } => write!(f, "File({path:?}, {sha256:?}, mode: {mode})"),
            InputSource::Folder { path, keep } => write!(f, "Folder({path:?}, keep: {keep})"),
            InputSource::TreeSource { path, sha256 } => write!(f, "TreeSource({path:?}, {sha256:?})"),
            InputSource::Carried(bytes) => write!(f, "Carried({} bytes)", bytes.len()),
        }
    }
}

/// What a step says about itself, for its manifest: everything that decides its output, besides its inputs.
#[derive(Default, Debug)]
pub struct Description {
    parameters: Vec<(String, String)>,
}

impl Description {
    /// Adds a parameter. Names are unique within a step; a name may hold spaces but no line break.
    pub fn parameter(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.parameters.push((name.into(), value.to_string()));
    }

    /// Adds a parameter that is a longer text, by its length and digest.
    pub fn text(&mut self, name: impl Into<String>, text: &str) {
        self.parameter(name, format_args!("{} bytes, sha256 {}", text.len(), Digest::of(text.as_bytes())));
    }

    /// Returns the parameters in the order they were added.
    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }
}

/// A file that a step made: its name, and what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// File name, without a folder.
    pub name: String,
    /// Length in bytes, holes included.
    pub size_bytes: u64,
    /// Digest of the whole content.
    pub sha256: Digest,
}

/// An input as it is handed to a step.
#[derive(Clone, Debug)]
pub struct Given {
    /// The name from [`Input`].
    pub name: String,
    /// Its bytes, or where they are.
    pub content: Content,
}

/// An input's bytes, or where they are.
#[derive(Clone, Debug)]
pub enum Content {
    /// Files: one for a local file, one or more for a step's outputs.
    Files(Vec<PathBuf>),
    /// A device-tree source and the files it includes, by the names under which it asks for them; itself first.
    Sources(Vec<(String, PathBuf)>),
    /// A local folder.
    Folder {
        /// Absolute.
        path: PathBuf,
        /// Take owners, modes, times and attributes as they are.
        keep: bool,
    },
    /// Bytes in memory.
    Bytes(Cow<'static, [u8]>),
}

/// Where and with what a step works.
pub struct Workspace<'a> {
    /// An empty folder for what it makes; nothing else may be written.
    pub folder: &'a Path,
    /// The step's key: the one source of identifiers, UUIDs for example.
    pub key: Digest,
    /// Its inputs, in the plan's order.
    pub inputs: &'a [Given],
    /// Progress, and the flag that says stop.
    pub task: &'a dyn Task,
    /// Where packages come from.
    pub packages: &'a dyn PackageSource,
}

/// Where packages come from.
pub trait PackageSource: Sync {
    /// Writes a locked package to `destination`, verified.
    fn get(&self, package: &LockedPackage, destination: &Path, task: &dyn Task) -> Result<()>;

    /// Writes a file of the network to `destination`, verified.
    fn get_url(&self, url: &str, _wanted: &Wanted, _destination: &Path, _task: &dyn Task) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, format!("nobody knows how to get {url}")))
    }

    /// Returns the host, where steps may use it.
    fn host(&self) -> Option<&dyn host::Host> {
        None
    }
}

/// No packages: for plans that have none.
pub struct NoPackages;

impl PackageSource for NoPackages {
    fn get(&self, package: &LockedPackage, _destination: &Path, _task: &dyn Task) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, format!("nobody knows where {} comes from", package.name)))
    }
}

impl Workspace<'_> {
    /// Returns the input of this name.
    pub fn input(&self, name: &str) -> Result<&Given> {
        self.inputs
            .iter()
            .find(|input| input.name == name)
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("the step has no input called {name:?}")))
    }

    /// Returns the one file that the input of this name is.
    pub fn file(&self, name: &str) -> Result<&Path> {
        self.input(name)?.file()
    }
}

impl Given {
    /// Returns the one file that this input is; what lies beside an image is not meant.
    pub fn file(&self) -> Result<&Path> {
        let files = match &self.content {
            Content::Files(files) => files.as_slice(),
            _ => &[],
        };
        let alone = files.len() == 1;
        let mut files = files.iter().filter(|file| alone || file.file_name() != Some(output::MAP.as_ref()));
        match (files.next(), files.next()) {
            (Some(file), None) => Ok(file),
            _ => Err(Error::new(ErrorKind::Internal, format!("input {:?} is not one file", self.name))),
        }
    }

    /// Returns what lies beside an image: which of its bytes mean something. `None`: all of them.
    pub fn map(&self) -> Result<Option<Vec<Extent>>> {
        let Content::Files(files) = &self.content else { return Ok(None) };
        let map = files.iter().find(|file| file.file_name() == Some(output::MAP.as_ref()) && files.len() > 1);
        map.map(|map| output::read_map(map)).transpose()
    }

    /// Returns an input's bytes, whether they are in a file of at most `limit_bytes` or in memory.
    pub fn read(&self, limit_bytes: u64) -> Result<Vec<u8>> {
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes.to_vec()),
            _ => output::read_limited(self.file()?, limit_bytes),
        }
    }
}

/// What every kind of step can do.
pub trait Kind {
    /// Returns the kind's name.
    fn name(&self) -> &'static str;

    /// Returns the version of the kind: raised whenever the same inputs give other bytes than before.
    fn version(&self) -> u32;

    /// Lists the parameters: the first of the two verbs.
    fn describe(&self, description: &mut Description);

    /// Makes the output in the workspace's folder: the second.
    fn make(&self, workspace: &Workspace<'_>) -> Result<()>;

    /// Returns what the output will be, if that is known before it is made: such a step runs only when asked for.
    fn known_output(&self) -> Option<Output> {
        None
    }
}

/// A step, of one of the kinds there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A package of the lock.
    Fetch(fetch::Fetch),
    /// A file at an address.
    Download(fetch::Download),
    /// The files of a commit.
    Commit(fetch::Commit),
    /// Packages that no lock names yet.
    Unlocked(fetch::Unlocked),
    /// An archive becomes a plain tar file.
    Unpack(unpack::Unpack),
    /// One file out of unpacked archives.
    Extract(extract::Extract),
    /// Archives and patches become a source tree.
    Source(Box<source::Source>),
    /// A source tree is compiled.
    Compile(Box<compile::Compile>),
    /// The hypervisor that is carried.
    Integrated(integrated::Integrated),
    /// A local file as it is.
    Copy(extract::Copy),
    /// A kernel becomes an Image.
    Kernel(kernel::Kernel),
    /// Device-tree sources become a blob.
    DeviceTree(device_tree::DeviceTree),
    /// A tree becomes an image.
    Filesystem(Box<filesystem::Filesystem>),
    /// Partitions become a disk.
    Disk(Box<disk::Disk>),
    /// An image becomes smaller.
    Compress(compress::Compress),
    /// An image gets a list of the blocks that mean something.
    Bmap(bmap::Bmap),
    /// A guest's `xl.cfg`.
    GuestConfig(guest_config::GuestConfig),
    /// All becomes one file to boot.
    Wrap(wrap::Wrap),
    /// All becomes what U-Boot boots from.
    UBoot(Box<uboot::UBoot>),
    /// For tests of the engine.
    #[cfg(test)]
    Probe(probe::Probe),
}

impl Step {
    /// Returns the step as its kind.
    pub fn kind(&self) -> &dyn Kind {
        match self {
            Step::Fetch(step) => step,
            Step::Download(step) => step,
            Step::Commit(step) => step,
            Step::Unlocked(step) => step,
            Step::Source(step) => &**step,
            Step::Compile(step) => &**step,
            Step::Unpack(step) => step,
            Step::Extract(step) => step,
            Step::Integrated(step) => step,
            Step::Copy(step) => step,
            Step::UBoot(step) => &**step,
            Step::Kernel(step) => step,
            Step::DeviceTree(step) => step,
            Step::Filesystem(step) => &**step,
            Step::Disk(step) => &**step,
            Step::Compress(step) => step,
            Step::Bmap(step) => step,
            Step::GuestConfig(step) => step,
            Step::Wrap(step) => step,
            #[cfg(test)]
            Step::Probe(step) => step,
        }
    }
}
