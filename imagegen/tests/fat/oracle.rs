//! The strangers: each gets an image and the tree it was made from, and compares everything it can see.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use imagegen::archive::slice::FileSlice;
use imagegen::fat::{Fat, Options, Plan, Width};
use imagegen::tree::{Kind, Metadata, Timestamp, Tree};
use imagegen::volume::Volume;
use tempfile::TempDir;

use crate::{mount, volume};

/// An image on disk, deleted with its folder.
pub struct Image {
    pub folder: TempDir,
    pub path: PathBuf,
}

/// Returns options with a fixed serial.
pub fn options() -> Options {
    Options { serial: 0x1234_abcd, epoch: 1_700_000_000, ..Options::default() }
}

/// Returns options for one width.
pub fn with(width: Width) -> Options {
    Options { width: Some(width), ..options() }
}

/// Returns metadata of root's, with a time.
pub fn metadata(mode: u16) -> Metadata {
    Metadata::root(mode, Timestamp { seconds: 1_600_000_001, nanoseconds: 250_000_000 })
}

/// Returns an empty tree.
pub fn tree() -> Tree {
    Tree::new(metadata(0o755))
}

/// Returns a file's content.
pub fn file(content: impl Into<Vec<u8>>) -> Kind {
    Kind::File(Arc::new(content.into()))
}

/// Returns an empty directory.
pub fn directory() -> Kind {
    Kind::Directory(BTreeMap::new())
}

/// Adds a file.
pub fn add(tree: &mut Tree, path: impl AsRef<[u8]>, kind: Kind) {
    tree.insert(path.as_ref(), kind, metadata(0o644)).unwrap();
}

/// Returns bytes without a pattern a coincidence could hit.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = vec![0; length];
    for chunk in noise.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    noise
}

/// Makes an image.
pub fn image(tree: &Tree, options: &Options) -> Image {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("image");
    let plan = Plan::new(tree, options).unwrap();
    let file = File::create_new(&path).unwrap();
    let mut last = 0;
    let mut progress = |done: u64| {
        assert!(done >= last && done <= plan.content_bytes());
        last = done;
        ControlFlow::Continue(())
    };
    plan.write(&file, 0, &mut progress).unwrap();
    assert_eq!(last, plan.content_bytes());
    assert_eq!(file.metadata().unwrap().len(), plan.size_bytes());
    let usage = plan.usage();
    let sum = usage.file_bytes + usage.directory_bytes + usage.table_bytes + usage.free_bytes + usage.least_bytes;
    assert_eq!(sum, plan.size_bytes(), "{usage:?}");
    Image { folder, path }
}

/// Makes an image and shows it to everyone.
pub fn check(tree: &Tree, options: &Options) -> Image {
    let image = image(tree, options);
    fsck(&image.path);
    ourselves(tree, &image.path, options);
    mtools(tree, &image);
    mounted(tree, &image);
    image
}

/// Reads the image with our own eyes: names, content and times come back.
pub fn ourselves(tree: &Tree, image: &Path, options: &Options) {
    let file = Arc::new(File::open(image).unwrap());
    let length = file.metadata().unwrap().len();
    let volume = Fat::open(Arc::new(FileSlice::new(file, 0, length))).unwrap();
    assert_eq!(volume.label(), options.label);
    volume::compare(tree, &volume, |step, id| {
        let mut expected = tree.inode(id).metadata.mtime;
        if options.clamp_times {
            expected = expected.min(Timestamp { seconds: options.epoch, nanoseconds: 0 });
        }
        // The root has no entry that could say one.
        if !step.path.is_empty() {
            assert_eq!(step.node.metadata.mtime, volume::in_steps_of_two(expected), "{}", step.path.escape_ascii());
        }
    });
}

/// Runs a tool; `None`, announced, if it is not installed.
pub fn run(tool: &str, arguments: &[&OsStr]) -> Option<(bool, Vec<u8>)> {
    let output = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::null())
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("MTOOLS_SKIP_CHECK", "0")
        .output();
    match output {
        Ok(output) => Some((output.status.success(), [output.stdout, output.stderr].concat())),
        Err(error) => {
            eprintln!("skipped: cannot run {tool}: {error}");
            None
        }
    }
}

/// Has fsck.fat look at an image: its head line and its summary, nothing else.
pub fn fsck(image: &Path) {
    let Some((success, text)) = run("fsck.fat", &["-n".as_ref(), image.as_ref()]) else { return };
    let text = String::from_utf8_lossy(&text);
    let expected = |line: &&str| line.starts_with("fsck.fat ") || line.contains(" files, ");
    let surprises: Vec<&str> = text.lines().filter(|line| !expected(line)).collect();
    assert!(success && surprises.is_empty(), "fsck.fat -n:\n{text}");
}

/// Has mtools copy everything out, and compares it.
pub fn mtools(tree: &Tree, image: &Image) {
    let place = image.folder.path().join("copied");
    fs::create_dir(&place).unwrap();
    let arguments = ["-s", "-n", "-m", "-i"].map(OsStr::new);
    let all = [&arguments[..], &[image.path.as_ref(), "::*".as_ref(), place.as_ref()]].concat();
    if tree.entries(Tree::ROOT).next().is_none() {
        return;
    }
    let Some((success, text)) = run("mcopy", &all) else { return };
    assert!(success && text.is_empty(), "mcopy: {}", String::from_utf8_lossy(&text));
    compare(tree, &place);
    fs::remove_dir_all(&place).unwrap();
}

/// Mounts an image, if that is possible here, and compares everything.
fn mounted(tree: &Tree, image: &Image) {
    let place = image.folder.path().join("mounted");
    mount::mounted(&image.path, "vfat", "loop,ro,utf8,tz=UTC", &place, |place| compare(tree, place));
}

/// Compares names, content and times of files with the tree.
fn compare(tree: &Tree, root: &Path) {
    tree.walk(|path, id| {
        let place = root.join(OsStr::from_bytes(path));
        let inode = tree.inode(id);
        match &inode.kind {
            Kind::Directory(_) => {
                let mut found: Vec<Vec<u8>> = fs::read_dir(&place)
                    .unwrap_or_else(|error| panic!("{place:?}: {error}"))
                    .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
                    .collect();
                found.sort();
                let expected: Vec<Vec<u8>> = tree.entries(id).map(|(name, _)| name.to_vec()).collect();
                let differ = |name: &&Vec<u8>| !(found.contains(name) && expected.contains(name));
                if found != expected {
                    let differ: Vec<_> = found.iter().chain(&expected).filter(differ).collect();
                    panic!(
                        "{place:?}: {:?}",
                        differ.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>()
                    );
                }
            }
            Kind::File(source) => {
                let size = source.size_bytes();
                let stat = fs::metadata(&place).unwrap_or_else(|error| panic!("{place:?}: {error}"));
                assert_eq!(stat.len(), size, "{place:?}");
                let time = stat.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
                assert_eq!(time, inode.metadata.mtime.seconds as u64 & !1, "{place:?}: time");
                if size < 64 << 20 {
                    let mut expected = vec![0; size as usize];
                    source.read_at(0, &mut expected).unwrap();
                    assert!(fs::read(&place).unwrap() == expected, "{place:?}: content");
                }
            }
            other => panic!("{place:?}: {other:?}"),
        }
    });
}
