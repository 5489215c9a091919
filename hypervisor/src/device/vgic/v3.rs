//! Distributor and redistributors of a GICv3 with one security state (IHI 0069, chapter 12); the CPU interface is the hardware's.

use super::registers::{self, Frame, IMPLEMENTER, Place, merge, part};
use super::{Concerned, Concerns, PRIVATE, Vgic};

/// Bytes of the distributor.
pub const SIZE: u64 = 0x1_0000;
const CTLR: u64 = 0;
const TYPER: u64 = 4;
const IIDR: u64 = 8;
const IROUTER: u64 = 0x6000 + PRIVATE as u64 * 8;
const IROUTER_END: u64 = 0x7fe0;
const IDENTITY: u64 = 0xffd0;
/// GICD_CTLR.ARE and DS: affinity routing and one security state, for good.
const CONTROL: u64 = 1 << 6 | 1 << 4;
/// GICD_TYPER.No1N: an SPI is for one PE, never for any of them. A3V: affinity 3 is understood.
const TYPE: u64 = 1 << 25 | 1 << 24;
/// Affinities of IROUTER.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// GICR_CTLR and GICR_IIDR.
const GICR_IIDR: u64 = 4;
const GICR_TYPER: u64 = 8;
const GICR_WAKER: u64 = 0x14;
const PROCESSOR_SLEEP: u64 = 1 << 1;
const CHILDREN_ASLEEP: u64 = 1 << 2;
/// Offset of a redistributor's frame of SGIs and PPIs.
const SGI_FRAME: u64 = 0x1_0000;

/// Of Arm's design (0x43b), architecture version 3 in PIDR2: part 0x492 is a distributor, 0x493 a redistributor.
const fn identity(part: u8) -> [u8; 12] {
    [0x44, 0, 0, 0, part, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1]
}

/// Returns whose list registers must be empty for an access, if anybody's.
pub(super) fn concerns(place: Place, write: Option<u64>) -> Option<Concerns> {
    let Place { offset, size, .. } = place;
    let shared = |first, count| Some(Concerns { bank: None, first, count, pending: false });
    match (place.frame, offset) {
        (Frame::Distributor, CTLR) if write.is_some() => shared(0, 1024),
        (Frame::Distributor, IROUTER..IROUTER_END) if write.is_some() => shared((offset as usize - 0x6000) / 8, 1),
        (Frame::Distributor, _) => {
            registers::concerns(0, offset, size, write.is_some()).filter(|concerns| concerns.first >= PRIVATE)
        }
        (Frame::Redistributor(vcpu), SGI_FRAME..) => {
            registers::concerns(vcpu, offset - SGI_FRAME, size, write.is_some())
                .filter(|concerns| concerns.first < PRIVATE)
        }
        (Frame::Redistributor(_), _) => None,
    }
}

/// Whether a register for interrupts, at this offset in its frame, is for private ones: the first of each kind are.
fn is_private(offset: u64) -> bool {
    registers::concerns(0, offset, 4, true).is_some_and(|concerns| concerns.first < PRIVATE)
}

impl Vgic {
    pub(super) fn read_v3(&self, Place { frame, offset, size, .. }: Place) -> u64 {
        match frame {
            Frame::Distributor => self.read_distributor(offset, size),
            Frame::Redistributor(vcpu) if offset >= SGI_FRAME => {
                let offset = offset - SGI_FRAME;
                if !is_private(offset) {
                    return 0;
                }
                self.read_interrupts(vcpu, offset, size).unwrap_or(0)
            }
            Frame::Redistributor(vcpu) => self.read_redistributor(vcpu, offset, size),
        }
    }

    fn read_distributor(&self, offset: u64, size: u64) -> u64 {
        // Interrupts that are banked stand in the redistributors.
        if registers::is_for_interrupts(offset)
            && let Some(value) = self.read_interrupts(0, offset, size)
        {
            return if is_private(offset) { 0 } else { value };
        }
        let value = match offset & !3 {
            CTLR => CONTROL | u64::from(self.control),
            // CPUNumber is for those that do without affinity routing, of which there is none.
            TYPER => TYPE | (u64::from(self.identifier_bits) - 1) << 19 | self.lines(),
            IIDR => IMPLEMENTER,
            IROUTER..IROUTER_END => {
                let route = self.get(0, (offset as usize - 0x6000) / 8).map_or(0, |interrupt| interrupt.route);
                return part(route, offset % 8, size);
            }
            word @ IDENTITY..SIZE => registers::identity(&identity(0x92), IDENTITY, word),
            _ => 0,
        };
        part(value, offset % 4, size)
    }

