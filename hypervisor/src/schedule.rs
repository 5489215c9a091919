//! Which vCPU a CPU runs next, on which CPU a vCPU that wakes up runs, and the deadlines that a CPU watches for the vCPUs it ran last.
//!
//! A vCPU's registers stay where it ran until another one comes ([`Vcpu::on`]); meanwhile no other CPU takes it. It needs none to: a
//! CPU that keeps the registers of a vCPU that sleeps has nothing else to do.

#[cfg(test)]
mod model;
pub mod protocol;
pub mod queue;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering::*};

use xen_abi::sched::ShutdownReason;

use crate::arch::{self, CPUS_MAX, Lock, gic, smp, timer};
use crate::domain::Domain;
use crate::domain::vcpu::{NEVER, NOWHERE, POLL, Vcpu, WATCHDOGS};
use crate::word::Word;
use protocol::{Board, Sleeper};
use queue::{Queue, Times, Turn};

/// Milliseconds that a vCPU runs before another one's turn.
const SLICE_MS: u64 = 10;
/// How many milliseconds less a vCPU must have run to end another one's turn before, or to be moved.
const GRAIN_MS: u64 = 2;
/// Milliseconds after which a vCPU that waits is next, whatever it had before.
const PATIENCE_MS: u64 = 200;

/// A vCPU with the domain that keeps it alive.
#[derive(Debug, Clone)]
pub struct Entity {
    /// The domain.
    pub domain: Arc<Domain>,
    /// The vCPU's number.
    pub index: usize,
}

impl Entity {
    /// Returns the vCPU.
    pub fn vcpu(&self) -> &Vcpu {
        &self.domain.vcpus[self.index]
    }

    /// Whether both are the same vCPU.
    pub fn is(&self, other: &Entity) -> bool {
        self.index == other.index && Arc::ptr_eq(&self.domain, &other.domain)
    }
}

impl Turn for Entity {
    fn home(&self) -> usize {
        self.vcpu().cpu.load(SeqCst)
    }

    fn may_run_on(&self, cpu: usize) -> bool {
        let vcpu = self.vcpu();
        let on = vcpu.on.load(SeqCst);
        (on == NOWHERE || on == cpu) && vcpu.pin().map_or_else(|| smp::alike(self.home(), cpu), |pin| pin == cpu)
    }

    fn ran(&self) -> u64 {
        self.vcpu().ran.load(Relaxed)
    }

    fn set_ran(&self, ran: u64) {
        self.vcpu().ran.store(ran, Relaxed);
    }

    fn set_woken(&self, now: u64) {
        self.vcpu().woken.store(now, Relaxed);
    }
}

static QUEUE: Lock<Queue<Entity>> = Lock::new(Queue::new());
/// How many wait in it, for who only wants to know whether any do.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// The vCPUs whose deadlines each CPU watches: those that ran there last.
static MEMBERS: [Lock<Vec<Entity>>; CPUS_MAX] = [const { Lock::new(Vec::new()) }; CPUS_MAX];

fn times() -> Times {
    let milliseconds = |count: u64| timer::frequency() * count / 1000;
    Times { slice: milliseconds(SLICE_MS).max(1), grain: milliseconds(GRAIN_MS), patience: milliseconds(PATIENCE_MS) }
}

impl Sleeper for Entity {
    fn status(&self) -> &impl Word<u8> {
        self.vcpu().status_word()
    }

    fn news(&self) -> &impl Word<bool> {
        &self.vcpu().news
    }

    fn place(&self) -> &impl Word<usize> {
        &self.vcpu().cpu
    }

    fn registers(&self) -> &impl Word<usize> {
        &self.vcpu().on
    }
}

/// The machine's CPUs.
struct Machine;

impl Board for Machine {
    type Who = Entity;

    fn with_line<R>(&self, act: impl FnOnce(&mut Queue<Entity>, u64, Times) -> R) -> R {
        let (now, times) = (timer::now(), times());
        let mut queue = QUEUE.lock();
        let result = act(&mut queue, now, times);
        WAITING.store(queue.waiting(), SeqCst);
        result
    }

