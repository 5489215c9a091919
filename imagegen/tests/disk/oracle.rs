//! Makes disks, and asks the strangers about them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use imagegen::disk::{Content, Gap, Guid, Options, Partition, PartitionType, Plan, Scheme};
use imagegen::tree::{Extent, Source};
use tempfile::TempDir;

/// A disk on disk, deleted with its folder.
pub struct Disk {
    pub folder: TempDir,
    pub path: PathBuf,
}

/// Returns a GUID for a test.
pub fn guid(number: u8) -> Guid {
    Guid([number; 16])
}

/// Returns options with fixed identities.
pub fn options(scheme: Scheme) -> Options {
    Options::new(scheme, guid(0xdd), 0x1234_abcd)
}

/// Returns options for a disk of this size.
pub fn sized(scheme: Scheme, mib: u64) -> Options {
    Options { size_bytes: Some(mib << 20), ..options(scheme) }
}

/// Returns a partition with that many bytes of content.
pub fn partition(name: &str, kind: &str, bytes: usize) -> Partition {
    let kind = PartitionType::parse(kind).unwrap();
    let number = name.bytes().fold(0_u8, |sum, byte| sum.rotate_left(3) ^ byte);
    let content = (bytes > 0).then(|| content(bytes, number));
    Partition { content, ..Partition::new(name, kind, guid(number)) }
}

/// Returns content without a pattern.
pub fn content(bytes: usize, seed: u8) -> Content {
    let mut state = u64::from(seed) | 0x9e37_79b9_0000_0000;
    let mut noise = vec![0; bytes];
    for chunk in noise.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    Content { source: Arc::new(noise), mapped: None }
}

/// Content with a hole between its ends.
pub struct Hollow {
    pub size: u64,
    pub end: u64,
}

impl Source for Hollow {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn extents(&self) -> Vec<Extent> {
        vec![Extent { offset: 0, length: self.end }, Extent { offset: self.size - self.end, length: self.end }]
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (at, byte) in (offset..).zip(buffer) {
            *byte = if at < self.end || at >= self.size - self.end { 0x5a } else { 0 };
        }
        Ok(())
    }
}

/// Makes a disk and compares what lies in its partitions and gaps with what was to.
pub fn make(options: &Options, partitions: &[Partition], gaps: &[Gap]) -> Disk {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let plan = Plan::new(options, partitions, gaps).unwrap_or_else(|error| panic!("{error}"));
    let file = File::create_new(&path).unwrap();
    let mut last = 0;
    let mut progress = |done: u64| {
        assert!(done >= last && done <= plan.content_bytes());
        last = done;
        ControlFlow::Continue(())
    };
    plan.write(&file, &mut progress).unwrap();
    assert_eq!((last, file.metadata().unwrap().len()), (plan.content_bytes(), plan.size_bytes()));
    let whole: Vec<u8> = if plan.size_bytes() < 256 << 20 { std::fs::read(&path).unwrap() } else { Vec::new() };
    let places = (0..partitions.len()).map(|index| plan.place(index).0);
    let contents = partitions.iter().map(|one| one.content.as_ref()).zip(places);
    for (content, start) in contents.chain(gaps.iter().map(|gap| (Some(&gap.content), gap.offset))) {
        let Some(content) = content.filter(|_| !whole.is_empty()) else { continue };
        let mut expected = vec![0; content.source.size_bytes() as usize];
        content.source.read_at(0, &mut expected).unwrap();
        assert!(whole[start as usize..][..expected.len()] == expected);
    }
    Disk { folder, path }
}

/// Makes a disk and shows it to everyone; returns what sfdisk dumps.
pub fn check(options: &Options, partitions: &[Partition], gaps: &[Gap]) -> String {
    let disk = make(options, partitions, gaps);
    if let Some((success, text)) = run("sfdisk", &["--verify".as_ref(), disk.path.as_ref()]) {
        // How much room is left is a matter of sizes, all else of errors.
        let said = ["No errors detected.", "Header version: ", "Using ", "A total of ", "Remaining "];
        let fine =
            |line: &str| line.is_empty() || said.iter().any(|start| line.starts_with(start)) || line.ends_with("disk:");
        assert!(success && text.lines().all(fine), "sfdisk --verify:\n{text}");
    }
    if options.scheme.has_gpt()
        && let Some((success, text)) = run("sgdisk", &["-v".as_ref(), disk.path.as_ref()])
    {
        // Ends are as exact as contents; where partitions begin is to be right.
        let caution = |line: &str| line.starts_with("Caution") && !line.contains("doesn't end on");
        let fine = success && text.contains("No problems found") && !text.lines().any(caution);
        assert!(fine || options.scheme == Scheme::Hybrid, "sgdisk -v:\n{text}");
        assert!(!text.contains("CRC") && !text.contains("corrupt"), "sgdisk -v:\n{text}");
    }
    let kind = if options.scheme.has_gpt() { "gpt" } else { "dos" };
    if let Some((_, text)) = run("blkid", &["-p".as_ref(), "-o".as_ref(), "export".as_ref(), disk.path.as_ref()]) {
        assert!(text.contains(&format!("PTTYPE={kind}")) || options.scheme == Scheme::Hybrid, "blkid -p:\n{text}");
    }
    let arguments = ["--show", "--noheadings", "--bytes", "--output", "START,SECTORS"].map(OsStr::new);
    let plan = Plan::new(options, partitions, gaps).unwrap();
    if let Some((_, text)) = run("partx", &[&arguments[..], &[disk.path.as_ref()]].concat()) {
        let mut expected: Vec<String> = (0..partitions.len())
            .map(|index| plan.place(index))
            .map(|(start, end)| format!("{} {}", start / 512, (end - start) / 512))
            .collect();
        let mut found: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        if found.len() > expected.len() {
            // The extended partition, which is no wish of anybody's.
            found.retain(|line| expected.contains(line));
        }
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "partx:\n{text}");
    }
    dump(&disk.path)
}

/// Returns what sfdisk dumps of a disk, without its name.
pub fn dump(path: &Path) -> String {
    let Some((_, text)) = run("sfdisk", &["--dump".as_ref(), path.as_ref()]) else { return String::new() };
    text.replace(&path.display().to_string(), "disk")
}

/// Runs a tool; `None`, announced, if it is not installed.
pub fn run(tool: &str, arguments: &[&OsStr]) -> Option<(bool, String)> {
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    match Command::new(tool).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").env("PATH", paths).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            Some((output.status.success(), text))
        }
        Err(error) => {
            eprintln!("skipped: cannot run {tool}: {error}");
            None
        }
    }
}
