//! How many lines may come in how much time: who makes the hypervisor say something cannot make it say that without end.

/// Lines that may come at once.
pub const BURST: u64 = 10;
/// Milliseconds after which one more may come.
pub const EACH_MS: u64 = 5000;

/// What is left of a right to speak.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Milliseconds saved up.
    saved: u64,
    /// When that was.
    then: u64,
    /// Lines that were not said since the last that was.
    missed: u64,
}

impl Default for Limit {
    fn default() -> Self {
        Self::new()
    }
}

impl Limit {
    /// Returns a full right.
    pub const fn new() -> Limit {
        Limit { saved: BURST * EACH_MS, then: 0, missed: 0 }
    }

    /// Asks to say a line now; returns how many could not be said since the last one, or nothing if this one cannot.
    pub fn take(&mut self, now_ms: u64) -> Option<u64> {
        self.saved = self.saved.saturating_add(now_ms.saturating_sub(self.then)).min(BURST * EACH_MS);
        self.then = self.then.max(now_ms);
        if self.saved < EACH_MS {
            self.missed += 1;
            return None;
        }
        self.saved -= EACH_MS;
        Some(core::mem::take(&mut self.missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_what_was_missed_is_counted() {
        let mut limit = Limit::new();
        let said = (0..1000).filter(|_| limit.take(77).is_some()).count();
        assert_eq!(said as u64, BURST);
        assert_eq!(limit.take(77 + EACH_MS - 1), None);
        assert_eq!(limit.take(77 + EACH_MS), Some(1000 - BURST + 1));
        assert_eq!(limit.take(77 + EACH_MS), None);
        // A long silence saves up no more than the burst.
        let said = (0..1000).filter(|_| limit.take(u64::MAX).is_some()).count();
        assert_eq!(said as u64, BURST);
    }

    #[test]
    fn who_says_little_says_all() {
        let mut limit = Limit::new();
        assert!((0..100).all(|line| limit.take(line * EACH_MS) == Some(0)));
        // A clock that goes back saves nothing, and harms nothing.
        assert!(limit.take(0).is_some());
    }
}
