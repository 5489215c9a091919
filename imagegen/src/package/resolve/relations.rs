//! What each package needs, provides and refuses: read when first asked for, and kept.

use std::collections::HashMap;
use std::rc::Rc;

use super::Options;
use crate::package::index::{Index, PackageId};
use crate::package::relation::{self, AnyOf, Operator, Relation};
use crate::package::version::Version;

/// Alternatives, any one of which will do.
pub(super) struct Group<'a> {
    pub text: &'a str,
    pub alternatives: Vec<Relation<'a>>,
}

impl<'a> Group<'a> {
    /// Returns the group that only this name satisfies.
    pub fn of_name(name: &'a str, options: &Options) -> Result<Self, String> {
        let mut items = relation::parse(name, &options.architecture)?;
        match items.pop() {
            Some(AnyOf { alternatives, .. }) if items.is_empty() && alternatives.len() == 1 => {
                Ok(Group { text: name, alternatives })
            }
            _ => Err(format!("`{name}` is no name of a package")),
        }
    }
}

/// The relations of one package.
pub(super) struct Needs<'a> {
    pub pre_depends: Vec<Rc<Group<'a>>>,
    pub depends: Vec<Rc<Group<'a>>>,
    pub recommends: Vec<Rc<Group<'a>>>,
    /// What it conflicts with or breaks.
    pub refused: Vec<Relation<'a>>,
    /// Its own name and version, then what it provides.
    pub names: Vec<(&'a str, Option<Version<'a>>)>,
}

pub(super) struct Relations<'a> {
    index: &'a Index,
    architecture: &'a str,
    known: HashMap<PackageId, Result<Rc<Needs<'a>>, String>>,
}

impl<'a> Relations<'a> {
    pub fn new(index: &'a Index, architecture: &'a str) -> Self {
        Relations { index, architecture, known: HashMap::new() }
    }

    /// Returns a package's relations, or what is wrong with how they are written.
    pub fn of(&mut self, id: PackageId) -> Result<Rc<Needs<'a>>, String> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let needs = self.read(id).map(Rc::new);
        self.known.insert(id, needs.clone());
        needs
    }

    fn read(&self, id: PackageId) -> Result<Needs<'a>, String> {
        let package = self.index.package(id);
        let list = |field: &str, text: &'a str| {
            let items = relation::parse(text, self.architecture);
            items.map_err(|reason| format!("`{}` {}: {field}: {reason}", package.name(), package.version()))
        };
        let groups = |field: &str, text: &'a str| -> Result<Vec<Rc<Group<'a>>>, String> {
            let group = |item: AnyOf<'a>| Rc::new(Group { text: item.as_str(), alternatives: item.alternatives });
            Ok(list(field, text)?.into_iter().map(group).collect())
        };
        let mut names = vec![(package.name(), Some(package.version()))];
        for relation in list("Provides", package.provides())?.into_iter().flat_map(|item| item.alternatives) {
            // Policy 7.5: a package provides one version of a name, or none.
            let version = relation.version.filter(|(operator, _)| *operator == Operator::Equal);
            names.push((relation.name, version.map(|(_, version)| version)));
        }
        let refused = list("Conflicts", package.conflicts())?.into_iter().chain(list("Breaks", package.breaks())?);
        Ok(Needs {
            pre_depends: groups("Pre-Depends", package.pre_depends())?,
            depends: groups("Depends", package.depends())?,
            recommends: groups("Recommends", package.recommends())?,
            refused: refused.flat_map(|item| item.alternatives).collect(),
            names,
        })
    }
}
