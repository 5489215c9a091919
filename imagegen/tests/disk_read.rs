//! Partition tables, growth, signatures and block maps, against the programs that people make them with.
//!
//! What is missing on this machine is announced on stderr and its part skipped.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use imagegen::disk::grow::{Growth, grow};
use imagegen::disk::table::{self, Table, TableError};
use imagegen::disk::{Scheme, bmap, signature};
use proptest::prelude::*;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Runs a tool with this input; returns its output, or nothing where it is missing.
fn tool(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: cannot run {program}: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    Some(text)
}

/// Makes an image of this size and partitions it as sfdisk's script says.
fn image(folder: &TempDir, size_bytes: u64, script: &str) -> Option<PathBuf> {
    let path = folder.path().join("image");
    File::create(&path).unwrap().set_len(size_bytes).unwrap();
    tool("sfdisk", &["-q", "--no-tell-kernel", path.to_str().unwrap()], script)?;
    Some(path)
}

fn reader(path: &Path) -> impl FnMut(u64, &mut [u8]) -> std::io::Result<()> + use<> {
    let file = File::open(path).unwrap();
    move |at, buffer| file.read_exact_at(buffer, at)
}

fn table(path: &Path) -> Table {
    table::read(&mut reader(path), fs::metadata(path).unwrap().len()).unwrap().expect("a table")
}

fn ranges(table: &Table) -> Vec<(u32, u64, u64)> {
    table.partitions.iter().map(|p| (p.number, p.range.start / 512, p.range.end / 512)).collect()
}

/// Fits an image to a larger device, as flashing does.
fn grown(path: &Path, device_bytes: u64) -> Growth {
    let table = table(path);
    let growth = grow(&mut reader(path), &table, device_bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(device_bytes).unwrap();
    growth.patches.iter().for_each(|patch| file.write_all_at(&patch.bytes, patch.offset).unwrap());
    growth
}

#[test]
fn gpt_is_read_and_grows() {
    let folder = TempDir::new().unwrap();
    let script =
        "label: gpt\nstart=2048, size=4096, type=uefi, name=boot\nstart=8192, size=16384, name=\"r\u{f6}\u{f6}t\"\n";
    let Some(path) = image(&folder, 16 * MIB, script) else { return };
    let before = table(&path);
    assert!(before.scheme == Scheme::Gpt);
    assert_eq!(ranges(&before), [(1, 2048, 6144), (2, 8192, 24576)]);
    assert_eq!((before.partitions[0].name.as_str(), before.partitions[1].name.as_str()), ("boot", "r\u{f6}\u{f6}t"));
    assert_eq!(before.partitions[0].purpose(), Some("EFI system partition"));
    assert_eq!(before.end_bytes, 16 * MIB);
    // Devices a little larger, whose new backup lies over the old one; much larger; and of odd sizes.
    for device_bytes in [16 * MIB + 512, 16 * MIB + 20 * 512, 17 * MIB, 100 * MIB, 100 * MIB + 7 * 512] {
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        let growth = grown(&copy, device_bytes);
        assert_eq!((growth.number, growth.from.clone()), (2, 8192 * 512..24576 * 512));
        let after = table(&copy);
        assert_eq!(after.end_bytes, device_bytes);
        assert_eq!(after.partitions[1].range, growth.to);
        assert!(growth.to.end + 34 * 512 <= device_bytes && growth.to.end + 2 * MIB > device_bytes, "{growth:?}");
        if let Some(text) = tool("sgdisk", &["-v", copy.to_str().unwrap()], "") {
            assert!(text.contains("No problems found"), "{device_bytes}: {text}");
        }
        if let Some(text) = tool("sfdisk", &["--verify", copy.to_str().unwrap()], "") {
            assert!(text.contains("No errors detected") && !text.contains("mismatch"), "{device_bytes}: {text}");
        }
    }
}

#[test]
fn a_gpt_of_large_sectors_is_read_and_grows() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("image");
    File::create(&path).unwrap().set_len(16 * MIB).unwrap();
    let Some(_) = tool("sfdisk", &["--version"], "") else { return };
    let arguments = ["-q", "--sector-size", "4096", path.to_str().unwrap()];
    let made = Command::new("sfdisk").args(arguments).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut made) = made else { return eprintln!("skipped: no sfdisk in PATH") };
    // One that does not know the option is gone before it has read anything.
    let _ = made.stdin.take().unwrap().write_all(b"label: gpt\nstart=256, size=1024\n");
    if !made.wait().unwrap().success() {
        return eprintln!("skipped: this sfdisk knows one size of sectors");
    }
    assert_eq!(table(&path).sector_bytes, 4096);
    grown(&path, 32 * MIB);
    let after = table(&path);
    assert_eq!((after.end_bytes, after.partitions[0].range.clone()), (32 * MIB, MIB..31 * MIB));
}

