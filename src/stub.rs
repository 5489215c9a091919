//! The EL3 stub that `build.rs` compiled for bare metal: an ELF file, as `bootwrap` takes it.

/// The stub.
pub const EL3: &[u8] = include_bytes!(env!("XENBUILD_EL3_STUB"));
