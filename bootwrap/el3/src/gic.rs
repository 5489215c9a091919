//! Hands all interrupts to the non-secure world: Group 1, in a GICv2 (IHI 0048) or GICv3 (IHI 0069).

use bootwrap_el3::group;
use bootwrap_el3::parameters::Parameters;

use crate::cpu;
use crate::registers::Registers;

const GICD_CTLR: u64 = 0x0000;
const GICD_TYPER: u64 = 0x0004;
const GICD_IGROUPR: u64 = 0x0080;

const GICD_CTLR_GROUPS_V2: u32 = 0b11;
/// EnableGrp0 and EnableGrp1NS.
const GICD_CTLR_GROUPS_V3: u32 = 0b11;
/// ARE_S and ARE_NS.
const GICD_CTLR_ARE: u32 = 0b11 << 4;
const GICD_CTLR_WRITE_PENDING: u32 = 1 << 31;

const GICC_CTLR: u64 = 0x0000;
const GICC_PMR: u64 = 0x0004;

const GICR_TYPER: u64 = 0x0008;
const GICR_TYPER_VIRTUAL_LPIS: u32 = 1 << 1;
const GICR_TYPER_LAST: u32 = 1 << 4;
const GICR_WAKER: u64 = 0x0014;
const GICR_WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
const GICR_WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
const GICR_FRAME_BYTES: u64 = 0x1_0000;

/// Sets up what the CPUs share. Errors are complaints to print.
pub fn distributor(board: &Parameters) -> Result<(), &'static str> {
    let system_registers = cpu::has_gic_system_registers();
    let gicd = Registers::at(board.gic_distributor);
    match board.gic_version {
        2 if system_registers => {
            return Err("bootwrap: the device tree says GICv2, the CPU says GICv3 (QEMU virt: gic-version=2)");
        }
        3 if !system_registers => {
            return Err("bootwrap: the device tree says GICv3, the CPU says GICv2 (QEMU virt: gic-version=3)");
        }
        2 => gicd.write(GICD_CTLR, 0),
        3 => {
            // Affinity routing may only change while all groups are off.
            gicd.write(GICD_CTLR, 0);
            wait_for_write(gicd);
            gicd.write(GICD_CTLR, GICD_CTLR_ARE);
            wait_for_write(gicd);
        }
        _ => return Ok(()),
    }
    for (register, value) in group::shared(board.gic_version, gicd.read(GICD_TYPER)) {
        gicd.write(register, value);
    }
    if board.gic_version == 3 {
        gicd.write(GICD_CTLR, GICD_CTLR_ARE | GICD_CTLR_GROUPS_V3);
        wait_for_write(gicd);
    } else {
        gicd.write(GICD_CTLR, GICD_CTLR_GROUPS_V2);
    }
    Ok(())
}

/// Sets up the calling CPU's own interrupts and interface. Errors are complaints to print.
pub fn own_interface(board: &Parameters, affinity: u64) -> Result<(), &'static str> {
    match board.gic_version {
        2 => {
            Registers::at(board.gic_distributor).write(GICD_IGROUPR, !0);
            let gicc = Registers::at(board.gic_cpu_interface);
            // The upper half of the priorities is all that the non-secure world can choose from, and only once the mask is there.
            gicc.write(GICC_PMR, 0xff);
            gicc.write(GICC_CTLR, 0);
        }
        3 => {
            let gicr = redistributor(board, affinity)
                .ok_or("bootwrap: a CPU has no GIC redistributor where the device tree says")?;
            gicr.write(GICR_WAKER, gicr.read(GICR_WAKER) & !GICR_WAKER_PROCESSOR_SLEEP);
            while gicr.read(GICR_WAKER) & GICR_WAKER_CHILDREN_ASLEEP != 0 {}
            for (register, value) in group::private(gicr.read(GICR_TYPER)) {
                gicr.write(register, value);
            }
            cpu::open_gic_system_registers();
        }
        _ => {}
    }
    Ok(())
}

/// Returns the redistributor whose GICR_TYPER names this CPU.
fn redistributor(board: &Parameters, affinity: u64) -> Option<Registers> {
    // GICR_TYPER.Affinity_Value packs the four fields that MPIDR_EL1 spreads.
    let packed = (affinity & 0xff_ffff | affinity >> 8 & 0xff00_0000) as u32;
    for region in board.redistributors.iter().take(board.redistributor_count as usize) {
        let mut offset = 0;
        while offset + 2 * GICR_FRAME_BYTES <= region.size_bytes {
            let gicr = Registers::at(region.start + offset);
            let kind = gicr.read(GICR_TYPER);
            if gicr.read(GICR_TYPER + 4) == packed {
                return Some(gicr);
            }
            if kind & GICR_TYPER_LAST != 0 {
                break;
            }
            offset += GICR_FRAME_BYTES * if kind & GICR_TYPER_VIRTUAL_LPIS != 0 { 4 } else { 2 };
        }
    }
    None
}

fn wait_for_write(gicd: Registers) {
    while gicd.read(GICD_CTLR) & GICD_CTLR_WRITE_PENDING != 0 {}
}
