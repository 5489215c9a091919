//! The generic timers (DDI 0487, chapter D12): EL2's own for deadlines, the counters, and the guest's virtual timer.
#![expect(unsafe_code, reason = "timer registers")]

use super::registers::{read, synchronise, write};

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The timer counts, its interrupt is not masked.
const ENABLE: u64 = 1;

/// Returns the physical count.
pub fn now() -> u64 {
    synchronise();
    read!("cntpct_el0")
}

/// Returns the physical count, perhaps read a few instructions early: nothing is waited for.
pub fn glance() -> u64 {
    read!("cntpct_el0")
}

/// Counts per second, where somebody knows better than the register that firmware is to set; or 0.
static FREQUENCY: AtomicU64 = AtomicU64::new(0);

/// Says how many counts are a second.
pub fn set_frequency(hertz: u32) {
    FREQUENCY.store(hertz.into(), Relaxed);
}

/// Returns counts per second.
pub fn frequency() -> u64 {
    match FREQUENCY.load(Relaxed) {
        0 => read!("cntfrq_el0") & 0xffff_ffff,
        known => known,
    }
}

/// Asks for EL2's timer interrupt when the physical count reaches `deadline`; `None` for never.
pub fn set_deadline(deadline: Option<u64>) {
    match deadline {
        Some(count) => {
            write!("cnthp_cval_el2", count);
            write!("cnthp_ctl_el2", ENABLE);
        }
        None => write!("cnthp_ctl_el2", 0),
    }
    synchronise();
}

/// Prepares this CPU: guests read the physical count but not the physical timer, EL2's timer is off.
pub fn start() {
    write!("cnthctl_el2", 1);
    write!("cntv_ctl_el0", 0);
    write!("cntp_ctl_el0", 0);
    set_deadline(None);
}

/// Whether the loaded guest's virtual timer asserts its line now.
pub fn virtual_line() -> bool {
    synchronise();
    read!("cntv_ctl_el0") & 0b111 == 0b101
}
