//! Time, as guests see it while their vCPUs change places: the processor's loop, the scheduler, the timers and the interrupt controller
//! as they ship, over CPUs that share a clock (`arch/fake/board.rs`). Five vCPUs on two CPUs tick, sleep, compute, wake each other, and
//! are switched off and on. No tick may be lost, none be late by more than the others' turns, and nobody sleep longer than that.

#[path = "support/board.rs"]
mod support;

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hypervisor::arch::board::{self, Here, VIRTUAL_TIMER};
use hypervisor::arch::{Context, Exit, timer};
use hypervisor::run;
use support::POKE;

const CPUS: usize = 2;
const VCPUS: usize = 5;
/// Who computes only when vCPU 0 pokes it.
const POKED: usize = 3;
/// Who is switched off and on.
const HOTPLUGGED: usize = 4;
/// No time.
const NOT: u64 = u64::MAX;
/// PSCI's CPU_OFF and CPU_ON.
const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;

fn microseconds(count: u64) -> u64 {
    timer::frequency() / 1_000_000 * count
}

/// What a vCPU's program counts.
#[derive(Debug, Default, Clone)]
struct Counts {
    ticks: u64,
    /// Ticks that there should have been.
    due: u64,
    tick_late: u64,
    sleeps: u64,
    sleep_late: u64,
    sleep_late_all: u64,
    worked: u64,
    starts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Off,
    Computes(u64),
    Sleeps(u64),
    /// Sleeps until it is poked.
    Waits,
}

/// A vCPU's program.
#[derive(Debug, Clone)]
struct Program {
    /// How long it computes, and then sleeps: neither changes in regular ways with the ticks.
    habit: (u64, u64),
    /// Counts between ticks.
    period: u64,
    phase: Phase,
    started: u64,
    next_tick: u64,
    turns: u64,
    counts: Counts,
}

impl Program {
    fn new(index: usize, computes: u64, sleeps: u64) -> Program {
        Program {
            habit: (microseconds(computes), microseconds(sleeps)),
            period: microseconds(100_000 + 1_000 * index as u64),
            phase: Phase::Off,
            started: 0,
            next_tick: 0,
            turns: 0,
            counts: Counts::default(),
        }
    }

    /// As long as that, more or less.
    fn vary(&mut self, length: u64) -> u64 {
        self.turns += 1;
        length / 2 + length * (self.turns * 7 % 11) / 11
    }

    fn arm(&self, here: &Here) {
        let sleeps = if let Phase::Sleeps(until) = self.phase { until } else { u64::MAX };
        here.set_timer(Some(self.next_tick.min(sleeps)));
    }

    fn wake(&mut self, late: u64) {
        self.counts.sleeps += 1;
        self.counts.sleep_late = self.counts.sleep_late.max(late);
        self.counts.sleep_late_all += late;
        let length = self.vary(self.habit.0);
        self.phase = Phase::Computes(length);
    }

    fn interrupt(&mut self, here: &Here, interrupt: u16, poked: &AtomicU64) {
        let now = here.now();
        if u32::from(interrupt) == VIRTUAL_TIMER {
            if now >= self.next_tick {
                self.counts.ticks += 1;
                self.counts.tick_late = self.counts.tick_late.max(now - self.next_tick);
                self.next_tick += self.period;
            }
            if let Phase::Sleeps(until) = self.phase
                && now >= until
            {
                self.wake(now - until);
            }
            self.arm(here);
        } else if interrupt == POKE {
            self.wake(now - poked.swap(NOT, SeqCst));
        }
        here.end(interrupt);
    }

    /// Counts the ticks that were due since it was started.
    fn settle(&mut self, now: u64) {
        self.counts.due += (now - self.started) / self.period;
    }
}

/// Asks PSCI.
fn firmware(context: &mut Context, call: [u64; 3]) -> Exit {
    context.x[..3].copy_from_slice(&call);
    Exit::Hvc(0)
}

