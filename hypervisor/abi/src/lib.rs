//! Xen's public interface as an arm64 guest sees it: one file per public header, same name. What a guest may say to us; the only place
//! where Xen's numbers stand.
//!
//! Memory that a guest can write holds integers only. A structure arrives as bytes that were copied from the guest and is decoded by
//! [`Field::read`]; there are no references into guest memory and no transmuted enumerations: a number becomes an operation through
//! `from_number`, which may say no. Sizes and offsets are asserted when this crate is compiled, and `tests/layout.rs` compares every
//! item with the headers that Debian's `libxen-dev` installs.
//!
//! Items keep the spelling of the headers, since that is what manuals, guests and logs say; structures lose the prefix `xen_`.
//!
//! Layouts are those of Xen 4.17; where 4.14 or 4.20 differ, [`release`] has the codec that goes with the version a guest was told.

#![no_std]
#![forbid(unsafe_code)]
#![allow(non_upper_case_globals, reason = "the headers' spelling")]

#[macro_use]
mod item;
pub mod release;

pub mod arch_arm;
pub mod domctl;
pub mod errno;
pub mod event_channel;
pub mod features;
pub mod grant_table;
pub mod hvm;
pub mod io;
pub mod memory;
pub mod physdev;
pub mod platform;
pub mod sched;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod xen;

pub use errno::Errno;
pub use item::{Constant, Field, Handle, Header, Member, Plain, Structure};
pub use release::Release;
pub use xen::Hypercall;

/// Every header with the items that stand here, for tests that compare them with what is installed.
pub const HEADERS: &[Header] = &[
    Header { name: "arch-arm.h", structures: arch_arm::STRUCTURES, constants: &[arch_arm::CONSTANTS] },
    Header { name: "arch-arm/smccc.h", structures: &[], constants: &[arch_arm::smccc::CONSTANTS] },
    Header {
        name: "domctl.h",
        structures: domctl::STRUCTURES,
        constants: &[domctl::CONSTANTS, domctl::DomctlOp::NUMBERS],
    },
    Header { name: "errno.h", structures: &[], constants: &[Errno::NUMBERS] },
    Header {
        name: "event_channel.h",
        structures: event_channel::STRUCTURES,
        constants: &[event_channel::CONSTANTS, event_channel::EventChannelOp::NUMBERS],
    },
    Header { name: "features.h", structures: &[], constants: &[features::CONSTANTS] },
    Header {
        name: "grant_table.h",
        structures: grant_table::STRUCTURES,
        constants: &[grant_table::CONSTANTS, grant_table::GrantTableOp::NUMBERS, grant_table::GrantStatus::NUMBERS],
    },
    Header { name: "hvm/hvm_op.h", structures: hvm::hvm_op::STRUCTURES, constants: &[hvm::hvm_op::HvmOp::NUMBERS] },
    Header { name: "hvm/params.h", structures: &[], constants: &[hvm::params::CONSTANTS] },
    Header { name: "io/console.h", structures: io::console::STRUCTURES, constants: &[] },
    Header { name: "io/xs_wire.h", structures: io::xs_wire::STRUCTURES, constants: &[io::xs_wire::CONSTANTS] },
    Header {
        name: "memory.h",
        structures: memory::STRUCTURES,
        constants: &[memory::CONSTANTS, memory::MemoryOp::NUMBERS],
    },
    Header {
        name: "physdev.h",
        structures: physdev::STRUCTURES,
        constants: &[physdev::CONSTANTS, physdev::PhysdevOp::NUMBERS],
    },
    Header {
        name: "platform.h",
        structures: platform::STRUCTURES,
        constants: &[platform::CONSTANTS, platform::PlatformOp::NUMBERS],
    },
    Header {
        name: "sched.h",
        structures: sched::STRUCTURES,
        constants: &[sched::SchedOp::NUMBERS, sched::ShutdownReason::NUMBERS],
    },
    Header {
        name: "sysctl.h",
        structures: sysctl::STRUCTURES,
        constants: &[sysctl::CONSTANTS, sysctl::SysctlOp::NUMBERS],
    },
    Header { name: "vcpu.h", structures: vcpu::STRUCTURES, constants: &[vcpu::CONSTANTS, vcpu::VcpuOp::NUMBERS] },
    Header { name: "version.h", structures: version::STRUCTURES, constants: &[version::VersionOp::NUMBERS] },
    Header {
        name: "xen.h",
        structures: xen::STRUCTURES,
        constants: &[xen::CONSTANTS, Hypercall::NUMBERS, xen::ConsoleIo::NUMBERS],
    },
];
