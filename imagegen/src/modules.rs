//! Kernel modules: what `.modinfo` says of them, and the order in which they must be loaded.
//!
//! Debian's kernel packages ship no `modules.dep` (depmod runs when they are installed), so everything is read from
//! the modules themselves: names from their paths, `.modinfo` of those that are needed, and of all of them only when
//! a name turns out to be an alias. Source: modprobe.d(5), depmod(8), kernel `include/linux/module.h`.

mod alias;
mod depmod;
mod index;
mod modinfo;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::{InvalidData, UnexpectedEof};
use std::sync::Arc;
use std::{fmt, io};

pub use depmod::Listing;
pub use modinfo::ModuleInfo;

use crate::decompress;
use crate::suggest;
use crate::tree::{Kind, Source, Tree};
use alias::Aliases;

/// How long a chain of dependencies may be; real ones stay below twenty.
const DEPTH_MAX: usize = 200;
/// The largest module taken, in bytes, uncompressed.
const MODULE_MAX_BYTES: u64 = 512 << 20;

/// A module's file.
#[derive(Clone)]
pub struct Module {
    /// Its name: the file's, up to the first dot, with `_` for `-`.
    pub name: String,
    /// Where it is, as it was given.
    pub path: Vec<u8>,
    /// The file, perhaps compressed.
    pub source: Arc<dyn Source>,
}

impl Module {
    /// Returns the ELF file: what `insmod` takes where the kernel does not decompress.
    ///
    /// # Errors
    /// A file that cannot be read, or that does not decompress.
    pub fn uncompressed(&self) -> io::Result<Arc<dyn Source>> {
        Ok(match modinfo::decompress(&*self.source, MODULE_MAX_BYTES)? {
            Some(bytes) => Arc::new(bytes),
            None => self.source.clone(),
        })
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({}, {})", self.name, String::from_utf8_lossy(&self.path))
    }
}

/// Why modules cannot be loaded, or not be read.
#[derive(Debug)]
pub enum ModuleError {
    /// There is nothing of that name; with what is close to it.
    Missing(String),
    /// Modules that need each other, or a chain without end.
    Circle(String),
    /// A module's file is not what it should be.
    File(String, io::Error),
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModuleError::Missing(reason) | ModuleError::Circle(reason) => f.write_str(reason),
            ModuleError::File(path, error) => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for ModuleError {}

/// The modules of one kernel.
#[derive(Default)]
pub struct Modules {
    files: Vec<Module>,
    by_name: BTreeMap<String, usize>,
    /// What the kernel has in itself.
    builtin: BTreeSet<String>,
    builtin_aliases: Aliases<()>,
    /// The same as their lists have it.
    builtin_listed: Vec<String>,
    builtin_alias_listed: Vec<(String, String)>,
    /// The aliases of all modules, once they are known.
    aliases: Option<Aliases<usize>>,
    info: Vec<Option<Arc<ModuleInfo>>>,
}

/// What a name stands for.
enum Found {
    Modules(Vec<usize>),
    Builtin,
    Nothing,
}

impl Modules {
    /// Takes note of modules by their paths; other files among them are passed over. Nothing is read yet.
    ///
    /// Of several modules of a name the one under `updates` counts, else the first by path, as for depmod.
    pub fn index(files: impl IntoIterator<Item = (Vec<u8>, Arc<dyn Source>)>) -> Self {
        let mut modules = Modules::default();
        for (path, source) in files {
            if let Some(name) = module_name(&path) {
                modules.files.push(Module { name, path, source });
            }
        }
        modules.files.sort_by(|left, right| left.path.cmp(&right.path));
        modules.info = vec![None; modules.files.len()];
        let updates = |path: &[u8]| path.split(|&byte| byte == b'/').any(|name| name == b"updates");
        for (index, file) in modules.files.iter().enumerate() {
            let first = *modules.by_name.entry(file.name.clone()).or_insert(index);
            if updates(&file.path) && !updates(&modules.files[first].path) {
                modules.by_name.insert(file.name.clone(), index);
            }
        }
        modules
    }

