//! The image to flash: plain or compressed, with holes or a block map; read once from front to back, and the parts that
//! are needed again, again.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imagegen::decompress::{self, Compression};
use imagegen::disk::bmap::{self, Bmap};
use imagegen::disk::grow::{Growth, Patch, grow};
use imagegen::disk::table::Table;
use rustix::fs::{SeekFrom, seek};

use super::chunk::{ALIGNMENT, Buffer, HEAD_BYTES, Piece, between, boundary, join, pieces};
use super::contents::Contents;
use super::sums::Sums;
use crate::error::{Error, Kind, Result};
use crate::task::Cancel;

/// Gaps between mapped ranges up to this are written, too: that costs less than beginning anew.
const GAP_BYTES: u64 = 16 << 10;
/// How much is decompressed at once where it is only passed over.
const SKIP_BYTES: usize = 256 << 10;

/// Which block map to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MapChoice {
    /// The one beside the image, if there is one.
    Beside,
    /// This one.
    File(PathBuf),
    /// None.
    Ignore,
}

/// What an image asks of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Bytes, at least.
    pub bytes: u64,
    /// The sectors in which its table counts.
    pub sector_bytes: Option<u32>,
}

/// An image, opened and understood.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    file: File,
    compression: Compression,
    /// The length, where it is known before the end is reached.
    size: Option<u64>,
    /// The map, and from where it is.
    bmap: Option<(PathBuf, Bmap)>,
    /// What matters, aligned; not known of a compressed image without a map.
    data: Option<Vec<Range<u64>>>,
    /// Whether what lies between has to read as zeros.
    clear_holes: bool,
    contents: Contents,
    /// Edits, in ascending order.
    patches: Vec<Patch>,
    /// How much of an image without a map had been read when its end came.
    head: Vec<u8>,
}

/// Which parts to read.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// All that matters.
    All,
    /// These, in ascending order.
    These(&'a [Piece]),
}

/// Takes pieces of an image; gives an empty buffer for the next.
pub trait Sink {
    /// Returns memory for the next piece.
    ///
    /// # Errors
    /// Nobody wants more.
    fn buffer(&mut self) -> Result<Buffer>;
    /// Takes a piece. The bytes of one that is zeros are not filled in.
    ///
    /// # Errors
    /// Nobody wants more.
    fn piece(&mut self, piece: Piece, buffer: Buffer) -> Result<()>;
}

