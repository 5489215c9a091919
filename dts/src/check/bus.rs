//! Checks that depend on the bus a node is on: PCI, simple-bus, I2C, SPI, graphs.

use std::collections::HashMap;

use super::{Context, cells};
use crate::live::{LiveTree, NodeId};

/// What the children of a node are connected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bus {
    Pci,
    Simple,
    I2c,
    Spi,
    GraphPorts,
    GraphPort,
}

fn is_compatible(tree: &LiveTree, node: NodeId, wanted: &str) -> bool {
    let list = tree.property(node, "compatible");
    list.is_some_and(|list| list.value.bytes.split(|&byte| byte == 0).any(|text| text == wanted.as_bytes()))
}

/// Returns the bus of every node that is one.
pub(super) fn classify(tree: &LiveTree, nodes: &[NodeId]) -> HashMap<NodeId, Bus> {
    let mut buses = HashMap::new();
    for &node in nodes {
        let is_pci = tree.property(node, "device_type").is_some_and(|kind| kind.value.bytes == b"pci\0");
        let bus = if is_compatible(tree, node, "simple-bus") {
            Bus::Simple
        } else if is_pci {
            Bus::Pci
        } else if matches!(tree.base_name(node), "i2c" | "i2c-bus" | "i2c-arb") {
            Bus::I2c
        } else if tree.base_name(node) == "spi" || has_spi_devices(tree, node) {
            Bus::Spi
        } else {
            continue;
        };
        buses.insert(node, bus);
    }
    for &node in nodes {
        let Some(parent) = tree.node(node).parent else { continue };
        let is_endpoint =
            |child: NodeId| tree.base_name(child) == "endpoint" || tree.property(child, "remote-endpoint").is_some();
        if tree.children(node).any(is_endpoint) {
            buses.insert(node, Bus::GraphPort);
            if tree.base_name(parent) == "ports" || tree.property(node, "reg").is_some() {
                buses.entry(parent).or_insert(Bus::GraphPorts);
            }
        }
    }
    buses
}

/// Recognises an SPI bus of another name by what its devices say.
fn has_spi_devices(tree: &LiveTree, node: NodeId) -> bool {
    let is_spi = |child: NodeId| tree.properties(child).any(|property| tree.text(property.name).starts_with("spi-"));
    tree.cell(node, "#address-cells") == Some(1)
        && tree.cell(node, "#size-cells") == Some(0)
        && tree.children(node).any(is_spi)
}

fn parent_bus(context: &Context<'_>, node: NodeId) -> Option<(NodeId, Bus)> {
    let parent = context.tree.node(node).parent?;
    Some((parent, *context.buses.get(&parent)?))
}

fn first_reg(context: &Context<'_>, node: NodeId) -> Option<Vec<u32>> {
    context.property(node, "reg").map(|reg| cells(&reg.value.bytes)).filter(|reg| !reg.is_empty())
}

/// Every label names one thing.
pub(super) fn duplicate_label(context: &mut Context<'_>, node: NodeId) {
    if node != context.tree.root() {
        return;
    }
    let tree = context.tree;
    let mut seen: HashMap<crate::Name, String> = HashMap::new();
    for node in tree.walk() {
        let path = tree.path(node);
        let mut given: Vec<(crate::Name, String)> = Vec::new();
        given.extend(LiveTree::labels(&tree.node(node).labels).map(|label| (label.name, path.clone())));
        for property in tree.properties(node) {
            let place = format!("'{}' in {path}", tree.text(property.name));
            given.extend(LiveTree::labels(&property.labels).map(|label| (label.name, place.clone())));
            for marker in &property.value.markers {
                if let crate::MarkerKind::Label(label) = marker.kind {
                    given.push((label, format!("value of {place}")));
                }
            }
        }
        for (label, place) in given {
            if let Some(other) = seen.get(&label) {
                context.fail(node, format!("Duplicate label '{}' on {place} and {other}", tree.text(label)));
            } else {
                seen.insert(label, place);
            }
        }
    }
}

pub(super) fn pci_bridge(context: &mut Context<'_>, node: NodeId) {
    if context.buses.get(&node) != Some(&Bus::Pci) {
        return;
    }
    let name = context.tree.base_name(node).to_string();
    if name != "pci" && name != "pcie" {
        context.fail(node, "node name is not \"pci\" or \"pcie\"");
    }
    if context.property(node, "ranges").is_none() {
        context.fail(node, "missing ranges for PCI bridge (or not a bridge)");
    }
    let (address, size) = context.cells(node);
    if address != 3 {
        context.fail(node, "incorrect #address-cells for PCI bridge");
    }
    if size != 2 {
        context.fail(node, "incorrect #size-cells for PCI bridge");
    }
    let Some(range) = context.property(node, "bus-range") else { return };
    let (property, length, values) = (range.name, range.value.bytes.len(), cells(&range.value.bytes));
    if length != 8 {
        return context.fail_property(node, property, "value must be 2 cells");
    }
    if values[0] > values[1] {
        context.fail_property(node, property, "1st cell must be less than or equal to 2nd cell");
    }
    if values[1] > 0xff {
        context.fail_property(node, property, "maximum bus number must be less than 256");
    }
}

