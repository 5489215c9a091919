//! GNU make's jobserver: one pool of tokens for all steps and for every make that they start.
//!
//! A pipe with a name holds one byte for each job that may run at once. Whoever runs a job takes a byte and puts it back.
//! A step holds one while it runs; the make it starts takes that as its own and asks the pool for every further job
//! (GNU make manual 13.1, "POSIX jobserver interaction").

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::error::{Error, Result};
use crate::task::Cancel;

/// How often a wait looks at the cancel flag.
const GLANCE: Duration = Duration::from_millis(100);
/// Beyond this a pipe might not take all the bytes.
const JOBS_MAX: usize = 4096;

/// The pool.
#[derive(Debug)]
pub struct Jobserver {
    path: PathBuf,
    pipe: File,
}

impl Jobserver {
    /// Makes a pool of so many jobs; `path` is the pipe's name, which goes with the pool.
    pub fn new(path: &Path, jobs: usize) -> Result<Self> {
        let failed = |error: std::io::Error| Error::io(format!("cannot make the pipe {}", path.display()), error);
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|error| failed(error.into()))?;
        let flags = OFlags::NONBLOCK.bits() as i32;
        let pipe = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(failed)?;
        let pool = Jobserver { path: path.to_owned(), pipe };
        (&pool.pipe).write_all(&vec![b'+'; jobs.clamp(1, JOBS_MAX)]).map_err(failed)?;
        Ok(pool)
    }

    /// Returns the pipe's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a job and takes it.
    pub fn take(&self, cancel: &Cancel) -> Result<()> {
        loop {
            cancel.check()?;
            match (&self.pipe).read(&mut [0]) {
                Ok(1..) => return Ok(()),
                Ok(0) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(Error::io("cannot read from the jobserver", error)),
            }
            let timeout = Timespec { tv_sec: 0, tv_nsec: GLANCE.subsec_nanos().into() };
            // However it ends, the pipe is looked at again.
            let _ = poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&timeout));
        }
    }

    /// Puts a job back.
    pub fn give(&self) {
        // The pipe has room for what was taken from it.
        let _ = (&self.pipe).write(b"+");
    }
}

impl Drop for Jobserver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_jobs_run_than_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let pool = Jobserver::new(&folder.path().join("jobs"), 3).unwrap();
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    pool.take(&Cancel::default()).unwrap();
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    running.fetch_sub(1, Ordering::SeqCst);
                    pool.give();
                });
            }
        });
        assert_eq!(most.into_inner(), 3);
        let cancel = Cancel::default();
        cancel.set();
        assert!(pool.take(&cancel).is_err());
    }
}