    fn kick(&self, cpu: usize) {
        if cpu != arch::cpu() {
            gic::kick(cpu);
        }
    }

    fn look(&self, cpu: usize) {
        // This one too: a guest that had it to itself until now may have no other reason to come back.
        gic::kick(cpu);
    }
}

/// Lets a CPU watch a vCPU's deadlines. There is room for it wherever it goes from now on: later nothing here needs memory.
pub fn enlist(domain: &Arc<Domain>, index: usize) {
    let all = 1 + MEMBERS.iter().map(|members| members.lock().len()).sum::<usize>();
    QUEUE.lock().make_room(all);
    for members in &MEMBERS {
        let mut members = members.lock();
        let more = all - members.len();
        members.reserve(more);
    }
    let cpu = domain.vcpus[index].cpu.load(SeqCst);
    MEMBERS[cpu].lock().push(Entity { domain: domain.clone(), index });
}

fn entity(domain: &Arc<Domain>, index: usize) -> Entity {
    Entity { domain: domain.clone(), index }
}

/// Lets a vCPU start that is off, or being switched on by the caller; says whether it was.
pub fn start(domain: &Arc<Domain>, index: usize) -> bool {
    protocol::start(&Machine, &entity(domain, index))
}

/// Makes a vCPU look at its news: wakes it if it sleeps, or takes it out of its guest if it runs elsewhere.
pub fn wake(domain: &Arc<Domain>, index: usize) {
    protocol::wake(&Machine, &entity(domain, index));
}

/// Tells a vCPU that something is new for it.
pub fn notify(domain: &Arc<Domain>, index: usize) {
    protocol::notify(&Machine, &entity(domain, index));
}

/// Returns the vCPU that this CPU runs next; it is marked as running, here.
pub fn next() -> Option<Entity> {
    let cpu = arch::cpu();
    let (entity, before) = protocol::take(&Machine, cpu)?;
    if before != cpu {
        entity.vcpu().moves.fetch_add(1, Relaxed);
        // In no list for a moment: what is due then is seen when the timer is set.
        let mut members = MEMBERS[before].lock();
        let member = members.iter().position(|member| member.is(&entity)).map(|index| members.swap_remove(index));
        drop(members);
        MEMBERS[cpu].lock().extend(member);
        set_timer();
    }
    Some(entity)
}

/// Returns the vCPUs whose deadlines a CPU watches, for debug keys, and how many wait that ran there last.
pub fn members(cpu: usize) -> (Vec<Entity>, usize) {
    let members = MEMBERS[cpu].lock().clone();
    (members, QUEUE.lock().waiting_at(cpu))
}

/// Whether another vCPU waits that could run here, or the one that runs here must go elsewhere.
pub fn is_contended(entity: &Entity) -> bool {
    let waits = || QUEUE.lock().is_wanted(arch::cpu(), timer::now(), times());
    WAITING.load(SeqCst) != 0 && waits() || !may_stay(entity)
}

/// Whether a vCPU's turn on this CPU is over.
pub fn is_over() -> bool {
    WAITING.load(SeqCst) != 0 && QUEUE.lock().is_over(arch::cpu(), timer::now(), times())
}

/// Whether a vCPU that runs here may go on doing so.
pub fn may_stay(entity: &Entity) -> bool {
    entity.vcpu().pin().is_none_or(|pin| pin == arch::cpu())
}

/// Puts a vCPU that ran here back in the line.
pub fn requeue(entity: &Entity, yields: bool) {
    protocol::put_back(&Machine, entity, arch::cpu(), yields);
}

/// Puts a vCPU that ran here to sleep, unless something came meanwhile.
pub fn block(entity: &Entity) {
    protocol::block(&Machine, entity, arch::cpu());
}

/// Switches a vCPU off that ran here.
pub fn stop(entity: &Entity) {
    protocol::stop(&Machine, entity, arch::cpu());
}

/// Lets others have a vCPU whose registers were taken off this CPU.
pub fn unloaded(entity: &Entity) {
    protocol::unloaded(&Machine, entity);
}

