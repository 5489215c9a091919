//! Writes down what a build made and of what, as `manifest.json` has it: out of the plan and the steps' own manifests.
//! Nothing of this host is in it: local files are called by their paths from the recipe's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::queue::Finished;
use crate::delivery::document::VERSION;
use crate::delivery::{Artifact, Document, Material, Name, Package, Recipe, Reference};
use crate::error::{Error, Kind, Result};
use crate::fetch::{Lock, LockedPackage};
use crate::plan::manifest::suffix;
use crate::plan::{Plan, PlannedStep};
use crate::recipe;
use crate::step::{Digest, InputSource, Step};

/// Says what a recipe is: its name, its files, its lock.
///
/// # Errors
/// The lock, which was just read, cannot be read.
pub fn recipe(recipe: &recipe::Recipe, plan: &Plan) -> Result<Recipe> {
    let reference = |path: &Path, content: &[u8]| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Reference { path: shown(plan, &path), sha256: Digest::of(content) }
    };
    let files = recipe.sources.iter().map(|source| reference(&source.path, source.text.as_bytes())).collect();
    let lock = match crate::fetch::lock::is_needed(recipe) {
        false => None,
        true => {
            let path = Lock::path_of(recipe);
            let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
            Some(reference(&path, &std::fs::read(&path).map_err(failed)?))
        }
    };
    let variant = recipe.name.split_once('@').map(|(_, variant)| variant.to_owned());
    Ok(Recipe { name: recipe.name.clone(), variant, files, lock })
}

/// Describes what a build made.
pub fn document(plan: &Plan, finished: &[Finished], recipe: &Recipe) -> Result<Document> {
    let mut ledger = Ledger { plan, materials: Vec::new(), known: BTreeMap::new() };
    // What each step takes, directly or through those before it.
    let mut taken: Vec<BTreeSet<usize>> = Vec::new();
    for ((_, step), finished) in plan.steps().zip(finished) {
        let mut all = ledger.step(step, finished);
        step.needs().for_each(|needed| all.extend(&taken[needed.index()]));
        taken.push(all);
    }
    let mut artifacts = Vec::new();
    let mut used: BTreeSet<usize> = BTreeSet::new();
    for artifact in &plan.artifacts {
        let finished = &finished[artifact.step.index()];
        let missing = || Error::new(Kind::Internal, format!("nothing made {}", artifact.name));
        let output = finished.outputs.iter().find(|output| output.name == artifact.output).ok_or_else(missing)?;
        let taken = &taken[artifact.step.index()];
        used.extend(taken);
        let mut inputs: Vec<String> = taken.iter().map(|&at| ledger.materials[at].0.clone()).collect();
        inputs.sort_unstable();
        let bad = || Error::new(Kind::Internal, format!("an artifact cannot be called {:?}", artifact.name));
        artifacts.push(Artifact {
            name: Name::new(&artifact.name).ok_or_else(bad)?,
            role: artifact.role,
            bytes: output.size_bytes,
            sha256: output.sha256,
            step: plan.step(artifact.step).name.clone(),
            key: finished.key(),
            inputs,
        });
    }
    artifacts.sort_by(|a, b| a.name.cmp(&b.name));
    let inputs = ledger.materials.into_iter().enumerate().filter(|(at, _)| used.contains(at));
    Ok(Document {
        version: VERSION,
        xenbuild: env!("CARGO_PKG_VERSION").to_owned(),
        recipe: recipe.clone(),
        artifacts,
        inputs: inputs.map(|(_, named)| named).collect(),
        test: None,
    })
}

/// Everything that was taken from outside, each once.
struct Ledger<'a> {
    plan: &'a Plan,
    materials: Vec<(String, Material)>,
    /// Where in `materials` a name is.
    known: BTreeMap<String, usize>,
}

