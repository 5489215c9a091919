//! The registers of the virtual GICv3: distributor and redistributors (IHI 0069, chapter 12), as software in the non-secure state of a
//! system with two sees them.

use alloc::vec::Vec;

use super::{PRIVATE, Vgic};
use crate::arch::gic;

/// GICD_CTLR.EnableGrp1A (and, for software that thinks in one security state, EnableGrp1).
pub const ENABLE_GROUP1: u32 = 1 << 1;
const ARE: u32 = 1 << 4;
/// GICD_IIDR, GICR_IIDR: JEP106 code of Arm.
const IMPLEMENTER: u64 = 0x34c;
/// PIDR2: architecture version 3.
const PIDR2: u64 = 0x30;
/// Distance of redistributors.
pub const STRIDE: u64 = 0x2_0000;
/// Size of the distributor.
pub const DISTRIBUTOR_SIZE: u64 = 0x1_0000;
/// Offset of a redistributor's frame of SGIs and PPIs.
const SGI_FRAME: u64 = 0x1_0000;

/// A bank of one-bit registers.
#[derive(Clone, Copy)]
enum Bits {
    Enable,
    Pending,
    Active,
}

/// vCPUs that have something new to see.
pub type Concerned = Vec<usize>;

impl Vgic {
    /// Reads a register of the distributor.
    pub fn read_distributor(&self, offset: u64, size: u64) -> u64 {
        let value = match offset & !3 {
            0x0000 => (self.control | ARE).into(),
            0x0004 => {
                let lines = (self.shared.len().div_ceil(32)) as u64;
                let vcpus = self.banks.len().min(8) as u64 - 1;
                (u64::from(self.identifier_bits) - 1) << 19 | vcpus << 5 | lines
            }
            0x0008 => IMPLEMENTER,
            0xffe8 => PIDR2,
            0x6100..=0x7fdf => {
                let interrupt = (offset - 0x6000) / 8;
                let route = self.get(0, interrupt as usize).map_or(0, |interrupt| interrupt.route);
                return part(route, offset % 8, size);
            }
            // Interrupts that are banked stand in the redistributors.
            register => match self.by_interrupt(register) {
                Some((first, _)) if first < PRIVATE => 0,
                Some(_) => return self.read_interrupts(0, offset, size),
                None => 0,
            },
        };
        part(value, offset % 4, size)
    }

    /// Writes a register of the distributor; returns whom that concerns.
    pub fn write_distributor(&mut self, offset: u64, size: u64, value: u64) -> Concerned {
        match offset {
            0x0000 if size == 4 => {
                self.control = value as u32 & ENABLE_GROUP1;
                let vcpus = self.banks.len();
                let all: Vec<(usize, usize)> = (0..vcpus)
                    .flat_map(|vcpu| (0..PRIVATE).map(move |number| (vcpu, number)))
                    .chain((PRIVATE..PRIVATE + self.shared.len()).map(|number| (0, number)))
                    .collect();
                return concerned(all.into_iter().filter_map(|(vcpu, number)| self.update(vcpu, number)));
            }
            0x6100..=0x7fdf => {
                let number = (offset as usize - 0x6000) / 8;
                let Some(interrupt) = self.get_mut(0, number) else { return Vec::new() };
                let route = merge(interrupt.route, offset % 8, size, value) & 0xff_80ff_ffff;
                interrupt.route = route;
                // One of N: any of them; the first is one.
                let wanted = if route >> 31 & 1 != 0 { None } else { Some(route & 0xff_00ff_ffff) };
                let target = match wanted {
                    None => Some(0),
                    Some(wanted) => self.banks.iter().position(|bank| bank.affinity == wanted),
                };
                if let (Some(target), Some(interrupt)) = (target, self.get_mut(0, number)) {
                    interrupt.target = target;
                }
                return concerned(self.update(0, number).into_iter());
            }
            _ => {}
        }
        match self.by_interrupt(offset & !3) {
            Some((first, _)) if first >= PRIVATE => self.write_interrupts(0, offset, size, value),
            _ => Vec::new(),
        }
    }

    /// Reads a register of a vCPU's redistributor.
    pub fn read_redistributor(&self, vcpu: usize, offset: u64, size: u64) -> u64 {
        if offset >= SGI_FRAME {
            return match self.by_interrupt((offset & !3) - SGI_FRAME) {
                Some((first, _)) if first < PRIVATE => self.read_interrupts(vcpu, offset - SGI_FRAME, size),
                _ => 0,
            };
        }
        let value = match offset & !7 {
            0x0008 => {
                let affinity = self.banks.get(vcpu).map_or(0, |bank| bank.affinity);
                let packed = affinity >> 32 << 24 | affinity & 0xff_ffff;
                let last = u64::from(vcpu + 1 == self.banks.len());
                return part(packed << 32 | (vcpu as u64) << 8 | last << 4, offset % 8, size);
            }
            0x0000 if offset & 4 != 0 => IMPLEMENTER,
            0xffe8 if offset & 4 == 0 => PIDR2,
            _ => 0,
        };
        part(value, offset % 4, size)
    }

