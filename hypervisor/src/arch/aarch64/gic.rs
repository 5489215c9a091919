//! The physical interrupt controller, GICv2 (IHI 0048) or GICv3 (IHI 0069), and its interface to guests.
//!
//! EL2 splits the end of an interrupt: it drops the priority at once, and what belongs to a guest is deactivated when that guest
//! deactivates its virtual interrupt. What both versions have in common, which is most of the distributor, stands here.
#![expect(unsafe_code, reason = "interrupt controller registers")]

mod v2;
mod v3;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::lock::{Lock, Once};
use super::mmio::Region;
use super::registers::instruction;
use crate::arch::{Gate, GicPlace, InterruptInterface, ListRegister, Maintenance};

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
    /// Four interrupts of the priority that all physical ones have.
    pub const PRIORITIES: u32 = 0xa0a0_a0a0;
}

/// Fields of GICH_HCR and ICH_HCR_EL2, which are the same.
mod hcr {
    use crate::arch::Maintenance;

    const ENABLE: u32 = 1 << 0;
    const NOT_LISTED: u32 = 1 << 2;
    const NONE_PENDING: u32 = 1 << 3;
    const COUNT_SHIFT: u32 = 27;
    /// ICH_HCR_EL2 alone: the guest's writes of ICC_DIR_EL1 trap.
    pub const TRAP_DEACTIVATION: u32 = 1 << 14;

    /// Returns the register's value that asks for `wanted`, with no end counted.
    pub fn value(wanted: Maintenance) -> u32 {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        ENABLE | bit(wanted.none_pending, NONE_PENDING) | bit(wanted.not_listed, NOT_LISTED)
    }

    /// Returns the value that asks for nothing: with the virtual interface off (IHI 0048, 5.3.1). The count stays.
    pub fn silent(value: u32) -> u32 {
        value & 31 << COUNT_SHIFT
    }

    /// Returns how many ends were counted of interrupts that are in no list register.
    pub fn count(value: u32) -> u32 {
        value >> COUNT_SHIFT
    }
}

/// An interrupt that the CPU which calls has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken(u32);

impl Taken {
    /// Returns its number. (A GICv2 says in the other bits who sent an SGI, and wants them back.)
    pub fn interrupt(self) -> u32 {
        self.0 & 0xff_ffff & if is_v3() { u32::MAX } else { 0x3ff }
    }
}

/// What both versions have.
struct Controller {
    distributor: Region,
    /// Interrupts, all kinds.
    interrupts: u32,
    list_registers: usize,
    v3: bool,
}

static CONTROLLER: Once<Controller> = Once::new();
/// Whether the pending registers show the level of an interrupt that is one. They have to (IHI 0048, 4.3.7; IHI 0069, GICD_ISPENDR),
/// but QEMU's GICv3 shows the latch alone.
static LEVELS_SHOW: AtomicBool = AtomicBool::new(false);

fn controller() -> &'static Controller {
    CONTROLLER.get().expect("the interrupt controller is not started")
}

fn is_v3() -> bool {
    controller().v3
}

/// Calls the function of the version that this machine has.
macro_rules! either {
    ($call:ident($($argument:expr),*)) => { if is_v3() { v3::$call($($argument),*) } else { v2::$call($($argument),*) } };
}

