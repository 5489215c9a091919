//! What `run` and `test` share: the options of a machine, and playing a recipe's test on it.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Global, MessageFormat, RecipeArgs, harmless, progress};
use crate::emulate::dialogue::{Dialogue, Report, Watch};
use crate::emulate::log::SerialLog;
use crate::emulate::machine::{Composed, Options};
use crate::emulate::plain::Filter;
use crate::emulate::{Image, junit, model, qemu};
use crate::error::{Error, Kind, Result};
use crate::file;
use crate::recipe::{self, Recipe};
use crate::run;
use crate::run::history::History;
use crate::run::results::Session;
use crate::task::Cancel;

/// Options of everything that starts a machine.
#[derive(clap::Args)]
pub struct MachineArgs {
    /// Boot what is in the output folder already
    #[arg(long)]
    no_build: bool,
    /// Print the emulator's command line; build and start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// QEMU itself [default: qemu-system-aarch64 in PATH]
    #[arg(long, value_name = "PATH", env = "XENBUILD_QEMU")]
    qemu: Option<PathBuf>,
    /// Arm's model, for recipes whose machine is one [default: by its name in PATH]
    #[arg(long, value_name = "PATH", env = "XENBUILD_MODEL")]
    model: Option<PathBuf>,
    /// Multiply the time limits of the recipe's test, for a slow or busy host
    #[arg(long, value_name = "FACTOR", env = "XENBUILD_PATIENCE", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    patience: u32,
    /// Further arguments for the emulator, as they are
    #[arg(last = true, value_name = "ARGS")]
    extra: Vec<OsString>,
}

impl MachineArgs {
    /// Returns the options of a machine that is tested: nothing stays of it, and a reset ends it.
    pub fn test_options(&self, recipe: &Recipe) -> Options {
        Options { serial: qemu::Serial::Plain, no_reboot: true, ..self.options(recipe) }
    }

    /// Returns the options of a machine that a person sits at.
    pub fn options(&self, recipe: &Recipe) -> Options {
        let program = if model::program(recipe.machine.kind).is_none() { &self.qemu } else { &self.model };
        Options {
            program: program.clone(),
            extra: self.extra.clone(),
            guardian: super::child::guardian(),
            ..Options::default()
        }
    }

    /// Builds the recipe, or looks that it has been built.
    pub fn image(&self, global: &Global, recipe: &Recipe) -> Result<Image> {
        let image = if self.no_build {
            let image = Image::of(recipe, &global.out);
            if History::is_torn(&image.folder) {
                let message = format!("{} is incomplete: a build was stopped, or is still", image.folder.display());
                return Err(Error::new(Kind::Usage, format!("{message} at it, while it put its files there"))
                    .hint("without --no-build it is completed first"));
            }
            image
        } else {
            let watcher = progress::watcher(global);
            let made = run::build(recipe, &progress::options(global)?, &*watcher)?;
            Image { boot: made.boot, disks: made.disks, ..Image::of(recipe, &global.out) }
        };
        let image = image.absolute()?;
        image.check()?;
        Ok(image)
    }

    /// Starts a machine and plays the recipe's test on it; the results go into the recipe's folder, and to `junit`.
    /// `console` shows what the machine says.
    pub fn play(
        &self,
        global: &Global,
        recipe: &Recipe,
        image: &Image,
        composed: Composed,
        shown: Shows<'_>,
        cancel: &Arc<Cancel>,
    ) -> Result<()> {
        let dialogue = Dialogue::compile(recipe)?.with_patience(self.patience);
        let session = begin(global, image, cancel)?;
        let log = SerialLog::create(&image.folder, &format!("xenbuild test {}", recipe.name))?;
        let path = log.path().to_owned();
        announce(global, &composed);
        let teller = Teller {
            json: global.message_format == MessageFormat::Json,
            quiet: global.quiet,
            console: (shown.console && !global.quiet).then(RefCell::default),
        };
        let began = jiff::Timestamp::now();
        let report = match composed.start(log, cancel) {
            Ok(running) => dialogue.play(running.emulator, cancel, &teller),
            Err(error) => Report::not_begun(&dialogue, error),
        };
        if report.failure.as_ref().is_none_or(|error| error.kind != Kind::Interrupted) {
            let text = junit::text(&recipe.name, began, &report);
            let kept = keep(global, session, &report, &text, shown.junit, cancel);
            // What went wrong with the test says more than what went wrong with its results.
            match kept {
                Err(error) if report.failure.is_some() => eprintln!("warning: {}", harmless(&error.to_string())),
                kept => kept?,
            }
        }
        if let Some(failure) = &report.failure {
            teller.fails(&recipe.name, failure, &path);
        }
        let report = report.passed()?;
        teller.finish(&recipe.name, &report, &path);
        Ok(())
    }
}

