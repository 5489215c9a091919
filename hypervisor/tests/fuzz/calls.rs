//! Bytes as what two domains do: they write their memory, set registers, and make hypercalls, all of which run on the fake machine.
//!
//! ```text
//!   step    0 place      where the next values go: page and offset
//!           1 value      a value at that place, of 1, 2, 4 or 8 bytes; the place moves on
//!           2 call       number, and three values
//!           3 firmware   function, and three values
//!           4 vCPU       who does what follows
//!           5 aligned    the place moves on to a multiple of 8
//!           6 shared     a value in a page shared with the hypervisor: the grant table's first, or shared_info
//!           7 MMU        TCR, TTBR0 and TTBR1: pointers to where there is no memory are looked up in the guest's own tables then
//!   value   ..=0xdf      the number itself; what follows has an operand: an address in a page of one's own, a page's number, ...
//! ```
//!
//! However it ends, both domains are taken apart then: no reference, pin or frame may be left.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, OnceLock};

use hypervisor::arch::{
    self, Event, Stopped, become_cpu, interrupt_every, limit_copies, rules, set_translation_registers, smp,
    start_memory, take_record, vcpu::Saved,
};
use hypervisor::device::vgic::{Version, Vgic};
use hypervisor::device::vpsci;
use hypervisor::domain::grants;
use hypervisor::domain::vcpu::{Status, Vcpu, WATCHDOGS};
use hypervisor::domain::{self, Domain, Interrupts, Map, Parts};
use hypervisor::hypercall;

use hypervisor::memory::frames::{self, State};
use hypervisor::memory::p2m::{Kind, P2m};
use hypervisor::memory::{Gfn, Mfn, guest};
use hypervisor::run::{Caller, Then};
use hypervisor::schedule::{self, Entity};
use xen_abi::xen::DOMID_SELF;
use xen_abi::{Errno, Hypercall, Release};

use crate::holds;
use crate::input::Input;
use crate::verdict::{Reached, Seeded, Verdict};

/// Pages that a domain begins with.
const PAGES: u64 = 16;
/// Pointers that one call may follow: more than any of the corpus needs, and few enough to be done in a moment.
const COPIES: u64 = 2_000;
/// Steps of one input.
const STEPS: usize = 300;
/// Domain 0 has two vCPUs, the other one has one.
const VCPUS: [(u16, usize); 3] = [(0, 0), (0, 1), (1, 0)];

/// Both domains, and who is about to do something.
pub struct World {
    domains: Vec<Arc<Domain>>,
    first: [u64; 2],
    who: usize,
    place: u64,
    /// Frames that were given to domain 1 since.
    given: Vec<u64>,
    seeded: Seeded,
}

/// Returns a domain with `PAGES` pages of zeroes, and the number of the first; frame numbers are the machine's at first.
fn new_domain(id: u16, vcpus: usize) -> (Arc<Domain>, u64) {
    let first = frames::allocate_as(PAGES.ilog2(), id, State::Domain).expect("memory");
    let mut p2m = P2m::new(40, id as u8 + 1).expect("memory");
    p2m.set(Gfn(first.0), first, PAGES, Kind::Memory).expect("memory");
    let (vttbr, control) = (p2m.vttbr(), id == 0);
    let affinities: Vec<u64> = (0..vcpus as u64).collect();
    let parts = Parts {
        id,
        control,
        direct: control,
        p2m,
        vcpus: (0..vcpus).map(|index| Vcpu::new(index, 0, Saved::new(1 << 31 | index as u64, vttbr, 0))).collect(),
        vgic: Vgic::new(Version::V3, 32, &affinities, 16),
        vgic_version: Version::V3,
        map: Map {
            distributor: (0x800_0000, 0x1_0000),
            redistributors: vec![(0x80a_0000, 0x4_0000)],
            uart: Some((0x900_0000, 0x1000)),
        },
        interrupts: Interrupts { virtual_timer: 27, physical_timer: 30, events: 16 },
        pages: PAGES,
        ports_max: 8191,
        mappings_max: 1,
    };
    let domain = Domain::new(parts).expect("memory");
    *domain.handle.lock() = [7; 16];
    domain.pages_max.store(PAGES + 8, SeqCst);
    (Arc::new(domain), first.0)
}

/// Lets every CPU take those who wait for it.
fn run_all() {
    for cpu in (0..smp::count()).rev() {
        become_cpu(cpu);
        while schedule::next().is_some() {}
    }
}

fn start() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        start_memory();
        let told = hypercall::xen_version::Told { version: Release::V4_17, arguments: "dom0_mem=512M".into() };
        hypercall::xen_version::start(told);
    });
}

