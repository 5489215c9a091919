//! Users: lines of passwd(5), group(5) and shadow(5), and home folders.

use std::collections::BTreeMap;

use imagegen::tree::{Kind as NodeKind, Tree};

use super::Filesystem;
use crate::error::Result;
use crate::recipe::User;

/// The largest of these files that packages may bring.
const FILE_MAX_BYTES: u64 = 16 << 20;
/// Seconds of a day: shadow(5) counts days.
const DAY: i64 = 86_400;

/// Adds a file system's users; a line of the same name that is there is replaced.
pub fn add(tree: &mut Tree, spec: &Filesystem) -> Result<()> {
    if spec.users.is_empty() {
        return Ok(());
    }
    let mut passwd = Table::read(tree, spec, "etc/passwd", 0o644)?;
    let mut group = Table::read(tree, spec, "etc/group", 0o644)?;
    let mut shadow = Table::read(tree, spec, "etc/shadow", 0o640)?;
    for (name, user) in &spec.users {
        let User { uid, gid, home, shell, password } = user;
        for (field, text) in [("name", name.as_str()), ("home", home), ("shell", shell)] {
            if text.contains([':', '\n', '\0']) || (field == "name" && text.is_empty()) {
                return Err(spec.error(format_args!("user {name:?}: {field} cannot be {text:?}")));
            }
        }
        let password = password.as_deref().unwrap_or("!");
        if password.contains([':', '\n', '\0']) {
            return Err(spec.error(format_args!("user {name:?}: this is no password hash")));
        }
        passwd.set(name, format!("{name}:x:{uid}:{gid}::{home}:{shell}"));
        if !group.lines.iter().any(|line| line.split(':').nth(2) == Some(&gid.to_string())) {
            group.set(name, format!("{name}:x:{gid}:"));
        }
        // A day of last change of 0 would ask for a new password at the first login.
        let day = spec.epoch.div_euclid(DAY).max(1);
        shadow.set(name, format!("{name}:{password}:{day}:0:99999:7:::"));
        if tree.lookup(home.as_bytes(), true).is_none() {
            let mut metadata = spec.metadata(0o755);
            (metadata.uid, metadata.gid) = (*uid, *gid);
            tree.insert(home.as_bytes(), NodeKind::Directory(BTreeMap::new()), metadata)
                .map_err(|error| spec.error(error))?;
        }
    }
    for table in [passwd, group, shadow] {
        table.write(tree, spec)?;
    }
    Ok(())
}

/// One of the files: lines that begin with a name.
struct Table {
    path: &'static str,
    mode: u16,
    lines: Vec<String>,
}

impl Table {
    fn read(tree: &Tree, spec: &Filesystem, path: &'static str, mode: u16) -> Result<Self> {
        let mut table = Table { path, mode, lines: Vec::new() };
        let Some(id) = tree.lookup(path.as_bytes(), true) else { return Ok(table) };
        let inode = tree.inode(id);
        let NodeKind::File(source) = &inode.kind else {
            return Err(spec.error(format_args!("/{path} is no file, so users cannot be added to it")));
        };
        if source.size_bytes() > FILE_MAX_BYTES {
            return Err(spec.error(format_args!("/{path} is too large")));
        }
        let mut bytes = vec![0; source.size_bytes() as usize];
        source.read_at(0, &mut bytes).map_err(|error| spec.error(format_args!("/{path}: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| spec.error(format_args!("/{path} is not text")))?;
        table.lines = text.lines().map(String::from).collect();
        table.mode = inode.metadata.mode;
        Ok(table)
    }

    fn set(&mut self, name: &str, line: String) {
        let of_name = |line: &String| line.split(':').next() == Some(name);
        match self.lines.iter().position(of_name) {
            Some(at) => self.lines[at] = line,
            None => self.lines.push(line),
        }
    }

    fn write(self, tree: &mut Tree, spec: &Filesystem) -> Result<()> {
        let mut text = self.lines.join("\n");
        text.push('\n');
        let old = tree.lookup(self.path.as_bytes(), true).map(|id| tree.inode(id).metadata.clone());
        let mut metadata = spec.metadata(self.mode);
        if let Some(old) = old {
            (metadata.uid, metadata.gid) = (old.uid, old.gid);
        }
        let kind = NodeKind::File(std::sync::Arc::new(text.into_bytes()));
        tree.insert(self.path.as_bytes(), kind, metadata).map(drop).map_err(|error| spec.error(error))
    }
}
