//! Progress: what a build tells becomes bars, plain lines, or JSON.

use std::io::IsTerminal;
use std::sync::Arc;

use super::{Global, MessageFormat};
use crate::error::Result;
use crate::run::Options;
use crate::run::event::{Event, Watcher};
use crate::run::signal;

mod bars;
mod json;
mod plain;

/// Returns who watches a build, as the options say.
pub fn watcher(global: &Global) -> Box<dyn Watcher> {
    let bars = match global.message_format {
        MessageFormat::Json => return Box::new(json::Json::default()),
        MessageFormat::Bars => true,
        MessageFormat::Plain => false,
        MessageFormat::Auto => std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb"),
    };
    if bars && !global.quiet {
        Box::new(bars::Bars::new(global.verbose))
    } else {
        Box::new(plain::Plain::new(global.quiet, global.verbose))
    }
}

/// Returns how to build, as the options say; from now on, Ctrl-C stops what uses them.
pub fn options(global: &Global) -> Result<Options> {
    let mut options = Options::new(&global.out);
    options.jobs = global.jobs.unwrap_or(options.jobs);
    options.offline = global.offline;
    options.locked = global.locked;
    options.cancel = Arc::clone(&signal::cancel()?);
    Ok(options)
}

/// Writes a number of bytes for people.
pub fn show_bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Writes a time for people.
fn show_time(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds / 1000 % 60),
    }
}

/// The end of a build, in a line.
fn show_finished(recipe: &str, done: usize, reused: usize, milliseconds: u64) -> String {
    let time = show_time(milliseconds);
    match done {
        0 => format!("{recipe}: nothing to do, all {reused} steps are up to date ({time})"),
        _ => format!("{recipe}: {done} steps run, {reused} reused ({time})"),
    }
}

/// How fast something goes, and how long it will take.
fn show_rate(bytes_per_second: u64, seconds_left: Option<u64>) -> String {
    let left = seconds_left.map(|seconds| format!(", {} left", show_time(seconds.saturating_mul(1000))));
    format!("{}/s{}", show_bytes(bytes_per_second), left.unwrap_or_default())
}

/// How far something is, how fast it goes, and how long it will take.
fn show_pace(bytes: u64, total: Option<u64>, bytes_per_second: u64, seconds_left: Option<u64>) -> String {
    let of = total
        .filter(|total| *total > 0)
        .map(|total| format!(" of {} ({} %)", show_bytes(total), u128::from(bytes) * 100 / u128::from(total)));
    format!("{}{}, {}", show_bytes(bytes), of.unwrap_or_default(), show_rate(bytes_per_second, seconds_left))
}

/// The end of a flashing, in a line; empty for any other event.
fn show_flashed(event: &Event) -> String {
    let Event::Flashed { image, device, written_bytes, cleared_bytes, repeated, milliseconds, .. } = event else {
        return String::new();
    };
    let cleared = if *cleared_bytes > 0 { format!(", {} cleared", show_bytes(*cleared_bytes)) } else { String::new() };
    let repeated = if *repeated > 0 { format!(", {repeated} pieces written again") } else { String::new() };
    let (written, time) = (show_bytes(*written_bytes), show_time(*milliseconds));
    format!("{device} holds {image}: {written} written{cleared}, all read back and the same{repeated} ({time})")
}

/// The artifacts of a build, to be listed at its end.
#[derive(Default)]
struct Summary {
    recipe: String,
    artifacts: Vec<(String, u64)>,
}

impl Summary {
    /// Lists the artifacts, with sizes.
    fn lines(&self) -> Vec<String> {
        let width = self.artifacts.iter().map(|(path, _)| path.len()).max().unwrap_or(0);
        self.artifacts.iter().map(|(path, bytes)| format!("  {path:width$}  {:>10}", show_bytes(*bytes))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 << 20, "1.5 GiB"), (5 << 50, "5120.0 TiB")];
        for (bytes, text) in sizes {
            assert_eq!(show_bytes(bytes), text);
        }
        for (time, text) in [(0, "0 ms"), (1500, "1.5 s"), (61_000, "1 min 1 s")] {
            assert_eq!(show_time(time), text);
        }
    }
}