    /// Takes note of everything in a folder of a tree, `lib/modules/6.1.0-18-arm64` for example: modules by their
    /// paths in the tree, and what is built in.
    ///
    /// # Errors
    /// A folder that is not there, a list of built-ins that cannot be read.
    pub fn from_tree(tree: &Tree, folder: &[u8]) -> Result<Self, ModuleError> {
        let name = || String::from_utf8_lossy(folder).into_owned();
        let root = tree.lookup(folder, true).filter(|id| matches!(tree.inode(*id).kind, Kind::Directory(_)));
        let root = root.ok_or_else(|| ModuleError::Missing(format!("there is no folder `{}` with modules", name())))?;
        let (mut files, mut lists) = (Vec::new(), Vec::new());
        // Folders still to be looked into; a tree has no circles, so this ends.
        let mut todo = vec![(folder.strip_suffix(b"/").unwrap_or(folder).to_vec(), root)];
        while let Some((path, id)) = todo.pop() {
            let below = |name: &[u8]| [&*path, b"/", name].concat();
            todo.extend(tree.entries(id).map(|(name, child)| (below(name), child)));
            let Kind::File(source) = &tree.inode(id).kind else { continue };
            match path.rsplit(|&byte| byte == b'/').next() {
                Some(b"modules.builtin") => lists.push((false, path, source.clone())),
                Some(b"modules.builtin.modinfo") => lists.push((true, path, source.clone())),
                _ => files.push((path, source.clone())),
            }
        }
        let mut modules = Modules::index(files);
        for (modinfo, path, source) in lists {
            let bytes = modinfo::read_all(&*source, MODULE_MAX_BYTES)
                .map_err(|error| ModuleError::File(String::from_utf8_lossy(&path).into_owned(), error))?;
            if modinfo { modules.add_builtin_modinfo(&bytes) } else { modules.add_builtin(&bytes) }
        }
        Ok(modules)
    }

    /// Adds the content of `modules.builtin`: a path a line.
    pub fn add_builtin(&mut self, list: &[u8]) {
        self.builtin_listed.extend(list.split(|&byte| byte == b'\n').filter_map(module_name));
        self.builtin.extend(self.builtin_listed.iter().cloned());
    }

    /// Adds the content of `modules.builtin.modinfo`: `module.key=value`, each ending with a NUL. It holds the aliases
    /// of what is built in.
    pub fn add_builtin_modinfo(&mut self, list: &[u8]) {
        for record in list.split(|&byte| byte == 0) {
            let record = String::from_utf8_lossy(record);
            if let Some((module, alias)) = record.split_once(".alias=") {
                self.builtin.insert(alias::normalize(module));
                self.builtin_aliases.insert(alias, ());
                self.builtin_alias_listed.push((alias.to_owned(), alias::normalize(module)));
            }
        }
    }

    /// Returns all modules, by path.
    pub fn files(&self) -> &[Module] {
        &self.files
    }

    /// Returns what a module says of itself.
    ///
    /// # Errors
    /// No module of that name, or a file that is no module.
    pub fn info(&mut self, name: &str) -> Result<Arc<ModuleInfo>, ModuleError> {
        match self.by_name.get(&alias::normalize(name)) {
            Some(&index) => self.info_of(index),
            None => Err(self.missing(name, "")),
        }
    }

    fn info_of(&mut self, index: usize) -> Result<Arc<ModuleInfo>, ModuleError> {
        if let Some(info) = &self.info[index] {
            return Ok(info.clone());
        }
        let file = &self.files[index];
        let info = modinfo::read(&*file.source, MODULE_MAX_BYTES)
            .map_err(|error| ModuleError::File(String::from_utf8_lossy(&file.path).into_owned(), error))?;
        Ok(self.info[index].insert(Arc::new(info)).clone())
    }

