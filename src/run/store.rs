//! The cache on disk: `out/cache/<key>/` holds a step's outputs, its manifest, and the list that says what is what.
//!
//! ```text
//! out/cache/CACHEDIR.TAG       backup programs leave the folder out
//! out/cache/index              digests of files, see `index.rs`
//! out/cache/limit              the size set by `xenbuild cache --limit`
//! out/cache/<key>/manifest     what the key is the hash of
//! out/cache/<key>/outputs      name, size and digest of every output; its mtime is the time of last use
//! out/cache/<key>/NAME         the outputs, read-only
//! out/cache/partial/SHA256      what a stopped download has left: the next run goes on there
//! out/cache/tmp-<key>-<pid>/   being made; garbage unless that process lives and holds out/.lock
//! ```

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::index::{Index, Look, hash_open};
use crate::error::{Error, Kind, Result};
use crate::file;
use crate::plan::manifest::Manifest;
use crate::step::{Digest, Output, output};
use crate::task::Task;

const OUTPUTS: &str = "outputs";
const MANIFEST: &str = "manifest";
const OUTPUTS_HEAD: &str = "xenbuild-outputs 1";
pub(super) const TEMPORARY: &str = "tmp-";
const PARTIAL: &str = "partial";
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder holds what xenbuild can make again.\n";
/// Last use is noted this coarsely: a build that does nothing should not write to a thousand inodes either.
const USE_GRAIN: Duration = Duration::from_secs(3600);

/// The cache.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

/// An entry that is there, complete and undamaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its folder.
    pub folder: PathBuf,
    /// What is in it, by name in byte order.
    pub outputs: Vec<Output>,
}

/// What a look-up found.
#[derive(Debug)]
pub enum Found {
    /// The entry.
    Entry(Entry),
    /// An entry that is not what it was when it was made; says in what.
    Damaged(String),
    /// Nothing.
    Nothing,
}

