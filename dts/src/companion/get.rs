//! `fdtget`: reads properties, or lists the properties or subnodes of nodes, a line for each.

use dts::Loader;
use fdt::Fdt;

use super::options::{Parsed, Usage};
use super::value::{self, TYPES, Type};
use super::{Outcome, load};

/// How it is used.
pub const USAGE: Usage = Usage {
    synopsis: "fdtget [options] BLOB [NODE PROPERTY]...\n       fdtget -p|-l [options] BLOB [NODE]...",
    options: &[
        ('t', "type", "TYPE", TYPES),
        ('p', "properties", "", "list the properties of each node"),
        ('l', "list", "", "list the subnodes of each node"),
        ('d', "default", "TEXT", "what to print for what is not there"),
    ],
};

/// Runs it.
pub fn run(parsed: &Parsed, loader: &dyn Loader) -> Result<Outcome, String> {
    let [file, wanted @ ..] = &parsed.rest[..] else { return Err("the blob's name is missing".into()) };
    let kind = parsed.value('t').map(Type::parse).transpose()?;
    let mode = parsed.last_of("pl");
    if mode.is_none() && !wanted.len().is_multiple_of(2) {
        return Err(format!("{}: its property is missing", wanted[wanted.len() - 1]));
    }
    let bytes = load(loader, file)?;
    let tree = Fdt::new(&bytes).map_err(|error| format!("{file}: {error}"))?;
    let mut outcome = Outcome::default();
    for step in wanted.chunks(if mode.is_none() { 2 } else { 1 }) {
        if let Err(error) = item(&tree, step, mode, kind, parsed.value('d'), &mut outcome.output) {
            outcome.error = Some(format!("{file}: {}: {error}", step.join(" ")));
            break;
        }
    }
    Ok(outcome)
}

/// Prints what is wanted of one node.
fn item(
    tree: &Fdt<'_>,
    step: &[String],
    mode: Option<char>,
    kind: Option<Type>,
    default: Option<&str>,
    output: &mut Vec<u8>,
) -> Result<(), String> {
    let mut line = |text: &[u8]| {
        output.extend_from_slice(text);
        output.push(b'\n');
    };
    let Some(node) = tree.find(&step[0]) else {
        return default.map(|text| line(text.as_bytes())).ok_or_else(|| "there is no such node".into());
    };
    match mode {
        Some('p') => node.properties().for_each(|property| line(property.name.as_bytes())),
        Some(_) => node.children().for_each(|child| line(child.name().as_bytes())),
        None => match (node.property(&step[1]), default) {
            (Some(property), _) => line(&value::show(property.value, kind)?),
            (None, Some(text)) => line(text.as_bytes()),
            (None, None) => return Err("the node has no such property".into()),
        },
    }
    Ok(())
}
