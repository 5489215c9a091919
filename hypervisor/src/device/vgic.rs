//! A guest's interrupt controller, GICv2 (IHI 0048) or GICv3 (IHI 0069), in one security state: what is pending, active, enabled, and
//! for whom.
//!
//! The state here is the truth while a vCPU is not running. Before it runs, what concerns it is put into list registers
//! ([`Vgic::flush`]); when it is back, their state is taken in again ([`Vgic::sync`]). Who wants to see or change what is in the list
//! registers of a vCPU that runs holds it ([`Vgic::hold`]): it leaves its guest, gives them up, and waits until it is released.
//!
//! A physical interrupt behind a virtual one stays active until the guest deactivates the virtual one, which the hardware does for
//! both, or we do where it cannot:
//!
//! ```text
//!   physical               virtual                         list register
//!   level  -----taken----> raised (pending) --flush------> pending, hardware
//!   active (held)                                            | guest acknowledges
//!   active (held)          active ------------------------> active, hardware
//!   inactive <-------------------- guest deactivates ---------+
//! ```

mod lists;
#[cfg(test)]
mod model;
pub mod registers;
mod show;
mod v2;
mod v3;

pub use lists::{Concerns, Flushed};
pub use show::Seen;
pub use v2::SIZE as V2_SIZE;
pub use v3::{SIZE as V3_SIZE, sgi_of};

use alloc::vec::Vec;

#[cfg(test)]
use crate::arch::ListRegister;
use crate::arch::{Gate, gic};

/// SGIs and PPIs: each vCPU has its own.
pub const PRIVATE: usize = 32;
/// SGIs.
const SGIS: usize = 16;
/// Interrupts that there can be, in words of 64.
const WORDS: usize = 16;
/// List registers that there can be.
const LISTS_MAX: usize = 16;
/// No CPU alone has taken a physical interrupt.
const NO_CPU: usize = usize::MAX;
/// vCPUs that a GICv2 can have.
pub const V2_VCPUS_MAX: usize = 8;
/// vCPUs that there can be: so many bits has what [`Vgic::hold`] returns.
pub const VCPUS_MAX: usize = 128;

/// The architecture's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Registers of the CPU interface in memory, targets as bits, SGIs that say who sent them.
    V2,
    /// System registers, affinity routing, redistributors.
    V3,
}

/// One interrupt.
#[derive(Debug, Clone, Default)]
struct Interrupt {
    enabled: bool,
    /// Pending by an edge, or by a write.
    latched: bool,
    /// Pending because the physical interrupt was taken.
    raised: bool,
    /// Pending SGI of a GICv2: the CPUs that sent it.
    sources: u8,
    /// The CPU that sent the SGI which is active.
    source: u8,
    /// The level, where it has one.
    line: bool,
    active: bool,
    /// It is active because the guest took it, not by a write.
    acknowledged: bool,
    edge: bool,
    group1: bool,
    priority: u8,
    /// IROUTER as written; for a GICv2, ITARGETSR.
    route: u64,
    /// The vCPU that gets it next; for SPIs.
    target: Option<usize>,
    /// The physical interrupt behind it.
    hardware: Option<u16>,
    /// The CPU that took the physical interrupt, which is active since.
    held: Option<usize>,
    /// The vCPU in whose set it stands.
    place: Option<usize>,
    /// What of it is in a list register.
    listed: Option<Listed>,
}

/// What of an interrupt is in a list register, and comes back if the guest does not take it.
#[derive(Debug, Clone, Copy)]
struct Listed {
    latched: bool,
    raised: bool,
    source: u8,
    pending: bool,
    /// Its deactivation deactivates the physical one.
    hardware: bool,
}

impl Interrupt {
    /// Whether it waits to be taken. The level of an interrupt with hardware behind it shows in `raised`.
    fn is_pending(&self) -> bool {
        self.latched || self.raised || self.sources != 0 || self.line && !self.edge && self.hardware.is_none()
    }

    /// The physical SPI behind it, if there is one. (A PPI's is its own CPU's alone.)
    fn shared_hardware(&self) -> Option<u32> {
        self.hardware.map(u32::from).filter(|&physical| physical as usize >= PRIVATE)
    }

