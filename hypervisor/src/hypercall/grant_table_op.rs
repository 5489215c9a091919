//! `grant_table_op`: pages lent between domains. The rules are `grant`'s; `domain::grants` lets them meet memory.

use core::mem::offset_of;

use xen_abi::grant_table::*;
use xen_abi::xen::DOMID_SELF;
use xen_abi::{Field, Plain};

use super::piece::{Piece, again};
use super::{Answer, Errno};
use crate::arch::cache;
use crate::domain::grants::{self, FRAMES_MAX, Pinned};
use crate::domain::{self, Domain};
use crate::grant::{self, Access, CopyPlan, Flush};
use crate::memory::frames::{self, State};
use crate::memory::{Mfn, guest};
use crate::run::Caller;
use alloc::sync::Arc;

/// Bits of the operation below those in which a continuation counts.
const OPERATION: u32 = 0xfff;

/// Does an operation for `count` elements at `address`.
pub fn call(caller: &mut Caller<'_>, operation: u64, address: u64, count: u64) -> Answer {
    let (number, count) = (operation as u32, count as u32);
    if count > i32::MAX as u32 {
        return Err(Errno::EINVAL);
    }
    let operation = GrantTableOp::from_number(u64::from(number & OPERATION));
    if number & !OPERATION != 0 && operation != Some(GrantTableOp::CacheFlush) {
        return Err(Errno::EINVAL);
    }
    let at = |offset: usize| address.wrapping_add(offset as u64);
    match operation.ok_or(Errno::ENOSYS)? {
        GrantTableOp::SetupTable | GrantTableOp::QuerySize | GrantTableOp::GetStatusFrames if count != 1 => {
            Err(Errno::EINVAL)
        }
        GrantTableOp::MapGrantRef => each(caller, number, address, count, map),
        GrantTableOp::UnmapGrantRef => each(caller, number, address, count, |caller, element: &mut UnmapGrantRef| {
            element.status = number_of(grants::unmap(caller.domain(), element.handle, element.host_addr));
            Ok(())
        }),
        GrantTableOp::UnmapAndReplace => {
            each(caller, number, address, count, |caller, element: &mut UnmapAndReplace| {
                element.status = number_of(unmap_and_replace(caller.domain(), element));
                Ok(())
            })
        }
        GrantTableOp::Copy => each(caller, number, address, count, |caller, element: &mut Copy| {
            element.status = number_of(copy(caller.domain(), element));
            Ok(())
        }),
        GrantTableOp::SwapGrantRef => each(caller, number, address, count, |caller, element: &mut SwapGrantRef| {
            element.status = number_of(caller.domain().grants.lock().swap(element.ref_a, element.ref_b));
            Ok(())
        }),
        GrantTableOp::SetupTable => setup_table(caller, address),
        GrantTableOp::QuerySize => {
            let mut argument: QuerySize = caller.get(address)?;
            let status = caller.target(argument.dom).map(|domain| {
                let (frames, frames_max) = domain.grants.lock().size();
                (argument.nr_frames, argument.max_nr_frames) = (frames as u32, frames_max as u32);
            });
            caller.put(address, QuerySize { status: status_of(status), ..argument })?;
            Ok(0)
        }
        GrantTableOp::SetVersion => {
            let asked: SetVersion = caller.get(address)?;
            let answer = grant::set_version(asked.version);
            caller.put(address, SetVersion { version: grant::VERSION })?;
            answer.map(|()| 0)
        }
        GrantTableOp::GetStatusFrames => {
            let argument: GetStatusFrames = caller.get(address)?;
            // Version 1 has none.
            let status = match caller.target(argument.dom) {
                Ok(_) if argument.nr_frames > 0 => GrantStatus::GeneralError.number(),
                found => status_of(found.map(|_| ())),
            };
            caller.put(at(offset_of!(GetStatusFrames, status)), status)?;
            Ok(0)
        }
        GrantTableOp::GetVersion => {
            caller.target(caller.get::<GetVersion>(address)?.dom)?;
            caller.put(at(offset_of!(GetVersion, version)), grant::VERSION)?;
            Ok(0)
        }
        GrantTableOp::CacheFlush => every(caller, number, (address, CacheFlush::SIZE), count, cache_flush),
        // A page that moves has no place in memory where frames have numbers of their own.
        GrantTableOp::Transfer => Err(Errno::EOPNOTSUPP),
        GrantTableOp::DumpTable => Err(Errno::ENOSYS),
    }
}

