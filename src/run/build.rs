//! Builds a recipe: its lock, its plan, its artifacts.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::event::{Event, Outcome, Watcher};
use super::workbench::Workbench;
use super::{Options, Workshop};
use crate::error::{Error, Kind, Result};
use crate::fetch::lock::{Options as LockOptions, lock_for};
use crate::fetch::{Archive, Lock, LockedPackage, Wanted};
use crate::plan::{Plan, Role};
use crate::recipe::{Origin, Recipe};
use crate::step::PackageSource;
use crate::step::host::Host;
use crate::task::{Cancel, Task};

/// What a build made, in `out/RECIPE/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Artifacts {
    /// The folder.
    pub folder: PathBuf,
    /// The file to boot: the artifact, or the firmware that boots from a disk. None where U-Boot's parts are all there is.
    pub boot: Option<PathBuf>,
    /// Disks of the machine: Dom0's root first, or the partitioned ones that it starts from.
    pub disks: Vec<PathBuf>,
    /// The machine's device tree.
    pub device_tree: PathBuf,
    /// Who sits where in memory.
    pub memory_map: PathBuf,
}

/// Builds a recipe: writes its lock where there is none, runs what must run, puts the artifacts in their places.
pub fn build(recipe: &Recipe, options: &Options, watcher: &dyn Watcher) -> Result<Artifacts> {
    let shop = Workshop::open(&options.out, &options.cancel, watcher)?;
    let lock = lock(recipe, &shop, options, watcher)?;
    let plan = Plan::of(recipe, Some(&lock))?;
    let blame = |origin: &Origin, message: String| recipe.error_at(origin, message);
    super::tools::check(&plan)?;
    let bench = Workbench::new(&plan, shop.store().folder(), options.jobs.get(), options.offline)?;
    let packages = Packages {
        recipe,
        offline: options.offline,
        partial: shop.store().partial_folder(),
        archive: Mutex::default(),
        bench,
    };
    let about = super::deliver::recipe(recipe, &plan)?;
    shop.carry_out(&plan, &about, options, &blame, &packages, watcher)?;
    artifacts(recipe, &plan, &options.out)
}

/// Plans a recipe with the lock that is there; returns, too, whether it names all that the recipe asks for.
pub fn plan_as_locked(recipe: &Recipe) -> Result<(Plan, bool)> {
    let lock = Lock::read(&Lock::path_of(recipe))?;
    let requests = crate::fetch::requests(recipe);
    // A lock that does not do is going to be completed: what it has already stays.
    let complete = !crate::fetch::lock::is_needed(recipe)
        || lock.as_ref().is_some_and(|lock| crate::fetch::lock::shortfall(recipe, lock, &requests).is_none());
    Ok((Plan::of(recipe, lock.as_ref())?, complete))
}

/// Returns where the artifacts of a recipe are, or would be.
pub fn artifacts(recipe: &Recipe, plan: &Plan, out: &Path) -> Result<Artifacts> {
    let folder = out.join(&plan.recipe);
    let of_role = |role: Role| {
        let artifact = plan.artifacts.iter().find(|artifact| artifact.role == role);
        let missing = || Error::new(Kind::Internal, format!("the plan makes no {role:?}"));
        artifact.map(|artifact| folder.join(&artifact.name)).ok_or_else(missing)
    };
    let mut disks = Vec::new();
    let kind = if recipe.starts_from_disk() { "disk" } else { "filesystem" };
    for disk in recipe.machine_disks() {
        let step = plan.find(&format!("{kind}.{disk}"));
        let artifact = plan.artifacts.iter().find(|artifact| Some(artifact.step) == step);
        let missing = || Error::new(Kind::Internal, format!("the plan makes no {disk}"));
        disks.push(artifact.map(|artifact| folder.join(&artifact.name)).ok_or_else(missing)?);
    }
    Ok(Artifacts {
        boot: of_role(Role::Firmware).or_else(|_| of_role(Role::Boot)).ok(),
        device_tree: of_role(Role::DeviceTree)?,
        memory_map: of_role(Role::MemoryMap)?,
        disks,
        folder,
    })
}

