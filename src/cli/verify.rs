//! `xenbuild verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Global, MessageFormat, harmless, progress};
use crate::delivery::verify::{self, Report, What};
use crate::error::Result;
use crate::run::signal;

/// Compares a folder of artifacts with its manifest
///
/// Reads `manifest.json` in the folder, and compares every file with the size and SHA-256 that stand there, SHA256SUMS with
/// the manifest, and block maps with their images; what is not listed is told, too. It needs neither the recipe nor the
/// cache: the folder may be a copy on another machine. That the manifest itself is the right one, only its source can say:
/// SHA256SUMS has its digest, and can be signed.
///
/// What xenbuild leaves there without vouching for it (.state, overlay, the logs of runs) is passed over,
/// whatever it holds: it is counted, and -v names it.
///
/// Exits with 0 if all is as it was made, with 4 if not, with 6 if something could not be read.
#[derive(clap::Args)]
pub struct Args {
    /// The folder: out/RECIPE, or a copy of it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Print the result as one JSON object, also if something is wrong
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let cancel = signal::cancel()?;
    let report = verify::verify(&args.folder, &cancel)?;
    let result = report.result(&args.folder);
    if args.json || global.message_format == MessageFormat::Json {
        let mut value = serde_json::to_value(&report).expect("text and numbers are JSON");
        value["verified"] = result.is_ok().into();
        super::print(format_args!("{value}\n"))?;
    } else {
        tell(global, &report)?;
    }
    result.map_err(|error| match report.findings.as_slice() {
        [finding] if finding.what == What::Manifest => {
            let below = verify::folders_below(&args.folder);
            below.iter().fold(error, |error, folder| error.hint(format!("did you mean {}?", folder.display())))
        }
        _ => error,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Tells people what was found.
fn tell(global: &Global, report: &Report) -> Result<()> {
    for finding in &report.findings {
        // A name may be anybody's, and must not look like two lines.
        let name = finding.name.escape_debug();
        super::print(format_args!("{}\n", harmless(&format!("{name}: {}", finding.text))))?;
    }
    if global.verbose > 0 {
        for name in &report.passed_over {
            super::print(format_args!("{}: passed over\n", harmless(name)))?;
        }
    }
    if global.quiet || !report.findings.is_empty() {
        return Ok(());
    }
    let test = match report.test_passed {
        None => "",
        Some(true) => "; its test passed",
        Some(false) => "; its test failed",
    };
    let passed_over = match (report.passed_over.len(), global.verbose) {
        (0, _) => String::new(),
        (count, 0) => format!("; {count} passed over (-v)"),
        (count, _) => format!("; {count} passed over"),
    };
    let (name, size) = (report.recipe.as_deref().unwrap_or_default(), progress::show_bytes(report.bytes));
    let files = report.files;
    let line = format!("{name}: {files} files, {size}: all as they were made{test}{passed_over}");
    super::print(format_args!("{}\n", harmless(&line)))
}
