//! What hardware may punish and emulators forgive: the Arm manual's rules for live translation tables, for memory that a guest is to
//! find with its caches off, and for code, held against a record of what was done (DDI 0487, D8.14 to D8.16, B2.3, and B2.7).
//!
//! Between two steps anything can be cached: a walk may begin at every moment, and keep what it saw until it is forgotten. What stood in
//! a guest's entry goes so, each arrow a step that may not be missing:
//!
//! ```text
//!   broken --dsb--> seen by walks --tlbi by address--> asked --dsb--> left in combined entries --tlbi--> asked --dsb--> forgotten
//!                                 \--tlbi of the whole guest-------------------------------------------/
//! ```

use alloc::vec::Vec;

use super::{Event, Place};

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 2;
/// The access flag, without which a page or block is a fault; tables have none.
const ACCESSED: u64 = 1 << 10;
const ADDRESS: u64 = 0xffff_ffff_f000;
const PAGE: u64 = 4096;

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A valid entry is replaced by another one that was not preceded by an invalid one (break before make).
    Unbroken,
    /// An entry is made where another one stood that is yet to be forgotten.
    Hasty,
    /// A table is filled whose frame is still known as the one below an entry that was broken.
    Reused,
    /// A table is put below an entry before what is in it is visible to walks.
    Unfilled,
    /// Something that was broken is never forgotten; what stood for a table is forgotten only with all that was below it.
    Remembered,
    /// The last stores are not made visible to walks.
    Invisible,
    /// This CPU is not made to go by what was done.
    Unsynchronised,
    /// VTTBR_EL2 is left as another guest's.
    Elsewhere,
    /// A guest is given memory that was written through a cache and not written back.
    Dirty,
    /// Instructions may be fetched that were there before.
    Stale,
}

pub(super) fn is_table(entry: u64) -> bool {
    entry & (VALID | TABLE_OR_PAGE | ACCESSED) == VALID | TABLE_OR_PAGE
}

/// How far what stood in an entry is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Everywhere,
    SeenByWalks,
    Asked,
    Combined,
    CombinedAsked,
}

/// Something that takes a barrier to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Work {
    #[default]
    Done,
    /// To be asked for, once this CPU goes by a register that was written.
    Due,
    Ready,
    Asked,
}

#[derive(Default)]
struct Judge {
    /// What was broken and may be cached still.
    broken: Vec<(Place, u64, Option<Rest>)>,
    /// Whether walks see every store: those of the record, and the zeroes that a new table is filled with, which are not in it.
    seen: bool,
    stored: bool,
    /// Whether this CPU goes by the last barrier or register.
    behind: bool,
    /// VTTBR_EL2 at first and now; the latter holds once the CPU goes by it.
    guests: Option<(u64, u64)>,
    guest_holds: bool,
    /// Ranges that are being written back, and those that are.
    cleaning: Vec<(u64, u64)>,
    clean: Vec<(u64, u64)>,
    /// Invalidations on this CPU alone; of instructions; of what the hypervisor's last tables said.
    here: Work,
    code: Work,
    own: Work,
}

/// Judges a record, of one CPU, which begins and ends while nothing is in progress, with the guest in VTTBR_EL2 to which it is in the
/// end returned. `is_fresh` says which frames were filled since then, to be a guest's.
///
/// # Errors
/// The first rule that is broken.
pub fn judge(record: &[Event], is_fresh: impl Fn(u64) -> bool) -> Result<(), Broken> {
    let mut judge = Judge { guest_holds: true, ..Judge::default() };
    record.iter().try_for_each(|&event| judge.step(event, &is_fresh))?;
    let Judge { broken, seen, stored, behind, guests, cleaning, here, code, own, .. } = judge;
    match () {
        () if !broken.is_empty() || here != Work::Done || own != Work::Done => Err(Broken::Remembered),
        () if stored && !seen => Err(Broken::Invisible),
        () if !cleaning.is_empty() => Err(Broken::Dirty),
        () if code != Work::Done => Err(Broken::Stale),
        () if guests.is_some_and(|(first, last)| first != last) => Err(Broken::Elsewhere),
        () if behind => Err(Broken::Unsynchronised),
        () => Ok(()),
    }
}

