//! Bars on a terminal: one for the whole, one for each step that runs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::harmless;
use super::{Summary, show_finished, show_flashed, show_rate, show_time};
use crate::run::event::{Event, Outcome, Watcher};

/// Bars beyond this many are not drawn: a terminal has only so many lines.
const BARS_MAX: usize = 12;
/// How often a bar that hears nothing is drawn all the same.
const TICK: Duration = Duration::from_millis(200);

/// Draws bars.
pub struct Bars {
    all: MultiProgress,
    verbose: u8,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    whole: Option<ProgressBar>,
    steps: BTreeMap<String, ProgressBar>,
    summary: Summary,
}

impl Bars {
    /// Returns bars on standard error.
    pub fn new(verbose: u8) -> Self {
        Bars { all: MultiProgress::new(), verbose, inner: Mutex::default() }
    }

    fn begin(&self, inner: &mut Inner, step: String) {
        if inner.steps.len() >= BARS_MAX {
            return;
        }
        let bar = ProgressBar::new_spinner().with_prefix(step.clone());
        bar.set_style(style(SPINNER));
        let bar = match &inner.whole {
            Some(whole) => self.all.insert_before(whole, bar),
            None => self.all.add(bar),
        };
        bar.enable_steady_tick(TICK);
        inner.steps.insert(step, bar);
    }

    fn say(&self, line: &str) {
        // Where the terminal has gone there is nobody to tell.
        let _ = self.all.println(line);
    }
}

/// Returns a style; the templates are constants of this file, each used in a test.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("=> ")
}

const WHOLE: &str = "{msg} [{bar:30}] {pos}/{len} steps, {elapsed}";
const SPINNER: &str = "  {spinner} {prefix:32!} {elapsed:>5} {wide_msg}";
const PACED: &str = "  {spinner} {msg:12!} [{bar:20}] {bytes:>10}/{total_bytes:10} {prefix}";
const BYTES: &str = "  {spinner} {prefix:32!} [{bar:20}] {bytes:>10}/{total_bytes:10} {elapsed:>5}";

impl Watcher for Bars {
    fn event(&self, event: Event) {
        let mut inner = self.inner.lock().expect("no watcher panics");
        match event {
            Event::Plan { recipe, steps } => {
                let bar = ProgressBar::new(steps as u64).with_style(style(WHOLE)).with_message(recipe.clone());
                inner.summary.recipe = recipe;
                inner.whole = Some(self.all.add(bar));
            }
            Event::Begin { step, .. } => self.begin(&mut inner, step),
            Event::Total { step, bytes } => {
                if let Some(bar) = inner.steps.get(&step) {
                    bar.set_style(style(BYTES));
                    bar.set_length(bytes);
                }
            }
            Event::Progress { step, bytes } => {
                if let Some(bar) = inner.steps.get(&step) {
                    bar.set_position(bytes);
                }
            }
            Event::Output { step, text } => {
                if let Some(bar) = inner.steps.get(&step) {
                    // How many bytes there are to do is over once a program speaks.
                    bar.set_style(style(SPINNER));
                    bar.set_message(harmless(&text));
                }
            }
            Event::Note { step: Some(step), text } => self.say(&format!("{step}: {text}")),
            Event::Note { step: None, text } => self.say(&text),
            Event::End { step, outcome, milliseconds, .. } => {
                if let Some(bar) = inner.steps.remove(&step) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                if let Some(whole) = &inner.whole {
                    whole.inc(1);
                }
                match outcome {
                    Outcome::Failed => self.say(&format!("{step}: failed after {}", show_time(milliseconds))),
                    Outcome::Done if self.verbose > 0 => {
                        self.say(&format!("{step}: done in {}", show_time(milliseconds)));
                    }
                    _ => {}
                }
            }
            Event::Device { .. } => {}
            Event::Pace { step, bytes_per_second, seconds_left, .. } => {
                if let Some(bar) = inner.steps.get(&step) {
                    bar.set_style(style(PACED));
                    bar.set_prefix(show_rate(bytes_per_second, seconds_left));
                }
            }
            flashed @ Event::Flashed { .. } => {
                if let Some(whole) = inner.whole.take() {
                    whole.finish_and_clear();
                }
                self.say(&show_flashed(&flashed));
            }
            Event::Artifact { path, bytes, .. } => inner.summary.artifacts.push((path, bytes)),
            Event::Finished { done, reused, milliseconds } => {
                if let Some(whole) = inner.whole.take() {
                    whole.finish_and_clear();
                }
                for line in inner.summary.lines().iter().filter(|_| done > 0) {
                    self.say(line);
                }
                self.say(&show_finished(&inner.summary.recipe, done, reused, milliseconds));
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // After a failure bars are still there; the error is printed below them.
        let _ = self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_well_formed_and_bars_come_and_go() {
        let bars = Bars::new(0);
        bars.all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        bars.event(Event::Plan { recipe: "r".into(), steps: 2 });
        for number in 0..20 {
            bars.event(Event::Begin { step: format!("s{number}"), kind: "probe" });
        }
        assert_eq!(bars.inner.lock().unwrap().steps.len(), BARS_MAX);
        bars.event(Event::Total { step: "s0".into(), bytes: 100 });
        bars.event(Event::Progress { step: "s0".into(), bytes: 50 });
        assert_eq!(bars.inner.lock().unwrap().steps["s0"].position(), 50);
        let (bytes_per_second, seconds_left) = (3 << 20, Some(4));
        bars.event(Event::Pace { step: "s0".into(), bytes: 50, total: Some(100), bytes_per_second, seconds_left });
        assert_eq!(bars.inner.lock().unwrap().steps["s0"].prefix(), "3.0 MiB/s, 4.0 s left");
        for number in 0..20 {
            let outcome = if number == 1 { Outcome::Failed } else { Outcome::Done };
            bars.event(Event::End { step: format!("s{number}"), outcome, milliseconds: 1, error: None });
        }
        assert!(bars.inner.lock().unwrap().steps.is_empty());
        bars.event(Event::Output { step: "s0".into(), text: "  CC  x.o".into() });
        bars.event(Event::Finished { done: 20, reused: 0, milliseconds: 1 });
        assert!(bars.inner.lock().unwrap().whole.is_none());
    }
}
