//! The frame table and the frame allocator: who owns each frame, how often it is in use, and which are free.
//!
//! One 64-bit word for each frame of memory:
//!
//! ```text
//!   63       48 47    40 39    32 31          0
//!   | owner    | state  | order  | references |
//! ```
//!
//! Free frames form blocks of 2^order frames, aligned to their size (a buddy system); the first frame of a block holds the links to
//! its neighbours in the list of its order.
#![expect(unsafe_code, reason = "turns addresses into memory: the table, and the links in free frames")]

pub mod count;

use core::sync::atomic::{AtomicU64, Ordering::*};

use super::Mfn;
use crate::arch::{self, Lock, Once, PAGE_SIZE};

/// The largest block: 1 GiB.
pub const ORDER_MAX: u32 = 18;
/// Pieces of memory that the table can cover.
const BANKS: usize = 32;
/// Frames that are left when guests' wishes have taken all others, for what the hypervisor itself cannot do without.
pub const RESERVE: u64 = 64;
/// The owner of what is no domain's.
pub const NOBODY: u16 = 0x7fff;

/// What a frame is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not the allocator's, or inside a free block.
    Other = 0,
    /// First of a free block.
    Free = 1,
    /// The hypervisor's own.
    Hypervisor = 2,
    /// A domain's memory.
    Domain = 3,
    /// The hypervisor's, lent to a domain: its shared info, its grant table.
    Lent = 4,
}

fn word(owner: u16, state: State, order: u32, references: u32) -> u64 {
    u64::from(owner) << 48 | (state as u64) << 40 | u64::from(order) << 32 | u64::from(references)
}

fn state(word: u64) -> u8 {
    (word >> 40) as u8
}

fn owner(word: u64) -> u16 {
    (word >> 48) as u16
}

/// A piece of memory, and its part of the table.
#[derive(Clone, Copy)]
struct Bank {
    first: u64,
    count: u64,
    table: *const AtomicU64,
}
// SAFETY: the table is made of atomics and never moves.
unsafe impl Send for Bank {}
// SAFETY: as above.
unsafe impl Sync for Bank {}

static BANKS_FOUND: Once<([Option<Bank>; BANKS], usize)> = Once::new();
static FREE: Lock<Lists> = Lock::new(Lists { heads: [0; ORDER_MAX as usize + 1], free: 0 });

/// Addresses of the first free block of each order, 0 for none; frame 0 is never free.
struct Lists {
    heads: [u64; ORDER_MAX as usize + 1],
    free: u64,
}

/// Returns the bytes of table that memory of `size` needs.
pub fn table_size(size: u64) -> u64 {
    size / PAGE_SIZE * 8
}

/// Takes the memory `banks` (start, end; whole pages), with a table at `table` for all of them; nothing is free yet.
///
/// The caller says that `table` is mapped memory of the right size that nobody else uses.
pub fn start(banks: &[(u64, u64)], table: u64) {
    assert!(banks.len() <= BANKS, "memory is in more than {BANKS} pieces");
    let mut found = [None; BANKS];
    let mut at = table;
    for (slot, &(start, end)) in found.iter_mut().zip(banks) {
        let count = (end - start) / PAGE_SIZE;
        let memory = arch::pointer(at);
        // SAFETY: the caller gave this memory for it; all-zero words are valid atomics.
        unsafe { core::ptr::write_bytes(memory, 0, count as usize * 8) };
        *slot = Some(Bank { first: start / PAGE_SIZE, count, table: memory as *const AtomicU64 });
        at += count * 8;
    }
    BANKS_FOUND.set((found, banks.len()));
}

fn entry(frame: Mfn) -> Option<&'static AtomicU64> {
    let (banks, count) = BANKS_FOUND.get()?;
    let bank = banks[..*count].iter().flatten().find(|bank| frame.0.wrapping_sub(bank.first) < bank.count)?;
    // SAFETY: the index was just checked, and the table lives for ever.
    Some(unsafe { &*bank.table.add((frame.0 - bank.first) as usize) })
}

