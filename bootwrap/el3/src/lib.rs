//! The half of the EL3 stub that does not touch the machine: its parameters, the rules of PSCI and of interrupt groups.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod group;
pub mod lock;
pub mod parameters;
pub mod psci;
