//! Events in queues: a word for each port, linked into one queue for each vCPU and priority.
//!
//! ```text
//!   event word   31 PENDING  30 MASKED  29 LINKED  28 BUSY  16:0 LINK: the next port of the queue, 0 at its end
//!   control block of a vCPU: ready (bit q: queue q was begun), head[16]
//!
//!   the guest        exchanges `ready` for 0, takes the port at its own head of the queue, or head[q] if it has none, clears
//!                    LINKED and LINK of its word in one step, and goes on at LINK; handles the port if PENDING and not MASKED
//!   the hypervisor   keeps the tails, appends by setting the tail's LINK while that is LINKED; where it is not, the queue is empty:
//!                    head[q] names the port, and `ready` says so
//! ```
//!
//! The guest may write any word at any time. Nothing here follows a LINK: tails are the hypervisor's own, and a guest that spoils its
//! words misses its own events.

use alloc::vec::Vec;

use xen_abi::Errno;
use xen_abi::event_channel::{
    EVTCHN_FIFO_BUSY, EVTCHN_FIFO_LINK_MASK, EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED, EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_NR_CHANNELS, EVTCHN_FIFO_PENDING, EVTCHN_FIFO_PRIORITY_DEFAULT,
};

use crate::word::{Page, Word};

/// A port has an event.
pub const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
/// It is not to be delivered.
pub const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
/// It is in a queue.
pub const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
/// The hypervisor is about to append to it.
pub const BUSY: u32 = 1 << EVTCHN_FIFO_BUSY;
/// The next port.
pub const LINK: u32 = EVTCHN_FIFO_LINK_MASK;
/// Queues of a vCPU.
pub const QUEUES: usize = EVTCHN_FIFO_MAX_QUEUES as usize;
/// Event words in a page.
pub const WORDS_PER_PAGE: u32 = 1024;
/// Pages of event words.
const PAGES: usize = (EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE) as usize;
/// Words of a control block, and of what comes before its heads.
const CONTROL_WORDS: usize = 2 + QUEUES;
/// How often appending tries again when the guest changes the tail's word under it. After BUSY is set a guest that keeps to the
/// protocol changes only bits that are not part of it, and each of them once.
const TRIES: usize = 4;

/// What a port needs to know of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// An event came before there was a word for it.
    pub remembered: bool,
    /// Its queue from now on.
    pub priority: u8,
    /// vCPU and priority of the queue it was in last.
    pub(crate) last: (u16, u8),
}

impl Default for Queued {
    fn default() -> Self {
        Self { remembered: false, priority: EVTCHN_FIFO_PRIORITY_DEFAULT as u8, last: (0, 0) }
    }
}

/// A vCPU's queues.
#[derive(Debug)]
struct Queues<P> {
    /// The page with its control block, and the word that this begins at.
    control: Option<(P, usize)>,
    /// The port that each queue ends with; 0 if it is known to be empty.
    tails: [u32; QUEUES],
}

impl<P> Default for Queues<P> {
    fn default() -> Self {
        Self { control: None, tails: [0; QUEUES] }
    }
}

/// The queues of a domain, and the pages it gave for them.
#[derive(Debug)]
pub struct Fifo<P> {
    array: Vec<P>,
    vcpus: Vec<Queues<P>>,
}

/// Returns the word of a page that a control block at `offset` bytes begins at.
///
/// # Errors
/// It would leave the page, or is not aligned.
pub fn control_place(offset: u32) -> Result<usize, Errno> {
    let offset = offset as usize;
    if offset > 4096 - CONTROL_WORDS * 4 || !offset.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    Ok(offset / 4)
}

impl<P: Page> Fifo<P> {
    /// Returns the queues of a domain with so many vCPUs, none of which has a control block.
    ///
    /// # Errors
    /// No memory.
    pub fn new(vcpus: usize) -> Result<Self, Errno> {
        let mut queues = Vec::new();
        queues.try_reserve_exact(vcpus).map_err(|_| Errno::ENOMEM)?;
        queues.resize_with(vcpus, Queues::default);
        Ok(Self { array: Vec::new(), vcpus: queues })
    }

    /// Gives a vCPU its control block, which begins at word `place` of a page.
    ///
    /// # Errors
    /// There is no such vCPU, or it has one.
    pub fn set_control(&mut self, vcpu: usize, page: P, place: usize) -> Result<(), Errno> {
        let queues = self.vcpus.get_mut(vcpu).ok_or(Errno::ENOENT)?;
        if queues.control.is_some() || page.words().len() < place + CONTROL_WORDS {
            return Err(Errno::EINVAL);
        }
        queues.control = Some((page, place));
        Ok(())
    }

