//! What `build.rs` compiled for bare metal: ELF files.

/// The EL3 stub, as `bootwrap` takes it.
pub const EL3: &[u8] = include_bytes!(env!("XENBUILD_EL3_STUB"));
/// The hypervisor.
pub const HYPERVISOR: &[u8] = include_bytes!(env!("XENBUILD_HYPERVISOR"));
