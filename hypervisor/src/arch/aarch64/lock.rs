//! Mutual exclusion between CPUs, and values that are set once. EL2 runs with interrupts masked, so a lock is only ever waited for by
//! another CPU.
#![expect(unsafe_code, reason = "shared mutable state, guarded")]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::*};

/// A lock around a value. Who comes first is not told apart: a CPU that an emulator has put to sleep in line would keep all others
/// waiting behind it, and what is done under a lock is short.
#[derive(Debug, Default)]
pub struct Lock<T: ?Sized> {
    taken: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard only, and there is one guard at a time.
unsafe impl<T: ?Sized + Send> Sync for Lock<T> {}
// SAFETY: the value goes with the lock.
unsafe impl<T: ?Sized + Send> Send for Lock<T> {}

impl<T> Lock<T> {
    /// Returns a lock that nobody holds.
    pub const fn new(value: T) -> Lock<T> {
        Lock { taken: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }
}

impl<T: ?Sized> Lock<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        while self.taken.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
            self.wait();
        }
        Guard { lock: self }
    }

    /// Sleeps while the lock is taken: giving it back is an event, for it clears the monitor that the load sets (DDI 0487, B2.12.2).
    #[cold]
    fn wait(&self) {
        // SAFETY: reads the lock's word, which is there as long as `self`; the event register is nobody's state.
        unsafe {
            core::arch::asm!(
                "ldaxr {value:w}, [{word}]", "cbz {value:w}, 2f", "wfe", "2:",
                word = in(reg) self.taken.as_ptr(), value = out(reg) _, options(nostack, readonly)
            );
        }
    }

    /// Takes the lock if nobody holds it.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.taken.compare_exchange(0, 1, Acquire, Relaxed).is_ok().then_some(Guard { lock: self })
    }
}

/// The right to a locked value; dropping it gives the lock back.
#[derive(Debug)]
pub struct Guard<'a, T: ?Sized> {
    lock: &'a Lock<T>,
}

impl<T: ?Sized> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one, and borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.taken.store(0, Release);
    }
}

/// A value that is set once, while the machine boots, and then only read.
#[derive(Debug)]
pub struct Once<T> {
    /// 0: empty, 1: being set, 2: set.
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: written once before `state` says so, shared afterwards.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    /// Returns one that is not set.
    pub const fn new() -> Once<T> {
        Once { state: AtomicU8::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Sets it. Panics if it is set already.
    pub fn set(&self, value: T) -> &T {
        assert!(self.state.compare_exchange(0, 1, Acquire, Relaxed).is_ok(), "set twice");
        // SAFETY: the exchange made this the only writer, and there is no reader before state 2.
        unsafe { (*self.value.get()).write(value) };
        self.state.store(2, Release);
        self.get().expect("just set")
    }

    /// Returns it, if it is set.
    pub fn get(&self) -> Option<&T> {
        // SAFETY: state 2 means it has been written and will not be again.
        (self.state.load(Acquire) == 2).then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }
}
