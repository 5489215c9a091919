//! The JSON Schema of `manifest.json` (draft 2020-12), for those who read it in other languages.

use serde_json::{Map, Value, json};

use super::document::{NAME_PATTERN, NUMBER_MAX, VERSION};
use super::{JUNIT, RESERVED, SERIAL_LOG};
use crate::plan::Role;

/// Returns the schema.
pub fn schema() -> Value {
    let file = |what: &str| described(reference("file"), what);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "xenbuild manifest, version 1",
        "description": "What a folder of artifacts holds, and what that was made of. It is the same for the same recipe \
                        on any machine and any day, but for what a test has left.",
        "$ref": "#/$defs/manifest",
        "$defs": {
            "manifest": object("The manifest.", &[
                ("version", json!({ "const": VERSION, "description": "The version of this format." })),
                ("xenbuild", text("The version of xenbuild that made the artifacts.")),
                ("recipe", reference("recipe")),
                ("artifacts", list(reference("artifact"), "The files that were made.")),
                ("inputs", json!({
                    "type": "object",
                    "additionalProperties": reference("input"),
                    "description": "What the artifacts were made of, by the names that each artifact lists.",
                })),
            ], &[("test", reference("test"))]),
            "recipe": object("The recipe that the artifacts were made from.", &[
                ("name", text("Its name: the file's without its end, with the variant's behind an @.")),
                ("files", list(reference("file"), "Its files: itself first, then what it inherits.")),
            ], &[
                ("variant", text("The variant that was chosen.")),
                ("lock", file("Its lock file.")),
            ]),
            "file": object("A local file.", &[("path", path()), ("sha256", sha256())], &[]),
            "artifact": object("A file that was made.", &[
                ("name", json!({
                    "type": "string",
                    "pattern": NAME_PATTERN,
                    "not": { "enum": RESERVED },
                    "description": "Its name in the folder.",
                })),
                ("role", json!({ "enum": Role::ALL, "description": "What it is for." })),
                ("bytes", bytes()),
                ("sha256", sha256()),
                ("step", text("The step that made it.")),
                ("key", described(sha256(), "That step's key: the hash of all that decides what it makes.")),
                ("inputs", list(text("A name among the inputs."), "What went into it.")),
            ], &[]),
            "input": { "oneOf": inputs() },
            "test": object("How the recipe's test went, if it was run on these artifacts.", &[
                ("passed", json!({ "type": "boolean", "description": "Whether it passed." })),
                ("files", list(reference("evidence"), "What it left.")),
            ], &[]),
            "evidence": object("A file that a test left: not the same twice, for it holds times.", &[
                ("name", json!({ "enum": [JUNIT, SERIAL_LOG], "description": "Its name in the folder." })),
                ("bytes", bytes()),
                ("sha256", sha256()),
            ], &[]),
        },
    })
}

/// The kinds of inputs.
fn inputs() -> Vec<Value> {
    let package = |kind: &'static str, what: &str| {
        let properties = [
            ("kind", json!({ "const": kind })),
            ("name", text("The package's name.")),
            ("version", text("Its version.")),
            ("architecture", text("Its architecture; source for a file of a source package.")),
            ("suite", text("The suite that it is from.")),
            ("file", text("The file's name in the archive.")),
            ("bytes", bytes()),
            ("sha256", sha256()),
        ];
        object(what, &properties, &[])
    };
    let entries = json!({
        "type": "object",
        "additionalProperties": { "type": "string" },
        "description": "What is in it, by path: file DIGEST, program DIGEST, folder, link to TARGET.",
    });
    let includes = json!({
        "type": "object",
        "additionalProperties": sha256(),
        "description": "What a device-tree source includes, by the names under which it asks for it.",
    });
    let kind = |kind: &str| ("kind", json!({ "const": kind }));
    vec![
        package("package", "A Debian package."),
        package("source", "A file of a Debian source package."),
        object(
            "A file from an address.",
            &[kind("url"), ("url", text("The address.")), ("bytes", bytes()), ("sha256", sha256())],
            &[],
        ),
        object(
            "A commit.",
            &[kind("commit"), ("repository", text("The repository.")), ("commit", text("The commit's id."))],
            &[],
        ),
        object("A local file.", &[kind("file"), ("path", path()), ("sha256", sha256())], &[("includes", includes)]),
        object("A local folder.", &[kind("folder"), ("path", path()), ("entries", entries)], &[]),
        object(
            "What xenbuild carries inside.",
            &[kind("carried"), ("name", text("Its name.")), ("sha256", sha256())],
            &[],
        ),
        object(
            "The cross compiler.",
            &[
                kind("compiler"),
                ("programs", list(text("A line."), "The first line that compiler and linker say of their versions.")),
            ],
            &[],
        ),
    ]
}

/// An object with these properties, the first of which must be there, and no others.
fn object(what: &str, required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        required.iter().chain(optional).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object",
        "description": what,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn described(mut schema: Value, what: &str) -> Value {
    schema["description"] = json!(what);
    schema
}

fn text(what: &str) -> Value {
    json!({ "type": "string", "description": what })
}

fn path() -> Value {
    text("Its path from the recipe's folder, or its name alone if it is elsewhere.")
}

fn list(items: Value, what: &str) -> Value {
    json!({ "type": "array", "items": items, "description": what })
}

fn bytes() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": NUMBER_MAX, "description": "Its length, holes included." })
}

fn sha256() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "The SHA-256 of its content." })
}
