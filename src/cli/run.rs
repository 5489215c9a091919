//! `xenbuild run`.

use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind, Result};

/// Builds a recipe and boots it, with the terminal on its serial console
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
}

/// Runs the command.
pub fn run(_global: &Global, _args: Args) -> Result<ExitCode> {
    Err(Error::new(Kind::Internal, "written next"))
}
