//! The JSON Schema and the reader judge recipes alike: a stranger's validator beside ours, on good, bad and mutated ones.
//!
//! A schema sees one file's shape. It cannot see, and [`Class::Meaning`] marks:
//! references, variables' values, what `inherit` brings, relations between values, numbers inside strings,
//! the base in which TOML wrote an integer, regular expressions, and whether a date or a string was written.

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use proptest::prelude::*;
use toml::{Table, Value};
use xenbuild::recipe::report::{Class, Finding};
use xenbuild::recipe::{self, schema};

fn validator() -> Validator {
    let schema = schema::schema();
    assert!(jsonschema::meta::is_valid(&schema), "the schema is a schema");
    jsonschema::validator_for(&schema).unwrap()
}

/// TOML as a JSON validator gets to see it.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(value) => (*value).into(),
        Value::Float(value) => serde_json::Number::from_f64(*value).map_or(serde_json::Value::Null, Into::into),
        Value::Boolean(value) => (*value).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(elements) => elements.iter().map(json).collect(),
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

fn findings(path: &Path) -> Vec<Finding> {
    recipe::read(path, None, &[]).err().map(|report| report.findings).unwrap_or_default()
}

/// Whether the reader found anything that a schema could find.
fn shapely(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| finding.class == Class::Shape && finding.file == Some(0))
}

fn recipes(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(Path::new("tests/data/recipe").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn schema_and_reader_agree_on_all_recipes() {
    let validator = validator();
    for path in [recipes("good"), recipes("bad"), recipes("base")].concat() {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let Ok(table) = text.parse::<Table>() else { continue };
        // A base says what it likes to leave to others; the reader, asked about it alone, misses the same.
        let found = findings(&path);
        assert_eq!(validator.is_valid(&json(&Value::Table(table))), shapely(&found), "{}: {found:#?}", path.display());
    }
}

/// Bad recipes whose error is of the schema's kind must not all be of the other kind, and the other way round.
#[test]
fn bad_recipes_show_both_kinds_of_errors() {
    let bad: Vec<bool> = recipes("bad").iter().map(|path| shapely(&findings(path))).collect();
    assert!(bad.iter().filter(|shapely| **shapely).count() > 10);
    assert!(bad.iter().filter(|shapely| !**shapely).count() > 10);
}

/// A step into a document.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Returns the way to every value of a document, the document itself first.
fn places(value: &Value, here: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
    all.push(here.clone());
    let mut visit = |step: Step, value: &Value| {
        here.push(step);
        places(value, here, all);
        here.pop();
    };
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| visit(Step::Key(key.clone()), value)),
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(index, value)| visit(Step::Index(index), value));
        }
        _ => {}
    }
}

fn at<'a>(mut value: &'a mut Value, way: &[Step]) -> &'a mut Value {
    for step in way {
        value = match (step, value) {
            (Step::Key(key), Value::Table(table)) => table.get_mut(key).unwrap(),
            (Step::Index(index), Value::Array(elements)) => &mut elements[*index],
            (step, value) => panic!("no {step:?} in {value:?}"),
        };
    }
    value
}

/// Values to put in a value's place: each type, and the edges of what is allowed.
fn replacements() -> Vec<Value> {
    let texts = [
        "",
        "x",
        "1",
        "512MiB",
        "5min",
        "../x",
        "a\nb",
        "nul\0",
        "{{count}}",
        "{{",
        "ext3",
        "ext4",
        "tar",
        "/a/../b",
        "xvda",
        "é",
    ];
    let long = "A".repeat(70);
    let mut values: Vec<Value> = texts.into_iter().chain([long.as_str()]).map(Value::from).collect();
    values.extend([i64::MIN, -1, 0, 1, 2, 9, 300, 1 << 40, i64::MAX].map(Value::Integer));
    values.extend([1.5, 1.0, 2.0, -3.0, 1e300, f64::NAN, f64::INFINITY].map(Value::Float));
    values
        .extend(["2026-01-01", "2026-01-01T00:00:00Z", "00:00:00"].map(|date| Value::Datetime(date.parse().unwrap())));
    values.extend([Value::Boolean(true), Value::Boolean(false)]);
    values.extend([Value::Array(vec![]), Value::Array(vec![Value::from("a")]), Value::Array(vec![Value::Integer(1)])]);
    values.extend([Value::Array(vec![Value::Table(Table::new())]), Value::Table(Table::new())]);
    values.push(Value::Table(Table::from_iter([("path".to_string(), Value::from("x"))])));
    values
}

/// Keys to add to a table: some are right in some places, none is right everywhere.
fn additions() -> Vec<(String, Value)> {
    let text = [
        "path", "package", "file", "format", "text", "symlink", "expect", "run", "sha256", "label", "size", "cpu",
        "inherit",
    ];
    let mut keys: Vec<(String, Value)> = text.iter().map(|key| (key.to_string(), Value::from("tar"))).collect();
    keys.extend(
        [("gzip", true), ("keep", true), ("directory", true), ("power-off", true)]
            .map(|(key, value)| (key.to_string(), Value::Boolean(value))),
    );
    keys.extend(
        [("gid", 1), ("mode", 0o644), ("status", 1), ("version", 1)]
            .map(|(key, value)| (key.to_string(), Value::Integer(value))),
    );
    keys.extend(
        [("Not a name!", 1), ("kernel", 1), ("zzz", 1)].map(|(key, value)| (key.to_string(), Value::Integer(value))),
    );
    keys
}

