//! `linux`, `xen`: a source tree is configured and compiled, out of tree, in a folder that outlives the build.
//!
//! ```text
//! out/cache/build/RECIPE/STEP/source/   the tree; only files that changed are written again
//! out/cache/build/RECIPE/STEP/build/    what make made of it: the next build goes on from here
//! out/cache/build/RECIPE/STEP/stage/    what make installs
//! out/cache/build/RECIPE/STEP/log       what make said
//! ```
//!
//! That folder may be gone, or from anything else: it saves time and decides nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::host::{Call, Host};
use super::{Content, Description, Kind, Workspace, module_lists, output};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::recipe::ConfigValue;
use config::{Values, Wanted};
use kconfig::Kconfig;

pub mod config;
pub mod kconfig;
mod layout;
mod linux;
mod xen;

/// The names of the inputs.
pub const SOURCE: &str = "source";
/// The cross compiler: its content is the prefix of its programs' names.
pub const COMPILER: &str = "compiler";
/// The names of outputs.
pub const CONFIG: &str = "config";
/// The modules of a kernel.
pub const MODULES: &str = "modules.tar";
/// A configuration, or a fragment of one, is no larger.
const CONFIG_MAX_BYTES: u64 = 8 << 20;
/// Whom builds say that they are made by and on.
const NAME: &str = "xenbuild";

/// What is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Project {
    /// Linux for arm64.
    Linux,
    /// Xen for arm64.
    Xen,
}

/// The step. Inputs: [`SOURCE`], [`COMPILER`], and the fragments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compile {
    /// What is compiled.
    pub project: Project,
    /// Names the folder that outlives the build; of no consequence for what is made.
    pub folder: String,
    /// How errors call the source.
    pub title: String,
    /// The target of make that the configuration begins with.
    pub defconfig: String,
    /// Inputs that are fragments, in order, and how errors call them.
    pub fragments: Vec<(String, String)>,
    /// Single values on top.
    pub config: BTreeMap<String, ConfigValue>,
    /// The time that it says it was compiled at: seconds since 1970.
    pub epoch: i64,
}

impl Project {
    /// Returns the output that is the Image.
    pub fn image(self) -> &'static str {
        match self {
            Project::Linux => "Image",
            Project::Xen => "xen",
        }
    }

    /// Returns the other outputs that are worth a name of their own.
    pub fn byproducts(self) -> &'static [&'static str] {
        match self {
            Project::Linux => &[CONFIG, "System.map", "Image.gz", MODULES, "dtbs.tar"],
            Project::Xen => &[CONFIG, "xen-syms", "xen-syms.map"],
        }
    }
}

impl Kind for Compile {
    fn name(&self) -> &'static str {
        match self.project {
            Project::Linux => "linux",
            Project::Xen => "xen",
        }
    }

    fn version(&self) -> u32 {
        3
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("defconfig", &self.defconfig);
        description.parameter("epoch", self.epoch);
        for (number, (input, _)) in self.fragments.iter().enumerate() {
            description.parameter(format!("fragment {}", number + 1), input);
        }
        for (name, value) in &self.config {
            match value {
                ConfigValue::Boolean(value) => description.parameter(format!("config {name}"), value),
                ConfigValue::Number(value) => description.parameter(format!("config {name}"), value),
                ConfigValue::Text(value) => description.parameter(format!("config {name}"), format_args!("{value:?}")),
            }
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let host = workspace.packages.host().ok_or_else(|| Error::new(ErrorKind::Internal, "there is no host"))?;
        let folder = host.build_folder(&self.folder)?;
        check_path(&folder)?;
        let build = Build::new(self, workspace, host, folder)?;
        layout::lay_out(workspace.file(SOURCE)?, &build.source, &self.title, workspace.task)?;
        match self.project {
            Project::Linux => linux::make(&build),
            Project::Xen => xen::make(&build),
        }
    }
}

/// Make's variables end at blanks, and its rules at colons.
fn check_path(folder: &Path) -> Result<()> {
    let shown = folder.display().to_string();
    if shown.contains([' ', '\t', ':', '#', '%', '$', '\\', '\'', '"', '=', ',', '\n', ';', '&', '(', ')', '*', '?']) {
        let message = format!("make cannot work in the folder {shown}: its name has blanks or punctuation in it");
        return Err(Error::new(ErrorKind::Host, message).hint("`--out DIR` puts what is made elsewhere"));
    }
    Ok(())
}

/// A build under way.
struct Build<'a> {
    step: &'a Compile,
    workspace: &'a Workspace<'a>,
    host: &'a dyn Host,
    source: PathBuf,
    objects: PathBuf,
    stage: PathBuf,
    /// Programs that would tell about this host, and here do not.
    programs: PathBuf,
    log: PathBuf,
    /// `aarch64-linux-gnu-`
    prefix: String,
}

