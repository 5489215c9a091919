//! The JSON Schema of recipes (draft 2020-12), written from the table of keys.

use serde_json::{Map, Value, json};

use super::complete::{beside as beside_keys, companions};
use super::form::Form;
use super::keys::{Choice, Key, Kind, Presence, RECIPE, TABLES, Table, VARIANT};

/// Whether a table has to be whole, or is laid over another that has the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Part,
}

impl Extent {
    fn reference(self, name: &str) -> Value {
        match self {
            Extent::Whole => json!({ "$ref": format!("#/$defs/{name}") }),
            Extent::Part => json!({ "$ref": format!("#/$defs/{name}-part") }),
        }
    }
}

/// Returns the schema.
///
/// A recipe that inherits has only a part of what a recipe needs, and so has a variant:
/// for those, each table has a second definition, `NAME-part`, that asks for nothing.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    for table in TABLES.iter().filter(|table| table.name != VARIANT.name) {
        definitions.insert(table.name.to_string(), definition(table, Extent::Whole));
        definitions.insert(format!("{}-part", table.name), definition(table, Extent::Part));
    }
    definitions.insert("variant-part".to_string(), definition(&VARIANT, Extent::Part));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "xenbuild recipe, version 1",
        "description": "One file from which xenbuild makes, boots and tests a Xen-on-Arm system.",
        "type": "object",
        "if": { "required": ["inherit"] },
        "then": Extent::Part.reference(RECIPE.name),
        "else": Extent::Whole.reference(RECIPE.name),
        "$defs": definitions,
    })
}

fn definition(table: &Table, extent: Extent) -> Value {
    let properties: Map<String, Value> =
        table.keys().map(|key| (key.name.to_string(), property(key, extent))).collect();
    let mut object = json!({
        "type": "object",
        "description": plain(table.doc),
        "properties": properties,
        "additionalProperties": false,
    });
    let required: Vec<&str> = table
        .keys()
        .filter(|key| matches!(key.presence, Presence::Required))
        .filter(|key| extent == Extent::Whole || key.name == "version")
        .map(|key| key.name)
        .collect();
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    let mut all: Vec<Value> = table.choices.iter().map(|choice| exclusive(choice, extent)).collect();
    if extent == Extent::Whole {
        all.extend(table.choices.iter().flat_map(beside));
        all.extend(table.keys().filter_map(|key| only(table, key)));
    }
    if !all.is_empty() {
        object["allOf"] = json!(all);
    }
    object
}

fn property(key: &Key, extent: Extent) -> Value {
    let mut schema = kind(&key.kind, extent);
    schema["description"] = json!(plain(key.doc));
    if let Presence::Default(toml) = key.presence
        && let Ok(value) = serde_json::from_str::<Value>(toml)
    {
        schema["default"] = value;
    }
    schema
}

fn kind(kind_of: &Kind, extent: Extent) -> Value {
    let variable = || json!({ "type": "string", "pattern": r"^\{\{[^{}]+\}\}$" });
    match kind_of {
        Kind::Text(form) => text(form),
        Kind::Integer(least, most) => {
            let integer = json!({ "type": "integer", "minimum": least, "maximum": most });
            json!({ "anyOf": [integer, variable()] })
        }
        Kind::Mode => json!({ "type": "integer", "minimum": 0, "maximum": 0o7777 }),
        // TOML's dates reach a JSON validator as strings.
        Kind::Date => text(&super::form::TIME),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::True => json!({ "const": true }),
        Kind::Version => json!({ "const": 1 }),
        Kind::OneOf(names) => json!({ "anyOf": [{ "enum": names }, { "type": "string", "pattern": r"\{\{" }] }),
        Kind::List(of, at_least) => {
            let mut array = json!({ "type": "array", "items": kind(of, extent) });
            if *at_least > 0 {
                array["minItems"] = json!(at_least);
            }
            array
        }
        // The elements of arrays are never laid over others, but their arrays may be left out: both extents fit.
        Kind::Table(table) => extent.reference(table.name),
        Kind::Names(form, of, reserved) => {
            let mut names = json!({ "pattern": form.anchored() });
            if !reserved.is_empty() {
                names["not"] = json!({ "enum": reserved });
            }
            json!({ "type": "object", "propertyNames": names, "additionalProperties": kind(of, extent) })
        }
        Kind::Either(kinds) => {
            let mut any: Vec<Value> = Vec::new();
            for schema in kinds.iter().map(|one| kind(one, extent)) {
                match schema.get("anyOf").and_then(Value::as_array) {
                    // An integer's "or a variable" adds nothing where any string may stand.
                    Some(inner) => any.push(inner[0].clone()),
                    None => any.push(schema),
                }
            }
            any.dedup();
            json!({ "anyOf": any })
        }
        Kind::Variant => Extent::Part.reference(VARIANT.name),
    }
}

fn text(form: &Form) -> Value {
    let pattern = if form.literal { form.anchored() } else { format!(r"{}|\{{\{{", form.anchored()) };
    json!({ "type": "string", "pattern": pattern })
}

/// Exactly one of a choice's keys; or none, where the choice may be left to others.
fn exclusive(choice: &Choice, extent: Extent) -> Value {
    let mut one_of: Vec<Value> = choice
        .of
        .iter()
        .map(|one| {
            // `expect` beside `run` is not a choice of its own.
            let others: Vec<Value> = choice
                .of
                .iter()
                .filter(|other| other.and.contains(&one.key))
                .map(|other| json!({ "required": [other.key] }))
                .collect();
            match others.len() {
                0 => json!({ "required": [one.key] }),
                _ => json!({ "required": [one.key], "not": { "anyOf": others } }),
            }
        })
        .collect();
    if extent == Extent::Part || !choice.required {
        let any: Vec<Value> = choice.of.iter().map(|one| json!({ "required": [one.key] })).collect();
        one_of.push(json!({ "not": { "anyOf": any } }));
    }
    json!({ "oneOf": one_of })
}

/// What must stand beside a choice's keys, and what may.
fn beside(choice: &'static Choice) -> Vec<Value> {
    let needs = choice
        .of
        .iter()
        .filter(|one| !one.with.is_empty())
        .map(|one| json!({ "dependentRequired": { one.key: one.with } }));
    let is_alternative = |key: &str| choice.of.iter().any(|one| one.key == key);
    let allowed = companions(choice).into_iter().filter(|key| !is_alternative(key)).map(|companion| {
        let any: Vec<Value> = beside_keys(choice, companion).iter().map(|key| json!({ "required": [key] })).collect();
        json!({ "dependentSchemas": { companion: { "anyOf": any } } })
    });
    needs.chain(allowed).collect()
}

/// A key that has a meaning only beside certain values of a sibling.
fn only(table: &Table, key: &Key) -> Option<Value> {
    let (sibling, values) = key.only?;
    let sibling = table.key(sibling)?;
    let Kind::OneOf(names) = sibling.kind else { return None };
    let others: Vec<&str> = names.iter().filter(|name| !values.contains(name)).copied().collect();
    let absent_counts = match sibling.presence {
        Presence::Default(toml) => others.contains(&toml.trim_matches('"')),
        _ => false,
    };
    let has_other = json!({ "required": [sibling.name], "properties": { sibling.name: { "enum": others } } });
    let wrong = if absent_counts {
        json!({ "anyOf": [has_other, { "not": { "required": [sibling.name] } }] })
    } else {
        has_other
    };
    Some(json!({ "dependentSchemas": { key.name: { "not": wrong } } }))
}

/// Removes Markdown's backquotes, which editors would show as they are.
fn plain(doc: &str) -> String {
    doc.replace('`', "")
}
