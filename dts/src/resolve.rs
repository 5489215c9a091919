//! Giving references their values: phandles, paths, symbols, fixups. The order of the steps decides the bytes.

use std::collections::HashSet;

use crate::data::{Data, MarkerKind, Type};
use crate::diagnostic::{Diagnostic, Kind, Severity};
use crate::intern::Name;
use crate::live::{LiveNode, LiveTree, NodeId};
use crate::session::{VALUES_LIMIT, VALUES_MESSAGE};
use crate::source::Span;
use crate::{Options, PhandleFormat};

/// Resolves everything; messages of dtc's resolving checks go to `report`.
/// Returns the smallest phandle that was never tried.
pub(crate) fn resolve(tree: &mut LiveTree, options: &Options, report: &mut dyn FnMut(Diagnostic)) -> u32 {
    let mut resolver = Resolver { tree, options, report, used: HashSet::new(), next: 1, added: 0, over: false };
    resolver.names();
    resolver.explicit_phandles();
    resolver.phandle_references();
    resolver.path_references();
    resolver.omit_unused();
    resolver.next
}

/// Adds `aliases`, `__symbols__`, `__fixups__` and `__local_fixups__` where asked for and not empty.
/// `next` is what [`resolve`] returned.
pub(crate) fn generate(tree: &mut LiveTree, options: &Options, next: u32, report: &mut dyn FnMut(Diagnostic)) {
    let used = tree.walk().into_iter().map(|id| tree.node(id).phandle).filter(|&phandle| phandle != 0).collect();
    let mut resolver = Resolver { tree, options, report, used, next, added: 0, over: false };
    if options.auto_aliases {
        resolver.label_tree("aliases", false);
    }
    if options.symbols {
        resolver.label_tree("__symbols__", true);
    }
    if (options.local_fixups || resolver.tree.plugin) && !options.for_source {
        resolver.fixups();
        resolver.local_fixups();
    }
    if options.sort {
        sort(resolver.tree);
    }
}

struct Resolver<'t> {
    tree: &'t mut LiveTree,
    options: &'t Options,
    report: &'t mut dyn FnMut(Diagnostic),
    /// Phandles of nodes.
    used: HashSet<u32>,
    /// No number below is free.
    next: u32,
    /// Bytes that have been added to values: paths, mostly, of which a short source can ask for very many.
    added: usize,
    /// More than may be, which was reported.
    over: bool,
}

fn is_phandle(phandle: u32) -> bool {
    phandle != 0 && phandle != u32::MAX
}