    /// Writes a register of a vCPU's redistributor; returns whom that concerns.
    pub fn write_redistributor(&mut self, vcpu: usize, offset: u64, size: u64, value: u64) -> Concerned {
        if offset < SGI_FRAME {
            return Vec::new();
        }
        match self.by_interrupt((offset & !3) - SGI_FRAME) {
            Some((first, _)) if first < PRIVATE => self.write_interrupts(vcpu, offset - SGI_FRAME, size, value),
            _ => Vec::new(),
        }
    }

    /// Returns the first interrupt that a register is about, and its bits for each, if it is about interrupts.
    fn by_interrupt(&self, register: u64) -> Option<(usize, u32)> {
        let register = register as usize;
        match register {
            0x080..0x400 => Some((register % 0x80 / 4 * 32, 1)),
            0x400..0x800 => Some((register - 0x400, 8)),
            0xc00..0xd00 => Some(((register - 0xc00) / 4 * 16, 2)),
            _ => None,
        }
    }

    fn read_interrupts(&self, vcpu: usize, offset: u64, size: u64) -> u64 {
        let Some((first, bits)) = self.by_interrupt(offset & !3) else { return 0 };
        let each = |value: &dyn Fn(&super::Interrupt) -> u32| {
            (0..32 / bits as usize)
                .filter_map(|index| Some((index, self.get(vcpu, first + index)?)))
                .fold(0u32, |word, (index, interrupt)| word | value(interrupt) << (index as u32 * bits))
        };
        let word = match offset & 0xf80 {
            0x100 | 0x180 => each(&|interrupt| interrupt.enabled.into()),
            0x200 | 0x280 => each(&|interrupt| interrupt.is_pending().into()),
            0x300 | 0x380 => each(&|interrupt| interrupt.active.into()),
            0x400..0x800 => each(&|interrupt| interrupt.priority.into()),
            0xc00..0xd00 => each(&|interrupt| u32::from(interrupt.edge) << 1),
            // Groups: every interrupt is in group 1, which non-secure software reads as zeroes.
            _ => 0,
        };
        part(word.into(), offset % 4, size)
    }