impl<'a> Build<'a> {
    fn new(step: &'a Compile, workspace: &'a Workspace<'a>, host: &'a dyn Host, folder: PathBuf) -> Result<Self> {
        let prefix = match &workspace.input(COMPILER)?.content {
            Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => return Err(Error::new(ErrorKind::Internal, "the compiler is no name")),
        };
        let build = Build {
            step,
            workspace,
            host,
            source: folder.join("source"),
            objects: folder.join("build"),
            stage: folder.join("stage"),
            programs: folder.join("programs"),
            log: folder.join("log"),
            prefix,
        };
        for made in [&build.source, &build.objects, &build.programs] {
            make_folder(made)?;
        }
        // A log of this build alone.
        fs::write(&build.log, "").map_err(|error| output::write_error(&build.log, error))?;
        // Debian's patches have Xen ask it for the name of the distribution.
        let lsb_release = build.programs.join("lsb_release");
        fs::write(&lsb_release, format!("#!/bin/sh\necho {NAME}\n"))
            .and_then(|()| fs::set_permissions(&lsb_release, std::os::unix::fs::PermissionsExt::from_mode(0o755)))
            .map_err(|error| output::write_error(&lsb_release, error))?;
        Ok(build)
    }

    /// Runs make.
    fn run(&self, title: &str, arguments: Vec<String>) -> Result<()> {
        let mut environment = vec![
            ("SOURCE_DATE_EPOCH", self.step.epoch.to_string()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("LOGNAME", NAME.to_owned()),
            ("USER", NAME.to_owned()),
        ];
        // A repository above is not the tree's own.
        if let Some(above) = self.source.parent() {
            environment.push(("GIT_CEILING_DIRECTORIES", above.display().to_string()));
        }
        let call = Call {
            title,
            program: "make",
            arguments,
            environment,
            folder: &self.source,
            programs: Some(&self.programs),
            log: &self.log,
        };
        self.host.run(&call, self.workspace.task)
    }

    /// Maps this host's paths to what they are below the tree. Debug information names the folders themselves, too: what
    /// they are called would go into a build id.
    fn path_flags(&self) -> String {
        // Of several that fit, the compiler takes the last.
        let map = |path: &Path| format!("-ffile-prefix-map={0}=. -ffile-prefix-map={0}/=", path.display());
        format!("{} {}", map(&self.source), map(&self.objects))
    }

    /// Configures: what make begins with, the fragments and values on top; and makes sure that all of it came out.
    fn configure(&self, kconfig: &Kconfig, make: &dyn Fn(&str) -> Result<()>) -> Result<()> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (input, title) in &self.step.fragments {
            let bytes = self.workspace.input(input)?.read(CONFIG_MAX_BYTES)?;
            wanted.extend(config::fragment(title, &String::from_utf8_lossy(&bytes))?);
        }
        wanted.extend(self.step.config.iter().map(|(name, value)| config::render(name, value, kconfig)));
        let path = self.objects.join(".config");
        make(&self.step.defconfig)?;
        let base = String::from_utf8_lossy(&output::read_limited(&path, CONFIG_MAX_BYTES)?).into_owned();
        fs::write(&path, config::merge(&base, &wanted)).map_err(|error| output::write_error(&path, error))?;
        make("olddefconfig")?;
        config::check(&wanted, &self.values()?, kconfig)
    }

    /// Returns the configuration as it came out.
    fn values(&self) -> Result<Values> {
        let text = output::read_limited(&self.objects.join(".config"), CONFIG_MAX_BYTES)?;
        Ok(Values::parse(&String::from_utf8_lossy(&text)))
    }

    /// Takes a file that make made.
    fn take(&self, from: &Path, name: &str) -> Result<()> {
        let path = self.workspace.folder.join(name);
        let mut out = output::create(&path)?;
        let title = from.display().to_string();
        output::copy(&mut output::open(from)?, &mut out, self.workspace.task, (&title, &path)).map(drop)
    }

    /// Takes a folder that make installed into, as a tar archive, with the lists of its kernel modules; an empty one if
    /// there is none.
    fn take_folder(&self, from: &Path, name: &str) -> Result<()> {
        use imagegen::archive::{ReadOptions, folder, tar};
        use imagegen::tree::{Metadata, Timestamp, Tree};
        let time = Timestamp { seconds: self.step.epoch, nanoseconds: 0 };
        let mut tree = Tree::new(Metadata::root(0o755, time));
        let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Host, format!("{name}: {error}"));
        if from.is_dir() {
            folder::read_into(&mut tree, from, &ReadOptions::default(), folder::Keep::Content(time))
                .map_err(|error| failed(&error))?;
            module_lists::add(&mut tree, &Metadata::root(0o644, time), self.workspace.task.cancel())?;
        }
        let path = self.workspace.folder.join(name);
        let mut out = std::io::BufWriter::with_capacity(1 << 20, output::create(&path)?);
        tar::write(&tree, &mut out, &tar::WriteOptions::default()).map_err(|error| failed(&error))?;
        std::io::Write::flush(&mut out).map_err(|error| output::write_error(&path, error))
    }

    /// Empties the folder that make installs into.
    fn empty_stage(&self) -> Result<()> {
        match fs::remove_dir_all(&self.stage) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("cannot remove {}", self.stage.display()), error));
            }
            _ => {}
        }
        make_folder(&self.stage)
    }

    /// Writes the time as `date` does: what people expect in a banner.
    fn date(&self) -> String {
        let time = jiff::Timestamp::from_second(self.step.epoch).unwrap_or_default();
        time.strftime("%a %b %e %H:%M:%S UTC %Y").to_string()
    }
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::io(format!("cannot make the folder {}", path.display()), error))
}

/// Returns the text of a fragment that xenbuild carries.
pub fn carried_fragment(name: &str) -> Option<&'static str> {
    match name {
        "xen" => Some(include_str!("../../recipes/fragments/xen.config")),
        "builtin" => Some(include_str!("../../recipes/fragments/builtin.config")),
        _ => None,
    }
}
