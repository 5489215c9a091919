//! `memory_op`: a domain's memory, and what of the hypervisor's it sees there.
#![expect(non_upper_case_globals, reason = "the headers' spelling")]

use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;

use xen_abi::memory::*;
use xen_abi::xen::DOMID_SELF;

use super::{Answer, Errno};
use crate::domain::Domain;
use crate::memory::frames::{self, State};
use crate::memory::p2m::Kind;
use crate::memory::{Gfn, Mfn};
use crate::run::Caller;

/// The largest order of an extent: Dom0's, and another domain's.
const ORDER_CONTROL: u32 = 18;
const ORDER: u32 = 9;

/// Does `command` with the structure at `address`.
pub fn call(caller: &mut Caller<'_>, command: u64, address: u64) -> Answer {
    let (number, start) = (command & 0x3f, command >> 6);
    let operation = MemoryOp::from_number(number).ok_or(Errno::ENOSYS)?;
    match operation {
        MemoryOp::IncreaseReservation | MemoryOp::DecreaseReservation | MemoryOp::PopulatePhysmap => {
            Ok(reservation(caller, operation, start, address))
        }
        _ if start != 0 => Err(Errno::EINVAL),
        MemoryOp::MaximumRamPage => Ok(frames::end().0),
        MemoryOp::CurrentReservation => Ok(question(caller, address)?.pages.load(Relaxed)),
        MemoryOp::MaximumReservation => Ok(question(caller, address)?.pages_max.load(Relaxed)),
        MemoryOp::MaximumGpfn => Ok(question(caller, address)?.p2m.lock().last().map_or(0, |gfn| gfn.0)),
        MemoryOp::AddToPhysmap => {
            let argument: AddToPhysmap = caller.get(address)?;
            let domain = caller.target(argument.domid)?;
            match argument.space {
                XENMAPSPACE_gmfn..=XENMAPSPACE_gmfn_foreign => Err(Errno::ENOSYS),
                space => add(caller, &domain, space, argument.idx, Gfn(argument.gpfn)),
            }
        }
        MemoryOp::RemoveFromPhysmap => {
            let argument: RemoveFromPhysmap = caller.get(address)?;
            remove(&*caller.target(argument.domid)?, Gfn(argument.gpfn))
        }
        MemoryOp::AddToPhysmapBatch => add_batch(caller, address),
        MemoryOp::GetSharingFreedPages | MemoryOp::GetSharingSharedPages => Ok(0),
        MemoryOp::GetVnumainfo => Err(Errno::EOPNOTSUPP),
        MemoryOp::ClaimPages if !caller.domain().control => Err(Errno::EPERM),
        _ => Err(Errno::ENOSYS),
    }
}

/// Returns the domain that a question is about.
fn question(caller: &Caller<'_>, address: u64) -> Result<Arc<Domain>, Errno> {
    caller.target(caller.get::<MemoryDomain>(address)?.domid)
}

/// Adds, takes or fills extents; returns how many were done, never an error.
fn reservation(caller: &mut Caller<'_>, operation: MemoryOp, start: u64, address: u64) -> u64 {
    let Ok(argument) = caller.get::<MemoryReservation>(address) else { return start };
    let Ok(domain) = caller.target(argument.domid) else { return start };
    let order = argument.extent_order;
    if order > if caller.domain().control { ORDER_CONTROL } else { ORDER } {
        return start;
    }
    let mut done = start;
    while done < argument.nr_extents {
        let at = argument.extent_start.0.wrapping_add(done.wrapping_mul(8));
        let Ok(gfn) = caller.get::<u64>(at) else { break };
        let whole = gfn.checked_add(1 << order).is_some_and(|end| domain.p2m.lock().is_valid(Gfn(end - 1)));
        let fine = whole
            && match operation {
                MemoryOp::DecreaseReservation => decrease(&domain, gfn, order),
                MemoryOp::PopulatePhysmap => populate(&domain, gfn, order),
                // Frames without a place are of no use to a guest whose memory is translated.
                _ => false,
            };
        if !fine {
            break;
        }
        done += 1;
    }
    done
}

/// Takes frames out of a domain's memory. Where frames are the machine's own they stay the domain's, to be put back.
fn decrease(domain: &Domain, gfn: u64, order: u32) -> bool {
    let mut p2m = domain.p2m.lock();
    for gfn in (gfn..gfn + (1 << order)).map(Gfn) {
        let Some((mfn, kind)) = p2m.get(gfn) else { return false };
        if !kind.is_memory() || frames::owner_of(mfn) != Some((domain.id, State::Domain)) || p2m.clear(gfn, 1).is_err()
        {
            return false;
        }
        if !domain.direct {
            domain.pages.fetch_sub(1, Relaxed);
            frames::put(mfn);
        }
    }
    true
}

/// Gives a domain memory where it has none.
fn populate(domain: &Domain, gfn: u64, order: u32) -> bool {
    let size = 1u64 << order;
    if domain.direct {
        let owned = (gfn..gfn + size).all(|frame| frames::owner_of(Mfn(frame)) == Some((domain.id, State::Domain)));
        return owned && domain.p2m.lock().set(Gfn(gfn), Mfn(gfn), size, Kind::Memory).is_ok();
    }
    if domain.pages.fetch_add(size, SeqCst) + size > domain.pages_max.load(Relaxed) {
        domain.pages.fetch_sub(size, SeqCst);
        return false;
    }
    let Some(first) = frames::allocate_as(order, domain.id, State::Domain) else {
        domain.pages.fetch_sub(size, SeqCst);
        return false;
    };
    (first.0..first.0 + size).for_each(|frame| frames::zero(Mfn(frame)));
    crate::arch::cache::clean(first.address(), size * 4096);
    domain.p2m.lock().set(Gfn(gfn), first, size, Kind::Memory).is_ok()
}

