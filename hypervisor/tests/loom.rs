//! What a guest and the hypervisor do to the same words at the same time, in every order that memory allows.
//!
//! The model has no sequentially consistent operations, only such fences: each operation stands between two, which is how an arm64
//! CPU orders load-acquire and store-release instructions among themselves. What holds is run again with words that do less, where it
//! must not hold: the model does find what is lost.

#[path = "support/guest.rs"]
mod guest;

use guest::Consumer;
use hypervisor::domain::vcpu::{NOWHERE, Status};
use hypervisor::event::fifo::{BUSY, Fifo, LINK, LINKED, MASKED, PENDING, Queued};
use hypervisor::event::two_level::{self, Shared};
use hypervisor::event::upcall;
use hypervisor::grant::{Access, Grants, Use};
use hypervisor::memory::frames::{Refused, count};
use hypervisor::schedule::protocol::{self, Board, Sleeper};
use hypervisor::schedule::queue::{Queue, Times, Turn};
use hypervisor::word::{Page, Word};
use loom::sync::Arc;
use loom::sync::Mutex;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
use loom::thread;

/// As the hypervisor's words are.
const EXACT: u8 = 0;
/// A mistake: no operation orders another.
const RELAXED: u8 = 1;
/// A mistake: what reads and writes does first the one, then the other.
const TORN: u8 = 2;
/// A mistake of who has news: it tells first, and then there is something to see.
const HASTY: u8 = 3;

/// A word of the model, right or wrong.
#[derive(Debug)]
struct Modelled<A, const MODE: u8>(A);

macro_rules! modelled {
    ($($atomic:ty: $value:ty;)*) => {
        $(impl<const MODE: u8> Modelled<$atomic, MODE> {
            /// Returns what is there, and puts what `new` makes of it there.
            fn update(&self, new: impl Fn($value) -> Option<$value>) -> $value {
                let mut before = self.load();
                while let Some(value) = new(before) {
                    if MODE == TORN {
                        self.store(value);
                        break;
                    }
                    let order = if MODE == RELAXED { Relaxed } else { SeqCst };
                    order_all::<MODE>();
                    let done = self.0.compare_exchange(before, value, order, order);
                    order_all::<MODE>();
                    match done {
                        Ok(_) => break,
                        Err(now) => before = now,
                    }
                }
                before
            }
        }

        impl<const MODE: u8> Word<$value> for Modelled<$atomic, MODE> {
            fn load(&self) -> $value {
                order_all::<MODE>();
                self.0.load(if MODE == RELAXED { Relaxed } else { SeqCst })
            }

            fn store(&self, value: $value) {
                self.0.store(value, if MODE == RELAXED { Relaxed } else { SeqCst });
                order_all::<MODE>();
            }

            fn swap(&self, value: $value) -> $value {
                match MODE {
                    EXACT => {
                        fence(SeqCst);
                        let before = self.0.swap(value, SeqCst);
                        fence(SeqCst);
                        before
                    }
                    _ => self.update(|_| Some(value)),
                }
            }

            fn fetch_or(&self, bits: $value) -> $value {
                match MODE {
                    EXACT => {
                        fence(SeqCst);
                        let before = self.0.fetch_or(bits, SeqCst);
                        fence(SeqCst);
                        before
                    }
                    _ => self.update(|value| Some(value | bits)),
                }
            }

            fn fetch_and(&self, bits: $value) -> $value {
                match MODE {
                    EXACT => {
                        fence(SeqCst);
                        let before = self.0.fetch_and(bits, SeqCst);
                        fence(SeqCst);
                        before
                    }
                    _ => self.update(|value| Some(value & bits)),
                }
            }

            fn compare_exchange(&self, current: $value, new: $value) -> Result<$value, $value> {
                match MODE {
                    EXACT => {
                        fence(SeqCst);
                        let done = self.0.compare_exchange(current, new, SeqCst, SeqCst);
                        fence(SeqCst);
                        done
                    }
                    _ => {
                        let before = self.update(|value| (value == current).then_some(new));
                        if before == current { Ok(before) } else { Err(before) }
                    }
                }
            }
        })*
    };
}

