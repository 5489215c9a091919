//! A guest's physical memory: which of its frames is which of the machine's, in the tables that the MMU walks (stage 2).
//!
//! Pages of 4 KiB and blocks of 2 MiB and 1 GiB; blocks are split when part of them changes. An entry that was valid is made invalid,
//! and forgotten by every CPU, before another takes its place (break before make, DDI 0487, D8.13).

use super::vmid::VMIDS;
use super::{Gfn, Mfn, frames};
use crate::arch::{PAGE_SIZE, stage2};

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 2;
const ADDRESS: u64 = 0xffff_ffff_f000;
const ACCESSED: u64 = 1 << 10;
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const OUTER_SHAREABLE: u64 = 2 << 8;
const WRITE_BACK: u64 = 0b1111 << 2;
const DEVICE: u64 = 0b0001 << 2;
const EXECUTE_NEVER: u64 = 1 << 54;
/// Bits that the MMU leaves to software hold the kind.
const KIND_SHIFT: u32 = 55;

/// What a guest's frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Its own memory.
    Memory = 1,
    /// Its own memory, not to be written.
    MemoryReadOnly = 2,
    /// A device's registers; the guest's own tables choose the type of memory.
    Device = 3,
    /// A device's registers, never cached.
    DeviceUncached = 4,
    /// The hypervisor's memory, lent.
    Lent = 5,
    /// Another domain's memory.
    Foreign = 6,
    /// Another domain's memory, not to be written.
    ForeignReadOnly = 7,
    /// Granted by a domain.
    Grant = 8,
    /// Granted by a domain, not to be written.
    GrantReadOnly = 9,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Memory,
        Kind::MemoryReadOnly,
        Kind::Device,
        Kind::DeviceUncached,
        Kind::Lent,
        Kind::Foreign,
        Kind::ForeignReadOnly,
        Kind::Grant,
        Kind::GrantReadOnly,
    ];

    /// Returns the descriptor's bits but for address and size.
    fn attributes(self) -> u64 {
        let base = VALID | ACCESSED | READ | (self as u64) << KIND_SHIFT;
        let normal = WRITE_BACK | INNER_SHAREABLE;
        base | match self {
            Kind::Memory => normal | WRITE,
            Kind::MemoryReadOnly => normal,
            Kind::Device => WRITE_BACK | OUTER_SHAREABLE | WRITE | EXECUTE_NEVER,
            Kind::DeviceUncached => DEVICE | OUTER_SHAREABLE | WRITE | EXECUTE_NEVER,
            Kind::Lent | Kind::Foreign | Kind::Grant => normal | WRITE | EXECUTE_NEVER,
            Kind::ForeignReadOnly | Kind::GrantReadOnly => normal | EXECUTE_NEVER,
        }
    }

    /// Whether it is the guest's own memory.
    pub fn is_memory(self) -> bool {
        matches!(self, Kind::Memory | Kind::MemoryReadOnly)
    }

    /// Whether a translation of this kind holds a reference of the frame, which is another domain's. A grant's does besides that of its
    /// handle: a guest may give the handle back and leave the translation where it is.
    pub fn holds(self) -> bool {
        matches!(self, Kind::Foreign | Kind::ForeignReadOnly | Kind::Grant | Kind::GrantReadOnly)
    }

    fn of(descriptor: u64) -> Kind {
        Kind::ALL[((descriptor >> KIND_SHIFT & 15) as usize).clamp(1, 9) - 1]
    }
}

/// There is no memory for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

/// The physical memory of one guest.
#[derive(Debug)]
pub struct P2m {
    root: Mfn,
    /// The level at which a walk starts, 0 or 1.
    start: u32,
    bits: u32,
    vttbr: u64,
    /// Tables below the root.
    tables: u64,
    /// How many there may be.
    tables_max: u64,
}

/// Returns how many tables a guest may cause: as many as Xen's tools set aside for one, 1 MiB for a vCPU, 4 KiB for each of its MiB, and
/// 512 KiB. A guest whose memory is in single pages needs half a table for a MiB.
pub fn tables_for(vcpus: usize, pages: u64) -> u64 {
    256 * vcpus as u64 + pages / 256 + 128
}

