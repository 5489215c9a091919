//! Why guests came back: a counter for each vCPU and reason, and the last exits of each vCPU, always on.
//!
//! The CPU that runs a vCPU writes, with plain loads and stores; anybody reads, and may see an exit half written.

use alloc::sync::Arc;
use core::array;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use xen_abi::Hypercall;

use crate::arch::{self, CPUS_MAX, SystemRegister, timer};

/// Exits of a vCPU that are remembered.
pub const LAST: usize = 16;
/// Hypercalls are counted by number; what is beyond is counted as the last.
const CALLS: usize = 64;
const _: () = assert!(REASONS + CALLS <= 1 << REASON_BITS);
/// Bits of the reason; what the exit is about is above them, without its upper bits.
const REASON_BITS: u32 = 8;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $count:ident { $($(#[$each:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$each])* $variant,)* }

        /// How many there are.
        const $count: usize = [$($name::$variant),*].len();

        impl $name {
            /// All, in their order.
            pub const ALL: [$name; $count] = [$($name::$variant),*];

            /// Returns what it is called.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// Why a guest came back, as far as that is counted.
    Reason, REASONS {
        /// HVC or SMC #0.
        Firmware = "firmware call",
        /// HVC or SMC with a number that means nothing.
        Unknown = "unknown call",
        /// WFI or WFE.
        Wait = "wait",
        /// An MRS or MSR.
        SystemRegister = "system register",
        /// A load from the distributor.
        DistributorRead = "distributor read",
        /// A store to it.
        DistributorWrite = "distributor write",
        /// A load from a redistributor.
        RedistributorRead = "redistributor read",
        /// A store to one.
        RedistributorWrite = "redistributor write",
        /// The UART that only writes.
        Uart = "uart",
        /// Another access that stage 2 does not let through.
        Abort = "abort",
        /// A physical interrupt.
        Interrupt = "interrupt",
        /// An SError.
        SystemError = "system error",
        /// Anything else.
        Other = "other",
    }
}

named! {
    /// What a CPU did besides: interrupts that it took, and guests that it changed.
    Work, WORKS {
        /// Another CPU's wish that this one looks around.
        Kick = "kick",
        /// EL2's own timer.
        Timer = "timer",
        /// A guest's virtual timer.
        VirtualTimer = "virtual timer",
        /// List registers wanted attention.
        Maintenance = "maintenance",
        /// The console's UART.
        Console = "console",
        /// A device of Dom0's.
        Device = "device",
        /// What nobody wanted.
        Stray = "stray",
        /// Another vCPU was put on the CPU.
        Switch = "vCPU switch",
    }
}

/// What is known of a vCPU's exits.
#[derive(Debug)]
pub struct Exits {
    counts: [AtomicU64; REASONS + CALLS],
    last: [Entry; LAST],
    /// Exits that were remembered, ever.
    noted: AtomicU64,
}

/// An exit as it is kept.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Entry {
    what: AtomicU64,
    pc: AtomicU64,
    time: AtomicU64,
}

/// An exit that was remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Index of the reason or, beyond those, of the hypercall.
    index: usize,
    /// Address, register or arguments, as far as there was room.
    pub detail: u64,
    /// The program counter as it was when the guest came back.
    pub pc: u64,
    /// The physical count.
    pub time: u64,
}

fn add(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

impl Exits {
    /// Returns counters at zero.
    pub fn new() -> Arc<Exits> {
        Arc::new(Exits {
            counts: array::from_fn(|_| AtomicU64::new(0)),
            last: array::from_fn(|_| Entry::default()),
            noted: AtomicU64::new(0),
        })
    }

    /// Counts and remembers an exit; `detail` is what it is about.
    #[inline]
    pub fn note(&self, reason: Reason, detail: u64, pc: u64) {
        self.put(reason as usize, detail, pc);
    }

    /// Counts and remembers a hypercall with its first argument, which most often is the operation.
    #[inline]
    pub fn note_call(&self, number: u64, argument: u64, pc: u64) {
        self.put(REASONS + number.min(CALLS as u64 - 1) as usize, argument, pc);
    }

    #[inline]
    fn put(&self, index: usize, detail: u64, pc: u64) {
        add(&self.counts[index]);
        let noted = self.noted.load(Relaxed);
        let entry = &self.last[noted as usize % LAST];
        entry.what.store(detail << REASON_BITS | index as u64, Relaxed);
        entry.pc.store(pc, Relaxed);
        entry.time.store(timer::glance(), Relaxed);
        self.noted.store(noted.wrapping_add(1), Relaxed);
    }

    /// Returns the last exits, the oldest first.
    pub fn last(&self) -> impl Iterator<Item = Remembered> {
        let noted = self.noted.load(Relaxed);
        (noted.saturating_sub(LAST as u64)..noted).map(|number| {
            let entry = &self.last[number as usize % LAST];
            let what = entry.what.load(Relaxed);
            Remembered {
                index: (what & ((1 << REASON_BITS) - 1)) as usize,
                detail: what >> REASON_BITS,
                pc: entry.pc.load(Relaxed),
                time: entry.time.load(Relaxed),
            }
        })
    }

    /// Starts counting at zero again. An exit at the same moment may bring its counter back.
    pub fn reset(&self) {
        self.counts.iter().for_each(|count| count.store(0, Relaxed));
    }
}

/// Returns how often the vCPUs of these came back for each reason for which one did, with the reason's name.
pub fn totals<'a>(all: impl Iterator<Item = &'a Exits> + Clone) -> impl Iterator<Item = (Name, u64)> {
    (0..REASONS + CALLS).filter_map(move |index| {
        let total = all.clone().map(|exits| exits.counts[index].load(Relaxed)).sum();
        (total != 0).then_some((Name(index), total))
    })
}

/// A reason's name, or a hypercall's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = Reason::ALL.get(self.0) {
            return f.write_str(reason.name());
        }
        let number = (self.0 - REASONS) as u64;
        match Hypercall::from_number(number) {
            Some(call) => write!(f, "hypercall {}", call.name().trim_start_matches("__HYPERVISOR_")),
            None if self.0 + 1 == REASONS + CALLS => f.write_str("hypercall beyond all"),
            None => write!(f, "hypercall {number}"),
        }
    }
}

