//! The merged tree: nodes and properties with labels, marks and places, deleted ones still in their slots.

use crate::ast::{Label, Reservation};
use crate::data::Data;
use crate::intern::{Name, Names, ShortMap};
use crate::source::Span;

/// A node of a [`LiveTree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// A label on a node or property; a deleted one keeps its place, in case it comes back.
#[derive(Debug, Clone, Copy)]
pub struct LiveLabel {
    /// The name.
    pub name: Name,
    /// Taken away with what it named.
    pub deleted: bool,
    /// Where it was given.
    pub span: Span,
}

/// A property.
#[derive(Debug, Clone)]
pub struct LiveProperty {
    /// The name.
    pub name: Name,
    /// The value.
    pub value: Data,
    /// Newest first.
    pub labels: Vec<LiveLabel>,
    /// Not part of the output.
    pub deleted: bool,
    /// Where it was written; nothing for one the compiler made.
    pub span: Option<Span>,
}

/// A node.
#[derive(Debug, Clone)]
pub struct LiveNode {
    /// The name with unit address; the root's is empty.
    pub name: Name,
    /// The node above.
    pub parent: Option<NodeId>,
    /// Newest first.
    pub labels: Vec<LiveLabel>,
    /// In output order, deleted ones included.
    pub properties: Vec<LiveProperty>,
    /// In output order, deleted ones included.
    pub children: Vec<NodeId>,
    /// Not part of the output.
    pub deleted: bool,
    /// `/omit-if-no-ref/`.
    pub omit_if_no_ref: bool,
    /// Something refers to it.
    pub referenced: bool,
    /// Its phandle; 0 while it has none.
    pub phandle: u32,
    /// Everywhere it was written, in order.
    pub spans: Vec<Span>,
}

/// The whole input, merged.
#[derive(Debug, Clone)]
pub struct LiveTree {
    pub(crate) nodes: Vec<LiveNode>,
    /// Node, property and label names.
    pub names: Names,
    /// The memory reservations.
    pub reservations: Vec<Reservation>,
    /// The source is a plugin (an overlay).
    pub plugin: bool,
    /// The boot CPU's physical id.
    pub boot_cpu: u32,
    /// Where each label was last given; a hint, checked on use.
    label_hints: ShortMap<Name, NodeId>,
}

/// Adds a label in front, or revives it where it is.
pub(crate) fn add_label(labels: &mut Vec<LiveLabel>, label: Label) {
    match labels.iter_mut().find(|old| old.name == label.name) {
        Some(old) => old.deleted = false,
        None => labels.insert(0, LiveLabel { name: label.name, deleted: false, span: label.span }),
    }
}

impl LiveTree {
    /// Returns a tree of one empty root.
    pub fn new(mut names: Names) -> LiveTree {
        let empty = names.intern("");
        let mut tree = LiveTree {
            nodes: Vec::new(),
            names,
            reservations: Vec::new(),
            plugin: false,
            boot_cpu: 0,
            label_hints: ShortMap::default(),
        };
        tree.push(empty, None);
        tree
    }

