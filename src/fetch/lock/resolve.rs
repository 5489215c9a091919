//! From requests and indices to a lock: what is known stays, the rest is resolved.

use std::collections::{BTreeMap, BTreeSet};

use imagegen::package::index::{Index, PackageId};
use imagegen::package::relation::{self, Operator};
use imagegen::package::resolve;
use imagegen::package::version::Version;

use super::{Lock, LockedPackage, LockedSuite, Selection};
use crate::error::{Error, Kind, Result};
use crate::fetch::Indices;
use crate::fetch::release::is_sha256;
use crate::fetch::request::{Closure, Request};
use crate::fetch::url::check_relative;

impl Lock {
    /// Resolves requests against the indices.
    ///
    /// Of the previous lock, if it is for the same suites, what a request came to stays as it is. For requests that it
    /// does not know, its versions are preferred where the indices still have them and they go together.
    ///
    /// # Errors
    /// [`Kind::Recipe`] if a package does not exist, or packages do not go together; [`Kind::Input`] if an index names
    /// a package without all that is needed to get it.
    pub fn resolve(requests: &[Request], indices: &Indices, previous: Option<&Lock>) -> Result<Lock> {
        let suites = indices.suites.iter().map(|suite| LockedSuite {
            name: suite.suite.clone(),
            date: suite.date,
            in_release_sha256: suite.in_release_sha256.clone(),
        });
        let resolver = Resolver { indices, pins: pins(indices, previous) };
        let mut lock = Lock {
            architecture: indices.architecture.clone(),
            components: indices.components.clone(),
            suites: suites.collect(),
            ..Lock::default()
        };
        let kept = previous.filter(|previous| lock.is_like(previous));
        for request in requests {
            let packages = match kept.and_then(|previous| previous.selection(request)) {
                Some(packages) => packages.into_iter().cloned().collect(),
                None => resolver.resolve(request)?,
            };
            let named = packages.iter().map(|package| (package.name.clone(), package.version.clone()));
            lock.selections.push(Selection { request: request.clone(), packages: named.collect() });
            lock.packages.extend(packages);
        }
        lock.selections.sort();
        lock.packages.sort();
        lock.packages.dedup_by(|one, other| (&one.name, &one.version) == (&other.name, &other.version));
        Ok(lock)
    }

    /// Says whether another lock is for the same suites, components and architecture.
    fn is_like(&self, other: &Lock) -> bool {
        let names = |lock: &Lock| lock.suites.iter().map(|suite| suite.name.clone()).collect::<Vec<_>>();
        self.architecture == other.architecture && self.components == other.components && names(self) == names(other)
    }
}

/// Collects the locked versions that can still be had, by name.
fn pins(indices: &Indices, previous: Option<&Lock>) -> BTreeMap<String, String> {
    let mut pins = BTreeMap::new();
    for (name, packages) in previous.map(Lock::by_name).unwrap_or_default() {
        // Of a package that is locked twice, each request has its own reasons for its version.
        let [locked] = packages.as_slice() else { continue };
        let there = indices.index.named(name).iter().any(|id| {
            let package = indices.index.package(*id);
            package.version_text() == locked.version && package.sha256().eq_ignore_ascii_case(&locked.sha256)
        });
        if there {
            pins.insert(name.to_string(), locked.version.clone());
        }
    }
    pins
}

struct Resolver<'a> {
    indices: &'a Indices,
    pins: BTreeMap<String, String>,
}

