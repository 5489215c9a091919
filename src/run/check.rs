//! What can be known before the first long step: that there is a plan, and that what it takes from local files is of use.

use std::path::Path;
use std::sync::Arc;

use super::measure::Measure;
use super::preview::{self, Local, Preview};
use super::tools;
use crate::error::{Error, Result};
use crate::fetch::Lock;
use crate::plan::{Plan, PlannedStep, Role};
use crate::recipe::{Origin, Recipe};
use crate::step::device_tree::DeviceTree;
use crate::step::{Digest, Given, NoPackages, Step, Workspace, integrated};
use crate::task::{Cancel, Silent, Task};

/// What is wrong; each knows where the recipe asks for it.
type Wrong = Vec<Error>;

/// What could be known.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong with the recipe, or with what it names.
    pub wrong: Vec<Error>,
    /// The memory map, if nothing is wrong.
    pub preview: Option<Preview>,
    /// What a build would say of programs that this machine lacks: no fault of the recipe's.
    pub missing: Option<Error>,
}

/// Plans a recipe, unpacks its local kernels, compiles its local device trees, and gives everything its place in memory,
/// as far as sizes are known without making anything. `known` is wrong already, and nothing more is said about it.
///
/// Returns what else is wrong, and the memory map, if nothing is.
///
/// # Errors
/// What is wrong and stands nowhere in the recipe: a lock that cannot be read, for example.
pub fn check(recipe: &Recipe, known: &[Error], out: &Path, cancel: &Arc<Cancel>) -> Result<Checked> {
    let lock = Lock::read(&Lock::path_of(recipe))?;
    let mut wrong = Wrong::new();
    let mut plan = Plan::attempt(recipe, lock.as_ref());
    if let Err(errors) = plan {
        wrong = with_places(errors)?;
        // Without the guests that have no configuration, the rest can be looked at.
        let mut rest = recipe.clone();
        rest.guests.retain(|_, guest| wrong.iter().all(|error| error.place.as_deref() != Some(&guest.origin)));
        plan = Plan::attempt(&rest, lock.as_ref());
    }
    let Ok(plan) = plan else { return Ok(Checked { wrong, ..Checked::default() }) };
    let task = &Silent(cancel.clone());
    let mut checker = Checker { known, task, local: Local::default(), wrong };
    for (_, step) in plan.steps() {
        task.cancel().check()?;
        checker.step(&plan, step)?;
    }
    let Checker { local, wrong, .. } = checker;
    let mut checked = Checked { wrong, preview: None, missing: tools::check(&plan).err() };
    if !known.is_empty() || !checked.wrong.is_empty() {
        return Ok(checked);
    }
    let blame = |origin: &Origin, message: String| recipe.error_at(origin, message);
    match preview::preview(&plan, local, out, &blame, cancel) {
        Ok(preview) => checked.preview = Some(preview),
        Err(error) => checked.wrong.extend(with_places(vec![error])?),
    }
    Ok(checked)
}

/// Returns errors that all have a place in the recipe; one that has none ends the check.
fn with_places(errors: Vec<Error>) -> Result<Wrong> {
    let (placed, mut others): (Vec<Error>, Vec<Error>) = errors.into_iter().partition(|error| error.place.is_some());
    if others.is_empty() { Ok(placed) } else { Err(others.remove(0)) }
}

struct Checker<'a> {
    known: &'a [Error],
    task: &'a dyn Task,
    local: Local,
    wrong: Wrong,
}

impl Checker<'_> {
    /// Looks at a step that takes nothing but local files.
    fn step(&mut self, plan: &Plan, step: &PlannedStep) -> Result<()> {
        // `hypervisor.sha256` is about the same file as `hypervisor.path`.
        let table = |origin: &Origin| origin.key.rsplit_once('.').map_or(String::new(), |(table, _)| table.to_owned());
        let hopeless = |origin: &Origin| {
            self.known.iter().any(|known| known.place.as_ref().is_some_and(|place| table(place) == table(origin)))
        };
        if step.needs().next().is_some() || step.inputs.iter().any(|input| input.origin.as_ref().is_some_and(hopeless))
        {
            return Ok(());
        }
        match &step.step {
            Step::Kernel(kernel) => {
                let given = self.given(step)?;
                match (kernel.image(&given[0]), &step.inputs[0].origin) {
                    (Ok(image), _) => {
                        let of_role = |artifact: &&crate::plan::Artifact| {
                            artifact.role == Role::Image && plan.step(artifact.step).name == step.name
                        };
                        match plan.artifacts.iter().find(of_role).map(|artifact| artifact.name.as_str()) {
                            Some("xen") => self.local.hypervisor = Some(image.bytes),
                            Some(_) => self.local.kernel = Some(image.bytes),
                            None => {}
                        }
                    }
                    (Err(error), Some(origin)) => self.wrong.push(error.at(origin)),
                    (Err(error), None) => return Err(error),
                }
            }
            Step::DeviceTree(tree) => self.device_tree(tree, step)?,
            // As good as a local file: it is in this program.
            Step::Integrated(_) => self.local.hypervisor = Some(integrated::image(crate::carried::HYPERVISOR)?),
            _ => {}
        }
        Ok(())
    }

    /// Compiles with more overlays each time: the one with which it fails is to blame.
    fn device_tree(&mut self, tree: &DeviceTree, step: &PlannedStep) -> Result<()> {
        let given = self.given(step)?;
        for count in 0..=tree.overlays.len() {
            let part = DeviceTree { overlays: tree.overlays[..count].to_vec(), ..tree.clone() };
            let workspace = Workspace {
                folder: Path::new(""),
                key: Digest([0; 32]),
                inputs: &given,
                task: self.task,
                packages: &NoPackages,
            };
            match part.blob(&workspace) {
                Ok(blob) => self.local.device_tree = Some(blob),
                Err(error) => {
                    self.local.device_tree = None;
                    let name = count.checked_sub(1).map(|last| tree.overlays[last].as_str());
                    let name = name.unwrap_or(crate::step::device_tree::SOURCE);
                    let input = step.inputs.iter().find(|input| input.name == name);
                    let Some(origin) = input.and_then(|input| input.origin.clone()) else { return Err(error) };
                    self.wrong.push(error.at(&origin));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Returns the inputs of a step that takes nothing from others.
    fn given(&self, step: &PlannedStep) -> Result<Vec<Given>> {
        let given = |input: &crate::step::Input| {
            debug_assert!(input.source.step().is_none());
            Ok(Given { name: input.name.clone(), content: Measure::content(input, Vec::new)? })
        };
        step.inputs.iter().map(given).collect()
    }
}
