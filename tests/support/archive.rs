//! A Debian archive in a folder, made on the spot and signed with a key made for it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use imagegen::decompress::gzip_writer;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use xenbuild::fetch::Environment;
use xenbuild::fetch::http::{Patience, Proxies};
use xenbuild::recipe::{Located, Origin, Packages};

use crate::key::Key;

/// The suite that most tests use.
pub const SUITE: &str = "bookworm";

/// An archive with one suite.
pub struct Debian {
    folder: TempDir,
    pub key: Key,
    /// Control fields of the packages.
    pub packages: Vec<String>,
    /// Lines of `Release` besides those that every one has.
    pub release: String,
    /// `Date`, as seconds from now.
    pub date_s: i64,
    /// Lists indices by hash.
    pub by_hash: bool,
    /// Further files that `Release` names, by their path below the suite.
    pub extra: Vec<(String, Vec<u8>)>,
    /// Makes a package's bytes from its name and version.
    pub content: fn(&str, &str) -> Vec<u8>,
}

impl Debian {
    pub fn new(packages: &[&str]) -> Debian {
        let packages = packages.iter().map(|fields| fields.to_string()).collect();
        let folder = tempfile::tempdir().unwrap();
        let (key, release) = (Key::new(), String::new());
        let debian =
            Debian { folder, key, packages, release, date_s: -60, by_hash: true, extra: Vec::new(), content: deb };
        debian.publish();
        debian
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn in_release(&self) -> PathBuf {
        self.dists("InRelease")
    }

    pub fn dists(&self, path: &str) -> PathBuf {
        self.folder().join("dists").join(SUITE).join(path)
    }

    /// Writes everything anew; files that are no longer named stay.
    pub fn publish(&self) {
        let mut index = String::new();
        for fields in &self.packages {
            let field = |name: &str| {
                let line = fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                line.unwrap_or_default().to_string()
            };
            let filename = match field("Filename").as_str() {
                "" => format!("pool/{}_{}_{}.deb", field("Package"), field("Version"), field("Architecture")),
                hostile => hostile.to_string(),
            };
            let content = (self.content)(&field("Package"), &field("Version"));
            if !filename.contains("..") {
                write(&self.folder().join(&filename), &content);
            }
            let hash = sha256(&content);
            let own = if fields.contains("Filename: ") { String::new() } else { format!("Filename: {filename}\n") };
            writeln!(index, "{fields}\n{own}Size: {}\nSHA256: {hash}\n", content.len()).unwrap();
        }
        let mut compressed = gzip_writer(Vec::new(), 6);
        compressed.write_all(index.as_bytes()).unwrap();
        let compressed = compressed.finish().unwrap();
        let mut list = String::new();
        for (name, content) in [("Packages", index.as_bytes()), ("Packages.gz", &compressed)] {
            let path = format!("main/binary-arm64/{name}");
            writeln!(list, " {} {} {path}", sha256(content), content.len()).unwrap();
            write(&self.dists(&path), content);
            if self.by_hash {
                write(&self.dists(&format!("main/binary-arm64/by-hash/SHA256/{}", sha256(content))), content);
            }
        }
        for (path, content) in &self.extra {
            writeln!(list, " {} {} {path}", sha256(content), content.len()).unwrap();
            write(&self.dists(path), content);
        }
        let by_hash = if self.by_hash { "Acquire-By-Hash: yes\n" } else { "" };
        let text = format!(
            "Origin: Test\nSuite: oldstable\nCodename: {SUITE}\nDate: {}\n{by_hash}{}Architectures: amd64 arm64\n\
             Components: main\nSHA256:\n{list}",
            date(self.date_s),
            self.release
        );
        write(&self.in_release(), self.key.sign(&text).as_bytes());
    }

    /// An environment that knows this archive's key, and no mirror.
    pub fn environment(&self) -> Environment {
        let keyring = self.folder().join("keyring.gpg");
        write(&keyring, &self.key.keyring());
        Environment {
            keyring: Some(keyring),
            apt: "/nonexistent".into(),
            proxies: Proxies::default(),
            patience: Patience {
                attempts: 3,
                first_wait: std::time::Duration::from_millis(1),
                silence: std::time::Duration::from_secs(5),
            },
            ..Environment::default()
        }
    }
}

/// What a recipe says of packages.
pub fn packages(mirror: &str) -> Packages {
    let origin = Origin { file: Some(0), span: 0..0, key: "packages.mirror".into() };
    Packages {
        suites: vec![SUITE.into()],
        components: vec!["main".into()],
        architecture: "arm64".into(),
        mirror: Some(Located { value: mirror.into(), origin }),
        keyring: None,
    }
}

/// Bytes that stand for a package: what is in them is no business of fetching.
pub fn deb(name: &str, version: &str) -> Vec<u8> {
    let seed = Sha256::digest(format!("{name} {version}"));
    seed.iter().copied().cycle().take(100_000).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Formats a time as `Release` files do: seconds from now.
pub fn date(seconds: i64) -> String {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

pub fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
