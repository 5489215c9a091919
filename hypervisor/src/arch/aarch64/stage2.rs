//! The registers and invalidations of the guests' translation; the tables themselves are `memory/p2m.rs`.
#![expect(unsafe_code, reason = "instructions")]

use super::registers::{instruction, read, write};
use crate::arch::sequences::stage2_sequences;

/// Returns how many bits a guest physical address has: what the CPU has, up to 48.
pub fn address_bits() -> u32 {
    super::stage1::physical_bits()
}

/// Returns VTCR_EL2 for addresses of `bits` whose walk starts at `level`.
fn control(bits: u32, level: u32) -> u64 {
    let sizes = match bits {
        ..=32 => 0,
        33..=36 => 1,
        37..=40 => 2,
        41..=42 => 3,
        43..=44 => 4,
        _ => 5,
    };
    let start = 2 - u64::from(level);
    1 << 31 | sizes << 16 | 3 << 12 | 1 << 10 | 1 << 8 | start << 6 | (64 - u64::from(bits))
}

/// Sets up this CPU for guests whose addresses have `bits`, their walks starting at `level`.
pub fn start(bits: u32, level: u32) {
    write!("vtcr_el2", control(bits, level));
    set_guest(0);
    forget_guests();
}

/// Notes that a descriptor was written; the fake machine keeps a record.
pub fn wrote(_address: u64, _before: u64, _after: u64) {}

/// Notes that a guest has new tables; the fake machine keeps in mind whose they are.
pub fn began(_vttbr: u64, _level: u32, _order: u32) {}

fn guest() -> u64 {
    read!("vttbr_el2")
}

fn set_guest(vttbr: u64) {
    write!("vttbr_el2", vttbr);
}

stage2_sequences!(instruction);
