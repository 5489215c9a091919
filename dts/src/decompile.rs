//! From a flattened tree back to one that can be printed: labels and references return where the blob tells of them.

use std::collections::HashMap;

use crate::ast::{Label, Reservation};
use crate::data::{Data, Marker, MarkerKind, Type};
use crate::intern::Names;
use crate::live::{LiveTree, NodeId, add_label};
use crate::source::Span;

impl LiveTree {
    /// Copies a flattened tree. `__symbols__` gives labels; in an overlay `__fixups__` and `__local_fixups__` give
    /// references, and are left out, for compiling makes them again.
    pub fn from_flat(flat: &fdt::Tree) -> LiveTree {
        let mut tree = LiveTree::new(Names::default());
        tree.boot_cpu = flat.boot_cpu;
        let reservations = flat.reservations.iter();
        tree.reservations = reservations
            .map(|entry| Reservation { labels: Vec::new(), address: entry.address, size: entry.size })
            .collect();
        let mut copies = HashMap::new();
        for node in flat.walk(flat.root()) {
            let copy = match flat.parent(node).and_then(|parent| copies.get(&parent)) {
                Some(&parent) => tree.push_child(parent, flat.name(node)),
                None => tree.root(),
            };
            copies.insert(node, copy);
            for property in flat.properties(node) {
                let value = Data { bytes: property.value.clone(), markers: Vec::new() };
                tree.add_property(copy, &property.name, value);
            }
        }
        tree.restore_labels();
        tree.restore_references();
        tree
    }

    fn strings_of(&self, id: NodeId) -> Vec<(String, Vec<String>)> {
        let split = |bytes: &[u8]| fdt::StringList::new(bytes).map(String::from).collect();
        self.properties(id).map(|property| (self.text(property.name).into(), split(&property.value.bytes))).collect()
    }

    fn restore_labels(&mut self) {
        let Some(symbols) = self.child(self.root(), "__symbols__") else { return };
        for (label, paths) in self.strings_of(symbols).into_iter().rev() {
            let is_label = !label.starts_with(|c: char| c.is_ascii_digit())
                && !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let [path] = &paths[..] else { continue };
            if let (true, Some(node)) = (is_label, self.by_path(self.root(), path)) {
                let name = self.names.intern(&label);
                add_label(&mut self.node_mut(node).labels, Label { name, span: Span::default() });
                self.hint_label(name, node);
            }
        }
    }

    /// Turns fixups into references. If any cannot be, all stay as they are.
    fn restore_references(&mut self) {
        let root = self.root();
        let (fixups, local) = (self.child(root, "__fixups__"), self.child(root, "__local_fixups__"));
        let is_overlay = self.children(root).any(|child| self.child(child, "__overlay__").is_some());
        if !is_overlay || fixups.is_none() && local.is_none() {
            return;
        }
        let mut found: Vec<(NodeId, String, u32, String)> = Vec::new();
        for (label, places) in fixups.map(|id| self.strings_of(id)).unwrap_or_default() {
            for place in places {
                let mut parts = place.splitn(3, ':');
                let node = parts.next().and_then(|path| self.by_path(root, path));
                let (property, offset) = (parts.next(), parts.next().and_then(|offset| offset.parse().ok()));
                let (Some(node), Some(property), Some(offset)) = (node, property, offset) else { return };
                found.push((node, property.into(), offset, label.clone()));
            }
        }
        let mut waiting: Vec<_> = local.map(|local| (root, local)).into_iter().collect();
        while let Some((node, fixup)) = waiting.pop() {
            for property in self.properties(fixup) {
                for offset in fdt::Cells::new(&property.value.bytes) {
                    let name = self.text(property.name);
                    let Some(label) = self.label_at(node, name, offset) else { return };
                    found.push((node, name.into(), offset, label));
                }
            }
            for child in self.children(fixup) {
                let Some(inner) = self.child(node, self.name(child)) else { return };
                waiting.push((inner, child));
            }
        }
        if found.iter().any(|(node, property, offset, _)| !self.has_cell(*node, property, *offset)) {
            return;
        }
        for (node, property, offset, target) in found {
            let target = self.names.intern(&target);
            if let Some(property) = self.property_mut(node, &property) {
                let markers = &mut property.value.markers;
                if markers.is_empty() {
                    markers.push(Marker { offset: 0, kind: MarkerKind::Type(Type::U32), span: Span::default() });
                }
                let index = markers
                    .partition_point(|marker| marker.offset <= offset && marker.kind != MarkerKind::Phandle(target));
                markers.insert(index, Marker { offset, kind: MarkerKind::Phandle(target), span: Span::default() });
            }
        }
        self.plugin = true;
        for node in [fixups, local].into_iter().flatten() {
            self.delete(node);
        }
    }

    /// Says whether a property is made of cells, and one begins at `offset`.
    fn has_cell(&self, node: NodeId, property: &str, offset: u32) -> bool {
        let length = self.property(node, property).map_or(0, |property| property.value.bytes.len());
        length.is_multiple_of(4) && offset.is_multiple_of(4) && (offset as usize) < length
    }

    /// Returns a label, or the path, of the node whose phandle a cell holds.
    fn label_at(&self, node: NodeId, property: &str, offset: u32) -> Option<String> {
        let value = &self.property(node, property)?.value.bytes;
        let cell = fdt::Cells::new(value.get(offset as usize..)?).next()?;
        let target = self.walk().into_iter().find(|&id| self.cell(id, "phandle") == Some(cell))?;
        let label = Self::labels(&self.node(target).labels).next().map(|label| self.text(label.name).to_string());
        label.or_else(|| Some(self.path(target)))
    }
}
