//! The user's configuration: `$XDG_CONFIG_HOME/xenbuild/config.toml`, or `~/.config/xenbuild/config.toml`.
//!
//! ```toml
//! [packages]
//! mirror = "https://mirror.example/debian bookworm-security=https://mirror.example/debian-security"
//! keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
//! check-dates = true
//!
//! [cache]
//! limit = "20GiB"
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// What the user has set for all recipes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// `[packages]`.
    pub packages: Packages,
    /// `[cache]`.
    pub cache: Cache,
}

/// `[packages]`: where Debian packages come from, when a recipe does not say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Packages {
    /// Mirror for all suites, or `SUITE=MIRROR`, with blanks between them.
    pub mirror: Option<String>,
    /// OpenPGP keyring.
    pub keyring: Option<PathBuf>,
    /// `false` takes expired indices, and some from the future.
    pub check_dates: Option<bool>,
}

/// `[cache]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Cache {
    /// Largest size of an output folder's cache: `20GiB`.
    pub limit: Option<String>,
}

impl Config {
    /// Reads the user's configuration; without a file everything is unset.
    pub fn load() -> Result<Config> {
        path().map_or_else(|| Ok(Config::default()), |path| Config::read(&path))
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`Kind::Usage`], with line and column, if it is not what it should be.
    pub fn read(path: &Path) -> Result<Config> {
        let name = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) => return Err(Error::io(format!("cannot read {name}"), error)),
        };
        let config: Config = toml::from_str(&text)
            .map_err(|error| Error::new(Kind::Usage, format!("{name}: {}", error.to_string().trim_end())))?;
        config.cache_limit_bytes().map_err(|error| error.context(name))?;
        Ok(config)
    }

    /// Returns the cache's limit in bytes.
    pub fn cache_limit_bytes(&self) -> Result<Option<u64>> {
        let parse = |text: &String| {
            parse_size(text).ok_or_else(|| {
                Error::new(Kind::Usage, format!("cache.limit: `{text}` is no size"))
                    .hint("a size is a number and KiB, MiB, GiB or TiB: 20GiB")
            })
        };
        self.cache.limit.as_ref().map(parse).transpose()
    }
}

/// Returns where the configuration is, if it can be anywhere.
pub fn path() -> Option<PathBuf> {
    // The XDG Base Directory Specification: a relative path is invalid and to be ignored.
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(base.join("xenbuild/config.toml"))
}

/// Reads a size: a number and `KiB`, `MiB`, `GiB` or `TiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let shift = match text[digits.len()..].trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn everything_is_optional() {
        assert_eq!(Config::read(Path::new("/nonexistent/config.toml")).unwrap(), Config::default());
        assert_eq!(read("").unwrap(), Config::default());
        let config = read("[packages]\nmirror = \"/srv\"\ncheck-dates = false\n[cache]\nlimit = \"2 GiB\"\n").unwrap();
        assert_eq!(config.packages.mirror.as_deref(), Some("/srv"));
        assert_eq!(config.packages.check_dates, Some(false));
        assert_eq!(config.cache_limit_bytes().unwrap(), Some(2 << 30));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let error = read("[packages]\nmirrors = \"x\"\n").unwrap_err();
        assert!(error.message.contains("line 2") && error.message.contains("mirrors"), "{error}");
        assert!(read("[cache]\nlimit = \"much\"\n").unwrap_err().message.contains("`much` is no size"));
        assert!(read("[cache]\nlimit = \"99999999999TiB\"\n").is_err());
    }
}