impl fmt::Display for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.index == Reason::SystemRegister as usize {
            let access = SystemRegister::decode(self.detail as u32);
            let (op0, op1, crn, crm, op2) = access.name;
            let what = if access.read { "mrs" } else { "msr" };
            write!(f, "{what} s{op0}_{op1}_c{crn}_c{crm}_{op2}")?;
        } else {
            write!(f, "{} {:#x}", Name(self.index), self.detail)?;
        }
        write!(f, " pc {:#x} at {}", self.pc, self.time)
    }
}

static WORK: [[AtomicU64; WORKS]; CPUS_MAX] = [const { [const { AtomicU64::new(0) }; WORKS] }; CPUS_MAX];

/// Counts what the CPU that calls did.
pub fn work(what: Work) {
    add(&WORK[arch::cpu()][what as usize]);
}

/// Returns how often a CPU did something.
pub fn worked(cpu: usize, what: Work) -> u64 {
    WORK[cpu][what as usize].load(Relaxed)
}

/// Starts counting what CPUs do at zero again.
pub fn reset_work() {
    WORK.iter().flatten().for_each(|count| count.store(0, Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn a_register_is_remembered_by_its_name() {
        let exits = Exits::new();
        // msr ICC_SGI1R_EL1, x7 is S3_0_C12_C11_5.
        let syndrome = 3 << 20 | 5 << 17 | 12 << 10 | 7 << 5 | 11 << 1;
        exits.note(Reason::SystemRegister, syndrome, 0x10);
        let text = exits.last().next().unwrap().to_string();
        assert!(text.starts_with("msr s3_0_c12_c11_5 pc 0x10 at "), "{text}");
    }

    #[test]
    fn reasons_and_calls_are_counted_and_named() {
        let (one, two) = (Exits::new(), Exits::new());
        one.note(Reason::Wait, 0, 0x1000);
        two.note(Reason::Wait, 1, 0x2000);
        two.note_call(18, 0, 0x3000);
        for number in [6, 1 << 40, u64::MAX] {
            two.note_call(number, 0, 0);
        }
        let named = |all: &[&Exits]| {
            let all: Vec<_> = totals(all.iter().copied()).map(|(name, count)| (name.to_string(), count)).collect();
            all
        };
        let expected = [("wait", 2), ("hypercall 6", 1), ("hypercall console_io", 1), ("hypercall beyond all", 2)]
            .map(|(name, count)| (name.to_string(), count));
        assert_eq!(named(&[&one, &two]), expected);
        two.reset();
        assert_eq!(named(&[&one, &two]), [("wait".to_string(), 1)]);
    }

    #[test]
    fn the_last_exits_are_remembered_in_their_order() {
        let exits = Exits::new();
        assert_eq!(exits.last().count(), 0);
        for number in 0..LAST as u64 + 5 {
            exits.note(Reason::Abort, number, 0x8000 + number);
        }
        let last: Vec<_> = exits.last().map(|exit| exit.detail).collect();
        assert_eq!(last, (5..LAST as u64 + 5).collect::<Vec<_>>());
        exits.note_call(29, u64::MAX, 0xffff_8000_0000_1234);
        let text = exits.last().last().unwrap().to_string();
        // Its upper bits had no room.
        assert!(text.starts_with("hypercall sched_op 0xffffffffffffff pc 0xffff800000001234 at "), "{text}");
    }
}
