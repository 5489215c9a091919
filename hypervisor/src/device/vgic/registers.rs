//! The registers that both versions have for interrupts: a bit, two bits or a byte for each (IHI 0048, 4.3; IHI 0069, 12.9 and 12.11).

use super::{Concerned, Concerns, Interrupt, PRIVATE, SGIS, Version, Vgic};
use crate::arch::gic;

/// GICD_CTLR.EnableGrp0 and EnableGrp1.
pub(super) const ENABLE: u32 = 0b11;
/// GICD_IIDR, GICR_IIDR: JEP106 code of Arm, and no product's number.
pub(super) const IMPLEMENTER: u64 = 0x43b;
/// Distance of redistributors.
pub const STRIDE: u64 = 0x2_0000;

/// Where registers are that show what list registers hold: what is pending, and what is active.
const STATE: core::ops::Range<u64> = 0x200..0x400;

/// A part of the controller that has registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The distributor.
    Distributor,
    /// A vCPU's redistributor.
    Redistributor(usize),
}

/// A register of a frame, as who accesses it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The vCPU that accesses.
    pub own: usize,
    /// The frame.
    pub frame: Frame,
    /// Where in the frame; a multiple of the size.
    pub offset: u64,
    /// Bytes: 1, 2, 4, 8.
    pub size: u64,
}

/// A kind of one-bit registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bits {
    Group,
    Enable,
    Pending,
    Active,
}

/// A register for interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One bit each. Writing ones sets the bits, or clears them; `None` for a plain register.
    Bits(Bits, Option<bool>),
    /// A byte each.
    Priority,
    /// Two bits each, the upper one of which says that it is an edge.
    Configuration,
}

/// Whether an offset may be that of a register for interrupts.
pub(super) fn is_for_interrupts(offset: u64) -> bool {
    (0x080..0xd00).contains(&offset)
}

/// Returns what a register at this offset is, and the first interrupt of the word.
fn decode(register: u64) -> Option<(Kind, usize)> {
    let register = register as usize & !3;
    let bits = |kind, set| Some((Kind::Bits(kind, set), register % 0x80 * 8));
    match register {
        0x080..0x100 => bits(Bits::Group, None),
        0x100..0x180 => bits(Bits::Enable, Some(true)),
        0x180..0x200 => bits(Bits::Enable, Some(false)),
        0x200..0x280 => bits(Bits::Pending, Some(true)),
        0x280..0x300 => bits(Bits::Pending, Some(false)),
        0x300..0x380 => bits(Bits::Active, Some(true)),
        0x380..0x400 => bits(Bits::Active, Some(false)),
        0x400..0x800 => Some((Kind::Priority, register - 0x400)),
        0xc00..0xd00 => Some((Kind::Configuration, (register - 0xc00) * 4)),
        _ => None,
    }
}

/// Returns whose list registers must be empty for an access to a register for interrupts: those that hold what it reads or changes.
pub(super) fn concerns(bank: usize, offset: u64, size: u64, write: bool) -> Option<Concerns> {
    if !write && !STATE.contains(&offset) {
        return None;
    }
    let (kind, first) = decode(offset)?;
    let (first, count) = match kind {
        Kind::Bits(..) => (first, 32),
        Kind::Priority => (first + (offset % 4) as usize, size as usize),
        Kind::Configuration => (first, 16),
    };
    Some(Concerns { bank: Some(bank), first, count, pending: false })
}

impl Vgic {
    /// Returns whose list registers must be empty for an access, if anybody's.
    #[inline]
    pub fn concerns(version: Version, place: Place, write: Option<u64>) -> Option<Concerns> {
        // Most reads are of what no list register holds.
        let shows_state = STATE.contains(&(place.offset & 0xffff)) || super::v2::SENDERS.contains(&place.offset);
        if write.is_none() && !shows_state {
            return None;
        }
        match version {
            Version::V2 => super::v2::concerns(place, write),
            Version::V3 => super::v3::concerns(place, write),
        }
    }

    /// Reads a register.
    #[inline]
    pub fn read(&self, place: Place) -> u64 {
        match self.version {
            Version::V2 => self.read_v2(place),
            Version::V3 => self.read_v3(place),
        }
    }

