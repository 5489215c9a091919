//! A recipe as it is understood: every value, on request with its origin.
//!
//! The TOML listing is itself a recipe that means the same: nothing inherited, no variants, absolute paths.

use serde_json::json;

use super::keys::{Kind, RECIPE, Table};
use super::raw::{Layer, Node, Value};
use super::report::line_column;
use super::resolve::key_path;
use super::{Reading, SourceText, form};

/// Returns the recipe as TOML; with `origins`, each value is followed by where it comes from.
pub fn toml(reading: &Reading, origins: bool) -> String {
    let mut listing = Listing { sources: &reading.recipe.sources, origins, text: String::new() };
    let files: Vec<String> = listing.sources.iter().map(|source| source.path.display().to_string()).collect();
    listing.text = format!("# {}: read from {}\n", reading.recipe.name, files.join(", "));
    listing.text.retain(|c| c == '\n' || !c.is_control());
    listing.table(&reading.document, &RECIPE, "", "");
    listing.text
}

/// Returns the recipe as JSON; with `origins`, each value is an object of `value` and `origin`.
pub fn json(reading: &Reading, origins: bool) -> serde_json::Value {
    let listing = Listing { sources: &reading.recipe.sources, origins, text: String::new() };
    let mut document = listing.json(&reading.document, Some(&Kind::Table(&RECIPE)));
    if let Some(object) = document.as_object_mut() {
        object.remove("inherit");
        object.insert("name".to_string(), json!(reading.recipe.name));
    }
    document
}

struct Listing<'a> {
    sources: &'a [SourceText],
    origins: bool,
    text: String,
}

impl Listing<'_> {
    /// Writes a table with known keys: in the order of the table of keys, plain values before tables.
    fn table(&mut self, node: &Node, table: &Table, path: &str, heading: &str) {
        let entries = table.keys().filter(|key| key.name != "inherit");
        let entries: Vec<(&str, &Node, &Kind)> =
            entries.filter_map(|key| Some((key.name, node.get(key.name)?, &key.kind))).collect();
        self.entries(&entries, path, heading);
    }

    fn entries(&mut self, entries: &[(&str, &Node, &Kind)], path: &str, heading: &str) {
        let (tables, values): (Vec<_>, Vec<_>) = entries.iter().partition(|(_, node, _)| is_table(node));
        if !heading.is_empty() && (!values.is_empty() || tables.is_empty()) {
            self.text += &format!("\n{heading}\n");
        }
        for (name, node, kind) in values {
            let value = self.value(node, kind);
            let origin = if self.origins { format!("  # {}", self.origin(node)) } else { String::new() };
            self.text += &format!("{} = {value}{origin}\n", key_path("", name));
        }
        for (name, node, kind) in tables {
            let path = key_path(path, name);
            match (&node.value, kind) {
                (Value::Array(elements), Kind::List(Kind::Table(table), _)) => {
                    elements.iter().for_each(|element| self.table(element, table, &path, &format!("[[{path}]]")));
                }
                (Value::Table(_), Kind::Table(table)) => self.table(node, table, &path, &format!("[{path}]")),
                (Value::Table(entries), Kind::Names(_, of, _)) => {
                    let entries: Vec<_> = entries.iter().map(|(name, node)| (name.as_str(), node, *of)).collect();
                    let heading = if entries.is_empty() { String::new() } else { format!("[{path}]") };
                    self.entries(&entries, &path, &heading);
                }
                _ => {}
            }
        }
    }

    /// Returns a plain value as TOML.
    fn value(&self, node: &Node, kind: &Kind) -> String {
        match (&node.value, kind) {
            (Value::String(_), _) => toml::Value::String(self.string(node, Some(kind), true)).to_string(),
            (Value::Integer(value, 8), _) => format!("{:#o}", value.unwrap_or_default()),
            (Value::Integer(value, 16), _) => format!("{:#x}", value.unwrap_or_default()),
            (Value::Integer(value, _), _) => value.unwrap_or_default().to_string(),
            (Value::Boolean(value), _) => value.to_string(),
            (Value::Float(text) | Value::Date(text), _) => text.clone(),
            (Value::Array(elements), Kind::List(of, _)) => {
                let elements: Vec<String> = elements.iter().map(|element| self.value(element, of)).collect();
                format!("[{}]", elements.join(", "))
            }
            (Value::Array(_), Kind::Either(kinds)) => {
                let list = kinds.iter().find(|kind| matches!(kind, Kind::List(..)));
                list.map_or(String::new(), |list| self.value(node, list))
            }
            _ => String::new(),
        }
    }

    /// Returns a string as meant; local paths are absolute. `escape` keeps braces from becoming variables again.
    fn string(&self, node: &Node, kind: Option<&Kind>, escape: bool) -> String {
        let text = node.text().unwrap_or_default();
        let local = matches!(kind, Some(Kind::Text(form)) if form::is_local(form, text));
        let source = node.place.file.and_then(|file| self.sources.get(file));
        let text = match source.and_then(|source| source.path.parent()).filter(|_| local) {
            Some(folder) => {
                let path = folder.join(text);
                std::path::absolute(&path).unwrap_or(path).display().to_string()
            }
            None => text.to_string(),
        };
        if escape { text.replace("{{", "{{{{") } else { text }
    }

    fn json(&self, node: &Node, kind: Option<&Kind>) -> serde_json::Value {
        let value = match &node.value {
            Value::Table(entries) => {
                let inner = |name: &str| match kind {
                    Some(Kind::Table(table)) => table.key(name).map(|key| &key.kind),
                    Some(Kind::Names(_, of, _)) => Some(*of),
                    _ => None,
                };
                return entries.iter().map(|(name, node)| (name.clone(), self.json(node, inner(name)))).collect();
            }
            Value::Array(elements) if is_table(node) => {
                let of = match kind {
                    Some(Kind::List(of, _)) => Some(*of),
                    _ => None,
                };
                return elements.iter().map(|element| self.json(element, of)).collect();
            }
            Value::Array(elements) => {
                let plain = Listing { sources: self.sources, origins: false, text: String::new() };
                elements.iter().map(|element| plain.json(element, None)).collect()
            }
            Value::String(_) => json!(self.string(node, kind, false)),
            Value::Integer(value, _) => json!(value),
            Value::Boolean(value) => json!(value),
            Value::Float(text) | Value::Date(text) => json!(text),
            Value::Bad => serde_json::Value::Null,
        };
        if self.origins { json!({ "value": value, "origin": self.origin(node) }) } else { value }
    }

    /// Says where a value comes from: `tutorial.toml:12`, `default`, `--set`.
    fn origin(&self, node: &Node) -> String {
        let source = node.place.file.and_then(|file| self.sources.get(file));
        let mut origin = match (node.place.layer, source) {
            (Layer::Set, _) => "--set".to_string(),
            (_, None) => "default".to_string(),
            (_, Some(source)) => {
                let (line, _) = line_column(&source.text, node.place.span.start);
                let path: String = source.path.display().to_string().chars().filter(|c| !c.is_control()).collect();
                format!("{path}:{line}")
            }
        };
        if node.place.layer == Layer::Variant {
            origin += ", variant";
        }
        let variables: Vec<&str> = node.variables.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        if !variables.is_empty() {
            origin += &format!(", with {}", variables.join(", "));
        }
        origin
    }
}

/// Tells whether a value gets a heading, or several.
fn is_table(node: &Node) -> bool {
    match &node.value {
        Value::Table(_) => true,
        Value::Array(elements) => matches!(elements.first(), Some(Node { value: Value::Table(_), .. })),
        _ => false,
    }
}
