//! The firmware that the hypervisor is to a guest: PSCI and the SMC Calling Convention; and calls that mean nothing.

use crate::machine::{self, attempt};
use crate::say;

/// Runs the cases.
pub fn run() {
    for function in 0x8400_0000..=0x8400_0018u64 {
        // Suspending would wait, and the others end it all.
        if ![0x8400_0001, 0x8400_0002, 0x8400_0008, 0x8400_0009].contains(&function) {
            ask(function, 0);
        }
    }
    for function in [0xc400_0003, 0xc400_0004, 0xc400_0005, 0xc400_0007, 0xc400_000e, 0xc400_0012] {
        ask(function, 0);
    }
    for function in 0x8400_0000..=0x8400_0018 {
        ask(0x8400_000a, function);
    }
    for function in [0xc400_0001, 0xc400_0003, 0xc400_0004, 0xc400_000e, 0xc400_0012, 0x8000_0000, 0xffff_ffff] {
        ask(0x8400_000a, function);
    }
    for (one, two) in [(1, 0), (0, 3), (0, 4), (0x8000_0000, 0), (1 << 40, 0), (u64::MAX, 0)] {
        say!("firmware 0xc4000004 {one:#x} {two:#x} = {:#x}", machine::firmware(false, [0xc400_0004, one, two, 0])[0]);
    }
    for (one, two) in [(0, 0), (1, 0), (1, 2), (0x100, 0), (1 << 32, 0), (u64::MAX, 0)] {
        say!("firmware 0xc4000003 {one:#x} {two:#x} = {:#x}", machine::firmware(false, [0xc400_0003, one, two, 0])[0]);
    }
    for function in [0x8000_0000, 0x8000_0001, 0x8000_0002, 0x8000_3fff, 0x8000_7fff, 0x8000_8000] {
        ask(function, 0);
    }
    for function in [0x8000_0000, 0x8000_0001, 0x8000_0002, 0x8000_3fff, 0x8000_7fff, 0x8000_8000, 0x8400_0000] {
        ask(0x8000_0001, function);
    }
    for function in [
        0x8100_ff01,
        0x8400_0050,
        0x8400_ff00,
        0x8400_ff01,
        0x8400_ff02,
        0x8400_ff03,
        0x8500_0000,
        0x8500_ff00,
        0x8500_ff01,
        0x8500_ff02,
        0x8500_ff03,
        0x8600_ff01,
        0xb200_0000,
        0xbf00_ff01,
        0xc500_0020,
        0,
        1,
        3,
        0xffff_ffff,
        0x1_8400_0000,
        0xffff_ffff_8400_0000,
    ] {
        if function != 1 {
            ask(function, 0);
        }
    }
    for by_smc in [false, true] {
        let name = if by_smc { "smc" } else { "hvc" };
        let answer = attempt(|| machine::firmware(by_smc, [0x8400_0000, 0, 0, 0]));
        match answer {
            Ok([version, ..]) => say!("{name} #0, PSCI_VERSION = {version:#x}"),
            Err(taken) => say!("{name} #0, PSCI_VERSION = an exception, class {:#x}", taken.syndrome >> 26),
        }
        match attempt(|| machine::call_nothing(by_smc)) {
            Ok(()) => say!("{name} #1 = nothing"),
            Err(taken) => {
                say!("{name} #1 = an exception, syndrome {:#x}, at the instruction {}", taken.syndrome, taken.at_call())
            }
        }
    }
}

fn ask(function: u64, argument: u64) {
    let [a, b, c, d] = machine::firmware(false, [function, argument, 0x1111, 0x2222]);
    // What is not used for results is left alone, or not.
    let left = [b == argument, c == 0x1111, d == 0x2222];
    if left == [true; 3] {
        say!("firmware {function:#x} {argument:#x} = {a:#x}");
    } else {
        say!("firmware {function:#x} {argument:#x} = {a:#x} {b:#x} {c:#x} {d:#x}");
    }
}
