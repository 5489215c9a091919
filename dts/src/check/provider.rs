//! Checks of properties that name a provider by phandle, with arguments whose number the provider decides.

use super::{Context, cells};
use crate::intern::Name;
use crate::live::NodeId;

/// `property` is a list of phandles, each followed by as many cells as the provider's `cells_name` says.
pub(super) fn property(context: &mut Context<'_>, node: NodeId, property: &str, cells_name: &str) {
    if let Some(found) = context.property(node, property) {
        let name = found.name;
        list(context, node, name, cells_name);
    }
}

fn list(context: &mut Context<'_>, node: NodeId, name: Name, cells_name: &str) {
    let tree = context.tree;
    let Some(found) = tree.properties(node).find(|property| property.name == name) else { return };
    let bytes = &found.value.bytes;
    if bytes.len() % 4 != 0 {
        let message = format!("property size ({}) is invalid, expected multiple of 4", bytes.len());
        return context.fail_property(node, name, message);
    }
    let values = cells(bytes);
    let mut at = 0;
    while at < values.len() {
        let phandle = values[at];
        // 0 and -1 stand for an absent one; in a plugin -1 is one of the base tree.
        if phandle == 0 || phandle == u32::MAX {
            if tree.plugin {
                return;
            }
            at += 1;
            continue;
        }
        // A plain number where a reference should be, in a value that came from source text.
        let has_marks = !found.value.markers.is_empty();
        if has_marks && !found.value.phandles().any(|(offset, ..)| offset as usize == at * 4) {
            context.fail_property(node, name, format!("cell {at} is not a phandle reference"));
        }
        let Some(provider) = context.by_phandle(phandle) else {
            context.fail_property(node, name, format!("Could not get phandle node for (cell {at})"));
            return;
        };
        let count = match tree.property(provider, cells_name) {
            Some(property) => super::layout::first_cell(&property.value.bytes).unwrap_or(0),
            // Some bindings let it be left out where it would be 0.
            None if cells_name == "#msi-cells" => 0,
            None => {
                let path = tree.path(provider);
                let message = format!("Missing property '{cells_name}' in node {path} or bad phandle (referred from");
                let text = tree.text(name);
                return context.fail(node, format!("{message} {text}[{at}])"));
            }
        };
        if count as usize > values.len() - at - 1 {
            let message = format!("property size ({}) too small for cell size {count}", bytes.len());
            context.fail_property(node, name, message);
        }
        at = at.saturating_add(1).saturating_add(count as usize);
    }
}

/// Says whether a property holds GPIO specifiers, by its name.
fn is_gpio(name: &str) -> bool {
    let matches = name == "gpio" || name == "gpios" || name.ends_with("-gpio") || name.ends_with("-gpios");
    // This one counts them.
    matches && !name.ends_with(",nr-gpios")
}

pub(super) fn gpios_property(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    // A hog's specifier has no phandle: the parent is the controller.
    if tree.property(node, "gpio-hog").is_some() {
        return;
    }
    let names: Vec<Name> = tree.properties(node).map(|property| property.name).collect();
    for name in names.into_iter().filter(|&name| is_gpio(tree.text(name))) {
        list(context, node, name, "#gpio-cells");
    }
}

pub(super) fn deprecated_gpio_property(context: &mut Context<'_>, node: NodeId) {
    let tree = context.tree;
    for property in tree.properties(node) {
        let name = tree.text(property.name);
        if is_gpio(name) && (name.ends_with("-gpio") || name == "gpio") {
            context.fail_property(node, property.name, "'[*-]gpio' is deprecated, use '[*-]gpios' instead");
        }
    }
}
