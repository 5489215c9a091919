//! From the resolved tree to the formats that leave the compiler.

mod asm;
mod dts;
mod yaml;

pub use asm::asm;
pub use dts::{Annotate, dts};
pub use yaml::yaml;

use crate::live::{LiveTree, NodeId};

/// Returns the tree as a flattened blob.
pub fn dtb(tree: &LiveTree, options: &fdt::EmitOptions) -> Result<Vec<u8>, fdt::Error> {
    let mut writer = fdt::Writer::new(options.version);
    write_node(tree, tree.root(), &mut writer);
    let reservations: Vec<_> =
        tree.reservations.iter().map(|entry| fdt::Reservation { address: entry.address, size: entry.size }).collect();
    writer.finish(&reservations, tree.boot_cpu, options)
}

/// Depth was bounded by the parser or the reader.
fn write_node(tree: &LiveTree, id: NodeId, writer: &mut fdt::Writer) {
    writer.begin_node(tree.name(id));
    for property in tree.properties(id) {
        writer.property(tree.text(property.name), &property.value.bytes);
    }
    for child in tree.children(id) {
        write_node(tree, child, writer);
    }
    writer.end_node();
}
