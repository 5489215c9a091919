//! Who waits for a CPU, who has one, and who is next. Pure: it knows neither time, nor interrupts, nor registers.
//!
//! One line serves all CPUs. Next is who has run least, so that whoever only computes gets an equal share whatever the others do; who
//! wakes up is put beside the others, a slice ahead at most. A CPU prefers who was last there. Nobody is left behind: whoever has
//! waited for long is next.

use alloc::vec::Vec;

use crate::arch::CPUS_MAX;

/// What waits, and runs.
pub trait Turn: Clone {
    /// The CPU where it ran last.
    fn home(&self) -> usize;
    /// Whether it may run on a CPU now.
    fn may_run_on(&self, cpu: usize) -> bool;
    /// How long it has run.
    fn ran(&self) -> u64;
    /// Changes that.
    fn set_ran(&self, ran: u64);
    /// Notes when it was woken up.
    fn set_woken(&self, _now: u64) {}
}

/// Lengths of time, in the caller's units.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// A turn, where others wait.
    pub slice: u64,
    /// How far somebody has to be behind to interrupt another's turn, or to be worth a move.
    pub grain: u64,
    /// Whoever has waited for so long is next.
    pub patience: u64,
}

struct Waiting<T> {
    what: T,
    since: u64,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    /// How long it had run before.
    before: u64,
    since: u64,
}

impl Running {
    fn ran(self, now: u64) -> u64 {
        self.before + now.saturating_sub(self.since)
    }
}

/// The line.
pub struct Queue<T> {
    waiting: Vec<Waiting<T>>,
    running: [Option<Running>; CPUS_MAX],
    /// CPUs that found nothing to do and were not told since, as bits.
    idle: u64,
}

impl<T: Turn> Queue<T> {
    /// Returns one in which nobody waits.
    pub const fn new() -> Queue<T> {
        Queue { waiting: Vec::new(), running: [None; CPUS_MAX], idle: 0 }
    }

    /// Makes room for so many to wait.
    pub fn make_room(&mut self, all: usize) {
        self.waiting.reserve(all.saturating_sub(self.waiting.len()));
    }

    /// Returns how many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many wait that ran on a CPU last.
    pub fn waiting_at(&self, cpu: usize) -> usize {
        self.waiting.iter().filter(|waiting| waiting.what.home() == cpu).count()
    }

    /// Puts somebody who woke up into the line; returns the CPU that is to look at it.
    pub fn wake(&mut self, what: T, now: u64, times: Times) -> Option<usize> {
        what.set_woken(now);
        // What it did before it slept counts for a slice at most, either way.
        let running = self.running.iter().flatten().map(|running| running.ran(now));
        let all = running.chain(self.waiting.iter().map(|waiting| waiting.what.ran()));
        let range = all.fold(None, |range, ran| match range {
            None => Some((ran, ran)),
            Some((low, high)) => Some((ran.min(low), ran.max(high))),
        });
        if let Some((low, high)) = range {
            what.set_ran(what.ran().clamp(low.saturating_sub(times.slice), high.saturating_add(times.slice)));
        }
        self.put(what, now)
    }

    /// Puts somebody who ran on `cpu` until now back into the line, behind those who wait there where it `yields`; returns the CPU that
    /// is to look at it.
    pub fn put_back(&mut self, what: T, cpu: usize, yields: bool, now: u64, times: Times) -> Option<usize> {
        self.leave(&what, cpu, now);
        if yields && let Some((_, ran)) = self.best(cpu, now, times) {
            what.set_ran(what.ran().max(ran));
        }
        self.put(what, now)
    }

    fn put(&mut self, what: T, now: u64) -> Option<usize> {
        let told = self.choose(&what, now);
        self.waiting.push(Waiting { what, since: now });
        told
    }

    /// Notes that somebody does not run on `cpu` any more.
    pub fn leave(&mut self, what: &T, cpu: usize, now: u64) {
        if let Some(running) = self.running[cpu].take() {
            what.set_ran(running.ran(now));
        }
    }

    /// Returns the CPU that is to look at somebody who waits, and who may now run on more CPUs than before.
    pub fn offer(&mut self, what: &T, now: u64) -> Option<usize> {
        self.choose(what, now)
    }

