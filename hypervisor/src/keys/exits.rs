//! Keys `p`, `P`, `x`: why guests came back; and what a dying machine says of that.

use crate::arch::smp;
use crate::console::line;
use crate::domain::{self, Domain};
use crate::exits::{self, Work};

/// Prints the counters, of each domain and of each CPU: a line for each that is not zero.
pub fn counters() {
    for domain in domain::all() {
        for (name, count) in exits::totals(domain.vcpus.iter().map(|vcpu| &*vcpu.exits)) {
            line(format_args!("d{}: {name} {count}", domain.id));
        }
    }
    for cpu in 0..smp::count() {
        for work in Work::ALL {
            let count = exits::worked(cpu, work);
            if count != 0 {
                line(format_args!("cpu{cpu}: {} {count}", work.name()));
            }
        }
    }
}

/// Lets all counters begin at zero again.
pub fn reset() {
    domain::all().iter().flat_map(|domain| &domain.vcpus).for_each(|vcpu| vcpu.exits.reset());
    exits::reset_work();
}

/// Prints the last exits of each vCPU.
pub fn last() {
    domain::all().iter().for_each(|domain| of_domain(domain));
}

fn of_domain(domain: &Domain) {
    for vcpu in &domain.vcpus {
        for exit in vcpu.exits.last() {
            line(format_args!("d{}v{}: {exit}", domain.id, vcpu.id));
        }
    }
}

/// Prints the last exits to each CPU: those of the vCPUs that are on its list. Waits for nothing.
pub fn last_of_each_cpu() {
    use core::sync::atomic::Ordering::Relaxed;
    for cpu in 0..smp::count() {
        domain::for_each_if_free(|domain| {
            for vcpu in domain.vcpus.iter().filter(|vcpu| vcpu.cpu.load(Relaxed) == cpu) {
                for exit in vcpu.exits.last() {
                    line(format_args!("cpu{cpu} d{}v{}: {exit}", domain.id, vcpu.id));
                }
            }
        });
    }
}
