//! Data cache maintenance by address, to the point of coherency (DDI 0487, D7.5).
#![expect(unsafe_code, reason = "instructions")]

use super::layout::pointer;
use super::registers::{instruction, read};

/// Writes back what is dirty in a range of physical memory, so that a guest with its caches off sees it.
pub fn clean(address: u64, size: u64) {
    each_line(address, size, |line| instruction!("dc cvac", line));
}

/// Writes back and forgets.
pub fn clean_and_invalidate(address: u64, size: u64) {
    each_line(address, size, |line| instruction!("dc civac", line));
}

/// Forgets. Lines that the range shares with others are written back first.
pub fn invalidate(address: u64, size: u64) {
    clean_and_invalidate(address, size);
}

/// Makes instruction fetches see what was written, on every CPU.
pub fn synchronise_code() {
    instruction!("dsb ish");
    instruction!("ic ialluis");
    instruction!("dsb ish");
    instruction!("isb");
}

fn each_line(address: u64, size: u64, act: impl Fn(u64)) {
    if size == 0 {
        return;
    }
    let line = 4 << (read!("ctr_el0") >> 16 & 15);
    let end = pointer(address + size - 1) as u64;
    let mut at = pointer(address) as u64 & !(line - 1);
    while at <= end {
        act(at);
        at += line;
    }
    instruction!("dsb sy");
}
