//! Checks a recipe's shape against the table of keys: what a JSON Schema can say, and says in the same way.
//!
//! Whatever is found wrong is reported once and turned into [`Value::Bad`], so that nothing is said about it again.

use super::complete::chosen;
use super::form;
use super::keys::{ADDRESS_MAX, Choice, Kind, RECIPE, Table, VARIANT};
use super::raw::{Entries, Node, Value};
use super::report::{Class, Finding, list, nearest};
use super::variables;

/// After so many findings nobody reads suggestions, which take longer to find than the rest.
const SUGGESTIONS_MAX: usize = 1000;

/// Checks one file as it was written: unknown keys, types, patterns, ranges, keys that exclude each other.
///
/// Strings with variables are passed over: [`expanded`] checks them when their values are known.
pub fn written(document: &mut Node, findings: &mut Vec<Finding>) {
    Checker { findings, expanded: false }.table(document, &RECIPE);
}

/// Checks the values that variables went into.
pub fn expanded(document: &mut Node, findings: &mut Vec<Finding>) {
    Checker { findings, expanded: true }.table(document, &RECIPE);
}

struct Checker<'a> {
    findings: &'a mut Vec<Finding>,
    expanded: bool,
}

impl Checker<'_> {
    fn value(&mut self, node: &mut Node, kind: &Kind) {
        match (kind, &mut node.value) {
            (_, Value::Bad) => {}
            (Kind::Table(table), Value::Table(_)) => self.table(node, table),
            (Kind::Variant, Value::Table(_)) => self.table(node, &VARIANT),
            (Kind::Names(..), Value::Table(_)) => self.names(node, kind),
            (Kind::List(of, at_least), Value::Array(elements)) => {
                let count = elements.len();
                elements.iter_mut().for_each(|element| self.value(element, of));
                if count < *at_least && !self.expanded {
                    self.wrong(node, format!("expected at least {at_least} element, found none"));
                }
            }
            (Kind::Either(kinds), value) => match kinds.iter().find(|kind| takes(kind, value)) {
                Some(kind) => self.value(node, kind),
                None => self.wrong_type(node, kind),
            },
            _ if self.expanded == node.variables.is_empty() => {}
            (Kind::Integer(..), Value::String(_)) if self.expanded => self.leaf(node, kind),
            (kind, value) if takes(kind, value) => self.leaf(node, kind),
            _ => self.wrong_type(node, kind),
        }
    }

    fn table(&mut self, node: &mut Node, table: &'static Table) {
        let Value::Table(entries) = &mut node.value else { return };
        if !self.expanded {
            self.unknown_keys(entries, table);
            for choice in table.choices {
                self.exclusive(entries, choice);
            }
        }
        for key in table.keys() {
            if let Some(entry) = entries.get_mut(key.name) {
                self.value(entry, &key.kind);
            }
        }
    }

    fn unknown_keys(&mut self, entries: &mut Entries, table: &'static Table) {
        let unknown: Vec<String> = entries.keys().filter(|name| table.key(name).is_none()).cloned().collect();
        for name in unknown {
            let Some(entry) = entries.remove(&name) else { continue };
            let wanted = || table.keys().map(|key| key.name);
            let message = format!("unknown key `{}` in {}", clip(&name), place_name(table));
            let finding = Finding::shape(&entry.key_place(), message);
            if self.findings.len() >= SUGGESTIONS_MAX {
                self.findings.push(finding);
                continue;
            }
            self.findings.push(finding.suggest(&name, wanted()));
            if let Some(meant) = nearest(&name, wanted()) {
                entries.entry(meant.to_string()).or_insert(Node { value: Value::Bad, ..entry });
            }
        }
    }

    fn exclusive(&mut self, entries: &Entries, choice: &Choice) {
        let mut chosen = chosen(entries, choice);
        chosen.sort_by_key(|key| entries[*key].key.start);
        if let [first, second, ..] = chosen[..] {
            let message = format!("`{first}` and `{second}` exclude each other: say only once {}", choice.what);
            self.findings.push(Finding::shape(&entries[second].key_place(), message));
        }
    }

    fn names(&mut self, node: &mut Node, kind: &Kind) {
        let (Kind::Names(form, of, reserved), Value::Table(entries)) = (kind, &mut node.value) else { return };
        for (name, entry) in entries.iter_mut() {
            let message = if self.expanded {
                None
            } else if reserved.contains(&name.as_str()) {
                Some(format!("`{name}` does not belong here: the recipe says it with a key of its own"))
            } else if !form.matches(name) {
                Some(format!("expected {}, found `{}`", form.what, clip(name)))
            } else {
                None
            };
            match message {
                Some(message) => {
                    self.findings.push(Finding::shape(&entry.key_place(), message));
                    entry.value = Value::Bad;
                }
                None => self.value(entry, of),
            }
        }
    }

    /// Checks a value whose type is right.
    fn leaf(&mut self, node: &mut Node, kind: &Kind) {
        match (kind, &node.value) {
            (Kind::Text(form), Value::String(text)) => {
                let later = !self.expanded && !form.literal && variables::occur_in(text);
                if !later && !form.matches(text) {
                    let finding = self.finding(node, format!("expected {}, found `{}`", form.what, clip(text)));
                    self.bad(node, finding.help_if(size_hint(text)));
                }
            }
            (Kind::OneOf(names), Value::String(text)) => {
                let later = !self.expanded && variables::occur_in(text);
                if !later && !names.contains(&text.as_str()) {
                    let finding = self.finding(node, format!("expected {}, found `{}`", list(names), clip(text)));
                    let meant = nearest(text, names.iter().copied()).map(|name| format!("did you mean `{name}`?"));
                    self.bad(node, finding.help_if(meant));
                }
            }
            (Kind::Integer(least, most), Value::Integer(value, _)) => match value {
                Some(value) if (least..=most).contains(&value) => {}
                Some(value) => self.wrong(node, format!("expected a number from {least} to {most}, found {value}")),
                None => self.wrong(node, "this number is too large"),
            },
            (Kind::Integer(..), Value::String(text)) if self.expanded => match text.trim().parse() {
                Ok(value) => {
                    node.value = Value::Integer(Some(value), 10);
                    self.leaf(node, kind);
                }
                Err(_) => self.wrong(node, format!("expected an integer, found `{}`", clip(text))),
            },
            (Kind::Date, Value::Date(text)) if !form::TIME.matches(text) => {
                self.wrong(node, format!("expected {}, found `{text}`", form::TIME.what));
            }
            (Kind::Mode, Value::Integer(value, radix)) => self.mode(node, *value, *radix),
            (Kind::True, Value::Boolean(false)) => {
                let finding = self.finding(node, "expected `true`").help("leave the key out to say no");
                self.bad(node, finding);
            }
            (Kind::Version, Value::Integer(value, _)) if *value != Some(1) => {
                self.wrong(node, "this xenbuild reads version 1 of the recipe language")
            }
            _ => {}
        }
    }

    fn mode(&mut self, node: &mut Node, value: Option<i64>, radix: u32) {
        let Some(value) = value.filter(|value| (0..=0o7777).contains(value)) else {
            return self.wrong(node, "expected permission bits, up to 0o7777");
        };
        if radix == 8 || value == 0 {
            return;
        }
        let octal = if radix == 10 && value.to_string().bytes().all(|digit| digit < b'8') {
            format!("0o{value}")
        } else {
            format!("{value:#o}")
        };
        let finding = Finding::meaning(&node.place, "permission bits are written in octal");
        self.bad(node, finding.help(format!("in TOML that begins with `0o`: `{octal}`")));
    }

    fn finding(&self, node: &Node, message: impl Into<String>) -> Finding {
        let class = if self.expanded { Class::Meaning } else { Class::Shape };
        Finding { class, ..Finding::shape(&node.place, message) }
    }

    /// Reports a value, and makes sure that it is the last that is heard of it.
    fn bad(&mut self, node: &mut Node, finding: Finding) {
        self.findings.push(finding);
        node.value = Value::Bad;
    }

    fn wrong(&mut self, node: &mut Node, message: impl Into<String>) {
        let finding = self.finding(node, message);
        self.bad(node, finding);
    }

    fn wrong_type(&mut self, node: &mut Node, kind: &Kind) {
        let found = match &node.value {
            Value::String(text) => format!("the string `{}`", clip(text)),
            other => other.type_name().to_string(),
        };
        let finding = self.finding(node, format!("expected {}, found {found}", expected(kind)));
        let class = if passes_as_json(kind, &node.value) { Class::Meaning } else { finding.class };
        self.bad(node, Finding { class, ..finding });
    }
}

