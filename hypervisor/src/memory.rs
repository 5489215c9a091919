//! Memory: who owns which frame, what a guest's addresses mean, and the only doors to what guests can write.

pub mod frames;
pub mod guest;
#[cfg(target_os = "none")]
mod heap;
pub mod p2m;
pub mod ranges;
pub mod shared;
pub mod vmid;
pub mod walk;

use crate::arch::PAGE_SIZE;

/// A frame of the machine: physical address divided by the page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mfn(pub u64);

/// A frame as a guest counts: guest physical address divided by the page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gfn(pub u64);

impl Mfn {
    /// Returns the frame that holds a physical address.
    pub fn of(address: u64) -> Mfn {
        Mfn(address / PAGE_SIZE)
    }

    /// Returns the physical address of its first byte.
    pub fn address(self) -> u64 {
        self.0 * PAGE_SIZE
    }
}

impl Gfn {
    /// Returns the frame that holds a guest physical address.
    pub fn of(address: u64) -> Gfn {
        Gfn(address / PAGE_SIZE)
    }

    /// Returns the guest physical address of its first byte.
    pub fn address(self) -> u64 {
        self.0.wrapping_mul(PAGE_SIZE)
    }
}
