//! What a target reads its bytes with.

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
