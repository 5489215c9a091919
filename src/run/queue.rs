//! Runs the steps of a plan on threads.
//!
//! ```text
//!              inputs known               a thread takes it              it ran
//!   Waiting ------------------> Ready ------------------------> Running --------> Done
//!      ^                                                          |  |`---------> Reused   it was in the cache
//!      `----------------------------------------------------------'  `----------> Failed
//!          it must run, but an input is only known, not here
//! ```
//!
//! A step whose output is known before it is made (a download) is not run until a step that must run asks for it.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::event::{Event, Outcome, Watcher};
use super::index::Index;
use super::measure::{Looks, Measure, unchanged};
use super::store::{Entry, Found, Store};
use crate::error::{Error, Kind, Result};
use crate::plan::manifest::Manifest;
use crate::plan::{Plan, PlannedStep};
use crate::recipe::Origin;
use crate::step::host::Host;
use crate::step::{Digest, Given, Output, PackageSource, Step, StepId, Workspace};
use crate::task::{Cancel, Task};

/// Downloads at the same time: they wait more than they work, and a mirror has other guests.
const DOWNLOADS_MAX: usize = 6;
/// How often a running step's progress is told.
const PROGRESS_GRAIN: Duration = Duration::from_millis(100);

/// How far a step is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// For an input to be known, or to be made.
    Waiting,
    /// For a thread.
    Ready,
    /// A thread looks it up or runs it.
    Running,
    /// It ran.
    Done,
    /// It did not have to.
    Reused,
    /// It could not.
    Failed,
}

/// What became of a step.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What its key is the hash of.
    pub manifest: Manifest,
    /// What it made; known even if it is not in the cache.
    pub outputs: Vec<Output>,
    /// Where that is; nowhere if nobody needed it.
    pub entry: Option<Entry>,
    /// Whether it ran.
    pub state: State,
}

/// What the queue works with.
pub struct Setting<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// Where outputs go.
    pub store: &'a Store,
    /// Digests of files.
    pub index: &'a Index,
    /// Steps at the same time, downloads aside.
    pub jobs: usize,
    /// Stops everything, when set.
    pub cancel: &'a Cancel,
    /// Is told what happens.
    pub watcher: &'a dyn Watcher,
    /// Shows where the recipe asks for something.
    pub blame: &'a (dyn Fn(&Origin, String) -> Error + Sync),
    /// Where packages come from.
    pub packages: &'a dyn PackageSource,
}

/// A step's place in the queue.
#[derive(Debug)]
struct Slot {
    state: State,
    manifest: Option<Manifest>,
    outputs: Option<Vec<Output>>,
    entry: Option<Entry>,
    /// A step that must run asks for the bytes.
    wanted: bool,
}

/// Which threads take a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lane {
    Work,
    Download,
}

/// Everything that threads share; all changes of state go through [`Board::set`].
struct Board<'a> {
    plan: &'a Plan,
    slots: Vec<Slot>,
    /// Who takes something from whom.
    dependants: Vec<Vec<StepId>>,
    ready: [VecDeque<StepId>; 2],
    counts: [usize; 6],
    /// Keys being looked up or made: two steps that are the same in all but their name must not make it both.
    busy: BTreeSet<Digest>,
    errors: Vec<Error>,
}