impl Resolver<'_> {
    fn resolve(&self, request: &Request) -> Result<Vec<LockedPackage>> {
        let ids = match request.closure {
            Closure::Dependencies => self.dependencies(request)?,
            Closure::SameVersion => self.same_version(request)?,
        };
        ids.into_iter().map(|id| locked(&self.indices.index, id)).collect()
    }

    fn parse(&self, request: &Request) -> Result<Vec<resolve::Request>> {
        let parsed = request.names.iter().map(|name| resolve::Request::parse(name));
        parsed.collect::<Result<_, _>>().map_err(|why| Error::new(Kind::Recipe, why))
    }

    fn options(&self, request: &Request, locked: BTreeMap<String, String>) -> resolve::Options {
        resolve::Options {
            architecture: self.indices.architecture.clone(),
            exclude: request.without.iter().cloned().collect(),
            locked,
            ..resolve::Options::default()
        }
    }

    /// Takes packages with all that they depend on: with the locked versions if they go together, else with the newest.
    fn dependencies(&self, request: &Request) -> Result<Vec<PackageId>> {
        let index = &self.indices.index;
        let wanted = self.parse(request)?;
        let mut pins = self.pins.clone();
        // A version that the recipe asks for is asked for whatever was locked.
        pins.retain(|name, _| {
            wanted.iter().all(|one| one.name != *name || (one.version.is_none() && one.suite.is_none()))
        });
        if !pins.is_empty()
            && let Ok(ids) = resolve::resolve(index, &wanted, &self.options(request, pins))
        {
            return Ok(ids);
        }
        resolve::resolve(index, &wanted, &self.options(request, BTreeMap::new())).map_err(|error| {
            Error::new(Kind::Recipe, format!("the packages {} cannot be had: {error}", request.names.join(", ")))
                .hint(format!("looked at {}", self.indices.describe()))
        })
    }

    /// Takes one package and those that it depends on in exactly its own version; dependencies come first.
    fn same_version(&self, request: &Request) -> Result<Vec<PackageId>> {
        let mut taken = Vec::new();
        for wanted in &self.parse(request)? {
            let root = self.candidate(wanted).ok_or_else(|| self.no_candidate(wanted))?;
            let version = self.indices.index.package(root).version();
            let mut seen = BTreeSet::from([root]);
            // Depth first without recursion: a package is taken once all below it are.
            let mut stack = vec![(root, self.siblings(root, version)?)];
            while let Some((id, below)) = stack.last_mut() {
                match below.pop() {
                    Some(next) if seen.insert(next) => stack.push((next, self.siblings(next, version)?)),
                    Some(_) => {}
                    None => {
                        taken.push(*id);
                        stack.pop();
                    }
                }
            }
        }
        Ok(taken)
    }

    /// Finds the package itself: in the version asked for, or locked, or the newest.
    fn candidate(&self, wanted: &resolve::Request) -> Option<PackageId> {
        let index = &self.indices.index;
        let is = |id: &PackageId, text: &str| {
            Version::parse(text).is_ok_and(|version| version == index.package(*id).version())
        };
        let free = wanted.version.is_none() && wanted.suite.is_none();
        let version = wanted.version.as_ref().or_else(|| self.pins.get(&wanted.name).filter(|_| free));
        let fits = |id: &PackageId| {
            self.is_usable(*id)
                && version.is_none_or(|version| is(id, version))
                && wanted.suite.as_ref().is_none_or(|suite| suite == index.package(*id).origin())
        };
        let mut best: Option<PackageId> = None;
        for id in index.named(&wanted.name).iter().copied().filter(fits) {
            if best.is_none_or(|best| index.package(id).version() > index.package(best).version()) {
                best = Some(id);
            }
        }
        best
    }

    fn is_usable(&self, id: PackageId) -> bool {
        let architecture = self.indices.index.package(id).architecture();
        architecture == self.indices.architecture || architecture == "all"
    }

    fn no_candidate(&self, wanted: &resolve::Request) -> Error {
        Error::new(Kind::Recipe, why_not(self.indices, wanted)).hint(format!("looked at {}", self.indices.describe()))
    }

    /// Finds what a package depends on in exactly this version.
    fn siblings(&self, id: PackageId, version: Version<'_>) -> Result<Vec<PackageId>> {
        let index = &self.indices.index;
        let package = index.package(id);
        let mut siblings = Vec::new();
        for list in [package.pre_depends(), package.depends()] {
            let groups = relation::parse(list, &self.indices.architecture)
                .map_err(|why| Error::new(Kind::Input, format!("{} in {}: {why}", package.name(), package.origin())))?;
            for relation in groups.iter().flat_map(|group| &group.alternatives) {
                if !matches!(relation.version, Some((Operator::Equal, bound)) if bound == version) {
                    continue;
                }
                let same = |id: &&PackageId| self.is_usable(**id) && index.package(**id).version() == version;
                siblings.extend(index.named(relation.name).iter().find(same));
            }
        }
        siblings.reverse();
        Ok(siblings)
    }
}

/// Says why a package that a recipe names cannot be had; `None` if it can, whatever becomes of its dependencies.
pub(super) fn missing(indices: &Indices, name: &str, real: bool) -> Option<String> {
    let wanted = match resolve::Request::parse(name) {
        Ok(wanted) => wanted,
        Err(why) => return Some(why),
    };
    let resolver = Resolver { indices, pins: BTreeMap::new() };
    let provided = !real && wanted.version.is_none() && !indices.index.providing(&wanted.name).is_empty();
    match provided || resolver.candidate(&wanted).is_some() {
        true => None,
        false => Some(why_not(indices, &wanted)),
    }
}

/// Says why there is no such package; the resolver knows, and has suggestions.
fn why_not(indices: &Indices, wanted: &resolve::Request) -> String {
    let options = resolve::Options { architecture: indices.architecture.clone(), ..resolve::Options::default() };
    match resolve::resolve(&indices.index, std::slice::from_ref(wanted), &options) {
        Err(error) => error.reason,
        Ok(_) => format!("`{wanted}` is a virtual package; name a real one"),
    }
}

/// Takes over what is needed to get a package, after a look at it.
fn locked(index: &Index, id: PackageId) -> Result<LockedPackage> {
    let package = index.package(id);
    let (name, version, suite) = (package.name(), package.version_text(), package.origin());
    let bad =
        |why: &str| Error::new(Kind::Input, format!("the index of {suite} has no proper {why} of {name} {version}"));
    check_relative(package.filename()).map_err(|error| error.context(format!("{name} {version} of {suite}")))?;
    if !is_sha256(package.sha256()) {
        return Err(bad("SHA256"));
    }
    Ok(LockedPackage {
        name: name.into(),
        version: version.into(),
        architecture: package.architecture().into(),
        suite: suite.into(),
        filename: package.filename().into(),
        size: package.size_bytes().ok_or_else(|| bad("Size"))?,
        sha256: package.sha256().to_ascii_lowercase(),
    })
}
