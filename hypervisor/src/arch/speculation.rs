//! What a CPU's speculation needs the firmware for: decided from what the CPU is and what the firmware says of it (DEN 0070; DEN 0028,
//! 7.4 to 7.6), and what guests are told of that.
//!
//! Workaround 1 keeps what one program taught the branch predictor from another; workaround 3 does the same for the history of branches;
//! workaround 2 keeps loads from passing stores.

use core::sync::atomic::{AtomicU8, Ordering::SeqCst};

/// SMCCC_ARCH_WORKAROUND_1.
pub const WORKAROUND_1: u32 = 0x8000_8000;
/// SMCCC_ARCH_WORKAROUND_2.
pub const WORKAROUND_2: u32 = 0x8000_7fff;
/// SMCCC_ARCH_WORKAROUND_3.
pub const WORKAROUND_3: u32 = 0x8000_3fff;

/// Answers of SMCCC_ARCH_FEATURES.
const NEEDED: i64 = 0;
const NOT_THIS_CPU: i64 = 1;
const NOT_SUPPORTED: i64 = -1;
const NOT_REQUIRED: i64 = -2;

/// Whether a CPU needs a workaround. Of several CPUs, the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Need {
    /// It does not.
    None = 0,
    /// It does, and the firmware has it.
    Call = 1,
    /// It may, and the firmware has not, or does not know.
    Open = 2,
}

/// What is known of a CPU.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// MIDR_EL1.
    pub midr: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64PFR1_EL1.
    pub pfr1: u64,
    /// What SMCCC_ARCH_FEATURES says of workarounds 1, 2 and 3 on this CPU; negative where there is nobody to ask.
    pub answers: [i64; 3],
}

/// What a CPU needs: workarounds 1, 2 and 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs(pub [Need; 3]);

/// Parts of Arm's own that speculate over no branch that others taught them, and let no load pass a store: Cortex-A35, A53, A55.
const IN_ORDER: [u64; 3] = [0xd04, 0xd03, 0xd05];

impl Needs {
    /// Decides. What the CPU says of itself comes first, for it is newer than any firmware.
    pub fn of(facts: &Facts) -> Needs {
        let in_order = facts.midr >> 24 & 0xff == 0x41 && IN_ORDER.contains(&(facts.midr >> 4 & 0xfff));
        let csv2 = facts.pfr0 >> 56 & 15;
        // With PSTATE.SSBS a program decides for itself, and exceptions to EL2 clear it.
        let ssbs = facts.pfr1 >> 4 & 15 != 0;
        let safe = [csv2 >= 1, ssbs, csv2 >= 3];
        Needs(core::array::from_fn(|index| match facts.answers[index] {
            _ if in_order || safe[index] => Need::None,
            NEEDED => Need::Call,
            NOT_THIS_CPU => Need::None,
            // Only of workaround 2 this means that no CPU needs it.
            NOT_REQUIRED if index == 1 => Need::None,
            _ => Need::Open,
        }))
    }

    /// Returns the call that forgets what a guest taught the branch predictor, if it has to be made whenever a guest is left.
    /// Workaround 3 does what 1 does, and more.
    pub fn on_exit(&self) -> Option<u32> {
        let [first, _, third] = self.0;
        match (first, third) {
            (_, Need::Call) => Some(WORKAROUND_3),
            (Need::Call, _) => Some(WORKAROUND_1),
            _ => None,
        }
    }

    /// Whether loads are to be kept from passing stores, for good: no guest is told that it may choose.
    pub fn holds_loads(&self) -> bool {
        self.0[1] == Need::Call
    }
}

/// What the neediest CPU needs: a guest may come to run on any.
static WORST: [AtomicU8; 3] = [const { AtomicU8::new(0) }; 3];

/// Notes what a CPU needs, before guests ask.
pub fn note(needs: &Needs) {
    needs.0.iter().zip(&WORST).for_each(|(&need, worst)| {
        worst.fetch_max(need as u8, SeqCst);
    });
}

/// Returns what a guest's SMCCC_ARCH_FEATURES says of a workaround, or `None` if `function` is none.
pub fn answer(function: u32) -> Option<i64> {
    let worst = core::array::from_fn(|index| match WORST[index].load(SeqCst) {
        0 => Need::None,
        1 => Need::Call,
        _ => Need::Open,
    });
    answer_for(worst, function)
}

