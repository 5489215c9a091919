//! `xenbuild schema`.

use std::process::ExitCode;

use super::Global;
use crate::error::Result;
use crate::recipe::schema;

/// Prints the JSON Schema of recipes
///
/// Editors complete and check recipes with it: `xenbuild schema >recipe.schema.json`,
/// and `#:schema recipe.schema.json` as the first line of the recipe.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_global: &Global, _args: Args) -> Result<ExitCode> {
    super::print(format_args!("{:#}\n", schema::schema()))?;
    Ok(ExitCode::SUCCESS)
}