    /// Whether the physical interrupt was taken, but is not there any more.
    fn is_withdrawn(&self) -> bool {
        self.raised && !self.edge && self.shared_hardware().is_some_and(gic::is_withdrawn)
    }

    /// Deactivates the physical interrupt, if it is an SPI. A PPI is reached by its own CPU alone, which does that when it settles.
    fn release(&mut self) {
        if let Some(physical) = self.shared_hardware()
            && self.held.take().is_some()
        {
            gic::set_active(physical, false);
        }
    }

    /// Forgets that the physical interrupt is pending.
    fn withdraw(&mut self) {
        if core::mem::take(&mut self.raised) {
            self.release();
        }
    }

    /// Ends it.
    fn deactivate(&mut self) {
        self.acknowledged = false;
        if core::mem::take(&mut self.active) && !self.raised {
            self.release();
        }
    }
}

/// What a vCPU has of the controller.
#[derive(Debug, Clone)]
struct Bank {
    private: Vec<Interrupt>,
    /// Interrupts, private or shared, that this vCPU must see: pending and enabled, or active.
    set: [u64; WORDS],
    /// What is in its list registers.
    listed: Vec<u16>,
    /// How many want it to keep its list registers empty.
    holders: u32,
    affinity: u64,
    /// The physical CPU on whose list it is.
    cpu: usize,
    /// GICR_WAKER.ProcessorSleep. It is kept for who reads it; nothing sleeps.
    asleep: bool,
    /// Whether software that looks for redistributors in a row finds the last of a region here.
    ends_region: bool,
}

/// One guest's interrupt controller.
#[derive(Debug, Clone)]
pub struct Vgic {
    version: Version,
    shared: Vec<Interrupt>,
    banks: Vec<Bank>,
    /// GICD_CTLR's bits that can be written.
    control: u32,
    identifier_bits: u32,
}

/// A vCPU that has something new to see.
pub type Notify = Option<usize>;
/// vCPUs that have something new to see: a set of fixed size, for a guest's write must not need memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Concerned(u128);

impl Concerned {
    /// Returns nobody.
    pub const fn new() -> Concerned {
        Concerned(0)
    }
}

impl Extend<usize> for Concerned {
    fn extend<T: IntoIterator<Item = usize>>(&mut self, vcpus: T) {
        vcpus.into_iter().filter(|&vcpu| vcpu < VCPUS_MAX).for_each(|vcpu| self.0 |= 1 << vcpu);
    }
}

impl FromIterator<usize> for Concerned {
    fn from_iter<T: IntoIterator<Item = usize>>(vcpus: T) -> Concerned {
        let mut set = Concerned::new();
        set.extend(vcpus);
        set
    }
}

impl Iterator for Concerned {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let first = (self.0 != 0).then(|| self.0.trailing_zeros() as usize);
        self.0 &= self.0.wrapping_sub(1);
        first
    }
}

#[cfg(test)]
impl<const N: usize> PartialEq<[usize; N]> for Concerned {
    fn eq(&self, other: &[usize; N]) -> bool {
        *self == Concerned::from_iter(other.iter().copied())
    }
}

impl Vgic {
    /// Returns a controller at reset, with `shared` SPIs, for vCPUs with these affinities, all on the first physical CPU.
    pub fn new(version: Version, shared: usize, affinities: &[u64], identifier_bits: u32) -> Vgic {
        let private = || {
            let mut list = alloc::vec![Interrupt::default(); PRIVATE];
            // A GICv2's SGIs cannot be disabled, as those of Arm's own controllers.
            list[..SGIS].iter_mut().for_each(|sgi| (sgi.edge, sgi.enabled) = (true, version == Version::V2));
            list
        };
        let bank = |&affinity: &u64| Bank {
            private: private(),
            set: [0; WORDS],
            listed: Vec::with_capacity(LISTS_MAX),
            holders: 0,
            affinity,
            cpu: 0,
            asleep: false,
            ends_region: false,
        };
        let shared = shared.min(WORDS * 64 - PRIVATE - 4);
        // A GICv2 for one CPU has no targets: all is for that one. With more, nothing is for anybody at first.
        let (route, target) = match version {
            Version::V3 => (affinities[0], Some(0)),
            Version::V2 => (0, (affinities.len() == 1).then_some(0)),
        };
        let mut banks: Vec<Bank> = affinities.iter().map(bank).collect();
        banks.iter_mut().next_back().into_iter().for_each(|last| last.ends_region = true);
        Vgic {
            version,
            shared: alloc::vec![Interrupt { route, target, ..Interrupt::default() }; shared],
            banks,
            control: 0,
            identifier_bits,
        }
    }

