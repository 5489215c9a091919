//! `fdtput`: sets or deletes properties, creates or removes nodes, in a blob, which stays as libfdt would leave it.

use dts::Loader;
use fdt::{EmitOptions, Fdt, NodeId, Tree};

use super::options::{Parsed, Usage};
use super::value::{self, TYPES, Type};
use super::{Outcome, load};

/// How it is used.
pub const USAGE: Usage = Usage {
    synopsis: "fdtput [options] BLOB NODE PROPERTY [VALUE]...\n       fdtput -c|-r [options] BLOB [NODE]...\n       \
               fdtput -d [options] BLOB NODE [PROPERTY]...",
    options: &[
        ('c', "create", "", "create nodes"),
        ('r', "remove", "", "remove nodes with all below them"),
        ('d', "delete", "", "delete properties"),
        ('p', "auto-path", "", "create the nodes of a path that are not there"),
        ('t', "type", "TYPE", TYPES),
        ('v', "verbose", "", "say what each value is read as"),
    ],
};

/// The only version that libfdt edits.
const VERSION: u32 = 17;

/// Runs it.
pub fn run(parsed: &Parsed, loader: &dyn Loader) -> Result<Outcome, String> {
    let [file, arguments @ ..] = &parsed.rest[..] else { return Err("the blob's name is missing".into()) };
    let kind = parsed.value('t').map(Type::parse).transpose()?;
    let mode = parsed.last_of("crd");
    let (node, properties) = match (mode, arguments) {
        (None | Some('d'), []) => return Err("the node is missing".into()),
        (None, [_]) => return Err("the property is missing".into()),
        (_, []) => ("", &[][..]),
        (_, [node, properties @ ..]) => (node.as_str(), properties),
    };
    let bytes = load(loader, file)?;
    let named = |error: &dyn std::fmt::Display| format!("{file}: {error}");
    let flat = Fdt::new(&bytes).map_err(|error| named(&error))?;
    if flat.header().version < VERSION {
        let version = flat.header().version;
        return Err(named(&format!(
            "has version {version}; only {VERSION} can be edited: convert it with `dts -O dtb`"
        )));
    }
    let mut editor = Editor { tree: Tree::from_fdt_keeping_strings(&flat), auto_path: parsed.has('p') };
    let mut notes = String::new();
    let edited = match mode {
        None => value::read(&properties[1..], kind, &mut notes).and_then(|value| {
            let id = editor.node(node)?;
            check_name(&properties[0])?;
            editor.tree.set_in_place(id, &properties[0], value);
            Ok(())
        }),
        Some('c') => arguments.iter().try_for_each(|path| editor.create(path)),
        Some('r') => arguments.iter().try_for_each(|path| editor.remove(path)),
        Some(_) => properties.iter().try_for_each(|name| match editor.find(node)? {
            id if editor.tree.remove_property(id, name) => Ok(()),
            _ => Err(format!("{node} has no property {name}")),
        }),
    };
    edited.map_err(|error| named(&error))?;
    let bytes = editor.tree.emit(&EmitOptions::default()).map_err(|error| named(&error))?;
    if !parsed.has('v') {
        notes.clear();
    }
    Ok(Outcome { file: Some((file.clone(), bytes)), notes, ..Outcome::default() })
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() { Err("a property needs a name".into()) } else { Ok(()) }
}

struct Editor {
    tree: Tree,
    auto_path: bool,
}

impl Editor {
    fn find(&self, path: &str) -> Result<NodeId, String> {
        self.tree.find(path).ok_or_else(|| format!("there is no node {path}"))
    }

    /// Finds a node, or with `-p` makes it.
    fn node(&mut self, path: &str) -> Result<NodeId, String> {
        if !self.auto_path {
            return self.find(path).map_err(|error| error + "; with -p it is created");
        }
        let mut at = self.tree.root();
        for name in path.trim_start_matches('/').split_terminator('/') {
            at = match self.tree.child(at, name) {
                Some(node) => node,
                None => self.add(at, name, path)?,
            };
        }
        Ok(at)
    }

    fn add(&mut self, parent: NodeId, name: &str, path: &str) -> Result<NodeId, String> {
        let depth = self.tree.path(parent).split('/').filter(|part| !part.is_empty()).count();
        if depth + 2 > fdt::MAX_DEPTH {
            return Err(format!("{path} nests deeper than {} nodes", fdt::MAX_DEPTH));
        }
        let added = self.tree.add_child_in_place(parent, name).map_err(|error| format!("{path}: {error}"))?;
        added.ok_or_else(|| format!("{path} is there already, or a node that answers to its name"))
    }

    fn create(&mut self, path: &str) -> Result<(), String> {
        if self.auto_path {
            return self.node(path).map(drop);
        }
        let (parent, name) = path.rsplit_once('/').ok_or_else(|| format!("{path} is no path: it has no `/`"))?;
        let parent = if parent.is_empty() { self.tree.root() } else { self.find(parent)? };
        self.add(parent, name, path).map(drop)
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        let node = self.find(path)?;
        if node == self.tree.root() {
            return Err("the root cannot be removed".into());
        }
        self.tree.remove(node);
        Ok(())
    }
}
