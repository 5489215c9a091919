//! A suite's `Release` file: what is in the suite, as its signed list of indices says.

use std::collections::BTreeMap;

use imagegen::package::deb822;

use crate::error::{Error, Kind, Result};

/// How far the archive's clock may be ahead of ours: what apt allows, and a little more.
const CLOCK_SKEW_S: i64 = 60;

/// A `Release` file, parsed; only its SHA-256 list is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// `Suite`: `oldstable-security`.
    pub suite: Option<String>,
    /// `Codename`: `bookworm-security`.
    pub codename: Option<String>,
    /// `Date`: seconds since 1970.
    pub date: i64,
    /// `Valid-Until`: seconds since 1970.
    pub valid_until: Option<i64>,
    /// `Acquire-By-Hash`: indices can be had under the name of their hash.
    pub by_hash: bool,
    /// `Architectures`.
    pub architectures: Vec<String>,
    /// `Components`, without the folder that security suites put in front (`updates/main`).
    pub components: Vec<String>,
    /// Packages of architecture `all` have an index of their own, and are not in every other one.
    pub separate_all: bool,
    /// The files below `dists/SUITE/`, by path.
    pub files: BTreeMap<String, Entry>,
}

/// One file that a `Release` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its size.
    pub size: u64,
    /// Its SHA-256, in small letters.
    pub sha256: String,
}

impl Release {
    /// Parses the signed text of an `InRelease`.
    pub fn parse(text: &str) -> Result<Release, String> {
        let stanzas = deb822::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        let [stanza] = stanzas.as_slice() else {
            return Err(format!("it has {} stanzas instead of one", stanzas.len()));
        };
        let words =
            |name| stanza.get(name).unwrap_or_default().split_whitespace().map(String::from).collect::<Vec<_>>();
        let is = |name, value| stanza.get(name).is_some_and(|own| own.eq_ignore_ascii_case(value));
        let time = |name: &str| match stanza.get(name) {
            None => Ok(None),
            Some(text) => parse_date(text).map(Some).ok_or(format!("its {name} `{text}` is no date")),
        };
        let architectures = words("Architectures");
        let no_all = words("No-Support-for-Architecture-all").iter().any(|index| index == "Packages");
        let list = stanza.get("SHA256").ok_or("it has no SHA256 section")?;
        Ok(Release {
            suite: stanza.get("Suite").map(String::from),
            codename: stanza.get("Codename").map(String::from),
            date: time("Date")?.ok_or("it has no Date")?,
            valid_until: time("Valid-Until")?,
            by_hash: is("Acquire-By-Hash", "yes"),
            separate_all: architectures.iter().any(|architecture| architecture == "all") && !no_all,
            architectures,
            components: words("Components").iter().map(|name| last_name(name).to_string()).collect(),
            files: list.lines().filter(|line| !line.is_empty()).map(parse_entry).collect::<Result<_, _>>()?,
        })
    }

