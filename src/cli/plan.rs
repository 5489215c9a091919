//! `xenbuild plan`.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::{Global, MessageFormat, progress};
use crate::error::Result;
use crate::plan::Plan;
use crate::recipe::{self, Origin, Recipe};
use crate::run::explain::{Explanation, Verdict, explain};
use crate::run::survey::Prospect;
use crate::run::{plan_as_locked, survey};

/// Shows the steps that would run, and which of them are cached
///
/// Reads what is there and changes nothing. Where packages are not locked yet, a step of kind `lock` stands for them.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
    /// Show every step's parameters and inputs instead
    #[arg(long)]
    full: bool,
    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// How a plan is shown.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table
    Table,
    /// A JSON array, one object per step
    Json,
}

/// A row of the table.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    step: String,
    kind: &'static str,
    state: &'static str,
    why: String,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let set = args.recipe.variables()?;
    let recipe = recipe::load(&args.recipe.recipe, args.recipe.variant.as_deref(), &set)?;
    if args.full {
        let (plan, _) = plan_as_locked(&recipe)?;
        super::print(format_args!("{plan}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    show(global, &recipe, args.format == Format::Json)
}

/// Shows what a build would do with each step.
pub fn show(global: &Global, recipe: &Recipe, json: bool) -> Result<ExitCode> {
    let (plan, locked) = plan_as_locked(recipe)?;
    let blame = |origin: &Origin, message: String| recipe.error_at(origin, message);
    let cancel = progress::options(global)?.cancel;
    let (surveyed, history) = survey(&plan, &global.out, &blame, &cancel)?;
    let rows: Vec<Row> = plan
        .steps()
        .map(|(id, step)| {
            let prospect = &surveyed[id.index()].prospect;
            let (state, why) = word(&plan, prospect, &explain(&plan, &surveyed, &history, id));
            Row { step: step.name.clone(), kind: step.step.kind().name(), state, why }
        })
        .collect();
    if json || global.message_format == MessageFormat::Json {
        let text = serde_json::to_string_pretty(&rows).expect("rows are text");
        super::print(format_args!("{text}\n"))?;
    } else {
        super::print(format_args!("{}", table(&rows, locked)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says in few words what would become of a step, and why.
fn word(plan: &Plan, prospect: &Prospect, explanation: &Explanation) -> (&'static str, String) {
    let first = || {
        let cause = explanation.causes.first();
        let more = if explanation.causes.len() > 1 { ", and more" } else { "" };
        cause.map_or(String::new(), |cause| format!("{}{more}", cause.line))
    };
    match (prospect, explanation.verdict) {
        (Prospect::Waits(id), _) => ("waits", format!("for {}", plan.step(*id).name)),
        (Prospect::Unknown(what), _) => ("unknown", what.clone()),
        (Prospect::Cached, _) => ("cached", String::new()),
        (Prospect::NotNeeded, _) => ("not needed", String::new()),
        (_, Verdict::WouldRun) => ("would run", explanation.reason.clone().unwrap_or_else(first)),
        _ => ("would run", first()),
    }
}

fn table(rows: &[Row], locked: bool) -> String {
    let width = |column: fn(&Row) -> &str, title: &str| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0).max(title.len())
    };
    let (step, state) = (width(|row| &row.step, "STEP"), width(|row| row.state, "STATE"));
    let mut text = String::new();
    let mut line = |a: &str, b: &str, c: &str| {
        let row = format!("{a:step$}  {b:state$}  {c}");
        writeln!(text, "{}", row.trim_end()).expect("writing to a string succeeds");
    };
    line("STEP", "STATE", "WHY");
    for row in rows {
        line(&row.step, row.state, &row.why);
    }
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count();
    let (run, waits) = (count("would run"), count("waits"));
    let unknown = count("unknown");
    let rest = rows.len() - run - waits - unknown;
    let compile = if unknown > 0 { format!("{unknown} cannot be known without the compiler, ") } else { String::new() };
    writeln!(text, "{run} would run, {waits} wait for what others make, {compile}{rest} are there or not needed")
        .expect("writing to a string succeeds");
    if !locked {
        text.push_str("packages are not all locked yet: `xenbuild lock` does that, or the first `xenbuild image`\n");
    }
    text
}