impl Store {
    /// Opens the cache of `out`, making both folders where they are missing.
    pub fn open(out: &Path) -> Result<Self> {
        let folder = out.join("cache");
        make_folder(&folder)?;
        let tag = folder.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(&tag, TAG).map_err(|error| output::write_error(&tag, error))?;
            set_mode(&tag, 0o644)?;
        }
        Ok(Store { folder })
    }

    /// Returns the cache of `out` as it is, without making anything.
    pub fn existing(out: &Path) -> Self {
        Store { folder: out.join("cache") }
    }

    /// Returns the cache's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder of downloads that are not whole yet.
    pub fn partial_folder(&self) -> PathBuf {
        self.folder.join(PARTIAL)
    }

    /// Lists downloads that are not whole yet, the one touched last at the end: path, bytes on disk, last use.
    pub fn partial(&self) -> Result<Vec<(PathBuf, u64, SystemTime)>> {
        let folder = self.partial_folder();
        let mut all = Vec::new();
        for name in if folder.is_dir() { names(&folder)? } else { Vec::new() } {
            let path = folder.join(name);
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            all.push((path, metadata.blocks() * 512, used));
        }
        all.sort_by_key(|(_, _, used)| *used);
        Ok(all)
    }

    /// Removes what killed builds left; only the holder of the lock may.
    pub fn remove_stale(&self) -> Result<usize> {
        let mut removed = 0;
        for name in self.names()? {
            if name.starts_with(TEMPORARY) || name.starts_with(".index-") {
                remove(&self.folder.join(name))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Looks for an entry and makes sure that it is what it was when it was made.
    pub fn find(&self, key: Digest, index: &Index, task: &dyn Task) -> Result<Found> {
        let folder = self.folder.join(key.to_string());
        let list = folder.join(OUTPUTS);
        let text = match fs::read_to_string(&list) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => return Ok(Found::Nothing),
            Err(error) => return Ok(Found::Damaged(format!("{OUTPUTS}: {error}"))),
        };
        let Some(outputs) = parse_outputs(&text) else { return Ok(Found::Damaged(format!("{OUTPUTS}: not readable"))) };
        for output in &outputs {
            let path = folder.join(&output.name);
            let damage = match fs::symlink_metadata(&path) {
                Err(error) => Some(error.to_string()),
                Ok(metadata) if !metadata.is_file() => Some("not a regular file".into()),
                Ok(metadata) if metadata.len() != output.size_bytes => {
                    Some(format!("{} bytes instead of {}", metadata.len(), output.size_bytes))
                }
                Ok(_) => match index.digest(&path, task) {
                    Ok(sha256) if sha256 == output.sha256 => None,
                    Ok(_) => Some("its content changed".into()),
                    Err(error) if error.kind == Kind::Interrupted => return Err(error),
                    // What cannot be read is as good as gone.
                    Err(error) => Some(error.to_string()),
                },
            };
            if let Some(damage) = damage {
                return Ok(Found::Damaged(format!("{}: {damage}", output.name)));
            }
        }
        Ok(Found::Entry(Entry { folder, outputs }))
    }

    /// Looks for the entry of a step as [`Store::find`] does; one that is not what the step is known to make is damaged,
    /// however well it agrees with its own list.
    pub fn find_known(&self, key: Digest, known: Option<&Output>, index: &Index, task: &dyn Task) -> Result<Found> {
        match (self.find(key, index, task)?, known) {
            (Found::Entry(entry), Some(known)) if entry.outputs != [known.clone()] => {
                Ok(Found::Damaged(format!("{}: not what it is known to be", known.name)))
            }
            (found, _) => Ok(found),
        }
    }

    /// Notes that an entry was used; that is not worth an error.
    pub fn touch(&self, entry: &Entry) {
        let list = entry.folder.join(OUTPUTS);
        let now = SystemTime::now();
        let old = fs::metadata(&list).and_then(|metadata| metadata.modified());
        if old.is_ok_and(|old| now.duration_since(old).is_ok_and(|age| age > USE_GRAIN)) {
            let _ = File::open(&list).and_then(|file| file.set_modified(now));
        }
    }

    /// Begins an entry: an empty folder that vanishes again unless it is committed.
    pub fn draft(&self, key: Digest) -> Result<Draft> {
        let folder = self.folder.join(format!("{TEMPORARY}{key}-{}", std::process::id()));
        if folder.exists() {
            remove(&folder)?;
        }
        make_folder(&folder)?;
        Ok(Draft { folder, committed: false })
    }

    /// Hashes, fixes, syncs and names what a step has put into its draft.
    pub fn commit(&self, mut draft: Draft, manifest: &Manifest, index: &Index, task: &dyn Task) -> Result<Entry> {
        let key = manifest.key();
        let target = self.folder.join(key.to_string());
        let mut outputs = Vec::new();
        let mut looks = Vec::new();
        for name in names(&draft.folder)? {
            let path = draft.folder.join(&name);
            let (output, look) = seal(&path, name, task)?;
            outputs.push(output);
            looks.push(look);
        }
        if outputs.is_empty() {
            return Err(Error::new(Kind::Internal, "the step made nothing"));
        }
        for (name, text) in [(MANIFEST, manifest.to_string()), (OUTPUTS, write_outputs(&outputs))] {
            let path = draft.folder.join(name);
            output::write(&path, text.as_bytes())?;
            set_mode(&path, 0o444)?;
            sync(&path)?;
        }
        sync(&draft.folder)?;
        task.cancel().check()?;
        fs::rename(&draft.folder, &target)
            .map_err(|error| Error::io(format!("cannot put {} in place", target.display()), error))?;
        draft.committed = true;
        sync(&self.folder)?;
        for (output, look) in outputs.iter().zip(looks) {
            index.record_own(&target.join(&output.name), look, output.sha256);
        }
        Ok(Entry { folder: target, outputs })
    }

    /// Removes an entry.
    pub fn remove(&self, key: Digest, index: &Index) -> Result<()> {
        let folder = self.folder.join(key.to_string());
        index.forget_below(&folder);
        if !folder.exists() {
            return Ok(());
        }
        // Under another name first, so that a removal cut short is never taken for an entry.
        let doomed = self.folder.join(format!("{TEMPORARY}{key}-{}-removed", std::process::id()));
        fs::rename(&folder, &doomed)
            .map_err(|error| Error::io(format!("cannot remove {}", folder.display()), error))?;
        remove(&doomed)
    }

    /// Lists all entries: key, bytes on disk, last use.
    pub fn entries(&self) -> Result<Vec<(Digest, u64, SystemTime)>> {
        let mut entries = Vec::new();
        for name in self.names()? {
            let Some(key) = Digest::from_hex(&name) else { continue };
            let folder = self.folder.join(&name);
            let mut bytes = 0;
            let mut used = SystemTime::UNIX_EPOCH;
            for file in names(&folder)? {
                let Ok(metadata) = fs::symlink_metadata(folder.join(&file)) else { continue };
                bytes += metadata.blocks() * 512;
                if file == OUTPUTS {
                    used = metadata.modified().unwrap_or(used);
                }
            }
            entries.push((key, bytes, used));
        }
        Ok(entries)
    }

    /// Returns the manifest of an entry.
    pub fn manifest(&self, key: Digest) -> Option<Manifest> {
        Manifest::parse(&fs::read_to_string(self.folder.join(key.to_string()).join(MANIFEST)).ok()?)
    }

    fn names(&self) -> Result<Vec<String>> {
        if self.folder.exists() { names(&self.folder) } else { Ok(Vec::new()) }
    }
}

/// An entry being made.
#[derive(Debug)]
pub struct Draft {
    /// Where the step writes.
    pub folder: PathBuf,
    committed: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.committed {
            let _ = remove(&self.folder);
        }
    }
}