/// What vCPU `index` does until the hypervisor is to do something. `poked` is when the one that is poked was, or [`NOT`].
fn go_on(program: &mut Program, index: usize, poked: &AtomicU64, here: &Here, context: &mut Context) -> Exit {
    if program.phase == Phase::Off {
        let now = here.now();
        (program.started, program.next_tick) = (now, now + program.period);
        program.counts.starts += 1;
        program.phase = Phase::Computes(program.habit.0);
        program.arm(here);
    }
    loop {
        if let Some(interrupt) = here.acknowledge() {
            program.interrupt(here, interrupt, poked);
            continue;
        }
        if here.is_interrupted() {
            return Exit::Interrupt;
        }
        match program.phase {
            Phase::Off => unreachable!("just started"),
            Phase::Sleeps(_) | Phase::Waits => return Exit::Wait { event: false, condition: None },
            Phase::Computes(0) => {
                let sleeps = program.vary(program.habit.1);
                program.phase = if index == POKED { Phase::Waits } else { Phase::Sleeps(here.now() + sleeps) };
                program.arm(here);
                if index == HOTPLUGGED && program.turns.is_multiple_of(63) {
                    program.settle(here.now());
                    program.phase = Phase::Off;
                    here.set_timer(None);
                    return firmware(context, [CPU_OFF, 0, 0]);
                }
                if index == 0 && program.turns.is_multiple_of(15) {
                    return firmware(context, [CPU_ON, HOTPLUGGED as u64, support::CODE.0 << 12]);
                }
                // Not before it has seen the last time.
                if index == 0 && poked.compare_exchange(NOT, here.now(), SeqCst, SeqCst).is_ok() {
                    return support::poke(POKED, context);
                }
            }
            Phase::Computes(left) => {
                let done = here.compute(left);
                program.counts.worked += done;
                program.phase = Phase::Computes(left - done);
            }
        }
    }
}

/// Lets the vCPUs run for so many seconds of their time, and looks at what they counted.
fn pass(seconds: u64) {
    let started = Instant::now();
    let end = seconds * timer::frequency();
    let domain = support::start(VCPUS, CPUS);
    let habits = [(2_000, 60_000), (1 << 40, 0), (30_000, 15_000), (3_000, 0), (5_000, 40_000)];
    let new = |(index, &(computes, sleeps)): (usize, &(u64, u64))| Mutex::new(Program::new(index, computes, sleeps));
    let programs: Arc<Vec<_>> = Arc::new(habits.iter().enumerate().map(new).collect());
    let poked = AtomicU64::new(NOT);
    let guests = programs.clone();
    let guest = move |here: &Here, context: &mut Context| {
        let index = (here.vcpu() & 0xf) as usize;
        let mut program = guests[index].try_lock().expect("a vCPU is on one CPU at a time");
        go_on(&mut program, index, &poked, here, context)
    };
    board::run(CPUS, end, Box::new(guest), |_| run::forever());
    let result = |program: &Mutex<Program>| program.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let mut programs: Vec<Program> = programs.iter().map(result).collect();
    let moves: Vec<u64> = domain.vcpus.iter().map(|vcpu| vcpu.moves.load(SeqCst)).collect();
    let mut report = String::new();
    for (index, program) in programs.iter_mut().enumerate() {
        if program.phase != Phase::Off {
            program.settle(end);
        }
        let counts = &program.counts;
        let of = |count: u64| count / microseconds(1);
        let mean = of(counts.sleep_late_all) / counts.sleeps.max(1);
        writeln!(
            report,
            "vCPU {index}: {} ticks of {}, late by {} us at most; {} sleeps, late by {mean} us, {} us at most; worked {} ms; started {} times; moved {} times",
            counts.ticks, counts.due, of(counts.tick_late), counts.sleeps, of(counts.sleep_late), of(counts.worked) / 1000, counts.starts, moves[index]
        )
        .expect("a string");
    }
    println!("{seconds} s of their time in {} ms of ours\n{report}", started.elapsed().as_millis());
    let (slice, grain) = (microseconds(10_000), microseconds(2_000));
    for (index, Program { counts, .. }) in programs.iter().enumerate() {
        // The last one of each start may still be due.
        assert!(counts.ticks <= counts.due && counts.due - counts.ticks <= counts.starts, "vCPU {index}\n{report}");
        // A slice of each of the others, on half of whom it waits at most, and a turn that has just begun.
        assert!(counts.tick_late <= 2 * slice + grain, "vCPU {index}\n{report}");
        assert!(counts.sleep_late <= slice + grain, "vCPU {index}\n{report}");
        assert!(counts.sleep_late_all <= counts.sleeps * microseconds(200), "vCPU {index}\n{report}");
    }
    // Who sleeps sleeps, who is switched off comes back, and all that time they change places.
    assert!([0, 2, 3, 4].into_iter().all(|index| programs[index].counts.sleeps > 10 * seconds), "{report}");
    assert!(programs[HOTPLUGGED].counts.starts > seconds / 10, "{report}");
    assert!(moves.iter().all(|&moves| moves > seconds), "{report}");
    // Somebody always computes, so one CPU's time at least is theirs, and both CPUs' at most.
    let worked: u64 = programs.iter().map(|program| program.counts.worked).sum();
    assert!((end..=CPUS as u64 * end).contains(&worked), "{report}");
}

#[test]
fn an_hour_loses_no_tick_and_no_sleep() {
    pass(3600);
}
