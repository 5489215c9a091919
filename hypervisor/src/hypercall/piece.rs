//! Long calls are done in pieces. A call whose work is the guest's number stops when something else is to be done here, puts what is left
//! into its arguments, and lets the guest execute its HVC again; interrupts, the guest's own too, are taken in between. All progress is in
//! registers and in the guest's memory: a guest that changes them has asked for something else, and gets that.
//!
//! Each piece does one unit at least, so that every call comes to its end.

use core::sync::atomic::Ordering::Relaxed;

use super::Answer;
use crate::arch;
use crate::run::Caller;

/// Units after which a call is left even if nothing is known to wait.
const UNITS: u32 = 1024;

/// What has been done of a call since the guest was left.
#[derive(Debug, Default)]
pub struct Piece {
    units: u32,
}

impl Piece {
    /// Notes that a unit is done, a bounded piece of work; says whether the others are to wait: an interrupt does (a device's, another CPU's
    /// request, the end of a turn), or the vCPU has news.
    pub fn is_over(&mut self, caller: &Caller<'_>) -> bool {
        self.units += 1;
        self.units >= UNITS || arch::is_interrupt_pending() || caller.entity.vcpu().news.load(Relaxed)
    }
}

/// Lets the guest make its call again, with other arguments; those beyond stay.
pub fn again<const N: usize>(caller: &mut Caller<'_>, arguments: [u64; N]) -> Answer {
    let context = &mut caller.state.context;
    context.x[..N].copy_from_slice(&arguments);
    // HVC has left it behind the instruction.
    context.pc = context.pc.wrapping_sub(4);
    Ok(arguments[0])
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::sync::atomic::Ordering::SeqCst;

    use xen_abi::event_channel::{AllocUnbound, EventChannelOp, Reset};
    use xen_abi::grant_table::{GrantTableOp, SwapGrantRef};
    use xen_abi::memory::{AddToPhysmapBatch, MemoryOp, MemoryReservation, XENMAPSPACE_grant_table};
    use xen_abi::xen::{DOMID_SELF, MulticallEntry};
    use xen_abi::{Errno, Field, Handle, Hypercall};

    use crate::arch::interrupt_every;
    use crate::domain::{Domain, fixture};
    use crate::hypercall::call;
    use crate::hypercall::tests::{get, hvc, is, put};
    use crate::memory::Gfn;
    use crate::run::Caller;
    use crate::schedule::Entity;

    const PC: u64 = 0x8000_0004;

    /// Makes a call as a guest that an interrupt takes out of every `nth` unit, and executes its HVC until it is through; between any two
    /// pieces `act` sees the arguments. Returns the answer and how many pieces there were.
    fn in_pieces(
        domain: &Arc<Domain>,
        number: Hypercall,
        arguments: [u64; 3],
        nth: u64,
        mut act: impl FnMut(&mut [u64]),
    ) -> (i64, usize) {
        let entity = Entity { domain: domain.clone(), index: 0 };
        let mut state = domain.vcpus[0].state.lock();
        state.context.x[..3].copy_from_slice(&arguments);
        (state.context.x[3], state.context.x[16]) = (0x77, number.number());
        interrupt_every(nth);
        let mut pieces = 0;
        loop {
            state.context.pc = PC;
            call(&mut Caller { entity: &entity, state: &mut state });
            pieces += 1;
            assert_eq!((state.context.x[3], state.context.x[16]), (0x77, number.number()));
            if state.context.pc == PC {
                break;
            }
            assert_eq!(state.context.pc, PC - 4, "the HVC");
            act(&mut state.context.x[..3]);
            assert!(pieces < 1000, "it does not come to its end");
        }
        interrupt_every(0);
        (state.context.x[0] as i64, pieces)
    }

    /// Makes a call without interruption.
    fn at_once(domain: &Arc<Domain>, number: Hypercall, arguments: [u64; 3]) -> i64 {
        in_pieces(domain, number, arguments, 0, |_| {}).0
    }

    /// A domain whose frame numbers are its own, which may have `more` frames.
    fn translated(id: u16, more: u64) -> (Arc<Domain>, u64) {
        let (mut domain, memory) = fixture::domain(id, true);
        Arc::get_mut(&mut domain).expect("a domain that nobody else has").direct = false;
        domain.pages_max.fetch_add(more, SeqCst);
        (domain, memory)
    }

    /// Writes extents, and returns where their description is.
    fn extents(domain: &Domain, memory: u64, gfns: &[u64], order: u32) -> u64 {
        gfns.iter().enumerate().for_each(|(index, &gfn)| put(domain, memory + 64 + index as u64 * 8, gfn));
        let description = MemoryReservation {
            extent_start: Handle(memory + 64),
            nr_extents: gfns.len() as u64,
            extent_order: order,
            domid: DOMID_SELF,
            ..Default::default()
        };
        put(domain, memory, description);
        memory
    }

    const DECREASE: u64 = 1;
    const POPULATE: u64 = 6;

    #[test]
    fn extents_go_on_where_they_were_left() {
        let (domain, memory) = translated(41, 4096);
        let begun = domain.pages.load(SeqCst);
        for (gfns, order, units) in
            [(&[0x1000, 0x2000, 0x3000][..], 0, 3), (&[0x1000, 0x1800], 10, 4), (&[0x1001], 3, 4), (&[0x1234], 9, 8)]
        {
            let at = extents(&domain, memory, gfns, order);
            let count = gfns.len() as i64;
            let frames = gfns.iter().flat_map(|&gfn| gfn..gfn + (1 << order));
            for (nth, pieces) in [(1, units), (2, units / 2 + units % 2), (0, 1)] {
                let (answer, took) = in_pieces(&domain, Hypercall::MemoryOp, [POPULATE, at, 0], nth, |_| {});
                assert_eq!(answer, count, "{gfns:x?}");
                assert!(took <= pieces && took + 1 >= pieces, "{took} pieces of {units} units by {nth}");
                assert!(frames.clone().all(|gfn| domain.p2m.lock().get(Gfn(gfn)).is_some()));
                assert_eq!(domain.pages.load(SeqCst) - begun, frames.clone().count() as u64);
                let (answer, _) = in_pieces(&domain, Hypercall::MemoryOp, [DECREASE, at, 0], nth, |_| {});
                assert_eq!(answer, count);
                assert!(frames.clone().all(|gfn| domain.p2m.lock().get(Gfn(gfn)).is_none()));
                assert_eq!(domain.pages.load(SeqCst), begun);
            }
        }
    }

    #[test]
    fn an_extent_without_room_leaves_nothing_behind() {
        let (domain, memory) = translated(42, 4096);
        let begun = domain.pages.load(SeqCst);
        let at = extents(&domain, memory, &[0x1000, 0x2000], 10);
        // What was left of the room at the start goes while it is filled.
        let mut pieces = 0;
        let shrink = |_: &mut [u64]| {
            pieces += 1;
            if pieces == 3 {
                domain.pages_max.store(begun + 1536, SeqCst);
            }
        };
        let (answer, _) = in_pieces(&domain, Hypercall::MemoryOp, [POPULATE, at, 0], 1, shrink);
        assert_eq!(answer, 1, "the first extent only");
        assert_eq!(domain.pages.load(SeqCst), begun + 1024);
        assert_eq!(domain.p2m.lock().get(Gfn(0x2000)), None);
        assert_eq!(at_once(&domain, Hypercall::MemoryOp, [DECREASE, at, 0]), 1);
        assert_eq!(domain.pages.load(SeqCst), begun);
    }

    #[test]
    fn arguments_that_change_in_between_are_just_others() {
        let (domain, memory) = translated(43, 4096);
        let begun = domain.pages.load(SeqCst);
        let mut at = extents(&domain, memory, &[0x1000, 0x1800], 10);
        // The extent becomes another one of another size, and the list moves.
        let change = |_: &mut [u64]| at = extents(&domain, memory, &[0x2000, 0x2800], 9);
        let (answer, _) = in_pieces(&domain, Hypercall::MemoryOp, [POPULATE, memory, 0], 1, change);
        assert!((0..=2).contains(&answer), "{answer}");
        let mapped = (0x1000..0x3000).filter(|&gfn| domain.p2m.lock().get(Gfn(gfn)).is_some()).count() as u64;
        assert_eq!(domain.pages.load(SeqCst) - begun, mapped);
        // Progress that never was: no frame is there that it says to be done, or more are done than there are.
        for command in [1 << 63 | 5 << 32, 1 << 63 | 0x3ffff << 32, 1 << 63 | 1 << 6, u64::MAX << 6, 1 << 32, 3 << 6] {
            for operation in [0, DECREASE, POPULATE] {
                let answer = at_once(&domain, Hypercall::MemoryOp, [command | operation, at, 0]);
                assert!(answer >= 0 || command == u64::MAX << 6, "{command:#x}: {answer}");
            }
        }
    }

    #[test]
    fn more_extents_than_a_command_can_count_are_none() {
        let (domain, memory) = fixture::domain(44, true);
        let gfn = memory / 4096 + 3;
        for (count, done) in [(0xffff_ffff >> 6, 1), ((0xffff_ffff >> 6) + 1, 0), (u64::MAX, 0)] {
            let at = extents(&domain, memory, &[gfn, u64::MAX], 0);
            put(&domain, at + 8, count);
            assert_eq!(at_once(&domain, Hypercall::MemoryOp, [DECREASE, at, 0]), done, "{count:#x}");
        }
    }

    #[test]
    fn batches_go_on() {
        let (domain, memory) = fixture::domain(45, true);
        let (numbers, gfns, errors) = (memory + 0x100, memory + 0x200, memory + 0x300);
        for index in 0..8 {
            // The sixth has no place.
            put(&domain, numbers + index * 8, if index == 5 { 1000 } else { index });
            put(&domain, gfns + index * 8, 0x500 + index);
            put(&domain, errors + index * 4, 1i32);
        }
        let batch = AddToPhysmapBatch {
            domid: DOMID_SELF,
            space: XENMAPSPACE_grant_table as u16,
            size: 8,
            idxs: Handle(numbers),
            gpfns: Handle(gfns),
            errs: Handle(errors),
            ..Default::default()
        };
        put(&domain, memory, batch);
        let number = MemoryOp::AddToPhysmapBatch.number().into();
        assert_eq!(in_pieces(&domain, Hypercall::MemoryOp, [number, memory, 0], 3, |_| {}), (0, 3));
        let found: Vec<i32> = (0..8).map(|index| get(&domain, errors + index * 4)).collect();
        assert_eq!(found, [0, 0, 0, 0, 0, Errno::EINVAL.to_word(), 0, 0]);
    }

    #[test]
    fn lists_of_grants_go_on() {
        let (domain, memory) = fixture::domain(46, true);
        let list = |count: u32| {
            for index in 0..count {
                let element = SwapGrantRef { ref_a: index, ref_b: 600 * (index % 2), status: 7 };
                put(&domain, memory + u64::from(index) * 12, element);
            }
        };
        let number = GrantTableOp::SwapGrantRef.number().into();
        let statuses = || (0..7).map(|index| get::<SwapGrantRef>(&domain, memory + index * 12).status).collect();
        list(7);
        assert_eq!(at_once(&domain, Hypercall::GrantTableOp, [number, memory, 7]), 0);
        let expected: Vec<i16> = statuses();
        list(7);
        let mut left = Vec::new();
        let look = |x: &mut [u64]| left.push((x[0], x[1] - memory, x[2]));
        assert_eq!(in_pieces(&domain, Hypercall::GrantTableOp, [number, memory, 7], 2, look), (0, 4));
        assert_eq!(left, [(number, 24, 5), (number, 48, 3), (number, 72, 1)]);
        assert_eq!(statuses(), expected);
        // The list ends where there is no memory, wherever one is by then.
        let (answer, pieces) =
            in_pieces(&domain, Hypercall::GrantTableOp, [number, memory, i32::MAX as u64], 100, |_| {});
        assert!(answer == is(Errno::EFAULT) && pieces > 10, "{answer} after {pieces}");
    }

    #[test]
    fn writing_goes_on() {
        let (domain, memory) = fixture::domain(47, true);
        for (nth, pieces) in [(0, 1), (1, 8), (3, 3)] {
            let arguments = [0, 1000, memory + 8192];
            assert_eq!(in_pieces(&domain, Hypercall::ConsoleIo, arguments, nth, |_| {}), (0, pieces));
        }
    }

    #[test]
    fn several_calls_go_on_between_and_within() {
        let (domain, memory) = fixture::domain(48, true);
        let (list, gfn) = (memory + 4096, memory / 4096 + 4);
        let start = || {
            let at = extents(&domain, memory, &[gfn, gfn + 1, gfn + 2, gfn + 3], 0);
            let calls = [(17, 0, 0), (12, DECREASE, at), (99, 1, 2), (12, POPULATE, at), (13, list, 1), (17, 7, 0)];
            for (index, (op, a, b)) in calls.into_iter().enumerate() {
                let entry = MulticallEntry { op, result: 0x5a5a, args: [a, b, 0, 0, 0, 0] };
                put(&domain, list + (index * MulticallEntry::SIZE) as u64, entry);
            }
        };
        let results = || -> Vec<u64> {
            (0..6)
                .map(|index| get::<MulticallEntry>(&domain, list + index * MulticallEntry::SIZE as u64).result)
                .collect()
        };
        start();
        assert_eq!(at_once(&domain, Hypercall::Multicall, [list, 6, 0x99]), 0);
        let expected = results();
        assert_eq!(expected[1..], [4, is(Errno::ENOSYS) as u64, 4, is(Errno::EINVAL) as u64, 4096]);
        for nth in 1..6 {
            start();
            let third = |x: &mut [u64]| assert_eq!(x[2], 0x99, "what is no argument stays");
            let (answer, pieces) = in_pieces(&domain, Hypercall::Multicall, [list, 6, 0x99], nth, third);
            assert!(answer == 0 && pieces > 1, "{answer} after {pieces}");
            assert_eq!(results(), expected, "every {nth}");
        }
    }

    #[test]
    fn a_reset_goes_on() {
        let (domain, memory) = fixture::domain(49, true);
        let bind = |_| {
            put(&domain, memory, AllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 });
            assert_eq!(
                hvc(&domain, Hypercall::EventChannelOp, [EventChannelOp::AllocUnbound.number().into(), memory, 0]),
                0
            );
        };
        (0..20).for_each(bind);
        put(&domain, memory, Reset { dom: DOMID_SELF });
        let number = EventChannelOp::Reset.number().into();
        // Another vCPU binds one more meanwhile.
        let mut late = Some(());
        let more = |_: &mut [u64]| {
            late.take().into_iter().for_each(|()| {
                let _ = domain.events.lock().bind_ipi(0);
            });
        };
        let (answer, pieces) = in_pieces(&domain, Hypercall::EventChannelOp, [number, memory, 0], 4, more);
        assert!(answer == 0 && pieces >= 5, "{answer} after {pieces}");
        assert_eq!(domain.events.lock().next_bound(0), None);
    }

    #[test]
    fn a_call_is_left_even_if_nothing_waits() {
        let (domain, memory) = fixture::domain(50, true);
        let number = GrantTableOp::SwapGrantRef.number().into();
        (0..16 * 4096 / 12).for_each(|index| put(&domain, memory + index * 12, SwapGrantRef::default()));
        let (answer, pieces) = in_pieces(&domain, Hypercall::GrantTableOp, [number, memory, 5400], 0, |_| {});
        assert_eq!((answer, pieces), (0, 6));
    }
}
