//! `xenbuild test`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Global;
use super::machine::{self, MachineArgs, Shows};
use crate::emulate::Image;
use crate::emulate::dialogue::Dialogue;
use crate::emulate::machine::compose;
use crate::error::Result;
use crate::run::signal;

/// Builds a recipe, boots it, and types and checks what its `[test]` table says
///
/// Each step has its own time limit, and all of it has one. What a `fail` pattern of the recipe matches ends the test
/// wherever it turns up. The console goes to `out/RECIPE/serial.log` with the time of each line; -v shows it as well. The
/// results go to `out/RECIPE/junit.xml`, as CI servers read them, whether the test passes or not, and the manifest there
/// vouches for both until the next build or run.
///
/// Exits with 0 if the test passes, with 1 if it does not.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Write the results here, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let recipe = machine::load(&args.recipe)?;
    let options = args.machine.test_options(&recipe);
    let image = Image::of(&recipe, &global.out).absolute()?;
    // What can be known before a build of minutes.
    let composed = compose(&recipe.machine, &image, &options)?;
    if args.machine.dry_run {
        super::print(format_args!("{}\n", composed.command))?;
        return Ok(ExitCode::SUCCESS);
    }
    Dialogue::compile(&recipe)?;
    composed.check_program()?;
    let cancel = signal::cancel()?;
    let image = args.machine.image(global, &recipe)?;
    let composed = compose(&recipe.machine, &image, &options)?;
    let shown = Shows { console: global.verbose > 0, junit: args.junit.as_deref() };
    args.machine.play(global, &recipe, &image, composed, shown, &cancel)?;
    Ok(ExitCode::SUCCESS)
}
