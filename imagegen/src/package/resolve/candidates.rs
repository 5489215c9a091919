//! Which packages could satisfy a group of alternatives, in order of preference.

use super::Solver;
use super::relations::Group;
use crate::package::index::PackageId;
use crate::package::version::Version;

/// What could satisfy a group.
pub(super) struct Possible {
    /// True if it names an excluded package.
    pub excluded: bool,
    /// Packages in order of preference, each once.
    pub packages: Vec<PackageId>,
}

impl<'a> Solver<'a> {
    /// Returns what could satisfy a group: the real package of each name, then its providers.
    pub(super) fn possible(&mut self, group: &Group<'a>) -> Possible {
        let mut possible = Possible { excluded: false, packages: Vec::new() };
        for relation in &group.alternatives {
            if self.options.exclude.contains(relation.name) {
                possible.excluded = true;
                return possible;
            }
            if relation.qualifier.is_some_and(|of| !["any", "native", &*self.options.architecture].contains(&of)) {
                continue;
            }
            let real = self.candidate(relation.name);
            let fits = |id: &PackageId| relation.allows(Some(self.index.package(*id).version()));
            let mut found: Vec<PackageId> = real.filter(fits).into_iter().collect();
            let mut providers = Vec::new();
            for &id in self.index.providing(relation.name) {
                let package = self.index.package(id);
                if self.candidate(package.name()) != Some(id) && !self.options.exclude.contains(package.name()) {
                    continue;
                }
                let needs = self.relations.of(id);
                let provided = needs.is_ok_and(|needs| {
                    needs
                        .names
                        .iter()
                        .skip(1)
                        .any(|(name, version)| *name == relation.name && relation.allows(*version))
                });
                if provided && self.options.exclude.contains(package.name()) {
                    possible.excluded = true;
                    return possible;
                }
                if provided {
                    providers.push(id);
                }
            }
            providers.sort_by_key(|id| {
                let package = self.index.package(*id);
                (!package.essential(), package.priority_rank(), package.name())
            });
            found.extend(providers);
            for id in found {
                if !possible.packages.contains(&id) {
                    possible.packages.push(id);
                }
            }
        }
        possible
    }

    /// Returns the one package of a name that may be taken.
    pub(super) fn candidate(&mut self, name: &'a str) -> Option<PackageId> {
        if let Some(known) = self.candidates.get(name) {
            return *known;
        }
        let (locked, wanted) = (self.options.locked.get(name), self.wanted.get(name));
        let mut best: Option<PackageId> = None;
        for &id in self.index.named(name) {
            let package = self.index.package(id);
            let same = |text: &String| Version::parse(text).is_ok_and(|version| version == package.version());
            if ![self.options.architecture.as_str(), "all"].contains(&package.architecture())
                || !locked.is_none_or(same)
                || !wanted.and_then(|wanted| wanted.version.as_ref()).is_none_or(same)
                || wanted.and_then(|wanted| wanted.suite.as_ref()).is_some_and(|suite| suite != package.origin())
            {
                continue;
            }
            if best.is_none_or(|best| package.version() > self.index.package(best).version()) {
                best = Some(id);
            }
        }
        self.candidates.insert(name, best);
        best
    }
}
