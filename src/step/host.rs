//! What a step may have of the host besides files: a compiler, make, git, and a folder that outlives the build.
//! Knows nothing of processes: `run/` starts them.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::task::{Cancel, Task};

/// A program to run, and what is done with what it says.
#[derive(Debug)]
pub struct Call<'a> {
    /// What it does, for errors: `make Image`.
    pub title: &'a str,
    /// Its name; it is looked for in `PATH`.
    pub program: &'a str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, besides the little that every program gets.
    pub environment: Vec<(&'a str, String)>,
    /// Where it runs.
    pub folder: &'a Path,
    /// A folder to look for programs in first, if any.
    pub programs: Option<&'a Path>,
    /// What it says is added to this file.
    pub log: &'a Path,
}

/// The host, as far as a step may use it.
pub trait Host: Sync {
    /// Returns a folder for work that goes on where it was, by name; it is made where it is missing.
    fn build_folder(&self, name: &str) -> Result<PathBuf>;

    /// Runs a program to its end, within the number of jobs that all steps share.
    ///
    /// # Errors
    /// If it fails: with the first error that it told, its last lines, and where its log is.
    fn run(&self, call: &Call<'_>, task: &dyn Task) -> Result<()>;

    /// Waits for one of the jobs that all steps share, and takes it.
    fn take_job(&self, cancel: &Cancel) -> Result<()>;

    /// Gives a job back.
    fn give_job(&self);

    /// Writes a commit's files as a tar archive; the objects are kept for the next time.
    fn commit(&self, place: &str, commit: &str, archive: &Path, task: &dyn Task) -> Result<()>;
}
