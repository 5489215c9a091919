//! Plain lines on standard error: one when a step begins, one when it ends, and what it has to say in between.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Summary, show_bytes, show_finished, show_flashed, show_pace, show_time};
use crate::run::event::{Event, Outcome, Watcher};

/// Writes lines.
pub struct Plain {
    quiet: bool,
    verbose: u8,
    summary: Mutex<Summary>,
    /// When a pace was told last.
    paced: Mutex<Option<Instant>>,
}

/// Between two lines that tell how fast a step goes.
const PACE: Duration = Duration::from_secs(10);

impl Plain {
    /// Returns a writer that says less or more.
    pub fn new(quiet: bool, verbose: u8) -> Self {
        Plain { quiet, verbose, summary: Mutex::default(), paced: Mutex::default() }
    }

    /// Returns the lines for an event.
    fn lines(&self, event: Event) -> Vec<String> {
        let mut summary = self.summary.lock().expect("no watcher panics");
        let line = match event {
            Event::Plan { recipe, steps } => {
                summary.recipe.clone_from(&recipe);
                format!("{recipe}: {steps} steps")
            }
            Event::Begin { step, kind } => format!("{step}: {kind}"),
            Event::Total { step, bytes } if self.verbose > 1 => format!("{step}: {} to do", show_bytes(bytes)),
            Event::Output { step, text } if self.verbose > 1 => format!("{step}: {text}"),
            Event::Total { .. } | Event::Progress { .. } | Event::Output { .. } => return Vec::new(),
            Event::Note { step: Some(step), text } => format!("{step}: {text}"),
            Event::Note { step: None, text } => text,
            Event::End { outcome: Outcome::Reused, .. } if self.verbose == 0 => return Vec::new(),
            Event::End { step, outcome, milliseconds, error } => match (outcome, error) {
                (Outcome::Done, _) => format!("{step}: done in {}", show_time(milliseconds)),
                (Outcome::Reused, _) => format!("{step}: up to date"),
                (Outcome::Cancelled, _) => format!("{step}: stopped"),
                // All errors are printed once, at the end.
                (Outcome::Failed, _) => format!("{step}: failed after {}", show_time(milliseconds)),
            },
            Event::Device { path, model, bytes, .. } => format!("{path}: {model}, {}", show_bytes(bytes)),
            Event::Pace { step, bytes, total, bytes_per_second, seconds_left } => {
                if self.paced.lock().expect("no watcher panics").is_some_and(|last| last.elapsed() < PACE) {
                    return Vec::new();
                }
                *self.paced.lock().expect("no watcher panics") = Some(Instant::now());
                format!("{step}: {}", show_pace(bytes, total, bytes_per_second, seconds_left))
            }
            flashed @ Event::Flashed { .. } => show_flashed(&flashed),
            Event::Artifact { path, bytes, sha256 } => {
                let line = format!("{path}: sha256 {sha256}");
                summary.artifacts.push((path, bytes));
                if self.verbose == 0 {
                    return Vec::new();
                }
                line
            }
            Event::Finished { done, reused, milliseconds } => {
                let line = show_finished(&summary.recipe, done, reused, milliseconds);
                let mut lines = if done > 0 { summary.lines() } else { Vec::new() };
                lines.push(line);
                return lines;
            }
        };
        vec![line]
    }
}

impl Watcher for Plain {
    fn event(&self, event: Event) {
        if self.quiet {
            return;
        }
        let lines = self.lines(event);
        if !lines.is_empty() {
            // Whoever closed standard error does not want to know.
            let _ = writeln!(std::io::stderr().lock(), "{}", lines.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_told_in_lines() {
        let plain = Plain::new(false, 0);
        let end = |step: &str, outcome| Event::End { step: step.into(), outcome, milliseconds: 1500, error: None };
        let events = [
            Event::Plan { recipe: "tutorial".into(), steps: 2 },
            end("a", Outcome::Reused),
            Event::Begin { step: "b".into(), kind: "kernel" },
            Event::Total { step: "b".into(), bytes: 1 },
            Event::Progress { step: "b".into(), bytes: 1 },
            Event::Note { step: Some("b".into()), text: "trying again".into() },
            end("b", Outcome::Done),
            Event::Artifact { path: "out/tutorial/Image".into(), bytes: 2048, sha256: "00".into() },
            Event::Finished { done: 1, reused: 1, milliseconds: 1600 },
        ];
        let lines: Vec<String> = events.into_iter().flat_map(|event| plain.lines(event)).collect();
        let wanted = [
            "tutorial: 2 steps",
            "b: kernel",
            "b: trying again",
            "b: done in 1.5 s",
            "  out/tutorial/Image     2.0 KiB",
            "tutorial: 1 steps run, 1 reused (1.6 s)",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_flashing_is_told_in_lines() {
        let plain = Plain::new(false, 0);
        let pace = |done| Event::Pace {
            step: "write".into(),
            bytes: done,
            total: Some(4 << 20),
            bytes_per_second: 1 << 20,
            seconds_left: Some(90),
        };
        assert_eq!(plain.lines(pace(1 << 20)), ["write: 1.0 MiB of 4.0 MiB (25 %), 1.0 MiB/s, 1 min 30 s left"]);
        // Bars tell this ten times a second; a log wants it more rarely.
        assert_eq!(plain.lines(pace(2 << 20)), [""; 0]);
        let flashed = Event::Flashed {
            image: "sd.img".into(),
            device: "/dev/sdb".into(),
            written_bytes: 4 << 20,
            cleared_bytes: 1 << 20,
            compared_bytes: 5 << 20,
            repeated: 2,
            milliseconds: 6100,
        };
        let wanted = "/dev/sdb holds sd.img: 4.0 MiB written, 1.0 MiB cleared, all read back and the same, 2 pieces \
                      written again (6.1 s)";
        assert_eq!(plain.lines(flashed), [wanted]);
    }

    #[test]
    fn nothing_to_do_is_said_in_one_line() {
        let plain = Plain::new(false, 0);
        plain.lines(Event::Plan { recipe: "r".into(), steps: 7 });
        let finished = plain.lines(Event::Finished { done: 0, reused: 7, milliseconds: 12 });
        assert_eq!(finished, ["r: nothing to do, all 7 steps are up to date (12 ms)"]);
    }
}