/// Lets `act` change each of `count` elements.
fn each<T: Plain>(
    caller: &mut Caller<'_>,
    number: u32,
    address: u64,
    count: u32,
    mut act: impl FnMut(&mut Caller<'_>, &mut T) -> Result<(), Errno>,
) -> Answer {
    every(caller, number, (address, T::SIZE), count, |caller, at| {
        let mut element: T = caller.get(at)?;
        act(caller, &mut element)?;
        caller.put(at, element)
    })
}

/// Lets `act` see to the element at each of `count` addresses, in pieces: the call goes on with the elements that are left, as Xen's.
fn every(
    caller: &mut Caller<'_>,
    number: u32,
    (address, size): (u64, usize),
    count: u32,
    mut act: impl FnMut(&mut Caller<'_>, u64) -> Result<(), Errno>,
) -> Answer {
    let mut piece = Piece::default();
    for index in 0..count {
        let at = address.wrapping_add(u64::from(index) * size as u64);
        act(caller, at)?;
        let left = count - index - 1;
        if left > 0 && piece.is_over(caller) {
            return again(caller, [number.into(), at.wrapping_add(size as u64), left.into()]);
        }
    }
    Ok(0)
}

fn number_of(result: Result<(), GrantStatus>) -> i16 {
    result.err().unwrap_or(GrantStatus::Okay).number()
}

/// Returns what an element's status says of a domain that may or may not be had.
fn status_of(result: Result<(), Errno>) -> i16 {
    match result {
        Ok(()) => GrantStatus::Okay,
        Err(Errno::EPERM) => GrantStatus::PermissionDenied,
        Err(Errno::ESRCH) => GrantStatus::BadDomain,
        Err(Errno::EFAULT) => GrantStatus::BadVirtAddr,
        Err(_) => GrantStatus::GeneralError,
    }
    .number()
}

fn map(caller: &mut Caller<'_>, element: &mut MapGrantRef) -> Result<(), Errno> {
    let own = caller.domain();
    match grants::map(own, element.dom, element.r#ref, element.flags, element.host_addr) {
        Ok((handle, frame)) => {
            (element.handle, element.dev_bus_addr, element.status) = (handle, frame.address(), 0);
        }
        Err(status) => element.status = status.number(),
    }
    Ok(())
}

/// As unmapping; on Arm nothing can take the mapping's place.
fn unmap_and_replace(own: &Domain, element: &UnmapAndReplace) -> Result<(), GrantStatus> {
    own.mappings.lock().get(element.handle)?;
    if element.new_addr != 0 {
        return Err(GrantStatus::GeneralError);
    }
    grants::unmap(own, element.handle, element.host_addr)
}

fn copy(own: &Arc<Domain>, element: &Copy) -> Result<(), GrantStatus> {
    let find = |id: u16| if id == DOMID_SELF { Some(own.clone()) } else { domain::find(id) };
    let from = find(element.source.domid).ok_or(GrantStatus::BadDomain)?;
    let to = find(element.dest.domid).ok_or(GrantStatus::BadDomain)?;
    let plan = CopyPlan::of(element, |id| id == DOMID_SELF)?;
    let source = Pinned::new(own, &from, plan.source, Access::Read)?;
    let destination = Pinned::new(own, &to, plan.destination, Access::Write)?;
    plan.check()?;
    guest::copy_between(source.frame(), plan.from, destination.frame(), plan.to.start);
    Ok(())
}

fn setup_table(caller: &mut Caller<'_>, address: u64) -> Answer {
    let argument: SetupTable = caller.get(address)?;
    let count = argument.nr_frames as usize;
    let result = caller.target(argument.dom).and_then(|domain| {
        grants::grow(&mut domain.grants.lock(), &domain, count)?;
        for index in 0..count.min(FRAMES_MAX) {
            let place = domain.grants.lock().frame(index).and_then(|(_, place)| place);
            caller.put(argument.frame_list.0.wrapping_add(index as u64 * 8), place.unwrap_or(u64::MAX))?;
        }
        Ok(())
    });
    caller.put(address.wrapping_add(offset_of!(SetupTable, status) as u64), status_of(result))?;
    Ok(0)
}

/// Cleans and invalidates what the caller's devices read and write.
fn cache_flush(caller: &mut Caller<'_>, address: u64) -> Result<(), Errno> {
    let Some(asked) = grant::cache_flush(&caller.get::<CacheFlush>(address)?)? else { return Ok(()) };
    let Flush { address, length, clean, invalidate } = asked;
    let (frame, own) = (Mfn::of(address), caller.domain().id);
    match frames::owner_of(frame) {
        Some((owner, State::Domain)) if owner == own => {}
        Some((owner, State::Domain))
            if domain::find(owner).is_some_and(|other| other.grants.lock().is_granted(own, frame.0)) => {}
        Some(_) => return Err(Errno::EINVAL),
        None if frames::is_memory(frame) => return Err(Errno::EPERM),
        None => return Err(Errno::EINVAL),
    }
    match (clean, invalidate) {
        (true, false) => cache::clean(address, length as u64),
        // Invalidating alone would show what was there before others wrote it.
        _ => cache::clean_and_invalidate(address, length as u64),
    }
    Ok(())
}