#[test]
fn a_hybrid_mbr_grows_with_its_gpt() {
    let folder = TempDir::new().unwrap();
    let Some(path) = image(&folder, 16 * MIB, "label: gpt\nstart=2048, size=4096\nstart=8192, size=16384\n") else {
        return;
    };
    let Some(_) = tool("sgdisk", &["--hybrid=2", path.to_str().unwrap()], "") else { return };
    let growth = grown(&path, 64 * MIB);
    let mut sector = [0; 512];
    reader(&path)(0, &mut sector).unwrap();
    let mirrored = sector[446..510].chunks(16).find(|entry| entry[4] != 0 && entry[4] != 0xee).unwrap();
    let sectors = u32::from_le_bytes(mirrored[12..].try_into().unwrap());
    assert_eq!(u64::from(sectors) * 512, growth.to.end - growth.to.start);
    assert!(tool("sgdisk", &["-v", path.to_str().unwrap()], "").unwrap().contains("No problems found"));
}

#[test]
fn mbr_is_read_and_grows() {
    let folder = TempDir::new().unwrap();
    let script = "label: dos\nstart=2048, size=4096, type=c, bootable\nstart=8192, size=16384\n";
    let Some(path) = image(&folder, 16 * MIB, script) else { return };
    assert_eq!(ranges(&table(&path)), [(1, 2048, 6144), (2, 8192, 24576)]);
    let growth = grown(&path, 100 * MIB + 512);
    assert_eq!(growth.to, 4 * MIB..100 * MIB);
    assert_eq!(ranges(&table(&path))[1], (2, 8192, 204800));
    let text = tool("sfdisk", &["--verify", path.to_str().unwrap()], "").unwrap();
    assert!(text.contains("No errors detected"), "{text}");
    // A device beyond what 32 bits of sectors reach.
    let growth = grow(&mut reader(&path), &table(&path), 4 << 40).unwrap();
    assert!(growth.to.end - growth.to.start <= (1 << 32) * 512, "{growth:?}");
    assert!(growth.to.end > (2 << 40) - 8 * MIB);
}

#[test]
fn logical_partitions_are_read_and_grow() {
    let folder = TempDir::new().unwrap();
    let script = "label: dos\nstart=2048, size=4096, type=c\nstart=8192, size=20480, type=f\n\
                  start=10240, size=2048\nstart=14336, size=8192\n";
    let Some(path) = image(&folder, 16 * MIB, script) else { return };
    let numbers: Vec<u32> = table(&path).partitions.iter().map(|p| p.number).collect();
    assert_eq!(numbers, [1, 2, 5, 6]);
    let growth = grown(&path, 64 * MIB);
    assert_eq!((growth.number, growth.to), (6, 7 * MIB..64 * MIB));
    let after = ranges(&table(&path));
    assert_eq!((after[1], after[3]), ((2, 8192, 131072), (6, 14336, 131072)));
    let text = tool("sfdisk", &["--verify", path.to_str().unwrap()], "").unwrap();
    assert!(text.contains("No errors detected"), "{text}");
    let dump = tool("sfdisk", &["-d", path.to_str().unwrap()], "").unwrap();
    assert!(dump.contains("start=       14336, size=      116736"), "{dump}");
}

