//! Events in two levels: a bit for each port in `shared_info`, and for each vCPU a word that says which words have some.
//!
//! ```text
//!   evtchn_pending_sel (one for each vCPU)   bit n: look at word n
//!   evtchn_pending[64], evtchn_mask[64]      bit p % 64 of word p / 64: port p
//! ```

use crate::word::Word;

/// Ports that there are bits for.
pub const PORTS: u32 = xen_abi::event_channel::EVTCHN_2L_NR_CHANNELS;

/// The words that a domain and its vCPUs share with the hypervisor.
pub trait Shared {
    /// How they are seen.
    type Word: Word<u64>;

    /// `evtchn_pending`: 64 words.
    fn pending(&self) -> &[Self::Word];

    /// `evtchn_mask`: 64 words.
    fn mask(&self) -> &[Self::Word];

    /// Sets bits of a vCPU's `evtchn_pending_sel` and returns what was there; nothing if the vCPU has no such word (yet).
    fn select(&self, vcpu: usize, bits: u64) -> Option<u64>;
}

fn place(port: u32) -> (usize, u64) {
    (port as usize / 64, 1 << (port % 64))
}

/// Makes a port pending. Returns whether it was not so before, and whether the vCPU is to be told.
pub fn set_pending(shared: &impl Shared, port: u32, vcpu: usize) -> (bool, bool) {
    let (word, bit) = place(port);
    let (Some(pending), Some(mask)) = (shared.pending().get(word), shared.mask().get(word)) else {
        return (false, false);
    };
    if pending.fetch_or(bit) & bit != 0 {
        return (false, false);
    }
    (true, mask.load() & bit == 0 && select(shared, word, vcpu))
}

/// Unmasks a port. Returns whether the vCPU is to be told of an event that waited.
pub fn unmask(shared: &impl Shared, port: u32, vcpu: usize) -> bool {
    let (word, bit) = place(port);
    let (Some(pending), Some(mask)) = (shared.pending().get(word), shared.mask().get(word)) else { return false };
    mask.fetch_and(!bit) & bit != 0 && pending.load() & bit != 0 && select(shared, word, vcpu)
}

/// Forgets that a port is pending.
pub fn clear_pending(shared: &impl Shared, port: u32) {
    let (word, bit) = place(port);
    if let Some(pending) = shared.pending().get(word) {
        pending.fetch_and(!bit);
    }
}

/// Says whether a port is pending.
pub fn is_pending(shared: &impl Shared, port: u32) -> bool {
    let (word, bit) = place(port);
    shared.pending().get(word).is_some_and(|pending| pending.load() & bit != 0)
}

/// Says whether a port is masked.
pub fn is_masked(shared: &impl Shared, port: u32) -> bool {
    let (word, bit) = place(port);
    shared.mask().get(word).is_some_and(|mask| mask.load() & bit != 0)
}

fn select(shared: &impl Shared, word: usize, vcpu: usize) -> bool {
    let bit = 1 << word;
    shared.select(vcpu, bit).is_some_and(|before| before & bit == 0)
}
