//! Fuzz targets as plain functions: bytes as hypercalls, as why guests come back, as accesses to the interrupt controller, as a device tree. Each runs over its
//! committed corpus and over some thousands of mutations, and shows with a seeded fault that it notices.
//!
//! `hypervisor/fuzz` runs the same functions for hours, with real coverage.

#[path = "fuzz/calls.rs"]
mod calls;
#[path = "fuzz/drive.rs"]
mod drive;
#[path = "fuzz/edges.rs"]
mod edges;
#[path = "fuzz/exits.rs"]
mod exits;
#[path = "fuzz/input.rs"]
mod input;
#[path = "fuzz/seeds.rs"]
mod seeds;
#[path = "fuzz/tree.rs"]
mod tree;
#[path = "fuzz/verdict.rs"]
mod verdict;
#[path = "fuzz/vgic.rs"]
mod vgic;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use drive::{Chance, Target, say};
use verdict::Seeded;

const CALLS: Target = Target { name: "calls", run: calls::run, longest: 4096 };
const EXITS: Target = Target { name: "exits", run: exits::run, longest: 2048 };
const VGIC: Target = Target { name: "vgic", run: vgic::run, longest: 1024 };
const TREE: Target = Target { name: "tree", run: tree::run, longest: 32 << 10 };

/// Targets that count the fake machine's frames take turns.
fn turn(target: &Target) -> Option<MutexGuard<'static, ()>> {
    static FRAMES: Mutex<()> = Mutex::new(());
    (target.name != VGIC.name).then(|| FRAMES.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// Every rule holds, and chance finds more than the corpus alone reaches.
fn holds_over_corpus(target: Target, at_least: usize) {
    let _turn = turn(&target);
    let outcome = target.drive(target.corpus(), Seeded::Nothing, 20_000, Duration::from_secs(4));
    say(target.name, &outcome);
    outcome.must_hold(target.name);
    assert!(outcome.by_corpus >= at_least, "the corpus reached {} outcomes alone", outcome.by_corpus);
}

/// A fault that was put there on purpose is found.
fn finds_the_seeded_fault(target: Target) {
    let _turn = turn(&target);
    let outcome = target.drive(target.corpus(), Seeded::Fault, 20_000, Duration::from_secs(20));
    let broken = outcome.broken.expect("the seeded fault is not found");
    let text = format!("fuzz {}: the seeded fault shows in input {}: {}\n", target.name, broken.after, broken.rule);
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
}

#[test]
fn hypercalls() {
    holds_over_corpus(CALLS, 400);
}

#[test]
fn hypercalls_notice() {
    finds_the_seeded_fault(CALLS);
}

#[test]
fn exits() {
    holds_over_corpus(EXITS, 200);
}

#[test]
fn exits_notice() {
    finds_the_seeded_fault(EXITS);
}

#[test]
fn interrupt_controllers() {
    holds_over_corpus(VGIC, 1000);
}

#[test]
fn interrupt_controllers_notice() {
    finds_the_seeded_fault(VGIC);
}

#[test]
fn device_trees() {
    holds_over_corpus(TREE, 50);
}

#[test]
fn device_trees_notice() {
    finds_the_seeded_fault(TREE);
}

/// What the targets reach, in the compiler's own measure. `make test` builds this once more, with counters. How far chance goes from the
/// corpora depends on the machine's speed, so less is asked for than was reached.
#[test]
#[ignore = "counts edges: RUSTC_WORKSPACE_WRAPPER=hypervisor/fuzz/instrument"]
fn edges_are_counted() {
    let Some(none) = edges::of_test("nothing_is_reached") else {
        eprintln!("skipped: built without counters of edges");
        return;
    };
    for (target, test, at_least) in
        [(CALLS, "hypercalls", 1300), (VGIC, "interrupt_controllers", 400), (TREE, "device_trees", 550)]
    {
        let edges = edges::of_test(test).expect("it counted before");
        assert_eq!(edges.all, none.all, "of the same program");
        let taken = edges.taken - none.taken;
        eprintln!("fuzz {}: {taken} of {} edges of hypervisor, fdt and xen-abi", target.name, edges.all);
        assert!(taken >= at_least, "{taken} edges are fewer than {at_least}");
    }
}

/// What the program does besides.
#[test]
fn nothing_is_reached() {
    let profile: Vec<u8> = [0xff6c_7072_6f66_7281, 10, 8, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]
        .into_iter()
        .chain([0; 8])
        .chain([0, 5, 1 << 40])
        .flat_map(u64::to_le_bytes)
        .collect();
    assert_eq!(edges::read(&profile), Ok(edges::Edges { taken: 2, all: 3 }));
    for size in 0..profile.len() {
        assert!(edges::read(&profile[..size]).is_err());
    }
}

/// Writes the first inputs, and of what chance finds from there on that which reaches most.
#[test]
#[ignore = "writes fuzz/corpus anew; trees stay"]
fn the_corpus_grows() {
    let seconds = std::env::var("SECONDS_EACH").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    seeds::all().iter().for_each(|(name, input)| CALLS.keep(name, input));
    seeds::exits().iter().for_each(|(name, input)| EXITS.keep(name, input));
    let mut chance = Chance(7);
    seeds::interrupts().iter().for_each(|(name, input)| VGIC.keep(name, input));
    (0..4).for_each(|index| VGIC.keep(&format!("chance-{index}"), &chance.bytes(600)));
    for (target, most) in [(CALLS, 120), (EXITS, 60), (VGIC, 60), (TREE, 12)] {
        target.grow(most, Duration::from_secs(seconds));
    }
}
