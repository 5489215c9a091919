//! Addresses: `IMAGE[:PARTITION]:PATH`, and on from a file that is an image itself.
//!
//! Colons may also be parts of names. Of what can be meant, the longest name that exists is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imagegen::tree::Source;
use imagegen::volume::{self, Kind as NodeKind, NodeId, Volume, VolumeError};

use super::open::{Disk, Thing, host_file, identify};
use super::{FilePlace, Place, fault};
use crate::error::{Error, Kind, Result};

/// How many images may be inside each other.
const DEPTH_MAX: usize = 8;

/// Finds where an address leads. A symbolic link in last place is followed if `follow` says so. What is damaged on the
/// way there, and can be read all the same, is told.
///
/// # Errors
/// There is no such image, partition or path; or the image is damaged.
pub fn resolve(text: &OsStr, follow: bool, tell: &mut dyn FnMut(&str)) -> Result<Place> {
    let (path, rest) = host_part(text)?;
    let mut rest = rest.to_vec();
    let mut name = path.display().to_string();
    let mut source = host_file(&path)?;
    for _ in 0..DEPTH_MAX {
        let thing = identify(&name, &source)?;
        if let Thing::Disk(disk) = &thing {
            disk.damages.iter().for_each(|damage| tell(damage));
        }
        match thing {
            Thing::Data(source) if rest.is_empty() => return Ok(Place::Data { name, source }),
            Thing::Data(_) => {
                let message = format!("{name} is no disk, file system or archive that is known here");
                return Err(Error::new(Kind::Input, message));
            }
            Thing::Disk(disk) if rest.is_empty() => return Ok(Place::Disk(disk)),
            Thing::Disk(disk) => {
                let (partition, behind) = in_disk(&disk, &rest)?;
                (name, source, rest) = (partition.0, partition.1, behind);
            }
            Thing::Volume(volume, on) => match in_volume(&name, &*volume, &rest, follow)? {
                Inside::File(id) => {
                    let path = if rest.is_empty() { b"/".to_vec() } else { rest[1..].to_vec() };
                    return Ok(Place::File(FilePlace { image: name, volume, source: on, path, id }));
                }
                Inside::Image { path, content, behind } => {
                    name = format!("{name}:{}", volume::show(&path));
                    (source, rest) = (content, behind);
                }
            },
        }
    }
    Err(Error::new(Kind::Usage, format!("{name}: more than {DEPTH_MAX} images inside each other")))
}

/// Splits off the file of the host.
fn host_part(text: &OsStr) -> Result<(PathBuf, &[u8])> {
    let bytes = text.as_bytes();
    let colons = bytes.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let mut ends: Vec<usize> = colons.chain([bytes.len()]).collect();
    let first = ends[0];
    while let Some(end) = ends.pop() {
        let path = Path::new(OsStr::from_bytes(&bytes[..end]));
        if end > 0 && path.exists() {
            return Ok((path.into(), &bytes[end..]));
        }
    }
    let path = Path::new(OsStr::from_bytes(&bytes[..first]));
    Err(Error::new(Kind::Usage, format!("{}: no such file", path.display())))
}

/// Chooses the partition that a text of `:PARTITION...` names; where it names none, the only one with files in it.
fn in_disk(disk: &Disk, rest: &[u8]) -> Result<((String, Arc<dyn Source>), Vec<u8>)> {
    if rest.starts_with(b":/") {
        let with_files = disk.with_files();
        let [only] = with_files[..] else {
            let message = format!("{} has {} partitions with files: say which", disk.name, with_files.len());
            return Err(Error::new(Kind::Usage, message).hint(format!(
                "{}, as in {}:1{}",
                disk.choices(),
                disk.name,
                String::from_utf8_lossy(rest)
            )));
        };
        return Ok(((format!("{}:{}", disk.name, only.number), disk.partition(only)), rest.to_vec()));
    }
    let text = &rest[1..];
    let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
    let partition = disk.find(&String::from_utf8_lossy(&text[..end]))?;
    if partition.is_extended() {
        let message = format!("{}:{} is an extended partition: it holds others", disk.name, partition.number);
        return Err(Error::new(Kind::Usage, message).hint(disk.choices()));
    }
    Ok(((format!("{}:{}", disk.name, partition.number), disk.partition(partition)), text[end..].to_vec()))
}

/// What a path in a volume leads to.
enum Inside {
    File(NodeId),
    Image { path: Vec<u8>, content: Arc<dyn Source>, behind: Vec<u8> },
}

fn in_volume(name: &str, volume: &dyn Volume, rest: &[u8], follow: bool) -> Result<Inside> {
    if rest.is_empty() {
        return Ok(Inside::File(volume.root()));
    }
    let path = &rest[1..];
    if !path.starts_with(b"/") {
        let message =
            format!("{name} is {}, and has no partition `{}`", volume.format(), String::from_utf8_lossy(path));
        return Err(Error::new(Kind::Usage, message).hint(format!("a path begins with a slash: {name}:/")));
    }
    let whole = match volume::lookup(volume, path, follow) {
        Ok(id) => return Ok(Inside::File(id)),
        Err(error) => error,
    };
    let missing = matches!(whole, VolumeError::Path { .. });
    let colons = path.iter().enumerate().filter(|(_, byte)| missing && **byte == b':').map(|(at, _)| at);
    for end in colons.collect::<Vec<_>>().into_iter().rev() {
        let Ok(id) = volume::lookup(volume, &path[..end], true) else { continue };
        let node = volume.node(id).map_err(|error| fault(name, error))?;
        if let NodeKind::File(content) = node.kind {
            return Ok(Inside::Image { path: path[..end].to_vec(), content, behind: path[end..].to_vec() });
        }
    }
    Err(fault(name, whole))
}
