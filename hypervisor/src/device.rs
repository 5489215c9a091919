//! The devices that every guest has: interrupt controller, timers, firmware, and Dom0's early console.

pub mod vgic;
pub mod vpsci;
pub mod vsysreg;
pub mod vuart;
