//! Device registers: words at physical addresses, since the MMU is off.
#![expect(unsafe_code, reason = "reads and writes device registers")]

/// A block of 32-bit device registers.
#[derive(Clone, Copy)]
pub struct Registers {
    base: u64,
}

impl Registers {
    /// Returns the block at `base`, an address the device tree gave.
    pub fn at(base: u64) -> Registers {
        Registers { base }
    }

    /// Reads the register at `offset` bytes.
    pub fn read(self, offset: u64) -> u32 {
        // SAFETY: `base` is a device's address according to the board's parameters, so that no memory of Rust's is there; device
        // registers are word-aligned.
        unsafe { core::ptr::with_exposed_provenance::<u32>((self.base + offset) as usize).read_volatile() }
    }

    /// Writes the register at `offset` bytes.
    pub fn write(self, offset: u64, value: u32) {
        // SAFETY: as in `read`.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>((self.base + offset) as usize).write_volatile(value) }
    }
}