/// Runs an input.
pub fn run(bytes: &[u8], seeded: Seeded) -> Verdict {
    in_world(seeded, |world, reached| world.steps(bytes, reached))
}

/// Lets `act` do something with two domains, and takes them apart then.
pub fn in_world(seeded: Seeded, act: impl FnOnce(&mut World, &mut Reached) -> Result<(), String>) -> Verdict {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    start();
    set_translation_registers([0; 4]);
    let free = frames::counts().1;
    let ((dom0, first0), (other, first1)) = (new_domain(0, 2), new_domain(1, 1));
    let domains = vec![dom0, other];
    domains.iter().for_each(|domain| domain::replace(domain.id, Some(domain.clone())));
    let mut world = World { domains, first: [first0, first1], who: 0, place: first0 * 4096, given: Vec::new(), seeded };
    let mut reached = Reached::default();
    let steps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&mut world, &mut reached)));
    limit_copies(u64::MAX);
    (0..2).for_each(|id| domain::replace(id, None));
    while schedule::next().is_some() {}
    let verdict = match steps {
        Ok(verdict) => verdict,
        // Domain 0 may switch the machine off.
        Err(end) if end.is::<Stopped>() => {
            reached.note("ends", 0);
            Ok(())
        }
        Err(panic) => {
            world.take_apart(free, &mut Reached::default()).ok();
            std::panic::resume_unwind(panic)
        }
    };
    let apart = world.take_apart(free, &mut reached);
    take_record();
    verdict.and(apart)?;
    let left = free - frames::counts().1;
    holds!(left == 0, "{left} frames are not free again");
    Ok(reached)
}

impl World {
    /// Returns whose turn it is.
    pub fn domain(&self) -> &Arc<Domain> {
        &self.domains[usize::from(VCPUS[self.who].0)]
    }

    /// Makes a vCPU the one that does what follows, by its place in [`VCPUS`].
    pub fn choose(&mut self, who: usize) {
        self.who = who;
    }

    /// Returns the number of its domain's first page.
    pub fn first_page(&self) -> u64 {
        self.first[usize::from(VCPUS[self.who].0)]
    }

    fn steps(&mut self, bytes: &[u8], reached: &mut Reached) -> Result<(), String> {
        let mut input = Input(bytes);
        for _ in 0..STEPS {
            let Some(()) = self.step(&mut input, reached)? else { break };
        }
        Ok(())
    }

    /// Does one step, or returns `None` at the end.
    fn step(&mut self, input: &mut Input<'_>, reached: &mut Reached) -> Result<Option<()>, String> {
        macro_rules! next {
            ($value:expr) => {
                match $value {
                    Some(value) => value,
                    None => return Ok(None),
                }
            };
        }
        match next!(input.below(8)) {
            0 => self.place = next!(self.own_address(input)),
            1 => {
                let size = 1 << next!(input.below(4));
                let value = next!(self.value(input));
                let _ = guest::write(self.domain().id, self.place, &value.to_le_bytes()[..size]);
                self.place += size as u64;
            }
            2 => {
                let number = next!(self.value(input));
                let arguments = [next!(self.value(input)), next!(self.value(input)), next!(self.value(input))];
                self.call(number, arguments, reached)?;
            }
            3 => {
                let function = next!(self.value(input));
                let arguments = [next!(self.value(input)), next!(self.value(input)), next!(self.value(input))];
                self.firmware(function, arguments, reached)?;
            }
            4 => {
                self.who = next!(input.below(3));
                self.place = self.first[usize::from(VCPUS[self.who].0)] * 4096;
            }
            5 => self.place = self.place.next_multiple_of(8),
            6 => {
                let (which, offset) = (next!(input.below(2)), next!(input.take(2)) as usize % 4096);
                let (size, value) = (1 << next!(input.below(4)), next!(self.value(input)));
                self.share(which == 0, offset, &value.to_le_bytes()[..size]);
            }
            _ => {
                let [tcr, low, high] = [next!(self.value(input)), next!(self.value(input)), next!(self.value(input))];
                set_translation_registers([1, tcr, low, high]);
            }
        }
        Ok(Some(()))
    }

    /// Stores into a page that the domain shares, as a guest does that has mapped it.
    fn share(&self, table: bool, offset: usize, bytes: &[u8]) {
        let (domain, grants) = (self.domain(), self.domain().grants.lock());
        let page = if table { grants.frame(0).map(|(page, _)| page) } else { Some(&domain.shared_info) };
        let stored = page.into_iter().flat_map(|page| page.bytes().iter().skip(offset)).zip(bytes);
        stored.for_each(|(to, from)| to.store(*from, SeqCst));
    }

