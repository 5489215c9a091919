//! What the last build of a recipe did: `out/RECIPE/.state`, which `explain` compares with and the cache respects.
//! For this host alone; what is handed on, and whether it is whole, `manifest.json` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::queue::Finished;
use super::store;
use crate::delivery;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::manifest::Manifest;
use crate::step::Digest;

/// The file's name in `out/RECIPE/`: also the sign that the folder is one of ours.
pub const FILE_NAME: &str = ".state";
const VERSION: u32 = 1;

/// What the last build did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    version: u32,
    /// The manifest of every step, as text, by the step's name.
    steps: BTreeMap<String, Past>,
    /// Files of `out/RECIPE/`, by name.
    artifacts: BTreeMap<String, PastArtifact>,
}

/// A step as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Past {
    manifest: String,
    /// Its output is known without it: a download, which the cache may drop.
    known: bool,
}

/// An artifact as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct PastArtifact {
    key: String,
    output: String,
}

impl History {
    /// Returns the history of a recipe's folder; empty if there is none that can be read, or one that we never wrote: by
    /// its names files are removed.
    pub fn read(folder: &Path) -> Self {
        let history: Option<History> =
            fs::read(folder.join(FILE_NAME)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        history.filter(|history| history.version == VERSION && history.is_plain()).unwrap_or_default()
    }

    /// Says whether every artifact is a file right in the recipe's folder, and was one right in an entry of the cache.
    fn is_plain(&self) -> bool {
        let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        let plain_both = |(name, past): (&String, &PastArtifact)| {
            plain(name) && plain(&past.output) && Digest::from_hex(&past.key).is_some()
        };
        self.artifacts.iter().all(plain_both)
    }

    /// Describes a build that went well.
    pub fn of(plan: &Plan, finished: &[Finished]) -> Self {
        let steps = plan.steps().zip(finished).map(|((_, step), finished)| {
            let known = step.step.kind().known_output().is_some();
            (step.name.clone(), Past { manifest: finished.manifest.to_string(), known })
        });
        let artifacts = plan.artifacts.iter().map(|artifact| {
            let key = finished[artifact.step.index()].key().to_string();
            (artifact.name.clone(), PastArtifact { key, output: artifact.output.clone() })
        });
        History { version: VERSION, steps: steps.collect(), artifacts: artifacts.collect() }
    }

    /// Describes the moment in which this build's files give way to those of `next`: the names and the keys of both.
    pub fn giving_way_to(&self, next: &Self) -> Self {
        let mut both = next.clone();
        for (name, past) in &self.steps {
            both.steps.entry(name.clone()).or_insert_with(|| past.clone());
        }
        for (name, past) in &self.artifacts {
            both.artifacts.entry(name.clone()).or_insert_with(|| past.clone());
        }
        both
    }

    /// Says whether a build was stopped, or is at it, while it puts its files into a folder: they may not fit each other.
    pub fn is_torn(folder: &Path) -> bool {
        !History::read(folder).is_empty() && !delivery::is_complete(folder)
    }

    /// Writes the history if it is not there already.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE_NAME);
        let text = serde_json::to_vec(self).expect("text and maps of text are JSON");
        if fs::read(&path).is_ok_and(|old| old == text) { Ok(()) } else { store::replace(&path, &text) }
    }

    /// Returns the last manifest of a step.
    pub fn manifest(&self, step: &str) -> Option<Manifest> {
        Manifest::parse(&self.steps.get(step)?.manifest)
    }

    /// Says whether there was no build.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns names of artifacts and where in the cache they are.
    pub fn artifacts(&self, cache: &Path) -> BTreeMap<String, PathBuf> {
        let path = |past: &PastArtifact| cache.join(&past.key).join(&past.output);
        self.artifacts.iter().map(|(name, past)| (name.clone(), path(past))).collect()
    }

    /// Returns the keys of the cache's entries that this build used, downloads aside: what they were unpacked into is
    /// there, and they can be had again.
    pub fn keys(&self) -> impl Iterator<Item = Digest> {
        self.steps.values().filter(|past| !past.known).map(|past| Digest::of(past.manifest.as_bytes()))
    }
}

/// Returns the folders of recipes below `out`: those that hold a history.
pub fn recipe_folders(out: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(out) else { return Vec::new() };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join(FILE_NAME).is_file()).collect();
    folders.sort_unstable();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_leads_elsewhere_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let key = Digest::of(b"x").to_string();
        let read = |name: &str, key: &str, output: &str| {
            let artifacts = serde_json::json!({ name: { "key": key, "output": output } });
            let steps = serde_json::json!({ "s": { "manifest": "m", "known": false } });
            let state = serde_json::json!({ "version": VERSION, "steps": steps, "artifacts": artifacts });
            fs::write(folder.path().join(FILE_NAME), state.to_string()).unwrap();
            History::read(folder.path())
        };
        assert_eq!(read("xen", &key, "out").artifacts.len(), 1);
        for name in ["", ".", "..", "../../x", "/x", "a/b", "a/", "a\0"] {
            assert_eq!(read(name, &key, "out"), History::default(), "{name:?}");
            assert_eq!(read("xen", &key, name), History::default(), "{name:?}");
        }
        for wrong in ["", "..", "../../x", &key[1..]] {
            assert_eq!(read("xen", wrong, "out"), History::default(), "{wrong:?}");
        }
    }
}
