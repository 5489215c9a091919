//! How fast something goes, and how long it will take: over the last seconds, since cards slow down as they fill.

use std::collections::VecDeque;
use std::time::Duration;

/// What is looked back on.
const WINDOW: Duration = Duration::from_secs(15);
/// Before this nothing is foretold.
const WARM_UP: Duration = Duration::from_millis(1500);

/// Bytes done, at times since the start.
#[derive(Clone, Default, Debug)]
pub struct Pace {
    past: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Takes note that so much was done by now.
    pub fn note(&mut self, now: Duration, done: u64) {
        if self.past.is_empty() {
            self.past.push_back((Duration::ZERO, 0));
        }
        self.past.push_back((now, done));
        // One older than the window stays, so that it is spanned.
        while self.past.len() > 2 && now - self.past[1].0 >= WINDOW {
            self.past.pop_front();
        }
    }

    /// Returns bytes per second, and the seconds left for so many bytes; nothing before that means anything.
    pub fn now(&self, total: u64) -> Option<(u64, Option<u64>)> {
        let ((from, before), (to, done)) = (*self.past.front()?, *self.past.back()?);
        let seconds = (to - from).as_secs_f64();
        if to < WARM_UP || seconds <= 0.0 || done <= before {
            return None;
        }
        let rate = (done - before) as f64 / seconds;
        let left = total.checked_sub(done).map(|left| (left as f64 / rate).ceil() as u64);
        Some((rate as u64, left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_count() {
        let mut pace = Pace::default();
        pace.note(Duration::from_secs(1), 100);
        assert_eq!(pace.now(1000), None);
        pace.note(Duration::from_secs(2), 200);
        assert_eq!(pace.now(1000), Some((100, Some(8))));
        for second in 3..=40 {
            pace.note(Duration::from_secs(second), 200 + (second - 2) * 10);
        }
        assert_eq!(pace.now(1000), Some((10, Some(42))));
        assert_eq!(pace.now(0), Some((10, None)));
        assert!(pace.past.len() < 20);
    }
}
