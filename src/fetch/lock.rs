//! The lock file: every package of a recipe, with version and hash, so that a build means the same tomorrow.
//!
//! TOML, sorted, one value a line: made to be read in a diff. It names no mirror.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::part::write_whole;
use super::release::show_date;
use super::request::{Closure, Request};
use crate::error::Result;
use crate::recipe::{Packages, Recipe, SourceFrom};

mod changes;
mod decide;
mod resolve;
mod source;
mod text;

pub use changes::{Change, changes};
pub use decide::{Options, is_needed, lock_for, shortfall, update};
pub use source::{FindCommit, LockedSource};

/// A recipe's lock.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lock {
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The components that were looked at.
    pub components: Vec<String>,
    /// The suites that were looked at, in the recipe's order.
    pub suites: Vec<LockedSuite>,
    /// All packages, sorted by name and version.
    pub packages: Vec<LockedPackage>,
    /// What each request of the recipe came to, sorted.
    pub selections: Vec<Selection>,
    /// Source trees, sorted.
    pub sources: Vec<LockedSource>,
}

/// A suite as it was when the lock was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockedSuite {
    /// Its name.
    pub name: String,
    /// `Date` of its `Release`: seconds since 1970.
    pub date: i64,
    /// SHA-256 of its `InRelease`.
    pub in_release_sha256: String,
}

/// One package, exactly.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture: the lock's, or `all`.
    pub architecture: String,
    /// The suite that it is from.
    pub suite: String,
    /// The path of its `.deb` below the archive's base.
    pub filename: String,
    /// The size of its `.deb`.
    pub size: u64,
    /// SHA-256 of its `.deb`, in small letters.
    pub sha256: String,
}

/// What a request came to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Selection {
    /// The request.
    pub request: Request,
    /// Name and version of the packages, in the order in which they are to be unpacked.
    pub packages: Vec<(String, String)>,
}

impl Lock {
    /// Returns where a recipe's lock is: beside the recipe, by the recipe's (and variant's) name.
    pub fn path_of(recipe: &Recipe) -> PathBuf {
        let folder = recipe.sources.first().and_then(|source| source.path.parent());
        folder.unwrap_or(Path::new("")).join(format!("{}.lock", recipe.name))
    }

    /// Reads a lock file; `None` if there is none.
    ///
    /// # Errors
    /// [`crate::error::Kind::Input`] if it is not what [`Lock::write`] writes.
    pub fn read(path: &Path) -> Result<Option<Lock>> {
        text::read(path)
    }

    /// Writes the lock file: beside its place, synced, then renamed.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, text::render(self).as_bytes())
    }

    /// Returns the packages that a request came to, in the order in which they are to be unpacked.
    pub fn selection(&self, request: &Request) -> Option<Vec<&LockedPackage>> {
        let selection = self.selections.iter().find(|selection| selection.request == *request)?;
        selection.packages.iter().map(|(name, version)| self.package(name, version)).collect()
    }

    /// Returns a package and those that it depends on in exactly its own version, if the recipe asked for that.
    pub fn same_version_closure(&self, name: &str) -> Option<Vec<&LockedPackage>> {
        self.selection(&Request::same_version(name))
    }

    /// Returns what a source tree came to.
    pub fn source(&self, recipe: &Recipe, from: &SourceFrom) -> Option<&LockedSource> {
        self.sources.iter().find(|source| source.answers(recipe, from))
    }

    /// Says which source tree of a recipe is not known; `None` if all are.
    pub fn unknown_source(&self, recipe: &Recipe) -> Option<String> {
        source::wanted(recipe).find(|from| self.source(recipe, from).is_none()).map(|from| source::title(recipe, from))
    }

    /// Returns a package by name and version.
    pub fn package(&self, name: &str, version: &str) -> Option<&LockedPackage> {
        self.packages.iter().find(|package| package.name == name && package.version == version)
    }

    /// Says why this lock does not do for a recipe's requests; `None` if it does.
    pub fn shortfall(&self, packages: &Packages, requests: &[Request]) -> Option<String> {
        if self.architecture != packages.architecture {
            return Some(format!("it is for {}, and the recipe for {}", self.architecture, packages.architecture));
        }
        if !self.suites.iter().map(|suite| &suite.name).eq(&packages.suites) {
            return Some("the recipe's suites have changed".into());
        }
        if self.components != packages.components {
            return Some("the recipe's components have changed".into());
        }
        let missing = requests.iter().find(|request| self.selection(request).is_none())?;
        let without = match missing.without.is_empty() {
            true => String::new(),
            false => format!(" without {}", missing.without.join(", ")),
        };
        let alone = if missing.closure == Closure::SameVersion { " (for its files)" } else { "" };
        Some(format!("it does not know {}{without}{alone}", missing.names.join(", ")))
    }

    /// Returns the lock's packages by name: usually one version each.
    fn by_name(&self) -> BTreeMap<&str, Vec<&LockedPackage>> {
        let mut names: BTreeMap<&str, Vec<&LockedPackage>> = BTreeMap::new();
        for package in &self.packages {
            names.entry(&package.name).or_default().push(package);
        }
        names
    }
}

impl LockedSuite {
    /// Returns the time of its `Release`, for people.
    pub fn shown_date(&self) -> String {
        show_date(self.date)
    }
}
