//! Compressed images: the same bytes whatever the number of threads, read back by gzip, xz, zstd and by ourselves.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use imagegen::compress::{CompressError, Format, compress};
use imagegen::decompress;
use imagegen::tree::{Extent, Source};

const FORMATS: [(Format, &str); 3] = [(Format::Gzip, "gzip"), (Format::Xz, "xz"), (Format::Zstd, "zstd")];

/// Bytes of which ranges of zeros may be called holes.
struct Image {
    bytes: Vec<u8>,
    extents: Vec<Extent>,
}

impl Source for Image {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extents(&self) -> Vec<Extent> {
        self.extents.clone()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(
            self.extents.iter().any(|extent| {
                offset >= extent.offset && offset + buffer.len() as u64 <= extent.offset + extent.length
            }),
            "a hole was read"
        );
        self.bytes.read_at(offset, buffer)
    }
}

fn packed(source: &dyn Source, format: Format, threads: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last = 0;
    let mut progress = |done| {
        assert!(done > last && done <= source.size_bytes());
        last = done;
        ControlFlow::Continue(())
    };
    compress(source, format, 0, NonZeroUsize::new(threads).unwrap(), &mut out, &mut progress).unwrap();
    assert_eq!(last, source.size_bytes());
    out
}

fn unpacked(tool: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(tool).arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: cannot run {tool}");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
    let mut content = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut content).unwrap();
    feeder.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success(), "{tool} -d");
    Some(content)
}

/// Text, noise, zeros: what images are made of.
fn mixture(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes = vec![0; length];
    for (index, block) in bytes.chunks_mut(300_000).enumerate() {
        match index % 3 {
            0 => block.iter_mut().enumerate().for_each(|(at, byte)| *byte = b"hypervisor and guest\n"[at * 7 / 5 % 21]),
            1 => block.iter_mut().for_each(|byte| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }),
            _ => {}
        }
    }
    bytes
}

#[test]
fn any_number_of_threads_makes_the_same() {
    let chunk = |format| match format {
        Format::Gzip => 1 << 20,
        Format::Xz => 8 << 20,
        Format::Zstd => 4 << 20,
    };
    for (format, tool) in FORMATS {
        for length in [0, 1, chunk(format) * 2 + 70_000] {
            let content = mixture(length);
            let one = packed(&content, format, 1);
            for threads in [3, 8] {
                assert!(packed(&content, format, threads) == one, "{tool}, {length} bytes, {threads} threads");
            }
            let mut own = Vec::new();
            decompress::reader(Box::new(&one[..])).unwrap().read_to_end(&mut own).unwrap();
            assert!(own == content, "{tool}, {length} bytes: our own reader");
            if let Some(theirs) = unpacked(tool, &one) {
                assert!(theirs == content, "{tool} -d, {length} bytes");
            }
        }
    }
}

#[test]
fn holes_are_not_read_and_make_no_difference() {
    let mut bytes = vec![0; 20 << 20];
    let data = mixture(3_000_000);
    bytes[..data.len()].copy_from_slice(&data);
    bytes[17_000_000..17_000_000 + data.len()].copy_from_slice(&data);
    let length = data.len() as u64;
    let extents = vec![Extent { offset: 0, length }, Extent { offset: 17_000_000, length }];
    for (format, tool) in FORMATS {
        let sparse = packed(&Image { bytes: bytes.clone(), extents: extents.clone() }, format, 2);
        assert!(sparse == packed(&bytes, format, 2), "{tool}");
        assert!(unpacked(tool, &sparse).is_none_or(|theirs| theirs == bytes), "{tool}");
    }
}

#[test]
fn trouble_is_told() {
    let threads = NonZeroUsize::new(2).unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    for (format, _) in FORMATS {
        let result = compress(&Failing, format, 1, threads, &mut Vec::new(), go_on);
        assert!(matches!(result, Err(CompressError::Source(_))));
        let result = compress(&vec![0; 20 << 20], format, 1, threads, &mut Full, go_on);
        assert!(matches!(result, Err(CompressError::Output(_))));
        let result = compress(&vec![0; 20 << 20], format, 1, threads, &mut Vec::new(), &mut |_| ControlFlow::Break(()));
        assert!(matches!(result, Err(CompressError::Cancelled)));
    }
}

/// A source that cannot be read.
struct Failing;

impl Source for Failing {
    fn size_bytes(&self) -> u64 {
        30 << 20
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("the drawer is stuck"))
    }
}

/// A full disk.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
