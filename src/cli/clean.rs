//! `xenbuild clean`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Global, progress};
use crate::error::{Error, Kind, Result};
use crate::run::{Workshop, clean};

/// Removes what was built
///
/// Without a recipe, the artifacts of all recipes. The cache stays, so that building again is quick, unless it is to go
/// too; what guests wrote under `run --persist` stays unless it is to go, too. Nothing is removed that xenbuild did not
/// make: a recipe's folder with other files in it stays, with them.
#[derive(clap::Args)]
pub struct Args {
    /// Only what was made from this recipe
    #[arg(value_name = "RECIPE")]
    recipe: Option<PathBuf>,
    /// And this variant of it
    #[arg(long, value_name = "NAME", requires = "recipe")]
    variant: Option<String>,
    /// Remove the cache, too
    #[arg(long, conflicts_with = "recipe")]
    cache: bool,
    /// Remove what guests wrote under `run --persist`, too: it cannot be made again
    #[arg(long)]
    overlays: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    if !global.out.exists() {
        return say(global, format!("{}: there is nothing", global.out.display()));
    }
    let options = progress::options(global)?;
    let watcher = progress::watcher(global);
    let shop = Workshop::open(&global.out, &options.cancel, &*watcher)?;
    let mut doomed = clean::folders(&global.out, args.overlays);
    if let Some(recipe) = &args.recipe {
        let stem = recipe.file_stem().unwrap_or_default().to_string_lossy();
        let name = match &args.variant {
            Some(variant) => format!("{stem}@{variant}"),
            None => stem.into_owned(),
        };
        doomed.retain(|folder| folder.file_name().is_some_and(|folder| folder.to_string_lossy() == name));
        if doomed.is_empty() {
            let message = format!("nothing was built from {name} in {}", global.out.display());
            return Err(Error::new(Kind::Usage, message));
        }
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    // As it was asked for, not as it is resolved.
    let shown = |path: &Path| path.file_name().map_or_else(|| path.to_owned(), |name| global.out.join(name));
    for path in &doomed {
        options.cancel.check()?;
        let left = clean::recipe(&shop, path, args.overlays, args.dry_run)?;
        let path = shown(path);
        let path = path.display();
        if left == clean::Left::default() {
            say(global, format!("{verb} {path}"))?;
            continue;
        }
        say(global, format!("{verb} what xenbuild made in {path}"))?;
        if left.overlays {
            say(global, format!("  {path}/overlay stays: guests wrote it; --overlays removes it, too"))?;
        }
        if left.foreign > 0 {
            say(global, format!("  {path} stays: not xenbuild's in it: {}", left.foreign))?;
        }
    }
    if args.cache {
        options.cancel.check()?;
        if !args.dry_run {
            clean::cache(&shop)?;
        }
        say(global, format!("{verb} {}", shown(shop.store().folder()).display()))?;
    }
    if doomed.is_empty() && !args.cache {
        return say(global, format!("{}: there is nothing to remove", global.out.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn say(global: &Global, line: String) -> Result<ExitCode> {
    if !global.quiet {
        super::print(format_args!("{line}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
