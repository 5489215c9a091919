//! Bytes as why guests come back, for hours; with SEEDED set, with a fault that is to be found.
#![no_main]

#[expect(dead_code, reason = "its world is used, not its steps")]
#[path = "../../tests/fuzz/calls.rs"]
mod calls;
#[path = "../../tests/fuzz/exits.rs"]
mod exits;
#[path = "../../tests/fuzz/input.rs"]
mod input;
#[path = "../../tests/fuzz/verdict.rs"]
mod verdict;

use libfuzzer_sys::fuzz_target;
use verdict::Seeded;

fuzz_target!(|bytes: &[u8]| {
    let seeded = if std::env::var_os("SEEDED").is_some() { Seeded::Fault } else { Seeded::Nothing };
    if let Err(rule) = exits::run(bytes, seeded) {
        panic!("{rule}");
    }
});
