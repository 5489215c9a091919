//! Grant tables against a naive model: two domains that lend, map, copy and revoke, one of them writing anything into its entries.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use hypervisor::grant::mapping::{Mapping, Mappings};
use hypervisor::grant::{Access, CopyPlan, ENTRIES_PER_FRAME, Grants, Side, Use, cache_flush, set_version};
use hypervisor::word::Page;
use proptest::prelude::*;
use xen_abi::Errno;
use xen_abi::grant_table::{
    CacheFlush, Copy, CopyPtr, GTF_accept_transfer, GTF_permit_access, GTF_reading, GTF_readonly, GTF_sub_page,
    GTF_transitive, GTF_writing, GrantStatus,
};

#[derive(Clone, Debug)]
struct Frame(Rc<Vec<AtomicU32>>);

impl Frame {
    fn new() -> Self {
        Self(Rc::new((0..1024).map(|_| AtomicU32::new(0)).collect()))
    }
}

impl Page for Frame {
    type Word = AtomicU32;

    fn words(&self) -> &[AtomicU32] {
        &self.0
    }
}

fn table() -> (Grants<Frame>, Frame) {
    let mut grants = Grants::new(2);
    let frame = Frame::new();
    grants.grow(1, || Some(frame.clone())).unwrap();
    (grants, frame)
}

fn entry(frame: &Frame, reference: u32, flags: u16, domid: u16, gfn: u32) {
    frame.0[reference as usize * 2 + 1].store(gfn, SeqCst);
    frame.0[reference as usize * 2].store(u32::from(domid) << 16 | u32::from(flags), SeqCst);
}

fn flags(frame: &Frame, reference: u32) -> u16 {
    frame.0[reference as usize * 2].load(SeqCst) as u16
}

/// The granter's frame n is machine frame n + 1000.
fn resolve(gfn: u64, _: Access) -> Result<u64, GrantStatus> {
    Ok(gfn + 1000)
}

fn pin(grants: &mut Grants<Frame>, reference: u32, grantee: u16, access: Access) -> Result<u64, GrantStatus> {
    grants.pin(reference, grantee, access, Use::Map, resolve, |_| Ok(()))
}

use Access::{Read, Write};

#[test]
fn map_flags_are_those_of_arm() {
    assert_eq!(Access::of_map(0), Err(GrantStatus::BadGntref));
    assert_eq!(Access::of_map(4), Err(GrantStatus::BadGntref));
    assert_eq!(Access::of_map(2), Ok(Write));
    assert_eq!(Access::of_map(6), Ok(Read));
    for wrong in [1, 3, 2 | 8, 2 | 16, 2 | 32, 2 | 1 << 16, 2 | 1 << 31] {
        assert_eq!(Access::of_map(wrong), Err(GrantStatus::GeneralError), "{wrong:#x}");
    }
}

#[test]
fn marks_follow_the_pins() {
    let (mut grants, frame) = table();
    entry(&frame, 9, GTF_permit_access, 3, 5);
    assert_eq!(pin(&mut grants, 9, 3, Read), Ok(1005));
    assert_eq!(flags(&frame, 9), GTF_permit_access | GTF_reading);
    assert_eq!(pin(&mut grants, 9, 3, Write), Ok(1005));
    assert_eq!(flags(&frame, 9), GTF_permit_access | GTF_reading | GTF_writing);
    // The granter changes its mind: what is pinned stays.
    entry(&frame, 9, GTF_reading | GTF_writing, 7, 6);
    assert_eq!(pin(&mut grants, 9, 3, Read), Ok(1005), "the frame of the first pin");
    assert_eq!(pin(&mut grants, 9, 7, Read), Err(GrantStatus::GeneralError), "somebody else's now");
    assert!(grants.is_granted(3, 1005) && !grants.is_granted(7, 1005) && !grants.is_granted(3, 1006));
    grants.unpin(9, Write);
    assert_eq!(flags(&frame, 9), GTF_reading);
    assert_eq!(
        grants.pin(9, 3, Write, Use::Copy, resolve, |_| Ok(())),
        Err(GrantStatus::GeneralError),
        "it names another frame"
    );
    assert_eq!(flags(&frame, 9), GTF_reading);
    grants.unpin(9, Read);
    assert_eq!((flags(&frame, 9), grants.pinned_frame(9)), (GTF_reading, Some(1005)));
    grants.unpin(9, Read);
    assert_eq!((flags(&frame, 9), grants.pinned_frame(9)), (0, None));
    assert_eq!(pin(&mut grants, 9, 3, Read), Err(GrantStatus::GeneralError));
}

