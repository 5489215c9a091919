//! The device or file that the user names: found, described, and refused if need be.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::contents::Contents;
use super::host::{Disk, Inventory, Roots};
use super::image::{Image, Needs};
use super::refuse::{self, Reason, Refusal};
use super::show_bytes;
use super::target::{Medium, needs_permission};
use crate::error::{Error, Kind, Result};

/// Where an image is to go: nothing speaks against it.
#[derive(Debug)]
pub struct Destination {
    /// The node or file itself, links resolved.
    path: PathBuf,
    /// What a user types to say that this one is meant: `sdb`, or a file's name.
    name: String,
    bytes: u64,
    /// The disk, if it is one.
    disk: Option<Disk>,
    contents: Contents,
    roots: Roots,
    needs: Needs,
}

impl Destination {
    /// Finds what a path names, and looks at what it is and holds.
    ///
    /// # Errors
    /// - [`Kind::Usage`]: there is no such thing, or it is neither disk nor file.
    /// - [`Kind::Refused`]: with every reason.
    /// - [`Kind::Host`]: permission is missing; the message says which.
    pub fn find(roots: &Roots, path: &Path, image: &Image) -> Result<Destination> {
        let shown = path.display();
        let real = fs::canonicalize(path).map_err(|error| missing(path, error))?;
        let metadata = fs::metadata(&real).map_err(|error| missing(path, error))?;
        let inventory = Inventory::read(roots);
        let needs = image.needs();
        let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut destination = Destination {
            bytes: 0,
            disk: None,
            contents: Contents::default(),
            roots: roots.clone(),
            path: real,
            name,
            needs,
        };
        if metadata.file_type().is_block_device() {
            let number = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            if let Some((disk, _)) = inventory.disk_of_partition(|partition| partition.number == number) {
                let text = format!("it is a partition of {}: give the whole disk, {}", disk.name, disk.node.display());
                return Err(destination.refused(path, &[Refusal::new(Reason::Partition, text)]));
            }
            let disk = inventory.disks.iter().find(|disk| disk.number == number);
            let disk =
                disk.ok_or_else(|| Error::new(Kind::Usage, format!("{shown} is not a disk that the kernel lists")))?;
            destination.bytes = disk.bytes;
            destination.disk = Some(disk.clone());
            destination.check(path, &refuse::disk(&inventory, disk, None, Some(&destination.needs)))?;
        } else if metadata.is_file() {
            destination.bytes = metadata.len();
            let refusals = file_refusals(&destination, &inventory, &metadata, image);
            destination.check(path, &refusals)?;
        } else {
            return Err(Error::new(Kind::Usage, format!("{shown} is neither a disk nor a file")));
        }
        match rustix::fs::accessat(
            rustix::fs::CWD,
            &destination.path,
            Access::READ_OK | Access::WRITE_OK,
            AtFlags::EACCESS,
        ) {
            Err(Errno::ACCESS | Errno::PERM) => return Err(needs_permission(&destination.path)),
            Err(Errno::ROFS) => {
                let refusal = Refusal::new(Reason::ReadOnly, "it is on a file system that is mounted read-only");
                return Err(destination.refused(path, &[refusal]));
            }
            _ => {}
        }
        let name = if destination.disk.is_some() { destination.name.as_str() } else { "" };
        destination.contents = Contents::of_path(&destination.path, name, destination.bytes)
            .map_err(|error| Error::io(format!("cannot read {shown}"), error))?;
        if let Some(disk) = &destination.disk {
            let refusals = refuse::disk(&inventory, disk, Some(&destination.contents), Some(&destination.needs));
            destination.check(path, &refusals)?;
        }
        Ok(destination)
    }

    /// Returns its path, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what a user types to say that this one is meant.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its length.
    pub fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Says whether a text that a user typed names this.
    pub fn is_called(&self, text: &str) -> bool {
        let text = text.trim();
        let same = || fs::canonicalize(text).is_ok_and(|path| path == self.path);
        !text.is_empty() && (text == self.name || (text.contains('/') && same()))
    }

