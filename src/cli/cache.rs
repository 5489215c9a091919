//! `xenbuild cache`.

use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind, Result};

/// Shows the cache's size and limit, and collects garbage
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_global: &Global, _args: Args) -> Result<ExitCode> {
    Err(Error::new(Kind::Internal, "written next"))
}
