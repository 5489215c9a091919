//! System registers that trap: identification, debugging, the physical timer, and software-generated interrupts.

use core::sync::atomic::Ordering::Relaxed;

use crate::arch::{SystemRegister, timer};
use crate::domain::vcpu::NEVER;
use crate::run::{self, Caller, Then};
use crate::{schedule, warning};

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
        warning!("d{domain}v{index}: {what} s{op0}_{op1}_c{crn}_c{crm}_{op2} at {:#x}", caller.state.context.pc);
        return run::undefined(caller);
    };
    if access.read {
        caller.state.context.set(register, value);
    }
    caller.state.context.pc += 4;
    Then::Resume
}

fn read(caller: &mut Caller<'_>, name: (u8, u8, u8, u8, u8)) -> Option<u64> {
    Some(match name {
        (3, 0, 0, m @ 1..=7, n) => caller.entity.domain.identification[usize::from(m)][usize::from(n)],
        // ACTLR_EL1: nothing is to be chosen.
        (3, 0, 1, 0, 1) => 0,
        // OSLSR_EL1: the OS lock exists and is open.
        (2, 0, 1, 1, 4) => 8,
        // Breakpoints, watchpoints and the rest of self-hosted debugging: registers that hold nothing.
        (2, 0 | 3, ..) => 0,
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
        (3, 0, 1, 0, 1) | (2, 0 | 3, ..) => {}
        (3, 0, 12, 11, 5) => send(caller, value),
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

/// ICC_SGI1R_EL1 (IHI 0069, 12.2).
fn send(caller: &mut Caller<'_>, value: u64) {
    let interrupt = (value >> 24 & 15) as u32;
    let others = value >> 40 & 1 != 0;
    let cluster = (value >> 48 & 0xff) << 32 | (value >> 32 & 0xff) << 16 | (value >> 16 & 0xff) << 8;
    let first = (value >> 44 & 15) * 16;
    let own = caller.entity.index;
    run::sync(caller.entity, caller.state);
    let concerned = caller.entity.domain.vgic.lock().send(interrupt, |vcpu, affinity| {
        if others {
            return vcpu != own;
        }
        let bit = (affinity & 0xff).checked_sub(first).filter(|&bit| bit < 16);
        affinity & !0xff == cluster && bit.is_some_and(|bit| value >> bit & 1 != 0)
    });
    caller.entity.domain.notify(concerned);
}
