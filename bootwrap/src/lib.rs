//! Ties firmware stub, hypervisor, device tree, kernel and initramfs into one ELF (.axf).
//!
//! ```text
//! device tree --> board (facts) --+
//! kernel, hypervisor --> Image ---+--> layout --> addresses --+--> chosen: the tree, extended
//! initramfs, modules: sizes ------+                           +--> stub: its parameters
//!                                                             +--> axf: everything, streamed
//! ```
//!
//! It knows no recipe and no terminal, and reads and writes only what it is handed.
#![forbid(unsafe_code)]

pub mod axf;
pub mod board;
pub mod chosen;
pub mod error;
pub mod kernel;
pub mod layout;
pub mod payload;
pub mod stub;
pub mod uboot;
pub mod wrap;

pub use bootwrap_el3 as el3;
pub use error::Error;
pub use payload::{FilePayload, Payload};
pub use wrap::{Hypervisor, Level, Module, Secondaries, Spec, Wrapped, wrap};
