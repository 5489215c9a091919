//! The distributor of a GICv2 without security extensions (IHI 0048, chapter 4), as its CPUs see it; the CPU interface is the hardware's.

use super::registers::{self, IMPLEMENTER, Place, part};
use super::{Concerned, Concerns, PRIVATE, SGIS, Vgic};

/// Bytes of the distributor.
pub const SIZE: u64 = 0x1000;
const CTLR: u64 = 0;
const TYPER: u64 = 4;
const IIDR: u64 = 8;
const ITARGETSR: u64 = 0x800;
const ITARGETSR_END: u64 = 0xc00;
const SGIR: u64 = 0xf00;
const CPENDSGIR: u64 = 0xf10;
const SPENDSGIR: u64 = 0xf20;
const SPENDSGIR_END: u64 = 0xf30;
/// Where the senders of SGIs show.
pub(super) const SENDERS: core::ops::Range<u64> = CPENDSGIR..SPENDSGIR_END;
const IDENTITY: u64 = 0xfd0;
/// Of Arm's design (0x43b), architecture version 2 in ICPIDR2.
const IDENTITY_BYTES: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// Returns whose list registers must be empty for an access, if anybody's.
pub(super) fn concerns(place: Place, write: Option<u64>) -> Option<Concerns> {
    let Place { own, offset, size, .. } = place;
    let some = |bank, first, count, pending| Some(Concerns { bank, first, count, pending });
    match offset {
        CTLR if write.is_some() => some(None, 0, 1024, false),
        ITARGETSR..ITARGETSR_END if write.is_some() => {
            some(Some(own), (offset - ITARGETSR) as usize, size as usize, false)
        }
        SGIR => some(None, write? as usize & 15, 1, true),
        CPENDSGIR..SPENDSGIR_END => some(Some(own), offset as usize & 15, size as usize, false),
        _ => registers::concerns(own, offset, size, write.is_some()),
    }
}

impl Vgic {
    pub(super) fn read_v2(&self, Place { own, offset, size, .. }: Place) -> u64 {
        if registers::is_for_interrupts(offset)
            && let Some(value) = self.read_interrupts(own, offset, size)
        {
            return value;
        }
        let value = match offset & !3 {
            CTLR => self.control.into(),
            TYPER => (self.banks.len() as u64 - 1) << 5 | self.lines(),
            IIDR => IMPLEMENTER,
            word @ ITARGETSR..ITARGETSR_END => {
                self.bytes(|index| self.targets(own, (word - ITARGETSR) as usize + index))
            }
            word @ CPENDSGIR..SPENDSGIR_END => {
                self.bytes(|index| self.get(own, (word as usize & 15) + index).map_or(0, |sgi| sgi.sources))
            }
            word @ IDENTITY..SIZE => registers::identity(&IDENTITY_BYTES, IDENTITY, word),
            _ => 0,
        };
        part(value, offset % 4, size)
    }

    /// Puts four bytes together.
    fn bytes(&self, byte: impl Fn(usize) -> u8) -> u64 {
        (0..4).fold(0, |word, index| word | u64::from(byte(index)) << (index * 8))
    }

    /// Returns the targets of an interrupt, as bits. A controller for one CPU has none (IHI 0048, 4.3.12).
    fn targets(&self, own: usize, number: usize) -> u8 {
        match (self.banks.len(), number) {
            (1, _) => 0,
            (_, ..PRIVATE) => 1 << (own & 7),
            _ => self.get(own, number).map_or(0, |interrupt| interrupt.route as u8),
        }
    }

    pub(super) fn write_v2(&mut self, Place { own, offset, size, .. }: Place, value: u64) -> Concerned {
        let bytes = (0..size.min(4) as usize).map(|index| (index, (value >> (index * 8)) as u8));
        match offset {
            CTLR if size == 4 => self.write_control(value),
            ITARGETSR..ITARGETSR_END if self.banks.len() > 1 && size <= 4 => {
                let first = (offset - ITARGETSR) as usize;
                bytes.filter_map(|(index, targets)| self.write_targets(first + index, targets)).collect()
            }
            SGIR if size == 4 => self.write_sgir(own, value),
            CPENDSGIR..SPENDSGIR if size <= 4 => {
                let first = (offset - CPENDSGIR) as usize;
                bytes
                    .filter_map(|(index, sources)| self.change_sources(own, first + index, |old| old & !sources))
                    .collect()
            }
            SPENDSGIR..SPENDSGIR_END if size <= 4 => {
                let (first, existing) = ((offset - SPENDSGIR) as usize, self.everybody());
                let set = |old, sources| old | sources & existing;
                bytes
                    .filter_map(|(index, sources)| self.change_sources(own, first + index, |old| set(old, sources)))
                    .collect()
            }
            _ => self.write_interrupts(own, offset, size, value),
        }
    }

    /// Returns the bits of all vCPUs.
    fn everybody(&self) -> u8 {
        ((1u32 << self.banks.len().min(8)) - 1) as u8
    }

    /// Of several targets one takes the interrupt (IHI 0048, 1.4.3, the 1-N model), whichever: here the first. Whoever switches a CPU off
    /// names others before.
    fn write_targets(&mut self, number: usize, targets: u8) -> Option<usize> {
        let targets = targets & self.everybody();
        let target = (targets != 0).then(|| targets.trailing_zeros() as usize);
        self.aim(number, targets.into(), target)
    }

