//! The rules of grant tables, as Xen has them on Arm: version 1, mapped and copied by the CPU.
//!
//! A domain has a [`Grants`], by which it lends pages, and a [`mapping::Mappings`], which notes what it has mapped of others. To use
//! a grant takes a *pin*: while an entry has pins, its frame, its grantee and what was permitted stay what they were at the first,
//! whatever the granter writes; Xen's marks in the entry tell it so.
//!
//! ```text
//!   entry (8 bytes)     15:0 flags   31:16 domid   63:32 frame
//!   flags               1:0 type (1: permit access)   2 read-only   3 reading   4 writing (3 and 4 are ours)
//!
//!   map:    flags legal -> a handle -> pin (entry checked, marked, frame resolved) -> stage 2 -> handle taken
//!   unmap:  handle -> stage 2 -> handle freed -> TLB -> unpin (marks cleared)
//!   copy:   pin both ends -> bounds -> bytes -> unpin
//! ```
//!
//! The granter's entry is shared memory: it is read once for each decision, and changed by compare-exchange only.

pub mod mapping;

use alloc::vec::Vec;
use core::ops::Range;

use xen_abi::Errno;
use xen_abi::grant_table::{
    CacheFlush, Copy, CopyPtr, GNTCOPY_dest_gref, GNTCOPY_source_gref, GNTMAP_device_map, GNTMAP_host_map,
    GNTMAP_readonly, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, GTF_permit_access, GTF_reading, GTF_readonly,
    GTF_sub_page, GTF_type_mask, GTF_writing, GrantStatus,
};

use crate::word::{Page, Word};

/// Entries in a frame of the table.
pub const ENTRIES_PER_FRAME: u32 = 512;
/// The only version of tables on Arm.
pub const VERSION: u32 = 1;
/// How often an entry that changes under us is tried again: a granter may clear a mark of its own, but not for ever.
const TRIES: usize = 5;
/// So many pins of a kind at most: the counter's top bit says that it may soon be full.
const PINS_MAX: u8 = 0x80;

/// What a grant is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

impl Access {
    /// Returns what a map operation with these `GNTMAP_*` asks for.
    ///
    /// # Errors
    /// `bad_gntref` if it asks for nothing, `general_error` if for what Arm has not.
    pub fn of_map(flags: u32) -> Result<Self, GrantStatus> {
        if flags & (GNTMAP_host_map | GNTMAP_device_map) == 0 {
            return Err(GrantStatus::BadGntref);
        }
        if flags & !GNTMAP_readonly != GNTMAP_host_map {
            return Err(GrantStatus::GeneralError);
        }
        Ok(if flags & GNTMAP_readonly != 0 { Self::Read } else { Self::Write })
    }
}

/// What a grant is used by: a part of a page can be copied, but not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A mapping.
    Map,
    /// A copy.
    Copy,
}

/// An entry in use.
#[derive(Clone, Copy, Debug, Default)]
struct Active {
    readers: u8,
    writers: u8,
    grantee: u16,
    gfn: u64,
    mfn: u64,
}

impl Active {
    fn pinned(&self) -> bool {
        self.readers > 0 || self.writers > 0
    }

    fn count(&mut self, access: Access) -> &mut u8 {
        match access {
            Access::Read => &mut self.readers,
            Access::Write => &mut self.writers,
        }
    }
}

/// A domain's grant table. `P` is a frame of it.
#[derive(Debug)]
pub struct Grants<P> {
    frames: Vec<(P, Option<u64>)>,
    active: Vec<Active>,
    max_frames: usize,
}

impl<P: Page> Grants<P> {
    /// Returns a table that may have so many frames, and has none.
    pub fn new(max_frames: usize) -> Self {
        Self { frames: Vec::new(), active: Vec::new(), max_frames }
    }

    /// Returns how many frames the table has, and may have.
    pub fn size(&self) -> (usize, usize) {
        (self.frames.len(), self.max_frames)
    }

    /// Makes the table at least `count` frames large; `frame` makes one, cleared.
    ///
    /// # Errors
    /// EINVAL: more than it may have; ENOMEM.
    pub fn grow(&mut self, count: usize, mut frame: impl FnMut() -> Option<P>) -> Result<(), Errno> {
        if count > self.max_frames {
            return Err(Errno::EINVAL);
        }
        while self.frames.len() < count {
            self.frames.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            self.active.try_reserve(ENTRIES_PER_FRAME as usize).map_err(|_| Errno::ENOMEM)?;
            self.frames.push((frame().ok_or(Errno::ENOMEM)?, None));
            self.active.resize(self.active.len() + ENTRIES_PER_FRAME as usize, Active::default());
        }
        Ok(())
    }

    /// Returns a frame, and the guest's frame number it is mapped at.
    pub fn frame(&self, index: usize) -> Option<(&P, Option<u64>)> {
        self.frames.get(index).map(|(page, place)| (page, *place))
    }

    /// Notes where a frame is mapped, or that it is no more.
    pub fn set_place(&mut self, index: usize, place: Option<u64>) {
        if let Some(frame) = self.frames.get_mut(index) {
            frame.1 = place;
        }
    }

