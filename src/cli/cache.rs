//! `xenbuild cache`.

use std::process::ExitCode;

use serde_json::json;

use super::progress::show_bytes;
use super::{Global, MessageFormat, progress};
use crate::config::parse_size;
use crate::error::{Error, Kind, Result};
use crate::run::{Workshop, collect};

/// Shows the cache's size and limit, and collects garbage
///
/// A build collects garbage by itself when the cache is over its limit: the least recently used entries go, and what
/// the artifacts in `out/` were made of stays. What only saves time goes first: folders of compilers, then repositories
/// that git fetched.
#[derive(clap::Args)]
pub struct Args {
    /// Collect garbage now
    #[arg(long)]
    gc: bool,
    /// Set the limit, or collect down to it with --gc: a number with KiB, MiB, GiB or TiB; `default` unsets it
    #[arg(long, value_name = "SIZE")]
    limit: Option<String>,
    /// With --gc, show what would be removed and remove nothing
    #[arg(long, requires = "gc")]
    dry_run: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let limit = match args.limit.as_deref() {
        None => None,
        Some("default") => Some(None),
        Some(text) => Some(Some(parse_size(text).ok_or_else(|| {
            Error::new(Kind::Usage, format!("--limit {text}: this is no size")).hint("a size is, for example, 20GiB")
        })?)),
    };
    if !global.out.exists() && limit.is_none() {
        super::print(format_args!("{}: there is no cache\n", global.out.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = progress::options(global)?;
    let watcher = progress::watcher(global);
    let shop = Workshop::open(&global.out, &options.cancel, &*watcher)?;
    if let (Some(limit), false) = (limit, args.gc) {
        collect::set_limit(shop.store(), limit)?;
    }
    let set = collect::limit_bytes(shop.store())?;
    let mut removed = collect::Collected::default();
    if args.gc {
        let target = limit.flatten().unwrap_or(set);
        removed = collect::collect(&global.out, shop.store(), shop.index(), target, args.dry_run, &options.cancel)?;
        shop.index().save()?;
    }
    let usage = collect::usage(&global.out, shop.store())?;
    if global.message_format == MessageFormat::Json {
        let value = json!({
            "entries": usage.entries, "bytes": usage.bytes, "in-use-bytes": usage.in_use_bytes, "limit-bytes": set,
            "removed-entries": removed.entries, "removed-bytes": removed.bytes,
        });
        super::print(format_args!("{value}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.gc {
        let verb = if args.dry_run { "would remove" } else { "removed" };
        super::print(format_args!("{verb} {} entries, {}\n", removed.entries, show_bytes(removed.bytes)))?;
    }
    super::print(format_args!(
        "{} entries, {} of {}; {} of that is what the artifacts in {} were made of\n",
        usage.entries,
        show_bytes(usage.bytes),
        show_bytes(set),
        show_bytes(usage.in_use_bytes),
        global.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