/// Tells whether a value has a type that fits; only the type counts.
pub fn takes(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Text(_) | Kind::OneOf(_), Value::String(_)) => true,
        (Kind::Integer(..), Value::String(text)) => variables::is_one(text),
        (Kind::Integer(..) | Kind::Mode | Kind::Version, Value::Integer(..)) => true,
        (Kind::Date, Value::Date(_)) => true,
        (Kind::Boolean | Kind::True, Value::Boolean(_)) => true,
        (Kind::List(..), Value::Array(_)) => true,
        (Kind::Table(_) | Kind::Names(..) | Kind::Variant, Value::Table(_)) => true,
        (Kind::Either(kinds), value) => kinds.iter().any(|kind| takes(kind, value)),
        _ => false,
    }
}

/// Tells whether a value of a wrong type looks right to those who see it as JSON: a date as a string, 2.0 as 2.
fn passes_as_json(kind: &Kind, value: &Value) -> bool {
    let whole = |text: &str, least: i64, most: i64| {
        let number = text.replace('_', "").parse::<f64>().unwrap_or(f64::NAN);
        number.fract() == 0.0 && (least as f64..=most as f64).contains(&number)
    };
    match (kind, value) {
        (Kind::Text(form), Value::Date(text)) => form.matches(text),
        (Kind::Integer(least, most), Value::Float(text)) => whole(text, *least, *most),
        (Kind::Mode, Value::Float(text)) => whole(text, 0, 0o7777),
        (Kind::Version, Value::Float(text)) => whole(text, 1, 1),
        (Kind::Either(kinds), value) => kinds.iter().any(|kind| passes_as_json(kind, value)),
        _ => false,
    }
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Text(form) => form.what.to_string(),
        Kind::Integer(i64::MIN, i64::MAX) => "an integer".to_string(),
        Kind::Integer(0, i64::MAX) => "a number".to_string(),
        Kind::Integer(0, ADDRESS_MAX) => "an address: `0x48000000`".to_string(),
        Kind::Integer(least, most) => format!("a number from {least} to {most}"),
        Kind::Mode => "permission bits in octal: `0o755`".to_string(),
        Kind::Date => "a date".to_string(),
        Kind::Boolean => "`true` or `false`".to_string(),
        Kind::True => "`true`".to_string(),
        Kind::Version => "the number 1".to_string(),
        Kind::OneOf(names) => list(names),
        Kind::List(of, _) => format!("an array (of {})", expected(of)),
        Kind::Table(_) | Kind::Names(..) | Kind::Variant => "a table".to_string(),
        // These forms' descriptions say already what else may stand there.
        Kind::Either([first @ Kind::Text(form), ..]) if form.what.contains(", or ") => expected(first),
        Kind::Either(kinds) => kinds.iter().map(expected).collect::<Vec<_>>().join(", or "),
    }
}

fn place_name(table: &Table) -> String {
    match table.name {
        "recipe" => "the recipe".to_string(),
        _ if table.heading.starts_with('[') => format!("`{}`", table.heading),
        _ => table.heading.to_string(),
    }
}

/// For those who write sizes as they are used to.
fn size_hint(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text[digits.len()..].trim();
    let prefix = unit.chars().next().filter(|c| "KMGTkmgt".contains(*c))?;
    let is_size = matches!(unit.len(), 1 | 2) && unit[1..].chars().all(|c| "bB".contains(c));
    (is_size && !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| format!("sizes count in powers of two: `{digits}{}iB`", prefix.to_ascii_uppercase()))
}

/// Cuts what a recipe says to one line of a length that fits a message.
pub fn clip(text: &str) -> String {
    let (text, dots) = match text.char_indices().nth(100) {
        Some((end, _)) => (&text[..end], "..."),
        None => (text, ""),
    };
    format!("{}{dots}", text.replace('\n', "\\n").replace('\t', "\\t"))
}
