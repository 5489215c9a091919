//! What a guest's CPU is after an exception to EL1 (DDI 0487, J1.1.2, AArch64.TakeException).

/// PSTATE: flags, data-independent timing, PAN, SSBS.
const NZCV: u64 = 0xf << 28;
const DIT: u64 = 1 << 24;
const PAN: u64 = 1 << 22;
const SSBS: u64 = 1 << 12;
const AARCH32: u64 = 1 << 4;
/// EL1 with its own stack pointer, everything masked.
const EL1H: u64 = 0x3c5;
/// SCTLR_EL1: an exception leaves PAN alone; what it makes SSBS.
const SPAN: u64 = 1 << 23;
const DSSBS: u64 = 1 << 44;

/// What of it the CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Privileged access never.
    pub pan: bool,
    /// Speculative store bypassing is safe, or not.
    pub ssbs: bool,
}

impl Features {
    /// Reads ID_AA64MMFR1_EL1 and ID_AA64PFR1_EL1.
    pub fn read(mmfr1: u64, pfr1: u64) -> Features {
        Features { pan: mmfr1 >> 20 & 15 != 0, ssbs: pfr1 >> 4 & 15 != 0 }
    }
}

/// Returns PSTATE after an exception to EL1, and how far behind VBAR_EL1 it is entered if it is synchronous.
pub fn enter(pstate: u64, sctlr: u64, features: Features) -> (u64, u64) {
    let vector = match pstate & 15 {
        4 => 0,     // EL1t
        5 => 0x200, // EL1h
        _ if pstate & AARCH32 == 0 => 0x400,
        _ => 0x600,
    };
    // In AArch32 the bit that means DIT means something else.
    let mut after = EL1H | pstate & if pstate & AARCH32 == 0 { NZCV | DIT } else { NZCV };
    if features.pan {
        after |= if sctlr & SPAN != 0 { pstate & PAN } else { PAN };
    }
    if features.ssbs && sctlr & DSSBS != 0 {
        after |= SSBS;
    }
    (after, vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Features = Features { pan: true, ssbs: true };

    #[test]
    fn an_exception_goes_to_the_vector_of_where_it_came_from() {
        for (pstate, vector) in [(0x3c4, 0), (0x5, 0x200), (0, 0x400), (0x10, 0x600), (0x6000_0030, 0x600)] {
            assert_eq!(enter(pstate, SPAN, ALL), (EL1H | pstate & NZCV, vector), "{pstate:#x}");
        }
    }

    #[test]
    fn it_changes_what_the_manual_says_and_nothing_else() {
        let after = |pstate, sctlr| enter(pstate, sctlr, ALL).0;
        // BTYPE, SSBS, IL, SS and UAO end with it; flags and DIT stay.
        let before = NZCV | DIT | 1 << 23 | 1 << 21 | 1 << 20 | SSBS | 3 << 10;
        assert_eq!(after(before, SPAN), NZCV | DIT | EL1H);
        assert_eq!(after(0, 0), EL1H | PAN);
        assert_eq!(after(PAN, SPAN), EL1H | PAN);
        assert_eq!(after(0, SPAN | DSSBS), EL1H | SSBS);
        assert_eq!(after(0x10 | DIT, SPAN), EL1H);
        assert_eq!(enter(PAN | SSBS, DSSBS, Features { pan: false, ssbs: false }).0, EL1H, "bits that there are not");
    }

    #[test]
    fn features_are_where_the_manual_has_them() {
        assert_eq!(Features::read(0x30_0000, 0x20), ALL);
        assert_eq!(Features::read(!0xf0_0000, !0xf0), Features { pan: false, ssbs: false });
    }
}
