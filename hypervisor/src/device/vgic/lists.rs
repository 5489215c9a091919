//! What of a guest's interrupt controller goes into list registers, and comes back; and who may look at it meanwhile.

use super::{Concerned, LISTS_MAX, Listed, PRIVATE, SGIS, Version, Vgic};
use crate::arch::{ListRegister, Maintenance, gic};

/// What a register access, or an SGI, is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concerns {
    /// The vCPU whose private interrupts are meant; `None` for everybody's.
    pub bank: Option<usize>,
    /// The first interrupt.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// Whether only those matter that are pending in a list register.
    pub pending: bool,
}

/// What is in a vCPU's list registers now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// How many are in use.
    pub used: usize,
    /// What they shall ask attention for.
    pub maintenance: Maintenance,
}

impl Vgic {
    /// Takes in what a vCPU's list registers say, after it ran: `read` gives pending and active of each, `ends` is how many the guest
    /// ended that are in none. Returns the other vCPUs that this concerns.
    pub fn sync(&mut self, vcpu: usize, ends: u32, mut read: impl FnMut(usize) -> (bool, bool)) -> Concerned {
        let v2 = self.version == Version::V2;
        let mut others = Concerned::new();
        let mut update =
            |vgic: &mut Vgic, number| others.extend(vgic.update(vcpu, number).filter(|&place| place != vcpu));
        for _ in 0..ends {
            let Some(number) = self.first_active_not_listed(vcpu) else { break };
            if let Some(interrupt) = self.get_mut(vcpu, number) {
                interrupt.deactivate();
            }
            update(self, number);
        }
        for index in 0..self.banks[vcpu].listed.len() {
            let number = usize::from(self.banks[vcpu].listed[index]);
            let (pending, active) = read(index);
            let Some(interrupt) = self.get_mut(vcpu, number) else { continue };
            let Some(listed) = interrupt.listed.take() else { continue };
            if pending {
                interrupt.latched |= listed.latched;
                interrupt.raised |= listed.raised;
                if v2 && number < SGIS {
                    interrupt.sources |= 1 << listed.source;
                }
            }
            if active {
                interrupt.source = listed.source;
            }
            // What is active and was not is taken; what was both may have been taken again, or not.
            interrupt.acknowledged = active && (interrupt.acknowledged || listed.pending && !pending);
            interrupt.active = active;
            if listed.hardware && !pending && !active {
                // The hardware did it.
                interrupt.held = None;
            } else if !active && !interrupt.raised {
                interrupt.release();
            }
            update(self, number);
        }
        self.banks[vcpu].listed.clear();
        others
    }

    /// Returns the most urgent active interrupt of a vCPU that is in no list register.
    fn first_active_not_listed(&self, vcpu: usize) -> Option<usize> {
        self.numbers(vcpu)
            .filter_map(|number| Some((self.get(vcpu, number)?, number)))
            .filter(|(interrupt, _)| interrupt.active && interrupt.listed.is_none())
            .min_by_key(|(interrupt, number)| (!interrupt.acknowledged, interrupt.priority, *number))
            .map(|(_, number)| number)
    }

    /// Whether a vCPU's list registers hold anything.
    pub fn is_listed(&self, vcpu: usize) -> bool {
        !self.banks[vcpu].listed.is_empty()
    }

    /// Fills a vCPU's `count` list registers, most urgent first, before it runs.
    pub fn flush(&mut self, vcpu: usize, count: usize, mut write: impl FnMut(usize, ListRegister)) -> Flushed {
        debug_assert!(self.banks[vcpu].listed.is_empty(), "list registers are in use");
        let count = count.min(LISTS_MAX);
        let (mut active, mut pending) = (Best::default(), Best::default());
        for number in self.numbers(vcpu) {
            let Some(interrupt) = self.get_mut(vcpu, number) else { continue };
            if interrupt.is_withdrawn() {
                interrupt.withdraw();
                self.update(vcpu, number);
            }
            let Some(interrupt) = self.get(vcpu, number) else { continue };
            match (interrupt.active, interrupt.place == Some(vcpu)) {
                (true, true) => active.offer(!interrupt.acknowledged, interrupt.priority, number, count),
                (false, true) => pending.offer(false, interrupt.priority, number, count),
                _ => {}
            }
        }
        // The active ones, so that the guest can end them; but where not all find room, what is pending must not wait for their end.
        let room = count.saturating_sub(usize::from(pending.total > 0));
        let actives = active.total.min(if active.total + pending.total > count { room } else { count });
        let pendings = pending.total.min(count - actives);
        let crowded = pending.total > pendings;
        let chosen = active.numbers[..actives].iter().chain(&pending.numbers[..pendings]);
        let mut used = 0;
        for &key in chosen {
            let number = key as u16;
            if let Some(list) = self.list(vcpu, number.into(), crowded) {
                write(used, list);
                self.banks[vcpu].listed.push(number);
                used += 1;
            }
        }
        let maintenance = Maintenance { none_pending: pending.total > pendings, not_listed: active.total > actives };
        Flushed { used, maintenance }
    }