fn order_all<const MODE: u8>() {
    if MODE != RELAXED {
        fence(SeqCst);
    }
}

modelled! {
    AtomicBool: bool;
    AtomicU8: u8;
    AtomicU32: u32;
    AtomicU64: u64;
    AtomicUsize: usize;
}

type Word32<const MODE: u8> = Modelled<AtomicU32, MODE>;

/// A page of which only the first words are ever used. The array of events is cut to a few words, the control block to its 18.
#[derive(Clone, Debug)]
struct Few<const MODE: u8>(Arc<Vec<Word32<MODE>>>);

impl<const MODE: u8> Few<MODE> {
    fn new(count: usize) -> Self {
        Self(Arc::new((0..count).map(|_| Modelled(AtomicU32::new(0))).collect()))
    }
}

impl<const MODE: u8> Page for Few<MODE> {
    type Word = Word32<MODE>;

    fn words(&self) -> &[Word32<MODE>] {
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
struct Machine<const MODE: u8> {
    control: Few<MODE>,
    array: Few<MODE>,
    byte: Arc<Modelled<AtomicU8, MODE>>,
}

impl<const MODE: u8> Machine<MODE> {
    fn new() -> (Self, Fifo<Few<MODE>>) {
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

    fn raise(&self, fifo: &mut Fifo<Few<MODE>>, port: u32, queued: &mut Queued) -> u32 {
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
fn queues<const MODE: u8>() {
    check(4, || {
        let (machine, mut fifo) = Machine::<MODE>::new();
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
fn taken<const MODE: u8>() {
    check(3, || {
        let (machine, mut fifo) = Machine::<MODE>::new();
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
fn unmasked<const MODE: u8>() {
    check(3, || {
        let (machine, mut fifo) = Machine::<MODE>::new();
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
fn upcalls<const MODE: u8>() {
    check(3, || {
        let byte = Arc::new(Modelled::<_, MODE>(AtomicU8::new(0)));
        let event = Arc::new(Modelled::<_, EXACT>(AtomicU32::new(0)));
        let interrupt = Arc::new(Modelled::<_, EXACT>(AtomicBool::new(false)));
        let raise = |bit: u32| {
            let (byte, event, interrupt) = (byte.clone(), event.clone(), interrupt.clone());
            move || {
                event.fetch_or(bit);
                if upcall(&*byte) {
                    interrupt.swap(true);
                }
            }
        };
        // The guest takes its interrupt now and perhaps once more.
        let serve = || if interrupt.swap(false) && byte.swap(0) == 1 { event.swap(0) } else { 0 };
        let other = thread::spawn(raise(1));
        raise(2)();
        let mut seen = serve();
        other.join().unwrap();
        seen |= serve();
        // Nothing of that keeps the next one away.
        raise(4)();
        seen |= serve();
        assert_eq!(seen, 7, "an event is missed");
    });
}

/// What a vCPU and its domain share, cut to one word each.
struct Bits<const MODE: u8> {
    pending: [Modelled<AtomicU64, MODE>; 1],
    mask: [Modelled<AtomicU64, MODE>; 1],
    select: Modelled<AtomicU64, MODE>,
}

impl<const MODE: u8> Shared for Bits<MODE> {
    type Word = Modelled<AtomicU64, MODE>;

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
fn bits<const MODE: u8>() {
    check(3, || {
        let word = |value| Modelled::<_, MODE>(AtomicU64::new(value));
        let bits = Arc::new(Bits { pending: [word(0)], mask: [word(2)], select: word(0) });
        let other = bits.clone();
        let unmasks = thread::spawn(move || two_level::unmask(&*other, 1, 0));
        let (new, told) = two_level::set_pending(&*bits, 1, 0);
        let told = unmasks.join().unwrap() || told;
        assert!(new && told && bits.select.load() == 1 && bits.pending[0].load() == 2);
    });
}

/// Takes a grant back, as Linux does: returns whether nobody uses it, and then nobody can.
fn revoke(head: &impl Word<u32>) -> bool {
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

fn table<const MODE: u8>() -> (Grants<Few<MODE>>, Few<MODE>) {
    let frame = Few::new(4);
    let mut grants = Grants::new(1);
    grants.grow(1, || Some(frame.clone())).unwrap();
    frame.0[3].store(5);
    frame.0[2].store(3 << 16 | 1);
    (grants, frame)
}

fn pin<const MODE: u8>(grants: &mut Grants<Few<MODE>>, access: Access) -> bool {
    grants.pin(1, 3, access, Use::Map, |gfn, _| Ok(gfn), |_| Ok(())) == Ok(5)
}

/// A grant is used or taken back, never both; and once the last use ends it can be taken back.
fn revoked_while_pinned<const MODE: u8>() {
    check(3, || {
        let (mut grants, frame) = table::<MODE>();
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
        let (mut grants, frame) = table::<EXACT>();
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
fn read_only_while_pinned<const MODE: u8>() {
    check(3, || {
        let (mut grants, frame) = table::<MODE>();
        let granter = thread::spawn(move || {
            let before = frame.0[2].fetch_or(4);
            before & 0x10 != 0
        });
        let pinned = pin(&mut grants, Access::Write);
        assert_eq!(granter.join().unwrap(), pinned);
    });
}

/// The granter writes a flag of its own while the last use ends: neither undoes what the other did.
fn read_only_while_unpinned<const MODE: u8>() {
    check(3, || {
        let (mut grants, frame) = table::<MODE>();
        assert!(pin(&mut grants, Access::Read));
        let theirs = frame.clone();
        let granter = thread::spawn(move || theirs.0[2].fetch_or(4));
        grants.unpin(1, Access::Read);
        granter.join().unwrap();
        assert_eq!(frame.0[2].load(), 3 << 16 | 4 | 1);
    });
}

/// A vCPU of the model. What its interrupt controller would have for it is one flag.
#[derive(Debug)]
struct Vcpu<const MODE: u8> {
    status: Modelled<AtomicU8, MODE>,
    news: Modelled<AtomicBool, MODE>,
    place: Modelled<AtomicUsize, MODE>,
    registers: Modelled<AtomicUsize, MODE>,
    pending: Mutex<bool>,
    /// Where alone it may go on, or [`NOWHERE`].
    pin: usize,
}

#[derive(Debug, Clone)]
struct Who<const MODE: u8>(Arc<Vcpu<MODE>>);

impl<const MODE: u8> Who<MODE> {
    fn new(status: Status, cpu: usize, registers: usize, pin: usize) -> Self {
        Self(Arc::new(Vcpu {
            status: Modelled(AtomicU8::new(status as u8)),
            news: Modelled(AtomicBool::new(false)),
            place: Modelled(AtomicUsize::new(cpu)),
            registers: Modelled(AtomicUsize::new(registers)),
            pending: Mutex::new(false),
            pin,
        }))
    }

    fn interrupt(&self, cpus: &Cpus<MODE>) {
        if MODE == HASTY {
            protocol::notify(cpus, self);
            *self.0.pending.lock().unwrap() = true;
        } else {
            *self.0.pending.lock().unwrap() = true;
            protocol::notify(cpus, self);
        }
    }

    fn look(&self) -> bool {
        protocol::look(self, || *self.0.pending.lock().unwrap())
    }
}

impl<const MODE: u8> Turn for Who<MODE> {
    fn home(&self) -> usize {
        self.0.place.load()
    }

    fn may_run_on(&self, cpu: usize) -> bool {
        let on = self.0.registers.load();
        (on == NOWHERE || on == cpu) && (self.0.pin == NOWHERE || self.0.pin == cpu)
    }

    fn ran(&self) -> u64 {
        0
    }

    fn set_ran(&self, _ran: u64) {}
}

impl<const MODE: u8> Sleeper for Who<MODE> {
    fn status(&self) -> &impl Word<u8> {
        &self.0.status
    }

    fn news(&self) -> &impl Word<bool> {
        &self.0.news
    }

    fn place(&self) -> &impl Word<usize> {
        &self.0.place
    }

    fn registers(&self) -> &impl Word<usize> {
        &self.0.registers
    }
}

/// Two CPUs, with the interrupts that one sends the other. One that sleeps, or runs a guest that never comes back by itself, goes on when
/// its interrupt comes, and for ever stays where it is if none does.
struct Cpus<const MODE: u8> {
    line: Mutex<Queue<Who<MODE>>>,
    interrupts: [Modelled<AtomicBool, EXACT>; 2],
    /// Whether all that others do is done.
    done: Modelled<AtomicU32, EXACT>,
}

impl<const MODE: u8> Cpus<MODE> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            line: Mutex::new(Queue::new()),
            interrupts: [Modelled(AtomicBool::new(false)), Modelled(AtomicBool::new(false))],
            done: Modelled(AtomicU32::new(0)),
        })
    }

    /// Does something on another CPU.
    fn elsewhere(cpus: &Arc<Self>, bit: u32, act: impl FnOnce(&Self) + 'static) -> thread::JoinHandle<()> {
        let cpus = cpus.clone();
        thread::spawn(move || {
            act(&cpus);
            cpus.done.fetch_or(bit);
        })
    }

    /// Waits for an interrupt, as long as any of the `others` may still send one.
    fn sleep(&self, cpu: usize, others: u32) {
        loop {
            let last = self.done.load() == others;
            if self.interrupts[cpu].swap(false) {
                return;
            }
            assert!(!last, "CPU {cpu} sleeps for ever");
            thread::yield_now();
        }
    }

    /// Returns who runs on a CPU next, which sleeps until somebody does.
    fn next(&self, cpu: usize, others: u32) -> Who<MODE> {
        loop {
            match protocol::take(self, cpu) {
                Some((who, _)) => return who,
                None => self.sleep(cpu, others),
            }
        }
    }
}

impl<const MODE: u8> Board for Cpus<MODE> {
    type Who = Who<MODE>;

    fn with_line<R>(&self, act: impl FnOnce(&mut Queue<Who<MODE>>, u64, Times) -> R) -> R {
        act(&mut self.line.lock().unwrap(), 0, Times { slice: 10, grain: 2, patience: 200 })
    }

    fn kick(&self, cpu: usize) {
        self.interrupts[cpu].swap(true);
    }

    fn look(&self, cpu: usize) {
        self.interrupts[cpu].swap(true);
    }
}

/// An interrupt comes for a vCPU that is about to sleep, or sleeps: it sees it.
fn told_while_it_falls_asleep<const MODE: u8>() {
    check(3, || {
        let (cpus, vcpu) = (Cpus::<MODE>::new(), Who::new(Status::Off, 0, NOWHERE, NOWHERE));
        assert!(protocol::start(&*cpus, &vcpu));
        let other = vcpu.clone();
        let device = Cpus::elsewhere(&cpus, 1, move |cpus| other.interrupt(cpus));
        loop {
            let vcpu = cpus.next(0, 1);
            if vcpu.look() {
                break;
            }
            protocol::block(&*cpus, &vcpu, 0);
        }
        device.join().unwrap();
    });
}

/// An interrupt comes for a vCPU that goes from one CPU, where it must not stay, to another, and runs there: it sees it.
fn told_while_it_moves<const MODE: u8>() {
    check(2, || {
        let (cpus, vcpu) = (Cpus::<MODE>::new(), Who::new(Status::Running, 0, 0, 1));
        let other = vcpu.clone();
        let device = Cpus::elsewhere(&cpus, 1, move |cpus| other.interrupt(cpus));
        let first = Cpus::elsewhere(&cpus, 2, move |cpus| {
            protocol::unloaded(cpus, &vcpu);
            protocol::put_back(cpus, &vcpu, 0, true);
        });
        let vcpu = cpus.next(1, 3);
        while !vcpu.look() {
            cpus.sleep(1, 3);
        }
        first.join().unwrap();
        device.join().unwrap();
    });
}

/// A CPU wakes a vCPU whose registers are elsewhere, where they are just being put away for another one: it gets it.
fn woken_while_it_is_unloaded<const MODE: u8>() {
    check(3, || {
        let (cpus, vcpu) = (Cpus::<MODE>::new(), Who::new(Status::Blocked, 0, 0, NOWHERE));
        // The other one never lets go of the first CPU; the second has nothing to do.
        assert!(protocol::start(&*cpus, &Who::new(Status::Off, 0, NOWHERE, 0)));
        assert!(protocol::take(&*cpus, 0).is_some() && protocol::take(&*cpus, 1).is_none());
        let other = vcpu.clone();
        let first = Cpus::elsewhere(&cpus, 1, move |cpus| protocol::unloaded(cpus, &other));
        protocol::wake(&*cpus, &vcpu);
        cpus.next(1, 1);
        first.join().unwrap();
    });
}

/// Two wake a vCPU: it waits in the line once.
fn woken_twice<const MODE: u8>() {
    check(3, || {
        let (cpus, vcpu) = (Cpus::<MODE>::new(), Who::new(Status::Blocked, 0, NOWHERE, NOWHERE));
        let other = vcpu.clone();
        let device = Cpus::elsewhere(&cpus, 1, move |cpus| other.interrupt(cpus));
        vcpu.interrupt(&cpus);
        device.join().unwrap();
        assert_eq!(cpus.with_line(|queue, _, _| queue.waiting()), 1, "it waits twice");
    });
}

/// A frame is given up while another CPU takes a reference and writes to it: one of them gives back the last one, and sees all of it.
fn given_back_while_it_is_taken<const MODE: u8>() {
    check(3, || {
        let word = Arc::new(Modelled::<_, MODE>(AtomicU64::new(7 << 48 | 1)));
        let content = Arc::new(AtomicU32::new(0));
        let (their_word, their_content) = (word.clone(), content.clone());
        let other = thread::spawn(move || {
            let got = count::get(&*their_word, |word| word >> 48 == 7).is_ok();
            if got {
                their_content.store(1, Relaxed);
                (true, count::put(&*their_word) == Ok(0))
            } else {
                (false, false)
            }
        });
        let last = count::put(&*word) == Ok(0);
        let seen = content.load(Relaxed);
        let (got, other_last) = other.join().unwrap();
        assert!(last != other_last, "freed twice, or never");
        assert!(!(last && got) || seen == 1, "a page is somebody else's before it is written");
        assert_eq!(count::get(&*word, |_| true), Err(Refused));
    });
}

/// Each of these holds with the words as they are, and not with some mistake in them.
macro_rules! hold {
    ($($(#[$doc:meta])* $name:ident: $scenario:ident, not $mistake:ident in $broken:ident;)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                $scenario::<EXACT>();
            }

            #[test]
            #[should_panic]
            fn $broken() {
                $scenario::<$mistake>();
            }
        )*
    };
}

hold! {
    queues_and_a_guest_that_serves: queues, not TORN in torn_queues;
    a_port_that_is_raised_while_it_is_taken: taken, not TORN in torn_tail;
    a_port_that_is_unmasked_while_it_is_raised: unmasked, not TORN in torn_mask;
    an_upcall_is_raised_once_and_not_lost: upcalls, not TORN in torn_upcall;
    a_bit_that_is_unmasked_while_it_is_raised: bits, not RELAXED in relaxed_bits;
    a_grant_that_is_revoked_while_it_is_pinned: revoked_while_pinned, not TORN in torn_pin;
    a_grant_that_becomes_read_only_while_it_is_pinned: read_only_while_pinned, not TORN in torn_pin_of_a_page;
    a_grant_that_becomes_read_only_while_it_is_unpinned: read_only_while_unpinned, not TORN in torn_last_unpin;
    a_vcpu_that_falls_asleep: told_while_it_falls_asleep, not RELAXED in relaxed_sleep;
    a_vcpu_that_moves: told_while_it_moves, not HASTY in hasty_move;
    a_vcpu_that_is_unloaded: woken_while_it_is_unloaded, not RELAXED in relaxed_unload;
    a_vcpu_that_two_wake: woken_twice, not TORN in torn_wake;
    a_frame_that_is_given_back: given_back_while_it_is_taken, not RELAXED in relaxed_reference;
    a_frame_that_is_taken: given_back_while_it_is_taken, not TORN in torn_reference;
}
