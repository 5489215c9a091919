//! Key `e`: event channels.

use crate::console::line;
use crate::domain;
use crate::event::Bound;

/// Shows every port that is bound.
pub fn all() {
    for domain in domain::all() {
        let (mut from, words) = (1, domain.event_words());
        loop {
            // One at a time, so that nobody waits while a line is printed.
            let events = domain.events.lock();
            let Some(port) = events.next_bound(from) else { break };
            let known = events.get(port);
            let pending = events.is_pending(port, &words).unwrap_or(false);
            let masked = events.is_masked(port, &words);
            drop(events);
            from = port + 1;
            let Some((bound, vcpu)) = known else { continue };
            let id = domain.id;
            let state = format_args!(
                "d{id} port {port:4}: vcpu {vcpu}, pending {}, masked {}",
                u8::from(pending),
                u8::from(masked)
            );
            match bound {
                Bound::Free | Bound::Reserved => {}
                Bound::Unbound(remote) => line(format_args!("{state}, unbound, for d{remote}")),
                Bound::Interdomain(remote, other) => line(format_args!("{state}, to port {other} of d{remote}")),
                Bound::Virq(virq) => line(format_args!("{state}, virq {virq}")),
                Bound::Ipi => line(format_args!("{state}, ipi")),
            }
        }
    }
}
