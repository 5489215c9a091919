//! `multicall`: several calls in one, each with its own result.

use core::mem::offset_of;

use xen_abi::xen::MulticallEntry;
use xen_abi::{Field, Hypercall};

use super::{Answer, Errno, dispatch, to_register};
use crate::run::Caller;

/// Makes `count` calls from the list at `list`.
pub fn call(caller: &mut Caller<'_>, list: u64, count: u64) -> Answer {
    for index in 0..count & 0xffff_ffff {
        let at = list.wrapping_add(index * MulticallEntry::SIZE as u64);
        let entry: MulticallEntry = caller.get(at)?;
        let [a, b, c, ..] = entry.args;
        let answer = match Hypercall::from_number(entry.op) {
            // They do not nest.
            Some(Hypercall::Multicall) => Err(Errno::EINVAL),
            None => Err(Errno::ENOSYS),
            Some(known) => dispatch(caller, known, a, b, c),
        };
        caller.put(at.wrapping_add(offset_of!(MulticallEntry, result) as u64), to_register(answer))?;
    }
    Ok(0)
}
