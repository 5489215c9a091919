//! Debian binary packages: an `ar` archive of a version, a control tar and a data tar (deb(5)).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::{ArchiveError, Problem, tar};
use crate::decompress::{self, Compression};
use crate::package::deb822::{self, Stanza};

const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
/// An ar member's header: name, time, owner, group, mode, size, magic.
const AR_HEADER_BYTES: u64 = 60;
const AR_NAME: Range<usize> = 0..16;
const AR_SIZE: Range<usize> = 48..58;
const AR_END: Range<usize> = 58..60;
/// The largest control tar unpacked, in bytes: dpkg's largest packages stay below 10 MiB.
const CONTROL_MAX_BYTES: u64 = 64 << 20;

/// An opened package: its control information, and where its data is.
pub struct Deb {
    /// The stanza of the `control` file.
    pub control: Stanza,
    /// Every file of the control tar by name, `postinst` and `md5sums` for example.
    pub control_files: Vec<(Vec<u8>, Vec<u8>)>,
    file: Arc<File>,
    data: Member,
}

/// A member of the ar archive.
#[derive(Clone, Debug)]
struct Member {
    name: Vec<u8>,
    offset: u64,
    start: u64,
    length: u64,
}

impl Member {
    fn error(&self, problem: Problem) -> ArchiveError {
        ArchiveError::new(Some(&self.name), self.offset, problem)
    }

    fn io(&self, error: io::Error) -> ArchiveError {
        self.error(Problem::Io(error))
    }
}

/// Opens a package: checks the container, reads the control information, finds the data.
///
/// # Errors
/// Names the member and its offset: not an ar archive, another version than 2.x, a missing or truncated member, a
/// control tar or file that cannot be read.
pub fn open(file: &Arc<File>) -> Result<Deb, ArchiveError> {
    let length = file.metadata().map_err(|error| ArchiveError::new(None, 0, Problem::Io(error)))?.len();
    let mut magic = [0; 8];
    if length < magic.len() as u64 {
        return Err(ArchiveError::new(None, 0, Problem::Truncated("its first 8 bytes")));
    }
    file.read_exact_at(&mut magic, 0).map_err(|error| ArchiveError::new(None, 0, Problem::Io(error)))?;
    if &magic != AR_MAGIC {
        return Err(ArchiveError::new(None, 0, Problem::Malformed("this is no Debian package: no `!<arch>`".into())));
    }
    let mut at = AR_MAGIC.len() as u64;
    let version = expect(file, length, &mut at, "debian-binary")?;
    check_version(file, &version)?;
    let control = expect(file, length, &mut at, "control.tar")?;
    let (control_files, stanza) = read_control(file, &control)?;
    let data = expect(file, length, &mut at, "data.tar")?;
    Ok(Deb { control: stanza, control_files, file: file.clone(), data })
}

impl Deb {
    /// Returns the uncompressed data tar.
    pub fn data(&self) -> Result<decompress::Reader<'static>, ArchiveError> {
        decompressed(&self.file, &self.data)
    }

    /// Writes the uncompressed data tar into `output`, from its start, and returns its length: an archive for
    /// [`tar::read_into`].
    ///
    /// # Errors
    /// A truncated or corrupt stream, and whatever the operating system says of the files.
    pub fn unpack(&self, output: &File) -> Result<u64, ArchiveError> {
        decompress::copy_into(&mut self.data()?, output).map_err(|error| self.data.io(error))
    }
}

/// Reads the next member that is not of a later invention (`_` in front), which must be of this name, its
/// compression aside.
fn expect(file: &File, length: u64, at: &mut u64, name: &'static str) -> Result<Member, ArchiveError> {
    loop {
        let Some(member) = next_member(file, length, at, name)? else {
            return Err(ArchiveError::new(
                None,
                *at,
                Problem::Truncated(match name {
                    "debian-binary" => "front of its version",
                    "control.tar" => "front of its control information",
                    _ => "front of its data",
                }),
            ));
        };
        let rest = member.name.strip_prefix(name.as_bytes());
        match rest {
            Some(b"") => return Ok(member),
            Some(b".gz" | b".xz" | b".zst" | b".bz2") if name != "debian-binary" => return Ok(member),
            Some([b'.', ..]) if name != "debian-binary" => {
                return Err(member.error(Problem::Unsupported("an unknown way of compression".into())));
            }
            _ if member.name.starts_with(b"_") => {}
            _ => {
                return Err(member.error(Problem::Malformed(format!("a package has `{name}` in this place").into())));
            }
        }
    }
}