    /// Returns an interrupt as a list register holds it, and notes that one does. Where it is `crowded`, others wait for a list register:
    /// then what is active as well as pending does not become pending before they were looked at.
    fn list(&mut self, vcpu: usize, number: usize, crowded: bool) -> Option<ListRegister> {
        let on = [self.is_forwarded(false), self.is_forwarded(true)];
        let v2 = self.version == Version::V2;
        let interrupt = self.get_mut(vcpu, number)?;
        let waits = interrupt.is_pending() && interrupt.enabled && on[usize::from(interrupt.group1)];
        // While it is active here, its next target may be another one.
        let mine = number < PRIVATE || interrupt.target == Some(vcpu);
        let mut pending = waits && mine && !(interrupt.active && crowded);
        let sgi = v2 && number < SGIS;
        // What an SGI's list register says of its sender is about both, pending and active.
        let source = if interrupt.active { interrupt.source } else { interrupt.sources.trailing_zeros() as u8 & 7 };
        if sgi && interrupt.active {
            pending &= interrupt.sources >> source & 1 != 0;
        }
        // With hardware behind it, it is pending or active, never both (IHI 0069, ICH_LR<n>_EL2.HW).
        let ends = interrupt.held.is_some_and(gic::ends_here) && (number >= PRIVATE || gic::signals_again());
        let hardware = ends && !(waits && interrupt.active);
        let listed = Listed {
            latched: pending && interrupt.latched,
            raised: pending && interrupt.raised,
            source: if sgi { source } else { 0 },
            pending,
            hardware,
        };
        if pending {
            (interrupt.latched, interrupt.raised) = (false, false);
            if sgi {
                interrupt.sources &= !(1 << source);
            }
        }
        interrupt.listed = Some(listed);
        Some(ListRegister {
            intid: number as u16,
            physical: interrupt.hardware.filter(|_| hardware),
            priority: interrupt.priority,
            pending,
            active: interrupt.active,
            group1: interrupt.group1,
            source: listed.source,
            // Its end is ours to make a physical one, or makes room for what the list register cannot say besides.
            notify: !hardware && (interrupt.held.is_some() || interrupt.is_pending()),
        })
    }

    /// Asks the other vCPUs whose list registers hold something of this to give them up; returns them, as bits. They are to be told, and
    /// to be waited for while [`Vgic::are_listed`], and to be released.
    pub fn hold(&mut self, own: Option<usize>, concerns: Concerns) -> u128 {
        let mut held = 0;
        for vcpu in (0..self.banks.len()).filter(|&vcpu| Some(vcpu) != own) {
            let concerned = self.banks[vcpu].listed.iter().any(|&number| {
                let number = usize::from(number);
                let bank = number >= PRIVATE || concerns.bank.is_none_or(|bank| bank == vcpu);
                let pending =
                    || self.get(vcpu, number).and_then(|known| known.listed).is_some_and(|listed| listed.pending);
                let inside = (concerns.first..concerns.first + concerns.count).contains(&number);
                bank && inside && (!concerns.pending || pending())
            });
            if concerned {
                self.banks[vcpu].holders += 1;
                held |= 1 << vcpu;
            }
        }
        held
    }

    /// Whether any of these vCPUs still has something in its list registers.
    pub fn are_listed(&self, held: u128) -> bool {
        self.banks.iter().enumerate().any(|(vcpu, bank)| held >> vcpu & 1 != 0 && !bank.listed.is_empty())
    }

    /// Whether somebody wants a vCPU's list registers to stay empty.
    pub fn is_held(&self, vcpu: usize) -> bool {
        self.banks[vcpu].holders != 0
    }

    /// Lets vCPUs that were held go on.
    pub fn release(&mut self, held: u128) {
        for (_, bank) in self.banks.iter_mut().enumerate().filter(|(vcpu, _)| held >> vcpu & 1 != 0) {
            bank.holders -= 1;
        }
    }
}

/// The most urgent of some interrupts, most urgent first: by priority, then by number.
struct Best {
    /// Whether it can wait in bit 24, priority in bits 23 to 16, number below.
    numbers: [u32; LISTS_MAX],
    /// How many there were.
    total: usize,
}

impl Default for Best {
    fn default() -> Best {
        Best { numbers: [0; LISTS_MAX], total: 0 }
    }
}

impl Best {
    /// Puts one in its place, if it is among the first `count`.
    fn offer(&mut self, later: bool, priority: u8, number: usize, count: usize) {
        let key = u32::from(later) << 24 | u32::from(priority) << 16 | number as u32;
        let kept = self.total.min(count);
        self.total += 1;
        let at = self.numbers[..kept].partition_point(|&other| other < key);
        if at < count {
            self.numbers.copy_within(at..kept.min(count - 1), at + 1);
            self.numbers[at] = key;
        }
    }
}
