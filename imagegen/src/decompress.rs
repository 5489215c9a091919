//! Compressed streams: told apart by their first bytes, unwrapped while reading; and gzip, written reproducibly.
//!
//! Every format here may hold several streams one after the other (`cat a.gz b.gz`), and zero bytes may follow the
//! last one, as tape blocks leave them. Anything else after it is an error, as is a stream that stops early.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression as Level, GzBuilder};
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The most memory an xz stream may ask for, in KiB: `xz -9` needs 65 MiB, and 64 MiB dictionaries are the largest
/// that packages use; the format itself would allow 4 GiB.
pub const XZ_MEMORY_MAX_KIB: u32 = 256 * 1024;
/// The largest zstd window accepted, in bytes: what `zstd --ultra` writes without `--long`.
const ZSTD_WINDOW_MAX_BYTES: u64 = 128 << 20;

/// How a stream is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all, or not in a way known here.
    Plain,
    /// gzip, RFC 1952.
    Gzip,
    /// xz, the .xz file format 1.2.
    Xz,
    /// Zstandard, RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// Says by the first bytes of a stream (6 are enough) how it is compressed.
    pub fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame, which `pzstd` puts first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            _ => Compression::Plain,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Plain => "plain",
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
        })
    }
}

/// Why a compressed stream could not be read to its end; travels inside an [`io::Error`].
#[derive(Debug)]
pub struct DecompressError {
    /// The format of the stream.
    pub compression: Compression,
    /// True if the stream stops early, false if its bytes are wrong.
    pub truncated: bool,
    /// What the decoder said.
    reason: String,
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.truncated {
            write!(f, "the {} stream is truncated", self.compression)
        } else {
            write!(f, "the {} stream is corrupt: {}", self.compression, self.reason)
        }
    }
}

impl std::error::Error for DecompressError {}

/// A stream being unwrapped, whatever its format.
pub struct Reader<'a> {
    compression: Compression,
    decoder: Decoder<'a>,
}

type Inner<'a> = Box<dyn BufRead + Send + 'a>;

