//! The plan: a recipe as a graph of steps. A pure value, printable and comparable; nothing here touches a disk.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::step::{Description, Input, InputSource, Step, StepId};

pub mod manifest;
mod of;

/// All steps that make a recipe's artifacts, each after those that it takes something from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The recipe's name: the folder under `out/`.
    pub recipe: String,
    /// The recipe's folder: local paths are shown relative to it.
    pub folder: PathBuf,
    /// What ends up in `out/RECIPE/`.
    pub artifacts: Vec<Artifact>,
    steps: Vec<PlannedStep>,
    names: BTreeMap<String, StepId>,
}

/// A step, its name and its inputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedStep {
    /// Unique in the plan, stable over changes of the recipe, and where possible the recipe's own key.
    pub name: String,
    /// What it does.
    pub step: Step,
    /// What it takes.
    pub inputs: Vec<Input>,
}

/// What an artifact is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The file to boot.
    Boot,
    /// Who sits where in it.
    MemoryMap,
    /// The machine's device tree.
    DeviceTree,
    /// An arm64 Image.
    Image,
    /// An image of a file system.
    Filesystem,
    /// A partitioned disk.
    Disk,
    /// A compressed image.
    Compressed,
    /// The block map of an image.
    Bmap,
    /// A guest's configuration.
    GuestConfig,
    /// What U-Boot boots from.
    UBoot,
    /// What an emulator starts instead of the file to boot.
    Firmware,
    /// What compiling leaves besides the Image: configuration, symbols, modules.
    Byproduct,
}

/// A file of `out/RECIPE/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Artifact {
    /// What it is for.
    pub role: Role,
    /// Its name there.
    pub name: String,
    /// The step that makes it.
    pub step: StepId,
    /// Its name among the step's outputs.
    pub output: String,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 12] = [
        Role::Boot,
        Role::MemoryMap,
        Role::DeviceTree,
        Role::Image,
        Role::Filesystem,
        Role::Disk,
        Role::Compressed,
        Role::Bmap,
        Role::GuestConfig,
        Role::UBoot,
        Role::Firmware,
        Role::Byproduct,
    ];
}

// The last of them closes the list.
const _: () = assert!(Role::ALL.len() == Role::Byproduct as usize + 1);

impl PlannedStep {
    /// Returns the steps that this one takes something from, in the order of the inputs.
    pub fn needs(&self) -> impl Iterator<Item = StepId> {
        self.inputs.iter().filter_map(|input| input.source.step())
    }
}

impl Plan {
    /// Returns a plan without steps.
    pub fn new(recipe: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Plan {
            recipe: recipe.into(),
            folder: folder.into(),
            artifacts: Vec::new(),
            steps: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Adds a step; it may only take from steps that are there already.
    pub fn push(&mut self, name: impl Into<String>, step: Step, inputs: Vec<Input>) -> Result<StepId> {
        let name = name.into();
        let too_many = || Error::new(Kind::Recipe, "the recipe needs more steps than a plan can hold");
        let id = StepId(u32::try_from(self.steps.len()).map_err(|_| too_many())?);
        if self.names.insert(name.clone(), id).is_some() {
            return Err(Error::new(Kind::Internal, format!("two steps are called {name}")));
        }
        let step = PlannedStep { name, step, inputs };
        assert!(step.needs().all(|needed| needed < id), "{}: takes from a step that comes later", step.name);
        self.steps.push(step);
        Ok(id)
    }

    /// Returns all steps, in an order in which they could run.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (StepId, &PlannedStep)> {
        self.steps.iter().enumerate().map(|(index, step)| (StepId(index as u32), step))
    }

    /// Returns the number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Says whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns a step.
    pub fn step(&self, id: StepId) -> &PlannedStep {
        &self.steps[id.index()]
    }

    /// Returns the step of this name.
    pub fn find(&self, name: &str) -> Option<StepId> {
        self.names.get(name).copied()
    }

    /// Returns the step of this name, or an error that suggests one.
    pub fn find_or_suggest(&self, name: &str) -> Result<StepId> {
        if let Some(id) = self.find(name) {
            return Ok(id);
        }
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let distance = |step: &&PlannedStep| {
            strsim::damerau_levenshtein(&step.name, name).min(strsim::damerau_levenshtein(&last(&step.name), name) + 1)
        };
        let nearest = self.steps.iter().min_by_key(distance).filter(|step| distance(step) <= 1 + name.len() / 2);
        let error = Error::new(Kind::Usage, format!("{} has no step called `{name}`", self.recipe));
        Err(match nearest {
            Some(step) => error.hint(format!("did you mean `{}`?", step.name)),
            None => error.hint("`xenbuild plan` lists all steps"),
        })
    }

    /// Shows a local path as the recipe's reader knows it.
    pub fn show_path(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
    }

    /// Says in a few words where an input comes from.
    pub fn show_source(&self, source: &InputSource) -> String {
        match source {
            InputSource::Step(id) => format!("step {}", self.step(*id).name),
            InputSource::Output(id, output) => format!("{output} of step {}", self.step(*id).name),
            InputSource::Compiler => "the cross compiler".to_owned(),
            InputSource::File { path, sha256: None, .. } => format!("file {}", self.show_path(path)),
            InputSource::File { path, sha256: Some(sha256), .. } => {
                format!("file {} sha256 {sha256}", self.show_path(path))
            }
            InputSource::Folder { path, keep: false } => format!("folder {}", self.show_path(path)),
            InputSource::Folder { path, keep: true } => format!("folder {} with its owners", self.show_path(path)),
            InputSource::TreeSource { path, .. } => format!("source {} and what it includes", self.show_path(path)),
            InputSource::Carried(_) => "carried by xenbuild".to_owned(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan of {}: {} steps, {} artifacts", self.recipe, self.steps.len(), self.artifacts.len())?;
        for step in &self.steps {
            let mut description = Description::default();
            step.step.kind().describe(&mut description);
            writeln!(f, "\n{}: {}", step.name, step.step.kind().name())?;
            for (name, value) in description.parameters() {
                writeln!(f, "{}", format!("  {name}: {}", manifest::escape(value)).trim_end())?;
            }
            for input in &step.inputs {
                writeln!(f, "  <- {}: {}", input.name, self.show_source(&input.source))?;
            }
        }
        writeln!(f)?;
        for artifact in &self.artifacts {
            writeln!(f, "{} = {} of {}", artifact.name, artifact.output, self.step(artifact.step).name)?;
        }
        Ok(())
    }
}
