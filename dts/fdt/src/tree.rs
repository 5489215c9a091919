//! The owned tree: an arena of nodes whose properties and subnodes keep their order.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::cells::{Reg, StringList, push_cells};
use crate::{EmitOptions, Error, Fdt, MAX_DEPTH, Reservation, StringTable, Writer, name_matches};

/// Names a node of one [`Tree`]; keeps naming it until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

/// A property with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedProperty {
    /// The name.
    pub name: String,
    /// The value, as stored.
    pub value: Vec<u8>,
}

#[derive(Debug, Clone)]
struct NodeData {
    name: String,
    parent: Option<NodeId>,
    properties: Vec<OwnedProperty>,
    children: Vec<NodeId>,
}

/// A device tree to edit. A fresh one holds only the root.
///
/// Methods that take a [`NodeId`] panic when it comes from another tree with more nodes. A removed node's place in the
/// arena is not reused.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<NodeData>,
    /// The memory reservation block.
    pub reservations: Vec<Reservation>,
    /// Physical id of the boot CPU, for the header.
    pub boot_cpu: u32,
    /// The strings block to continue when emitting; see [`Tree::from_fdt_keeping_strings`].
    strings: StringTable,
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

impl Tree {
    /// Returns a tree of one empty root.
    pub fn new() -> Tree {
        let root = NodeData { name: String::new(), parent: None, properties: Vec::new(), children: Vec::new() };
        Tree { nodes: vec![root], reservations: Vec::new(), boot_cpu: 0, strings: StringTable::default() }
    }

    /// Reads a blob; see [`Fdt::new`] for what is accepted.
    pub fn parse(bytes: &[u8]) -> Result<Tree, Error> {
        Ok(Tree::from_fdt(&Fdt::new(bytes)?))
    }

    /// Copies a borrowed tree.
    pub fn from_fdt(fdt: &Fdt<'_>) -> Tree {
        let mut tree = Tree::new();
        tree.reservations = fdt.reservations().collect();
        tree.boot_cpu = fdt.header().boot_cpu;
        let mut open = vec![tree.root()];
        for (depth, node) in fdt.descendants() {
            open.truncate(depth);
            let id = match open.last() {
                Some(&parent) if depth > 0 => tree.push_child(parent, node.name(), None),
                _ => tree.root(),
            };
            tree.node_mut(id).properties = node
                .properties()
                .map(|property| OwnedProperty { name: property.name.into(), value: property.value.to_vec() })
                .collect();
            open.push(id);
        }
        tree
    }

    /// Copies a borrowed tree and its strings block, so that names already there keep their offsets when the tree is
    /// emitted, as with an edit in place.
    pub fn from_fdt_keeping_strings(fdt: &Fdt<'_>) -> Tree {
        let mut tree = Tree::from_fdt(fdt);
        tree.strings = StringTable::from_bytes(fdt.strings());
        tree
    }

    pub(crate) fn reserve_string(&mut self, name: &str) {
        self.strings.offset(name.as_bytes());
    }

    fn node(&self, id: NodeId) -> &NodeData {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut NodeData {
        &mut self.nodes[id.0 as usize]
    }

    /// Returns the root.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// Returns the node's name with its unit address; the root's is empty.
    pub fn name(&self, node: NodeId) -> &str {
        &self.node(node).name
    }

    /// Returns the node above; `None` for the root and for removed nodes.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.node(node).parent
    }

    /// Returns the subnodes in order.
    pub fn children(&self, node: NodeId) -> &[NodeId] {
        &self.node(node).children
    }

    /// Returns the subnode `name`; without unit address, the first with that base name.
    pub fn child(&self, node: NodeId, name: &str) -> Option<NodeId> {
        self.children(node).iter().copied().find(|&child| name_matches(self.name(child), name))
    }

    /// Returns the full path.
    pub fn path(&self, node: NodeId) -> String {
        let mut names = Vec::new();
        let mut at = node;
        while let Some(parent) = self.parent(at) {
            names.push(self.name(at));
            at = parent;
        }
        if names.is_empty() {
            return "/".to_string();
        }
        names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
    }

