//! `memory_op`: a domain's memory, and what of the hypervisor's it sees there.
#![expect(non_upper_case_globals, reason = "the headers' spelling")]

pub mod reservation;

use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;

use xen_abi::memory::*;
use xen_abi::xen::{DOMID_IO, DOMID_SELF, DOMID_XEN};

use super::piece::{Piece, again};
use super::{Answer, Errno};
use crate::domain::grants::{FRAMES_MAX, map_frame};
use crate::domain::{self, Domain};
use crate::memory::frames;
use crate::memory::p2m::Kind;
use crate::memory::{Gfn, Mfn};
use crate::run::Caller;

/// Where the extent stands in a command from which it goes on (Xen's MEMOP_EXTENT_SHIFT).
const EXTENT_SHIFT: u32 = 6;

/// Does `command` with the structure at `address`.
pub fn call(caller: &mut Caller<'_>, command: u64, address: u64) -> Answer {
    let (number, start) = (command & ((1 << EXTENT_SHIFT) - 1), command >> EXTENT_SHIFT);
    let operation = MemoryOp::from_number(number).ok_or(Errno::ENOSYS)?;
    match operation {
        MemoryOp::IncreaseReservation | MemoryOp::DecreaseReservation | MemoryOp::PopulatePhysmap => {
            reservation::call(caller, operation, command, address)
        }
        MemoryOp::AddToPhysmap => {
            let argument: AddToPhysmap = caller.get(address)?;
            let domain = caller.target(argument.domid)?;
            match argument.space {
                _ if start != 0 => Err(if is_answered(operation) { Errno::EINVAL } else { Errno::ENOSYS }),
                // A range of none is moved; whose numbers are what they are has no other.
                XENMAPSPACE_gmfn_range if argument.size == 0 => Ok(0),
                XENMAPSPACE_gmfn..=XENMAPSPACE_gmfn_foreign => Err(Errno::ENOSYS),
                space => add(caller, &domain, space, argument.idx, Gfn(argument.gpfn)),
            }
        }
        MemoryOp::AddToPhysmapBatch => add_batch(caller, start, address),
        MemoryOp::AcquireResource => acquire_resource(caller, start, address),
        _ if start != 0 => Err(if is_answered(operation) { Errno::EINVAL } else { Errno::ENOSYS }),
        MemoryOp::MaximumRamPage => Ok(frames::end().0),
        MemoryOp::CurrentReservation => Ok(question(caller, address)?.pages.load(Relaxed)),
        MemoryOp::MaximumReservation => Ok(question(caller, address)?.pages_max.load(Relaxed)),
        MemoryOp::MaximumGpfn => Ok(question(caller, address)?.p2m.lock().last().map_or(0, |gfn| gfn.0)),
        MemoryOp::RemoveFromPhysmap => {
            let argument: RemoveFromPhysmap = caller.get(address)?;
            remove(&*caller.target(argument.domid)?, Gfn(argument.gpfn))
        }
        MemoryOp::GetSharingFreedPages | MemoryOp::GetSharingSharedPages => Ok(0),
        MemoryOp::GetVnumainfo => {
            caller.get::<VnumaTopologyInfo>(address)?;
            Err(Errno::EOPNOTSUPP)
        }
        MemoryOp::ClaimPages if !caller.domain().control => Err(Errno::EPERM),
        MemoryOp::ClaimPages => claim_pages(&caller.get(address)?),
        MemoryOp::Exchange => exchange(&caller.get(address)?),
        MemoryOp::ReservedDeviceMemoryMap => {
            // No device keeps memory; nothing is told of how many do.
            caller.get::<ReservedDeviceMemoryMap>(address)?;
            Err(Errno::ENOSYS)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Whether an operation is one that could go on from some extent, had it any.
fn is_answered(operation: MemoryOp) -> bool {
    matches!(
        operation,
        MemoryOp::MaximumRamPage
            | MemoryOp::CurrentReservation
            | MemoryOp::MaximumReservation
            | MemoryOp::MaximumGpfn
            | MemoryOp::RemoveFromPhysmap
            | MemoryOp::Exchange
            | MemoryOp::ClaimPages
            | MemoryOp::GetVnumainfo
            | MemoryOp::ReservedDeviceMemoryMap
    )
}

/// Returns the domain that a question is about.
fn question(caller: &Caller<'_>, address: u64) -> Result<Arc<Domain>, Errno> {
    caller.target(caller.get::<MemoryDomain>(address)?.domid)
}

/// Returns the frame, if it is another domain's, that a translation holds a reference of.
pub fn foreign_frame(translation: Option<(Mfn, Kind)>) -> Option<Mfn> {
    translation.filter(|&(_, kind)| kind.holds()).map(|(mfn, _)| mfn)
}

/// Makes a frame number mean a frame, whatever it meant; what it held of another domain is given back.
///
/// # Errors
/// EINVAL: there is no such number; ENOMEM.
pub fn place(domain: &Domain, gfn: Gfn, mfn: Mfn, kind: Kind) -> Result<(), Errno> {
    let mut p2m = domain.p2m.lock();
    if !p2m.is_valid(gfn) {
        return Err(Errno::EINVAL);
    }
    let before = foreign_frame(p2m.get(gfn));
    p2m.set(gfn, mfn, 1, kind).map_err(|_| Errno::ENOMEM)?;
    before.into_iter().for_each(frames::put);
    Ok(())
}

/// XENMEM_claim_pages: of the only domain that is there every page is there too, so that none can be claimed for it.
fn claim_pages(asked: &MemoryReservation) -> Answer {
    let plain = asked.extent_start.is_null() && asked.extent_order == 0 && asked.mem_flags == 0;
    let domain = domain::find(asked.domid).filter(|_| plain).ok_or(Errno::EINVAL)?;
    if asked.nr_extents == 0 {
        return Ok(0);
    }
    let room = domain.pages.load(Relaxed) + 1..=domain.pages_max.load(Relaxed);
    if room.contains(&asked.nr_extents) { Err(Errno::ENOMEM) } else { Err(Errno::EINVAL) }
}

/// XENMEM_exchange: of nothing. Frame numbers that the guest gives itself cannot be exchanged for others.
fn exchange(asked: &MemoryExchange) -> Answer {
    if asked.nr_exchanged > asked.given.nr_extents {
        return Err(Errno::EINVAL);
    }
    if asked.given.nr_extents == 0 && asked.out.nr_extents == 0 { Ok(0) } else { Err(Errno::ENOSYS) }
}

/// XENMEM_acquire_resource: maps frames of another domain's grant table.
fn acquire_resource(caller: &mut Caller<'_>, start: u64, address: u64) -> Answer {
    let argument: MemAcquireResource = caller.get(address)?;
    let end = argument.frame.checked_add(argument.nr_frames.into()).filter(|&end| end <= 1 << 32);
    if argument.pad != 0 || end.is_none() || start > u64::from(argument.nr_frames) {
        return Err(Errno::EINVAL);
    }
    let domain = domain::find(argument.domid).ok_or(Errno::ESRCH)?;
    if domain.id == caller.domain().id || !caller.domain().control {
        return Err(Errno::EPERM);
    }
    match (argument.r#type, argument.id) {
        (XENMEM_resource_grant_table, XENMEM_resource_grant_table_id_shared) => {}
        (XENMEM_resource_grant_table | XENMEM_resource_ioreq_server | XENMEM_resource_vmtrace_buf, _) => {
            return Err(Errno::EINVAL);
        }
        _ => return Err(Errno::EOPNOTSUPP),
    }
    if argument.frame_list.is_null() {
        if argument.nr_frames != 0 {
            return Err(Errno::EINVAL);
        }
        let at = address.wrapping_add(core::mem::offset_of!(MemAcquireResource, nr_frames) as u64);
        caller.put(at, FRAMES_MAX as u32)?;
        return Ok(0);
    }
    // As many as a table may have at most: the first one beyond is an error.
    for index in start..argument.nr_frames.into() {
        let gfn = Gfn(caller.get(argument.frame_list.0.wrapping_add(index * 8))?);
        let number = argument.frame + index;
        let mut grants = domain.grants.lock();
        crate::domain::grants::grow(&mut grants, &domain, usize::try_from(number + 1).map_err(|_| Errno::EINVAL)?)?;
        let frame = grants.frame(number as usize).ok_or(Errno::EINVAL)?.0.frame();
        frames::get(frame, domain.id).map_err(|_| Errno::EINVAL)?;
        drop(grants);
        place(caller.domain(), gfn, frame, Kind::Foreign).inspect_err(|_| frames::put(frame))?;
    }
    Ok(0)
}

/// Maps one frame of what is not the domain's memory.
fn add(caller: &Caller<'_>, domain: &Arc<Domain>, space: u32, index: u64, gfn: Gfn) -> Answer {
    if gfn.0 == u64::MAX {
        return Err(Errno::EINVAL);
    }
    match space {
        XENMAPSPACE_shared_info if index != 0 => Err(Errno::EINVAL),
        XENMAPSPACE_shared_info => {
            let mut place = domain.shared_info_at.lock();
            lend(domain, &mut place, domain.shared_info.frame(), gfn)
        }
        XENMAPSPACE_grant_table => map_frame(domain, index, gfn),
        XENMAPSPACE_dev_mmio => {
            if domain.id != caller.domain().id || !domain.control {
                return Err(Errno::EINVAL);
            }
            // Dom0 has its devices where they are; what is not there it may not have, and is not told so.
            let own = domain.p2m.lock().get(Gfn(index)) == Some((Mfn(index), Kind::Device));
            if own {
                place(domain, gfn, Mfn(index), Kind::DeviceUncached)?;
            }
            Ok(0)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Maps one of the hypervisor's frames, which can be in one place only.
pub fn lend(domain: &Domain, at: &mut Option<Gfn>, frame: Mfn, gfn: Gfn) -> Answer {
    if at.is_some_and(|old| domain.p2m.lock().get(old) == Some((frame, Kind::Lent))) {
        return Err(Errno::EBUSY);
    }
    place(domain, gfn, frame, Kind::Lent)?;
    *at = Some(gfn);
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
            foreign_frame(Some((mfn, kind))).into_iter().for_each(frames::put);
            Ok(0)
        }
    }
}

fn add_batch(caller: &mut Caller<'_>, start: u64, address: u64) -> Answer {
    let argument: AddToPhysmapBatch = caller.get(address)?;
    let start = u16::try_from(start).map_err(|_| Errno::EDOM)?;
    if argument.size < start {
        return Err(Errno::EILSEQ);
    }
    let domain = caller.target(argument.domid)?;
    let (space, foreign) = (u32::from(argument.space), argument.foreign_domid);
    if space == XENMAPSPACE_gmfn_range || space == XENMAPSPACE_dev_mmio && foreign != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut piece = Piece::default();
    for index in u64::from(start)..argument.size.into() {
        let number: u64 = caller.get(argument.idxs.0.wrapping_add(index * 8))?;
        let gfn = Gfn(caller.get(argument.gpfns.0.wrapping_add(index * 8))?);
        if gfn.0 == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let answer = match space {
            XENMAPSPACE_gmfn_foreign => {
                foreign_domain(caller, foreign).and_then(|from| add_foreign(&domain, &from, Gfn(number), gfn))
            }
            _ => add(caller, &domain, space, number, gfn),
        };
        let error = answer.err().map_or(0, |errno| errno.to_register() as i32);
        caller.put(argument.errs.0.wrapping_add(index * 4), error)?;
        if index + 1 < argument.size.into() && piece.is_over(caller) {
            return again(caller, [u64::from(MemoryOp::AddToPhysmapBatch.number()) | (index + 1) << EXTENT_SHIFT]);
        }
    }
    Ok(0)
}

/// Returns the domain whose pages are to be mapped, which is another one.
fn foreign_domain(caller: &Caller<'_>, id: u16) -> Result<Arc<Domain>, Errno> {
    match id {
        // Its own, the devices' and the hypervisor's pages are not to be had in this way.
        DOMID_SELF | DOMID_IO | DOMID_XEN => Err(Errno::EINVAL),
        own if own == caller.domain().id => Err(Errno::ESRCH),
        other => caller.target(other),
    }
}

/// Maps a frame of another domain's memory, which stays there as long as it is mapped.
fn add_foreign(domain: &Domain, from: &Domain, theirs: Gfn, gfn: Gfn) -> Answer {
    let (mfn, kind) = {
        let p2m = from.p2m.lock();
        let (mfn, kind) = p2m.get(theirs).ok_or(Errno::EINVAL)?;
        if !kind.is_memory() || frames::get_memory(mfn, from.id).is_err() {
            return Err(Errno::EINVAL);
        }
        (mfn, if kind == Kind::Memory { Kind::Foreign } else { Kind::ForeignReadOnly })
    };
    place(domain, gfn, mfn, kind).inspect_err(|_| frames::put(mfn))?;
    Ok(0)
}
