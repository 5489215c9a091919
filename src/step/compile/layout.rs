//! Lays a source tree out on disk: writes what differs from what is there, so that make sees only that as new.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use imagegen::tree::{Kind, Metadata, Source, Tree};

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::step::{output, source};
use crate::task::Task;

/// Content is compared and copied in pieces of this size.
const CHUNK_BYTES: usize = 256 << 10;

/// Makes `folder` hold what the archive holds, and nothing else. A file beside it says when that is so already.
pub fn lay_out(archive: &Path, folder: &Path, title: &str, task: &dyn Task) -> Result<()> {
    let state = folder.with_extension("state");
    let identity = identity(archive)?;
    if fs::read_to_string(&state).is_ok_and(|known| known == identity) {
        return Ok(());
    }
    output::remove_if_there(&state)?;
    let mut tree = Tree::new(Metadata::default());
    source::read_stripped(&mut tree, archive, &[], title)?;
    let mut total = 0;
    let mut entries = Vec::new();
    tree.walk(|path, id| {
        if let Kind::File(source) = &tree.inode(id).kind {
            total += source.size_bytes();
        }
        entries.push((path.to_vec(), id));
    });
    task.total(total);
    let mut known: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (path, id) in entries {
        task.cancel().check()?;
        let place = folder.join(OsStr::from_bytes(&path));
        let inode = tree.inode(id);
        let failed = |error| output::write_error(&place, error);
        let now = fs::symlink_metadata(&place).ok();
        match &inode.kind {
            Kind::Directory(_) => {
                if !now.as_ref().is_some_and(|now| now.is_dir()) {
                    output::remove_if_there(&place)?;
                    fs::create_dir(&place).map_err(failed)?;
                }
            }
            Kind::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                if !fs::read_link(&place).is_ok_and(|now| now.as_os_str() == target) {
                    clear(&place)?;
                    std::os::unix::fs::symlink(target, &place).map_err(failed)?;
                }
            }
            Kind::File(source) => {
                let mode = if inode.metadata.mode & 0o100 != 0 { 0o755 } else { 0o644 };
                let there = now
                    .is_some_and(|now| now.is_file() && now.len() == source.size_bytes() && now.mode() & 0o777 == mode);
                if !(there && same(&**source, &place).unwrap_or(false)) {
                    clear(&place)?;
                    write(&**source, &place, mode).map_err(failed)?;
                }
                task.advance(source.size_bytes());
            }
            _ => {
                let name = String::from_utf8_lossy(&path);
                return Err(Error::new(ErrorKind::Input, format!("{title}: {name} is neither file, folder nor link")));
            }
        }
        known.insert(path);
    }
    remove_others(folder, &known)?;
    fs::write(&state, identity).map_err(|error| output::write_error(&state, error))
}

/// Returns what tells one archive of the cache from all others: the key that it lies under, and its name.
fn identity(archive: &Path) -> Result<String> {
    let metadata =
        fs::metadata(archive).map_err(|error| Error::io(format!("cannot read {}", archive.display()), error))?;
    let key = archive.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    Ok(format!("{key} {} {}.{}\n", metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Says whether a file holds this content.
fn same(source: &dyn Source, path: &Path) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let (mut wanted, mut found) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut at = 0;
    while at < source.size_bytes() {
        let length = (source.size_bytes() - at).min(CHUNK_BYTES as u64) as usize;
        source.read_at(at, &mut wanted[..length])?;
        file.read_exact(&mut found[..length])?;
        if wanted[..length] != found[..length] {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

fn write(source: &dyn Source, path: &Path, mode: u32) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut buffer = vec![0; CHUNK_BYTES.min(source.size_bytes() as usize)];
    let mut at = 0;
    while at < source.size_bytes() {
        let length = (source.size_bytes() - at).min(buffer.len() as u64) as usize;
        source.read_at(at, &mut buffer[..length])?;
        file.write_all(&buffer[..length])?;
        at += length as u64;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Takes away whatever is at a path.
fn clear(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            fs::remove_dir_all(path).map_err(|error| Error::io(format!("cannot remove {}", path.display()), error))
        }
        _ => output::remove_if_there(path),
    }
}

/// Takes away what the tree does not have.
fn remove_others(folder: &Path, known: &BTreeSet<Vec<u8>>) -> Result<()> {
    let mut todo: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        let failed = |error| Error::io(format!("cannot list {}", path.display()), error);
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let place = entry.path();
            let name = place.strip_prefix(folder).unwrap_or(&place).as_os_str().as_bytes();
            if !known.contains(name) {
                clear(&place)?;
            } else if entry.file_type().map_err(failed)?.is_dir() {
                todo.push(place);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imagegen::archive::tar;
    use imagegen::tree::Timestamp;

    use super::*;
    use crate::task::Silent;

    fn archive(path: &Path, files: &[(&str, &str)]) {
        let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
        for (name, text) in files {
            let kind = Kind::File(Arc::new(text.as_bytes().to_vec()));
            tree.insert(name.as_bytes(), kind, Metadata::root(0o644, Timestamp::default())).unwrap();
        }
        tree.insert(b"top/link", Kind::Symlink((*b"a").into()), Metadata::default()).unwrap();
        let _ = fs::remove_file(path);
        tar::write(&tree, &mut File::create(path).unwrap(), &tar::WriteOptions::default()).unwrap();
    }

    #[test]
    fn only_what_differs_is_written() {
        let root = tempfile::tempdir().unwrap();
        let (tar, folder) = (root.path().join("t.tar"), root.path().join("source"));
        fs::create_dir(&folder).unwrap();
        let lay = || lay_out(&tar, &folder, "t", &Silent::default()).unwrap();
        archive(&tar, &[("top/a", "one"), ("top/b/c", "two"), ("top/gone", "x")]);
        lay();
        assert_eq!(fs::read_to_string(folder.join("link")).unwrap(), "one", "the one folder around it all is cut");
        let time = |name: &str| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
        let before = (time("a"), time("b/c"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(folder.join("stray"), "").unwrap();
        archive(&tar, &[("top/a", "one"), ("top/b/c", "TWO")]);
        lay();
        assert_eq!(fs::read_to_string(folder.join("b/c")).unwrap(), "TWO");
        assert_eq!(time("a"), before.0);
        assert!(time("b/c") > before.1 && !folder.join("gone").exists() && !folder.join("stray").exists());
        // Nothing is looked at again as long as the archive is the same.
        fs::write(folder.join("stray"), "").unwrap();
        lay();
        assert!(folder.join("stray").exists());
    }
}
