//! `xenbuild image`.

use std::process::ExitCode;

use super::{Global, progress};
use crate::error::Result;
use crate::{recipe, run};

/// Builds everything a recipe describes, into `out/RECIPE/`
///
/// Only what has changed is made again: `xenbuild explain` says what that would be, and why. A second run does nothing
/// and asks no network. What was built lies in `out/cache`, and the artifacts are names of files there: read them, copy
/// them, but do not write to them. `manifest.json` beside them says what each is and what went into it, and `SHA256SUMS`
/// is for `sha256sum -c`; `xenbuild verify` compares.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let set = args.recipe.variables()?;
    let recipe = recipe::load(&args.recipe.recipe, args.recipe.variant.as_deref(), &set)?;
    let options = progress::options(global)?;
    if args.dry_run {
        return super::plan::show(global, &recipe, false);
    }
    let watcher = progress::watcher(global);
    run::build(&recipe, &options, &*watcher)?;
    Ok(ExitCode::SUCCESS)
}