/// Returns all documents that differ in one place.
fn mutations(document: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    places(document, &mut Vec::new(), &mut all);
    let mut mutants = Vec::new();
    for way in all {
        let changed = |what: &str, change: &dyn Fn(&mut Value)| {
            let mut copy = document.clone();
            change(at(&mut copy, &way));
            (format!("{way:?}: {what}"), copy)
        };
        if !way.is_empty() {
            let values = replacements();
            mutants.extend(
                values.iter().map(|value| changed(&format!("becomes {value:?}"), &|place| *place = value.clone())),
            );
        }
        let mut original = document.clone();
        if let Value::Table(table) = at(&mut original, &way) {
            for key in table.keys() {
                mutants.push(changed(&format!("loses {key}"), &|place| {
                    place.as_table_mut().unwrap().remove(key);
                }));
                for misspelt in [format!("{key}s"), key.to_uppercase(), key[1..].to_string()] {
                    mutants.push(changed(&format!("{key} becomes {misspelt}"), &|place| {
                        let table = place.as_table_mut().unwrap();
                        let value = table.remove(key).unwrap();
                        table.insert(misspelt.clone(), value);
                    }));
                }
            }
            for (key, value) in additions() {
                mutants.push(changed(&format!("gets {key}"), &|place| {
                    place.as_table_mut().unwrap().insert(key.clone(), value.clone());
                }));
            }
        }
    }
    mutants
}

fn agree_on_mutants(name: &str, sample: usize) {
    let validator = validator();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutant.toml");
    let text = fs::read_to_string(Path::new("tests/data/recipe/good").join(name)).unwrap();
    let mutants = mutations(&Value::Table(text.parse::<Table>().unwrap()));
    let (mut valid, mut invalid, mut wrong) = (0, 0, Vec::new());
    for (what, mutant) in mutants.iter().step_by(sample) {
        // A base that cannot be found is nothing a schema sees; here it would hide all the rest.
        fs::write(&path, toml::to_string(mutant).unwrap()).unwrap();
        let found = findings(&path);
        let judged = validator.is_valid(&json(mutant));
        *if judged { &mut valid } else { &mut invalid } += 1;
        let unread = found.iter().any(|finding| finding.message.starts_with("cannot read"));
        if judged != shapely(&found) && !unread {
            let errors: Vec<String> = validator.iter_errors(&json(mutant)).map(|error| error.to_string()).collect();
            let found: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
            wrong.push(format!("{what}\n  schema: {errors:?}\n  reader: {found:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} judged differently:\n{}",
        wrong.len(),
        valid + invalid,
        wrong[..wrong.len().min(8)].join("\n")
    );
    assert!(valid > 20 && invalid > 200, "{valid} valid and {invalid} invalid mutants");
    eprintln!("{name}: {valid} valid and {invalid} invalid mutants, judged alike");
}

#[test]
fn schema_and_reader_agree_on_mutants_of_a_small_recipe() {
    agree_on_mutants("minimal.toml", 1);
}

#[test]
fn schema_and_reader_agree_on_mutants_of_everything() {
    agree_on_mutants("everything.toml", 13);
}

#[test]
#[ignore = "conformance: every mutant of the large recipes, instead of some"]
fn schema_and_reader_agree_on_all_mutants() {
    agree_on_mutants("everything.toml", 1);
    agree_on_mutants("tutorial.toml", 1);
}

#[test]
fn numbers_beyond_64_bits_are_wrong_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.toml");
    let text = fs::read_to_string("tests/data/recipe/good/minimal.toml").unwrap();
    let text = text.replace("[machine]", "[machine]\ncpus = 123456789012345678901234567890");
    fs::write(&path, &text).unwrap();
    assert!(!shapely(&findings(&path)));
}

/// Words that recipes are made of, so that random text gets past the first line of the parser.
const WORDS: &[&str] = &[
    "version",
    " = ",
    "1",
    "\n",
    "[",
    "]",
    "[[",
    "]]",
    ".",
    "machine",
    "kernel",
    "filesystem",
    "guest",
    "files",
    "\"",
    "'",
    "\"\"\"",
    "{",
    "}",
    ",",
    "{{x}}",
    "variables",
    "x",
    "0o7",
    "0x",
    "1e5",
    "true",
    "2026-01-01",
    "inherit",
    "variant",
    "#",
    "é",
    "\u{0}",
    "\u{7f}",
    "\r\n",
    "test",
    "steps",
    "run",
    "disk",
    "-",
    "+",
    "inf",
    "_",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_hostile(&bytes);
    }

    #[test]
    fn any_words_are_read_without_panic(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..80)) {
        read_hostile(words.concat().as_bytes());
    }

    #[test]
    fn a_recipe_with_bytes_changed_is_read_without_panic(
        at in 0..6000_usize,
        cut in 0..40_usize,
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..4),
    ) {
        let mut bytes = fs::read("tests/data/recipe/good/everything.toml").unwrap();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, words.concat().bytes());
        read_hostile(&bytes);
    }
}

/// Reads anything at all; renders what is found.
fn read_hostile(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.toml");
    fs::write(&path, bytes).unwrap();
    if let Err(error) = recipe::load(&path, Some("small"), &[("x".to_string(), "{{x}}".to_string())]) {
        assert!(!error.message.is_empty());
    }
}
