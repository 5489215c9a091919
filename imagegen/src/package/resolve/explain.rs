//! Says why a set of packages cannot be, in words.

use super::{Pending, ResolveError, Solver, State, plain};
use crate::package::index::PackageId;
use crate::package::relation::Relation;
use crate::suggest;

impl<'a> Solver<'a> {
    /// Says why nothing satisfies a group.
    pub(super) fn unmet(&mut self, state: &State<'a>, pending: &Pending<'a>) -> ResolveError {
        let mut reasons: Vec<String> = Vec::new();
        for relation in &pending.group.alternatives {
            let reason = self.why_not(relation);
            // With several alternatives, say which one this is about.
            let named = pending.group.alternatives.len() == 1 || reason.contains('`');
            reasons.push(if named { reason } else { format!("of `{}` {reason}", relation.name) });
        }
        let Some(parent) = pending.parent else {
            return plain(reasons.join("; "));
        };
        let (name, wanted) = (self.index.package(parent).name(), pending.group.text);
        let reason = format!("`{name}` needs `{wanted}`, but {}", reasons.join("; "));
        ResolveError { reason, chain: self.chain(state, parent) }
    }

    fn why_not(&mut self, relation: &Relation<'a>) -> String {
        let name = relation.name;
        let all = self.index.named(name);
        if let Some(id) = self.candidate(name) {
            let package = self.index.package(id);
            let how = match (self.options.locked.contains_key(name), self.wanted.get(name)) {
                (true, _) => format!("it is locked at {}", package.version()),
                (_, Some(request)) if request.version.is_some() => format!("`{request}` is asked for"),
                _ => format!("{} has {}", package.origin(), package.version()),
            };
            return how;
        }
        let usable = |id: &&PackageId| {
            [self.options.architecture.as_str(), "all"].contains(&self.index.package(**id).architecture())
        };
        let versions: Vec<String> = all
            .iter()
            .filter(usable)
            .map(|id| {
                let package = self.index.package(*id);
                format!("{} has {}", package.origin(), package.version())
            })
            .collect();
        match (self.options.locked.get(name), self.wanted.get(name)) {
            (Some(locked), _) if !versions.is_empty() => {
                format!("`{name}` is locked at {locked}, which is gone: {}", versions.join(", "))
            }
            (_, Some(request)) if !versions.is_empty() => {
                format!("`{request}` is asked for, but {}", versions.join(", "))
            }
            _ if !all.is_empty() => format!("`{name}` is not made for {}", self.options.architecture),
            _ if !self.index.providing(name).is_empty() => format!("no provider of `{name}` will do"),
            _ => format!("there is no package `{name}`{}", suggest::hint(name, self.index.names())),
        }
    }

    pub(super) fn conflict(
        &self,
        state: &State<'a>,
        id: PackageId,
        pending: &Pending<'a>,
        other: PackageId,
        text: &str,
    ) -> ResolveError {
        let (name, other_name) = (self.index.package(id).name(), self.index.package(other).name());
        let mut chain = match pending.parent {
            None => vec![format!("`{name}` is asked for")],
            Some(parent) => {
                let mut chain = vec![self.link(id, parent, pending.group.text)];
                chain.extend(self.chain(state, parent));
                chain
            }
        };
        chain.extend(self.chain(state, other));
        ResolveError { reason: format!("`{name}` and `{other_name}` cannot be together: {text}"), chain }
    }

    /// Says who wanted a chosen package, and so on.
    pub(super) fn chain(&self, state: &State<'a>, mut id: PackageId) -> Vec<String> {
        let mut chain = Vec::new();
        loop {
            match state.chosen.get(&id).and_then(|chosen| chosen.wanted_by) {
                // Whoever wants a package came before it: the chain ends.
                Some((parent, text)) => {
                    chain.push(self.link(id, parent, text));
                    id = parent;
                }
                None => {
                    chain.push(format!("`{}` is asked for", self.index.package(id).name()));
                    return chain;
                }
            }
        }
    }

    fn link(&self, id: PackageId, parent: PackageId, text: &str) -> String {
        let (name, parent) = (self.index.package(id).name(), self.index.package(parent).name());
        if text == name {
            format!("`{name}` is wanted by `{parent}`")
        } else {
            format!("`{name}` is wanted by `{parent}` as `{text}`")
        }
    }
}
