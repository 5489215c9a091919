//! The source as it was written, before anything is merged.

use crate::data::Data;
use crate::intern::Name;
use crate::source::Span;

/// A whole source.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub plugin: bool,
    pub reservations: Vec<Reservation>,
    pub items: Vec<Item>,
}

/// `label: /memreserve/ address size;`
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Its labels, newest first.
    pub labels: Vec<Name>,
    /// Physical address.
    pub address: u64,
    /// Length in bytes.
    pub size: u64,
}

/// `&label`, `&{/path}` or `&{label/relative}`, without the signs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference {
    pub text: Name,
    pub is_path: bool,
    pub span: Span,
}

/// A part of the tree at the top of the file.
#[derive(Debug)]
pub(crate) enum Item {
    /// `/ { };`
    Root(Body),
    /// `label: &target { };`
    Extend { label: Option<Label>, target: Reference, body: Body },
    /// `/delete-node/ &target;`
    Delete(Reference),
    /// `/omit-if-no-ref/ &target;`
    Omit(Reference),
}

/// `name:`
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// The name without the colon.
    pub name: Name,
    /// Where it stands.
    pub span: Span,
}

/// `{ properties subnodes }`
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub span: Span,
    pub properties: Vec<Property>,
    pub children: Vec<Node>,
}

/// `labels: name = value;` or `/delete-property/ name;`
#[derive(Debug)]
pub(crate) struct Property {
    /// In the source's order.
    pub labels: Vec<Label>,
    pub name: Name,
    pub value: Data,
    pub deleted: bool,
    pub span: Span,
}

/// `labels: name { };` or `/delete-node/ name;`
#[derive(Debug)]
pub(crate) struct Node {
    /// In the source's order.
    pub labels: Vec<Label>,
    pub name: Name,
    pub omit_if_no_ref: bool,
    pub deleted: bool,
    pub body: Body,
}
