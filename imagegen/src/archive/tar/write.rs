//! Writes a tree as a tar archive: ustar headers, with PAX records only where ustar has no room.
//!
//! Names are sorted, numbers are the tree's, and nothing else goes in: one tree, one sequence of bytes.

use std::io::Write;
use std::ops::Range;

use super::header::{self, BLOCK};
use super::pax;
use crate::archive::{ArchiveError, Problem, holes};
use crate::tree::{Extent, Inode, Kind, Source, Tree};

/// `tar` pads archives to twenty blocks by default.
const RECORD_BYTES: u64 = 20 * BLOCK as u64;
/// How much longer than a file's data its holes may be and still be written as zeros.
const ZEROS_FREE_BYTES: u64 = 64 << 10;
/// How much content is copied at once.
const COPY_BYTES: usize = 128 << 10;

/// How to write a tar archive.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Writes every file with holes in GNU's PAX format 1.0, which `tar` restores with their holes. Else only those
    /// whose holes are longer than their data and 64 KiB, so that no archive is much longer than what it is made of;
    /// the holes of the others are written as zeros, which everybody can read.
    pub sparse: bool,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteSummary {
    /// Members, the root among them.
    pub members: u64,
    /// Sockets, which tar cannot hold and which mean nothing without their process.
    pub sockets_left_out: u64,
    /// Length of the archive.
    pub size_bytes: u64,
}

