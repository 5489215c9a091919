//! The only door to what a guest's pointers mean: translate, take the page's reference, copy, give it back; page by page.
//!
//! A pointer is a virtual address of the vCPU that is loaded on this CPU. Nothing is read twice.
#![expect(unsafe_code, reason = "copies to and from memory that a guest may write at any time")]

use core::ops::Range;

use super::p2m::Kind;
use super::walk::Regime;
use super::{Gfn, Mfn, frames};
use crate::arch::{self, PAGE_SIZE};

/// A pointer does not lead to the caller's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

/// Fills `out` from `address` in the loaded vCPU of `domain`.
///
/// # Errors
/// [`Fault`]; then `out` holds anything.
pub fn read(domain: u16, address: u64, out: &mut [u8]) -> Result<(), Fault> {
    let length = out.len();
    each_page(domain, address, length, false, |memory, done, count| {
        // SAFETY: `memory` is mapped and pinned for `count` bytes inside a page; a guest that writes meanwhile changes values only,
        // and the copy is made by volatile or opaque accesses of at most the size of a register.
        unsafe { copy(memory, out[done..done + count].as_mut_ptr(), count) }
    })
}

/// Writes `bytes` to `address` in the loaded vCPU of `domain`.
///
/// # Errors
/// [`Fault`]; then pages before the one at fault have been written.
pub fn write(domain: u16, address: u64, bytes: &[u8]) -> Result<(), Fault> {
    each_page(domain, address, bytes.len(), true, |memory, done, count| {
        // SAFETY: as above.
        unsafe { copy(bytes[done..done + count].as_ptr(), memory, count) }
    })
}

fn each_page(
    domain: u16,
    address: u64,
    length: usize,
    write: bool,
    mut act: impl FnMut(*mut u8, usize, usize),
) -> Result<(), Fault> {
    let mut done = 0;
    while done < length {
        let at = address.checked_add(done as u64).ok_or(Fault)?;
        let count = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(length - done);
        let physical = arch::translate(at, write).or_else(|| walk(domain, at, write)).ok_or(Fault)?;
        let frame = Mfn::of(physical);
        frames::get(frame, domain).map_err(|_| Fault)?;
        act(arch::pointer(physical), done, count);
        frames::put(frame);
        done += count;
    }
    Ok(())
}

/// Translates as the tables have it, both stages, while nobody changes the second: the CPU may have met it in the middle of a change.
#[cold]
fn walk(domain: u16, address: u64, write: bool) -> Option<u64> {
    let domain = crate::domain::find(domain)?;
    let [sctlr, tcr, ttbr0, ttbr1] = arch::translation_registers();
    let p2m = domain.p2m.lock();
    let own = |address: u64, write: bool| {
        let (frame, kind) = p2m.get(Gfn::of(address))?;
        let is_device = matches!(kind, Kind::Device | Kind::DeviceUncached);
        let writable = matches!(kind, Kind::Memory | Kind::Lent | Kind::Foreign | Kind::Grant);
        (!is_device && (writable || !write)).then_some(frame)
    };
    let read = |address: u64| {
        let table = own(address, false).filter(|&frame| frames::is_memory(frame))?;
        Some(frames::read_entry(table, (address % PAGE_SIZE / 8) as usize))
    };
    let found = Regime { sctlr, tcr, ttbr0, ttbr1 }.walk(address, write, read)?;
    Some(own(found, write)?.address() + found % PAGE_SIZE)
}

/// Copies bytes of one frame to another, or to the same; the caller holds references of both, and neither side leaves its frame.
pub fn copy_between(from: Mfn, bytes: Range<usize>, to: Mfn, offset: usize) {
    let count = bytes.len();
    assert!(bytes.end <= PAGE_SIZE as usize && offset + count <= PAGE_SIZE as usize, "a copy stays in its pages");
    let pointer = |frame: Mfn, offset: usize| arch::pointer(frame.address() + offset as u64);
    // SAFETY: both frames are mapped memory and pinned, and the bytes are inside them; guests may write meanwhile, or the frames be
    // one, which changes values only.
    unsafe { copy(pointer(from, bytes.start), pointer(to, offset), count) }
}

/// Copies as the guest might: words where both sides are aligned, else bytes. The compiler makes nothing else of it.
///
/// # Safety
/// Both sides are valid for `count` bytes.
unsafe fn copy(mut from: *const u8, mut to: *mut u8, mut count: usize) {
    // SAFETY: stays within `count` bytes of either side; words are read where they are aligned.
    unsafe {
        if (from as usize | to as usize).is_multiple_of(8) {
            while count >= 8 {
                (to as *mut u64).write_volatile((from as *const u64).read_volatile());
                (from, to, count) = (from.add(8), to.add(8), count - 8);
            }
        }
        while count > 0 {
            to.write_volatile(from.read_volatile());
            (from, to, count) = (from.add(1), to.add(1), count - 1);
        }
    }
}

#[cfg(test)]
mod race;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{MEMORY, MEMORY_SIZE, start_memory};
    use crate::memory::frames::State;

    const DOMAIN: u16 = 11;

    /// Two pages in a row, of the domain.
    fn pages() -> Mfn {
        start_memory();
        frames::allocate_as(1, DOMAIN, State::Domain).unwrap()
    }

    #[test]
    fn copies_cross_pages() {
        let first = pages();
        let at = first.address() + 4090;
        write(DOMAIN, at, b"hello, world").unwrap();
        let mut back = [0; 12];
        read(DOMAIN, at, &mut back).unwrap();
        assert_eq!(&back, b"hello, world");
        [first, Mfn(first.0 + 1)].into_iter().for_each(frames::put);
    }

    #[test]
    fn what_belongs_to_others_faults() {
        let first = pages();
        assert_eq!(read(DOMAIN + 1, first.address(), &mut [0; 8]), Err(Fault));
        let own = frames::allocate(0).unwrap();
        assert_eq!(write(DOMAIN, own.address(), &[1]), Err(Fault), "the hypervisor's");
        frames::free(own, 0);
        [first, Mfn(first.0 + 1)].into_iter().for_each(frames::put);
    }

    #[test]
    fn pointers_to_nowhere_fault() {
        start_memory();
        for address in [0, 7, MEMORY - 1, MEMORY + MEMORY_SIZE, u64::MAX, u64::MAX - 7] {
            assert_eq!(read(DOMAIN, address, &mut [0; 16]), Err(Fault), "{address:#x}");
            assert_eq!(write(DOMAIN, address, &[0; 16]), Err(Fault), "{address:#x}");
        }
        assert_eq!(read(DOMAIN, 0, &mut []), Ok(()));
    }
}
