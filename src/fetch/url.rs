//! Where a mirror is: a web address or a local folder, and the names of files below it.

use std::fmt;
use std::path::PathBuf;

use ureq::http::Uri;

use crate::error::{Error, Kind, Result};

/// The base of an archive: what `dists/` and `pool/` stand in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Base {
    /// `http:` or `https:`.
    Web(Url),
    /// `file:`, `copy:` or a path.
    Folder(PathBuf),
}

/// A file of an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// On the web.
    Web(Url),
    /// In a local folder.
    File(PathBuf),
}

impl Base {
    /// Reads a mirror as people write it: a URL, or the absolute path of a folder.
    pub fn parse(text: &str) -> Result<Base, String> {
        let folder = |path: &str| match path.starts_with('/') {
            true => Ok(Base::Folder(PathBuf::from(path))),
            false => Err(format!("`{text}` is no absolute path")),
        };
        // file:/path, file:///path and file://localhost/path are the same (RFC 8089).
        let path = |rest: &str| match rest.strip_prefix("//") {
            Some(rest) => folder(rest.strip_prefix("localhost").unwrap_or(rest)),
            None => folder(rest),
        };
        match text.split_once(':') {
            Some(("http" | "https", _)) => match Url::parse(text)? {
                url if url.0.query().is_some() => Err(format!("`{text}` has a query; a mirror has none")),
                url => Ok(Base::Web(url)),
            },
            Some(("file" | "copy", rest)) => path(rest),
            _ if text.starts_with('/') => folder(text),
            Some((scheme, _)) => Err(format!("`{scheme}:` is no kind of mirror; http:, https: and file: are")),
            None => Err(format!("`{text}` is neither a URL nor an absolute path")),
        }
    }

    /// Names the file at a relative path below.
    ///
    /// # Errors
    /// Refuses paths that lead elsewhere: absolute ones, `.` and `..`, backslashes and control characters.
    pub fn join(&self, path: &str) -> Result<Place> {
        check_relative(path)?;
        Ok(match self {
            Base::Web(url) => Place::Web(url.below(path)),
            Base::Folder(folder) => Place::File(folder.join(path)),
        })
    }

    /// Says whether reading it needs the network.
    pub fn is_remote(&self) -> bool {
        matches!(self, Base::Web(_))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Base::Web(url) => url.fmt(f),
            Base::Folder(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Web(url) => url.fmt(f),
            Place::File(path) => path.display().fmt(f),
        }
    }
}

/// Checks a path that an index names: relative, and staying below where it starts.
pub fn check_relative(path: &str) -> Result<()> {
    let bad = path.is_empty()
        || path.len() > 4096
        || path.contains(|c: char| c == '\\' || c == '\0' || c.is_control())
        || path.split('/').any(|name| matches!(name, "" | "." | ".."));
    match bad {
        true => Err(Error::new(Kind::Input, format!("the archive names a file outside of it: {path:?}"))),
        false => Ok(()),
    }
}

/// An `http:` or `https:` address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url(Uri);

impl Url {
    /// Reads an absolute address.
    pub fn parse(text: &str) -> Result<Url, String> {
        let uri: Uri = text.parse().map_err(|error| format!("`{text}` is no URL: {error}"))?;
        let scheme = uri.scheme_str();
        if !matches!(scheme, Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(format!("`{text}` is no http: or https: URL"));
        }
        Ok(Url(uri))
    }

    /// Returns it as the HTTP client takes it.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Says whether it is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Returns the host's name or address.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// Returns the address of a checked relative path below this one; what a URL may not hold is percent-encoded.
    fn below(&self, path: &str) -> Url {
        let base = self.0.to_string();
        let base = base.trim_end_matches('/');
        let mut address = format!("{base}/");
        for byte in path.bytes() {
            // RFC 3986, 2.3 and 3.3: unreserved characters, sub-delimiters, `:`, `@`, and the slashes between segments.
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => address.push(byte.into()),
                b'-' | b'.' | b'_' | b'~' | b'+' | b':' | b'@' | b'=' | b',' | b'/' => address.push(byte.into()),
                _ => address.push_str(&format!("%{byte:02X}")),
            }
        }
        // Everything appended is legal in a path, so this parses whenever the base did; it may only be too long.
        Url(address.parse().unwrap_or_else(|_| self.0.clone()))
    }

    /// Returns the address with the last folder of this name called otherwise.
    pub fn with_renamed(&self, name: &str, other: &str) -> Option<Url> {
        let scheme = self.0.scheme_str()?;
        let authority = self.0.authority()?;
        let mut names: Vec<&str> = self.0.path().split('/').collect();
        let at = names.iter().rposition(|own| *own == name)?;
        names[at] = other;
        Url::parse(&format!("{scheme}://{authority}{}", names.join("/"))).ok()
    }

    /// Follows a `Location` header (RFC 9110, 10.2.2): absolute, or relative to this address.
    pub fn follow(&self, location: &str) -> Result<Url, String> {
        let scheme = self.0.scheme_str().unwrap_or("http");
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        let directory = self.0.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        let absolute = match location {
            _ if location.contains("://") => location.to_string(),
            _ if location.starts_with("//") => format!("{scheme}:{location}"),
            _ if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
            _ => format!("{scheme}://{authority}{directory}/{location}"),
        };
        Url::parse(&absolute)
    }
}

impl fmt::Display for Url {
    /// Prints it without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let path = self.0.path_and_query().map_or("", |path| path.as_str());
        write!(f, "{}://{host}{path}", self.0.scheme_str().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_urls_or_absolute_folders() {
        let folder = |path: &str| Ok(Base::Folder(PathBuf::from(path)));
        assert_eq!(Base::parse("/srv/debian"), folder("/srv/debian"));
        assert_eq!(Base::parse("file:/srv/debian"), folder("/srv/debian"));
        assert_eq!(Base::parse("file:///srv/debian"), folder("/srv/debian"));
        assert_eq!(Base::parse("file://localhost/srv/debian"), folder("/srv/debian"));
        assert!(matches!(Base::parse("https://mirror.test/debian/"), Ok(Base::Web(_))));
        for bad in ["", "srv/debian", "cdrom:[x]/", "ftp://mirror.test/", "file:debian", "http://", "http://m.test/?x"]
        {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_below_and_are_encoded() {
        let base = Base::parse("http://user:secret@mirror.test/debian/").unwrap();
        let place = base.join("pool/main/g/g++/g++_4%3a12~1+b 1.deb").unwrap();
        assert_eq!(place.to_string(), "http://mirror.test/debian/pool/main/g/g++/g++_4%253a12~1+b%201.deb");
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a\\b", "a\nb", "a/.."] {
            assert!(base.join(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn redirects_are_absolute_or_relative() {
        let url = Url::parse("http://a.test:81/x/y?q").unwrap();
        let follow = |location| url.follow(location).map(|url| url.to_string());
        assert_eq!(follow("https://b.test/z").unwrap(), "https://b.test/z");
        assert_eq!(follow("//b.test/z").unwrap(), "http://b.test/z");
        assert_eq!(follow("/z").unwrap(), "http://a.test:81/z");
        assert_eq!(follow("z").unwrap(), "http://a.test:81/x/z");
        assert!(follow("file:///etc/passwd").is_err());
        assert!(follow("ftp://b.test/").is_err());
    }
}