/// Takes the controller: every SPI disabled, a level, sent to the CPU that calls.
///
/// # Errors
/// What does not look like such a controller.
pub fn start(place: &GicPlace<'_>) -> Result<(), &'static str> {
    let controller = match *place {
        GicPlace::V2 { distributor, interface, control } => v2::start(distributor, interface, control)?,
        GicPlace::V3 { distributor, redistributors, stride } => v3::start(distributor, redistributors, stride)?,
    };
    CONTROLLER.set(controller);
    Ok(())
}

/// Puts the SPIs of a distributor into a known state; `group` is that of all interrupts.
fn reset_shared(distributor: Region, group: u32) -> u32 {
    use distributor::*;
    let interrupts = (((distributor.read32(TYPER) & 31) + 1) * 32).min(SPECIAL);
    for word in 1..u64::from(interrupts.div_ceil(32)) {
        reset_word(distributor, word, group);
        (0..2).for_each(|part| distributor.write32(ICFGR + word * 8 + part * 4, 0));
    }
    interrupts
}

/// Puts 32 interrupts into a known state, but for what raises them.
fn reset_word(region: Region, word: u64, group: u32) {
    reset_word_at(region, 0, word, group);
}

fn reset_word_at(region: Region, offset: u64, word: u64, group: u32) {
    use distributor::*;
    for register in [ICENABLER, ICPENDR, ICACTIVER] {
        region.write32(offset + register + word * 4, u32::MAX);
    }
    region.write32(offset + IGROUPR + word * 4, group);
    (0..8).for_each(|part| region.write32(offset + IPRIORITYR + word * 32 + part * 4, PRIORITIES));
}

/// Prepares the interface of the CPU that calls; `private` are the PPIs that EL2 itself wants, `timer` EL2's own one among them.
///
/// # Errors
/// What is missing.
pub fn start_cpu(private: &[u32], timer: u32) -> Result<(), &'static str> {
    either!(start_cpu())?;
    probe_levels(timer);
    enable(KICK, true);
    private.iter().for_each(|&interrupt| enable(interrupt, true));
    Ok(())
}

/// Raises EL2's timer, which is not enabled yet, to see whether its level shows.
fn probe_levels(timer: u32) {
    super::timer::set_deadline(Some(0));
    instruction!("dsb sy");
    let shows = reads(distributor::ISPENDR, timer);
    super::timer::set_deadline(None);
    bit(distributor::ICPENDR, timer);
    LEVELS_SHOW.store(shows, Relaxed);
}

/// Returns the architecture's version: 2 or 3.
pub fn version() -> u8 {
    if is_v3() { 3 } else { 2 }
}

/// Returns how many interrupts there are, of all kinds.
pub fn interrupts() -> u32 {
    controller().interrupts
}

/// Returns how many bits interrupts' numbers have.
pub fn identifier_bits() -> u32 {
    if is_v3() { (controller().distributor.read32(distributor::TYPER) >> 19 & 31) + 1 } else { 10 }
}

/// Returns how many list registers there are.
pub fn list_registers() -> usize {
    controller().list_registers
}

/// Takes the most urgent interrupt.
pub fn acknowledge() -> Option<Taken> {
    let taken = Taken(either!(acknowledge()));
    instruction!("dsb sy");
    (taken.interrupt() < SPECIAL).then_some(taken)
}

/// Lets interrupts of the same priority come again; this one stays active.
pub fn drop_priority(taken: Taken) {
    either!(drop_priority(taken.0));
}

/// Ends an interrupt that is no guest's.
pub fn deactivate(taken: Taken) {
    either!(deactivate(taken.0));
}

/// Returns where an interrupt's registers are: those of SGIs and PPIs are each CPU's own.
fn frame(interrupt: u32) -> (Region, u64) {
    if interrupt < 32 && is_v3() { v3::private() } else { (controller().distributor, 0) }
}

/// Writes a bit to one of the registers that set or clear bits of interrupts.
fn bit(register: u64, interrupt: u32) {
    let (region, offset) = frame(interrupt);
    region.write32(offset + register + u64::from(interrupt / 32) * 4, 1 << (interrupt % 32));
    if is_v3() {
        v3::wait(interrupt);
    }
}

/// Reads an interrupt's bit.
fn reads(register: u64, interrupt: u32) -> bool {
    let (region, offset) = frame(interrupt);
    region.read32(offset + register + u64::from(interrupt / 32) * 4) >> (interrupt % 32) & 1 != 0
}

/// Enables or disables an interrupt; an SGI or PPI is the own one of the CPU that calls.
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