fn next_member(file: &File, length: u64, at: &mut u64, wanted: &'static str) -> Result<Option<Member>, ArchiveError> {
    let offset = *at;
    if offset >= length {
        return Ok(None);
    }
    let fail = |problem| ArchiveError::new(Some(wanted.as_bytes()), offset, problem);
    if length - offset < AR_HEADER_BYTES {
        return Err(fail(Problem::Truncated("a member's header")));
    }
    let mut header = [0; AR_HEADER_BYTES as usize];
    file.read_exact_at(&mut header, offset).map_err(|error| fail(Problem::Io(error)))?;
    if &header[AR_END] != b"`\n" {
        return Err(fail(Problem::Malformed("this is no ar header".into())));
    }
    // GNU ar ends a name with a slash.
    let name = header[AR_NAME].trim_ascii_end();
    let name = name.strip_suffix(b"/").unwrap_or(name).to_vec();
    let size = std::str::from_utf8(header[AR_SIZE].trim_ascii()).ok().and_then(|text| text.parse::<u64>().ok());
    let size = size.ok_or_else(|| fail(Problem::Malformed("the member's size is no number".into())))?;
    let start = offset + AR_HEADER_BYTES;
    let member = Member { name, offset, start, length: size };
    if size > length - start {
        return Err(member.error(Problem::Truncated("the content of this member")));
    }
    // Members start at even offsets.
    *at = start + size + size % 2;
    Ok(Some(member))
}

fn check_version(file: &File, member: &Member) -> Result<(), ArchiveError> {
    let mut text = vec![0; member.length.min(16) as usize];
    file.read_exact_at(&mut text, member.start).map_err(|error| member.io(error))?;
    if text.starts_with(b"2.") {
        return Ok(());
    }
    let version = String::from_utf8_lossy(&text).trim_end().escape_debug().to_string();
    Err(member.error(Problem::Unsupported(format!("a package of format `{version}`: only 2.x is known").into())))
}

/// A range of a file, read in order.
struct RangeReader {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn decompressed(file: &Arc<File>, member: &Member) -> Result<decompress::Reader<'static>, ArchiveError> {
    let range = RangeReader { file: file.clone(), at: member.start, end: member.start + member.length };
    let reader = decompress::reader(Box::new(BufReader::with_capacity(128 << 10, range)));
    let reader = reader.map_err(|error| member.io(error))?;
    let expected = match member.name.rsplit(|&byte| byte == b'.').next() {
        Some(b"gz") => Compression::Gzip,
        Some(b"xz") => Compression::Xz,
        Some(b"zst") => Compression::Zstd,
        Some(b"bz2") => Compression::Bzip2,
        _ => Compression::Plain,
    };
    if reader.compression() != expected {
        let reason = format!("the member should be {expected} but is {}", reader.compression());
        return Err(member.error(Problem::Malformed(reason.into())));
    }
    Ok(reader)
}

type ControlFiles = Vec<(Vec<u8>, Vec<u8>)>;

fn read_control(file: &Arc<File>, member: &Member) -> Result<(ControlFiles, Stanza), ArchiveError> {
    let mut bytes = Vec::new();
    let reader = decompressed(file, member)?;
    reader.take(CONTROL_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| member.io(error))?;
    if bytes.len() as u64 > CONTROL_MAX_BYTES {
        return Err(member.error(Problem::Unsupported("more than 64 MiB of control information".into())));
    }
    let files = tar::small_files(&bytes)
        .map_err(|error| member.error(Problem::Malformed(format!("its control tar is broken: {error}").into())))?;
    let mut files: ControlFiles = files.into_iter().collect();
    files.sort();
    let control = files.iter().find(|(name, _)| name == b"control").map(|(_, text)| text.as_slice());
    let control = control.ok_or_else(|| member.error(Problem::Malformed("there is no `control` in it".into())))?;
    let wrong = |reason: String| member.error(Problem::Malformed(format!("its `control` file: {reason}").into()));
    let mut stanzas = deb822::parse(control).map_err(|error| wrong(error.to_string()))?;
    if stanzas.len() != 1 {
        return Err(wrong(format!("{} stanzas in place of one", stanzas.len())));
    }
    let stanza = stanzas.remove(0);
    for field in ["Package", "Version", "Architecture"] {
        if stanza.get(field).is_none_or(str::is_empty) {
            return Err(wrong(format!("`{field}` is missing")));
        }
    }
    Ok((files, stanza))
}
