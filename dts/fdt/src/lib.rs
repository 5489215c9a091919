//! The flattened device tree: read, edit, overlay, emit; knows no source text and no file.
//!
//! ```text
//!   bytes --Fdt::new--> Fdt<'a>  --Tree::from_fdt-->  Tree  --Tree::emit--> bytes
//!                       borrowed                      owned, ordered        what dtc would write
//! ```
//!
//! [`Fdt`] borrows hostile bytes: it checks them once, whole, and every look-up after that is cheap and cannot
//! fail halfway. [`Tree`] owns an ordered copy to edit. [`Writer`] is the emitter beneath both [`Tree::emit`] and
//! the compiler. [`overlay::apply`] merges an overlay the way libfdt does.
//!
//! Source: Devicetree Specification v0.4, chapter 5 (the flattened format) and 2 (the tree).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bus;
mod cells;
mod emit;
mod error;
mod header;
pub mod overlay;
mod reader;
mod strings;
mod tree;

pub use bus::Ancestors;
pub use cells::{Cells, Reg, StringList, push_cells};
pub use emit::{EmitOptions, Version, Writer};
pub use error::Error;
pub use header::{Header, MAGIC, Reservation};
pub use reader::{Children, Descendants, Fdt, Node, Properties, Property};
pub use strings::StringTable;
pub use tree::{NodeId, OwnedProperty, Tree};

/// The deepest nesting of nodes that is read or written; real trees stay below 16.
pub const MAX_DEPTH: usize = 128;

/// Says whether `wanted` names the node called `name`: exactly, or without its unit address when `wanted` has none.
///
/// That leniency is libfdt's, so that `/cpus` style paths find `memory@80000000` as `/memory`.
pub fn name_matches(name: &str, wanted: &str) -> bool {
    match name.strip_prefix(wanted) {
        Some("") => true,
        Some(rest) => rest.starts_with('@') && !wanted.contains('@'),
        None => false,
    }
}
