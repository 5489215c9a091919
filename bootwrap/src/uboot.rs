//! What U-Boot boots: a script that loads the parts one by one, or a FIT that holds them.
//!
//! ```text
//! device tree, hypervisor, kernel, initramfs --> load (who goes where) --+--> script --> legacy: boot.scr
//!                                                                        +--> fit: one file, hashed and signed
//! ```

pub mod fit;
pub mod legacy;
pub mod load;
pub mod script;
pub mod signature;
