//! Compares a folder with its own manifest: every file's size and content, the checksums, the block maps, and that
//! nothing else is there but what a build or a run leaves without vouching for it: a few names, whatever they hold,
//! counted and not looked at. Needs neither recipe nor cache, and believes no name that it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use imagegen::disk::bmap;
use rustix::fs::OFlags;
use serde::Serialize;
use sha2::Digest as _;

use super::{Delivered, Document, MANIFEST, SERIAL_LOG, SERIAL_LOG_BEFORE, SUMS, SUMS_BYTES_MAX};
use super::{read, read_if_there, sums};
use crate::error::{Error, Kind, Result};
use crate::plan::Role;
use crate::step::Digest;
use crate::task::Cancel;

/// What xenbuild itself leaves beside artifacts and vouches for in no list: its own notes, logs of runs, what guests wrote.
const PASSED_OVER: [&str; 4] = [".state", SERIAL_LOG, SERIAL_LOG_BEFORE, "overlay"];
/// How a block map is called: its image's name and this.
const BMAP_END: &str = ".bmap";
/// How much is read between two looks at the cancel flag.
const CHUNK_BYTES: usize = 1 << 20;
/// So many things that are wrong are told one by one; a folder of a million strange files is wrong in any case.
const FINDINGS_MAX: usize = 10_000;

/// What a folder turned out to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The recipe's name, if there is a manifest.
    pub recipe: Option<String>,
    /// Whether the recipe's test passed, if the manifest knows of one.
    pub test_passed: Option<bool>,
    /// How many files were as they should be.
    pub files: usize,
    /// Their length, holes included.
    pub bytes: u64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// What is there, and was not looked at.
    pub passed_over: Vec<String>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub what: What,
    /// The file's name.
    pub name: String,
    /// The same for people.
    pub text: String,
}

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The manifest itself: there is none, or it is not what one is.
    Manifest,
    /// It is listed, and not there.
    Missing,
    /// It is there with another size, content or kind.
    Changed,
    /// It is there, and not listed.
    Extra,
    /// The checksums and the manifest do not list the same.
    NotListed,
    /// It is a block map that does not fit its image.
    Map,
    /// It cannot be read: a matter of this machine.
    Unreadable,
}

/// Verifies a folder.
///
/// # Errors
/// The folder cannot be opened; `cancel` was set.
pub fn verify(folder: &Path, cancel: &Cancel) -> Result<Report> {
    let names = list(folder)?;
    let mut report =
        Report { recipe: None, test_passed: None, files: 0, bytes: 0, findings: Vec::new(), passed_over: Vec::new() };
    let manifest = |text: String| Finding { what: What::Manifest, name: MANIFEST.to_owned(), text };
    match read(folder) {
        Ok(Some(delivered)) => {
            report.recipe = Some(delivered.document.recipe.name.clone());
            report.test_passed = delivered.document.test.as_ref().map(|test| test.passed);
            Verifier { folder, delivered: &delivered, names: &names, cancel }.all(&mut report)?;
        }
        Ok(None) => {
            let text = "is not there: this is no folder of artifacts, or a build has not finished it";
            report.findings.push(manifest(text.to_owned()));
        }
        Err(error) if error.kind == Kind::Input => report.findings.push(manifest(reason(&error, folder))),
        Err(error) => return Err(error),
    }
    report.findings.sort_by(|a, b| (a.what, &a.name).cmp(&(b.what, &b.name)));
    report.findings.truncate(FINDINGS_MAX);
    Ok(report)
}

impl Report {
    /// Returns the error that what was found amounts to.
    ///
    /// # Errors
    /// [`Kind::Input`] if a file is not what it should be, [`Kind::Host`] if some could only not be read.
    pub fn result(&self, folder: &Path) -> Result<()> {
        let count = match self.findings.len() {
            0 => return Ok(()),
            1 => "1 thing is wrong".to_owned(),
            count => format!("{count} things are wrong"),
        };
        let unreadable = self.findings.iter().all(|finding| finding.what == What::Unreadable);
        let kind = if unreadable { Kind::Host } else { Kind::Input };
        Err(Error::new(kind, format!("{} is not what its manifest says: {count}", folder.display())))
    }
}

