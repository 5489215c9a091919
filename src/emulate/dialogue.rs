//! Plays a recipe's `[test]` on a machine's console: one step after the other, each with its limit, and a report.

use std::time::{Duration, Instant};

use regex::bytes::Regex;

use super::console::{Console, Stop, pattern, prompt_pattern};
use super::process::Emulator;
use super::{qemu, shell};
use crate::error::{Error, Kind, Result};
use crate::recipe::{Origin, Recipe, TestAction, TestStep};
use crate::task::Cancel;

/// How many of the console's last lines a failure shows.
const LINES_SHOWN: usize = 30;
/// And how many a report keeps.
const TAIL_LINES: usize = 200;
/// A day: no limit is longer, so that none overflows the clock.
const LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How many characters of a command name its step.
const COMMAND_SHOWN: usize = 60;

/// A recipe's test, its patterns compiled.
pub struct Dialogue<'r> {
    recipe: &'r Recipe,
    prompt: Regex,
    fail: Vec<Regex>,
    steps: Vec<(&'r TestStep, Action)>,
    patience: u32,
}

enum Action {
    Expect(Regex),
    Send(String),
    Run { command: String, expect: Vec<Regex>, status: u8 },
    PowerOff,
}

/// A test that was played.
#[derive(Debug)]
pub struct Report {
    /// All its steps, whether they came to be or not.
    pub steps: Vec<Played>,
    /// From power-on.
    pub took: Duration,
    /// What ended it before its end.
    pub failure: Option<Error>,
    /// The console's last lines, if something did.
    pub tail: Vec<String>,
}

/// A step of a test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Played {
    /// What it does.
    pub what: String,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not as it should: the report's failure says why.
    Failed,
    /// Another failed before it.
    Skipped,
}

impl Report {
    /// Returns a report of a test that could not begin.
    pub fn not_begun(dialogue: &Dialogue<'_>, failure: Error) -> Report {
        let skipped = |(_, action): &(_, Action)| Played {
            what: describe(action),
            took: Duration::ZERO,
            outcome: Outcome::Skipped,
        };
        let steps = dialogue.steps.iter().map(skipped).collect();
        Report { steps, took: Duration::ZERO, failure: Some(failure), tail: Vec::new() }
    }

    /// Returns the report of a test that passed.
    ///
    /// # Errors
    /// What ended it, if it did not.
    pub fn passed(self) -> Result<Report> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self),
        }
    }
}

/// Who is told what happens while it happens.
pub trait Watch {
    /// A step begins: its number from 1, how many there are, what it does.
    fn begins(&self, _number: usize, _count: usize, _what: &str) {}
    /// It has passed.
    fn passed(&self, _number: usize, _count: usize, _what: &str, _took: Duration) {}
    /// The console said something.
    fn output(&self, _bytes: &[u8]) {}
}

/// Nobody.
pub struct Nobody;

impl Watch for Nobody {}

