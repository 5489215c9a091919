//! The borrowed reader: `Fdt<'a>` over bytes that anyone may have written.
//!
//! [`Fdt::new`] walks everything once. What it accepts, the iterators then walk again without being able to fail;
//! should they meet the impossible they end, they never panic.

use alloc::string::{String, ToString};

use crate::cells::{Cells, Reg, StringList};
use crate::header::{Header, Reservation, double_word, word};
use crate::{Error, MAX_DEPTH, name_matches};

pub(crate) const BEGIN_NODE: u32 = 1;
pub(crate) const END_NODE: u32 = 2;
pub(crate) const PROP: u32 = 3;
pub(crate) const NOP: u32 = 4;
pub(crate) const END: u32 = 9;

/// A checked flattened tree that borrows its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fdt<'a> {
    header: Header,
    bytes: &'a [u8],
    structure: &'a [u8],
    strings: &'a [u8],
    /// Offset of the root's token in the structure block.
    root: usize,
}

/// One token of the structure block, decoded.
enum Token<'a> {
    Begin(&'a str),
    End,
    Property(Property<'a>),
    Nop,
    Finish,
}

impl<'a> Fdt<'a> {
    /// Checks the whole blob at the start of `bytes` and returns a view of it. Bytes after it are ignored.
    ///
    /// Accepts formats 1 to 17, names of any length, and any printable name; names must be UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Fdt<'a>, Error> {
        let header = Header::parse(bytes)?;
        let bytes = &bytes[..header.total_size];
        let structure = &bytes[header.struct_offset..header.struct_offset + header.struct_size];
        let strings = &bytes[header.strings_offset..header.strings_offset + header.strings_size];
        let mut fdt = Fdt { header, bytes, structure, strings, root: 0 };
        fdt.check_reservations()?;
        fdt.check_structure()?;
        Ok(fdt)
    }

    fn check_reservations(&self) -> Result<(), Error> {
        let mut offset = self.header.reservations_offset;
        loop {
            let (Some(address), Some(size)) = (double_word(self.bytes, offset), double_word(self.bytes, offset + 8))
            else {
                let need = offset + 16;
                return Err(Error::Truncated { part: "memory reservation block", need, have: self.bytes.len() });
            };
            if address == 0 && size == 0 {
                return Ok(());
            }
            offset += 16;
        }
    }

    fn check_structure(&mut self) -> Result<(), Error> {
        let bad = |offset, reason| Error::BadStructure { offset: self.header.struct_offset + offset, reason };
        let (mut offset, mut depth, mut root) = (0, 0usize, None);
        // In each open node, properties must come before subnodes; a bit per level says whether a subnode was seen.
        let mut subnode_seen = [false; MAX_DEPTH + 1];
        loop {
            let (token, next) = self.token(offset)?;
            match token {
                Token::Begin(_) => {
                    if depth == 0 && root.replace(offset).is_some() {
                        return Err(bad(offset, "second root node"));
                    }
                    subnode_seen[depth] = true;
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(Error::TooDeep);
                    }
                    subnode_seen[depth] = false;
                }
                Token::End => {
                    depth = depth.checked_sub(1).ok_or(bad(offset, "node ends that never began"))?;
                }
                Token::Property(_) if depth == 0 => return Err(bad(offset, "property outside any node")),
                Token::Property(_) if subnode_seen[depth] => return Err(bad(offset, "property after a subnode")),
                Token::Property(_) | Token::Nop => {}
                Token::Finish if depth > 0 => return Err(bad(offset, "tree ends inside a node")),
                Token::Finish => break,
            }
            offset = next;
        }
        self.root = root.ok_or(bad(offset, "no root node"))?;
        Ok(())
    }

    /// Decodes the token at `offset` of the structure block; returns it and the offset of the next.
    fn token(&self, offset: usize) -> Result<(Token<'a>, usize), Error> {
        let bad = |reason| Error::BadStructure { offset: self.header.struct_offset + offset, reason };
        let cut = bad("structure block ends inside a token");
        let Some(tag) = word(self.structure, offset) else { return Err(cut) };
        let after = offset + 4;
        match tag {
            BEGIN_NODE => {
                let rest = &self.structure[after..];
                let length = rest.iter().position(|&byte| byte == 0).ok_or(cut)?;
                let mut name = core::str::from_utf8(&rest[..length]).map_err(|_| bad("node name is not valid text"))?;
                // Formats before 16 write the whole path where later ones write the name.
                if self.header.version < 16 {
                    name = name.rsplit('/').next().unwrap_or(name);
                }
                Ok((Token::Begin(name), align4(after + length + 1)))
            }
            END_NODE => Ok((Token::End, after)),
            PROP => {
                let (Some(length), Some(name_offset)) = (word(self.structure, after), word(self.structure, after + 4))
                else {
                    return Err(cut);
                };
                let length = length as usize;
                let mut start = after + 8;
                if self.header.version < 16 && length >= 8 {
                    start = (start + 7) & !7;
                }
                let end = start.checked_add(length).ok_or(bad("property length overflows"))?;
                let value = self.structure.get(start..end).ok_or(bad("property value ends outside its block"))?;
                let name = self.string(name_offset as usize).ok_or(bad("property name lies outside its block"))?;
                Ok((Token::Property(Property { name, value }), align4(end)))
            }
            NOP => Ok((Token::Nop, after)),
            END => Ok((Token::Finish, after)),
            _ => Err(bad("unknown token")),
        }
    }

    fn string(&self, offset: usize) -> Option<&'a str> {
        let rest = self.strings.get(offset..)?;
        let length = rest.iter().position(|&byte| byte == 0)?;
        core::str::from_utf8(&rest[..length]).ok()
    }

    /// Returns the checked header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the bytes of the blob alone, without what followed it.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the strings block.
    pub fn strings(&self) -> &'a [u8] {
        self.strings
    }

    /// Iterates over the memory reservations, without the empty one that ends them.
    pub fn reservations(&self) -> impl Iterator<Item = Reservation> + use<'a> {
        let (bytes, start) = (self.bytes, self.header.reservations_offset);
        (0..).map_while(move |index: usize| {
            let offset = start.checked_add(index.checked_mul(16)?)?;
            let entry =
                Reservation { address: double_word(bytes, offset)?, size: double_word(bytes, offset.checked_add(8)?)? };
            (entry != Reservation::default()).then_some(entry)
        })
    }

    /// Returns the root node.
    pub fn root(&self) -> Node<'a> {
        Node { fdt: *self, offset: self.root, name: "", parent_cells: (2, 1) }
    }

    /// Finds a node by path, or by alias: `/cpus/cpu@0`, `/memory`, `serial0`, `serial0/child`.
    /// A component without unit address takes the first node with that base name.
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        self.find_at(path, true)
    }

    fn find_at(&self, path: &str, aliases_allowed: bool) -> Option<Node<'a>> {
        let mut node = self.root();
        let mut rest = path;
        if !path.starts_with('/') {
            let (alias, tail) = path.split_once('/').unwrap_or((path, ""));
            if !aliases_allowed {
                return None;
            }
            node = self.find_at(self.root().child("aliases")?.property(alias)?.as_str()?, false)?;
            rest = tail;
        }
        rest.split('/').filter(|part| !part.is_empty()).try_fold(node, |node, part| node.child(part))
    }

    /// Finds the node whose `phandle` (or `linux,phandle`) is `phandle`.
    pub fn find_phandle(&self, phandle: u32) -> Option<Node<'a>> {
        self.descendants().find(|(_, node)| node.phandle() == Some(phandle)).map(|(_, node)| node)
    }

    /// Iterates over the nodes whose `compatible` lists `wanted`, in the tree's order.
    pub fn find_compatible<'w>(&self, wanted: &'w str) -> impl Iterator<Item = Node<'a>> + use<'a, 'w> {
        self.descendants().map(|(_, node)| node).filter(move |node| node.is_compatible(wanted))
    }

    /// Iterates over all nodes, the root first, each with its depth (the root's is 0).
    pub fn descendants(&self) -> Descendants<'a> {
        Descendants { fdt: *self, offset: self.root, depth: 0, cells: [(2, 1); MAX_DEPTH + 2] }
    }

    /// Iterates over the aliases as (name, path).
    pub fn aliases(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let aliases = self.root().child("aliases");
        aliases.into_iter().flat_map(|node| node.properties()).filter_map(|p| Some((p.name, p.as_str()?)))
    }
}

