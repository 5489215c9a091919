//! A suite's indices: `InRelease`, verified; and the `Packages` files that it vouches for.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use imagegen::decompress;
use imagegen::package::index::Index;
use sha2::{Digest, Sha256};

use super::http::{Client, Failed};
use super::mirror::Mirror;
use super::part::{self, Wanted};
use super::release::{Entry, Release, show_date};
use super::signature::{self, Refusal};
use super::url::Place;
use crate::error::{Error, Kind, Result};
use crate::file::{hexadecimal, read_limited};
use crate::task::Task;

/// Debian's largest `InRelease` is a fifth of a megabyte.
const LARGEST_IN_RELEASE_BYTES: u64 = 8 << 20;
/// Debian's largest `Packages` is 60 MB; what a `Release` may make us hold in memory ends here.
const LARGEST_INDEX_BYTES: u64 = 1 << 30;

/// The indices of all suites of a recipe, verified.
#[derive(Default)]
pub struct Indices {
    /// The architecture they are for.
    pub architecture: String,
    /// The components they are of.
    pub components: Vec<String>,
    /// In the recipe's order.
    pub suites: Vec<SuiteIndex>,
    /// All packages; their origin is the suite's name.
    pub index: Index,
}

/// One suite's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuiteIndex {
    /// The suite's name, as the recipe has it.
    pub suite: String,
    /// `Date` of its `Release`: seconds since 1970.
    pub date: i64,
    /// SHA-256 of its `InRelease`.
    pub in_release_sha256: String,
}

impl Indices {
    /// Adds a suite with the texts of its `Packages` files.
    ///
    /// # Errors
    /// [`Kind::Input`], with the line, if one of them is not what it should be.
    pub fn add(&mut self, suite: SuiteIndex, packages: &[Vec<u8>]) -> Result<()> {
        for text in packages {
            self.index.add(&suite.suite, text.as_slice()).map_err(|error| {
                Error::new(Kind::Input, format!("a Packages file of {} cannot be read: {error}", suite.suite))
            })?;
        }
        self.suites.push(suite);
        Ok(())
    }

    /// Names the suites and how old they are.
    pub fn describe(&self) -> String {
        let one = |suite: &SuiteIndex| format!("{} of {}", suite.suite, show_date(suite.date));
        self.suites.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Fetches the indices of one suite.
pub(super) struct Fetcher<'a> {
    pub client: &'a Client,
    pub mirror: &'a Mirror,
    pub components: &'a [String],
    pub architecture: &'a str,
    /// Source packages instead of binary ones.
    pub source: bool,
    /// Where this suite's files are kept.
    pub folder: PathBuf,
    pub offline: bool,
    /// Seconds since 1970.
    pub now: i64,
    pub task: &'a dyn Task,
}

impl Fetcher<'_> {
    /// Fetches and verifies all that is needed.
    pub fn run(&self) -> Result<(SuiteIndex, Vec<Vec<u8>>)> {
        let (bytes, place) = self.in_release()?;
        let release = self.verify(&bytes, &place)?;
        // Kept for work offline, now that it is known to be good.
        part::write_whole(&self.folder.join("InRelease"), &bytes)?;
        let mut packages = Vec::new();
        for component in self.components {
            if self.source {
                packages.push(self.index(&release, component, SOURCES)?);
                continue;
            }
            release.check_contents(&self.mirror.suite, component, self.architecture)?;
            packages.push(self.index(&release, component, &binary(self.architecture))?);
            if release.separate_all && self.choose(&release, component, &binary("all")).is_some() {
                packages.push(self.index(&release, component, &binary("all"))?);
            }
        }
        self.sweep(&release);
        let in_release_sha256 = hexadecimal(&Sha256::digest(&bytes));
        Ok((SuiteIndex { suite: self.mirror.suite.clone(), date: release.date, in_release_sha256 }, packages))
    }

    fn must_not_ask(&self) -> bool {
        self.offline && self.mirror.base.is_remote()
    }

    fn in_dists(&self, path: &str) -> Result<Place> {
        self.mirror.base.join(&format!("dists/{}/{path}", self.mirror.suite))
    }

