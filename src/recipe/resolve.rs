//! A recipe as written, complete and with defaults, becomes the recipe as meant.
//!
//! What was found wrong before is a gap here, filled with anything: the result counts only if nothing was found.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::{Node, Value};
use super::report::Finding;
use super::{
    Boot, BootFormat, DeviceTree, FileSource, Fit, FitKey, Hypervisor, Kernel, Located, Origin, Owner, Packages,
    Recipe, Script, ScriptText, SourceText, TreeSource,
};

mod dialogue;
mod disk;
mod domain;
mod filesystem;
mod machine;
mod source;

pub(super) use machine::{GICV2_CPUS_MAX, MEMORY_MIN};

/// Makes the recipe; adds to `findings` what no pattern could say.
pub fn resolve(document: &Node, name: String, sources: &[SourceText], findings: &mut Vec<Finding>) -> Recipe {
    let context = Context { sources, findings: RefCell::new(std::mem::take(findings)) };
    let root = Cursor { node: document, path: String::new(), context: &context };
    let table =
        |key: &str| root.get(key).unwrap_or(Cursor { node: &NOTHING, path: key.to_string(), context: &context });
    let mut recipe = Recipe {
        name,
        description: root.text("description"),
        sources: sources.to_vec(),
        epoch: epoch(&root),
        packages: packages(&table("packages")),
        machine: machine::machine(&table("machine")),
        hypervisor: hypervisor(&table("hypervisor")),
        source_trees: table("source").named(source::source),
        kernels: table("kernel").named(|kernel| Kernel {
            image: kernel.image().unwrap_or_else(no_file),
            modules: kernel.get("modules").and_then(|modules| modules.tree_source()),
        }),
        device_tree: device_tree(&table("device-tree")),
        filesystems: table("filesystem").named(filesystem::filesystem),
        disks: table("disk").named(disk::disk),
        dom0: domain::dom0(&table("dom0")),
        guests: table("guest").named(domain::guest),
        boot: boot(&table("boot")),
        test: dialogue::test(&table("test")),
    };
    for (name, kernel) in &mut recipe.kernels {
        if matches!(kernel.image, FileSource::Compiled(_)) && kernel.modules.is_none() {
            kernel.modules = Some(TreeSource::Compiled(name.clone()));
        }
    }
    *findings = context.findings.into_inner();
    recipe
}

/// What stands where nothing does.
static NOTHING: Node = Node {
    value: Value::Bad,
    place: super::raw::Place::nowhere(super::raw::Layer::Default),
    key: 0..0,
    variables: Vec::new(),
};

struct Context<'a> {
    sources: &'a [SourceText],
    findings: RefCell<Vec<Finding>>,
}

/// A value, the path of keys that leads to it, and where to put findings.
struct Cursor<'a> {
    node: &'a Node,
    path: String,
    context: &'a Context<'a>,
}

