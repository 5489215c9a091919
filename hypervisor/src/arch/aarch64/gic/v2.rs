//! What a GICv2 has of its own (IHI 0048): the CPU interface, the virtual interface's control, and targets as bits.
//!
//! Bit 0 of GICD_CTLR and GICC_CTLR enables group 1 for who has only the non-secure view, and group 0 in a system of one security
//! state; so everything is in the group that this view has, and the same code serves both.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::super::mmio::Region;
use super::{Controller, InterruptInterface, KICK, ListRegister, Once, distributor, hcr, reset_shared, reset_word};
use crate::arch::{CPUS_MAX, Maintenance};

const ITARGETSR: u64 = 0x800;
const SGIR: u64 = 0xf00;

mod interface {
    pub const CTLR: u64 = 0;
    pub const PMR: u64 = 4;
    pub const BPR: u64 = 8;
    pub const IAR: u64 = 0xc;
    pub const EOIR: u64 = 0x10;
    pub const IIDR: u64 = 0xfc;
    pub const DIR: u64 = 0x1000;
    /// Bytes of the registers.
    pub const SIZE: u64 = 0x2000;
    /// Enabled; priority drop and deactivation are separate.
    pub const ENABLE: u32 = 1 << 9 | 1;
    /// Where the first page ends in a region of 128 KiB that shows each page 16 times: there both are side by side.
    pub const ALIASED: u64 = 0xf000;
}

mod control {
    pub const HCR: u64 = 0;
    pub const VTR: u64 = 4;
    pub const VMCR: u64 = 8;
    pub const APR: u64 = 0xf0;
    pub const LR: u64 = 0x100;
    /// Bytes of the registers.
    pub const SIZE: u64 = 0x200;
}

struct Interface {
    interface: Region,
    control: Region,
    distributor: Region,
}

static INTERFACE: Once<Interface> = Once::new();
/// The bit of each CPU in targets; 0 before it runs.
static TARGETS: [AtomicU8; CPUS_MAX] = [const { AtomicU8::new(0) }; CPUS_MAX];

fn own() -> &'static Interface {
    INTERFACE.get().expect("the interrupt controller is not started")
}

pub fn start(place: (u64, u64), cpu: (u64, u64), virtual_control: (u64, u64)) -> Result<Controller, &'static str> {
    if cpu.1 < interface::SIZE || virtual_control.1 < control::SIZE || place.1 < 0x1000 {
        return Err("the GICv2's registers are too few");
    }
    let distributor = Region::map(place.0, 0x1000);
    distributor.write32(distributor::CTLR, 0);
    let interrupts = reset_shared(distributor, 0);
    let own = own_target(distributor).ok_or("the first CPU is none of the GIC's")?;
    for word in 8..u64::from(interrupts.div_ceil(4)) {
        distributor.write32(ITARGETSR + word * 4, u32::from(own) * 0x0101_0101);
    }
    distributor.write32(distributor::CTLR, 1);
    let control = Region::map(virtual_control.0, control::SIZE);
    let list_registers = (control.read32(control::VTR) & 63) as usize + 1;
    INTERFACE.set(Interface { interface: map_interface(cpu), control, distributor });
    Ok(Controller { distributor, interrupts, list_registers, v3: false })
}

/// Maps GICC. Where the two pages are 64 KiB apart and each is shown 16 times, the second follows the first's last showing.
fn map_interface((address, size): (u64, u64)) -> Region {
    if size >= 0x2_0000 {
        let (first, aliased) =
            (Region::map(address, 0x1000), Region::map(address + interface::ALIASED, interface::SIZE));
        let identity = first.read32(interface::IIDR);
        if identity != 0 && aliased.read32(interface::IIDR) == identity {
            return aliased;
        }
    }
    Region::map(address, interface::SIZE)
}

/// Returns the bit of the CPU that calls: the targets of its private interrupts, which are itself. A GIC for one CPU has none.
fn own_target(distributor: Region) -> Option<u8> {
    let bits = (0..8).fold(0, |bits, word| bits | distributor.read32(ITARGETSR + word * 4));
    let target = (bits | bits >> 8 | bits >> 16 | bits >> 24) as u8;
    let cpus = distributor.read32(distributor::TYPER) >> 5 & 7;
    if target == 0 && cpus == 0 { Some(1) } else { target.is_power_of_two().then_some(target) }
}

pub fn start_cpu() -> Result<(), &'static str> {
    let Interface { interface, control, distributor } = own();
    let target = own_target(*distributor).ok_or("the GIC has no interface for this CPU")?;
    TARGETS[super::super::cpu()].store(target, Relaxed);
    reset_word(*distributor, 0, 0);
    interface.write32(interface::PMR, 0xff);
    interface.write32(interface::BPR, 0);
    interface.write32(interface::CTLR, interface::ENABLE);
    control.write32(control::HCR, hcr::value(Maintenance::default()));
    (0..(control.read32(control::VTR) & 63) as usize + 1).for_each(|index| write_list(index, None));
    Ok(())
}

pub fn acknowledge() -> u32 {
    own().interface.read32(interface::IAR)
}

pub fn drop_priority(taken: u32) {
    own().interface.write32(interface::EOIR, taken);
}

pub fn deactivate(taken: u32) {
    own().interface.write32(interface::DIR, taken);
}

pub fn route(interrupt: u32, cpu: usize) {
    let target = TARGETS[cpu].load(Relaxed);
    if target != 0 {
        own().distributor.write8(ITARGETSR + u64::from(interrupt), target);
    }
}

pub fn kick(cpu: usize) {
    let target = TARGETS[cpu].load(Relaxed);
    own().distributor.write32(SGIR, u32::from(target) << 16 | KICK);
}

pub fn write_list(index: usize, content: Option<ListRegister>) {
    let value = content.map_or(0, |list| {
        u32::from(list.intid)
            | list.physical.map_or(u32::from(list.source & 7) << 10 | u32::from(list.notify) << 19, |physical| {
                1 << 31 | u32::from(physical) << 10
            })
            | u32::from(list.priority >> 3) << 23
            | u32::from(list.pending) << 28
            | u32::from(list.active) << 29
            | u32::from(list.group1) << 30
    });
    own().control.write32(control::LR + index as u64 * 4, value);
}

pub fn read_list(index: usize) -> (bool, bool) {
    let value = own().control.read32(control::LR + index as u64 * 4);
    (value >> 28 & 1 != 0, value >> 29 & 1 != 0)
}

pub fn read_control() -> u32 {
    own().control.read32(control::HCR)
}

pub fn write_control(value: u32) {
    own().control.write32(control::HCR, value);
}

/// Returns the guest's control bits, and its priority mask, of which there are five bits.
pub fn gate() -> (u32, u8) {
    let control = own().control.read32(control::VMCR);
    (control, (control >> 27 << 3) as u8)
}

pub fn save_interface() -> InterruptInterface {
    let control = &own().control;
    let mut active = [[0; 4]; 2];
    active[0][0] = control.read32(control::APR);
    InterruptInterface { control: control.read32(control::VMCR).into(), active }
}

pub fn load_interface(interface: &InterruptInterface) {
    let control = &own().control;
    control.write32(control::VMCR, interface.control as u32);
    control.write32(control::APR, interface.active[0][0]);
}
