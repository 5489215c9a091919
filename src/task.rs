//! What a long task is told, and tells: the one channel between work and whoever watches it.
//! Knows nothing of terminals and nothing of steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Kind, Result};

/// Set once, by a signal or a failed sibling: every loop of a task looks at it between two chunks of work.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    /// Asks every task that watches this to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Says whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns an [`Kind::Interrupted`] error if it is time to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::new(Kind::Interrupted, "interrupted")) } else { Ok(()) }
    }
}

/// How a task reports while it runs; shared by threads.
pub trait Task: Sync {
    /// Says how much there is to do, in bytes; may be called again when it turns out to be more.
    fn total(&self, bytes: u64);
    /// Says that so many more bytes are done.
    fn advance(&self, bytes: u64);
    /// Tells the user one line: a retry, a wait, a warning.
    fn note(&self, line: &str);
    /// Shows what a program said last; whoever watches may pass it over.
    fn tail(&self, _line: &str) {}
    /// Returns the flag to watch.
    fn cancel(&self) -> &Cancel;
}

/// A task that tells nobody anything, and the flag it watches: for short work, and for tests.
#[derive(Debug, Default)]
pub struct Silent(pub Arc<Cancel>);

impl Task for Silent {
    fn total(&self, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn note(&self, _line: &str) {}
    fn cancel(&self) -> &Cancel {
        &self.0
    }
}