pub(super) fn pci_device_reg(context: &mut Context<'_>, node: NodeId) {
    let Some((_, Bus::Pci)) = parent_bus(context, node) else { return };
    let Some(property) = context.property(node, "reg") else { return };
    let name = property.name;
    let Some(reg) = first_reg(context, node).filter(|reg| reg.len() >= 3) else { return };
    if reg[1] != 0 || reg[2] != 0 {
        context.fail_property(node, name, "PCI reg config space address cells 2 and 3 must be 0");
    }
    let (device, function, register) = (reg[0] >> 11 & 0x1f, reg[0] >> 8 & 7, reg[0]);
    if register & 0xff00_0000 != 0 {
        context.fail_property(node, name, "PCI reg address is not configuration space");
    }
    if register & 0xff != 0 {
        context.fail_property(node, name, "PCI reg config space address register number must be 0");
    }
    let (unit, wanted) = (context.tree.unit_address(node), format!("{device:x},{function:x}"));
    if unit != wanted && !(function == 0 && unit == format!("{device:x}")) {
        context.fail(node, format!("PCI unit address format error, expected \"{wanted}\""));
    }
}

pub(super) fn pci_device_bus_num(context: &mut Context<'_>, node: NodeId) {
    let Some((parent, Bus::Pci)) = parent_bus(context, node) else { return };
    let Some(reg) = first_reg(context, node) else { return };
    let bus = reg[0] >> 16 & 0xff;
    let range = context.property(parent, "bus-range");
    let (place, values) = (range.map(|range| (range.name, range.span)), range.map(|range| cells(&range.value.bytes)));
    let (low, high) = match values.as_deref() {
        Some([low, high, ..]) => (*low, *high),
        _ => (0, 0),
    };
    if !(low..=high).contains(&bus) {
        let message = format!("PCI bus number {bus} out of range, expected ({low} - {high})");
        match place {
            Some((name, span)) => context.fail_at(node, name, span, message),
            None => context.fail(node, message),
        }
    }
}

pub(super) fn simple_bus_reg(context: &mut Context<'_>, node: NodeId) {
    let Some((parent, Bus::Simple)) = parent_bus(context, node) else { return };
    let unit = context.tree.unit_address(node).to_string();
    let address_cells = context.cells(parent).0 as usize;
    let own_cells = context.cells(node).0 as usize;
    // In `ranges` the node's own address comes first, then the parent's.
    let place = match context.property(node, "reg") {
        Some(reg) => Some((cells(&reg.value.bytes), 0)),
        None => {
            let ranges = context.property(node, "ranges").filter(|ranges| !ranges.value.bytes.is_empty());
            ranges.map(|ranges| (cells(&ranges.value.bytes), own_cells))
        }
    };
    let Some((values, from)) = place.filter(|(values, _)| !values.is_empty()) else {
        let is_bus = context.buses.get(&node) == Some(&Bus::Simple);
        if context.tree.node(parent).parent.is_some() && !is_bus {
            context.fail(node, "missing or empty reg/ranges property");
        }
        return;
    };
    let address = from.checked_add(address_cells).and_then(|to| values.get(from..to));
    let address = address.map(|cells| cells.iter().fold(0u64, |value, &cell| value << 32 | u64::from(cell)));
    let Some(address) = address else { return };
    if unit != format!("{address:x}") {
        context.fail(node, format!("simple-bus unit address format error, expected \"{address:x}\""));
    }
}

fn serial_bridge(context: &mut Context<'_>, node: NodeId, name: &str, wanted_address_cells: u32) {
    if context.tree.node(node).children.is_empty() {
        return;
    }
    let (address_cells, size_cells) = context.cells(node);
    if address_cells != wanted_address_cells {
        context.fail(node, format!("incorrect #address-cells for {name} bus"));
    }
    if size_cells != 0 {
        context.fail(node, format!("incorrect #size-cells for {name} bus"));
    }
}

pub(super) fn i2c_bus_bridge(context: &mut Context<'_>, node: NodeId) {
    if context.buses.get(&node) == Some(&Bus::I2c) {
        serial_bridge(context, node, "I2C", 1);
    }
}

pub(super) fn spi_bus_bridge(context: &mut Context<'_>, node: NodeId) {
    if context.buses.get(&node) != Some(&Bus::Spi) {
        return;
    }
    if context.tree.base_name(node) != "spi" && context.property(node, "reg").is_some() {
        context.fail(node, "node name for SPI buses should be 'spi'");
    }
    // A slave's only child is the controller, which has no address.
    let is_slave = context.property(node, "spi-slave").is_some();
    serial_bridge(context, node, "SPI", if is_slave { 0 } else { 1 });
}

