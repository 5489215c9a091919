//! cpio archives in the "newc" format, which Linux takes as initramfs: written from a tree, and read.
//!
//! Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
//!
//! ```text
//! magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check   (8 hex digits each)
//! name NUL, padded to 4 | content, padded to 4
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use super::slice::FileSlice;
use super::{ArchiveError, PATH_LENGTH_MAX, Problem, ReadOptions, Summary, clean_name, holes};
use crate::tree::{Inode, InodeId, Kind, Metadata, PATH_MAX, Source, Timestamp, Tree};

/// Magic and 13 fields.
const HEADER_BYTES: usize = 6 + 13 * 8;
const TRAILER: &[u8] = b"TRAILER!!!";
/// `cpio` pads archives to this, and the kernel finds the next archive behind any number of zeros.
const BLOCK_BYTES: u64 = 512;
const COPY_BYTES: u64 = 128 << 10;

/// How much longer than all data all holes may be: the format has only zeros for them.
const ZEROS_FREE_BYTES: u64 = 64 << 20;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteSummary {
    /// Members, the root among them, the trailer not.
    pub members: u64,
    /// Files whose extended attributes are lost: the format has no place for them.
    pub without_attributes: u64,
    /// Length of the archive, padding included. A multiple of 512: another archive may follow.
    pub size_bytes: u64,
}

/// Writes the whole tree as one newc archive, the root as `.`, names sorted, inodes numbered from 1 as they come.
///
/// Of several names of a file the last carries the content, as GNU cpio writes and expects it. Times before 1970 and
/// after 2106 become the nearest that fits, and fractions of a second are cut off.
///
/// # Errors
/// A file of 4 GiB or more, holes of which there are 64 MiB more than data, a source that cannot be read, an `out` that cannot be written.
pub fn write(tree: &Tree, out: &mut dyn Write) -> Result<WriteSummary, ArchiveError> {
    let mut names_of = vec![0u32; tree.arena_len()];
    let (mut data, mut zeros) = (0u64, 0u64);
    tree.walk(|_, id| {
        names_of[id.index()] += 1;
        if let (Kind::File(source), 1) = (&tree.inode(id).kind, names_of[id.index()]) {
            data = data.saturating_add(holes::measure(&**source).0);
        }
    });
    let mut writer = Writer { out, at: 0 };
    let mut summary = WriteSummary::default();
    let mut numbers = vec![0u32; tree.arena_len()];
    let mut names_left = names_of.clone();
    let (mut last_number, mut result) = (0, Ok(()));
    tree.walk(|path, id| {
        if result.is_err() {
            return;
        }
        let (inode, index, offset) = (tree.inode(id), id.index(), writer.at);
        if numbers[index] == 0 {
            last_number += 1;
            numbers[index] = last_number;
            summary.without_attributes += u64::from(!inode.metadata.xattrs.is_empty());
        }
        names_left[index] -= 1;
        summary.members += 1;
        if let (Kind::File(source), 0) = (&inode.kind, names_left[index]) {
            zeros = zeros.saturating_add(holes::measure(&**source).1);
        }
        let links = match &inode.kind {
            // A folder's links are its own two names and the `..` of those in it.
            Kind::Directory(_) => 2 + folders_in(tree, id),
            _ => names_of[index],
        };
        let written = match zeros > data.saturating_add(ZEROS_FREE_BYTES) {
            false => writer.member(path, inode, numbers[index], links, names_left[index] == 0),
            true => Err(too_many_zeros(inode, data, zeros)),
        };
        result = written.map_err(|problem| ArchiveError::new(Some(path), offset, problem));
    });
    result?;
    let offset = writer.at;
    writer.finish().map_err(|problem| ArchiveError::new(None, offset, problem))?;
    summary.size_bytes = writer.at;
    Ok(summary)
}

