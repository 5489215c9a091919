//! Reads a recipe and what it inherits, and lays them over each other: tables entry by entry, all else as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SourceText;
use super::complete::{applies_to, chosen, companions};
use super::form::key_parts;
use super::keys::{Kind, RECIPE, Table};
use super::raw::{Entries, Layer, Node, Place, Value, parse};
use super::report::{Class, Finding, line_column};
use super::shape::written;

/// The largest recipe file, in bytes.
const FILE_MAX: u64 = 4 << 20;
/// How many files may make one recipe.
const FILES_MAX: usize = 64;
/// How deep recipes may inherit.
const DEPTH_MAX: usize = 16;

/// The files that make a recipe.
#[derive(Debug, Default)]
pub struct Files {
    /// Their texts, the recipe itself first.
    pub sources: Vec<SourceText>,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
    /// What was read before, by the file's true path: two bases may well have a base in common.
    known: BTreeMap<PathBuf, Option<Node>>,
}

impl Files {
    /// Reads a recipe and all it inherits; the result has bases beneath, but variants still beside the rest.
    pub fn read(&mut self, path: &Path) -> Option<Node> {
        self.read_file(path, None, &mut Vec::new())
    }

    /// Reads one file; `asked` is the place that names it, `above` the files that lead here.
    fn read_file(&mut self, path: &Path, asked: Option<&Place>, above: &mut Vec<PathBuf>) -> Option<Node> {
        let fail = |files: &mut Files, message: String| {
            files.findings.push(match asked {
                Some(place) => Finding::meaning(place, message),
                None => Finding::nowhere(message).help_if(with_extension(path)),
            });
        };
        let identity = match path.canonicalize() {
            Ok(identity) => identity,
            Err(error) => {
                fail(self, format!("cannot read {}: {error}", path.display()));
                return None;
            }
        };
        if above.contains(&identity) {
            fail(self, format!("{} inherits itself", path.display()));
            return None;
        }
        if let Some(known) = self.known.get(&identity) {
            return known.clone();
        }
        if above.len() >= DEPTH_MAX || self.sources.len() >= FILES_MAX {
            fail(self, format!("more than {DEPTH_MAX} recipes deep, or more than {FILES_MAX} recipes in all"));
            return None;
        }
        above.push(identity.clone());
        let whole = self.read_new(path, fail, above);
        above.pop();
        self.known.insert(identity, whole.clone());
        whole
    }

    fn read_new(
        &mut self,
        path: &Path,
        fail: impl FnOnce(&mut Files, String),
        above: &mut Vec<PathBuf>,
    ) -> Option<Node> {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(message) => {
                fail(self, format!("cannot read {}: {message}", path.display()));
                return None;
            }
        };
        let file = self.sources.len();
        self.sources.push(SourceText { path: path.to_path_buf(), text: Arc::from(text) });
        let mut document = match parse(file, &self.sources[file].text.clone()) {
            Ok(document) => document,
            Err(findings) => {
                self.findings.extend(findings);
                return None;
            }
        };
        if let Some(finding) = other_version(&document) {
            self.findings.push(finding);
            return None;
        }
        written(&mut document, &mut self.findings);
        if file > 0 && document.get("version").is_none() {
            self.findings.push(Finding::meaning(&document.place, "the recipe lacks the key `version`"));
        }
        self.lay_over_bases(document, path, above)
    }

    fn lay_over_bases(&mut self, mut document: Node, path: &Path, above: &mut Vec<PathBuf>) -> Option<Node> {
        let removals = take_removals(&mut document);
        let inherit = document.get("inherit");
        let bases: Vec<Node> = match inherit.map(|node| &node.value) {
            Some(Value::String(_)) => inherit.cloned().into_iter().collect(),
            Some(Value::Array(elements)) => elements.clone(),
            _ => Vec::new(),
        };
        let mut result: Option<Node> = None;
        let mut complete = true;
        for base in bases {
            let Some(name) = base.text() else { continue };
            let base_path = path.parent().unwrap_or(Path::new("")).join(name);
            match (self.read_file(&base_path, Some(&base.place), above), &mut result) {
                (Some(over), Some(beneath)) => merge(beneath, over, &Kind::Table(&RECIPE)),
                (Some(over), None) => result = Some(over),
                (None, _) => complete = false,
            }
        }
        let result = match result {
            Some(mut beneath) => {
                // Of a base that could not be read nobody knows what it has.
                if complete {
                    remove(&mut beneath, &removals, "what is inherited", &mut self.findings);
                }
                merge(&mut beneath, document, &Kind::Table(&RECIPE));
                beneath
            }
            None => {
                if let (Some(removal), true) = (removals.first(), complete) {
                    let message = "`remove` takes keys from what a recipe inherits, and this one inherits nothing";
                    self.findings.push(Finding::meaning(&removal.place, message));
                }
                document
            }
        };
        complete.then_some(result)
    }
}

/// A recipe for another version of the language gets this one answer, not a page of unknown keys.
fn other_version(document: &Node) -> Option<Finding> {
    let version = document.get("version")?;
    match version.value {
        Value::Integer(Some(value), _) if value > 1 => Some(
            Finding::shape(&version.place, format!("this recipe is written in version {value} of the language"))
                .help("this xenbuild reads version 1"),
        ),
        _ => None,
    }
}