impl<'a> Cursor<'a> {
    /// Returns what stands at a key, unless that was found wrong.
    fn get(&self, key: &str) -> Option<Cursor<'a>> {
        let node = self.node.get(key).filter(|node| node.value != Value::Bad)?;
        Some(Cursor { node, path: key_path(&self.path, key), context: self.context })
    }

    /// Returns an array's elements.
    fn elements(&self, key: &str) -> Vec<Cursor<'a>> {
        let Some(array) = self.get(key) else { return Vec::new() };
        let elements = array.node.elements().iter().enumerate();
        elements
            .filter(|(_, node)| node.value != Value::Bad)
            .map(|(index, node)| Cursor { node, path: format!("{}[{index}]", array.path), context: self.context })
            .collect()
    }

    /// Makes something of each of a table's tables, by name.
    fn named<T>(&self, make: impl Fn(&Cursor<'a>) -> T) -> BTreeMap<String, T> {
        let Some(entries) = self.node.entries() else { return BTreeMap::new() };
        let cursors = entries.keys().filter_map(|name| Some((name.clone(), self.get(name)?)));
        cursors.map(|(name, cursor)| (name, make(&cursor))).collect()
    }

    fn origin(&self) -> Origin {
        Origin { file: self.node.place.file, span: self.node.place.span.clone(), key: self.path.clone() }
    }

    fn located<T>(&self, value: T) -> Located<T> {
        Located { value, origin: self.origin() }
    }

    fn finding(&self, message: impl Into<String>) {
        self.context.findings.borrow_mut().push(Finding::at(&self.origin(), message));
    }

    fn text(&self, key: &str) -> String {
        self.get(key).and_then(|cursor| cursor.node.text().map(String::from)).unwrap_or_default()
    }

    fn located_text(&self, key: &str) -> Option<Located<String>> {
        self.get(key).and_then(|cursor| cursor.node.text().map(|text| cursor.located(text.to_string())))
    }

    /// Returns a text, or one that nobody wrote.
    fn required_text(&self, key: &str) -> Located<String> {
        self.located_text(key).unwrap_or_else(|| nobodys(String::new()))
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.located_texts(key).into_iter().map(|located| located.value).collect()
    }

    fn located_texts(&self, key: &str) -> Vec<Located<String>> {
        self.elements(key)
            .iter()
            .filter_map(|cursor| cursor.node.text().map(|text| cursor.located(text.to_string())))
            .collect()
    }

    fn integer(&self, key: &str) -> Option<Located<i64>> {
        self.get(key).and_then(|cursor| cursor.node.integer().map(|value| cursor.located(value)))
    }

    /// Returns a number whose range the table of keys holds within 32 bits.
    fn number(&self, key: &str) -> Located<u32> {
        match self.integer(key) {
            Some(Located { value, origin }) => Located { value: u32::try_from(value).unwrap_or(u32::MAX), origin },
            None => nobodys(0),
        }
    }

    fn boolean(&self, key: &str) -> bool {
        self.get(key).and_then(|cursor| cursor.node.boolean()).unwrap_or_default()
    }

    /// Returns a size in bytes.
    fn size(&self, key: &str) -> Option<Located<u64>> {
        let cursor = self.get(key)?;
        let bytes = match &cursor.node.value {
            Value::Integer(value, _) => value.and_then(|value| u64::try_from(value).ok()),
            Value::String(text) => size_bytes(text),
            _ => None,
        };
        if bytes.is_none() {
            cursor.finding("this size is too large");
        }
        bytes.map(|bytes| cursor.located(bytes))
    }

    fn required_size(&self, key: &str) -> Located<u64> {
        self.size(key).unwrap_or_else(|| nobodys(0))
    }

    fn duration(&self, key: &str) -> Duration {
        self.get(key).and_then(|cursor| duration(cursor.node.text()?)).unwrap_or_default()
    }

    fn owner(&self, key: &str) -> Option<Owner> {
        let cursor = self.get(key)?;
        let owner = owner(cursor.node.text()?);
        if owner.is_none() {
            cursor.finding("user and group numbers go up to 4294967294");
        }
        owner
    }

    /// Returns a local path, absolute; it is relative to the file that says it.
    fn local_path(&self, key: &str) -> Option<Located<PathBuf>> {
        let cursor = self.get(key)?;
        let path = cursor.absolute(cursor.node.text()?);
        Some(cursor.located(path))
    }

    fn local_paths(&self, key: &str) -> Vec<Located<PathBuf>> {
        let located = |cursor: &Cursor<'a>| Some(cursor.located(cursor.absolute(cursor.node.text()?)));
        self.elements(key).iter().filter_map(located).collect()
    }

    /// Makes a path absolute that is written here.
    fn absolute(&self, path: &str) -> PathBuf {
        let source = self.node.place.file.and_then(|file| self.context.sources.get(file));
        let folder = source.and_then(|source| source.path.parent()).unwrap_or(Path::new(""));
        let path = folder.join(path);
        std::path::absolute(&path).unwrap_or(path)
    }

    fn sha256(&self) -> Option<Located<String>> {
        self.located_text("sha256").map(|sha256| Located { value: sha256.value.to_ascii_lowercase(), ..sha256 })
    }

    /// Returns the one file that a table names.
    fn file_source(&self) -> Option<FileSource> {
        let file = || {
            let file = self.required_text("file");
            Located { value: file.value.trim_start_matches('/').to_string(), ..file }
        };
        if let Some(path) = self.local_path("path") {
            Some(FileSource::Path { path, sha256: self.sha256() })
        } else if let Some(package) = self.located_text("package") {
            Some(FileSource::Package { package, file: file() })
        } else {
            let tarball = self.local_path("tarball")?;
            Some(FileSource::Tarball { tarball, sha256: self.sha256(), file: file() })
        }
    }

    /// Returns the tree that a table names.
    fn tree_source(&self) -> Option<TreeSource> {
        if let Some(path) = self.local_path("path") {
            Some(TreeSource::Folder { path, keep: self.boolean("keep") })
        } else if let Some(package) = self.located_text("package") {
            Some(TreeSource::Package { package })
        } else {
            Some(TreeSource::Tarball { tarball: self.local_path("tarball")?, sha256: self.sha256() })
        }
    }
}

