//! The host as steps see it: jobs, programs, git, and the folders under `out/cache/build/` that outlive a build.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::jobserver::Jobserver;
use super::{git, process, store};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::step::Step;
use crate::step::host::{Call, Host};
use crate::task::{Cancel, Task};

/// Where folders of builds are, below the cache.
const BUILD: &str = "build";
/// What programs said, in the folder of a build: as old as its last use.
const LOG: &str = "log";

/// The host, for one build.
#[derive(Debug)]
pub struct Workbench {
    cache: PathBuf,
    jobs: Option<Jobserver>,
    offline: bool,
}

impl Workbench {
    /// Prepares for a plan; jobs are only counted where one of its steps starts programs that have jobs of their own.
    pub fn new(plan: &Plan, cache: &Path, jobs: usize, offline: bool) -> Result<Self> {
        let compiles = plan.steps().any(|(_, step)| matches!(step.step, Step::Compile(_)));
        // A name of garbage, should this process be killed.
        let pipe = cache.join(format!("tmp-jobs-{}", std::process::id()));
        let jobs = if compiles { Some(Jobserver::new(&pipe, jobs)?) } else { None };
        Ok(Workbench { cache: cache.to_owned(), jobs, offline })
    }
}

impl Host for Workbench {
    fn build_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.cache.join(BUILD).join(name);
        store::make_folder(&folder)?;
        Ok(folder)
    }

    fn run(&self, call: &Call<'_>, task: &dyn Task) -> Result<()> {
        process::run(call, self.jobs.as_ref(), task)
    }

    fn take_job(&self, cancel: &Cancel) -> Result<()> {
        self.jobs.as_ref().map_or(Ok(()), |jobs| jobs.take(cancel))
    }

    fn give_job(&self) {
        if let Some(jobs) = &self.jobs {
            jobs.give();
        }
    }

    fn commit(&self, place: &str, commit: &str, archive: &Path, task: &dyn Task) -> Result<()> {
        git::archive(&self.cache, place, commit, archive, self.offline, task)
    }
}

/// A folder that a build left to go on from: what it compiled, or a repository with what it fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Where it is.
    pub folder: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// When something was built in it last.
    pub used: SystemTime,
}

/// Lists the folders of builds in a cache, and behind them, since they cost a network, its repositories; of both those
/// first that were not used for longest.
pub fn kept(cache: &Path) -> Vec<Kept> {
    let folders = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let listed = |folders: Vec<PathBuf>, log: &str| {
        let one = |folder: PathBuf| {
            let log = fs::metadata(folder.join(log)).and_then(|metadata| metadata.modified());
            Kept { bytes: disk_bytes(&folder), used: log.unwrap_or(SystemTime::UNIX_EPOCH), folder }
        };
        let mut kept: Vec<Kept> = folders.into_iter().map(one).collect();
        kept.sort_by(|one, other| (one.used, &one.folder).cmp(&(other.used, &other.folder)));
        kept
    };
    let builds = folders(&cache.join(BUILD)).iter().flat_map(|recipe| folders(recipe)).collect();
    let mut kept = listed(builds, LOG);
    kept.extend(listed(folders(&cache.join(git::FOLDER)), git::LOG));
    kept
}

/// Removes such a folder of a cache, and the one that it is in if that is empty then.
pub fn remove(cache: &Path, kept: &Kept) -> Result<()> {
    // Under another name first: of half a repository git would make nothing any more.
    let doomed = cache.join(format!("{}{}-removed", store::TEMPORARY, std::process::id()));
    fs::rename(&kept.folder, &doomed)
        .map_err(|error| Error::io(format!("cannot remove {}", kept.folder.display()), error))?;
    store::remove(&doomed)?;
    if let Some(above) = kept.folder.parent() {
        // Not empty: another step's folder is there.
        let _ = fs::remove_dir(above);
    }
    Ok(())
}

/// Adds up what a folder takes on disk.
fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    bytes
}
