//! Walks the members of a tar archive; knows no tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::header::{self, BLOCK, Header};
use super::pax::{self, Pax};
use super::{ReadAt, sparse};
use crate::archive::slice::Segment;
use crate::archive::{ArchiveError, PATH_LENGTH_MAX, Problem};
use crate::tree::{Metadata, Timestamp};

/// The longest extended header: room for every attribute the kernel allows, and for long sparse maps.
const EXTENDED_MAX_BYTES: u64 = 16 << 20;
/// The most that global headers may say in all. Each member gets a copy, so that much would become too much.
const GLOBAL_MAX_BYTES: u64 = 64 << 10;
/// How much is read at once: headers of small members lie close together.
const WINDOW_BYTES: usize = 16 << 10;

/// One member, with everything that extended headers said of it applied.
pub(super) struct Member {
    /// The name as the archive has it.
    pub name: Vec<u8>,
    /// Where its first header starts, from the start of the archive.
    pub offset: u64,
    pub metadata: Metadata,
    pub content: Content,
    /// PAX keywords that were not understood.
    pub ignored: BTreeSet<String>,
}

/// What a member is. Positions are in the file.
pub(super) enum Content {
    Directory,
    File { position: u64, size: u64 },
    Sparse { size: u64, segments: Vec<Segment> },
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// The members of an archive that is the range `start..end` of `bytes`.
pub(super) struct Members<'a, R: ReadAt + ?Sized> {
    pub(super) bytes: Bytes<'a, R>,
    at: u64,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
    global_bytes: u64,
    done: bool,
}

/// The archive as a range of bytes, read through a window.
pub(super) struct Bytes<'a, R: ReadAt + ?Sized> {
    inner: &'a R,
    pub(super) start: u64,
    pub(super) end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<R: ReadAt + ?Sized> Bytes<'_, R> {
    /// Returns the block at `at`; nothing at the end.
    pub(super) fn block(&mut self, at: u64) -> Result<Option<[u8; BLOCK]>, Problem> {
        let mut block = [0; BLOCK];
        match self.fill(at, &mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(Problem::Truncated("a header")),
        }
    }

    /// Reads `length` bytes, which the caller has found to be no more than can be had.
    fn extended(&mut self, at: u64, length: u64) -> Result<Vec<u8>, Problem> {
        if length > self.end.saturating_sub(at) {
            return Err(Problem::Truncated("an extended header"));
        }
        let mut content = vec![0; length as usize];
        if self.fill(at, &mut content)? < content.len() {
            return Err(Problem::Truncated("an extended header"));
        }
        Ok(content)
    }

    /// Fills `buffer` as far as the archive goes and says how far that is.
    fn fill(&mut self, at: u64, buffer: &mut [u8]) -> Result<usize, Problem> {
        let mut filled = 0;
        while filled < buffer.len() {
            let position = at + filled as u64;
            let in_window = position.checked_sub(self.window_at).and_then(|skip| self.window.get(skip as usize..));
            match in_window {
                Some(rest) if !rest.is_empty() => {
                    let count = rest.len().min(buffer.len() - filled);
                    buffer[filled..filled + count].copy_from_slice(&rest[..count]);
                    filled += count;
                }
                _ if position >= self.end => break,
                _ => {
                    let length = (self.end - position).min(WINDOW_BYTES as u64) as usize;
                    self.window.resize(length, 0);
                    let count = self.inner.read_some_at(position, &mut self.window);
                    self.window.truncate(*count.as_ref().unwrap_or(&0));
                    self.window_at = position;
                    match count {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(Problem::Io(error)),
                    }
                }
            }
        }
        Ok(filled)
    }
}

/// What the extended headers before a member say of it.
#[derive(Default)]
struct Extended {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Vec<pax::Record>,
    bytes: u64,
}

impl<'a, R: ReadAt + ?Sized> Members<'a, R> {
    pub fn new(inner: &'a R, start: u64, length: u64) -> Self {
        let end = start.saturating_add(length);
        let bytes = Bytes { inner, start, end, window: Vec::new(), window_at: 0 };
        Members { bytes, at: start, global: BTreeMap::new(), global_bytes: 0, done: false }
    }

