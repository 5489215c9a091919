//! The rules of PSCI 1.1 (DEN 0022) and SMCCC 1.1 (DEN 0028): what a call means and what state the CPUs are in.
//!
//! Decides and remembers; `main.rs` does what is decided.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use crate::lock::Lock;
use crate::parameters::{AFFINITY, CPUS_MAX, Parameters};

/// Function numbers; bit 30 is set in those whose arguments are 64 bits wide.
pub mod function {
    #![allow(missing_docs, reason = "names of DEN 0022 and DEN 0028")]
    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    pub const PSCI_VERSION: u32 = 0x8400_0000;
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON: u32 = 0x8400_0003;
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const PSCI_FEATURES: u32 = 0x8400_000a;
    /// Added to a number whose arguments are 64 bits wide.
    pub const WIDE: u32 = 0x4000_0000;
}

/// Return values.
pub mod error {
    #![allow(missing_docs, reason = "names of DEN 0022")]
    pub const SUCCESS: i32 = 0;
    pub const NOT_SUPPORTED: i32 = -1;
    pub const INVALID_PARAMETERS: i32 = -2;
    pub const ALREADY_ON: i32 = -4;
    pub const ON_PENDING: i32 = -5;
    pub const INVALID_ADDRESS: i32 = -9;
}

/// 1.1, major in the upper half.
const VERSION_1_1: i32 = 0x1_0001;
/// MIGRATE_INFO_TYPE: there is no Trusted OS that would have to move.
const NO_TRUSTED_OS: i32 = 2;
/// Fields of CPU_SUSPEND's power_state, in the original format (DEN 0022): StateID is below StateType; what lies between and
/// above StateType and PowerLevel must be zero.
const STATE_TYPE_POWER_DOWN: u64 = 1 << 16;
const POWER_LEVEL: u64 = 3 << 24;
const STATE_RESERVED: u64 = 0xfcfe_0000;

/// What the caller of [`Cpus::call`] has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go back to the lower level with this in x0.
    Return(i64),
    /// The same, and wake the CPUs that wait for an event.
    Wake(i64),
    /// Wait for an interrupt, then return success.
    Standby,
    /// Wait in EL3 until this CPU is switched on again.
    Off,
    /// Switch the board off.
    SystemOff,
    /// Reset the board.
    SystemReset,
}

/// Where and how a CPU begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// First instruction at EL2.
    pub entry: u64,
    /// Its x0.
    pub context: u64,
}

const OFF: u32 = 0;
const PENDING: u32 = 1;
const ON: u32 = 2;

struct Cpu {
    state: AtomicU32,
    entry: AtomicU64,
    context: AtomicU64,
}

impl Cpu {
    const fn off() -> Cpu {
        Cpu { state: AtomicU32::new(OFF), entry: AtomicU64::new(0), context: AtomicU64::new(0) }
    }
}

/// The state of all CPUs; zeroes in memory mean "all off".
pub struct Cpus {
    lock: Lock,
    cpus: [Cpu; CPUS_MAX],
}

impl Default for Cpus {
    fn default() -> Self {
        Self::new()
    }
}

impl Cpus {
    /// Returns CPUs that are all off.
    pub const fn new() -> Cpus {
        Cpus { lock: Lock::new(), cpus: [const { Cpu::off() }; CPUS_MAX] }
    }

    /// Says that a CPU runs without having been asked for: the one that boots.
    pub fn booted(&self, own: usize) {
        self.cpus[own].state.store(ON, SeqCst);
    }

    /// Returns where this CPU is to begin, once, after another has switched it on.
    pub fn started(&self, own: usize) -> Option<Start> {
        let cpu = &self.cpus[own];
        if cpu.state.load(SeqCst) != PENDING {
            return None;
        }
        let start = Start { entry: cpu.entry.load(SeqCst), context: cpu.context.load(SeqCst) };
        cpu.state.store(ON, SeqCst);
        Some(start)
    }

