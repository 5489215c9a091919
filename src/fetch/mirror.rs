//! Decides, for each suite, which archive it comes from and whose keys must have signed it.
//!
//! The recipe is asked first, then the environment, the user's configuration, and the host's apt sources.

use std::path::{Path, PathBuf};

use super::http::{Patience, Proxies};
use super::signature::Keyring;
use super::sources::{self, SignedBy, Source};
use super::url::{Base, check_relative};
use crate::config::{self, Config};
use crate::error::{Error, Kind, Result};
use crate::recipe::Packages;

/// Where Debian's own keys are, on hosts that have its `debian-archive-keyring`.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// All that decides where packages come from, besides the recipe.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `XENBUILD_MIRROR`: mirror for all suites, or `SUITE=MIRROR`, with blanks between them.
    pub mirror: Option<String>,
    /// `XENBUILD_KEYRING`.
    pub keyring: Option<PathBuf>,
    /// `XENBUILD_CHECK_DATES`.
    pub check_dates: Option<bool>,
    /// The user's configuration.
    pub config: Config,
    /// apt's folder.
    pub apt: PathBuf,
    /// HTTP proxies.
    pub proxies: Proxies,
    /// How to go on after network errors.
    pub patience: Patience,
}

impl Environment {
    /// Reads environment variables and the user's configuration.
    ///
    /// # Errors
    /// [`Kind::Usage`] if one of them is not what it should be.
    pub fn of_host() -> Result<Environment> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let check_dates = match variable("XENBUILD_CHECK_DATES").as_deref().map(str::trim) {
            None => None,
            Some("yes" | "true" | "1") => Some(true),
            Some("no" | "false" | "0") => Some(false),
            Some(other) => {
                let message = format!("XENBUILD_CHECK_DATES is `{other}`, which is neither yes nor no");
                return Err(Error::new(Kind::Usage, message));
            }
        };
        let apt = PathBuf::from("/etc/apt");
        let mut proxies = Proxies::from_environment();
        let (http, https) = sources::proxies(&apt);
        proxies.http = proxies.http.or(http);
        proxies.https = proxies.https.or(https);
        Ok(Environment {
            mirror: variable("XENBUILD_MIRROR"),
            keyring: variable("XENBUILD_KEYRING").map(PathBuf::from),
            check_dates,
            config: Config::load()?,
            apt,
            proxies,
            patience: Patience::default(),
        })
    }
}

/// Where one suite comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    /// The suite.
    pub suite: String,
    /// The archive.
    pub base: Base,
    /// Whose signature its `InRelease` must bear.
    pub keys: Keys,
    /// Refuse it when it is expired, or from the future.
    pub check_dates: bool,
}

/// Where the keys are that may sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keys {
    /// In this file.
    File(PathBuf),
    /// As an apt source says; without files, in Debian's keyring or those that apt trusts.
    Source(SignedBy, PathBuf),
}

/// Decides about every suite of a recipe; touches no network.
pub fn choose(packages: &Packages, recipe_folder: &Path, environment: &Environment) -> Result<Vec<Mirror>> {
    let sources = sources::read(&environment.apt);
    packages.suites.iter().map(|suite| choose_one(suite, packages, recipe_folder, environment, &sources)).collect()
}

fn choose_one(
    suite: &str,
    packages: &Packages,
    recipe_folder: &Path,
    environment: &Environment,
    sources: &[Source],
) -> Result<Mirror> {
    check_suite(suite)?;
    let config = &environment.config.packages;
    let base = configured(suite, packages, recipe_folder, environment)?;
    // What apt's source says of keys and expiry is about its own mirror only.
    let source = if base.is_none() { find(sources, suite) } else { None };
    let base = base.or_else(|| source.as_ref().map(|(_, base)| base.clone()));
    let base = base.ok_or_else(|| no_mirror(suite, environment))?;
    let named = packages.keyring.as_ref().map(|keyring| recipe_folder.join(&keyring.value));
    let named = named.or_else(|| environment.keyring.clone()).or_else(|| config.keyring.clone());
    let signed_by = source.as_ref().map(|(source, _)| source.signed_by.clone()).unwrap_or_default();
    let keys = named.map_or_else(|| Keys::Source(signed_by, environment.apt.clone()), Keys::File);
    let apt_checks = source.is_none_or(|(source, _)| !source.ignore_expiry);
    let check_dates = environment.check_dates.or(config.check_dates).unwrap_or(apt_checks);
    Ok(Mirror { suite: suite.to_string(), base, keys, check_dates })
}

