//! A guest's interrupt controller: what is pending, active, enabled, and for whom (IHI 0069, chapters 1 and 4).
//!
//! The state here is the truth while a vCPU is not running. Before it runs, what concerns it is put into list registers
//! ([`Vgic::flush`]); when it is back, their state is taken in again ([`Vgic::sync`]). Physical interrupts behind virtual ones are
//! deactivated by the hardware when the guest deactivates.

pub mod registers;

use alloc::vec::Vec;

use crate::arch::ListRegister;

/// SGIs and PPIs: each vCPU has its own.
pub const PRIVATE: usize = 32;
/// Interrupts that there can be, in words of 64.
const WORDS: usize = 16;

/// One interrupt.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    enabled: bool,
    /// Pending by an edge, or by a write.
    latched: bool,
    /// The level, where it has one.
    line: bool,
    active: bool,
    edge: bool,
    priority: u8,
    /// IROUTER as written.
    route: u64,
    /// The vCPU that gets it next; for SPIs.
    target: usize,
    /// The physical interrupt behind it.
    hardware: Option<u16>,
    /// The vCPU in whose set it stands.
    place: Option<usize>,
    /// Whether it is in a list register now, and whether the latch went there with it.
    listed: Option<bool>,
}

impl Interrupt {
    fn is_pending(&self) -> bool {
        self.latched || self.line && !self.edge
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
    affinity: u64,
}

/// One guest's interrupt controller.
#[derive(Debug, Clone)]
pub struct Vgic {
    shared: Vec<Interrupt>,
    banks: Vec<Bank>,
    /// GICD_CTLR's bits that can be written.
    control: u32,
    identifier_bits: u32,
}

/// A vCPU that has something new to see.
pub type Notify = Option<usize>;

impl Vgic {
    /// Returns a controller at reset, with `shared` SPIs, for vCPUs with these affinities.
    pub fn new(shared: usize, affinities: &[u64], identifier_bits: u32) -> Vgic {
        let private = || {
            let mut list = alloc::vec![Interrupt::default(); PRIVATE];
            list[..16].iter_mut().for_each(|sgi| (sgi.edge, sgi.enabled) = (true, false));
            list
        };
        let bank = |&affinity: &u64| Bank { private: private(), set: [0; WORDS], listed: Vec::new(), affinity };
        let shared = shared.min(WORDS * 64 - PRIVATE - 4);
        Vgic {
            shared: alloc::vec![Interrupt { route: affinities[0], ..Interrupt::default() }; shared],
            banks: affinities.iter().map(bank).collect(),
            control: 0,
            identifier_bits,
        }
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

    /// Puts an interrupt into the set where it belongs, or nowhere; returns whom that concerns.
    fn update(&mut self, vcpu: usize, number: usize) -> Notify {
        let on = self.control & registers::ENABLE_GROUP1 != 0;
        let interrupt = self.get_mut(vcpu, number)?;
        if interrupt.listed.is_some() {
            // Its state is in a list register; whoever runs that vCPU takes it in first.
            return interrupt.place;
        }
        let owner = if number < PRIVATE { vcpu } else { interrupt.target };
        let wanted = interrupt.active || interrupt.enabled && on && interrupt.is_pending();
        // What is active stays with the vCPU that took it.
        let place = match interrupt.place {
            Some(place) if interrupt.active => Some(place),
            _ => wanted.then_some(owner),
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

    /// Takes in what a vCPU's list registers say, after it ran. `read` gives pending and active of each.
    pub fn sync(&mut self, vcpu: usize, mut read: impl FnMut(usize) -> (bool, bool)) {
        let listed = core::mem::take(&mut self.banks[vcpu].listed);
        for (index, &number) in listed.iter().enumerate() {
            let (pending, active) = read(index);
            let Some(interrupt) = self.get_mut(vcpu, number.into()) else { continue };
            let with_latch = interrupt.listed.take().unwrap_or(false);
            interrupt.latched |= pending && with_latch;
            interrupt.active = active;
            self.update(vcpu, number.into());
        }
    }

    /// Whether a vCPU's list registers hold anything.
    pub fn is_listed(&self, vcpu: usize) -> bool {
        !self.banks[vcpu].listed.is_empty()
    }

    /// Fills a vCPU's `count` list registers, most urgent first, before it runs; returns how many are used, and whether more waits.
    pub fn flush(&mut self, vcpu: usize, count: usize, mut write: impl FnMut(usize, ListRegister)) -> (usize, bool) {
        debug_assert!(self.banks[vcpu].listed.is_empty(), "list registers are in use");
        let mut waiting: Vec<(bool, u8, u16)> = Vec::new();
        for word in 0..WORDS {
            let mut set = self.banks[vcpu].set[word];
            while set != 0 {
                let number = word * 64 + set.trailing_zeros() as usize;
                set &= set - 1;
                if let Some(interrupt) = self.get(vcpu, number) {
                    waiting.push((!interrupt.active, interrupt.priority, number as u16));
                }
            }
        }
        if waiting.len() > count {
            // The active ones first: the guest must be able to end them. Then by priority, then by number.
            waiting.sort_unstable();
        }
        let on = self.control & registers::ENABLE_GROUP1 != 0;
        let used = waiting.len().min(count);
        for (index, &(_, _, number)) in waiting[..used].iter().enumerate() {
            let Some(interrupt) = self.get_mut(vcpu, number.into()) else { continue };
            let pending = interrupt.is_pending() && interrupt.enabled && on;
            // With hardware behind it an interrupt is pending or active, never both (IHI 0069, ICH_LR<n>_EL2.HW).
            let pending = pending && !(interrupt.active && interrupt.hardware.is_some());
            let taken = pending && interrupt.latched;
            interrupt.listed = Some(taken);
            interrupt.latched &= !taken;
            let list = ListRegister {
                intid: number,
                physical: interrupt.hardware,
                priority: interrupt.priority,
                pending,
                active: interrupt.active,
                group1: true,
                source: 0,
            };
            write(index, list);
            self.banks[vcpu].listed.push(number);
        }
        (used, waiting.len() > used)
    }

    /// Whether something pending waits for a vCPU that sleeps.
    pub fn is_pending(&self, vcpu: usize) -> bool {
        self.banks[vcpu].set.iter().enumerate().any(|(word, &set)| {
            (0..64).filter(|bit| set >> bit & 1 != 0).any(|bit| {
                self.get(vcpu, word * 64 + bit).is_some_and(|interrupt| interrupt.is_pending() && !interrupt.active)
            })
        })
    }

    /// Whether a private interrupt is pending or active for a vCPU that does not run: then its physical one must stay quiet.
    pub fn is_busy(&self, vcpu: usize, interrupt: u32) -> bool {
        self.get(vcpu, interrupt as usize).is_some_and(|interrupt| interrupt.latched || interrupt.active)
    }

    /// Sends SGI `interrupt` to the vCPUs that `to` picks; returns them.
    pub fn send(&mut self, interrupt: u32, to: impl Fn(usize, u64) -> bool) -> Vec<usize> {
        let targets: Vec<usize> = (0..self.banks.len()).filter(|&vcpu| to(vcpu, self.banks[vcpu].affinity)).collect();
        targets.into_iter().filter_map(|vcpu| self.inject(vcpu, interrupt & 15)).collect()
    }

    /// Forgets everything that a vCPU which is switched off had pending or active.
    pub fn reset(&mut self, vcpu: usize) {
        for number in 0..PRIVATE {
            if let Some(interrupt) = self.get_mut(vcpu, number) {
                (interrupt.latched, interrupt.active, interrupt.listed) = (false, false, None);
                self.update(vcpu, number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vgic(vcpus: u64) -> Vgic {
        let affinities: Vec<u64> = (0..vcpus).collect();
        let mut vgic = Vgic::new(64, &affinities, 16);
        vgic.write_distributor(0, 4, registers::ENABLE_GROUP1.into());
        vgic
    }

    fn flush(vgic: &mut Vgic, vcpu: usize, count: usize) -> Vec<ListRegister> {
        let mut lists = Vec::new();
        vgic.flush(vcpu, count, |_, list| lists.push(list));
        lists
    }

    #[test]
    fn an_edge_is_seen_once() {
        let mut vgic = vgic(1);
        vgic.write_redistributor(0, 0x1_0100, 4, 1 << 20);
        assert_eq!(vgic.inject(0, 20), Some(0));
        let lists = flush(&mut vgic, 0, 4);
        assert_eq!((lists[0].intid, lists[0].pending, lists[0].active), (20, true, false));
        vgic.sync(0, |_| (false, true));
        let lists = flush(&mut vgic, 0, 4);
        assert_eq!((lists[0].pending, lists[0].active), (false, true));
        vgic.sync(0, |_| (false, false));
        assert!(flush(&mut vgic, 0, 4).is_empty());
    }

    #[test]
    fn an_edge_while_active_is_pending_again() {
        let mut vgic = vgic(1);
        vgic.write_redistributor(0, 0x1_0100, 4, 1 << 20);
        vgic.inject(0, 20);
        flush(&mut vgic, 0, 4);
        vgic.inject(0, 20);
        vgic.sync(0, |_| (false, true));
        let lists = flush(&mut vgic, 0, 4);
        assert_eq!((lists[0].pending, lists[0].active), (true, true));
    }

    #[test]
    fn a_level_that_falls_is_withdrawn() {
        let mut vgic = vgic(1);
        vgic.write_redistributor(0, 0x1_0100, 4, 1 << 30);
        vgic.set_line(0, 30, true);
        assert!(flush(&mut vgic, 0, 4)[0].pending);
        vgic.set_line(0, 30, false);
        vgic.sync(0, |_| (true, false));
        assert!(flush(&mut vgic, 0, 4).is_empty());
    }

    #[test]
    fn a_level_that_stays_comes_again() {
        let mut vgic = vgic(1);
        vgic.write_redistributor(0, 0x1_0100, 4, 1 << 30);
        vgic.set_line(0, 30, true);
        flush(&mut vgic, 0, 4);
        vgic.sync(0, |_| (false, false));
        assert!(flush(&mut vgic, 0, 4)[0].pending);
    }

    #[test]
    fn disabled_is_remembered_and_comes_with_enabling() {
        let mut vgic = vgic(1);
        assert_eq!(vgic.inject(0, 16), None);
        assert!(!vgic.is_pending(0));
        assert_eq!(vgic.write_redistributor(0, 0x1_0100, 4, 1 << 16), [0]);
        assert!(vgic.is_pending(0));
    }

    #[test]
    fn the_most_urgent_come_first_and_the_rest_is_announced() {
        let mut vgic = vgic(1);
        vgic.write_distributor(0x104, 4, u32::MAX.into());
        for (interrupt, priority) in [(32, 0xa0), (33, 0x20), (34, 0x80)] {
            vgic.write_distributor(0x400 + interrupt, 1, priority);
            vgic.inject(0, interrupt as u32);
        }
        let mut seen = Vec::new();
        assert_eq!(vgic.flush(0, 2, |_, list| seen.push(list.intid)), (2, true));
        assert_eq!(seen, [33, 34]);
    }

    #[test]
    fn a_shared_interrupt_follows_its_route() {
        let mut vgic = vgic(2);
        vgic.write_distributor(0x104, 4, 1);
        assert_eq!(vgic.inject(0, 32), Some(0));
        assert_eq!(vgic.write_distributor(0x6000 + 32 * 8, 8, 1), [1]);
        assert!(!vgic.is_pending(0) && vgic.is_pending(1));
    }

    proptest! {
        /// No edge is lost, and none comes from nowhere, however injections, runs and acknowledgements interleave. (An edge that comes
        /// while its interrupt is pending in a list register may be seen as a second one: which came first, it or the guest's
        /// acknowledgement, nobody can say.)
        #[test]
        fn no_edge_is_lost_or_invented(steps in proptest::collection::vec((0u8..4, 32u32..40), 1..200)) {
            let mut vgic = vgic(2);
            vgic.write_distributor(0x104, 4, u32::MAX.into());
            (0..2).for_each(|word| { vgic.write_distributor(0xc08 + word * 4, 4, 0xaaaa_aaaa); });
            let mut pending = [false; 64];
            let mut owed = [0; 64];
            let mut active = [None; 64];
            let mut listed: [Vec<ListRegister>; 2] = Default::default();
            for (step, interrupt) in steps {
                let vcpu = (interrupt & 1) as usize;
                match step {
                    0 => { vgic.inject(0, interrupt); pending[interrupt as usize] = true;
                        owed[interrupt as usize] += 1; }
                    1 => { vgic.write_distributor(0x6000 + u64::from(interrupt) * 8, 8, vcpu as u64); }
                    _ => {
                        let mut lists = core::mem::take(&mut listed[vcpu]);
                        // What the guest does meanwhile: takes the first that is pending and not active, or ends one.
                        for list in &mut lists {
                            let number = list.intid as usize;
                            if step == 2 && list.pending && !list.active {
                                owed[number] -= 1;
                                prop_assert!(owed[number] >= 0);
                                (list.pending, list.active, pending[number], active[number]) = (false, true, false, Some(vcpu));
                                break;
                            }
                            if step == 3 && list.active {
                                prop_assert_eq!(active[number], Some(vcpu));
                                (list.active, active[number]) = (false, None);
                                break;
                            }
                        }
                        vgic.sync(vcpu, |index| (lists[index].pending, lists[index].active));
                        let mut lists = Vec::new();
                        vgic.flush(vcpu, 3, |_, list| lists.push(list));
                        listed[vcpu] = lists;
                    }
                }
            }
            // A guest that takes and ends everything sees exactly what is pending. (An edge taken in while it was in a list register
            // and pending there is the same edge.)
            for _ in 0..200 {
                for (vcpu, held) in listed.iter_mut().enumerate() {
                    for list in held.iter_mut() {
                        let number = list.intid as usize;
                        if list.active { (list.active, active[number]) = (false, None); }
                        else if list.pending { (list.pending, pending[number]) = (false, false); }
                    }
                    vgic.sync(vcpu, |index| (held[index].pending, held[index].active));
                    held.clear();
                    vgic.flush(vcpu, 3, |_, list| held.push(list));
                }
            }
            prop_assert!(pending.iter().all(|pending| !pending), "lost");
            prop_assert!(active.iter().all(Option::is_none));
            prop_assert!(!vgic.is_pending(0) && !vgic.is_pending(1));
        }
    }
}