    /// Says that a vCPU's redistributor is the last of a region; that of the last vCPU always is.
    pub fn end_region(&mut self, vcpu: usize) {
        self.banks[vcpu].ends_region = true;
    }

    /// Returns the version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Says that a physical SPI stands behind the virtual one of the same number.
    pub fn connect(&mut self, interrupt: u32) {
        if let Some(spi) = (interrupt as usize).checked_sub(PRIVATE).and_then(|index| self.shared.get_mut(index)) {
            spi.hardware = Some(interrupt as u16);
        }
    }

    /// Says that a physical PPI stands behind the virtual one of the same number, on every vCPU.
    pub fn connect_private(&mut self, interrupt: u32, physical: u32) {
        for bank in &mut self.banks {
            if let Some(ppi) = bank.private.get_mut(interrupt as usize) {
                ppi.hardware = Some(physical as u16);
            }
        }
    }

    /// Says on which physical CPU a vCPU is: the SPIs for it go there, those that are disabled when they are enabled.
    pub fn put(&mut self, vcpu: usize, cpu: usize) {
        let Some(bank) = self.banks.get_mut(vcpu).filter(|bank| bank.cpu != cpu) else { return };
        bank.cpu = cpu;
        for spi in self.shared.iter().filter(|spi| spi.enabled && spi.target == Some(vcpu)) {
            spi.shared_hardware().into_iter().for_each(|physical| gic::route(physical, cpu));
        }
    }

    fn get(&self, vcpu: usize, interrupt: usize) -> Option<&Interrupt> {
        match interrupt.checked_sub(PRIVATE) {
            None => self.banks.get(vcpu)?.private.get(interrupt),
            Some(index) => self.shared.get(index),
        }
    }

    fn get_mut(&mut self, vcpu: usize, interrupt: usize) -> Option<&mut Interrupt> {
        match interrupt.checked_sub(PRIVATE) {
            None => self.banks.get_mut(vcpu)?.private.get_mut(interrupt),
            Some(index) => self.shared.get_mut(index),
        }
    }

    /// Makes an interrupt pending, as an edge does. `vcpu` matters for SGIs and PPIs.
    pub fn inject(&mut self, vcpu: usize, interrupt: u32) -> Notify {
        self.get_mut(vcpu, interrupt as usize)?.latched = true;
        self.update(vcpu, interrupt as usize)
    }

    /// Raises or lowers the line of an interrupt that is a level.
    pub fn set_line(&mut self, vcpu: usize, interrupt: u32, line: bool) -> Notify {
        let known = self.get_mut(vcpu, interrupt as usize)?;
        let rises = line && !known.line;
        known.line = line;
        known.latched |= rises && known.edge;
        self.update(vcpu, interrupt as usize)
    }

    /// Takes over a physical interrupt that `cpu` has taken. Returns whether it stays active, until the guest ends it, and whom that
    /// concerns. An edge is over at once: another one may come before the guest has taken the first, and is the same then.
    pub fn take(&mut self, vcpu: usize, interrupt: u32, cpu: usize) -> (bool, Notify) {
        let Some(known) = self.get_mut(vcpu, interrupt as usize).filter(|known| known.hardware.is_some()) else {
            return (false, None);
        };
        let stays = !known.edge;
        // That this CPU could take it says that the list register's one has been ended, if that ends it here.
        if let Some(listed) = known.listed.as_mut().filter(|listed| listed.hardware) {
            listed.hardware = false;
            known.held = known.held.filter(|&before| before != cpu);
        }
        if stays {
            // Taken again while it is active: it went to another CPU meanwhile, which has an active state of its own (gic::ends_here).
            let cpu = if known.held.is_some_and(|before| before != cpu) { NO_CPU } else { cpu };
            (known.raised, known.held) = (true, Some(cpu));
        } else {
            known.latched = true;
        }
        (stays, self.update(vcpu, interrupt as usize))
    }

