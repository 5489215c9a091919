//! Registers of devices, mapped uncached; every access is inside a region or a panic.
#![expect(unsafe_code, reason = "device registers")]

use super::stage1;

/// The registers of one device.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    base: u64,
    size: u64,
}

impl Region {
    /// Maps `size` bytes of registers at a physical address.
    pub fn map(physical: u64, size: u64) -> Region {
        Region { base: stage1::map_device(physical, size), size }
    }

    fn at<T>(&self, offset: u64) -> *mut T {
        let size = size_of::<T>() as u64;
        assert!(
            offset.is_multiple_of(size) && offset + size <= self.size,
            "register {offset:#x} of {:#x} bytes",
            self.size
        );
        (self.base + offset) as *mut T
    }

    /// Reads a 32-bit register.
    pub fn read32(&self, offset: u64) -> u32 {
        // SAFETY: inside the mapped region, aligned; a device's registers are no memory of Rust's.
        unsafe { self.at::<u32>(offset).read_volatile() }
    }

    /// Writes a 32-bit register.
    pub fn write32(&self, offset: u64, value: u32) {
        // SAFETY: as above.
        unsafe { self.at::<u32>(offset).write_volatile(value) }
    }

    /// Reads a 64-bit register.
    pub fn read64(&self, offset: u64) -> u64 {
        // SAFETY: as above.
        unsafe { self.at::<u64>(offset).read_volatile() }
    }

    /// Writes a 64-bit register.
    pub fn write64(&self, offset: u64, value: u64) {
        // SAFETY: as above.
        unsafe { self.at::<u64>(offset).write_volatile(value) }
    }

    /// Reads an 8-bit register.
    pub fn read8(&self, offset: u64) -> u8 {
        // SAFETY: as above.
        unsafe { self.at::<u8>(offset).read_volatile() }
    }

    /// Writes an 8-bit register.
    pub fn write8(&self, offset: u64, value: u8) {
        // SAFETY: as above.
        unsafe { self.at::<u8>(offset).write_volatile(value) }
    }
}
