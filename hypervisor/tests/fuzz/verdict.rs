//! What a target says of an input.

use std::collections::HashSet;

/// What was reached: of each kind, which. Coarse, and the same on any machine.
#[derive(Debug, Clone, Default)]
pub struct Reached(pub HashSet<(&'static str, u64)>);

impl Reached {
    /// Notes something.
    pub fn note(&mut self, kind: &'static str, which: u64) {
        self.0.insert((kind, which));
    }
}

/// Whether a target is what it is to be, or spoilt on purpose, so that one sees that it notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeded {
    /// As it is.
    Nothing,
    /// With a fault that a few inputs show.
    Fault,
}

/// What a target says of an input: what it reached, or which rule was broken.
pub type Verdict = Result<Reached, String>;

/// Breaks off with what is wrong unless a condition holds.
#[macro_export]
macro_rules! holds {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
