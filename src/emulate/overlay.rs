//! What a machine writes to instead of the artifacts: nothing that stays, or a kept overlay in `out/RECIPE/overlay/`.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Image;
use super::qcow2;
use super::qemu::Disk;
use crate::error::{Error, Kind, Result};
use crate::file;
use crate::task::Cancel;

/// What guests write is nobody else's business.
const MODE: u32 = 0o600;

/// What becomes of what the machine writes to its disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Persist {
    /// It goes with the machine.
    #[default]
    No,
    /// It stays for the next run.
    Keep,
    /// What is there from earlier runs goes first; then it stays.
    Reset,
}

/// One disk's overlay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overlay {
    /// The artifact.
    pub base: PathBuf,
    /// The file that is written to; `None` leaves a throw-away overlay to QEMU.
    pub path: Option<PathBuf>,
    /// Is that file a whole copy (for the models) instead of a qcow2 overlay?
    pub copy: bool,
    /// What becomes of it.
    pub persist: Persist,
}

impl Overlay {
    /// Returns the disk for QEMU's command line.
    pub fn disk(&self) -> Disk {
        match &self.path {
            Some(path) => Disk::Kept(path.clone()),
            None => Disk::ThrowAway(self.base.clone()),
        }
    }
}

/// Decides where each disk's overlay is; touches no file.
pub fn plan(image: &Image, for_model: bool, persist: Persist) -> Vec<Overlay> {
    let one = |base: &PathBuf| {
        let mut name = base.file_name().unwrap_or_default().to_owned();
        name.push(match (for_model, persist) {
            (true, Persist::No) => ".scratch",
            (true, _) => ".copy",
            (false, _) => ".qcow2",
        });
        let path = (for_model || persist != Persist::No).then(|| image.folder.join("overlay").join(name));
        Overlay { base: base.clone(), path, copy: for_model, persist }
    };
    image.disks.iter().map(one).collect()
}

/// Which artifact a kept overlay was made over: kept beside it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    size: u64,
    /// Modification time and inode: where they are the same, nothing is hashed again.
    mtime_ns: i128,
    inode: u64,
    sha256: String,
}

/// Makes what [`plan`] named: returns a copy to delete at the end, if there is one.
///
/// # Errors
/// [`Kind::Host`] where the artifact is not the one that the kept overlay was made over, or on I/O errors.
pub fn prepare(overlay: &Overlay, cancel: &Cancel) -> Result<Option<tempfile::TempPath>> {
    let Some(path) = &overlay.path else { return Ok(None) };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| Error::io(format!("cannot make {}", folder.display()), source))?;
    if overlay.persist == Persist::No {
        copy(&overlay.base, path, cancel)?;
        return tempfile::TempPath::try_from_path(path)
            .map(Some)
            .map_err(|source| Error::io(format!("cannot use {}", path.display()), source));
    }
    let mut note = path.clone().into_os_string();
    note.push(".base");
    let note = PathBuf::from(note);
    if overlay.persist == Persist::Reset {
        for path in [path, &note] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("cannot remove {}", path.display()), error));
                }
                _ => {}
            }
        }
    }
    if path.exists() {
        return check_base(overlay, path, &note, cancel).map(|()| None);
    }
    // The note first: an overlay without one would be of unknown origin.
    let base = identify(&overlay.base, None, cancel)?;
    let text = serde_json::to_string(&base).map_err(|error| Error::new(Kind::Internal, "a note").caused_by(error))?;
    write_whole(&note, text.as_bytes())?;
    if overlay.copy {
        copy(&overlay.base, path, cancel)?;
    } else {
        write_whole(path, &qcow2::empty_overlay(&overlay.base, base.size)?)?;
    }
    Ok(None)
}

fn check_base(overlay: &Overlay, path: &Path, note: &Path, cancel: &Cancel) -> Result<()> {
    let text = std::fs::read(note).unwrap_or_default();
    let known: Option<Base> = serde_json::from_slice(&text).ok();
    let now = identify(&overlay.base, known.as_ref(), cancel)?;
    if known.is_some_and(|known| known.sha256 == now.sha256) {
        return Ok(());
    }
    let message = format!(
        "{} was kept from an earlier run, over another {} than this one",
        path.display(),
        overlay.base.file_name().unwrap_or_default().display(),
    );
    Err(Error::new(Kind::Host, message)
        .hint("--persist=reset begins a new one, and what was written to the old one is lost")
        .hint("without --persist the machine starts from the artifact, and the kept overlay stays where it is"))
}

