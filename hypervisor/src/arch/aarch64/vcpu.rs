//! A vCPU's registers: what is kept while it is not on a CPU, the way into it, and how its addresses translate.
#![expect(unsafe_code, reason = "the guest's registers, and the way into it")]

use core::arch::asm;

use super::gic;
use super::registers::{instruction, read, write};
use crate::arch::debug::{Debug, Point};
use crate::arch::exception::{self, Features};
use crate::arch::{Context, Exit, InterruptInterface};

mod hcr {
    pub const VM: u64 = 1 << 0;
    pub const SWIO: u64 = 1 << 1;
    pub const PTW: u64 = 1 << 2;
    pub const FMO: u64 = 1 << 3;
    pub const IMO: u64 = 1 << 4;
    pub const AMO: u64 = 1 << 5;
    pub const VSE: u64 = 1 << 8;
    pub const FB: u64 = 1 << 9;
    pub const BSU_INNER: u64 = 1 << 10;
    pub const TWI: u64 = 1 << 13;
    pub const TID3: u64 = 1 << 18;
    pub const TSC: u64 = 1 << 19;
    pub const TIDCP: u64 = 1 << 20;
    pub const TACR: u64 = 1 << 21;
    pub const TSW: u64 = 1 << 22;
    pub const RW: u64 = 1 << 31;
    pub const TLOR: u64 = 1 << 35;
    pub const TERR: u64 = 1 << 36;
}

/// WFE is not trapped: a lock's waiter may wait, and a time slice ends all the same. What the identification registers do not show is:
/// limited ordering regions, error records.
const HCR_GUEST: u64 = hcr::VM
    | hcr::SWIO
    | hcr::PTW
    | hcr::FMO
    | hcr::IMO
    | hcr::AMO
    | hcr::FB
    | hcr::BSU_INNER
    | hcr::TWI
    | hcr::TID3
    | hcr::TSC
    | hcr::TIDCP
    | hcr::TACR
    | hcr::TSW
    | hcr::RW
    | hcr::TLOR
    | hcr::TERR;

/// CPTR_EL2: floating point is the guest's; SVE, SME, trace and activity monitors trap. Bits 13, 12, 9 and 7 to 0 are RES1.
const CPTR_GUEST: u64 = 0x33ff | 1 << 20 | 1 << 30;
/// MDCR_EL2: trace filters, statistical profiling (E2PB and E2TB are 0: the buffers too), debug, OS lock, ROM address and performance
/// monitors trap; debug exceptions are EL1's.
const MDCR_GUEST: u64 = 1 << 19 | 1 << 14 | 1 << 11 | 1 << 10 | 1 << 9 | 1 << 6 | 1 << 5;
/// SCTLR_EL1 at reset: MMU and caches off, RES1 bits.
const SCTLR_RESET: u64 = 0x30d0_0800;
/// EL1 with its own stack pointer, everything masked.
pub const PSTATE_RESET: u64 = 0x3c5;

macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident = $register:literal),* $(,)?) => {
        /// The system registers of EL1 and EL0.
        #[derive(Debug, Clone, Default)]
        pub struct Registers {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Registers {
            fn save(&mut self) {
                $(self.$name = read!($register);)*
            }

            fn load(&self) {
                $(write!($register, self.$name);)*
            }
        }
    };
}

registers! {
    /// Translation and alignment control.
    sctlr = "sctlr_el1",
    /// Lower half's tables.
    ttbr0 = "ttbr0_el1",
    /// Upper half's tables.
    ttbr1 = "ttbr1_el1",
    /// Translation control.
    tcr = "tcr_el1",
    /// Memory attributes.
    mair = "mair_el1",
    /// Auxiliary memory attributes.
    amair = "amair_el1",
    /// Vectors.
    vbar = "vbar_el1",
    /// Syndrome.
    esr = "esr_el1",
    /// Fault address.
    far = "far_el1",
    /// Auxiliary fault status.
    afsr0 = "afsr0_el1",
    /// Auxiliary fault status.
    afsr1 = "afsr1_el1",
    /// Return address.
    elr = "elr_el1",
    /// Saved state.
    spsr = "spsr_el1",
    /// EL0's stack.
    sp_el0 = "sp_el0",
    /// EL1's stack.
    sp_el1 = "sp_el1",
    /// Thread pointer of EL0.
    tpidr_el0 = "tpidr_el0",
    /// Read-only thread pointer of EL0.
    tpidrro_el0 = "tpidrro_el0",
    /// Thread pointer of EL1.
    tpidr_el1 = "tpidr_el1",
    /// Context identifier.
    contextidr = "contextidr_el1",
    /// Access to floating point.
    cpacr = "cpacr_el1",
    /// Result of an address translation.
    par = "par_el1",
    /// Cache size selection.
    csselr = "csselr_el1",
    /// Timers that EL0 may use.
    cntkctl = "cntkctl_el1",
    /// Virtual timer's compare value.
    cntv_cval = "cntv_cval_el0",
    /// Virtual timer's control.
    cntv_ctl = "cntv_ctl_el0",
}

