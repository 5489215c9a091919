//! CPUs that share a clock, for tests in which time passes. Each is a thread, and one of them goes on at a time: the one whose next event
//! is first. So the same test does the same things in the same order, on any machine.
//!
//! Each CPU has EL2's timer, a guest's virtual timer, SGIs, and list registers, as far as vCPUs need them to sleep, be interrupted and
//! change places; what a guest does is the test's to say ([`Here`]).

use core::cell::RefCell;
use std::boxed::Box;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use alloc::vec::Vec;

use super::gic::{KICK, with_lists, with_physical};
use super::{Context, Exit, Stopped, become_cpu, cpu, stop};

/// EL2's timer.
pub const TIMER: u32 = 26;
/// Guests' virtual timers.
pub const VIRTUAL_TIMER: u32 = 27;
/// List registers ask for attention.
pub const MAINTENANCE: u32 = 25;
/// Counts that a CPU waits which lets others go first.
const MOMENT: u64 = 64;

/// What a guest does on the CPU that calls, until it comes back.
pub type Guest = dyn Fn(&Here, &mut Context) -> Exit + Send + Sync;

struct Board {
    shared: Mutex<Shared>,
    turns: Vec<Condvar>,
    guest: Box<Guest>,
}

struct Shared {
    now: u64,
    end: u64,
    /// The CPU that goes on.
    current: usize,
    /// When each would go on.
    due: Vec<u64>,
    kicked: Vec<bool>,
    over: bool,
}

/// What a CPU has to itself.
struct Own {
    board: Arc<Board>,
    now: u64,
    deadline: Option<u64>,
    /// Control, compare value and offset.
    timer: (u64, u64, u64),
    vcpu: u64,
    maintenance: bool,
}

std::thread_local! {
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// Acts on this CPU's part, if it is one of a board.
fn own<R>(act: impl FnOnce(&mut Own) -> R) -> Option<R> {
    OWN.with_borrow_mut(|own| own.as_mut().map(act))
}

/// Lets `cpus` CPUs do what `each` does, until the clock has counted to `end`; guests do what `guest` says. Panics as they do.
pub fn run(cpus: usize, end: u64, guest: Box<Guest>, each: impl Fn(usize) + Sync) {
    let shared =
        Shared { now: 0, end, current: 0, due: alloc::vec![0; cpus], kicked: alloc::vec![false; cpus], over: false };
    let turns = (0..cpus).map(|_| Condvar::new()).collect();
    let board = Arc::new(Board { shared: Mutex::new(shared), turns, guest });
    std::thread::scope(|scope| {
        let start = |number: usize| {
            let (board, each) = (board.clone(), &each);
            move || {
                become_cpu(number);
                let _end = End(board.clone());
                let own =
                    Own { board: board.clone(), now: 0, deadline: None, timer: (0, 0, 0), vcpu: 0, maintenance: false };
                OWN.set(Some(own));
                drop(board.wait(number, board.lock()));
                each(number);
            }
        };
        let threads: Vec<_> = (0..cpus).map(|number| scope.spawn(start(number))).collect();
        for thread in threads {
            if let Err(cause) = thread.join()
                && !cause.is::<Stopped>()
            {
                std::panic::resume_unwind(cause);
            }
        }
    });
}

/// Ends the whole board when one of its CPUs ends.
struct End(Arc<Board>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.turns.iter().for_each(Condvar::notify_all);
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for a CPU's turn; ends it if all is over.
    fn wait<'a>(&self, cpu: usize, mut shared: MutexGuard<'a, Shared>) -> MutexGuard<'a, Shared> {
        while shared.current != cpu && !shared.over {
            shared = self.turns[cpu].wait(shared).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        if shared.over {
            drop(shared);
            stop();
        }
        shared
    }

    /// Lets time pass on a CPU until `due`, or until it is kicked; returns what time it is.
    fn pass(&self, cpu: usize, due: u64) -> u64 {
        let mut shared = self.lock();
        shared.due[cpu] = if shared.kicked[cpu] { shared.now } else { due.max(shared.now) };
        let next = (0..shared.due.len()).min_by_key(|&other| shared.due[other]).unwrap_or(cpu);
        shared.now = shared.due[next];
        if shared.now >= shared.end {
            shared.over = true;
            self.turns.iter().for_each(Condvar::notify_all);
        }
        if next != cpu {
            shared.current = next;
            self.turns[next].notify_one();
        }
        self.wait(cpu, shared).now
    }
}

/// Returns the physical count, if this thread is a CPU of a board.
pub(super) fn now() -> Option<u64> {
    own(|own| own.now)
}

pub(super) fn set_deadline(deadline: Option<u64>) {
    own(|own| own.deadline = deadline);
}

pub(super) fn kick(cpu: usize) {
    own(|own| {
        let mut shared = own.board.lock();
        shared.kicked[cpu] = true;
        shared.due[cpu] = shared.now;
    });
}

