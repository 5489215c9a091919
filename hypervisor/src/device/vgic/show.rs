//! The interrupt controller for who only looks: debug keys.

use super::{PRIVATE, Vgic};

/// An interrupt as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// It may reach the guest.
    pub enabled: bool,
    /// It waits to be taken. What a list register has of it may be newer.
    pub pending: bool,
    /// The guest has taken it.
    pub active: bool,
    /// It is in a list register.
    pub listed: bool,
    /// It is an edge, not a level.
    pub edge: bool,
    /// Its priority.
    pub priority: u8,
    /// The vCPU that gets it.
    pub target: Option<usize>,
    /// The physical interrupt behind it.
    pub hardware: Option<u16>,
}

impl Vgic {
    /// Returns one more than the last interrupt.
    pub fn end(&self) -> usize {
        PRIVATE + self.shared.len()
    }

    /// Returns how an interrupt stands; of SGIs and PPIs, that of a vCPU.
    pub fn see(&self, vcpu: usize, interrupt: usize) -> Option<Seen> {
        let known = self.get(vcpu, interrupt)?;
        Some(Seen {
            enabled: known.enabled,
            pending: known.is_pending(),
            active: known.active,
            listed: known.listed.is_some(),
            edge: known.edge,
            priority: known.priority,
            target: if interrupt < PRIVATE { Some(vcpu) } else { known.target },
            hardware: known.hardware,
        })
    }
}
