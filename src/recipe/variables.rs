//! Variables: `{{name}}` in any string of a recipe stands for `name`'s value; `{{{{` stands for `{{`.
//!
//! Shell scripts, of which recipes are full, hardly ever write `{{`; they write `$name` and `${name}` all the time.

use std::collections::{BTreeMap, BTreeSet};

use super::SourceText;
use super::raw::{Entries, Layer, Node, Place, Value};
use super::report::Finding;

/// The longest string that variables may grow to, in bytes.
const EXPANDED_MAX: usize = 1 << 20;
/// How much text variables may make in one recipe, in bytes: many long strings are as bad as one.
const EXPANDED_TOTAL_MAX: usize = 16 << 20;
/// How deep variables may refer to variables.
const DEPTH_MAX: usize = 32;

/// Tells whether a string may have variables in it.
pub fn occur_in(text: &str) -> bool {
    text.contains("{{")
}

/// Tells whether a string is one variable and nothing else, as may stand for an integer.
pub fn is_one(text: &str) -> bool {
    text.strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .is_some_and(|name| !name.is_empty() && !name.contains(['{', '}']))
}

/// What a string with variables is made of.
#[derive(PartialEq, Eq, Debug)]
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Takes a string apart; `Err` is the rest that begins with a `{{` that is no variable.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        pieces.push(Piece::Text(&rest[..at]));
        let inside = &rest[at + 2..];
        if let Some(after) = inside.strip_prefix("{{") {
            pieces.push(Piece::Text("{{"));
            rest = after;
            continue;
        }
        let Some((name, after)) = inside.split_once("}}") else { return Err(&rest[at..]) };
        let name = name.trim_matches(' ');
        if !super::form::NAME.matches(name) {
            return Err(&rest[at..]);
        }
        pieces.push(Piece::Variable(name));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// Puts values for variables everywhere in a recipe but in the variables themselves.
pub fn expand(document: &mut Node, set: &[(String, String)], sources: &[SourceText], findings: &mut Vec<Finding>) {
    let Some(entries) = document.entries_mut() else { return };
    override_variables(entries, set, findings);
    let empty = Entries::new();
    let variables = entries.get("variables").and_then(Node::entries).unwrap_or(&empty).clone();
    let mut expander = Expander { variables, values: BTreeMap::new(), total: 0, sources, findings };
    let names: Vec<String> = expander.variables.keys().cloned().collect();
    for name in names {
        expander.value_of(&name, &mut Vec::new());
    }
    for (key, node) in entries.iter_mut() {
        match key.as_str() {
            "variables" => expander.write_back(node),
            "inherit" | "variant" => {}
            _ => expander.node(node),
        }
    }
}

fn override_variables(entries: &mut Entries, set: &[(String, String)], findings: &mut Vec<Finding>) {
    for (name, value) in set {
        let variables = entries.get_mut("variables").and_then(Node::entries_mut);
        match variables {
            Some(variables) if variables.contains_key(name) => {
                // The value is final: braces in it mean nothing.
                variables.insert(name.clone(), Node::made_string(value.replace("{{", "{{{{"), Layer::Set));
            }
            variables => {
                let names =
                    variables.map(|variables| variables.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
                findings.push(
                    Finding::nowhere(format!("--set {name}: the recipe has no variable `{name}`"))
                        .suggest(name, names.iter().map(String::as_str)),
                );
            }
        }
    }
}

struct Expander<'a> {
    variables: Entries,
    /// Values found so far; `None` where an error has been reported.
    values: BTreeMap<String, Option<String>>,
    /// Bytes of all strings made so far; above the limit, nothing more is made.
    total: usize,
    sources: &'a [SourceText],
    findings: &'a mut Vec<Finding>,
}