fn timer_fires(own: &Own) -> Option<u64> {
    let (control, compare, offset) = own.timer;
    (control & 3 == 1).then_some(compare.wrapping_add(offset))
}

pub(super) fn virtual_line() -> bool {
    own(|own| timer_fires(own).is_some_and(|at| at <= own.now)).unwrap_or(false)
}

fn is_active(interrupt: u32) -> bool {
    with_physical(interrupt, |physical| physical.active != 0)
}

/// When this CPU's timers would interrupt it.
fn next_event(own: &Own) -> u64 {
    let timer = own.deadline.filter(|_| !is_active(TIMER));
    let guests = timer_fires(own).filter(|_| !is_active(VIRTUAL_TIMER));
    timer.into_iter().chain(guests).min().unwrap_or(u64::MAX)
}

fn pending(own: &mut Own, take: bool) -> Option<u32> {
    let mut shared = own.board.lock();
    if shared.kicked[cpu()] {
        shared.kicked[cpu()] = !take;
        return Some(KICK);
    }
    drop(shared);
    let due =
        |at: Option<u64>, interrupt| (at.is_some_and(|at| at <= own.now) && !is_active(interrupt)).then_some(interrupt);
    let found = due(own.deadline, TIMER).or(due(timer_fires(own), VIRTUAL_TIMER));
    let found = found.or((own.maintenance && !is_active(MAINTENANCE)).then_some(MAINTENANCE))?;
    if take {
        with_physical(found, |physical| physical.active = u64::MAX);
    }
    Some(found)
}

pub(super) fn acknowledge() -> Option<u32> {
    own(|own| pending(own, true)).flatten()
}

pub(super) fn silence() {
    own(|own| own.maintenance = false);
}

pub(super) fn load(vcpu: u64, timer: (u64, u64, u64)) {
    own(|own| (own.vcpu, own.timer) = (vcpu, timer));
}

/// Returns the virtual timer's control and compare value, and switches it off.
pub(super) fn save() -> Option<(u64, u64)> {
    own(|own| {
        let (control, compare, _) = core::mem::take(&mut own.timer);
        (control, compare)
    })
}

/// Lets time pass until this CPU's next interrupt, or until `due`.
fn pass(due: u64) {
    let Some((board, due)) = own(|own| {
        let waits = pending(own, false).is_none();
        (own.board.clone(), if waits { next_event(own).min(due) } else { own.now })
    }) else {
        return;
    };
    let now = board.pass(cpu(), due);
    own(|own| own.now = now);
}

/// Sleeps; says whether this thread is a CPU of a board.
pub(super) fn wait_for_interrupt() -> bool {
    pass(u64::MAX);
    now().is_some()
}

pub(super) fn relax() {
    if let Some(now) = now() {
        pass(now + MOMENT);
    }
}

pub(super) fn enter(context: &mut Context) -> Option<Exit> {
    let board = own(|own| own.board.clone())?;
    Some((board.guest)(&Here, context))
}

/// The CPU that calls, as the guest on it sees it.
#[derive(Debug)]
pub struct Here;

impl Here {
    /// Returns MPIDR_EL1.
    pub fn vcpu(&self) -> u64 {
        own(|own| own.vcpu).unwrap_or(0)
    }

    /// Returns the virtual count.
    pub fn now(&self) -> u64 {
        own(|own| own.now - own.timer.2).unwrap_or(0)
    }

    /// Sets the virtual timer, or switches it off.
    pub fn set_timer(&self, compare: Option<u64>) {
        own(|own| (own.timer.0, own.timer.1) = compare.map_or((0, own.timer.1), |at| (1, at)));
    }

    /// Takes an interrupt, if one is pending and none active.
    pub fn acknowledge(&self) -> Option<u16> {
        with_lists(|lists| {
            if lists.iter().flatten().any(|list| list.active) {
                return None;
            }
            let list = lists.iter_mut().flatten().find(|list| list.pending)?;
            (list.pending, list.active) = (false, true);
            Some(list.intid)
        })
    }

    /// Ends an interrupt.
    pub fn end(&self, interrupt: u16) {
        let ended = with_lists(|lists| {
            let found = lists.iter_mut().flatten().find(|list| list.active && list.intid == interrupt);
            let list = found.expect("ends what is in a list register");
            list.active = false;
            *list
        });
        own(|own| {
            own.maintenance |= ended.notify;
            ended.physical.into_iter().for_each(|physical| with_physical(physical.into(), |known| known.active = 0));
        });
    }

    /// Whether the hypervisor is to take an interrupt now.
    pub fn is_interrupted(&self) -> bool {
        own(|own| pending(own, false)).flatten().is_some()
    }

    /// Computes for so many counts, or until an interrupt; returns how many it was.
    pub fn compute(&self, counts: u64) -> u64 {
        let before = now().unwrap_or(0);
        pass(before.saturating_add(counts));
        now().unwrap_or(0) - before
    }
}
