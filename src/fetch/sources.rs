//! The host's apt sources (sources.list(5)): deb822 `.sources` files and one-line `.list` files.
//! Only read to learn where a suite is to be had, and whose keys sign it.

use std::path::{Path, PathBuf};

use imagegen::package::deb822;

/// One place that apt would ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The file that says so.
    pub file: PathBuf,
    /// The archive's base.
    pub uri: String,
    /// The suite.
    pub suite: String,
    /// Whose signature it must bear; empty: anybody's whom apt trusts.
    pub signed_by: SignedBy,
    /// `Check-Valid-Until: no`.
    pub ignore_expiry: bool,
}

/// `Signed-By`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SignedBy {
    /// Keyring files.
    pub files: Vec<PathBuf>,
    /// Fingerprints that the signer must have.
    pub fingerprints: Vec<String>,
    /// An armored key, written into the source itself.
    pub key: Option<String>,
}

/// Reads all sources below apt's folder (`/etc/apt`), in apt's order. Files that cannot be read are passed over: they
/// are apt's business, and a missing mirror is reported by whoever needs it.
pub fn read(apt: &Path) -> Vec<Source> {
    let mut files = vec![apt.join("sources.list")];
    let parts = std::fs::read_dir(apt.join("sources.list.d")).into_iter().flatten();
    let mut parts: Vec<PathBuf> = parts.filter_map(|entry| Some(entry.ok()?.path())).collect();
    parts.sort();
    files.extend(parts);
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().flat_map(|line| parse_line(&file, line))),
            Some("sources") => sources.extend(parse_stanzas(&file, &text)),
            _ => {}
        }
    }
    sources
}

/// Parses `deb [option=value ...] uri suite component...`.
fn parse_line(file: &Path, line: &str) -> Option<Source> {
    let line = line.split_once('#').map_or(line, |(line, _comment)| line).trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    rest = rest.trim_start();
    let mut signed_by = SignedBy::default();
    let mut ignore_expiry = false;
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (options, after) = bracketed.split_once(']')?;
        rest = after;
        for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
            match name {
                "signed-by" => signed_by = parse_signed_by(value),
                "check-valid-until" => ignore_expiry = is_no(value),
                _ => {}
            }
        }
    }
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?.to_string(), words.next()?.to_string());
    Some(Source { file: file.to_path_buf(), uri, suite, signed_by, ignore_expiry })
}

/// Parses a `.sources` file: each stanza is the product of its `URIs` and `Suites`.
fn parse_stanzas(file: &Path, text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for stanza in deb822::parse(text.as_bytes()).unwrap_or_default() {
        let words = |name| stanza.get(name).unwrap_or_default().split_whitespace();
        if !words("Types").any(|word| word == "deb") || stanza.get("Enabled").is_some_and(is_no) {
            continue;
        }
        let signed_by = stanza.get("Signed-By").map(parse_signed_by).unwrap_or_default();
        let ignore_expiry = stanza.get("Check-Valid-Until").is_some_and(is_no);
        for uri in words("URIs") {
            for suite in words("Suites") {
                let (file, signed_by) = (file.to_path_buf(), signed_by.clone());
                sources.push(Source { file, uri: uri.into(), suite: suite.into(), signed_by, ignore_expiry });
            }
        }
    }
    sources
}

/// Reads the proxies that apt is told to use (apt.conf(5)): `Acquire::http::Proxy "URL";`, and the same for https.
///
/// Only settings written in one line are understood, which is how installers and people write this one.
pub fn proxies(apt: &Path) -> (Option<String>, Option<String>) {
    let parts = std::fs::read_dir(apt.join("apt.conf.d")).into_iter().flatten();
    let mut files: Vec<PathBuf> = parts.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.push(apt.join("apt.conf"));
    let (mut http, mut https) = (None, None);
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with('#')) {
            let Some((name, value)) = line.split_once(char::is_whitespace) else { continue };
            let value = value.trim().trim_end_matches(';').trim_matches('"');
            // A later setting replaces an earlier one; `DIRECT` is none.
            let proxy = Some(value).filter(|value| !value.is_empty() && *value != "DIRECT").map(String::from);
            match name.to_ascii_lowercase().as_str() {
                "acquire::http::proxy" => http = proxy,
                "acquire::https::proxy" => https = proxy,
                _ => {}
            }
        }
    }
    (http, https)
}

