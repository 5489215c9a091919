//! What depmod would write, for every folder of kernel modules in a tree that has nothing of it: modprobe knows modules
//! by these lists only.

use std::collections::BTreeSet;
use std::sync::Arc;

use imagegen::modules::Modules;
use imagegen::tree::{Kind as NodeKind, Metadata, Tree};

use crate::error::{Error, Kind, Result};
use crate::task::Cancel;

/// The largest list of modules in their order that is looked at: a distribution's has a quarter of a megabyte.
const MODULE_ORDER_MAX_BYTES: u64 = 16 << 20;

/// Adds the lists, with this metadata.
///
/// # Errors
/// A module that cannot be read; [`Kind::Interrupted`].
pub fn add(tree: &mut Tree, metadata: &Metadata, cancel: &Cancel) -> Result<()> {
    for folder in folders(tree) {
        let below = |name: &str| format!("{folder}/{name}");
        let is_there = |path: &str| tree.lookup(path.as_bytes(), true).is_some();
        // A folder whose name is no text is no kernel's.
        if is_there(&below("modules.dep")) || !is_there(&folder) {
            continue;
        }
        cancel.check()?;
        let wrong = |error: &dyn std::fmt::Display| Error::new(Kind::Input, format!("{folder}: {error}"));
        let mut modules = Modules::from_tree(tree, folder.as_bytes()).map_err(|error| wrong(&error))?;
        if modules.files().is_empty() {
            continue;
        }
        let mut order = Vec::new();
        if let Some(id) = tree.lookup(below("modules.order").as_bytes(), true)
            && let NodeKind::File(source) = &tree.inode(id).kind
            && source.size_bytes() <= MODULE_ORDER_MAX_BYTES
        {
            order.resize(source.size_bytes() as usize, 0);
            source.read_at(0, &mut order).map_err(|error| wrong(&error))?;
        }
        for (name, bytes) in modules.listings(folder.as_bytes(), &order).map_err(|error| wrong(&error))? {
            let kind = NodeKind::File(Arc::new(bytes));
            tree.insert(below(name).as_bytes(), kind, metadata.clone()).map_err(|error| wrong(&error))?;
        }
    }
    Ok(())
}

/// Finds every `lib/modules/VERSION` (or `usr/lib/modules/VERSION`) of a tree, each once.
pub fn folders(tree: &Tree) -> Vec<String> {
    let mut folders = Vec::new();
    for parent in ["lib/modules", "usr/lib/modules"] {
        let Some(id) = tree.lookup(parent.as_bytes(), true) else { continue };
        for (name, child) in tree.entries(id) {
            if matches!(tree.inode(child).kind, NodeKind::Directory(_)) {
                folders.push((child, format!("{parent}/{}", String::from_utf8_lossy(name))));
            }
        }
    }
    // With a merged /usr both names lead to the same folder.
    let mut seen = BTreeSet::new();
    folders.retain(|(id, _)| seen.insert(*id));
    folders.into_iter().map(|(_, folder)| folder).collect()
}
