//! Which CPU this is: TPIDR_EL2 holds its number.
#![expect(unsafe_code, reason = "a system register")]

use super::registers::read;

/// Returns the number of the CPU that asks.
pub fn cpu() -> usize {
    read!("tpidr_el2") as usize
}