    /// An address in one's own pages: four bits of page, twelve of offset.
    fn own_address(&self, input: &mut Input<'_>) -> Option<u64> {
        Some(self.first[usize::from(VCPUS[self.who].0)] * 4096 + input.take(2)?)
    }

    fn value(&self, input: &mut Input<'_>) -> Option<u64> {
        let own = usize::from(VCPUS[self.who].0);
        Some(match input.u8()? {
            0xe0 => self.own_address(input)?,
            0xe1 => self.first[own] + input.take(1)? % PAGES,
            0xe2 => self.first[1 - own] + input.take(1)? % PAGES,
            0xe3 => self.first[1 - own] * 4096 + input.take(2)?,
            0xe4 => DOMID_SELF.into(),
            0xe5 => input.take(2)?,
            0xe6 => input.take(4)?,
            0xe7 => input.take(8)?,
            0xe8 => 1 << (input.take(1)? % 64),
            0xe9 => !input.take(1)?,
            // Frames where nothing is, and machine addresses that are nobody's.
            0xea => 0x1000 + input.take(1)?,
            0xeb => (0x1000 + input.take(1)?) * 4096,
            // The functions of firmware.
            0xec => 0x8400_0000 + input.take(1)?,
            0xed => 0xc400_0000 + input.take(1)?,
            0xee => self.place,
            0xef => self.place.wrapping_sub(input.take(1)?),
            immediate => immediate.into(),
        })
    }

    /// Lets the vCPU that is about to call run.
    pub fn entity(&self) -> Entity {
        let entity = Entity { domain: self.domain().clone(), index: VCPUS[self.who].1 };
        match entity.vcpu().status() {
            Status::Off => drop(schedule::start(&entity.domain, entity.index)),
            Status::Blocked => schedule::wake(&entity.domain, entity.index),
            Status::Runnable | Status::Running | Status::Starting => {}
        }
        run_all();
        entity
    }

    /// Does what the processor's loop does with a vCPU after an exit.
    pub fn then(&self, entity: &Entity, then: Then) {
        match then {
            Then::Block => schedule::block(entity),
            Then::Off => schedule::stop(entity),
            Then::Yield | Then::Over => schedule::requeue(entity, then == Then::Yield),
            Then::Resume => {}
        }
        run_all();
    }

    fn call(&mut self, number: u64, arguments: [u64; 3], reached: &mut Reached) -> Result<(), String> {
        let entity = self.entity();
        let mut state = entity.vcpu().state.lock();
        let registers: [u64; 31] = core::array::from_fn(|index| 0xabcd_0000 + index as u64);
        state.context.x = registers;
        state.context.x[..3].copy_from_slice(&arguments);
        state.context.x[16] = number;
        let before = state.context.clone();
        take_record();
        limit_copies(COPIES);
        // Something else is to be done after every unit of work, or after some.
        interrupt_every(arguments[1] % 4);
        let mut pieces = 1;
        let mut then = hypercall::call(&mut Caller { entity: &entity, state: &mut state });
        while state.context.pc != before.pc && pieces <= COPIES {
            holds!(state.context.pc == before.pc.wrapping_sub(4), "call {number} went elsewhere");
            if then == Then::Off {
                // What was left of several calls is not made.
                (state.context.x[0], state.context.pc) = (0, before.pc);
                break;
            }
            if then != Then::Resume {
                // One of several calls let the vCPU sleep, and the others come when it is woken.
                drop(state);
                self.then(&entity, then);
                self.entity();
                state = entity.vcpu().state.lock();
            }
            pieces += 1;
            state.context.pc = before.pc;
            then = hypercall::call(&mut Caller { entity: &entity, state: &mut state });
        }
        interrupt_every(0);
        let spent = COPIES - limit_copies(u64::MAX).min(COPIES);
        let answer = state.context.x[0] as i64;
        // Who goes on does that from changed arguments.
        let kept = if pieces == 1 { 1 } else { 3 };
        let unchanged = state.context.x[kept..] == before.x[kept..] && state.context.pc == before.pc;
        drop(state);
        self.judge_tables().map_err(|broken| format!("call {number} broke a rule of the MMU: {broken:?}"))?;
        self.then(&entity, then);
        // The seeded fault: copies that the second vCPU makes hold a page for ever.
        let copied =
            number == Hypercall::GrantTableOp.number() && arguments[0] == 5 && answer == 0 && arguments[2] != 0;
        if self.seeded == Seeded::Fault && self.who == 1 && copied {
            let _ = frames::get(Mfn(self.first[0]), 0);
        }
        holds!(unchanged, "call {number} changed registers other than its answer");
        let known = Hypercall::from_number(number);
        let is = |errno: Errno| answer == errno.to_register() as i64;
        holds!(known.is_some() || is(Errno::ENOSYS), "unknown call {number} returned {answer}");
        holds!(answer >= -4095, "call {number} returned {answer:#x}");
        let operation = match known {
            Some(Hypercall::MemoryOp) => arguments[0] & 0x3f,
            Some(Hypercall::Multicall | Hypercall::PlatformOp) => 0,
            _ => arguments[0].min(0x3f),
        };
        let class = if answer < 0 { answer as u64 } else { answer.min(3) as u64 };
        let call = known.map_or(63, |known| known.number());
        reached.note("answers of operations", (call << 16 | operation << 8) ^ class << 32);
        reached.note("what becomes of a caller", call << 8 | then as u64);
        reached.note("pieces of calls", call << 16 | operation << 8 | order(pieces as usize));
        if spent >= COPIES {
            reached.note("long calls", call << 8 | operation);
        }
        self.note_state(reached);
        Ok(())
    }