/// q0 to q31, FPSR, FPCR.
#[repr(C, align(16))]
#[derive(Debug, Clone)]
pub struct Vectors([u64; 66]);

/// What is kept of a vCPU while it is not on a CPU.
#[derive(Debug, Clone)]
pub struct Saved {
    /// System registers.
    pub registers: Registers,
    /// Floating point.
    pub vectors: Vectors,
    /// Breakpoints and the like, which are here also while it is on a CPU.
    pub debug: Debug,
    /// Interrupt interface.
    pub interface: InterruptInterface,
    /// MPIDR_EL1 as the guest reads it.
    pub mpidr: u64,
    /// VTTBR_EL2: tables and identifier of the guest.
    pub vttbr: u64,
    /// Physical count at which the virtual count is 0.
    pub time_offset: u64,
    /// Whether an SError waits for it.
    pub system_error: bool,
    /// VDISR_EL2: an SError that the guest put off.
    deferred_error: u64,
}

unsafe extern "C" {
    fn enter_guest(context: *mut Context) -> u64;
    fn save_vectors(vectors: *mut Vectors);
    fn load_vectors(vectors: *const Vectors);
}

impl Saved {
    /// Returns a vCPU as it is at reset.
    pub fn new(mpidr: u64, vttbr: u64, time_offset: u64) -> Saved {
        let registers = Registers { sctlr: SCTLR_RESET, ..Registers::default() };
        let interface = InterruptInterface::default();
        let debug = Debug::default();
        Saved {
            registers,
            vectors: Vectors([0; 66]),
            debug,
            interface,
            mpidr,
            vttbr,
            time_offset,
            system_error: false,
            deferred_error: 0,
        }
    }

    /// Makes this CPU the vCPU's.
    pub fn load(&self) {
        write!("vttbr_el2", self.vttbr);
        write!("vpidr_el2", read!("midr_el1"));
        write!("vmpidr_el2", self.mpidr);
        write!("cntvoff_el2", self.time_offset);
        write!("hcr_el2", HCR_GUEST | if self.system_error { hcr::VSE } else { 0 });
        if read!("id_aa64pfr0_el1") >> 28 & 15 != 0 {
            // VSESR_EL2 and VDISR_EL2: an SError says nothing of what it was; one that was put off is the guest's own.
            write!("s3_4_c5_c2_3", 0);
            write!("s3_4_c12_c1_1", self.deferred_error);
        }
        write!("cptr_el2", CPTR_GUEST);
        write!("mdcr_el2", MDCR_GUEST);
        write!("hstr_el2", 0);
        self.load_debug();
        instruction!("isb");
        self.registers.load();
        gic::load_interface(&self.interface);
        // SAFETY: the floating-point registers are no part of this program, which is compiled without them.
        unsafe { load_vectors(&self.vectors) };
        instruction!("isb");
    }

    /// Gives this CPU what of the vCPU's debug registers matters to it. They are not to be saved, for the vCPU cannot reach them.
    pub fn load_debug(&self) {
        if self.debug.fires() {
            // A cold reset closes the OS lock, and firmware may leave it so.
            write!("oslar_el1", 0);
            let (breakpoints, watchpoints) = self.debug.points(read!("id_aa64dfr0_el1"));
            load_points(breakpoints, watchpoints);
        }
        write!("mdscr_el1", self.debug.control());
    }

    /// Takes the vCPU's registers off this CPU.
    pub fn save(&mut self) {
        // The guest's own barriers, wherever it goes on, are to order what it did here, maintenance of caches and TLBs as well.
        instruction!("dsb sy");
        self.registers.save();
        self.system_error = is_system_error_pending();
        if read!("id_aa64pfr0_el1") >> 28 & 15 != 0 {
            self.deferred_error = read!("s3_4_c12_c1_1");
        }
        write!("cntv_ctl_el0", 0);
        self.interface = gic::save_interface();
        // SAFETY: as above; there is room for 32 registers of 16 bytes and two of 8.
        unsafe { save_vectors(&mut self.vectors) };
        instruction!("isb");
    }
}

macro_rules! points {
    ($($number:literal)*) => {
        /// Fills the breakpoints and watchpoints that there are.
        #[inline(never)]
        fn load_points(breakpoints: &[Point], watchpoints: &[Point]) {
            $(
                if let Some(point) = breakpoints.get($number) {
                    write!(concat!("dbgbvr", $number, "_el1"), point.value);
                    write!(concat!("dbgbcr", $number, "_el1"), point.control);
                }
                if let Some(point) = watchpoints.get($number) {
                    write!(concat!("dbgwvr", $number, "_el1"), point.value);
                    write!(concat!("dbgwcr", $number, "_el1"), point.control);
                }
            )*
        }
    };
}
points!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