/// Whether a frame is memory at all.
pub fn is_memory(frame: Mfn) -> bool {
    entry(frame).is_some()
}

/// Returns the pieces of memory, as start and end.
pub fn banks() -> impl Iterator<Item = (u64, u64)> {
    let banks = BANKS_FOUND.get().map_or(&[][..], |(banks, count)| &banks[..*count]);
    banks.iter().flatten().map(|bank| (bank.first * PAGE_SIZE, (bank.first + bank.count) * PAGE_SIZE))
}

/// Returns one more than the last frame of memory.
pub fn end() -> Mfn {
    let (banks, count) = BANKS_FOUND.get().expect("memory is not started");
    Mfn(banks[..*count].iter().flatten().map(|bank| bank.first + bank.count).max().unwrap_or(0))
}

/// Returns how many frames of memory there are, and how many are free.
pub fn counts() -> (u64, u64) {
    let (banks, count) = BANKS_FOUND.get().expect("memory is not started");
    (banks[..*count].iter().flatten().map(|bank| bank.count).sum(), FREE.lock().free)
}

impl Lists {
    /// Links are two addresses, next and previous, at the start of the block.
    fn links(&mut self, address: u64) -> &mut [u64; 2] {
        // SAFETY: `address` is a free block's, which is mapped memory that only the lists use, and they are locked.
        unsafe { &mut *(arch::pointer(address) as *mut [u64; 2]) }
    }

    fn push(&mut self, frame: u64, order: u32) {
        let (address, head) = (frame * PAGE_SIZE, self.heads[order as usize]);
        *self.links(address) = [head, 0];
        if head != 0 {
            self.links(head)[1] = address;
        }
        self.heads[order as usize] = address;
        self.set(frame, word(NOBODY, State::Free, order, 0));
        self.free += 1 << order;
    }

    fn unlink(&mut self, frame: u64, order: u32) {
        let [next, previous] = *self.links(frame * PAGE_SIZE);
        if previous == 0 {
            self.heads[order as usize] = next;
        } else {
            self.links(previous)[0] = next;
        }
        if next != 0 {
            self.links(next)[1] = previous;
        }
        self.set(frame, 0);
        self.free -= 1 << order;
    }

    fn set(&self, frame: u64, value: u64) {
        entry(Mfn(frame)).expect("a frame of memory").store(value, Release);
    }

    fn is_free(&self, frame: u64, order: u32) -> bool {
        entry(Mfn(frame)).is_some_and(|entry| entry.load(Acquire) == word(NOBODY, State::Free, order, 0))
    }