    /// Finds a node by path or alias, with the leniency of [`Fdt::find`].
    pub fn find(&self, path: &str) -> Option<NodeId> {
        if path.starts_with('/') {
            return self.descend(self.root(), path);
        }
        let (alias, rest) = path.split_once('/').unwrap_or((path, ""));
        let aliases = self.child(self.root(), "aliases")?;
        let target = self.string(aliases, alias)?;
        self.descend(target.starts_with('/').then(|| self.descend(self.root(), target))??, rest)
    }

    fn descend(&self, from: NodeId, path: &str) -> Option<NodeId> {
        path.split('/').filter(|part| !part.is_empty()).try_fold(from, |node, part| self.child(node, part))
    }

    /// Iterates over the nodes below and including `node`, each before its subnodes.
    pub fn walk(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<'_> {
        let mut waiting = vec![node];
        core::iter::from_fn(move || {
            let node = waiting.pop()?;
            waiting.extend(self.children(node).iter().rev());
            Some(node)
        })
    }

    /// Iterates over the nodes whose `compatible` lists `wanted`, in the tree's order.
    pub fn find_compatible<'t>(&'t self, wanted: &'t str) -> impl Iterator<Item = NodeId> + use<'t> {
        self.walk(self.root()).filter(move |&node| self.is_compatible(node, wanted))
    }

    /// Says whether the node's `compatible` lists `wanted`.
    pub fn is_compatible(&self, node: NodeId, wanted: &str) -> bool {
        self.strings(node, "compatible").any(|text| text == wanted)
    }

    /// Returns the properties in order.
    pub fn properties(&self, node: NodeId) -> &[OwnedProperty] {
        &self.node(node).properties
    }

    /// Returns a property's value.
    pub fn get(&self, node: NodeId, name: &str) -> Option<&[u8]> {
        self.properties(node).iter().find(|property| property.name == name).map(|property| &property.value[..])
    }

    /// Returns a property's value to change in place.
    pub fn get_mut(&mut self, node: NodeId, name: &str) -> Option<&mut Vec<u8>> {
        self.node_mut(node).properties.iter_mut().find(|property| property.name == name).map(|p| &mut p.value)
    }

    /// Returns a property that is one cell.
    pub fn cell(&self, node: NodeId, name: &str) -> Option<u32> {
        self.get(node, name)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Returns a property's first string.
    pub fn string(&self, node: NodeId, name: &str) -> Option<&str> {
        self.strings(node, name).next()
    }

    /// Iterates over a property's strings; none if it is absent.
    pub fn strings(&self, node: NodeId, name: &str) -> StringList<'_> {
        StringList::new(self.get(node, name).unwrap_or(&[]))
    }

    /// Returns `#address-cells` and `#size-cells` for the subnodes; 2 and 1 where absent.
    pub fn cells(&self, node: NodeId) -> (u32, u32) {
        (self.cell(node, "#address-cells").unwrap_or(2), self.cell(node, "#size-cells").unwrap_or(1))
    }