#[test]
fn damage_is_told() {
    let folder = TempDir::new().unwrap();
    let Some(path) = image(&folder, 16 * MIB, "label: gpt\nstart=2048, size=4096\n") else { return };
    let damage = |at: u64, reason: &str| {
        let copy = folder.path().join("damaged");
        fs::copy(&path, &copy).unwrap();
        let mut byte = [0];
        reader(&copy)(at, &mut byte).unwrap();
        File::options().write(true).open(&copy).unwrap().write_all_at(&[byte[0] ^ 1], at).unwrap();
        match table::read(&mut reader(&copy), 16 * MIB) {
            Err(TableError::Corrupt(found)) => assert!(found.contains(reason), "{found}"),
            other => panic!("{reason}: {other:?}"),
        }
    };
    damage(512 + 40, "header does not match");
    damage(1024 + 40, "entries do not match");
    damage(512, "no GPT header");
}

/// Makes a copy of an image with single bits turned over.
fn damaged(path: &Path, places: &[u64]) -> PathBuf {
    let copy = path.with_extension("damaged");
    fs::copy(path, &copy).unwrap();
    let file = File::options().write(true).open(&copy).unwrap();
    for &at in places {
        let mut byte = [0];
        reader(&copy)(at, &mut byte).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    copy
}

/// Reads what can be read, and what is told of it.
fn salvaged(path: &Path) -> (Result<Option<Table>, TableError>, Vec<String>) {
    let mut told = Vec::new();
    let read =
        table::read_damaged(&mut reader(path), fs::metadata(path).unwrap().len(), &mut |damage| told.push(damage));
    (read, told)
}

#[test]
fn a_damaged_gpt_is_read_from_its_backup() {
    let folder = TempDir::new().unwrap();
    let script = "label: gpt\nstart=2048, size=4096, name=boot\nstart=8192, size=4096, name=root\n";
    let Some(path) = image(&folder, 16 * MIB, script) else { return };
    let whole = table(&path);
    assert_eq!(salvaged(&path).1, Vec::<String>::new());
    let last = 16 * MIB - 512;
    for (places, reason) in [
        (&[512 + 40][..], "header does not match"),
        (&[1024 + 40], "entries do not match"),
        (&[512], "no GPT header"),
        (&[512 + 8, 512 + 32, 1024, 1024 + 129], "header does not match"),
    ] {
        let copy = damaged(&path, places);
        let (read, told) = salvaged(&copy);
        let read = read.unwrap().unwrap();
        let same = |one: &Table| -> Vec<_> {
            one.partitions.iter().map(|p| (p.number, p.range.clone(), p.name.clone(), p.guid)).collect()
        };
        assert_eq!((same(&read), read.end_bytes, read.scheme), (same(&whole), whole.end_bytes, whole.scheme));
        assert!(told.len() == 1 && told[0].contains("its backup") && told[0].contains(reason), "{told:?}");
        // Who made such tables sees the same in what is left.
        if let Some(text) = tool("sgdisk", &["-p", copy.to_str().unwrap()], "") {
            assert!(text.contains("8192") && text.contains("12287") && text.contains("root"), "{text}");
        }
    }
    // A backup that is damaged, too, or says that it is somewhere else, is none.
    for places in [&[512, last][..], &[512, last + 40], &[512 + 40, last - 32 * 512]] {
        let (read, told) = salvaged(&damaged(&path, places));
        let error = read.unwrap_err().to_string();
        assert!(error.contains("no backup") && told.is_empty(), "{error} {told:?}");
    }
    // On a larger disk it is where the primary header says, if only the entries are damaged.
    let copy = damaged(&path, &[1024 + 40]);
    File::options().write(true).open(&copy).unwrap().set_len(32 * MIB).unwrap();
    assert_eq!(ranges(&salvaged(&copy).0.unwrap().unwrap()), ranges(&whole));
}

#[test]
fn partitions_before_a_bad_link_are_read() {
    let folder = TempDir::new().unwrap();
    let script = "label: dos\nstart=2048, size=2048, type=c\nstart=4096, size=20480, type=5\n\
        start=6144, size=2048, type=83\nstart=10240, size=2048, type=83\nstart=14336, size=2048, type=83\n";
    let Some(path) = image(&folder, 16 * MIB, script) else { return };
    let whole = table(&path);
    assert_eq!(whole.partitions.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 2, 5, 6, 7]);
    let links: Vec<u64> = whole.partitions[3..].iter().map(|p| p.range.start / 512).collect();
    // The table of the third, the link to it, which then leads past the end, and a chain that is a ring.
    let second = (4096 + u64::from(u32_at(&path, 4096 * 512 + 446 + 16 + 8))) * 512;
    let third = (4096 + u64::from(u32_at(&path, second + 446 + 16 + 8))) * 512;
    assert!(second / 512 < links[0] && third / 512 < links[1]);
    for (place, numbers, reason) in [
        (third + 510, &[1, 2, 5, 6][..], "logical partition 7 has no table"),
        (second + 446 + 16 + 8 + 3, &[1, 2, 5, 6], "past the end"),
        (second + 510, &[1, 2, 5], "logical partition 6 has no table"),
    ] {
        let copy = damaged(&path, &[place]);
        assert!(table::read(&mut reader(&copy), 16 * MIB).is_err());
        let (read, told) = salvaged(&copy);
        let found: Vec<u32> = read.unwrap().unwrap().partitions.iter().map(|p| p.number).collect();
        assert_eq!(found, numbers);
        assert!(told.len() == 1 && told[0].contains(reason), "{told:?}");
    }
    let copy = damaged(&path, &[]);
    let file = File::options().write(true).open(&copy).unwrap();
    file.write_all_at(&((second / 512 - 4096) as u32).to_le_bytes(), second + 446 + 16 + 8).unwrap();
    let (read, told) = salvaged(&copy);
    assert!(read.unwrap().unwrap().partitions.len() > 3);
    assert!(told.len() == 1 && told[0].contains("does not end"), "{told:?}");
}

