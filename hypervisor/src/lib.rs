//! The hypervisor: a Type-1 hypervisor for Arm that speaks Xen's words to its guests.
//!
//! ```text
//!   main          boot, in order
//!   arch          the machine: aarch64, or a fake one for tests; never calls upward
//!   machine       what the host's device tree says there is
//!   memory        frames, heap, guests' physical memory, the doors to it
//!   domain        a guest: vCPUs, memory, devices; how Dom0 is built and what it is told
//!   run           enters a vCPU and matches on why it came back
//!   schedule      which vCPU next
//!   hypercall     one file for each call
//!   event, grant  the rules of event channels and of grants
//!   device        interrupt controller, timers, firmware, UART, as guests see them
//!   console       what is said, and typed
//!   exits, keys   why guests came back; what the debug keys show
//! ```
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod arch;
pub mod console;
pub mod device;
pub mod domain;
pub mod event;
pub mod exits;
pub mod grant;
pub mod hypercall;
pub mod keys;
pub mod machine;
pub mod memory;
pub mod run;
pub mod schedule;
pub mod word;