/// The decoder at work. `Between` is also where the formats whose decoders know only one stream meet.
enum Decoder<'a> {
    Plain(Inner<'a>),
    Gzip(Box<GzDecoder<Inner<'a>>>),
    Bzip2(Box<bzip2::bufread::BzDecoder<Inner<'a>>>),
    Xz(Box<XzReader<Inner<'a>>>),
    Zstd(Box<Zstd<'a>>),
    Between(Inner<'a>),
    Done,
}

/// Opens a stream, compressed or not; its format is told by its first bytes.
///
/// # Errors
/// Only when `inner` cannot be read. What is wrong with the stream itself shows when it is read, as an [`io::Error`]
/// that holds a [`DecompressError`].
pub fn reader<'a>(mut inner: Inner<'a>) -> io::Result<Reader<'a>> {
    let mut head = [0; 6];
    let mut filled = 0;
    // A pipe may hand over less than six bytes at once, so that `fill_buf` alone would not do.
    while filled < head.len() {
        match inner.read(&mut head[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let compression = Compression::detect(&head[..filled]);
    let inner: Inner<'a> = Box::new(io::BufReader::new(io::Cursor::new(head).take(filled as u64).chain(inner)));
    let decoder = match compression {
        Compression::Plain => Decoder::Plain(inner),
        Compression::Xz => Decoder::Xz(Box::new(XzReader::new_mem_limit(inner, true, XZ_MEMORY_MAX_KIB))),
        Compression::Zstd => Decoder::Zstd(Box::new(Zstd::new(inner))),
        Compression::Gzip | Compression::Bzip2 => Decoder::Between(inner),
    };
    Ok(Reader { compression, decoder })
}

impl Reader<'_> {
    /// Returns how the stream is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = match &mut self.decoder {
                Decoder::Plain(inner) => return inner.read(buffer),
                Decoder::Xz(decoder) => return decoder.read(buffer),
                Decoder::Zstd(decoder) => return decoder.read(buffer),
                Decoder::Gzip(decoder) => decoder.read(buffer)?,
                Decoder::Bzip2(decoder) => decoder.read(buffer)?,
                Decoder::Between(_) => 0,
                Decoder::Done => return Ok(0),
            };
            if count > 0 {
                return Ok(count);
            }
            self.decoder = match std::mem::replace(&mut self.decoder, Decoder::Done) {
                Decoder::Gzip(decoder) => between(decoder.into_inner())?,
                Decoder::Bzip2(decoder) => between(decoder.into_inner())?,
                Decoder::Between(inner) if self.compression == Compression::Gzip => {
                    Decoder::Gzip(Box::new(GzDecoder::new(inner)))
                }
                Decoder::Between(inner) => Decoder::Bzip2(Box::new(bzip2::bufread::BzDecoder::new(inner))),
                other => other,
            };
        }
    }
}

/// Writes all of a stream into a file, from where that is, and returns the length: the way to an archive that can be
/// indexed.
///
/// # Errors
/// What [`reader`] gives, and what the operating system says of the file.
pub fn copy_into(reader: &mut Reader<'_>, mut output: &File) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(count) => {
                output.write_all(&buffer[..count])?;
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Decides, at the end of a stream, whether another one follows.
fn between(mut inner: Inner<'_>) -> io::Result<Decoder<'_>> {
    Ok(if at_end(&mut inner)? { Decoder::Done } else { Decoder::Between(inner) })
}

/// Says whether nothing but zero bytes follows; consumes nothing if something does.
fn at_end(inner: &mut dyn BufRead) -> io::Result<bool> {
    let mut zeros = false;
    loop {
        let buffer = inner.fill_buf()?;
        if buffer.is_empty() {
            return Ok(true);
        }
        match buffer.iter().position(|&byte| byte != 0) {
            Some(_) if zeros => return Err(invalid("something follows the zeros behind the end")),
            Some(0) => return Ok(false),
            Some(_) => return Err(invalid("something follows the zeros behind the end")),
            None => {
                zeros = true;
                let length = buffer.len();
                inner.consume(length);
            }
        }
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_some(buffer).map_err(|error| match (self.compression, error.kind()) {
            (Compression::Plain, _) | (_, io::ErrorKind::Interrupted) => error,
            // What the operating system says is about the file, not about its bytes.
            _ if error.raw_os_error().is_some() => error,
            (compression, kind) => {
                self.decoder = Decoder::Done;
                let truncated = kind == io::ErrorKind::UnexpectedEof;
                let kind = if truncated { kind } else { io::ErrorKind::InvalidData };
                io::Error::new(kind, DecompressError { compression, truncated, reason: error.to_string() })
            }
        })
    }
}

/// Zstandard frames one after the other, skippable ones among them.
struct Zstd<'a> {
    inner: Inner<'a>,
    frame: FrameDecoder,
    state: ZstdState,
}

#[derive(PartialEq)]
enum ZstdState {
    Between,
    InFrame,
    Done,
}

impl<'a> Zstd<'a> {
    fn new(inner: Inner<'a>) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(ZSTD_WINDOW_MAX_BYTES);
        Zstd { inner, frame, state: ZstdState::Between }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state {
                ZstdState::Done => return Ok(0),
                ZstdState::Between => self.next_frame()?,
                ZstdState::InFrame => {
                    if self.frame.can_collect() > 0 {
                        return self.frame.read(buffer);
                    }
                    if self.frame.is_finished() {
                        self.finish_frame()?;
                    } else {
                        let blocks = BlockDecodingStrategy::UptoBlocks(1);
                        self.frame.decode_blocks(&mut self.inner, blocks).map_err(zstd_error)?;
                    }
                }
            }
        }
    }

    fn next_frame(&mut self) -> io::Result<()> {
        match self.frame.reset(&mut self.inner) {
            Ok(()) => self.state = ZstdState::InFrame,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let skipped = io::copy(&mut (&mut self.inner).take(length.into()), &mut io::sink())?;
                if skipped < u64::from(length) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if at_end(&mut self.inner)? {
                    self.state = ZstdState::Done;
                }
            }
            Err(error) => return Err(zstd_error(error)),
        }
        Ok(())
    }

    fn finish_frame(&mut self) -> io::Result<()> {
        // The decoder computes the checksum but leaves it to us to compare.
        if let Some(expected) = self.frame.get_checksum_from_data()
            && self.frame.get_calculated_checksum() != Some(expected)
        {
            return Err(invalid("the content does not match its checksum"));
        }
        self.state = if at_end(&mut self.inner)? { ZstdState::Done } else { ZstdState::Between };
        Ok(())
    }
}

/// Finds an end of file among the reasons of a decoder's error.
fn zstd_error(error: FrameDecoderError) -> io::Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(reason) = source {
        if let Some(io) = reason.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::UnexpectedEof
        {
            return io::ErrorKind::UnexpectedEof.into();
        }
        source = reason.source();
    }
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Writes gzip whose bytes depend on the content and the level alone: no name, no time, and the same system byte
/// everywhere. Call `finish` to write the end.
pub fn gzip_writer<W: Write>(writer: W, level: u32) -> GzEncoder<W> {
    // 255 is "unknown" in RFC 1952 section 2.3.1.
    GzBuilder::new().mtime(0).operating_system(255).write(writer, Level::new(level.min(9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrap(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        reader(Box::new(bytes))?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = gzip_writer(Vec::new(), 9);
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn plain_bytes_pass_through() {
        assert_eq!(unwrap(b"").unwrap(), b"");
        assert_eq!(unwrap(b"BZ").unwrap(), b"BZ");
        assert_eq!(unwrap(b"no magic here").unwrap(), b"no magic here");
    }

    #[test]
    fn gzip_has_no_time_and_no_host() {
        let bytes = gzip(b"hello");
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
        assert_eq!(unwrap(&bytes).unwrap(), b"hello");
    }

    #[test]
    fn members_and_zero_padding_are_one_stream() {
        let mut bytes = gzip(b"one ");
        bytes.extend(gzip(b"two"));
        bytes.extend([0; 5000]);
        assert_eq!(unwrap(&bytes).unwrap(), b"one two");
        bytes.push(1);
        let error = unwrap(&bytes).unwrap_err();
        assert!(error.to_string().starts_with("the gzip stream is corrupt"), "{error}");
    }

    #[test]
    fn truncation_is_named_at_every_length() {
        let bytes = gzip(&b"some text that repeats, that repeats, that repeats".repeat(20));
        for length in 2..bytes.len() {
            let error = unwrap(&bytes[..length]).unwrap_err();
            assert_eq!(error.to_string(), "the gzip stream is truncated", "at {length}");
        }
    }
}
