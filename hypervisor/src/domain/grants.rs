//! A domain's grant table as memory, and what it has mapped of others': where the rules of grants meet frames and translations.
//!
//! Locks are taken in this order: mappings, a granter's table, a domain's physical memory. Never two of a kind.

use crate::domain::{self, Domain};
use crate::grant::mapping::Mapping;
use crate::grant::{self, Access, Side, Use};
use crate::hypercall::{Answer, Errno, memory_op};
use crate::memory::p2m::Kind;
use crate::memory::shared::SharedPage;
use crate::memory::{Gfn, Mfn, frames};
use alloc::sync::Arc;
use xen_abi::grant_table::GrantStatus;

/// Frames that a table may have: 32768 entries.
pub const FRAMES_MAX: usize = 64;
/// Frames that Xen's notes of what a domain maps may have.
pub const MAPPINGS_MAX: usize = 1024;

/// A domain's table.
pub type Grants = grant::Grants<SharedPage>;

/// Makes a domain's table at least `count` frames large.
///
/// # Errors
/// EINVAL: too many; ENOMEM.
pub fn grow(grants: &mut Grants, domain: &Domain, count: usize) -> Result<(), Errno> {
    grants.grow(count, || SharedPage::lend(domain.id))
}

/// Maps a frame of the table into the domain's memory; the table grows as far as that.
///
/// # Errors
/// As the hypercall has them.
pub fn map_frame(domain: &Domain, index: u64, gfn: Gfn) -> Answer {
    let index = index as u32 as usize;
    if index >= FRAMES_MAX {
        return Err(Errno::EINVAL);
    }
    let mut grants = domain.grants.lock();
    grow(&mut grants, domain, index + 1)?;
    let (page, place) = grants.frame(index).ok_or(Errno::EINVAL)?;
    let (frame, mut place) = (page.frame(), place.map(Gfn));
    memory_op::lend(domain, &mut place, frame, gfn)?;
    grants.set_place(index, place.map(|gfn| gfn.0));
    Ok(0)
}

/// Returns the domain that a grant names. There is no name for oneself.
fn granter(id: u16) -> Result<Arc<Domain>, GrantStatus> {
    domain::find(id).ok_or(GrantStatus::BadDomain)
}

/// Whether two domains may lend each other pages: one of them has to be trusted with it.
fn may_share(one: &Domain, other: &Domain) -> bool {
    one.id == other.id || one.control || other.control
}

/// Takes a reference of a frame that is a domain's own memory, as its frame number says.
fn hold_own(domain: &Domain, gfn: u64, access: Access) -> Result<u64, GrantStatus> {
    let p2m = domain.p2m.lock();
    match p2m.get(Gfn(gfn)) {
        Some((mfn, kind)) if kind == Kind::Memory || kind == Kind::MemoryReadOnly && access == Access::Read => {
            frames::get_memory(mfn, domain.id).map(|()| mfn.0).map_err(|_| GrantStatus::BadPage)
        }
        _ => Err(GrantStatus::BadPage),
    }
}

/// Pins a grant and returns the machine frame, with a reference taken.
fn pin(granter: &Domain, reference: u32, grantee: u16, access: Access, by: Use) -> Result<u64, GrantStatus> {
    granter.grants.lock().pin(
        reference,
        grantee,
        access,
        by,
        |gfn, access| hold_own(granter, gfn, access),
        |mfn| frames::get_memory(Mfn(mfn), granter.id).map_err(|_| GrantStatus::GeneralError),
    )
}

/// Takes the reference that a translation of a granted frame holds.
fn hold_for_translation(granter: &Domain, mfn: Mfn) -> Result<(), GrantStatus> {
    frames::get_memory(mfn, granter.id).map_err(|_| GrantStatus::GeneralError)
}

fn unpin(granter: &Domain, reference: u32, access: Access, mfn: u64) {
    granter.grants.lock().unpin(reference, access);
    frames::put(Mfn(mfn));
}

/// Maps a grant of domain `from` at the guest physical address `address`; returns the handle and the machine frame.
///
/// # Errors
/// As the element's status says.
pub fn map(own: &Domain, from: u16, reference: u32, flags: u32, address: u64) -> Result<(u32, Mfn), GrantStatus> {
    let access = Access::of_map(flags)?;
    let from = granter(from)?;
    if !may_share(own, &from) {
        return Err(GrantStatus::PermissionDenied);
    }
    let handle = own.mappings.lock().reserve()?;
    let result = pin(&from, reference, own.id, access, Use::Map).and_then(|mfn| {
        let kind = if access == Access::Write { Kind::Grant } else { Kind::GrantReadOnly };
        let placed = hold_for_translation(&from, Mfn(mfn)).and_then(|()| {
            memory_op::place(own, Gfn::of(address), Mfn(mfn), kind).map_err(|_| {
                frames::put(Mfn(mfn));
                GrantStatus::GeneralError
            })
        });
        placed.map(|()| Mfn(mfn)).inspect_err(|_| unpin(&from, reference, access, mfn))
    });
    let mut mappings = own.mappings.lock();
    match result {
        Ok(mfn) => {
            mappings.commit(handle, Mapping { domain: from.id, reference, access });
            Ok((handle, mfn))
        }
        Err(status) => {
            mappings.release(handle);
            Err(status)
        }
    }
}