/// Asks the recipe, the environment and the configuration, in this order.
fn configured(
    suite: &str,
    packages: &Packages,
    recipe_folder: &Path,
    environment: &Environment,
) -> Result<Option<Base>> {
    let in_recipe = packages.mirror.as_ref().map(|mirror| mirror.value.as_str());
    let in_config = environment.config.packages.mirror.as_deref();
    let settings = [
        (in_recipe, Kind::Recipe, format!("the recipe's {}", name_of(packages))),
        (environment.mirror.as_deref(), Kind::Usage, "XENBUILD_MIRROR".to_string()),
        (in_config, Kind::Usage, format!("packages.mirror in {}", config_path())),
    ];
    for (text, kind, name) in settings {
        let base = text.map(|text| look_up(text, suite, recipe_folder)).transpose();
        let base = base.map_err(|why| Error::new(kind, format!("{name}: {why}")))?;
        if let Some(base) = base.flatten() {
            return Ok(Some(base));
        }
    }
    Ok(None)
}

fn name_of(packages: &Packages) -> &str {
    packages.mirror.as_ref().map_or("packages.mirror", |mirror| mirror.origin.key.as_str())
}

fn config_path() -> String {
    config::path().map_or_else(|| "the user's configuration".into(), |path| path.display().to_string())
}

fn no_mirror(suite: &str, environment: &Environment) -> Error {
    let apt = environment.apt.display();
    Error::new(Kind::Usage, format!("no mirror is known for the suite {suite}: the apt sources in {apt} name none"))
        .hint(format!("set one for this shell: export XENBUILD_MIRROR=URL, or XENBUILD_MIRROR='URL {suite}=URL'"))
        .hint(format!("or for this user: mirror = \"URL\" under [packages] in {}", config_path()))
        .hint("or for this recipe: mirror = \"URL\" under [packages]; a URL is http:, https: or file:")
}

/// Suites become parts of paths and addresses.
fn check_suite(suite: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._~/".contains(c);
    match check_relative(suite).is_ok() && suite.chars().all(allowed) {
        true => Ok(()),
        false => Err(Error::new(Kind::Recipe, format!("`{suite}` is no suite's name"))),
    }
}

/// Finds a suite's mirror in `MIRROR SUITE=MIRROR ...`.
fn look_up(text: &str, suite: &str, folder: &Path) -> Result<Option<Base>, String> {
    let mut general = None;
    for word in text.split_whitespace() {
        let (name, address) = match word.split_once('=') {
            Some((name, address)) if !name.contains([':', '/', '.']) => (Some(name), address),
            _ => (None, word),
        };
        let relative = address.starts_with("./") || address.starts_with("../") || matches!(address, "." | "..");
        let base = match relative {
            true => Base::Folder(folder.join(address)),
            false => Base::parse(address)?,
        };
        match name {
            Some(name) if name == suite => return Ok(Some(base)),
            Some(_) => {}
            None => general = Some(base),
        }
    }
    Ok(general.map(|base| security_sibling(base, suite)))
}

/// Debian keeps its security suites in an archive of their own, which mirrors carry beside the first: of a mirror
/// named for all suites, `.../debian` becomes `.../debian-security` for them, also before a snapshot's time stamp.
fn security_sibling(base: Base, suite: &str) -> Base {
    if !suite.ends_with("-security") {
        return base;
    }
    match &base {
        Base::Folder(folder) if folder.join("dists").join(suite).exists() => base,
        Base::Folder(folder) if folder.file_name().is_some_and(|name| name == "debian") => {
            Base::Folder(folder.with_file_name("debian-security"))
        }
        Base::Folder(_) => base,
        Base::Web(url) => url.with_renamed("debian", "debian-security").map_or(base, Base::Web),
    }
}

/// Finds the source whose archive has a suite: one that names it, else a Debian archive that the host uses for another
/// release, since Debian's archives hold all of them.
fn find<'a>(sources: &'a [Source], suite: &str) -> Option<(&'a Source, Base)> {
    let usable = || sources.iter().filter_map(|source| Some((source, Base::parse(&source.uri).ok()?)));
    let archive = if suite.ends_with("-security") { "/debian-security" } else { "/debian" };
    usable()
        .find(|(source, _)| source.suite == suite)
        .or_else(|| usable().find(|(source, _)| source.uri.trim_end_matches('/').ends_with(archive)))
}

impl Keys {
    /// Reads the keyring.
    ///
    /// # Errors
    /// If a file cannot be read, or there is none at all.
    pub fn read(&self) -> Result<Keyring> {
        let (signed_by, apt) = match self {
            Keys::File(file) => return Keyring::read(file),
            Keys::Source(signed_by, apt) => (signed_by, apt),
        };
        let mut keyring = match (&signed_by.key, signed_by.files.as_slice()) {
            (Some(key), _) => Keyring::parse(key.as_bytes(), "in apt's sources")?,
            (None, []) => read_all(&trusted(apt))?,
            (None, files) => read_all(files)?,
        };
        if !signed_by.fingerprints.is_empty() {
            keyring.retain(&signed_by.fingerprints);
        }
        Ok(keyring)
    }
}