/// Whether an interrupt is pending, or pending again while it is active.
pub fn is_pending(interrupt: u32) -> bool {
    reads(distributor::ISPENDR, interrupt)
}

/// Whether an interrupt is enabled.
pub fn is_enabled(interrupt: u32) -> bool {
    reads(distributor::ISENABLER, interrupt)
}

/// Whether an interrupt is active.
pub fn is_active(interrupt: u32) -> bool {
    reads(distributor::ISACTIVER, interrupt)
}

/// Whether an interrupt that is a level, and active, has lost what raised it. Where the controller does not show that, it has not.
pub fn is_withdrawn(interrupt: u32) -> bool {
    LEVELS_SHOW.load(Relaxed) && !is_pending(interrupt)
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
    either!(route(interrupt, cpu));
}

/// Whether a guest's deactivation on the CPU that calls, by a list register, ends the SPI that CPU `taker` took. A GICv3 knows one
/// active state of an SPI. A GICv2 does too, but QEMU's has one for each CPU, of which the deactivation ends its own.
pub fn ends_here(taker: usize) -> bool {
    is_v3() || taker == super::cpu()
}

/// Whether a private level that a guest's deactivation ended, by a list register, is signalled again while it lasts. It has to be; but
/// QEMU's GICv2 looks at it when something else happens.
pub fn signals_again() -> bool {
    is_v3()
}

/// Makes another CPU leave its guest, or wake.
pub fn kick(cpu: usize) {
    instruction!("dsb ishst");
    either!(kick(cpu));
}

/// Fills a list register, or empties it.
pub fn write_list(index: usize, content: Option<ListRegister>) {
    either!(write_list(index, content));
}

/// Returns whether the interrupt in a list register is pending, and whether it is active.
pub fn read_list(index: usize) -> (bool, bool) {
    either!(read_list(index))
}

/// Says what the list registers shall ask attention for.
///
/// An end of what is in none of them is counted, but not which one it was. Where priority drop and deactivation are one, it is the most
/// urgent; where they are not, the guest may deactivate in any order, and its deactivation traps if it can (ICH_VTR_EL2.TDS). A GICv2's
/// GICV_DIR cannot, and shares its page with nothing that could be withheld alone; there the most urgent is taken to be meant.
pub fn set_maintenance(wanted: Maintenance) {
    let trap = if wanted.not_listed && is_v3() { v3::trap_deactivation() } else { 0 };
    either!(write_control(hcr::value(wanted) | trap));
}

/// Returns what of the loaded vCPU's interface decides on whether a pending interrupt is signalled to it (IHI 0069, ICH_VMCR_EL2; IHI
/// 0048, GICH_VMCR).
pub fn gate() -> Gate {
    let (control, mask) = either!(gate());
    Gate { mask, groups: [control & 1 != 0, control & 2 != 0] }
}

/// Whether priority drop and deactivation are apart in the loaded vCPU's interface (EOImode).
pub fn is_end_split() -> bool {
    either!(gate()).0 & 1 << 9 != 0
}

/// Lets the list registers ask for nothing, and show nothing, until [`set_maintenance`] or [`take_ends`]: one that was ended asks until
/// it is written.
pub fn silence() {
    either!(write_control(hcr::silent(either!(read_control()))));
}

/// Returns how many interrupts the guest ended that are in no list register; takes back what [`set_maintenance`] asked for.
pub fn take_ends() -> u32 {
    let value = either!(read_control());
    if value != hcr::value(Maintenance::default()) {
        set_maintenance(Maintenance::default());
    }
    hcr::count(value)
}

/// Returns the guest's interrupt interface as the hardware has it.
pub fn save_interface() -> InterruptInterface {
    either!(save_interface())
}

/// Gives the hardware a guest's interrupt interface.
pub fn load_interface(interface: &InterruptInterface) {
    either!(load_interface(interface));
}