fn align4(offset: usize) -> usize {
    (offset + 3) & !3
}

/// A node of a [`Fdt`].
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    fdt: Fdt<'a>,
    offset: usize,
    name: &'a str,
    parent_cells: (u32, u32),
}

impl<'a> Node<'a> {
    /// Returns the name with its unit address; the root's is empty.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Returns the name without its unit address.
    pub fn base_name(&self) -> &'a str {
        self.name.split('@').next().unwrap_or(self.name)
    }

    /// Iterates over the properties in the blob's order.
    pub fn properties(&self) -> Properties<'a> {
        let offset = self.fdt.token(self.offset).map_or(usize::MAX, |(_, next)| next);
        Properties { fdt: self.fdt, offset }
    }

    /// Returns the property called `name`.
    pub fn property(&self, name: &str) -> Option<Property<'a>> {
        self.properties().find(|property| property.name == name)
    }

    /// Iterates over the subnodes in the blob's order.
    pub fn children(&self) -> Children<'a> {
        let mut properties = self.properties();
        properties.by_ref().for_each(drop);
        Children { fdt: self.fdt, offset: properties.offset, cells: self.cells() }
    }

    /// Returns the subnode `name`; without unit address, the first with that base name.
    pub fn child(&self, name: &str) -> Option<Node<'a>> {
        self.children().find(|child| name_matches(child.name, name))
    }

    /// Returns `#address-cells` and `#size-cells` for the subnodes; 2 and 1 where absent (specification 2.3.5).
    pub fn cells(&self) -> (u32, u32) {
        let cell = |name, default| self.property(name).and_then(|p| p.as_u32()).unwrap_or(default);
        (cell("#address-cells", 2), cell("#size-cells", 1))
    }

    /// Iterates over the (address, size) pairs of `reg`, in the parent's cells; empty without `reg`.
    pub fn reg(&self) -> Reg<'a> {
        let value = self.property("reg").map_or(&[][..], |property| property.value);
        Reg::new(value, self.parent_cells.0, self.parent_cells.1)
    }

    /// Returns the `phandle`, or the older `linux,phandle`.
    pub fn phandle(&self) -> Option<u32> {
        self.property("phandle").or_else(|| self.property("linux,phandle"))?.as_u32()
    }

    /// Says whether `compatible` lists `wanted`.
    pub fn is_compatible(&self, wanted: &str) -> bool {
        self.property("compatible").is_some_and(|property| property.strings().any(|text| text == wanted))
    }

    /// Says whether the node is usable: `status` absent, `okay` or `ok`.
    pub fn is_available(&self) -> bool {
        self.property("status").is_none_or(|status| matches!(status.as_str(), Some("okay" | "ok")))
    }

    /// Returns the full path, found by walking from the root.
    pub fn path(&self) -> String {
        let mut path = String::new();
        let mut ends = [0usize; MAX_DEPTH + 2];
        for (depth, node) in self.fdt.descendants() {
            if depth > 0 {
                path.truncate(ends[depth - 1]);
                path.push('/');
                path.push_str(node.name);
            }
            ends[depth] = path.len();
            if node.offset == self.offset {
                break;
            }
        }
        if path.is_empty() { "/".to_string() } else { path }
    }
}

