//! A file on its way: loaded beside its place under a lock, hashed as it comes, moved there once it is whole and right.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::file::{self, hexadecimal};
use crate::task::Task;

/// What a file must turn out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// What it is, for errors: a package with its version, an index of a suite.
    pub name: String,
    /// Its size.
    pub size: u64,
    /// Its hash: 64 hexadecimal digits, small letters.
    pub sha256: String,
}

impl Wanted {
    /// Makes the error for a file of another size.
    pub fn wrong_size(&self, place: impl std::fmt::Display, got: u64) -> Error {
        let Wanted { name, size, .. } = self;
        self.hint(Error::new(
            Kind::Input,
            format!("{name}: {place} has {got} bytes, but the archive's index says {size}"),
        ))
    }

    /// Checks a finished hash.
    pub fn check(&self, got: &str) -> Result<()> {
        let Wanted { name, sha256, .. } = self;
        match got == sha256 {
            true => Ok(()),
            false => Err(self.hint(Error::new(
                Kind::Input,
                format!("{name}: its SHA-256 is not what it should be\n  expected {sha256}\n       got {got}"),
            ))),
        }
    }

    fn hint(&self, error: Error) -> Error {
        error.hint("the mirror may be in the middle of an update: try again later, or take another mirror")
    }
}

/// Returns where a file is loaded if nobody says otherwise: `destination.part`.
pub fn beside(destination: &Path) -> PathBuf {
    let mut path = destination.as_os_str().to_owned();
    path.push(".part");
    path.into()
}

/// A file that is being loaded, locked.
pub struct Part<'a> {
    file: File,
    path: PathBuf,
    destination: PathBuf,
    hasher: Sha256,
    length: u64,
    /// Bytes from an earlier request are in front.
    resumed: bool,
    /// The furthest that progress was told.
    told: u64,
    task: &'a dyn Task,
}

impl<'a> Part<'a> {
    /// Opens the part `path`, waits for whoever else is loading it, and hashes what is there already.
    ///
    /// Returns `None` if the file itself is there by now.
    pub fn open(destination: &Path, path: PathBuf, wanted: &Wanted, task: &'a dyn Task) -> Result<Option<Part<'a>>> {
        let fail = |what: &str, error| Error::io(format!("cannot {what} {}", path.display()), error);
        for folder in [destination.parent(), path.parent()].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(|error| fail("make the folder of", error))?;
        }
        let file = lock(&path, task)?;
        if destination.exists() {
            std::fs::remove_file(&path).map_err(|error| fail("remove", error))?;
            return Ok(None);
        }
        let destination = destination.to_path_buf();
        let mut part =
            Part { file, path, destination, hasher: Sha256::new(), length: 0, resumed: false, told: 0, task };
        part.take_up(wanted)?;
        Ok(Some(part))
    }

    /// Hashes what an earlier run has left.
    fn take_up(&mut self, wanted: &Wanted) -> Result<()> {
        let size = self.file.metadata().map_err(|error| self.fail("look at", error))?.len();
        if size > wanted.size {
            return self.restart();
        }
        let mut chunk = vec![0; 64 << 10];
        loop {
            self.task.cancel().check()?;
            let count = self.file.read(&mut chunk).map_err(|error| self.fail("read", error))?;
            if count == 0 {
                break;
            }
            self.hasher.update(&chunk[..count]);
            self.length += count as u64;
        }
        self.resumed = self.length > 0;
        self.tell();
        Ok(())
    }

    /// Returns how much of the file is there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Says whether it was put together from several answers.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Forgets what is there.
    pub fn restart(&mut self) -> Result<()> {
        let rewound = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        rewound.map_err(|error| self.fail("empty", error))?;
        (self.hasher, self.length, self.resumed) = (Sha256::new(), 0, false);
        Ok(())
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // What a full disk has room for is not worth keeping there.
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                self.remove();
            }
            return Err(self.fail("write", error));
        }
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.tell();
        Ok(())
    }

    /// Notes that what follows comes from another answer.
    pub fn mark_resumed(&mut self) {
        self.resumed = self.length > 0;
    }

    /// Tells progress, which never runs backwards: bytes that are loaded twice count once.
    fn tell(&mut self) {
        self.task.advance(self.length.saturating_sub(self.told));
        self.told = self.told.max(self.length);
    }

    /// Checks the hash and moves the file to its place.
    pub fn finish(&mut self, wanted: &Wanted) -> Result<()> {
        if self.length != wanted.size {
            return Err(wanted.wrong_size(self.path.display(), self.length));
        }
        wanted.check(&hexadecimal(&self.hasher.clone().finalize()))?;
        self.file.sync_data().map_err(|error| self.fail("write", error))?;
        std::fs::rename(&self.path, &self.destination).map_err(|error| self.fail("rename", error))
    }

    /// Deletes what is there, as it is of no use to anybody.
    pub fn remove(&self) {
        // Failing to do so costs the next run a restart, and nothing else.
        let _ = std::fs::remove_file(&self.path);
    }

    fn fail(&self, what: &str, error: std::io::Error) -> Error {
        Error::io(format!("cannot {what} {}", self.path.display()), error)
    }
}

/// Copies a file of a local mirror; returns `false` if there is none.
pub fn copy(source: &Path, wanted: &Wanted, destination: &Path, task: &dyn Task) -> Result<bool> {
    let fail = |error| Error::io(format!("cannot read {}", source.display()), error);
    let mut file = match File::open(source) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(fail(error)),
    };
    let size = file.metadata().map_err(fail)?.len();
    if size != wanted.size {
        return Err(wanted.wrong_size(source.display(), size));
    }
    let Some(mut part) = Part::open(destination, beside(destination), wanted, task)? else { return Ok(true) };
    part.restart()?;
    let mut chunk = vec![0; 64 << 10];
    loop {
        task.cancel().check()?;
        let count = file.read(&mut chunk).map_err(fail)?;
        if count == 0 {
            break;
        }
        part.write(&chunk[..count])?;
    }
    part.finish(wanted).inspect_err(|_| part.remove())?;
    Ok(true)
}

/// Writes a small file whole: beside its place, synced, then renamed.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        file::replace(path, bytes, 0o644)
    };
    write().map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

/// Opens and locks a part; two processes that want the same file load it once.
fn lock(path: &Path, task: &dyn Task) -> Result<File> {
    let fail = |what: &str, error| Error::io(format!("cannot {what} {}", path.display()), error);
    let mut told = false;
    loop {
        task.cancel().check()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| fail("open", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if !told {
                    task.note(&format!("waiting for another process that is loading {}", path.display()));
                }
                told = true;
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            Err(TryLockError::Error(error)) => return Err(fail("lock", error)),
        }
        // Whoever held the lock may have renamed or removed the file: then this lock is on something else.
        let same =
            |named: std::fs::Metadata, own: std::fs::Metadata| named.ino() == own.ino() && named.dev() == own.dev();
        let own = file.metadata().map_err(|error| fail("look at", error))?;
        if std::fs::metadata(path).is_ok_and(|named| same(named, own)) {
            return Ok(file);
        }
    }
}
