//! Decides what to do about a recipe's lock: obey it, write it, complete it, renew it, or refuse to.

use std::path::{Path, PathBuf};

use super::source::{self, Finder};
use super::{Change, FindCommit, Lock, changes};
use crate::error::{Error, Kind, Result};
use crate::fetch::request::{Mention, mentions};
use crate::fetch::{Archive, Environment, Request, requests};
use crate::recipe::Recipe;
use crate::task::Task;

/// How a recipe's lock is to be treated.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where indices are kept.
    pub cache_folder: PathBuf,
    /// Take nothing from the network.
    pub offline: bool,
    /// Refuse to change the lock file.
    pub locked: bool,
    /// The environment to decide in; `None`: this process's.
    pub environment: Option<Environment>,
    /// Asks git for commits.
    pub find_commit: Option<FindCommit>,
}

/// Says whether a recipe needs a lock at all.
pub fn is_needed(recipe: &Recipe) -> bool {
    !requests(recipe).is_empty() || source::wanted(recipe).next().is_some()
}

/// Returns the lock that a build of the recipe obeys.
///
/// If the lock file names all that the recipe asks for, it is taken as it is, and nothing else is read. Otherwise it
/// is completed: requests that it knows stay as they are, for others its versions are kept where that is possible.
/// A recipe without packages has an empty lock and needs no file.
///
/// # Errors
/// [`Kind::Input`] with [`Options::locked`], if the file would have to change; what [`Archive::indices`] and
/// [`Lock::resolve`] say otherwise.
pub fn lock_for(recipe: &Recipe, options: &Options, task: &dyn Task) -> Result<Lock> {
    let requests = requests(recipe);
    if !is_needed(recipe) {
        return Ok(Lock::default());
    }
    let path = Lock::path_of(recipe);
    let existing = Lock::read(&path)?;
    let shortfall = match &existing {
        None => "there is none".to_string(),
        Some(lock) => match shortfall(recipe, lock, &requests) {
            Some(why) => why,
            None => return Ok(existing.unwrap_or_default()),
        },
    };
    let name = path.display();
    if options.locked {
        return Err(Error::new(
            Kind::Input,
            format!("the lock {name} does not do: {shortfall}; --locked forbids to change it"),
        )
        .hint(format!("xenbuild lock {}", recipe_path(recipe).display())));
    }
    let lock = resolve(recipe, &requests, options, existing.as_ref(), task)?;
    lock.write(&path)?;
    task.note(&format!("wrote {name}: {} packages", lock.packages.len()));
    Ok(lock)
}

/// Says why a lock does not do for a recipe; `None` if it does.
pub fn shortfall(recipe: &Recipe, lock: &Lock, requests: &[Request]) -> Option<String> {
    let packages = if requests.is_empty() { None } else { lock.shortfall(&recipe.packages, requests) };
    packages.or_else(|| lock.unknown_source(recipe).map(|source| format!("it does not know {source}")))
}

/// Resolves a recipe anew, with the newest versions; returns the lock and what changes. Writes nothing.
pub fn update(recipe: &Recipe, options: &Options, task: &dyn Task) -> Result<(Lock, Vec<Change>)> {
    let before = Lock::read(&Lock::path_of(recipe))?.unwrap_or_default();
    let requests = requests(recipe);
    let after = match is_needed(recipe) {
        false => Lock::default(),
        true => resolve(recipe, &requests, options, None, task)?,
    };
    let changes = changes(&before, &after);
    Ok((after, changes))
}

/// Fetches the indices and resolves; packages that do not exist are shown where the recipe names them, all at once.
fn resolve(
    recipe: &Recipe,
    requests: &[Request],
    options: &Options,
    previous: Option<&Lock>,
    task: &dyn Task,
) -> Result<Lock> {
    let archive = open(recipe, options)?;
    let mut finder = Finder {
        recipe,
        archive: &archive,
        find_commit: options.find_commit,
        indices: None,
        cache_folder: &options.cache_folder,
        task,
        offline: options.offline,
    };
    let sources = finder.all(previous.map(|lock| lock.sources.as_slice()).unwrap_or_default())?;
    if requests.is_empty() {
        return Ok(Lock { sources, ..Lock::default() });
    }
    let indices = archive.indices(&options.cache_folder, task)?;
    let wrong = mentions(recipe).filter_map(|Mention { package, real }| {
        // A request that the lock answers does not ask the indices.
        let known = |lock: &Lock| lock.packages.iter().any(|locked| locked.name == package.value);
        let why = super::resolve::missing(&indices, &package.value, real)?;
        (!previous.is_some_and(known)).then(|| (package.origin.clone(), why))
    });
    let wrong: Vec<_> = wrong.collect();
    if !wrong.is_empty() {
        return Err(recipe.errors_at(wrong).hint(format!("looked at {}", indices.describe())));
    }
    Ok(Lock { sources, ..Lock::resolve(requests, &indices, previous)? })
}

fn open(recipe: &Recipe, options: &Options) -> Result<Archive> {
    let folder = recipe_path(recipe).parent().unwrap_or(Path::new("")).to_path_buf();
    match &options.environment {
        Some(environment) => Archive::open_in(&recipe.packages, &folder, options.offline, environment),
        None => Archive::open(&recipe.packages, &folder, options.offline),
    }
}

fn recipe_path(recipe: &Recipe) -> PathBuf {
    recipe.sources.first().map(|source| source.path.clone()).unwrap_or_default()
}
