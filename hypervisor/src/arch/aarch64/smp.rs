//! The other CPUs: how the firmware starts them (PSCI, or a spin table), and calls to the firmware.
#![expect(unsafe_code, reason = "calls to the firmware, and what another CPU reads before Rust runs there")]

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use super::mmio::Region;
use super::registers::{instruction, read, write};
use super::{cache, layout, stage1};
use crate::arch::CPUS_MAX;
use crate::arch::speculation::{self, Facts, Needs, WORKAROUND_1, WORKAROUND_2, WORKAROUND_3};

/// What entry.S gives the next CPU: translation root, top of the stack, number.
#[repr(C)]
pub struct Secondary {
    root: AtomicU64,
    stack: AtomicU64,
    number: AtomicU64,
}

/// One CPU is started at a time.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.secondary")]
pub static SECONDARY: Secondary =
    Secondary { root: AtomicU64::new(1), stack: AtomicU64::new(0), number: AtomicU64::new(0) };

static AFFINITIES: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];
/// MIDR_EL1 of each.
static KINDS: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// CPUs that came and could not be used.
static UNFIT: AtomicUsize = AtomicUsize::new(0);

/// Whether there is firmware to call.
static FIRMWARE: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn secondary_start();
    static vectors_workaround_1: u8;
    static vectors_workaround_3: u8;
}

/// How a CPU is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// PSCI, by SMC or, where `hvc`, by HVC (which EL2 cannot use; kept to say so).
    Psci {
        /// Whether the device tree says HVC.
        hvc: bool,
    },
    /// By writing the entry to this address.
    SpinTable(u64),
}

/// MPIDR's affinity fields.
pub const AFFINITY: u64 = 0xff_00ff_ffff;

/// Gives the CPU that calls its number, first thing.
pub fn name(number: usize) {
    write!("tpidr_el2", number as u64);
}

/// Counts the CPU that calls among those that run, once it is ready.
pub fn start(number: usize) {
    name(number);
    AFFINITIES[number].store(read!("mpidr_el1") & AFFINITY, Relaxed);
    KINDS[number].store(read!("midr_el1"), Relaxed);
    COUNT.fetch_add(1, Release);
}

/// Leaves out the CPU that calls, which cannot be used: it is switched off, or else sleeps for good.
pub fn leave_out() -> ! {
    UNFIT.fetch_add(1, Release);
    if FIRMWARE.load(Relaxed) {
        firmware([0x8400_0002, 0, 0, 0]);
    }
    super::stop()
}

/// Returns how many CPUs run.
pub fn count() -> usize {
    COUNT.load(Acquire)
}

/// Returns MPIDR's affinity fields of the CPU that calls.
pub fn own_affinity() -> u64 {
    read!("mpidr_el1") & AFFINITY
}

/// Returns a CPU's affinity fields.
pub fn affinity(number: usize) -> u64 {
    AFFINITIES[number].load(Relaxed)
}

/// Whether two CPUs are of the same make, so that a guest does not notice which of them it is on.
pub fn alike(one: usize, other: usize) -> bool {
    one == other || KINDS[one].load(Relaxed) == KINDS[other].load(Relaxed)
}

/// Why a CPU does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It never will: the firmware complained, or it came and could not be used.
    Refused(&'static str),
    /// It was not heard of within a second, and may still come.
    Silent,
}

/// Starts the CPU with this affinity as `number`, on a stack of `STACK_SIZE` bytes whose top is `top`, and waits until it runs.
///
/// # Errors
/// [`Absent`].
pub fn start_other(number: usize, affinity: u64, way: Way, top: u64) -> Result<(), Absent> {
    use Absent::{Refused, Silent};
    SECONDARY.root.store(stage1::root(), Relaxed);
    SECONDARY.stack.store(top, Relaxed);
    SECONDARY.number.store(number as u64, Relaxed);
    // It reads them with its MMU on but maybe before its caches are coherent with ours.
    instruction!("dsb sy");
    let entry = layout::physical_of_image(secondary_start as *const () as u64);
    let (before, unfit) = (count(), UNFIT.load(Acquire));
    match way {
        Way::Psci { hvc: true } => {
            return Err(Refused("its firmware is said to be called by HVC, which does not leave EL2"));
        }
        Way::Psci { hvc: false } => match firmware([0xc400_0003, affinity, entry, 0]) as i64 {
            0 => {}
            -2 => return Err(Refused("PSCI says: invalid parameters")),
            -3 => return Err(Refused("PSCI says: denied")),
            -4 => return Err(Refused("PSCI says: already on")),
            _ => return Err(Refused("PSCI refuses")),
        },
        Way::SpinTable(address) => {
            release(address, entry).map_err(Refused)?;
            instruction!("sev");
        }
    }
    let limit = super::timer::now() + super::timer::frequency();
    while count() == before {
        if UNFIT.load(Acquire) != unfit {
            return Err(Refused("it is left out"));
        }
        if super::timer::now() > limit {
            return Err(Silent);
        }
        super::relax();
    }
    Ok(())
}

