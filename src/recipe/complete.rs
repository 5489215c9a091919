//! Checks that a whole recipe lacks nothing, and that no key stands beside the wrong one.

use super::keys::{Choice, Key, Kind, Presence, RECIPE, Table};
use super::raw::{Entries, Node, Place, Value};
use super::report::{Class, Finding, list};
use super::resolve::key_path;
use super::shape::{clip, takes};

/// What is missing from a whole recipe, or stands beside the wrong thing.
///
/// `class` says whether the schema sees it too: it does not where several files or a variant make the recipe.
pub fn complete(document: &Node, class: Class, findings: &mut Vec<Finding>) {
    complete_value(document, &Kind::Table(&RECIPE), "", class, findings);
}

fn complete_value(node: &Node, kind: &Kind, path: &str, class: Class, findings: &mut Vec<Finding>) {
    match (kind, &node.value) {
        (Kind::Table(table), Value::Table(entries)) => {
            let name = if path.is_empty() { "the recipe".to_string() } else { format!("`{}`", clip(path)) };
            let mut check = Check { node, entries, name, class, findings };
            check.required(table);
            check.only(table);
            table.choices.iter().for_each(|choice| check.choice(choice));
            for key in table.keys() {
                if let Some(entry) = entries.get(key.name) {
                    complete_value(entry, &key.kind, &key_path(path, key.name), class, findings);
                }
            }
        }
        (Kind::Names(_, of, _), Value::Table(entries)) => {
            for (name, entry) in entries {
                complete_value(entry, of, &key_path(path, name), class, findings);
            }
        }
        (Kind::List(of, _), Value::Array(elements)) => {
            for (index, element) in elements.iter().enumerate() {
                complete_value(element, of, &format!("{path}[{index}]"), class, findings);
            }
        }
        (Kind::Either(kinds), value) => {
            if let Some(kind) = kinds.iter().find(|kind| takes(kind, value)) {
                complete_value(node, kind, path, class, findings);
            }
        }
        _ => {}
    }
}

/// One table of the recipe, and what to say of it.
struct Check<'a> {
    node: &'a Node,
    entries: &'a Entries,
    /// What it is called in messages.
    name: String,
    class: Class,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    fn report(&mut self, place: &Place, message: String) {
        self.findings.push(Finding { class: self.class, ..Finding::shape(place, message) });
    }

    fn required(&mut self, table: &Table) {
        let required = table.keys().filter(|key| matches!(key.presence, Presence::Required)).map(|key| key.name);
        let missing: Vec<&str> = required.filter(|name| !self.entries.contains_key(*name)).collect();
        match missing[..] {
            [] => {}
            [key] => self.report(&self.node.place, format!("{} lacks the key `{key}`", self.name)),
            _ => self.report(&self.node.place, format!("{} lacks the keys {}", self.name, list(&missing))),
        }
    }

    fn only(&mut self, table: &Table) {
        for key in table.keys() {
            let (Some(entry), Some((sibling, values))) = (self.entries.get(key.name), key.only) else { continue };
            if !applies_to(self.entries, table, key) {
                let message = format!("`{}` means something only where `{sibling}` is {}", key.name, list(values));
                let varies = self.entries.get(sibling).is_some_and(|node| !node.variables.is_empty());
                let class = if varies { Class::Meaning } else { self.class };
                self.findings.push(Finding { class, ..Finding::shape(&entry.key_place(), message) });
            }
        }
    }

    fn choice(&mut self, choice: &Choice) {
        let none_chosen = chosen(self.entries, choice).is_empty();
        if none_chosen && choice.required {
            let keys: Vec<&str> = choice.of.iter().map(|one| one.key).collect();
            let message = format!("{} does not say {}: one of {}", self.name, choice.what, list(&keys));
            return self.report(&self.node.place, message);
        }
        for one in choice.of {
            let Some(entry) = self.entries.get(one.key) else { continue };
            for with in one.with.iter().filter(|with| !self.entries.contains_key(**with)) {
                self.report(&entry.key_place(), format!("`{}` needs the key `{with}` beside it", one.key));
            }
        }
        for companion in companions(choice) {
            let Some(entry) = self.entries.get(companion) else { continue };
            let beside = beside(choice, companion);
            let is_alternative = choice.of.iter().any(|one| one.key == companion);
            if !is_alternative && !beside.iter().any(|key| self.entries.contains_key(*key)) {
                let message = format!("`{companion}` means something only beside {}", list(&beside));
                self.report(&entry.key_place(), message);
            }
        }
    }
}

/// Tells whether a key has a meaning in a table, as far as [`Key::only`] says.
pub fn applies_to(entries: &Entries, table: &Table, key: &Key) -> bool {
    let Some((sibling, values)) = key.only else { return true };
    let default = || match table.key(sibling)?.presence {
        Presence::Default(toml) => Some(toml.trim_matches('"').to_string()),
        _ => None,
    };
    match entries.get(sibling) {
        Some(Node { value: Value::String(text), .. }) => values.contains(&text.as_str()),
        Some(_) => true,
        None => default().is_none_or(|text| values.contains(&text.as_str())),
    }
}

/// Returns the keys with which a choice has been made; more than one is one too many.
pub fn chosen(entries: &Entries, choice: &Choice) -> Vec<&'static str> {
    let present = |key: &str| entries.contains_key(key);
    choice
        .of
        .iter()
        .filter(|one| present(one.key))
        .filter(|one| !choice.of.iter().any(|other| present(other.key) && other.and.contains(&one.key)))
        .map(|one| one.key)
        .collect()
}

/// Returns the keys that may stand beside some key of a choice, once each.
pub fn companions(choice: &Choice) -> Vec<&'static str> {
    let mut keys: Vec<&str> = choice.of.iter().flat_map(|one| one.with.iter().chain(one.and)).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Returns the keys of a choice beside which another key may stand.
pub fn beside(choice: &Choice, companion: &str) -> Vec<&'static str> {
    let allows = choice.of.iter().filter(|one| one.with.contains(&companion) || one.and.contains(&companion));
    allows.map(|one| one.key).collect()
}
