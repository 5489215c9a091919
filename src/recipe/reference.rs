//! The tables of keys in `docs/recipe.md`, written from the table of keys.

use super::keys::{ADDRESS_MAX, Kind, Presence, TABLES, Table};

/// Where a generated part of the document begins and ends.
const BEGIN: &str = "<!-- generated: keys -->";
const END: &str = "<!-- end -->";

/// Returns the document with its generated part brought up to date; `None` if it has no place for that.
pub fn update(document: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}{END}{after}", tables()))
}

/// Returns all tables, as Markdown.
pub fn tables() -> String {
    TABLES.iter().map(|table| one_table(table)).collect()
}

fn one_table(table: &Table) -> String {
    let heading = match table.heading.starts_with('[') {
        true => format!("`{}`", table.heading),
        false => table.heading.to_string(),
    };
    let mut text = format!("\n### {heading}\n\n{}\n\n", table.doc);
    if table.name == "variant" {
        return text;
    }
    text += "| Key | Type | Default | Meaning |\n|---|---|---|---|\n";
    for key in table.keys() {
        let presence = match key.presence {
            Presence::Required => "**required**".to_string(),
            Presence::Optional | Presence::Default("{}") => "".to_string(),
            Presence::Default(toml) => format!("`{toml}`"),
            Presence::Derived(words) => words.to_string(),
        };
        let only = match key.only {
            Some((sibling, values)) => {
                format!(
                    " Only with `{sibling}` {}.",
                    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ")
                )
            }
            None => String::new(),
        };
        text += &format!("| `{}` | {} | {presence} | {}{only} |\n", key.name, type_name(&key.kind), key.doc);
    }
    for choice in table.choices {
        let keys: Vec<String> = choice.of.iter().map(|one| format!("`{}`", one.key)).collect();
        let how_many = if choice.required { "Exactly one" } else { "At most one" };
        text += &format!("\n{how_many} of {} says {}.\n", keys.join(", "), choice.what);
    }
    text
}

fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Text(form) => form.noun.to_string(),
        Kind::Integer(0, i64::MAX) => "bytes".to_string(),
        Kind::Integer(0, ADDRESS_MAX) => "address".to_string(),
        Kind::Integer(i64::MIN, _) => "integer".to_string(),
        Kind::Integer(least, most) if least + 1 == *most => format!("{least} or {most}"),
        Kind::Integer(least, most) => format!("{least} to {most}"),
        Kind::Mode => "octal".to_string(),
        Kind::Date => "date".to_string(),
        Kind::Boolean => "boolean".to_string(),
        Kind::True => "`true`".to_string(),
        Kind::Version => "`1`".to_string(),
        Kind::OneOf(names) => names.iter().map(|name| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", "),
        Kind::List(of, _) => format!("array of {}s", type_name(of)),
        Kind::Table(_) | Kind::Variant => "table".to_string(),
        Kind::Names(_, of, _) => match type_name(of).as_str() {
            "table" => "tables by name".to_string(),
            of => format!("by name: {of}"),
        },
        Kind::Either(kinds) => kinds.iter().map(type_name).collect::<Vec<_>>().join(" or "),
    }
}
