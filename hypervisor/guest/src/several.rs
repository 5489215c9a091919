//! Several CPUs at once: each has a tick, works and sleeps in its own way, and looks whether its registers are still its own. Between
//! rounds all but the first are switched off and on again.
//!
//! Under a hypervisor with fewer CPUs than these they change places all the time, which must not show.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use xen_abi::Hypercall;

use crate::machine::{self, CPUS};
use crate::{Board, debug, interrupts, read_register, say, write_register};

/// Rounds.
const ROUNDS: u64 = 4;
/// Ticks a second.
const TICKS: u64 = 100;
/// PSCI's AFFINITY_INFO.
const AFFINITY_INFO: u64 = 0xc400_0004;

/// What a CPU counts.
struct Count {
    ticks: AtomicU64,
    /// The longest that a tick came after its time, in counts of the timer.
    late: AtomicU64,
    checks: AtomicU64,
    wrong: AtomicU64,
    /// Ticks that there should have been.
    due: AtomicU64,
}

static COUNTS: [Count; CPUS] = [const {
    Count {
        ticks: AtomicU64::new(0),
        late: AtomicU64::new(0),
        checks: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        due: AtomicU64::new(0),
    }
}; CPUS];
/// The virtual count at which a round ends; 0 while there is none.
static END: AtomicU64 = AtomicU64::new(0);
static IS_GUEST: AtomicU64 = AtomicU64::new(0);

fn now() -> u64 {
    read_register!("cntvct_el0")
}

fn period() -> u64 {
    read_register!("cntfrq_el0") / TICKS
}

fn number() -> usize {
    (read_register!("mpidr_el1") & 0xff) as usize % CPUS
}

/// Counts a tick and asks for the next, whose time does not depend on when this one came. Says whether there are ticks.
pub fn tick() -> bool {
    if END.load(SeqCst) == 0 {
        return false;
    }
    let (count, due) = (&COUNTS[number()], read_register!("cntv_cval_el0"));
    count.ticks.fetch_add(1, SeqCst);
    count.late.fetch_max(now() - due, SeqCst);
    write_register!("cntv_cval_el0", due + period());
    true
}

/// Runs the rounds, `seconds` long in all, and says what was counted.
pub fn run(board: &Board, seconds: u64) {
    interrupts::prepare(board);
    IS_GUEST.store(board.is_guest.into(), SeqCst);
    let mut cpus = 1;
    for round in 0..ROUNDS {
        let end = now() + seconds * read_register!("cntfrq_el0") / ROUNDS;
        END.store(end, SeqCst);
        cpus = 1 + (1..CPUS).take_while(|&cpu| machine::start_cpu(cpu) == 0).count();
        interrupts::prepare_other(0);
        work(0);
        let is_on = |cpu: usize| machine::firmware(false, [AFFINITY_INFO, cpu as u64, 0, 0])[0] == 0;
        while (1..cpus).any(is_on) {
            relax();
        }
        END.store(0, SeqCst);
        say!("several: round {round}: {cpus} CPUs");
    }
    for (cpu, count) in COUNTS.iter().enumerate().take(cpus) {
        let get = |value: &AtomicU64| value.load(SeqCst);
        let late = get(&count.late) * 1_000_000 / read_register!("cntfrq_el0");
        let (ticks, due, checks, wrong) = (get(&count.ticks), get(&count.due), get(&count.checks), get(&count.wrong));
        say!(
            "several: CPU {cpu}: {ticks} ticks of {due}, late by {late} us at most, {checks} checks, wrong {wrong:#x}"
        );
    }
}

/// Called on every other CPU.
pub fn secondary(number: usize) -> ! {
    interrupts::prepare_other(number);
    work(number);
    machine::switch_off()
}

/// Works until the round is over: CPU 1 only computes, the others sleep as well, each for another part of the time; and look after
/// each piece of work whether their registers are what they were.
fn work(number: usize) {
    let (count, end, period) = (&COUNTS[number], END.load(SeqCst), period());
    let start = now();
    write_register!("cntv_cval_el0", start + period);
    write_register!("cntv_ctl_el0", 1);
    machine::enable_interrupts(true);
    debug::prepare(number);
    let mut pattern = 0x0123_4567_89ab_cdef ^ (number as u64) << 60 ^ number as u64 ^ (number as u64) << 22;
    while now() < end {
        pattern = pattern.rotate_left(3) ^ number as u64;
        machine::fill(pattern);
        let until = now() + period * (number as u64 * 5 % 7) / 4;
        while now() < until {
            if number == 3 {
                relax();
            }
        }
        if number != 1 {
            machine::wait();
        }
        count.wrong.fetch_or(machine::check(pattern) | debug::check(number), SeqCst);
        count.checks.fetch_add(1, SeqCst);
    }
    machine::enable_interrupts(false);
    debug::quiet();
    write_register!("cntv_ctl_el0", 0);
    count.due.fetch_add((now() - start) / period, SeqCst);
}

/// Lets others in.
fn relax() {
    if IS_GUEST.load(SeqCst) != 0 {
        machine::hypercall(Hypercall::SchedOp.number(), [0; 5]);
    }
}
