//! Kernels and hypervisors as they come: arm64 Images, packed in one of several ways, or ELF files.
//!
//! Order of recognition: EFI zboot, Image, gzip, xz, zstd, ELF (Linux: Documentation/arm64/booting.rst, drivers/firmware/efi/libstub).

use std::fmt;
use std::io::{self, Read};

use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What an unpacked Image may measure at most: a guard against bombs, and more than any kernel has.
pub const SIZE_MAX: u64 = 256 << 20;
/// What a packed stream may ask for to be unpacked: a guard against bombs, too. `xz -9` needs 65 MiB; kernels are also packed with
/// dictionaries of 128 MiB (Linux: scripts/xz_wrap.sh); the format itself would allow 4 GiB.
pub const MEMORY_MAX: u64 = 256 << 20;
const HEADER_BYTES: usize = 64;
const IMAGE_MAGIC: &[u8] = b"ARM\x64";
/// An Image that is packed in a zboot that is packed in gzip is the deepest sensible.
const DEPTH_MAX: usize = 3;
/// Where kernels older than 3.17, whose header says no size, want to be.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// How the bytes were packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// EFI zboot: a PE file with a packed Image inside.
    Zboot,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
}

/// What a kernel's header says, and its bytes ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Unpacked bytes, starting with the header.
    pub bytes: Vec<u8>,
    /// Bytes above a 2 MiB boundary where the first byte must lie.
    pub text_offset: u64,
    /// Memory needed from the first byte on, .bss included.
    pub memory_bytes: u64,
    /// Whether it may lie anywhere in memory rather than near its start.
    pub anywhere: bool,
    /// What had to be unpacked, outermost first.
    pub packing: Vec<Packing>,
}