struct Verifier<'a> {
    folder: &'a Path,
    delivered: &'a Delivered,
    names: &'a BTreeSet<String>,
    cancel: &'a Cancel,
}

/// A file that is there as it should be, or what is wrong with it.
type Looked = Result<u64, Finding>;

impl Verifier<'_> {
    fn all(&self, report: &mut Report) -> Result<()> {
        let document = &self.delivered.document;
        let files = document.files();
        for looked in self.contents(&files)? {
            match looked {
                Ok(bytes) => {
                    report.files += 1;
                    report.bytes += bytes;
                }
                Err(finding) => report.findings.push(finding),
            }
        }
        self.sums(&files, report);
        for artifact in document.artifacts.iter().filter(|artifact| artifact.role == Role::Bmap) {
            let name = artifact.name.as_str();
            let image = name.strip_suffix(BMAP_END).unwrap_or_default();
            // What is not there or has changed was told.
            if report.findings.iter().all(|finding| finding.name != name && finding.name != image) {
                report.findings.extend(self.map(document, name, image)?);
            }
        }
        let listed: BTreeSet<&str> = files.iter().map(|(name, ..)| *name).chain([MANIFEST, SUMS]).collect();
        for name in self.names.iter().filter(|name| !listed.contains(name.as_str())) {
            if PASSED_OVER.contains(&name.as_str()) {
                report.passed_over.push(name.clone());
            } else {
                report.findings.push(finding(What::Extra, name, "is there, and the manifest does not list it"));
            }
        }
        Ok(())
    }

    /// Looks at the content of all files, several at a time.
    fn contents(&self, files: &[(&str, u64, Digest)]) -> Result<Vec<Looked>> {
        let next = AtomicUsize::new(0);
        let looked = Mutex::new(BTreeMap::new());
        let work = || {
            while let Some((name, bytes, sha256)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.content(name, *bytes, *sha256);
                let failed = result.is_err();
                looked.lock().expect("no worker panics").insert(*name, result);
                if failed {
                    return;
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(files.len());
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        looked.into_inner().expect("no worker panics").into_values().collect()
    }

    /// Looks at one file.
    fn content(&self, name: &str, bytes: u64, sha256: Digest) -> Result<Looked> {
        let path = self.folder.join(name);
        let mut file = match open(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Err(finding(What::Changed, name, "is no regular file any more"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err(finding(What::Missing, name, "is missing")));
            }
            Err(error) => return Ok(Err(unreadable(name, &error))),
        };
        let found = match file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => return Ok(Err(unreadable(name, &error))),
        };
        if found != bytes {
            let text = format!("has {found} bytes instead of {bytes}");
            return Ok(Err(Finding { what: What::Changed, name: name.to_owned(), text }));
        }
        Ok(match self.hash(&mut file)? {
            Ok(found) if found == sha256 => Ok(bytes),
            Ok(found) => {
                let text = format!("has another content: its SHA-256 is {found}, not {sha256}");
                Err(Finding { what: What::Changed, name: name.to_owned(), text })
            }
            Err(error) => Err(unreadable(name, &error)),
        })
    }

    fn hash(&self, file: &mut File) -> Result<io::Result<Digest>> {
        use io::Read;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            self.cancel.check()?;
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Ok(Digest(hasher.finalize().into()))),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Compares the checksums with the manifest: the same files, the same digests, and the manifest's own.
    fn sums(&self, files: &[(&str, u64, Digest)], report: &mut Report) {
        let text = match read_if_there(&self.folder.join(SUMS), SUMS_BYTES_MAX) {
            Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Ok(None) => return report.findings.push(finding(What::Missing, SUMS, "is missing")),
            Err(error) => {
                let what = if error.kind == Kind::Input { What::Changed } else { What::Unreadable };
                return report.findings.push(finding(what, SUMS, &reason(&error, self.folder)));
            }
        };
        let mut sums = match sums::parse(&text) {
            Ok(sums) => sums,
            Err(why) => return report.findings.push(finding(What::Changed, SUMS, &why)),
        };
        let manifest = (MANIFEST, self.delivered.sha256);
        for (name, sha256) in files.iter().map(|&(name, _, sha256)| (name, sha256)).chain([manifest]) {
            match sums.remove(name) {
                Some(found) if found == sha256 => {}
                Some(found) if name == MANIFEST => {
                    let text = format!("is not the one that {SUMS} was written with: that has {found}");
                    report.findings.push(Finding { what: What::Changed, name: name.to_owned(), text });
                }
                Some(found) => {
                    let text = format!("is {found} for {SUMS}, and {sha256} for the manifest");
                    report.findings.push(Finding { what: What::NotListed, name: name.to_owned(), text });
                }
                None => report.findings.push(finding(What::NotListed, name, &format!("is not in {SUMS}"))),
            }
        }
        for name in sums.into_keys() {
            report.findings.push(finding(What::NotListed, name, &format!("is in {SUMS}, and not in the manifest")));
        }
    }

    /// Compares a block map with the image that it is called after.
    fn map(&self, document: &Document, name: &str, image: &str) -> Result<Option<Finding>> {
        let wrong = |why: &str| Ok(Some(finding(What::Map, name, why)));
        let Some(artifact) = document.artifacts.iter().find(|artifact| artifact.name.as_str() == image) else {
            return wrong("maps an image that the manifest does not list");
        };
        let bytes = match read_if_there(&self.folder.join(name), bmap::SIZE_MAX as u64) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => return wrong(&reason(&error, self.folder)),
        };
        let map = match bmap::read(&bytes) {
            Ok(map) => map,
            Err(error) => return wrong(&error.to_string()),
        };
        if map.image_bytes != artifact.bytes {
            return wrong(&format!("maps an image of {} bytes, and {image} has {}", map.image_bytes, artifact.bytes));
        }
        let file = match open(&self.folder.join(image)) {
            Ok(Some(file)) => file,
            // That the image is not what it should be was told.
            Ok(None) | Err(_) => return Ok(None),
        };
        let mut buffer = vec![0; CHUNK_BYTES];
        for mapped in &map.mapped {
            let mut hasher = sha2::Sha256::new();
            let mut at = mapped.range.start;
            while at < mapped.range.end {
                self.cancel.check()?;
                let length = usize::try_from(mapped.range.end - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
                if file.read_exact_at(&mut buffer[..length], at).is_err() {
                    return Ok(None);
                }
                hasher.update(&buffer[..length]);
                at += length as u64;
            }
            if mapped.sha256.is_some_and(|wanted| hasher.finalize()[..] != wanted) {
                let range = &mapped.range;
                return wrong(&format!("has another checksum for bytes {}..{} of {image}", range.start, range.end));
            }
        }
        Ok(None)
    }
}

/// Opens a regular file, and nothing that a name might lead to besides: no link is followed, no device or pipe opened.
fn open(path: &Path) -> io::Result<Option<File>> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits() as i32).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Lists a folder's names; one that is no text is shown as well as it can be.
fn list(folder: &Path) -> Result<BTreeSet<String>> {
    let failed = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Kind::Usage,
            _ => Kind::Host,
        };
        Error::new(kind, format!("cannot open the folder {}", folder.display())).caused_by(error)
    };
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let name =
        |entry: io::Result<std::fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(failed)
}

/// Returns the folders right below that have a manifest: what somebody may have meant instead.
pub fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| super::is_complete(path)).collect();
    folders.sort_unstable();
    folders
}

fn finding(what: What, name: &str, text: &str) -> Finding {
    Finding { what, name: name.to_owned(), text: text.to_owned() }
}

fn unreadable(name: &str, error: &io::Error) -> Finding {
    Finding { what: What::Unreadable, name: name.to_owned(), text: format!("cannot be read: {error}") }
}

/// Returns an error's text without the path in front.
fn reason(error: &Error, folder: &Path) -> String {
    let text = error.to_string();
    let below = text.strip_prefix(&format!("{}/", folder.display())).and_then(|text| text.split_once(": "));
    below.map_or(text.clone(), |(_, why)| why.to_owned())
}