/// Returns the level at which a walk of addresses of `bits` starts: up to 16 tables of level 1 stand side by side (DDI 0487, D8.2).
pub fn start_level(bits: u32) -> u32 {
    if bits <= 43 { 1 } else { 0 }
}

fn span(level: u32) -> u64 {
    1 << (27 - 9 * level)
}

/// Changes in progress.
struct Change<'a> {
    p2m: &'a mut P2m,
    gfn: u64,
    end: u64,
    /// The first frame's new meaning, or nothing.
    target: Option<(u64, Kind)>,
}

impl P2m {
    /// Returns an empty memory with addresses of `bits`, for the guest with identifier `vmid`, which is free again when this is dropped.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn new(bits: u32, vmid: u8) -> Result<P2m, NoMemory> {
        let start = start_level(bits);
        let order = bits.saturating_sub(12 + 9 * (4 - start));
        let root = frames::allocate_spare(order).ok_or(NoMemory)?;
        stage2::began(root.address() | u64::from(vmid) << 48, start, order);
        (0..1 << order).for_each(|index| frames::zero(Mfn(root.0 + index)));
        Ok(P2m { root, start, bits, vttbr: root.address() | u64::from(vmid) << 48, tables: 0, tables_max: u64::MAX })
    }

    /// Lets there be `more` tables than there are now, and no others: what a guest maps here and there costs memory that is not its own.
    pub fn limit(&mut self, more: u64) {
        self.tables_max = self.tables.saturating_add(more);
    }

    /// Returns VTTBR_EL2.
    pub fn vttbr(&self) -> u64 {
        self.vttbr
    }

    /// Returns how many bits an address has.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Whether there is such a frame number.
    pub fn is_valid(&self, gfn: Gfn) -> bool {
        gfn.0 < 1 << (self.bits - 12)
    }

    /// Makes `count` frames from `gfn` mean those from `mfn`, whatever they meant.
    ///
    /// # Errors
    /// [`NoMemory`]; then some of the frames may have changed.
    pub fn set(&mut self, gfn: Gfn, mfn: Mfn, count: u64, kind: Kind) -> Result<(), NoMemory> {
        self.change(gfn, count, Some((mfn.0, kind)))
    }

    /// Makes `count` frames from `gfn` mean nothing.
    ///
    /// # Errors
    /// [`NoMemory`] if a block could not be split.
    pub fn clear(&mut self, gfn: Gfn, count: u64) -> Result<(), NoMemory> {
        self.change(gfn, count, None)
    }

    /// Returns what a frame means.
    pub fn get(&self, gfn: Gfn) -> Option<(Mfn, Kind)> {
        if !self.is_valid(gfn) {
            return None;
        }
        let mut table = self.root;
        for level in self.start..=3 {
            let index = if level == self.start { gfn.0 / span(level) } else { gfn.0 / span(level) % 512 };
            let entry = frames::read_entry(table, index as usize);
            if entry & VALID == 0 {
                return None;
            }
            if level == 3 || entry & TABLE_OR_PAGE == 0 {
                let first = (entry & ADDRESS) / PAGE_SIZE;
                return Some((Mfn(first + gfn.0 % span(level)), Kind::of(entry)));
            }
            table = Mfn::of(entry & ADDRESS);
        }
        None
    }

    /// Returns the last frame that means something.
    pub fn last(&self) -> Option<Gfn> {
        let order = self.bits.saturating_sub(12 + 9 * (4 - self.start));
        last(self.root, self.start, 0, 512 << order)
    }

    fn change(&mut self, gfn: Gfn, count: u64, target: Option<(u64, Kind)>) -> Result<(), NoMemory> {
        let end = gfn.0.saturating_add(count);
        assert!(end <= 1 << (self.bits - 12), "frames beyond the guest's addresses");
        let (root, start) = (self.root, self.start);
        let result = Change { p2m: self, gfn: gfn.0, end, target }.table(root, start, 0, true);
        stage2::publish();
        result
    }
}

