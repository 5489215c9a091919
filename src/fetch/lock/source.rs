//! Source trees in the lock: source packages with their files, commits, and what lies at an address.

use std::path::Path;

use imagegen::package::deb822;
use imagegen::package::version::Version;

use super::LockedPackage;
use crate::error::{Error, Kind, Result};
use crate::fetch::Archive;
use crate::fetch::indices::SuiteIndex;
use crate::fetch::release::is_sha256;
use crate::fetch::url::check_relative;
use crate::recipe::{Located, Recipe, SourceFrom};
use crate::task::Task;

/// A source tree, exactly.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LockedSource {
    /// A Debian source package.
    Debian {
        /// What the recipe asks for: `xen`, `xen=VERSION`, `xen/SUITE`.
        request: String,
        /// Its files, the `.dsc` among them, each as if it were a package.
        files: Vec<LockedPackage>,
    },
    /// A commit.
    Git {
        /// The repository, as the recipe has it.
        url: String,
        /// The commit, tag or branch that the recipe names.
        revision: String,
        /// 40 (or 64) hexadecimal digits.
        commit: String,
    },
    /// A file at an address.
    Url {
        /// The address.
        url: String,
        /// Its hash, as the recipe gives it.
        sha256: String,
        /// Its size.
        size: u64,
    },
}

/// Finds the commit that a repository has for a name; what starts git is not ours.
pub type FindCommit = fn(place: &str, revision: &str, task: &dyn Task) -> Result<String>;

impl LockedSource {
    /// Says whether this is what a recipe asks for.
    pub fn answers(&self, recipe: &Recipe, from: &SourceFrom) -> bool {
        match (self, from) {
            (LockedSource::Debian { request, .. }, SourceFrom::Debian { package }) => *request == package.value,
            (LockedSource::Git { url, revision, .. }, SourceFrom::Git { url: wanted, revision: name }) => {
                *url == known_as(recipe, &wanted.value) && *revision == name.value
            }
            (LockedSource::Url { url, sha256, .. }, SourceFrom::Url { url: wanted, sha256: hash }) => {
                *url == wanted.value && *sha256 == hash.value
            }
            _ => false,
        }
    }
}

/// Lists what a recipe's source trees come from, as far as a lock has something to say about it.
pub fn wanted(recipe: &Recipe) -> impl Iterator<Item = &SourceFrom> {
    let from = recipe.source_trees.values().map(|source| &source.from);
    from.filter(|from| matches!(from, SourceFrom::Debian { .. } | SourceFrom::Git { .. } | SourceFrom::Url { .. }))
}

/// Says how a recipe calls a source, for messages.
pub fn title(recipe: &Recipe, from: &SourceFrom) -> String {
    match from {
        SourceFrom::Debian { package } => format!("the source package {}", package.value),
        SourceFrom::Git { url, revision } => format!("{} of {}", revision.value, known_as(recipe, &url.value)),
        SourceFrom::Url { url, .. } => url.value.clone(),
        SourceFrom::Package { package, .. } => format!("the package {}", package.value),
        SourceFrom::Tarball { tarball, .. } => tarball.value.display().to_string(),
    }
}

/// Returns how a lock calls a repository: a local one by its path from the recipe, which is the same on other machines.
fn known_as(recipe: &Recipe, url: &str) -> String {
    let file = recipe.sources.first().map(|source| std::path::absolute(&source.path).unwrap_or(source.path.clone()));
    let relative = file.as_deref().and_then(Path::parent).and_then(|folder| Path::new(url).strip_prefix(folder).ok());
    relative.map_or(url.to_owned(), |path| path.display().to_string())
}

/// What source trees are found with.
pub struct Finder<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The archive.
    pub archive: &'a Archive,
    /// Starts git.
    pub find_commit: Option<FindCommit>,
    /// Texts of the suites' `Sources`, once they are needed.
    pub indices: Option<Vec<(SuiteIndex, Vec<Vec<u8>>)>>,
    /// Where indices are kept.
    pub cache_folder: &'a Path,
    /// Progress.
    pub task: &'a dyn Task,
    /// No network.
    pub offline: bool,
}

