//! `xenbuild __child`: the step between us and an emulator that lets the kernel end it with us. Not for people.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::emulate::process::become_child;
use crate::error::Result;

/// The name of the command.
pub const NAME: &str = "__child";

/// Becomes a program that ends when the given parent does
#[derive(clap::Args)]
pub struct Args {
    /// The parent's process id
    parent: u32,
    /// The program
    program: OsString,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Runs the command; returns only if it cannot.
pub fn run(args: Args) -> Result<ExitCode> {
    Err(become_child(args.parent, args.program, args.args))
}

/// Returns how to start a child by way of this command. The kernel's own link leads to this very program, even if the
/// file has been replaced since.
pub fn guardian() -> Option<(PathBuf, Vec<OsString>)> {
    Some((PathBuf::from("/proc/self/exe"), vec![OsString::from(NAME)]))
}
