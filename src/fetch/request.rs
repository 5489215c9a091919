//! What a recipe wants of Debian's archive.

use std::collections::BTreeSet;

use crate::recipe::{Located, Recipe};

/// Packages that are wanted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Request {
    /// Names, optionally `name=version`; sorted, each once.
    pub names: Vec<String>,
    /// Names that count as installed already; sorted, each once.
    pub without: Vec<String>,
    /// What else is taken besides them.
    pub closure: Closure,
}

/// What else a request brings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Closure {
    /// All that the packages depend on.
    Dependencies,
    /// Only those that they depend on in exactly their own version: how a metapackage leads to what it stands for.
    SameVersion,
}

impl Request {
    /// Asks for packages with all that they depend on.
    pub fn new(names: impl IntoIterator<Item = String>, without: impl IntoIterator<Item = String>) -> Request {
        let sorted = |names: BTreeSet<String>| names.into_iter().collect();
        Request {
            names: sorted(names.into_iter().collect()),
            without: sorted(without.into_iter().collect()),
            closure: Closure::Dependencies,
        }
    }

    /// Asks for one package and those that it depends on in exactly its own version.
    pub fn same_version(name: &str) -> Request {
        Request { names: vec![name.into()], without: Vec::new(), closure: Closure::SameVersion }
    }
}

/// A package where a recipe names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mention<'a> {
    /// Its name, and where that is written.
    pub package: &'a Located<String>,
    /// Only the package itself will do, none that provides the name.
    pub real: bool,
}

/// Collects all package requests of a recipe; sorted, each once.
pub fn requests(recipe: &Recipe) -> Vec<Request> {
    let alone = recipe.packages_for_files().map(|package| Request::same_version(&package.value));
    let together = recipe.filesystems.values().filter(|filesystem| !filesystem.packages.is_empty());
    let together = together.map(|filesystem| {
        let names = filesystem.packages.iter().map(|package| package.value.clone());
        Request::new(names, filesystem.without.iter().cloned())
    });
    alone.chain(together).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Lists every place where a recipe names a package.
pub(super) fn mentions(recipe: &Recipe) -> impl Iterator<Item = Mention<'_>> {
    let alone = recipe.packages_for_files().map(|package| Mention { package, real: true });
    let together = recipe.filesystems.values().flat_map(|filesystem| &filesystem.packages);
    alone.chain(together.map(|package| Mention { package, real: false }))
}
