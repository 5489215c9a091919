//! `multicall`: several calls in one, each with its own result.

use core::mem::offset_of;

use xen_abi::xen::MulticallEntry;
use xen_abi::{Field, Hypercall};

use super::piece::{Piece, again};
use super::{Answer, Errno, dispatch, sched_op, to_register};
use crate::run::{Caller, Then};

/// Makes `count` calls from the list at `list`. Says what the vCPU does next as well.
///
/// Between two of them, and between two pieces of one, it may be left; then it goes on with the calls that remain, the first of which has
/// in the list the arguments from which it goes on itself. A call that lets the vCPU sleep, or others run first, does so at once.
pub fn call(caller: &mut Caller<'_>, list: u64, count: u64) -> (Answer, Then) {
    let mut then = Then::Resume;
    let answer = each(caller, list, count & 0xffff_ffff, &mut then);
    (answer, then)
}

fn each(caller: &mut Caller<'_>, list: u64, count: u64, then: &mut Then) -> Answer {
    let mut piece = Piece::default();
    for index in 0..count {
        let at = list.wrapping_add(index * MulticallEntry::SIZE as u64);
        let mut entry: MulticallEntry = caller.get(at)?;
        let [a, b, c, ..] = entry.args;
        // The call's arguments are where it puts those from which it goes on.
        let pc = caller.state.context.pc;
        let own = exchange(caller, [a, b, c]);
        let answer = match Hypercall::from_number(entry.op) {
            // They do not nest.
            Some(Hypercall::Multicall) => Err(Errno::EINVAL),
            None => Err(Errno::ENOSYS),
            Some(Hypercall::SchedOp) => {
                let (answer, next) = sched_op::call(caller, a, b);
                *then = next;
                answer
            }
            Some(known) => dispatch(caller, known, a, b, c),
        };
        let arguments = exchange(caller, own);
        if core::mem::replace(&mut caller.state.context.pc, pc) != pc {
            entry.args[..3].copy_from_slice(&arguments);
            caller.put(at, entry)?;
            return again(caller, [at, count - index]);
        }
        caller.put(at.wrapping_add(offset_of!(MulticallEntry, result) as u64), to_register(answer))?;
        let left = count - index - 1;
        if left > 0 && (*then != Then::Resume || piece.is_over(caller)) {
            return again(caller, [at.wrapping_add(MulticallEntry::SIZE as u64), left]);
        }
    }
    Ok(0)
}

/// Puts other arguments into the registers; returns those that were there.
fn exchange(caller: &mut Caller<'_>, arguments: [u64; 3]) -> [u64; 3] {
    let x = &mut caller.state.context.x;
    let before = [x[0], x[1], x[2]];
    x[..3].copy_from_slice(&arguments);
    before
}
