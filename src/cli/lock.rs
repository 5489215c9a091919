//! `xenbuild lock`.

use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Global, MessageFormat};
use crate::error::{Error, Kind, Result};
use crate::fetch::lock::{Change, Lock, Options, is_needed, lock_for, update};
use crate::recipe;
use crate::run::exclusive::Exclusive;
use crate::run::git::find_commit;
use crate::run::{signal, store};
use crate::task::{Cancel, Task};

/// Writes or updates the lock file: every package's version and hash
///
/// The lock file stands beside the recipe. `image` writes it where there is none and obeys it where there is one, so
/// that a build means the same tomorrow; keep it with the recipe.
/// Without an option, what is missing from it is added and all else stays.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
    /// Take the newest version of everything, and show what changes
    #[arg(long, conflicts_with = "check")]
    update: bool,
    /// Show what would change, and change nothing
    #[arg(long, requires = "update")]
    dry_run: bool,
    /// Only say whether the lock file has all that the recipe needs
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let set = args.recipe.variables()?;
    let recipe = recipe::load(&args.recipe.recipe, args.recipe.variant.as_deref(), &set)?;
    let path = Lock::path_of(&recipe);
    let shown = path.display();
    if global.locked && args.update && !args.dry_run {
        return Err(Error::new(Kind::Usage, "--update changes the lock file, and --locked forbids that"));
    }
    let options = Options {
        cache_folder: global.out.join("cache/indices"),
        offline: global.offline,
        locked: global.locked || args.check,
        environment: None,
        find_commit: Some(find_commit),
    };
    let watch = Watch::new(global)?;
    // What is looked for only in the lock file needs no folder, and waits for nobody.
    let _exclusive = if args.check || !is_needed(&recipe) {
        None
    } else {
        store::make_folder(&global.out)?;
        Some(Exclusive::wait(&global.out, &watch.cancel, &mut |line| watch.note(&line))?)
    };
    if args.update {
        let before = Lock::read(&path)?;
        let (after, changes) = update(&recipe, &options, &watch)?;
        watch.bar.finish_and_clear();
        show(global, &changes)?;
        // Dates of indices alone are not worth a line in a diff.
        let same = before.is_some_and(|before| {
            (&before.packages, &before.selections, &before.sources)
                == (&after.packages, &after.selections, &after.sources)
        });
        if !same && !args.dry_run {
            after.write(&path)?;
            watch.note(&format!("wrote {shown}: {} packages", after.packages.len()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let lock = lock_for(&recipe, &options, &watch)?;
    watch.bar.finish_and_clear();
    if !is_needed(&recipe) {
        super::print(format_args!("the recipe names no packages and no sources: it needs no lock file\n"))?;
    } else {
        super::print(format_args!("{shown} is complete: {} packages\n", lock.packages.len()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what changes, as a table or as JSON.
fn show(global: &Global, changes: &[Change]) -> Result<()> {
    if global.message_format == MessageFormat::Json {
        for Change { name, before, after } in changes {
            super::print(format_args!("{}\n", json!({ "package": name, "before": before, "after": after })))?;
        }
        return Ok(());
    }
    if changes.is_empty() {
        return super::print(format_args!("nothing changes\n"));
    }
    super::print(format_args!("{}", table(changes)))
}

/// Lays changes out in columns.
fn table(changes: &[Change]) -> String {
    let versions = |list: &[String]| if list.is_empty() { "-".to_string() } else { list.join(" ") };
    let rows = changes.iter().map(|change| {
        let what = match (change.before.is_empty(), change.after.is_empty()) {
            (true, _) => "added",
            (_, true) => "removed",
            _ if change.before == change.after => "other content",
            _ => "changed",
        };
        [change.name.clone(), versions(&change.before), versions(&change.after), what.to_string()]
    });
    let head = ["package", "locked", "newest", ""].map(String::from);
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, old, new) = (width(0), width(1), width(2));
    let lines = rows.iter().map(|row| {
        let line = format!("{:name$}  {:old$}  {:new$}  {}", row[0], row[1], row[2], row[3]);
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// Shows progress on a terminal, and notes anywhere.
struct Watch {
    bar: ProgressBar,
    quiet: bool,
    cancel: Arc<Cancel>,
}

impl Watch {
    fn new(global: &Global) -> Result<Watch> {
        let hidden = global.quiet || matches!(global.message_format, MessageFormat::Plain | MessageFormat::Json);
        // A bar draws nothing where standard error is no terminal.
        let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::no_length() };
        let style = "indices {bar:30} {bytes}/{total_bytes} {bytes_per_sec}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Ok(Watch { bar, quiet: global.quiet, cancel: signal::cancel()? })
    }
}

impl Task for Watch {
    fn total(&self, bytes: u64) {
        self.bar.set_length(bytes);
    }
    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
    fn note(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }
    fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_stand_in_columns() {
        let change = |name: &str, before: &[&str], after: &[&str]| Change {
            name: name.into(),
            before: before.iter().map(|text| text.to_string()).collect(),
            after: after.iter().map(|text| text.to_string()).collect(),
        };
        let changes =
            [change("bash", &["5.2-1"], &["5.2-2+deb12u1"]), change("x", &[], &["1"]), change("yy", &["2"], &[])];
        let expected = "package  locked  newest\n\
                        bash     5.2-1   5.2-2+deb12u1  changed\n\
                        x        -       1              added\n\
                        yy       2       -              removed\n";
        assert_eq!(table(&changes), expected);
    }
}