    /// Chooses the CPU to be told of somebody: one that is idle, best its own; else the one whose guest has run most.
    fn choose(&mut self, what: &T, now: u64) -> Option<usize> {
        let home = what.home();
        let is_idle = |cpu: usize| self.idle >> cpu & 1 != 0 && what.may_run_on(cpu);
        // Its own looks by itself soon, if it neither sleeps nor runs a guest.
        let is_awake = self.idle >> home & 1 == 0 && self.running[home].is_none();
        if is_awake && what.may_run_on(home) {
            return None;
        }
        if let Some(cpu) = core::iter::once(home).chain(0..CPUS_MAX).find(|&cpu| is_idle(cpu)) {
            self.idle &= !(1 << cpu);
            return Some(cpu);
        }
        let running = self.running.iter().enumerate().filter_map(|(cpu, running)| Some((cpu, running.as_ref()?)));
        running.filter(|&(cpu, _)| what.may_run_on(cpu)).max_by_key(|(_, running)| running.ran(now)).map(|(cpu, _)| cpu)
    }

    /// Returns who is next on `cpu`, and another CPU that is to look at who still waits.
    pub fn take(&mut self, cpu: usize, now: u64, times: Times) -> (Option<T>, Option<usize>) {
        let Some((index, _)) = self.best(cpu, now, times) else {
            self.idle |= 1 << cpu;
            return (None, None);
        };
        self.idle &= !(1 << cpu);
        let what = self.waiting.remove(index).what;
        self.running[cpu] = Some(Running { before: what.ran(), since: now });
        let idle = self.idle;
        let other = (0..CPUS_MAX)
            .filter(|&other| idle >> other & 1 != 0)
            .find(|&other| self.waiting.iter().any(|waiting| waiting.what.may_run_on(other)));
        other.into_iter().for_each(|other| self.idle &= !(1 << other));
        (Some(what), other)
    }

    /// Returns who might go on on `cpu`, with their places in the line and what they count as having run.
    fn candidates(&self, cpu: usize, times: Times) -> impl Iterator<Item = (usize, u64, u64)> {
        let mine = self.waiting.iter().enumerate().filter(move |(_, Waiting { what, .. })| {
            let home = what.home();
            // Who waits for a CPU that has nothing else to do is left to it.
            what.may_run_on(cpu) && (home == cpu || self.running[home].is_some() || !what.may_run_on(home))
        });
        mine.map(move |(index, Waiting { what, since })| {
            let moves = if what.home() == cpu { 0 } else { times.grain };
            (index, what.ran().saturating_add(moves), *since)
        })
    }

    /// Returns the index of who would be next on `cpu`, and how long it counts as having run.
    fn best(&self, cpu: usize, now: u64, times: Times) -> Option<(usize, u64)> {
        let key = |(index, ran, since): (usize, u64, u64)| {
            if now.saturating_sub(since) > times.patience { (index, 0) } else { (index, ran) }
        };
        self.candidates(cpu, times).map(key).min_by_key(|&(_, ran)| ran)
    }

    /// Whether somebody waits who could run on `cpu`.
    pub fn is_wanted(&self, cpu: usize, now: u64, times: Times) -> bool {
        self.best(cpu, now, times).is_some()
    }

    /// Whether the turn of who runs on `cpu` is over: somebody waits who has run clearly less, and then it was a grain long at
    /// least; or who has waited for long, and then a slice.
    pub fn is_over(&self, cpu: usize, now: u64, times: Times) -> bool {
        let Some(running) = self.running[cpu] else { return true };
        let (had, ran) = (now.saturating_sub(running.since), running.ran(now));
        had >= times.grain
            && self.candidates(cpu, times).any(|(_, other, since)| {
                let is_late = had >= times.slice && now.saturating_sub(since) > times.patience;
                is_late || other.saturating_add(times.grain) <= ran
            })
    }

    /// Returns when the turn of who runs on `cpu` is to be looked at, if somebody else waits.
    pub fn end_of_turn(&self, cpu: usize, now: u64, times: Times) -> Option<u64> {
        let least = self.candidates(cpu, times).map(|(_, ran, _)| ran).min()?;
        let Some(running) = self.running[cpu] else { return Some(now + times.slice) };
        // Whoever is to have it at once has it when the shortest turn is over. Later it is looked at where there is a reason to, and with
        // every slice; never now, which would be again and again.
        let first = running.since + times.grain;
        let slices = (now.saturating_sub(running.since) / times.slice + 1) * times.slice;
        let soon = now < first && least.saturating_add(times.grain) <= running.ran(first);
        Some(if soon { first } else { running.since + slices })
    }
}

impl<T: Turn> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue::new()
    }
}