    /// Makes a PPI with hardware behind it what its `line` is on `cpu`, which has the vCPU: the guest changes that without telling.
    /// Returns whether the physical one is to be made active, or inactive.
    pub fn settle(&mut self, vcpu: usize, interrupt: u32, line: bool, cpu: usize) -> Option<bool> {
        let known = self.get_mut(vcpu, interrupt as usize)?;
        known.line = line;
        if known.listed.is_some() {
            return None;
        }
        // It is pending as long as its line is up; but what is active comes back when it is not any more.
        let changes = known.raised != line && !(line && known.active);
        if changes {
            known.raised = line;
        }
        let busy = known.raised || known.active;
        let answer = (busy != known.held.is_some()).then_some(busy);
        known.held = busy.then_some(cpu);
        if changes {
            self.update(vcpu, interrupt as usize);
        }
        answer
    }

    /// Makes a PPI pending whose hardware does not watch for the vCPU now.
    pub fn raise(&mut self, vcpu: usize, interrupt: u32) -> Notify {
        self.get_mut(vcpu, interrupt as usize)?.raised = true;
        self.update(vcpu, interrupt as usize)
    }

    /// Prepares a private interrupt for a vCPU that comes onto `cpu`, or leaves its own where that is `None`. Returns whether its
    /// physical one must stay quiet: the guest has it pending, or active.
    pub fn move_private(&mut self, vcpu: usize, interrupt: u32, cpu: Option<usize>) -> bool {
        let Some(known) = self.get_mut(vcpu, interrupt as usize) else { return false };
        let busy = known.raised || known.active;
        known.held = cpu.filter(|_| busy);
        busy
    }

    /// Whether interrupts of a group reach anybody.
    fn is_forwarded(&self, group1: bool) -> bool {
        self.control >> u32::from(group1) & 1 != 0
    }

    /// Puts an interrupt into the set where it belongs, or nowhere; returns whom that concerns.
    fn update(&mut self, vcpu: usize, number: usize) -> Notify {
        let on = [self.is_forwarded(false), self.is_forwarded(true)];
        let interrupt = self.get_mut(vcpu, number)?;
        if interrupt.listed.is_some() {
            // Its state is in a list register; whoever runs that vCPU takes it in first.
            return interrupt.place;
        }
        let owner = if number < PRIVATE { Some(vcpu) } else { interrupt.target };
        let wanted =
            interrupt.active || interrupt.enabled && on[usize::from(interrupt.group1)] && interrupt.is_pending();
        // What is active stays with the vCPU that took it.
        let place = match interrupt.place {
            Some(place) if interrupt.active => Some(place),
            _ => owner.filter(|_| wanted),
        };
        let before = core::mem::replace(&mut interrupt.place, place);
        let (word, bit) = (number / 64, 1u64 << (number % 64));
        if before != place {
            before.into_iter().for_each(|old| self.banks[old].set[word] &= !bit);
            if let Some(new) = place {
                self.banks.get_mut(new)?.set[word] |= bit;
            }
        }
        place
    }

    /// Returns the interrupts in a vCPU's set.
    fn numbers(&self, vcpu: usize) -> impl Iterator<Item = usize> + use<> {
        let mut sets = self.banks[vcpu].set;
        let mut word = 0;
        core::iter::from_fn(move || {
            while word < WORDS {
                let set = &mut sets[word];
                if *set != 0 {
                    let number = word * 64 + set.trailing_zeros() as usize;
                    *set &= *set - 1;
                    return Some(number);
                }
                word += 1;
            }
            None
        })
    }

    /// Whether something pending is signalled to a vCPU that is about to sleep, whose interface is `gate`. WFI ends by an interrupt that
    /// the interface signals, whatever PSTATE masks (DDI 0487, "Wait for Interrupt"); the interface signals none that its priority mask or
    /// its groups hold back (IHI 0069, 4.8; IHI 0048, 3.3). What the priority of a running interrupt holds back is let through: a guest that
    /// sleeps while it handles one may wake up without a reason, as any may at any time.
    pub fn is_signalled(&self, vcpu: usize, gate: Gate) -> bool {
        self.numbers(vcpu).any(|number| {
            self.get(vcpu, number).is_some_and(|interrupt| {
                let forwarded = interrupt.enabled && self.is_forwarded(interrupt.group1);
                let passes = gate.groups[usize::from(interrupt.group1)] && interrupt.priority < gate.mask;
                forwarded && passes && interrupt.is_pending() && !interrupt.active
            })
        })
    }