/// Sets EL2's timer for what comes first: a vCPU's deadline, or the end of a slice.
pub fn set_timer() {
    let cpu = arch::cpu();
    let mut first = NEVER;
    for entity in MEMBERS[cpu].lock().iter() {
        first = entity.vcpu().deadlines.iter().map(|deadline| deadline.load(SeqCst)).fold(first, u64::min);
    }
    if WAITING.load(SeqCst) != 0
        && let Some(end) = QUEUE.lock().end_of_turn(cpu, timer::now(), times())
    {
        first = first.min(end);
    }
    timer::set_deadline((first != NEVER).then_some(first));
}

/// Lets the CPU of a vCPU see to a deadline that was changed.
pub fn set_timer_of(vcpu: &Vcpu) {
    let cpu = vcpu.cpu.load(SeqCst);
    if cpu == arch::cpu() {
        set_timer();
    } else {
        gic::kick(cpu);
    }
}

/// Returns a deadline that this CPU watches and that has come, as vCPU and number; it is over with that.
fn take_due(now: u64) -> Option<(Entity, usize)> {
    let members = MEMBERS[arch::cpu()].lock();
    let all = members.iter().flat_map(|entity| (0..entity.vcpu().deadlines.len()).map(move |which| (entity, which)));
    all.filter(|(entity, which)| {
        let deadline = &entity.vcpu().deadlines[*which];
        let at = deadline.load(Relaxed);
        // Unless it was set anew just now.
        at <= now && deadline.compare_exchange(at, NEVER, SeqCst, SeqCst).is_ok()
    })
    .map(|(entity, which)| (entity.clone(), which))
    .next()
}

/// Fires the timers that are due on this CPU.
pub fn fire_timers() {
    let now = timer::now();
    while let Some((entity, which)) = take_due(now) {
        let interrupts = entity.domain.interrupts;
        match which {
            0 => {
                let mut vgic = entity.domain.vgic.lock();
                // Should another CPU have it by now, the hardware there has seen to its timer already, or will.
                if entity.vcpu().on.load(SeqCst) == NOWHERE {
                    let concerned = vgic.raise(entity.index, interrupts.virtual_timer);
                    drop(vgic);
                    entity.domain.notify(concerned);
                }
            }
            POLL => entity.domain.notify([entity.index]),
            watchdog if WATCHDOGS.contains(&watchdog) => entity.domain.stop(ShutdownReason::Watchdog.number()),
            _ => {
                let mut vgic = entity.domain.vgic.lock();
                let on = entity.vcpu().on.load(SeqCst);
                if on == NOWHERE || on == arch::cpu() {
                    let concerned = vgic.set_line(entity.index, interrupts.physical_timer, true);
                    drop(vgic);
                    entity.domain.notify(concerned);
                } else {
                    // Its guest may just have changed it: whoever has it now sees to it, between two instructions of that guest.
                    drop(vgic);
                    let _ = entity.vcpu().deadlines[which].compare_exchange(NEVER, now, SeqCst, SeqCst);
                    set_timer_of(entity.vcpu());
                }
            }
        }
    }
    set_timer();
}

