//! The names every machine offers; what stands above this module knows no register and no instruction.

#[cfg(target_os = "none")]
mod aarch64;
#[cfg(target_os = "none")]
pub use aarch64::*;

#[cfg(not(target_os = "none"))]
mod fake;
#[cfg(not(target_os = "none"))]
pub use fake::*;

mod exit;
pub use exit::{Abort, Exit, SystemRegister};

/// CPUs that the hypervisor has room for.
pub const CPUS_MAX: usize = 64;
/// Bytes of a page, of every table and of every frame.
pub const PAGE_SIZE: u64 = 4096;

/// What a guest's own instructions change, saved whenever it is left: x0 to x30, the program counter, PSTATE.
#[repr(C)]
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where the guest goes on.
    pub pc: u64,
    /// In the format of SPSR_EL2.
    pub pstate: u64,
}

impl Context {
    /// Returns register `index` as an instruction's operand: 31 is the zero register.
    pub fn get(&self, index: usize) -> u64 {
        self.x.get(index).copied().unwrap_or(0)
    }

    /// Sets register `index` as an instruction's result: 31 is the zero register.
    pub fn set(&mut self, index: usize, value: u64) {
        if let Some(register) = self.x.get_mut(index) {
            *register = value;
        }
    }
}

/// Where the interrupt controller is.
#[derive(Debug, Clone, Copy)]
pub enum GicPlace<'a> {
    /// GICv2, as address and size each.
    V2 {
        /// GICD.
        distributor: (u64, u64),
        /// GICC.
        interface: (u64, u64),
        /// GICH.
        control: (u64, u64),
    },
    /// GICv3, as address and size each.
    V3 {
        /// GICD.
        distributor: (u64, u64),
        /// Regions of redistributors.
        redistributors: &'a [(u64, u64)],
        /// Distance of redistributors in a region, if it is not what their type says.
        stride: Option<u64>,
    },
}

/// A list register's content (IHI 0069, `ICH_LR<n>_EL2`; IHI 0048, `GICH_LRn`), in no version's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListRegister {
    /// The interrupt as the guest sees it.
    pub intid: u16,
    /// The physical interrupt that the guest's deactivation deactivates.
    pub physical: Option<u16>,
    /// Priority, of which the hardware keeps the upper bits.
    pub priority: u8,
    /// Whether it is pending.
    pub pending: bool,
    /// Whether it is active.
    pub active: bool,
    /// Whether the guest sees it in group 1.
    pub group1: bool,
    /// For a GICv2 SGI, the CPU that sent it.
    pub source: u8,
    /// Whether its end shall ask for attention, where no physical interrupt is behind it.
    pub notify: bool,
}

/// What list registers ask attention for (IHI 0069, `ICH_HCR_EL2`), besides the end of those that say `notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintenance {
    /// That none of them is pending any more: others wait for their place.
    pub none_pending: bool,
    /// That the guest ended an interrupt which is in none of them.
    pub not_listed: bool,
}

/// The registers of one vCPU's interrupt interface that outlive its list registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterruptInterface {
    /// Control, priority mask and binary point, as the virtual machine control register packs them.
    pub control: u64,
    /// Active priorities of groups 0 and 1.
    pub active: [[u32; 4]; 2],
}