/// Maps one frame of what is not the domain's memory.
fn add(caller: &Caller<'_>, domain: &Arc<Domain>, space: u32, index: u64, gfn: Gfn) -> Answer {
    if !domain.p2m.lock().is_valid(gfn) {
        return Err(Errno::EINVAL);
    }
    match space {
        XENMAPSPACE_shared_info => {
            if index != 0 {
                return Err(Errno::EINVAL);
            }
            let mut place = domain.shared_info_at.lock();
            lend(domain, &mut place, domain.shared_info.frame(), gfn)
        }
        XENMAPSPACE_grant_table => domain.grants.lock().map(domain, index, gfn),
        XENMAPSPACE_dev_mmio => {
            if domain.id != caller.domain().id || !domain.control {
                return Err(Errno::EINVAL);
            }
            // What Dom0 may have of devices it has; memory is no device.
            if !frames::is_memory(Mfn(index)) {
                let mut p2m = domain.p2m.lock();
                p2m.set(gfn, Mfn(index), 1, Kind::DeviceUncached).map_err(|_| Errno::ENOMEM)?;
            }
            Ok(0)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Maps one of the hypervisor's frames, which can be in one place only.
pub fn lend(domain: &Domain, place: &mut Option<Gfn>, frame: Mfn, gfn: Gfn) -> Answer {
    let mut p2m = domain.p2m.lock();
    if let Some(old) = *place {
        if old == gfn && p2m.get(old).is_some_and(|(mfn, _)| mfn == frame) {
            return Ok(0);
        }
        if p2m.get(old).is_some_and(|(mfn, kind)| mfn == frame && kind == Kind::Lent) {
            return Err(Errno::EBUSY);
        }
    }
    p2m.set(gfn, frame, 1, Kind::Lent).map_err(|_| Errno::ENOMEM)?;
    *place = Some(gfn);
    Ok(0)
}

/// Takes away whatever is at a frame.
fn remove(domain: &Domain, gfn: Gfn) -> Answer {
    let mut p2m = domain.p2m.lock();
    match p2m.get(gfn) {
        None => Err(Errno::ENOENT),
        Some((_, Kind::Device | Kind::DeviceUncached)) => Err(Errno::ENOENT),
        Some((mfn, kind)) => {
            p2m.clear(gfn, 1).map_err(|_| Errno::ENOMEM)?;
            if matches!(kind, Kind::Foreign | Kind::ForeignReadOnly) {
                frames::put(mfn);
            }
            Ok(0)
        }
    }
}

fn add_batch(caller: &mut Caller<'_>, address: u64) -> Answer {
    let argument: AddToPhysmapBatch = caller.get(address)?;
    let domain = caller.target(argument.domid)?;
    let (space, foreign) = (u32::from(argument.space), argument.foreign_domid);
    if space == XENMAPSPACE_gmfn_range || space == XENMAPSPACE_dev_mmio && foreign != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let from = (space == XENMAPSPACE_gmfn_foreign).then(|| foreign_domain(caller, &domain, foreign)).transpose()?;
    for index in 0..u64::from(argument.size) {
        let number: u64 = caller.get(argument.idxs.0.wrapping_add(index * 8))?;
        let gfn = Gfn(caller.get(argument.gpfns.0.wrapping_add(index * 8))?);
        let answer = match &from {
            Some(from) => add_foreign(&domain, from, Gfn(number), gfn),
            None => add(caller, &domain, space, number, gfn),
        };
        let error = answer.err().map_or(0, |errno| errno.to_register() as i32);
        caller.put(argument.errs.0.wrapping_add(index * 4), error)?;
    }
    Ok(0)
}

fn foreign_domain(caller: &Caller<'_>, domain: &Domain, id: u16) -> Result<Arc<Domain>, Errno> {
    if id == domain.id || id == DOMID_SELF {
        return Err(Errno::EINVAL);
    }
    caller.target(id)
}

/// Maps a frame of another domain's memory, which stays there as long as it is mapped.
fn add_foreign(domain: &Domain, from: &Domain, theirs: Gfn, gfn: Gfn) -> Answer {
    let (mfn, kind) = from.p2m.lock().get(theirs).ok_or(Errno::EINVAL)?;
    if !kind.is_memory() || frames::get_memory(mfn, from.id).is_err() {
        return Err(Errno::EINVAL);
    }
    let kind = if kind == Kind::Memory { Kind::Foreign } else { Kind::ForeignReadOnly };
    let mut p2m = domain.p2m.lock();
    if !p2m.is_valid(gfn) {
        frames::put(mfn);
        return Err(Errno::EINVAL);
    }
    let before = p2m.get(gfn);
    if p2m.set(gfn, mfn, 1, kind).is_err() {
        frames::put(mfn);
        return Err(Errno::ENOMEM);
    }
    if let Some((old, Kind::Foreign | Kind::ForeignReadOnly)) = before {
        frames::put(old);
    }
    Ok(0)
}
