//! The ELF file, as binutils sees it.

use std::io::{self, Write};
use std::process::Command;

use bootwrap::Payload;
use bootwrap::axf::{self, Segment};

use super::golden;

fn sample() -> Vec<u8> {
    let (boot, dtb): (Vec<u8>, Vec<u8>) = (vec![1; 0x234], vec![2; 0x1001]);
    let mut file = Vec::new();
    let segments = [
        Segment { name: ".boot", address: 0x8000_0000, payload: &boot, memory_bytes: 0x1000, executable: true },
        Segment { name: ".dtb", address: 0x8020_0008, payload: &dtb, memory_bytes: 0x1001, executable: false },
        Segment { name: ".initramfs", address: 0x8_8000_0000, payload: &boot, memory_bytes: 0x234, executable: false },
    ];
    axf::write(&mut file, 0x8000_0000, &segments).expect("written");
    file
}

#[test]
fn readelf_agrees() {
    let file = sample();
    let path = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(path.path(), &file).expect("written");
    let output = match Command::new("readelf").arg("-hlSsW").arg(path.path()).env("LC_ALL", "C").output() {
        Err(error) => return eprintln!("skipped: readelf: {error}"),
        Ok(output) => output,
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    golden::check("axf/readelf", &String::from_utf8_lossy(&output.stdout));
}

#[test]
fn segments_hold_their_bytes_at_congruent_offsets() {
    use object::read::elf::{FileHeader, ProgramHeader};
    let file = sample();
    let header = object::elf::FileHeader64::<object::Endianness>::parse(&*file).expect("an ELF file");
    let endian = header.endian().expect("a byte order");
    let headers = header.program_headers(endian, &*file).expect("headers");
    for (header, (byte, length)) in headers.iter().zip([(1, 0x234), (2, 0x1001), (1, 0x234)]) {
        assert_eq!(header.data(endian, &*file).expect("bytes"), vec![byte; length]);
        assert_eq!(header.p_offset(endian) % 0x1000, header.p_vaddr(endian) % 0x1000);
    }
}

#[test]
fn same_input_same_bytes() {
    assert_eq!(sample(), sample());
}

/// A payload that does not keep its word about its length.
struct Liar(u64, usize);

impl Payload for Liar {
    fn size_bytes(&self) -> u64 {
        self.0
    }

    fn copy_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&vec![0; self.1])
    }
}

#[test]
fn a_payload_that_changes_its_length_is_an_error() {
    for (liar, wanted) in
        [(Liar(10, 9), ".kernel: unexpected end of file"), (Liar(10, 11), ".kernel: grew while it was read")]
    {
        let segment = Segment { name: ".kernel", address: 0, payload: &liar, memory_bytes: 10, executable: false };
        assert_eq!(axf::write(&mut Vec::new(), 0, &[segment]).expect_err("refused").to_string(), wanted);
    }
}

/// A disk that is full after so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let bytes = vec![0; 0x10_0000];
    let segment = Segment { name: ".kernel", address: 0, payload: &bytes, memory_bytes: 0x10_0000, executable: false };
    let error = axf::write(&mut Full(0x1_0000), 0, &[segment]).expect_err("full").to_string();
    assert!(error.starts_with("ELF file: "), "{error}");
}