impl<'a> Board<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut dependants = vec![Vec::new(); plan.len()];
        for (id, step) in plan.steps() {
            for needed in step.needs() {
                if dependants[needed.index()].last() != Some(&id) {
                    dependants[needed.index()].push(id);
                }
            }
        }
        let slot = || Slot { state: State::Waiting, manifest: None, outputs: None, entry: None, wanted: false };
        let slots = std::iter::repeat_with(slot).take(plan.len()).collect();
        let counts = [plan.len(), 0, 0, 0, 0, 0];
        let mut board = Board {
            plan,
            slots,
            dependants,
            ready: Default::default(),
            counts,
            busy: BTreeSet::new(),
            errors: Vec::new(),
        };
        for artifact in &plan.artifacts {
            board.slots[artifact.step.index()].wanted = true;
        }
        for (id, step) in plan.steps() {
            board.slots[id.index()].outputs = step.step.kind().known_output().map(|output| vec![output]);
        }
        for (id, _) in plan.steps() {
            board.consider(id);
        }
        board
    }

    /// The one setter: checks the transition, keeps counts and queues.
    fn set(&mut self, id: StepId, state: State) {
        use State::*;
        let old = self.slots[id.index()].state;
        let legal =
            matches!((old, state), (Waiting, Ready) | (Ready, Running) | (Running, Waiting | Done | Reused | Failed));
        assert!(legal, "step {} cannot go from {old:?} to {state:?}", self.plan.step(id).name);
        self.counts[old as usize] -= 1;
        self.counts[state as usize] += 1;
        self.slots[id.index()].state = state;
        match state {
            Ready => self.ready[lane(self.plan.step(id)) as usize].push_back(id),
            Done | Reused => {
                for at in 0..self.dependants[id.index()].len() {
                    self.consider(self.dependants[id.index()][at]);
                }
            }
            Waiting | Running | Failed => {}
        }
    }

    /// Makes a waiting step ready if all it takes is known, and, once it is wanted, there.
    fn consider(&mut self, id: StepId) {
        let slot = &self.slots[id.index()];
        let step = self.plan.step(id);
        let known = step.needs().all(|needed| self.slots[needed.index()].outputs.is_some());
        let asked = slot.wanted || step.step.kind().known_output().is_none();
        // A step that was looked up and must run has its manifest; its inputs must be there now.
        let there = slot.manifest.is_none() || step.needs().all(|needed| self.slots[needed.index()].entry.is_some());
        if slot.state == State::Waiting && known && asked && there {
            self.set(id, State::Ready);
        }
    }

    /// Asks for the bytes of what a step takes; says whether all of them are there.
    fn want_inputs(&mut self, id: StepId) -> bool {
        let needs: Vec<StepId> = self.plan.step(id).needs().collect();
        let mut there = true;
        for needed in needs {
            there &= self.slots[needed.index()].entry.is_some();
            if !std::mem::replace(&mut self.slots[needed.index()].wanted, true) {
                self.consider(needed);
            }
        }
        there
    }

    /// Says whether no thread has or will have anything to do.
    fn is_settled(&self) -> bool {
        self.counts[State::Ready as usize] == 0 && self.counts[State::Running as usize] == 0
    }
}

fn lane(step: &PlannedStep) -> Lane {
    if is_download(&step.step) { Lane::Download } else { Lane::Work }
}

fn is_download(step: &Step) -> bool {
    step.kind().known_output().is_some()
}

/// Runs what must run; returns what became of each step, in the plan's order, or the first of all errors.
pub fn run(setting: &Setting<'_>) -> Result<Vec<Finished>, Vec<Error>> {
    raise_open_files();
    let queue = Queue { setting, board: Mutex::new(Board::new(setting.plan)), changed: Condvar::new() };
    let downloads = setting.plan.steps().filter(|(_, step)| is_download(&step.step)).count().min(DOWNLOADS_MAX);
    std::thread::scope(|scope| {
        for _ in 0..setting.jobs.clamp(1, setting.plan.len().max(1)) {
            scope.spawn(|| queue.work(Lane::Work));
        }
        for _ in 0..downloads {
            scope.spawn(|| queue.work(Lane::Download));
        }
    });
    let board = queue.board.into_inner().expect("no holder of the board panics");
    if !board.errors.is_empty() {
        return Err(board.errors);
    }
    setting.cancel.check().map_err(|error| vec![error])?;
    let finish = |(id, slot): (usize, Slot)| {
        // A download that nobody asked for has waited all along.
        let state = if slot.state == State::Waiting { State::Reused } else { slot.state };
        let outputs = slot.outputs.expect("the outputs of a step that ended are known");
        let kind = setting.plan.step(StepId(id as u32)).step.kind();
        let manifest = slot.manifest.unwrap_or_else(|| Manifest::new(kind, []));
        Finished { manifest, outputs, entry: slot.entry, state }
    };
    Ok(board.slots.into_iter().enumerate().map(finish).collect())
}

/// Allows as many open files as the host lets us have: a file system keeps the archives of all its packages open.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where that is refused, the usual limit does for all but the largest recipes.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

struct Queue<'a> {
    setting: &'a Setting<'a>,
    board: Mutex<Board<'a>>,
    changed: Condvar,
}

/// What one visit of a thread to a step led to.
enum Visit {
    Ended {
        manifest: Manifest,
        entry: Entry,
        state: State,
        took: Duration,
    },
    /// It must run, and what it takes is not there yet.
    NeedsInputs(Manifest),
}

impl<'a> Queue<'a> {
    fn work(&self, lane: Lane) {
        while let Some(id) = self.next(lane) {
            let began = Instant::now();
            let visit = catch_unwind(AssertUnwindSafe(|| self.visit(id))).unwrap_or_else(|panic| {
                let message = panic.downcast_ref::<String>().cloned();
                let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let error = Error::new(Kind::Internal, message.unwrap_or_else(|| "panicked".into()));
                Err(self.named(id, error))
            });
            self.settle(id, visit, began.elapsed());
        }
    }