impl PartialEq for Node<'_> {
    /// Nodes are equal when they are the same place of the same blob.
    fn eq(&self, other: &Self) -> bool {
        self.offset == other.offset && core::ptr::eq(self.fdt.bytes, other.fdt.bytes)
    }
}

/// A property: its name and the raw bytes of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property<'a> {
    /// The name.
    pub name: &'a str,
    /// The value, as stored.
    pub value: &'a [u8],
}

impl<'a> Property<'a> {
    /// Returns the value as one cell, if it is exactly that.
    pub fn as_u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    /// Returns the value as a number of one or two cells.
    pub fn as_u64(&self) -> Option<u64> {
        match self.value.len() {
            4 | 8 => Cells::new(self.value).number(self.value.len() as u32 / 4),
            _ => None,
        }
    }

    /// Returns the first string of the value.
    pub fn as_str(&self) -> Option<&'a str> {
        self.strings().next()
    }

    /// Iterates over the strings of the value.
    pub fn strings(&self) -> StringList<'a> {
        StringList::new(self.value)
    }

    /// Iterates over the cells of the value.
    pub fn cells(&self) -> Cells<'a> {
        Cells::new(self.value)
    }
}

/// Iterates over a node's properties.
#[derive(Debug, Clone)]
pub struct Properties<'a> {
    fdt: Fdt<'a>,
    offset: usize,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        loop {
            let (token, next) = self.fdt.token(self.offset).ok()?;
            match token {
                Token::Property(property) => {
                    self.offset = next;
                    return Some(property);
                }
                Token::Nop => self.offset = next,
                _ => return None,
            }
        }
    }
}

