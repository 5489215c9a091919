//! Data cache maintenance by address, to the point of coherency (DDI 0487, D7.5).
#![expect(unsafe_code, reason = "instructions")]

use super::layout::pointer;
use super::registers::{instruction, read};
use crate::arch::sequences::cache_sequences;

cache_sequences!(instruction);

fn clean_lines(address: u64, size: u64) {
    each_line(address, size, |line| instruction!("dc cvac", line));
}

fn clean_and_invalidate_lines(address: u64, size: u64) {
    each_line(address, size, |line| instruction!("dc civac", line));
}

/// Acts on every line of a range, which is not empty.
fn each_line(address: u64, size: u64, act: impl Fn(u64)) {
    let line = 4 << (read!("ctr_el0") >> 16 & 15);
    let end = pointer(address + size - 1) as u64;
    let mut at = pointer(address) as u64 & !(line - 1);
    while at <= end {
        act(at);
        at += line;
    }
}
