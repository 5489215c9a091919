//! Self-hosted debugging of one vCPU (DDI 0487, D2 and D13.3): breakpoints, watchpoints, software step.
//!
//! Every access traps, so what stands here is all there is, and nothing of it has to be read back from a CPU. A CPU gets the breakpoints
//! and watchpoints only while they can fire; else it gets MDSCR_EL1 alone, with which nothing of what others left there fires.

/// Bits of MDSCR_EL1.
const SS: u64 = 1 << 0;
const TDCC: u64 = 1 << 12;
const KDE: u64 = 1 << 13;
const HDE: u64 = 1 << 14;
const MDE: u64 = 1 << 15;
/// OSLSR_EL1: there is an OS lock.
const LOCK_EXISTS: u64 = 1 << 3;
/// OSLSR_EL1: it is closed.
const LOCK_CLOSED: u64 = 1 << 1;

/// `DBGBCR<n>_EL1`: E, PMC, BAS, HMC, SSC, LBN, BT.
const BREAKPOINT: u64 = 0x00ff_e1e7;
/// `DBGWCR<n>_EL1`: E, PAC, LSC, BAS, HMC, SSC, LBN, WT, MASK.
const WATCHPOINT: u64 = 0x1f1f_ffff;

/// What holds an address, and what says when it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Point {
    /// `DBGBVR<n>_EL1` or `DBGWVR<n>_EL1`.
    pub value: u64,
    /// `DBGBCR<n>_EL1` or `DBGWCR<n>_EL1`.
    pub control: u64,
}

/// The registers of one vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Debug {
    /// MDSCR_EL1, what software may write of it.
    control: u64,
    /// OSLSR_EL1.OSLK.
    locked: bool,
    breakpoints: [Point; 16],
    watchpoints: [Point; 16],
}

/// How many breakpoints and watchpoints there are, of a CPU with this ID_AA64DFR0_EL1.
pub fn counts(dfr0: u64) -> (usize, usize) {
    ((dfr0 >> 12 & 15) as usize + 1, (dfr0 >> 20 & 15) as usize + 1)
}

/// A register by Op0, Op1, CRn, CRm, Op2.
type Name = (u8, u8, u8, u8, u8);

impl Debug {
    /// Returns what a register holds; `None` if a CPU with this ID_AA64DFR0_EL1 has none of that name.
    pub fn read(&self, name: Name, dfr0: u64) -> Option<u64> {
        Some(match name {
            (2, 0, 0, 2, 2) => self.control,
            (2, 0, 1, 1, 4) => LOCK_EXISTS | if self.locked { LOCK_CLOSED } else { 0 },
            (2, 0, 0, n, 4..=7) => {
                let point = self.point(n, name.4, dfr0)?;
                if name.4 & 1 == 0 { point.value } else { point.control }
            }
            _ if is_silent(name) => 0,
            _ => return None,
        })
    }

    /// Writes a register; `None` if there is none of that name, else whether the CPU has to know.
    pub fn write(&mut self, name: Name, dfr0: u64, value: u64) -> Option<bool> {
        let before = *self;
        match name {
            (2, 0, 0, 2, 2) => self.control = value & (SS | TDCC | KDE | HDE | MDE),
            (2, 0, 1, 0, 4) => self.locked = value & 1 != 0,
            (2, 0, 0, n, 4..=7) => {
                self.point(n, name.4, dfr0)?;
                let (points, mask) = match name.4 {
                    4 | 5 => (&mut self.breakpoints, BREAKPOINT),
                    _ => (&mut self.watchpoints, WATCHPOINT),
                };
                let point = &mut points[usize::from(n)];
                match name.4 {
                    // A context's identifier has low bits.
                    4 => point.value = value,
                    6 => point.value = value & !3,
                    _ => point.control = value & mask,
                }
            }
            _ if is_silent(name) => {}
            _ => return None,
        }
        Some(*self != before && (self.fires() || self.control() != before.control()))
    }

    fn point(&self, number: u8, op2: u8, dfr0: u64) -> Option<&Point> {
        let (breakpoints, watchpoints) = counts(dfr0);
        let (points, count) = if op2 < 6 { (&self.breakpoints, breakpoints) } else { (&self.watchpoints, watchpoints) };
        points[..count].get(usize::from(number))
    }

    /// Whether breakpoints and watchpoints can fire.
    pub fn fires(&self) -> bool {
        self.control & MDE != 0 && !self.locked
    }

    /// Returns what the CPU's MDSCR_EL1 is to hold while the vCPU runs: halting is for a debugger outside, whom guests do not call; and
    /// with the OS lock closed nothing but the BRK instruction debugs.
    pub fn control(&self) -> u64 {
        let open = if self.locked { 0 } else { SS | KDE | MDE };
        self.control & (TDCC | open)
    }

    /// Returns the breakpoints and watchpoints that a CPU with this ID_AA64DFR0_EL1 has.
    pub fn points(&self, dfr0: u64) -> (&[Point], &[Point]) {
        let (breakpoints, watchpoints) = counts(dfr0);
        (&self.breakpoints[..breakpoints], &self.watchpoints[..watchpoints])
    }
}

