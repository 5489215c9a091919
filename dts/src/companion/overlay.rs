//! `fdtoverlay`: applies overlays to a blob, in order.

use dts::Loader;
use fdt::{EmitOptions, Fdt, Tree, Version};

use super::options::{Parsed, Usage};
use super::{Outcome, load};

/// How it is used.
pub const USAGE: Usage = Usage {
    synopsis: "fdtoverlay -i BLOB -o BLOB [options] OVERLAY...",
    options: &[
        ('i', "input", "BLOB", "the base"),
        ('o', "output", "BLOB", "where the merged blob goes"),
        ('v', "verbose", "", "say which files are read and written"),
    ],
};

/// Runs it.
pub fn run(parsed: &Parsed, loader: &dyn Loader) -> Result<Outcome, String> {
    let input = parsed.value('i').ok_or("the base is missing: -i BLOB")?;
    let output = parsed.value('o').ok_or("where to write is missing: -o BLOB")?;
    if parsed.rest.is_empty() {
        return Err("there is no overlay to apply".into());
    }
    let named = |name: &str, error: fdt::Error| format!("{name}: {error}");
    let bytes = load(loader, input)?;
    let mut tree = Tree::from_fdt_keeping_strings(&Fdt::new(&bytes).map_err(|error| named(input, error))?);
    for name in &parsed.rest {
        let overlay = Tree::parse(&load(loader, name)?).map_err(|error| named(name, error))?;
        fdt::overlay::apply(&mut tree, &overlay).map_err(|error| named(name, error))?;
    }
    let options = EmitOptions { version: Version::V17, ..EmitOptions::default() };
    let bytes = tree.emit(&options).map_err(|error| named(input, error))?;
    let mut notes = String::new();
    if parsed.has('v') {
        notes = format!("input  = {input}\noutput = {output}\n");
        for (index, name) in parsed.rest.iter().enumerate() {
            notes += &format!("overlay[{index}] = {name}\n");
        }
    }
    Ok(Outcome { file: Some((output.into(), bytes)), notes, ..Outcome::default() })
}