fn is_no(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "no" | "false" | "0" | "off" | "without")
}

/// Parses `Signed-By`: an armored key, or files and fingerprints between commas or blanks.
fn parse_signed_by(value: &str) -> SignedBy {
    let value = value.trim();
    if value.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        return SignedBy { key: Some(value.to_string()), ..SignedBy::default() };
    }
    let mut signed_by = SignedBy::default();
    for word in value.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()) {
        match word.starts_with('/') {
            true => signed_by.files.push(word.into()),
            // `FINGERPRINT!` means this very key, without its subkeys; we compare keys anyway.
            false => signed_by.fingerprints.push(word.trim_end_matches('!').to_string()),
        }
    }
    signed_by
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn both_formats_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            "sources.list",
            "# comment\n\
             deb http://one.test/debian bookworm main contrib # more\n\
             deb-src http://one.test/debian bookworm main\n\
             deb [arch=amd64 signed-by=/k/a.gpg,/k/b.gpg check-valid-until=no] http://two.test/debian sid main\n\
             debx http://three.test/ x main\n\
             deb [broken http://four.test x\n\
             deb http://five.test\n",
        );
        write(
            folder.path(),
            "sources.list.d/z.sources",
            "Types: deb deb-src\n# comment\nURIs: http://six.test/a\n  http://six.test/b\nSuites: x y\nComponents: main\n\
             Signed-By: 0123456789ABCDEF0123456789ABCDEF01234567!\n\n\
             Types: deb\nEnabled: no\nURIs: http://seven.test\nSuites: x\n\n\
             Types: deb-src\nURIs: http://eight.test\nSuites: x\n\n\
             Types: deb\nURIs: http://nine.test\nSuites: x\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n",
        );
        write(folder.path(), "sources.list.d/a.list.disabled", "deb http://ten.test/ x main\n");
        write(folder.path(), "sources.list.d/b.sources", "no colon here\n");
        let sources = read(folder.path());
        let seen: Vec<_> = sources.iter().map(|source| format!("{} {}", source.uri, source.suite)).collect();
        let expected = [
            "http://one.test/debian bookworm",
            "http://two.test/debian sid",
            "http://six.test/a x",
            "http://six.test/a y",
            "http://six.test/b x",
            "http://six.test/b y",
            "http://nine.test x",
        ];
        assert_eq!(seen, expected);
        assert_eq!(sources[1].signed_by.files, [PathBuf::from("/k/a.gpg"), PathBuf::from("/k/b.gpg")]);
        assert!(sources[1].ignore_expiry && !sources[0].ignore_expiry);
        assert_eq!(sources[2].signed_by.fingerprints, ["0123456789ABCDEF0123456789ABCDEF01234567"]);
        let key = sources[6].signed_by.key.as_deref().unwrap();
        assert!(key.starts_with("-----BEGIN") && key.contains("\n\nabc\n"), "{key:?}");
    }

    #[test]
    fn proxies_are_read_from_apts_own_settings() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(proxies(folder.path()), (None, None));
        write(
            folder.path(),
            "apt.conf.d/01proxy",
            "// x\nAcquire::HTTP::Proxy \"http://p.test:3142\";\n#a\nAcquire::https::Proxy \"DIRECT\";\n",
        );
        assert_eq!(proxies(folder.path()), (Some("http://p.test:3142".into()), None));
        write(folder.path(), "apt.conf", "Acquire::http::Proxy \"http://q.test/\";");
        assert_eq!(proxies(folder.path()).0.as_deref(), Some("http://q.test/"));
    }

    #[test]
    fn a_host_without_apt_has_no_sources() {
        assert_eq!(read(Path::new("/nonexistent/apt")), []);
    }
}