    fn read_redistributor(&self, vcpu: usize, offset: u64, size: u64) -> u64 {
        let Some(bank) = self.banks.get(vcpu) else { return 0 };
        let value = match offset & !3 {
            GICR_IIDR => IMPLEMENTER,
            word if word & !7 == GICR_TYPER => {
                let packed = bank.affinity >> 32 << 24 | bank.affinity & 0xff_ffff;
                let last = u64::from(bank.ends_region);
                return part(packed << 32 | (vcpu as u64) << 8 | last << 4, offset % 8, size);
            }
            GICR_WAKER if bank.asleep => PROCESSOR_SLEEP | CHILDREN_ASLEEP,
            word @ IDENTITY..SIZE => registers::identity(&identity(0x93), IDENTITY, word),
            _ => 0,
        };
        part(value, offset % 4, size)
    }

    pub(super) fn write_v3(&mut self, Place { frame, offset, size, .. }: Place, value: u64) -> Concerned {
        match (frame, offset) {
            (Frame::Distributor, CTLR) if size == 4 => self.write_control(value),
            (Frame::Distributor, IROUTER..IROUTER_END) if size >= 4 => self.write_route(offset - 0x6000, size, value),
            (Frame::Distributor, _) if !is_private(offset) => self.write_interrupts(0, offset, size, value),
            (Frame::Redistributor(vcpu), GICR_WAKER) if size == 4 => {
                if let Some(bank) = self.banks.get_mut(vcpu) {
                    bank.asleep = value & PROCESSOR_SLEEP != 0;
                }
                Concerned::new()
            }
            (Frame::Redistributor(vcpu), SGI_FRAME..) if is_private(offset - SGI_FRAME) => {
                self.write_interrupts(vcpu, offset - SGI_FRAME, size, value)
            }
            _ => Concerned::new(),
        }
    }

    /// GICD_IROUTER: what is sent to nobody that there is waits until it is sent elsewhere.
    fn write_route(&mut self, offset: u64, size: u64, value: u64) -> Concerned {
        let number = offset as usize / 8;
        let Some(interrupt) = self.get(0, number) else { return Concerned::new() };
        let route = merge(interrupt.route, offset % 8, size, value) & AFFINITY;
        let target = self.banks.iter().position(|bank| bank.affinity == route);
        self.aim(number, route, target).into_iter().collect()
    }

    /// Answers ICC_SGI1R_EL1, or where `group1` does not hold ICC_SGI0R_EL1 and ICC_ASGI1R_EL1, which in one security state are about
    /// group 0 (IHI 0069, 12.2.19 and table 8-14).
    pub fn write_sgi(&mut self, own: usize, group1: bool, value: u64) -> Concerned {
        let others = value >> 40 & 1 != 0;
        let cluster = (value >> 48 & 0xff) << 32 | (value >> 32 & 0xff) << 16 | (value >> 16 & 0xff) << 8;
        let first = (value >> 44 & 15) * 16;
        self.send(sgi_of(value), own, Some(group1), |vcpu, affinity| {
            if others {
                return vcpu != own;
            }
            let bit = (affinity & 0xff).checked_sub(first).filter(|&bit| bit < 16);
            affinity & !0xff == cluster && bit.is_some_and(|bit| value >> bit & 1 != 0)
        })
    }
}

