//! Carries a plan out: cache, queue, events.
//!
//! ```text
//! Plan -> queue (threads): measure inputs -> manifest -> key -> in the store? reused : made and committed
//!      -> publish: out/RECIPE/ -> history -> garbage collection
//! ```

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::delivery;
use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::recipe::Origin;
use crate::step::{Output, PackageSource};
use crate::task::{Cancel, Silent};

mod build;
pub mod check;
pub mod clean;
pub mod collect;
pub mod deliver;
pub mod event;
pub mod exclusive;
pub mod explain;
pub mod git;
pub mod history;
pub mod index;
mod jobserver;
pub mod measure;
pub mod preview;
mod process;
pub mod publish;
pub mod queue;
pub mod results;
pub mod signal;
pub mod store;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod tools;
mod workbench;

pub use build::{Artifacts, artifacts, build, plan_as_locked};
use event::{Event, Watcher};
use exclusive::Exclusive;
use history::History;
use index::Index;
use queue::{Finished, Setting};
use store::Store;
use survey::Surveyed;

/// How to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for everything that is made.
    pub out: PathBuf,
    /// Steps that run at the same time.
    pub jobs: NonZeroUsize,
    /// Take nothing from the network.
    pub offline: bool,
    /// Refuse to change the lock file.
    pub locked: bool,
    /// Stops the build when set; a build that fails sets it, too.
    pub cancel: Arc<Cancel>,
}

impl Options {
    /// Returns options for a folder: all CPUs, the network allowed, nobody to interrupt.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        let jobs = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Options { out: out.into(), jobs, offline: false, locked: false, cancel: Arc::default() }
    }
}

/// Shows where the recipe asks for something.
pub type Blame<'a> = &'a (dyn Fn(&Origin, String) -> Error + Sync);

/// `out/` in the hands of this process: store and index, ready for a build.
pub struct Workshop {
    /// Absolute.
    out: PathBuf,
    store: Store,
    index: Index,
    _exclusive: Exclusive,
}

impl Workshop {
    /// Takes `out/` for this process, waiting for whoever has it, and clears away what killed builds left.
    pub fn open(out: &Path, cancel: &Cancel, watcher: &dyn Watcher) -> Result<Self> {
        let elsewhere = |error: Error| match error.kind {
            Kind::Host => error.hint("`--out DIR`, or XENBUILD_OUT, puts what is made elsewhere"),
            _ => error,
        };
        store::make_folder(out).map_err(elsewhere)?;
        let mut say = |text| watcher.event(Event::Note { step: None, text });
        let exclusive = Exclusive::wait(out, cancel, &mut say).map_err(elsewhere)?;
        let out = absolute(out)?;
        let store = Store::open(&out)?;
        store.remove_stale()?;
        let index = Index::load(&store.folder().join("index"));
        Ok(Workshop { out, store, index, _exclusive: exclusive })
    }

    /// Returns the cache.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the digests of files.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Carries a plan out, and puts what it makes into the recipe's folder.
    pub fn carry_out(
        &self,
        plan: &Plan,
        recipe: &delivery::Recipe,
        options: &Options,
        blame: Blame<'_>,
        packages: &dyn PackageSource,
        watcher: &dyn Watcher,
    ) -> Result<()> {
        let began = Instant::now();
        watcher.event(Event::Plan { recipe: plan.recipe.clone(), steps: plan.len() });
        let cancel = &*options.cancel;
        let setting = Setting {
            plan,
            store: &self.store,
            index: &self.index,
            jobs: options.jobs.get(),
            cancel,
            watcher,
            blame,
            packages,
        };
        let finished = queue::run(&setting);
        // What was hashed and made stays known, even if something else failed.
        if finished.is_err() {
            self.index.save()?;
        }
        let finished = finished.map_err(join)?;
        let folder = self.out.join(&plan.recipe);
        store::make_folder(&folder)?;
        self.hand_over(plan, recipe, &finished, &folder, options, watcher)?;
        let done = finished.iter().filter(|step| step.state == queue::State::Done).count();
        if done > 0 {
            self.collect(cancel, watcher)?;
        }
        self.index.save()?;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        watcher.event(Event::Finished { done, reused: finished.len() - done, milliseconds });
        Ok(())
    }

    /// Puts a recipe's artifacts in place, and what tells of them.
    ///
    /// ```text
    /// .state names the files of before and after -> no manifest -> files -> .state -> SHA256SUMS -> manifest.json
    /// ```
    fn hand_over(
        &self,
        plan: &Plan,
        recipe: &delivery::Recipe,
        finished: &[Finished],
        folder: &Path,
        options: &Options,
        watcher: &dyn Watcher,
    ) -> Result<()> {
        // As the user calls it, not as it is resolved.
        let tell = |name: &str, output: &Output| {
            let path = options.out.join(&plan.recipe).join(name).display().to_string();
            watcher.event(Event::Artifact { path, bytes: output.size_bytes, sha256: output.sha256.to_string() });
        };
        let document = deliver::document(plan, finished, recipe)?;
        let (past, made) = (History::read(folder), History::of(plan, finished));
        let current = past == made && delivery::is_current(folder, &document);
        if !current {
            past.giving_way_to(&made).write(folder)?;
            // A build that is stopped from here on leaves files that may not belong together, and no manifest of them.
            delivery::withdraw(folder)?;
            store::sync(folder)?;
        }
        let past = past.artifacts(self.store.folder());
        publish::publish(&past, plan, finished, folder, &self.index, &options.cancel, &tell)?;
        if !current {
            made.write(folder)?;
            delivery::write(folder, &document)?;
            store::sync(folder)?;
        }
        Ok(())
    }

    /// Brings the cache below its limit.
    fn collect(&self, cancel: &Cancel, watcher: &dyn Watcher) -> Result<()> {
        let limit = collect::limit_bytes(&self.store)?;
        let collected = collect::collect(&self.out, &self.store, &self.index, limit, false, cancel)?;
        let say = |text| watcher.event(Event::Note { step: None, text });
        if collected.entries > 0 {
            say(format!("removed {} unused entries from the cache, which was over its limit", collected.entries));
        }
        if collected.left_bytes > limit {
            say("what the recipes in use need is larger than the cache's limit".to_owned());
        }
        Ok(())
    }
}

/// Looks at a plan without running it: reads `out/`, and writes nothing, so that it may be done while somebody builds.
pub fn survey(plan: &Plan, out: &Path, blame: Blame<'_>, cancel: &Arc<Cancel>) -> Result<(Vec<Surveyed>, History)> {
    let out = if out.exists() { absolute(out)? } else { out.to_owned() };
    let store = Store::existing(&out);
    let index = Index::load(&store.folder().join("index"));
    let surveyed = survey::survey(plan, &store, &index, blame, &Silent(cancel.clone()))?;
    Ok((surveyed, History::read(&out.join(&plan.recipe))))
}

/// Returns a folder's path as the index knows it.
fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| Error::io(format!("cannot open {}", path.display()), error))
}

/// Makes one error of all that went wrong.
fn join(mut errors: Vec<Error>) -> Error {
    let mut first = errors.remove(0);
    if !errors.is_empty() {
        let rest: Vec<String> = errors.iter().map(Error::to_string).collect();
        let source = first.to_string();
        first.source = None;
        first.message = format!("{} steps failed\n  {source}\n  {}", errors.len() + 1, rest.join("\n  "));
        first.hints.extend(errors.into_iter().flat_map(|error| error.hints));
        first.hints.dedup();
    }
    first
}