    /// Returns what a module says of itself; nothing, if its file is none.
    fn info_if_any(&mut self, index: usize) -> Result<Option<Arc<ModuleInfo>>, ModuleError> {
        match self.info_of(index) {
            Ok(info) => Ok(Some(info)),
            Err(ModuleError::File(_, error)) if matches!(error.kind(), InvalidData | UnexpectedEof) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the modules to load, in this order, so that those of these names (or aliases) are there: each after
    /// the soft dependencies it wants before it and the modules it needs, and before those it wants after it.
    ///
    /// What is built in is left out, and so are soft dependencies that do not exist or cannot be loaded.
    ///
    /// # Errors
    /// A name that nothing has, with one that is close; a needed module that is missing; a file that is no module.
    pub fn load_order<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Module>, ModuleError> {
        let mut order = Order { state: vec![State::New; self.files.len()], done: Vec::new() };
        for name in names {
            match self.find(name)? {
                Found::Modules(found) => found.into_iter().try_for_each(|index| self.visit(index, &mut order, 0))?,
                Found::Builtin => {}
                Found::Nothing => return Err(self.missing(name, "")),
            }
        }
        Ok(order.done.into_iter().map(|index| self.files[index].clone()).collect())
    }

    fn visit(&mut self, index: usize, order: &mut Order, depth: usize) -> Result<(), ModuleError> {
        let name = self.files[index].name.clone();
        match order.state[index] {
            State::Done => return Ok(()),
            State::Open => return Err(ModuleError::Circle(format!("the module `{name}` needs itself"))),
            _ if depth > DEPTH_MAX => {
                return Err(ModuleError::Circle(format!(
                    "more than {DEPTH_MAX} modules need each other, down to `{name}`"
                )));
            }
            State::New | State::Failed => order.state[index] = State::Open,
        }
        let result = self.visit_open(index, order, depth);
        if result.is_err() {
            order.state[index] = State::Failed;
        }
        result
    }

    fn visit_open(&mut self, index: usize, order: &mut Order, depth: usize) -> Result<(), ModuleError> {
        let info = self.info_of(index)?;
        info.soft_before.iter().try_for_each(|name| self.visit_soft(name, order, depth))?;
        for needed in &info.depends {
            match self.by_name.get(needed) {
                Some(&needed) => self.visit(needed, order, depth + 1)?,
                None if self.builtin.contains(needed) => {}
                None => return Err(self.missing(needed, &format!("`{}` needs ", self.files[index].name))),
            }
        }
        order.state[index] = State::Done;
        order.done.push(index);
        info.soft_after.iter().try_for_each(|name| self.visit_soft(name, order, depth))
    }

    /// Loads what is only wished for, if that works: modprobe goes on without it, too.
    fn visit_soft(&mut self, name: &str, order: &mut Order, depth: usize) -> Result<(), ModuleError> {
        let Found::Modules(found) = self.find(name)? else { return Ok(()) };
        for index in found {
            let before = order.done.len();
            if order.state[index] != State::New {
                continue;
            }
            match self.visit(index, order, depth + 1) {
                Ok(()) => {}
                Err(ModuleError::Missing(_) | ModuleError::Circle(_)) => {
                    for index in order.done.drain(before..) {
                        order.state[index] = State::New;
                    }
                }
                Err(error @ ModuleError::File(..)) => return Err(error),
            }
        }
        Ok(())
    }

    fn find(&mut self, name: &str) -> Result<Found, ModuleError> {
        let normal = alias::normalize(name);
        if let Some(&index) = self.by_name.get(&normal) {
            return Ok(Found::Modules(vec![index]));
        }
        if self.builtin.contains(&normal) {
            return Ok(Found::Builtin);
        }
        if self.aliases.is_none() {
            let mut aliases = Aliases::default();
            for index in 0..self.files.len() {
                // A module that another one overrides has no say.
                if self.by_name.get(&self.files[index].name) == Some(&index) {
                    for alias in &self.info_of(index)?.aliases {
                        aliases.insert(alias, index);
                    }
                }
            }
            self.aliases = Some(aliases);
        }
        let found = self.aliases.as_ref().map(|aliases| aliases.matching(&normal)).unwrap_or_default();
        Ok(match found {
            found if !found.is_empty() => Found::Modules(found),
            _ if !self.builtin_aliases.matching(&normal).is_empty() => Found::Builtin,
            _ => Found::Nothing,
        })
    }

    fn missing(&self, name: &str, who: &str) -> ModuleError {
        let known = self.by_name.keys().chain(&self.builtin).map(String::as_str);
        let hint = suggest::hint(&alias::normalize(name), known);
        ModuleError::Missing(match who {
            "" => format!("there is no module `{name}`{hint}"),
            who => format!("{who}the module `{name}`, which there is not{hint}"),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// Being looked at, further up.
    Open,
    Done,
    /// Could not be loaded: not tried again where it is only wished for, which keeps the search short.
    Failed,
}

struct Order {
    state: Vec<State>,
    done: Vec<usize>,
}

/// Returns the name of the module in a path; nothing if it is no module.
fn module_name(path: &[u8]) -> Option<String> {
    let file = path.rsplit(|&byte| byte == b'/').next()?;
    let file = std::str::from_utf8(file).ok()?;
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz", ".ko.bz2"].iter().find_map(|end| file.strip_suffix(end))?;
    let name = stem.split('.').next().filter(|name| !name.is_empty())?;
    Some(alias::normalize(name))
}

/// Opens a source as a stream of its uncompressed bytes.
fn stream(source: &dyn Source) -> io::Result<decompress::Reader<'_>> {
    decompress::reader(Box::new(io::BufReader::with_capacity(64 << 10, modinfo::Cursor::new(source))))
}