/// Runs the loaded vCPU until it needs the hypervisor.
pub fn enter(context: &mut Context) -> Exit {
    // SAFETY: the context has the layout that entry.S knows; the guest reaches its own memory only, for stage 2 is on, and comes back
    // through the vectors with this function's registers restored.
    match unsafe { enter_guest(context) } & 3 {
        0 => {
            let (syndrome, far) = (read!("esr_el2"), read!("far_el2"));
            let (class, status) = (syndrome >> 26 & 0x3f, syndrome & 0x3f);
            // HPFAR_EL2 says nothing of permission faults outside of a walk (DDI 0487, D8.12).
            let permission = matches!(class, 0x20 | 0x24) && status >> 2 == 0b0011 && syndrome >> 7 & 1 == 0;
            let hpfar = if permission { translate_stage1(far).unwrap_or(0) >> 8 } else { read!("hpfar_el2") };
            Exit::decode(syndrome, far, hpfar)
        }
        1 | 2 => Exit::Interrupt,
        _ => Exit::SystemError,
    }
}

/// Whether the instruction at which the guest was left has two bytes (ESR_EL2.IL).
pub fn was_short() -> bool {
    read!("esr_el2") >> 25 & 1 == 0
}

/// Returns the physical address behind a virtual address of the loaded vCPU, as its EL1 would read or write there.
pub fn translate(address: u64, write: bool) -> Option<u64> {
    let kept = read!("par_el1");
    // SAFETY: the instructions translate and report; the guest's PAR_EL1 is put back.
    unsafe {
        if write {
            asm!("at s12e1w, {}", "isb", in(reg) address, options(nostack, preserves_flags));
        } else {
            asm!("at s12e1r, {}", "isb", in(reg) address, options(nostack, preserves_flags));
        }
    }
    let result = read!("par_el1");
    write!("par_el1", kept);
    (result & 1 == 0).then_some(result & 0xf_ffff_ffff_f000 | address & 0xfff)
}

/// Returns SCTLR_EL1, TCR_EL1, TTBR0_EL1 and TTBR1_EL1 of the loaded vCPU.
pub fn translation_registers() -> [u64; 4] {
    [read!("sctlr_el1"), read!("tcr_el1"), read!("ttbr0_el1"), read!("ttbr1_el1")]
}

/// Returns the guest physical address behind a virtual address of the loaded vCPU.
fn translate_stage1(address: u64) -> Option<u64> {
    let kept = read!("par_el1");
    // SAFETY: as above.
    unsafe { asm!("at s1e1r, {}", "isb", in(reg) address, options(nostack, preserves_flags)) };
    let result = read!("par_el1");
    write!("par_el1", kept);
    (result & 1 == 0).then_some(result & 0xf_ffff_ffff_f000)
}

/// Gives the loaded vCPU an exception to EL1: where its vector is, and what it finds there.
pub fn inject(context: &mut Context, syndrome: u64, far: Option<u64>) {
    write!("elr_el1", context.pc);
    write!("spsr_el1", context.pstate);
    write!("esr_el1", syndrome);
    if let Some(far) = far {
        write!("far_el1", far);
    }
    let features = Features::read(read!("id_aa64mmfr1_el1"), read!("id_aa64pfr1_el1"));
    let (pstate, vector) = exception::enter(context.pstate, read!("sctlr_el1"), features);
    (context.pc, context.pstate) = (read!("vbar_el1").wrapping_add(vector), pstate);
}

/// Makes an SError pending for the loaded vCPU, which takes it as soon as it does not mask it any more.
pub fn pend_system_error() {
    write!("hcr_el2", read!("hcr_el2") | hcr::VSE);
}

/// Whether an SError waits for the loaded vCPU. The hardware clears that when it is taken.
pub fn is_system_error_pending() -> bool {
    read!("hcr_el2") & hcr::VSE != 0
}

/// Returns CPACR, TCR and the like for a dump: SCTLR_EL1, TTBR0_EL1, TTBR1_EL1, ESR_EL1, FAR_EL1, ELR_EL1.
pub fn dump() -> [u64; 6] {
    [read!("sctlr_el1"), read!("ttbr0_el1"), read!("ttbr1_el1"), read!("esr_el1"), read!("far_el1"), read!("elr_el1")]
}

macro_rules! identification {
    ($($crm:literal)*) => {
        /// Returns the identification registers S3_0_C0_Cm_n, m from 1 to 7, n from 0 to 7.
        pub fn identification() -> [[u64; 8]; 8] {
            let mut values = [[0; 8]; 8];
            $(
                values[$crm] = [
                    read!(concat!("s3_0_c0_c", $crm, "_0")),
                    read!(concat!("s3_0_c0_c", $crm, "_1")),
                    read!(concat!("s3_0_c0_c", $crm, "_2")),
                    read!(concat!("s3_0_c0_c", $crm, "_3")),
                    read!(concat!("s3_0_c0_c", $crm, "_4")),
                    read!(concat!("s3_0_c0_c", $crm, "_5")),
                    read!(concat!("s3_0_c0_c", $crm, "_6")),
                    read!(concat!("s3_0_c0_c", $crm, "_7")),
                ];
            )*
            values
        }
    };
}
identification!(1 2 3 4 5 6 7);