    /// Gives back a block, joined with its neighbours.
    fn free_block(&mut self, mut frame: u64, mut order: u32) {
        while order < ORDER_MAX && self.is_free(frame ^ 1 << order, order) {
            self.unlink(frame ^ 1 << order, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.push(frame, order);
    }

    fn free_range(&mut self, mut frame: u64, end: u64) {
        while frame < end {
            let order = frame.trailing_zeros().min((end - frame).ilog2()).min(ORDER_MAX);
            self.free_block(frame, order);
            frame += 1 << order;
        }
    }

    fn take(&mut self, order: u32) -> Option<u64> {
        let found = (order..=ORDER_MAX).find(|&order| self.heads[order as usize] != 0)?;
        let frame = self.heads[found as usize] / PAGE_SIZE;
        self.unlink(frame, found);
        (order..found).for_each(|half| self.push(frame + (1 << half), half));
        Some(frame)
    }
}

/// Makes memory from `start` to `end` (addresses of whole pages) free.
pub fn add(start: u64, end: u64) {
    let first = (start / PAGE_SIZE).max(1);
    FREE.lock().free_range(first, end / PAGE_SIZE);
}

/// Allocates 2^order frames for the hypervisor, with whatever they hold, also of those that are kept for it.
pub fn allocate(order: u32) -> Option<Mfn> {
    take(order, NOBODY, State::Hypervisor, 0)
}

/// Allocates 2^order frames for the hypervisor, with whatever they hold, for something that a guest may be denied.
pub fn allocate_spare(order: u32) -> Option<Mfn> {
    take(order, NOBODY, State::Hypervisor, RESERVE)
}

/// Allocates a frame of the hypervisor's that is all zeroes, for something that a guest may be denied.
pub fn allocate_zeroed() -> Option<Mfn> {
    let frame = allocate_spare(0)?;
    zero(frame);
    Some(frame)
}

/// Allocates 2^order frames for `owner`, each with one reference; a domain's are all zeroes before they are its own: a copy that began
/// when it had them once may find them the moment they are.
pub fn allocate_as(order: u32, owner: u16, state: State) -> Option<Mfn> {
    take(order, owner, state, RESERVE)
}

/// Takes 2^order frames, unless fewer than `kept` were left.
fn take(order: u32, owner: u16, state: State, kept: u64) -> Option<Mfn> {
    let mut lists = FREE.lock();
    if order > ORDER_MAX || lists.free < kept + (1 << order) {
        return None;
    }
    let frame = lists.take(order)?;
    drop(lists);
    if owner != NOBODY {
        (frame..frame + (1 << order)).for_each(|frame| zero(Mfn(frame)));
    }
    each_entry(Mfn(frame), Mfn(frame + (1 << order)), |entry| entry.store(word(owner, state, 0, 1), Release));
    Some(Mfn(frame))
}

/// Gives back 2^order frames of the hypervisor's.
pub fn free(frame: Mfn, order: u32) {
    let mut lists = FREE.lock();
    for frame in frame.0..frame.0 + (1 << order) {
        debug_assert!(
            entry(Mfn(frame)).is_some_and(|entry| state(entry.load(Relaxed)) != State::Free as u8),
            "freed twice"
        );
        lists.set(frame, 0);
    }
    lists.free_block(frame.0, order);
}

/// Gives `owner` exactly the frames from `start` to `end`: those that are free, and those in pieces that are free to take, of which
/// `also` says for a frame where its piece ends. Returns whether all were, and changes nothing if not.
pub fn claim(start: Mfn, end: Mfn, owner: u16, also: impl Fn(Mfn) -> Option<Mfn>) -> bool {
    let mut lists = FREE.lock();
    let block = |lists: &Lists, frame: u64| {
        (0..=ORDER_MAX).map(|order| (frame >> order << order, order)).find(|&(head, order)| lists.is_free(head, order))
    };
    let mut frame = start.0;
    while frame < end.0 {
        match (also(Mfn(frame)), block(&lists, frame)) {
            (Some(next), _) if is_memory(Mfn(frame)) => frame = next.0.max(frame + 1),
            (_, Some((head, order))) => frame = head + (1 << order),
            _ => return false,
        }
    }
    let mut frame = start.0;
    while frame < end.0 {
        if let Some(next) = also(Mfn(frame)) {
            frame = next.0.max(frame + 1);
        } else if let Some((head, order)) = block(&lists, frame) {
            let next = head + (1 << order);
            lists.unlink(head, order);
            lists.free_range(head, head.max(start.0));
            lists.free_range(next.min(end.0), next);
            frame = next;
        } else {
            unreachable!("frame {frame:#x} was free before, and the lists are locked");
        }
    }
    each_entry(start, end, |entry| entry.store(word(owner, State::Domain, 0, 1), Release));
    true
}

/// Acts on the words of the frames from `start` to `end`.
fn each_entry(start: Mfn, end: Mfn, act: impl Fn(&AtomicU64)) {
    let Some((banks, count)) = BANKS_FOUND.get() else { return };
    for bank in banks[..*count].iter().flatten() {
        let (low, high) = (start.0.max(bank.first), end.0.min(bank.first + bank.count));
        for frame in low..high {
            // SAFETY: inside the bank, so inside its table, which lives for ever.
            act(unsafe { &*bank.table.add((frame - bank.first) as usize) });
        }
    }
}

/// A frame is not what was asked for, or has too many references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Takes a reference to a frame that belongs to `domain`, so that it stays there.
///
/// # Errors
/// [`Refused`].
pub fn get(frame: Mfn, domain: u16) -> Result<(), Refused> {
    let lent = |word| state(word) == State::Domain as u8 || state(word) == State::Lent as u8;
    count::get(entry(frame).ok_or(Refused)?, |word| owner(word) == domain && lent(word))
}

/// Takes a reference to a frame of `domain` that is its memory, not lent to it.
///
/// # Errors
/// [`Refused`].
pub fn get_memory(frame: Mfn, domain: u16) -> Result<(), Refused> {
    count::get(entry(frame).ok_or(Refused)?, |word| owner(word) == domain && state(word) == State::Domain as u8)
}

/// Returns whose memory a frame is.
pub fn owner_of(frame: Mfn) -> Option<(u16, State)> {
    let word = entry(frame)?.load(Acquire);
    match state(word) {
        state if state == State::Domain as u8 => Some((owner(word), State::Domain)),
        state if state == State::Lent as u8 => Some((owner(word), State::Lent)),
        _ => None,
    }
}

/// Gives a reference back; the last one frees the frame.
pub fn put(frame: Mfn) {
    match count::put(entry(frame).expect("a frame of memory")) {
        Ok(0) => free(frame, 0),
        Ok(_) => {}
        Err(Refused) => panic!("reference given back twice: frame {:#x}", frame.0),
    }
}

/// Fills a frame with zeroes. It must be the hypervisor's to write.
pub fn zero(frame: Mfn) {
    assert!(is_memory(frame), "frame {:#x} is no memory", frame.0);
    // SAFETY: whole page of mapped memory; only frames that are not yet used are zeroed.
    unsafe { core::ptr::write_bytes(arch::pointer(frame.address()), 0, PAGE_SIZE as usize) };
}

/// Reads a word of a translation table.
pub fn read_entry(table: Mfn, index: usize) -> u64 {
    table_word(table, index).load(Relaxed)
}

/// Writes a word of a translation table, which the MMU sees whole.
pub fn write_entry(table: Mfn, index: usize, value: u64) {
    let word = table_word(table, index);
    arch::stage2::wrote(table.address() + index as u64 * 8, word.load(Relaxed), value);
    word.store(value, Release);
}

/// Tables of the root may be several frames in a row.
fn table_word(table: Mfn, index: usize) -> &'static AtomicU64 {
    let frame = Mfn(table.0 + index as u64 / 512);
    assert!(is_memory(frame), "table {:#x} is no memory", table.0);
    // SAFETY: a word of mapped memory, aligned; tables are only ever seen through here, and by the MMU.
    unsafe { &*(arch::pointer(frame.address()) as *const AtomicU64).add(index % 512) }
}

/// Copies bytes into memory that is the caller's to fill: a domain that does not run yet.
pub fn fill(address: u64, bytes: &[u8]) {
    let end = address + bytes.len() as u64;
    assert!(is_memory(Mfn::of(address)) && is_memory(Mfn::of(end.max(1) - 1)), "{address:#x} is no memory");
    // SAFETY: mapped memory; the caller owns it, and `bytes` is no part of it.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), arch::pointer(address), bytes.len()) };
}

/// Lets `act` write memory that is the caller's, and that nobody else uses while the machine boots.
pub fn with_bytes<R>(address: u64, size: u64, act: impl FnOnce(&mut [u8]) -> R) -> R {
    let last = address.saturating_add(size.max(1) - 1);
    assert!(is_memory(Mfn::of(address)) && is_memory(Mfn::of(last)), "{address:#x} is no memory");
    // SAFETY: mapped memory, of which any bytes are valid; the caller owns it, and sees it through `act` alone.
    act(unsafe { core::slice::from_raw_parts_mut(arch::pointer(address), size as usize) })
}

/// Moves what the loader left at `from`, which is mapped wherever it is, to memory of the caller's; the ranges may overlap.
pub fn relocate(from: u64, to: u64, size: u64) {
    assert!(is_memory(Mfn::of(to)) && is_memory(Mfn::of(to + size.max(1) - 1)), "{to:#x} is no memory");
    // SAFETY: mapped memory that nobody else uses while the machine boots.
    unsafe { core::ptr::copy(arch::pointer(from), arch::pointer(to), size as usize) };
}

/// Returns bytes of memory that nobody changes while the machine boots: the device tree, a module.
pub fn view(address: u64, size: u64) -> &'static [u8] {
    // SAFETY: the boot protocol gives these bytes to the hypervisor; it reads them before any guest runs.
    unsafe { core::slice::from_raw_parts(arch::pointer(address), size as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::start_memory;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn references_keep_a_frame() {
        start_memory();
        let frame = allocate_as(0, 5, State::Domain).unwrap();
        assert_eq!(owner_of(frame), Some((5, State::Domain)));
        assert_eq!(get(frame, 6), Err(Refused));
        get(frame, 5).unwrap();
        put(frame);
        assert_eq!(owner_of(frame), Some((5, State::Domain)));
        put(frame);
        assert_eq!(owner_of(frame), None);
        assert_eq!(get(frame, 5), Err(Refused));
    }

    #[test]
    fn what_was_anothers_is_clear_before_it_is_a_domains() {
        start_memory();
        for _ in 0..32 {
            let theirs = allocate_as(0, 6, State::Domain).unwrap();
            fill(theirs.address(), &[0xa5; 4096]);
            put(theirs);
            // The same one, unless another test was faster.
            let own = allocate_as(0, 7, State::Domain).unwrap();
            assert!((0..512).all(|index| read_entry(own, index) == 0));
            put(own);
        }
    }

    #[test]
    fn what_is_lent_is_no_memory() {
        start_memory();
        let frame = allocate_as(0, 5, State::Lent).unwrap();
        assert_eq!(get_memory(frame, 5), Err(Refused));
        get(frame, 5).unwrap();
        put(frame);
        put(frame);
    }

    #[test]
    fn outside_is_nobodys() {
        start_memory();
        assert!(!is_memory(Mfn(0)) && is_memory(Mfn::of(arch::MEMORY)));
        assert_eq!(get(Mfn(u64::MAX), 0), Err(Refused));
        assert_eq!(owner_of(Mfn(1 << 40)), None);
    }

    #[test]
    fn a_piece_is_claimed_whole_or_not_at_all() {
        start_memory();
        let block = allocate(6).unwrap();
        let (start, end) = (Mfn(block.0 + 3), Mfn(block.0 + 37));
        assert!(!claim(start, end, 9, |_| None), "in use");
        free(block, 6);
        // Other tests may take some of it meanwhile; then all of it stays theirs.
        if claim(start, end, 9, |_| None) {
            assert!((start.0..end.0).all(|frame| owner_of(Mfn(frame)) == Some((9, State::Domain))));
            (start.0..end.0).for_each(|frame| put(Mfn(frame)));
        }
    }

    #[test]
    fn several_cpus_share_references() {
        start_memory();
        let frame = allocate_as(0, 7, State::Domain).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        get(frame, 7).unwrap();
                        put(frame);
                    }
                });
            }
        });
        put(frame);
        assert_eq!(owner_of(frame), None);
    }

    proptest! {
        #[test]
        fn blocks_never_overlap(orders in proptest::collection::vec(0u32..7, 1..60)) {
            start_memory();
            let mut held: Vec<(u64, u32)> = Vec::new();
            for (step, order) in orders.into_iter().enumerate() {
                let frame = allocate(order).unwrap();
                prop_assert!(frame.0.is_multiple_of(1 << order));
                for &(other, size) in &held {
                    prop_assert!(frame.0 + (1 << order) <= other || other + (1 << size) <= frame.0);
                }
                held.push((frame.0, order));
                if step % 3 == 2 {
                    let (frame, order) = held.swap_remove(step % held.len());
                    free(Mfn(frame), order);
                }
            }
            held.into_iter().for_each(|(frame, order)| free(Mfn(frame), order));
        }
    }
}
