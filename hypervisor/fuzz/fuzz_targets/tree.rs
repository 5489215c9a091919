//! Bytes as a device tree, for hours; with SEEDED set, with a fault that is to be found.
#![no_main]

#[path = "../../tests/fuzz/tree.rs"]
mod tree;
#[path = "../../tests/fuzz/verdict.rs"]
mod verdict;

use libfuzzer_sys::fuzz_target;
use verdict::Seeded;

fuzz_target!(|bytes: &[u8]| {
    let seeded = if std::env::var_os("SEEDED").is_some() { Seeded::Fault } else { Seeded::Nothing };
    if let Err(rule) = tree::run(bytes, seeded) {
        panic!("{rule}");
    }
});