/// Why bytes are no usable kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// Shorter than what its own header promises.
    Truncated(&'static str),
    /// A packing that is recognised but not unpacked here.
    Unsupported(&'static str),
    /// Unpacks to more than [`SIZE_MAX`].
    TooLarge,
    /// Needs more memory to be unpacked than is given here; how it is packed.
    TooMuchMemory(&'static str),
    /// Packed inside packed inside packed.
    TooDeep,
    /// The packing is damaged.
    Damaged(&'static str, String),
    /// Big endian, 32 bit, or another machine's.
    WrongKind(&'static str),
    /// The header contradicts itself.
    BadHeader(&'static str),
    /// None of the known formats; the first bytes.
    Unknown(Vec<u8>),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::Truncated(what) => write!(f, "ends inside its {what}"),
            KernelError::Unsupported(what) => {
                write!(
                    f,
                    "is packed with {what}, which is not unpacked here: unpack it, or pack it with gzip, xz or zstd"
                )
            }
            KernelError::TooLarge => write!(f, "unpacks to more than {} MiB", SIZE_MAX >> 20),
            KernelError::TooMuchMemory(what) => write!(
                f,
                "needs more than {} MiB of memory to be unpacked: pack it with {what} and a smaller dictionary",
                MEMORY_MAX >> 20
            ),
            KernelError::TooDeep => write!(f, "is packed more than {DEPTH_MAX} times over"),
            KernelError::Damaged(what, error) => write!(f, "is damaged {what} data: {error}"),
            KernelError::WrongKind(what) => {
                write!(f, "is {what}; what is needed is an arm64 Image (64 bit, little endian)")
            }
            KernelError::BadHeader(what) => write!(f, "has an Image header with {what}"),
            KernelError::Unknown(first) => {
                write!(f, "is no arm64 Image, zboot, gzip, xz, zstd or ELF file; it begins with")?;
                if first.is_empty() {
                    return write!(f, " nothing: it is empty");
                }
                first.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
        }
    }
}

impl std::error::Error for KernelError {}

/// Returns an Image that does nothing, of this many bytes, at least a header's 64: it stands where there is none yet.
pub fn blank(size_bytes: usize) -> Vec<u8> {
    let mut image = vec![0; size_bytes.max(64)];
    let size = image.len() as u64;
    image[16..24].copy_from_slice(&size.to_le_bytes());
    // Little-endian, 4 KiB pages, anywhere in memory.
    image[24..32].copy_from_slice(&0b1010u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// Recognises a kernel, unpacks it as often as needed, and reads its header.
pub fn read(bytes: &[u8]) -> Result<Image, KernelError> {
    let mut packing = Vec::new();
    let mut unpacked: Option<Vec<u8>> = None;
    loop {
        let current = unpacked.as_deref().unwrap_or(bytes);
        let (kind, payload, algorithm) = match recognise(current)? {
            Found::Image => {
                let header = Header::parse(current)?;
                let bytes = unpacked.unwrap_or_else(|| bytes.to_vec());
                return header.into_image(bytes, packing);
            }
            Found::Zboot => {
                let (payload, algorithm) = zboot(current)?;
                (Packing::Zboot, payload, algorithm)
            }
            Found::Packed(algorithm) => (algorithm, current, algorithm),
        };
        if packing.len() == DEPTH_MAX {
            return Err(KernelError::TooDeep);
        }
        packing.push(kind);
        unpacked = Some(unpack(payload, algorithm)?);
    }
}

enum Found {
    Image,
    Zboot,
    Packed(Packing),
}

fn recognise(bytes: &[u8]) -> Result<Found, KernelError> {
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..offset + magic.len()) == Some(magic);
    if at(0, b"MZ") && at(4, b"zimg") {
        Ok(Found::Zboot)
    } else if at(56, IMAGE_MAGIC) {
        Ok(Found::Image)
    } else if at(0, &[0x1f, 0x8b]) {
        Ok(Found::Packed(Packing::Gzip))
    } else if at(0, b"\xfd7zXZ\0") {
        Ok(Found::Packed(Packing::Xz))
    } else if at(0, &[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Found::Packed(Packing::Zstd))
    } else if at(0, b"BZh") {
        Err(KernelError::Unsupported("bzip2"))
    } else if at(0, &[0x02, 0x21, 0x4c, 0x18]) || at(0, &[0x04, 0x22, 0x4d, 0x18]) {
        Err(KernelError::Unsupported("lz4"))
    } else if at(0, &[0x5d, 0, 0]) {
        Err(KernelError::Unsupported("lzma"))
    } else if at(0, b"\x89LZO") {
        Err(KernelError::Unsupported("lzo"))
    } else if at(0, b"\x7fELF") {
        Err(elf_kind(bytes))
    } else {
        Err(KernelError::Unknown(bytes[..bytes.len().min(16)].to_vec()))
    }
}

/// Returns the Image that lies in an ELF file's segments, as `objcopy -O binary` would: what is loaded, from the lowest
/// address on, gaps as zeros.
///
/// # Errors
/// Of no ELF file for AArch64, and of one that loads nothing, more than it has, or more than [`SIZE_MAX`].
pub fn flatten(bytes: &[u8]) -> Result<Vec<u8>, KernelError> {
    let damaged = |error: object::read::Error| KernelError::Damaged("ELF", error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.e_machine(endian) != elf::EM_AARCH64 {
        return Err(KernelError::WrongKind("an ELF file for another machine"));
    }
    let loaded: Vec<(u64, &[u8])> = header
        .program_headers(endian, bytes)
        .map_err(damaged)?
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD && segment.p_filesz(endian) > 0)
        .map(|segment| {
            Ok((segment.p_vaddr(endian), segment.data(endian, bytes).map_err(|()| KernelError::Truncated("segment"))?))
        })
        .collect::<Result<_, _>>()?;
    let start = loaded.iter().map(|(address, _)| *address).min().ok_or(KernelError::Truncated("list of segments"))?;
    let mut image = Vec::new();
    for (address, content) in loaded {
        let at = address - start;
        let end = at.checked_add(content.len() as u64).filter(|&end| end <= SIZE_MAX).ok_or(KernelError::TooLarge)?;
        image.resize(image.len().max(end as usize), 0);
        image[at as usize..end as usize].copy_from_slice(content);
    }
    Ok(image)
}

/// Says which ELF file this is; none of them is an Image, which is what boots.
fn elf_kind(bytes: &[u8]) -> KernelError {
    const EM_AARCH64: [u8; 2] = [183, 0];
    match (bytes.get(4), bytes.get(5), bytes.get(18..20)) {
        (Some(2), Some(1), Some(machine)) if machine == EM_AARCH64 => KernelError::WrongKind(
            "an ELF file (Linux: use arch/arm64/boot/Image, not vmlinux; Xen: use xen/xen, not xen-syms)",
        ),
        _ => KernelError::WrongKind("an ELF file for another machine"),
    }
}

/// Returns a zboot file's payload and how it is packed. The Linux-PE magic at 0x38 is absent in the format's first version.
fn zboot(bytes: &[u8]) -> Result<(&[u8], Packing), KernelError> {
    let word = |offset: usize| -> Result<usize, KernelError> {
        let field = bytes.get(offset..offset + 4).ok_or(KernelError::Truncated("zboot header"))?;
        Ok(u32::from_le_bytes(field.try_into().expect("four bytes")) as usize)
    };
    let (start, length) = (word(8)?, word(12)?);
    let name = bytes.get(24..56).ok_or(KernelError::Truncated("zboot header"))?;
    let name = &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())];
    let end = start.checked_add(length).ok_or(KernelError::Truncated("zboot payload"))?;
    let payload = bytes.get(start..end).ok_or(KernelError::Truncated("zboot payload"))?;
    let algorithm = match name {
        b"gzip" => Packing::Gzip,
        b"xz" | b"xzkern" => Packing::Xz,
        b"zstd" | b"zstd22" => Packing::Zstd,
        b"lz4" => return Err(KernelError::Unsupported("lz4 (zboot)")),
        b"lzma" => return Err(KernelError::Unsupported("lzma (zboot)")),
        b"lzo" => return Err(KernelError::Unsupported("lzo (zboot)")),
        _ => return Err(KernelError::Unsupported("something this zboot names and nobody knows")),
    };
    Ok((payload, algorithm))
}

fn unpack(packed: &[u8], packing: Packing) -> Result<Vec<u8>, KernelError> {
    const XZ_MEMORY_KIB: u32 = (MEMORY_MAX >> 10) as u32;
    let capped = |reader: &mut dyn Read, name| {
        let mut bytes = Vec::new();
        let read = reader.take(SIZE_MAX + 1).read_to_end(&mut bytes);
        match read {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(KernelError::TooMuchMemory(name)),
            Err(error) => Err(KernelError::Damaged(name, error.to_string())),
            Ok(_) if bytes.len() as u64 > SIZE_MAX => Err(KernelError::TooLarge),
            Ok(_) => Ok(bytes),
        }
    };
    match packing {
        Packing::Gzip => capped(&mut flate2::read::MultiGzDecoder::new(packed), "gzip"),
        Packing::Xz => capped(&mut lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB), "xz"),
        Packing::Zstd => unpack_zstd(packed),
        Packing::Zboot => Err(KernelError::TooDeep),
    }
}

/// Unpacks zstd frames one after the other, skippable ones among them; zeros may follow the last one, as with the other packings.
fn unpack_zstd(mut packed: &[u8]) -> Result<Vec<u8>, KernelError> {
    const STEP_BYTES: usize = 1 << 20;
    let damaged = |reason: &dyn fmt::Display| KernelError::Damaged("zstd", reason.to_string());
    let mut frame = FrameDecoder::new();
    frame.set_max_window_size(MEMORY_MAX);
    let mut bytes = Vec::new();
    loop {
        match frame.reset(&mut packed) {
            Ok(()) => {
                while !frame.is_finished() {
                    let step = BlockDecodingStrategy::UptoBytes(STEP_BYTES);
                    frame.decode_blocks(&mut packed, step).map_err(|error| damaged(&error))?;
                    bytes.extend(frame.collect().unwrap_or_default());
                    if bytes.len() as u64 > SIZE_MAX {
                        return Err(KernelError::TooLarge);
                    }
                }
                // The decoder computes the checksum but leaves it to its caller to compare.
                let expected = frame.get_checksum_from_data();
                if expected.is_some() && expected != frame.get_calculated_checksum() {
                    return Err(damaged(&"the content does not match its checksum"));
                }
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let rest = usize::try_from(length).ok().and_then(|length| packed.get(length..));
                packed = rest.ok_or_else(|| damaged(&"it ends in a skippable frame"))?;
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(KernelError::TooMuchMemory("zstd")),
            Err(error) => return Err(damaged(&error)),
        }
        if packed.iter().all(|&byte| byte == 0) {
            return Ok(bytes);
        }
    }
}

/// The 64 bytes at the start of an Image, little endian.
struct Header {
    text_offset: u64,
    image_size: u64,
    flags: u64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Header, KernelError> {
        if bytes.len() < HEADER_BYTES {
            return Err(KernelError::Truncated("Image header"));
        }
        let double = |offset: usize| u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"));
        Ok(Header { text_offset: double(8), image_size: double(16), flags: double(24) })
    }

    fn into_image(self, bytes: Vec<u8>, packing: Vec<Packing>) -> Result<Image, KernelError> {
        const BIG_ENDIAN: u64 = 1;
        const ANYWHERE: u64 = 1 << 3;
        if self.flags & BIG_ENDIAN != 0 {
            return Err(KernelError::WrongKind("big-endian"));
        }
        let (text_offset, memory_bytes) = if self.image_size == 0 {
            (OLD_TEXT_OFFSET, bytes.len() as u64)
        } else {
            (self.text_offset, self.image_size)
        };
        if text_offset >= 2 << 20 || !text_offset.is_multiple_of(4096) {
            return Err(KernelError::BadHeader("a text_offset that is no page below 2 MiB"));
        }
        // A size far beyond the file is .bss gone wrong; one below it would let the tail be overwritten.
        if memory_bytes > 4 * SIZE_MAX {
            return Err(KernelError::BadHeader("an image_size of more than 1 GiB"));
        }
        let memory_bytes = memory_bytes.max(bytes.len() as u64);
        Ok(Image { bytes, text_offset, memory_bytes, anywhere: self.flags & ANYWHERE != 0, packing })
    }
}
