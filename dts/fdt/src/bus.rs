//! Buses: which nodes stand above a node, and what its addresses are to the CPUs (specification 2.3.8, `ranges`).

use crate::{Cells, Fdt, MAX_DEPTH, Node, NodeId, Tree};

/// Translates a child's address through one bus's `ranges`, triples of child's address, parent's address and size; empty means equal.
/// `child` is the bus's own pair of cells, `parent` the `#address-cells` of the bus above.
fn translate(ranges: &[u8], child: (u32, u32), parent: u32, address: u64) -> Option<u64> {
    if ranges.is_empty() {
        return Some(address);
    }
    triples(ranges, child.0, parent, child.1).find_map(|[from, to, size]| {
        let offset = address.checked_sub(from).filter(|&offset| offset < size)?;
        to.checked_add(offset)
    })
}

/// Reads numbers of so many cells each, three by three; none if they have no cells at all.
fn triples(value: &[u8], one: u32, two: u32, three: u32) -> impl Iterator<Item = [u64; 3]> {
    let mut cells = Cells::new(value);
    let next = move || Some([cells.number(one)?, cells.number(two)?, cells.number(three)?]);
    core::iter::from_fn(next).take(if one == 0 && two == 0 && three == 0 { 0 } else { usize::MAX })
}

/// Iterates over the nodes above a node, the nearest first.
#[derive(Debug, Clone)]
pub struct Ancestors<'a> {
    line: [Option<Node<'a>>; LINE_MAX],
    left: usize,
}

/// Nodes above one another that are looked through; real trees stay below 16.
const LINE_MAX: usize = 32;
const _: () = assert!(LINE_MAX <= MAX_DEPTH);

impl<'a> Iterator for Ancestors<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.line[self.left]
    }
}

impl<'a> Fdt<'a> {
    /// Iterates over the nodes above `node`, the nearest first, the root last; none for what lies deeper than 32 nodes.
    pub fn ancestors(&self, node: &Node<'a>) -> Ancestors<'a> {
        let mut line = [None; LINE_MAX];
        for (depth, found) in self.descendants() {
            if found == *node {
                return Ancestors { line, left: if depth <= LINE_MAX { depth } else { 0 } };
            }
            if let Some(place) = line.get_mut(depth) {
                *place = Some(found);
            }
        }
        Ancestors { line, left: 0 }
    }

    /// Iterates over the (address, size) pairs of a node's `reg` as the CPUs see them; `None` for one that a bus does not pass on.
    pub fn registers(&self, node: &Node<'a>) -> impl Iterator<Item = Option<(u64, u64)>> + use<'a> {
        let ancestors = self.ancestors(node);
        node.reg().map(move |(address, size)| {
            let mut buses = ancestors.clone().peekable();
            let mut address = Some(address);
            while let (Some(bus), Some(above)) = (buses.next(), buses.peek()) {
                let ranges = bus.property("ranges")?.value;
                address = translate(ranges, bus.cells(), above.cells().0, address?);
            }
            Some((address?, size))
        })
    }
}

impl Tree {
    /// Returns what an address in a node's `reg` is to the CPUs; `None` if a bus above it does not pass it on.
    pub fn to_cpu(&self, node: NodeId, mut address: u64) -> Option<u64> {
        let mut bus = self.parent(node)?;
        while let Some(above) = self.parent(bus) {
            address = translate(self.get(bus, "ranges")?, self.cells(bus), self.cells(above).0, address)?;
            bus = above;
        }
        Some(address)
    }

    /// Iterates over the triples of a bus's `ranges`: child's address, parent's address, size. None if it has none, or an empty one.
    pub fn ranges(&self, bus: NodeId) -> impl Iterator<Item = [u64; 3]> {
        let above = self.parent(bus).map_or(2, |above| self.cells(above).0);
        let (address, size) = self.cells(bus);
        triples(self.get(bus, "ranges").unwrap_or(&[]), address, above, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A bus below a bus: the outer one maps 32-bit addresses to above 4 GiB, the inner one passes them on as they are.
    fn nested() -> Tree {
        let mut tree = Tree::new();
        let root = tree.root();
        tree.set_cells(root, "#address-cells", &[2]);
        tree.set_cells(root, "#size-cells", &[1]);
        let outer = tree.ensure("/soc").unwrap();
        tree.set_cells(outer, "#address-cells", &[1]);
        tree.set_cells(outer, "#size-cells", &[1]);
        tree.set_cells(
            outer,
            "ranges",
            &[0x7e00_0000, 1, 0xfe00_0000, 0x180_0000, 0x4000_0000, 0, 0xff80_0000, 0x1000],
        );
        let inner = tree.ensure("/soc/bus").unwrap();
        tree.set_cells(inner, "#address-cells", &[1]);
        tree.set_cells(inner, "#size-cells", &[1]);
        tree.set_flag(inner, "ranges");
        let device = tree.ensure("/soc/bus/device").unwrap();
        tree.set_cells(device, "reg", &[0x7e20_1000, 0x200, 0x4000_0800, 8, 0x5000_0000, 4]);
        tree
    }

    #[test]
    fn addresses_go_up_through_every_bus() {
        let tree = nested();
        let expected = [Some((0x1_fe20_1000, 0x200)), Some((0xff80_0800, 8)), None];
        let device = tree.find("/soc/bus/device").unwrap();
        let owned: Vec<_> =
            tree.reg(device).map(|(address, size)| Some((tree.to_cpu(device, address)?, size))).collect();
        assert_eq!(owned, expected);
        let bytes = tree.emit(&Default::default()).unwrap();
        let fdt = Fdt::new(&bytes).unwrap();
        let node = fdt.find("/soc/bus/device").unwrap();
        assert_eq!(fdt.registers(&node).collect::<Vec<_>>(), expected);
        let names: Vec<_> = fdt.ancestors(&node).map(|node| node.name()).collect();
        assert_eq!(names, ["bus", "soc", ""]);
        assert_eq!(fdt.ancestors(&fdt.root()).count(), 0);
    }

    #[test]
    fn a_bus_that_maps_nothing_ends_here() {
        let mut tree = nested();
        let device = tree.find("/soc/bus/device").unwrap();
        let inner = tree.find("/soc/bus").unwrap();
        tree.remove_property(inner, "ranges");
        assert_eq!(tree.to_cpu(device, 0x7e20_1000), None);
        // Numbers without cells are no numbers, however many of them fit.
        for bus in [tree.root(), tree.find("/soc").unwrap(), inner] {
            tree.set_cells(bus, "#address-cells", &[0]);
            tree.set_cells(bus, "#size-cells", &[0]);
            tree.set_cells(bus, "ranges", &[1, 2, 3]);
        }
        assert_eq!(tree.to_cpu(device, 0), None);
        assert_eq!(tree.ranges(inner).count(), 0);
    }
}
