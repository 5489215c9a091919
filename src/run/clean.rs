//! Takes back what was put into `out/RECIPE/`: only what xenbuild made, by its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Workshop;
use super::history::{self, History};
use super::publish::{self, TEMPORARY};
use super::store;
use crate::delivery;
use crate::error::{Error, Result};

/// Where a recipe's folder has what guests wrote to their disks.
const OVERLAYS: &str = "overlay";
/// What tells of artifacts, and the console logs of the last run and of the one before.
const BESIDE: [&str; 5] =
    [delivery::MANIFEST, delivery::SUMS, delivery::JUNIT, delivery::SERIAL_LOG, delivery::SERIAL_LOG_BEFORE];
/// How names in `overlay/` end: what guests wrote, for QEMU and for the models, and the note of what it lies over.
const OVERLAY_ENDS: [&str; 4] = [".qcow2", ".copy", ".scratch", ".base"];

/// What is left of a recipe's folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// What guests wrote.
    pub overlays: bool,
    /// How many files and folders that are not xenbuild's.
    pub foreign: usize,
}

/// Returns the folders of `out` that have something to remove; with `overlays`, also those with nothing else.
pub fn folders(out: &Path, overlays: bool) -> Vec<PathBuf> {
    let mut folders = history::recipe_folders(out);
    if overlays && let Ok(entries) = fs::read_dir(out) {
        let kept =
            |folder: &PathBuf| names(&folder.join(OVERLAYS)).is_ok_and(|all| all.iter().any(|name| is_overlay(name)));
        folders.extend(entries.flatten().map(|entry| entry.path()).filter(kept));
        folders.sort_unstable();
        folders.dedup();
    }
    folders
}

/// Removes what was made from a recipe, and its folder if nothing is left in it; says what is. With `dry`, removes
/// nothing and says what would be left. Files of the cache that lose a name are still known by what is left.
pub fn recipe(shop: &Workshop, folder: &Path, overlays: bool, dry: bool) -> Result<Left> {
    let made = History::read(folder).artifacts(shop.store.folder());
    let mut left = Left::default();
    let (mut doomed, mut emptied) = (Vec::new(), Vec::new());
    for name in names(folder)? {
        let path = folder.join(&name);
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if name == OVERLAYS && is_folder {
            let inside = names(&path)?;
            let (ours, others): (Vec<String>, Vec<String>) = inside.into_iter().partition(|name| is_overlay(name));
            left.foreign += others.len();
            left.overlays = !overlays && !ours.is_empty();
            if overlays {
                doomed.extend(ours.iter().map(|name| path.join(name)));
            }
            if others.is_empty() && !left.overlays {
                emptied.push(path);
            }
        } else if is_folder {
            left.foreign += 1;
        } else if made.contains_key(&name) || BESIDE.contains(&name.as_str()) || name.starts_with(TEMPORARY) {
            doomed.push(path);
        } else if name != history::FILE_NAME {
            left.foreign += 1;
        }
    }
    if dry {
        return Ok(left);
    }
    // First what says that all is there; last what says what was, so that a removal cut short can be done again.
    doomed.sort_by_key(|path| !path.ends_with(delivery::MANIFEST));
    doomed.push(folder.join(history::FILE_NAME));
    let cached: Vec<&Path> = made.values().map(PathBuf::as_path).collect();
    shop.index.while_linking(&cached, || doomed.iter().try_for_each(|path| publish::remove_file(path)))?;
    if left == Left::default() {
        emptied.push(folder.to_owned());
    }
    for folder in emptied {
        remove_if_empty(&folder)?;
    }
    if shop.store.folder().exists() { shop.index.save() } else { Ok(()) }?;
    Ok(left)
}

/// Removes the cache.
pub fn cache(shop: &Workshop) -> Result<()> {
    store::remove(shop.store.folder())
}

/// Is this a file of xenbuild's in `overlay/`, temporary ones included?
fn is_overlay(name: &str) -> bool {
    OVERLAY_ENDS.iter().any(|end| name.ends_with(end)) || name.starts_with(TEMPORARY)
}

/// Lists a folder's names; those that are no text are nobody's of ours, and stand for something all the same.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io(format!("cannot list {}", folder.display()), error);
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    fs::read_dir(folder).map_err(failed)?.map(name).collect::<io::Result<_>>().map_err(failed)
}

/// Removes a folder; one that is not empty, or is a link to one, stays.
fn remove_if_empty(folder: &Path) -> Result<()> {
    use io::ErrorKind::{DirectoryNotEmpty, NotADirectory, NotFound};
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), DirectoryNotEmpty | NotADirectory | NotFound) => {
            Err(Error::io(format!("cannot remove {}", folder.display()), error))
        }
        _ => Ok(()),
    }
}