/// Writes the whole tree, the root as `./`, with two zero blocks and padding at the end.
///
/// # Errors
/// When a source cannot be read or `out` not be written, or a device number has no room in the format.
pub fn write(tree: &Tree, out: &mut dyn Write, options: &WriteOptions) -> Result<WriteSummary, ArchiveError> {
    let mut writer = Writer { out, at: 0, options, buffer: vec![0; COPY_BYTES] };
    let mut summary = WriteSummary::default();
    let mut first_names: Vec<Option<Box<[u8]>>> = vec![None; tree.arena_len()];
    let mut result = Ok(());
    tree.walk(|path, id| {
        if result.is_err() {
            return;
        }
        let inode = tree.inode(id);
        if matches!(inode.kind, Kind::Socket) {
            summary.sockets_left_out += 1;
            return;
        }
        let offset = writer.at;
        let first = &mut first_names[id.index()];
        let written = writer.member(path, inode, first.as_deref());
        first.get_or_insert_with(|| path.into());
        summary.members += 1;
        result = written.map_err(|problem| ArchiveError::new(Some(path), offset, problem));
    });
    result?;
    let offset = writer.at;
    writer.finish().map_err(|problem| ArchiveError::new(None, offset, problem))?;
    summary.size_bytes = writer.at;
    Ok(summary)
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    at: u64,
    options: &'a WriteOptions,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn member(&mut self, path: &[u8], inode: &Inode, first_name: Option<&[u8]>) -> Result<(), Problem> {
        let mut name = if path.is_empty() { b".".to_vec() } else { path.to_vec() };
        let link = match (&inode.kind, first_name) {
            (Kind::Directory(_), _) => {
                name.push(b'/');
                None
            }
            (_, Some(first)) => Some((b'1', first)),
            (Kind::Symlink(target), None) => Some((b'2', &**target)),
            _ => None,
        };
        let mut block = Block::new(&inode.kind);
        let mut records = Vec::new();
        let mut content: Option<(&dyn Source, Option<Vec<u8>>)> = None;
        if let Some((kind, target)) = link {
            block.0[header::TYPE] = kind;
            if !block.text(header::LINK_NAME, target) {
                pax::push_record(&mut records, b"linkpath", target);
            }
        }
        match &inode.kind {
            Kind::File(source) if first_name.is_none() => {
                let (data, hole) = holes::measure(&**source);
                let sparse = self.options.sparse || hole > data.saturating_add(ZEROS_FREE_BYTES);
                let map = if sparse { sparse_map(&source.extents(), source.size_bytes()) } else { None };
                if map.is_some() {
                    pax::push_record(&mut records, b"GNU.sparse.major", b"1");
                    pax::push_record(&mut records, b"GNU.sparse.minor", b"0");
                    pax::push_record(&mut records, b"GNU.sparse.name", &name);
                    let size = source.size_bytes().to_string();
                    pax::push_record(&mut records, b"GNU.sparse.realsize", size.as_bytes());
                    name = in_folder(&name, b"GNUSparseFile.0");
                }
                let stored = match &map {
                    Some(map) => map.len() as u64 + data,
                    None => source.size_bytes(),
                };
                block.number_or_record(header::SIZE, stored, b"size", &mut records);
                content = Some((&**source, map));
            }
            &Kind::CharacterDevice { major, minor } | &Kind::BlockDevice { major, minor } if first_name.is_none() => {
                let fits =
                    block.number(header::DEV_MAJOR, major.into()) && block.number(header::DEV_MINOR, minor.into());
                if !fits {
                    return Err(Problem::Unsupported(
                        format!("the device number {major}:{minor} has no room in a tar header").into(),
                    ));
                }
            }
            _ => {}
        }
        block.metadata(inode, first_name.is_some(), &mut records);
        if !block.name(&name) {
            // The header's own name is for readers without PAX only; a sparse file's real name is in another record.
            if content.as_ref().is_none_or(|(_, map)| map.is_none()) {
                pax::push_record(&mut records, b"path", &name);
            }
            block.text(header::NAME, &name[..100.min(name.len())]);
        }
        self.records(&name, records)?;
        self.put(&block.finish())?;
        match content {
            Some((source, Some(map))) => self.sparse_content(source, &map),
            Some((source, None)) => self.plain_content(source),
            None => Ok(()),
        }
    }

    /// Writes the extended header, if there is anything to say.
    fn records(&mut self, name: &[u8], records: Vec<u8>) -> Result<(), Problem> {
        if records.is_empty() {
            return Ok(());
        }
        let mut block = Block([0; BLOCK]);
        block.0[header::TYPE] = b'x';
        let name = in_folder(name, b"PaxHeaders");
        block.text(header::NAME, &name[..name.len().min(100)]);
        block.number(header::MODE, 0o644);
        for zero in [header::UID, header::GID, header::MTIME] {
            block.number(zero, 0);
        }
        if !block.number(header::SIZE, records.len() as u64) {
            return Err(Problem::Unsupported("the attributes are too long for a tar archive".into()));
        }
        self.put(&block.finish())?;
        self.put(&records)?;
        self.pad()
    }

    fn plain_content(&mut self, source: &dyn Source) -> Result<(), Problem> {
        let mut at = 0;
        for extent in source.extents() {
            self.zeros(extent.offset - at)?;
            self.copy(source, extent)?;
            at = extent.offset + extent.length;
        }
        self.zeros(source.size_bytes() - at)?;
        self.pad()
    }

    fn sparse_content(&mut self, source: &dyn Source, map: &[u8]) -> Result<(), Problem> {
        self.put(map)?;
        for extent in source.extents() {
            self.copy(source, extent)?;
        }
        self.pad()
    }

    fn copy(&mut self, source: &dyn Source, extent: Extent) -> Result<(), Problem> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut done = 0;
        while done < extent.length {
            let length = (extent.length - done).min(COPY_BYTES as u64) as usize;
            source.read_at(extent.offset + done, &mut buffer[..length]).map_err(Problem::Io)?;
            self.put(&buffer[..length])?;
            done += length as u64;
        }
        self.buffer = buffer;
        Ok(())
    }

    fn zeros(&mut self, mut length: u64) -> Result<(), Problem> {
        const ZEROS: [u8; 8192] = [0; 8192];
        while length > 0 {
            let part = length.min(ZEROS.len() as u64);
            self.put(&ZEROS[..part as usize])?;
            length -= part;
        }
        Ok(())
    }

    fn pad(&mut self) -> Result<(), Problem> {
        self.zeros(self.at.next_multiple_of(BLOCK as u64) - self.at)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Problem::Io)
    }

    fn finish(&mut self) -> Result<(), Problem> {
        let end = (self.at + 2 * BLOCK as u64).next_multiple_of(RECORD_BYTES);
        self.zeros(end - self.at)
    }
}

