//! `grant_table_op`: pages lent between domains.

use core::mem::offset_of;

use xen_abi::Field;
use xen_abi::grant_table::*;

use super::{Answer, Errno};
use crate::arch::cache;
use crate::domain::grants::FRAMES_MAX;
use crate::memory::Mfn;
use crate::memory::frames::{self, State};
use crate::run::Caller;

/// Bits of the operation below those in which a continuation counts.
const OPERATION: u32 = 0xfff;

/// Does an operation for `count` elements at `address`.
pub fn call(caller: &mut Caller<'_>, operation: u64, address: u64, count: u64) -> Answer {
    let (number, count) = (operation as u32, count as u32);
    if count > i32::MAX as u32 {
        return Err(Errno::EINVAL);
    }
    let operation = GrantTableOp::from_number(u64::from(number & OPERATION)).ok_or(Errno::ENOSYS)?;
    if number & !OPERATION != 0 && operation != GrantTableOp::CacheFlush {
        return Err(Errno::EINVAL);
    }
    let at = |offset: usize| address.wrapping_add(offset as u64);
    match operation {
        GrantTableOp::SetupTable
        | GrantTableOp::QuerySize
        | GrantTableOp::SetVersion
        | GrantTableOp::GetStatusFrames
        | GrantTableOp::GetVersion
            if count != 1 =>
        {
            Err(Errno::EINVAL)
        }
        GrantTableOp::SetupTable => setup_table(caller, address),
        GrantTableOp::QuerySize => {
            let mut argument: QuerySize = caller.get(address)?;
            let status = caller.target(argument.dom).map(|domain| {
                argument.nr_frames = domain.grants.lock().frames() as u32;
                argument.max_nr_frames = FRAMES_MAX as u32;
            });
            caller.put(address, QuerySize { status: status_of(status), ..argument })?;
            Ok(0)
        }
        GrantTableOp::SetVersion => match caller.get::<SetVersion>(address)?.version {
            1 => Ok(0),
            2 => {
                caller.put(address, SetVersion { version: 1 })?;
                Err(Errno::ENOSYS)
            }
            _ => Err(Errno::EINVAL),
        },
        GrantTableOp::GetVersion => {
            caller.target(caller.get::<GetVersion>(address)?.dom)?;
            caller.put(at(offset_of!(GetVersion, version)), 1u32)?;
            Ok(0)
        }
        GrantTableOp::CacheFlush => {
            for index in 0..u64::from(count) {
                cache_flush(caller, address.wrapping_add(index * CacheFlush::SIZE as u64))?;
            }
            Ok(0)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Returns what an element's status says of a domain that may or may not be had.
fn status_of(result: Result<(), Errno>) -> i16 {
    match result {
        Ok(()) => GrantStatus::Okay,
        Err(Errno::EPERM) => GrantStatus::PermissionDenied,
        Err(Errno::ESRCH) => GrantStatus::BadDomain,
        Err(_) => GrantStatus::GeneralError,
    }
    .number()
}

fn setup_table(caller: &mut Caller<'_>, address: u64) -> Answer {
    let argument: SetupTable = caller.get(address)?;
    let count = argument.nr_frames as usize;
    let status = match caller.target(argument.dom) {
        Ok(domain) => {
            let mut grants = domain.grants.lock();
            let grown = grants.grow(count, domain.id);
            let places = if grown.is_ok() { count } else { 0 };
            for index in 0..places {
                let gfn = grants.place(index).map_or(u64::MAX, |gfn| gfn.0);
                caller.put(argument.frame_list.0.wrapping_add(index as u64 * 8), gfn)?;
            }
            status_of(grown)
        }
        Err(errno) => status_of(Err(errno)),
    };
    caller.put(address.wrapping_add(offset_of!(SetupTable, status) as u64), status)?;
    Ok(0)
}

/// Cleans and invalidates what the caller's devices read and write.
fn cache_flush(caller: &mut Caller<'_>, address: u64) -> Result<(), Errno> {
    let argument: CacheFlush = caller.get(address)?;
    let (machine, operation) = (argument.address_or_ref, argument.op);
    let (offset, length) = (u64::from(argument.offset), u64::from(argument.length));
    if operation & !(GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL) != 0
        || offset >= 4096
        || length > 4096
        || offset + length > 4096
    {
        return Err(Errno::EINVAL);
    }
    if length == 0 || operation == 0 {
        return Ok(());
    }
    let frame = Mfn::of(machine);
    match frames::owner_of(frame) {
        Some((owner, State::Domain)) if owner == caller.domain().id => {}
        Some(_) => return Err(Errno::EINVAL),
        None if frames::is_memory(frame) => return Err(Errno::EPERM),
        None => return Err(Errno::EINVAL),
    }
    let at = frame.address() + offset;
    match operation {
        GNTTAB_CACHE_CLEAN => cache::clean(at, length),
        _ => cache::clean_and_invalidate(at, length),
    }
    Ok(())
}
