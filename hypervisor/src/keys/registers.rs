//! Keys `d`, `0`: the registers of vCPUs. Those of one that runs are in its CPU; it shows them itself, as soon as it is back.

use core::sync::atomic::Ordering::*;

use crate::arch::{self, Context};
use crate::console::line;
use crate::domain::{self, Domain, vcpu::State};
use crate::schedule::{self, Entity};
use alloc::sync::Arc;

/// Shows those of every vCPU.
pub fn of_all() {
    domain::all().iter().for_each(of_domain);
}

/// Shows those of Dom0's.
pub fn of_dom0() {
    domain::hardware().into_iter().for_each(of_domain);
}

fn of_domain(domain: &Arc<Domain>) {
    for vcpu in &domain.vcpus {
        vcpu.asked.store(true, SeqCst);
        vcpu.news.store(true, SeqCst);
        let context = vcpu.state.try_lock().map(|state| state.context.clone());
        match context {
            Some(context) => {
                vcpu.asked.store(false, SeqCst);
                show(domain, vcpu.id, &context);
            }
            None => schedule::wake(domain, vcpu.id),
        }
    }
}

/// Shows those of a vCPU that is on this CPU, with the registers of EL1 that are in it.
pub fn show_own(entity: &Entity, state: &State) {
    entity.vcpu().asked.store(false, SeqCst);
    show(&entity.domain, entity.index, &state.context);
    let [sctlr, ttbr0, ttbr1, esr, far, elr] = arch::vcpu::dump();
    line(format_args!("  sctlr {sctlr:#x} ttbr0 {ttbr0:#x} ttbr1 {ttbr1:#x}"));
    line(format_args!("  esr {esr:#x} far {far:#x} elr {elr:#x}"));
}

fn show(domain: &Domain, index: usize, context: &Context) {
    let vcpu = &domain.vcpus[index];
    let (status, cpu) = (vcpu.status(), vcpu.cpu.load(Relaxed));
    line(format_args!(
        "d{}v{index}: {status:?} on cpu{cpu}, pc {:#x} pstate {:#x}",
        domain.id, context.pc, context.pstate
    ));
    for (row, values) in context.x.chunks(4).enumerate() {
        match *values {
            [a, b, c, d] => line(format_args!("  x{:<2} {a:016x} {b:016x} {c:016x} {d:016x}", row * 4)),
            [a, b, c] => line(format_args!("  x{:<2} {a:016x} {b:016x} {c:016x}", row * 4)),
            _ => {}
        }
    }
}
