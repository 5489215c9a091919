//! What a target reads its bytes with, and what it says it reached.

use std::collections::HashSet;

/// Bytes that mean something more or less, front to back.
#[derive(Debug, Clone)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// Returns `count` bytes as a number, the first one lowest; `None` at the end.
    pub fn take(&mut self, count: usize) -> Option<u64> {
        let (value, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(value.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Returns a byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte as u8)
    }

    /// Returns a number below `count`.
    pub fn below(&mut self, count: usize) -> Option<usize> {
        self.u8().map(|byte| usize::from(byte) % count)
    }
}

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
