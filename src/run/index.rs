//! The digest cache: which content a file had when it looked the way it looks now.
//!
//! As git's index does, size, mtime, ctime and inode only decide what to hash again; identity is always content.
//! Also as in git, a file that changed in the very moment in which it was looked at (or in which the index was
//! written) is "racy": it could change again without looking different, so it is hashed again the next time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::Digest as _;

use crate::error::{Error, Kind, Result};
use crate::step::{Digest, output};
use crate::task::Task;

/// The first line of the file.
const HEAD: &str = "xenbuild-index 1";
/// An index larger than this is not one of ours.
const SIZE_MAX_BYTES: u64 = 256 << 20;
/// A tick of the coarsest clock that file systems stamp with (`HZ=100`), with room.
const TICK: Duration = Duration::from_millis(20);

/// A point in time as `stat` gives it.
type Time = (i64, i64);

/// How a file looks from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the content or the inode.
    pub ctime: Time,
    /// Number of the inode.
    pub inode: u64,
}

impl Look {
    /// Takes the look of a file out of its metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Look {
            size_bytes: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Returns the later of its times.
    fn newest(&self) -> Time {
        self.mtime.max(self.ctime)
    }
}

#[derive(Clone, Copy)]
struct Entry {
    look: Look,
    sha256: Digest,
    /// Hashed within the tick in which it changed: not to be written to disk.
    racy: bool,
    /// Asked for or recorded by this process.
    seen: bool,
}

/// The digest cache.
pub struct Index {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<PathBuf, Entry>,
    changed: bool,
    /// The newest change of a file that this process made itself.
    newest_own: Time,
}

impl Index {
    /// Reads the index at `path`; one that is missing or broken is an empty one.
    pub fn load(path: &Path) -> Self {
        let inner = Inner { entries: read(path).unwrap_or_default(), ..Inner::default() };
        Index { path: path.to_owned(), inner: Mutex::new(inner) }
    }

    /// Returns the digest of a regular file, reading it only if it looks different from when it was last read.
    pub fn digest(&self, path: &Path, task: &dyn Task) -> Result<Digest> {
        let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            // A FIFO would block for ever, a device might never end.
            return Err(Error::new(Kind::Input, format!("{} is not a regular file", path.display())));
        }
        if let Some(sha256) = self.known(path, &Look::of(&metadata)) {
            return Ok(sha256);
        }
        let (look, racy, sha256) = hash(path, task)?;
        self.insert(path, Entry { look, sha256, racy, seen: true });
        Ok(sha256)
    }

    /// Returns what is known of a file that looks like this.
    pub fn known(&self, path: &Path, look: &Look) -> Option<Digest> {
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(path).filter(|entry| entry.look == *look)?;
        entry.seen = true;
        Some(entry.sha256)
    }

    /// Takes note of a file that this process wrote, and nobody else could have changed since.
    pub fn record_own(&self, path: &Path, look: Look, sha256: Digest) {
        self.insert(path, Entry { look, sha256, racy: false, seen: true });
        let mut inner = self.lock();
        inner.newest_own = inner.newest_own.max(look.newest());
    }

    /// Does something that changes the ctime of files without changing them (linking, renaming over a link), and
    /// keeps what is known of those that were as known before.
    pub fn while_linking<T>(&self, paths: &[&Path], action: impl FnOnce() -> T) -> T {
        let look = |path: &Path| std::fs::symlink_metadata(path).ok().map(|metadata| Look::of(&metadata));
        let known = |path: &&Path| {
            let look = look(path)?;
            Some((path.to_path_buf(), look, self.known(path, &look)?))
        };
        let known: Vec<(PathBuf, Look, Digest)> = paths.iter().filter_map(known).collect();
        let result = action();
        for (path, before, sha256) in known {
            if let Some(after) = look(&path)
                && after != before
                && (Look { ctime: after.ctime, ..before }) == after
            {
                self.record_own(&path, after, sha256);
            }
        }
        result
    }

    /// Forgets files that are being removed.
    pub fn forget_below(&self, folder: &Path) {
        let mut inner = self.lock();
        let before = inner.entries.len();
        inner.entries.retain(|path, _| !path.starts_with(folder));
        inner.changed |= inner.entries.len() != before;
    }

    /// Writes the index if anything in it is new.
    pub fn save(&self) -> Result<()> {
        let mut inner = self.lock();
        if !inner.changed {
            return Ok(());
        }
        // Entries of other recipes stay, those of files that are gone do not.
        inner.entries.retain(|path, entry| !entry.racy && (entry.seen || path.exists()));
        let mut text = format!("{HEAD}\n").into_bytes();
        for (path, Entry { look, sha256, .. }) in &inner.entries {
            let Look { size_bytes, mtime, ctime, inode } = look;
            let numbers =
                format!("{sha256} {size_bytes} {}.{:09} {}.{:09} {inode} ", mtime.0, mtime.1, ctime.0, ctime.1);
            text.extend(numbers.bytes());
            text.extend(escape(path));
            text.push(b'\n');
        }
        write_newer_than(&self.path, &text, inner.newest_own)?;
        inner.changed = false;
        Ok(())
    }

    fn insert(&self, path: &Path, entry: Entry) {
        let mut inner = self.lock();
        inner.entries.insert(path.to_owned(), entry);
        inner.changed = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the index panics")
    }
}

