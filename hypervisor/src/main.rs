//! Boots (boot.rs); on a host, which it cannot boot, it says what it is.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod panic;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the hypervisor runs on bare metal: make hypervisor");
}
