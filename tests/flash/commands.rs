//! The command, on files: what it says, what it asks, which code it exits with.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::images::{KIB, MIB, Sample, read, sample, usual};

/// Runs `xenbuild flash`; returns its exit code, standard output, and standard error.
pub fn flash(arguments: &[&str]) -> (i32, String, String) {
    let output = command(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenbuild"));
    command.arg("flash").args(arguments);
    command
}

/// Makes a file that plays a card, with old content.
fn card(sample: &Sample, size_bytes: u64) -> PathBuf {
    let path = sample.folder.path().join("card");
    fs::write(&path, vec![0xaa; size_bytes as usize]).unwrap();
    path
}

fn show(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_file_is_flashed_and_grown() {
    let sample = usual().with_partition(2048, 18 * 1024);
    let card = card(&sample, 16 * MIB);
    let (code, out, err) = flash(&[show(&sample.path), show(&card), "--yes", show(&card), "--grow"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("Partition 1 grows from 9.0 MiB to 15.0 MiB; the file system in it keeps its size."), "{err}");
    assert!(err.contains("card holds card.img: 3.0 MiB written, 7.0 MiB cleared, all read back and the same"), "{err}");
    let bytes = read(&card);
    assert!(bytes[512..10 * MIB as usize] == sample.bytes[512..]);
    assert_eq!((bytes.len() as u64, bytes[10 * MIB as usize]), (16 * MIB, 0xaa));
    // Now its partition is what would be lost.
    let (code, _, err) = flash(&[show(&sample.path), show(&card), "--dry-run"]);
    assert_eq!(code, 0);
    assert!(err.contains("All of it will be lost:\n    partition 1    15.0 MiB  marked as Linux"), "{err}");
    assert!(read(&card) == bytes);
}

#[test]
fn odd_sizes_are_flashed_too() {
    // Neither the image nor the file ends with a sector.
    let sample = sample(3 * MIB + 777, &[(0, 10), (3 * MIB, 777)]);
    let card = card(&sample, 3 * MIB + 777);
    let (code, _, err) = flash(&[show(&sample.path), "--yes", show(&card)]);
    assert_eq!(code, 0, "{err}");
    assert!(read(&card) == sample.bytes);
}

#[test]
fn a_map_beside_the_image_is_used() {
    let sample = usual().with_map().gzip();
    let card = card(&sample, 12 * MIB);
    let (code, _, err) = flash(&[show(&sample.path), "--yes", show(&card)]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("card.img.bmap maps") && err.contains("3.0 MiB written, all read back"), "{err}");
    assert_eq!(read(&card)[MIB as usize], 0xaa);
    let (code, _, err) = flash(&[show(&sample.path), "--yes", show(&card), "--no-bmap"]);
    assert_eq!(code, 0, "{err}");
    assert!(read(&card)[..10 * MIB as usize] == sample.bytes[..]);
    // A map of another image.
    let other = super::images::map_of(&sample.bytes, &[(0, 8 * KIB)]).replace("<ImageSize>10", "<ImageSize>20");
    fs::write(sample.folder.path().join("card.img.bmap"), other).unwrap();
    let (code, _, err) = flash(&[show(&sample.path), "--yes", show(&card)]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("does not match its own checksum") && err.contains("--no-bmap"), "{err}");
}

#[test]
fn guards_hold_for_files() {
    let sample = usual();
    let card = card(&sample, 10 * MIB - 512);
    let image = show(&sample.path);
    let refused = |arguments: &[&str], wanted: i32, text: &str| {
        let (code, _, err) = flash(arguments);
        assert_eq!(code, wanted, "{err}");
        assert!(err.contains(text), "{err}");
    };
    refused(
        &[image, "--yes", show(&card)],
        7,
        "is refused: it is too small: it has 10.0 MiB, the image needs 10.0 MiB (512 bytes more)",
    );
    refused(&[image, "--yes", image], 7, "is refused: it is the image itself");
    let link = sample.folder.path().join("link");
    fs::hard_link(&sample.path, &link).unwrap();
    refused(&[image, "--yes", show(&link)], 7, "it is the image itself");
    refused(&[image, "--yes", "/dev/null"], 2, "is neither a disk nor a file");
    refused(&[image, "--yes", "/dev/nosuchdisk"], 2, "there is no such device or file, and none is made");
    assert!(!Path::new("/dev/nosuchdisk").exists());
    refused(&[image, show(&card), "--yes", "other"], 7, "too small");
    File::options().write(true).open(&card).unwrap().set_len(16 * MIB).unwrap();
    let before = read(&card);
    refused(&[image, show(&card), "--yes", "other"], 2, "--yes other names another device than ");
    refused(&[image, show(&card)], 2, "standard input is not a terminal");
    let held = File::open(&card).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    refused(&[image, "--yes", show(&card)], 7, "is in use: another program has locked it");
    drop(held);
    fs::set_permissions(&card, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    refused(&[image, "--yes", show(&card)], 7, "its mode says that nobody writes it");
    assert!(read(&card) == before);
}

#[test]
fn what_is_no_image_is_told() {
    let sample = usual().with_map();
    let card = card(&sample, 16 * MIB);
    let cases: [(&str, &[u8], i32, &str); 6] = [
        ("empty", b"", 4, "is empty"),
        ("card.axf", b"\x7fELF\x02\x01\x01", 4, "is an ELF program"),
        ("vm.qcow2", b"QFI\xfb\0\0\0\x03", 4, "is a qcow2 image"),
        ("a.zip", b"PK\x03\x04", 4, "is a zip archive"),
        ("a.gz", b"\x1f\x8b\x08\0\0\0\0\0", 4, "the gzip stream is truncated"),
        ("a.lz4", b"\x04\x22\x4d\x18", 4, "compressed with lz4"),
    ];
    for (name, bytes, wanted, text) in cases {
        let path = sample.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let (code, _, err) = flash(&[show(&path), "--yes", show(&card)]);
        assert_eq!(code, wanted, "{err}");
        assert!(err.contains(text), "{err}");
    }
    let map = sample.folder.path().join("card.img.bmap");
    let (code, _, err) = flash(&[show(&map), "--yes", show(&card)]);
    assert!(code == 4 && err.contains("is a block map, not an image"), "{err}");
    let (code, _, err) = flash(&[show(sample.folder.path()), "--yes", show(&card)]);
    assert!(code == 2 && err.contains("is not a file"), "{err}");
    let (code, _, err) = flash(&["/nosuch.img"]);
    assert!(code == 6 && err.contains("cannot read /nosuch.img"), "{err}");
    assert!(read(&card).iter().all(|byte| *byte == 0xaa));
}

#[test]
fn events_are_json() {
    let sample = usual().with_map();
    let card = card(&sample, 16 * MIB);
    let (code, out, err) = flash(&[show(&sample.path), "--yes", show(&card), "--message-format=json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    for name in ["note", "plan", "begin", "total", "progress", "end"] {
        assert!(names.contains(&name), "{name}: {out}");
    }
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["image"]), (&"flashed".into(), &"card.img".into()));
    assert_eq!(last["written-bytes"], 40 * KIB + 3 * MIB + 4096);
    assert_eq!(last["compared-bytes"], last["written-bytes"]);
    // The list, in which every refusal says which and why.
    let (code, out, _) = flash(&[show(&sample.path), "--message-format=json"]);
    assert_eq!(code, 0);
    for line in out.lines() {
        let device: Value = serde_json::from_str(line).unwrap();
        assert_eq!(device["event"], "device");
        assert!(device["path"].as_str().unwrap().starts_with("/dev/"));
        for refused in device["refused"].as_array().unwrap() {
            assert!(!refused["reason"].as_str().unwrap().is_empty() && !refused["text"].as_str().unwrap().is_empty());
        }
    }
}

#[test]
fn an_interruption_says_what_has_become_of_the_card() {
    // Two gibibytes of zeros take some seconds to unpack, and little room.
    let folder = tempfile::TempDir::new().unwrap();
    let image = folder.path().join("image.gz");
    let mut writer = imagegen::decompress::gzip_writer(File::create(&image).unwrap(), 1);
    writer.write_all(&[7; 4096]).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..2048).for_each(|_| writer.write_all(&zeros).unwrap());
    writer.finish().unwrap();
    let card = folder.path().join("card");
    let file = File::create(&card).unwrap();
    (&file).write_all(&[0xaa; 8192]).unwrap();
    file.set_len(3 << 30).unwrap();
    let mut child = command(&[show(&image), "--yes", show(&card), "--message-format=json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = rustix::process::Pid::from_child(&child);
    let mut sent = false;
    for line in lines {
        if !sent && line.unwrap().contains("\"progress\"") {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            sent = true;
        }
    }
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{err}");
    assert!(err.contains("error: interrupted: ") && err.contains("card is unusable as it is"), "{err}");
    let mut head = [1; 8192];
    File::open(&card).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(head, [0; 8192]);
}

/// Runs the command on a terminal, types an answer to its question, and returns the exit code and what it said.
fn answer(arguments: &[&str], text: &str) -> (i32, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut child =
        command(arguments).stdin(OwnedFd::from(slave)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut terminal = File::from(terminal);
    terminal.write_all(text.as_bytes()).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), err)
}

#[test]
fn the_name_is_asked_for() {
    let sample = usual();
    let path = card(&sample, 16 * MIB);
    let old = read(&path);
    for wrong in ["\n", "y\n", "yes\n", "car\n", "card.img\n", "/\n"] {
        let (code, err) = answer(&[show(&sample.path), show(&path)], wrong);
        assert_eq!(code, 2, "{err}");
        assert!(
            err.contains("Type its name, card, to overwrite it: error: that was not its name: nothing was written"),
            "{err}"
        );
        assert!(read(&path) == old);
    }
    let (code, err) = answer(&[show(&sample.path), show(&path)], "card\n");
    assert_eq!(code, 0, "{err}");
    assert!(read(&path)[..10 * MIB as usize] == sample.bytes[..]);
}
