//! EL2's own translation: code read-only, everything else not executable, guards unmapped (DDI 0487, chapter D8).
#![expect(unsafe_code, reason = "tables the MMU reads, and the registers that name them")]

use core::sync::atomic::{AtomicU64, Ordering::*};

use super::layout::{self, DEVICES, DEVICES_END, DIRECT, IMAGE, STACK_SIZE, STACK_STRIDE, STACKS};
use super::lock::Lock;
use super::registers::{instruction, read};
use crate::arch::mapping::{self, Tables as _, VALID};
use crate::arch::sequences::{stage1_sequences, use_tables};

/// Attribute 0: normal memory, write-back; 1: Device-nGnRE.
pub const MAIR: u64 = 0x04ff;
/// 48 bits, 4 KiB pages, tables cached and inner shareable; bits 31 and 23 are RES1. The size of physical addresses is added.
pub const TCR: u64 = 1 << 31 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 16;
/// RES1 bits, MMU, caches, aligned stacks. Without WXN, for the first tables are neither.
pub const SCTLR_FIRST: u64 = SCTLR_RES1 | 1 << 12 | 1 << 3 | 1 << 2 | 1;
const SCTLR_RES1: u64 = 0x30c5_0830;
const SCTLR_WXN: u64 = 1 << 19;

const EL2: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
const EXECUTE_NEVER: u64 = 1 << 54;

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Constant,
    Data,
    Device,
}

impl Kind {
    fn attributes(self) -> u64 {
        VALID
            | EL2
            | ACCESSED
            | match self {
                Kind::Code => INNER_SHAREABLE | READ_ONLY,
                Kind::Constant => INNER_SHAREABLE | READ_ONLY | EXECUTE_NEVER,
                Kind::Data => INNER_SHAREABLE | EXECUTE_NEVER,
                Kind::Device => 1 << 2 | 2 << 8 | EXECUTE_NEVER,
            }
    }
}

/// Tables are made while booting and never given back; this many are enough for about a dozen banks of memory.
const TABLES: usize = 40;

#[repr(C, align(4096))]
struct Pool([[AtomicU64; 512]; TABLES]);
static POOL: Pool = Pool([const { [const { AtomicU64::new(0) }; 512] }; TABLES]);

/// How many tables are in use (the first is the root), and the next free address for a device.
struct Tables {
    used: usize,
    device: u64,
}
static TABLES_STATE: Lock<Tables> = Lock::new(Tables { used: 0, device: DEVICES });

impl Tables {
    fn entry(&self, table: usize, index: usize) -> &AtomicU64 {
        &POOL.0[table][index]
    }

    /// Maps what is not mapped yet.
    fn map(&mut self, address: u64, physical: u64, size: u64, kind: Kind) {
        mapping::map(self, address, physical, size, kind.attributes());
    }
}

impl mapping::Tables for Tables {
    fn read(&self, table: usize, index: usize) -> u64 {
        self.entry(table, index).load(Relaxed)
    }

    fn write(&mut self, table: usize, index: usize, value: u64) {
        self.entry(table, index).store(value, Release);
    }

    fn add(&mut self) -> usize {
        assert!(self.used < TABLES, "too many pieces of memory for EL2's tables");
        self.used += 1;
        self.used - 1
    }

    fn physical(&self) -> u64 {
        root()
    }

    fn order(&self) {
        order();
    }

    fn publish(&self) {
        publish();
    }
}

stage1_sequences!(instruction);

/// Makes the lasting tables, with the image and the device tree's pages (start and end), and goes over to them.
pub fn start(tree: (u64, u64)) {
    let image = layout::image();
    let (physical, _) = layout::image_physical();
    let at = |address: u64| address - IMAGE + physical;
    let mut tables = TABLES_STATE.lock();
    assert_eq!(tables.add(), 0);
    let mut map = |from: u64, to: u64, kind| tables.map(from, at(from), to - from, kind);
    map(image.start, image.text_end, Kind::Code);
    map(image.text_end, image.rodata_end, Kind::Constant);
    map(image.rodata_end, image.guard, Kind::Data);
    map(image.guard + STACK_SIZE, image.end, Kind::Data);
    tables.map(DIRECT + tree.0, tree.0, tree.1 - tree.0, Kind::Data);
    drop(tables);
    go_over();
}

/// Maps pieces of memory (start and end) that are not mapped yet.
pub fn map_memory(memory: &[(u64, u64)]) {
    let (physical, size) = layout::image_physical();
    let mut tables = TABLES_STATE.lock();
    for &(start, end) in memory {
        assert!(end <= layout::DIRECT_SIZE, "memory at {start:#x} is out of reach");
        // What the image lies in is reached through the image's own mapping alone.
        let (before, after) = (end.min(physical), start.max(physical + size));
        if start < before {
            tables.map(DIRECT + start, start, before - start, Kind::Data);
        }
        if after < end {
            tables.map(DIRECT + after, after, end - after, Kind::Data);
        }
    }
}

/// Returns the root's physical address, for TTBR0_EL2.
pub fn root() -> u64 {
    layout::physical_of_image((&raw const POOL) as u64)
}

/// Goes over to the lasting tables.
fn go_over() {
    macro_rules! run {
        ($($line:literal),*) => {
            core::arch::asm!(
                $($line,)*
                root = in(reg) root(), sctlr = in(reg) SCTLR_FIRST | SCTLR_WXN, options(nostack, preserves_flags)
            )
        };
    }
    // SAFETY: the lasting tables map the code that runs, its data and its stack where they are, by pages as the first ones do.
    unsafe {
        use_tables!(run);
    }
}

/// Completes the change on a CPU that entry.S has already moved to the lasting tables.
pub fn start_secondary() {
    go_over();
}

/// Maps a device's registers and returns where.
pub fn map_device(physical: u64, size: u64) -> u64 {
    let first = physical & !4095;
    let end = physical.checked_add(size).and_then(|end| end.checked_next_multiple_of(4096));
    let length = end.expect("registers end beyond all addresses") - first;
    let mut tables = TABLES_STATE.lock();
    // The same place inside 2 MiB, so that blocks can be used.
    let address = tables.device.next_multiple_of(2 << 20) + first % (2 << 20);
    assert!(address <= DEVICES_END && length <= DEVICES_END - address, "no room for registers at {physical:#x}");
    tables.device = address + length;
    tables.map(address, first, length, Kind::Device);
    address + physical % 4096
}

/// How many stacks are mapped: each CPU that was sent for has one, whether it came or not.
static STACKS_MAPPED: AtomicU64 = AtomicU64::new(0);

/// Returns how many stacks are mapped besides the first CPU's.
pub fn stacks() -> u64 {
    STACKS_MAPPED.load(Relaxed)
}

/// Maps the stack of a CPU that is not the first, out of `STACK_SIZE` bytes at `physical`, and returns its top.
pub fn map_stack(physical: u64) -> u64 {
    let top = STACKS + (STACKS_MAPPED.fetch_add(1, Relaxed) + 1) * STACK_STRIDE;
    assert!(top <= DEVICES, "too many stacks");
    TABLES_STATE.lock().map(top - STACK_SIZE, physical, STACK_SIZE, Kind::Data);
    top
}

/// Whether EL2 can write at a virtual address.
pub fn is_mapped(address: u64) -> bool {
    instruction!("at s1e2w", address);
    instruction!("isb");
    read!("par_el1") & 1 == 0
}

/// Returns the bits of physical addresses that the CPU has.
pub fn physical_bits() -> u32 {
    match read!("id_aa64mmfr0_el1") & 15 {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}
