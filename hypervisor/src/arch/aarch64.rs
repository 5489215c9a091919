//! The real machine: AArch64 at EL2, without the virtualisation host extensions.

#![expect(unsafe_code, reason = "the assembly's way in and out")]

pub mod cache;
pub mod gic;
pub mod layout;
mod lock;
pub mod mmio;
mod percpu;
mod registers;
pub mod smp;
pub mod stage1;
pub mod stage2;
pub mod timer;
pub mod vcpu;

pub use layout::{physical, pointer};
pub use lock::{Guard, Lock, Once};
pub use percpu::cpu;
pub use vcpu::{translate, translation_registers};

core::arch::global_asm!(
    include_str!("aarch64/entry.S"),
    image = const layout::IMAGE,
    mair = const stage1::MAIR,
    tcr = const stage1::TCR,
    sctlr = const stage1::SCTLR_FIRST,
    secondary = sym smp::SECONDARY,
    pc = const core::mem::offset_of!(super::Context, pc),
    workaround_1 = const super::speculation::WORKAROUND_1,
    workaround_3 = const super::speculation::WORKAROUND_3,
);

/// ISR_EL1.I and ISR_EL1.F.
const ISR_IRQ: u64 = 1 << 7;
const ISR_FIQ: u64 = 1 << 6;

/// What the assembly leaves of EL2's own registers when an exception is taken in EL2 itself.
#[repr(C)]
#[derive(Debug)]
pub struct Wreck {
    /// x0 to x30.
    pub x: [u64; 31],
    /// ELR_EL2.
    pub pc: u64,
    /// SPSR_EL2.
    pub pstate: u64,
}

/// Sleeps until an interrupt is pending; it is not taken.
pub fn wait_for_interrupt() {
    // SAFETY: waiting changes no state that Rust knows of.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack, preserves_flags)) }
}

/// Whether an interrupt waits for this CPU, though EL2 takes none (DDI 0487, ISR_EL1: at EL2, of physical ones).
pub fn is_interrupt_pending() -> bool {
    registers::read!("isr_el1") & (ISR_IRQ | ISR_FIQ) != 0
}

/// Lets others go first, while this CPU waits for one of them.
pub fn relax() {
    // SAFETY: a hint.
    unsafe { core::arch::asm!("yield", options(nomem, nostack, preserves_flags)) }
}

/// Sleeps for good.
pub fn stop() -> ! {
    loop {
        // SAFETY: as above; with every interrupt masked nothing but time passes.
        unsafe { core::arch::asm!("wfe", options(nostack, preserves_flags)) }
    }
}

/// Returns ESR_EL2 and FAR_EL2, for a panic.
pub fn syndrome() -> (u64, u64) {
    (registers::read!("esr_el2"), registers::read!("far_el2"))
}

/// Returns the return addresses on this CPU's stack, innermost first, by the chain of frame pointers.
pub fn backtrace(mut frame: u64) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        if frame & 7 != 0 || !layout::is_stack(frame) || !layout::is_stack(frame + 8) {
            return None;
        }
        // SAFETY: both words are in a mapped stack, aligned; whatever they hold is a number.
        let (next, address) = unsafe { (*(frame as *const u64), *((frame + 8) as *const u64)) };
        if next <= frame {
            frame = 0;
        } else {
            frame = next;
        }
        (address != 0).then_some(address)
    })
    .take(32)
}

/// Returns the registers as they are, with the caller as the place.
#[inline(never)]
pub fn wreck() -> Wreck {
    let mut wreck = Wreck { x: [0; 31], pc: 0, pstate: 0 };
    // SAFETY: fills the 31 words, and changes nothing else.
    unsafe {
        core::arch::asm!(
            "stp x0, x1, [{to}]", "stp x2, x3, [{to}, #16]", "stp x4, x5, [{to}, #32]", "stp x6, x7, [{to}, #48]",
            "stp x8, x9, [{to}, #64]", "stp x10, x11, [{to}, #80]", "stp x12, x13, [{to}, #96]",
            "stp x14, x15, [{to}, #112]", "stp x16, x17, [{to}, #128]", "stp x18, x19, [{to}, #144]",
            "stp x20, x21, [{to}, #160]", "stp x22, x23, [{to}, #176]", "stp x24, x25, [{to}, #192]",
            "stp x26, x27, [{to}, #208]", "stp x28, x29, [{to}, #224]", "str x30, [{to}, #240]",
            to = in(reg) wreck.x.as_mut_ptr(), options(nostack, preserves_flags)
        );
    }
    wreck.pc = wreck.x[30];
    wreck
}

/// Returns the frame pointer, to start a backtrace with.
pub fn frame_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