impl Change<'_> {
    /// Changes the part of the range that lies in `table`, whose first frame is `base`.
    fn table(&mut self, table: Mfn, level: u32, base: u64, root: bool) -> Result<(), NoMemory> {
        let span = span(level);
        let limit = if root { u64::MAX } else { base + 512 * span };
        while self.gfn < self.end && self.gfn < limit {
            let index = ((self.gfn - base) / span) as usize;
            let first = base + index as u64 * span;
            let whole = self.gfn == first && self.end - first >= span;
            let fits = whole && level >= 1 && self.target.is_none_or(|(mfn, _)| mfn % span == 0);
            let entry = frames::read_entry(table, index);
            if fits {
                self.replace(table, index, level, entry);
                self.advance(span);
            } else if self.target.is_none() && entry & VALID == 0 {
                self.advance((first + span - self.gfn).min(self.end - self.gfn));
            } else {
                let next = self.descend(table, index, level, entry, first)?;
                let result = self.table(next, level + 1, first, false);
                let last = (self.gfn.saturating_sub(first + 1) / (span / 512)).min(511) as usize;
                if (self.target.is_none() || result.is_err()) && is_empty(next, last) {
                    self.give_up(table, index, next);
                }
                result?;
            }
        }
        Ok(())
    }

    fn advance(&mut self, frames: u64) {
        self.gfn += frames;
        if let Some((mfn, _)) = &mut self.target {
            *mfn += frames;
        }
    }

    /// Puts the new meaning into an entry.
    fn replace(&mut self, table: Mfn, index: usize, level: u32, old: u64) {
        let page = if level == 3 { TABLE_OR_PAGE } else { 0 };
        let new = self.target.map_or(0, |(mfn, kind)| (mfn * PAGE_SIZE) | kind.attributes() | page);
        if old == new {
            return;
        }
        if old & VALID != 0 {
            frames::write_entry(table, index, 0);
            if level < 3 {
                stage2::invalidate_all(self.p2m.vttbr);
            } else {
                stage2::invalidate(self.p2m.vttbr, self.gfn * PAGE_SIZE);
            }
            if level < 3 && old & TABLE_OR_PAGE != 0 {
                self.p2m.tables -= free_tables(Mfn::of(old & ADDRESS), level + 1);
            }
        }
        frames::write_entry(table, index, new);
    }

    /// Returns the table below an entry; makes one of what is not there, or splits a block.
    fn descend(&mut self, table: Mfn, index: usize, level: u32, old: u64, first: u64) -> Result<Mfn, NoMemory> {
        if old & VALID != 0 && old & TABLE_OR_PAGE != 0 {
            return Ok(Mfn::of(old & ADDRESS));
        }
        if self.p2m.tables >= self.p2m.tables_max {
            return Err(NoMemory);
        }
        let new = frames::allocate_zeroed().ok_or(NoMemory)?;
        self.p2m.tables += 1;
        if old & VALID != 0 {
            let (address, attributes) = (old & ADDRESS, old & !ADDRESS);
            let page = if level + 1 == 3 { TABLE_OR_PAGE } else { 0 };
            let size = span(level + 1) * PAGE_SIZE;
            for part in 0..512 {
                frames::write_entry(new, part, (address + part as u64 * size) | attributes | page);
            }
            frames::write_entry(table, index, 0);
            stage2::invalidate(self.p2m.vttbr, first * PAGE_SIZE);
        }
        stage2::publish();
        frames::write_entry(table, index, new.address() | VALID | TABLE_OR_PAGE);
        Ok(new)
    }

    /// Gives back a table in which nothing is left.
    fn give_up(&mut self, above: Mfn, index: usize, table: Mfn) {
        frames::write_entry(above, index, 0);
        stage2::invalidate_all(self.p2m.vttbr);
        frames::free(table, 0);
        self.p2m.tables -= 1;
    }
}