    fn write_interrupts(&mut self, vcpu: usize, offset: u64, size: u64, value: u64) -> Concerned {
        let Some((first, _)) = self.by_interrupt(offset & !3) else { return Vec::new() };
        let value = value as u32;
        match offset & 0xf80 {
            0x100 if size == 4 => self.write_bits(vcpu, first, value, Bits::Enable, true),
            0x180 if size == 4 => self.write_bits(vcpu, first, value, Bits::Enable, false),
            0x200 if size == 4 => self.write_bits(vcpu, first, value, Bits::Pending, true),
            0x280 if size == 4 => self.write_bits(vcpu, first, value, Bits::Pending, false),
            0x300 if size == 4 => self.write_bits(vcpu, first, value, Bits::Active, true),
            0x380 if size == 4 => self.write_bits(vcpu, first, value, Bits::Active, false),
            0x400..0x800 if size <= 4 => {
                for byte in 0..size as usize {
                    let number = first + (offset % 4) as usize + byte;
                    if let Some(interrupt) = self.get_mut(vcpu, number) {
                        // Five bits, as the hardware's virtual interface has at least.
                        interrupt.priority = (value >> (byte * 8)) as u8 & 0xf8;
                    }
                }
                Vec::new()
            }
            0xc00..0xd00 if size == 4 && first >= 16 => {
                for index in 0..16 {
                    let Some(interrupt) = self.get_mut(vcpu, first + index) else { break };
                    interrupt.edge = value >> (index * 2 + 1) & 1 != 0;
                    // What the guest says of its device's interrupt is so; it may change only while it is disabled.
                    if let Some(physical) = interrupt.hardware.filter(|&physical| physical >= 32 && !interrupt.enabled)
                    {
                        gic::set_edge(physical.into(), interrupt.edge);
                    }
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn write_bits(&mut self, vcpu: usize, first: usize, mask: u32, bits: Bits, on: bool) -> Concerned {
        let numbers: Vec<usize> = (0..32).filter(|bit| mask >> bit & 1 != 0).map(|bit| first + bit).collect();
        let mut found = Vec::new();
        for number in numbers {
            let Some(interrupt) = self.get_mut(vcpu, number) else { continue };
            let physical = interrupt.hardware.map(u32::from).filter(|&physical| physical >= 32);
            match bits {
                Bits::Enable => {
                    if interrupt.enabled != on {
                        interrupt.enabled = on;
                        physical.into_iter().for_each(|physical| gic::enable(physical, on));
                    }
                }
                Bits::Pending => match physical {
                    Some(physical) if on => gic::set_pending(physical, true),
                    Some(physical) => {
                        gic::set_pending(physical, false);
                        if core::mem::take(&mut interrupt.latched) {
                            gic::set_active(physical, false);
                        }
                    }
                    None => interrupt.latched = on,
                },
                Bits::Active => {
                    if let Some(physical) = physical.filter(|_| interrupt.active != on && !interrupt.latched) {
                        gic::set_active(physical, on);
                    }
                    interrupt.active = on;
                }
            }
            found.push(number);
        }
        concerned(found.into_iter().filter_map(|number| self.update(vcpu, number)))
    }
}

/// Returns each once.
fn concerned(vcpus: impl Iterator<Item = usize>) -> Concerned {
    let mut list: Vec<usize> = vcpus.collect();
    list.sort_unstable();
    list.dedup();
    list
}

/// Returns the bytes of a register that an access reads.
fn part(value: u64, offset: u64, size: u64) -> u64 {
    let value = value >> (offset * 8);
    if size >= 8 { value } else { value & ((1 << (size * 8)) - 1) }
}

/// Returns a register with the bytes replaced that an access writes.
fn merge(old: u64, offset: u64, size: u64, value: u64) -> u64 {
    if size >= 8 {
        return value;
    }
    let mask = ((1u64 << (size * 8)) - 1) << (offset * 8);
    old & !mask | value << (offset * 8) & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vgic() -> Vgic {
        Vgic::new(64, &[0, 1, 0x100], 16)
    }

    #[test]
    fn it_says_what_it_is() {
        let vgic = vgic();
        assert_eq!(vgic.read_distributor(0xffe8, 4) >> 4 & 15, 3);
        assert_eq!(vgic.read_distributor(4, 4), 15 << 19 | 2 << 5 | 2);
        assert_eq!(vgic.read_redistributor(1, 8, 8), 1 << 32 | 1 << 8);
        assert_eq!(vgic.read_redistributor(2, 8, 8), 0x100 << 32 | 2 << 8 | 1 << 4);
        assert_eq!(vgic.read_redistributor(2, 12, 4), 0x100);
        assert_eq!(vgic.read_redistributor(0, 0xffe8, 4), 0x30);
    }

    #[test]
    fn enables_set_and_clear() {
        let mut vgic = vgic();
        vgic.write_distributor(0x104, 4, 0b110);
        vgic.write_distributor(0x184, 4, 0b010);
        assert_eq!(vgic.read_distributor(0x104, 4), 0b100);
        assert_eq!(vgic.read_distributor(0x100, 4), 0, "private ones stand in the redistributors");
    }

    #[test]
    fn priorities_are_bytes_or_words() {
        let mut vgic = vgic();
        vgic.write_distributor(0x420, 4, 0x10ff_20a3);
        vgic.write_distributor(0x421, 1, 0x48);
        assert_eq!(vgic.read_distributor(0x420, 4), 0x10f8_48a0);
        assert_eq!(vgic.read_distributor(0x421, 1), 0x48);
    }

    #[test]
    fn routes_have_halves() {
        let mut vgic = vgic();
        vgic.write_distributor(0x6100, 4, 0x100);
        vgic.write_distributor(0x6104, 4, 0);
        assert_eq!(vgic.read_distributor(0x6100, 8), 0x100);
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in proptest::collection::vec((any::<bool>(), 0u64..0x2_0000, 0u32..4, any::<u64>()), 0..300)) {
            let mut vgic = vgic();
            for (write, offset, size, value) in accesses {
                let size = 1 << size;
                let offset = offset & !(size - 1);
                if write {
                    if offset < 0x1_0000 { vgic.write_distributor(offset, size, value); }
                    vgic.write_redistributor(1, offset, size, value);
                } else {
                    if offset < 0x1_0000 { vgic.read_distributor(offset, size); }
                    vgic.read_redistributor(2, offset, size);
                }
                vgic.flush(1, 4, |_, _| {});
                vgic.sync(1, |_| (true, false));
            }
        }
    }
}
