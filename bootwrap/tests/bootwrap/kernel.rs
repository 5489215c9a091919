//! Kernels, packed and damaged.

use std::io::Write;
use std::sync::LazyLock;

use bootwrap::kernel::{self, KernelError, Packing};
use proptest::prelude::*;

use super::samples::image;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::default()).expect("an encoder");
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Returns a zboot file; those not packed with gzip carry the unpacked size behind the payload.
fn zboot(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 0x80];
    bytes[..8].copy_from_slice(b"MZ\0\0zimg");
    bytes[8..12].copy_from_slice(&0x80u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[24..24 + name.len()].copy_from_slice(name.as_bytes());
    bytes.extend(payload);
    bytes.extend([0x12, 0x34, 0, 0]);
    bytes
}

#[test]
fn every_packing_gives_the_same_image() {
    let plain = image(100_000, 0, 150_000, 0xa);
    let cases: [(Vec<u8>, &[Packing]); 9] = [
        (plain.clone(), &[]),
        (gzip(&plain), &[Packing::Gzip]),
        (xz(&plain), &[Packing::Xz]),
        (zstd(&plain), &[Packing::Zstd]),
        (zboot("gzip", &gzip(&plain)), &[Packing::Zboot]),
        (zboot("xzkern", &xz(&plain)), &[Packing::Zboot]),
        (zboot("zstd22", &zstd(&plain)), &[Packing::Zboot]),
        (gzip(&zboot("gzip", &gzip(&plain))), &[Packing::Gzip, Packing::Zboot]),
        (gzip(&gzip(&plain)), &[Packing::Gzip, Packing::Gzip]),
    ];
    for (bytes, packing) in cases {
        let read = kernel::read(&bytes).unwrap_or_else(|error| panic!("{packing:?}: {error}"));
        assert_eq!(read.packing, packing);
        assert!(read.bytes == plain, "{packing:?}");
        assert_eq!((read.text_offset, read.memory_bytes, read.anywhere), (0, 150_000, true));
    }
}

#[test]
fn headers() {
    // Before 3.17: no size, hence a fixed offset.
    let old = kernel::read(&image(5000, 0, 0, 0)).expect("an Image");
    assert_eq!((old.text_offset, old.memory_bytes, old.anywhere), (0x8_0000, 5000, false));
    // A size below the file's own would let something be put on its tail.
    assert_eq!(kernel::read(&image(5000, 0x1000, 100, 0xa)).expect("an Image").memory_bytes, 5000);
    let error = |bytes: &[u8]| kernel::read(bytes).expect_err("refused");
    assert_eq!(
        error(&image(5000, 0x20_0000, 5000, 0xa)),
        KernelError::BadHeader("a text_offset that is no page below 2 MiB")
    );
    assert_eq!(
        error(&image(5000, 0x10, 5000, 0xa)),
        KernelError::BadHeader("a text_offset that is no page below 2 MiB")
    );
    assert_eq!(error(&image(5000, 0, u64::MAX, 0xa)), KernelError::BadHeader("an image_size of more than 1 GiB"));
    assert_eq!(error(&image(5000, 0, 5000, 0xb)), KernelError::WrongKind("big-endian"));
    assert_eq!(error(&image(64, 0, 5000, 0xa)[..62]), KernelError::Truncated("Image header"));
}

