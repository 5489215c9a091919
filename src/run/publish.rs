//! Puts artifacts into `out/RECIPE/`: each is a second name of the file in the cache, or a copy where that cannot be.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::index::{Index, Look};
use super::queue::Finished;
use super::store;
use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::step::{Digest, Output, output};
use crate::task::Cancel;

/// Names that a killed build may have left in `out/RECIPE/` begin like this.
pub const TEMPORARY: &str = ".new-";

/// Puts the artifacts of a plan into `folder`, each in one step, and takes away those of `past` that there no longer
/// are, by their names and where in the cache they were; `tell` hears of each.
pub fn publish(
    past: &BTreeMap<String, PathBuf>,
    plan: &Plan,
    finished: &[Finished],
    folder: &Path,
    index: &Index,
    cancel: &Cancel,
    tell: &dyn Fn(&str, &Output),
) -> Result<()> {
    remove_stale(folder)?;
    let mut changed = false;
    for artifact in &plan.artifacts {
        let step = &finished[artifact.step.index()];
        let missing = || Error::new(Kind::Internal, format!("nothing made {}", artifact.name));
        let entry = step.entry.as_ref().ok_or_else(missing)?;
        let made = entry.outputs.iter().find(|output| output.name == artifact.output).ok_or_else(missing)?;
        let (source, target) = (entry.folder.join(&made.name), folder.join(&artifact.name));
        let mut touched = vec![source.as_path()];
        // The file that loses a name is as it was, too.
        touched.extend(past.get(&artifact.name).map(PathBuf::as_path));
        changed |= index.while_linking(&touched, || place(&source, &target, made.sha256, index, cancel))?;
        tell(&artifact.name, made);
    }
    for (name, source) in past {
        if !plan.artifacts.iter().any(|artifact| artifact.name == *name) {
            index.while_linking(&[source.as_path()], || remove_file(&folder.join(name)))?;
            changed = true;
        }
    }
    if changed { store::sync(folder) } else { Ok(()) }
}

/// Makes `target` the same file as `source`; says whether it was not before.
fn place(source: &Path, target: &Path, sha256: Digest, index: &Index, cancel: &Cancel) -> Result<bool> {
    let failed = |error| Error::io(format!("cannot put {} in place", target.display()), error);
    let from = fs::metadata(source).map_err(failed)?;
    if let Ok(there) = fs::symlink_metadata(target) {
        if (there.dev(), there.ino()) == (from.dev(), from.ino()) {
            return Ok(false);
        }
        if there.is_file() && index.known(target, &Look::of(&there)) == Some(sha256) {
            return Ok(false);
        }
        if there.is_dir() {
            let message = format!("{} is a folder, in the place of an artifact", target.display());
            return Err(Error::new(Kind::Host, message).hint("remove or rename it"));
        }
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = target.with_file_name(format!("{TEMPORARY}{name}"));
    let linked = fs::hard_link(source, &temporary).is_ok();
    if !linked {
        // Another file system, one without links, or too many of them.
        copy(source, &temporary, cancel).inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    }
    fs::rename(&temporary, target).map_err(failed)?;
    if !linked {
        index.record_own(target, Look::of(&fs::metadata(target).map_err(failed)?), sha256);
    }
    Ok(true)
}

/// Copies a file: by sharing its blocks where the file system can, else its data without its holes.
pub fn copy(source: &Path, target: &Path, cancel: &Cancel) -> Result<()> {
    let failed = |error| output::write_error(target, error);
    let from = output::open(source)?;
    let to = output::create(target)?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        copy_data(&from, &to, cancel, target)?;
    }
    to.set_permissions(Permissions::from_mode(0o444)).map_err(failed)?;
    to.sync_all().map_err(failed)
}

fn copy_data(from: &File, to: &File, cancel: &Cancel, target: &Path) -> Result<()> {
    let failed = |error| output::write_error(target, error);
    let length = from.metadata().map_err(failed)?.len();
    to.set_len(length).map_err(failed)?;
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(error) => return Err(failed(error.into())),
        };
        let end = match rustix::fs::seek(from, SeekFrom::Hole(start)) {
            Ok(end) => end,
            Err(Errno::INVAL) => length,
            Err(error) => return Err(failed(error.into())),
        };
        copy_range(from, to, start, end, cancel).map_err(failed)??;
        at = end;
    }
    Ok(())
}

/// Copies bytes `at..end` to the same place.
fn copy_range(from: &File, to: &File, mut at: u64, end: u64, cancel: &Cancel) -> io::Result<Result<()>> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; output::CHUNK_BYTES];
    while at < end {
        if let Err(error) = cancel.check() {
            return Ok(Err(error));
        }
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        from.read_exact_at(&mut buffer[..wanted], at)?;
        to.write_all_at(&buffer[..wanted], at)?;
        at += wanted as u64;
    }
    Ok(Ok(()))
}

/// Removes what a killed build left.
fn remove_stale(folder: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("cannot list {}", folder.display()), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file. Folders stay, and what is in them: an artifact never was one.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            fs::remove_file(path).map_err(|error| Error::io(format!("cannot remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_copy_keeps_holes_and_is_read_only() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        let file = File::create(&source).unwrap();
        file.set_len(512 << 20).unwrap();
        file.write_all_at(b"middle", 100 << 20).unwrap();
        drop(file);
        copy(&source, &target, &Cancel::default()).unwrap();
        let metadata = fs::metadata(&target).unwrap();
        assert_eq!(metadata.len(), 512 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
        assert_eq!(metadata.mode() & 0o7777, 0o444);
        let mut read = [0; 8];
        File::open(&target).unwrap().read_exact_at(&mut read, (100 << 20) - 1).unwrap();
        assert_eq!(&read, b"\0middle\0");
    }

    #[test]
    fn what_is_removed_is_never_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, link) = (folder.path().join(".new-folder"), folder.path().join(".new-link"));
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        fs::write(folder.path().join(".new-file"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        remove_stale(folder.path()).unwrap();
        assert!(kept.join("file").exists());
        assert!(fs::symlink_metadata(&link).is_err() && !folder.path().join(".new-file").exists());
    }

    #[test]
    fn a_folder_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&source, "x").unwrap();
        fs::create_dir(&target).unwrap();
        let index = Index::load(&folder.path().join("index"));
        let error = place(&source, &target, Digest::of(b"x"), &index, &Cancel::default()).unwrap_err();
        assert!(error.to_string().ends_with("b is a folder, in the place of an artifact"), "{error}");
    }
}
