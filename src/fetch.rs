//! Packages from the network, verified and locked: the only place that knows the network.
//!
//! ```text
//! recipe --requests--> what it needs --Lock::resolve--> recipe.lock --Archive::download--> .deb files
//!                                          ^
//! mirror (recipe, environment, configuration, apt) --> InRelease (OpenPGP) --> Packages (SHA-256)
//! ```
//!
//! A recipe whose lock names all it needs is built without asking any index.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Kind, Result};
use crate::recipe::Packages;
use crate::task::Task;

pub mod http;
pub mod indices;
pub mod lock;
pub mod mirror;
mod part;
pub mod release;
mod request;
pub mod signature;
pub mod sources;
pub mod url;

pub use indices::Indices;
pub use lock::{Lock, LockedPackage, LockedSource, lock_for};
pub use mirror::Environment;
pub use part::Wanted;
pub use request::{Request, requests};

use http::{Client, Failed};
use indices::Fetcher;
use mirror::Mirror;
use url::Place;

/// The archives that a recipe's packages come from: where each suite is, and how to get there.
#[derive(Debug)]
pub struct Archive {
    mirrors: Vec<Mirror>,
    components: Vec<String>,
    architecture: String,
    client: Client,
    offline: bool,
    /// Where packages are loaded, by their hash; `None`: beside their places.
    partial: Option<PathBuf>,
}

impl Archive {
    /// Decides on mirrors and keyrings; asks no network yet.
    ///
    /// # Errors
    /// If no mirror is known for a suite, or a setting is not what it should be.
    pub fn open(packages: &Packages, recipe_folder: &Path, offline: bool) -> Result<Archive> {
        Archive::open_in(packages, recipe_folder, offline, &Environment::of_host()?)
    }

    /// Does the same in an environment that is handed in.
    pub fn open_in(
        packages: &Packages,
        recipe_folder: &Path,
        offline: bool,
        environment: &Environment,
    ) -> Result<Archive> {
        Ok(Archive {
            mirrors: mirror::choose(packages, recipe_folder, environment)?,
            components: packages.components.clone(),
            architecture: packages.architecture.clone(),
            client: Client::new(environment.proxies.clone(), environment.patience)?,
            offline,
            partial: None,
        })
    }

    /// Keeps what is loaded of a package in this folder, under its SHA-256, until it is whole: the next run goes on
    /// there, wherever it wants to have it. Must be on the file system of the destinations.
    pub fn keeping_parts_in(mut self, folder: PathBuf) -> Archive {
        self.partial = Some(folder);
        self
    }

    /// Returns where each suite comes from.
    pub fn mirrors(&self) -> &[Mirror] {
        &self.mirrors
    }

    /// Downloads and verifies every suite's `InRelease` and `Packages`, all suites at the same time.
    ///
    /// What the cache folder has already is not loaded again; offline, all must be there.
    pub fn indices(&self, cache_folder: &Path, task: &dyn Task) -> Result<Indices> {
        let results = self.fetch_indices(cache_folder, false, task)?;
        let (architecture, components) = (self.architecture.clone(), self.components.clone());
        let mut indices = Indices { architecture, components, ..Indices::default() };
        for (suite, packages) in results {
            task.cancel().check()?;
            indices.add(suite, &packages)?;
        }
        Ok(indices)
    }

    /// Downloads and verifies every suite's `InRelease` and `Sources` in the same way; returns the texts.
    pub fn source_indices(
        &self,
        cache_folder: &Path,
        task: &dyn Task,
    ) -> Result<Vec<(indices::SuiteIndex, Vec<Vec<u8>>)>> {
        self.fetch_indices(cache_folder, true, task)
    }

