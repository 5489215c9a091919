//! `xenbuild schema`.

use std::process::ExitCode;

use clap::ValueEnum;

use super::Global;
use crate::error::Result;
use crate::{delivery, recipe};

/// Prints a JSON Schema: of recipes, or of the manifests of what is built
///
/// Editors complete and check recipes with it: `xenbuild schema >recipe.schema.json`,
/// and `#:schema recipe.schema.json` as the first line of the recipe.
#[derive(clap::Args)]
pub struct Args {
    /// Of what
    #[arg(long, value_name = "WHAT", default_value = "recipe")]
    of: Of,
}

/// What there is a schema of.
#[derive(Clone, Copy, ValueEnum)]
enum Of {
    /// Recipes
    Recipe,
    /// The `manifest.json` beside artifacts
    Manifest,
}

/// Runs the command.
pub fn run(_global: &Global, args: Args) -> Result<ExitCode> {
    let schema = match args.of {
        Of::Recipe => recipe::schema::schema(),
        Of::Manifest => delivery::schema::schema(),
    };
    super::print(format_args!("{schema:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}
