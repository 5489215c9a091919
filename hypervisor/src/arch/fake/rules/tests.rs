//! What is right, and what each rule becomes when one step is missing, late, weaker, or for another address or guest.

use super::Event::*;
use super::*;
use crate::arch::{cache, stage2, take_record};

const GUEST: u64 = 1 << 48 | 0x4010_0000;
const TABLE: u64 = 0x4000_0000;
const BELOW: u64 = 0x4000_1000;
const LEAF: u64 = 0x5000_0000 | ACCESSED | TABLE_OR_PAGE | VALID;
const OTHER: u64 = 0x6000_0000 | ACCESSED | TABLE_OR_PAGE | VALID;
const ENTRY: u64 = BELOW | TABLE_OR_PAGE | VALID;
/// What the entry at `TABLE` translates.
const START: u64 = 0x8020_0000;

fn judged(record: &[Event]) -> Result<(), Broken> {
    judge(record, |frame| frame == 0x6_0000)
}

fn stored(address: u64, before: u64, after: u64) -> Event {
    Descriptor(Place { address, guest: GUEST, start: START, size: 1 << 21 }, before, after)
}

/// Returns what is done by the code of the machine.
fn done(act: impl FnOnce()) -> Vec<Event> {
    take_record();
    act();
    take_record()
}

/// Returns a record without one of its steps.
fn without(record: &[Event], index: usize) -> Vec<Event> {
    [&record[..index], &record[index + 1..]].concat()
}

fn replaced(page: u64) -> Vec<Event> {
    let forgotten = done(|| stage2::invalidate(GUEST, page));
    let (broken, made) = (stored(TABLE, LEAF, 0), stored(TABLE, 0, OTHER));
    let cleaned = done(|| cache::clean(0x6000_0000, 4096));
    [cleaned, [broken].into(), forgotten, [made].into(), done(stage2::publish)].concat()
}

fn freed() -> Vec<Event> {
    let forgotten = || done(|| stage2::invalidate_all(GUEST));
    [[stored(TABLE, ENTRY, 0)].into(), forgotten(), [stored(BELOW, LEAF, 0)].into(), forgotten()].concat()
}

#[test]
fn what_is_right_passes() {
    for page in [START, START + (1 << 21) - 4096] {
        assert_eq!(judged(&replaced(page)), Ok(()));
    }
    assert_eq!(judged(&freed()), Ok(()));
    assert_eq!(judged(&[]), Ok(()));
}

#[test]
fn every_step_of_every_sequence_is_needed() {
    let broken = || Vec::from([stored(TABLE, LEAF, 0)]);
    let code = || {
        cache::clean(BELOW, 4096);
        cache::synchronise_code();
    };
    // Once for the guest whose registers are loaded, once for another one.
    for loaded in [GUEST, 7] {
        stage2::set_guest(loaded);
        let sequences: [(&str, Vec<Event>); 6] = [
            ("invalidate", [broken(), done(|| stage2::invalidate(GUEST, START))].concat()),
            ("invalidate_all", [broken(), done(|| stage2::invalidate_all(GUEST))].concat()),
            ("publish", [[stored(TABLE, 0, LEAF)].into(), done(stage2::publish)].concat()),
            ("invalidate_here", done(stage2::invalidate_here)),
            ("clean", done(|| cache::clean(0x6000_0000, 4096))),
            ("code", done(code)),
        ];
        for (name, record) in sequences {
            assert_eq!(judged(&record), Ok(()), "{name}");
            for index in (0..record.len()).filter(|&index| !matches!(record[index], Descriptor(..) | Clean(..))) {
                let step = record[index];
                // What is merely the beginning of something.
                if matches!(step, TlbiVmalle1 | IcIalluis) {
                    continue;
                }
                // Written back already, by the barrier of that.
                if name == "code" && step == DsbIsh && record[index - 1] == DsbSy {
                    continue;
                }
                assert!(judged(&without(&record, index)).is_err(), "{name}: {step:?} at {index} is not missed");
            }
        }
    }
    stage2::set_guest(0);
    take_record();
}

#[test]
fn an_invalidation_is_for_a_page() {
    for page in [0, START - 4096, START + (1 << 21)] {
        assert_eq!(judged(&replaced(page)), Err(Broken::Hasty), "{page:#x}");
    }
    let mut far = Vec::from([stored(TABLE, LEAF, 0)]);
    far.extend(done(|| stage2::invalidate(GUEST, START + (1 << 21))));
    assert_eq!(judged(&far), Err(Broken::Remembered));
}