/// Returns the lock to obey, completed and written if need be.
fn lock(recipe: &Recipe, shop: &Workshop, options: &Options, watcher: &dyn Watcher) -> Result<Lock> {
    let task = Locking {
        watcher,
        cancel: &options.cancel,
        begun: AtomicBool::new(false),
        done: AtomicU64::new(0),
        told: AtomicU64::new(0),
    };
    let lock_options = LockOptions {
        cache_folder: shop.store().folder().join("indices"),
        offline: options.offline,
        locked: options.locked,
        environment: None,
        find_commit: Some(super::git::find_commit),
    };
    let began = std::time::Instant::now();
    let lock = lock_for(recipe, &lock_options, &task);
    if task.begun.load(Ordering::Relaxed) {
        let outcome = if lock.is_ok() { Outcome::Done } else { Outcome::Failed };
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = lock.as_ref().err().map(Error::to_string);
        watcher.event(Event::End { step: Locking::NAME.to_owned(), outcome, milliseconds, error });
    }
    lock
}

/// The task of making a lock: a step of its own, before there is a plan, if there is anything to do.
struct Locking<'a> {
    watcher: &'a dyn Watcher,
    cancel: &'a Cancel,
    begun: AtomicBool,
    done: AtomicU64,
    told: AtomicU64,
}

impl Locking<'_> {
    const NAME: &'static str = "lock";
    /// Progress is told in pieces of this size.
    const GRAIN_BYTES: u64 = 1 << 20;

    fn begin(&self) {
        if !self.begun.swap(true, Ordering::Relaxed) {
            self.watcher.event(Event::Begin { step: Self::NAME.to_owned(), kind: "lock" });
        }
    }
}

impl Task for Locking<'_> {
    fn total(&self, bytes: u64) {
        self.begin();
        self.watcher.event(Event::Total { step: Self::NAME.to_owned(), bytes });
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let told = self.told.load(Ordering::Relaxed);
        if done >= told + Self::GRAIN_BYTES
            && self.told.compare_exchange(told, done, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.watcher.event(Event::Progress { step: Self::NAME.to_owned(), bytes: done });
        }
    }

    fn note(&self, line: &str) {
        self.watcher.event(Event::Note { step: Some(Self::NAME.to_owned()), text: line.to_owned() });
    }

    fn cancel(&self) -> &Cancel {
        self.cancel
    }
}

/// The recipe's packages; the mirror is decided on when the first is wanted.
struct Packages<'a> {
    recipe: &'a Recipe,
    offline: bool,
    /// Where downloads that are not whole yet are kept from one run to the next.
    partial: PathBuf,
    archive: Mutex<Option<Arc<Archive>>>,
    bench: Workbench,
}

impl PackageSource for Packages<'_> {
    fn get(&self, package: &LockedPackage, destination: &Path, task: &dyn Task) -> Result<()> {
        self.archive()?.download(package, destination, task)
    }

    fn get_url(&self, url: &str, wanted: &Wanted, destination: &Path, task: &dyn Task) -> Result<()> {
        self.archive()?.download_url(url, wanted, destination, task)
    }

    fn host(&self) -> Option<&dyn Host> {
        Some(&self.bench)
    }
}

impl Packages<'_> {
    fn archive(&self) -> Result<Arc<Archive>> {
        let mut archive = self.archive.lock().expect("no holder of the archive panics");
        Ok(match &*archive {
            Some(archive) => archive.clone(),
            None => {
                let file = self.recipe.sources.first().map(|source| source.path.as_path());
                let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
                let opened = Archive::open(&self.recipe.packages, folder, self.offline)?;
                let opened = opened.keeping_parts_in(self.partial.clone());
                archive.insert(Arc::new(opened)).clone()
            }
        })
    }
}