const I2C_TEN_BIT: u32 = 1 << 31;
const I2C_OWN: u32 = 1 << 30;

pub(super) fn i2c_bus_reg(context: &mut Context<'_>, node: NodeId) {
    let Some((_, Bus::I2c)) = parent_bus(context, node) else { return };
    let Some(reg) = first_reg(context, node) else {
        return context.fail(node, "missing or empty reg property");
    };
    let first = reg[0] & !(I2C_OWN | I2C_TEN_BIT);
    if context.tree.unit_address(node) != format!("{first:x}") {
        context.fail(node, format!("I2C bus unit address format error, expected \"{first:x}\""));
    }
    let Some(property) = context.property(node, "reg").map(|reg| reg.name) else { return };
    for value in reg {
        let address = value & !(I2C_OWN | I2C_TEN_BIT);
        if value & I2C_TEN_BIT != 0 && address > 0x3ff {
            context.fail_property(
                node,
                property,
                format!("I2C address must be less than 10-bits, got \"{address:#x}\""),
            );
        } else if value & I2C_TEN_BIT == 0 && address > 0x7f {
            let message = format!(
                "I2C address must be less than 7-bits, got \"{address:#x}\". Set I2C_TEN_BIT_ADDRESS for 10 bit addresses or fix the property"
            );
            context.fail_property(node, property, message);
        }
    }
}

pub(super) fn spi_bus_reg(context: &mut Context<'_>, node: NodeId) {
    let Some((parent, Bus::Spi)) = parent_bus(context, node) else { return };
    if context.property(parent, "spi-slave").is_some() {
        return;
    }
    let Some(reg) = first_reg(context, node) else {
        return context.fail(node, "missing or empty reg property");
    };
    if context.tree.unit_address(node) != format!("{:x}", reg[0]) {
        context.fail(node, format!("SPI bus unit address format error, expected \"{:x}\"", reg[0]));
    }
}

/// The root cannot be a port.
pub(super) fn graph_nodes(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    if node != tree.root() {
        return;
    }
    for child in tree.children(node) {
        if tree.base_name(child) == "endpoint" || tree.property(child, "remote-endpoint").is_some() {
            let name = tree.name(child);
            context.fail(
                node,
                format!("root node contains endpoint node '{name}', potentially misplaced remote-endpoint property"),
            );
        }
    }
}

pub(super) fn graph_port(context: &mut Context<'_>, node: NodeId) {
    if context.buses.get(&node) != Some(&Bus::GraphPort) {
        return;
    }
    if context.tree.base_name(node) != "port" {
        context.fail(node, "graph port node name should be 'port'");
    }
    graph_reg(context, node);
}

/// A numbered graph node's unit address is its `reg`.
fn graph_reg(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    let (Some(reg), Some(parent)) = (tree.property(node, "reg"), tree.node(node).parent) else { return };
    let Ok(bytes) = <[u8; 4]>::try_from(&reg.value.bytes[..]) else {
        return context.fail(node, "graph node malformed 'reg' property");
    };
    let reg = u32::from_be_bytes(bytes);
    if tree.unit_address(node) != format!("{reg:x}") {
        context.fail(node, format!("graph node unit address error, expected \"{reg:x}\""));
    }
    for (name, wanted) in [("#address-cells", 1), ("#size-cells", 0)] {
        let found = tree.cell(parent, name);
        if found != Some(wanted) {
            let found = found.map_or(-1, i64::from);
            context.fail(node, format!("graph node '{name}' is {found}, must be {wanted}"));
        }
    }
}

/// Returns the node that an endpoint is connected to; reports a phandle of none.
fn remote_endpoint(context: &mut Context<'_>, node: NodeId) -> Option<NodeId> {
    let property = context.property(node, "remote-endpoint")?;
    let (name, phandle) = (property.name, *cells(&property.value.bytes).first()?);
    if phandle == 0 || phandle == u32::MAX {
        return None;
    }
    let found = context.by_phandle(phandle);
    if found.is_none() {
        context.fail_property(node, name, "graph phandle is not valid");
    }
    found
}

pub(super) fn graph_endpoint(context: &mut Context<'_>, node: NodeId) {
    let Some((_, Bus::GraphPort)) = parent_bus(context, node) else { return };
    if context.tree.base_name(node) != "endpoint" {
        context.fail(node, "graph endpoint node name should be 'endpoint'");
    }
    graph_reg(context, node);
    let Some(other) = remote_endpoint(context, node) else { return };
    if remote_endpoint(context, other) != Some(node) {
        let path = context.tree.path(other);
        context.fail(node, format!("graph connection to node '{path}' is not bidirectional"));
    }
}