/// Finds out what identifies the artifact; `known` spares the hashing where size, time and inode are what they were.
fn identify(path: &Path, known: Option<&Base>, cancel: &Cancel) -> Result<Base> {
    let wrap = |source| Error::io(format!("cannot read {}", path.display()), source);
    let metadata = std::fs::metadata(path).map_err(wrap)?;
    let mtime_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    let (size, inode) = (metadata.len(), metadata.ino());
    if let Some(known) = known
        && (known.size, known.mtime_ns, known.inode) == (size, mtime_ns, inode)
    {
        return Ok(known.clone());
    }
    let sha256 = file::sha256_of(path, cancel)?;
    Ok(Base { size, mtime_ns, inode, sha256 })
}

/// Copies an artifact, beside its place and then into it.
fn copy(from: &Path, to: &Path, cancel: &Cancel) -> Result<()> {
    cancel.check()?;
    let copy = || {
        let temporary = file::beside(to, MODE)?;
        std::io::copy(&mut File::open(from)?, &mut temporary.as_file())?;
        file::put(temporary, to)
    };
    copy().map_err(|source| Error::io(format!("cannot copy {} to {}", from.display(), to.display()), source))
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    file::replace(path, bytes, MODE).map_err(|source| Error::io(format!("cannot write {}", path.display()), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        image: Image,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("rootfs.img");
        std::fs::write(&disk, vec![7; 4096]).unwrap();
        let boot = Some(folder.path().join("x.axf"));
        let image = Image { folder: folder.path().into(), boot, device_tree: None, disks: vec![disk] };
        Fixture { folder, image }
    }

    fn prepare_one(image: &Image, persist: Persist) -> Result<PathBuf> {
        let overlay = plan(image, false, persist).remove(0);
        prepare(&overlay, &Cancel::default())?;
        Ok(overlay.path.unwrap())
    }

    #[test]
    fn a_throw_away_overlay_touches_nothing() {
        let Fixture { folder, image } = fixture();
        let overlay = plan(&image, false, Persist::No).remove(0);
        assert_eq!(overlay.disk(), Disk::ThrowAway(image.disks[0].clone()));
        assert!(prepare(&overlay, &Cancel::default()).unwrap().is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_kept_overlay_stays_until_the_base_changes() {
        let Fixture { folder: _folder, image } = fixture();
        let path = prepare_one(&image, Persist::Keep).unwrap();
        std::fs::write(&path, "what a guest wrote").unwrap();
        prepare_one(&image, Persist::Keep).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"what a guest wrote");

        // The same bytes at another time, in another inode: still the same base.
        std::fs::remove_file(&image.disks[0]).unwrap();
        std::fs::write(&image.disks[0], vec![7; 4096]).unwrap();
        prepare_one(&image, Persist::Keep).unwrap();

        std::fs::write(&image.disks[0], vec![8; 4096]).unwrap();
        let error = prepare_one(&image, Persist::Keep).unwrap_err();
        assert!(error.message.contains("over another rootfs.img"), "{error}");
        assert!(error.hints[0].contains("--persist=reset"));
        assert_eq!(std::fs::read(&path).unwrap(), b"what a guest wrote", "untouched");

        prepare_one(&image, Persist::Reset).unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(b"QFI\xfb"));
    }

    #[test]
    fn a_model_gets_a_copy_that_goes_away() {
        let Fixture { folder: _folder, image } = fixture();
        let overlay = plan(&image, true, Persist::No).remove(0);
        let path = overlay.path.clone().unwrap();
        let guard = prepare(&overlay, &Cancel::default()).unwrap().unwrap();
        std::fs::write(&path, "scribble").unwrap();
        drop(guard);
        assert!(!path.exists());
        assert_eq!(std::fs::read(&image.disks[0]).unwrap(), vec![7; 4096]);
    }
}