/// Writes an entry address where a CPU waits for it, which reads it with its MMU off: in memory, or in what is kept from us and mapped
/// for this alone.
fn release(address: u64, entry: u64) -> Result<(), &'static str> {
    if !address.is_multiple_of(8) || address >= 1 << stage1::physical_bits() {
        return Err("its release address is none");
    }
    if !stage1::is_mapped(layout::DIRECT + address) {
        Region::map(address, 8).write64(0, entry);
        instruction!("dsb sy");
        return Ok(());
    }
    // SAFETY: mapped memory, aligned; the device tree says that this word is there for an entry address.
    unsafe { (layout::pointer(address) as *mut u64).write_volatile(entry) };
    cache::clean_and_invalidate(address, 8);
    Ok(())
}

/// Calls the firmware: SMC #0 with these arguments (ARM DEN 0028).
pub fn firmware(arguments: [u64; 4]) -> u64 {
    let result;
    // SAFETY: only calls of PSCI and of SMCCC's architecture range are made; they change nothing but x0 to x17.
    unsafe {
        asm!(
            "smc #0",
            inlateout("x0") arguments[0] => result, inlateout("x1") arguments[1] => _, inlateout("x2") arguments[2] => _,
            inlateout("x3") arguments[3] => _, lateout("x4") _, lateout("x5") _, lateout("x6") _, lateout("x7") _,
            lateout("x8") _, lateout("x9") _, lateout("x10") _, lateout("x11") _, lateout("x12") _, lateout("x13") _,
            lateout("x14") _, lateout("x15") _, lateout("x16") _, lateout("x17") _, options(nostack)
        );
    }
    result
}

/// Says that there is firmware, which answers PSCI's SMCs.
pub fn has_firmware() {
    FIRMWARE.store(true, Relaxed);
}

/// Returns what SMCCC_ARCH_FEATURES says of calls on this CPU: negative where nobody can be asked (DEN 0028, appendix on discovery).
fn ask<const N: usize>(functions: [u32; N]) -> [i64; N] {
    const SMCCC_VERSION: u64 = 0x8000_0000;
    // Each of them is to be called only if the one before says so. Results are 32 bits wide.
    let call = |function: u64, argument: u64| i64::from(firmware([function, argument, 0, 0]) as i32);
    let knows = FIRMWARE.load(Relaxed)
        && call(0x8400_0000, 0) >= 0x1_0000
        && call(0x8400_000a, SMCCC_VERSION) >= 0
        && call(SMCCC_VERSION, 0) >= 0x1_0001;
    functions.map(|function| if knows { call(0x8000_0001, function.into()) } else { -1 })
}

/// Prepares the CPU that calls for guests that speculate; returns what it needs.
pub fn start_speculation() -> Needs {
    let facts = Facts {
        midr: read!("midr_el1"),
        pfr0: read!("id_aa64pfr0_el1"),
        pfr1: read!("id_aa64pfr1_el1"),
        answers: ask([WORKAROUND_1, WORKAROUND_2, WORKAROUND_3]),
    };
    let needs = Needs::of(&facts);
    speculation::note(&needs);
    if needs.holds_loads() {
        firmware([WORKAROUND_2.into(), 1, 0, 0]);
    }
    let vectors = match needs.on_exit() {
        None => return needs,
        Some(WORKAROUND_3) => &raw const vectors_workaround_3,
        Some(_) => &raw const vectors_workaround_1,
    };
    // SAFETY: tables of vectors like the one that entry.S set, but for what they do before a guest is left.
    unsafe { asm!("msr vbar_el2, {}", "isb", in(reg) vectors, options(nostack, preserves_flags)) };
    needs
}

/// Switches the machine off (PSCI SYSTEM_OFF). Returns if that fails, or if there is no firmware.
pub fn system_off() {
    if FIRMWARE.load(Relaxed) {
        firmware([0x8400_0008, 0, 0, 0]);
    }
}

/// Starts the machine anew (PSCI SYSTEM_RESET). Returns if that fails, or if there is no firmware.
pub fn system_reset() {
    if FIRMWARE.load(Relaxed) {
        firmware([0x8400_0009, 0, 0, 0]);
    }
}
