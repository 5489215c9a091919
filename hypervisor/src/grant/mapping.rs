//! What a domain has mapped of others' grants: its handles.

use alloc::vec::Vec;

use xen_abi::grant_table::GrantStatus;

use super::Access;

/// Handles that a frame of Xen's own notes holds: limits are given in frames.
pub const HANDLES_PER_FRAME: usize = 256;

/// A mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Whose page.
    pub domain: u16,
    /// By which of their entries.
    pub reference: u32,
    /// For what.
    pub access: Access,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Free; the next free one.
    Free(u32),
    /// Given out, but not mapped yet.
    Reserved,
    Used(Mapping),
}

/// End of the list of free slots.
const END: u32 = u32::MAX;

/// A domain's handles.
#[derive(Debug)]
pub struct Mappings {
    slots: Vec<Slot>,
    free: u32,
    max: usize,
}

impl Mappings {
    /// Returns room for as many handles as so many frames hold.
    pub fn new(max_frames: usize) -> Self {
        Self { slots: Vec::new(), free: END, max: max_frames.saturating_mul(HANDLES_PER_FRAME).min(END as usize) }
    }

    /// Takes a handle, to be [`Mappings::commit`]ted or [`Mappings::release`]d.
    ///
    /// # Errors
    /// `no_space`.
    pub fn reserve(&mut self) -> Result<u32, GrantStatus> {
        if self.free != END {
            let handle = self.free;
            let Some(slot @ Slot::Free(_)) = self.slots.get_mut(handle as usize) else {
                return Err(GrantStatus::NoSpace);
            };
            if let Slot::Free(next) = core::mem::replace(slot, Slot::Reserved) {
                self.free = next;
            }
            return Ok(handle);
        }
        if self.slots.len() >= self.max || self.slots.try_reserve(1).is_err() {
            return Err(GrantStatus::NoSpace);
        }
        self.slots.push(Slot::Reserved);
        Ok(self.slots.len() as u32 - 1)
    }

    /// Notes what a reserved handle maps.
    pub fn commit(&mut self, handle: u32, mapping: Mapping) {
        if let Some(slot @ Slot::Reserved) = self.slots.get_mut(handle as usize) {
            *slot = Slot::Used(mapping);
        }
    }

    /// Returns what a handle maps.
    ///
    /// # Errors
    /// `bad_handle`: nothing.
    pub fn get(&self, handle: u32) -> Result<Mapping, GrantStatus> {
        match self.slots.get(handle as usize) {
            Some(Slot::Used(mapping)) => Ok(*mapping),
            _ => Err(GrantStatus::BadHandle),
        }
    }

    /// Frees a handle.
    pub fn release(&mut self, handle: u32) {
        if let Some(slot @ (Slot::Reserved | Slot::Used(_))) = self.slots.get_mut(handle as usize) {
            *slot = Slot::Free(self.free);
            self.free = handle;
        }
    }

    /// Returns the next mapping from a handle on, for the end of a domain and for debug keys.
    pub fn next(&self, from: u32) -> Option<(u32, Mapping)> {
        let rest = self.slots.get(from as usize..)?;
        rest.iter().enumerate().find_map(|(ahead, slot)| match slot {
            Slot::Used(mapping) => Some((from + ahead as u32, *mapping)),
            _ => None,
        })
    }
}
