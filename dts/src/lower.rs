//! From the source's parts to one tree: building, merging, deleting.

use crate::ast;
use crate::data::{Data, MarkerKind, Type};
use crate::diagnostic::{Diagnostic, Kind};
use crate::live::{LiveProperty, LiveTree, NodeId, add_label};
use crate::session::Session;

/// Merges all parts of a source in order.
pub(crate) fn lower(session: &mut Session<'_>, file: ast::File) -> LiveTree {
    let mut tree = LiveTree::new(std::mem::take(&mut session.names));
    tree.plugin = file.plugin;
    tree.reservations = file.reservations;
    let mut lowering = Lowering { session, tree, fragments: 0, started: false };
    for item in file.items {
        lowering.item(item);
    }
    let mut tree = lowering.tree;
    tree.boot_cpu = guess_boot_cpu(&tree);
    tree
}

/// Returns the first CPU's `reg`, if it is one cell.
fn guess_boot_cpu(tree: &LiveTree) -> u32 {
    let first = tree.by_path(tree.root(), "/cpus").and_then(|cpus| tree.node(cpus).children.first().copied());
    first.and_then(|cpu| tree.cell(cpu, "reg")).unwrap_or(0)
}

struct Lowering<'s, 'a> {
    session: &'s mut Session<'a>,
    tree: LiveTree,
    /// How many `fragment@N` there are.
    fragments: u32,
    /// The root was written at least once.
    started: bool,
}

impl Lowering<'_, '_> {
    fn item(&mut self, item: ast::Item) {
        match item {
            ast::Item::Root(body) => {
                let root = self.tree.root();
                if std::mem::replace(&mut self.started, true) {
                    self.merge(root, body);
                } else {
                    self.fill(root, body);
                }
            }
            ast::Item::Extend { label, target, body } => self.extend(label, target, body),
            ast::Item::Delete(target) => {
                if let Some(node) = self.find(target) {
                    self.tree.delete(node);
                }
            }
            ast::Item::Omit(target) => {
                if let Some(node) = self.find(target) {
                    self.tree.node_mut(node).omit_if_no_ref = true;
                }
            }
        }
    }

    fn find(&mut self, target: ast::Reference) -> Option<NodeId> {
        let found = self.tree.by_reference(target.text);
        if found.is_none() {
            let message = format!("Label or path {} not found", self.tree.text(target.text));
            self.session.report(Diagnostic::error(Kind::Syntax, target.span, message));
        }
        found
    }

    fn extend(&mut self, label: Option<ast::Label>, target: ast::Reference, body: ast::Body) {
        let text = self.tree.text(target.text);
        let is_relative = text.contains('/') && !text.starts_with('/');
        if self.tree.plugin && is_relative {
            let message = format!("Label-relative reference {text} not supported in plugin");
            self.session.report(Diagnostic::error(Kind::Syntax, target.span, message));
            return;
        }
        let first = !std::mem::replace(&mut self.started, true);
        // In a plugin a path always names the base tree's node; a label does if nothing here has it.
        let elsewhere = label.is_none()
            && self.tree.plugin
            && (first || target.is_path || self.tree.by_reference(target.text).is_none());
        if elsewhere {
            return self.fragment(target, body);
        }
        let Some(node) = self.find(target) else { return };
        if let Some(label) = label {
            self.label(node, label);
        }
        self.merge(node, body);
    }

    fn label(&mut self, node: NodeId, label: ast::Label) {
        add_label(&mut self.tree.node_mut(node).labels, label);
        self.tree.hint_label(label.name, node);
    }

    /// Adds `fragment@N { target = ...; __overlay__ { body } }`.
    fn fragment(&mut self, target: ast::Reference, body: ast::Body) {
        let span = body.span;
        let fragment = self.tree.push_child(self.tree.root(), &format!("fragment@{}", self.fragments));
        self.fragments += 1;
        let mut value = Data::default();
        if target.is_path {
            value.mark(MarkerKind::Type(Type::String), target.span);
            value.bytes.extend_from_slice(self.tree.text(target.text).as_bytes());
            value.bytes.push(0);
            self.tree.add_property(fragment, "target-path", value);
        } else {
            value.mark(MarkerKind::Type(Type::U32), target.span);
            value.mark(MarkerKind::Phandle(target.text), target.span);
            value.push(u64::MAX, 32);
            self.tree.add_property(fragment, "target", value);
        }
        let content = self.tree.push_child(fragment, "__overlay__");
        self.tree.node_mut(fragment).spans.push(span);
        self.fill(content, body);
    }

    /// Puts a body into a fresh node, exactly as written.
    fn fill(&mut self, node: NodeId, body: ast::Body) {
        self.tree.node_mut(node).spans.push(body.span);
        for property in body.properties {
            self.push_property(node, property);
        }
        for child in body.children {
            self.push_child(node, child);
        }
    }

    fn push_property(&mut self, node: NodeId, property: ast::Property) {
        let mut labels = Vec::new();
        for label in property.labels.iter().rev() {
            add_label(&mut labels, *label);
        }
        let ast::Property { name, value, deleted, span, .. } = property;
        let property = LiveProperty { name, value, labels, deleted, span: Some(span) };
        self.tree.node_mut(node).properties.push(property);
    }

    fn push_child(&mut self, parent: NodeId, child: ast::Node) {
        let id = self.tree.push(child.name, Some(parent));
        self.tree.node_mut(parent).children.push(id);
        for label in child.labels.iter().rev() {
            self.label(id, *label);
        }
        let node = self.tree.node_mut(id);
        node.omit_if_no_ref = child.omit_if_no_ref;
        node.deleted = child.deleted;
        self.fill(id, child.body);
    }

    /// Merges a body into a node that was there before: what has the same name is replaced in its place, even where
    /// it had been deleted, and the rest is appended.
    fn merge(&mut self, node: NodeId, body: ast::Body) {
        let target = self.tree.node_mut(node);
        target.deleted = false;
        target.spans.push(body.span);
        for property in body.properties {
            let properties = &mut self.tree.node_mut(node).properties;
            let old = properties.iter_mut().find(|old| old.name == property.name);
            match old {
                Some(old) if property.deleted => old.delete(),
                None if property.deleted => {}
                Some(old) => {
                    for label in &property.labels {
                        add_label(&mut old.labels, *label);
                    }
                    old.value = property.value;
                    old.deleted = false;
                    old.span = Some(property.span);
                }
                None => self.push_property(node, property),
            }
        }
        for child in body.children {
            let children = &self.tree.node(node).children;
            let old = children.iter().copied().find(|&old| self.tree.node(old).name == child.name);
            match old {
                Some(old) if child.deleted => self.tree.delete(old),
                None if child.deleted => {}
                Some(old) => {
                    for label in &child.labels {
                        self.label(old, *label);
                    }
                    self.tree.node_mut(old).omit_if_no_ref |= child.omit_if_no_ref;
                    self.merge(old, child.body);
                }
                None => self.push_child(node, child),
            }
        }
    }
}
