//! What a GICv3 has of its own (IHI 0069): redistributors, system registers, routing by affinity.
#![expect(unsafe_code, reason = "interrupt controller registers")]

use super::super::mmio::Region;
use super::super::registers::{instruction, read, write};
use super::super::smp;
use super::{Controller, InterruptInterface, KICK, ListRegister, Once, distributor, hcr, reset_shared, reset_word_at};
use crate::arch::{CPUS_MAX, Maintenance};

const IROUTER: u64 = 0x6000;
/// PIDR2 of the distributor, whose bits 7 to 4 are the architecture's version.
const PIDR2: u64 = 0xffe8;
/// A write to the distributor is not seen everywhere yet.
const RWP: u32 = 1 << 31;
/// Affinity routing and group 1, in either security model.
const ENABLE: u32 = 1 << 4 | 1 << 1;

mod redistributor {
    pub const CTLR: u64 = 0;
    pub const TYPER: u64 = 8;
    pub const WAKER: u64 = 0x14;
    pub const WAKER_SLEEP: u32 = 1 << 1;
    pub const WAKER_ASLEEP: u32 = 1 << 2;
    pub const LAST: u64 = 1 << 4;
    pub const VLPIS: u64 = 1 << 1;
    pub const RWP: u32 = 1 << 3;
    /// Offset of the frame that holds SGIs and PPIs.
    pub const SGI: u64 = 0x1_0000;
}

struct Redistributors {
    distributor: Region,
    priority_bits: u32,
    /// As they come in their regions: `start_cpu` looks its own up.
    all: [Option<(Region, u64)>; CPUS_MAX],
}

static REDISTRIBUTORS: Once<Redistributors> = Once::new();
static OWN: [Once<(Region, u64)>; CPUS_MAX] = [const { Once::new() }; CPUS_MAX];

fn redistributors() -> &'static Redistributors {
    REDISTRIBUTORS.get().expect("the interrupt controller is not started")
}

pub fn start(place: (u64, u64), regions: &[(u64, u64)], stride: Option<u64>) -> Result<Controller, &'static str> {
    if place.1 < 0x1_0000 {
        return Err("the GICv3's distributor is too small");
    }
    let distributor = Region::map(place.0, 0x1_0000);
    if distributor.read32(PIDR2) >> 4 & 15 < 3 {
        return Err("the distributor is no GICv3");
    }
    distributor.write32(distributor::CTLR, 0);
    let wait = || while distributor.read32(distributor::CTLR) & RWP != 0 {};
    wait();
    let interrupts = reset_shared(distributor, u32::MAX);
    wait();
    distributor.write32(distributor::CTLR, ENABLE);
    wait();
    let own = smp::own_affinity();
    (32..u64::from(interrupts)).for_each(|interrupt| distributor.write64(IROUTER + interrupt * 8, own));
    let vtr = read!("ich_vtr_el2");
    let all = find(regions, stride);
    REDISTRIBUTORS.set(Redistributors { distributor, priority_bits: (vtr >> 29 & 7) as u32 + 1, all });
    Ok(Controller { distributor, interrupts, list_registers: (vtr & 31) as usize + 1, v3: true })
}

/// Returns the redistributors of all regions.
fn find(regions: &[(u64, u64)], stride: Option<u64>) -> [Option<(Region, u64)>; CPUS_MAX] {
    let mut found = [None; CPUS_MAX];
    let mut count = 0;
    for &(address, size) in regions {
        let region = Region::map(address, size);
        let mut offset = 0;
        while offset + 0x2_0000 <= size && count < CPUS_MAX {
            let kind = region.read64(offset + redistributor::TYPER);
            found[count] = Some((region, offset));
            count += 1;
            let own = if kind & redistributor::VLPIS != 0 { 0x4_0000 } else { 0x2_0000 };
            offset += stride.filter(|&stride| stride >= 0x2_0000).unwrap_or(own);
            if kind & redistributor::LAST != 0 {
                break;
            }
        }
    }
    found
}

/// Returns the redistributor of the CPU that calls, from those that were found.
fn find_own() -> Option<(Region, u64)> {
    let packed = smp::own_affinity();
    let wanted = packed >> 32 << 24 | packed & 0xff_ffff;
    let mut all = redistributors().all.iter().flatten();
    all.find(|(region, offset)| region.read64(offset + redistributor::TYPER) >> 32 == wanted).copied()
}

fn own() -> (Region, u64) {
    *OWN[super::super::cpu()].get().expect("no redistributor")
}

/// Returns where the registers of the calling CPU's SGIs and PPIs are.
pub fn private() -> (Region, u64) {
    let (region, offset) = own();
    (region, offset + redistributor::SGI)
}

/// Waits until what was written about an interrupt is seen everywhere.
pub fn wait(interrupt: u32) {
    if interrupt < 32 {
        let (region, offset) = own();
        while region.read32(offset + redistributor::CTLR) & redistributor::RWP != 0 {}
    } else {
        let region = redistributors().distributor;
        while region.read32(distributor::CTLR) & RWP != 0 {}
    }
}

pub fn start_cpu() -> Result<(), &'static str> {
    use redistributor::*;
    let (region, offset) = find_own().ok_or("no redistributor for this CPU")?;
    region.write32(offset + WAKER, region.read32(offset + WAKER) & !WAKER_SLEEP);
    while region.read32(offset + WAKER) & WAKER_ASLEEP != 0 {}
    reset_word_at(region, offset + SGI, 0, u32::MAX);
    while region.read32(offset + CTLR) & RWP != 0 {}
    // System register interface, for EL1 too.
    write!("icc_sre_el2", read!("icc_sre_el2") | 0b1111);
    instruction!("isb");
    if read!("icc_sre_el2") & 1 == 0 {
        return Err("the system register interface is locked by the firmware");
    }
    OWN[super::super::cpu()].set((region, offset));
    write!("icc_sre_el1", 0b111);
    write!("icc_pmr_el1", 0xff);
    write!("icc_bpr1_el1", 0);
    write!("icc_ctlr_el1", 1 << 1); // EOImode: priority drop and deactivation are separate
    write!("icc_igrpen1_el1", 1);
    write_control(hcr::value(Maintenance::default()));
    (0..(read!("ich_vtr_el2") & 31) as usize + 1).for_each(|index| write_list(index, None));
    instruction!("isb");
    Ok(())
}

