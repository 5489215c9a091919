//! Checks of names, unit addresses, `reg` and `ranges`, chosen and aliases.

use super::bus::Bus;
use super::{Context, cells};
use crate::intern::Name;
use crate::lexer::is_name;
use crate::live::{LiveTree, NodeId};

pub(super) fn always_fail(context: &mut Context<'_>, node: NodeId) {
    context.fail(node, "always_fail check");
}

pub(super) fn duplicate_node_names(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    let mut seen: Vec<Name> = Vec::new();
    for child in tree.children(node) {
        let name = tree.node(child).name;
        if seen.contains(&name) {
            context.fail(child, "Duplicate node name");
        }
        seen.push(name);
    }
}

pub(super) fn duplicate_property_names(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    let mut seen: Vec<Name> = Vec::new();
    for property in tree.properties(node) {
        if seen.contains(&property.name) {
            context.fail_property(node, property.name, "Duplicate property name");
        }
        seen.push(property.name);
    }
}

fn first_bad(name: &str, good: impl Fn(u8) -> bool) -> Option<char> {
    name.chars().find(|&c| !u8::try_from(c).is_ok_and(&good))
}

fn is_strict(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b',' || byte == b'-'
}

pub(super) fn node_name_chars(context: &mut Context<'_>, node: NodeId) {
    if let Some(bad) = first_bad(context.tree.name(node), is_name) {
        context.fail(node, format!("Bad character '{bad}' in node name"));
    }
}

pub(super) fn node_name_chars_strict(context: &mut Context<'_>, node: NodeId) {
    if let Some(bad) = first_bad(context.tree.base_name(node), is_strict) {
        context.fail(node, format!("Character '{bad}' not recommended in node name"));
    }
}

pub(super) fn node_name_format(context: &mut Context<'_>, node: NodeId) {
    if context.tree.unit_address(node).contains('@') {
        context.fail(node, "multiple '@' characters in node name");
    }
}

pub(super) fn node_name_not_empty(context: &mut Context<'_>, node: NodeId) {
    if context.tree.base_name(node).is_empty() && context.tree.node(node).parent.is_some() {
        context.fail(node, "Empty node name");
    }
}

pub(super) fn property_name_chars(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    for property in tree.properties(node) {
        if let Some(bad) = first_bad(tree.text(property.name), |byte| is_name(byte) && byte != b'@') {
            context.fail_property(node, property.name, format!("Bad character '{bad}' in property name"));
        }
    }
}

pub(super) fn property_name_chars_strict(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    for property in tree.properties(node) {
        let name = tree.text(property.name);
        if name == "device_type" {
            continue;
        }
        // A `#` is ordinary at the start and after the vendor's prefix.
        let rest = match name.split_once('#') {
            Some((before, after)) if before.is_empty() || before.ends_with(',') && before.bytes().all(is_strict) => {
                after
            }
            _ => name,
        };
        if let Some(bad) = first_bad(rest, is_strict) {
            let message = format!("Character '{bad}' not recommended in property name");
            context.fail_property(node, property.name, message);
        }
    }
}

pub(super) fn node_name_vs_property_name(context: &mut Context<'_>, node: NodeId) {
    let Some(parent) = context.tree.node(node).parent else { return };
    if context.property(parent, context.tree.name(node)).is_some() {
        context.fail(node, "node name and property name conflict");
    }
}

fn too_wide((address, size): (u32, u32)) -> bool {
    address > 1000 || size > 1000
}

pub(super) fn reg_format(context: &mut Context<'_>, node: NodeId) {
    let Some(property) = context.property(node, "reg") else { return };
    let (name, length) = (property.name, property.value.bytes.len());
    let Some(parent) = context.tree.node(node).parent else {
        return context.fail(node, "Root node has a \"reg\" property");
    };
    if length == 0 {
        context.fail_property(node, name, "property is empty");
    }
    let (address, size) = context.cells(parent);
    let entry = if too_wide((address, size)) { 0 } else { (address + size) as usize * 4 };
    if !length.is_multiple_of(entry) {
        let message = format!(
            "property has invalid length ({length} bytes) (#address-cells == {address}, #size-cells == {size})"
        );
        context.fail_property(node, name, message);
    }
}

