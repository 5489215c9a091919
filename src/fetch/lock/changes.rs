//! What is different between two locks, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Lock, LockedPackage, LockedSource};

/// One package name whose versions differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The package.
    pub name: String,
    /// The versions before; usually one, or none.
    pub before: Vec<String>,
    /// The versions after.
    pub after: Vec<String>,
}

/// Lists what changes from one lock to another, sorted by name.
pub fn changes(before: &Lock, after: &Lock) -> Vec<Change> {
    let (old, new) = (before.by_name(), after.by_name());
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let identity = |package: &&LockedPackage| (package.version.clone(), package.sha256.clone());
    let mut changes = Vec::new();
    for name in names {
        let of = |lock: &std::collections::BTreeMap<&str, Vec<&LockedPackage>>| -> Vec<(String, String)> {
            lock.get(name).map(|packages| packages.iter().map(identity).collect()).unwrap_or_default()
        };
        let (before, after) = (of(&old), of(&new));
        if before != after {
            let versions = |list: Vec<(String, String)>| list.into_iter().map(|(version, _)| version).collect();
            changes.push(Change { name: name.into(), before: versions(before), after: versions(after) });
        }
    }
    changes.extend(source_changes(before, after));
    changes
}

/// Lists source trees that come to something else, or are new or gone.
fn source_changes(before: &Lock, after: &Lock) -> Vec<Change> {
    let what = |lock: &Lock| -> BTreeMap<String, String> {
        let one = |source: &LockedSource| match source {
            LockedSource::Debian { request, files } => {
                (format!("source {request}"), files.first().map(|file| file.version.clone()).unwrap_or_default())
            }
            LockedSource::Git { url, revision, commit } => (format!("{revision} of {url}"), commit.clone()),
            LockedSource::Url { url, sha256, .. } => (url.clone(), sha256.clone()),
        };
        lock.sources.iter().map(one).collect()
    };
    let (old, new) = (what(before), what(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let list = |value: Option<&String>| value.into_iter().cloned().collect::<Vec<_>>();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| Change { name: name.clone(), before: list(old.get(name)), after: list(new.get(name)) })
        .collect()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { name, before, after } = self;
        match (before.as_slice(), after.as_slice()) {
            ([], after) => write!(f, "{name}: added {}", after.join(", ")),
            (before, []) => write!(f, "{name}: removed {}", before.join(", ")),
            (before, after) if before == after => write!(f, "{name}: {} has other content", after.join(", ")),
            (before, after) => write!(f, "{name}: {} -> {}", before.join(", "), after.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &[(&str, &str, &str)]) -> Lock {
        let package = |(name, version, sha256): &(&str, &str, &str)| LockedPackage {
            name: name.to_string(),
            version: version.to_string(),
            architecture: "all".into(),
            suite: "s".into(),
            filename: "f".into(),
            size: 0,
            sha256: sha256.to_string(),
        };
        Lock { packages: packages.iter().map(package).collect(), ..Lock::default() }
    }

    #[test]
    fn every_kind_of_change_has_its_words() {
        let before = lock(&[("a", "1", "x"), ("b", "1", "x"), ("c", "1", "x"), ("d", "1", "x"), ("e", "1", "x")]);
        let after = lock(&[
            ("a", "2", "y"),
            ("c", "1", "x"),
            ("d", "1", "y"),
            ("e", "1", "x"),
            ("e", "2", "y"),
            ("f", "1", "x"),
        ]);
        let shown: Vec<String> = changes(&before, &after).iter().map(Change::to_string).collect();
        let expected = ["a: 1 -> 2", "b: removed 1", "d: 1 has other content", "e: 1 -> 1, 2", "f: added 1"];
        assert_eq!(shown, expected);
    }
}
