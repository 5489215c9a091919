//! Looks at a plan without running it: what is cached, what would run, what waits for what.

use super::index::Index;
use super::measure::{Looks, Measure};
use super::store::{Found, Store};
use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::plan::manifest::{InputLines, Manifest};
use crate::recipe::Origin;
use crate::step::{InputSource, Output, StepId};
use crate::task::Task;

/// What a build would do with a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Prospect {
    /// Its output is in the cache.
    Cached,
    /// Its output is known, and nobody needs it.
    NotNeeded,
    /// It would run.
    WouldRun,
    /// It would run: what is in the cache is damaged.
    Damaged(String),
    /// Whether it runs depends on what this step makes.
    Waits(StepId),
    /// Whether it runs depends on a compiler that is not here, or is of no use: what is wrong with it.
    Unknown(String),
}

/// A step as it stands.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// What would become of it.
    pub prospect: Prospect,
    /// Its manifest; without the lines of inputs that are not known yet.
    pub manifest: Manifest,
    /// Names of those inputs.
    pub unknown: Vec<String>,
    outputs: Option<Vec<Output>>,
}

/// Surveys all steps of a plan, in its order.
pub fn survey(
    plan: &Plan,
    store: &Store,
    index: &Index,
    blame: &(dyn Fn(&Origin, String) -> Error + Sync),
    task: &dyn Task,
) -> Result<Vec<Surveyed>> {
    let measure = Measure { index, blame, task };
    let mut all: Vec<Surveyed> = Vec::with_capacity(plan.len());
    let mut damages = vec![None; plan.len()];
    for (id, step) in plan.steps() {
        task.cancel().check()?;
        let kind = step.step.kind();
        let mut lines: Vec<(&str, InputLines)> = Vec::new();
        let mut unknown = Vec::new();
        let (mut waits, mut absent) = (None, None);
        for input in &step.inputs {
            let outputs = match input.source.step() {
                Some(id) if all[id.index()].outputs.is_none() => {
                    unknown.push(input.name.clone());
                    waits = waits.or(Some(id));
                    continue;
                }
                Some(id) => all[id.index()].outputs.as_deref(),
                None => None,
            };
            match measure.lines(input, outputs, &mut Looks::new()) {
                Ok(found) => lines.push((&input.name, found)),
                // A build would fail here. Whoever only looks is told, and hears of the rest.
                Err(error) if matches!(input.source, InputSource::Compiler) && error.kind == Kind::Host => {
                    unknown.push(input.name.clone());
                    absent = Some([vec![error.to_string()], error.hints].concat().join("; "));
                }
                Err(error) => return Err(error),
            }
        }
        let manifest = Manifest::new(kind, lines);
        let output = kind.known_output();
        let known = output.clone().map(|output| vec![output]);
        let (prospect, outputs) = match (absent, waits) {
            (Some(what), _) => (Prospect::Unknown(what), known),
            (None, Some(id)) => (Prospect::Waits(id), known),
            (None, None) => match store.find_known(manifest.key(), output.as_ref(), index, task)? {
                Found::Entry(entry) => (Prospect::Cached, Some(entry.outputs)),
                // Until somebody is found who needs it.
                Found::Nothing if known.is_some() => (Prospect::NotNeeded, known),
                Found::Damaged(damage) if known.is_some() => {
                    damages[id.index()] = Some(damage);
                    (Prospect::NotNeeded, known)
                }
                Found::Damaged(damage) => (Prospect::Damaged(damage), None),
                Found::Nothing => (Prospect::WouldRun, None),
            },
        };
        all.push(Surveyed { prospect, manifest, unknown, outputs });
    }
    demand(plan, &mut all, damages);
    Ok(all)
}

/// Finds out which of the steps whose output is known would have to run after all.
fn demand(plan: &Plan, all: &mut [Surveyed], mut damages: Vec<Option<String>>) {
    let steps: Vec<_> = plan.steps().collect();
    for (id, step) in steps.into_iter().rev() {
        let prospect = &all[id.index()].prospect;
        let runs = !matches!(prospect, Prospect::Cached | Prospect::NotNeeded);
        for needed in step.needs().filter(|_| runs) {
            let prospect = &mut all[needed.index()].prospect;
            if *prospect == Prospect::NotNeeded {
                *prospect = damages[needed.index()].take().map_or(Prospect::WouldRun, Prospect::Damaged);
            }
        }
    }
}
