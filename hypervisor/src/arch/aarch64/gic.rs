//! The physical interrupt controller, GICv3, and its interface to guests (IHI 0069).
//!
//! EL2 splits the end of an interrupt: it drops the priority at once, and what belongs to a guest is deactivated when that guest
//! deactivates its virtual interrupt.
#![expect(unsafe_code, reason = "interrupt controller registers")]

use super::lock::{Lock, Once};
use super::mmio::Region;
use super::registers::{instruction, read, write};
use super::smp;
use crate::arch::{CPUS_MAX, InterruptInterface, ListRegister};

/// First interrupt that is no interrupt.
const SPECIAL: u32 = 1020;
/// The SGI that makes a CPU look at what is new for it.
pub const KICK: u32 = 0;

mod distributor {
    pub const CTLR: u64 = 0;
    pub const TYPER: u64 = 4;
    pub const IGROUPR: u64 = 0x80;
    pub const ISENABLER: u64 = 0x100;
    pub const ICENABLER: u64 = 0x180;
    pub const ISPENDR: u64 = 0x200;
    pub const ICPENDR: u64 = 0x280;
    pub const ISACTIVER: u64 = 0x300;
    pub const ICACTIVER: u64 = 0x380;
    pub const IPRIORITYR: u64 = 0x400;
    pub const ICFGR: u64 = 0xc00;
    pub const IROUTER: u64 = 0x6000;
    pub const RWP: u32 = 1 << 31;
    /// Affinity routing and group 1, in either security model.
    pub const ENABLE: u32 = 1 << 4 | 1 << 1;
}

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

/// Where the controller is: distributor, and the regions of redistributors.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Address and size of the distributor.
    pub distributor: (u64, u64),
    /// Addresses and sizes of the regions of redistributors.
    pub redistributors: &'a [(u64, u64)],
    /// Distance of redistributors in a region, if it is not what their type says.
    pub stride: Option<u64>,
}

struct Controller {
    distributor: Region,
    /// Interrupts, all kinds.
    interrupts: u32,
    list_registers: usize,
    priority_bits: u32,
    /// Where each CPU's redistributor is.
    redistributors: Lock<[Option<(Region, u64)>; CPUS_MAX]>,
}

static CONTROLLER: Once<Controller> = Once::new();

fn controller() -> &'static Controller {
    CONTROLLER.get().expect("the interrupt controller is not started")
}