    /// Checks that this is the suite that was asked for.
    pub fn check_name(&self, asked: &str) -> Result<()> {
        let names: Vec<&str> = self.suite.iter().chain(&self.codename).map(String::as_str).collect();
        match names.contains(&asked) {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Input,
                format!("the mirror's InRelease is of another suite: asked for {asked}, got {}", names.join(" or ")),
            )),
        }
    }

    /// Checks that it is neither from the future nor too old; `now` is in seconds since 1970.
    pub fn check_dates(&self, asked: &str, now: i64) -> Result<()> {
        let clock = "check this machine's clock; XENBUILD_CHECK_DATES=no takes the file nevertheless";
        if self.date > now + CLOCK_SKEW_S {
            let message = format!("the InRelease of {asked} is from the future: {}", show_date(self.date));
            return Err(Error::new(Kind::Input, message).hint(clock));
        }
        match self.valid_until {
            Some(until) if until < now => {
                let message = format!("the InRelease of {asked} has expired: it was valid until {}", show_date(until));
                Err(Error::new(Kind::Input, message)
                    .hint("the mirror is no longer updated, or somebody holds updates back: take another mirror")
                    .hint(clock))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a component and an architecture are there.
    pub fn check_contents(&self, asked: &str, component: &str, architecture: &str) -> Result<()> {
        let missing = |what: &str, name: &str, have: &[String]| {
            Error::new(Kind::Input, format!("suite {asked} has no {what} {name}; it has {}", have.join(", ")))
        };
        if !self.components.iter().any(|own| own == component) {
            return Err(missing("component", component, &self.components));
        }
        if !self.architectures.iter().any(|own| own == architecture) {
            return Err(missing("architecture", architecture, &self.architectures));
        }
        Ok(())
    }
}

fn last_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Parses ` <sha256> <size> <path>`.
fn parse_entry(line: &str) -> Result<(String, Entry), String> {
    let mut words = line.split_whitespace();
    let (Some(sha256), Some(size), Some(path), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(format!("its SHA256 section has a line that is not `hash size path`: {line:?}"));
    };
    if !is_sha256(sha256) {
        return Err(format!("`{sha256}` is no SHA-256"));
    }
    let size = size.parse().map_err(|_| format!("`{size}` is no size"))?;
    Ok((path.to_string(), Entry { size, sha256: sha256.to_ascii_lowercase() }))
}

/// Says whether this is a SHA-256 in hexadecimal digits.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Parses `Sat, 11 Jul 2026 10:16:37 UTC`: the form of RFC 5322, always in UTC.
fn parse_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = text.split_once(',').map_or(text, |(_weekday, rest)| rest);
    let words: Vec<&str> = text.split_whitespace().collect();
    let [day, month, year, time, zone] = words.as_slice() else { return None };
    if !matches!(*zone, "UTC" | "GMT" | "Z" | "+0000" | "-0000") {
        return None;
    }
    let month = MONTHS.iter().position(|name| name == month)?;
    let clock: Vec<i8> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hour, minute, second] = clock.as_slice() else { return None };
    let date = jiff::civil::Date::new(year.parse().ok()?, i8::try_from(month).ok()? + 1, day.parse().ok()?).ok()?;
    let time = jiff::civil::Time::new(*hour, *minute, *second, 0).ok()?;
    Some(date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Writes a time as RFC 3339 does.
pub fn show_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s since 1970"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text() -> String {
        format!(
            "Origin: Debian\nSuite: oldstable-security\nCodename: bookworm-security\n\
             Date: Sat, 21 Nov 2026 00:53:02 UTC\nValid-Until: Sat, 28 Nov 2026 00:53:02 UTC\nAcquire-By-Hash: yes\n\
             Architectures: all amd64 arm64\nComponents: updates/main updates/contrib\n\
             MD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 main/binary-arm64/Packages\n\
             SHA256:\n {HASH}        0 main/binary-arm64/Packages\n"
        )
    }

    #[test]
    fn a_release_says_what_is_in_the_suite() {
        let release = Release::parse(&text()).unwrap();
        assert_eq!(show_date(release.date), "2026-11-21T00:53:02Z");
        assert_eq!(release.components, ["main", "contrib"]);
        assert_eq!((release.by_hash, release.separate_all), (true, true));
        assert_eq!(release.files["main/binary-arm64/Packages"], Entry { size: 0, sha256: HASH.into() });
        let text = text() + "No-Support-for-Architecture-all: Packages\n";
        assert!(!Release::parse(&text).unwrap().separate_all);
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        for (from, to, says) in [
            ("SHA256:", "SHA1:", "no SHA256 section"),
            ("Date: Sat", "Dote: Sat", "no Date"),
            ("00:53:02 UTC\nValid", "00:53:02 CEST\nValid", "is no date"),
            (HASH, "abc", "is no SHA-256"),
            ("        0 main", "        x main", "is no size"),
            ("        0 main", " main", "not `hash size path`"),
        ] {
            let error = Release::parse(&text().replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn names_and_dates_are_checked() {
        let release = Release::parse(&text()).unwrap();
        release.check_name("bookworm-security").unwrap();
        release.check_name("oldstable-security").unwrap();
        assert!(release.check_name("bookworm").unwrap_err().message.contains("asked for bookworm, got"));
        release.check_dates("x", release.date).unwrap();
        release.check_dates("x", release.date - 59).unwrap();
        assert!(release.check_dates("x", release.date - 61).unwrap_err().message.contains("from the future"));
        assert!(release.check_dates("x", release.date + 8 * 86400).unwrap_err().message.contains("has expired"));
        release.check_contents("x", "main", "arm64").unwrap();
        assert!(release.check_contents("x", "universe", "arm64").is_err());
        assert!(release.check_contents("x", "main", "riscv64").is_err());
    }
}