    /// Returns the position in the file behind what has been read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Returns the next member; nothing after the last.
    pub fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let offset = self.at - self.bytes.start;
        let mut name = None;
        let result = self.next_member(offset, &mut name);
        if result.is_err() {
            self.done = true;
        }
        result.map_err(|problem| ArchiveError::new(name.as_deref(), offset, problem))
    }

    fn next_member(&mut self, offset: u64, name: &mut Option<Vec<u8>>) -> Result<Option<Member>, Problem> {
        let mut extended = Extended::default();
        loop {
            if self.done {
                return Ok(None);
            }
            let Some(block) = self.bytes.block(self.at)? else {
                return Err(Problem::Truncated("the middle: the two zero blocks at the end are missing"));
            };
            if block == [0; BLOCK] {
                return self.end_of_archive(&extended).map(|()| None);
            }
            let header =
                Header::check(&block).ok_or_else(|| malformed("this is no tar header: its checksum does not match"))?;
            let kind = block[header::TYPE];
            if kind == b'V' {
                // The label of a GNU volume: no file, and no content.
                self.at += BLOCK as u64;
                continue;
            }
            if !matches!(kind, b'x' | b'X' | b'g' | b'L' | b'K') {
                *name = Some(extended.long_name.clone().unwrap_or_else(|| header.path()));
                return self.member(&header, extended, offset, name).map(Some);
            }
            // Its own size is the header's, whatever an `x` before it says about the member to come.
            let size: u64 = header.number(header::SIZE, "size").map_err(malformed)?;
            let (total, limit) = match kind {
                b'g' => (&mut self.global_bytes, GLOBAL_MAX_BYTES),
                _ => (&mut extended.bytes, EXTENDED_MAX_BYTES),
            };
            *total = total.saturating_add(size.max(1));
            if *total > limit {
                return Err(Problem::Unsupported(format!("extended headers of more than {limit} bytes").into()));
            }
            let content = self.bytes.extended(self.at + BLOCK as u64, size)?;
            match kind {
                b'L' => extended.long_name = Some(long_name(&content)?),
                b'K' => extended.long_link = Some(long_name(&content)?),
                b'g' => {
                    let records = pax::records(&content).map_err(malformed)?;
                    // Archivers give them member by member; taken from here, the tree would hold a copy for each of very many members.
                    if records.iter().any(|(keyword, _)| pax::is_xattr(keyword)) {
                        return Err(unsupported(
                            "a global header with extended attributes, for every member behind it",
                        ));
                    }
                    self.global.extend(records);
                }
                _ => extended.records.extend(pax::records(&content).map_err(malformed)?),
            }
            self.at = behind(self.at, size)?;
        }
    }

    fn end_of_archive(&mut self, extended: &Extended) -> Result<(), Problem> {
        if extended.bytes > 0 {
            return Err(malformed("the archive ends after an extended header without its member"));
        }
        self.at += BLOCK as u64;
        match self.bytes.block(self.at)? {
            Some(block) if block != [0; BLOCK] => return Err(malformed("a lone zero block in the middle")),
            Some(_) => self.at += BLOCK as u64,
            None => {}
        }
        self.done = true;
        Ok(())
    }

    fn member(
        &mut self,
        header: &Header<'_>,
        extended: Extended,
        offset: u64,
        name_out: &mut Option<Vec<u8>>,
    ) -> Result<Member, Problem> {
        let mut pax = Pax::default();
        for (keyword, value) in self.global.iter().chain(extended.records.iter().map(|(key, value)| (key, value))) {
            pax.apply(keyword, value).map_err(malformed)?;
        }
        let header_name = extended.long_name.unwrap_or_else(|| header.path());
        let name = pax.sparse.name.take().or(pax.path.take()).unwrap_or(header_name);
        *name_out = Some(name.clone());
        let link = || pax.link_path.clone().or(extended.long_link).unwrap_or(header.text(header::LINK_NAME).to_vec());
        let device = || -> Result<(u32, u32), Problem> {
            Ok((
                number(pax.dev_major, header, header::DEV_MAJOR, "device major number")?,
                number(pax.dev_minor, header, header::DEV_MINOR, "device minor number")?,
            ))
        };
        let header_size = || header.number(header::SIZE, "size").map_err(malformed);
        let stored = pax.size.map_or_else(header_size, Ok);
        let content_at = self.at + BLOCK as u64;
        let mut next = content_at;
        // POSIX: whatever the size field holds, there are no blocks behind these.
        let content = match header.0[header::TYPE] {
            b'1' => Content::HardLink(link()),
            b'2' => Content::Symlink(link()),
            b'3' => device().map(|(major, minor)| Content::CharacterDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| Content::BlockDevice { major, minor })?,
            b'5' => Content::Directory,
            b'6' => Content::Fifo,
            b'S' => {
                let (size, pieces, content_at) = sparse::old_gnu(&mut self.bytes, header, self.at)?;
                let stored = stored?;
                next = self.content_end(content_at, stored)?;
                sparse::content(&pieces, size, content_at, stored)?
            }
            b'M' => return Err(unsupported("a file continued from another volume")),
            b'N' => return Err(unsupported("a GNU list of names from before 1992")),
            kind => {
                let stored = stored?;
                next = self.content_end(content_at, stored)?;
                match kind {
                    // What an incremental dump says of a folder's names.
                    b'D' => Content::Directory,
                    // Before POSIX there was no other way to say that it is a folder.
                    _ if name.ends_with(b"/") => Content::Directory,
                    _ => sparse::pax_content(&mut self.bytes, &pax.sparse, content_at, stored)?,
                }
            }
        };
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Timestamp { seconds: header.number(header::MTIME, "time").map_err(malformed)?, nanoseconds: 0 },
        };
        let metadata = Metadata {
            uid: number(pax.uid, header, header::UID, "user")?,
            gid: number(pax.gid, header, header::GID, "group")?,
            mode: (header.number::<i64>(header::MODE, "mode").map_err(malformed)? & 0o7777) as u16,
            mtime,
            xattrs: pax.xattrs,
        };
        self.at = next;
        Ok(Member { name, offset, metadata, content, ignored: pax.ignored })
    }

    /// Checks that content of `size` bytes is there and returns where the next header is.
    fn content_end(&self, content_at: u64, size: u64) -> Result<u64, Problem> {
        match content_at.checked_add(size) {
            // Blocks count from the start of the archive, which may be anywhere in the file.
            Some(end) if end <= self.bytes.end => Ok(content_at.saturating_add(size.next_multiple_of(BLOCK as u64))),
            _ => Err(Problem::Truncated("the content of this member")),
        }
    }
}

/// Returns a number from a PAX record, else from the header.
fn number(record: Option<u32>, header: &Header<'_>, field: Range<usize>, name: &str) -> Result<u32, Problem> {
    record.map_or_else(|| header.number(field, name).map_err(malformed), Ok)
}

/// Returns where the header behind this one and its content is.
fn behind(at: u64, size: u64) -> Result<u64, Problem> {
    let blocks = size.checked_next_multiple_of(BLOCK as u64).and_then(|size| size.checked_add(BLOCK as u64));
    blocks.and_then(|length| at.checked_add(length)).ok_or_else(|| malformed("a size is out of range"))
}

/// Returns the name in a GNU long-name member.
fn long_name(content: &[u8]) -> Result<Vec<u8>, Problem> {
    let name = header::until_nul(content);
    if name.len() > PATH_LENGTH_MAX {
        return Err(unsupported("a name of more than 4095 bytes"));
    }
    Ok(name.to_vec())
}

pub(super) fn malformed(reason: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::Malformed(reason.into())
}

fn unsupported(reason: &'static str) -> Problem {
    Problem::Unsupported(reason.into())
}