/// Returns how often the vCPUs of a domain went from one CPU to another.
pub fn moves(domain: &Domain) -> u64 {
    domain.vcpus.iter().map(|vcpu| vcpu.moves.load(Relaxed)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::vgic::registers::{Frame, Place};
    use crate::domain::fixture;
    use crate::hypercall::{Answer, sched_op};
    use crate::memory::guest;
    use crate::run::{Caller, Then};
    use xen_abi::sched::SchedOp;

    #[test]
    fn a_deadline_is_not_that_of_a_vcpu_which_another_cpu_has() {
        let (domain, _) = fixture::domain(78, false);
        let timer = domain.interrupts.virtual_timer;
        {
            let mut vgic = domain.vgic.lock();
            let mut write = |frame, offset, value| {
                vgic.write(Place { own: 0, frame, offset, size: 4 }, value);
            };
            write(Frame::Distributor, 0, 3);
            write(Frame::Redistributor(0), 0x1_0100, 1 << timer);
        }
        arch::become_cpu(3);
        MEMBERS[3].lock().push(Entity { domain: domain.clone(), index: 0 });
        // The other one has it already, and its hardware watches; the deadline was found before.
        for (on, raised) in [(1, false), (NOWHERE, true)] {
            domain.vcpus[0].deadlines[0].store(1, SeqCst);
            domain.vcpus[0].on.store(on, SeqCst);
            fire_timers();
            assert_eq!(domain.vgic.lock().is_pending(0), raised, "registers on {on}");
        }
        MEMBERS[3].lock().clear();
    }

    /// Makes a call of scheduling with these words as argument.
    fn ask(entity: &Entity, operation: SchedOp, address: u64, argument: &[u32]) -> (Answer, Then) {
        let bytes: Vec<u8> = argument.iter().flat_map(|word| word.to_le_bytes()).collect();
        guest::write(entity.domain.id, address, &bytes).unwrap();
        let mut state = entity.vcpu().state.lock();
        sched_op::call(&mut Caller { entity, state: &mut state }, operation.number().into(), address)
    }

    #[test]
    fn who_polls_wakes_when_the_time_has_come_and_a_watchdog_bites() {
        let (domain, memory) = fixture::domain(79, false);
        let entity = Entity { domain: domain.clone(), index: 0 };
        arch::become_cpu(2);
        entity.vcpu().cpu.store(2, SeqCst);
        MEMBERS[2].lock().push(entity.clone());
        let seconds = |halves: u64| timer::pass(timer::frequency() * halves / 2);
        let at = timer::now() + timer::frequency();
        let nanoseconds = u128::from(at) * 1_000_000_000 / u128::from(timer::frequency()) + 1;
        let poll = [0, 0, 0, 0, nanoseconds as u32, (nanoseconds >> 32) as u32];
        assert_eq!(ask(&entity, SchedOp::Poll, memory, &poll), (Ok(0), Then::Block));
        for due in [false, true] {
            fire_timers();
            assert_eq!(entity.vcpu().news.load(SeqCst), due);
            seconds(3);
        }
        // It was for once; what is over already is not waited for.
        assert_eq!(entity.vcpu().deadlines[POLL].load(SeqCst), NEVER);
        assert_eq!(ask(&entity, SchedOp::Poll, memory, &poll), (Ok(0), Then::Resume));
        // Of two seconds; set anew after one and a half.
        assert_eq!(ask(&entity, SchedOp::Watchdog, memory, &[0, 2]).0, Ok(1));
        seconds(3);
        fire_timers();
        assert_eq!(ask(&entity, SchedOp::Watchdog, memory, &[1, 2]).0, Ok(0));
        seconds(3);
        fire_timers();
        assert_eq!(*domain.shutdown.lock(), None);
        seconds(2);
        fire_timers();
        assert_eq!(*domain.shutdown.lock(), Some(ShutdownReason::Watchdog.number()));
        MEMBERS[2].lock().clear();
    }

    #[test]
    fn each_of_many_vcpus_polls_for_itself() {
        let (domain, memory) = fixture::domain_of(80, false, 70);
        let who = |index| Entity { domain: domain.clone(), index };
        for index in [1, 65] {
            assert_eq!(ask(&who(index), SchedOp::Poll, memory, &[0; 6]), (Ok(0), Then::Block));
        }
        let told = || [0, 1, 2, 65].map(|index| domain.vcpus[index].news.swap(false, SeqCst));
        assert_eq!(told(), [false; 4]);
        domain.wake_pollers();
        assert_eq!(told(), [false, true, false, true]);
        domain.wake_pollers();
        assert_eq!(told(), [false; 4], "each once");
        assert_eq!(ask(&who(65), SchedOp::Poll, memory, &[0; 6]), (Ok(0), Then::Block));
        domain.wake_pollers();
        assert_eq!(told(), [false, false, false, true], "not the one 64 before it");
    }
}
