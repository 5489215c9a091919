//! Applying an overlay to a base tree, as libfdt's `fdt_overlay_apply` does it, down to the order of the result.
//!
//! An overlay is a tree of fragments, each with a `target` (phandle) or `target-path` and an `__overlay__` node:
//! 1. its own phandles move above the base's largest, and so do the references listed in `__local_fixups__`;
//! 2. references to the base's labels, listed in `__fixups__`, get the base's phandles through its `__symbols__`;
//! 3. a node that has a phandle in both keeps the base's;
//! 4. each `__overlay__` is merged into its target: a property that is new goes first in its node, a node that is new
//!    goes before its siblings, for libfdt inserts at the cheapest place of the flat form;
//! 5. the overlay's symbols join the base's, with paths as seen from the merged tree.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::cells::StringList;
use crate::{EmitOptions, Error, Fdt, NodeId, Tree, Version};

/// Applies the blobs of `overlays`, in order, to the blob `base`; returns the merged blob as `fdtoverlay` writes it.
pub fn apply_blobs<'a>(base: &[u8], overlays: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Error> {
    let mut tree = Tree::from_fdt_keeping_strings(&Fdt::new(base)?);
    for overlay in overlays {
        apply(&mut tree, &Tree::parse(overlay)?)?;
    }
    tree.emit(&EmitOptions { version: Version::V17, ..EmitOptions::default() })
}

/// Applies `overlay` to `base`. On an error `base` may have been changed in part.
pub fn apply(base: &mut Tree, overlay: &Tree) -> Result<(), Error> {
    let mut overlay = overlay.clone();
    let delta = base.max_phandle();
    shift_phandles(&mut overlay, delta)?;
    for (node, property, offsets) in local_fixups(&overlay)? {
        for offset in offsets {
            update_cell(&mut overlay, node, &property, offset, |cell| cell.wrapping_add(delta))?;
        }
    }
    resolve_fixups(base, &mut overlay)?;
    keep_base_phandles(base, &mut overlay)?;
    for fragment in fragments(&overlay) {
        let target = target(base, &overlay, fragment.root)?;
        merge(base, target.node, &overlay, fragment.content);
    }
    merge_symbols(base, &overlay)
}

fn bad(text: String) -> Error {
    Error::BadOverlay(text)
}

/// Moves every phandle of the overlay up by `delta`.
fn shift_phandles(overlay: &mut Tree, delta: u32) -> Result<(), Error> {
    for node in overlay.walk(overlay.root()).collect::<Vec<_>>() {
        for name in ["phandle", "linux,phandle"] {
            if overlay.get(node, name).is_none() {
                continue;
            }
            let old = overlay.cell(node, name).ok_or_else(|| overlay.bad_property(node, name, "is not one cell"))?;
            let new = old.checked_add(delta).filter(|&new| new != u32::MAX);
            let new = new.ok_or_else(|| overlay.bad_property(node, name, "leaves the range of phandles"))?;
            overlay.set_cells(node, name, &[new]);
        }
    }
    Ok(())
}

/// Lists what `__local_fixups__` says: node, property, and the byte offsets of cells that hold the overlay's phandles.
fn local_fixups(overlay: &Tree) -> Result<Vec<(NodeId, String, Vec<u32>)>, Error> {
    let mut found = Vec::new();
    let Some(fixups) = overlay.child(overlay.root(), "__local_fixups__") else { return Ok(found) };
    let mut waiting = vec![(overlay.root(), fixups)];
    while let Some((node, fixup)) = waiting.pop() {
        for property in overlay.properties(fixup) {
            if property.value.len() % 4 != 0 {
                return Err(overlay.bad_property(fixup, &property.name, "is not a list of cells"));
            }
            let offsets = property.value.chunks_exact(4);
            let offsets = offsets.map(|cell| u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]])).collect();
            found.push((node, property.name.clone(), offsets));
        }
        for &child in overlay.children(fixup) {
            let inner = overlay.child(node, overlay.name(child));
            let inner = inner.ok_or_else(|| bad(format!("{} describes no node", overlay.path(child))))?;
            waiting.push((inner, child));
        }
    }
    Ok(found)
}

/// Changes the cell at byte `offset` of a property.
fn update_cell(
    tree: &mut Tree,
    node: NodeId,
    property: &str,
    offset: u32,
    change: impl FnOnce(u32) -> u32,
) -> Result<(), Error> {
    let offset = offset as usize;
    let value = tree.get_mut(node, property);
    match value.and_then(|value| value.get_mut(offset..offset.checked_add(4)?)) {
        Some(cell) => {
            let new = change(u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]]));
            cell.copy_from_slice(&new.to_be_bytes());
            Ok(())
        }
        None => Err(tree.bad_property(node, property, "has no cell where a fixup wants one")),
    }
}

/// Writes the base's phandles into the cells that `__fixups__` lists as `path:property:offset`, by label.
fn resolve_fixups(base: &Tree, overlay: &mut Tree) -> Result<(), Error> {
    let Some(fixups) = overlay.child(overlay.root(), "__fixups__") else { return Ok(()) };
    let symbols = base.child(base.root(), "__symbols__");
    for fixup in overlay.properties(fixups).to_vec() {
        let label = &fixup.name;
        let path = symbols.and_then(|symbols| base.string(symbols, label));
        let path = path.ok_or_else(|| bad(format!("the base tree has no symbol {label}")))?;
        let node = base.find(path).ok_or_else(|| bad(format!("symbol {label} points to {path}, which is no node")))?;
        let phandle = base.phandle(node).ok_or_else(|| bad(format!("{path} ({label}) has no phandle")))?;
        if fixup.value.last().is_some_and(|&byte| byte != 0) {
            return Err(overlay.bad_property(fixups, label, "is not a list of strings"));
        }
        for place in StringList::new(&fixup.value) {
            let malformed = || bad(format!("fixup {place:?} of {label} is not path:property:offset"));
            let mut parts = place.splitn(3, ':');
            let (Some(path), Some(property), Some(offset)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(malformed());
            };
            let offset = offset.parse().map_err(|_| malformed())?;
            let node = overlay.find(path).ok_or_else(|| bad(format!("fixup of {label}: no node {path}")))?;
            update_cell(overlay, node, property, offset, |_| phandle)?;
        }
    }
    Ok(())
}

