//! What hardware may punish and emulators forgive: the Arm manual's rules for live stage-2 tables, and for memory that a guest is to
//! find with its caches off, held against a record of what was done (DDI 0487, D8.14 to D8.16, and B2.7).
//!
//! Between two events anything can be cached: a walk may begin at every moment, and keep what it saw until it is forgotten.

use alloc::vec::Vec;

use super::Event;

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
    /// A guest is given memory that was written through a cache and not written back.
    Dirty,
}

fn is_table(entry: u64) -> bool {
    entry & (VALID | TABLE_OR_PAGE | ACCESSED) == VALID | TABLE_OR_PAGE
}

/// Judges a record, of one CPU and one guest. It begins and ends while nothing is in progress. `is_fresh` says which frames were filled
/// since then, to be a guest's.
///
/// # Errors
/// The first rule that is broken.
pub fn judge(record: &[Event], is_fresh: impl Fn(u64) -> bool) -> Result<(), Broken> {
    // Entries that were made invalid and may be cached still, and what they were.
    let mut broken: Vec<(u64, u64)> = Vec::new();
    // Whether walks see every store: those of the record, and the zeroes that a new table is filled with, which are not in it.
    let (mut seen, mut stored) = (false, false);
    let mut clean: Vec<(u64, u64)> = Vec::new();
    for event in record {
        match *event {
            Event::Descriptor(address, before, after) => {
                let frame = address / PAGE;
                if broken.iter().any(|&(_, old)| is_table(old) && (old & ADDRESS) / PAGE == frame) {
                    return Err(Broken::Reused);
                }
                if before & VALID != 0 && after & VALID != 0 && before != after {
                    return Err(Broken::Unbroken);
                }
                if before & VALID != 0 && after & VALID == 0 {
                    broken.push((address, before));
                }
                if after & VALID != 0 && before & VALID == 0 {
                    let output = after & ADDRESS;
                    if broken.iter().any(|&(place, _)| place == address) {
                        return Err(Broken::Hasty);
                    }
                    if is_table(after) && !seen {
                        return Err(Broken::Unfilled);
                    }
                    let is_clean = || clean.iter().any(|&(start, end)| start <= output && output + PAGE <= end);
                    if !is_table(after) && is_fresh(output / PAGE) && !is_clean() {
                        return Err(Broken::Dirty);
                    }
                }
                (seen, stored) = (false, true);
            }
            Event::Publish => seen = true,
            // Of stage 1.
            Event::InvalidateHere => {}
            // Both begin with a barrier. By address one leaf goes, and the walk to it; what was below a table stays.
            Event::Invalidate(_) => {
                seen = true;
                if let Some(last) = broken.iter().rposition(|&(_, old)| !is_table(old)) {
                    broken.remove(last);
                }
            }
            Event::InvalidateAll => {
                seen = true;
                broken.clear();
            }
            Event::Clean(start, size) => clean.push((start, start.saturating_add(size))),
        }
    }
    match (broken.is_empty(), seen || !stored) {
        (false, _) => Err(Broken::Remembered),
        (_, false) => Err(Broken::Invisible),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::*;

    const TABLE: u64 = 0x4000_0000;
    const BELOW: u64 = 0x4000_1000;
    const LEAF: u64 = 0x5000_0000 | ACCESSED | TABLE_OR_PAGE | VALID;
    const OTHER: u64 = 0x6000_0000 | ACCESSED | TABLE_OR_PAGE | VALID;

    fn judged(record: &[Event]) -> Result<(), Broken> {
        judge(record, |frame| frame == 0x6_0000)
    }

    /// What is right, and for each rule what it becomes with one step wrong.
    #[test]
    fn every_rule_has_a_mutant_that_breaks_it() {
        let entry = BELOW | TABLE_OR_PAGE | VALID;
        let cleaned = Clean(0x6000_0000, 4096);
        let replaced = [cleaned, Descriptor(TABLE, LEAF, 0), Invalidate(0), Descriptor(TABLE, 0, OTHER), Publish];
        let linked = [Descriptor(BELOW, 0, LEAF), Publish, Descriptor(TABLE, 0, entry), Publish];
        let freed = [Descriptor(TABLE, entry, 0), InvalidateAll, Descriptor(BELOW, LEAF, 0), InvalidateAll];
        for right in [&replaced[..], &linked, &freed] {
            assert_eq!(judged(right), Ok(()));
        }
        assert_eq!(judged(&[cleaned, Descriptor(TABLE, LEAF, OTHER), Publish]), Err(Broken::Unbroken));
        let hasty = [cleaned, Descriptor(TABLE, LEAF, 0), Publish, Descriptor(TABLE, 0, OTHER), Invalidate(0)];
        assert_eq!(judged(&hasty), Err(Broken::Hasty));
        assert_eq!(judged(&[freed[0], Publish, freed[2], freed[3]]), Err(Broken::Reused));
        assert_eq!(
            judged(&[freed[0], Invalidate(0), freed[2], freed[3]]),
            Err(Broken::Reused),
            "by address is too little"
        );
        assert_eq!(judged(&[linked[0], linked[2], linked[3]]), Err(Broken::Unfilled));
        assert_eq!(judged(&[freed[0], Publish]), Err(Broken::Remembered));
        assert_eq!(judged(&[freed[0], Invalidate(0)]), Err(Broken::Remembered), "by address is too little");
        assert_eq!(judged(&linked[..3]), Err(Broken::Invisible));
        assert_eq!(judged(&replaced[1..]), Err(Broken::Dirty));
        let late = [replaced[1], replaced[2], replaced[3], cleaned, Publish];
        assert_eq!(judged(&late), Err(Broken::Dirty));
    }
}
