//! Says why a step would run again: exactly the manifest lines that differ from the last build's, and for an input
//! that another step makes, what differs there, down to the cause.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::history::History;
use super::survey::{Prospect, Surveyed};
use crate::plan::Plan;
use crate::plan::manifest::{Change, suffix};
use crate::step::{InputSource, StepId};

/// What would become of a step, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing has changed since the last build.
    UpToDate,
    /// Something has, but that output is in the cache from an earlier build.
    Cached,
    /// A download that nobody needs.
    NotNeeded,
    /// It would run.
    WouldRun,
    /// It would run if a step before it makes something else than before.
    MayRun,
    /// Nobody can tell: what would compile it is not here.
    Unknown,
}

/// Why a step would run, or why not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The step's name.
    pub step: String,
    /// What would become of it.
    pub verdict: Verdict,
    /// Why, where that is not a change: never built, gone from the cache, damaged, no compiler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is different from the last build.
    pub causes: Vec<Cause>,
}

/// One line of the manifest that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cause {
    /// The line: `parameter label`, `input file /etc/motd`.
    pub line: String,
    /// What it was; nothing if it is new.
    pub before: Option<String>,
    /// What it is; nothing if it is gone, or not known before another step has run.
    pub after: Option<String>,
    /// Where the input comes from: the step that makes it, or the local file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The step behind the input, if that explains the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// Explains one step; not those behind it.
pub fn explain(plan: &Plan, surveyed: &[Surveyed], history: &History, id: StepId) -> Explanation {
    let step = plan.step(id);
    let now = &surveyed[id.index()];
    let past = history.manifest(&step.name);
    let mut causes: Vec<Cause> = past
        .iter()
        .flat_map(|past| now.manifest.changes_since(past))
        .filter(|change| !now.unknown.iter().any(|input| suffix(&change.name, input).is_some()))
        // Without the lines that are not known yet, the order of the others tells nothing.
        .filter(|change| now.unknown.is_empty() || change.name != "order")
        .map(|change| cause(plan, surveyed, id, change))
        .collect();
    for input in step.inputs.iter().filter(|input| now.unknown.contains(&input.name)) {
        let Some(from) = input.source.step() else { continue };
        let name = plan.step(from).name.clone();
        let line = format!("input {}", input.name);
        causes.push(Cause { line, before: None, after: None, from: Some(format!("step {name}")), step: Some(name) });
    }
    let changed = causes.iter().any(|cause| cause.before.is_some() || cause.after.is_some());
    let (verdict, reason) = match &now.prospect {
        Prospect::Cached if past.is_none() => (Verdict::Cached, Some("made for another build".to_owned())),
        Prospect::Cached if changed => (Verdict::Cached, Some("made by an earlier build".to_owned())),
        Prospect::Cached => (Verdict::UpToDate, None),
        Prospect::NotNeeded => (Verdict::NotNeeded, None),
        Prospect::Damaged(damage) => (Verdict::WouldRun, Some(format!("its output in the cache is damaged: {damage}"))),
        Prospect::WouldRun if past.is_none() => (Verdict::WouldRun, Some("it was never built".to_owned())),
        Prospect::WouldRun if !changed => (Verdict::WouldRun, Some("its output is gone from the cache".to_owned())),
        Prospect::WouldRun => (Verdict::WouldRun, None),
        Prospect::Waits(_) if past.is_none() => (Verdict::WouldRun, Some("it was never built".to_owned())),
        Prospect::Waits(_) if changed => (Verdict::WouldRun, None),
        Prospect::Waits(_) => (Verdict::MayRun, None),
        Prospect::Unknown(what) => (Verdict::Unknown, Some(what.clone())),
    };
    // What is new is no explanation for a step that is new as a whole.
    if past.is_none() {
        causes.clear();
    }
    Explanation { step: step.name.clone(), verdict, reason, causes }
}

/// Explains a step and those behind it, each once, causes last.
pub fn explain_deep(plan: &Plan, surveyed: &[Surveyed], history: &History, id: StepId) -> Vec<Explanation> {
    let mut explanations = Vec::new();
    let mut seen = BTreeSet::from([id]);
    let mut todo = vec![id];
    while let Some(id) = todo.pop() {
        let explanation = explain(plan, surveyed, history, id);
        for step in explanation.causes.iter().rev().filter_map(|cause| cause.step.as_deref()) {
            if let Some(behind) = plan.find(step)
                && seen.insert(behind)
            {
                todo.push(behind);
            }
        }
        explanations.push(explanation);
    }
    explanations
}

fn cause(plan: &Plan, surveyed: &[Surveyed], id: StepId, change: Change) -> Cause {
    let inputs = &plan.step(id).inputs;
    // The longest name: one input's may be the beginning of another's.
    let input =
        inputs.iter().filter(|input| suffix(&change.name, &input.name).is_some()).max_by_key(|input| input.name.len());
    let from = input.map(|input| match &input.source {
        InputSource::Folder { path, .. } => {
            let below = suffix(&change.name, &input.name).unwrap_or("").trim_start_matches(": ");
            format!("file {}", plan.show_path(&path.join(below)))
        }
        source => plan.show_source(source),
    });
    let step = input.and_then(|input| input.source.step());
    let step = step.filter(|from| surveyed[from.index()].prospect != Prospect::NotNeeded);
    let step = step.map(|from| plan.step(from).name.clone());
    Cause { line: change.name, before: change.before, after: change.after, from, step }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::UpToDate => "up to date",
            Verdict::Cached => "in the cache",
            Verdict::NotNeeded => "not needed",
            Verdict::WouldRun => "would run",
            Verdict::MayRun => "would run if what it takes turns out different",
            Verdict::Unknown => "nobody can tell without the compiler",
        };
        write!(f, "{}: {verdict}", self.step)?;
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        writeln!(f)?;
        for cause in &self.causes {
            if cause.before.is_none() && cause.after.is_none() {
                write!(f, "  {}", cause.line)?;
            } else {
                let Cause { line, before, after, .. } = cause.clone();
                write!(f, "  {}", Change { name: line, before, after })?;
            }
            match &cause.from {
                Some(from) => writeln!(f, " ({from})")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
