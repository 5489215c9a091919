//! The interrupt controller and the timers: what the manuals say, tried. Without a hypervisor the machine's own answer.
//!
//! IHI 0069: GICv3; IHI 0048: GICv2; DDI 0487: the timers.

pub mod cases;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::machine::{self, DIRECT, load, store};
use crate::{Board, read_register, write_register};

/// The virtual timer's interrupt (Server Base System Architecture: PPI 27).
pub const VIRTUAL_TIMER: u32 = 27;

static COUNT: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);
static V3: AtomicBool = AtomicBool::new(false);
static STARTED: AtomicBool = AtomicBool::new(false);
static PLACES: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Runs the cases.
pub fn run(board: &Board, timers: bool) {
    prepare(board);
    if timers {
        cases::timers();
    } else {
        cases::run();
    }
}

/// Gets the controller ready: every private interrupt off, the interface on.
pub fn prepare(board: &Board) {
    V3.store(board.gicv3, SeqCst);
    board.gic.iter().zip(&PLACES).for_each(|((at, _), place)| place.store(DIRECT + at, SeqCst));
    if board.gicv3 {
        // Awake (GICR_WAKER), distributor with affinity routing and group 1 (GICD_CTLR), interface by system registers.
        let waker = redistributor() + 0x14;
        store(waker, 4, load(waker, 4) & !2);
        while load(waker, 4) & 4 != 0 {}
        store(distributor(), 4, 0x12);
        write_register!("s3_0_c12_c12_5", read_register!("s3_0_c12_c12_5") | 1); // ICC_SRE_EL1
        store(private(0x80), 4, 0xffff_ffff); // GICR_IGROUPR0
        write_register!("s3_0_c4_c6_0", 0xf0); // ICC_PMR_EL1
        write_register!("s3_0_c12_c12_7", 1); // ICC_IGRPEN1_EL1
    } else {
        store(distributor(), 4, 1);
        store(interface() + 4, 4, 0xf0); // GICC_PMR
        store(interface(), 4, 1); // GICC_CTLR
    }
    store(private(0x180), 4, 0xffff_ffff);
    STARTED.store(true, SeqCst);
}

/// Gets the interface of another CPU than the first ready, for its virtual timer.
pub fn prepare_other(number: usize) {
    let private = private(0) + if V3.load(SeqCst) { number as u64 * 0x2_0000 } else { 0 };
    if V3.load(SeqCst) {
        let waker = private - 0x1_0000 + 0x14;
        store(waker, 4, load(waker, 4) & !2);
        while load(waker, 4) & 4 != 0 {}
        write_register!("s3_0_c12_c12_5", read_register!("s3_0_c12_c12_5") | 1); // ICC_SRE_EL1
        store(private + 0x80, 4, 0xffff_ffff); // GICR_IGROUPR0
        write_register!("s3_0_c4_c6_0", 0xf0); // ICC_PMR_EL1
        write_register!("s3_0_c12_c12_7", 1); // ICC_IGRPEN1_EL1
    } else {
        store(interface() + 4, 4, 0xf0); // GICC_PMR
        store(interface(), 4, 1); // GICC_CTLR
    }
    store(private + 0x180, 4, 0xffff_ffff);
    store(private + 0x100, 4, 1 << VIRTUAL_TIMER);
}

/// Returns the address of the distributor.
pub fn distributor() -> u64 {
    PLACES[0].load(SeqCst)
}

/// Returns the address of the first redistributor.
pub fn redistributor() -> u64 {
    PLACES[1].load(SeqCst)
}

fn interface() -> u64 {
    PLACES[1].load(SeqCst)
}

/// Returns the address of a register of the private interrupts: of the redistributor's second frame, or the distributor's banked ones.
pub fn private(offset: u64) -> u64 {
    if V3.load(SeqCst) { redistributor() + 0x1_0000 + offset } else { distributor() + offset }
}

/// Acknowledges what waits; 1023 if nothing.
pub fn acknowledge() -> u32 {
    if V3.load(SeqCst) { read_register!("s3_0_c12_c12_0") as u32 } else { load(interface() + 0xc, 4) as u32 }
}

/// Ends an interrupt: drops its priority and deactivates it.
pub fn end(interrupt: u32) {
    if V3.load(SeqCst) {
        write_register!("s3_0_c12_c12_1", interrupt.into())
    } else {
        store(interface() + 0x10, 4, interrupt.into())
    }
}

/// Called for every interrupt that is taken.
pub fn taken() {
    let interrupt = acknowledge();
    LAST.store(interrupt.into(), SeqCst);
    COUNT.fetch_add(1, SeqCst);
    if interrupt & 0x3ff == VIRTUAL_TIMER && !crate::several::tick() {
        write_register!("cntv_ctl_el0", 0b11);
    }
    if interrupt & 0x3ff < 1020 {
        end(interrupt);
    }
}

/// Returns how many interrupts have been taken.
pub fn count() -> u64 {
    COUNT.load(SeqCst)
}

/// Returns the last that was taken.
pub fn last() -> u64 {
    LAST.load(SeqCst)
}

/// Lets the virtual timer fire so many nanoseconds from now.
pub fn arm(nanoseconds: u64) {
    if !STARTED.load(SeqCst) {
        return;
    }
    store(private(0x100), 4, 1 << VIRTUAL_TIMER);
    let ticks = (u128::from(nanoseconds) * u128::from(read_register!("cntfrq_el0")) / 1_000_000_000) as u64;
    write_register!("cntv_cval_el0", read_register!("cntvct_el0") + ticks);
    write_register!("cntv_ctl_el0", 1);
}

/// Stops the virtual timer.
pub fn disarm() {
    write_register!("cntv_ctl_el0", 0);
    if STARTED.load(SeqCst) {
        store(private(0x180), 4, 1 << VIRTUAL_TIMER);
    }
    machine::enable_interrupts(false);
}