fn answer_for([first, second, third]: [Need; 3], function: u32) -> Option<i64> {
    let predictor = |need| match need {
        Need::None => NOT_THIS_CPU,
        // A guest's call is an exit, and an exit does what it asks for.
        Need::Call => NEEDED,
        Need::Open => NOT_SUPPORTED,
    };
    match function {
        // Workaround 3, which is made on every exit then, does what 1 does.
        WORKAROUND_1 if third == Need::Call => Some(predictor(first.min(Need::Call))),
        WORKAROUND_1 => Some(predictor(first)),
        WORKAROUND_2 if second == Need::Open => Some(NOT_SUPPORTED),
        // Not needed, or on for good.
        WORKAROUND_2 => Some(NOT_REQUIRED),
        WORKAROUND_3 => Some(predictor(third)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Need::{Call, None as Safe, Open};
    use super::*;

    const A53: u64 = 0x410f_d034;
    const A57: u64 = 0x411f_d070;
    const A72: u64 = 0x410f_d083;
    /// It says CSV2 = 1; later ones of its kind 2 or 3.
    const A76: u64 = 0x411f_d0b0;
    const QEMU_MAX: u64 = 0x000f_0510;

    #[test]
    fn what_a_cpu_needs() {
        // MIDR, CSV2, SSBS, the firmware's answers; what is needed, and the call on exit.
        let table: [(u64, u64, u64, [i64; 3], [Need; 3], Option<u32>); 14] = [
            // In-order CPUs need nothing, whatever old firmware says.
            (A53, 0, 0, [-1, -1, -1], [Safe, Safe, Safe], None),
            (A53, 0, 0, [0, 0, 0], [Safe, Safe, Safe], None),
            // No firmware, or old firmware, helps nobody.
            (A57, 0, 0, [-1, -1, -1], [Open, Open, Open], None),
            (A72, 0, 0, [-1, -1, -1], [Open, Open, Open], None),
            // Firmware of 2018, and of 2022.
            (A57, 0, 0, [0, 0, -1], [Call, Call, Open], Some(WORKAROUND_1)),
            (A72, 0, 0, [0, 0, 0], [Call, Call, Call], Some(WORKAROUND_3)),
            // In a machine whose other CPUs need it: this one does not.
            (A72, 0, 0, [1, 1, 1], [Safe, Safe, Safe], None),
            (A57, 0, 0, [0, -2, -1], [Call, Safe, Open], Some(WORKAROUND_1)),
            // What a CPU says of itself comes first. Newer ones have histories all the same.
            (A76, 1, 1, [-1, -1, -1], [Safe, Safe, Open], None),
            (A76, 1, 0, [0, -2, 0], [Safe, Safe, Call], Some(WORKAROUND_3)),
            (A76, 3, 2, [-1, -1, -1], [Safe, Safe, Safe], None),
            (QEMU_MAX, 3, 2, [-1, -1, -1], [Safe, Safe, Safe], None),
            // Another maker's part of the same number is another.
            (0x510f_d034, 0, 0, [-1, -1, -1], [Open, Open, Open], None),
            // Answers that mean nothing are none. -2 is an answer of workaround 2 alone.
            (A72, 0, 0, [-2, 2, i64::MIN], [Open, Open, Open], None),
        ];
        for (midr, csv2, ssbs, answers, needs, call) in table {
            let found = Needs::of(&Facts { midr, pfr0: csv2 << 56, pfr1: ssbs << 4, answers });
            assert_eq!((found.0, found.on_exit()), (needs, call), "{midr:#x} {csv2} {ssbs} {answers:?}");
            assert_eq!(found.holds_loads(), needs[1] == Call);
        }
    }

    #[test]
    fn what_guests_are_told() {
        let told =
            |worst| [WORKAROUND_1, WORKAROUND_2, WORKAROUND_3].map(|function| answer_for(worst, function).unwrap());
        assert_eq!(told([Safe, Safe, Safe]), [1, -2, 1]);
        assert_eq!(told([Open, Open, Open]), [-1, -1, -1]);
        assert_eq!(told([Call, Call, Open]), [0, -2, -1]);
        assert_eq!(told([Call, Open, Call]), [0, -1, 0]);
        // Workaround 3 stands in for workaround 1.
        assert_eq!(told([Open, Safe, Call]), [0, -2, 0]);
        assert_eq!(told([Safe, Safe, Call]), [1, -2, 0]);
        assert_eq!(answer_for([Call; 3], 0x8000_0002), None);
    }

    #[test]
    fn the_neediest_cpu_decides() {
        assert!(Safe < Call && Call < Open);
        note(&Needs([Safe, Safe, Safe]));
        note(&Needs([Call, Safe, Safe]));
        note(&Needs([Safe, Safe, Safe]));
        assert_eq!(answer(WORKAROUND_1), Some(0));
        assert_eq!(answer(1), None);
    }
}
