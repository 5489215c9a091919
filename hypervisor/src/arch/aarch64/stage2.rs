//! The registers and invalidations of the guests' translation; the tables themselves are `memory/p2m.rs`.
#![expect(unsafe_code, reason = "instructions")]

use super::registers::{instruction, read, write};

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
    write!("vttbr_el2", 0);
    instruction!("isb");
    instruction!("tlbi alle1");
    instruction!("dsb nsh");
    instruction!("isb");
}

/// Orders stores to tables before what follows.
pub fn publish() {
    instruction!("dsb ishst");
    instruction!("isb");
}

/// Notes that a descriptor was written; the fake machine keeps a record.
pub fn wrote(_address: u64, _before: u64, _after: u64) {}

/// Invalidates, on every CPU, what is cached of `page` (an address) in the guest that `vttbr` names; and what stage 1 made of it.
pub fn invalidate(vttbr: u64, page: u64) {
    with_guest(vttbr, || {
        instruction!("dsb ishst");
        instruction!("tlbi ipas2e1is", page >> 12);
        instruction!("dsb ish");
        // Combined entries hold no guest physical address by which they could be found (DDI 0487, D8.13).
        instruction!("tlbi vmalle1is");
        instruction!("dsb ish");
        instruction!("isb");
    });
}

/// Invalidates everything cached of the guest that `vttbr` names.
pub fn invalidate_all(vttbr: u64) {
    with_guest(vttbr, || {
        instruction!("dsb ishst");
        instruction!("tlbi vmalls12e1is");
        instruction!("dsb ish");
        instruction!("isb");
    });
}

/// Invalidates, on this CPU, what stage 1 of the loaded guest made.
pub fn invalidate_here() {
    instruction!("tlbi vmalle1");
    instruction!("dsb nsh");
    instruction!("isb");
}

/// Invalidations by address act on the guest whose identifier is in VTTBR_EL2.
fn with_guest(vttbr: u64, act: impl FnOnce()) {
    let current = read!("vttbr_el2");
    if current == vttbr {
        return act();
    }
    write!("vttbr_el2", vttbr);
    instruction!("isb");
    act();
    write!("vttbr_el2", current);
    instruction!("isb");
}