    /// Writes a register; returns whom that concerns.
    pub fn write(&mut self, place: Place, value: u64) -> Concerned {
        match self.version {
            Version::V2 => self.write_v2(place, value),
            Version::V3 => self.write_v3(place, value),
        }
    }

    /// Returns GICD_TYPER's count of interrupts.
    pub(super) fn lines(&self) -> u64 {
        self.shared.len().div_ceil(32) as u64
    }

    /// Writes GICD_CTLR.
    pub(super) fn write_control(&mut self, value: u64) -> Concerned {
        self.control = value as u32 & ENABLE;
        let (vcpus, shared) = (self.banks.len(), PRIVATE..PRIVATE + self.shared.len());
        let private = (0..vcpus).flat_map(|vcpu| (0..PRIVATE).map(move |number| (vcpu, number)));
        let all = private.chain(shared.map(|number| (0, number)));
        all.filter_map(|(vcpu, number)| self.update(vcpu, number)).collect()
    }

    /// Whether an interrupt shows as pending: what waits here, and what the physical controller has yet to send, or has again.
    fn shows_pending(interrupt: &Interrupt) -> bool {
        let waits = interrupt.is_pending() && (interrupt.latched || !interrupt.is_withdrawn());
        let level = interrupt.line && !interrupt.edge;
        waits || level || interrupt.shared_hardware().is_some_and(gic::is_pending)
    }

    /// Reads a register for interrupts, if the offset is one's. Those of vCPU `bank` are meant where they are private.
    pub(super) fn read_interrupts(&self, bank: usize, offset: u64, size: u64) -> Option<u64> {
        let (kind, first) = decode(offset)?;
        let each = |bits: usize, value: &dyn Fn(&Interrupt) -> u32| {
            (0..32 / bits)
                .filter_map(|index| Some((index, self.get(bank, first + index)?)))
                .fold(0u32, |word, (index, interrupt)| word | value(interrupt) << (index * bits))
        };
        let word = match kind {
            Kind::Bits(Bits::Group, _) => each(1, &|interrupt| interrupt.group1.into()),
            Kind::Bits(Bits::Enable, _) => each(1, &|interrupt| interrupt.enabled.into()),
            Kind::Bits(Bits::Pending, _) => each(1, &|interrupt| Vgic::shows_pending(interrupt).into()),
            Kind::Bits(Bits::Active, _) => each(1, &|interrupt| interrupt.active.into()),
            Kind::Priority => each(8, &|interrupt| interrupt.priority.into()),
            Kind::Configuration => each(2, &|interrupt| u32::from(interrupt.edge) << 1),
        };
        Some(part(word.into(), offset % 4, size))
    }

    /// Writes a register for interrupts. Bytes are for priorities alone.
    pub(super) fn write_interrupts(&mut self, bank: usize, offset: u64, size: u64, value: u64) -> Concerned {
        let Some((kind, first)) = decode(offset).filter(|&(kind, _)| size == 4 || kind == Kind::Priority && size < 4)
        else {
            return Concerned::new();
        };
        let value = value as u32;
        let first = first + (offset % 4) as usize;
        let numbers = |count: usize| first..first + count;
        match kind {
            Kind::Bits(bits, Some(on)) => {
                let chosen = numbers(32).filter(|number| value >> (number - first) & 1 != 0);
                chosen.filter_map(|number| self.write_bit(bank, number, bits, on)).collect()
            }
            Kind::Bits(bits, None) => numbers(32)
                .filter_map(|number| self.write_bit(bank, number, bits, value >> (number - first) & 1 != 0))
                .collect(),
            Kind::Priority => numbers(size as usize)
                .filter_map(|number| {
                    // Five bits, as the hardware's virtual interface has at least.
                    self.get_mut(bank, number)?.priority = (value >> ((number - first) * 8)) as u8 & 0xf8;
                    self.update(bank, number)
                })
                .collect(),
            Kind::Configuration => {
                numbers(16)
                    .for_each(|number| self.configure(bank, number, value >> ((number - first) * 2 + 1) & 1 != 0));
                numbers(16).filter_map(|number| self.update(bank, number)).collect()
            }
        }
    }

