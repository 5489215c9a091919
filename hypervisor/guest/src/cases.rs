//! The cases of hypercalls: what exists at all, then each call, with its own arguments and with hostile ones.

mod console_io;
mod event_channel_op;
mod firmware;
mod grant_table_op;
mod hvm_op;
mod memory_op;
mod multicall;
mod numbers;
mod pointers;
mod privileged;
mod sched_op;
mod vcpu_op;
mod xen_version;

use crate::Board;

/// Runs them all. Later ones build on what earlier ones left; the order is part of the cases.
pub fn run(board: &Board) {
    crate::interrupts::prepare(board);
    pointers::start(board);
    numbers::run();
    xen_version::run();
    console_io::run();
    memory_op::run(board);
    hvm_op::run();
    vcpu_op::run();
    event_channel_op::run(board);
    grant_table_op::run(board);
    sched_op::run();
    multicall::run();
    privileged::run();
    firmware::run();
}

/// Domain identifiers that mean something, or nothing.
const DOMAINS: [(&str, u16); 10] = [
    ("DOMID_SELF", 0x7ff0),
    ("domain 0", 0),
    ("domain 1", 1),
    ("domain 0x7fef", 0x7fef),
    ("DOMID_IO", 0x7ff1),
    ("DOMID_XEN", 0x7ff2),
    ("DOMID_COW", 0x7ff3),
    ("DOMID_INVALID", 0x7ff4),
    ("DOMID_IDLE", 0x7fff),
    ("domain 0xffff", 0xffff),
];
