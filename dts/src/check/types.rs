//! Checks of what a property's value is: a cell, a string, a list of strings.

use super::Context;
use crate::live::NodeId;

pub(super) fn is_cell(context: &mut Context<'_>, node: NodeId, name: &str) {
    let Some(property) = context.property(node, name) else { return };
    let (name, length) = (property.name, property.value.bytes.len());
    if length != 4 {
        context.fail_property(node, name, "property is not a single cell");
    }
}

pub(super) fn is_text(context: &mut Context<'_>, node: NodeId, name: &str) {
    let Some(property) = context.property(node, name) else { return };
    let (name, bytes) = (property.name, &property.value.bytes);
    if bytes.is_empty() || bytes.iter().position(|&byte| byte == 0) != Some(bytes.len() - 1) {
        context.fail_property(node, name, "property is not a string");
    }
}

fn is_list(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.last() == Some(&0)
}

pub(super) fn is_text_list(context: &mut Context<'_>, node: NodeId, name: &str) {
    let Some(property) = context.property(node, name) else { return };
    let (name, good) = (property.name, is_list(&property.value.bytes));
    if !good {
        context.fail_property(node, name, "property is not a string list");
    }
}

/// Every property `...-names` is a list of strings.
pub(super) fn names_is_string_list(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    for property in tree.properties(node) {
        if tree.text(property.name).ends_with("-names") && !is_list(&property.value.bytes) {
            context.fail_property(node, property.name, "property is not a string list");
        }
    }
}