impl Resolver<'_> {
    fn fail(&mut self, check: &'static str, node: NodeId, property: Option<Name>, at: Option<Span>, message: String) {
        let spans = &self.tree.node(node).spans;
        let span = at.or_else(|| {
            let property = property.and_then(|name| self.tree.properties(node).find(|p| p.name == name));
            property.and_then(|property| property.span).or(spans.first().copied())
        });
        let mut path = self.tree.path(node);
        if let Some(property) = property {
            path = format!("{path}:{}", self.tree.text(property));
        }
        (self.report)(Diagnostic {
            severity: Severity::Error,
            kind: Kind::Check(check),
            message,
            span,
            labels: Vec::new(),
            path: Some(path),
        });
    }

    /// Counts bytes that are about to be added to values; says whether there is room, and reports once that there is not.
    fn grow(&mut self, bytes: usize, span: Option<Span>) -> bool {
        self.added = self.added.saturating_add(bytes);
        if self.added > VALUES_LIMIT && !self.over {
            self.over = true;
            (self.report)(Diagnostic { span, ..Diagnostic::error(Kind::Syntax, Span::default(), VALUES_MESSAGE) });
        }
        !self.over
    }

    /// Drops `name` properties that only repeat the node's name; reports wrong ones.
    fn names(&mut self) {
        for id in self.tree.walk() {
            let Some(property) = self.tree.property(id, "name") else { continue };
            let base = self.tree.base_name(id).as_bytes();
            let name = property.name;
            if property.value.bytes.split_last() == Some((&0, base)) {
                if let Some(index) = self.tree.node(id).properties.iter().position(|p| p.name == name && !p.deleted) {
                    self.tree.node_mut(id).properties.remove(index);
                }
            } else {
                let shown = String::from_utf8_lossy(&property.value.bytes).trim_end_matches('\0').to_string();
                let message = format!("\"name\" property is incorrect (\"{shown}\" instead of base node name)");
                self.fail("name_properties", id, None, None, message);
            }
        }
    }

    /// Records every phandle that is written out.
    fn explicit_phandles(&mut self) {
        let mut owners = std::collections::HashMap::new();
        for id in self.tree.walk() {
            let new = self.explicit_phandle(id, "phandle");
            let old = self.explicit_phandle(id, "linux,phandle");
            let Some(phandle) = new.or(old) else { continue };
            if old.is_some_and(|old| old != phandle) {
                self.fail(
                    "explicit_phandles",
                    id,
                    None,
                    None,
                    "mismatching 'phandle' and 'linux,phandle' properties".into(),
                );
            }
            if let Some(&other) = owners.get(&phandle) {
                let message = format!("duplicated phandle {phandle:#x} (seen before at {})", self.tree.path(other));
                self.fail("explicit_phandles", id, None, None, message);
                continue;
            }
            owners.insert(phandle, id);
            self.used.insert(phandle);
            self.tree.node_mut(id).phandle = phandle;
        }
    }

    fn explicit_phandle(&mut self, id: NodeId, name: &str) -> Option<u32> {
        let property = self.tree.property(id, name)?;
        let (value, property_name) = (&property.value, property.name);
        let Ok(bytes) = <[u8; 4]>::try_from(&value.bytes[..]) else {
            let message = format!("bad length ({}) {name} property", value.bytes.len());
            self.fail("explicit_phandles", id, Some(property_name), None, message);
            return None;
        };
        // `phandle = <&self>` asks for a number; it is filled in with the references.
        let reference = value.phandles().next();
        if let Some((_, target, _)) = reference {
            if self.tree.by_reference(target) != Some(id) {
                self.fail("explicit_phandles", id, None, None, format!("{name} is a reference to another node"));
            }
            return None;
        }
        let phandle = u32::from_be_bytes(bytes);
        if !is_phandle(phandle) {
            let message = format!("bad value ({phandle:#x}) in {name} property");
            self.fail("explicit_phandles", id, Some(property_name), None, message);
            return None;
        }
        Some(phandle)
    }

    /// Returns the node's phandle, giving it the smallest free number first if it has none.
    fn phandle_of(&mut self, id: NodeId) -> u32 {
        let phandle = self.tree.node(id).phandle;
        if is_phandle(phandle) {
            return phandle;
        }
        while self.used.contains(&self.next) {
            self.next += 1;
        }
        let phandle = self.next;
        self.used.insert(phandle);
        self.tree.node_mut(id).phandle = phandle;
        let wanted = match self.options.phandle_format {
            PhandleFormat::Legacy => &["linux,phandle"][..],
            PhandleFormat::Epapr => &["phandle"],
            PhandleFormat::Both => &["linux,phandle", "phandle"],
        };
        for name in wanted {
            if self.tree.property(id, name).is_none() {
                let mut value = Data::default();
                value.mark(MarkerKind::Type(Type::U32), Span::default());
                value.push(phandle.into(), 32);
                self.tree.add_property(id, name, value);
            }
        }
        phandle
    }

    fn phandle_references(&mut self) {
        for id in self.tree.walk() {
            let mut index = 0;
            // A reference to this very node may append a property while they are walked.
            while let Some(property) = self.tree.node(id).properties.get(index) {
                if !property.deleted && property.value.markers.iter().any(is_phandle_marker) {
                    let references: Vec<_> = property.value.phandles().collect();
                    for (offset, target, span) in references {
                        let cell = self.phandle_reference(id, target, span);
                        self.tree.node_mut(id).properties[index].value.set_cell(offset, cell);
                    }
                }
                index += 1;
            }
        }
    }

    fn phandle_reference(&mut self, from: NodeId, target: Name, span: Span) -> u32 {
        match self.tree.by_reference(target) {
            Some(node) => {
                self.tree.node_mut(node).referenced = true;
                self.phandle_of(node)
            }
            None => {
                if !self.tree.plugin {
                    let message = format!("Reference to non-existent node or label \"{}\"", self.tree.text(target));
                    self.fail("phandle_references", from, None, Some(span), message);
                }
                u32::MAX
            }
        }
    }

    fn path_references(&mut self) {
        for id in self.tree.walk() {
            for index in 0..self.tree.node(id).properties.len() {
                if self.tree.node(id).properties[index].deleted {
                    continue;
                }
                let mut paths = Vec::new();
                for marker in 0..self.tree.node(id).properties[index].value.markers.len() {
                    let here = self.tree.node(id).properties[index].value.markers[marker];
                    let MarkerKind::Path(target) = here.kind else { continue };
                    let Some(node) = self.tree.by_reference(target) else {
                        let text = self.tree.text(target);
                        let message = format!("Reference to non-existent node or label \"{text}\"");
                        self.fail("path_references", id, None, Some(here.span), message);
                        continue;
                    };
                    let path = self.tree.path(node) + "\0";
                    self.tree.node_mut(node).referenced = true;
                    if !self.grow(path.len(), Some(here.span)) {
                        return;
                    }
                    paths.push((marker, path));
                }
                if !paths.is_empty() {
                    self.tree.node_mut(id).properties[index].value.insert(&paths);
                }
            }
        }
    }

    /// Deletes `/omit-if-no-ref/` nodes that nothing refers to; with symbols a label is a reference.
    fn omit_unused(&mut self) {
        for id in self.tree.walk() {
            let node: &LiveNode = self.tree.node(id);
            let kept_for_symbol = self.options.symbols && !node.labels.is_empty();
            if node.omit_if_no_ref && !node.referenced && !node.deleted && !kept_for_symbol {
                self.tree.delete(id);
            }
        }
    }

    /// Returns the child of the root with this name, adding it if need be.
    fn root_child(&mut self, name: &str) -> NodeId {
        let root = self.tree.root();
        self.tree.child(root, name).unwrap_or_else(|| self.tree.push_child(root, name))
    }

    /// Lists every labelled node in a node of the root, by label.
    fn label_tree(&mut self, name: &str, with_phandles: bool) {
        let nodes = self.tree.walk();
        if nodes.iter().all(|&id| self.tree.node(id).labels.is_empty()) {
            return;
        }
        let list = self.root_child(name);
        let mut seen: HashSet<Name> = self.tree.properties(list).map(|property| property.name).collect();
        for id in nodes.into_iter().chain([list]) {
            if self.tree.node(id).labels.is_empty() || self.tree.node(id).deleted {
                continue;
            }
            let labels: Vec<_> = LiveTree::labels(&self.tree.node(id).labels).map(|label| label.name).collect();
            for label in labels {
                let text = self.tree.text(label).to_string();
                if !seen.insert(label) {
                    let span = self.tree.node(id).spans.first().copied().unwrap_or_default();
                    let message = format!("label {text} already exists in /{name}");
                    (self.report)(Diagnostic::warning(Kind::Syntax, span, message));
                    continue;
                }
                let path = self.tree.path(id) + "\0";
                if !self.grow(path.len(), self.tree.node(id).spans.first().copied()) {
                    return;
                }
                let mut value = Data::default();
                value.mark(MarkerKind::Type(Type::String), Span::default());
                value.bytes = path.into_bytes();
                self.tree.add_property(list, &text, value);
            }
            if with_phandles {
                self.phandle_of(id);
            }
        }
    }

    /// Iterates over every reference to a phandle: node, property, offset, target.
    fn references(&self) -> Vec<(NodeId, Name, u32, Name, Span)> {
        let mut found = Vec::new();
        for id in self.tree.walk() {
            for property in self.tree.properties(id) {
                let references = property.value.phandles();
                found.extend(references.map(|(offset, target, span)| (id, property.name, offset, target, span)));
            }
        }
        found
    }

    /// Lists the references to labels of another tree as `path:property:offset`.
    fn fixups(&mut self) {
        let references = self.references();
        let open: Vec<_> =
            references.into_iter().filter(|reference| self.tree.by_reference(reference.3).is_none()).collect();
        if open.is_empty() {
            return;
        }
        let list = self.root_child("__fixups__");
        for (id, property, offset, target, span) in open {
            let (path, property_text) = (self.tree.path(id), self.tree.text(property).to_string());
            let label = self.tree.text(target).to_string();
            if label.contains('/') {
                let message = format!("Can't generate fixup for reference to path &{{{label}}}");
                self.fail("phandle_references", id, Some(property), Some(span), message);
                continue;
            }
            if path.contains(':') || property_text.contains(':') {
                self.fail(
                    "phandle_references",
                    id,
                    Some(property),
                    Some(span),
                    "arguments should not contain ':'".into(),
                );
                continue;
            }
            let entry = format!("{path}:{property_text}:{offset}\0");
            if !self.grow(entry.len(), Some(span)) {
                return;
            }
            self.append(list, &label, entry.as_bytes(), Type::String);
        }
    }

    /// Lists the references to labels of this tree, under a copy of the nodes' structure.
    fn local_fixups(&mut self) {
        let references = self.references();
        let local: Vec<_> =
            references.into_iter().filter(|reference| self.tree.by_reference(reference.3).is_some()).collect();
        if local.is_empty() {
            return;
        }
        let list = self.root_child("__local_fixups__");
        for (id, property, offset, ..) in local {
            let path = self.tree.path(id);
            let mut at = list;
            for part in path.split('/').filter(|part| !part.is_empty()) {
                at = self.tree.child(at, part).unwrap_or_else(|| self.tree.push_child(at, part));
            }
            let property = self.tree.text(property).to_string();
            self.append(at, &property, &offset.to_be_bytes(), Type::U32);
        }
    }

    /// Appends to a property, which is added if it is not there.
    fn append(&mut self, id: NodeId, name: &str, bytes: &[u8], kind: Type) {
        if self.tree.property(id, name).is_none() {
            self.tree.add_property(id, name, Data::default());
        }
        if let Some(property) = self.tree.property_mut(id, name) {
            property.value.mark(MarkerKind::Type(kind), Span::default());
            property.value.bytes.extend_from_slice(bytes);
        }
    }
}

fn is_phandle_marker(marker: &crate::data::Marker) -> bool {
    matches!(marker.kind, MarkerKind::Phandle(_))
}

/// Sorts reservations by address, properties and nodes by name.
fn sort(tree: &mut LiveTree) {
    tree.reservations.sort_by_key(|reservation| (reservation.address, reservation.size));
    for index in 0..tree.nodes.len() {
        let id = NodeId(index as u32);
        let mut properties = std::mem::take(&mut tree.node_mut(id).properties);
        let mut children = std::mem::take(&mut tree.node_mut(id).children);
        properties.sort_by(|a, b| tree.text(a.name).cmp(tree.text(b.name)));
        children.sort_by(|a, b| tree.name(*a).cmp(tree.name(*b)));
        let node = tree.node_mut(id);
        (node.properties, node.children) = (properties, children);
    }
}
