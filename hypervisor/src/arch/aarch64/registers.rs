//! Reading and writing system registers by name.
#![expect(unsafe_code, reason = "system registers and instructions")]

/// Reads a system register, by name or, where the assembler is too old to know it, by encoding.
macro_rules! read {
    ($register:expr) => {{
        let value: u64;
        // SAFETY: reading a register that exists at EL2 has no effect that Rust knows of. Ordered with other volatile assembly.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register.
macro_rules! write {
    ($register:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: every use is a register that concerns lower levels, interrupts or timers; none changes how EL2's own
        // instructions and memory work (stage1.rs and entry.S write those).
        unsafe { core::arch::asm!(concat!("msr ", $register, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
    }};
}

/// Runs one instruction that waits, orders, or invalidates what is cached.
macro_rules! instruction {
    ($text:literal) => {
        // SAFETY: ordering and invalidating change no state that Rust knows of.
        unsafe { core::arch::asm!($text, options(nostack, preserves_flags)) }
    };
    ($text:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: as above.
        unsafe { core::arch::asm!(concat!($text, ", {}"), in(reg) value, options(nostack, preserves_flags)) }
    }};
}

/// Makes what was written to system registers hold for the instructions that follow.
pub fn synchronise() {
    instruction!("isb");
}

pub(crate) use {instruction, read, write};
