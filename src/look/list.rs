//! What `ls` shows: a file, a folder, or a folder and all below it, folder by folder.

use std::collections::HashSet;

use imagegen::volume::{Kind, Node, NodeId, Volume, VolumeError, show};

use super::FilePlace;
use super::show::Row;
use crate::error::Result;

/// What of a place is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Folders below, too.
    pub recursive: bool,
    /// A folder itself, and not what is in it.
    pub itself: bool,
    /// With the values of extended attributes; without, only whether there are any.
    pub values: bool,
}

/// What rows of one folder may hold beside names: link targets and attributes. Any number of names may lead to one file.
const HELD_BYTES_MAX: usize = 128 << 20;

/// Something to show at once: the names of a folder, or one file.
pub struct Block {
    /// The folder's path; nothing for a file.
    pub folder: Option<Vec<u8>>,
    /// What is in it.
    pub rows: Vec<Row>,
}

/// Hands out what is at a place. What cannot be read becomes a row with an error, or a word to `complain`.
///
/// # Errors
/// Those of `visit`.
pub fn list(
    place: &FilePlace,
    options: Options,
    visit: &mut dyn FnMut(Block) -> Result<()>,
    complain: &mut dyn FnMut(String),
) -> Result<()> {
    let volume = &*place.volume;
    let node = volume.node(place.id);
    if options.itself || !matches!(&node, Ok(node) if node.kind.is_directory()) {
        if let Err(error) = &node {
            complain(format!("{}: {error}", place.address()));
        }
        let row = Row { name: place.path.clone(), path: place.path.clone(), node };
        return visit(Block { folder: None, rows: vec![row] });
    }
    let (mut todo, mut seen) = (vec![(place.path.clone(), place.id)], HashSet::new());
    while let Some((path, id)) = todo.pop() {
        if !seen.insert(volume.folder_number(id)) {
            complain(format!("{}:{}: the folder is in itself, or in two folders", place.image, show(&path)));
            continue;
        }
        let (rows, refused) = match rows(volume, &path, id, options.values) {
            Ok(rows) => rows,
            Err(error) => {
                complain(format!("{}:{}: {error}", place.image, show(&path)));
                continue;
            }
        };
        for error in refused {
            complain(format!("{}:{}: {error}", place.image, show(&path)));
        }
        for (row, _) in &rows {
            if let Err(error) = &row.node {
                complain(format!("{}:{}: {error}", place.image, show(&row.path)));
            }
        }
        if options.recursive {
            let folders =
                rows.iter().filter(|(row, _)| matches!(&row.node, Ok(Node { kind, .. }) if kind.is_directory()));
            let folders: Vec<_> = folders.map(|(row, id)| (row.path.clone(), *id)).collect();
            todo.extend(folders.into_iter().rev());
        }
        visit(Block { folder: Some(path), rows: rows.into_iter().map(|(row, _)| row).collect() })?;
    }
    Ok(())
}

/// What is in a folder, with the number of each, and what could not be taken for a name there.
type Rows = (Vec<(Row, NodeId)>, Vec<VolumeError>);

fn rows(volume: &dyn Volume, path: &[u8], id: NodeId, values: bool) -> Result<Rows, VolumeError> {
    let slash: &[u8] = if path.ends_with(b"/") { b"" } else { b"/" };
    let mut held = 0;
    let row = |entry: imagegen::volume::Entry| {
        let path = [path, slash, &entry.name].concat();
        let mut node = volume.node(entry.id);
        if let Ok(found) = &mut node {
            if !values && let Some((name, _)) = found.metadata.xattrs.pop_first() {
                found.metadata.xattrs = [(name, Vec::new())].into();
            }
            held += found.metadata.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            if let Kind::Symlink(target) = &found.kind {
                held += target.len();
            }
            if held > HELD_BYTES_MAX {
                let message = "in a folder whose links and attributes together take more than 128 MiB";
                node = Err(VolumeError::Unsupported(message.into()));
            }
        }
        (Row { name: entry.name.into(), path, node }, entry.id)
    };
    let names = volume.entries(id)?;
    Ok((names.entries.into_iter().map(row).collect(), names.refused))
}
