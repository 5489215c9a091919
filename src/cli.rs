//! The command line: what was typed becomes one call of one command; one file per command.
//! The only place that knows clap, indicatif and the terminal.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::emulate::plain::turns_writing;
use crate::error::{Error, Kind, Result};

mod cache;
mod cat;
mod check;
mod child;
mod clean;
mod cp;
mod diff;
mod du;
mod explain;
mod flash;
mod image;
mod lock;
mod look;
mod ls;
mod machine;
mod plan;
pub mod progress;
mod run;
mod schema;
mod show;
mod symbolise;
mod test;
mod verify;

/// What people look for at the end of `--help`. The exit codes are those of [`Kind::exit_code`].
const AFTER_HELP: &str = "\
Examples:
  xenbuild check recipes/tutorial.toml           is everything there that it names?
  xenbuild run recipes/tutorial.toml             build, then boot, with the terminal on the console
  xenbuild test recipes/tutorial.toml            build, boot, and play the recipe's [test]
  xenbuild image --variant gicv2 recipe.toml     build a variant into out/recipe@gicv2/
  xenbuild show --resolved recipe.toml           every value, and where it comes from
  xenbuild verify out/tutorial                   is everything there, and as it was made?
  xenbuild flash out/card/sd.img /dev/sdb        write a card, read it back, and compare
  xenbuild ls -l out/card/sd.img:2:/boot         what is in an image
  xenbuild diff old/sd.img out/card/sd.img       what changed, down to the file and its mode

Exit codes:
    0  done
    1  the recipe's test failed, or what `diff` compares differs
    2  the command line, or an environment variable, is wrong
    3  the recipe is wrong, or something it names is missing
    4  an input is not what it should be: a hash, a signature, an archive, a kernel
    5  the network or a mirror failed
    6  this machine is at fault: a full disk, a permission, a missing program
    7  a device is refused: it is in use, or the image does not fit
    8  a device failed while it was written
    9  a device does not keep what is written: it reads back differently
   70  xenbuild itself is at fault
  130  interrupted";

/// Builds, boots and tests Xen-on-Arm systems from one recipe: without root, and byte for byte the same each time.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Folder for everything that is made
    #[arg(long, global = true, value_name = "DIR", default_value = "out", env = "XENBUILD_OUT")]
    pub out: PathBuf,
    /// Say less: errors and results only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Steps that run at the same time [default: the number of CPUs]
    #[arg(short, long, global = true, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// How progress is told: bars on a terminal, plain lines in a log
    #[arg(long, global = true, value_name = "FORMAT", default_value = "auto")]
    pub message_format: MessageFormat,
    /// Take nothing from the network
    #[arg(long, global = true)]
    pub offline: bool,
    /// Refuse to change the lock file
    #[arg(long, global = true)]
    pub locked: bool,
}

/// How progress is told.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// Bars if standard error is a terminal, else plain lines
    Auto,
    /// Bars
    Bars,
    /// One line per event
    Plain,
    /// One JSON object per line, on standard output
    Json,
}

/// Which recipe: the argument most commands share.
#[derive(clap::Args)]
pub struct RecipeArgs {
    /// The recipe: a TOML file
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// Build this named variant of it
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Set a variable of the recipe; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

impl RecipeArgs {
    /// Returns the variables that `--set` gives.
    ///
    /// # Errors
    ///
    /// One of them has no `=`.
    fn variables(&self) -> Result<Vec<(String, String)>> {
        let pair = |text: &String| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_string(), value.to_string())),
            None => Err(Error::new(Kind::Usage, format!("--set {text}: expected NAME=VALUE"))),
        };
        self.set.iter().map(pair).collect()
    }
}

/// Prints a command's result to standard output. A reader who has seen enough, such as `head`, is no error.
fn print(text: std::fmt::Arguments<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}

#[derive(Subcommand)]
enum Command {
    Image(image::Args),
    Run(run::Args),
    Test(test::Args),
    Plan(plan::Args),
    Explain(explain::Args),
    Check(check::Args),
    Show(show::Args),
    Lock(lock::Args),
    Schema(schema::Args),
    Symbolise(symbolise::Args),
    Clean(clean::Args),
    Cache(cache::Args),
    Flash(flash::Args),
    Verify(verify::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Cp(cp::Args),
    Du(du::Args),
    Diff(diff::Args),
    #[command(name = child::NAME, hide = true)]
    Child(child::Args),
}

/// Runs the program: parses the arguments, runs one command, prints what went wrong, returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result: Result<ExitCode> = match cli.command {
        Command::Image(args) => image::run(&cli.global, args),
        Command::Run(args) => run::run(&cli.global, args),
        Command::Test(args) => test::run(&cli.global, args),
        Command::Plan(args) => plan::run(&cli.global, args),
        Command::Explain(args) => explain::run(&cli.global, args),
        Command::Check(args) => check::run(&cli.global, args),
        Command::Show(args) => show::run(&cli.global, args),
        Command::Lock(args) => lock::run(&cli.global, args),
        Command::Schema(args) => schema::run(&cli.global, args),
        Command::Symbolise(args) => symbolise::run(args),
        Command::Clean(args) => clean::run(&cli.global, args),
        Command::Cache(args) => cache::run(&cli.global, args),
        Command::Flash(args) => flash::run(&cli.global, args),
        Command::Verify(args) => verify::run(&cli.global, args),
        Command::Ls(args) => ls::run(&cli.global, args),
        Command::Cat(args) => cat::run(&cli.global, args),
        Command::Cp(args) => cp::run(&cli.global, args),
        Command::Du(args) => du::run(&cli.global, args),
        Command::Diff(args) => diff::run(&cli.global, args),
        Command::Child(args) => child::run(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", harmless(&error.to_string()));
            for hint in &error.hints {
                eprintln!("  hint: {}", harmless(hint));
            }
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Makes text that may quote anybody's bytes harmless to a terminal: control characters but line ends and tabs are
/// written as escapes, and so are those that turn the direction of writing.
fn harmless(text: &str) -> String {
    let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    let mut harmless = String::with_capacity(text.len());
    for letter in text.chars() {
        if acts(letter) || turns_writing(letter) {
            harmless.extend(letter.escape_default())
        } else {
            harmless.push(letter)
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn help_lists_every_exit_code() {
        let kinds = [
            Kind::Usage,
            Kind::Recipe,
            Kind::Input,
            Kind::Network,
            Kind::Host,
            Kind::Test,
            Kind::Refused,
            Kind::Device,
            Kind::Compare,
            Kind::Interrupted,
            Kind::Internal,
        ];
        let help = Cli::command().render_long_help().to_string();
        for code in kinds.map(Kind::exit_code).into_iter().chain([0]) {
            assert!(help.contains(&format!("\n{code:>5}  ")), "{code} is not in\n{help}");
        }
    }

    #[test]
    fn what_is_quoted_cannot_act_on_the_terminal() {
        assert_eq!(harmless("a.deb: \x1b]0;x\x07 \u{9b}2J\r\x7f"), r"a.deb: \u{1b}]0;x\u{7} \u{9b}2J\r\u{7f}");
        assert_eq!(harmless("\u{202e}txt\u{61c}"), r"\u{202e}txt\u{61c}");
        assert_eq!(harmless("two\n\tlines, \u{e4}\u{2192}"), "two\n\tlines, \u{e4}\u{2192}");
    }

    #[test]
    fn options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
