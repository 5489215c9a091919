//! A virtual CPU: what it is, where it is, and the state it has while nobody runs it.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::*};

use super::Domain;
use crate::arch::{Context, Lock, vcpu::Saved};
use crate::exits::Exits;
use crate::memory::shared::SharedPage;

/// Bytes of `struct vcpu_info`.
pub const INFO_SIZE: u64 = size_of::<xen_abi::xen::VcpuInfo>() as u64;

/// What a vCPU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// It is switched off.
    Off = 0,
    /// It waits for an interrupt or event.
    Blocked = 1,
    /// It waits for a CPU.
    Runnable = 2,
    /// It has a CPU.
    Running = 3,
    /// It is being switched on: its state is prepared by who did that, and nobody else may.
    Starting = 4,
}

/// A virtual CPU. What others may touch is here; the rest is in its state, which belongs to the CPU that runs it.
#[derive(Debug)]
pub struct Vcpu {
    /// Its number in the domain.
    pub id: usize,
    /// The CPU where it runs, or ran last.
    pub cpu: AtomicUsize,
    /// The CPU that has its registers, or [`NOWHERE`].
    pub on: AtomicUsize,
    /// Counts that it has run, as the scheduler sees it.
    pub ran: AtomicU64,
    /// How often it went from one CPU to another.
    pub moves: AtomicU64,
    /// The physical count at which it was last woken, or switched on: since then it has waited for a CPU.
    pub woken: AtomicU64,
    /// Something concerns it that is not in its list registers yet.
    pub news: AtomicBool,
    status: AtomicU8,
    /// Physical counts at which its virtual and its physical timer fire while no hardware watches them, at which it has polled for long
    /// enough, and, of the first vCPU, at which the domain's watchdogs bite.
    pub deadlines: [AtomicU64; 5],
    /// The CPU where alone it may run, or [`NOWHERE`] if there are more.
    pub pinned: AtomicUsize,
    /// The CPU where SCHEDOP_pin_override holds it meanwhile, or [`NOWHERE`].
    pub held: AtomicUsize,
    /// It waits in SCHEDOP_poll, and nothing became pending since.
    pub polls: AtomicBool,
    /// Somebody wants to see its registers, which it shows when it is back.
    pub asked: AtomicBool,
    /// Why it came back, ever.
    pub exits: Arc<Exits>,
    /// Registers.
    pub state: Lock<State>,
    /// The guest's virtual address for its run state, or 0.
    pub runstate_area: AtomicU64,
    /// Where its `vcpu_info` is, once the guest has said.
    info: Lock<Option<Info>>,
    affinity: u64,
}

/// Which deadline is that of SCHEDOP_poll.
pub const POLL: usize = 2;
/// Which are those of SCHEDOP_watchdog.
pub const WATCHDOGS: core::ops::Range<usize> = 3..5;
/// No CPU.
pub const NOWHERE: usize = usize::MAX;
/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// Registers of a vCPU.
#[derive(Debug)]
pub struct State {
    /// General registers.
    pub context: Context,
    /// The others, while they are not on a CPU.
    pub saved: Saved,
    /// Physical timer: control and compare value.
    pub physical_timer: (u64, u64),
    /// How many list registers are in use.
    pub listed: usize,
    /// What the vCPU has of its exits, here too because it is written at each.
    pub exits: Arc<Exits>,
    /// How long it has been in which state.
    pub runstate: xen_abi::vcpu::RunstateInfo,
}

#[derive(Debug)]
struct Info {
    page: SharedPage,
    offset: usize,
}

/// The parts of `struct vcpu_info` that Arm uses.
#[derive(Debug, Clone, Copy)]
pub struct InfoView<'a> {
    /// `evtchn_upcall_pending`.
    pub upcall_pending: &'a AtomicU8,
    /// `evtchn_pending_sel`.
    pub pending_selector: &'a AtomicU64,
}

impl Vcpu {
    /// Returns a vCPU that is switched off.
    pub fn new(id: usize, cpu: usize, saved: Saved) -> Vcpu {
        let affinity = saved.mpidr & crate::arch::smp::AFFINITY;
        let exits = Exits::new();
        Vcpu {
            id,
            cpu: AtomicUsize::new(cpu),
            on: AtomicUsize::new(NOWHERE),
            ran: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            news: AtomicBool::new(false),
            status: AtomicU8::new(Status::Off as u8),
            deadlines: [const { AtomicU64::new(NEVER) }; 5],
            pinned: AtomicUsize::new(NOWHERE),
            held: AtomicUsize::new(NOWHERE),
            polls: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            exits: exits.clone(),
            state: Lock::new(State {
                context: Context::default(),
                saved,
                physical_timer: (0, 0),
                listed: 0,
                exits,
                runstate: super::runstate::new(),
            }),
            runstate_area: AtomicU64::new(0),
            info: Lock::new(None),
            affinity,
        }
    }

    /// Returns MPIDR's affinity fields.
    pub fn affinity(&self) -> u64 {
        self.affinity
    }

    /// Returns the CPU where alone it may run, if that is so.
    pub fn pin(&self) -> Option<usize> {
        [&self.held, &self.pinned].into_iter().map(|cpu| cpu.load(SeqCst)).find(|&cpu| cpu != NOWHERE)
    }

    /// Returns what it does.
    pub fn status(&self) -> Status {
        match self.status.load(SeqCst) {
            0 => Status::Off,
            1 => Status::Blocked,
            2 => Status::Runnable,
            4 => Status::Starting,
            _ => Status::Running,
        }
    }

    /// Returns where that stands.
    pub(crate) fn status_word(&self) -> &AtomicU8 {
        &self.status
    }

    /// Makes it do something else, if it does `from`; says whether it did.
    pub fn change(&self, from: Status, to: Status) -> bool {
        self.status.compare_exchange(from as u8, to as u8, SeqCst, SeqCst).is_ok()
    }

    /// Whether it has said where its `vcpu_info` is.
    pub fn has_info(&self) -> bool {
        self.info.lock().is_some()
    }

    /// Puts `vcpu_info` into a page of the guest's; says whether it was not there yet. What vCPU 0 has in the shared page moves along.
    pub fn set_info(&self, domain: &Domain, page: SharedPage, offset: usize) -> bool {
        let mut info = self.info.lock();
        if info.is_some() {
            return false;
        }
        let (to, from) = (&page.bytes()[offset..offset + INFO_SIZE as usize], domain.shared_info.bytes());
        for (index, byte) in to.iter().enumerate() {
            byte.store(if self.id == 0 { from[index].load(Relaxed) } else { 0 }, Relaxed);
        }
        *info = Some(Info { page, offset });
        true
    }

    /// Lets `act` see `vcpu_info`: the guest's own, or for the first vCPU the one in the shared page. `None` if there is none.
    pub fn with_info<R>(&self, domain: &Domain, act: impl FnOnce(InfoView<'_>) -> R) -> Option<R> {
        let info = self.info.lock();
        let (page, offset) = match &*info {
            Some(info) => (&info.page, info.offset),
            None if self.id == 0 => (&domain.shared_info, 0),
            None => return None,
        };
        let upcall_pending = page.bytes().get(offset)?;
        let pending_selector = page.longs().get(offset / 8 + 1)?;
        Some(act(InfoView { upcall_pending, pending_selector }))
    }
}