impl Judge {
    fn step(&mut self, event: Event, is_fresh: impl Fn(u64) -> bool) -> Result<(), Broken> {
        match event {
            Event::Descriptor(place, before, after) => self.write(place, before, after, is_fresh)?,
            Event::DsbIshst => self.see(),
            Event::DsbNsh => self.finish_here(),
            Event::DsbIsh => self.finish(),
            Event::DsbSy => {
                // What was written back is that for everybody, whatever this CPU goes by.
                let works = [self.here, self.own, self.code].iter().any(|&work| work != Work::Done);
                let is_for_caches = self.broken.is_empty() && (self.seen || !self.stored) && !works;
                let behind = self.behind || !is_for_caches;
                self.finish();
                self.behind = behind;
                self.clean.append(&mut self.cleaning);
            }
            Event::Isb => {
                (self.behind, self.guest_holds) = (false, true);
                self.own = if self.own == Work::Due { Work::Ready } else { self.own };
            }
            Event::TlbiIpas2e1is(page) => self.forget(|place, old, rest| {
                let is_it = (place.start..place.start + place.size).contains(&page) && !is_table(old);
                if is_it && rest == Rest::SeenByWalks { Rest::Asked } else { rest }
            }),
            Event::TlbiVmalle1is => {
                self.forget(|_, _, rest| if rest == Rest::Combined { Rest::CombinedAsked } else { rest });
            }
            Event::TlbiVmalls12e1is => {
                self.forget(|_, _, rest| if rest == Rest::Everywhere { rest } else { Rest::CombinedAsked });
            }
            Event::TlbiVmalle1 | Event::TlbiAlle1 => self.here = Work::Asked,
            Event::TlbiAlle2 => self.own = if self.own == Work::Ready { Work::Asked } else { self.own },
            Event::IcIalluis if !self.cleaning.is_empty() => return Err(Broken::Stale),
            Event::IcIalluis => self.code = Work::Asked,
            Event::Clean(start, size) => self.cleaning.push((start, start.saturating_add(size))),
            Event::Vttbr(before, _) if self.guests.is_some_and(|(_, now)| now != before) => {
                return Err(Broken::Elsewhere);
            }
            Event::Vttbr(before, after) => {
                let first = self.guests.map_or(before, |(first, _)| first);
                (self.guests, self.guest_holds, self.behind) = (Some((first, after)), false, true);
            }
            Event::Ttbr0 if self.stored && !self.seen => return Err(Broken::Invisible),
            Event::Ttbr0 => (self.own, self.behind) = (Work::Due, true),
            Event::Sctlr => self.behind = true,
        }
        Ok(())
    }

    fn write(&mut self, place: Place, before: u64, after: u64, is_fresh: impl Fn(u64) -> bool) -> Result<(), Broken> {
        let frame = place.address / PAGE;
        if self.broken.iter().any(|&(_, old, _)| is_table(old) && (old & ADDRESS) / PAGE == frame) {
            return Err(Broken::Reused);
        }
        if before & VALID != 0 && after & VALID != 0 && before != after {
            return Err(Broken::Unbroken);
        }
        if before & VALID != 0 && after & VALID == 0 {
            self.broken.push((place, before, Some(Rest::Everywhere)));
        }
        if after & VALID != 0 && before & VALID == 0 {
            let output = after & ADDRESS;
            if self.broken.iter().any(|&(other, _, _)| other.address == place.address) {
                return Err(Broken::Hasty);
            }
            if is_table(after) && !self.seen {
                return Err(Broken::Unfilled);
            }
            let is_clean = || self.clean.iter().any(|&(start, end)| start <= output && output + PAGE <= end);
            if !is_table(after) && is_fresh(output / PAGE) && !is_clean() {
                return Err(Broken::Dirty);
            }
        }
        (self.seen, self.stored) = (false, true);
        Ok(())
    }

    /// Walks see what was stored.
    fn see(&mut self) {
        (self.seen, self.behind) = (true, true);
        for (_, _, rest) in &mut self.broken {
            *rest = rest.map(|rest| if rest == Rest::Everywhere { Rest::SeenByWalks } else { rest });
        }
    }

    /// Invalidations on this CPU are done.
    fn finish_here(&mut self) {
        self.behind = true;
        for work in [&mut self.here, &mut self.own] {
            *work = if *work == Work::Asked { Work::Done } else { *work };
        }
    }

    /// Invalidations are done.
    fn finish(&mut self) {
        self.see();
        self.finish_here();
        self.code = Work::Done;
        for (_, _, rest) in &mut self.broken {
            *rest = match *rest {
                Some(Rest::Asked) => Some(Rest::Combined),
                Some(Rest::CombinedAsked) => None,
                other => other,
            };
        }
        self.broken.retain(|(_, _, rest)| rest.is_some());
    }

    /// An invalidation begins, which concerns the guest that VTTBR_EL2 names.
    fn forget(&mut self, how: impl Fn(&Place, u64, Rest) -> Rest) {
        let guest = self.guests.map(|(_, guest)| guest);
        for (place, old, rest) in &mut self.broken {
            if self.guest_holds && guest.is_none_or(|guest| guest == place.guest) {
                *rest = rest.map(|rest| how(place, *old, rest));
            }
        }
    }
}

#[cfg(test)]
mod tests;