/// Where an overlay keeps content: the fragment and its `__overlay__`.
struct Fragment {
    root: NodeId,
    content: NodeId,
}

fn fragments(overlay: &Tree) -> Vec<Fragment> {
    let children = overlay.children(overlay.root()).iter();
    children.filter_map(|&root| Some(Fragment { root, content: overlay.child(root, "__overlay__")? })).collect()
}

struct Target {
    node: NodeId,
    path: String,
}

/// Finds the node of the base that a fragment wants to change.
fn target(base: &Tree, overlay: &Tree, fragment: NodeId) -> Result<Target, Error> {
    if overlay.get(fragment, "target").is_some() {
        let phandle = overlay.cell(fragment, "target").filter(|&phandle| phandle != u32::MAX && phandle != 0);
        let phandle = phandle.ok_or_else(|| overlay.bad_property(fragment, "target", "is not a phandle"))?;
        let node = base.find_phandle(phandle);
        let node =
            node.ok_or_else(|| bad(format!("{}: the base has no phandle {phandle:#x}", overlay.path(fragment))))?;
        return Ok(Target { node, path: base.path(node) });
    }
    let path = overlay.string(fragment, "target-path");
    let path = path.ok_or_else(|| bad(format!("{} has no target", overlay.path(fragment))))?;
    let node = base.find(path).ok_or_else(|| bad(format!("the base has no node {path}")))?;
    Ok(Target { node, path: path.to_string() })
}

/// Gives overlay nodes that meet a base node with a phandle that phandle, and changes the references to them.
fn keep_base_phandles(base: &Tree, overlay: &mut Tree) -> Result<(), Error> {
    let mut renamed = BTreeMap::new();
    for fragment in fragments(overlay) {
        let target = target(base, overlay, fragment.root)?;
        let mut waiting = vec![(target.node, fragment.content)];
        while let Some((base_node, node)) = waiting.pop() {
            if let (Some(kept), Some(old)) = (base.phandle(base_node), overlay.phandle(node)) {
                renamed.insert(old, kept);
                for name in ["phandle", "linux,phandle"] {
                    if overlay.get(node, name).is_some() {
                        overlay.set_cells(node, name, &[kept]);
                    }
                }
            }
            let pairs = overlay.children(node).iter();
            waiting.extend(pairs.filter_map(|&child| Some((base.child(base_node, overlay.name(child))?, child))));
        }
    }
    if renamed.is_empty() {
        return Ok(());
    }
    for (node, property, offsets) in local_fixups(overlay)? {
        for offset in offsets {
            update_cell(overlay, node, &property, offset, |cell| *renamed.get(&cell).unwrap_or(&cell))?;
        }
    }
    Ok(())
}

/// Merges one `__overlay__` into its target.
fn merge(base: &mut Tree, into: NodeId, overlay: &Tree, from: NodeId) {
    let mut waiting = vec![(into, from)];
    while let Some((into, from)) = waiting.pop() {
        for property in overlay.properties(from) {
            base.set_in_place(into, &property.name, property.value.clone());
        }
        // Subnodes must be entered in order, each with all below it before the next, so that names reach the strings
        // block in libfdt's order; the stack hands them out from its end.
        let mut pairs = Vec::new();
        for &child in overlay.children(from) {
            let name = overlay.name(child);
            let existing = base.child(into, name);
            pairs.push((existing.unwrap_or_else(|| base.push_child(into, name, Some(0))), child));
        }
        waiting.extend(pairs.into_iter().rev());
    }
}

/// Adds the overlay's symbols to the base's, each with the path its node has in the merged tree.
fn merge_symbols(base: &mut Tree, overlay: &Tree) -> Result<(), Error> {
    let Some(symbols) = overlay.child(overlay.root(), "__symbols__") else { return Ok(()) };
    let root = base.root();
    let base_symbols = match base.child(root, "__symbols__") {
        Some(node) => node,
        None => base.push_child(root, "__symbols__", Some(0)),
    };
    for symbol in overlay.properties(symbols) {
        let path = symbol.value.strip_suffix(b"\0").filter(|path| !path.contains(&0));
        let path = path.and_then(|path| core::str::from_utf8(path).ok()).and_then(|path| path.strip_prefix('/'));
        let path = path.ok_or_else(|| overlay.bad_property(symbols, &symbol.name, "is not one absolute path"))?;
        // A symbol outside any __overlay__ names nothing of the merged tree.
        let Some((fragment, rest)) = path.split_once('/') else { continue };
        let Some(rest) = rest.strip_prefix("__overlay__") else { continue };
        if !rest.is_empty() && !rest.starts_with('/') {
            continue;
        }
        let missing = || bad(format!("symbol {} names no fragment: /{path}", symbol.name));
        let fragment = overlay.child(overlay.root(), fragment).ok_or_else(missing)?;
        overlay.child(fragment, "__overlay__").ok_or_else(missing)?;
        let target = target(base, overlay, fragment)?.path;
        let mut value = if target == "/" { String::new() } else { target };
        value.push('/');
        value.push_str(rest.strip_prefix('/').unwrap_or(rest));
        value.push('\0');
        base.set_in_place(base_symbols, &symbol.name, value);
    }
    Ok(())
}