/// What is shown of a test besides its steps.
#[derive(Clone, Copy, Default)]
pub struct Shows<'a> {
    /// The console, as it goes.
    pub console: bool,
    /// A second file for the results.
    pub junit: Option<&'a Path>,
}

/// Begins a run on an image: what the last one left is no longer vouched for.
pub fn begin<'a>(global: &'a Global, image: &'a Image, cancel: &Cancel) -> Result<Session<'a>> {
    Session::begin(&global.out, &image.folder, cancel, &mut |line| note(global, &line))
}

/// Keeps a test's results; with the artifacts, too, if `junit` cannot be written.
fn keep(
    global: &Global,
    session: Session<'_>,
    report: &Report,
    text: &str,
    junit: Option<&Path>,
    cancel: &Arc<Cancel>,
) -> Result<()> {
    let written = junit.map_or(Ok(()), |path| {
        file::replace(path, text.as_bytes(), 0o644)
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
    });
    let passed = report.failure.is_none();
    if !session.finish(passed, text, cancel, &mut |line| note(global, &line))? {
        note(global, "other artifacts were put in place while the test ran: its results are not kept with them");
    }
    written
}

fn note(global: &Global, line: &str) {
    if !global.quiet {
        eprintln!("{line}");
    }
}

/// Reads the recipe.
pub fn load(args: &RecipeArgs) -> Result<Recipe> {
    recipe::load(&args.recipe, args.variant.as_deref(), &args.variables()?)
}

/// Says which ports lead into the machine, and what stays of it.
pub fn announce(global: &Global, composed: &Composed) {
    if global.quiet {
        return;
    }
    for forward in &composed.forwards {
        let protocol = if forward.udp { "udp" } else { "tcp" };
        eprintln!("port {} ({protocol}, 127.0.0.1) leads to Dom0's port {}", forward.host, forward.guest);
    }
    for path in composed.kept() {
        eprintln!("what is written stays in {}", path.display());
    }
}

/// Tells a test's steps, as lines or as JSON.
struct Teller {
    json: bool,
    quiet: bool,
    console: Option<RefCell<Shown>>,
}

/// The console as it is shown: without escape sequences, which would act on the reader's terminal.
#[derive(Default)]
struct Shown {
    filter: Filter,
    line: Vec<u8>,
}

impl Teller {
    fn json(&self, message: serde_json::Value) {
        // A reader that went away wants no more of it.
        let _ = writeln!(std::io::stdout(), "{message}");
    }

    /// Tells programs; people read the error itself.
    fn fails(&self, name: &str, failure: &Error, log: &Path) {
        if self.json && failure.kind != Kind::Interrupted {
            let text = failure.to_string();
            self.json(serde_json::json!({ "event": "test-failed", "recipe": name, "text": text, "log": log }));
        }
    }

    fn finish(&self, name: &str, report: &Report, log: &Path) {
        let seconds = report.took.as_secs_f64();
        if self.json {
            self.json(serde_json::json!({ "event": "test-passed", "recipe": name, "seconds": seconds, "log": log }));
            return;
        }
        if !self.quiet {
            let count = report.steps.len();
            let line = format!("{name}: {count} steps passed in {seconds:.1} s; the console is in {}", log.display());
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

impl Watch for Teller {
    fn begins(&self, number: usize, count: usize, what: &str) {
        if self.json {
            let event = "test-step-begins";
            self.json(serde_json::json!({ "event": event, "step": number, "steps": count, "what": what }));
        }
    }

    fn passed(&self, number: usize, count: usize, what: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        if self.json {
            let event = "test-step-passed";
            self.json(
                serde_json::json!({ "event": event, "step": number, "steps": count, "what": what, "seconds": seconds }),
            );
        } else if !self.quiet {
            eprintln!("{number:>3}/{count} {seconds:7.1} s  {what}");
        }
    }

    fn output(&self, bytes: &[u8]) {
        let Some(shown) = &self.console else { return };
        let mut shown = shown.borrow_mut();
        let Shown { filter, line } = &mut *shown;
        filter.push(bytes, line, 0);
        if let Some(end) = line.iter().rposition(|&byte| byte == b'\n') {
            let text = String::from_utf8_lossy(&line[..=end]).into_owned();
            line.drain(..=end);
            if self.json {
                for line in text.lines() {
                    self.json(serde_json::json!({ "event": "console", "line": line }));
                }
            } else {
                let _ = std::io::stderr().write_all(text.as_bytes());
            }
        }
    }
}
