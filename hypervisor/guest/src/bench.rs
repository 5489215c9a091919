//! Loops to be counted: what an exit costs. Whoever counts instructions looks for the marks around them.

use xen_abi::Hypercall;

use crate::machine::{self, load, mark};
use crate::{Board, interrupts, read_register, say};

/// Times that each loop runs.
pub const TIMES: u64 = 1000;

fn measure(name: &str, mut act: impl FnMut()) {
    // The first times find caches and lists cold.
    (0..8).for_each(|_| act());
    mark(false);
    for _ in 0..TIMES {
        act();
    }
    mark(true);
    say!("bench {name} = {TIMES} times");
}

/// Runs the loops.
pub fn run(board: &Board) {
    interrupts::prepare(board);
    let version = Hypercall::XenVersion.number();
    measure("nothing", machine::call_nothing_at_all);
    measure("null hypercall", || {
        machine::hypercall(version, [0; 5]);
    });
    measure("PSCI_VERSION", || {
        machine::firmware(false, [0x8400_0000, 0, 0, 0]);
    });
    let distributor = interrupts::distributor();
    measure("vGICD read", || {
        load(distributor + 4, 4);
    });
    measure("system register", || {
        read_register!("id_aa64pfr0_el1");
    });
    measure("yield", || {
        machine::hypercall(Hypercall::SchedOp.number(), [0; 5]);
    });
}