    /// Adds a node to the arena without listing it under its parent.
    pub(crate) fn push(&mut self, name: Name, parent: Option<NodeId>) -> NodeId {
        self.nodes.push(LiveNode {
            name,
            parent,
            labels: Vec::new(),
            properties: Vec::new(),
            children: Vec::new(),
            deleted: false,
            omit_if_no_ref: false,
            referenced: false,
            phandle: 0,
            spans: Vec::new(),
        });
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// Adds an empty node as last child.
    pub(crate) fn push_child(&mut self, parent: NodeId, name: &str) -> NodeId {
        let name = self.names.intern(name);
        let id = self.push(name, Some(parent));
        self.node_mut(parent).children.push(id);
        id
    }

    /// Returns the root.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// Returns a node.
    pub fn node(&self, id: NodeId) -> &LiveNode {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut LiveNode {
        &mut self.nodes[id.0 as usize]
    }

    /// Returns the text of a name.
    pub fn text(&self, name: Name) -> &str {
        self.names.text(name)
    }

    /// Returns a node's name.
    pub fn name(&self, id: NodeId) -> &str {
        self.text(self.node(id).name)
    }

    /// Returns the part of a node's name before `@`.
    pub fn base_name(&self, id: NodeId) -> &str {
        let name = self.name(id);
        name.split_once('@').map_or(name, |(base, _)| base)
    }

    /// Returns the part of a node's name after `@`; empty if there is none.
    pub fn unit_address(&self, id: NodeId) -> &str {
        self.name(id).split_once('@').map_or("", |(_, unit)| unit)
    }

    /// Iterates over the children that are not deleted.
    pub fn children(&self, id: NodeId) -> impl DoubleEndedIterator<Item = NodeId> + '_ {
        self.node(id).children.iter().copied().filter(|&child| !self.node(child).deleted)
    }

    /// Iterates over the properties that are not deleted.
    pub fn properties(&self, id: NodeId) -> impl Iterator<Item = &LiveProperty> {
        self.node(id).properties.iter().filter(|property| !property.deleted)
    }

    /// Returns the labels that are not deleted.
    pub fn labels(labels: &[LiveLabel]) -> impl DoubleEndedIterator<Item = &LiveLabel> {
        labels.iter().filter(|label| !label.deleted)
    }

    /// Returns a property by name.
    pub fn property(&self, id: NodeId, name: &str) -> Option<&LiveProperty> {
        let name = self.names.lookup(name)?;
        self.properties(id).find(|property| property.name == name)
    }

    pub(crate) fn property_mut(&mut self, id: NodeId, name: &str) -> Option<&mut LiveProperty> {
        let name = self.names.lookup(name)?;
        self.node_mut(id).properties.iter_mut().find(|property| property.name == name && !property.deleted)
    }

    /// Returns a property that is one cell.
    pub fn cell(&self, id: NodeId, name: &str) -> Option<u32> {
        self.property(id, name)?.value.bytes[..].try_into().ok().map(u32::from_be_bytes)
    }

    /// Returns a child by exact name.
    pub fn child(&self, id: NodeId, name: &str) -> Option<NodeId> {
        let name = self.names.lookup(name)?;
        self.children(id).find(|&child| self.node(child).name == name)
    }

    /// Returns the full path; the root's is `/`.
    pub fn path(&self, id: NodeId) -> String {
        let mut names = Vec::new();
        let mut at = id;
        while let Some(parent) = self.node(at).parent {
            names.push(self.name(at));
            at = parent;
        }
        if names.is_empty() {
            return "/".into();
        }
        names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
    }

    /// Returns all nodes that are not deleted, each before its children.
    pub fn walk(&self) -> Vec<NodeId> {
        let (mut found, mut waiting) = (Vec::with_capacity(self.nodes.len()), vec![self.root()]);
        while let Some(id) = waiting.pop() {
            found.push(id);
            waiting.extend(self.children(id).rev());
        }
        found
    }

    pub(crate) fn hint_label(&mut self, name: Name, node: NodeId) {
        self.label_hints.insert(name, node);
    }

    /// Returns the node with a label.
    pub fn by_label(&self, name: Name) -> Option<NodeId> {
        let hint = *self.label_hints.get(&name)?;
        let holds = |id: NodeId| Self::labels(&self.node(id).labels).any(|label| label.name == name);
        let mut at = Some(hint);
        while let Some(id) = at {
            let node = self.node(id);
            if node.deleted {
                break;
            }
            at = node.parent;
            if id == self.root() && holds(hint) {
                return Some(hint);
            }
        }
        // The label moved, or was given twice: the first in the tree counts.
        self.walk().into_iter().find(|&id| holds(id))
    }

    /// Returns the node at a path of exact names, relative to `from`.
    pub fn by_path(&self, from: NodeId, path: &str) -> Option<NodeId> {
        if self.node(from).deleted {
            return None;
        }
        path.split('/').filter(|part| !part.is_empty()).try_fold(from, |id, part| self.child(id, part))
    }

    /// Returns what a reference names: `label`, `/path`, `label/relative/path`.
    pub fn by_reference(&self, reference: Name) -> Option<NodeId> {
        let text = self.text(reference);
        if text.starts_with('/') {
            return self.by_path(self.root(), text);
        }
        match text.split_once('/') {
            Some((label, path)) => self.by_path(self.by_label(self.names.lookup(label)?)?, path),
            None => self.by_label(reference),
        }
    }

    /// Appends a property that the compiler makes.
    pub(crate) fn add_property(&mut self, id: NodeId, name: &str, value: Data) {
        let name = self.names.intern(name);
        let property = LiveProperty { name, value, labels: Vec::new(), deleted: false, span: None };
        self.node_mut(id).properties.push(property);
    }

    /// Marks a node, all below it, their properties and labels as deleted.
    pub(crate) fn delete(&mut self, id: NodeId) {
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            waiting.extend(self.children(id));
            let node = self.node_mut(id);
            node.deleted = true;
            node.labels.iter_mut().for_each(|label| label.deleted = true);
            node.properties.iter_mut().filter(|property| !property.deleted).for_each(LiveProperty::delete);
        }
    }
}

impl LiveProperty {
    /// Marks the property and its labels as deleted.
    pub(crate) fn delete(&mut self) {
        self.deleted = true;
        self.labels.iter_mut().for_each(|label| label.deleted = true);
    }
}
