//! The line beside what it is to amount to, in time that only the test moves: nobody sleeps beside work, nobody is where it may not be,
//! and whoever only computes gets an equal share.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use proptest::prelude::*;

use super::queue::{Queue, Times, Turn};

const TIMES: Times = Times { slice: 100, grain: 20, patience: 2000 };
const END: u64 = 60_000;

/// A vCPU of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Guest(Rc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    number: usize,
    home: Cell<usize>,
    pin: Option<usize>,
    ran: Cell<u64>,
    /// Where its registers are.
    on: Cell<Option<usize>>,
    /// What it has really run.
    worked: Cell<u64>,
    /// How long it computes, then sleeps; no sleep for one that only computes.
    habit: (u64, u64),
    left: Cell<u64>,
}

impl Turn for Guest {
    fn home(&self) -> usize {
        self.0.home.get()
    }

    fn may_run_on(&self, cpu: usize) -> bool {
        self.0.pin.is_none_or(|pin| pin == cpu) && self.0.on.get().is_none_or(|on| on == cpu)
    }

    fn ran(&self) -> u64 {
        self.0.ran.get()
    }

    fn set_ran(&self, ran: u64) {
        self.0.ran.set(ran);
    }
}

/// CPUs as `run.rs` has them: one guest runs, one is loaded; told, they look when the time moves.
struct Machine {
    queue: Queue<Guest>,
    running: Vec<Option<Guest>>,
    loaded: Vec<Option<Guest>>,
    timers: Vec<Option<u64>>,
    told: Vec<bool>,
    sleeping: Vec<(u64, Guest)>,
    waiting: Vec<(u64, Guest)>,
    now: u64,
    longest: u64,
}

impl Machine {
    fn new(cpus: usize, guests: &[Guest]) -> Machine {
        Machine {
            queue: Queue::new(),
            running: alloc::vec![None; cpus],
            loaded: alloc::vec![None; cpus],
            timers: alloc::vec![None; cpus],
            told: alloc::vec![true; cpus],
            sleeping: guests.iter().map(|guest| (0, guest.clone())).collect(),
            waiting: Vec::new(),
            now: 0,
            longest: 0,
        }
    }

    fn tell(&mut self, cpu: Option<usize>) {
        cpu.into_iter().for_each(|cpu| self.told[cpu] = true);
    }

    fn wake(&mut self) {
        let now = self.now;
        let (due, later) = core::mem::take(&mut self.sleeping).into_iter().partition(|(at, _)| *at <= now);
        self.sleeping = later;
        let due: Vec<(u64, Guest)> = due;
        for (_, guest) in due {
            guest.0.left.set(guest.0.habit.0);
            self.waiting.push((now, guest.clone()));
            let told = self.queue.wake(guest, now, TIMES);
            self.tell(told);
        }
    }

    /// What `forever` does until it enters a guest or sleeps.
    fn look(&mut self, cpu: usize) {
        let now = self.now;
        if let Some(guest) = self.running[cpu].clone() {
            if guest.0.left.get() == 0 {
                self.queue.leave(&guest, cpu, now);
                self.sleeping.push((now + guest.0.habit.1, guest));
                self.running[cpu] = None;
            } else if self.queue.is_over(cpu, now, TIMES) {
                self.waiting.push((now, guest.clone()));
                let told = self.queue.put_back(guest, cpu, false, now, TIMES);
                self.tell(told);
                self.running[cpu] = None;
            }
        }
        if self.running[cpu].is_none() {
            let (taken, other) = self.queue.take(cpu, now, TIMES);
            self.tell(other);
            if let Some(guest) = taken {
                assert!(guest.may_run_on(cpu), "{guest:?} on {cpu}");
                let at = self.waiting.iter().position(|(_, other)| *other == guest).expect("it waited");
                self.longest = self.longest.max(now - self.waiting.remove(at).0);
                guest.0.home.set(cpu);
                if let Some(old) = self.loaded[cpu].replace(guest.clone()).filter(|old| *old != guest) {
                    old.0.on.set(None);
                    if self.waiting.iter().any(|(_, other)| *other == old) {
                        let told = self.queue.offer(&old, now);
                        self.tell(told);
                    }
                }
                guest.0.on.set(Some(cpu));
                self.running[cpu] = Some(guest);
            }
        }
        self.timers[cpu] = self.running[cpu].as_ref().and(self.queue.end_of_turn(cpu, now, TIMES));
    }

