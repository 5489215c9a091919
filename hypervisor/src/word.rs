//! A word of memory that others read and write at the same time: the only way in which the rules of events and grants see shared pages,
//! and those of vCPUs and frames what other CPUs see.
//!
//! A trait, so that the same rules run over the machine's atomics and, in tests, over a model that tries every interleaving. Everything is
//! sequentially consistent: both sides decide by two words that the other writes in the opposite order (pending and mask, entry and
//! use), which no weaker order allows.

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};

/// An atomic integer, or truth.
pub trait Word<V> {
    /// Returns what is there.
    fn load(&self) -> V;

    /// Puts a value there.
    fn store(&self, value: V);

    /// Puts a value there and returns what was.
    fn swap(&self, value: V) -> V;

    /// Sets bits and returns what was there.
    fn fetch_or(&self, bits: V) -> V;

    /// Clears the bits that are not in `bits` and returns what was there.
    fn fetch_and(&self, bits: V) -> V;

    /// Puts `new` there if `current` is there.
    ///
    /// # Errors
    /// What is there instead.
    fn compare_exchange(&self, current: V, new: V) -> Result<V, V>;
}

macro_rules! words {
    ($($atomic:ty: $value:ty;)*) => {
        $(impl Word<$value> for $atomic {
            fn load(&self) -> $value {
                self.load(SeqCst)
            }

            fn store(&self, value: $value) {
                self.store(value, SeqCst);
            }

            fn swap(&self, value: $value) -> $value {
                self.swap(value, SeqCst)
            }

            fn fetch_or(&self, bits: $value) -> $value {
                self.fetch_or(bits, SeqCst)
            }

            fn fetch_and(&self, bits: $value) -> $value {
                self.fetch_and(bits, SeqCst)
            }

            fn compare_exchange(&self, current: $value, new: $value) -> Result<$value, $value> {
                self.compare_exchange(current, new, SeqCst, SeqCst)
            }
        })*
    };
}

words! {
    AtomicBool: bool;
    AtomicU8: u8;
    AtomicU16: u16;
    AtomicU32: u32;
    AtomicU64: u64;
    AtomicUsize: usize;
}

/// A shared page, pinned for as long as this value lives, as the 32-bit words it has.
pub trait Page {
    /// Its words.
    type Word: Word<u32>;

    /// Returns them.
    fn words(&self) -> &[Self::Word];
}
