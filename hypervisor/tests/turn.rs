//! Two vCPUs on one CPU, of which one gives no reason to look at the other: it has no ticks, and computes for ever. Over CPUs that share a
//! clock (`arch/fake/board.rs`), with the processor's loop as it ships.

#[path = "support/board.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hypervisor::arch::board::{self, Here};
use hypervisor::arch::{Context, Exit, timer};
use hypervisor::run;
use support::{POKE, poke};

/// What happened when; 0 while it did not.
#[derive(Default)]
struct Times {
    poked: AtomicU64,
    taken: AtomicU64,
    woken: AtomicU64,
    ended: AtomicU64,
}

#[test]
fn who_is_woken_on_the_same_cpu_has_its_turn_and_all_that_it_had() {
    let domain = support::start(2, 1);
    let times = Arc::new(Times::default());
    let (domain_of_guests, seen) = (domain.clone(), times.clone());
    let second = timer::frequency();
    let computes = move |here: &Here, context: &mut Context| {
        let happens = |what: &AtomicU64| what.compare_exchange(0, here.now(), SeqCst, SeqCst).is_ok();
        loop {
            if here.is_interrupted() {
                return Exit::Interrupt;
            }
            // By then the other one sleeps.
            if here.now() < second / 10 {
                here.compute(second / 10 - here.now());
            } else if happens(&seen.poked) {
                return poke(1, context);
            } else if seen.taken.load(SeqCst) != 0 && happens(&seen.woken) {
                // It sleeps again, in its handler; and wakes up, though nothing is new for it.
                domain_of_guests.upcall(1);
            } else {
                here.compute(10 * second);
            }
        }
    };
    let seen = times.clone();
    let sleeps = move |here: &Here| {
        if seen.woken.load(SeqCst) != 0 && seen.ended.load(SeqCst) == 0 {
            // Which is where it can be ended.
            here.end(POKE);
            seen.ended.store(here.now(), SeqCst);
        } else if here.acknowledge() == Some(POKE) {
            seen.taken.store(here.now(), SeqCst);
        }
        if here.is_interrupted() { Exit::Interrupt } else { Exit::Wait { event: false, condition: None } }
    };
    let guest = move |here: &Here, context: &mut Context| {
        if here.vcpu() & 1 == 0 { computes(here, context) } else { sleeps(here) }
    };
    board::run(1, second, Box::new(guest), |_| run::forever());
    let late = |from: &AtomicU64, to: &AtomicU64| to.load(SeqCst).checked_sub(from.load(SeqCst));
    // The shortest turn, which it may have to wait for.
    let grain = second / 500;
    assert!(late(&times.poked, &times.taken).is_some_and(|late| late <= grain), "it is not woken");
    assert!(late(&times.woken, &times.ended).is_some_and(|late| late <= grain), "it does not wake up in its handler");
}
