//! dtc's companions, each with the options that scripts know: `fdtdump`, `fdtget`, `fdtput`, `fdtoverlay`.
//!
//! They take files as bytes and return what is to be printed and written; only the program itself touches the machine.

mod dump;
mod get;
mod options;
mod overlay;
mod put;
mod value;

use dts::{LoadError, Loader};
use options::{Parsed, Usage};

/// What a companion wants done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For standard output.
    pub output: Vec<u8>,
    /// For standard error: no errors, but what was asked for with `-v`.
    pub notes: String,
    /// A file to write, and its bytes; `-` is standard output.
    pub file: Option<(String, Vec<u8>)>,
    /// Why it could not go on; what is in `output` had been found before.
    pub error: Option<String>,
}

/// One of the commands.
struct Companion {
    name: &'static str,
    usage: Usage,
    run: fn(&Parsed, &dyn Loader) -> Result<Outcome, String>,
}

const COMPANIONS: [Companion; 4] = [
    Companion { name: "fdtdump", usage: dump::USAGE, run: dump::run },
    Companion { name: "fdtget", usage: get::USAGE, run: get::run },
    Companion { name: "fdtput", usage: put::USAGE, run: put::run },
    Companion { name: "fdtoverlay", usage: overlay::USAGE, run: overlay::run },
];

/// Runs the companion of this name, if there is one.
pub fn run(name: &str, arguments: &[String], loader: &dyn Loader) -> Option<Outcome> {
    let Companion { name, usage, run } = COMPANIONS.iter().find(|companion| companion.name == name)?;
    let failed = |error: String| Outcome { error: Some(format!("{name}: {error}")), ..Outcome::default() };
    let parsed = match usage.parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return Some(failed(format!("{error}\n{}", usage.text()))),
    };
    if parsed.has('h') {
        return Some(Outcome { output: usage.text().into_bytes(), ..Outcome::default() });
    }
    if parsed.has('V') {
        return Some(Outcome { output: crate::version().into_bytes(), ..Outcome::default() });
    }
    let mut outcome = run(&parsed, loader).unwrap_or_else(|error| Outcome { error: Some(error), ..Outcome::default() });
    outcome.error = outcome.error.map(|error| format!("{name}: {error}"));
    Some(outcome)
}

/// Returns the names, for the help of the program that they are part of.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMPANIONS.iter().map(|companion| companion.name)
}

/// Loads a file; the error names it.
fn load(loader: &dyn Loader, path: &str) -> Result<Vec<u8>, String> {
    loader.load(path).map_err(|error| match error {
        LoadError::NotFound => format!("{path}: no such file"),
        LoadError::Failed(reason) => format!("{path}: {reason}"),
    })
}