/// Returns the SGI that a value of ICC_SGI1R_EL1 names.
pub fn sgi_of(value: u64) -> u32 {
    (value >> 24 & 15) as u32
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::*;

    fn vgic() -> Vgic {
        Vgic::new(Version::V3, 64, &[0, 1, 0x100], 16)
    }

    fn distributor(offset: u64, size: u64) -> Place {
        Place { own: 0, frame: Frame::Distributor, offset, size }
    }

    fn redistributor(vcpu: usize, offset: u64, size: u64) -> Place {
        Place { own: 0, frame: Frame::Redistributor(vcpu), offset, size }
    }

    #[test]
    fn it_says_what_it_is() {
        let vgic = vgic();
        assert_eq!(vgic.read(distributor(0, 4)), 1 << 6 | 1 << 4, "one security state, affinity routing");
        assert_eq!(vgic.read(distributor(0xffe8, 4)) >> 4 & 15, 3);
        assert_eq!(vgic.read(distributor(4, 4)), 1 << 25 | 1 << 24 | 15 << 19 | 2);
        assert_eq!(vgic.read(redistributor(1, 8, 8)), 1 << 32 | 1 << 8);
        assert_eq!(vgic.read(redistributor(2, 8, 8)), 0x100 << 32 | 2 << 8 | 1 << 4);
        assert_eq!(vgic.read(redistributor(2, 12, 4)), 0x100);
        assert_eq!(vgic.read(redistributor(0, 0xffe8, 4)) >> 4, 3);
        assert_eq!(vgic.read(redistributor(0, 4, 4)), 0x43b);
        let mut regions = vgic;
        regions.end_region(0);
        assert_eq!([0, 1, 2].map(|vcpu| regions.read(redistributor(vcpu, 8, 4)) >> 4 & 1), [1, 0, 1]);
    }

    #[test]
    fn enables_set_and_clear() {
        let mut vgic = vgic();
        vgic.write(distributor(0x104, 4), 0b110);
        vgic.write(distributor(0x184, 4), 0b010);
        assert_eq!(vgic.read(distributor(0x104, 4)), 0b100);
        vgic.write(redistributor(1, 0x1_0100, 4), 1);
        assert_eq!(vgic.read(redistributor(1, 0x1_0100, 4)), 1);
        assert_eq!(vgic.read(distributor(0x100, 4)), 0, "private ones stand in the redistributors");
    }

    #[test]
    fn groups_are_kept_and_enabled_each() {
        let mut vgic = vgic();
        vgic.write(distributor(0x84, 4), 0b10);
        vgic.write(distributor(0x104, 4), 0b11);
        assert_eq!(vgic.read(distributor(0x84, 4)), 0b10);
        vgic.inject(0, 32);
        vgic.inject(0, 33);
        assert!(!vgic.is_pending(0));
        vgic.write(distributor(0, 4), 2);
        let lists = super::super::flush(&mut vgic, 0, 4);
        assert_eq!((lists.len(), lists[0].intid, lists[0].group1), (1, 33, true));
    }

    #[test]
    fn priorities_are_bytes_or_words() {
        let mut vgic = vgic();
        vgic.write(distributor(0x420, 4), 0x10ff_20a3);
        vgic.write(distributor(0x421, 1), 0x48);
        assert_eq!(vgic.read(distributor(0x420, 4)), 0x10f8_48a0);
        assert_eq!(vgic.read(distributor(0x421, 1)), 0x48);
    }

    #[test]
    fn routes_have_halves_and_may_lead_nowhere() {
        let mut vgic = vgic();
        vgic.write(distributor(0, 4), 1);
        vgic.write(distributor(0x104, 4), 1);
        vgic.write(distributor(0x6100, 4), 0x8000_0100);
        vgic.write(distributor(0x6104, 4), 0);
        assert_eq!(vgic.read(distributor(0x6100, 8)), 0x100);
        assert_eq!(vgic.inject(0, 32), Some(2));
        vgic.write(distributor(0x6100, 8), 0x77);
        assert!((0..3).all(|vcpu| !vgic.is_pending(vcpu)), "it waits");
        assert_eq!(vgic.write(distributor(0x6100, 8), 1), [1]);
    }

    #[test]
    fn an_sgi_is_of_the_group_it_is_configured_for() {
        let mut vgic = vgic();
        vgic.write(distributor(0, 4), 3);
        for vcpu in 0..3 {
            vgic.write(redistributor(vcpu, 0x1_0100, 4), 0xffff);
        }
        vgic.write(redistributor(1, 0x1_0080, 4), 1 << 7);
        let everybody = 7 << 24 | 1 << 40;
        assert_eq!(vgic.write_sgi(0, true, everybody), [1]);
        assert_eq!(vgic.write_sgi(0, false, everybody), [2]);
        assert_eq!(vgic.write_sgi(2, false, 7 << 24 | 0b1), [0]);
        assert_eq!(vgic.write_sgi(0, false, 7 << 24 | 1 << 16 | 0b1), [2]);
    }

    #[test]
    fn it_sleeps_and_wakes() {
        let mut vgic = vgic();
        assert_eq!(vgic.read(redistributor(1, 0x14, 4)), 0);
        vgic.write(redistributor(1, 0x14, 4), 2);
        assert_eq!(vgic.read(redistributor(1, 0x14, 4)), 6);
    }
}