/// Iterates over a node's subnodes.
#[derive(Debug, Clone)]
pub struct Children<'a> {
    fdt: Fdt<'a>,
    offset: usize,
    cells: (u32, u32),
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        loop {
            let (token, next) = self.fdt.token(self.offset).ok()?;
            match token {
                Token::Nop => self.offset = next,
                Token::Begin(name) => {
                    let node = Node { fdt: self.fdt, offset: self.offset, name, parent_cells: self.cells };
                    self.skip(next);
                    return Some(node);
                }
                _ => return None,
            }
        }
    }
}

impl Children<'_> {
    /// Moves behind the node whose content starts at `offset`.
    fn skip(&mut self, mut offset: usize) {
        let mut depth = 1usize;
        while depth > 0 {
            let Ok((token, next)) = self.fdt.token(offset) else {
                offset = usize::MAX;
                break;
            };
            match token {
                Token::Begin(_) => depth += 1,
                Token::End => depth -= 1,
                _ => {}
            }
            offset = next;
        }
        self.offset = offset;
    }
}

/// Iterates over all nodes in the blob's order, each with its depth.
#[derive(Debug, Clone)]
pub struct Descendants<'a> {
    fdt: Fdt<'a>,
    offset: usize,
    depth: usize,
    /// `cells[d]` are those that nodes at depth `d` are addressed with.
    cells: [(u32, u32); MAX_DEPTH + 2],
}

impl<'a> Iterator for Descendants<'a> {
    type Item = (usize, Node<'a>);

    fn next(&mut self) -> Option<(usize, Node<'a>)> {
        loop {
            let (token, next) = self.fdt.token(self.offset).ok()?;
            let here = core::mem::replace(&mut self.offset, next);
            match token {
                Token::Begin(name) => {
                    let depth = self.depth;
                    let name = if depth == 0 { "" } else { name };
                    let node = Node { fdt: self.fdt, offset: here, name, parent_cells: *self.cells.get(depth)? };
                    self.depth += 1;
                    *self.cells.get_mut(self.depth)? = node.cells();
                    return Some((depth, node));
                }
                Token::End => self.depth = self.depth.checked_sub(1)?,
                Token::Property(_) | Token::Nop => {}
                Token::Finish => {
                    self.offset = here;
                    return None;
                }
            }
        }
    }
}
