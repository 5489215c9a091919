//! Checks of interrupt controllers, specifiers and maps.

use super::{Context, cells};
use crate::live::{LiveTree, NodeId};

fn is_provider(tree: &LiveTree, node: NodeId) -> bool {
    tree.property(node, "interrupt-controller").is_some() || tree.property(node, "interrupt-map").is_some()
}

pub(super) fn interrupt_provider(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    match tree.property(node, "#interrupt-cells") {
        None if is_provider(tree, node) => {
            context.fail(node, "Missing '#interrupt-cells' in interrupt provider");
        }
        Some(_) if !is_provider(tree, node) => {
            context.fail(node, "'#interrupt-cells' found, but node is not an interrupt provider");
        }
        _ => {}
    }
}

pub(super) fn interrupts_property(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    let Some(property) = tree.property(node, "interrupts") else { return };
    let (name, length) = (property.name, property.value.bytes.len());
    if length % 4 != 0 {
        context.fail_property(node, name, format!("size ({length}) is invalid, expected multiple of 4"));
    }
    let (mut at, mut provider) = (Some(node), None);
    while let Some(here) = at {
        if here != node && is_provider(tree, here) {
            provider = Some(here);
            break;
        }
        if let Some(parent) = tree.property(here, "interrupt-parent") {
            let phandle = super::layout::first_cell(&parent.value.bytes).unwrap_or(0);
            if phandle == 0 || phandle == u32::MAX {
                // In a plugin the controller is in the base tree.
                if tree.plugin {
                    return;
                }
                let parent = parent.name;
                return context.fail_property(here, parent, "Invalid phandle");
            }
            let Some(found) = context.by_phandle(phandle) else {
                let parent = parent.name;
                return context.fail_property(here, parent, "Bad phandle");
            };
            if !is_provider(tree, found) {
                context.fail(found, "Missing interrupt-controller or interrupt-map property");
            }
            provider = Some(found);
            break;
        }
        at = tree.node(here).parent;
    }
    let Some(provider) = provider else {
        return context.fail(node, "Missing interrupt-parent");
    };
    let Some(count) = tree.property(provider, "#interrupt-cells") else {
        // Said by interrupt_provider already.
        return;
    };
    let (name, span, count) =
        (count.name, count.span, super::layout::first_cell(&count.value.bytes).unwrap_or(0) as usize);
    if count == 0 && length > 0 || count > 0 && length % count.saturating_mul(4) != 0 {
        let message = format!("size is ({length}), expected multiple of {}", count.saturating_mul(4));
        context.fail_at(node, name, span, message);
    }
}

/// Every row names a controller, and is as long as that controller's cells make it.
pub(super) fn interrupt_map(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    let Some(property) = tree.property(node, "interrupt-map") else { return };
    let name = property.name;
    let one = |node: NodeId, name: &str| {
        tree.property(node, name).and_then(|property| super::layout::first_cell(&property.value.bytes))
    };
    let Some(own_cells) = one(node, "#interrupt-cells") else { return };
    if tree.property(node, "#address-cells").is_none() {
        return context.fail(node, "Missing '#address-cells' in interrupt-map provider");
    }
    let (own_address, _) = context.cells(node);
    let key = (own_address as usize).saturating_add(own_cells as usize);
    let values = cells(&property.value.bytes);
    if let Some(mask) = tree.property(node, "interrupt-map-mask")
        && mask.value.bytes.len() != key.saturating_mul(4)
    {
        let (mask, length) = (mask.name, mask.value.bytes.len());
        let message = format!("property size ({length}) is invalid, expected {}", key.saturating_mul(4));
        context.fail_property(node, mask, message);
    }
    let mut at = 0usize;
    while at < values.len() {
        let Some(&phandle) = at.checked_add(key).and_then(|at| values.get(at)) else {
            let message = format!("property size ({}) too small, expected > {}", values.len() * 4, (at + key) * 4);
            return context.fail_property(node, name, message);
        };
        if phandle == 0 || phandle == u32::MAX {
            if !tree.plugin {
                context.fail_property(node, name, format!("Cell {} is not a phandle({phandle})", at + key));
            }
            return;
        }
        let Some(parent) = context.by_phandle(phandle) else {
            return context.fail_property(
                node,
                name,
                format!("Could not get phandle({phandle}) node for (cell {})", at + key),
            );
        };
        let Some(parent_cells) = one(parent, "#interrupt-cells") else {
            let path = tree.path(parent);
            let message = format!("Missing property '#interrupt-cells' in node {path} or bad phandle");
            return context.fail(node, format!("{message} (referred from interrupt-map[{}])", at + key));
        };
        let parent_address = match one(parent, "#address-cells") {
            Some(cells) => cells,
            None => {
                let path = tree.path(parent);
                context.fail(node, format!("Missing property '#address-cells' in node {path}, using 0 as fallback"));
                0
            }
        };
        let row = key.saturating_add(1).saturating_add(parent_cells as usize).saturating_add(parent_address as usize);
        at = at.saturating_add(row);
        if at > values.len() {
            let message = format!("property size ({}) too small for cell size {row}", values.len() * 4);
            return context.fail_property(node, name, message);
        }
    }
}
