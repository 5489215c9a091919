//! `xenbuild schema`.

use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind, Result};

/// Prints the JSON Schema of recipes
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_global: &Global, _args: Args) -> Result<ExitCode> {
    Err(Error::new(Kind::Internal, "written next"))
}