    /// Iterates over the (address, size) pairs of `reg`, in the parent's cells.
    pub fn reg(&self, node: NodeId) -> Reg<'_> {
        let (address_cells, size_cells) = self.parent(node).map_or((2, 1), |parent| self.cells(parent));
        Reg::new(self.get(node, "reg").unwrap_or(&[]), address_cells, size_cells)
    }

    /// Replaces the value of a property where it stands, or appends the property.
    pub fn set(&mut self, node: NodeId, name: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        match self.get_mut(node, name) {
            Some(old) => *old = value,
            None => self.node_mut(node).properties.push(OwnedProperty { name: name.into(), value }),
        }
    }

    /// Sets a property without value.
    pub fn set_flag(&mut self, node: NodeId, name: &str) {
        self.set(node, name, []);
    }

    /// Sets a property of 32-bit cells.
    pub fn set_cells(&mut self, node: NodeId, name: &str, cells: &[u32]) {
        self.set(node, name, cells.iter().flat_map(|cell| cell.to_be_bytes()).collect::<Vec<u8>>());
    }

    /// Sets a property of one 64-bit number.
    pub fn set_u64(&mut self, node: NodeId, name: &str, value: u64) {
        self.set(node, name, value.to_be_bytes());
    }

    /// Sets a property of one string.
    pub fn set_string(&mut self, node: NodeId, name: &str, text: &str) {
        self.set_strings(node, name, &[text]);
    }

    /// Sets a property of several strings.
    pub fn set_strings(&mut self, node: NodeId, name: &str, texts: &[&str]) {
        let value = texts.iter().flat_map(|text| text.bytes().chain([0])).collect::<Vec<u8>>();
        self.set(node, name, value);
    }

    /// Sets `reg` to (address, size) pairs in the parent's cells.
    pub fn set_reg(&mut self, node: NodeId, pairs: &[(u64, u64)]) {
        let (address_cells, size_cells) = self.parent(node).map_or((2, 1), |parent| self.cells(parent));
        let mut value = Vec::new();
        for &(address, size) in pairs {
            push_cells(&mut value, address, address_cells);
            push_cells(&mut value, size, size_cells);
        }
        self.set(node, "reg", value);
    }

    /// Removes a property; says whether it was there.
    pub fn remove_property(&mut self, node: NodeId, name: &str) -> bool {
        let properties = &mut self.node_mut(node).properties;
        let before = properties.len();
        properties.retain(|property| property.name != name);
        properties.len() != before
    }

    /// Returns the subnode of exactly this name, appending it if it is not there.
    pub fn add_child(&mut self, parent: NodeId, name: &str) -> Result<NodeId, Error> {
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(Error::BadName(name.into()));
        }
        let existing = self.children(parent).iter().copied().find(|&child| self.name(child) == name);
        Ok(existing.unwrap_or_else(|| self.push_child(parent, name, None)))
    }

    /// Adds a subnode at `index` among its siblings, or last. Does not look for one of the same name.
    pub(crate) fn push_child(&mut self, parent: NodeId, name: &str, index: Option<usize>) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let data = NodeData { name: name.into(), parent: Some(parent), properties: Vec::new(), children: Vec::new() };
        self.nodes.push(data);
        let children = &mut self.node_mut(parent).children;
        children.insert(index.unwrap_or(children.len()).min(children.len()), id);
        id
    }

    /// Sets a property as libfdt does in a flat tree: where it stands, or new and first, its name entered in the strings at once.
    pub fn set_in_place(&mut self, node: NodeId, name: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        match self.get_mut(node, name) {
            Some(old) => *old = value,
            None => {
                self.reserve_string(name);
                self.node_mut(node).properties.insert(0, OwnedProperty { name: name.into(), value });
            }
        }
    }

    /// Adds a subnode as libfdt does in a flat tree: before its siblings. `None` if a subnode answers to the name already.
    pub fn add_child_in_place(&mut self, parent: NodeId, name: &str) -> Result<Option<NodeId>, Error> {
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(Error::BadName(name.into()));
        }
        Ok(self.child(parent, name).is_none().then(|| self.push_child(parent, name, Some(0))))
    }

    /// Returns the node at an absolute path, adding every component that is not there.
    pub fn ensure(&mut self, path: &str) -> Result<NodeId, Error> {
        let Some(rest) = path.strip_prefix('/') else { return Err(Error::NoNode(path.into())) };
        let mut node = self.root();
        for part in rest.split('/').filter(|part| !part.is_empty()) {
            node = match self.child(node, part) {
                Some(child) => child,
                None => self.add_child(node, part)?,
            };
        }
        Ok(node)
    }

    /// Removes a node and all below it. The root cannot be removed.
    pub fn remove(&mut self, node: NodeId) {
        if let Some(parent) = self.node_mut(node).parent.take() {
            self.node_mut(parent).children.retain(|&child| child != node);
        }
    }

    /// Merges `other`'s node `from` into `into`: properties replace those of the same name where they stand, new ones
    /// and new subnodes are appended, equal subnodes merge.
    pub fn merge(&mut self, into: NodeId, other: &Tree, from: NodeId) -> Result<(), Error> {
        let mut waiting = vec![(into, from, 0)];
        while let Some((into, from, depth)) = waiting.pop() {
            if depth > MAX_DEPTH {
                return Err(Error::TooDeep);
            }
            for property in other.properties(from) {
                self.set(into, &property.name, property.value.clone());
            }
            for &child in other.children(from) {
                waiting.push((self.add_child(into, other.name(child))?, child, depth + 1));
            }
        }
        Ok(())
    }

    /// Returns the node's `phandle`, or its older `linux,phandle`.
    pub fn phandle(&self, node: NodeId) -> Option<u32> {
        self.cell(node, "phandle").or_else(|| self.cell(node, "linux,phandle"))
    }

    /// Returns the node with this phandle.
    pub fn find_phandle(&self, phandle: u32) -> Option<NodeId> {
        self.walk(self.root()).find(|&node| self.phandle(node) == Some(phandle))
    }

    /// Returns the largest phandle in use; 0 if there is none. The reserved value 0xffffffff does not count.
    pub fn max_phandle(&self) -> u32 {
        let phandles = self.walk(self.root()).filter_map(|node| self.phandle(node));
        phandles.filter(|&phandle| phandle != u32::MAX).max().unwrap_or(0)
    }

    /// Returns the node's phandle, giving it the next free number first if it has none.
    pub fn ensure_phandle(&mut self, node: NodeId) -> Result<u32, Error> {
        if let Some(phandle) = self.phandle(node) {
            return Ok(phandle);
        }
        let phandle = self.max_phandle() + 1;
        if phandle == u32::MAX {
            return Err(Error::BadProperty {
                node: self.path(node),
                property: "phandle".into(),
                reason: "cannot be given: all numbers are in use",
            });
        }
        self.set_cells(node, "phandle", &[phandle]);
        Ok(phandle)
    }

    /// Writes the blob.
    pub fn emit(&self, options: &EmitOptions) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::with_strings(options.version, self.strings.clone());
        // The path from the root to the node being written, each with the next subnode to visit.
        let mut open = vec![(self.root(), 0)];
        self.emit_node(&mut writer, self.root());
        while let Some((node, next)) = open.last_mut() {
            match self.children(*node).get(*next) {
                Some(&child) => {
                    *next += 1;
                    open.push((child, 0));
                    self.emit_node(&mut writer, child);
                    if open.len() > MAX_DEPTH {
                        return Err(Error::TooDeep);
                    }
                }
                None => {
                    writer.end_node();
                    open.pop();
                }
            }
        }
        writer.finish(&self.reservations, self.boot_cpu, options)
    }

    fn emit_node(&self, writer: &mut Writer, node: NodeId) {
        writer.begin_node(self.name(node));
        for property in self.properties(node) {
            writer.property(&property.name, &property.value);
        }
    }

    /// Returns an error about a property of `node`.
    pub fn bad_property(&self, node: NodeId, property: &str, reason: &'static str) -> Error {
        Error::BadProperty { node: self.path(node), property: property.into(), reason }
    }
}

/// Compares structure and content in order, names, properties, reservations and boot CPU; not arena positions.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let shape = |tree: &Tree| -> Vec<(String, Vec<OwnedProperty>)> {
            tree.walk(tree.root()).map(|node| (tree.path(node), tree.properties(node).to_vec())).collect()
        };
        self.reservations == other.reservations && self.boot_cpu == other.boot_cpu && shape(self) == shape(other)
    }
}

impl Eq for Tree {}

/// Prints one line per node and property, for tests and failure messages.
impl core::fmt::Display for Tree {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for node in self.walk(self.root()) {
            let path = self.path(node);
            writeln!(f, "{path}")?;
            for property in self.properties(node) {
                let hex = property.value.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
                writeln!(f, "{path}:{} = [{hex}]", property.name)?;
            }
        }
        Ok(())
    }
}
