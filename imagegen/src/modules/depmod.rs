//! What depmod makes of a folder of modules: lists of what needs what and what has which alias, which modprobe reads.
//!
//! Dependencies are those that `.modinfo` names: modpost took them from the symbols that depmod looks at. There are no
//! lists of symbols, which only `modprobe symbol:NAME` asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::index::Index;
use super::{DEPTH_MAX, ModuleError, Modules, alias};

/// The largest list of what needs what: a distribution's has half a megabyte.
const LIST_MAX_BYTES: usize = 64 << 20;

/// A file for the folder of modules: its name, and what is in it.
pub type Listing = (&'static str, Vec<u8>);

impl Modules {
    /// Writes what depmod would: `modules.dep`, `modules.alias`, `modules.softdep`, and kmod's indices of them and of
    /// what is built in. `folder` begins all paths of these modules; `order` is the content of `modules.order`, if there is
    /// one: where an alias is ambiguous, it decides who comes first.
    ///
    /// What a module needs and is not there is left out, as is what a file says that is none; for all of it to be there
    /// is [`Modules::load_order`]'s concern.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn listings(&mut self, folder: &[u8], order: &[u8]) -> Result<Vec<Listing>, ModuleError> {
        let folder = folder.strip_suffix(b"/").unwrap_or(folder);
        let place: BTreeMap<&[u8], usize> = order.split(|&byte| byte == b'\n').zip(0..).collect();
        // Paths as modprobe wants them: below the folder.
        let below = |path: &[u8]| {
            let path = path.strip_prefix(folder).unwrap_or(path);
            path.strip_prefix(b"/").unwrap_or(path).to_vec()
        };
        let plain = |path: &[u8]| {
            // The list has the names from before compression, and in some versions of Linux those of objects.
            let stem = path.windows(3).rposition(|end| end == b".ko").map_or(path, |at| &path[..at]);
            [".ko", ".o"].map(|end| [stem, end.as_bytes()].concat())
        };
        let mut chosen: Vec<(usize, Vec<u8>, usize)> = Vec::new();
        for &index in self.by_name.values() {
            let path = below(&self.files[index].path);
            let known = plain(&path).iter().find_map(|name| place.get(name.as_slice()).copied());
            chosen.push((known.unwrap_or(usize::MAX), path, index));
        }
        chosen.sort();
        let paths: BTreeMap<usize, String> =
            chosen.iter().map(|(_, path, index)| (*index, String::from_utf8_lossy(path).into_owned())).collect();

        let (mut dep, mut dep_index) = (String::new(), Index::default());
        let mut aliases = String::from("# Aliases extracted from modules themselves.\n");
        let mut alias_index = Index::default();
        let mut soft = String::from("# Soft dependencies extracted from modules themselves.\n");
        for (priority, (_, _, index)) in (0u32..).zip(&chosen) {
            let mut needed = Needed::default();
            self.needed(*index, &mut needed, 0)?;
            // Those first that are loaded last: modprobe goes through the line from its end.
            needed.done.pop();
            let mut line = format!("{}:", paths[index]);
            for other in needed.done.iter().rev() {
                line += &format!(" {}", paths[other]);
            }
            let name = self.files[*index].name.clone();
            dep_index.insert(&name, &line, priority);
            dep += &format!("{line}\n");
            if dep.len() > LIST_MAX_BYTES {
                return Err(ModuleError::File(
                    "modules.dep".to_owned(),
                    io::Error::other("too many modules need too many"),
                ));
            }
            let Some(info) = self.info_if_any(*index)? else { continue };
            for pattern in info.aliases.iter().filter(|pattern| !pattern.contains('\n')) {
                aliases += &format!("alias {pattern} {name}\n");
                alias_index.insert(&alias::normalize(pattern), &name, priority);
            }
            for value in info.soft.iter().filter(|value| !value.contains('\n')) {
                soft += &format!("softdep {name} {value}\n");
            }
        }
        let (mut builtin, mut builtin_alias) = (Index::default(), Index::default());
        for name in &self.builtin_listed {
            builtin.insert(name, "", 0);
        }
        for (pattern, module) in &self.builtin_alias_listed {
            builtin_alias.insert(&alias::normalize(pattern), module, 0);
        }
        let mut all = vec![
            ("modules.alias", aliases.into_bytes()),
            ("modules.dep", dep.into_bytes()),
            ("modules.softdep", soft.into_bytes()),
        ];
        for (name, index) in [
            ("modules.alias.bin", alias_index),
            ("modules.builtin.alias.bin", builtin_alias),
            ("modules.builtin.bin", builtin),
            ("modules.dep.bin", dep_index),
        ] {
            let large = || io::Error::other("there is more than the format can hold");
            all.push((name, index.bytes().ok_or_else(|| ModuleError::File(name.to_owned(), large()))?));
        }
        Ok(all)
    }

    /// Collects a module behind all that it needs, each once.
    fn needed(&mut self, index: usize, found: &mut Needed, depth: usize) -> Result<(), ModuleError> {
        // Before what it needs is looked at: modules that need each other are no concern of a list.
        if !found.seen.insert(index) {
            return Ok(());
        }
        if depth > DEPTH_MAX {
            let name = &self.files[index].name;
            return Err(ModuleError::Circle(format!(
                "more than {DEPTH_MAX} modules need each other, down to `{name}`"
            )));
        }
        if let Some(info) = self.info_if_any(index)? {
            for needed in &info.depends {
                if let Some(&other) = self.by_name.get(needed).filter(|other| **other != index) {
                    self.needed(other, found, depth + 1)?;
                }
            }
        }
        found.done.push(index);
        Ok(())
    }
}

/// What a module needs, as far as it was looked for.
#[derive(Default)]
struct Needed {
    seen: BTreeSet<usize>,
    /// Each behind all that it needs.
    done: Vec<usize>,
}
