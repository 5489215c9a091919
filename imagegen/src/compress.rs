//! Compression of images in parallel and yet reproducibly: cut into chunks of a fixed size, each compressed alone, put
//! together in order. The bytes depend on content and level, not on threads, holes or time.
//!
//! | format | a chunk becomes | so that |
//! |---|---|---|
//! | gzip | a run of deflate blocks, flushed to a whole byte | one member is left, which every reader takes |
//! | xz | a block | `xz -T0 -d` decompresses in parallel |
//! | zstd | a frame | `zstd -d` reads them one after the other |
//!
//! Holes are not read: a chunk of nothing but zeros is compressed once.

mod chunk;

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::tree::{Extent, Source};
use chunk::{Chunk, Joiner};

/// How to compress.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// gzip, RFC 1952.
    Gzip,
    /// xz, the .xz file format 1.2, with CRC-64.
    Xz,
    /// Zstandard, RFC 8878, with checksums; at its fastest level.
    Zstd,
}

impl Format {
    /// Returns what a file's name ends in.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Gzip => "gz",
            Format::Xz => "xz",
            Format::Zstd => "zst",
        }
    }

    /// Returns the bytes of a chunk: more would compress better, and keep fewer threads busy.
    fn chunk_bytes(self) -> usize {
        match self {
            Format::Gzip => 1 << 20,
            Format::Xz => 8 << 20,
            Format::Zstd => 4 << 20,
        }
    }
}

/// Why nothing, or not all, was written.
#[derive(Debug)]
pub enum CompressError {
    /// The content could not be read.
    Source(io::Error),
    /// The output could not be written.
    Output(io::Error),
    /// The progress function asked to stop.
    Cancelled,
}

impl fmt::Display for CompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompressError::Source(error) => write!(f, "cannot read what is to be compressed: {error}"),
            CompressError::Output(error) => write!(f, "cannot write what is compressed: {error}"),
            CompressError::Cancelled => write!(f, "cancelled"),
        }
    }
}

impl std::error::Error for CompressError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CompressError::Source(error) | CompressError::Output(error) => Some(error),
            CompressError::Cancelled => None,
        }
    }
}

/// Compresses all of a source with so many threads. `level` is 0 to 9 and means nothing to zstd. `progress` hears how
/// many bytes of the source are done, and may break off.
///
/// # Errors
/// Reading, writing, [`CompressError::Cancelled`].
pub fn compress(
    source: &dyn Source,
    format: Format,
    level: u32,
    threads: NonZeroUsize,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), CompressError> {
    let work =
        Work { source, format, level, size: source.size_bytes(), extents: source.extents(), zeros: OnceLock::new() };
    let count = work.size.div_ceil(format.chunk_bytes() as u64);
    let threads = (threads.get() as u64).min(count.max(1));
    let mut joiner = Joiner::new(format);
    out.write_all(&joiner.head()).map_err(CompressError::Output)?;
    std::thread::scope(|scope| {
        // Worker k makes chunks k, k + threads, ...: taken in turn they come in order, and none runs far ahead.
        let mut workers = Vec::new();
        for first in 0..threads {
            let (sender, receiver) = sync_channel(1);
            let work = &work;
            scope.spawn(move || work.every(first, threads, count, &sender));
            workers.push(receiver);
        }
        for number in 0..count {
            let made = workers[(number % threads) as usize].recv();
            let made = made.unwrap_or_else(|_| Err(io::Error::other("a thread ended early")));
            let made = made.map_err(CompressError::Source)?;
            out.write_all(&made.bytes).map_err(CompressError::Output)?;
            joiner.add(&made);
            if progress(work.range(number).end).is_break() {
                return Err(CompressError::Cancelled);
            }
        }
        out.write_all(&joiner.tail()).map_err(CompressError::Output)
    })
}

/// What all threads share.
struct Work<'a> {
    source: &'a dyn Source,
    format: Format,
    level: u32,
    size: u64,
    extents: Vec<Extent>,
    /// A whole chunk of zeros.
    zeros: OnceLock<Chunk>,
}

impl Work<'_> {
    /// Makes every so manieth chunk and hands it over, until nobody wants more.
    fn every(&self, first: u64, step: u64, count: u64, sender: &SyncSender<io::Result<Chunk>>) {
        for number in (first..count).step_by(step as usize) {
            let made = self.chunk(self.range(number));
            let failed = made.is_err();
            if sender.send(made).is_err() || failed {
                return;
            }
        }
    }

    fn range(&self, number: u64) -> Range<u64> {
        let chunk = self.format.chunk_bytes() as u64;
        number * chunk..self.size.min((number + 1) * chunk)
    }

    fn chunk(&self, range: Range<u64>) -> io::Result<Chunk> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let from = self.extents.partition_point(|extent| extent.offset + extent.length <= range.start);
        let touching = self.extents[from..].iter().take_while(|extent| extent.offset < range.end);
        let mut empty = true;
        for extent in touching {
            let (start, end) = (extent.offset.max(range.start), (extent.offset + extent.length).min(range.end));
            let part = (start - range.start) as usize..(end - range.start) as usize;
            self.source.read_at(start, bytes.get_mut(part).ok_or(io::ErrorKind::InvalidData)?)?;
            empty = false;
        }
        if !empty || bytes.len() < self.format.chunk_bytes() {
            return Chunk::new(self.format, self.level, &bytes);
        }
        if let Some(zeros) = self.zeros.get() {
            return Ok(zeros.clone());
        }
        let zeros = Chunk::new(self.format, self.level, &bytes)?;
        Ok(self.zeros.get_or_init(|| zeros).clone())
    }
}
