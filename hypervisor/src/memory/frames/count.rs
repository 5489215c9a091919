//! References to a frame: the lower half of its word. Pure: over a word, so that a model runs the same code in every interleaving.

use super::Refused;
use crate::word::Word;

/// Adds a reference, where the word `fits` and has one already: a frame that nobody holds is about to be somebody else's.
///
/// # Errors
/// [`Refused`].
pub fn get(word: &impl Word<u64>, fits: impl Fn(u64) -> bool) -> Result<(), Refused> {
    let mut seen = word.load();
    loop {
        let references = seen as u32;
        if !fits(seen) || references == 0 || references == u32::MAX {
            return Err(Refused);
        }
        match word.compare_exchange(seen, seen + 1) {
            Ok(_) => return Ok(()),
            Err(now) => seen = now,
        }
    }
}

/// Takes a reference away; returns how many are left. The last one says that the frame is the caller's.
///
/// # Errors
/// [`Refused`]: there was none.
pub fn put(word: &impl Word<u64>) -> Result<u32, Refused> {
    let mut seen = word.load();
    loop {
        let left = (seen as u32).checked_sub(1).ok_or(Refused)?;
        match word.compare_exchange(seen, seen - 1) {
            Ok(_) => return Ok(left),
            Err(now) => seen = now,
        }
    }
}