    /// Whether something pending waits for a vCPU.
    #[cfg(not(target_os = "none"))]
    pub fn is_pending(&self, vcpu: usize) -> bool {
        self.is_signalled(vcpu, Gate::OPEN)
    }

    /// Deactivates an interrupt that a vCPU names, which is in nobody's list register. Returns whom that concerns.
    pub fn deactivate(&mut self, vcpu: usize, interrupt: usize) -> Notify {
        let known = self.get_mut(vcpu, interrupt).filter(|known| known.active && known.listed.is_none())?;
        known.deactivate();
        self.update(vcpu, interrupt)
    }

    /// Forgets everything that a vCPU which is switched off had pending or active of its own.
    pub fn reset(&mut self, vcpu: usize) {
        debug_assert!(!self.is_listed(vcpu), "a vCPU that runs is reset");
        for number in 0..PRIVATE {
            if let Some(interrupt) = self.get_mut(vcpu, number) {
                (interrupt.latched, interrupt.raised, interrupt.line, interrupt.active) = (false, false, false, false);
                (interrupt.sources, interrupt.held, interrupt.acknowledged) = (0, None, false);
                self.update(vcpu, number);
            }
        }
        self.banks[vcpu].asleep = false;
    }
}

/// Returns what is put into the list registers.
#[cfg(test)]
fn flush(vgic: &mut Vgic, vcpu: usize, count: usize) -> Vec<ListRegister> {
    let mut lists = Vec::new();
    vgic.flush(vcpu, count, |_, list| lists.push(list));
    lists
}

#[cfg(test)]
mod tests {
    use super::registers::{Frame, Place};
    use super::*;

    fn vgic(vcpus: u64) -> Vgic {
        let affinities: Vec<u64> = (0..vcpus).collect();
        let mut vgic = Vgic::new(Version::V3, 64, &affinities, 16);
        write(&mut vgic, 0, 4, registers::ENABLE.into());
        vgic
    }

    fn write(vgic: &mut Vgic, offset: u64, size: u64, value: u64) -> Concerned {
        vgic.write(Place { own: 0, frame: Frame::Distributor, offset, size }, value)
    }

    fn write_private(vgic: &mut Vgic, vcpu: usize, offset: u64, value: u64) -> Concerned {
        vgic.write(Place { own: 0, frame: Frame::Redistributor(vcpu), offset, size: 4 }, value)
    }

    #[test]
    fn an_edge_is_seen_once() {
        let mut vgic = vgic(1);
        write_private(&mut vgic, 0, 0x1_0100, 1 << 20);
        assert_eq!(vgic.inject(0, 20), Some(0));
        let lists = flush(&mut vgic, 0, 4);
        assert_eq!((lists[0].intid, lists[0].pending, lists[0].active), (20, true, false));
        vgic.sync(0, 0, |_| (false, true));
        let lists = flush(&mut vgic, 0, 4);
        assert_eq!((lists[0].pending, lists[0].active), (false, true));
        vgic.sync(0, 0, |_| (false, false));
        assert!(flush(&mut vgic, 0, 4).is_empty());
    }

    #[test]
    fn an_edge_while_active_is_pending_again() {
        let mut vgic = vgic(1);
        write_private(&mut vgic, 0, 0x1_0100, 1 << 20);
        vgic.inject(0, 20);
        flush(&mut vgic, 0, 4);
        vgic.inject(0, 20);
        vgic.sync(0, 0, |_| (false, true));
        let lists = flush(&mut vgic, 0, 4);
        assert_eq!((lists[0].pending, lists[0].active), (true, true));
    }

    #[test]
    fn a_level_that_falls_is_withdrawn() {
        let mut vgic = vgic(1);
        write_private(&mut vgic, 0, 0x1_0100, 1 << 30);
        vgic.set_line(0, 30, true);
        assert!(flush(&mut vgic, 0, 4)[0].pending);
        vgic.set_line(0, 30, false);
        vgic.sync(0, 0, |_| (true, false));
        assert!(flush(&mut vgic, 0, 4).is_empty());
    }