    /// Adds a page of event words and returns the ports that it is for.
    ///
    /// # Errors
    /// There are as many as there can be.
    pub fn expand(&mut self, page: P) -> Result<core::ops::Range<u32>, Errno> {
        if self.array.len() >= PAGES {
            return Err(Errno::ENOSPC);
        }
        self.array.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let first = self.array.len() as u32 * WORDS_PER_PAGE;
        self.array.push(page);
        Ok(first..first + WORDS_PER_PAGE)
    }

    /// Says whether another page of event words can be added.
    pub fn has_room(&self) -> bool {
        self.array.len() < PAGES
    }

    /// Makes a port pending on a vCPU. Returns whether it was not so before, and whether the vCPU is to be told.
    ///
    /// Without a word the event is remembered; without a control block it is dropped: a guest must not unmask before it has given one.
    pub fn set_pending(&mut self, port: u32, vcpu: usize, queued: &mut Queued) -> (bool, bool) {
        let Some(word) = word_of(&self.array, port) else {
            queued.remembered = true;
            return (false, false);
        };
        if self.vcpus.get(vcpu).is_none_or(|queues| queues.control.is_none()) {
            return (false, false);
        }
        let new = word.fetch_or(PENDING) & PENDING == 0;
        if word.load() & MASKED != 0 || word.fetch_or(LINKED) & LINKED != 0 {
            return (new, false);
        }

        // It was in no queue. If it is still noted as the tail of the one it was in last, that queue is empty: without this the port
        // would be appended to itself, or another to a queue that it is no longer in.
        let (last_vcpu, last_priority) = queued.last;
        if let Some(tail) = tail(&mut self.vcpus, last_vcpu.into(), last_priority)
            && *tail == port
        {
            *tail = 0;
        }
        queued.last = (vcpu as u16, queued.priority);

        let queues = &mut self.vcpus[vcpu];
        let queue = usize::from(queued.priority) % QUEUES;
        let end = core::mem::replace(&mut queues.tails[queue], port);
        if end != 0 && word_of(&self.array, end).is_some_and(|end| append(end, port)) {
            return (new, false);
        }
        let Some((page, place)) = &queues.control else { return (new, false) };
        let control = &page.words()[*place..*place + CONTROL_WORDS];
        control[2 + queue].store(port);
        (new, control[0].fetch_or(1 << queue) & 1 << queue == 0)
    }

    /// Unmasks a port; returns as [`Fifo::set_pending`] does, if an event waited.
    pub fn unmask(&mut self, port: u32, vcpu: usize, queued: &mut Queued) -> (bool, bool) {
        let Some(word) = word_of(&self.array, port) else { return (false, false) };
        word.fetch_and(!MASKED);
        if word.load() & PENDING == 0 {
            return (false, false);
        }
        self.set_pending(port, vcpu, queued)
    }

    /// Forgets that a port is pending. It stays in its queue, where the guest will find it and pass on.
    pub fn clear_pending(&self, port: u32, queued: &mut Queued) {
        queued.remembered = false;
        if let Some(word) = word_of(&self.array, port) {
            word.fetch_and(!PENDING);
        }
    }

    /// Says whether a port is pending.
    pub fn is_pending(&self, port: u32) -> bool {
        word_of(&self.array, port).is_some_and(|word| word.load() & PENDING != 0)
    }

    /// Says whether a port is masked; one without a word is.
    pub fn is_masked(&self, port: u32) -> bool {
        word_of(&self.array, port).is_none_or(|word| word.load() & MASKED != 0)
    }

    /// Says whether a port is in a queue, and so cannot be given to another use.
    pub fn is_busy(&self, port: u32) -> bool {
        word_of(&self.array, port).is_some_and(|word| word.load() & LINKED != 0)
    }
}

fn word_of<P: Page>(array: &[P], port: u32) -> Option<&P::Word> {
    array.get((port / WORDS_PER_PAGE) as usize)?.words().get((port % WORDS_PER_PAGE) as usize)
}

fn tail<P>(vcpus: &mut [Queues<P>], vcpu: usize, priority: u8) -> Option<&mut u32> {
    vcpus.get_mut(vcpu)?.tails.get_mut(usize::from(priority))
}

/// Links `port` behind the word of a queue's end. Returns false if that is in no queue any more.
fn append(end: &impl Word<u32>, port: u32) -> bool {
    let mut seen = end.load();
    for attempt in 0..=TRIES {
        if seen & LINKED == 0 {
            if attempt > 0 {
                end.fetch_and(!BUSY);
            }
            return false;
        }
        match end.compare_exchange(seen, seen & !(BUSY | LINK) | port) {
            Ok(_) => return true,
            // From here on the guest waits with unmasking and masking; it may still take the word off the queue.
            Err(_) if attempt == 0 => seen = end.fetch_or(BUSY) | BUSY,
            Err(now) => seen = now,
        }
    }
    // A guest that does not wait loses its event; to begin the queue anew would harm more.
    end.fetch_and(!BUSY);
    true
}
