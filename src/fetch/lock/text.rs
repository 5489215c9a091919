//! The lock file's text: written by hand so that it stays in one order, read strictly.

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::{Lock, LockedPackage, LockedSource, LockedSuite, Selection};
use crate::error::{Error, Kind, Result};
use crate::fetch::release::{is_sha256, show_date};
use crate::fetch::request::{Closure, Request};
use crate::fetch::url::check_relative;

/// The version of the format.
const VERSION: i64 = 1;
/// A lock of all of Debian has 40 MB.
const LARGEST_BYTES: u64 = 64 << 20;
const HEAD: &str = "# Every package of this recipe, with version and hash: written by xenbuild, to be kept with the recipe.\n\
                    # `xenbuild lock --update RECIPE` renews it.\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLock {
    #[serde(rename = "version")]
    _version: i64,
    architecture: String,
    components: Vec<String>,
    #[serde(default)]
    suite: Vec<RawSuite>,
    #[serde(default)]
    selection: Vec<RawSelection>,
    #[serde(default)]
    package: Vec<RawPackage>,
    #[serde(default)]
    debian_source: Vec<RawDebianSource>,
    #[serde(default)]
    git: Vec<RawGit>,
    #[serde(default)]
    url: Vec<RawUrl>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawDebianSource {
    request: String,
    name: String,
    version: String,
    suite: String,
    files: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawFile {
    filename: String,
    size: u64,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawGit {
    url: String,
    revision: String,
    commit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawUrl {
    url: String,
    sha256: String,
    size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSuite {
    name: String,
    date: String,
    in_release_sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSelection {
    names: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    same_version: bool,
    packages: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPackage {
    name: String,
    version: String,
    architecture: String,
    suite: String,
    filename: String,
    size: u64,
    sha256: String,
}

/// Reads a lock file; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Lock>> {
    let name = path.display();
    let fail = |error| Error::io(format!("cannot read {name}"), error);
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let bad = |why: String| {
        Error::new(Kind::Input, format!("{name}: {}", why.trim_end()))
            .hint("a lock file is not for editing: delete it, and it is written anew")
    };
    if size > LARGEST_BYTES {
        return Err(bad(format!("{size} bytes are too many for a lock file")));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    parse(&text).map(Some).map_err(bad)
}

/// Parses a lock file and checks all that a build relies on.
fn parse(text: &str) -> Result<Lock, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    match table.get("version").and_then(toml::Value::as_integer) {
        Some(VERSION) => {}
        Some(other) => return Err(format!("its format has version {other}; this xenbuild knows {VERSION}")),
        None => return Err("it has no version".into()),
    }
    let raw: RawLock = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut lock = Lock { architecture: raw.architecture, components: raw.components, ..Lock::default() };
    for RawSuite { name, date, in_release_sha256 } in raw.suite {
        let time: jiff::Timestamp = date.parse().map_err(|_| format!("suite {name}: `{date}` is no date"))?;
        lock.suites.push(LockedSuite { name, date: time.as_second(), in_release_sha256 });
    }
    for package in raw.package {
        lock.packages.push(parse_package(package, &lock)?);
    }
    lock.packages.sort();
    if let Some(pair) =
        lock.packages.windows(2).find(|pair| (&pair[0].name, &pair[0].version) == (&pair[1].name, &pair[1].version))
    {
        return Err(format!("package {} {} is there twice", pair[0].name, pair[0].version));
    }
    for selection in raw.selection {
        lock.selections.push(parse_selection(selection, &lock)?);
    }
    lock.selections.sort();
    for RawDebianSource { request, name, version, suite, files } in raw.debian_source {
        let file = |file: RawFile| {
            let RawFile { filename, size, sha256 } = file;
            let (name, version, suite) = (name.clone(), version.clone(), suite.clone());
            let architecture = "source".to_owned();
            check_package(RawPackage { name, version, architecture, suite, filename, size, sha256 })
        };
        let files = files.into_iter().map(file).collect::<Result<_, _>>()?;
        lock.sources.push(LockedSource::Debian { request, files });
    }
    for RawGit { url, revision, commit } in raw.git {
        if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("git {url}: `{commit}` is no commit"));
        }
        lock.sources.push(LockedSource::Git { url, revision, commit: commit.to_ascii_lowercase() });
    }
    for RawUrl { url, sha256, size } in raw.url {
        if !is_sha256(&sha256) {
            return Err(format!("url {url}: `{sha256}` is no SHA-256"));
        }
        lock.sources.push(LockedSource::Url { url, sha256: sha256.to_ascii_lowercase(), size });
    }
    lock.sources.sort();
    Ok(lock)
}

fn parse_package(raw: RawPackage, lock: &Lock) -> Result<LockedPackage, String> {
    let package = check_package(raw)?;
    if !lock.suites.iter().any(|own| own.name == package.suite) {
        let LockedPackage { name, version, suite, .. } = package;
        return Err(format!("package {name} {version}: the suite {suite} is not in the lock"));
    }
    Ok(package)
}

fn check_package(raw: RawPackage) -> Result<LockedPackage, String> {
    let RawPackage { name, version, architecture, suite, filename, size, sha256 } = raw;
    let bad = |why: String| Err(format!("package {name} {version}: {why}"));
    if !is_word(&name) || !is_word(&version) {
        return bad("that is no name and version".into());
    }
    if !is_sha256(&sha256) {
        return bad(format!("`{sha256}` is no SHA-256"));
    }
    if let Err(error) = check_relative(&filename) {
        return bad(error.message);
    }
    let sha256 = sha256.to_ascii_lowercase();
    Ok(LockedPackage { name, version, architecture, suite, filename, size, sha256 })
}

fn parse_selection(raw: RawSelection, lock: &Lock) -> Result<Selection, String> {
    let mut request = Request::new(raw.names, raw.without);
    if raw.same_version {
        request.closure = Closure::SameVersion;
    }
    let names = lock.by_name();
    let find = |entry: &String| {
        let (name, version) =
            entry.split_once('=').map_or((entry.as_str(), None), |(name, version)| (name, Some(version)));
        let found = names.get(name).map(Vec::as_slice).unwrap_or_default();
        let found = found.iter().filter(|package| version.is_none_or(|version| package.version == version));
        match found.collect::<Vec<_>>().as_slice() {
            [package] => Ok((package.name.clone(), package.version.clone())),
            [] => Err(format!("the selection of {} names {entry}, which is not in the lock", request.names.join(", "))),
            _ => {
                Err(format!("the selection of {} names {entry}, of which there are several", request.names.join(", ")))
            }
        }
    };
    let packages = raw.packages.iter().map(find).collect::<Result<_, _>>()?;
    Ok(Selection { request, packages })
}

/// Package names, versions and such: what Debian allows in them needs no quoting anywhere.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.~:_".contains(c))
}

/// Renders the lock file.
pub fn render(lock: &Lock) -> String {
    let mut text = format!("{HEAD}version = {VERSION}\narchitecture = {}\n", quote(&lock.architecture));
    // Writing into a String cannot fail, here and below.
    let _ = writeln!(text, "components = {}", list(&lock.components));
    for suite in &lock.suites {
        let _ = write!(
            text,
            "\n[[suite]]\nname = {}\ndate = {}\nin-release-sha256 = {}\n",
            quote(&suite.name),
            quote(&show_date(suite.date)),
            quote(&suite.in_release_sha256)
        );
    }
    let names = lock.by_name();
    for Selection { request, packages } in &lock.selections {
        let _ = writeln!(text, "\n[[selection]]\nnames = {}", list(&request.names));
        if !request.without.is_empty() {
            let _ = writeln!(text, "without = {}", list(&request.without));
        }
        if request.closure == Closure::SameVersion {
            text.push_str("same-version = true\n");
        }
        text.push_str("packages = [\n");
        for (name, version) in packages {
            let alone = names.get(name.as_str()).is_some_and(|versions| versions.len() == 1);
            let entry = if alone { name.clone() } else { format!("{name}={version}") };
            let _ = writeln!(text, "  {},", quote(&entry));
        }
        text.push_str("]\n");
    }
    for package in &lock.packages {
        let LockedPackage { name, version, architecture, suite, filename, size, sha256 } = package;
        text.push_str("\n[[package]]\n");
        for (key, value) in [("name", name), ("version", version), ("architecture", architecture), ("suite", suite)] {
            let _ = writeln!(text, "{key} = {}", quote(value));
        }
        let _ = writeln!(text, "filename = {}\nsize = {size}\nsha256 = {}", quote(filename), quote(sha256));
    }
    for source in &lock.sources {
        render_source(&mut text, source);
    }
    text
}

fn render_source(text: &mut String, source: &LockedSource) {
    // Writing into a String cannot fail.
    let _ = match source {
        LockedSource::Debian { request, files } => {
            let first = files.first();
            let of = |get: fn(&LockedPackage) -> &String| quote(first.map_or("", |file| get(file)));
            let _ =
                writeln!(text, "\n[[debian-source]]\nrequest = {}\nname = {}", quote(request), of(|file| &file.name));
            let _ =
                writeln!(text, "version = {}\nsuite = {}\nfiles = [", of(|file| &file.version), of(|file| &file.suite));
            for LockedPackage { filename, size, sha256, .. } in files {
                let (filename, sha256) = (quote(filename), quote(sha256));
                let _ = writeln!(text, "  {{ filename = {filename}, size = {size}, sha256 = {sha256} }},");
            }
            writeln!(text, "]")
        }
        LockedSource::Git { url, revision, commit } => {
            let (url, revision) = (quote(url), quote(revision));
            writeln!(text, "\n[[git]]\nurl = {url}\nrevision = {revision}\ncommit = {}", quote(commit))
        }
        LockedSource::Url { url, sha256, size } => {
            writeln!(text, "\n[[url]]\nurl = {}\nsha256 = {}\nsize = {size}", quote(url), quote(sha256))
        }
    };
}

/// Quotes as TOML does.
fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> LockedPackage {
        LockedPackage {
            name: name.into(),
            version: version.into(),
            architecture: "arm64".into(),
            suite: "bookworm".into(),
            filename: format!("pool/main/x/{name}_{version}_arm64.deb"),
            size: 1234,
            sha256: "0123456789abcdef".repeat(4),
        }
    }

    fn lock() -> Lock {
        let selected = |names: &[(&str, &str)]| {
            names.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect()
        };
        Lock {
            architecture: "arm64".into(),
            components: vec!["main".into()],
            suites: vec![LockedSuite {
                name: "bookworm".into(),
                date: 1_783_764_997,
                in_release_sha256: "ab".repeat(32),
            }],
            packages: vec![package("a", "1"), package("a", "2"), package("b", "1:1~x")],
            selections: vec![
                Selection { request: Request::same_version("a"), packages: selected(&[("a", "1")]) },
                Selection {
                    request: Request::new(["b".to_string(), "a=2".into()], ["c".into()]),
                    packages: selected(&[("b", "1:1~x"), ("a", "2")]),
                },
            ],
            sources: vec![
                LockedSource::Debian {
                    request: "xen/bookworm".into(),
                    files: vec![LockedPackage { architecture: "source".into(), ..package("xen", "4-1") }],
                },
                LockedSource::Git { url: "../linux".into(), revision: "v6.1".into(), commit: "ab".repeat(20) },
                LockedSource::Url { url: "file".into(), sha256: "cd".repeat(32), size: 3 },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let lock = lock();
        let text = render(&lock);
        assert_eq!(parse(&text).unwrap(), lock);
        assert!(text.contains("date = \"2026-07-11T10:16:37Z\""), "{text}");
        assert!(text.contains("packages = [\n  \"b\",\n  \"a=2\",\n]"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.lock");
        assert_eq!(Lock::read(&path).unwrap(), None);
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), Some(lock));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn hostile_locks_are_refused() {
        let text = render(&lock());
        for (from, to, says) in [
            ("version = 1\n", "version = 2\n", "version 2; this xenbuild knows 1"),
            ("version = 1\n", "", "no version"),
            ("pool/main/x/a_1_", "../../x/a_1_", "outside of it"),
            ("pool/main/x/a_1_", "/etc/a_1_", "outside of it"),
            ("0123456789abcdef", "0123456789abcdeg", "no SHA-256"),
            ("suite = \"bookworm\"", "suite = \"sid\"", "not in the lock"),
            ("  \"b\",", "  \"x\",", "names x, which is not in the lock"),
            ("  \"a=2\",", "  \"a\",", "of which there are several"),
            ("name = \"b\"", "name = \"b/../c\"", "no name and version"),
            ("version = \"2\"", "version = \"1\"", "there twice"),
            ("architecture = \"arm64\"\nsuite", "arch = \"arm64\"\nsuite", "unknown field `arch`"),
            ("2026-07-11T", "yesterday", "is no date"),
            ("commit = \"abab", "commit = \"HEAD", "is no commit"),
            ("pool/main/x/xen_4-1", "../x", "outside of it"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = parse(&text.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(says), "{from} -> {to}: {error}");
        }
    }
}
