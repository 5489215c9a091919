//! What a thread did that the MMU or the caches would have noticed, step by step; and whose table each entry is in.

use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use alloc::vec::Vec;

use super::{MEMORY, MEMORY_SIZE};

/// What an entry of a table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Where the entry is.
    pub address: u64,
    /// VTTBR_EL2 of the guest whose table it is in; 0: the hypervisor's own.
    pub guest: u64,
    /// The first of the guest's addresses that it translates.
    pub start: u64,
    /// How many addresses; 0: the table hangs nowhere.
    pub size: u64,
}

/// What the machine would have noticed: an instruction under its name, a store to a table, a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A descriptor was written: where, what it was, what it is.
    Descriptor(Place, u64, u64),
    /// Stores are seen by every CPU's walks before what follows.
    DsbIshst,
    /// The same; and invalidations were done on every CPU.
    DsbIsh,
    /// Invalidations were done on this CPU.
    DsbNsh,
    /// The same as [`Event::DsbIsh`], and for everyone who sees memory: caches were written back.
    DsbSy,
    /// This CPU goes by what was done before.
    Isb,
    /// A page (its address) of the guest in VTTBR_EL2 is forgotten, on every CPU.
    TlbiIpas2e1is(u64),
    /// What stage 1 of that guest made is forgotten, on every CPU.
    TlbiVmalle1is,
    /// Both stages of that guest, on every CPU.
    TlbiVmalls12e1is,
    /// What stage 1 of that guest made is forgotten, on this CPU.
    TlbiVmalle1,
    /// All guests are forgotten, on this CPU.
    TlbiAlle1,
    /// The hypervisor's own translations are forgotten, on this CPU.
    TlbiAlle2,
    /// Instructions are fetched anew, on every CPU.
    IcIalluis,
    /// A range of memory (address, size) begins to be written back.
    Clean(u64, u64),
    /// VTTBR_EL2 was this, and is that.
    Vttbr(u64, u64),
    /// TTBR0_EL2 names other tables.
    Ttbr0,
    /// SCTLR_EL2 was written.
    Sctlr,
}

std::thread_local! {
    static RECORD: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

/// Takes what this thread did since the last time.
pub fn take_record() -> Vec<Event> {
    RECORD.take()
}

pub(super) fn record(event: Event) {
    RECORD.with_borrow_mut(|record| record.push(event));
}

/// Records one instruction.
macro_rules! step {
    ("dsb ishst") => {
        $crate::arch::fake::events::record(Event::DsbIshst)
    };
    ("dsb ish") => {
        $crate::arch::fake::events::record(Event::DsbIsh)
    };
    ("dsb nsh") => {
        $crate::arch::fake::events::record(Event::DsbNsh)
    };
    ("dsb sy") => {
        $crate::arch::fake::events::record(Event::DsbSy)
    };
    ("isb") => {
        $crate::arch::fake::events::record(Event::Isb)
    };
    ("tlbi ipas2e1is", $page:expr) => {
        $crate::arch::fake::events::record(Event::TlbiIpas2e1is(($page) << 12))
    };
    ("tlbi vmalle1is") => {
        $crate::arch::fake::events::record(Event::TlbiVmalle1is)
    };
    ("tlbi vmalls12e1is") => {
        $crate::arch::fake::events::record(Event::TlbiVmalls12e1is)
    };
    ("tlbi vmalle1") => {
        $crate::arch::fake::events::record(Event::TlbiVmalle1)
    };
    ("tlbi alle1") => {
        $crate::arch::fake::events::record(Event::TlbiAlle1)
    };
    ("tlbi alle2") => {
        $crate::arch::fake::events::record(Event::TlbiAlle2)
    };
    ("ic ialluis") => {
        $crate::arch::fake::events::record(Event::IcIalluis)
    };
    ("msr ttbr0_el2, {root}") => {
        $crate::arch::fake::events::record(Event::Ttbr0)
    };
    ("msr sctlr_el2, {sctlr}") => {
        $crate::arch::fake::events::record(Event::Sctlr)
    };
}
pub(super) use step;

const FRAMES: usize = (MEMORY_SIZE / 4096) as usize;
/// Of each frame of memory that is a guest's table: the address of the entry that leads there; or of a root VTTBR_EL2, whose lowest bits
/// are free, with 1 and the level (from bit 1) at which walks start.
static ABOVE: [AtomicU64; FRAMES] = [const { AtomicU64::new(0) }; FRAMES];
const ROOT: u64 = 1;
const ADDRESS: u64 = 0xffff_ffff_f000;

fn above(address: u64) -> Option<&'static AtomicU64> {
    ABOVE.get((address.checked_sub(MEMORY)? / 4096) as usize)
}

/// Notes that a guest's walks begin in 2^`order` tables of this level.
pub(super) fn note_root(vttbr: u64, level: u32, order: u32) {
    for table in 0..1 << order {
        if let Some(above) = above((vttbr & ADDRESS) + table * 4096) {
            above.store(vttbr | u64::from(level) << 1 | ROOT, SeqCst);
        }
    }
}

/// Notes that an entry leads to a table.
pub(super) fn note_table(table: u64, entry: u64) {
    if let Some(above) = above(table) {
        above.store(entry, SeqCst);
    }
}

/// Returns what an entry stands for.
pub(super) fn place(address: u64) -> Place {
    let (mut path, mut at) = (Vec::new(), address);
    let (root, level) = loop {
        match above(at).map(|above| above.load(SeqCst)) {
            Some(root) if root & ROOT != 0 => break (root & !0xfff, (root >> 1 & 7) as u32),
            Some(entry) if entry != 0 && path.len() < 4 => {
                path.push(at % 4096 / 8);
                at = entry;
            }
            _ => return Place { address, ..Place::default() },
        }
    };
    path.push((at - (root & ADDRESS)) / 8);
    let size = |level: u32| 4096u64 << (9 * (3 - level.min(3)));
    let start = path.iter().rev().zip(level..).map(|(index, level)| index * size(level)).sum();
    Place { address, guest: root, start, size: size(level + path.len() as u32 - 1) }
}
