//! `xenbuild explain`.

use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind, Result};

/// Says why a step would run again: the input that changed, exactly
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
}

/// Runs the command.
pub fn run(_global: &Global, _args: Args) -> Result<ExitCode> {
    Err(Error::new(Kind::Internal, "written next"))
}
