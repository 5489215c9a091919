//! A guest's page that is shared by contract: pinned, and seen as atomics.
#![expect(unsafe_code, reason = "a pinned page as a slice of atomics")]

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use super::frames::{self, Refused};
use super::{Mfn, frames::State};
use crate::arch;

/// A page of a domain, held until this is dropped.
#[derive(Debug)]
pub struct SharedPage {
    frame: Mfn,
}

impl SharedPage {
    /// Pins a frame that is `domain`'s memory.
    ///
    /// # Errors
    /// [`Refused`] if it is not.
    pub fn pin(frame: Mfn, domain: u16) -> Result<SharedPage, Refused> {
        frames::get_memory(frame, domain)?;
        Ok(SharedPage { frame })
    }

    /// Allocates a page of zeroes that is lent to `domain`.
    pub fn lend(domain: u16) -> Option<SharedPage> {
        let frame = frames::allocate_as(0, domain, State::Lent)?;
        Some(SharedPage { frame })
    }

    /// Returns the frame.
    pub fn frame(&self) -> Mfn {
        self.frame
    }

    /// Returns the page as bytes.
    pub fn bytes(&self) -> &[AtomicU8; 4096] {
        // SAFETY: the page is mapped memory and stays so while the reference is held; whoever else writes it is a guest, and every
        // bit pattern is a value.
        unsafe { &*(arch::pointer(self.frame.address()) as *const [AtomicU8; 4096]) }
    }

    /// Returns the page as 32-bit words.
    pub fn words(&self) -> &[AtomicU32; 1024] {
        // SAFETY: as above; pages are aligned.
        unsafe { &*(arch::pointer(self.frame.address()) as *const [AtomicU32; 1024]) }
    }

    /// Returns the page as 64-bit words.
    pub fn longs(&self) -> &[AtomicU64; 512] {
        // SAFETY: as above.
        unsafe { &*(arch::pointer(self.frame.address()) as *const [AtomicU64; 512]) }
    }
}

impl crate::word::Page for SharedPage {
    type Word = AtomicU32;

    fn words(&self) -> &[AtomicU32] {
        SharedPage::words(self)
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        frames::put(self.frame);
    }
}