impl Image {
    /// Opens an image, reads its head and its block map.
    ///
    /// # Errors
    /// It cannot be read, is no image, is shorter than its partition table or map says, or the map cannot be believed.
    pub fn open(path: &Path, choice: &MapChoice, leave_holes: bool) -> Result<Image> {
        let shown = path.display();
        let failed = |error| Error::io(format!("cannot read {shown}"), error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::new(Kind::Usage, format!("{shown} is not a file: IMAGE is one")));
        }
        if metadata.len() == 0 {
            return Err(Error::new(Kind::Input, format!("{shown} is empty")));
        }
        let mut start = vec![0; metadata.len().min(8 << 10) as usize];
        file.read_exact_at(&mut start, 0).map_err(failed)?;
        refuse_other_files(path, &start)?;
        let mut image = Image {
            path: path.into(),
            compression: Compression::detect(&start),
            size: None,
            bmap: None,
            data: None,
            clear_holes: false,
            contents: Contents::default(),
            patches: Vec::new(),
            head: Vec::new(),
            file,
        };
        image.bmap = find_map(path, choice)?;
        let plain = image.compression == Compression::Plain;
        let file_bytes = plain.then_some(metadata.len());
        image.size = file_bytes.or(image.bmap.as_ref().map(|(_, map)| map.image_bytes));
        if let (Some(file_bytes), Some((map, Bmap { image_bytes, .. }))) = (file_bytes, &image.bmap)
            && file_bytes != *image_bytes
        {
            let short = if file_bytes < *image_bytes { ": it is truncated, or the map of another" } else { "" };
            let message = format!("{shown} has {file_bytes} bytes, but {} is for {image_bytes}{short}", map.display());
            return Err(Error::new(Kind::Input, message).hint("--no-bmap flashes it without the map"));
        }
        image.look(metadata.len())?;
        image.data = match &image.bmap {
            Some((_, map)) => Some(map.mapped.iter().map(|mapped| mapped.range.clone()).collect()),
            None if plain => Some(data_ranges(&image.file, metadata.len()).map_err(failed)?),
            None => None,
        };
        let end = image.size.unwrap_or(u64::MAX);
        image.data = image.data.map(|data| join(data, GAP_BYTES, end));
        image.clear_holes = image.bmap.is_none() && !leave_holes;
        Ok(image)
    }

    /// Reads the partition table, and compares with it the length, where that is known.
    fn look(&mut self, file_bytes: u64) -> Result<()> {
        let mut head = vec![0; HEAD_BYTES as usize];
        let filled = if self.compression == Compression::Plain {
            let length = file_bytes.min(HEAD_BYTES) as usize;
            self.file.read_exact_at(&mut head[..length], 0).map_err(|error| self.unreadable(error))?;
            length
        } else {
            fill(&mut self.decoder()?, &mut head).map_err(|error| self.unreadable(error))?
        };
        head.truncate(filled);
        if filled == 0 {
            return Err(Error::new(Kind::Input, format!("{} holds nothing", self.path.display())));
        }
        if filled < HEAD_BYTES as usize {
            self.size = Some(self.size.unwrap_or(filled as u64));
        }
        self.head = head;
        // Of a compressed image only the head is looked at here; what lies deeper is unknown.
        let bytes = self.size.unwrap_or(1 << 60);
        let plain = self.compression == Compression::Plain;
        let contents = Contents::of(
            &mut |at, buffer| {
                let end = at + buffer.len() as u64;
                match self.head.get(at as usize..end as usize) {
                    Some(bytes) => buffer.copy_from_slice(bytes),
                    None if plain => self.file.read_exact_at(buffer, at)?,
                    None => return Err(std::io::ErrorKind::Unsupported.into()),
                }
                Ok(())
            },
            "",
            bytes,
        );
        let path = self.path.display();
        self.contents = match contents {
            Ok(contents) => contents,
            // Logical partitions of a compressed image.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Contents::default(),
            Err(error) => return Err(self.unreadable(error)),
        };
        if let Some(damage) = &self.contents.damage {
            return Err(Error::new(Kind::Input, format!("{path}: its partition table is damaged: {damage}")));
        }
        if let (Some(size), Some(table)) = (self.size, &self.contents.table)
            && table.end_bytes > size
        {
            return Err(truncated(&self.path, size, table.end_bytes));
        }
        Ok(())
    }

    /// Returns its path, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how it is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns its length, if that is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns the block map in use.
    pub fn bmap(&self) -> Option<&Path> {
        self.bmap.as_ref().map(|(path, _)| path.as_path())
    }

    /// Returns what is in it, as far as that is known beforehand.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Returns what it asks of a device.
    pub fn needs(&self) -> Needs {
        let table = self.contents.table.as_ref();
        let bytes = self.size.unwrap_or(0).max(table.map_or(0, |table| table.end_bytes)).max(self.head.len() as u64);
        Needs { bytes, sector_bytes: table.map(|table| table.sector_bytes as u32) }
    }

    /// Returns how many bytes are to be written and read back, if that is known: content, and holes.
    pub fn amounts(&self) -> Option<(u64, u64)> {
        let data: u64 = self.data.as_ref()?.iter().map(|range| range.end - range.start).sum();
        let holes = self.holes().iter().map(|range| range.end - range.start).sum();
        Some((data, holes))
    }

    /// Changes the image, as it will be written, so that its last partition ends with a device of this size.
    ///
    /// # Errors
    /// It has no partition, or one that cannot grow.
    pub fn grow(&mut self, device_bytes: u64) -> Result<Growth> {
        let path = self.path.display();
        let nothing = || Error::new(Kind::Usage, format!("{path}: there is no partition table, so nothing can grow"));
        let table: &Table = self.contents.table.as_ref().ok_or_else(nothing)?;
        let growth = grow(&mut |at, buffer| self.read_again(at, buffer), table, device_bytes)
            .map_err(|error| Error::new(Kind::Input, format!("{path}: its last partition cannot grow: {error}")))?;
        let mut patches = growth.patches.clone();
        patches.sort_by_key(|patch| patch.offset);
        if let Some(data) = self.data.take() {
            let touched = patches.iter().map(|patch| patch.offset..patch.offset + patch.bytes.len() as u64);
            self.data = Some(join(data.into_iter().chain(touched).collect(), 0, device_bytes));
        }
        self.patches = patches;
        Ok(growth)
    }

    /// Reads what may lie anywhere in the image, however long that takes.
    fn read_again(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        if self.compression == Compression::Plain {
            return self.file.read_exact_at(buffer, at);
        }
        let mut decoder = self.decoder().map_err(std::io::Error::other)?;
        std::io::copy(&mut (&mut decoder).take(at), &mut std::io::sink())?;
        decoder.read_exact(buffer)
    }

    /// Returns what has to read as zeros, where that is known before.
    fn holes(&self) -> Vec<Range<u64>> {
        match (&self.data, self.size, self.clear_holes) {
            (Some(data), Some(size), true) => between(data, size),
            _ => Vec::new(),
        }
    }

    /// Reads parts of the image in ascending order. With everything, checksums are compared, and that the image ends
    /// where it should.
    ///
    /// # Errors
    /// The image cannot be read, is truncated or corrupt; what the sink says; the interruption.
    pub fn read(&self, which: Which<'_>, cancel: &Cancel, sink: &mut dyn Sink) -> Result<()> {
        match (which, &self.data) {
            (Which::All, None) => self.stream_all(cancel, sink),
            (Which::All, Some(data)) => {
                let holes = self.holes();
                let data = data.iter().map(|range| (range, false));
                let mut ranges: Vec<_> = data.chain(holes.iter().map(|range| (range, true))).collect();
                ranges.sort_by_key(|(range, _)| range.start);
                let all: Vec<Piece> =
                    ranges.into_iter().flat_map(|(range, zeros)| pieces(range.clone(), zeros)).collect();
                let mut sums = self.bmap.as_ref().map(|(path, map)| Sums::new(&self.path, path, &map.mapped));
                self.read_pieces(&all, cancel, sink, sums.as_mut(), true)?;
                sums.map_or(Ok(()), Sums::finish)
            }
            (Which::These(pieces), _) => self.read_pieces(pieces, cancel, sink, None, false),
        }
    }

    fn read_pieces(
        &self,
        pieces: &[Piece],
        cancel: &Cancel,
        sink: &mut dyn Sink,
        mut sums: Option<&mut Sums<'_>>,
        to_the_end: bool,
    ) -> Result<()> {
        let plain = self.compression == Compression::Plain;
        let mut decoder = if plain { None } else { Some(self.decoder()?) };
        // Where the decoder is.
        let mut at = 0;
        for piece in pieces {
            cancel.check()?;
            let mut buffer = sink.buffer()?;
            if !piece.zeros {
                let bytes = &mut buffer.bytes_mut()[..piece.length];
                let filled = match &mut decoder {
                    None => self.read_plain(piece.offset, bytes)?,
                    Some(decoder) => {
                        at += self.skip(decoder, piece.offset - at, cancel)?;
                        let filled = fill(decoder, bytes).map_err(|error| self.unreadable(error))?;
                        at += filled as u64;
                        filled
                    }
                };
                self.expect_length(piece.offset + filled as u64, piece.end())?;
                bytes[filled..].fill(0);
                if let Some(sums) = &mut sums {
                    sums.feed(piece.offset, bytes)?;
                }
                self.patch(piece.offset, bytes);
            }
            sink.piece(*piece, buffer)?;
        }
        if let Some(decoder) = &mut decoder
            && to_the_end
        {
            at += self.skip(decoder, u64::MAX, cancel)?;
            self.expect_length(at, u64::MAX)?;
            if let Some(size) = self.size.filter(|size| *size != at) {
                let message = format!("{} holds {at} bytes, but {size} were expected", self.path.display());
                return Err(Error::new(Kind::Input, message));
            }
        }
        Ok(())
    }

    /// Reads a compressed image of which nothing is known but what comes.
    fn stream_all(&self, cancel: &Cancel, sink: &mut dyn Sink) -> Result<()> {
        let mut decoder = self.decoder()?;
        let mut at = 0;
        loop {
            cancel.check()?;
            let mut buffer = sink.buffer()?;
            let room = (boundary(at) - at) as usize;
            let bytes = &mut buffer.bytes_mut()[..room];
            let filled = fill(&mut decoder, bytes).map_err(|error| self.unreadable(error))?;
            if filled > 0 {
                let bytes = &mut bytes[..filled];
                let patched = self.patch(at, bytes);
                let zeros = at > 0 && !patched && is_zero(bytes);
                sink.piece(Piece { offset: at, length: filled, zeros }, buffer)?;
            }
            at += filled as u64;
            if filled < room {
                break;
            }
        }
        self.expect_length(at, u64::MAX)?;
        self.patches_behind(at, sink)
    }

    /// Writes the edits that lie behind the end of the image.
    fn patches_behind(&self, end: u64, sink: &mut dyn Sink) -> Result<()> {
        let whole = |patch: &Patch| patch.offset..patch.offset + patch.bytes.len() as u64;
        let behind: Vec<Range<u64>> = (self.patches.iter())
            .map(whole)
            .map(|range| range.start.max(end)..range.end)
            .filter(|r| !r.is_empty())
            .collect();
        if !end.is_multiple_of(512) && !behind.is_empty() {
            let message = format!("{} does not end with a sector: it cannot grow", self.path.display());
            return Err(Error::new(Kind::Input, message));
        }
        for piece in behind.into_iter().flat_map(|range| pieces(range, false)) {
            let mut buffer = sink.buffer()?;
            let bytes = &mut buffer.bytes_mut()[..piece.length];
            bytes.fill(0);
            self.patch(piece.offset, bytes);
            sink.piece(piece, buffer)?;
        }
        Ok(())
    }

    /// Puts the edits into bytes that stand at an offset; says whether there were any.
    fn patch(&self, offset: u64, bytes: &mut [u8]) -> bool {
        let mut any = false;
        let end = offset + bytes.len() as u64;
        for patch in &self.patches {
            let (from, to) = (patch.offset.max(offset), (patch.offset + patch.bytes.len() as u64).min(end));
            if from < to {
                let source = &patch.bytes[(from - patch.offset) as usize..(to - patch.offset) as usize];
                bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
                any = true;
            }
        }
        any
    }

    fn read_plain(&self, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
        Ok(filled)
    }

    /// Passes over so many decompressed bytes, or to the end; returns how many there were.
    fn skip(&self, decoder: &mut dyn Read, length: u64, cancel: &Cancel) -> Result<u64> {
        let mut buffer = vec![0; SKIP_BYTES];
        let mut skipped = 0;
        while skipped < length {
            cancel.check()?;
            let wanted = (length - skipped).min(SKIP_BYTES as u64) as usize;
            let count = fill(decoder, &mut buffer[..wanted]).map_err(|error| self.unreadable(error))?;
            skipped += count as u64;
            if count < wanted {
                break;
            }
        }
        Ok(skipped)
    }

    /// Fails if the image ended here although more was to come: up to `wanted`, or all that it speaks of.
    fn expect_length(&self, ended: u64, wanted: u64) -> Result<()> {
        let least = wanted.min(self.needs().bytes);
        if ended < least { Err(truncated(&self.path, ended, self.needs().bytes)) } else { Ok(()) }
    }

    fn decoder(&self) -> Result<decompress::Reader<'static>> {
        let failed = |error| Error::io(format!("cannot read {}", self.path.display()), error);
        let file = File::open(&self.path).map_err(failed)?;
        decompress::reader(Box::new(BufReader::with_capacity(1 << 20, file))).map_err(failed)
    }

    fn unreadable(&self, error: std::io::Error) -> Error {
        let path = self.path.display();
        match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                Error::new(Kind::Input, path.to_string()).caused_by(error)
            }
            _ => Error::io(format!("cannot read {path}"), error),
        }
    }
}

