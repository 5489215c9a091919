//! Key `i`: interrupts, those of guests with the physical ones behind them, and those that are ours alone.

use core::fmt;

use crate::arch::{gic, smp};
use crate::console::line;
use crate::device::vgic::{PRIVATE, Seen};
use crate::domain::{self, Domain};

/// Shows every interrupt that is enabled, pending or active.
pub fn all() {
    for domain in domain::all() {
        for vcpu in 0..domain.vcpus.len() {
            (0..PRIVATE).for_each(|interrupt| of_guest(&domain, Some(vcpu), interrupt));
        }
        let end = domain.vgic.lock().end();
        (PRIVATE..end).for_each(|interrupt| of_guest(&domain, None, interrupt));
    }
    for interrupt in PRIVATE as u32..gic::interrupts() {
        let physical = Physical::of(interrupt);
        if physical.enabled || physical.pending || physical.active {
            line(format_args!("physical interrupt {interrupt:4}: {physical}"));
        }
    }
    line(format_args!("{} list registers on each of {} CPU(s)", gic::list_registers(), smp::count()));
}

fn of_guest(domain: &Domain, vcpu: Option<usize>, interrupt: usize) {
    let seen = domain.vgic.lock().see(vcpu.unwrap_or(0), interrupt);
    let Some(seen) = seen.filter(|seen| seen.enabled || seen.pending || seen.active) else { return };
    let id = domain.id;
    match vcpu {
        Some(vcpu) => line(format_args!("d{id}v{vcpu} interrupt {interrupt:4}: {}", Virtual(seen))),
        None => line(format_args!("d{id} interrupt {interrupt:4}: {}", Virtual(seen))),
    }
}

struct Virtual(Seen);

impl fmt::Display for Virtual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.0;
        f.write_str(if seen.enabled { "enabled" } else { "disabled" })?;
        for (is, name) in [(seen.pending, "pending"), (seen.active, "active"), (seen.listed, "in a list register")] {
            if is {
                write!(f, ", {name}")?;
            }
        }
        write!(f, ", {}, priority {:#04x}", if seen.edge { "edge" } else { "level" }, seen.priority)?;
        if let Some(vcpu) = seen.target {
            write!(f, ", for vcpu {vcpu}")?;
        }
        match seen.hardware {
            Some(physical) => write!(f, ", physical {physical}"),
            None => Ok(()),
        }
    }
}

struct Physical {
    enabled: bool,
    pending: bool,
    active: bool,
}

impl Physical {
    fn of(interrupt: u32) -> Physical {
        Physical {
            enabled: gic::is_enabled(interrupt),
            pending: gic::is_pending(interrupt),
            active: gic::is_active(interrupt),
        }
    }
}

impl fmt::Display for Physical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.enabled { "enabled" } else { "disabled" })?;
        f.write_str(if self.pending { ", pending" } else { "" })?;
        f.write_str(if self.active { ", active" } else { "" })
    }
}
