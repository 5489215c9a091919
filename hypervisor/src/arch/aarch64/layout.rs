//! The hypervisor's virtual addresses: one window, which no guest uses, and beside it all memory.
//!
//! ```text
//!   0x3f80_0000_0000   IMAGE     2 MiB: code, constants, data; the only place where instructions are executed
//!   0x3f80_4000_0000   STACKS    64 KiB for each CPU but the first: the lower half is never mapped
//!   0x3f80_8000_0000   DEVICES   1 GiB: registers of devices, uncached
//!   0x4000_0000_0000   DIRECT    64 TiB: physical memory, at its address plus this
//! ```
#![expect(unsafe_code, reason = "symbols of the linker")]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where the image is linked; the linker script repeats it.
pub const IMAGE: u64 = 0x3f80_0000_0000;
/// Stacks of the CPUs that are not the first.
pub const STACKS: u64 = IMAGE + (1 << 30);
/// Registers of devices.
pub const DEVICES: u64 = IMAGE + (2 << 30);
/// End of the devices.
pub const DEVICES_END: u64 = IMAGE + (3 << 30);
/// Physical address 0.
pub const DIRECT: u64 = 0x4000_0000_0000;
/// Physical memory that can be reached.
pub const DIRECT_SIZE: u64 = 1 << 46;
/// Distance of stacks; the upper half is the stack, the lower the guard.
pub const STACK_STRIDE: u64 = 64 << 10;
/// Bytes of a stack.
pub const STACK_SIZE: u64 = STACK_STRIDE / 2;

static IMAGE_PHYSICAL: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    static image_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static boot_stack_guard: u8;
    static boot_stack_top: u8;
    static image_end: u8;
}

/// The image's parts, as virtual addresses.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// First byte.
    pub start: u64,
    /// End of code.
    pub text_end: u64,
    /// End of constants.
    pub rodata_end: u64,
    /// First byte of the boot stack's guard.
    pub guard: u64,
    /// End of the boot stack.
    pub stack_top: u64,
    /// End of everything.
    pub end: u64,
}

/// Returns where the image's parts are.
pub fn image() -> Image {
    let address = |symbol: *const u8| symbol as u64;
    Image {
        start: address(&raw const image_start),
        text_end: address(&raw const text_end),
        rodata_end: address(&raw const rodata_end),
        guard: address(&raw const boot_stack_guard),
        stack_top: address(&raw const boot_stack_top),
        end: address(&raw const image_end),
    }
}

/// Says where the image lies in physical memory.
pub fn set_image_physical(address: u64) {
    IMAGE_PHYSICAL.store(address, Relaxed);
}

/// Returns where the image lies in physical memory, and its size.
pub fn image_physical() -> (u64, u64) {
    (IMAGE_PHYSICAL.load(Relaxed), image().end - IMAGE)
}

/// Returns the physical address of something in the image.
pub fn physical_of_image(address: u64) -> u64 {
    debug_assert!((IMAGE..image().end).contains(&address), "not in the image");
    address - IMAGE + IMAGE_PHYSICAL.load(Relaxed)
}

/// Returns where physical memory can be touched. Whether there is any is the caller's business.
pub fn pointer(physical: u64) -> *mut u8 {
    assert!(physical < DIRECT_SIZE, "physical address {physical:#x} is out of reach");
    (DIRECT + physical) as *mut u8
}

/// Whether `address` lies in a stack that may be mapped.
pub fn is_stack(address: u64) -> bool {
    let image = image();
    (image.guard + STACK_SIZE..image.stack_top).contains(&address)
        || (STACKS..STACKS + super::stage1::stacks() * STACK_STRIDE).contains(&address) && address & STACK_SIZE != 0
}

/// Returns the physical address of something that [`pointer()`] gave.
pub fn physical(pointer: *const u8) -> u64 {
    pointer as u64 - DIRECT
}