/// Makes the error of a file with which there are too many holes, or that is too long anyway.
fn too_many_zeros(inode: &Inode, data: u64, zeros: u64) -> Problem {
    match &inode.kind {
        Kind::File(source) if source.size_bytes() > u32::MAX.into() => too_long(),
        _ => Problem::Unsupported(
            format!(
                "the files so far have holes of {zeros} bytes, which a cpio archive holds as zeros, for {data} bytes of \
                 data in all: too many"
            )
            .into(),
        ),
    }
}

fn too_long() -> Problem {
    Problem::Unsupported("the file has 4 GiB or more: too long for a cpio archive".into())
}

fn folders_in(tree: &Tree, id: InodeId) -> u32 {
    tree.entries(id).filter(|(_, child)| matches!(tree.inode(*child).kind, Kind::Directory(_))).count() as u32
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    at: u64,
}

impl Writer<'_> {
    fn member(&mut self, path: &[u8], inode: &Inode, number: u32, links: u32, last: bool) -> Result<(), Problem> {
        let metadata = &inode.metadata;
        let (major, minor) = match inode.kind {
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => (major, minor),
            _ => (0, 0),
        };
        let size = match &inode.kind {
            Kind::File(source) if last => source.size_bytes(),
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let size = u32::try_from(size).map_err(|_| too_long())?;
        let mode = u32::from(inode.kind.mode_bits() | metadata.mode & 0o7777);
        let mtime = metadata.mtime.seconds.clamp(0, u32::MAX.into()) as u32;
        let name = if path.is_empty() { b"." } else { path };
        self.header([number, mode, metadata.uid, metadata.gid, links, mtime, size, 0, 0, major, minor], name)?;
        match &inode.kind {
            Kind::Symlink(target) => self.put(target)?,
            Kind::File(source) if last => {
                let mut buffer = vec![0; COPY_BYTES.min(size.into()) as usize];
                let mut done = 0;
                while done < u64::from(size) {
                    let length = COPY_BYTES.min(u64::from(size) - done);
                    let part = &mut buffer[..length as usize];
                    source.read_at(done, part).map_err(Problem::Io)?;
                    self.put(part)?;
                    done += length;
                }
            }
            _ => {}
        }
        self.pad(4)
    }

    fn header(&mut self, fields: [u32; 11], name: &[u8]) -> Result<(), Problem> {
        let mut header = String::with_capacity(HEADER_BYTES);
        header.push_str("070701");
        for field in fields.into_iter().chain([name.len() as u32 + 1, 0]) {
            header.push_str(&format!("{field:08x}"));
        }
        self.put(header.as_bytes())?;
        self.put(name)?;
        self.put(&[0])?;
        self.pad(4)
    }

    fn pad(&mut self, alignment: u64) -> Result<(), Problem> {
        let length = self.at.next_multiple_of(alignment) - self.at;
        self.put(&[0; BLOCK_BYTES as usize][..length as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Problem::Io)
    }

    fn finish(&mut self) -> Result<(), Problem> {
        self.header([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], TRAILER)?;
        self.pad(BLOCK_BYTES)
    }
}

/// A header's fields, in their order.
struct Header {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    filesize: u32,
    device: (u32, u32),
    rdev: (u32, u32),
    namesize: u32,
    check: Option<u32>,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Problem> {
        let checked = match &bytes[..6] {
            b"070701" => false,
            b"070702" => true,
            b"070707" => return Err(Problem::Unsupported("the old portable cpio format".into())),
            _ => return Err(malformed("this is no newc header")),
        };
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(bytes[6..].chunks_exact(8)) {
            // `from_str_radix` alone would take a sign.
            let text =
                std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let value = text.and_then(|text| u32::from_str_radix(text, 16).ok());
            *field = value.ok_or_else(|| malformed("a header's field is no number"))?;
        }
        let [ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check] =
            fields;
        let (device, rdev) = ((devmajor, devminor), (rdevmajor, rdevminor));
        let check = checked.then_some(check);
        Ok(Header { ino, mode, uid, gid, nlink, mtime, filesize, device, rdev, namesize, check })
    }
}

/// Puts the members of an uncompressed newc archive, and of those that follow it in the file, into a tree.
///
/// Stops behind the last trailer and its padding: if [`Summary::end`] is less than the file's length, something else
/// starts there, a compressed initramfs behind early microcode for example.
///
/// # Errors
/// Names the member and its offset: a broken or truncated archive, a name with `..`, a file in place of a folder.
pub fn read_into(tree: &mut Tree, file: &Arc<File>, options: &ReadOptions) -> Result<Summary, ArchiveError> {
    let end = file.metadata().map_err(|error| ArchiveError::new(None, 0, Problem::Io(error)))?.len();
    let mut reader = Reader { file, at: 0, end, tree, options, links: HashMap::new(), summary: Summary::default() };
    loop {
        let offset = reader.at;
        let mut name = None;
        let more = reader.member(&mut name);
        let more = more.map_err(|problem| ArchiveError::new(name.as_deref(), offset, problem))?;
        if !more && !reader.another_archive().map_err(|problem| ArchiveError::new(None, offset, problem))? {
            return Ok(reader.summary);
        }
    }
}

struct Reader<'a> {
    file: &'a Arc<File>,
    at: u64,
    end: u64,
    tree: &'a mut Tree,
    options: &'a ReadOptions,
    /// The files with several names, by device and inode.
    links: HashMap<FileKey, Linked>,
    summary: Summary,
}

