//! Keys `q`, `r`, `g`: domains and their vCPUs, CPUs' lists of them, and grants.

use core::sync::atomic::Ordering::Relaxed;

use crate::arch::{smp, timer};
use crate::console::line;
use crate::domain::{self, vcpu::NEVER};
use crate::schedule;

/// Shows every domain and vCPU.
pub fn all() {
    let now = timer::now();
    line(format_args!("now: {now} of {} each second", timer::frequency()));
    for domain in domain::all() {
        let (pages, most) = (domain.pages.load(Relaxed), domain.pages_max.load(Relaxed));
        let (id, stopped) = (domain.id, *domain.shutdown.lock());
        let words = if domain.control { ", controls" } else { "" };
        line(format_args!("d{id}: {pages} of at most {most} pages, {} vCPU(s){words}", domain.vcpus.len()));
        if let Some(reason) = stopped {
            line(format_args!("d{id}: stopped for reason {reason}"));
        }
        for vcpu in &domain.vcpus {
            let upcall = vcpu.with_info(&domain, |info| info.upcall_pending.load(Relaxed)).unwrap_or(0);
            let (status, cpu) = (vcpu.status(), vcpu.cpu.load(Relaxed));
            let pinned = if vcpu.pin().is_some() { ", pinned" } else { "" };
            let moves = vcpu.moves.load(Relaxed);
            line(format_args!(
                "d{id}v{}: {status:?} on cpu{cpu}{pinned}, moved {moves} times, upcall pending {upcall}",
                vcpu.id
            ));
            for (which, deadline) in vcpu.deadlines.iter().enumerate() {
                let deadline = deadline.load(Relaxed);
                if deadline != NEVER {
                    line(format_args!("d{id}v{}: deadline {which} at {deadline}", vcpu.id));
                }
            }
        }
    }
}

/// Shows the vCPUs on each CPU's list.
pub fn queues() {
    for cpu in 0..smp::count() {
        let (members, waiting) = schedule::members(cpu);
        line(format_args!("cpu{cpu}: {} vCPU(s), {waiting} waiting", members.len()));
        for entity in members {
            line(format_args!("  d{}v{} {:?}", entity.domain.id, entity.index, entity.vcpu().status()));
        }
    }
}

/// Shows how many grants there are room for, and which are in use.
pub fn grants() {
    for domain in domain::all() {
        let grants = domain.grants.lock();
        let ((frames, most), mut pinned) = (grants.size(), 0);
        grants.for_each_pinned(|_, _, _, _, _, _| pinned += 1);
        drop(grants);
        line(format_args!("d{}: {frames} of at most {most} grant frames, {pinned} grant(s) in use", domain.id));
    }
}
