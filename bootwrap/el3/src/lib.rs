//! The half of the EL3 stub that does not touch the machine: its parameters and the rules of PSCI. It knows no register and no address.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod lock;
pub mod parameters;
pub mod psci;