/// Takes the controller: every SPI disabled, in group 1, routed to the CPU that calls.
///
/// # Errors
/// What does not look like a GICv3.
pub fn start(place: &Place<'_>) -> Result<(), &'static str> {
    use distributor::*;
    let distributor = Region::map(place.distributor.0, place.distributor.1.min(0x1_0000));
    if distributor.read32(0xffe8) >> 4 & 15 < 3 {
        return Err("the distributor is no GICv3");
    }
    distributor.write32(CTLR, 0);
    let wait = || while distributor.read32(CTLR) & RWP != 0 {};
    wait();
    let interrupts = ((distributor.read32(TYPER) & 31) + 1) * 32;
    let interrupts = interrupts.min(SPECIAL);
    for word in 1..u64::from(interrupts.div_ceil(32)) {
        distributor.write32(ICENABLER + word * 4, u32::MAX);
        distributor.write32(ICPENDR + word * 4, u32::MAX);
        distributor.write32(ICACTIVER + word * 4, u32::MAX);
        distributor.write32(IGROUPR + word * 4, u32::MAX);
        (0..8).for_each(|part| distributor.write32(IPRIORITYR + word * 32 + part * 4, 0xa0a0_a0a0));
    }
    wait();
    distributor.write32(CTLR, ENABLE);
    wait();
    let own = smp::own_affinity();
    (32..u64::from(interrupts)).for_each(|interrupt| distributor.write64(IROUTER + interrupt * 8, own));
    let vtr = read!("ich_vtr_el2");
    let mut found = [None; CPUS_MAX];
    let mut count = 0;
    for &(address, size) in place.redistributors {
        let region = Region::map(address, size);
        let mut offset = 0;
        while offset + 0x2_0000 <= size && count < CPUS_MAX {
            let kind = region.read64(offset + redistributor::TYPER);
            found[count] = Some((region, offset));
            count += 1;
            let own = if kind & redistributor::VLPIS != 0 { 0x4_0000 } else { 0x2_0000 };
            offset += place.stride.filter(|&stride| stride >= 0x2_0000).unwrap_or(own);
            if kind & redistributor::LAST != 0 {
                break;
            }
        }
    }
    let mut sorted = [None; CPUS_MAX];
    // In the order of CPUs as they come: `start_cpu` looks its own up.
    sorted[..count].copy_from_slice(&found[..count]);
    CONTROLLER.set(Controller {
        distributor,
        interrupts,
        list_registers: (vtr & 31) as usize + 1,
        priority_bits: (vtr >> 29 & 7) as u32 + 1,
        redistributors: Lock::new(sorted),
    });
    Ok(())
}

/// Returns the redistributor of the CPU that calls, from those that were found.
fn find_own() -> Option<(Region, u64)> {
    let packed = smp::own_affinity();
    let wanted = packed >> 32 << 24 | packed & 0xff_ffff;
    let list = controller().redistributors.lock();
    list.iter().flatten().find(|(region, offset)| region.read64(offset + redistributor::TYPER) >> 32 == wanted).copied()
}

static OWN: [Once<(Region, u64)>; CPUS_MAX] = [const { Once::new() }; CPUS_MAX];

fn own() -> (Region, u64) {
    *OWN[super::cpu()].get().expect("no redistributor")
}

/// Prepares the interface of the CPU that calls; `private` are the PPIs that EL2 itself wants.
///
/// # Errors
/// What is missing.
pub fn start_cpu(private: &[u32]) -> Result<(), &'static str> {
    use redistributor::*;
    let (region, offset) = find_own().ok_or("no redistributor for this CPU")?;
    OWN[super::cpu()].set((region, offset));
    region.write32(offset + WAKER, region.read32(offset + WAKER) & !WAKER_SLEEP);
    while region.read32(offset + WAKER) & WAKER_ASLEEP != 0 {}
    let frame = offset + SGI;
    region.write32(frame + distributor::ICENABLER, u32::MAX);
    region.write32(frame + distributor::ICACTIVER, u32::MAX);
    region.write32(frame + distributor::ICPENDR, u32::MAX);
    region.write32(frame + distributor::IGROUPR, u32::MAX);
    (0..8).for_each(|part| region.write32(frame + distributor::IPRIORITYR + part * 4, 0xa0a0_a0a0));
    while region.read32(offset + CTLR) & RWP != 0 {}
    // System register interface, for EL1 too.
    write!("icc_sre_el2", read!("icc_sre_el2") | 0b1111);
    instruction!("isb");
    if read!("icc_sre_el2") & 1 == 0 {
        return Err("the system register interface is locked by the firmware");
    }
    write!("icc_sre_el1", 0b111);
    write!("icc_pmr_el1", 0xff);
    write!("icc_bpr1_el1", 0);
    write!("icc_ctlr_el1", 1 << 1); // EOImode: priority drop and deactivation are separate
    write!("icc_igrpen1_el1", 1);
    write!("ich_hcr_el2", 1);
    (0..list_registers()).for_each(|index| write_list(index, None));
    instruction!("isb");
    enable_private(KICK, true);
    private.iter().for_each(|&interrupt| enable_private(interrupt, true));
    Ok(())
}

/// Returns how many interrupts there are, of all kinds.
pub fn interrupts() -> u32 {
    controller().interrupts
}

/// Returns GICD_TYPER's field of implemented identifier bits.
pub fn identifier_bits() -> u32 {
    (controller().distributor.read32(distributor::TYPER) >> 19 & 31) + 1
}

/// Returns how many list registers there are.
pub fn list_registers() -> usize {
    controller().list_registers
}

/// Takes the most urgent interrupt.
pub fn acknowledge() -> Option<u32> {
    let interrupt = read!("icc_iar1_el1") as u32 & 0xff_ffff;
    instruction!("dsb sy");
    (interrupt < SPECIAL).then_some(interrupt)
}

/// Lets interrupts of the same priority come again; this one stays active.
pub fn drop_priority(interrupt: u32) {
    write!("icc_eoir1_el1", u64::from(interrupt));
    instruction!("isb");
}

/// Ends an interrupt that is no guest's.
pub fn deactivate(interrupt: u32) {
    write!("icc_dir_el1", u64::from(interrupt));
    instruction!("isb");
}