pub fn acknowledge() -> u32 {
    read!("icc_iar1_el1") as u32
}

pub fn drop_priority(taken: u32) {
    write!("icc_eoir1_el1", u64::from(taken));
    instruction!("isb");
}

pub fn deactivate(taken: u32) {
    write!("icc_dir_el1", u64::from(taken));
    instruction!("isb");
}

pub fn route(interrupt: u32, cpu: usize) {
    redistributors().distributor.write64(IROUTER + u64::from(interrupt) * 8, smp::affinity(cpu));
}

pub fn kick(cpu: usize) {
    let affinity = smp::affinity(cpu);
    let (a0, a1, a2, a3) = (affinity & 0xff, affinity >> 8 & 0xff, affinity >> 16 & 0xff, affinity >> 32 & 0xff);
    let value = a3 << 48 | (a0 >> 4) << 44 | a2 << 32 | u64::from(KICK) << 24 | a1 << 16 | 1 << (a0 & 15);
    write!("icc_sgi1r_el1", value);
    instruction!("isb");
}

macro_rules! list_register {
    ($act:ident, $index:expr $(, $value:expr)?) => {
        match $index {
            0 => $act!("ich_lr0_el2" $(, $value)?),
            1 => $act!("ich_lr1_el2" $(, $value)?),
            2 => $act!("ich_lr2_el2" $(, $value)?),
            3 => $act!("ich_lr3_el2" $(, $value)?),
            4 => $act!("ich_lr4_el2" $(, $value)?),
            5 => $act!("ich_lr5_el2" $(, $value)?),
            6 => $act!("ich_lr6_el2" $(, $value)?),
            7 => $act!("ich_lr7_el2" $(, $value)?),
            8 => $act!("ich_lr8_el2" $(, $value)?),
            9 => $act!("ich_lr9_el2" $(, $value)?),
            10 => $act!("ich_lr10_el2" $(, $value)?),
            11 => $act!("ich_lr11_el2" $(, $value)?),
            12 => $act!("ich_lr12_el2" $(, $value)?),
            13 => $act!("ich_lr13_el2" $(, $value)?),
            14 => $act!("ich_lr14_el2" $(, $value)?),
            15 => $act!("ich_lr15_el2" $(, $value)?),
            _ => unreachable!("list register {}", $index),
        }
    };
}

pub fn write_list(index: usize, content: Option<ListRegister>) {
    let value = content.map_or(0, |list| {
        u64::from(list.pending) << 62
            | u64::from(list.active) << 63
            | u64::from(list.group1) << 60
            | u64::from(list.priority) << 48
            | list.physical.map_or(u64::from(list.notify) << 41, |physical| 1 << 61 | u64::from(physical) << 32)
            | u64::from(list.intid)
    });
    list_register!(write, index, value);
}

pub fn read_list(index: usize) -> (bool, bool) {
    let value = list_register!(read, index);
    (value >> 62 & 1 != 0, value >> 63 != 0)
}

pub fn read_control() -> u32 {
    read!("ich_hcr_el2") as u32
}

pub fn write_control(value: u32) {
    write!("ich_hcr_el2", value.into());
}

/// Returns the bit of ICH_HCR_EL2 that makes deactivations trap, if this CPU has it (ICH_VTR_EL2.TDS).
pub fn trap_deactivation() -> u32 {
    if read!("ich_vtr_el2") >> 19 & 1 != 0 { hcr::TRAP_DEACTIVATION } else { 0 }
}

/// Returns the guest's control bits, and its priority mask.
pub fn gate() -> (u32, u8) {
    let control = read!("ich_vmcr_el2");
    (control as u32, (control >> 24) as u8)
}

macro_rules! active_priorities {
    ($act:ident, $bits:expr, $values:expr) => {
        active_priorities!(one $act, $values, 0, "ich_ap0r0_el2", "ich_ap1r0_el2");
        if $bits >= 6 {
            active_priorities!(one $act, $values, 1, "ich_ap0r1_el2", "ich_ap1r1_el2");
        }
        if $bits >= 7 {
            active_priorities!(one $act, $values, 2, "ich_ap0r2_el2", "ich_ap1r2_el2");
            active_priorities!(one $act, $values, 3, "ich_ap0r3_el2", "ich_ap1r3_el2");
        }
    };
    (one read, $values:expr, $index:literal, $group0:literal, $group1:literal) => {
        $values[0][$index] = read!($group0) as u32;
        $values[1][$index] = read!($group1) as u32;
    };
    (one write, $values:expr, $index:literal, $group0:literal, $group1:literal) => {
        write!($group0, u64::from($values[0][$index]));
        write!($group1, u64::from($values[1][$index]));
    };
}

pub fn save_interface() -> InterruptInterface {
    let mut active = [[0; 4]; 2];
    active_priorities!(read, redistributors().priority_bits, active);
    InterruptInterface { control: read!("ich_vmcr_el2"), active }
}

pub fn load_interface(interface: &InterruptInterface) {
    write!("ich_vmcr_el2", interface.control);
    active_priorities!(write, redistributors().priority_bits, interface.active);
    write!("icc_sre_el1", 0b111);
    instruction!("isb");
}