/// Hashes a file; also says how it looked, and whether it changed too recently for that look to be trusted.
fn hash(path: &Path, task: &dyn Task) -> Result<(Look, bool, Digest)> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let now = SystemTime::now().checked_sub(TICK).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let now = now.map_or((i64::MIN, 0), |now| (now.as_secs() as i64, i64::from(now.subsec_nanos())));
    let mut file = output::open(path)?;
    let before = Look::of(&file.metadata().map_err(failed)?);
    let sha256 = hash_open(&mut file, path, task)?;
    let after = Look::of(&file.metadata().map_err(failed)?);
    if before != after {
        return Err(Error::new(Kind::Input, format!("{} changed while it was being read", path.display())));
    }
    Ok((after, after.newest() >= now, sha256))
}

/// Hashes an open file from where it stands.
pub fn hash_open(file: &mut File, path: &Path, task: &dyn Task) -> Result<Digest> {
    struct Hasher(sha2::Sha256);
    impl Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = Hasher(sha2::Sha256::new());
    output::copy(file, &mut hasher, task, (&path.display().to_string(), path))?;
    Ok(Digest(hasher.0.finalize().into()))
}

/// Writes the file so that its own time is later than `newest`: only then do its entries count as settled.
fn write_newer_than(path: &Path, text: &[u8], newest: Time) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".index-").tempfile_in(folder).map_err(failed)?;
    file.write_all(text).map_err(failed)?;
    for _ in 0..20 {
        let metadata = file.as_file().metadata().map_err(failed)?;
        if (metadata.mtime(), metadata.mtime_nsec()) > newest {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
        let end = text.len() as u64 - 1;
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), b"\n", end).map_err(failed)?;
    }
    file.as_file().sync_data().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Reads an index, leaving out what changed when it was written or later.
fn read(path: &Path) -> Option<BTreeMap<PathBuf, Entry>> {
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let written = (metadata.mtime(), metadata.mtime_nsec());
    let mut bytes = Vec::new();
    (&mut file).take(SIZE_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let mut lines = bytes.strip_suffix(b"\n")?.split(|&byte| byte == b'\n');
    if lines.next() != Some(HEAD.as_bytes()) {
        return None;
    }
    let mut entries = BTreeMap::new();
    for line in lines {
        let (path, entry) = parse(line)?;
        if entry.look.newest() < written {
            entries.insert(path, entry);
        }
    }
    Some(entries)
}

fn parse(line: &[u8]) -> Option<(PathBuf, Entry)> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let time = |text: &str| -> Option<Time> {
        let (seconds, nanoseconds) = text.split_once('.')?;
        Some((seconds.parse().ok()?, nanoseconds.parse().ok()?))
    };
    let sha256 = Digest::from_hex(text()?)?;
    let size_bytes = text()?.parse().ok()?;
    let (mtime, ctime) = (time(text()?)?, time(text()?)?);
    let inode = text()?.parse().ok()?;
    let path = unescape(fields.next()?)?;
    Some((path, Entry { look: Look { size_bytes, mtime, ctime, inode }, sha256, racy: false, seen: false }))
}