pub(super) fn ranges_format(context: &mut Context<'_>, node: NodeId) {
    ranges(context, node, "ranges");
}

pub(super) fn dma_ranges_format(context: &mut Context<'_>, node: NodeId) {
    ranges(context, node, "dma-ranges");
}

fn ranges(context: &mut Context<'_>, node: NodeId, which: &str) {
    let Some(property) = context.property(node, which) else { return };
    let (name, length) = (property.name, property.value.bytes.len());
    let Some(parent) = context.tree.node(node).parent else {
        return context.fail_property(node, name, format!("Root node has a \"{which}\" property"));
    };
    let (parent_address, parent_size) = context.cells(parent);
    let (address, size) = context.cells(node);
    if too_wide((parent_address, parent_size)) || too_wide((address, size)) {
        return context.fail_property(node, name, "property cannot be read with these cells");
    }
    if length == 0 {
        if parent_address != address {
            let path = context.tree.path(parent);
            let message = format!(
                "empty \"{which}\" property but its #address-cells ({address}) differs from {path} ({parent_address})"
            );
            context.fail_property(node, name, message);
        }
        if parent_size != size {
            let path = context.tree.path(parent);
            let message =
                format!("empty \"{which}\" property but its #size-cells ({size}) differs from {path} ({parent_size})");
            context.fail_property(node, name, message);
        }
        return;
    }
    let entry = (parent_address + address + size) as usize * 4;
    if !length.is_multiple_of(entry) {
        let message = format!(
            "\"{which}\" property has invalid length ({length} bytes) (parent #address-cells == {parent_address}, child #address-cells == {address}, #size-cells == {size})"
        );
        context.fail_property(node, name, message);
    }
}

pub(super) fn unit_address_vs_reg(context: &mut Context<'_>, node: NodeId) {
    let unit = context.tree.unit_address(node);
    // Fragments are numbered without being anywhere.
    if context.tree.children(node).any(|child| context.tree.name(child) == "__overlay__") {
        return;
    }
    let reg = context
        .property(node, "reg")
        .or_else(|| context.property(node, "ranges").filter(|ranges| !ranges.value.bytes.is_empty()));
    match reg {
        Some(_) if unit.is_empty() => context.fail(node, "node has a reg or ranges property, but no unit name"),
        None if !unit.is_empty() => context.fail(node, "node has a unit name, but no reg or ranges property"),
        _ => {}
    }
}

pub(super) fn unit_address_format(context: &mut Context<'_>, node: NodeId) {
    let unit = context.tree.unit_address(node);
    let bus = context.tree.node(node).parent.and_then(|parent| context.buses.get(&parent));
    if matches!(bus, Some(Bus::Pci | Bus::Simple)) || unit.is_empty() {
        return;
    }
    let rest = unit.strip_prefix("0x");
    if rest.is_some() {
        context.fail(node, "unit name should not have leading \"0x\"");
    }
    let unit = rest.unwrap_or(unit);
    if unit.starts_with('0') && unit.len() > 1 && unit.as_bytes()[1].is_ascii_hexdigit() {
        context.fail(node, "unit name should not have leading 0s");
    }
}

fn has(context: &Context<'_>, node: NodeId, name: &str) -> bool {
    context.property(node, name).is_some()
}

pub(super) fn avoid_default_addr_size(context: &mut Context<'_>, node: NodeId) {
    let Some(parent) = context.tree.node(node).parent else { return };
    if !has(context, node, "reg") && !has(context, node, "ranges") {
        return;
    }
    for name in ["#address-cells", "#size-cells"] {
        if !has(context, parent, name) {
            context.fail(node, format!("Relying on default {name} value"));
        }
    }
}

