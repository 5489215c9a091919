//! What a guest's CPUs say they are: the machine's identification registers without what a guest cannot have.

use crate::device::vgic::Version;

/// S3_0_C0_Cm_n, m from 1 to 7, n from 0 to 7.
pub type Identification = [[u64; 8]; 8];

/// Which bits of a register a guest sees.
fn visible(m: usize, n: usize) -> u64 {
    // Fields are four bits each, named by their lowest.
    let without = |fields: &[u32]| fields.iter().fold(u64::MAX, |mask, field| mask & !(0xf << field));
    match (m, n) {
        // AArch32: performance monitors of ID_DFR0, RAS and activity monitors of ID_PFR0.
        (1, 0) => without(&[20, 28]),
        (1, 2) => without(&[24]),
        (1, _) | (2, _) => u64::MAX,
        (3, 0..=2) => u64::MAX,
        (3, 4..=6) => u64::MAX,
        // ID_AA64PFR0: RAS, SVE, MPAM, AMU, realms.
        (4, 0) => without(&[28, 32, 40, 44, 52]),
        // ID_AA64PFR1: BT and SSBS alone.
        (4, 1) => 0xff,
        // ID_AA64DFR0: trace, performance monitors, statistical profiling, self-hosted trace, trace buffer, branch records.
        (5, 0) => without(&[4, 8, 32, 40, 44, 48, 52, 60]),
        // ID_AA64ISAR0: transactions.
        (6, 0) => without(&[24]),
        // ID_AA64ISAR1: pointer authentication, 64-byte stores.
        (6, 1) => without(&[4, 8, 24, 28, 60]),
        // ID_AA64MMFR0: what concerns hypervisors, and the size of addresses, which `identification` sets.
        (7, 0) => without(&[0, 56, 60]),
        // ID_AA64MMFR1: limited ordering regions, and everything newer than enhanced translation synchronisation.
        (7, 1) => without(&[16, 40, 44, 48, 52, 56, 60]),
        // ID_AA64MMFR2: nested virtualisation.
        (7, 2) => without(&[24]),
        _ => 0,
    }
}

/// Returns what guests with physical addresses of `bits`, and an interrupt controller of that version, see of a machine that says `host`.
pub fn identification(host: &Identification, bits: u32, gic: Version) -> Identification {
    let mut guest: Identification = core::array::from_fn(|m| core::array::from_fn(|n| host[m][n] & visible(m, n)));
    let size = match bits {
        ..=35 => 0,
        36..=39 => 1,
        40..=41 => 2,
        42..=43 => 3,
        44..=47 => 4,
        _ => 5,
    };
    guest[7][0] |= size;
    // CSV2 2 would promise registers that trap.
    let csv2 = (guest[4][0] >> 56 & 0xf).min(1);
    guest[4][0] = guest[4][0] & !(0xf << 56) | csv2 << 56;
    // ID_AA64PFR0 and ID_PFR1: system registers of the interrupt controller, which a GICv2 has none of.
    if gic == Version::V2 {
        guest[4][0] &= !(0xf << 24);
        guest[1][1] &= !(0xf << 28);
    }
    guest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_sees_no_more_than_the_machine_has() {
        let guest = identification(&[[u64::MAX; 8]; 8], 48, Version::V3);
        assert_eq!(guest[4][0] >> 32 & 0xf, 0, "SVE");
        assert_eq!(guest[5][0] >> 8 & 0xf, 0, "performance monitors");
        assert_eq!(guest[7][0] & 0xf, 5);
        let guest = identification(&[[0; 8]; 8], 40, Version::V3);
        assert_eq!(identification(&[[u64::MAX; 8]; 8], 48, Version::V2)[4][0] >> 24 & 0xf, 0, "no ICC registers");
        assert_eq!(guest.iter().flatten().filter(|&&value| value != 0).count(), 1);
    }
}
