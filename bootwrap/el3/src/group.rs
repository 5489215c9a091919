//! Which registers of an interrupt controller put an interrupt into a group, as its ID registers tell. It writes none of them.

/// A write of one register: its offset in its block, and the value.
pub type Write = (u64, u32);

const GICD_IGROUPR: u64 = 0x0080;
const GICD_IGRPMODR: u64 = 0x0d00;
/// `GICD_IGROUPR<n>E` and `GICD_IGRPMODR<n>E` (IHI 0069, 12.9): the extended shared interrupts of GICv3.1.
const GICD_IGROUPR_EXTENDED: u64 = 0x1000;
const GICD_IGRPMODR_EXTENDED: u64 = 0x3400;
/// GICR_IGROUPR0 and GICR_IGRPMODR0, in the second frame; those of the extended private interrupts follow directly.
const GICR_IGROUPR: u64 = 0x1_0080;
const GICR_IGRPMODR: u64 = 0x1_0d00;

/// GICD_TYPER.ESPI: there are extended shared interrupts, and ESPI_range says how many.
const GICD_TYPER_ESPI: u32 = 1 << 8;
/// GICR_TYPER.PPInum counts blocks of 32 extended private interrupts; more than two are not defined.
const EXTENDED_PRIVATE_MAX: u32 = 2;

/// Returns the writes to the distributor that hand the shared interrupts to the non-secure world, of a GICv2 or 3 whose GICD_TYPER
/// reads `typer`. Register 0 is each CPU's own.
pub fn shared(version: u32, typer: u32) -> impl Iterator<Item = Write> {
    // ITLinesNumber and ESPI_range are one less than the number of registers.
    let last = typer & 0x1f;
    let extended = if version == 3 && typer & GICD_TYPER_ESPI != 0 { (typer >> 27) + 1 } else { 0 };
    let group_one = |group: u64, modifier: u64| {
        move |register: u32| {
            let offset = 4 * u64::from(register);
            // Only GICv3 has modifiers: Group 1 is non-secure where they are 0.
            core::iter::once((group + offset, !0)).chain((version == 3).then_some((modifier + offset, 0)))
        }
    };
    (1..=last)
        .flat_map(group_one(GICD_IGROUPR, GICD_IGRPMODR))
        .chain((0..extended).flat_map(group_one(GICD_IGROUPR_EXTENDED, GICD_IGRPMODR_EXTENDED)))
}

/// Returns the same of a GICv3's redistributor, for one CPU's own interrupts; `typer` is the lower word of GICR_TYPER.
pub fn private(typer: u32) -> impl Iterator<Item = Write> {
    // A reserved number promises nothing.
    let extended = Some(typer >> 27).filter(|&blocks| blocks <= EXTENDED_PRIVATE_MAX).unwrap_or(0);
    (0..=extended).flat_map(|register| {
        let offset = 4 * u64::from(register);
        [(GICR_IGROUPR + offset, !0), (GICR_IGRPMODR + offset, 0)]
    })
}