    /// Judges what the last call did to tables. Memory that was given to a guest by it was filled for that.
    fn judge_tables(&mut self) -> Result<(), rules::Broken> {
        let record = take_record();
        let is_own = |frame: u64| matches!(owner(Mfn(frame)), Some((_, State::Domain)));
        self.given.retain(|&frame| is_own(frame));
        let is_first = |frame| self.first.iter().any(|&first| (first..first + PAGES).contains(&frame));
        let is_fresh = |frame| is_own(frame) && !is_first(frame) && !self.given.contains(&frame);
        rules::judge(&record, is_fresh)?;
        let cleaned = record.iter().filter_map(|event| match *event {
            Event::Clean(start, size) => Some(start / 4096..(start + size) / 4096),
            _ => None,
        });
        let given: Vec<u64> = cleaned.flatten().filter(|&frame| is_fresh(frame)).collect();
        self.given.extend(given);
        Ok(())
    }

    fn firmware(&self, function: u64, arguments: [u64; 3], reached: &mut Reached) -> Result<(), String> {
        let entity = self.entity();
        let watchdogs =
            || entity.domain.vcpus[0].deadlines.each_ref().map(|deadline| deadline.load(SeqCst))[WATCHDOGS].to_vec();
        let before = watchdogs();
        let mut state = entity.vcpu().state.lock();
        state.context.x[0] = function;
        state.context.x[1..4].copy_from_slice(&arguments);
        let then = vpsci::call(&mut Caller { entity: &entity, state: &mut state });
        let answer = state.context.x[0];
        drop(state);
        self.then(&entity, then);
        let known = function >> 32 == 0 && function & 0x3fff_ff00 == 0x0400_0000;
        let function = if known { function & 0xff | function >> 22 & 0x100 } else { 0x200 };
        reached.note("answers of firmware", function << 8 ^ answer.wrapping_add(16).min(32) << 48 ^ then as u64);
        holds!(before == watchdogs(), "firmware {function:#x} changed watchdogs: {before:?}");
        Ok(())
    }

    /// What a domain has come to have, by orders of magnitude.
    fn note_state(&self, reached: &mut Reached) {
        for domain in &self.domains {
            let events = domain.events.lock();
            let ports = std::iter::successors(events.next_bound(0), |&port| events.next_bound(port + 1));
            let kinds = ports.take(64).fold(0u64, |kinds, port| {
                let (bound, vcpu) = events.get(port).expect("a port");
                let kind = format!("{bound:?}").bytes().take(4).fold(0u64, |hash, byte| hash * 31 + u64::from(byte));
                kinds | 1 << ((kind + vcpu as u64) % 64)
            });
            reached.note("kinds of ports", kinds << 1 | u64::from(domain.id));
            let mut pins = 0;
            domain.grants.lock().for_each_pinned(|_, _, readers, writers, _, _| {
                pins += 1;
                reached.note("pins", order(readers.into()) << 8 | order(writers.into()));
            });
            reached.note("sizes of tables", order(domain.grants.lock().size().0) << 8 | order(pins));
        }
    }

