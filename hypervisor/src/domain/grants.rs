//! A domain's grant table as memory: the frames in which it says who may use its pages.

use alloc::vec::Vec;

use crate::domain::Domain;
use crate::hypercall::{Answer, Errno, memory_op};
use crate::memory::Gfn;
use crate::memory::shared::SharedPage;

/// Frames that a table may have: 32768 entries.
pub const FRAMES_MAX: usize = 64;

/// A domain's table.
#[derive(Debug, Default)]
pub struct Grants {
    frames: Vec<(SharedPage, Option<Gfn>)>,
}

impl Grants {
    /// Returns how many frames the table has.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Makes the table at least `count` frames large.
    ///
    /// # Errors
    /// Too many, or no memory.
    pub fn grow(&mut self, count: usize, domain: u16) -> Result<(), Errno> {
        if count > FRAMES_MAX {
            return Err(Errno::EINVAL);
        }
        while self.frames.len() < count {
            self.frames.push((SharedPage::lend(domain).ok_or(Errno::ENOMEM)?, None));
        }
        Ok(())
    }

    /// Maps a frame of the table into the domain's memory; the table grows as far as that.
    ///
    /// # Errors
    /// As the hypercall has them.
    pub fn map(&mut self, domain: &Domain, index: u64, gfn: Gfn) -> Answer {
        let index = usize::try_from(index).ok().filter(|&index| index < FRAMES_MAX).ok_or(Errno::EINVAL)?;
        self.grow(index + 1, domain.id)?;
        let (page, place) = &mut self.frames[index];
        memory_op::lend(domain, place, page.frame(), gfn)
    }

    /// Returns where the domain has a frame of the table.
    pub fn place(&self, index: usize) -> Option<Gfn> {
        self.frames.get(index)?.1
    }
}