/// A value for a gap: its origin has no key, and no check looks at it.
fn nobodys<T>(value: T) -> Located<T> {
    Located { value, origin: Origin { file: None, span: 0..0, key: String::new() } }
}

fn no_file() -> FileSource {
    FileSource::Path { path: nobodys(PathBuf::new()), sha256: None }
}

/// Returns the path of a key in a table, quoted as TOML wants it.
pub fn key_path(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let key = if bare { key.to_string() } else { toml::Value::from(key).to_string() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Reads `512MiB`, `2 GiB` or `4096`; `None` if it does not fit.
fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let shift = match text[digits.len()..].trim() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|bytes| *bytes <= i64::MAX as u64)
}

/// Reads `30s`, `5min`, `500ms`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let count = digits.parse::<u64>().ok()?;
    match text[digits.len()..].trim() {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "min" => Some(Duration::from_secs(count.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(count.checked_mul(3600)?)),
        _ => None,
    }
}

/// Reads `root` or `1000:1000`. The largest number means "nobody in particular" to chown(2).
fn owner(text: &str) -> Option<Owner> {
    if text == "root" {
        return Some(Owner::default());
    }
    let (uid, gid) = text.split_once(':')?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number != u32::MAX);
    Some(Owner { uid: number(uid)?, gid: number(gid)? })
}

fn epoch(root: &Cursor<'_>) -> i64 {
    let Some(cursor) = root.get("epoch") else { return 0 };
    let seconds = match &cursor.node.value {
        Value::Integer(value, _) => *value,
        Value::String(text) | Value::Date(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Some(time.as_second()),
            Err(_) => {
                cursor.finding(format!("expected {}", super::form::TIME.what));
                return 0;
            }
        },
        _ => None,
    };
    match seconds.filter(|seconds| (0..=i64::from(i32::MAX)).contains(seconds)) {
        Some(seconds) => seconds,
        None => {
            cursor.finding("made files get times from 1970-01-01 to 2038-01-19 only");
            0
        }
    }
}

fn packages(table: &Cursor<'_>) -> Packages {
    Packages {
        suites: table.texts("suites"),
        components: table.texts("components"),
        architecture: table.text("architecture"),
        mirror: table.located_text("mirror"),
        keyring: table.local_path("keyring"),
    }
}

fn hypervisor(table: &Cursor<'_>) -> Hypervisor {
    let image = match table.located_text("from") {
        Some(_) => Some(FileSource::Integrated),
        None => table.image(),
    };
    Hypervisor { image: image.unwrap_or_else(no_file), bootargs: table.text("bootargs") }
}