fn truncated(path: &Path, has: u64, wanted: u64) -> Error {
    let message = format!("{} is truncated: it ends after {has} bytes, but speaks of {wanted}", path.display());
    Error::new(Kind::Input, message)
}

/// Reads until the memory is full or the stream ends.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Says whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // A comparison of slices is one of the library's fastest loops.
    let zeros = [0; ALIGNMENT];
    bytes.chunks(ALIGNMENT).all(|chunk| *chunk == zeros[..chunk.len()])
}

/// Refuses what people give by mistake in place of an image.
fn refuse_other_files(path: &Path, start: &[u8]) -> Result<()> {
    let path = path.display();
    let other = |what: &str, hint: &str| Err(Error::new(Kind::Input, format!("{path} is {what}")).hint(hint));
    if bmap::is_bmap(start) {
        return other("a block map, not an image", "give the image; a map beside it is found");
    }
    match start {
        [0x7f, b'E', b'L', b'F', ..] => other("an ELF program, not a disk's image", "it is for `xenbuild run`"),
        [b'Q', b'F', b'I', 0xfb, ..] => other("a qcow2 image", "`qemu-img convert -O raw` makes a plain one"),
        [0x3a, 0xff, 0x26, 0xed, ..] => other("an Android sparse image", "`simg2img` makes a plain one"),
        [b'P', b'K', 3, 4, ..] => other("a zip archive", "unpack it first"),
        [0x04, 0x22, 0x4d, 0x18, ..] => other("compressed with lz4", "unpack it first: `lz4 -d`"),
        _ => Ok(()),
    }
}