/// Fixes an output's mode, hashes it and makes sure that it is on the disk.
fn seal(path: &Path, name: String, task: &dyn Task) -> Result<(Output, Look)> {
    if name == OUTPUTS || name == MANIFEST {
        return Err(Error::new(Kind::Internal, format!("an output cannot be called {name}")));
    }
    let failed = |error| Error::io(format!("cannot finish {}", path.display()), error);
    if !fs::symlink_metadata(path).map_err(failed)?.is_file() {
        return Err(Error::new(Kind::Internal, format!("{name}: an output must be a regular file")));
    }
    let mut file = File::options().read(true).write(true).open(path).map_err(failed)?;
    // Starts the way to the disk before the hash, which takes as long; some file systems say only here that they
    // are full.
    file.sync_data().map_err(failed)?;
    let sha256 = hash_open(&mut file, path, task)?;
    file.set_permissions(Permissions::from_mode(0o444)).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    let look = Look::of(&file.metadata().map_err(failed)?);
    Ok((Output { name, size_bytes: look.size_bytes, sha256 }, look))
}

fn write_outputs(outputs: &[Output]) -> String {
    let mut text = format!("{OUTPUTS_HEAD}\n");
    for Output { name, size_bytes, sha256 } in outputs {
        text.push_str(&format!("{sha256} {size_bytes} {name}\n"));
    }
    text
}

fn parse_outputs(text: &str) -> Option<Vec<Output>> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next() != Some(OUTPUTS_HEAD) {
        return None;
    }
    let output = |line: &str| {
        let mut fields = line.splitn(3, ' ');
        let sha256 = Digest::from_hex(fields.next()?)?;
        let size_bytes = fields.next()?.parse().ok()?;
        let name = fields.next().filter(|name| !name.is_empty() && !name.contains('/'))?.to_owned();
        Some(Output { name, size_bytes, sha256 })
    };
    let outputs: Vec<Output> = lines.map(output).collect::<Option<_>>()?;
    (!outputs.is_empty()).then_some(outputs)
}

/// Makes a folder, and those above it, with a mode that the umask does not decide.
pub fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = |error| Error::io(format!("cannot make the folder {}", path.display()), error);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed)?;
    set_mode(path, 0o755)
}

/// Removes a file or a folder with all in it.
pub fn remove(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Sets a file's mode.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| Error::io(format!("cannot set the mode of {}", path.display()), error))
}

/// Waits until a file or folder is on the disk.
pub fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::io(format!("cannot sync {}", path.display()), error))
}

/// Replaces a small file in one step.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    file::replace(path, bytes, 0o644).map_err(|error| output::write_error(path, error))
}

/// Lists a folder's names in byte order.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io(format!("cannot list {}", folder.display()), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.push(
            name.into_string().map_err(|name| {
                Error::new(Kind::Host, format!("{}: {name:?} is none of our names", folder.display()))
            })?,
        );
    }
    names.sort_unstable();
    Ok(names)
}