fn boot(table: &Cursor<'_>) -> Boot {
    let address = |cursor: &Cursor<'_>| {
        let address = cursor.node.integer().and_then(|address| u64::try_from(address).ok());
        cursor.located(address.unwrap_or_default())
    };
    let addresses = table.get("addresses").map(|addresses| addresses.named(address)).unwrap_or_default();
    let format = if table.text("format") == "u-boot" { BootFormat::UBoot } else { BootFormat::Axf };
    let fit = table.get("fit").map(|fit| Fit { key: fit_key(&fit) });
    let made = (format == BootFormat::UBoot || fit.is_some()).then(|| Script {
        text: ScriptText::Made,
        firmware_tree: false,
        origin: table.origin(),
    });
    let script = table.get("script").map(|script| boot_script(&script, fit.is_some()));
    Boot { format, addresses, script: script.or(made), fit }
}

fn boot_script(table: &Cursor<'_>, fit: bool) -> Script {
    let text = match (table.located_text("text"), table.local_path("path")) {
        (Some(text), _) => ScriptText::Text(text.value),
        (None, Some(path)) => ScriptText::Path(path),
        (None, None) => ScriptText::Made,
    };
    let firmware_tree = table.get("device-tree").filter(|tree| tree.node.text() == Some("firmware"));
    // Only the script that is made for files can fill a tree in.
    let why = match text {
        ScriptText::Made if fit => {
            Some("with `[boot.fit]` the hypervisor gets the FIT's device tree, never the firmware's")
        }
        ScriptText::Made => None,
        _ => {
            Some("the recipe's own script says which device tree the hypervisor gets: `firmware` would change nothing")
        }
    };
    if let Some((tree, why)) = firmware_tree.as_ref().zip(why) {
        tree.finding(why);
    }
    Script { text, firmware_tree: firmware_tree.is_some(), origin: table.origin() }
}

fn fit_key(table: &Cursor<'_>) -> Option<FitKey> {
    let path = table.local_path("key")?;
    let stem = || path.value.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = table.located_text("key-name").map_or_else(stem, |name| name.value);
    let control = table.get("control").and_then(|control| control.file_source());
    Some(FitKey { path, name, control })
}

fn device_tree(table: &Cursor<'_>) -> DeviceTree {
    let define = |cursor: &Cursor<'_>| match &cursor.node.value {
        Value::Integer(Some(value), _) => value.to_string(),
        _ => cursor.node.text().unwrap_or_default().to_string(),
    };
    DeviceTree {
        source: table.file_source(),
        defines: table.get("defines").map(|defines| defines.named(define)).unwrap_or_default(),
        overlays: table.elements("overlays").iter().filter_map(Cursor::file_source).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_durations_and_owners() {
        assert_eq!(size_bytes("512MiB"), Some(512 << 20));
        assert_eq!(size_bytes("2 GiB"), Some(2 << 30));
        assert_eq!(size_bytes("4096"), Some(4096));
        assert_eq!(size_bytes("9223372036854775807"), Some(i64::MAX as u64));
        assert_eq!(size_bytes("9223372036854775808"), None);
        assert_eq!(size_bytes("9999999999TiB"), None);
        assert_eq!(duration("5min"), Some(Duration::from_secs(300)));
        assert_eq!(duration("500 ms"), Some(Duration::from_millis(500)));
        assert_eq!(owner("root"), Some(Owner::default()));
        assert_eq!(owner("1000:100"), Some(Owner { uid: 1000, gid: 100 }));
        assert_eq!(owner("4294967295:0"), None);
    }

    #[test]
    fn key_paths_are_quoted_where_needed() {
        assert_eq!(key_path("", "machine"), "machine");
        assert_eq!(key_path("a.b", "/etc/x y"), "a.b.\"/etc/x y\"");
        assert_eq!(key_path("a", ""), "a.\"\"");
    }
}
