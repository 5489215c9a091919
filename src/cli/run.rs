//! `xenbuild run`.

use std::process::ExitCode;

use super::Global;
use super::machine::{self, MachineArgs, Shows};
use crate::emulate::dialogue::Dialogue;
use crate::emulate::log::SerialLog;
use crate::emulate::machine::compose;
use crate::emulate::overlay::Persist;
use crate::emulate::{Image, terminal};
use crate::error::{Error, Kind, Result};
use crate::run::signal;

/// Builds a recipe and boots it, with the terminal on its serial console
///
/// Ctrl-A x ends the machine, Ctrl-A h tells what else QEMU understands. What the machine writes to its disks goes with
/// it; --persist keeps it. The console goes to `out/RECIPE/serial.log` as well, with the time of each line.
///
/// Where standard input is no terminal, the recipe's test runs instead and decides the exit code: 0 if it passes, 1 if
/// it does not.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Let GDB connect to this port of 127.0.0.1
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "1234")]
    gdb: Option<u16>,
    /// Start nothing before GDB has connected and says so
    #[arg(long)]
    gdb_wait: bool,
    /// Keep what the machine writes for the next run; `reset` begins anew
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "keep")]
    persist: Option<How>,
}

/// How `--persist` begins.
#[derive(Clone, Copy, clap::ValueEnum)]
enum How {
    /// With what earlier runs left
    Keep,
    /// With the artifact, forgetting what earlier runs left
    Reset,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let recipe = machine::load(&args.recipe)?;
    let attached = terminal::is_attached();
    let mut options = if attached || args.machine.dry_run {
        args.machine.options(&recipe)
    } else {
        args.machine.test_options(&recipe)
    };
    options.gdb = args.gdb.or(args.gdb_wait.then_some(1234));
    options.gdb_wait = args.gdb_wait;
    options.persist = match args.persist {
        None => Persist::No,
        Some(How::Keep) => Persist::Keep,
        Some(How::Reset) => Persist::Reset,
    };
    let image = Image::of(&recipe, &global.out).absolute()?;
    // What can be known before a build of minutes.
    let composed = compose(&recipe.machine, &image, &options)?;
    if args.machine.dry_run {
        super::print(format_args!("{}\n", composed.command))?;
        return Ok(ExitCode::SUCCESS);
    }
    composed.check_program()?;
    if !attached {
        if !global.quiet {
            eprintln!("standard input is no terminal: the recipe's test runs instead");
        }
        if recipe.test.steps.is_empty() {
            return Err(Error::new(Kind::Usage, format!("{} has no test, and there is no terminal", recipe.name))
                .hint("add steps to its [test] table, or run it from a terminal"));
        }
        Dialogue::compile(&recipe)?;
    }
    let cancel = signal::cancel()?;
    let image = args.machine.image(global, &recipe)?;
    let composed = compose(&recipe.machine, &image, &options)?;
    if !attached {
        let shown = Shows { console: true, ..Shows::default() };
        args.machine.play(global, &recipe, &image, composed, shown, &cancel)?;
        return Ok(ExitCode::SUCCESS);
    }

    machine::begin(global, &image, &cancel)?;
    let log = SerialLog::create(&image.folder, &format!("xenbuild run {}", recipe.name))?;
    let path = log.path().to_owned();
    machine::announce(global, &composed);
    if !global.quiet {
        if let Some(port) = options.gdb {
            eprintln!("for GDB: target remote 127.0.0.1:{port}");
        }
        eprintln!("Ctrl-A x ends the machine");
    }
    let has_monitor = crate::emulate::model::program(recipe.machine.kind).is_none();
    let mut running = composed.start(log, &cancel)?;
    let ending = terminal::attach(&mut running.emulator, has_monitor, &cancel)?;
    let how = ending.as_ref().map_or("ended from the keyboard".to_owned(), |ending| format!("{ending}"));
    if ending.is_some_and(|ending| !ending.status.success()) {
        return Err(Error::new(Kind::Host, how).hint(format!("the console is in {}", path.display())));
    }
    if !global.quiet {
        eprintln!("{how}; the console is in {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