    fn change_sources(&mut self, own: usize, number: usize, change: impl Fn(u8) -> u8) -> Option<usize> {
        let sgi = self.get_mut(own, number).filter(|_| number < SGIS)?;
        sgi.sources = change(sgi.sources);
        self.update(own, number)
    }

    /// GICD_SGIR (IHI 0048, 4.3.15).
    fn write_sgir(&mut self, own: usize, value: u64) -> Concerned {
        let list = value >> 16 & 0xff;
        let everybody: u64 = self.everybody().into();
        let targets = match value >> 24 & 3 {
            0 => list,
            1 => everybody & !(1 << own),
            2 => 1 << own,
            _ => return Concerned::new(),
        };
        self.send(value as u32 & 15, own, None, |vcpu, _| targets >> vcpu & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::registers::Frame;
    use super::super::{Version, flush};
    use super::*;
    use alloc::vec::Vec;

    fn vgic(vcpus: u64) -> Vgic {
        let affinities: Vec<u64> = (0..vcpus).collect();
        let mut vgic = Vgic::new(Version::V2, 64, &affinities, 10);
        vgic.write(at(0, CTLR, 4), 1);
        vgic
    }

    fn at(own: usize, offset: u64, size: u64) -> Place {
        Place { own, frame: Frame::Distributor, offset, size }
    }

    #[test]
    fn it_says_what_it_is() {
        let vgic = vgic(3);
        assert_eq!(vgic.read(at(0, TYPER, 4)), 2 << 5 | 2);
        assert_eq!(vgic.read(at(0, 0xfe8, 4)) >> 4, 2);
        assert_eq!(vgic.read(at(0, 0xffc, 4)), 0xb1);
        assert_eq!(vgic.read(at(0, IIDR, 4)), 0x43b);
    }

    #[test]
    fn private_targets_are_oneself() {
        let (three, one) = (vgic(3), vgic(1));
        assert_eq!(three.read(at(2, ITARGETSR, 4)), 0x0404_0404);
        assert_eq!(three.read(at(1, ITARGETSR + 31, 1)), 2);
        assert_eq!(one.read(at(0, ITARGETSR, 4)), 0);
    }

    #[test]
    fn a_shared_interrupt_goes_to_its_targets_first() {
        let mut vgic = vgic(3);
        vgic.write(at(0, 0x104, 4), 1);
        assert_eq!(vgic.inject(0, 32), None, "nobody is meant");
        assert_eq!(vgic.write(at(0, ITARGETSR + 32, 1), 0b1110), [1]);
        assert_eq!(vgic.read(at(2, ITARGETSR + 32, 1)), 0b110);
        assert!(vgic.is_pending(1) && !vgic.is_pending(2));
    }

    #[test]
    fn an_sgi_says_who_sent_it_and_each_is_seen() {
        let mut vgic = vgic(4);
        for source in [3, 1] {
            assert_eq!(vgic.write(at(source, SGIR, 4), 0b100 << 16 | 5), [2]);
        }
        assert_eq!(vgic.read(at(2, SPENDSGIR + 5, 1)), 0b1010);
        let list = flush(&mut vgic, 2, 4);
        assert_eq!((list.len(), list[0].intid, list[0].source, list[0].notify), (1, 5, 1, true));
        // It is taken and ended; the other one follows.
        vgic.sync(2, 0, |_| (false, false));
        assert_eq!(flush(&mut vgic, 2, 4)[0].source, 3);
        vgic.sync(2, 0, |_| (false, false));
        assert!(flush(&mut vgic, 2, 4).is_empty());
    }

    #[test]
    fn senders_are_set_and_cleared_one_by_one() {
        let mut vgic = vgic(2);
        assert_eq!(vgic.write(at(1, SPENDSGIR + 4, 4), 0xff00_0300), [1]);
        assert_eq!(vgic.read(at(1, CPENDSGIR + 4, 4)), 0x0300_0300);
        vgic.write(at(1, CPENDSGIR + 5, 1), 1);
        assert_eq!(vgic.read(at(1, CPENDSGIR + 5, 1)), 2);
        assert_eq!(vgic.read(at(1, 0x200, 4)), 1 << 5 | 1 << 7);
        assert_eq!(vgic.read(at(0, CPENDSGIR + 4, 4)), 0, "each CPU has its own");
    }

    #[test]
    fn everybody_else_and_oneself() {
        let mut vgic = vgic(3);
        assert_eq!(vgic.write(at(1, SGIR, 4), 1 << 24 | 9), [0, 2]);
        assert_eq!(vgic.write(at(1, SGIR, 4), 2 << 24 | 9), [1]);
        assert_eq!(vgic.write(at(1, SGIR, 4), 3 << 24 | 9), []);
    }

    #[test]
    fn sgis_stay_enabled() {
        let mut vgic = vgic(2);
        vgic.write(at(0, 0x180, 4), u32::MAX.into());
        assert_eq!(vgic.read(at(0, 0x100, 4)), 0xffff);
    }
}