    /// Decides a call. `own` is the calling CPU, `arguments` are x0 (the function number) to x3, `wide` says whether the caller runs
    /// in AArch64.
    pub fn call(&self, board: &Parameters, own: usize, arguments: [u64; 4], wide: bool) -> Action {
        let function = arguments[0] as u32;
        let [a1, a2, a3] = if function & function::WIDE != 0 {
            [arguments[1], arguments[2], arguments[3]]
        } else {
            [1, 2, 3].map(|index| arguments[index] & 0xffff_ffff)
        };
        if !supported(function) || (function & function::WIDE != 0 && !wide) {
            return answer(error::NOT_SUPPORTED);
        }
        match function & !function::WIDE {
            function::PSCI_VERSION | function::SMCCC_VERSION => answer(VERSION_1_1),
            function::SMCCC_ARCH_FEATURES => {
                let known = matches!(a1 as u32, function::SMCCC_VERSION | function::SMCCC_ARCH_FEATURES);
                answer(if known { error::SUCCESS } else { error::NOT_SUPPORTED })
            }
            // CPU_SUSPEND's feature flags are zero too: original format of power_state, platform-coordinated.
            function::PSCI_FEATURES => {
                let known = supported(a1 as u32) && a1 as u32 != function::SMCCC_ARCH_FEATURES;
                answer(if known { error::SUCCESS } else { error::NOT_SUPPORTED })
            }
            function::MIGRATE_INFO_TYPE => answer(NO_TRUSTED_OS),
            function::CPU_SUSPEND => suspend(a1),
            function::CPU_OFF => {
                self.cpus[own].state.store(OFF, SeqCst);
                Action::Off
            }
            function::CPU_ON => self.on(board, own, a1, Start { entry: a2, context: a3 }),
            function::AFFINITY_INFO => self.affinity_info(board, a1, a2),
            function::SYSTEM_OFF => Action::SystemOff,
            function::SYSTEM_RESET => Action::SystemReset,
            _ => answer(error::NOT_SUPPORTED),
        }
    }

    fn on(&self, board: &Parameters, own: usize, target: u64, start: Start) -> Action {
        let Some(index) = index_of(board, target) else { return answer(error::INVALID_PARAMETERS) };
        if !board.may_start_at(start.entry) {
            return answer(error::INVALID_ADDRESS);
        }
        let cpu = &self.cpus[index];
        // Two CPUs may want the same third one: only one of them succeeds.
        self.lock.with(own, || match cpu.state.load(SeqCst) {
            OFF => {
                cpu.entry.store(start.entry, SeqCst);
                cpu.context.store(start.context, SeqCst);
                cpu.state.store(PENDING, SeqCst);
                Action::Wake(error::SUCCESS.into())
            }
            PENDING => answer(error::ON_PENDING),
            _ => answer(error::ALREADY_ON),
        })
    }

    fn affinity_info(&self, board: &Parameters, target: u64, lowest_level: u64) -> Action {
        // Since PSCI 1.0 levels above the CPU's own are optional.
        match index_of(board, target) {
            Some(index) if lowest_level == 0 => answer(match self.cpus[index].state.load(SeqCst) {
                OFF => 1,
                PENDING => 2,
                _ => 0,
            }),
            _ => answer(error::INVALID_PARAMETERS),
        }
    }
}

fn answer(value: i32) -> Action {
    Action::Return(value.into())
}

/// Returns the CPU that a target argument names; bits outside the affinity fields must be zero.
fn index_of(board: &Parameters, target: u64) -> Option<usize> {
    if target & !AFFINITY != 0 { None } else { board.index_of(target) }
}

/// Standby states of the CPU itself are a WFI; no power-down state exists, and none above the CPU.
fn suspend(power_state: u64) -> Action {
    if power_state & (STATE_TYPE_POWER_DOWN | POWER_LEVEL | STATE_RESERVED) != 0 {
        answer(error::INVALID_PARAMETERS)
    } else {
        Action::Standby
    }
}

fn supported(function: u32) -> bool {
    let both = matches!(function & !function::WIDE, function::CPU_SUSPEND | function::CPU_ON | function::AFFINITY_INFO);
    both || matches!(
        function,
        function::SMCCC_VERSION
            | function::SMCCC_ARCH_FEATURES
            | function::PSCI_VERSION
            | function::CPU_OFF
            | function::MIGRATE_INFO_TYPE
            | function::SYSTEM_OFF
            | function::SYSTEM_RESET
            | function::PSCI_FEATURES
    )
}
