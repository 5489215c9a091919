//! A set of numbers as ascending runs, which knows how many of them lie below any number.

/// A set of numbers as ascending runs, each with how many members come before it.
#[derive(Clone, Default, Debug)]
pub(in crate::ext) struct Ranks {
    pub runs: Vec<Run>,
    pub total: u64,
}

/// Consecutive members.
#[derive(Clone, Copy, Debug)]
pub(in crate::ext) struct Run {
    pub start: u64,
    pub end: u64,
    /// Members below `start`.
    pub before: u64,
}

impl Ranks {
    /// Adds `start..end`, which may begin inside the last run but not before it.
    pub fn add(&mut self, start: u64, end: u64) {
        match self.runs.last_mut() {
            Some(last) if start <= last.end => {
                self.total += end.saturating_sub(last.end);
                last.end = last.end.max(end);
            }
            _ => {
                self.runs.push(Run { start, end, before: self.total });
                self.total += end - start;
            }
        }
    }

    /// Returns how many members are below `number`.
    pub fn rank(&self, number: u64) -> u64 {
        match self.runs.partition_point(|run| run.start < number).checked_sub(1) {
            Some(last) => self.runs[last].before + number.min(self.runs[last].end) - self.runs[last].start,
            None => 0,
        }
    }

    pub fn contains(&self, number: u64) -> bool {
        self.rank(number + 1) > self.rank(number)
    }

    /// Returns the runs cut to `start..end`.
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let first = self.runs.partition_point(|run| run.end <= start);
        let runs = self.runs[first..].iter().take_while(move |run| run.start < end);
        runs.map(move |run| (run.start.max(start), run.end.min(end)))
    }
}