    /// Returns the two words of an entry.
    fn entry(&self, reference: u32) -> Option<[&P::Word; 2]> {
        let (page, _) = self.frames.get((reference / ENTRIES_PER_FRAME) as usize)?;
        let at = (reference % ENTRIES_PER_FRAME) as usize * 2;
        Some([page.words().get(at)?, page.words().get(at + 1)?])
    }

    /// Writes an entry on the domain's behalf, while it is built: `domid` may use `gfn`.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn permit(&mut self, reference: u32, domid: u16, gfn: u32) -> Result<(), GrantStatus> {
        let [head, frame] = self.entry(reference).ok_or(GrantStatus::BadGntref)?;
        frame.store(gfn);
        head.store(u32::from(domid) << 16 | u32::from(GTF_permit_access));
        Ok(())
    }

    /// Pins an entry for domain `grantee` and returns the machine frame. The first pin has `resolve` turn the granter's frame number,
    /// and whether it will be written, into a machine frame with a reference taken; of later ones `hold` takes another reference of
    /// the frame.
    ///
    /// # Errors
    /// `bad_gntref`: no such entry; `general_error`: not granted to this domain, or not for writing, or the entry does not keep still,
    /// or it has too many pins, or (of a copy, which looks again before it writes first) it names another frame by now; whatever `resolve` and `hold` return. Nothing is pinned or marked then.
    pub fn pin(
        &mut self,
        reference: u32,
        grantee: u16,
        access: Access,
        by: Use,
        resolve: impl FnOnce(u64, Access) -> Result<u64, GrantStatus>,
        hold: impl FnOnce(u64) -> Result<(), GrantStatus>,
    ) -> Result<u64, GrantStatus> {
        let [head, frame] = self.entry(reference).ok_or(GrantStatus::BadGntref)?;
        let mut active = self.active[reference as usize];
        let pinned = active.pinned();
        if pinned && active.grantee != grantee || *active.count(access) >= PINS_MAX {
            return Err(GrantStatus::GeneralError);
        }
        if !pinned || access == Access::Write && active.writers == 0 {
            mark(head, grantee, access, by, pinned)?;
        }
        let moved =
            by == Use::Copy && access == Access::Write && active.writers == 0 && active.gfn != frame.load().into();
        let result = if pinned && moved {
            Err(GrantStatus::GeneralError)
        } else if pinned {
            hold(active.mfn).map(|()| active.mfn)
        } else {
            active = Active { grantee, gfn: frame.load().into(), ..Active::default() };
            resolve(active.gfn, access)
        };
        match result {
            Ok(mfn) => {
                active.mfn = mfn;
                *active.count(access) += 1;
                self.active[reference as usize] = active;
            }
            Err(_) => self.unmark(reference, access),
        }
        result
    }

    /// Takes a pin away. The caller has released the frame's reference, and nobody can use it any more by way of this pin.
    pub fn unpin(&mut self, reference: u32, access: Access) {
        if let Some(active) = self.active.get_mut(reference as usize) {
            let count = active.count(access);
            *count = count.saturating_sub(1);
            self.unmark(reference, access);
        }
    }

    /// Clears the marks of an entry that no pin needs, after one for `access` went or did not come to be.
    fn unmark(&self, reference: u32, access: Access) {
        let (Some([head, _]), Some(active)) = (self.entry(reference), self.active.get(reference as usize)) else {
            return;
        };
        let mut clear = if active.pinned() { 0 } else { GTF_reading };
        if access == Access::Write && active.writers == 0 {
            clear |= GTF_writing;
        }
        if clear != 0 {
            head.fetch_and(!u32::from(clear));
        }
    }

    /// Returns the machine frame of a pinned entry.
    pub fn pinned_frame(&self, reference: u32) -> Option<u64> {
        self.active.get(reference as usize).filter(|active| active.pinned()).map(|active| active.mfn)
    }

    /// Says whether a domain uses a machine frame by some grant of this table now: it may maintain caches over it.
    pub fn is_granted(&self, grantee: u16, mfn: u64) -> bool {
        self.active.iter().any(|active| active.pinned() && active.grantee == grantee && active.mfn == mfn)
    }

    /// GNTTABOP_swap_grant_ref: exchanges two entries that nobody uses.
    ///
    /// # Errors
    /// `bad_gntref`: no such entry; `eagain`: in use.
    pub fn swap(&mut self, one: u32, other: u32) -> Result<(), GrantStatus> {
        let first = self.entry(one).ok_or(GrantStatus::BadGntref)?;
        let second = self.entry(other).ok_or(GrantStatus::BadGntref)?;
        if one == other {
            return Ok(());
        }
        if self.active[one as usize].pinned() || self.active[other as usize].pinned() {
            return Err(GrantStatus::Eagain);
        }
        for (first, second) in first.into_iter().zip(second) {
            let value = first.load();
            first.store(second.swap(value));
        }
        Ok(())
    }

    /// Calls `each` with every entry in use, for debug keys: reference, grantee, readers, writers, frame number, machine frame.
    pub fn for_each_pinned(&self, mut each: impl FnMut(u32, u16, u8, u8, u64, u64)) {
        for (reference, active) in self.active.iter().enumerate().filter(|(_, active)| active.pinned()) {
            each(reference as u32, active.grantee, active.readers, active.writers, active.gfn, active.mfn);
        }
    }
}