/// Finds and reads the block map: as bmaptool does, `a.img.gz.bmap`, `a.img.bmap`, `a.bmap`.
fn find_map(image: &Path, choice: &MapChoice) -> Result<Option<(PathBuf, Bmap)>> {
    let candidates = match choice {
        MapChoice::Ignore => return Ok(None),
        MapChoice::File(path) => vec![path.clone()],
        MapChoice::Beside => {
            let stems = std::iter::successors(Some(image.to_owned()), |path| {
                path.extension()?;
                Some(path.with_extension(""))
            });
            stems.map(|stem| PathBuf::from(format!("{}.bmap", stem.display()))).collect()
        }
    };
    for path in candidates {
        let bytes = match crate::file::read_limited(&path, bmap::SIZE_MAX as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && *choice == MapChoice::Beside => continue,
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        };
        let map = bmap::read(&bytes)
            .map_err(|error| Error::new(Kind::Input, format!("{}: {error}", path.display())))
            .map_err(|error| error.hint("--no-bmap flashes the image without the map"))?;
        return Ok(Some((path, map)));
    }
    Ok(None)
}

/// Returns what of a file is no hole.
fn data_ranges(file: &File, bytes: u64) -> std::io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < bytes {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(_) => at,
        };
        let end = seek(file, SeekFrom::Hole(start)).unwrap_or(bytes).min(bytes);
        if start >= bytes || end <= start {
            break;
        }
        ranges.push(start..end);
        at = end;
    }
    Ok(ranges)
}
