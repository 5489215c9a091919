//! Hostile pointers, for any call that takes one: null, unaligned, across pages, to registers, to nothing, to others.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use xen_abi::{Hypercall, Plain};

use crate::Board;
use crate::calls::case;
use crate::machine::{self, DIRECT, Mapping};

/// Two pages of memory that do not follow each other, and slots in which they do.
const NEAR: usize = 2;
const FAR: usize = 9;
const FIRST_SLOT: usize = 16;
const READ_ONLY_SLOT: usize = 32;
const DEVICE_SLOT: usize = 40;
const CONTROLLER_SLOT: usize = 42;

static OUTSIDE: AtomicU64 = AtomicU64::new(0);
static DEVICE: AtomicU64 = AtomicU64::new(0);

/// Maps the places that pointers lead to.
pub fn start(board: &Board) {
    let memory = |index: usize| Some((machine::physical(machine::page(index)), Mapping::Memory));
    machine::map(FIRST_SLOT, memory(NEAR));
    machine::map(FIRST_SLOT + 1, memory(FAR));
    machine::map(READ_ONLY_SLOT, Some((machine::physical(machine::page(NEAR)), Mapping::ReadOnly)));
    DEVICE.store(machine::map(DEVICE_SLOT, Some((board.device, Mapping::Device))), SeqCst);
    machine::map(CONTROLLER_SLOT, Some((board.gic[0].0, Mapping::Device)));
    // RAM of the machine that is not the domain's: QEMU's begins at 1 GiB.
    let ram = 1 << 30;
    let (start, size) = board.memory;
    OUTSIDE.store(DIRECT + if start > ram { ram } else { start + size }, SeqCst);
}

/// Where a pointer leads, and whether the argument can be put there.
fn places(size: u64) -> [(&'static str, u64, Option<u64>); 13] {
    let (near, far) = (machine::page(NEAR), machine::page(FAR));
    let slot = |index: usize| machine::map_address(FIRST_SLOT + index);
    // The last byte alone, or half of the structure, is on the other page.
    let half = (size / 2).max(1).min(size);
    [
        ("aligned", near + 128, Some(near + 128)),
        ("unaligned", near + 257, Some(near + 257)),
        ("across two pages", slot(1) - half, Some(slot(1) - half)),
        ("read-only", machine::map_address(READ_ONLY_SLOT) + 128, Some(near + 128)),
        ("null", 0, None),
        ("into nothing", slot(2) - half, None),
        ("nothing", slot(3), None),
        ("a device", DEVICE.load(SeqCst), None),
        ("the interrupt controller", machine::map_address(CONTROLLER_SLOT), None),
        ("not the domain's memory", OUTSIDE.load(SeqCst), None),
        ("beyond all memory", DIRECT + (15 << 30), None),
        ("the upper half", 0xffff_8000_0000_0000, None),
        ("no address", 0x1234_5678_9abc_def0, Some(far)),
    ]
}

/// Makes a call with every pointer; `arguments` has the pointer at `index`.
pub fn hostile<T: Plain>(what: &str, number: Hypercall, mut arguments: [u64; 5], index: usize, value: T) {
    let bytes = value.to_bytes();
    let bytes = bytes.as_ref();
    for (name, pointer, place) in places(bytes.len() as u64) {
        if let Some(place) = place {
            machine::put(place, bytes);
        }
        arguments[index] = pointer;
        case(format_args!("{what}, {name}"), machine::hypercall(number.number(), arguments));
    }
}

/// A pointer that leads nowhere.
pub fn nowhere() -> u64 {
    machine::map_address(FIRST_SLOT + 3)
}

/// A pointer to memory that ends `bytes` further on.
pub fn short(bytes: u64) -> u64 {
    machine::map_address(FIRST_SLOT + 2) - bytes
}

/// A pointer to a page that may only be read; what it holds is put where this returns second.
pub fn read_only() -> (u64, u64) {
    (machine::map_address(READ_ONLY_SLOT), machine::page(NEAR))
}