    fn fetch_indices(
        &self,
        cache_folder: &Path,
        source: bool,
        task: &dyn Task,
    ) -> Result<Vec<(indices::SuiteIndex, Vec<Vec<u8>>)>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let totals = Totals::new(task);
        let fetchers = self.mirrors.iter().map(|mirror| Fetcher {
            client: &self.client,
            mirror,
            components: &self.components,
            architecture: &self.architecture,
            folder: cache_folder.join(format!("{}-{}", mirror.suite.replace('/', "_"), self.architecture)),
            source,
            offline: self.offline,
            now,
            task: &totals,
        });
        std::thread::scope(|scope| {
            let threads: Vec<_> = fetchers.map(|fetcher| scope.spawn(move || fetcher.run())).collect();
            let lost = |_| Err(Error::new(Kind::Internal, "a thread that fetched an index panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(lost)).collect()
        })
    }

    /// Asks how long a file of the network is.
    pub fn size_of(&self, url: &str, task: &dyn Task) -> Result<u64> {
        let place = parse_url(url)?;
        if self.offline {
            let message = format!("offline, and the lock does not know {url}");
            return Err(Error::new(Kind::Network, message).hint("run once without --offline"));
        }
        let gone = || Error::new(Kind::Network, format!("{url} is not there"));
        let size = self.client.size(&place, task).map_err(|failed| failed.or_missing(gone))?;
        size.ok_or_else(|| Error::new(Kind::Network, format!("the server does not say how long {url} is")))
    }

    /// Downloads a file of the network to `destination`, which appears only once it is whole and right.
    pub fn download_url(&self, url: &str, wanted: &Wanted, destination: &Path, task: &dyn Task) -> Result<()> {
        let place = parse_url(url)?;
        if self.offline {
            let message = format!("offline, and {url} is not in the cache");
            return Err(Error::new(Kind::Network, message).hint("run once without --offline"));
        }
        task.total(wanted.size);
        let gone = || Error::new(Kind::Network, format!("{url} is no longer there"));
        let part = match &self.partial {
            Some(folder) => folder.join(&wanted.sha256),
            None => part::beside(destination),
        };
        self.client.download(&place, wanted, destination, part, task).map_err(|failed| failed.or_missing(gone))
    }

    /// Downloads one package to `destination`, which appears only once it is whole and its SHA-256 is right.
    ///
    /// # Errors
    /// [`Kind::Network`] if the mirror no longer has this version, or cannot be reached; [`Kind::Input`] if what it
    /// has is not what the lock says.
    pub fn download(&self, package: &LockedPackage, destination: &Path, task: &dyn Task) -> Result<()> {
        let LockedPackage { name, version, suite, .. } = package;
        let mirror = self.mirrors.iter().find(|mirror| mirror.suite == *suite).ok_or_else(|| {
            let message = format!("{name} {version} is locked to the suite {suite}, which the recipe does not name");
            Error::new(Kind::Input, message).hint("xenbuild lock --update")
        })?;
        let place = mirror.base.join(&package.filename)?;
        let wanted = Wanted { name: format!("{name} {version}"), size: package.size, sha256: package.sha256.clone() };
        let vanished = || {
            Error::new(Kind::Network, format!("{name} {version} is no longer on the mirror: {place} is not there"))
                .hint("xenbuild lock --update RECIPE takes the version that the mirror has now")
                .hint("or take it from a snapshot of the archive: XENBUILD_MIRROR=URL")
        };
        task.total(package.size);
        match &place {
            Place::File(source) => match part::copy(source, &wanted, destination, task)? {
                true => Ok(()),
                false => Err(vanished()),
            },
            Place::Web(_) if self.offline => {
                Err(Error::new(Kind::Network, format!("offline, and {name} {version} is not in the cache"))
                    .hint("run once without --offline"))
            }
            Place::Web(url) => {
                let part = match &self.partial {
                    Some(folder) => folder.join(&package.sha256),
                    None => part::beside(destination),
                };
                match self.client.download(url, &wanted, destination, part, task) {
                    Err(Failed::NotFound) => Err(vanished()),
                    Err(Failed::Error(error)) => Err(error),
                    Ok(()) => Ok(()),
                }
            }
        }
    }
}

fn parse_url(url: &str) -> Result<url::Url> {
    url::Url::parse(url).map_err(|why| Error::new(Kind::Recipe, format!("{url}: {why}")))
}

/// Adds up what several threads announce, for a task that wants one number.
struct Totals<'a> {
    task: &'a dyn Task,
    bytes: std::sync::atomic::AtomicU64,
}

impl<'a> Totals<'a> {
    fn new(task: &'a dyn Task) -> Self {
        Totals { task, bytes: 0.into() }
    }
}

impl Task for Totals<'_> {
    fn total(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        self.task.total(before + bytes);
    }
    fn advance(&self, bytes: u64) {
        self.task.advance(bytes);
    }
    fn note(&self, line: &str) {
        self.task.note(line);
    }
    fn cancel(&self) -> &crate::task::Cancel {
        self.task.cancel()
    }
}