#[test]
fn what_is_not_granted_is_refused_and_not_marked() {
    let (mut grants, frame) = table();
    for (reference, flags, domid) in [
        (1, 0, 3),
        (2, GTF_accept_transfer, 3),
        (3, GTF_transitive, 3),
        (4, GTF_permit_access, 4),
        (5, GTF_permit_access | GTF_sub_page, 3),
    ] {
        entry(&frame, reference, flags, domid, 5);
        assert_eq!(pin(&mut grants, reference, 3, Read), Err(GrantStatus::GeneralError), "{reference}");
        assert_eq!(self::flags(&frame, reference), flags);
    }
    assert_eq!(
        grants.pin(5, 3, Read, Use::Copy, resolve, |_| Ok(())),
        Ok(1005),
        "version 1 knows no parts: a copy does not look"
    );
    entry(&frame, 6, GTF_permit_access | GTF_readonly, 3, 5);
    assert_eq!(pin(&mut grants, 6, 3, Write), Err(GrantStatus::GeneralError));
    assert_eq!(pin(&mut grants, 6, 3, Read), Ok(1005));
    assert_eq!(pin(&mut grants, 6, 3, Write), Err(GrantStatus::GeneralError), "nor as a second use");
    assert_eq!(flags(&frame, 6), GTF_permit_access | GTF_readonly | GTF_reading);
    for reference in [ENTRIES_PER_FRAME, u32::MAX] {
        assert_eq!(pin(&mut grants, reference, 3, Read), Err(GrantStatus::BadGntref));
        grants.unpin(reference, Write);
    }
}

#[test]
fn a_page_that_cannot_be_had_leaves_no_marks() {
    let (mut grants, frame) = table();
    entry(&frame, 1, GTF_permit_access, 3, 5);
    let refused = grants.pin(1, 3, Write, Use::Map, |_, _| Err(GrantStatus::BadPage), |_| Ok(()));
    assert_eq!((refused, flags(&frame, 1)), (Err(GrantStatus::BadPage), GTF_permit_access));
    pin(&mut grants, 1, 3, Read).unwrap();
    let refused = grants.pin(1, 3, Write, Use::Map, resolve, |_| Err(GrantStatus::BadDomain));
    assert_eq!((refused, flags(&frame, 1)), (Err(GrantStatus::BadDomain), GTF_permit_access | GTF_reading));
}

#[test]
fn pins_are_counted_to_a_limit() {
    let (mut grants, frame) = table();
    entry(&frame, 1, GTF_permit_access, 3, 5);
    for _ in 0..128 {
        pin(&mut grants, 1, 3, Read).unwrap();
    }
    assert_eq!(pin(&mut grants, 1, 3, Read), Err(GrantStatus::GeneralError));
    assert_eq!(pin(&mut grants, 1, 3, Write), Ok(1005), "each kind by itself");
}

#[test]
fn tables_grow_to_their_limit() {
    let mut grants = Grants::new(2);
    assert_eq!(grants.grow(3, || Some(Frame::new())), Err(Errno::EINVAL));
    assert_eq!(grants.grow(1, || None), Err(Errno::ENOMEM));
    grants.grow(2, || Some(Frame::new())).unwrap();
    grants.grow(1, || panic!("it is larger")).unwrap();
    assert_eq!(grants.size(), (2, 2));
    grants.permit(ENTRIES_PER_FRAME, 0, 77).unwrap();
    assert_eq!(grants.permit(2 * ENTRIES_PER_FRAME, 0, 77), Err(GrantStatus::BadGntref));
    assert_eq!(pin(&mut grants, ENTRIES_PER_FRAME, 0, Write), Ok(1077));
    grants.set_place(1, Some(0x38001));
    assert_eq!((grants.frame(0).unwrap().1, grants.frame(1).unwrap().1), (None, Some(0x38001)));
    assert!(grants.frame(2).is_none());
}

#[test]
fn entries_swap_unless_in_use() {
    let (mut grants, frame) = table();
    entry(&frame, 1, GTF_permit_access, 3, 5);
    entry(&frame, 2, GTF_permit_access | GTF_readonly, 4, 6);
    grants.swap(1, 2).unwrap();
    assert_eq!(
        frame.0[2..6].iter().map(|word| word.load(SeqCst)).collect::<Vec<_>>(),
        [4 << 16 | 5, 6, 3 << 16 | 1, 5]
    );
    pin(&mut grants, 2, 3, Read).unwrap();
    assert_eq!(
        (grants.swap(1, 2), grants.swap(2, 1), grants.swap(2, 2)),
        (Err(GrantStatus::Eagain), Err(GrantStatus::Eagain), Ok(()))
    );
    assert_eq!(grants.swap(1, 512), Err(GrantStatus::BadGntref));
}