    fn settle(&mut self) {
        self.wake();
        while let Some(cpu) = self.told.iter().position(|&told| told) {
            self.told[cpu] = false;
            self.look(cpu);
        }
        for (_, guest) in &self.waiting {
            for cpu in 0..self.running.len() {
                assert!(self.running[cpu].is_some() || !guest.may_run_on(cpu), "{cpu} sleeps while {guest:?} waits");
            }
        }
    }

    /// Lets time pass until something happens.
    fn step(&mut self) {
        let ends = self.running.iter().flatten().map(|guest| self.now + guest.0.left.get());
        let wakes = self.sleeping.iter().map(|(at, _)| *at);
        let next = ends.chain(wakes).chain(self.timers.iter().flatten().copied()).min();
        let next = next.unwrap_or(END).clamp(self.now + 1, END.max(self.now + 1));
        let passed = next - self.now;
        self.now = next;
        for cpu in 0..self.running.len() {
            let Some(guest) = &self.running[cpu] else { continue };
            guest.0.worked.set(guest.0.worked.get() + passed);
            guest.0.left.set(guest.0.left.get().saturating_sub(passed));
            self.told[cpu] |= guest.0.left.get() == 0 || self.timers[cpu].is_some_and(|at| at <= next);
        }
    }
}

fn guests(cpus: usize, habits: &[(u64, u64, Option<usize>)]) -> Vec<Guest> {
    let new = |(number, &(computes, sleeps, pin)): (usize, &(u64, u64, Option<usize>))| {
        let pin = pin.map(|pin| pin % cpus);
        Guest(Rc::new(Inner {
            number,
            home: Cell::new(pin.unwrap_or(number % cpus)),
            pin,
            ran: Cell::new(0),
            on: Cell::new(None),
            worked: Cell::new(0),
            habit: (computes, sleeps),
            left: Cell::new(0),
        }))
    };
    habits.iter().enumerate().map(new).collect()
}

fn run(cpus: usize, guests: &[Guest]) -> Machine {
    let mut machine = Machine::new(cpus, guests);
    while machine.now < END {
        machine.settle();
        machine.step();
    }
    machine
}

/// One that only computes.
const SPINS: (u64, u64, Option<usize>) = (1 << 40, 0, None);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nobody_waits_beside_an_idle_cpu_nor_for_ever(
        cpus in 1usize..5,
        habits in proptest::collection::vec((1u64..500, 1u64..500, proptest::option::weighted(0.3, 0usize..4)), 1..10),
    ) {
        let guests = guests(cpus, &habits);
        let machine = run(cpus, &guests);
        let bound = TIMES.patience + guests.len() as u64 * 2 * TIMES.slice;
        prop_assert!(machine.longest <= bound, "one waited for {}", machine.longest);
    }

    #[test]
    fn who_only_computes_gets_an_equal_share(cpus in 1usize..5, count in 1usize..10) {
        let guests = guests(cpus, &alloc::vec![SPINS; count]);
        run(cpus, &guests);
        let share = END * cpus.min(count) as u64 / count as u64;
        for guest in &guests {
            let off = guest.0.worked.get().abs_diff(share);
            prop_assert!(off <= 4 * TIMES.slice, "{} of {share}", guest.0.worked.get());
        }
    }

    #[test]
    fn who_sleeps_most_of_the_time_is_let_in_soon(cpus in 1usize..4, spins in 1usize..6, sleeps in 1000u64..3000) {
        let mut habits = alloc::vec![SPINS; spins];
        habits.push((5, sleeps, None));
        let guests = guests(cpus, &habits);
        run(cpus, &guests);
        let worked = guests[spins].0.worked.get();
        // It computes as long as it would alone, but for what it waits: two slices each time.
        let alone = END / (sleeps + 5) * 5;
        let crowded = END / (sleeps + 5 + 2 * TIMES.slice) * 5;
        prop_assert!((crowded.saturating_sub(5)..=alone + 5).contains(&worked), "{worked}: {crowded} to {alone}");
    }
}