pub(super) fn avoid_unnecessary_addr_size(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    if tree.node(node).parent.is_none()
        || !has(context, node, "#address-cells")
        || !has(context, node, "#size-cells")
        || has(context, node, "ranges")
        || has(context, node, "dma-ranges")
        || tree.node(node).children.is_empty()
    {
        return;
    }
    let needed = tree.children(node).any(|child| has(context, child, "reg") || has(context, child, "ranges"));
    if !needed {
        context.fail(
            node,
            "unnecessary #address-cells/#size-cells without \"ranges\", \"dma-ranges\" or child \"reg\" or \"ranges\" property",
        );
    }
}

fn is_disabled(tree: &LiveTree, node: NodeId) -> bool {
    tree.property(node, "status").is_some_and(|status| status.value.bytes.starts_with(b"disabled\0"))
}

pub(super) fn unique_unit_address(context: &mut Context<'_>, node: NodeId) {
    unique(context, node, false);
}

pub(super) fn unique_unit_address_if_enabled(context: &mut Context<'_>, node: NodeId) {
    unique(context, node, true);
}

fn unique(context: &mut Context<'_>, node: NodeId, only_enabled: bool) {
    let tree = context.tree;
    if !has(context, node, "#address-cells") || !has(context, node, "#size-cells") {
        return;
    }
    let mut earlier: std::collections::HashMap<&str, Vec<NodeId>> = std::collections::HashMap::new();
    for child in tree.children(node) {
        let unit = tree.unit_address(child);
        if unit.is_empty() || only_enabled && is_disabled(tree, child) {
            continue;
        }
        let same = earlier.entry(unit).or_default();
        for &other in same.iter() {
            context.fail(other, format!("duplicate unit-address (also used in node {})", tree.path(child)));
        }
        same.push(child);
    }
}

pub(super) fn obsolete_chosen_interrupt_controller(context: &mut Context<'_>, node: NodeId) {
    if context.tree.child(context.tree.root(), "chosen") != Some(node) {
        return;
    }
    let Some(property) = context.property(node, "interrupt-controller") else { return };
    let name = property.name;
    context.fail_property(node, name, "/chosen has obsolete \"interrupt-controller\" property");
}

pub(super) fn chosen_node_is_root(context: &mut Context<'_>, node: NodeId) {
    if context.tree.name(node) == "chosen" && context.tree.node(node).parent != Some(context.tree.root()) {
        context.fail(node, "chosen node must be at root node");
    }
}

pub(super) fn chosen_node_bootargs(context: &mut Context<'_>, node: NodeId) {
    if context.tree.name(node) == "chosen" {
        super::types::is_text(context, node, "bootargs");
    }
}

pub(super) fn chosen_node_stdout_path(context: &mut Context<'_>, node: NodeId) {
    if context.tree.name(node) != "chosen" {
        return;
    }
    if has(context, node, "stdout-path") {
        return super::types::is_text(context, node, "stdout-path");
    }
    let Some(name) = context.property(node, "linux,stdout-path").map(|property| property.name) else { return };
    context.fail_property(node, name, "Use 'stdout-path' instead");
    super::types::is_text(context, node, "linux,stdout-path");
}

pub(super) fn alias_paths(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    if tree.name(node) != "aliases" {
        return;
    }
    for property in tree.properties(node) {
        let name = tree.text(property.name);
        if matches!(name, "phandle" | "linux,phandle") {
            continue;
        }
        let text = property.value.bytes.split(|&byte| byte == 0).next().and_then(|text| std::str::from_utf8(text).ok());
        if text.is_none_or(|path| tree.by_path(tree.root(), path).is_none()) {
            let message = format!("aliases property is not a valid node ({})", text.unwrap_or_default());
            context.fail_property(node, property.name, message);
            continue;
        }
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            context.fail(node, "aliases property name must include only lowercase and '-'");
        }
    }
}

/// Returns the first cell of a value.
pub(super) fn first_cell(bytes: &[u8]) -> Option<u32> {
    cells(bytes).first().copied()
}