/// Returns the map of a file with holes in whole blocks; nothing for a file without.
fn sparse_map(extents: &[Extent], size: u64) -> Option<Vec<u8>> {
    if extents.iter().map(|extent| extent.length).sum::<u64>() == size {
        return None;
    }
    // An empty piece at the end says where the file ends, as GNU tar writes it when a hole is last.
    let end = extents.last().is_none_or(|last| last.offset + last.length < size);
    let mut map = format!("{}\n", extents.len() + usize::from(end));
    for extent in extents {
        map += &format!("{}\n{}\n", extent.offset, extent.length);
    }
    if end {
        map += &format!("{size}\n0\n");
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    Some(map)
}

/// Puts a folder before the last name of a path: how GNU tar and others name what belongs to a member.
fn in_folder(path: &[u8], folder: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let name_at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    [&path[..name_at], folder, b"/", &path[name_at..]].concat()
}

/// A header block being filled.
struct Block([u8; BLOCK]);

impl Block {
    fn new(kind: &Kind) -> Self {
        let mut block = Block([0; BLOCK]);
        block.0[header::TYPE] = match kind {
            Kind::File(_) => b'0',
            Kind::Symlink(_) => b'2',
            Kind::CharacterDevice { .. } => b'3',
            Kind::BlockDevice { .. } => b'4',
            Kind::Directory(_) => b'5',
            Kind::Fifo | Kind::Socket => b'6',
        };
        block.number(header::SIZE, 0);
        block
    }

    /// Writes a text that may fill its field; says whether it fits.
    fn text(&mut self, field: Range<usize>, text: &[u8]) -> bool {
        let fits = text.len() <= field.len();
        if fits {
            self.0[field.start..field.start + text.len()].copy_from_slice(text);
        }
        fits
    }

    /// Writes a name, split into prefix and name if it must be; says whether it fits.
    fn name(&mut self, name: &[u8]) -> bool {
        if self.text(header::NAME, name) {
            return true;
        }
        // The last slash that leaves a prefix of at most 155 bytes and a name of 1 to 100.
        let fits = |slash: usize| slash <= header::PREFIX.len() && (1..=100).contains(&(name.len() - slash - 1));
        let slash = (1..name.len()).rev().find(|&at| name[at] == b'/' && fits(at));
        slash.is_some_and(|slash| {
            self.text(header::PREFIX, &name[..slash]) && self.text(header::NAME, &name[slash + 1..])
        })
    }

    /// Writes an octal number with a NUL behind; says whether it fits.
    fn number(&mut self, field: Range<usize>, value: u64) -> bool {
        let digits = field.len() - 1;
        let text = format!("{value:0digits$o}");
        text.len() == digits && self.text(field, text.as_bytes())
    }

    /// Writes a number, in a PAX record if the field has no room for it.
    fn number_or_record(&mut self, field: Range<usize>, value: u64, keyword: &[u8], records: &mut Vec<u8>) {
        if !self.number(field.clone(), value) {
            pax::push_record(records, keyword, value.to_string().as_bytes());
            self.number(field, 0);
        }
    }

    fn metadata(&mut self, inode: &Inode, hard_link: bool, records: &mut Vec<u8>) {
        let metadata = &inode.metadata;
        self.number(header::MODE, u64::from(metadata.mode & 0o7777));
        self.number_or_record(header::UID, metadata.uid.into(), b"uid", records);
        self.number_or_record(header::GID, metadata.gid.into(), b"gid", records);
        let seconds = u64::try_from(metadata.mtime.seconds).unwrap_or(u64::MAX);
        if metadata.mtime.nanoseconds != 0 || !self.number(header::MTIME, seconds) {
            pax::push_record(records, b"mtime", pax::format_timestamp(metadata.mtime).as_bytes());
            // Readers without PAX see the nearest time that fits.
            self.number(header::MTIME, if metadata.mtime.seconds < 0 { 0 } else { seconds.min(0o77777777777) });
        }
        // A second name has no attributes of its own.
        for (name, value) in metadata.xattrs.iter().filter(|_| !hard_link) {
            pax::push_record(records, &pax::xattr_keyword(name), value);
        }
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.text(header::MAGIC_VERSION, header::USTAR);
        self.0[header::CHECKSUM].fill(b' ');
        let sum: u64 = self.0.iter().map(|&byte| u64::from(byte)).sum();
        // Six digits, a NUL and the space that is there already.
        self.text(header::CHECKSUM, format!("{sum:06o}\0").as_bytes());
        self.0
    }
}