#[test]
fn pins_are_kept_and_shared() {
    let guests = guests(2, &[(1 << 40, 0, Some(0)), (1 << 40, 0, Some(0)), (1 << 40, 0, Some(1))]);
    run(2, &guests);
    let worked: Vec<u64> = guests.iter().map(|guest| guest.0.worked.get()).collect();
    assert_eq!(worked[2], END);
    assert!(worked[0].abs_diff(END / 2) <= 2 * TIMES.slice, "{worked:?}");
}

#[test]
fn who_yields_lets_another_one_in() {
    let guests = guests(1, &[SPINS, SPINS]);
    let mut queue = Queue::new();
    let (spinner, waiter) = (&guests[0], &guests[1]);
    queue.wake(spinner.clone(), 0, TIMES);
    assert_eq!(queue.take(0, 0, TIMES).0.as_ref(), Some(spinner));
    waiter.set_ran(50);
    queue.wake(waiter.clone(), 1, TIMES);
    assert!(!queue.is_over(0, 1, TIMES), "it has run less");
    queue.put_back(spinner.clone(), 0, true, 1, TIMES);
    assert_eq!(queue.take(0, 1, TIMES).0.as_ref(), Some(waiter));
}

#[test]
fn who_waits_for_its_own_cpu_is_not_taken_away() {
    let guests = guests(2, &[SPINS]);
    let mut queue = Queue::new();
    assert_eq!(queue.take(0, 0, TIMES), (None, None));
    assert_eq!(queue.take(1, 0, TIMES), (None, None));
    assert_eq!(queue.wake(guests[0].clone(), 5, TIMES), Some(0), "its own is idle");
    assert_eq!(queue.take(1, 5, TIMES), (None, None), "another one that happens to be awake leaves it");
    assert_eq!(queue.take(0, 6, TIMES).0.as_ref(), Some(&guests[0]));
}

#[test]
fn idle_cpus_take_who_waits_for_a_loaded_one() {
    for (cpus, count) in [(2, 2), (4, 4), (4, 8)] {
        let guests = guests(cpus, &alloc::vec![SPINS; count]);
        guests.iter().for_each(|guest| guest.0.home.set(0));
        run(cpus, &guests);
        let share = END * cpus as u64 / count as u64;
        for guest in &guests {
            assert!(guest.0.worked.get().abs_diff(share) <= 4 * TIMES.slice, "{} of {share}", guest.0.worked.get());
        }
    }
}

#[test]
fn who_sleeps_at_home_wakes_where_there_is_room() {
    // All were on the first CPU last; one computes there, the others wake up again and again.
    let guests = guests(3, &[SPINS, (40, 60, None), (40, 60, None)]);
    guests.iter().for_each(|guest| guest.0.home.set(0));
    let machine = run(3, &guests);
    assert!(guests.iter().all(|guest| guest.0.worked.get() * 5 >= END * 2 - 10 * TIMES.slice), "as if it were alone");
    assert!(machine.longest <= TIMES.grain, "one waited for {}", machine.longest);
}

#[test]
fn many_who_wait_for_long_have_a_turn_each() {
    // More than there are slices in the longest wait, on one CPU that looks for another one all the time.
    let guests = guests(1, &[SPINS; 40]);
    let mut queue = Queue::new();
    for guest in &guests {
        queue.wake(guest.clone(), 0, TIMES);
    }
    let (mut running, mut since) = (queue.take(0, 0, TIMES).0.expect("all wait"), 0);
    for now in (0..40 * 10 * TIMES.slice).step_by(10) {
        if queue.is_over(0, now, TIMES) {
            assert!(now - since >= TIMES.grain, "a turn of {}", now - since);
            running.0.worked.set(running.0.worked.get() + now - since);
            queue.put_back(running, 0, false, now, TIMES);
            (running, since) = (queue.take(0, now, TIMES).0.expect("others wait"), now);
        }
    }
    assert!(guests.iter().all(|guest| guest.0.worked.get() >= 8 * TIMES.slice), "{guests:?}");
}