    /// Says in a line what it is.
    pub fn title(&self) -> String {
        let path = self.path.display();
        let size = show_bytes(self.bytes);
        let Some(disk) = &self.disk else { return format!("{path}: a file, {size}") };
        let serial = if disk.serial.is_empty() { String::new() } else { format!("serial {}", disk.serial) };
        let backing = disk.backing.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let fixed = if disk.removable || disk.backing.is_some() { "" } else { "not removable" };
        let parts = [disk.model.clone(), backing, size, disk.bus.clone(), serial, fixed.into()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{path}: {}", parts.join(", "))
    }

    /// Says what will be lost, a line for each thing.
    pub fn losses(&self) -> Vec<String> {
        self.contents.lines()
    }

    /// Opens it for writing, for us alone; looks again whether it is still what it was, and may still be written.
    ///
    /// # Errors
    /// As for [`Destination::find`], and those of opening.
    pub fn open(&self) -> Result<Medium> {
        let Some(disk) = &self.disk else {
            let medium = Medium::file(&self.path)?;
            return self.same(medium);
        };
        let medium = Medium::disk(&self.path, disk.number)?;
        let inventory = Inventory::read(&self.roots);
        let now = inventory.disk(&disk.name);
        let same = |now: &&Disk| {
            now.number == disk.number
                && now.sequence == disk.sequence
                && now.serial == disk.serial
                && now.model == disk.model
        };
        let Some(now) = now.filter(same) else {
            let message = format!("{} holds another medium than a moment ago", self.path.display());
            return Err(Error::new(Kind::Refused, message));
        };
        self.check(&self.path, &refuse::disk(&inventory, now, None, Some(&self.needs)))?;
        self.same(medium)
    }

    /// Compares the size with what was described.
    fn same(&self, medium: Medium) -> Result<Medium> {
        use super::target::Target;
        let bytes = medium.size_bytes();
        if bytes != self.bytes {
            let path = self.path.display();
            let message = format!("{path} has {bytes} bytes, although a moment ago it had {}", self.bytes);
            return Err(Error::new(Kind::Refused, message));
        }
        Ok(medium)
    }

    fn check(&self, path: &Path, refusals: &[Refusal]) -> Result<()> {
        if refusals.is_empty() { Ok(()) } else { Err(self.refused(path, refusals)) }
    }

    fn refused(&self, path: &Path, refusals: &[Refusal]) -> Error {
        let mut shown = path.display().to_string();
        if self.path != path {
            shown = format!("{shown} ({})", self.path.display());
        }
        let texts: Vec<&str> = refusals.iter().map(|refusal| refusal.text.as_str()).collect();
        let message = match texts[..] {
            [text] => format!("{shown} is refused: {text}"),
            _ => format!("{shown} is refused:\n  - {}", texts.join("\n  - ")),
        };
        let mut error = Error::new(Kind::Refused, message);
        if refusals.iter().any(|refusal| refusal.reason == Reason::Mounted) {
            error =
                error.hint("if it is a card that the desktop mounted, unmount it first: `umount` with the place above");
        }
        error
    }
}

fn missing(path: &Path, error: std::io::Error) -> Error {
    let shown = path.display();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::new(Kind::Usage, format!("{shown}: there is no such device or file, and none is made"))
            .hint("`xenbuild flash IMAGE` lists the disks")
            .hint("a file to flash into is made beforehand, in the size of the card: `truncate -s 8G card.img`");
    }
    Error::io(shown.to_string(), error)
}

/// The guards of disks, for a file.
fn file_refusals(file: &Destination, inventory: &Inventory, metadata: &fs::Metadata, image: &Image) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let same = |other: &Path| fs::metadata(other).is_ok_and(|m| (m.dev(), m.ino()) == (metadata.dev(), metadata.ino()));
    if same(image.path()) || image.bmap().is_some_and(same) {
        refusals.push(Refusal::new(Reason::SameAsImage, "it is the image itself"));
    }
    for disk in &inventory.disks {
        if disk.bytes > 0 && disk.backing.as_deref().is_some_and(same) {
            refusals.push(Refusal::new(Reason::InUse, format!("it is in use as {}", disk.node.display())));
        }
    }
    if inventory.swaps.iter().any(|swap| same(Path::new(swap))) {
        refusals.push(Refusal::new(Reason::Swap, "the system swaps to it"));
    }
    if metadata.mode() & 0o222 == 0 {
        refusals.push(Refusal::new(Reason::ReadOnly, "its mode says that nobody writes it"));
    }
    refuse::fits(file.bytes, None, &file.needs, &mut refusals);
    refusals
}
