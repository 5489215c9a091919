//! A recipe as written: TOML's values, each with its place in a file.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Finding;

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// A recipe file.
    File,
    /// The chosen variant, in a recipe file.
    Variant,
    /// `--set`.
    Set,
    /// The table of keys.
    Default,
}

/// Where a value was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file, by its index among the sources; `None` for defaults and `--set`.
    pub file: Option<usize>,
    /// Byte range in the file.
    pub span: Range<usize>,
    /// What brought it.
    pub layer: Layer,
}

impl Place {
    /// Returns the place of what is written nowhere.
    pub const fn nowhere(layer: Layer) -> Self {
        Place { file: None, span: 0..0, layer }
    }
}

/// A value and its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where the value was written; for tables, their name in the heading or the key.
    pub place: Place,
    /// Where the key was written.
    pub key: Range<usize>,
    /// Names of the variables that went into it.
    pub variables: Vec<String>,
}

/// A table's entries, by key.
pub type Entries = BTreeMap<String, Node>;

/// TOML's values.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A string.
    String(String),
    /// An integer and the base it was written in; `None` where it does not fit 64 bits.
    Integer(Option<i64>, u32),
    /// A number with a fraction, as written.
    Float(String),
    /// `true` or `false`.
    Boolean(bool),
    /// A date, a time or both, as RFC 3339 writes it.
    Date(String),
    /// An array.
    Array(Vec<Node>),
    /// A table.
    Table(Entries),
    /// Something that was found wrong and reported already: nothing more is said about it.
    Bad,
}

impl Value {
    /// Says which type this is, for "found ...".
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(..) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "a boolean",
            Value::Date(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Bad => "nothing",
        }
    }
}

impl Node {
    /// Makes a value that stands in no file.
    pub fn made(value: Value, layer: Layer) -> Self {
        Node { value, place: Place::nowhere(layer), key: 0..0, variables: Vec::new() }
    }

    /// Makes a string that stands in no file.
    pub fn made_string(text: impl Into<String>, layer: Layer) -> Self {
        Node::made(Value::String(text.into()), layer)
    }

    /// Returns a table's entry.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().and_then(|entries| entries.get(key))
    }

    /// Returns a table's entries.
    pub fn entries(&self) -> Option<&Entries> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns a table's entries.
    pub fn entries_mut(&mut self) -> Option<&mut Entries> {
        match &mut self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns an array's elements; none if it is no array.
    pub fn elements(&self) -> &[Node] {
        match &self.value {
            Value::Array(elements) => elements,
            _ => &[],
        }
    }

    /// Returns a string's text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns an integer.
    pub fn integer(&self) -> Option<i64> {
        match self.value {
            Value::Integer(value, _) => value,
            _ => None,
        }
    }

    /// Returns a boolean.
    pub fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the place of the key: that of the value where there is no key.
    pub fn key_place(&self) -> Place {
        let span = if self.key.is_empty() { self.place.span.clone() } else { self.key.clone() };
        Place { span, ..self.place.clone() }
    }

    /// Marks this and all below as brought by a variant.
    pub fn mark(&mut self, layer: Layer) {
        self.place.layer = layer;
        match &mut self.value {
            Value::Table(entries) => entries.values_mut().for_each(|node| node.mark(layer)),
            Value::Array(elements) => elements.iter_mut().for_each(|node| node.mark(layer)),
            _ => {}
        }
    }
}

/// Reads TOML: all syntax errors, or the document.
pub fn parse(file: usize, text: &str) -> Result<Node, Vec<Finding>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let place = Place { file: Some(file), span: 0..0, layer: Layer::File };
        return Ok(convert_table(table.get_ref(), &place, 0..0));
    }
    Err(errors
        .iter()
        .map(|error| {
            let place = |span| Place { file: Some(file), span, layer: Layer::File };
            match error.span() {
                Some(span) => Finding::shape(&place(span), error.message()),
                // Of keys with too many dots the parser does not say where they are.
                None => Finding::shape(&place(0..0), format!("somewhere in this file: {}", error.message())),
            }
        })
        .collect())
}

/// Reads one TOML value out of the table of keys.
pub fn parse_default(toml: &'static str) -> Node {
    let value = DeValue::parse(toml).expect("a default is TOML");
    convert(&value, &Place::nowhere(Layer::Default), 0..0)
}

fn convert(value: &Spanned<DeValue<'_>>, place: &Place, key: Range<usize>) -> Node {
    let span = if place.file.is_some() { value.span() } else { 0..0 };
    let here = Place { span, ..place.clone() };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => {
            Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok(), integer.radix())
        }
        DeValue::Float(float) => Value::Float(float.as_str().to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(elements) => {
            Value::Array(elements.iter().map(|element| convert(element, place, 0..0)).collect())
        }
        DeValue::Table(table) => return convert_table(table, &here, key),
    };
    Node { value, place: here, key, variables: Vec::new() }
}

fn convert_table(table: &DeTable<'_>, place: &Place, key: Range<usize>) -> Node {
    let in_file = place.file.is_some();
    let entries = table
        .iter()
        .map(|(name, value)| {
            let key = if in_file { name.span() } else { 0..0 };
            (name.get_ref().to_string(), convert(value, place, key))
        })
        .collect();
    let span = if key.is_empty() { place.span.clone() } else { key.clone() };
    Node { value: Value::Table(entries), place: Place { span, ..place.clone() }, key, variables: Vec::new() }
}