    /// Gets the suite's `InRelease`, from the cache when offline, and says where it is from.
    fn in_release(&self) -> Result<(Vec<u8>, String)> {
        let suite = &self.mirror.suite;
        let kept = self.folder.join("InRelease");
        if self.must_not_ask() {
            let bytes = std::fs::read(&kept).map_err(|_| {
                Error::new(Kind::Network, format!("offline, and the index of {suite} is not in the cache"))
                    .hint("run once without --offline")
            })?;
            return Ok((bytes, kept.display().to_string()));
        }
        let place = self.in_dists("InRelease")?;
        let missing = || {
            Error::new(
                Kind::Network,
                format!("the mirror {} has no suite {suite}: {place} is not there", self.mirror.base),
            )
            .hint(format!("another mirror may have it: XENBUILD_MIRROR='URL {suite}=URL'"))
        };
        let bytes = match &place {
            Place::Web(url) => self
                .client
                .read(url, LARGEST_IN_RELEASE_BYTES, self.task)
                .map_err(|failed| failed.or_missing(missing))?,
            Place::File(path) => match read_limited(path, LARGEST_IN_RELEASE_BYTES) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
                Err(error) => return Err(Error::io(format!("cannot read {place}"), error)),
            },
        };
        Ok((bytes, place.to_string()))
    }

    /// Verifies the signature, then whether what is signed is what was asked for.
    fn verify(&self, bytes: &[u8], place: &str) -> Result<Release> {
        let suite = &self.mirror.suite;
        let keyring = self.mirror.keys.read()?;
        let signed =
            signature::verify(bytes, &keyring, self.mirror.check_dates.then_some(self.now)).map_err(|refusal| {
                let error =
                    Error::new(Kind::Input, format!("the InRelease of {suite} ({place}) is refused: {refusal}"));
                let error = error.hint(format!("the keyring is {}", keyring.describe()));
                match refusal {
                    Refusal::UnknownKey(_) => {
                        error.hint("a newer debian-archive-keyring may have the key; XENBUILD_KEYRING names a keyring")
                    }
                    _ => error.hint("take another mirror, if this one does not mend itself"),
                }
            })?;
        let release = Release::parse(&signed.text)
            .map_err(|why| Error::new(Kind::Input, format!("the InRelease of {suite} cannot be read: {why}")))?;
        release.check_name(suite)?;
        if self.mirror.check_dates {
            release.check_dates(suite, self.now)?;
        }
        Ok(release)
    }

    /// Chooses the form of an index: the best compression that we read.
    fn choose<'r>(&self, release: &'r Release, component: &str, stem: &str) -> Option<(String, &'r Entry)> {
        ["xz", "zst", "gz", "bz2", ""].iter().find_map(|extension| {
            let dot = if extension.is_empty() { "" } else { "." };
            let path = format!("{component}/{stem}{dot}{extension}");
            let entry = release.files.get(&path)?;
            Some((path, entry))
        })
    }

    /// Gets one index, from the cache if it is there, and unpacks it.
    fn index(&self, release: &Release, component: &str, stem: &str) -> Result<Vec<u8>> {
        let suite = &self.mirror.suite;
        let (path, entry) = self.choose(release, component, stem).ok_or_else(|| {
            let message = format!("suite {suite} lists no {component}/{stem}");
            Error::new(Kind::Input, message)
        })?;
        let kept = self.folder.join(&entry.sha256);
        let wanted = Wanted { name: format!("{path} of {suite}"), size: entry.size, sha256: entry.sha256.clone() };
        self.task.total(entry.size);
        if kept.exists() {
            // A cache that something else has damaged is loaded again.
            match self.unpack(&kept, &path, release, &wanted) {
                Ok(text) => {
                    self.task.advance(entry.size);
                    return Ok(text);
                }
                Err(error) if self.must_not_ask() => return Err(error),
                Err(_) => drop(std::fs::remove_file(&kept)),
            }
        }
        if self.must_not_ask() {
            let message = format!("offline, and {path} of {suite} is not in the cache");
            return Err(Error::new(Kind::Network, message).hint("run once without --offline"));
        }
        self.load(release, &path, &wanted, &kept)?;
        self.unpack(&kept, &path, release, &wanted)
    }

    /// Downloads an index: by its hash where the archive offers that (no race with an update), else by its name.
    fn load(&self, release: &Release, path: &str, wanted: &Wanted, kept: &Path) -> Result<()> {
        let mut places = vec![self.in_dists(path)?];
        if release.by_hash {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            places.insert(0, self.in_dists(&format!("{folder}/by-hash/SHA256/{}", wanted.sha256))?);
        }
        for place in &places {
            let found = match place {
                Place::File(source) => part::copy(source, wanted, kept, self.task)?,
                Place::Web(url) => match self.client.download(url, wanted, kept, part::beside(kept), self.task) {
                    Ok(()) => true,
                    Err(Failed::NotFound) => false,
                    Err(Failed::Error(error)) => return Err(error),
                },
            };
            if found {
                return Ok(());
            }
        }
        Err(Error::new(Kind::Network, format!("the mirror {} lacks {}", self.mirror.base, wanted.name))
            .hint("it may be in the middle of an update: try again later, or take another mirror"))
    }

    /// Unpacks an index, up to the size that the `Release` names, and checks what comes out.
    fn unpack(&self, kept: &Path, path: &str, release: &Release, wanted: &Wanted) -> Result<Vec<u8>> {
        let plain = path.rsplit_once('.').map_or(path, |(plain, _)| plain);
        let plain = release.files.get(plain);
        let limit = plain.map_or(LARGEST_INDEX_BYTES, |plain| plain.size);
        let bad = |why: String| Error::new(Kind::Input, format!("{} cannot be unpacked: {why}", wanted.name));
        if limit > LARGEST_INDEX_BYTES {
            return Err(bad(format!("it would have {limit} bytes")));
        }
        let file = File::open(kept).map_err(|error| Error::io(format!("cannot read {}", kept.display()), error))?;
        let reader = decompress::reader(Box::new(BufReader::new(file))).map_err(|error| bad(error.to_string()))?;
        let mut text = Vec::new();
        reader.take(limit + 1).read_to_end(&mut text).map_err(|error| bad(error.to_string()))?;
        if text.len() as u64 > limit {
            return Err(bad(format!("it has more than the {limit} bytes that the Release names")));
        }
        if let Some(plain) = plain {
            let wanted = Wanted { name: wanted.name.clone(), size: plain.size, sha256: plain.sha256.clone() };
            wanted.check(&hexadecimal(&Sha256::digest(&text)))?;
        }
        Ok(text)
    }

    /// Removes indices that the suite no longer names.
    fn sweep(&self, release: &Release) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hash = name.strip_suffix(".part").unwrap_or(&name);
            let is_hash = super::release::is_sha256(hash);
            if is_hash && !release.files.values().any(|file| file.sha256 == hash) {
                // What cannot be removed only takes room.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The index of source packages, below a component.
const SOURCES: &str = "source/Sources";

/// Returns where the index of an architecture's packages is, below a component.
fn binary(architecture: &str) -> String {
    format!("binary-{architecture}/Packages")
}
