//! Mutual exclusion by loads and stores alone.
//!
//! With the MMU off all memory is Device memory, on which exclusive and atomic read-modify-write instructions need not work
//! (DDI 0487, B2.9). Lamport's bakery needs neither.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::parameters::CPUS_MAX;

/// A lock that every CPU takes under its own number.
pub struct Lock {
    choosing: [AtomicU32; CPUS_MAX],
    /// Zero: not interested.
    ticket: [AtomicU32; CPUS_MAX],
}

impl Default for Lock {
    fn default() -> Self {
        Self::new()
    }
}

impl Lock {
    /// Returns a lock that nobody holds; all zeroes in memory.
    pub const fn new() -> Lock {
        Lock { choosing: [const { AtomicU32::new(0) }; CPUS_MAX], ticket: [const { AtomicU32::new(0) }; CPUS_MAX] }
    }

    /// Runs `critical` while no other CPU does. `own` is the caller's number; two callers must never share one.
    pub fn with<R>(&self, own: usize, critical: impl FnOnce() -> R) -> R {
        self.choosing[own].store(1, SeqCst);
        let highest = self.ticket.iter().map(|ticket| ticket.load(SeqCst)).max().unwrap_or(0);
        // Tickets start again at 1 whenever the lock is free, so they do not run out.
        let ticket = highest + 1;
        self.ticket[own].store(ticket, SeqCst);
        self.choosing[own].store(0, SeqCst);
        for other in (0..CPUS_MAX).filter(|&other| other != own) {
            while self.choosing[other].load(SeqCst) != 0 {
                core::hint::spin_loop();
            }
            loop {
                let theirs = self.ticket[other].load(SeqCst);
                if theirs == 0 || (theirs, other) > (ticket, own) {
                    break;
                }
                core::hint::spin_loop();
            }
        }
        let result = critical();
        self.ticket[own].store(0, SeqCst);
        result
    }
}
