//! Turns what the writer says into events: progress in steps that a person can see, and the pace once a second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::pace::Pace;
use crate::error::{Error, Kind, Result};
use crate::run::event::{Event, Outcome, Watcher};
use crate::task::{Cancel, Task};

/// Between two events of progress.
const PROGRESS: Duration = Duration::from_millis(100);
/// Between two events of pace.
const PACE: Duration = Duration::from_secs(1);

/// One phase of flashing, told as a step.
pub struct Phase<'a> {
    step: &'static str,
    watcher: &'a dyn Watcher,
    cancel: &'a Cancel,
    state: Mutex<State>,
}

struct State {
    started: Option<Instant>,
    total: u64,
    done: u64,
    told: Duration,
    paced: Duration,
    pace: Pace,
}

impl<'a> Phase<'a> {
    /// Makes a phase that has not begun.
    pub fn new(step: &'static str, watcher: &'a dyn Watcher, cancel: &'a Cancel) -> Self {
        let zero = Duration::ZERO;
        let state = State { started: None, total: 0, done: 0, told: zero, paced: zero, pace: Pace::default() };
        Phase { step, watcher, cancel, state: Mutex::new(state) }
    }

    /// Begins.
    pub fn begin(&self) {
        self.state.lock().expect("no watcher panics").started = Some(Instant::now());
        self.watcher.event(Event::Begin { step: self.step.into(), kind: "flash" });
    }

    /// Ends, if it had begun and has not ended.
    pub fn end(&self, error: Option<&Error>) {
        let Some(started) = self.state.lock().expect("no watcher panics").started.take() else { return };
        let outcome = match error.map(|error| error.kind) {
            None => Outcome::Done,
            Some(Kind::Interrupted) => Outcome::Cancelled,
            Some(_) => Outcome::Failed,
        };
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = error.filter(|_| outcome == Outcome::Failed).map(|error| error.to_string());
        self.watcher.event(Event::End { step: self.step.into(), outcome, milliseconds, error });
    }

    /// Ends as a result says.
    pub fn end_with<T>(&self, result: &Result<T>) {
        self.end(result.as_ref().err());
    }
}

impl Task for Phase<'_> {
    fn total(&self, bytes: u64) {
        self.state.lock().expect("no watcher panics").total = bytes;
        self.watcher.event(Event::Total { step: self.step.into(), bytes });
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.state.lock().expect("no watcher panics");
        state.done += bytes;
        let now = state.started.map_or(Duration::ZERO, |started| started.elapsed());
        let (done, total) = (state.done, state.total);
        if now - state.told >= PROGRESS || done == total {
            state.told = now;
            self.watcher.event(Event::Progress { step: self.step.into(), bytes: done });
        }
        if now - state.paced >= PACE {
            state.paced = now;
            state.pace.note(now, done);
            if let Some((bytes_per_second, seconds_left)) = state.pace.now(total) {
                let step = self.step.into();
                let total = (total > 0).then_some(total);
                self.watcher.event(Event::Pace { step, bytes: done, total, bytes_per_second, seconds_left });
            }
        }
    }

    fn note(&self, line: &str) {
        self.watcher.event(Event::Note { step: Some(self.step.into()), text: line.into() });
    }

    fn cancel(&self) -> &Cancel {
        self.cancel
    }
}