#[test]
fn copies_stay_in_their_pages() {
    let side = |what: u64, domid, offset| CopyPtr { ref_or_gmfn: what, domid, offset };
    let copy = |from, to, len, flags| Copy { source: from, dest: to, len, flags, status: 0 };
    let caller = |domid| domid == 5 || domid == 0x7ff0;
    let plan = CopyPlan::of(&copy(side(8, 2, 100), side(0x40000, 0x7ff0, 3996), 100, 1), caller).unwrap();
    assert_eq!(
        (plan.source, plan.destination, plan.to.clone(), plan.check()),
        (Side::Grant(2, 8), Side::Frame(0x40000), 3996..4096, Ok(()))
    );
    let over = CopyPlan::of(&copy(side(8, 2, 100), side(9, 2, 3997), 100, 3), caller).unwrap();
    assert_eq!(over.check(), Err(GrantStatus::BadCopyArg));
    let over = CopyPlan::of(&copy(side(8, 2, u16::MAX), side(9, 2, 0), u16::MAX, 3), caller).unwrap();
    assert_eq!(over.check(), Err(GrantStatus::BadCopyArg));
    assert_eq!(CopyPlan::of(&copy(side(8, 2, 0), side(9, 2, 0), 1, 1), caller), Err(GrantStatus::PermissionDenied));
    assert_eq!(CopyPlan::of(&copy(side(8, 2, 0), side(9, 2, 0), 1, 2), caller), Err(GrantStatus::PermissionDenied));
}

#[test]
fn caches_are_maintained_within_a_page() {
    let asked = |offset, length, op| CacheFlush { address_or_ref: 0x4000_0123, offset, length, op };
    assert_eq!(cache_flush(&asked(0, 0, 1)), Ok(None));
    assert_eq!(cache_flush(&asked(0, 10, 0)), Ok(None), "as Linux asks at first");
    for wrong in [asked(4096, 0, 1), asked(0, 4097, 1), asked(4095, 2, 1), asked(0, 1, 4), asked(0, 1, 1 << 31)] {
        assert_eq!(cache_flush(&wrong), Err(Errno::EINVAL));
    }
    let flush = cache_flush(&asked(16, 4080, 3)).unwrap().unwrap();
    assert_eq!((flush.address, flush.length, flush.clean, flush.invalidate), (0x4000_0010, 4080, true, true));
    assert_eq!(
        (set_version(1), set_version(2), set_version(0), set_version(3)),
        (Ok(()), Err(Errno::ENOSYS), Err(Errno::EINVAL), Err(Errno::EINVAL))
    );
}

#[test]
fn handles_are_given_again_and_end() {
    let mut mappings = Mappings::new(1);
    let mapping = Mapping { domain: 3, reference: 9, access: Read };
    let handles: Vec<_> = (0..256).map(|_| mappings.reserve().unwrap()).collect();
    assert_eq!(mappings.reserve(), Err(GrantStatus::NoSpace));
    assert_eq!(mappings.get(handles[7]), Err(GrantStatus::BadHandle), "not mapped yet");
    mappings.commit(handles[7], mapping);
    assert_eq!((mappings.get(handles[7]), mappings.next(0)), (Ok(mapping), Some((handles[7], mapping))));
    mappings.release(handles[7]);
    mappings.release(handles[7]);
    assert_eq!(mappings.get(handles[7]), Err(GrantStatus::BadHandle));
    assert_eq!(mappings.reserve(), Ok(handles[7]));
    assert_eq!(mappings.reserve(), Err(GrantStatus::NoSpace), "freed twice, but given once");
    for hostile in [256, u32::MAX] {
        assert_eq!(mappings.get(hostile), Err(GrantStatus::BadHandle));
        mappings.release(hostile);
        mappings.commit(hostile, mapping);
    }
    assert_eq!(mappings.next(0), None);
    assert_eq!(Mappings::new(0).reserve(), Err(GrantStatus::NoSpace));
}