/// Whether nothing is in a table, of which the entry at `near` was changed last: what is left is mostly beside it.
fn is_empty(table: Mfn, near: usize) -> bool {
    (511..1023).all(|ahead| frames::read_entry(table, (near + ahead) % 512) & VALID == 0)
}

fn last(table: Mfn, level: u32, base: u64, entries: usize) -> Option<Gfn> {
    (0..entries).rev().find_map(|index| {
        let (entry, first) = (frames::read_entry(table, index), base + index as u64 * span(level));
        if entry & VALID == 0 {
            None
        } else if level < 3 && entry & TABLE_OR_PAGE != 0 {
            last(Mfn::of(entry & ADDRESS), level + 1, first, 512)
        } else {
            Some(Gfn(first + span(level) - 1))
        }
    })
}

/// Gives back a table and all below it; returns how many those were.
fn free_tables(table: Mfn, level: u32) -> u64 {
    let mut count = 1;
    if level < 3 {
        for index in 0..512 {
            let entry = frames::read_entry(table, index);
            if entry & VALID != 0 && entry & TABLE_OR_PAGE != 0 {
                count += free_tables(Mfn::of(entry & ADDRESS), level + 1);
            }
        }
    }
    frames::free(table, 0);
    count
}

/// Gives back what the translations in a table hold of other domains.
fn release(table: Mfn, level: u32, entries: usize) {
    for index in 0..entries {
        let entry = frames::read_entry(table, index);
        if entry & VALID == 0 {
            continue;
        }
        if level < 3 && entry & TABLE_OR_PAGE != 0 {
            release(Mfn::of(entry & ADDRESS), level + 1, 512);
        } else if Kind::of(entry).holds() {
            let first = Mfn::of(entry & ADDRESS).0;
            (first..first + span(level)).map(Mfn).for_each(frames::put);
        }
    }
}