#[test]
fn an_invalidation_is_for_a_guest() {
    for forget in [|| stage2::invalidate(GUEST + (1 << 48), START), || stage2::invalidate_all(GUEST + (1 << 48))] {
        let record = [[stored(TABLE, LEAF, 0)].into(), done(forget)].concat();
        assert_eq!(judged(&record), Err(Broken::Remembered));
    }
    let mut left = [[stored(TABLE, LEAF, 0)].into(), done(|| stage2::invalidate_all(GUEST))].concat();
    left.retain(|event| !matches!(event, Vttbr(GUEST, _)));
    assert_eq!(judged(&left), Err(Broken::Elsewhere));
}

#[test]
fn order_matters() {
    let right = replaced(START);
    let at = |event: Event| right.iter().position(|&other| other == event).unwrap();
    let swapped = |one: usize, other: usize| {
        let mut record = right.clone();
        record.swap(one, other);
        judged(&record)
    };
    let by_address = at(TlbiIpas2e1is(START));
    assert_eq!(swapped(by_address - 1, by_address), Err(Broken::Hasty), "walks may see it again");
    assert_eq!(swapped(by_address, by_address + 1), Err(Broken::Hasty), "not done when combined entries go");
    let combined = at(TlbiVmalle1is);
    assert_eq!(swapped(by_address, combined), Err(Broken::Hasty), "combined entries come again");
    assert_eq!(swapped(combined, combined + 1), Err(Broken::Hasty), "not done when the new one is made");
    for weak in [DsbIshst, DsbNsh] {
        let mut record = right.clone();
        record[combined + 1] = weak;
        assert_eq!(judged(&record), Err(Broken::Hasty), "{weak:?} waits for no other CPU");
    }
}

/// What is right, and for each rule what it becomes with one step wrong.
#[test]
fn every_rule_has_a_mutant_that_breaks_it() {
    let linked = [stored(BELOW, 0, LEAF), DsbIshst, stored(TABLE, 0, ENTRY), DsbIshst, Isb];
    assert_eq!(judged(&linked), Ok(()));
    assert_eq!(judged(&[&linked[..1], &linked[2..]].concat()), Err(Broken::Unfilled));
    assert_eq!(judged(&linked[..3]), Err(Broken::Invisible));
    assert_eq!(judged(&linked[..4]), Err(Broken::Unsynchronised));
    assert_eq!(judged(&[Ttbr0]), Err(Broken::Remembered));
    assert_eq!(judged(&[stored(TABLE, 0, LEAF), Ttbr0]), Err(Broken::Invisible));
    let cleaned = [Clean(0x6000_0000, 4096), DsbSy, Isb];
    let made = [stored(TABLE, 0, OTHER), DsbIshst, Isb];
    assert_eq!(judged(&[&cleaned[..], &made].concat()), Ok(()));
    assert_eq!(judged(&[&cleaned[..1], &made].concat()), Err(Broken::Dirty), "not written back yet");
    assert_eq!(judged(&[&made[..], &cleaned].concat()), Err(Broken::Dirty), "too late");
    assert_eq!(judged(&[cleaned[0], DsbIsh, Isb]), Err(Broken::Dirty), "for this cluster of CPUs only");
    assert_eq!(judged(&[cleaned[0], IcIalluis, DsbSy, Isb]), Err(Broken::Stale));
    assert_eq!(judged(&[IcIalluis, DsbNsh, Isb]), Err(Broken::Stale));
    let unbroken = [stored(TABLE, LEAF, LEAF | 1 << 7), DsbIshst, Isb];
    assert_eq!(judged(&unbroken), Err(Broken::Unbroken));
    let freed = freed();
    let second = freed.iter().rposition(|event| matches!(event, Descriptor(..))).unwrap();
    let reused = [freed[0], DsbIsh, freed[second]];
    assert_eq!(judged(&reused), Err(Broken::Reused));
    let by_address = done(|| stage2::invalidate(GUEST, START));
    let weak = [&freed[..1], &by_address, &freed[second..]].concat();
    assert_eq!(judged(&weak), Err(Broken::Reused), "by address is too little");
    assert_eq!(judged(&[&freed[..1], &by_address].concat()), Err(Broken::Remembered), "by address is too little");
}
