//! `xenbuild clean`.

use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind, Result};

/// Removes what was built
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_global: &Global, _args: Args) -> Result<ExitCode> {
    Err(Error::new(Kind::Internal, "written next"))
}
