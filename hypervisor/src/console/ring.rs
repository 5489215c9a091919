//! The last of what was said, in a ring; places in it are counted from the first byte ever.

/// The ring; `N` bytes are kept.
#[derive(Debug)]
pub struct Ring<const N: usize> {
    bytes: [u8; N],
    written: u64,
    cleared: u64,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Ring<N> {
    /// Returns an empty one.
    pub const fn new() -> Self {
        Ring { bytes: [0; N], written: 0, cleared: 0 }
    }

    /// Adds a byte, over the oldest one if it is full.
    pub fn push(&mut self, byte: u8) {
        self.bytes[(self.written % N as u64) as usize] = byte;
        self.written += 1;
    }

    /// Returns the place of the oldest byte that is there and not cleared, and the place after the last one.
    pub fn bounds(&self) -> (u64, u64) {
        (self.cleared.max(self.written.saturating_sub(N as u64)), self.written)
    }

    /// Clears what stands before a place: it is still read where somebody asks for it.
    pub fn clear(&mut self, before: u64) {
        self.cleared = before.min(self.written);
    }

    /// Fills `out` from place `from` on, or from the oldest byte there is; returns the place after it and how many bytes it is.
    pub fn read(&self, from: u64, out: &mut [u8]) -> (u64, usize) {
        let from = from.clamp(self.written.saturating_sub(N as u64), self.written);
        let count = (self.written - from).min(out.len() as u64);
        for (place, slot) in (from..from + count).zip(out.iter_mut()) {
            *slot = self.bytes[(place % N as u64) as usize];
        }
        (from + count, count as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_stay() {
        let mut ring = Ring::<8>::new();
        let mut out = [0; 5];
        assert_eq!(ring.read(0, &mut out), (0, 0));
        b"abc".iter().for_each(|&byte| ring.push(byte));
        assert_eq!((ring.read(1, &mut out), &out[..2]), ((3, 2), &b"bc"[..]));
        b"defghijkl".iter().for_each(|&byte| ring.push(byte));
        // Twelve were written; the first four are gone.
        assert_eq!((ring.read(0, &mut out), &out), ((9, 5), b"efghi"));
        assert_eq!((ring.read(9, &mut out), &out[..3]), ((12, 3), &b"jkl"[..]));
        assert_eq!(ring.read(u64::MAX, &mut out), (12, 0));
        assert_eq!(ring.bounds(), (4, 12));
        ring.clear(6);
        assert_eq!(ring.bounds(), (6, 12));
        (0..4).for_each(|_| ring.push(b'm'));
        assert_eq!(ring.bounds(), (8, 16), "what was cleared is overwritten");
    }
}