#[test]
fn what_is_no_kernel() {
    let text = |bytes: &[u8]| kernel::read(bytes).expect_err("refused").to_string();
    assert_eq!(text(b""), "is no arm64 Image, zboot, gzip, xz, zstd or ELF file; it begins with nothing: it is empty");
    assert_eq!(
        text(b"#!/bin/sh\necho hello"),
        "is no arm64 Image, zboot, gzip, xz, zstd or ELF file; it begins with 23 21 2f 62 69 6e 2f 73 68 0a 65 63 68 6f 20 68"
    );
    assert_eq!(
        text(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"),
        "is an ELF file (Linux: use arch/arm64/boot/Image, not vmlinux; Xen: use xen/xen, not xen-syms); \
         what is needed is an arm64 Image (64 bit, little endian)"
    );
    assert_eq!(
        text(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"),
        "is an ELF file for another machine; what is needed is an arm64 Image (64 bit, little endian)"
    );
    assert_eq!(
        text(b"BZh91AY"),
        "is packed with bzip2, which is not unpacked here: unpack it, or pack it with gzip, xz or zstd"
    );
    for (bytes, name) in
        [(&[0x02, 0x21, 0x4c, 0x18][..], "lz4"), (&[0x04, 0x22, 0x4d, 0x18], "lz4"), (&[0x5d, 0, 0, 0], "lzma")]
    {
        assert!(text(bytes).starts_with(&format!("is packed with {name},")));
    }
    assert!(text(&zboot("lz4", b"")).starts_with("is packed with lz4 (zboot),"));
    assert!(text(&zboot("rot13", b"")).starts_with("is packed with something"));
    assert_eq!(text(&zboot("gzip", &gzip(b"hello"))[..0x90]), "ends inside its zboot payload");
    assert_eq!(text(&zboot("gzip", b"")[..20]), "ends inside its zboot header");
    assert!(text(&gzip(&image(5000, 0, 5000, 0xa))[..60]).starts_with("is damaged gzip data: "));
    assert!(text(&xz(&image(5000, 0, 5000, 0xa))[..60]).starts_with("is damaged xz data: "));
    assert!(text(&zstd(&image(5000, 0, 5000, 0xa))[..60]).starts_with("is damaged zstd data: "));
    assert_eq!(text(&gzip(&gzip(&gzip(&gzip(b""))))), "is packed more than 3 times over");
}

/// Returns xz data that asks for a dictionary of `2 << (11 + power)` bytes.
fn xz_with_dictionary(bytes: &[u8], power: u8) -> Vec<u8> {
    let mut packed = xz(bytes);
    // Behind the stream header of 12 bytes: the block header, whose filter is LZMA2 (0x21) with one byte of properties, and its CRC.
    let length = (usize::from(packed[12]) + 1) * 4;
    let (header, crc) = packed[12..12 + length].split_at_mut(length - 4);
    let filter = header.windows(2).position(|bytes| bytes == [0x21, 1]).expect("LZMA2");
    header[filter + 2] = 2 * power;
    let mut sum = flate2::Crc::new();
    sum.update(header);
    crc.copy_from_slice(&sum.sum().to_le_bytes());
    packed
}

#[test]
fn dictionaries_of_xz() {
    let plain = image(5000, 0, 5000, 0xa);
    for power in [9, 15] {
        assert!(kernel::read(&xz_with_dictionary(&plain, power)).expect("2 MiB, or 128 MiB").bytes == plain);
    }
    let error = kernel::read(&xz_with_dictionary(&plain, 16)).expect_err("256 MiB");
    assert_eq!(error, KernelError::TooMuchMemory("xz"));
    assert_eq!(
        error.to_string(),
        "needs more than 256 MiB of memory to be unpacked: pack it with xz and a smaller dictionary"
    );
}

#[test]
fn frames_of_zstd() {
    let plain = image(5000, 0, 5000, 0xa);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let (first, second) = (zstd(&plain[..2000]), zstd(&plain[2000..]));
    for whole in [
        [&first[..], &second].concat(),
        [&first[..], &skippable, &second].concat(),
        [&first[..], &second, &skippable, &[0; 9]].concat(),
    ] {
        assert!(kernel::read(&whole).expect("an Image").bytes == plain);
    }
    let refused = |bytes: &[u8]| kernel::read(bytes).expect_err("refused").to_string();
    // The checksum is what a frame ends with.
    let mut changed = zstd(&plain);
    *changed.last_mut().expect("a checksum") ^= 1;
    assert_eq!(refused(&changed), "is damaged zstd data: the content does not match its checksum");
    for behind in [&b"x"[..], b"\0x", b"more than a magic number", &skippable[..10], &second[..20]] {
        let text = refused(&[&zstd(&plain), behind].concat());
        assert!(text.starts_with("is damaged zstd data: "), "{text}");
    }
    assert!(refused(&zboot("zstd", b"")).starts_with("is damaged zstd data: "));
    // A window of 2 GiB, by RFC 8878 section 3.1.1.1.2, before any content.
    let error = kernel::read(&[0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0]).expect_err("2 GiB");
    assert_eq!(error, KernelError::TooMuchMemory("zstd"));
}

#[test]
#[ignore = "conformance: unpacks 256 MiB of zeros three times"]
fn bombs() {
    let zeros = vec![0; (kernel::SIZE_MAX + 1) as usize];
    for packed in [gzip(&zeros), xz(&zeros), zstd(&zeros)] {
        assert_eq!(kernel::read(&packed), Err(KernelError::TooLarge));
    }
}

/// Good files to damage.
static SAMPLES: LazyLock<[Vec<u8>; 8]> = LazyLock::new(|| {
    let plain = image(3000, 0, 3000, 0xa);
    [
        plain.clone(),
        gzip(&plain),
        xz(&plain),
        zstd(&plain),
        zboot("gzip", &gzip(&plain)),
        zboot("xz", &xz(&plain)),
        zboot("zstd", &zstd(&plain)),
        gzip(&zboot("gzip", &gzip(&plain))),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Anything gives an error or an Image, never a panic.
    #[test]
    fn damaged(kind in 0usize..8, hits in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6), cut in 0usize..3000) {
        let mut bytes = SAMPLES[kind].clone();
        for (at, value) in hits {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        bytes.truncate(bytes.len() - cut % bytes.len() / 4);
        let _ = kernel::read(&bytes);
    }
}
