//! What a guest and the hypervisor do to the same words at the same time, in every order that memory allows.
//!
//! The model has no sequentially consistent operations, only such fences: each operation stands between two, which is how an arm64
//! CPU orders load-acquire and store-release instructions among themselves.

#[path = "support/guest.rs"]
mod guest;

use guest::Consumer;
use hypervisor::event::fifo::{BUSY, Fifo, LINK, LINKED, MASKED, PENDING, Queued};
use hypervisor::event::two_level::{self, Shared};
use hypervisor::event::upcall;
use hypervisor::grant::{Access, Grants, Use};
use hypervisor::word::{Page, Word};
use loom::sync::Arc;
use loom::sync::atomic::Ordering::SeqCst;
use loom::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};
use loom::thread;

/// A word of the model.
#[derive(Debug)]
struct Modelled<A>(A);

macro_rules! modelled {
    ($($atomic:ty: $value:ty;)*) => {
        $(impl Word<$value> for Modelled<$atomic> {
            fn load(&self) -> $value {
                fence(SeqCst);
                self.0.load(SeqCst)
            }

            fn store(&self, value: $value) {
                self.0.store(value, SeqCst);
                fence(SeqCst);
            }

            fn swap(&self, value: $value) -> $value {
                fence(SeqCst);
                let before = self.0.swap(value, SeqCst);
                fence(SeqCst);
                before
            }

            fn fetch_or(&self, bits: $value) -> $value {
                fence(SeqCst);
                let before = self.0.fetch_or(bits, SeqCst);
                fence(SeqCst);
                before
            }

            fn fetch_and(&self, bits: $value) -> $value {
                fence(SeqCst);
                let before = self.0.fetch_and(bits, SeqCst);
                fence(SeqCst);
                before
            }

            fn compare_exchange(&self, current: $value, new: $value) -> Result<$value, $value> {
                fence(SeqCst);
                let done = self.0.compare_exchange(current, new, SeqCst, SeqCst);
                fence(SeqCst);
                done
            }
        })*
    };
}

modelled! {
    AtomicU8: u8;
    AtomicU16: u16;
    AtomicU32: u32;
    AtomicU64: u64;
}

type Word32 = Modelled<AtomicU32>;

/// A page of which only the first words are ever used. The array of events is cut to a few words, the control block to its 18.
#[derive(Clone, Debug)]
struct Few(Arc<Vec<Word32>>);

impl Few {
    fn new(count: usize) -> Self {
        Self(Arc::new((0..count).map(|_| Modelled(AtomicU32::new(0))).collect()))
    }
}

impl Page for Few {
    type Word = Word32;

    fn words(&self) -> &[Word32] {
        &self.0
    }
}