/// Writes a bit to one of the registers that set or clear bits of interrupts, wherever the interrupt is kept.
fn bit(register: u64, interrupt: u32) {
    let (word, mask) = (u64::from(interrupt / 32) * 4, 1 << (interrupt % 32));
    if interrupt < 32 {
        let (region, offset) = own();
        region.write32(offset + redistributor::SGI + register, mask);
        while region.read32(offset + redistributor::CTLR) & redistributor::RWP != 0 {}
    } else {
        let region = controller().distributor;
        region.write32(register + word, mask);
        while region.read32(distributor::CTLR) & distributor::RWP != 0 {}
    }
}

/// Enables or disables an SGI or PPI of the CPU that calls.
pub fn enable_private(interrupt: u32, enabled: bool) {
    bit(if enabled { distributor::ISENABLER } else { distributor::ICENABLER }, interrupt);
}

/// Enables or disables an SPI.
pub fn enable(interrupt: u32, enabled: bool) {
    bit(if enabled { distributor::ISENABLER } else { distributor::ICENABLER }, interrupt);
}

/// Makes an interrupt active or not, without the CPU interface.
pub fn set_active(interrupt: u32, active: bool) {
    bit(if active { distributor::ISACTIVER } else { distributor::ICACTIVER }, interrupt);
}

/// Makes an interrupt pending or not.
pub fn set_pending(interrupt: u32, pending: bool) {
    bit(if pending { distributor::ISPENDR } else { distributor::ICPENDR }, interrupt);
}

/// Says whether an SPI is an edge or a level. It must be disabled.
pub fn set_edge(interrupt: u32, edge: bool) {
    static ORDER: Lock<()> = Lock::new(());
    let _order = ORDER.lock();
    let region = controller().distributor;
    let (register, shift) = (distributor::ICFGR + u64::from(interrupt / 16) * 4, interrupt % 16 * 2 + 1);
    let others = region.read32(register) & !(1 << shift);
    region.write32(register, others | u32::from(edge) << shift);
}

/// Sends an SPI to a CPU.
pub fn route(interrupt: u32, cpu: usize) {
    controller().distributor.write64(distributor::IROUTER + u64::from(interrupt) * 8, smp::affinity(cpu));
}

/// Makes another CPU leave its guest, or wake.
pub fn kick(cpu: usize) {
    let affinity = smp::affinity(cpu);
    let (a0, a1, a2, a3) = (affinity & 0xff, affinity >> 8 & 0xff, affinity >> 16 & 0xff, affinity >> 32 & 0xff);
    let value = a3 << 48 | (a0 >> 4) << 44 | a2 << 32 | u64::from(KICK) << 24 | a1 << 16 | 1 << (a0 & 15);
    instruction!("dsb ishst");
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

/// Fills a list register, or empties it.
pub fn write_list(index: usize, content: Option<ListRegister>) {
    let value = content.map_or(0, |list| {
        u64::from(list.pending) << 62
            | u64::from(list.active) << 63
            | u64::from(list.group1) << 60
            | u64::from(list.priority) << 48
            | list.physical.map_or(0, |physical| 1 << 61 | u64::from(physical) << 32)
            | u64::from(list.intid)
    });
    list_register!(write, index, value);
}

/// Returns whether the interrupt in a list register is pending, and whether it is active.
pub fn read_list(index: usize) -> (bool, bool) {
    let value = list_register!(read, index);
    (value >> 62 & 1 != 0, value >> 63 != 0)
}

/// Asks for a maintenance interrupt when no list register is pending any more, or takes that back.
pub fn notify_when_empty(on: bool) {
    write!("ich_hcr_el2", 1 | u64::from(on) << 3);
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

/// Returns the guest's interrupt interface as the hardware has it.
pub fn save_interface() -> InterruptInterface {
    let mut active = [[0; 4]; 2];
    active_priorities!(read, controller().priority_bits, active);
    InterruptInterface { control: read!("ich_vmcr_el2"), active }
}

/// Gives the hardware a guest's interrupt interface.
pub fn load_interface(interface: &InterruptInterface) {
    write!("ich_vmcr_el2", interface.control);
    active_priorities!(write, controller().priority_bits, interface.active);
    write!("icc_sre_el1", 0b111);
    instruction!("isb");
}