impl Expander<'_> {
    /// Returns a variable's value; `stack` holds the variables whose values are being found.
    fn value_of(&mut self, name: &str, stack: &mut Vec<String>) -> Option<String> {
        if let Some(value) = self.values.get(name) {
            return value.clone();
        }
        let node = self.variables.get(name)?.clone();
        let value = match &node.value {
            Value::Integer(Some(value), _) => Some(value.to_string()),
            Value::String(_) if stack.iter().any(|known| known == name) || stack.len() >= DEPTH_MAX => {
                stack.push(name.to_string());
                let message = format!("variables refer to each other in a circle: {}", stack.join(" -> "));
                self.findings.push(Finding::meaning(&node.place, message));
                stack.pop();
                None
            }
            Value::String(text) => {
                stack.push(name.to_string());
                let value = self.text(text, &node.place, stack, &mut BTreeSet::new());
                stack.pop();
                value
            }
            _ => None,
        };
        self.values.insert(name.to_string(), value.clone());
        value
    }

    /// Returns a string with its variables' values.
    fn text(
        &mut self,
        text: &str,
        place: &Place,
        stack: &mut Vec<String>,
        used: &mut BTreeSet<String>,
    ) -> Option<String> {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(rest) => {
                let place = self.locate(place, rest);
                self.findings.push(
                    Finding::meaning(&place, "`{{` begins a variable, `{{name}}`, but no name follows")
                        .help("where two braces are meant, write `{{{{`"),
                );
                return None;
            }
        };
        if self.total > EXPANDED_TOTAL_MAX {
            return None;
        }
        let mut result = Some(String::new());
        for piece in pieces {
            let value = match piece {
                Piece::Text(text) => Some(text.to_string()),
                Piece::Variable(name) => {
                    used.insert(name.to_string());
                    self.variable(name, place, stack)
                }
            };
            result = result.zip(value).map(|(result, value)| result + &value);
            if result.as_ref().is_some_and(|result| result.len() > EXPANDED_MAX) {
                self.findings.push(Finding::meaning(
                    place,
                    format!("with its variables this is longer than {EXPANDED_MAX} bytes"),
                ));
                return None;
            }
        }
        self.total += result.as_ref().map_or(0, String::len);
        if self.total > EXPANDED_TOTAL_MAX {
            let message = format!("with this, the recipe's variables make more than {} MiB", EXPANDED_TOTAL_MAX >> 20);
            self.findings.push(Finding::meaning(place, message).help("put long texts into files, and name those"));
            return None;
        }
        result
    }

    fn variable(&mut self, name: &str, place: &Place, stack: &mut Vec<String>) -> Option<String> {
        if !self.variables.contains_key(name) {
            let place = self.locate(place, &format!("{{{{{name}"));
            let names: Vec<String> = self.variables.keys().cloned().collect();
            self.findings.push(
                Finding::meaning(&place, format!("there is no variable `{name}`"))
                    .suggest(name, names.iter().map(String::as_str)),
            );
            return None;
        }
        self.value_of(name, stack)
    }

    /// Narrows a string's place down to what begins like `needle`, where it stands there literally.
    fn locate(&self, place: &Place, needle: &str) -> Place {
        let mut place = place.clone();
        let first_line = needle.lines().next().unwrap_or_default();
        let text =
            place.file.and_then(|file| self.sources.get(file)).and_then(|source| source.text.get(place.span.clone()));
        if let Some(at) = text.and_then(|text| text.find(first_line)) {
            let start = place.span.start + at;
            let length = text.and_then(|text| text[at..].find("}}")).map_or(2, |end| end + 2);
            place.span = start..start + length.min(place.span.end - start);
        }
        place
    }

    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Table(entries) => entries.values_mut().for_each(|node| self.node(node)),
            Value::Array(elements) => elements.iter_mut().for_each(|node| self.node(node)),
            Value::String(text) if occur_in(text) => {
                let text = std::mem::take(text);
                let mut used = BTreeSet::new();
                node.value = match self.text(&text, &node.place, &mut Vec::new(), &mut used) {
                    Some(text) => Value::String(text),
                    None => Value::Bad,
                };
                node.variables = used.into_iter().collect();
                if node.variables.is_empty() {
                    // `{{{{` alone: what stands there now has not been checked yet, either.
                    node.variables.push(String::new());
                }
            }
            _ => {}
        }
    }

    /// Replaces the variables as written by their values, for those who want to see them.
    fn write_back(&self, node: &mut Node) {
        let Some(entries) = node.entries_mut() else { return };
        for (name, entry) in entries.iter_mut() {
            let Some(variable) = self.variables.get(name) else { continue };
            entry.place = variable.place.clone();
            if let (Value::String(_), Some(Some(value))) = (&variable.value, self.values.get(name)) {
                entry.value = Value::String(value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_strings() {
        assert_eq!(
            pieces("a-{{b}}-{{ c }}").unwrap(),
            [Piece::Text("a-"), Piece::Variable("b"), Piece::Text("-"), Piece::Variable("c"), Piece::Text("")]
        );
        assert_eq!(pieces("{{{{x}}").unwrap(), [Piece::Text(""), Piece::Text("{{"), Piece::Text("x}}")]);
        assert_eq!(pieces("${x} $x {x}").unwrap(), [Piece::Text("${x} $x {x}")]);
        assert_eq!(pieces("a {{.Name}}"), Err("{{.Name}}"));
        assert_eq!(pieces("a {{b"), Err("{{b"));
        assert_eq!(pieces("{{}}"), Err("{{}}"));
    }
}
