//! The names every machine offers; what stands above this module knows no register and no instruction.

#[cfg(target_os = "none")]
mod aarch64;
#[cfg(target_os = "none")]
pub use aarch64::*;

#[cfg(not(target_os = "none"))]
mod fake;
#[cfg(not(target_os = "none"))]
pub use fake::*;

pub mod debug;
pub mod exception;
mod exit;
#[cfg(any(test, target_os = "none"))]
mod mapping;
mod sequences;
pub mod speculation;
pub use exit::{Abort, Exit, SystemRegister};

/// CPUs that the hypervisor has room for.
pub const CPUS_MAX: usize = 64;
/// Bytes of a page, of every table and of every frame.
pub const PAGE_SIZE: u64 = 4096;

/// The bit of PSTATE that says AArch32.
const AARCH32: u64 = 1 << 4;

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

    /// Goes on behind the instruction at which the guest was left: which is a step, if the guest steps (DDI 0487, D2.12).
    #[inline]
    pub fn skip(&mut self) {
        /// SPSR_EL2.SS.
        const STEP: u64 = 1 << 21;
        self.pstate &= !STEP;
        if self.pstate & AARCH32 != 0 {
            return self.skip_aarch32(vcpu::was_short());
        }
        self.pc = self.pc.wrapping_add(4);
    }

    /// The state of an IT block goes on with every instruction (DDI 0487, G1.12, PSTATE.IT).
    #[cold]
    #[inline(never)]
    fn skip_aarch32(&mut self, short: bool) {
        self.pc = self.pc.wrapping_add(if short { 2 } else { 4 }) & 0xffff_ffff;
        let it = self.it();
        let next = if it & 7 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f };
        self.pstate = self.pstate & !(3 << 25 | 0x3f << 10) | (next & 3) << 25 | next >> 2 << 10;
    }

    /// Returns PSTATE.IT of AArch32.
    fn it(&self) -> u64 {
        self.pstate >> 25 & 3 | (self.pstate >> 10 & 0x3f) << 2
    }

    /// Whether an instruction that trapped does something: under `condition`, or where the syndrome has none that of its IT block.
    pub fn passes(&self, condition: Option<u8>) -> bool {
        if self.pstate & AARCH32 == 0 {
            return true;
        }
        let condition = match (condition, self.it()) {
            (Some(condition), _) => condition,
            (None, 0) => return true,
            (None, it) => (it >> 4) as u8,
        };
        let flag = |bit: u32| self.pstate >> bit & 1 != 0;
        let (n, z, c, v) = (flag(31), flag(30), flag(29), flag(28));
        let holds = match condition >> 1 & 7 {
            0 => z,
            1 => c,
            2 => n,
            3 => v,
            4 => c && !z,
            5 => n == v,
            6 => n == v && !z,
            _ => return true,
        };
        holds != (condition & 1 != 0)
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

/// What of a vCPU's interrupt interface lets interrupts through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// The priority mask: what is signalled has a lower value.
    pub mask: u8,
    /// Whether interrupts of groups 0 and 1 are signalled.
    pub groups: [bool; 2],
}

impl Gate {
    /// One that lets everything through.
    pub const OPEN: Gate = Gate { mask: u8::MAX, groups: [true; 2] };
}

/// The registers of one vCPU's interrupt interface that outlive its list registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterruptInterface {
    /// Control, priority mask and binary point, as the virtual machine control register packs them.
    pub control: u64,
    /// Active priorities of groups 0 and 1.
    pub active: [[u32; 4]; 2],
}

#[cfg(test)]
mod tests {
    use super::{Context, vcpu};

    /// EL0 in AArch32, T32.
    const THUMB: u64 = 0x30;

    /// Returns PSTATE with these bits of IT.
    fn with(it: u64) -> u64 {
        THUMB | (it & 3) << 25 | it >> 2 << 10
    }

    #[test]
    fn an_instruction_is_as_long_as_it_says() {
        for (pstate, short, pc) in
            [(0x5, true, 0x1004), (0, false, 0x1004), (THUMB, true, 0x1002), (THUMB, false, 0x1004)]
        {
            let mut context = Context { pc: 0x1000, pstate, ..Context::default() };
            vcpu::set_short(short);
            context.skip();
            assert_eq!((context.pc, context.pstate), (pc, pstate));
        }
        let mut last = Context { pc: 0xffff_fffe, pstate: THUMB, ..Context::default() };
        last.skip_aarch32(true);
        assert_eq!(last.pc, 0);
        let mut last = Context { pc: u64::MAX - 3, pstate: 5, ..Context::default() };
        last.skip();
        assert_eq!(last.pc, 0, "behind the last one of all addresses is the first");
    }

    #[test]
    fn an_it_block_goes_on() {
        // itte eq: three instructions, under EQ, EQ, NE.
        let mut context = Context { pstate: with(0b0000_0110), ..Context::default() };
        let (mut left, z) = (0, 1 << 30);
        for condition in [0, 0, 1] {
            for (flags, set) in [(0, false), (z, true)] {
                let now = Context { pstate: context.pstate | flags, ..Context::default() };
                assert_eq!(now.passes(None), set == (condition == 0), "condition {condition}");
            }
            context.skip_aarch32(true);
            left += 1;
        }
        assert_eq!((context.pstate, left), (THUMB, 3));
    }

    #[test]
    fn conditions_are_those_of_the_flags() {
        // Of NZCV 0 to 15, those under which each condition holds.
        let table = [
            (0, 0xf0f0u16), // EQ: Z
            (2, 0xcccc),    // CS: C
            (4, 0xff00),    // MI: N
            (6, 0xaaaa),    // VS: V
            (8, 0x0c0c),    // HI: C, not Z
            (10, 0xaa55),   // GE: N as V
            (12, 0x0a05),   // GT: GE, not Z
        ];
        for (condition, flags) in table {
            for nzcv in 0..16 {
                let context = Context { pstate: THUMB | nzcv << 28, ..Context::default() };
                let holds = flags >> nzcv & 1 != 0;
                assert_eq!((context.passes(Some(condition)), context.passes(Some(condition + 1))), (holds, !holds));
                assert!(context.passes(Some(14)) && context.passes(Some(15)) && context.passes(None));
                // A64 has no conditions here.
                assert!(Context { pstate: nzcv << 28, ..Context::default() }.passes(Some(condition)));
            }
        }
    }
}