    /// Waits for a step; nothing if there will be none.
    fn next(&self, lane: Lane) -> Option<StepId> {
        let mut board = self.lock();
        loop {
            if self.setting.cancel.is_set() || board.is_settled() {
                self.changed.notify_all();
                return None;
            }
            if let Some(id) = board.ready[lane as usize].pop_front() {
                board.set(id, State::Running);
                return Some(id);
            }
            // The signal's flag wakes nobody up: look at it now and then.
            board = self.changed.wait_timeout(board, Duration::from_millis(50)).expect("no holder panics").0;
        }
    }

    /// Looks a step up, and runs it if it must and can.
    fn visit(&self, id: StepId) -> Result<Visit> {
        let Setting { plan, store, index, .. } = *self.setting;
        let step = plan.step(id);
        let progress = Progress::new(self.setting, &step.name);
        let measure = Measure { index, blame: self.setting.blame, task: &progress };
        let (mut inputs, wanted) = {
            let board = self.lock();
            let outputs = |needed: StepId| board.slots[needed.index()].outputs.clone();
            (step.needs().map(outputs).collect::<VecDeque<_>>(), board.slots[id.index()].wanted)
        };
        let mut looks = Looks::new();
        let mut lines = Vec::new();
        for input in &step.inputs {
            let outputs = input.source.step().and_then(|_| inputs.pop_front().flatten());
            let measured = measure.lines(input, outputs.as_deref(), &mut looks);
            // An error that shows a place in the recipe says more than the step's name.
            let named = |error| if input.origin.is_some() { error } else { self.named(id, error) };
            lines.push((input.name.as_str(), measured.map_err(named)?));
        }
        let manifest = Manifest::new(step.step.kind(), lines);
        let _alone = self.alone(manifest.key());
        let known = step.step.kind().known_output();
        match store.find_known(manifest.key(), known.as_ref(), index, &progress)? {
            Found::Entry(entry) => {
                store.touch(&entry);
                return Ok(Visit::Ended { manifest, entry, state: State::Reused, took: Duration::ZERO });
            }
            Found::Damaged(damage) => {
                progress.note(&format!("the cached output is damaged ({damage}) and will be made again"));
                store.remove(manifest.key(), index)?;
            }
            Found::Nothing => {}
        }
        debug_assert!(wanted || step.step.kind().known_output().is_none());
        if !self.lock().want_inputs(id) {
            return Ok(Visit::NeedsInputs(manifest));
        }
        let _job = self.job(lane(step))?;
        let began = Instant::now();
        let made = self.make(step, id, &manifest, &measure, &looks);
        let entry = made.map_err(|error| self.named(id, error))?;
        Ok(Visit::Ended { manifest, entry, state: State::Done, took: began.elapsed() })
    }

