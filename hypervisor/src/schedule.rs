//! Which vCPU a CPU runs next: each CPU has a list, first come, first served, and a slice of time where others wait.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::*;

use xen_abi::sched::ShutdownReason;

use crate::arch::{self, CPUS_MAX, Lock, gic, timer};
use crate::domain::Domain;
use crate::domain::vcpu::{NEVER, POLL, Status, Vcpu, WATCHDOGS};

/// Milliseconds that a vCPU runs before another one's turn.
const SLICE_MS: u64 = 10;

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

/// A CPU's vCPUs: those that wait for it, and all that are on its list.
struct List {
    waiting: VecDeque<Entity>,
    members: Vec<Entity>,
}

static LISTS: [Lock<List>; CPUS_MAX] =
    [const { Lock::new(List { waiting: VecDeque::new(), members: Vec::new() }) }; CPUS_MAX];

/// Puts a vCPU on its CPU's list.
pub fn enlist(domain: &Arc<Domain>, index: usize) {
    let cpu = domain.vcpus[index].cpu.load(Relaxed);
    LISTS[cpu].lock().members.push(Entity { domain: domain.clone(), index });
}

/// Lets a vCPU that is off start; says whether it was off.
pub fn start(domain: &Arc<Domain>, index: usize) -> bool {
    let vcpu = &domain.vcpus[index];
    let started = vcpu.change(Status::Off, Status::Runnable);
    if started {
        enqueue(domain, index);
    }
    started
}

/// Makes a vCPU look at its news: wakes it if it sleeps, or takes it out of its guest if it runs elsewhere.
pub fn wake(domain: &Arc<Domain>, index: usize) {
    let vcpu = &domain.vcpus[index];
    if vcpu.change(Status::Blocked, Status::Runnable) {
        enqueue(domain, index);
    } else if vcpu.status() == Status::Running {
        kick(vcpu.cpu.load(Relaxed));
    }
}

fn enqueue(domain: &Arc<Domain>, index: usize) {
    let cpu = domain.vcpus[index].cpu.load(Relaxed);
    LISTS[cpu].lock().waiting.push_back(Entity { domain: domain.clone(), index });
    kick(cpu);
}

fn kick(cpu: usize) {
    if cpu != arch::cpu() {
        gic::kick(cpu);
    }
}

/// Returns the vCPU that this CPU runs next; it is marked as running.
pub fn next() -> Option<Entity> {
    let mut list = LISTS[arch::cpu()].lock();
    while let Some(entity) = list.waiting.pop_front() {
        if entity.vcpu().change(Status::Runnable, Status::Running) {
            return Some(entity);
        }
    }
    None
}

/// Returns the vCPUs on a CPU's list, for debug keys, and how many wait.
pub fn members(cpu: usize) -> (Vec<Entity>, usize) {
    let list = LISTS[cpu].lock();
    (list.members.clone(), list.waiting.len())
}

/// Whether another vCPU waits for this CPU.
pub fn is_contended() -> bool {
    !LISTS[arch::cpu()].lock().waiting.is_empty()
}

/// Puts a vCPU that ran back in the line.
pub fn requeue(entity: &Entity) {
    if entity.vcpu().change(Status::Running, Status::Runnable) {
        LISTS[arch::cpu()].lock().waiting.push_back(entity.clone());
    }
}

/// Sets EL2's timer for what comes first: a vCPU's deadline, or the end of a slice.
pub fn set_timer() {
    let list = LISTS[arch::cpu()].lock();
    let mut first = NEVER;
    for entity in &list.members {
        first = entity.vcpu().deadlines.iter().map(|deadline| deadline.load(Relaxed)).fold(first, u64::min);
    }
    if !list.waiting.is_empty() {
        first = first.min(timer::now() + timer::frequency() * SLICE_MS / 1000);
    }
    timer::set_deadline((first != NEVER).then_some(first));
}

/// Lets the CPU of a vCPU see to a deadline that was changed.
pub fn set_timer_of(vcpu: &Vcpu) {
    let cpu = vcpu.cpu.load(Relaxed);
    if cpu == arch::cpu() {
        set_timer();
    } else {
        kick(cpu);
    }
}

/// Fires the timers that are due on this CPU.
pub fn fire_timers() {
    let now = timer::now();
    let mut due = Vec::new();
    for entity in &LISTS[arch::cpu()].lock().members {
        for (which, deadline) in entity.vcpu().deadlines.iter().enumerate() {
            if deadline.load(Relaxed) <= now {
                deadline.store(NEVER, Relaxed);
                due.push((entity.clone(), which));
            }
        }
    }
    for (entity, which) in due {
        let interrupts = entity.domain.interrupts;
        match which {
            0 => {
                let concerned = entity.domain.vgic.lock().raise(entity.index, interrupts.virtual_timer);
                entity.domain.notify(concerned);
            }
            POLL => entity.domain.notify([entity.index]),
            watchdog if WATCHDOGS.contains(&watchdog) => entity.domain.stop(ShutdownReason::Watchdog.number()),
            _ => entity.domain.set_line(entity.index, interrupts.physical_timer, true),
        }
    }
    set_timer();
}
