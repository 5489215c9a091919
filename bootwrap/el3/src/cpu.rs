//! System registers and instructions of one CPU (DDI 0487).
#![expect(unsafe_code, reason = "system registers and instructions")]

use core::arch::asm;

use bootwrap_el3::parameters::AFFINITY;

/// Reads a system register, by name or, where the assembler is too old to know it, by encoding.
macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reading these registers has no effect, and they exist at EL3 or read as zero.
        unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register.
macro_rules! write {
    ($register:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: every use is a control register whose bits concern lower levels, or describe this CPU; none changes how the stub's
        // own instructions and memory work.
        unsafe { asm!(concat!("msr ", $register, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
    }};
}

/// Runs one instruction that waits or orders.
macro_rules! instruction {
    ($text:literal) => {
        // SAFETY: waiting and ordering change no state that Rust knows of.
        unsafe { asm!($text, options(nostack, preserves_flags)) }
    };
}

unsafe extern "C" {
    #[link_name = "down"]
    fn down_to(entry: u64, argument: u64, state: u64) -> !;
    fn on(entry: u64, argument: u64) -> !;
    fn vectors();
}

const SCR_NON_SECURE: u64 = 1 << 0;
const SCR_RES1: u64 = 0b11 << 4;
const SCR_HCE: u64 = 1 << 8;
const SCR_RW: u64 = 1 << 10;

/// SCTLR_EL2 and SCTLR_EL3 with everything off: RES1 bits alone.
const SCTLR_OFF: u64 = 0x30c5_0830;
/// EL2h, all exceptions masked.
const SPSR_EL2H_MASKED: u64 = 0x3c9;

/// Returns a four-bit field of an ID register.
fn field(register: u64, low_bit: u32) -> u64 {
    register >> low_bit & 0xf
}

/// Opens what this CPU has to the lower levels, and prepares EL3 to be called by them.
pub fn set_up_el3(index: usize) {
    write!("sctlr_el3", SCTLR_OFF);
    write!("vbar_el3", vectors as *const () as u64);
    write!("tpidr_el3", index as u64);
    write!("scr_el3", secure_configuration());
    instruction!("isb");
    write!("cptr_el3", 0);
    instruction!("isb");
    open_vectors_and_matrices();
    write!("mdcr_el3", debug_configuration());
    instruction!("isb");
}

/// SCR_EL3: non-secure AArch64 below, HVC and SMC work, and no feature that the CPU has traps to EL3.
fn secure_configuration() -> u64 {
    let [pfr0, pfr1, pfr2] = [read!("id_aa64pfr0_el1"), read!("id_aa64pfr1_el1"), read!("s3_0_c0_c4_2")];
    let [isar0, isar1, isar2] = [read!("id_aa64isar0_el1"), read!("id_aa64isar1_el1"), read!("s3_0_c0_c6_2")];
    let [mmfr0, mmfr1, mmfr3] = [read!("id_aa64mmfr0_el1"), read!("id_aa64mmfr1_el1"), read!("s3_0_c0_c7_3")];
    // APA, API, GPA, GPI, and the APA3, GPA3 of another algorithm.
    let authentication = isar1 & 0xff00_0ff0 | isar2 & 0xff00;
    let mut scr = SCR_NON_SECURE | SCR_RES1 | SCR_HCE | SCR_RW;
    let mut open = |present: bool, bits: u64| scr |= if present { bits } else { 0 };
    open(authentication != 0, 0b11 << 16); // APK, API
    open(field(pfr0, 56) >= 2 || field(pfr1, 32) >= 2, 1 << 25); // EnSCXT: FEAT_CSV2_2, FEAT_CSV2_1p2
    open(field(pfr1, 8) >= 2, 1 << 26); // ATA: FEAT_MTE2
    open(field(mmfr0, 56) >= 1, 1 << 27); // FGTEn
    open(field(mmfr0, 60) >= 2, 1 << 28); // ECVEn: FEAT_ECV_POFF
    open(field(isar0, 24) >= 1, 1 << 34); // TME
    open(field(pfr0, 44) >= 2, 1 << 35); // AMVOFFEN: FEAT_AMUv1p1
    open(field(isar1, 60) >= 3, 0b11 << 36); // EnAS0, ADEn: FEAT_LS64_ACCDATA
    open(field(mmfr1, 40) >= 1, 1 << 38); // HXEn
    open(field(pfr1, 44) >= 1, 1 << 39); // GCSEn
    open(field(pfr1, 24) >= 1, 1 << 41); // EnTP2: FEAT_SME
    open(field(pfr1, 48) >= 1, 1 << 42); // RCWMASKEn: FEAT_THE
    open(field(mmfr3, 0) >= 1, 1 << 43); // TCR2En
    open(field(mmfr3, 4) >= 1, 1 << 44); // SCTLR2En
    open(mmfr3 & 0xff_ff00 != 0, 1 << 45); // PIEn: permission indirection or overlays, either stage
    open(field(mmfr3, 24) >= 1, 1 << 46); // AIEn
    open(field(mmfr3, 32) >= 1, 1 << 47); // D128En
    open(field(pfr2, 32) >= 1, 1 << 50); // EnFPM
    open(field(mmfr0, 56) >= 2, 1 << 59); // FGTEn2
    scr
}

/// CPTR_EL3 and what goes with it: SVE and SME in full length, MPAM without traps.
fn open_vectors_and_matrices() {
    let [pfr0, pfr1] = [read!("id_aa64pfr0_el1"), read!("id_aa64pfr1_el1")];
    let (sve, sme) = (field(pfr0, 32) >= 1, field(pfr1, 24));
    // EZ, ESM; no other bit is set, since those trap.
    write!("cptr_el3", (sve as u64) << 8 | ((sme >= 1) as u64) << 12);
    instruction!("isb");
    const LENGTH: u64 = 0xf;
    if sve {
        write!("s3_6_c1_c2_0", LENGTH); // ZCR_EL3
    }
    if sme >= 1 {
        let full_a64 = read!("s3_0_c0_c4_5") >> 63; // ID_AA64SMFR0_EL1.FA64
        write!("s3_6_c1_c2_6", LENGTH | full_a64 << 31 | ((sme >= 2) as u64) << 30); // SMCR_EL3
    }
    if field(pfr0, 40) != 0 || field(pfr1, 16) != 0 {
        write!("s3_6_c10_c5_0", 1 << 63); // MPAM3_EL3: MPAMEN, and TRAPLOWER off, which resets to on
    }
}

/// MDCR_EL3: the lower levels own debug, performance monitors, profiling, trace and branch buffers.
fn debug_configuration() -> u64 {
    let dfr0 = read!("id_aa64dfr0_el1");
    let monitors = field(dfr0, 8);
    let mut mdcr = 0;
    let mut open = |present: bool, bits: u64| mdcr |= if present { bits } else { 0 };
    open((9..0xf).contains(&monitors), 1 << 7); // EnPM2
    open(field(dfr0, 32) >= 1, 0b11 << 12); // NSPB: the profiling buffer is non-secure
    open(field(dfr0, 44) >= 1, 0b11 << 24); // NSTB: so is the trace buffer
    open(field(dfr0, 48) == 1, 1 << 28); // MTPME
    open(field(dfr0, 52) >= 1, 0b11 << 32); // SBRBE
    open(field(dfr0, 32) >= 3, 1 << 36); // EnPMSN
    mdcr
}

/// Returns whether the CPU has an EL2.
pub fn has_el2() -> bool {
    field(read!("id_aa64pfr0_el1"), 8) != 0
}

/// Returns whether the CPU talks to a GIC by system registers: GICv3 or later.
pub fn has_gic_system_registers() -> bool {
    field(read!("id_aa64pfr0_el1"), 24) != 0
}

/// Lets all levels use the GIC's system registers.
pub fn open_gic_system_registers() {
    const ENABLE_ALL: u64 = 0xf; // Enable, DIB, DFB, SRE
    write!("s3_6_c12_c12_5", ENABLE_ALL); // ICC_SRE_EL3
    instruction!("isb");
    write!("s3_6_c12_c12_4", 0); // ICC_CTLR_EL3
    write!("s3_4_c12_c9_5", ENABLE_ALL); // ICC_SRE_EL2
    instruction!("isb");
}

/// Returns this CPU's number as the device tree counts, once `set_up_el3` has run.
pub fn index() -> usize {
    read!("tpidr_el3") as usize
}

/// Returns the affinity fields of MPIDR_EL1.
pub fn affinity() -> u64 {
    read!("mpidr_el1") & AFFINITY
}

/// Returns CNTFRQ_EL0.
pub fn counter_frequency() -> u64 {
    read!("cntfrq_el0")
}

/// Writes CNTFRQ_EL0.
pub fn set_counter_frequency(hz: u64) {
    write!("cntfrq_el0", hz);
}

/// Spins for so many seconds by the system counter.
pub fn wait_seconds(seconds: u64) {
    let ticks = seconds * counter_frequency().max(1_000_000);
    let start = read!("cntpct_el0");
    while read!("cntpct_el0").wrapping_sub(start) < ticks {
        core::hint::spin_loop();
    }
}

/// Returns where the lower level would go on.
pub fn return_address() -> u64 {
    read!("elr_el3")
}

/// Returns whether translation or the data cache is on at EL2, where this must be the current level.
pub fn mmu_is_on_at_el2() -> bool {
    const M_OR_C: u64 = 0b101;
    read!("sctlr_el2") & M_OR_C != 0
}

/// Goes down to non-secure EL2: MMU and caches off, exceptions masked, `argument` in x0, all other registers zero.
pub fn down(entry: u64, argument: u64) -> ! {
    write!("sctlr_el2", SCTLR_OFF);
    write!("hcr_el2", 0);
    // SAFETY: what runs below cannot reach this CPU's registers of EL3, and its memory only if it breaks the reservation in the
    // device tree.
    unsafe { down_to(entry, argument, SPSR_EL2H_MASKED) }
}

/// Goes on at `entry` on the same level, never to return.
pub fn go_on(entry: u64, argument: u64) -> ! {
    // SAFETY: the stub is done at this level; nothing of it is used again but, by a spin table, code without state.
    unsafe { on(entry, argument) }
}

/// Waits for an event, or for nothing.
pub fn wait_for_event() {
    instruction!("wfe");
}

/// Waits until an interrupt is pending, masked or not.
pub fn wait_for_interrupt() {
    instruction!("dsb sy");
    instruction!("wfi");
}

/// Wakes the CPUs that wait for an event, after what was written before is visible to them.
pub fn send_event() {
    instruction!("dsb sy");
    instruction!("sev");
}