/// Registers that exist and do nothing here: the channel to a debugger outside, which guests do not have, its claims, power, and tables.
fn is_silent(name: Name) -> bool {
    matches!(
        name,
        // OSDTRRX_EL1, MDCCINT_EL1, OSDTRTX_EL1, OSECCR_EL1.
        (2, 0, 0, 0, 2) | (2, 0, 0, 2, 0) | (2, 0, 0, 3, 2) | (2, 0, 0, 6, 2)
            // MDRAR_EL1, OSLSR_EL1 (which nobody writes), OSDLR_EL1, DBGPRCR_EL1.
            | (2, 0, 1, 0, 0) | (2, 0, 1, 1 | 3 | 4, 4)
            // DBGCLAIMSET_EL1, DBGCLAIMCLR_EL1, DBGAUTHSTATUS_EL1.
            | (2, 0, 7, 8 | 9 | 14, 6)
            // MDCCSR_EL0, DBGDTR_EL0, DBGDTRRX_EL0 and DBGDTRTX_EL0.
            | (2, 3, 0, 1 | 4 | 5, 0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Six breakpoints and four watchpoints, as Cortex-A57 and A53 have.
    const DFR0: u64 = 5 << 12 | 3 << 20 | 6;
    const MDSCR: Name = (2, 0, 0, 2, 2);
    const OSLAR: Name = (2, 0, 1, 0, 4);
    const OSLSR: Name = (2, 0, 1, 1, 4);

    #[test]
    fn registers_hold_what_a_cpu_s_hold() {
        let mut debug = Debug::default();
        for (name, held) in [
            ((2, 0, 0, 0, 4), u64::MAX),
            ((2, 0, 0, 5, 4), u64::MAX),
            ((2, 0, 0, 5, 5), BREAKPOINT),
            ((2, 0, 0, 3, 6), !3),
            ((2, 0, 0, 3, 7), WATCHPOINT),
            (MDSCR, SS | TDCC | KDE | HDE | MDE),
            // Nothing is said to a debugger outside, nothing heard.
            ((2, 3, 0, 5, 0), 0),
            ((2, 3, 0, 1, 0), 0),
            ((2, 0, 7, 8, 6), 0),
            ((2, 0, 1, 3, 4), 0),
        ] {
            assert!(debug.write(name, DFR0, u64::MAX).is_some(), "{name:?}");
            assert_eq!(debug.read(name, DFR0), Some(held), "{name:?}");
        }
        // What there is none of: a seventh breakpoint, a fifth watchpoint, trace, what has no name.
        assert_eq!(debug.read(OSLAR, DFR0), None, "it is only written");
        for name in
            [(2, 0, 0, 6, 4), (2, 0, 0, 6, 5), (2, 0, 0, 4, 6), (2, 0, 0, 15, 7), (2, 1, 0, 0, 0), (2, 0, 2, 0, 0)]
        {
            assert_eq!((debug.read(name, DFR0), debug.write(name, DFR0, 1)), (None, None), "{name:?}");
        }
    }

    #[test]
    fn the_lock_keeps_everything_quiet() {
        let mut debug = Debug::default();
        assert_eq!(debug.read(OSLSR, DFR0), Some(8));
        assert_eq!(debug.write(MDSCR, DFR0, u64::MAX), Some(true));
        assert!(debug.fires());
        assert_eq!(debug.control(), SS | TDCC | KDE | MDE, "and no halting");
        assert_eq!(debug.write(OSLAR, DFR0, 1), Some(true));
        assert_eq!((debug.read(OSLSR, DFR0), debug.fires(), debug.control()), (Some(10), false, TDCC));
        // Nobody but the lock's own register opens it.
        assert_eq!(debug.write(OSLSR, DFR0, 0), Some(false));
        assert_eq!(debug.write(OSLAR, DFR0, 0), Some(true));
        assert!(debug.fires());
    }

    /// A CPU as far as debugging goes: what is on it, whose or nobody's.
    #[derive(Default)]
    struct Cpu {
        control: u64,
        points: Vec<Point>,
    }

    impl Cpu {
        /// As the machine does it.
        fn load(&mut self, debug: &Debug) {
            self.control = debug.control();
            if debug.fires() {
                let (breakpoints, watchpoints) = debug.points(DFR0);
                self.points = [breakpoints, watchpoints].concat();
            }
        }

        /// What may happen to whoever runs.
        fn effect(&self) -> (u64, Option<&[Point]>) {
            (self.control, (self.control & MDE != 0).then_some(&self.points))
        }
    }

    proptest! {
        /// Two vCPUs on one CPU, which writes to them only when it has to: to each, its own registers are what counts.
        #[test]
        fn vcpus_share_a_cpu_and_do_not_notice(
            steps in prop::collection::vec((any::<bool>(), 0usize..6, 0u8..7, any::<u64>()), 1..60)
        ) {
            let (mut vcpus, mut cpu, mut on) = ([Debug::default(); 2], Cpu::default(), 0);
            cpu.load(&vcpus[0]);
            for (switch, which, number, value) in steps {
                if switch {
                    on = 1 - on;
                    cpu.load(&vcpus[on]);
                } else {
                    let name = [MDSCR, OSLAR, (2, 0, 0, number, 4), (2, 0, 0, number, 5), (2, 0, 0, number, 6), (2, 0, 0, number, 7)];
                    if vcpus[on].write(name[which], DFR0, value) == Some(true) {
                        cpu.load(&vcpus[on]);
                    }
                }
                let (breakpoints, watchpoints) = vcpus[on].points(DFR0);
                let own = [breakpoints, watchpoints].concat();
                let expected = (vcpus[on].control(), vcpus[on].fires().then_some(&own[..]));
                prop_assert_eq!(cpu.effect(), expected);
            }
        }
    }
}