/// For those who type a recipe's name, or whose shell completed it to the folder beside it.
fn with_extension(path: &Path) -> Option<String> {
    let mut longer = path.components().as_path().to_path_buf().into_os_string();
    longer.push(".toml");
    let longer = PathBuf::from(longer);
    (!path.is_file() && longer.is_file()).then(|| format!("did you mean `{}`?", longer.display()))
}

fn read_text(path: &Path) -> Result<String, String> {
    let metadata = path.metadata().map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a folder, where a recipe's file was expected".to_string());
    }
    if !metadata.is_file() {
        return Err("it is not a regular file".to_string());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("it is larger than {} MiB", FILE_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let (line, column) = line_column(&good, good.len());
        format!("line {line}, column {column} is not UTF-8")
    })
}

/// Lays `over` over `beneath`.
///
/// Where `over` chooses another of keys that exclude each other, what belonged to the old choice goes:
/// `path = "xen"` over `package` and `file` leaves `path` alone.
pub fn merge(beneath: &mut Node, over: Node, kind: &Kind) {
    let (Value::Table(below), Value::Table(_)) = (&mut beneath.value, &over.value) else {
        *beneath = over;
        return;
    };
    let Value::Table(above) = over.value else { return };
    beneath.place = over.place;
    beneath.key = over.key;
    if let Kind::Table(table) = kind {
        drop_excluded(below, &above, table);
    }
    for (name, node) in above {
        match (below.get_mut(&name), kind_of(kind, &name)) {
            (Some(entry), Some(kind)) => merge(entry, node, kind),
            _ => {
                below.insert(name, node);
            }
        }
    }
}

fn kind_of<'a>(kind: &'a Kind, name: &str) -> Option<&'a Kind> {
    match kind {
        Kind::Table(table) => table.key(name).map(|key| &key.kind),
        Kind::Variant => RECIPE.key(name).map(|key| &key.kind),
        Kind::Names(_, of, _) => Some(of),
        _ => None,
    }
}

fn drop_excluded(below: &mut Entries, above: &Entries, table: &Table) {
    for choice in table.choices {
        let Some(new) = chosen(above, choice).first().copied() else { continue };
        if chosen(below, choice).contains(&new) {
            continue;
        }
        let stays = |key: &str| choice.of.iter().any(|one| one.key == new && one.and.contains(&key));
        for key in choice.of.iter().map(|one| one.key).chain(companions(choice)).filter(|key| !stays(key)) {
            below.remove(key);
        }
    }
    for key in table.keys() {
        let changes = key.only.is_some_and(|(sibling, _)| above.contains_key(sibling));
        if changes && !applies_to(above, table, key) {
            below.remove(key.name);
        }
    }
}

/// Takes the elements of `remove` out of what has them.
fn take_removals(document: &mut Node) -> Vec<Node> {
    match document.entries_mut().and_then(|entries| entries.remove("remove")).map(|node| node.value) {
        Some(Value::Array(elements)) => elements,
        _ => Vec::new(),
    }
}

/// Takes keys away; a key that is not there is a finding, since it was meant to be.
fn remove(document: &mut Node, removals: &[Node], from: &str, findings: &mut Vec<Finding>) {
    for removal in removals {
        let Some(path) = removal.text() else { continue };
        if let Err(finding) = remove_key(document, &key_parts(path), from, &removal.place) {
            findings.push(finding);
        }
    }
}

fn remove_key(document: &mut Node, parts: &[&str], from: &str, place: &Place) -> Result<(), Finding> {
    let Some((last, tables)) = parts.split_last() else { return Ok(()) };
    let mut node = document;
    for (depth, name) in tables.iter().enumerate() {
        let entries = entries_at(node, &parts[..depth], place)?;
        if !entries.contains_key(*name) {
            return Err(not_there(entries, &parts[..=depth], from, place));
        }
        node = entries.get_mut(*name).expect("it was just looked up");
    }
    let entries = entries_at(node, tables, place)?;
    match entries.remove(*last) {
        Some(_) => Ok(()),
        None => Err(not_there(entries, parts, from, place)),
    }
}

fn entries_at<'a>(node: &'a mut Node, parts: &[&str], place: &Place) -> Result<&'a mut Entries, Finding> {
    let message = || format!("`{}` is no table: nothing can be removed from it", parts.join("."));
    node.entries_mut().ok_or_else(|| Finding::meaning(place, message()))
}

fn not_there(there_are: &Entries, parts: &[&str], from: &str, place: &Place) -> Finding {
    Finding::meaning(place, format!("{from} has no `{}` to remove", parts.join(".")))
        .suggest(parts.last().unwrap_or(&""), there_are.keys().map(String::as_str))
}

/// Takes the variants out of a recipe, and lays the chosen one over the rest.
pub fn choose_variant(document: &mut Node, variant: Option<&str>, findings: &mut Vec<Finding>) {
    let Some(entries) = document.entries_mut() else { return };
    let mut variants = match entries.remove("variant").map(|node| node.value) {
        Some(Value::Table(variants)) => variants,
        _ => Entries::new(),
    };
    let Some(name) = variant else { return };
    match variants.remove(name) {
        Some(mut chosen) => {
            chosen.mark(Layer::Variant);
            chosen.place = document.place.clone();
            chosen.key = 0..0;
            let removals = take_removals(&mut chosen);
            remove(document, &removals, "the recipe", findings);
            merge(document, chosen, &Kind::Table(&RECIPE));
        }
        None => findings.push(
            Finding { class: Class::Meaning, ..Finding::nowhere(format!("the recipe has no variant `{name}`")) }
                .suggest(name, variants.keys().map(String::as_str)),
        ),
    }
}