#[derive(Clone, Debug)]
enum Step {
    Grant(u32, u16, u16, u32),
    Scribble(u32, u32),
    Revoke(u32),
    Map(u32, u16, bool),
    Unmap(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reference = 0..6_u32;
    let step = prop_oneof![
        3 => (reference.clone(), prop_oneof![Just(1_u16), Just(5), 0..512_u16], 1..4_u16, 0..9_u32).prop_map(|(r, f, d, g)| Step::Grant(r, f, d, g)),
        1 => (reference.clone(), any::<u32>()).prop_map(|(r, v)| Step::Scribble(r, v)),
        2 => reference.clone().prop_map(Step::Revoke),
        6 => (0..7_u32, 1..4_u16, any::<bool>()).prop_map(|(r, d, w)| Step::Map(if r == 6 { 600 } else { r }, d, w)),
        4 => (0..20_usize).prop_map(Step::Unmap),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Every mapping has the frame that was granted to its domain when the first of them began; references are balanced; a granter
    /// that looks at its entry knows whether it is in use, unless it wrote over the marks itself.
    #[test]
    fn pins_behave_as_a_naive_model(steps in steps()) {
        let (mut grants, frame) = table();
        let mut mapped: Vec<(u32, u16, Access, u64)> = Vec::new();
        let mut references: BTreeMap<u64, i32> = BTreeMap::new();
        let mut spoiled = [false; 6];
        for step in steps {
            match step {
                Step::Grant(reference, flags, domid, gfn) => {
                    let used = mapped.iter().any(|mapping| mapping.0 == reference);
                    spoiled[reference as usize] = used || flags & (GTF_reading | GTF_writing) != 0;
                    entry(&frame, reference, flags, domid, gfn);
                }
                Step::Scribble(reference, value) => {
                    spoiled[reference as usize] = true;
                    frame.0[reference as usize * 2].store(value, SeqCst);
                }
                Step::Revoke(reference) => {
                    let used = mapped.iter().any(|mapping| mapping.0 == reference);
                    let marked = flags(&frame, reference) & (GTF_reading | GTF_writing) != 0;
                    prop_assert!(spoiled[reference as usize] || marked == used);
                    if !marked {
                        frame.0[reference as usize * 2].store(0, SeqCst);
                        spoiled[reference as usize] = used;
                    }
                }
                Step::Map(reference, domid, write) => {
                    let access = if write { Write } else { Read };
                    let first = mapped.iter().find(|mapping| mapping.0 == reference).copied();
                    let writers = mapped.iter().any(|mapping| mapping.0 == reference && mapping.2 == Write);
                    let word = if reference < 6 { frame.0[reference as usize * 2].load(SeqCst) } else { 0 };
                    let (now, whom) = (word as u16, (word >> 16) as u16);
                    let expected = if reference >= 6 {
                        Err(GrantStatus::BadGntref)
                    } else if let Some(first) = first {
                        if first.1 != domid || write && !writers && now & GTF_readonly != 0 {
                            Err(GrantStatus::GeneralError)
                        } else {
                            Ok(first.3)
                        }
                    } else if now & (3 | GTF_sub_page) != GTF_permit_access || whom != domid || write && now & GTF_readonly != 0 {
                        Err(GrantStatus::GeneralError)
                    } else {
                        Ok(u64::from(frame.0[reference as usize * 2 + 1].load(SeqCst)) + 1000)
                    };
                    let mut took = 0_i32;
                    let took_cell = std::cell::Cell::new(0);
                    let done = grants.pin(reference, domid, access, Use::Map,
                        |gfn, _| { took_cell.set(took_cell.get() + 1); Ok(gfn + 1000) },
                        |_| { took_cell.set(took_cell.get() + 1); Ok(()) });
                    took += took_cell.get();
                    prop_assert_eq!(done, expected);
                    prop_assert_eq!(took, i32::from(done.is_ok()), "a reference for each mapping");
                    if let Ok(mfn) = done {
                        *references.entry(mfn).or_default() += 1;
                        mapped.push((reference, domid, access, mfn));
                        let marks = if write { GTF_reading | GTF_writing } else { GTF_reading };
                        prop_assert!(first.is_some() && spoiled[reference as usize] || flags(&frame, reference) & marks == marks);
                    }
                }
                Step::Unmap(index) => {
                    if mapped.is_empty() {
                        continue;
                    }
                    let (reference, _, access, mfn) = mapped.remove(index % mapped.len());
                    prop_assert_eq!(grants.pinned_frame(reference), Some(mfn));
                    grants.unpin(reference, access);
                    *references.get_mut(&mfn).unwrap() -= 1;
                }
            }
        }
        while let Some((reference, _, access, mfn)) = mapped.pop() {
            grants.unpin(reference, access);
            *references.get_mut(&mfn).unwrap() -= 1;
        }
        prop_assert!(references.values().all(|count| *count == 0));
        for reference in 0..6 {
            prop_assert_eq!(grants.pinned_frame(reference), None);
            prop_assert!(spoiled[reference as usize] || flags(&frame, reference) & (GTF_reading | GTF_writing) == 0);
        }
    }
}