    /// Makes an interrupt an edge or a level. SGIs are edges, a PPI with hardware behind it is a level.
    fn configure(&mut self, bank: usize, number: usize, edge: bool) {
        let Some(interrupt) = self.get_mut(bank, number) else { return };
        match (number, interrupt.shared_hardware()) {
            (..SGIS, _) => {}
            // It may change while the interrupt is disabled only.
            (_, Some(physical)) if !interrupt.enabled && interrupt.edge != edge => {
                interrupt.withdraw();
                interrupt.edge = edge;
                gic::set_edge(physical, edge);
            }
            (_, None) if interrupt.hardware.is_none() => interrupt.edge = edge,
            _ => {}
        }
    }

    fn write_bit(&mut self, bank: usize, number: usize, bits: Bits, on: bool) -> Option<usize> {
        let v2_sgi = self.version == Version::V2 && number < SGIS;
        let target = self.get(bank, number)?.target.and_then(|vcpu| self.banks.get(vcpu));
        let cpu = target.map(|target| target.cpu);
        let interrupt = self.get_mut(bank, number)?;
        match bits {
            Bits::Group => interrupt.group1 = on,
            // A GICv2's SGIs cannot be disabled, and are made pending by registers of their own.
            Bits::Enable | Bits::Pending if v2_sgi => {}
            Bits::Enable if interrupt.enabled != on => {
                interrupt.enabled = on;
                if let Some(physical) = interrupt.shared_hardware() {
                    cpu.filter(|_| on).into_iter().for_each(|cpu| gic::route(physical, cpu));
                    gic::enable(physical, on);
                }
            }
            Bits::Enable => {}
            Bits::Pending if on => interrupt.latched = true,
            Bits::Pending => {
                interrupt.latched = false;
                interrupt.withdraw();
                interrupt.shared_hardware().into_iter().for_each(|physical| gic::set_pending(physical, false));
            }
            Bits::Active if on => interrupt.active = true,
            Bits::Active => interrupt.deactivate(),
        }
        self.update(bank, number)
    }

    /// Sends an SPI to a vCPU, or to nobody.
    pub(super) fn aim(&mut self, number: usize, route: u64, target: Option<usize>) -> Option<usize> {
        let cpu = target.and_then(|vcpu| self.banks.get(vcpu)).map(|bank| bank.cpu);
        let interrupt = self.get_mut(0, number).filter(|_| number >= PRIVATE)?;
        interrupt.route = route;
        if interrupt.target != target {
            interrupt.target = target;
            if let (Some(physical), Some(cpu)) = (interrupt.shared_hardware(), cpu) {
                gic::route(physical, cpu);
            }
        }
        self.update(0, number)
    }

    /// Sends an SGI to the vCPUs that `to` picks by number and affinity, if it is in a group that is meant; returns them. For a GICv2,
    /// `source` is the sender.
    pub fn send(
        &mut self,
        interrupt: u32,
        source: usize,
        group1: Option<bool>,
        to: impl Fn(usize, u64) -> bool,
    ) -> Concerned {
        let number = interrupt as usize % SGIS;
        let v2 = self.version == Version::V2;
        let mut found = Concerned::new();
        for vcpu in 0..self.banks.len() {
            if !to(vcpu, self.banks[vcpu].affinity) {
                continue;
            }
            let Some(sgi) = self.get_mut(vcpu, number).filter(|sgi| group1.is_none_or(|group| sgi.group1 == group))
            else {
                continue;
            };
            if v2 {
                sgi.sources |= 1 << (source & 7);
            } else {
                sgi.latched = true;
            }
            found.extend(self.update(vcpu, number));
        }
        found
    }
}

/// Returns the bytes of a register that an access reads.
pub(super) fn part(value: u64, offset: u64, size: u64) -> u64 {
    let value = value >> (offset * 8);
    match size {
        8.. => value,
        4 => value & 0xffff_ffff,
        _ => value & ((1 << (size * 8)) - 1),
    }
}

/// Returns a register with the bytes replaced that an access writes.
pub(super) fn merge(old: u64, offset: u64, size: u64, value: u64) -> u64 {
    if size >= 8 {
        return value;
    }
    let mask = ((1u64 << (size * 8)) - 1) << (offset * 8);
    old & !mask | value << (offset * 8) & mask
}

/// Returns a byte of the identification registers that end a frame, from `first` on: PIDR4 to 7, 0 to 3, CIDR0 to 3.
pub(super) fn identity(bytes: &[u8; 12], first: u64, offset: u64) -> u64 {
    let index = (offset - first) / 4;
    bytes.get(index as usize).copied().unwrap_or(0).into()
}
