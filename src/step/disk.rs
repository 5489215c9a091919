//! `disk`: file systems and files become the partitions of a disk.

use std::sync::Arc;

use imagegen::archive::holes;
use imagegen::disk::{Content, Gap, Guid, Plan, Scheme, Size, WriteError};
use sha2::Digest as _;

use super::output::{self, watched};
use super::{Description, Given, Kind, Workspace};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::recipe::{DiskImage, Partition};

/// The name of the output.
pub const OUTPUT: &str = "image";

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// How errors call it: the recipe's key.
    pub title: String,
    /// What the recipe says.
    pub image: DiskImage,
}

impl Disk {
    /// Returns the name of the input that a partition's content is.
    pub fn partition_input(index: usize) -> String {
        format!("partition {}", index + 1)
    }

    /// Returns the name of the input that a gap's content is.
    pub fn gap_input(index: usize) -> String {
        format!("gap {}", index + 1)
    }

    fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Recipe, format!("{}: {what}", self.title)).at(&self.image.origin)
    }
}

impl Kind for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        let DiskImage { scheme, size_bytes, alignment_bytes, guid, signature, entries_offset, .. } = &self.image;
        let or_open = |value: Option<String>| value.unwrap_or_else(|| "from the key".to_owned());
        let table = match scheme {
            Scheme::Gpt => "gpt",
            Scheme::Mbr => "mbr",
            Scheme::Hybrid => "hybrid",
        };
        description.parameter("table", table);
        description.parameter("size", size_bytes.as_ref().map_or("as needed".into(), |size| size.value.to_string()));
        description.parameter("alignment", alignment_bytes);
        if scheme.has_gpt() {
            description.parameter("guid", or_open(guid.map(|guid| guid.to_string())));
        }
        if *scheme != Scheme::Gpt {
            description.parameter("signature", or_open(signature.map(|signature| format!("{signature:08x}"))));
        }
        if let Some(offset) = entries_offset {
            description.parameter("entries-at", offset);
        }
        for (index, partition) in self.image.partitions.iter().enumerate() {
            description.parameter(Disk::partition_input(index), describe_partition(partition));
        }
        for (index, gap) in self.image.gaps.iter().enumerate() {
            description.parameter(Disk::gap_input(index), format_args!("at {}", gap.offset));
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let mut contents = Vec::new();
        for (index, partition) in self.image.partitions.iter().enumerate() {
            contents.push(match &partition.content {
                Some(_) => Some(content(workspace, workspace.input(&Disk::partition_input(index))?)?),
                None => None,
            });
        }
        let mut gaps = Vec::new();
        for (index, gap) in self.image.gaps.iter().enumerate() {
            let name = Disk::gap_input(index);
            let content = content(workspace, workspace.input(&name)?)?;
            gaps.push(Gap { name, offset: gap.offset, content });
        }
        let (options, partitions) =
            self.image.parts(|index| contents[index].take(), |purpose| identifier(workspace, purpose));
        let plan = Plan::new(&options, &partitions, &gaps).map_err(|error| self.error(error))?;
        output::write_map(workspace.folder, &plan.extents())?;
        let path = workspace.folder.join(OUTPUT);
        let file = output::create(&path)?;
        let written = watched(workspace, plan.content_bytes(), |progress| plan.write(&file, progress));
        written.map_err(|error| match error {
            WriteError::Output(error) => output::write_error(&path, error),
            WriteError::Cancelled => Error::new(ErrorKind::Interrupted, "interrupted"),
            other => Error::new(ErrorKind::Input, format!("{}: {other}", self.title)),
        })
    }
}

fn describe_partition(partition: &Partition) -> String {
    let Partition { label, kind, size, offset, guid, attributes, active, logical, hybrid, .. } = partition;
    let mut words = vec![format!("{label:?}")];
    let guid_text = |guid: &Option<Guid>| guid.map(|guid| guid.to_string());
    words.extend(guid_text(&kind.guid).map(|guid| format!("type {guid}")));
    words.extend(kind.code.map(|code| format!("code {code:02x}")));
    words.push(match size {
        Size::Content => "as large as its content".to_owned(),
        Size::Bytes(bytes) => format!("size {bytes}"),
        Size::Rest => "size rest".to_owned(),
    });
    words.extend(offset.map(|offset| format!("at {offset}")));
    words.extend(guid_text(guid).map(|guid| format!("guid {guid}")));
    words.extend((*attributes != 0).then(|| format!("attributes {attributes:#x}")));
    words.extend(logical.map(|logical| if logical { "logical".to_owned() } else { "primary".to_owned() }));
    let flags = [(*active, "active"), (*hybrid, "hybrid")];
    words.extend(flags.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned()));
    words.join(", ")
}

/// Returns what an input holds: its zeros as holes, and what means something of it.
fn content(workspace: &Workspace<'_>, given: &Given) -> Result<Content> {
    let path = given.file()?;
    let file = Arc::new(output::open(path)?);
    let cancel = workspace.task.cancel();
    let found = holes::sparse(file, &mut || cancel.check().map_err(std::io::Error::other));
    cancel.check()?;
    let source = found.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    Ok(Content { source: Arc::new(source), mapped: given.map()? })
}

/// Makes an identifier from the step's key: an RFC 9562 UUID of version 8.
fn identifier(workspace: &Workspace<'_>, purpose: &str) -> [u8; 16] {
    let digest: [u8; 32] = sha2::Sha256::digest(format!("{purpose} {}", workspace.key)).into();
    let mut bytes: [u8; 16] = std::array::from_fn(|index| digest[index]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}