fn read_all(files: &[PathBuf]) -> Result<Keyring> {
    let mut keyring = Keyring::default();
    for file in files {
        keyring.add(Keyring::read(file)?);
    }
    if files.is_empty() {
        return Err(Error::new(Kind::Host, "there is no keyring to verify the archive's signature with")
            .hint("install Debian's: apt install debian-archive-keyring")
            .hint("or name one: XENBUILD_KEYRING=FILE, or keyring = \"FILE\" under [packages] of the recipe"));
    }
    Ok(keyring)
}

/// Returns the keyrings that count where nothing says which: Debian's, or else all that apt trusts.
fn trusted(apt: &Path) -> Vec<PathBuf> {
    if let Some(debian) = KEYRINGS.iter().map(PathBuf::from).find(|path| path.exists()) {
        return vec![debian];
    }
    let entries = std::fs::read_dir(apt.join("trusted.gpg.d")).into_iter().flatten();
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_key = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gpg" || extension == "asc");
    let mut files: Vec<PathBuf> = files.filter(is_key).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Located, Origin};

    fn packages(mirror: Option<&str>) -> Packages {
        let origin = Origin { file: Some(0), span: 0..0, key: "packages.mirror".into() };
        Packages {
            suites: ["bookworm", "bookworm-security"].map(String::from).to_vec(),
            components: vec!["main".into()],
            architecture: "arm64".into(),
            mirror: mirror.map(|value| Located { value: value.into(), origin }),
            keyring: None,
        }
    }

    fn bases(packages: &Packages, environment: &Environment) -> Vec<String> {
        let mirrors = choose(packages, Path::new("/recipes"), environment).unwrap();
        mirrors.iter().map(|mirror| mirror.base.to_string()).collect()
    }

    fn apt(sources: &str) -> (tempfile::TempDir, Environment) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sources.list"), sources).unwrap();
        let environment = Environment { apt: folder.path().into(), ..Environment::default() };
        (folder, environment)
    }

    #[test]
    fn the_recipe_comes_before_environment_configuration_and_host() {
        let (_folder, mut environment) = apt("deb http://apt.test/debian bookworm main\n\
             deb [signed-by=/k.gpg check-valid-until=no] http://apt.test/debian-security bookworm-security main\n");
        let none = packages(None);
        assert_eq!(bases(&none, &environment), ["http://apt.test/debian", "http://apt.test/debian-security"]);
        let security = &choose(&none, Path::new("/"), &environment).unwrap()[1];
        let signed_by = SignedBy { files: vec!["/k.gpg".into()], ..SignedBy::default() };
        assert_eq!(security.keys, Keys::Source(signed_by, environment.apt.clone()));
        assert!(!security.check_dates);

        environment.config.packages.mirror = Some("bookworm=http://config.test/debian".into());
        assert_eq!(bases(&none, &environment), ["http://config.test/debian", "http://apt.test/debian-security"]);
        environment.mirror = Some("http://variable.test/debian/".into());
        assert_eq!(
            bases(&none, &environment),
            ["http://variable.test/debian/", "http://variable.test/debian-security/"]
        );
        let own = packages(Some("/srv/m bookworm-security=file:/srv/s"));
        assert_eq!(bases(&own, &environment), ["/srv/m", "/srv/s"]);
        assert_eq!(bases(&packages(Some("./m")), &environment), ["/recipes/./m", "/recipes/./m"]);
    }

    #[test]
    fn a_snapshot_has_its_security_archive_beside_it() {
        let environment = Environment { apt: "/nonexistent".into(), ..Environment::default() };
        let own = packages(Some("http://u:p@snapshot.test/archive/debian/20260101T000000Z/"));
        let expected = "http://snapshot.test/archive/debian-security/20260101T000000Z/";
        assert_eq!(bases(&own, &environment)[1], expected);
    }

    #[test]
    fn a_host_with_another_release_lends_its_archive() {
        let (_folder, environment) = apt("deb cdrom:[x]/ bookworm main\ndeb http://other.test/ubuntu noble main\n\
             deb http://apt.test/debian/ trixie main\ndeb http://apt.test/debian-security trixie-security main\n");
        assert_eq!(
            bases(&packages(None), &environment),
            ["http://apt.test/debian/", "http://apt.test/debian-security"]
        );
    }

    #[test]
    fn without_any_mirror_the_ways_to_set_one_are_told() {
        let environment = Environment { apt: "/nonexistent".into(), ..Environment::default() };
        let error = choose(&packages(None), Path::new("/"), &environment).unwrap_err();
        assert!(error.message.contains("no mirror is known for the suite bookworm"), "{error}");
        assert_eq!(error.hints.len(), 3);
        let error = choose(&packages(Some("ftp://x/")), Path::new("/"), &environment).unwrap_err();
        assert!(error.message.starts_with("the recipe's packages.mirror: `ftp:`"), "{error}");
        let mut hostile = packages(Some("/srv"));
        hostile.suites = vec!["../../etc".into()];
        assert!(choose(&hostile, Path::new("/"), &environment).is_err());
    }
}