fn u32_at(path: &Path, at: u64) -> u32 {
    let mut bytes = [0; 4];
    reader(path)(at, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

#[test]
fn file_systems_are_recognised() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fs");
    let shown = path.to_str().unwrap();
    let cases: [(&str, &[&str], &str, &str); 8] = [
        ("mke2fs", &["-q", "-F", "-t", "ext2", "-L", "two", shown], "ext2", "two"),
        ("mke2fs", &["-q", "-F", "-t", "ext3", "-L", "three", shown], "ext3", "three"),
        ("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "four", shown], "ext4", "four"),
        ("mkfs.fat", &["-F", "12", "-n", "TWELVE", shown], "FAT12", "TWELVE"),
        ("mkfs.fat", &["-F", "16", "-n", "SIXTEEN", shown], "FAT16", "SIXTEEN"),
        ("mkfs.fat", &["-F", "32", shown], "FAT32", ""),
        ("mkswap", &["-L", "pages", shown], "swap", "pages"),
        ("mkfs.btrfs", &["-q", "-L", "tree", shown], "Btrfs", "tree"),
    ];
    for (program, arguments, kind, label) in cases {
        File::create(&path).unwrap().set_len(128 * MIB).unwrap();
        if tool(program, arguments, "").is_none() {
            continue;
        }
        let found = signature::identify(&mut reader(&path), 128 * MIB).unwrap().expect(kind);
        assert_eq!((found.kind, found.label.as_str()), (kind, label));
        assert_eq!(found.member_of, None);
        if kind.starts_with("ext") {
            let (used, all) = found.used.unwrap();
            assert!(used > 0 && used < 16 * MIB && all == 128 * MIB, "{used} of {all}");
        }
        // A boot sector is no partition table, although it ends like one.
        assert_eq!(table::read(&mut reader(&path), 128 * MIB).unwrap(), None, "{kind}");
    }
    File::create(&path).unwrap().set_len(128 * MIB).unwrap();
    assert_eq!(signature::identify(&mut reader(&path), 128 * MIB).unwrap(), None);
}

#[test]
fn members_of_something_larger_are_recognised() {
    let name = |bytes: &[u8]| {
        let mut disk = |at: u64, buffer: &mut [u8]| {
            buffer.copy_from_slice(&bytes[at as usize..at as usize + buffer.len()]);
            Ok(())
        };
        signature::identify(&mut disk, bytes.len() as u64).unwrap().map(|found| (found.kind, found.member_of.is_some()))
    };
    let with = |at: usize, magic: &[u8]| {
        let mut bytes = vec![0; 1 << 20];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        bytes
    };
    let mut lvm = with(512, b"LABELONE");
    lvm[512 + 24..512 + 32].copy_from_slice(b"LVM2 001");
    assert_eq!(name(&lvm), Some(("LVM", true)));
    assert_eq!(name(&with(512, b"LABELONE")), None);
    // md(4): 1.2 after 4 KiB, 1.1 at the start, 1.0 and 0.90 near the end.
    let md = [0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0];
    for at in [4096, 0, (1 << 20) - 8192, (1 << 20) - 65536] {
        assert_eq!(name(&with(at, &md)), Some(("Linux RAID", true)), "{at}");
    }
    assert_eq!(name(&with(0, b"LUKS\xba\xbe\0\x02")), Some(("LUKS", false)));
    assert_eq!(name(&with(0, b"hsqs")), Some(("SquashFS", false)));
}

#[test]
fn bmaptool_is_understood() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("image");
    let file = File::create(&path).unwrap();
    file.set_len(8 * MIB + 512).unwrap();
    file.write_all_at(&[7; 10_000], 0).unwrap();
    file.write_all_at(&[8; 100], 8 * MIB).unwrap();
    file.sync_all().unwrap();
    let Some(text) = tool("bmaptool", &["-q", "create", path.to_str().unwrap()], "") else { return };
    let map = bmap::read(text.as_bytes()).unwrap();
    assert_eq!(map.image_bytes, 8 * MIB + 512);
    let ranges: Vec<_> = map.mapped.iter().map(|mapped| mapped.range.clone()).collect();
    assert_eq!(ranges, [0..12288, 8 * MIB..8 * MIB + 512]);
    assert!(map.mapped.iter().all(|mapped| mapped.sha256.is_some()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any bytes behind the marks that make a table of them.
    #[test]
    fn tables_of_noise_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 8192),
        gpt: bool,
        device in 8192u64..1 << 50,
    ) {
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        if gpt {
            bytes[450] = 0xee;
            bytes[512..520].copy_from_slice(b"EFI PART");
        } else {
            for entry in 0..4 {
                bytes[446 + entry * 16] &= 0x80;
            }
        }
        let mut disk = |at: u64, buffer: &mut [u8]| {
            let at = at as usize % 4096;
            buffer.fill(0);
            let length = buffer.len().min(4096);
            buffer[..length].copy_from_slice(&bytes[at..at + length]);
            Ok(())
        };
        if let Ok(Some(table)) = table::read(&mut disk, 1 << 40) {
            let _ = grow(&mut disk, &table, device);
        }
        let _ = table::read_damaged(&mut disk, 1 << 40, &mut |_| {});
        let _ = signature::identify(&mut disk, device);
    }

    /// A good GPT with a few bytes changed and its checksums made right again.
    #[test]
    fn changed_gpts_never_panic(changes in prop::collection::vec((0usize..80, any::<u8>()), 1..6), device in 0u64..1 << 45) {
        let mut bytes = vec![0u8; 64 << 10];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[450] = 0xee;
        let header: [(usize, u64); 8] =
            [(0, u64::from_le_bytes(*b"EFI PART")), (8, 0x5c_0001_0000), (24, 1), (32, 127), (40, 34), (48, 94), (72, 2), (80, 0x80_0000_0004)];
        header.iter().for_each(|(at, value)| bytes[512 + at..520 + at].copy_from_slice(&value.to_le_bytes()));
        bytes[1024] = 1;
        bytes[1024 + 32..1024 + 48].copy_from_slice(&[40, 0, 0, 0, 0, 0, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0]);
        for (at, value) in changes {
            // The header's numbers, or those of the first entry.
            let place = if at < 60 { 512 + 24 + at } else { 1024 + 28 + at - 60 };
            bytes[place] = value;
        }
        let crc = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum().to_le_bytes()
        };
        let entries = crc(&bytes[1024..1024 + 512]);
        bytes[512 + 88..512 + 92].copy_from_slice(&entries);
        bytes[512 + 16..512 + 20].fill(0);
        let sum = crc(&bytes[512..512 + 92]);
        bytes[512 + 16..512 + 20].copy_from_slice(&sum);
        let mut disk = |at: u64, buffer: &mut [u8]| {
            let end = at as usize + buffer.len();
            buffer.copy_from_slice(bytes.get(at as usize..end).ok_or(std::io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        if let Ok(Some(table)) = table::read(&mut disk, 64 << 10) {
            let _ = grow(&mut disk, &table, device);
        }
        let _ = table::read_damaged(&mut disk, 64 << 10, &mut |_| {});
    }
}