impl Finder<'_> {
    /// Finds all that a recipe asks for; what `previous` knows stays.
    pub fn all(&mut self, previous: &[LockedSource]) -> Result<Vec<LockedSource>> {
        let mut found = Vec::new();
        for from in wanted(self.recipe) {
            found.push(match previous.iter().find(|locked| locked.answers(self.recipe, from)) {
                Some(known) => known.clone(),
                None => self.one(from)?,
            });
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn one(&mut self, from: &SourceFrom) -> Result<LockedSource> {
        match from {
            SourceFrom::Debian { package } => self.debian(package),
            SourceFrom::Git { url, revision } => {
                let (place, url) = (&url.value, known_as(self.recipe, &url.value));
                let is_commit = matches!(revision.value.len(), 40 | 64)
                    && revision.value.bytes().all(|byte| byte.is_ascii_hexdigit());
                let commit = match (is_commit, self.find_commit) {
                    (true, _) => revision.value.to_ascii_lowercase(),
                    (false, _) if self.offline && place.contains(':') => {
                        let message = format!("offline, and the lock does not know {} of {}", revision.value, url);
                        return Err(Error::new(Kind::Network, message).hint("run once without --offline"));
                    }
                    (false, Some(find)) => {
                        find(place, &revision.value, self.task).map_err(|error| error.at(&revision.origin))?
                    }
                    (false, None) => return Err(Error::new(Kind::Internal, "nobody here can ask git")),
                };
                Ok(LockedSource::Git { url, revision: revision.value.clone(), commit })
            }
            SourceFrom::Url { url, sha256 } => {
                let size = self.archive.size_of(&url.value, self.task)?;
                Ok(LockedSource::Url { url: url.value.clone(), sha256: sha256.value.clone(), size })
            }
            SourceFrom::Tarball { .. } | SourceFrom::Package { .. } => {
                Err(Error::new(Kind::Internal, "a source that needs no lock"))
            }
        }
    }

    /// Takes the newest version of a source package, or the one asked for.
    fn debian(&mut self, package: &Located<String>) -> Result<LockedSource> {
        let indices = match &self.indices {
            Some(indices) => indices,
            None => self.indices.insert(self.archive.source_indices(self.cache_folder, self.task)?),
        };
        let request = package.value.as_str();
        let (name, suite) = request.split_once('/').map_or((request, None), |(name, suite)| (name, Some(suite)));
        let (name, version) = name.split_once('=').map_or((name, None), |(name, version)| (name, Some(version)));
        let mut best: Option<(String, Vec<LockedPackage>)> = None;
        for (index, texts) in indices {
            if suite.is_some_and(|suite| suite != index.suite) {
                continue;
            }
            for text in texts {
                for stanza in stanzas(text, name) {
                    let (found, files) = files(stanza, name, &index.suite)?;
                    let is_newer = |best: &(String, Vec<LockedPackage>)| newer(&found, &best.0);
                    if version.is_none_or(|wanted| wanted == found) && best.as_ref().is_none_or(is_newer) {
                        best = Some((found, files));
                    }
                }
            }
        }
        let Some((_, files)) = best else {
            let suites: Vec<&str> = indices.iter().map(|(index, _)| index.suite.as_str()).collect();
            let message = format!("there is no source package `{request}`");
            let error = self.recipe.error_at(&package.origin, message);
            return Err(error.hint(format!("looked at {}", suites.join(", "))));
        };
        Ok(LockedSource::Debian { request: request.to_owned(), files })
    }
}

fn newer(one: &str, other: &str) -> bool {
    match (Version::parse(one), Version::parse(other)) {
        (Ok(one), Ok(other)) => one > other,
        _ => false,
    }
}

/// Finds the stanzas of one source package in a `Sources` file, without reading the others.
fn stanzas<'a>(text: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let head = format!("Package: {name}");
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\n\n").map_or(rest.len(), |at| at + 1);
            let (stanza, after) = rest.split_at(end);
            rest = after.strip_prefix(b"\n").unwrap_or(after);
            if stanza.split(|&byte| byte == b'\n').any(|line| line == head.as_bytes()) {
                return Some(stanza);
            }
        }
        None
    })
}

/// Reads version and files of a stanza.
fn files(stanza: &[u8], name: &str, suite: &str) -> Result<(String, Vec<LockedPackage>)> {
    let bad = |why: String| Error::new(Kind::Input, format!("the Sources of {suite} cannot be read: {name}: {why}"));
    let parsed = deb822::parse(stanza).map_err(|error| bad(error.to_string()))?;
    let [stanza] = parsed.as_slice() else { return Err(bad("not one stanza".into())) };
    let get = |field: &str| stanza.get(field).map(str::trim).ok_or_else(|| bad(format!("it has no {field}")));
    let (version, folder) = (get("Version")?.to_owned(), get("Directory")?.to_owned());
    Version::parse(&version).map_err(|why| bad(format!("its version: {why}")))?;
    let mut files = Vec::new();
    for line in get("Checksums-Sha256")?.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [sha256, size, file] = words.as_slice() else { return Err(bad(format!("not `hash size name`: {line:?}"))) };
        let size = size.parse().map_err(|_| bad(format!("`{size}` is no size")))?;
        let filename = format!("{folder}/{file}");
        check_relative(&filename)?;
        if !is_sha256(sha256) || file.contains('/') {
            return Err(bad(format!("`{sha256}` is no SHA-256, or `{file}` no file name")));
        }
        files.push(LockedPackage {
            name: name.to_owned(),
            version: version.clone(),
            architecture: "source".to_owned(),
            suite: suite.to_owned(),
            filename,
            size,
            sha256: sha256.to_ascii_lowercase(),
        });
    }
    files.sort_by(|one, other| one.filename.cmp(&other.filename));
    Ok((version, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: &[u8] =
        b"Package: xena\nVersion: 9\n\nPackage: xen\nBinary: a,\n b\nVersion: 1-1\nDirectory: pool/x\n\
        Checksums-Sha256:\n 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef 12 xen_1.dsc\n\n\
        Package: other\nVersion: 2\n";

    #[test]
    fn a_stanza_gives_version_and_files() {
        let found: Vec<&[u8]> = stanzas(SOURCES, "xen").collect();
        assert_eq!(found.len(), 1);
        let (version, files) = files(found[0], "xen", "bookworm").unwrap();
        assert_eq!((version.as_str(), files[0].filename.as_str(), files[0].size), ("1-1", "pool/x/xen_1.dsc", 12));
        assert_eq!(stanzas(SOURCES, "none").count(), 0);
    }

    #[test]
    fn hostile_stanzas_are_refused() {
        let text = String::from_utf8(stanzas(SOURCES, "xen").next().unwrap().to_vec()).unwrap();
        for (from, to, says) in [
            ("pool/x", "../x", "outside of it"),
            ("xen_1.dsc", "../xen_1.dsc", "outside of it"),
            (" 12 ", " x ", "no size"),
            ("0123456789abcdef0", "x", "no SHA-256"),
            ("Version: 1-1", "Version: 1_1", "its version"),
            ("Directory", "Folder", "no Directory"),
        ] {
            let error = files(text.replacen(from, to, 1).as_bytes(), "xen", "s").unwrap_err().to_string();
            assert!(error.contains(says), "{from} -> {to}: {error}");
        }
    }
}