    /// Takes one of the jobs that all steps share; a download needs none.
    fn job(&self, lane: Lane) -> Result<Option<Job<'a>>> {
        let Some(host) = self.setting.packages.host().filter(|_| lane == Lane::Work) else { return Ok(None) };
        host.take_job(self.setting.cancel)?;
        Ok(Some(Job(host)))
    }

    /// Puts the step's name in front of an error.
    fn named(&self, id: StepId, error: Error) -> Error {
        let mut error = error.context(format_args!("step {}", self.setting.plan.step(id).name));
        let Some(origin) = error.place.take() else { return error };
        let blamed = (self.setting.blame)(&origin, error.to_string());
        Error { kind: error.kind, hints: error.hints, ..blamed }
    }

    /// Waits until no other thread works on this key.
    fn alone(&self, key: Digest) -> Alone<'_, 'a> {
        let mut board = self.lock();
        while !board.busy.insert(key) {
            board = self.changed.wait(board).expect("no holder of the board panics");
        }
        Alone { queue: self, key }
    }

    /// Runs a step and stores what it made.
    fn make(
        &self,
        step: &PlannedStep,
        id: StepId,
        manifest: &Manifest,
        measure: &Measure<'_>,
        looks: &Looks,
    ) -> Result<Entry> {
        let Setting { store, index, watcher, packages, .. } = *self.setting;
        let kind = step.step.kind();
        watcher.event(Event::Begin { step: step.name.clone(), kind: kind.name() });
        let mut entries: VecDeque<_> = {
            let board = self.lock();
            self.setting.plan.step(id).needs().map(|needed| board.slots[needed.index()].entry.clone()).collect()
        };
        let mut inputs = Vec::new();
        for input in &step.inputs {
            let paths = || {
                let entry = entries.pop_front().flatten().expect("inputs are there when a step runs");
                let wanted = |output: &&Output| input.takes(&output.name);
                entry.outputs.iter().filter(wanted).map(|output| entry.folder.join(&output.name)).collect()
            };
            inputs.push(Given { name: input.name.clone(), content: Measure::content(input, paths)? });
        }
        let draft = store.draft(manifest.key())?;
        let workspace =
            Workspace { folder: &draft.folder, key: manifest.key(), inputs: &inputs, task: measure.task, packages };
        kind.make(&workspace)?;
        unchanged(looks)?;
        let entry = store.commit(draft, manifest, index, measure.task)?;
        if let Some(known) = kind.known_output()
            && entry.outputs != [known]
        {
            store.remove(manifest.key(), index)?;
            return Err(Error::new(Kind::Internal, "the output is not what it was known to be"));
        }
        Ok(entry)
    }

    /// Writes down what a visit led to, and tells.
    fn settle(&self, id: StepId, visit: Result<Visit>, took: Duration) {
        let step = self.setting.plan.step(id).name.clone();
        let milliseconds = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (state, event) = match &visit {
            Ok(Visit::NeedsInputs(_)) => (State::Waiting, None),
            Ok(Visit::Ended { state, took, .. }) => {
                let outcome = if *state == State::Done { Outcome::Done } else { Outcome::Reused };
                (*state, Some(Event::End { step, outcome, milliseconds: milliseconds(*took), error: None }))
            }
            Err(error) => {
                let cancelled = error.kind == Kind::Interrupted;
                let outcome = if cancelled { Outcome::Cancelled } else { Outcome::Failed };
                let error = (!cancelled).then(|| error.to_string());
                (State::Failed, Some(Event::End { step, outcome, milliseconds: milliseconds(took), error }))
            }
        };
        if let Some(event) = event {
            self.setting.watcher.event(event);
        }
        let mut board = self.lock();
        let slot = &mut board.slots[id.index()];
        match visit {
            Ok(Visit::NeedsInputs(manifest)) => slot.manifest = Some(manifest),
            Ok(Visit::Ended { manifest, entry, .. }) => {
                slot.manifest = Some(manifest);
                slot.outputs = Some(entry.outputs.clone());
                slot.entry = Some(entry);
            }
            Err(error) => {
                // What was stopped because something failed (or by a signal) did not fail itself.
                if error.kind != Kind::Interrupted {
                    board.errors.push(error);
                }
                self.setting.cancel.set();
            }
        }
        board.set(id, state);
        if state == State::Waiting {
            // What it asked for may have come in between.
            board.consider(id);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Board<'a>> {
        self.board.lock().expect("no holder of the board panics")
    }
}

/// A job taken; it is given back when this goes.
struct Job<'a>(&'a dyn Host);

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.0.give_job();
    }
}

/// Keeps a key to one thread.
struct Alone<'q, 'a> {
    queue: &'q Queue<'a>,
    key: Digest,
}

impl Drop for Alone<'_, '_> {
    fn drop(&mut self) {
        self.queue.lock().busy.remove(&self.key);
        self.queue.changed.notify_all();
    }
}

/// A running step's task: adds up, and tells now and then.
struct Progress<'a> {
    setting: &'a Setting<'a>,
    step: &'a str,
    done: AtomicU64,
    told: Mutex<Instant>,
}

impl<'a> Progress<'a> {
    fn new(setting: &'a Setting<'a>, step: &'a str) -> Self {
        Progress { setting, step, done: AtomicU64::new(0), told: Mutex::new(Instant::now()) }
    }
}

impl Task for Progress<'_> {
    fn total(&self, bytes: u64) {
        self.setting.watcher.event(Event::Total { step: self.step.to_owned(), bytes });
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.elapsed() >= PROGRESS_GRAIN {
            *told = Instant::now();
            self.setting.watcher.event(Event::Progress { step: self.step.to_owned(), bytes: done });
        }
    }

    fn tail(&self, line: &str) {
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.elapsed() >= PROGRESS_GRAIN {
            *told = Instant::now();
            self.setting.watcher.event(Event::Output { step: self.step.to_owned(), text: line.to_owned() });
        }
    }

    fn note(&self, line: &str) {
        self.setting.watcher.event(Event::Note { step: Some(self.step.to_owned()), text: line.to_owned() });
    }

    fn cancel(&self) -> &Cancel {
        self.setting.cancel
    }
}

impl Finished {
    /// Returns the hash of the manifest.
    pub fn key(&self) -> Digest {
        self.manifest.key()
    }
}
