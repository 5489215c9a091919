//! Extents: memory that a domain gives up, or gets.
//!
//! An extent has up to 2^18 frames, too many for one piece. Where a command goes on is in its upper bits; those below 32 are as Xen has them:
//!
//! ```text
//!   63   62     50 49                     32 31            6 5         0
//!   | 1 |         | frames done of the next | extents done  | operation |     (the upper half: 0 at the start of an extent)
//! ```

use core::sync::atomic::Ordering::*;

use super::{Answer, Domain, EXTENT_SHIFT, MemoryOp, MemoryReservation, foreign_frame};
use crate::hypercall::piece::{Piece, again};
use crate::memory::frames::{self, State};
use crate::memory::p2m::{Kind, P2m};
use crate::memory::{Gfn, Mfn};
use crate::run::Caller;

/// The largest order of an extent: Dom0's, and another domain's.
const ORDER_CONTROL: u32 = 18;
const ORDER: u32 = 9;
/// Frames that are changed at once: a block of the tables.
const UNIT_ORDER: u32 = 9;
/// More extents do not fit into a command.
const EXTENTS_MAX: u64 = u32::MAX as u64 >> EXTENT_SHIFT;

/// Where the number of frames of the next extent that are done stands in a command.
const FRAMES_SHIFT: u32 = 32;
const FRAMES: u64 = (1 << ORDER_CONTROL) - 1;
/// Frames of an extent are done.
const INSIDE: u64 = 1 << 63;

/// How far a command is: extents, and frames of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    extents: u64,
    frames: u64,
}

impl Progress {
    fn of(command: u64) -> Progress {
        if command & INSIDE == 0 {
            return Progress { extents: command >> EXTENT_SHIFT, frames: 0 };
        }
        Progress { extents: command >> EXTENT_SHIFT & EXTENTS_MAX, frames: command >> FRAMES_SHIFT & FRAMES }
    }

    fn command(self, operation: MemoryOp) -> u64 {
        let inside = if self.frames == 0 { 0 } else { INSIDE | self.frames << FRAMES_SHIFT };
        u64::from(operation.number()) | self.extents << EXTENT_SHIFT | inside
    }
}

/// Adds, takes or fills extents; answers how many were done, never an error.
pub fn call(caller: &mut Caller<'_>, operation: MemoryOp, command: u64, address: u64) -> Answer {
    let mut at = Progress::of(command);
    let start = Ok(at.extents);
    let Ok(argument) = caller.get::<MemoryReservation>(address) else { return start };
    let Ok(domain) = caller.target(argument.domid) else { return start };
    let order = argument.extent_order;
    let order_max = if caller.domain().control { ORDER_CONTROL } else { ORDER };
    if order > order_max || argument.nr_extents > EXTENTS_MAX {
        return start;
    }
    let size = 1u64 << order;
    let mut piece = Piece::default();
    while at.extents < argument.nr_extents {
        let list = argument.extent_start.0;
        let Ok(gfn) = caller.get::<u64>(list.wrapping_add(at.extents.wrapping_mul(8))) else { break };
        if !gfn.checked_add(size).is_some_and(|end| domain.p2m.lock().is_valid(Gfn(end - 1))) {
            break;
        }
        while at.frames < size {
            let first = gfn + at.frames;
            let unit = first.trailing_zeros().min((size - at.frames).ilog2()).min(UNIT_ORDER);
            let fine = match operation {
                MemoryOp::DecreaseReservation => decrease(&domain, first, 1 << unit),
                MemoryOp::PopulatePhysmap => {
                    let left = size - at.frames;
                    let fine = populate(&domain, first, unit, left);
                    if !fine && !domain.direct {
                        // An extent is there as a whole or not at all. (Where frames have their places they only are back in some.)
                        undo(&domain, gfn, at.frames);
                    }
                    fine
                }
                // Frames without a place are of no use to a guest whose memory is translated.
                _ => false,
            };
            if !fine {
                return Ok(at.extents);
            }
            at.frames += 1 << unit;
            let whole = at.frames >= size;
            if whole && at.extents + 1 == argument.nr_extents {
                break;
            }
            if piece.is_over(caller) {
                let next = if whole { Progress { extents: at.extents + 1, frames: 0 } } else { at };
                return again(caller, [next.command(operation)]);
            }
        }
        at = Progress { extents: at.extents + 1, frames: 0 };
    }
    Ok(at.extents)
}

/// Takes frames out of a domain's memory; says whether all were there. Where frames are the machine's own they stay the domain's, to be put
/// back.
fn decrease(domain: &Domain, first: u64, count: u64) -> bool {
    let mut p2m = domain.p2m.lock();
    let own = |p2m: &P2m, gfn| {
        let (mfn, kind) = p2m.get(Gfn(gfn))?;
        (kind.is_memory() && frames::owner_of(mfn) == Some((domain.id, State::Domain))).then_some(mfn)
    };
    let mut done = 0;
    while done < count {
        // As many at once as lie in a row in the machine too.
        let Some(mfn) = own(&p2m, first + done) else { return false };
        let in_row = |&ahead: &u64| own(&p2m, first + done + ahead) == Some(Mfn(mfn.0 + ahead));
        let row = 1 + (1..count - done).take_while(in_row).count() as u64;
        if p2m.clear(Gfn(first + done), row).is_err() {
            return false;
        }
        if !domain.direct {
            domain.pages.fetch_sub(row, Relaxed);
            (mfn.0..mfn.0 + row).map(Mfn).for_each(frames::put);
        }
        done += row;
    }
    true
}

/// Takes back the first frames of an extent, until one is not there.
fn undo(domain: &Domain, gfn: u64, count: u64) {
    let mut done = 0;
    while done < count {
        let unit = (count - done).min(1 << UNIT_ORDER);
        if !decrease(domain, gfn + done, unit) {
            return;
        }
        done += unit;
    }
}

/// Gives a domain memory where it has none; it is to have `left` frames, with these.
fn populate(domain: &Domain, gfn: u64, order: u32, left: u64) -> bool {
    let size = 1u64 << order;
    if domain.direct {
        let owned = (gfn..gfn + size).all(|frame| frames::owner_of(Mfn(frame)) == Some((domain.id, State::Domain)));
        return owned && fill(domain, gfn, Mfn(gfn), size);
    }
    let before = domain.pages.fetch_add(size, SeqCst);
    let fits = before.saturating_add(left) <= domain.pages_max.load(Relaxed);
    let first = if fits { frames::allocate_as(order, domain.id, State::Domain) } else { None };
    let Some(first) = first else {
        domain.pages.fetch_sub(size, SeqCst);
        return false;
    };
    crate::arch::cache::clean(first.address(), size * 4096);
    let filled = fill(domain, gfn, first, size);
    if !filled {
        domain.pages.fetch_sub(size, SeqCst);
        (first.0..first.0 + size).map(Mfn).for_each(frames::put);
    }
    filled
}

/// Puts frames of the domain's own, which are in one table, where it wants them: all, or none. What was there of other domains is gone
/// either way, and is theirs alone again.
fn fill(domain: &Domain, gfn: u64, first: Mfn, size: u64) -> bool {
    let mut p2m = domain.p2m.lock();
    for gfn in (gfn..gfn + size).map(Gfn) {
        let Some(foreign) = foreign_frame(p2m.get(gfn)) else { continue };
        if p2m.clear(gfn, 1).is_err() {
            return false;
        }
        frames::put(foreign);
    }
    p2m.set(Gfn(gfn), first, size, Kind::Memory).is_ok()
}
