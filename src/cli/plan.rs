//! `xenbuild plan`.

use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind, Result};

/// Shows the steps that would run, and which of them are cached
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
}

/// Runs the command.
pub fn run(_global: &Global, _args: Args) -> Result<ExitCode> {
    Err(Error::new(Kind::Internal, "written next"))
}