impl Drop for P2m {
    /// Frees the tables, and gives back the frames of other domains that were mapped. The domain's own are not counted here.
    fn drop(&mut self) {
        // Nobody runs with it any more; what is cached of it goes before its identifier, or a frame, is used again.
        stage2::invalidate_all(self.vttbr);
        VMIDS.give((self.vttbr >> 48) as u8);
        let order = self.bits.saturating_sub(12 + 9 * (4 - self.start));
        release(self.root, self.start, 512 << order);
        for index in 0..512usize << order {
            let entry = frames::read_entry(self.root, index);
            if entry & VALID != 0 && entry & TABLE_OR_PAGE != 0 {
                free_tables(Mfn::of(entry & ADDRESS), self.start + 1);
            }
        }
        frames::free(self.root, order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::rules::{self, Broken};
    use crate::arch::{Event, start_memory, take_record};
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn judge(record: &[Event]) -> Result<(), Broken> {
        rules::judge(record, |_| false)
    }

    /// Returns what is done to tables while pieces of all sizes are mapped, split, replaced and taken away.
    fn long_record() -> (u64, Vec<Vec<Event>>) {
        start_memory();
        let mut p2m = P2m::new(40, 1).unwrap();
        take_record();
        let mut records = Vec::new();
        for (gfn, mfn, count) in [
            (0, 1 << 18, 1 << 18),
            (1000, 7, 1),
            (512, 512, 512),
            (1 << 18, 0, 600),
            (0, 0, 1 << 18),
            (0, 1 << 19, 1 << 18),
        ] {
            p2m.set(Gfn(gfn), Mfn(mfn), count, Kind::Memory).unwrap();
            records.push(take_record());
            p2m.clear(Gfn(gfn + count / 2), 1).unwrap();
            records.push(take_record());
        }
        (p2m.vttbr(), records)
    }

    #[test]
    fn every_step_is_needed() {
        // A step that is left out, is less than it was, or comes after the next one, breaks a rule.
        let mut noticed = Vec::new();
        let (vttbr, records) = long_record();
        for record in records {
            assert_eq!(judge(&record), Ok(()));
            let steps = |index: &usize| !matches!(record[*index], Event::Descriptor(..));
            for index in (0..record.len()).filter(steps) {
                let without = [&record[..index], &record[index + 1..]].concat();
                let result = judge(&without);
                let before = record[..index].iter().rfind(|event| !matches!(event, Event::Isb | Event::Vttbr(..)));
                let needed = match record[index] {
                    // Before an invalidation VTTBR_EL2 must hold; what was done must at the end.
                    Event::Isb => match record[index - 1] {
                        Event::Vttbr(_, guest) => guest == vttbr,
                        _ => index + 1 == record.len(),
                    },
                    // An invalidation just before it makes stores visible as well.
                    Event::DsbIshst if before.is_none() => record.len() > 2,
                    Event::DsbIshst => matches!(before, Some(Event::Descriptor(..))),
                    _ => true,
                };
                assert!(result.is_err() || !needed, "{:?} at {index} of {} is not missed", record[index], record.len());
                noticed.extend(result.err());
            }
            for index in 1..record.len() {
                let mut mutant = record.clone();
                match record[index] {
                    Event::TlbiIpas2e1is(page) => mutant[index] = Event::TlbiIpas2e1is(page ^ 1 << 38),
                    Event::TlbiVmalls12e1is => mutant[index] = Event::TlbiIpas2e1is(0),
                    Event::DsbIsh => mutant.swap(index, index - 1),
                    _ => continue,
                }
                let result = judge(&mutant);
                assert!(result.is_err(), "{:?} at {index} of {} may be weaker", record[index], record.len());
                noticed.extend(result.err());
            }
        }
        for rule in [
            Broken::Hasty,
            Broken::Unfilled,
            Broken::Remembered,
            Broken::Invisible,
            Broken::Unsynchronised,
            Broken::Elsewhere,
        ] {
            assert!(noticed.contains(&rule), "{rule:?} is broken by no mutant");
        }
    }

    #[test]
    fn large_pieces_are_blocks() {
        start_memory();
        let mut p2m = P2m::new(40, 1).unwrap();
        let (free, gib) = (frames::counts().1, 1 << 18);
        p2m.set(Gfn(gib), Mfn(gib), 2 * gib, Kind::Device).unwrap();
        // Other tests allocate too, but not hundreds of tables.
        assert!(free.abs_diff(frames::counts().1) < 512);
        assert_eq!(p2m.get(Gfn(gib + 12345)), Some((Mfn(gib + 12345), Kind::Device)));
        assert_eq!(p2m.get(Gfn(3 * gib)), None);
        assert_eq!(p2m.last(), Some(Gfn(3 * gib - 1)));
    }

    #[test]
    fn a_hole_splits_what_is_around_it() {
        start_memory();
        let mut p2m = P2m::new(44, 1).unwrap();
        p2m.set(Gfn(0), Mfn(1 << 18), 1 << 18, Kind::Memory).unwrap();
        take_record();
        p2m.clear(Gfn(1000), 1).unwrap();
        judge(&take_record()).unwrap();
        assert_eq!(p2m.get(Gfn(1000)), None);
        assert_eq!(p2m.get(Gfn(999)), Some((Mfn((1 << 18) + 999), Kind::Memory)));
        assert_eq!(p2m.get(Gfn((1 << 18) - 1)), Some((Mfn((1 << 19) - 1), Kind::Memory)));
    }

    #[test]
    fn a_guest_causes_so_many_tables_and_gives_them_back() {
        start_memory();
        let mut p2m = P2m::new(40, 1).unwrap();
        let block = |index: u64| Gfn((1 << 20) + index * 512);
        p2m.set(Gfn(0), Mfn(1 << 18), 1 << 18, Kind::Memory).unwrap();
        // Of level 2 there is one, so there can be two of level 3.
        p2m.limit(3);
        take_record();
        for _ in 0..3 {
            for (index, there) in [(0, true), (1, true), (2, false), (3, false)] {
                assert_eq!(p2m.set(block(index), Mfn(7), 1, Kind::Device).is_ok(), there, "block {index}");
                assert_eq!(p2m.get(block(index)).is_some(), there);
            }
            assert_eq!(p2m.clear(Gfn(1000), 1), Err(NoMemory), "a block could not be split");
            p2m.clear(block(0), 1).unwrap();
            p2m.clear(block(1), 512).unwrap();
        }
        assert_eq!((p2m.tables, judge(&take_record())), (0, Ok(())));
        p2m.clear(Gfn(1000), 1).unwrap();
        assert_eq!((p2m.tables, judge(&take_record())), (2, Ok(())));
        p2m.clear(Gfn(0), 1 << 18).unwrap();
        assert_eq!((p2m.tables, judge(&take_record())), (0, Ok(())));
    }

    #[test]
    fn every_kind_is_read_back() {
        start_memory();
        let mut p2m = P2m::new(40, 1).unwrap();
        for kind in Kind::ALL {
            p2m.set(Gfn(5), Mfn(7), 1, kind).unwrap();
            assert_eq!(p2m.get(Gfn(5)), Some((Mfn(7), kind)));
        }
        // It holds no reference, as one that is mapped for a guest does.
        p2m.clear(Gfn(5), 1).unwrap();
    }

    #[test]
    fn what_was_mapped_of_others_is_given_back_with_the_tables() {
        start_memory();
        let theirs: Vec<Mfn> = (0..4).map(|_| frames::allocate_as(0, 55, frames::State::Domain).unwrap()).collect();
        let own = frames::allocate_as(0, 56, frames::State::Domain).unwrap();
        let mut p2m = P2m::new(40, 1).unwrap();
        let kinds = [Kind::Foreign, Kind::ForeignReadOnly, Kind::Grant, Kind::GrantReadOnly];
        for (index, (&mfn, kind)) in theirs.iter().zip(kinds).enumerate() {
            frames::get(mfn, 55).unwrap();
            p2m.set(Gfn(index as u64 * 0x4_0000 + 7), mfn, 1, kind).unwrap();
            // Its owner goes first.
            frames::put(mfn);
            assert_eq!(frames::owner_of(mfn), Some((55, frames::State::Domain)), "kept by the translation");
        }
        p2m.set(Gfn(9), own, 1, Kind::Memory).unwrap();
        p2m.set(Gfn(1 << 20), Mfn(1 << 18), 1 << 18, Kind::Device).unwrap();
        drop(p2m);
        assert!(theirs.iter().all(|&mfn| frames::owner_of(mfn).is_none_or(|(owner, _)| owner != 55)));
        assert_eq!(frames::owner_of(own), Some((56, frames::State::Domain)), "its own are counted elsewhere");
        frames::put(own);
    }

    #[test]
    fn addresses_beyond_mean_nothing() {
        start_memory();
        let p2m = P2m::new(40, 1).unwrap();
        assert_eq!(p2m.get(Gfn(1 << 28)), None);
        assert_eq!(p2m.get(Gfn(u64::MAX)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((any::<bool>(), 0u64..3000, 0u64..2000, 0u64..5), 1..25)) {
            start_memory();
            let mut p2m = P2m::new(40, 1).unwrap();
            let mut naive = BTreeMap::new();
            take_record();
            for (set, gfn, count, shift) in steps {
                if set {
                    let mfn = gfn + shift * 512;
                    p2m.set(Gfn(gfn), Mfn(mfn), count, Kind::Memory).unwrap();
                    (0..count).for_each(|index| { naive.insert(gfn + index, mfn + index); });
                } else {
                    p2m.clear(Gfn(gfn), count).unwrap();
                    (gfn..gfn + count).for_each(|gfn| { naive.remove(&gfn); });
                }
                prop_assert_eq!(judge(&take_record()), Ok(()));
            }
            for gfn in 0..5200 {
                prop_assert_eq!(p2m.get(Gfn(gfn)).map(|(mfn, _)| mfn.0), naive.get(&gfn).copied());
            }
            prop_assert_eq!(p2m.last().map(|gfn| gfn.0), naive.last_key_value().map(|(&gfn, _)| gfn));
        }
    }
}