/// A file's device, major and minor number, and inode.
type FileKey = (u32, u32, u32);

/// A file with several names, of which the options may leave out some: also the one that brings the content.
struct Linked {
    /// Where it was put, if any of its names was taken yet.
    placed: Option<Vec<u8>>,
    content: Arc<LateContent>,
}

/// Content that comes with any of a file's names: empty until it has come.
#[derive(Default)]
struct LateContent(OnceLock<FileSlice>);

impl Source for LateContent {
    fn size_bytes(&self) -> u64 {
        self.0.get().map_or(0, FileSlice::size_bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.0.get() {
            Some(slice) => slice.read_at(offset, buffer),
            None if buffer.is_empty() && offset == 0 => Ok(()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        self.0.get()?.file_at(offset)
    }
}

impl Reader<'_> {
    /// Reads one member; says whether it was one, and not the trailer.
    fn member(&mut self, name_out: &mut Option<Vec<u8>>) -> Result<bool, Problem> {
        let mut bytes = [0; HEADER_BYTES];
        self.take(&mut bytes, "a header")?;
        let header = Header::parse(&bytes)?;
        if header.namesize as usize > PATH_LENGTH_MAX + 1 || header.namesize == 0 {
            return Err(malformed("a name's length is not 1 to 4096"));
        }
        let mut name = vec![0; header.namesize as usize];
        self.take(&mut name, "a name")?;
        if name.pop() != Some(0) {
            return Err(malformed("a name does not end with a NUL"));
        }
        self.align("a name")?;
        *name_out = Some(name.clone());
        let content_at = self.at;
        if u64::from(header.filesize) > self.end - content_at {
            return Err(Problem::Truncated("the content of this member"));
        }
        self.at += u64::from(header.filesize);
        if name == TRAILER {
            self.align("the trailer").ok();
            self.links.clear();
            self.summary.end = self.at;
            return Ok(false);
        }
        self.align("the content of this member")?;
        self.check(&header, content_at)?;
        self.place(&name, &header, content_at)?;
        Ok(true)
    }

    fn place(&mut self, name: &[u8], header: &Header, content_at: u64) -> Result<(), Problem> {
        let name = clean_name(name)?;
        let size = u64::from(header.filesize);
        let slice = FileSlice::new(self.file.clone(), content_at, size);
        let key = (header.device.0, header.device.1, header.ino);
        let linked = (header.nlink > 1 && header.mode & 0o170000 != 0o040000).then(|| {
            let linked = self.links.entry(key).or_insert_with(|| Linked { placed: None, content: Arc::default() });
            // The content counts whether this name of the file is taken or not.
            if size > 0 && header.mode & 0o170000 == 0o100000 {
                linked.content.0.get_or_init(|| slice.clone());
            }
            linked
        });
        let Some(path) = self.options.place(&name).filter(|_| self.options.selects(&name)) else {
            self.summary.left_out += 1;
            return Ok(());
        };
        if let Some(first) = linked.as_ref().and_then(|linked| linked.placed.as_ref()) {
            self.tree.link(first, &path).map_err(Problem::Path)?;
            self.summary.taken += 1;
            return Ok(());
        }
        let (uid, gid) = self.options.owner.unwrap_or((header.uid, header.gid));
        let mtime = Timestamp { seconds: header.mtime.into(), nanoseconds: 0 };
        let metadata = Metadata { uid, gid, mode: (header.mode & 0o7777) as u16, mtime, xattrs: Default::default() };
        let (major, minor) = header.rdev;
        let kind = match header.mode & 0o170000 {
            0o010000 => Kind::Fifo,
            0o020000 => Kind::CharacterDevice { major, minor },
            0o040000 => Kind::Directory(Default::default()),
            0o060000 => Kind::BlockDevice { major, minor },
            0o100000 => match &linked {
                Some(linked) => Kind::File(linked.content.clone()),
                None => Kind::File(Arc::new(slice)),
            },
            0o120000 => {
                let mut target = vec![0; header.filesize.min(PATH_MAX as u32) as usize];
                self.file.read_exact_at(&mut target, content_at).map_err(Problem::Io)?;
                Kind::Symlink(target.into())
            }
            0o140000 => Kind::Socket,
            _ => return Err(malformed(format!("the mode {:o} says no kind of file", header.mode))),
        };
        self.tree.insert(&path, kind, metadata).map_err(Problem::Path)?;
        if let Some(linked) = linked {
            linked.placed = Some(path);
        }
        self.summary.taken += 1;
        Ok(())
    }

    /// Compares the sum of the content's bytes where the format has one.
    fn check(&self, header: &Header, content_at: u64) -> Result<(), Problem> {
        let Some(expected) = header.check.filter(|_| header.mode & 0o170000 == 0o100000) else { return Ok(()) };
        let (mut sum, mut at, end) = (0u32, content_at, content_at + u64::from(header.filesize));
        let mut buffer = vec![0; COPY_BYTES.min(end - at) as usize];
        while at < end {
            let part = &mut buffer[..COPY_BYTES.min(end - at) as usize];
            self.file.read_exact_at(part, at).map_err(Problem::Io)?;
            sum = part.iter().fold(sum, |sum, &byte| sum.wrapping_add(byte.into()));
            at += part.len() as u64;
        }
        if sum == expected || header.filesize == 0 { Ok(()) } else { Err(malformed("the content's sum is wrong")) }
    }

    /// Passes over zeros; says whether another archive follows.
    fn another_archive(&mut self) -> Result<bool, Problem> {
        let mut buffer = [0; 4096];
        while self.at < self.end {
            let length = (self.end - self.at).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..length], self.at).map_err(Problem::Io)?;
            if let Some(skip) = buffer[..length].iter().position(|&byte| byte != 0) {
                self.at += skip as u64;
                self.summary.end = self.at;
                let mut magic = [0; 6];
                let whole = self.end - self.at >= 6 && self.file.read_exact_at(&mut magic, self.at).is_ok();
                return Ok(whole && matches!(&magic, b"070701" | b"070702"));
            }
            self.at += length as u64;
        }
        self.summary.end = self.end;
        Ok(false)
    }

    fn take(&mut self, buffer: &mut [u8], what: &'static str) -> Result<(), Problem> {
        if (buffer.len() as u64) > self.end - self.at {
            return Err(Problem::Truncated(what));
        }
        self.file.read_exact_at(buffer, self.at).map_err(Problem::Io)?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn align(&mut self, what: &'static str) -> Result<(), Problem> {
        let next = self.at.next_multiple_of(4);
        if next > self.end {
            return Err(Problem::Truncated(what));
        }
        self.at = next;
        Ok(())
    }
}

fn malformed(reason: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::Malformed(reason.into())
}