/// Keeps a path on one line.
fn escape(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'\\' => escaped.extend(b"\\\\"),
            b'\n' => escaped.extend(b"\\n"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn unescape(bytes: &[u8]) -> Option<PathBuf> {
    let mut plain = Vec::new();
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        plain.push(match byte {
            b'\\' => match rest.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                _ => return None,
            },
            other => other,
        });
    }
    Some(OsString::from_vec(plain).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Silent;

    /// Makes the file look as if it had been written an hour ago; its ctime cannot be faked.
    fn age(path: &Path) {
        let past = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
        std::thread::sleep(TICK * 2);
    }

    fn entries(index: &Path) -> usize {
        read(index).map_or(0, |entries| entries.len())
    }

    #[test]
    fn a_file_that_looks_the_same_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("a\n\\b"), folder.path().join("index"));
        std::fs::write(&file, "one").unwrap();
        age(&file);
        let index = Index::load(&path);
        assert_eq!(index.digest(&file, &Silent::default()).unwrap(), Digest::of(b"one"));
        std::thread::sleep(TICK);
        index.save().unwrap();
        assert_eq!(entries(&path), 1);

        // An entry that lies shows that the file is not read.
        let text = std::fs::read(&path).unwrap();
        let text = String::from_utf8(text).unwrap().replace(&Digest::of(b"one").to_string(), &"5".repeat(64));
        std::fs::write(&path, text).unwrap();
        let index = Index::load(&path);
        assert_eq!(index.digest(&file, &Silent::default()).unwrap(), Digest([0x55; 32]));
    }

    #[test]
    fn another_look_is_another_reading() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "one").unwrap();
        age(&file);
        let index = Index::load(&folder.path().join("index"));
        assert_eq!(index.digest(&file, &Silent::default()).unwrap(), Digest::of(b"one"));
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        // Same size and same mtime: only the ctime tells.
        std::fs::write(&file, "two").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(index.digest(&file, &Silent::default()).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn a_racy_file_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("a"), folder.path().join("index"));
        std::fs::write(&file, "one").unwrap();
        let index = Index::load(&path);
        index.digest(&file, &Silent::default()).unwrap();
        index.save().unwrap();
        assert_eq!(entries(&path), 0, "written and hashed within one tick");
    }

    #[test]
    fn an_own_file_is_settled_by_an_index_that_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("a"), folder.path().join("index"));
        for _ in 0..10 {
            std::fs::write(&file, "one").unwrap();
            let index = Index::load(&path);
            index.record_own(&file, Look::of(&std::fs::metadata(&file).unwrap()), Digest::of(b"one"));
            let other = folder.path().join("b");
            index.while_linking(&[&file], || std::fs::hard_link(&file, &other).unwrap());
            index.while_linking(&[&file], || std::fs::remove_file(&other).unwrap());
            index.save().unwrap();
            assert_eq!(entries(&path), 1);
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::load(&folder.path().join("index"));
        let error = index.digest(folder.path(), &Silent::default()).unwrap_err();
        assert!(error.to_string().ends_with("is not a regular file"), "{error}");
        let error = index.digest(&folder.path().join("missing"), &Silent::default()).unwrap_err();
        assert!(error.to_string().contains("missing: No such file"), "{error}");
    }

    #[test]
    fn a_broken_index_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        for text in ["", "xenbuild-index 1", "xenbuild-index 1\nnonsense\n", "xenbuild-index 9\n", "\0\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(entries(&path), 0, "{text:?}");
        }
    }
}
