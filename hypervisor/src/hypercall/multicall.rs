//! `multicall`: several calls in one, each with its own result.

use core::mem::offset_of;

use xen_abi::xen::MulticallEntry;
use xen_abi::{Field, Hypercall};

use super::{Answer, Errno, dispatch, sched_op, to_register};
use crate::run::{Caller, Then};

/// Makes `count` calls from the list at `list`. Says what the vCPU does next as well: where a call lets it sleep or others run first, that
/// is after the last one.
pub fn call(caller: &mut Caller<'_>, list: u64, count: u64) -> (Answer, Then) {
    let mut then = Then::Resume;
    let answer = each(caller, list, count, &mut then);
    (answer, then)
}

fn each(caller: &mut Caller<'_>, list: u64, count: u64, then: &mut Then) -> Answer {
    for index in 0..count & 0xffff_ffff {
        let at = list.wrapping_add(index * MulticallEntry::SIZE as u64);
        let entry: MulticallEntry = caller.get(at)?;
        let [a, b, c, ..] = entry.args;
        let answer = match Hypercall::from_number(entry.op) {
            // They do not nest.
            Some(Hypercall::Multicall) => Err(Errno::EINVAL),
            None => Err(Errno::ENOSYS),
            Some(Hypercall::SchedOp) => {
                let (answer, next) = sched_op::call(caller, a, b);
                // What comes after a sleep that nothing was to end may be what ends it: then the vCPU has news, and does not sleep.
                *then = match (*then, next) {
                    (Then::Block, Then::Yield) | (_, Then::Resume) => *then,
                    _ => next,
                };
                answer
            }
            Some(known) => dispatch(caller, known, a, b, c),
        };
        caller.put(at.wrapping_add(offset_of!(MulticallEntry, result) as u64), to_register(answer))?;
        if *then == Then::Off {
            break;
        }
    }
    Ok(0)
}