    #[test]
    fn a_level_that_stays_comes_again() {
        let mut vgic = vgic(1);
        write_private(&mut vgic, 0, 0x1_0100, 1 << 30);
        vgic.set_line(0, 30, true);
        flush(&mut vgic, 0, 4);
        vgic.sync(0, 0, |_| (false, false));
        assert!(flush(&mut vgic, 0, 4)[0].pending);
    }

    #[test]
    fn disabled_is_remembered_and_comes_with_enabling() {
        let mut vgic = vgic(1);
        assert_eq!(vgic.inject(0, 16), None);
        assert!(!vgic.is_pending(0));
        assert_eq!(write_private(&mut vgic, 0, 0x1_0100, 1 << 16), [0]);
        assert!(vgic.is_pending(0));
    }

    #[test]
    fn the_most_urgent_come_first_and_the_rest_is_announced() {
        let mut vgic = vgic(1);
        write(&mut vgic, 0x104, 4, u32::MAX.into());
        for (interrupt, priority) in [(32, 0xa0), (33, 0x20), (34, 0x80)] {
            write(&mut vgic, 0x400 + interrupt, 1, priority);
            vgic.inject(0, interrupt as u32);
        }
        let mut seen = Vec::new();
        let flushed = vgic.flush(0, 2, |_, list| seen.push(list.intid));
        assert_eq!(flushed.used, 2);
        assert!(flushed.maintenance.none_pending && !flushed.maintenance.not_listed);
        assert_eq!(seen, [33, 34]);
    }

    #[test]
    fn what_the_interface_holds_back_wakes_nobody() {
        let mut vgic = vgic(1);
        write_private(&mut vgic, 0, 0x1_0100, 1 << 20 | 1 << 21);
        write_private(&mut vgic, 0, 0x1_0080, 1 << 21);
        write_private(&mut vgic, 0, 0x1_0414, 0xa080);
        vgic.inject(0, 20);
        let gate = |mask, groups| Gate { mask, groups };
        assert!(vgic.is_signalled(0, gate(0x88, [true, false])));
        assert!(!vgic.is_signalled(0, gate(0x80, [true, true])), "a mask of its own priority");
        assert!(!vgic.is_signalled(0, gate(0xff, [false, true])), "its group is off");
        assert!(!vgic.is_signalled(0, gate(0, [true, true])), "at reset");
        vgic.inject(0, 21);
        assert!(vgic.is_signalled(0, gate(0xff, [false, true])), "another one's is on");
        assert!(!vgic.is_signalled(0, gate(0xa0, [false, true])));
    }

    #[test]
    fn a_deactivation_that_names_one_ends_that_one() {
        let mut vgic = vgic(2);
        write(&mut vgic, 0x104, 4, u32::MAX.into());
        for interrupt in [32, 33, 34] {
            write(&mut vgic, 0x400 + interrupt, 1, interrupt);
            vgic.inject(0, interrupt as u32);
            // Taken, with its priority dropped and not deactivated.
            vgic.flush(0, 4, |_, _| {});
            vgic.sync(0, 0, |_| (false, true));
        }
        let active = |vgic: &Vgic| vgic.read(Place { own: 0, frame: Frame::Distributor, offset: 0x304, size: 4 });
        assert_eq!(active(&vgic), 0b111);
        // One list register: two of them are in none. What is in it is not to be ended here.
        assert!(vgic.flush(0, 1, |_, _| {}).maintenance.not_listed);
        vgic.deactivate(0, 32);
        assert_eq!(active(&vgic), 0b111);
        vgic.sync(0, 0, |_| (false, true));
        vgic.deactivate(0, 34);
        assert_eq!(active(&vgic), 0b011, "not the most urgent one");
        for (interrupt, left) in [(34, 0b011), (99, 0b011), (1023, 0b011), (32, 0b010), (33, 0)] {
            vgic.deactivate(0, interrupt);
            assert_eq!(active(&vgic), left);
        }
    }

    #[test]
    fn a_shared_interrupt_follows_its_route() {
        let mut vgic = vgic(2);
        write(&mut vgic, 0x104, 4, 1);
        assert_eq!(vgic.inject(0, 32), Some(0));
        assert_eq!(write(&mut vgic, 0x6000 + 32 * 8, 8, 1), [1]);
        assert!(!vgic.is_pending(0) && vgic.is_pending(1));
    }
}
