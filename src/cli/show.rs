//! `xenbuild show`.

use std::process::ExitCode;

use clap::ValueEnum;

use super::Global;
use crate::error::Result;
use crate::recipe::{self, show};

/// Shows a recipe as it is understood
///
/// What is inherited, the chosen variant, variables and defaults are in it.
/// The output is a recipe that means the same.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
    /// Say behind each value where it comes from: a file and line, the variant, --set, or a default
    #[arg(long)]
    resolved: bool,
    /// How it is written
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    format: Format,
}

/// How a recipe is shown.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// As a recipe
    Toml,
    /// As JSON
    Json,
}

/// Runs the command.
pub fn run(_global: &Global, args: Args) -> Result<ExitCode> {
    let set = args.recipe.variables()?;
    let reading = recipe::read(&args.recipe.recipe, args.recipe.variant.as_deref(), &set)
        .map_err(recipe::report::Report::into_error)?;
    match args.format {
        Format::Toml => super::print(format_args!("{}", show::toml(&reading, args.resolved)))?,
        Format::Json => super::print(format_args!("{:#}\n", show::json(&reading, args.resolved)))?,
    }
    Ok(ExitCode::SUCCESS)
}
