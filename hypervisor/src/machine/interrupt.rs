//! Which interrupts of the controller a node's device raises (devicetree specification, 2.4; Linux's binding of Arm's controllers).

use alloc::vec::Vec;

use fdt::{Cells, NodeId, Tree};

/// An interrupt: its number, and whether it is an edge.
pub type Interrupt = (u32, bool);

/// Cells of one interrupt that say what it is: kind, number, flags. More are about which CPUs it concerns.
const NEEDED: usize = 3;
/// No controller has more.
const CELLS_MAX: u32 = 8;

/// Decodes one interrupt of at least three cells.
pub fn decode(cells: &[u32]) -> Option<Interrupt> {
    let &[kind, number, flags, ..] = cells else { return None };
    let edge = flags & 0xf <= 2;
    match kind {
        0 if number < 988 => Some((number + 32, edge)),
        1 if number < 16 => Some((number + 16, edge)),
        _ => None,
    }
}

/// Returns how many cells an interrupt of this controller has, if it can be understood.
pub fn cells(tree: &Tree, gic: NodeId) -> Option<usize> {
    let cells = tree.cell(gic, "#interrupt-cells").unwrap_or(NEEDED as u32);
    (NEEDED as u32..=CELLS_MAX).contains(&cells).then_some(cells as usize)
}

/// Returns the cells of a private interrupt of this controller.
pub fn private(tree: &Tree, gic: NodeId, interrupt: u32, flags: u32) -> Vec<u32> {
    let mut specifier = alloc::vec![1, interrupt.wrapping_sub(16), flags];
    specifier.resize(cells(tree, gic).unwrap_or(NEEDED), 0);
    specifier
}

/// Returns a node's interrupts, each in its place: `None` for one that is not the controller's, or not understood.
pub fn all(tree: &Tree, node: NodeId, gic: NodeId) -> Vec<Option<Interrupt>> {
    if let Some(value) = tree.get(node, "interrupts-extended") {
        return extended(tree, value, gic);
    }
    let Some(width) = cells(tree, gic).filter(|_| node == gic || parent(tree, node) == Some(gic)) else {
        return Vec::new();
    };
    let cells: Vec<u32> = tree.get(node, "interrupts").map(|value| Cells::new(value).collect()).unwrap_or_default();
    cells.chunks_exact(width).map(decode).collect()
}

/// Returns the controller that a node's `interrupts` are about: what the nearest `interrupt-parent` names, or else the nearest
/// controller above it.
fn parent(tree: &Tree, node: NodeId) -> Option<NodeId> {
    let mut at = node;
    loop {
        if let Some(phandle) = tree.cell(at, "interrupt-parent") {
            return tree.find_phandle(phandle);
        }
        at = tree.parent(at)?;
        if tree.get(at, "#interrupt-cells").is_some() {
            return Some(at);
        }
    }
}

/// Reads `interrupts-extended`: each interrupt with the controller that it is of.
fn extended(tree: &Tree, value: &[u8], gic: NodeId) -> Vec<Option<Interrupt>> {
    let (mut cells, mut found) = (Cells::new(value), Vec::new());
    let mut last: Option<(u32, NodeId)> = None;
    while let Some(phandle) = cells.next() {
        let known = last.filter(|&(known, _)| known == phandle).map(|(_, node)| node);
        // How long one of an unknown controller is, nobody knows.
        let Some(controller) = known.or_else(|| tree.find_phandle(phandle)) else { break };
        last = Some((phandle, controller));
        let width = tree.cell(controller, "#interrupt-cells").filter(|&width| width <= CELLS_MAX);
        let Some(width) = width else { break };
        let specifier: Vec<u32> = cells.by_ref().take(width as usize).collect();
        found.push(if controller == gic { decode(&specifier) } else { None });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_numbered_from_their_kinds_first() {
        assert_eq!(decode(&[0, 1, 4]), Some((33, false)));
        assert_eq!(decode(&[1, 11, 1]), Some((27, true)));
        assert_eq!(decode(&[1, 16, 4]), None);
        assert_eq!(decode(&[0, 988, 4]), None);
        assert_eq!(decode(&[0, 1]), None);
    }

    /// A GIC whose interrupts have four cells, a controller of GPIOs, and devices.
    fn tree(device: impl FnOnce(&mut Tree, NodeId)) -> (Tree, NodeId, NodeId) {
        let mut tree = Tree::new();
        let root = tree.root();
        tree.set_cells(root, "interrupt-parent", &[1]);
        let gic = tree.ensure("/intc").unwrap();
        tree.set_cells(gic, "phandle", &[1]);
        tree.set_cells(gic, "#interrupt-cells", &[4]);
        let pins = tree.ensure("/gpio").unwrap();
        tree.set_cells(pins, "phandle", &[2]);
        tree.set_cells(pins, "#interrupt-cells", &[2]);
        let node = tree.ensure("/bus/device").unwrap();
        device(&mut tree, node);
        (tree, gic, node)
    }

    #[test]
    fn the_controller_says_how_many_cells_an_interrupt_has() {
        let (tree, gic, node) =
            tree(|tree, node| tree.set_cells(node, "interrupts", &[1, 13, 8, 7, 0, 1, 4, 0, 0, 2, 1, 0]));
        assert_eq!(all(&tree, node, gic), [Some((29, false)), Some((33, false)), Some((34, true))]);
        assert_eq!(private(&tree, gic, 27, 8), [1, 11, 8, 0]);
    }

    #[test]
    fn interrupts_of_other_controllers_are_not_the_gics() {
        let (two, gic, node) = tree(|tree, node| {
            tree.set_cells(node, "interrupt-parent", &[2]);
            tree.set_cells(node, "interrupts", &[1, 13, 8, 0]);
        });
        assert_eq!(all(&two, node, gic), []);
        let (mixed, gic, node) = tree(|tree, node| {
            // What is extended comes before what is not.
            tree.set_cells(node, "interrupts", &[0, 9, 4, 0]);
            tree.set_cells(node, "interrupts-extended", &[2, 5, 1, 1, 0, 7, 4, 0, 2, 1, 1, 9, 1]);
        });
        assert_eq!(all(&mixed, node, gic), [None, Some((39, false)), None]);
        // Below a controller, its interrupts are meant, unless somebody says otherwise.
        let (mut below, gic, _) = tree(|_, _| {});
        let child = below.ensure("/gpio/key").unwrap();
        below.set_cells(child, "interrupts", &[1, 13, 8, 0]);
        assert_eq!(all(&below, child, gic), []);
        let own = below.ensure("/intc/frame").unwrap();
        below.set_cells(own, "interrupts", &[1, 13, 8, 0]);
        assert_eq!(all(&below, own, gic), [Some((29, false))]);
    }
}
