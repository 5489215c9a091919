//! xenbuild: one recipe becomes a running Xen system.
//!
//! ```text
//! recipe.toml -> recipe -> plan -> run -> out/cache/<key>/ -> out/<recipe>/ -> emulate
//! ```
//!
//! - [`recipe`]: what was written, and what is meant.
//! - [`plan`]: a recipe becomes a graph of steps, a pure value.
//! - [`step`]: one kind of step per file: its inputs, its key, its work.
//! - [`run`]: carries a plan out: cache, queue, events.
//! - [`delivery`]: what is handed on with the artifacts: manifest and checksums, and their verification.
//! - [`fetch`]: packages from the network, verified and locked; the only place that knows the network.
//! - [`mod@file`]: files, hashed, read within a limit, replaced in one step.
//! - [`carried`]: the programs for bare metal that xenbuild carries.
//! - [`flash`]: writes an image to a card and reads it back; the only place that opens devices.
//! - [`look`]: looks into disks, file systems and archives, and compares them.
//! - [`emulate`]: boots an image and talks to its console; starts QEMU.
//! - [`cli`]: the command line; the only place that knows clap, indicatif and the terminal.

#![forbid(unsafe_code)]

pub mod carried;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod emulate;
pub mod error;
pub mod fetch;
pub mod file;
pub mod flash;
pub mod look;
pub mod plan;
pub mod recipe;
pub mod run;
pub mod step;
pub mod symbols;

pub mod task;