impl<'r> Dialogue<'r> {
    /// Compiles the test's patterns.
    ///
    /// # Errors
    /// [`Kind::Recipe`], with the place in the recipe: a pattern that is none; text to be typed that matches a `fail`
    /// pattern itself, so that its own echo would end the test.
    pub fn compile(recipe: &'r Recipe) -> Result<Dialogue<'r>> {
        let bad = |origin: &Origin, error: regex::Error| {
            at(recipe, origin, Kind::Recipe, "not a regular expression", &error.to_string())
        };
        let mut fail = Vec::new();
        for text in &recipe.test.fail {
            fail.push(pattern(&text.value).map_err(|error| bad(&text.origin, error))?);
        }
        let mut steps = Vec::new();
        for step in &recipe.test.steps {
            let compile = |text: &String| pattern(text).map_err(|error| bad(&step.origin, error));
            let action = match &step.action {
                TestAction::Expect(text) => Action::Expect(compile(text)?),
                TestAction::Send(text) => Action::Send(text.clone()),
                TestAction::Run { command, expect, status } => {
                    let expect = expect.iter().map(compile).collect::<Result<_>>()?;
                    shell::check(command).map_err(|why| at(recipe, &step.origin, Kind::Recipe, &why, ""))?;
                    Action::Run { command: command.clone(), expect, status: *status }
                }
                TestAction::PowerOff => Action::PowerOff,
            };
            if let Action::Send(typed) | Action::Run { command: typed, .. } = &action
                && let Some(index) = fail.iter().position(|fail| fail.is_match(typed.as_bytes()))
            {
                let message = format!(
                    "the text itself matches the fail pattern `{}`: its echo would end the test",
                    recipe.test.fail[index].value
                );
                return Err(at(recipe, &step.origin, Kind::Recipe, &message, ""));
            }
            steps.push((step, action));
        }
        let prompt = prompt_pattern(&recipe.test.prompt)
            .map_err(|error| Error::new(Kind::Recipe, format!("test.prompt: {error}")))?;
        Ok(Dialogue { recipe, prompt, fail, steps, patience: 1 })
    }

    /// Multiplies every time limit: for hosts that are slower, or busier, than the recipe was written for.
    pub fn with_patience(mut self, factor: u32) -> Self {
        self.patience = factor.max(1);
        self
    }

    fn limit(&self, limit: Duration) -> Duration {
        limit.saturating_mul(self.patience).min(LIMIT_MAX)
    }

    /// Plays the test on a machine that was just started, and ends the machine.
    ///
    /// The report's failure is [`Kind::Test`] with the step, its place in the recipe, what was expected, what came instead
    /// and where the log is; [`Kind::Interrupted`]; [`Kind::Host`] where the machine cannot be watched.
    pub fn play(&self, emulator: Emulator, cancel: &Cancel, watch: &dyn Watch) -> Report {
        let begun = Instant::now();
        let mut console = Console::new(emulator, self.fail.clone(), self.limit(self.recipe.test.timeout), cancel);
        console.on_output(|bytes| watch.output(bytes));
        let mut played = Vec::new();
        let mut failure = None;
        let count = self.steps.len();
        for (index, (step, action)) in self.steps.iter().enumerate() {
            let (number, what) = (index + 1, describe(action));
            if failure.is_some() {
                played.push(Played { what, took: Duration::ZERO, outcome: Outcome::Skipped });
                continue;
            }
            watch.begins(number, count, &what);
            let started = Instant::now();
            let acted = self.act(&mut console, action, self.limit(step.within));
            let took = started.elapsed();
            let outcome = if acted.is_ok() { Outcome::Passed } else { Outcome::Failed };
            match acted {
                Ok(()) => watch.passed(number, count, &what, took),
                Err(stop) => failure = Some(self.failure(&mut console, number, step, &what, stop)),
            }
            played.push(Played { what, took, outcome });
        }
        let tail = if failure.is_some() { console.last_lines(TAIL_LINES) } else { Vec::new() };
        Report { steps: played, took: begun.elapsed(), failure, tail }
    }

    fn act(&self, console: &mut Console<'_>, action: &Action, within: Duration) -> Result<(), Failure> {
        match action {
            Action::Expect(regex) => drop(console.expect(regex, within)?),
            Action::Send(text) => console.type_text(text, Instant::now() + within)?,
            Action::PowerOff => {
                let ending = console.expect_end(within)?;
                if !ending.is_power_off() {
                    return Err(Failure::Wrong(format!("{ending}, where it should have powered itself off")));
                }
            }
            Action::Run { command, expect, status } => {
                let ran = shell::run(console, &self.prompt, command, within)?;
                let output = String::from_utf8_lossy(&ran.output);
                let shown = || {
                    let lines: Vec<_> = output.lines().collect();
                    let from = lines.len().saturating_sub(LINES_SHOWN);
                    lines[from..].iter().map(|line| format!("\n  | {line}")).collect::<String>()
                };
                if ran.status != *status {
                    let message = format!("it ended with status {}, not {status}; it printed:{}", ran.status, shown());
                    return Err(Failure::Wrong(message));
                }
                if let Some(regex) = expect.iter().find(|regex| !regex.is_match(&ran.output)) {
                    return Err(Failure::Wrong(format!("nothing that it printed matches `{regex}`:{}", shown())));
                }
            }
        }
        Ok(())
    }

    /// Makes the error of a step that did not pass.
    fn failure(
        &self,
        console: &mut Console<'_>,
        number: usize,
        step: &TestStep,
        what: &str,
        failure: Failure,
    ) -> Error {
        let stop = match failure {
            Failure::Stop(Stop::Error(error)) => return error,
            Failure::Stop(stop) => stop,
            Failure::Wrong(why) => return self.test_error(console, number, step, what, &why),
        };
        let why = match stop {
            Stop::TimedOut => format!("not within {}", seconds(self.limit(step.within))),
            Stop::OutOfTime => {
                let limit = seconds(self.limit(self.recipe.test.timeout));
                format!("the test's time, {limit} for all of it (test.timeout), is over")
            }
            Stop::Failed { index, text } => {
                let pattern = &self.recipe.test.fail[index];
                format!("the console said what it must not (test.fail: `{}`): {}", pattern.value, text.trim())
            }
            Stop::Ended(ending) => format!("{ending}"),
            Stop::Error(error) => return error,
        };
        let lines: String = console.last_lines(LINES_SHOWN).iter().map(|line| format!("\n  | {line}")).collect();
        let lines = if lines.is_empty() { "\n  (nothing at all)".to_owned() } else { lines };
        self.test_error(console, number, step, what, &format!("{why}\nthe console's last lines:{lines}"))
    }

    fn test_error(&self, console: &mut Console<'_>, number: usize, step: &TestStep, what: &str, why: &str) -> Error {
        let count = self.steps.len();
        let (why, details) = why.split_once('\n').unwrap_or((why, ""));
        let message = format!("test step {number} of {count}: {what}: {why}");
        let log = console.emulator().log();
        // The log is for the reader who comes later; that it cannot be written is not what is to be told now.
        let _ = log.note(&format!("failed: test step {number} of {count}: {what}"));
        let hint = format!("the whole console is in {}", log.path().display());
        let mut error = at(self.recipe, &step.origin, Kind::Test, &message, details);
        if let Some((major, minor)) = console.emulator().qemu_version().filter(|version| *version < qemu::TESTED_FROM) {
            let (tested_major, tested_minor) = qemu::TESTED_FROM;
            error = error
                .hint(format!("this is QEMU {major}.{minor}; older than {tested_major}.{tested_minor} is untested"));
        }
        error.hint(hint)
    }
}

/// Why a step did not pass.
enum Failure {
    /// The console stopped it.
    Stop(Stop),
    /// What came was not what should have come.
    Wrong(String),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Failure::Stop(stop)
    }
}

impl From<shell::Failed> for Failure {
    fn from(failed: shell::Failed) -> Self {
        match failed {
            shell::Failed::Stop(stop) => Failure::Stop(stop),
            shell::Failed::NotParsed => {
                Failure::Wrong("the shell came back without having run it: is its syntax right?".to_owned())
            }
        }
    }
}

/// Makes an error that shows its place in the recipe; `details` are the lines below.
fn at(recipe: &Recipe, origin: &Origin, kind: Kind, headline: &str, details: &str) -> Error {
    let mut error = recipe.error_at(origin, headline);
    error.kind = kind;
    if !details.is_empty() {
        error.message.push('\n');
        error.message.push_str(details);
    }
    error
}

fn describe(action: &Action) -> String {
    match action {
        Action::Expect(regex) => format!("expect `{regex}`"),
        Action::Send(text) => format!("send {text:?}"),
        Action::Run { command, .. } => {
            let command = command.trim();
            let shown: String = command.chars().take_while(|&c| c != '\n').take(COMMAND_SHOWN).collect();
            format!("run `{shown}{}`", if shown.len() < command.len() { "…" } else { "" })
        }
        Action::PowerOff => "power-off".to_owned(),
    }
}

/// Writes a limit as a recipe would: `90s`.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}
