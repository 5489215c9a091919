//! Key `m`: memory, and how much of it is left for guests.

use core::sync::atomic::Ordering::Relaxed;

use crate::console::line;
use crate::domain;
use crate::memory::frames;

/// Shows how much there is, who has it, and what is neither a domain's nor free: that the hypervisor keeps.
pub fn all() {
    let (frames, free) = frames::counts();
    let mut domains = 0;
    line(format_args!("RAM: {} KiB", frames * 4));
    for domain in domain::all() {
        let pages = domain.pages.load(Relaxed);
        domains += pages;
        line(format_args!("d{}: {} KiB", domain.id, pages * 4));
    }
    line(format_args!("free: {} KiB", free * 4));
    line(format_args!("hypervisor: {} KiB", frames.saturating_sub(free).saturating_sub(domains) * 4));
}