/// Marks an entry as in use. One that is pinned is used as it was granted then; only whether it may be written is looked at anew.
fn mark(head: &impl Word<u32>, grantee: u16, access: Access, by: Use, pinned: bool) -> Result<(), GrantStatus> {
    let looked_at = match by {
        Use::Map => GTF_type_mask | GTF_sub_page,
        Use::Copy => GTF_type_mask,
    };
    let mut seen = head.load();
    for _ in 0..TRIES {
        let (flags, domid) = (seen as u16, (seen >> 16) as u16);
        if !pinned && (flags & looked_at != GTF_permit_access || domid != grantee) {
            return Err(GrantStatus::GeneralError);
        }
        let marks = match access {
            Access::Read => GTF_reading,
            Access::Write if flags & GTF_readonly != 0 => return Err(GrantStatus::GeneralError),
            Access::Write => GTF_reading | GTF_writing,
        };
        match head.compare_exchange(seen, seen | u32::from(marks)) {
            Ok(_) => return Ok(()),
            Err(now) => seen = now,
        }
    }
    Err(GrantStatus::GeneralError)
}

/// GNTTABOP_set_version: what it returns; the version is written back in any case.
///
/// # Errors
/// EINVAL: no such version; ENOSYS: not on Arm.
pub fn set_version(version: u32) -> Result<(), Errno> {
    match version {
        1 => Ok(()),
        2 => Err(Errno::ENOSYS),
        _ => Err(Errno::EINVAL),
    }
}

/// One side of a copy, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// By a grant of a domain.
    Grant(u16, u32),
    /// A frame of the caller.
    Frame(u64),
}

impl Side {
    /// Returns what one side of a copy names. `caller` is true of the domain that is the caller itself.
    ///
    /// # Errors
    /// `permission_denied`: a frame of another domain.
    pub fn of(side: &CopyPtr, is_grant: bool, caller: impl FnOnce(u16) -> bool) -> Result<Self, GrantStatus> {
        if is_grant {
            Ok(Self::Grant(side.domid, side.ref_or_gmfn as u32))
        } else if caller(side.domid) {
            Ok(Self::Frame(side.ref_or_gmfn))
        } else {
            Err(GrantStatus::PermissionDenied)
        }
    }
}

/// What a copy asks for: its sides, and the bytes of each page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlan {
    /// From where.
    pub source: Side,
    /// To where.
    pub destination: Side,
    /// Bytes of the source's page.
    pub from: Range<usize>,
    /// Bytes of the destination's page.
    pub to: Range<usize>,
}

impl CopyPlan {
    /// Returns what a copy asks for. `caller` says which domain identifiers are the caller's.
    ///
    /// # Errors
    /// `permission_denied`: a frame of another domain. That the bytes leave a page is found by [`CopyPlan::check`], after the pins.
    pub fn of(copy: &Copy, caller: impl Fn(u16) -> bool) -> Result<Self, GrantStatus> {
        let range = |offset: u16| usize::from(offset)..usize::from(offset) + usize::from(copy.len);
        Ok(Self {
            source: Side::of(&copy.source, copy.flags & GNTCOPY_source_gref != 0, &caller)?,
            destination: Side::of(&copy.dest, copy.flags & GNTCOPY_dest_gref != 0, &caller)?,
            from: range(copy.source.offset),
            to: range(copy.dest.offset),
        })
    }

    /// Checks that neither side leaves its page.
    ///
    /// # Errors
    /// `bad_copy_arg`.
    pub fn check(&self) -> Result<(), GrantStatus> {
        if self.from.end > 4096 || self.to.end > 4096 { Err(GrantStatus::BadCopyArg) } else { Ok(()) }
    }
}

/// Maintenance of caches over a part of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// The machine address of its first byte.
    pub address: u64,
    /// Bytes.
    pub length: usize,
    /// Cleans.
    pub clean: bool,
    /// Invalidates.
    pub invalidate: bool,
}

/// GNTTABOP_cache_flush: returns what is to be done; nothing where nothing is asked for, as a guest does to see whether it may ask.
///
/// # Errors
/// EINVAL: the part leaves the page, or an unknown bit is set.
pub fn cache_flush(asked: &CacheFlush) -> Result<Option<Flush>, Errno> {
    let (offset, length) = (usize::from(asked.offset), usize::from(asked.length));
    if offset >= 4096
        || length > 4096
        || offset + length > 4096
        || asked.op & !(GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL) != 0
    {
        return Err(Errno::EINVAL);
    }
    if length == 0 || asked.op == 0 {
        return Ok(None);
    }
    Ok(Some(Flush {
        address: (asked.address_or_ref & !0xfff) + offset as u64,
        length,
        clean: asked.op & GNTTAB_CACHE_CLEAN != 0,
        invalidate: asked.op & GNTTAB_CACHE_INVAL != 0,
    }))
}