fn check(bound: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// A vCPU's queues, its upcall byte, and who serves them.
struct Machine {
    control: Few,
    array: Few,
    byte: Arc<Modelled<AtomicU8>>,
}

impl Machine {
    fn new() -> (Self, Fifo<Few>) {
        let (control, array) = (Few::new(18), Few::new(3));
        let mut fifo = Fifo::new(1).unwrap();
        fifo.set_control(0, control.clone(), 0).unwrap();
        fifo.expand(array.clone()).unwrap();
        (Self { control, array, byte: Arc::new(Modelled(AtomicU8::new(0))) }, fifo)
    }

    fn clone(&self) -> Self {
        Self { control: self.control.clone(), array: self.array.clone(), byte: self.byte.clone() }
    }

    /// The guest takes its interrupt, if it has one: returns how many events it handled.
    fn interrupt(&self, consumer: &mut Consumer) -> u32 {
        let mut handled = 0;
        if self.byte.swap(0) == 1 {
            consumer.serve(
                &self.control.0,
                |port| port as usize,
                &self.array.0,
                |port| {
                    self.array.0[port as usize].fetch_and(!PENDING);
                    handled += 1;
                },
            );
        }
        handled
    }

    fn raise(&self, fifo: &mut Fifo<Few>, port: u32, queued: &mut Queued) -> u32 {
        let (new, upcalled) = fifo.set_pending(port, 0, queued);
        if upcalled {
            upcall(&*self.byte);
        }
        new.into()
    }

    fn assert_clean(&self) {
        for port in 1..3 {
            let word = self.array.0[port].load();
            assert_eq!(word & (PENDING | LINKED | BUSY | LINK), 0, "port {port} is left behind: {word:#x}");
        }
    }
}

/// Two events and a guest that serves them meanwhile: each is handled once, none is left.
#[test]
fn queues_and_a_guest_that_serves() {
    check(4, || {
        let (machine, mut fifo) = Machine::new();
        let guest = machine.clone();
        let guest = thread::spawn(move || {
            let mut consumer = Consumer::default();
            let handled = guest.interrupt(&mut consumer);
            (consumer, handled)
        });
        let mut queued = [Queued::default(); 2];
        let mut raised = machine.raise(&mut fifo, 1, &mut queued[0]);
        raised += machine.raise(&mut fifo, 2, &mut queued[1]);
        let (mut consumer, mut handled) = guest.join().unwrap();
        handled += machine.interrupt(&mut consumer);
        machine.assert_clean();
        assert_eq!(handled, raised);
    });
}

/// One port, raised again and again while the guest takes it off: it is its queue's tail and is linked anew.
#[test]
fn a_port_that_is_raised_while_it_is_taken() {
    check(3, || {
        let (machine, mut fifo) = Machine::new();
        let mut queued = Queued::default();
        let mut raised = machine.raise(&mut fifo, 1, &mut queued);
        let guest = machine.clone();
        let guest = thread::spawn(move || {
            let mut consumer = Consumer::default();
            let handled = guest.interrupt(&mut consumer);
            (consumer, handled)
        });
        raised += machine.raise(&mut fifo, 1, &mut queued);
        let (mut consumer, mut handled) = guest.join().unwrap();
        handled += machine.interrupt(&mut consumer);
        machine.assert_clean();
        assert_eq!(handled, raised);
    });
}

/// Unmasks a word as far as the guest can: returns true if an event waits and the hypervisor is to be called.
/// While the word is BUSY it would wait; `None` says so.
fn unmask(word: &impl Word<u32>) -> Option<bool> {
    let seen = word.load();
    if seen & PENDING != 0 {
        return Some(true);
    }
    if seen & BUSY != 0 {
        return None;
    }
    match word.compare_exchange(seen, seen & !MASKED) {
        Ok(_) => Some(false),
        Err(_) => None,
    }
}

/// The guest unmasks a port, by itself or by the hypercall, while it is raised.
#[test]
fn a_port_that_is_unmasked_while_it_is_raised() {
    check(3, || {
        let (machine, mut fifo) = Machine::new();
        machine.array.0[1].store(MASKED);
        let guest = machine.clone();
        let guest = thread::spawn(move || {
            loop {
                match unmask(&guest.array.0[1]) {
                    Some(call) => return call,
                    None => thread::yield_now(),
                }
            }
        });
        let mut queued = Queued::default();
        let raised = machine.raise(&mut fifo, 1, &mut queued);
        if guest.join().unwrap() {
            let (_, upcalled) = fifo.unmask(1, 0, &mut queued);
            if upcalled {
                upcall(&*machine.byte);
            }
        }
        assert_eq!(machine.interrupt(&mut Consumer::default()), raised);
        machine.assert_clean();
    });
}

/// Two CPUs raise the byte: one of them makes the interrupt pending, and the guest that clears it loses none.
#[test]
fn an_upcall_is_raised_once_and_not_lost() {
    check(3, || {
        let byte = Arc::new(Modelled(AtomicU8::new(0)));
        let event = Arc::new(Modelled(AtomicU32::new(0)));
        let (their_byte, their_event) = (byte.clone(), event.clone());
        let other = thread::spawn(move || {
            their_event.fetch_or(1);
            upcall(&*their_byte)
        });
        event.fetch_or(2);
        let mine = upcall(&*byte);
        // The guest takes its interrupt now and perhaps once more.
        let mut seen = 0;
        if byte.swap(0) == 1 {
            seen |= event.swap(0);
        }
        let theirs = other.join().unwrap();
        assert!(mine || theirs);
        if byte.swap(0) == 1 {
            seen |= event.swap(0);
        }
        assert_eq!(seen, 3);
    });
}

/// What a vCPU and its domain share, cut to one word each.
struct Bits {
    pending: [Modelled<AtomicU64>; 1],
    mask: [Modelled<AtomicU64>; 1],
    select: Modelled<AtomicU64>,
}

impl Shared for Bits {
    type Word = Modelled<AtomicU64>;

    fn pending(&self) -> &[Self::Word] {
        &self.pending
    }

    fn mask(&self) -> &[Self::Word] {
        &self.mask
    }

    fn select(&self, _vcpu: usize, bits: u64) -> Option<u64> {
        Some(self.select.fetch_or(bits))
    }
}

/// A port is raised while the hypercall unmasks it and the guest serves: it is told of the event, once at least.
#[test]
fn a_bit_that_is_unmasked_while_it_is_raised() {
    check(3, || {
        let word = |value| Modelled(AtomicU64::new(value));
        let bits = Arc::new(Bits { pending: [word(0)], mask: [word(2)], select: word(0) });
        let other = bits.clone();
        let unmasks = thread::spawn(move || two_level::unmask(&*other, 1, 0));
        let (new, told) = two_level::set_pending(&*bits, 1, 0);
        let told = unmasks.join().unwrap() || told;
        assert!(new && told && bits.select.load() == 1 && bits.pending[0].load() == 2);
    });
}

/// Takes a grant back, as Linux does: returns whether nobody uses it, and then nobody can.
fn revoke(head: &Word32) -> bool {
    let mut seen = head.load();
    loop {
        if seen & 0x18 != 0 {
            return false;
        }
        match head.compare_exchange(seen, seen & 0xffff_0000) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
}

fn table() -> (Grants<Few>, Few) {
    let frame = Few::new(4);
    let mut grants = Grants::new(1);
    grants.grow(1, || Some(frame.clone())).unwrap();
    frame.0[3].store(5);
    frame.0[2].store(3 << 16 | 1);
    (grants, frame)
}

fn pin(grants: &mut Grants<Few>, access: Access) -> bool {
    grants.pin(1, 3, access, Use::Map, |gfn, _| Ok(gfn), |_| Ok(())) == Ok(5)
}

/// A grant is used or taken back, never both; and once the last use ends it can be taken back.
#[test]
fn a_grant_that_is_revoked_while_it_is_pinned() {
    check(3, || {
        let (mut grants, frame) = table();
        let theirs = frame.clone();
        let granter = thread::spawn(move || revoke(&theirs.0[2]));
        let pinned = pin(&mut grants, Access::Write);
        assert_ne!(granter.join().unwrap(), pinned);
        if pinned {
            grants.unpin(1, Access::Write);
            assert!(revoke(&frame.0[2]));
        }
    });
}

/// The last use ends while the granter asks: it hears so in the end, and the entry is not spoiled by both.
#[test]
fn a_grant_that_is_revoked_while_it_is_unpinned() {
    check(3, || {
        let (mut grants, frame) = table();
        assert!(pin(&mut grants, Access::Read) && pin(&mut grants, Access::Write));
        let theirs = frame.clone();
        let granter = thread::spawn(move || revoke(&theirs.0[2]));
        grants.unpin(1, Access::Write);
        grants.unpin(1, Access::Read);
        let revoked = granter.join().unwrap();
        assert_eq!(frame.0[2].load(), if revoked { 3 << 16 } else { 3 << 16 | 1 });
        assert_eq!(pin(&mut grants, Access::Read), !revoked);
    });
}

/// The granter makes an entry read-only while it is pinned for writing: whoever comes second sees the first.
#[test]
fn a_grant_that_becomes_read_only_while_it_is_pinned() {
    check(3, || {
        let (mut grants, frame) = table();
        let granter = thread::spawn(move || {
            let before = frame.0[2].fetch_or(4);
            before & 0x10 != 0
        });
        let pinned = pin(&mut grants, Access::Write);
        assert_eq!(granter.join().unwrap(), pinned);
    });
}

/// The granter writes a flag of its own while the last use ends: neither undoes what the other did.
#[test]
fn a_grant_that_becomes_read_only_while_it_is_unpinned() {
    check(3, || {
        let (mut grants, frame) = table();
        assert!(pin(&mut grants, Access::Read));
        let theirs = frame.clone();
        let granter = thread::spawn(move || theirs.0[2].fetch_or(4));
        grants.unpin(1, Access::Read);
        granter.join().unwrap();
        assert_eq!(frame.0[2].load(), 3 << 16 | 4 | 1);
    });
}

/// The model does find what is lost: without the second look at the pending bit an event is missed in some order.
#[test]
#[should_panic(expected = "missed")]
fn the_model_finds_a_lost_event() {
    check(3, || {
        let (pending, mask) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(1)));
        let (their_pending, their_mask) = (pending.clone(), mask.clone());
        let guest = thread::spawn(move || {
            let told = their_pending.load(SeqCst) != 0;
            their_mask.store(0, SeqCst);
            told
        });
        pending.store(1, SeqCst);
        let told = mask.load(SeqCst) == 0;
        assert!(guest.join().unwrap() || told, "missed");
    });
}
