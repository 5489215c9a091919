//! System registers that trap: identification, debugging, the physical timer, and software-generated interrupts.

use core::sync::atomic::Ordering::Relaxed;

use crate::arch::{SystemRegister, gic, timer};
use crate::device::vgic::{self, Concerns, Version};
use crate::domain::vcpu::NEVER;
use crate::run::{self, Caller, Then};
use crate::{guest_log, schedule};

/// Enabled, masked, and condition met (DDI 0487, CNTP_CTL_EL0).
const ENABLE: u64 = 1;
const MASKED: u64 = 2;
const MET: u64 = 4;

/// Answers an access.
pub fn access(caller: &mut Caller<'_>, access: SystemRegister) -> Then {
    let register = usize::from(access.register);
    let written = caller.state.context.get(register);
    let answer = if access.read { read(caller, access.name) } else { write(caller, access.name, written).then_some(0) };
    let Some(value) = answer else {
        let (op0, op1, crn, crm, op2) = access.name;
        let (domain, index) = (caller.entity.domain.id, caller.entity.index);
        let what = if access.read { "mrs" } else { "msr" };
        let pc = caller.state.context.pc;
        guest_log!(
            caller.entity.domain,
            Warning,
            "d{domain}v{index}: {what} s{op0}_{op1}_c{crn}_c{crm}_{op2} at {pc:#x}"
        );
        return run::undefined(caller);
    };
    if access.read {
        caller.state.context.set(register, value);
    }
    caller.state.context.skip();
    Then::Resume
}

fn read(caller: &mut Caller<'_>, name: (u8, u8, u8, u8, u8)) -> Option<u64> {
    Some(match name {
        (3, 0, 0, m @ 1..=7, n) => caller.entity.domain.identification[usize::from(m)][usize::from(n)],
        // ACTLR_EL1: nothing is to be chosen.
        (3, 0, 1, 0, 1) => 0,
        // Breakpoints, watchpoints and the rest of self-hosted debugging.
        (2, ..) => return caller.state.saved.debug.read(name, debug_features(caller)),
        (3, 3, 14, 2, 0) => {
            let (_, compare) = caller.state.physical_timer;
            compare.wrapping_sub(timer::now()) & 0xffff_ffff
        }
        (3, 3, 14, 2, 1) => {
            let (control, compare) = caller.state.physical_timer;
            let met = control & ENABLE != 0 && timer::now() >= compare;
            control | if met { MET } else { 0 }
        }
        (3, 3, 14, 2, 2) => caller.state.physical_timer.1,
        _ => return None,
    })
}

/// Returns whether there is such a register to write.
fn write(caller: &mut Caller<'_>, name: (u8, u8, u8, u8, u8), value: u64) -> bool {
    match name {
        (3, 0, 1, 0, 1) => {}
        (2, ..) => {
            let features = debug_features(caller);
            let written = caller.state.saved.debug.write(name, features, value);
            if written == Some(true) {
                caller.state.saved.load_debug();
            }
            return written.is_some();
        }
        // ICC_DIR_EL1.
        (3, 0, 12, 11, 1) => return deactivate(caller, value),
        (3, 0, 12, 11, op2 @ 5..=7) => return send(caller, op2, value),
        // Data cache by set and way: no cache can be emptied so while others use it; Linux has not done it since 2014.
        (1, 0, 7, 6 | 10 | 14, 2) => {}
        (3, 3, 14, 2, 0) => {
            caller.state.physical_timer.1 = timer::now().wrapping_add(value as u32 as i32 as u64);
            update_timer(caller);
        }
        (3, 3, 14, 2, 1) => {
            caller.state.physical_timer.0 = value & (ENABLE | MASKED);
            update_timer(caller);
        }
        (3, 3, 14, 2, 2) => {
            caller.state.physical_timer.1 = value;
            update_timer(caller);
        }
        _ => return false,
    }
    true
}

/// Returns ID_AA64DFR0_EL1 as the guest sees it, which says how many breakpoints it has.
fn debug_features(caller: &Caller<'_>) -> u64 {
    caller.entity.domain.identification[5][0]
}

/// Brings line and deadline of the physical timer up to date.
fn update_timer(caller: &mut Caller<'_>) {
    let (control, compare) = caller.state.physical_timer;
    let counts = control & (ENABLE | MASKED) == ENABLE;
    let line = counts && timer::now() >= compare;
    run::sync(caller.entity, caller.state);
    let entity = caller.entity;
    entity.vcpu().deadlines[1].store(if counts && !line { compare } else { NEVER }, Relaxed);
    entity.domain.set_line(entity.index, entity.domain.interrupts.physical_timer, line);
    schedule::set_timer();
}

/// ICC_DIR_EL1 (IHI 0069, 12.2), which traps while the guest has more active interrupts than there are list registers. Nothing happens
/// where priority drop and deactivation are one.
fn deactivate(caller: &mut Caller<'_>, value: u64) -> bool {
    if caller.entity.domain.vgic_version != Version::V3 {
        return false;
    }
    if gic::is_end_split() {
        let (own, first) = (caller.entity.index, value as usize & 0xff_ffff);
        let concerns = Concerns { bank: Some(own), first, count: 1, pending: false };
        run::with_vgic(caller, Some(concerns), |vgic| ((), vgic.deactivate(own, first).into_iter().collect()));
    }
    true
}

/// ICC_SGI1R_EL1, ICC_ASGI1R_EL1 and ICC_SGI0R_EL1 (IHI 0069, 12.2), by their Op2. A GICv2 has none of them.
fn send(caller: &mut Caller<'_>, op2: u8, value: u64) -> bool {
    if caller.entity.domain.vgic_version != Version::V3 {
        return false;
    }
    // Where the same one is pending in a list register, they are one, or two if the guest takes the first before: so nobody may be
    // about to.
    let first = vgic::sgi_of(value) as usize;
    let concerns = Concerns { bank: None, first, count: 1, pending: true };
    let own = caller.entity.index;
    run::with_vgic(caller, Some(concerns), |vgic| ((), vgic.write_sgi(own, op2 == 5, value)));
    true
}
