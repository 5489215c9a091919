//! Writes a tree in the format that the recipe asks for.

use std::io::{BufWriter, Write};

use imagegen::archive::{ArchiveError, Problem, cpio, tar};
use imagegen::decompress::gzip_writer;
use imagegen::ext;
use imagegen::fat;
use imagegen::tree::Tree;

use super::{Filesystem, OUTPUT};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::recipe::{Ext, Format};
use crate::step::output::{self, watched};
use crate::step::{Digest, Workspace};

/// gzip's own default: higher levels take longer than they save.
const GZIP_LEVEL: u32 = 6;

/// Writes the image.
pub fn image(spec: &Filesystem, tree: &Tree, workspace: &Workspace<'_>) -> Result<()> {
    match &spec.format {
        Format::Ext { version, size_bytes, free_bytes, label } => {
            let size_bytes = size_bytes.as_ref().map(|size| size.value);
            let options = ext::Options {
                version: match version {
                    Ext::Ext2 => ext::Version::Ext2,
                    Ext::Ext3 => ext::Version::Ext3,
                    Ext::Ext4 => ext::Version::Ext4,
                },
                size_bytes,
                free_bytes: *free_bytes,
                label: label.clone(),
                clamp_times: true,
                ..ext::Options::new(uuid(workspace.key, "uuid"), uuid(workspace.key, "hash seed"), spec.epoch)
            };
            write_ext(spec, tree, &options, workspace)
        }
        Format::Fat { width, size_bytes, free_bytes, label } => {
            let serial = uuid(workspace.key, "serial");
            let options = fat::Options {
                width: *width,
                cluster_bytes: None,
                size_bytes: size_bytes.as_ref().map(|size| size.value),
                free_bytes: *free_bytes,
                label: label.value.clone(),
                serial: u32::from_be_bytes([serial[0], serial[1], serial[2], serial[3]]),
                epoch: spec.epoch,
                clamp_times: true,
            };
            write_fat(spec, tree, &options, workspace)
        }
        Format::Cpio { gzip } => packed(spec, *gzip, workspace, &mut |out, workspace| {
            let summary = cpio::write(tree, out)?;
            if summary.without_attributes > 0 {
                let note = format!("cpio has no place for the attributes of {} files", summary.without_attributes);
                workspace.task.note(&note);
            }
            Ok(())
        }),
        Format::Tar { gzip } => packed(spec, *gzip, workspace, &mut |out, workspace| {
            let summary = tar::write(tree, out, &tar::WriteOptions::default())?;
            if summary.sockets_left_out > 0 {
                workspace.task.note(&format!("tar has no place for {} sockets", summary.sockets_left_out));
            }
            Ok(())
        }),
    }
}

/// Makes an identifier from the step's key: an RFC 9562 UUID of version 8, the one for such purposes.
fn uuid(key: Digest, purpose: &str) -> [u8; 16] {
    let digest = Digest::of(format!("{purpose} {key}").as_bytes());
    let mut uuid: [u8; 16] = digest.0[..16].try_into().expect("a digest has 32 bytes");
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn write_ext(spec: &Filesystem, tree: &Tree, options: &ext::Options, workspace: &Workspace<'_>) -> Result<()> {
    let plan = ext::Plan::new(tree, options).map_err(|error| spec.error(error))?;
    output::write_map(workspace.folder, &plan.extents())?;
    let path = workspace.folder.join(OUTPUT);
    let file = output::create(&path)?;
    let written = watched(workspace, plan.content_bytes(), |progress| plan.write(&file, 0, progress));
    written.map_err(|error| match error {
        ext::WriteError::Output(error) => output::write_error(&path, error),
        ext::WriteError::Cancelled => Error::new(ErrorKind::Interrupted, "interrupted"),
        other => spec.error(other),
    })
}

fn write_fat(spec: &Filesystem, tree: &Tree, options: &fat::Options, workspace: &Workspace<'_>) -> Result<()> {
    let plan = fat::Plan::new(tree, options).map_err(|error| spec.error(error))?;
    output::write_map(workspace.folder, &plan.extents())?;
    let path = workspace.folder.join(OUTPUT);
    let file = output::create(&path)?;
    let written = watched(workspace, plan.content_bytes(), |progress| plan.write(&file, 0, progress));
    written.map_err(|error| match error {
        fat::WriteError::Output(error) => output::write_error(&path, error),
        fat::WriteError::Cancelled => Error::new(ErrorKind::Interrupted, "interrupted"),
        other => spec.error(other),
    })
}

type WriteArchive<'a> = dyn FnMut(&mut dyn Write, &Workspace<'_>) -> Result<(), ArchiveError> + 'a;

/// Writes an archive, through gzip if wanted.
fn packed(spec: &Filesystem, gzip: bool, workspace: &Workspace<'_>, write: &mut WriteArchive<'_>) -> Result<()> {
    let path = workspace.folder.join(OUTPUT);
    let file = BufWriter::with_capacity(output::CHUNK_BYTES, output::create(&path)?);
    let failed = |error: ArchiveError| match error.problem {
        // Sources and the output fail alike; what was being read is in the member's name.
        Problem::Io(io) if workspace.task.cancel().is_set() => {
            Error::new(ErrorKind::Interrupted, "interrupted").caused_by(io)
        }
        Problem::Io(io) => output::write_error(&path, io),
        _ => spec.error(error),
    };
    let mut file = Watched { inner: file, workspace };
    if gzip {
        let mut encoder = gzip_writer(&mut file, GZIP_LEVEL);
        write(&mut encoder, workspace).map_err(failed)?;
        encoder.finish().map_err(|error| output::write_error(&path, error))?;
    } else {
        write(&mut file, workspace).map_err(failed)?;
    }
    file.flush().map_err(|error| output::write_error(&path, error))
}

/// A writer that breaks off when the task is cancelled.
struct Watched<'a, W> {
    inner: W,
    workspace: &'a Workspace<'a>,
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.workspace.task.cancel().is_set() {
            return Err(std::io::Error::other("interrupted"));
        }
        let count = self.inner.write(bytes)?;
        self.workspace.task.advance(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