impl Ledger<'_> {
    /// Enters what a step takes from outside.
    fn step(&mut self, step: &PlannedStep, finished: &Finished) -> BTreeSet<usize> {
        let own = match &step.step {
            Step::Fetch(fetch) => Some(package(fetch.package())),
            Step::Download(download) => {
                let (bytes, sha256) = (download.size, download.sha256);
                let url = public(self.plan, &download.url);
                Some((format!("url {url}"), Material::Url { url, bytes, sha256 }))
            }
            Step::Commit(commit) => {
                let repository = public(self.plan, &commit.place);
                let commit = commit.commit.clone();
                Some((format!("commit {commit}"), Material::Commit { repository, commit }))
            }
            _ => None,
        };
        let mut entered: BTreeSet<usize> = own.into_iter().map(|(name, material)| self.enter(name, material)).collect();
        // The lines stand in the order of the inputs.
        let mut lines = finished.manifest.lines().iter().filter(|line| line.name.starts_with("input ")).peekable();
        for input in &step.inputs {
            let mut values = Vec::new();
            while let Some(line) = lines.peek()
                && let Some(below) = suffix(&line.name, &input.name)
                // An input has one line without a suffix, and it is the first, if it has one.
                && (values.is_empty() || !below.is_empty())
            {
                values.push((below.strip_prefix(": ").unwrap_or(""), line.value.as_str()));
                lines.next();
            }
            if let Some((name, material)) = self.material(&input.name, &input.source, &values) {
                entered.insert(self.enter(name, material));
            }
        }
        entered
    }

    /// Says what an input is that does not come from another step; `values` are what its step's manifest says of it.
    fn material(&self, name: &str, source: &InputSource, values: &[(&str, &str)]) -> Option<(String, Material)> {
        // `program` may stand behind the digest.
        let digest = |value: &str| Digest::from_hex(value.split(' ').next().unwrap_or_default());
        let first = values.first().and_then(|(_, value)| digest(value));
        Some(match source {
            InputSource::Step(_) | InputSource::Output(..) => return None,
            InputSource::File { path, .. } | InputSource::TreeSource { path, .. } => {
                let path = shown(self.plan, path);
                let included =
                    values.iter().skip(1).filter_map(|(name, value)| Some(((*name).to_owned(), digest(value)?)));
                (format!("file {path}"), Material::File { path, sha256: first?, includes: included.collect() })
            }
            InputSource::Folder { path, .. } => {
                let path = shown(self.plan, path);
                let entry = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
                // The first line is the folder itself.
                let entries = values.iter().skip(1).map(entry).collect();
                (format!("folder {path}"), Material::Folder { path, entries })
            }
            InputSource::Carried(_) => {
                (format!("carried {name}"), Material::Carried { name: name.to_owned(), sha256: first? })
            }
            InputSource::Compiler => {
                let programs = values.iter().map(|(_, value)| (*value).to_owned()).collect();
                ("compiler".to_owned(), Material::Compiler { programs })
            }
        })
    }

    /// Enters something under its name, or another if that is taken by something else.
    fn enter(&mut self, name: String, material: Material) -> usize {
        let mut title = name.clone();
        for number in 2.. {
            match self.known.get(&title) {
                None => break,
                Some(&at) if self.materials[at].1 == material => return at,
                Some(_) => title = format!("{name} #{number}"),
            }
        }
        let at = self.materials.len();
        self.known.insert(title.clone(), at);
        self.materials.push((title, material));
        at
    }
}

fn package((package, sha256): (&LockedPackage, Digest)) -> (String, Material) {
    let LockedPackage { name, version, architecture, suite, filename, size, .. } = package.clone();
    let file = filename.rsplit('/').next().unwrap_or_default().to_owned();
    let title = format!("package {name} {version} {architecture}");
    let package = Package { name, version, architecture, suite, file, bytes: size, sha256 };
    match package.architecture.as_str() {
        "source" => (format!("source {}", package.file), Material::Source(package)),
        _ => (title, Material::Package(package)),
    }
}

/// Returns a local path from the recipe's folder on; the name alone where it lies elsewhere: the rest is this host's.
fn shown(plan: &Plan, path: &Path) -> String {
    let name = || path.components().next_back().map_or(path, |last| Path::new(last.as_os_str()));
    path.strip_prefix(&plan.folder).unwrap_or_else(|_| name()).to_string_lossy().into_owned()
}

/// Returns where something was got from, as everybody may know it: an address without who asks, and the password; a
/// local place as local paths are shown, also if it is written as an address.
fn public(plan: &Plan, place: &str) -> String {
    // As git has it: in front of the first colon is a scheme or a host, unless a slash is.
    let Some((before, rest)) = place.split_once(':').filter(|(before, _)| !before.contains('/')) else {
        return shown(plan, Path::new(place));
    };
    if before.eq_ignore_ascii_case("file") {
        // file:/path, file:///path and file://localhost/path are the same (RFC 8089).
        let path = rest.strip_prefix("//").map_or(rest, |rest| &rest[rest.find('/').unwrap_or(rest.len())..]);
        return shown(plan, Path::new(path));
    }
    let host = |authority: &str| authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned();
    let Some(rest) = rest.strip_prefix("//") else { return format!("{}:{rest}", host(before)) };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    format!("{before}://{}{path}", host(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_addresses_tell_nothing_of_the_host_or_its_user() {
        let plan = Plan::new("r", "/home/ann/project");
        for (path, name) in [
            ("/home/ann/project/board/extra.dts", "board/extra.dts"),
            ("/home/ann/other/notes", "notes"),
            ("/home/ann/project-2/notes", "notes"),
            ("/", "/"),
            ("/home/ann/..", ".."),
        ] {
            assert_eq!(shown(&plan, Path::new(path)), name);
        }
        for (address, wanted) in [
            ("https://ann:secret@mirror.test/a@b?c", "https://mirror.test/a@b?c"),
            ("ssh://git@host.test/x", "ssh://host.test/x"),
            ("git@host.test:x/a@b", "host.test:x/a@b"),
            ("https://host.test", "https://host.test"),
            ("file:/home/ann/x.tar.xz", "x.tar.xz"),
            ("file:///home/ann/x.git", "x.git"),
            ("file://localhost/home/ann/x.git", "x.git"),
            ("FILE:///home/ann/project/xen", "xen"),
            ("file://", ""),
            ("/home/ann/project/xen", "xen"),
            ("/home/ann/a:b", "a:b"),
        ] {
            assert_eq!(public(&plan, address), wanted);
        }
    }
}