    /// Takes both domains apart. What they held of each other and of themselves is given back once; nothing is left then.
    fn take_apart(&mut self, free: u64, reached: &mut Reached) -> Result<(), String> {
        let mut verdict = Ok(());
        for domain in &self.domains {
            let checked = self.check_memory(domain, reached);
            verdict = verdict.and(checked);
        }
        for domain in &self.domains {
            let mappings = domain.mappings.lock();
            let all = std::iter::successors(mappings.next(0), |&(handle, _)| mappings.next(handle + 1));
            for (handle, mapping) in all {
                let pinned = self.domains[usize::from(mapping.domain)].grants.lock().pinned_frame(mapping.reference);
                if pinned.is_none() {
                    verdict = verdict.and(Err(format!("handle {handle} maps what is not pinned")));
                }
            }
            drop(mappings);
            grants::release_all(domain, |id| self.domains.get(usize::from(id)).cloned());
        }
        for domain in &self.domains {
            let mut left = 0;
            domain.grants.lock().for_each_pinned(|_, _, _, _, _, _| left += 1);
            if left != 0 {
                verdict = verdict.and(Err(format!("{left} grants of domain {} are pinned for ever", domain.id)));
            }
        }
        // The domains themselves go: their tables, shared pages, event arrays.
        for domain in std::mem::take(&mut self.domains) {
            let holders = Arc::strong_count(&domain) - 1;
            if holders != 0 {
                verdict = verdict.and(Err(format!("domain {} is held {holders} times more", domain.id)));
            }
        }
        // What they began with goes first: most inputs leave nothing else, and looking through all memory takes its time.
        for first in self.first {
            (first..first + PAGES).map(Mfn).filter(|&mfn| owner(mfn).is_some()).for_each(frames::put);
        }
        if frames::counts().1 == free {
            return verdict;
        }
        for mfn in (Mfn::of(arch::MEMORY).0..frames::end().0).map(Mfn) {
            let Some((domain, state)) = owner(mfn) else { continue };
            let first = self.first.iter().any(|&first| (first..first + PAGES).contains(&mfn.0));
            // Domain 1 may have been given more.
            if !first && state == State::Domain {
                frames::put(mfn);
            }
            if owner(mfn).is_some() {
                verdict =
                    verdict.and(Err(format!("frame {:#x} of domain {domain} ({state:?}) is held for ever", mfn.0)));
            }
            while owner(mfn).is_some() {
                frames::put(mfn);
            }
        }
        verdict
    }

    /// Checks what a domain's memory leads to: frames of its own, or of others as long as something keeps them there.
    fn check_memory(&self, domain: &Domain, reached: &mut Reached) -> Result<(), String> {
        for (gfn, mfn, kind) in leaves(domain) {
            reached.note("kinds of memory", kind as u64);
            let owner = frames::owner_of(mfn);
            let fits = match kind {
                Kind::Memory | Kind::MemoryReadOnly => owner == Some((domain.id, State::Domain)),
                Kind::Lent => owner == Some((domain.id, State::Lent)),
                Kind::Foreign | Kind::ForeignReadOnly => owner.is_some(),
                Kind::Grant | Kind::GrantReadOnly => owner.is_some_and(|(_, state)| state == State::Domain),
                Kind::Device | Kind::DeviceUncached => owner.is_none(),
            };
            holds!(fits, "domain {}: {gfn:#x} is {kind:?} {:#x}, which is {owner:?}", domain.id, mfn.0);
        }
        Ok(())
    }
}

/// A number's order of magnitude.
fn order(number: usize) -> u64 {
    number.checked_ilog2().map_or(0, |order| u64::from(order) + 1)
}

/// Whose a frame is, if it is one of the domains'.
fn owner(mfn: Mfn) -> Option<(u16, State)> {
    frames::owner_of(mfn).filter(|&(owner, _)| owner < 2)
}

/// Returns what a domain's frames mean: each with the machine's frame and the kind.
fn leaves(domain: &Domain) -> Vec<(u64, Mfn, Kind)> {
    const ADDRESS: u64 = 0xffff_ffff_f000;
    let p2m = domain.p2m.lock();
    let mut found = Vec::new();
    // Addresses of 40 bits: two tables of level 1 stand side by side.
    let mut tables = vec![(Mfn::of(p2m.vttbr() & ADDRESS), 1, 0, 1024)];
    while let Some((table, level, base, entries)) = tables.pop() {
        for index in 0..entries {
            let (entry, span) = (frames::read_entry(table, index), 1u64 << (27 - 9 * level));
            let first = base + index as u64 * span;
            match entry & 3 {
                3 if level < 3 => tables.push((Mfn::of(entry & ADDRESS), level + 1, first, 512)),
                1 | 3 => found.extend((first..first + span).filter_map(|gfn| {
                    let (mfn, kind) = p2m.get(Gfn(gfn))?;
                    Some((gfn, mfn, kind))
                })),
                _ => {}
            }
        }
    }
    found
}
