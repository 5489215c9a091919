//! What exists at all: every number, and every operation of every call, with nothing to work on.

use alloc::format;

use xen_abi::Hypercall;

use crate::calls::{Runs, call, case};
use crate::machine;

/// No call has this operation, and no memory is there.
const NO_OPERATION: u64 = 999;

/// Runs the cases.
pub fn run() {
    let mut runs = Runs::new("hypercall");
    for number in 0..80 {
        runs.add(number, machine::hypercall(number, [NO_OPERATION, 0, 0, 0, 0]));
    }
    drop(runs);
    for number in [1000, 0xffff_ffff, 1 << 32 | 17, 1 << 63 | 17, u64::MAX] {
        case(format_args!("hypercall {number:#x}"), machine::hypercall(number, [0; 5]));
    }
    for (known, width) in CALLS {
        let name = known.name().trim_start_matches("__HYPERVISOR_");
        let mut runs = Runs::new(name);
        for operation in (0..*width).filter(|&operation| !has_effect(*known, operation)) {
            runs.add(operation, operate(*known, operation));
        }
        drop(runs);
        for operation in [0x100, 0x7fff_ffff, 0xffff_ffff, 1 << 32, u64::MAX] {
            case(format_args!("{name} {operation:#x}"), operate(*known, operation));
        }
    }
    sizes();
}

/// Calls whose first argument is an operation, and how many of those are tried.
const CALLS: &[(Hypercall, u64)] = &[
    (Hypercall::MemoryOp, 64),
    (Hypercall::XenVersion, 40),
    (Hypercall::ConsoleIo, 10),
    (Hypercall::GrantTableOp, 40),
    (Hypercall::VmAssist, 10),
    (Hypercall::VcpuOp, 40),
    (Hypercall::XsmOp, 10),
    (Hypercall::SchedOp, 20),
    (Hypercall::EventChannelOp, 40),
    (Hypercall::PhysdevOp, 40),
    (Hypercall::HvmOp, 40),
    (Hypercall::ArgoOp, 10),
    (Hypercall::DmOp, 10),
    (Hypercall::HypfsOp, 10),
];

/// What does something without an argument, or never returns.
fn has_effect(known: Hypercall, operation: u64) -> bool {
    matches!((known, operation), (Hypercall::SchedOp, 1))
}

/// Makes a call with an operation and null pointers, one element where elements are counted.
fn operate(known: Hypercall, operation: u64) -> i64 {
    match known {
        Hypercall::ConsoleIo => call(known, &[operation, 1, 0]),
        Hypercall::GrantTableOp => call(known, &[operation, 0, 1]),
        Hypercall::VmAssist => call(known, &[0, operation]),
        _ => call(known, &[operation, 0, 0, 0, 0]),
    }
}

/// Counts of elements and starts of continuations.
fn sizes() {
    let mut runs = Runs::new("memory_op from extent 1, operation");
    (0..32).for_each(|operation| runs.add(operation, call(Hypercall::MemoryOp, &[operation | 1 << 6, 0])));
    drop(runs);
    for (count, what) in [(0, "no elements"), (0xffff_ffff, "-1 elements"), (1 << 32, "2^32 elements")] {
        let title = format!("grant_table_op with {what}, operation");
        let mut runs = Runs::new(&title);
        (0..20).for_each(|operation| runs.add(operation, call(Hypercall::GrantTableOp, &[operation, 0, count])));
    }
    let mut runs = Runs::new("grant_table_op continued, operation");
    (0..20).for_each(|operation| runs.add(operation, call(Hypercall::GrantTableOp, &[operation | 1 << 12, 0, 1])));
}
