//! Identifiers of guests (VMIDs): what TLBs know a guest's translations by. Eight bits, which every CPU has (DDI 0487, VTCR_EL2.VS).

use core::sync::atomic::{AtomicU64, Ordering::*};

/// Identifiers as bits, set while they are somebody's.
#[derive(Debug)]
pub struct Vmids([AtomicU64; 4]);

/// The machine's.
pub static VMIDS: Vmids = Vmids::new();

impl Vmids {
    /// Returns all of them, free but for 0: that is what a CPU has before its first guest.
    pub const fn new() -> Vmids {
        Vmids([AtomicU64::new(1), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)])
    }

    /// Returns one that nobody has, if there is any.
    pub fn take(&self) -> Option<u8> {
        self.0.iter().enumerate().find_map(|(index, word)| {
            let free = |used: u64| (used != u64::MAX).then(|| used | 1 << used.trailing_ones());
            let before = word.fetch_update(AcqRel, Acquire, free).ok()?;
            Some((index * 64) as u8 + before.trailing_ones() as u8)
        })
    }

    /// Gives one back. No TLB may know anything by it any more.
    pub fn give(&self, vmid: u8) {
        self.0[usize::from(vmid / 64)].fetch_and(!(1 << (vmid % 64)), AcqRel);
    }
}

impl Default for Vmids {
    fn default() -> Vmids {
        Vmids::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn each_is_one_guests() {
        let vmids = Vmids::new();
        let taken: Vec<u8> = std::iter::from_fn(|| vmids.take()).collect();
        assert_eq!(taken, Vec::from_iter(1..=255));
        [7, 64, 255].into_iter().for_each(|vmid| vmids.give(vmid));
        assert_eq!([vmids.take(), vmids.take(), vmids.take(), vmids.take()], [Some(7), Some(64), Some(255), None]);
    }

    #[test]
    fn two_never_get_the_same() {
        let vmids = Vmids::new();
        let take = || Vec::from_iter((0..100).map_while(|_| vmids.take()));
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(take);
            (take(), one.join().unwrap())
        });
        assert_eq!((one.len(), other.len()), (100, 100));
        assert!(one.iter().all(|vmid| !other.contains(vmid)));
    }
}