/// Unmaps what a handle stands for from the guest physical address `address`; 0 means nowhere, and the handle stays.
///
/// # Errors
/// `bad_handle`; `general_error` if another frame is there.
pub fn unmap(own: &Domain, handle: u32, address: u64) -> Result<(), GrantStatus> {
    let mut mappings = own.mappings.lock();
    let mapping = mappings.get(handle)?;
    let from = granter(mapping.domain)?;
    let mfn = from.grants.lock().pinned_frame(mapping.reference).ok_or(GrantStatus::GeneralError)?;
    if address == 0 {
        return Ok(());
    }
    {
        let mut p2m = own.p2m.lock();
        let gfn = Gfn::of(address);
        if !p2m.is_valid(gfn) {
            return Err(GrantStatus::GeneralError);
        }
        match p2m.get(gfn) {
            Some((found, kind)) if found == Mfn(mfn) => {
                p2m.clear(gfn, 1).map_err(|_| GrantStatus::GeneralError)?;
                memory_op::foreign_frame(Some((found, kind))).into_iter().for_each(frames::put);
            }
            Some((_, Kind::Device | Kind::DeviceUncached)) | None => {}
            Some(_) => return Err(GrantStatus::GeneralError),
        }
    }
    // Nobody reaches the frame through it any more: the translation is gone from every CPU. One that was left elsewhere, by a wrong
    // address, keeps the frame by a reference of its own.
    mappings.release(handle);
    drop(mappings);
    unpin(&from, mapping.reference, mapping.access, mfn);
    Ok(())
}

/// Gives back every grant that a domain has mapped, for its end: the marks in the granters' entries go, and the handles' references. (What
/// is left in the domain's memory holds references of its own, which go with its tables.) `find` returns a granter, which is there as long
/// as others have mapped its pages.
pub fn release_all(own: &Domain, find: impl Fn(u16) -> Option<Arc<Domain>>) {
    let mut from = 0;
    loop {
        let mut mappings = own.mappings.lock();
        let Some((handle, mapping)) = mappings.next(from) else { return };
        mappings.release(handle);
        drop(mappings);
        from = handle + 1;
        let Some(granter) = find(mapping.domain) else { continue };
        let mfn = granter.grants.lock().pinned_frame(mapping.reference);
        mfn.into_iter().for_each(|mfn| unpin(&granter, mapping.reference, mapping.access, mfn));
    }
}

/// A side of a copy, pinned until this is dropped.
pub struct Pinned {
    mfn: Mfn,
    grant: Option<(Arc<Domain>, u32, Access)>,
}

impl Pinned {
    /// Pins what a side of a copy names. A domain names itself by its number or as SELF: `from` is the granter then.
    ///
    /// # Errors
    /// As the element's status says.
    pub fn new(own: &Arc<Domain>, from: &Arc<Domain>, side: Side, access: Access) -> Result<Pinned, GrantStatus> {
        match side {
            Side::Grant(_, reference) => {
                if !may_share(own, from) {
                    return Err(GrantStatus::PermissionDenied);
                }
                let mfn = Mfn(pin(from, reference, own.id, access, Use::Copy)?);
                Ok(Pinned { mfn, grant: Some((from.clone(), reference, access)) })
            }
            Side::Frame(gfn) => {
                let p2m = own.p2m.lock();
                let (mfn, kind) = p2m.get(Gfn(gfn)).ok_or(GrantStatus::BadPage)?;
                let fits = match access {
                    Access::Read => !matches!(kind, Kind::Device | Kind::DeviceUncached),
                    Access::Write => matches!(kind, Kind::Memory | Kind::Lent | Kind::Grant),
                };
                if !fits || frames::get(mfn, own.id).is_err() {
                    return Err(GrantStatus::BadPage);
                }
                Ok(Pinned { mfn, grant: None })
            }
        }
    }

    /// Returns the frame.
    pub fn frame(&self) -> Mfn {
        self.mfn
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        match self.grant.take() {
            Some((domain, reference, access)) => unpin(&domain, reference, access, self.mfn.0),
            None => frames::put(self.mfn),
        }
    }
}
