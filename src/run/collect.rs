//! Collects garbage: entries of the cache, least recently used first, until it is below its limit.
//! Downloads that were stopped go first, and after a week in any case.
//! What the artifacts in `out/` were made of stays, downloads aside.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::history::{History, recipe_folders};
use super::index::Index;
use super::store::{self, Store};
use super::workbench;
use crate::config::Config;
use crate::error::Result;
use crate::step::Digest;
use crate::task::Cancel;

/// How large the cache may grow where nobody said anything.
pub const LIMIT_DEFAULT_BYTES: u64 = 20 << 30;
/// Where `xenbuild cache --limit` keeps its number, in bytes.
const LIMIT: &str = "limit";
/// How long the beginning of a download is kept: after that, the mirror has another version.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The cache's size, and what of it must stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Entries there are.
    pub entries: usize,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of entries that the artifacts in `out/` were made of.
    pub in_use_bytes: u64,
}

/// What a collection did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Entries removed.
    pub entries: usize,
    /// Bytes they took on disk.
    pub bytes: u64,
    /// What is left.
    pub left_bytes: u64,
}

/// Returns the limit in bytes: this folder's own, else the user's configuration's.
pub fn limit_bytes(store: &Store) -> Result<u64> {
    let text = fs::read_to_string(store.folder().join(LIMIT));
    match text.ok().and_then(|text| text.trim().parse().ok()) {
        Some(limit) => Ok(limit),
        None => Ok(Config::load()?.cache_limit_bytes()?.unwrap_or(LIMIT_DEFAULT_BYTES)),
    }
}

/// Sets this folder's own limit, or takes it away.
pub fn set_limit(store: &Store, bytes: Option<u64>) -> Result<()> {
    let path = store.folder().join(LIMIT);
    match bytes {
        Some(bytes) => store::replace(&path, format!("{bytes}\n").as_bytes()),
        None => store::remove(&path),
    }
}

/// Measures the cache.
pub fn usage(out: &Path, store: &Store) -> Result<Usage> {
    let in_use = in_use(out);
    let mut usage = Usage::default();
    for (key, bytes, _) in store.entries()? {
        usage.entries += 1;
        usage.bytes += bytes;
        usage.in_use_bytes += if in_use.contains(&key) { bytes } else { 0 };
    }
    for kept in workbench::kept(store.folder()) {
        usage.entries += 1;
        usage.bytes += kept.bytes;
    }
    usage.bytes += store.partial()?.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
    Ok(usage)
}

/// Removes the least recently used entries until the cache is no larger than `limit_bytes`; only the holder of the
/// lock may. With `dry_run` it only says what it would do.
pub fn collect(
    out: &Path,
    store: &Store,
    index: &Index,
    limit_bytes: u64,
    dry_run: bool,
    cancel: &Cancel,
) -> Result<Collected> {
    let mut entries = store.entries()?;
    let kept = workbench::kept(store.folder());
    let mut left_bytes: u64 = entries.iter().map(|&(_, bytes, _)| bytes).sum();
    left_bytes += kept.iter().map(|kept| kept.bytes).sum::<u64>();
    let partial = store.partial()?;
    left_bytes += partial.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
    let mut collected = Collected::default();
    for (path, bytes, used) in partial {
        let old = SystemTime::now().duration_since(used).is_ok_and(|age| age > PARTIAL_AGE_MAX);
        if !old && left_bytes <= limit_bytes {
            continue;
        }
        if !dry_run {
            store::remove(&path)?;
        }
        left_bytes -= bytes;
        collected.bytes += bytes;
    }
    collected.left_bytes = left_bytes;
    if left_bytes <= limit_bytes {
        return Ok(collected);
    }
    // What compilers left behind, and git, only saves them time.
    for kept in kept {
        if left_bytes <= limit_bytes {
            break;
        }
        cancel.check()?;
        if !dry_run {
            workbench::remove(store.folder(), &kept)?;
        }
        left_bytes -= kept.bytes;
        collected.entries += 1;
        collected.bytes += kept.bytes;
    }
    let in_use = in_use(out);
    // The key settles ties, so that the same cache always loses the same entries.
    entries.sort_unstable_by_key(|&(key, _, used)| (used, key));
    for (key, bytes, _) in entries {
        if left_bytes <= limit_bytes {
            break;
        }
        if in_use.contains(&key) {
            continue;
        }
        cancel.check()?;
        if !dry_run {
            store.remove(key, index)?;
        }
        left_bytes -= bytes;
        collected.entries += 1;
        collected.bytes += bytes;
    }
    collected.left_bytes = left_bytes;
    Ok(collected)
}

/// Returns the keys that the last builds of all recipes in `out` used.
fn in_use(out: &Path) -> BTreeSet<Digest> {
    recipe_folders(out).iter().flat_map(|folder| History::read(folder).keys().collect::<Vec<_>>()).collect()
}
