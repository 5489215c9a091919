//! The strangers: each gets an image and the tree it was made from, and compares everything it can see.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use imagegen::archive::slice::FileSlice;
use imagegen::ext::{Ext, Options, Plan, Version};
use imagegen::tree::{InodeId, Kind, Source, Timestamp, Tree};
use imagegen::volume::Volume;
use rustix::fs::SeekFrom;
use tempfile::TempDir;

use crate::{mount, volume};

/// All there are.
pub const VERSIONS: [Version; 3] = [Version::Ext2, Version::Ext3, Version::Ext4];

/// An image on disk, deleted with its folder.
pub struct Image {
    folder: TempDir,
    version: Version,
    pub path: PathBuf,
}

/// Returns options with fixed identities.
pub fn options() -> Options {
    Options::new(*b"\x11\x11\x11\x11\x22\x22\x33\x33\x44\x44UUID\x55\x55", [0x77; 16], 1_700_000_000)
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
    Image { folder, version: options.version, path }
}

/// Makes an image of each version and shows them to everyone.
pub fn check(tree: &Tree, options: &Options) -> [Image; 3] {
    VERSIONS.map(|version| check_one(tree, &Options { version, ..options.clone() }))
}

/// Makes an image and shows it to everyone.
pub fn check_one(tree: &Tree, options: &Options) -> Image {
    let image = image(tree, options);
    fsck(&image.path);
    reader(tree, &image.path, options);
    ourselves(tree, &image.path, options);
    mounted(&image, true, |root| compare(tree, root, options));
    image
}

/// Runs a tool; `None`, announced, if it is not installed.
pub fn run(tool: &str, arguments: &[&OsStr]) -> Option<(bool, String)> {
    match Command::new(tool).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").output() {
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

/// Has e2fsck look at an image: it may print its five passes and its summary, nothing else.
pub fn fsck(image: &Path) {
    fsck_with(&[], image);
}

/// Likewise, with more arguments.
pub fn fsck_with(arguments: &[&str], image: &Path) {
    let arguments = arguments.iter().map(OsStr::new).chain(["-fn".as_ref(), image.as_ref()]);
    let Some((success, text)) = run("e2fsck", &arguments.collect::<Vec<_>>()) else { return };
    let expected =
        |line: &&str| line.starts_with("Pass ") || line.starts_with("e2fsck 1.") || line.contains(" non-contiguous), ");
    let surprises: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !expected(line)).collect();
    assert!(success && surprises.is_empty(), "e2fsck -fn:\n{text}");
}

/// Mounts an image, if that is possible here, and calls `look` with the place.
pub fn mounted(image: &Image, read_only: bool, look: impl FnOnce(&Path)) {
    let options = if read_only { "loop,ro" } else { "loop" };
    mount::mounted(&image.path, image.version.name(), options, &image.folder.path().join("mounted"), look);
}

/// Compares everything the kernel shows with the tree.
pub fn compare(tree: &Tree, root: &Path, options: &Options) {
    let mut names: BTreeMap<InodeId, u64> = BTreeMap::new();
    let mut inodes: BTreeMap<InodeId, u64> = BTreeMap::new();
    tree.walk(|_, id| *names.entry(id).or_default() += 1);
    tree.walk(|path, id| {
        let place = root.join(OsStr::from_bytes(path));
        let stat = fs::symlink_metadata(&place).unwrap();
        let inode = tree.inode(id);
        let metadata = &inode.metadata;
        assert_eq!(*inodes.entry(id).or_insert(stat.ino()), stat.ino(), "{place:?}: inode");
        let mode = u32::from(inode.kind.mode_bits() | metadata.mode);
        assert_eq!((stat.mode(), stat.uid(), stat.gid()), (mode, metadata.uid, metadata.gid), "{place:?}");
        let time = Timestamp { seconds: stat.mtime(), nanoseconds: stat.mtime_nsec() as u32 };
        let expected = if options.clamp_times {
            metadata.mtime.min(Timestamp { seconds: options.epoch, nanoseconds: 0 })
        } else {
            metadata.mtime
        };
        assert_eq!(time, expected, "{place:?}");
        assert_eq!((stat.ctime(), stat.ctime_nsec()), (stat.mtime(), stat.mtime_nsec()), "{place:?}");
        assert_eq!(xattrs(&place), metadata.xattrs, "{place:?}");
        match &inode.kind {
            Kind::Directory(_) => compare_directory(tree, id, &place, stat.nlink()),
            _ => assert_eq!(stat.nlink(), names[&id], "{place:?}: links"),
        }
        match &inode.kind {
            Kind::File(source) => compare_content(&**source, &place, u64::from(options.block_size.bytes())),
            Kind::Symlink(target) => {
                assert_eq!(fs::read_link(&place).unwrap().as_os_str().as_bytes(), &**target, "{place:?}");
            }
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                let found = (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
                assert_eq!(found, (*major, *minor), "{place:?}");
            }
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
        }
    });
}

fn compare_directory(tree: &Tree, id: InodeId, place: &Path, links: u64) {
    let mut found: Vec<Vec<u8>> =
        fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    found.sort();
    let mut expected: Vec<Vec<u8>> = tree.entries(id).map(|(name, _)| name.to_vec()).collect();
    let mut folders =
        tree.entries(id).filter(|&(_, id)| matches!(tree.inode(id).kind, Kind::Directory(_))).count() as u64;
    if id == Tree::ROOT && !expected.iter().any(|name| name == b"lost+found") {
        expected.push(b"lost+found".to_vec());
        expected.sort();
        folders += 1;
    }
    assert!(found == expected, "{place:?}: {} names, {} expected", found.len(), expected.len());
    // With `dir_nlink` 1 stands for more than the count can say.
    let links_expected = if 2 + folders > 65_000 { 1 } else { 2 + folders };
    assert_eq!(links, links_expected, "{place:?}: links");
}

fn compare_content(source: &dyn Source, place: &Path, block: u64) {
    let file = File::open(place).unwrap();
    let size = source.size_bytes();
    assert_eq!(file.metadata().unwrap().len(), size, "{place:?}");
    // Which blocks there are, and only then their bytes: a hole reads as zeros.
    let mut expected: Vec<(u64, u64)> = Vec::new();
    for extent in source.extents() {
        let (start, end) = (extent.offset / block * block, (extent.offset + extent.length).next_multiple_of(block));
        match expected.last_mut() {
            Some(last) if start <= last.1 => last.1 = end.max(last.1),
            _ => expected.push((start, end)),
        }
    }
    expected.iter_mut().for_each(|run| run.1 = run.1.min(size));
    let (mut found, mut at) = (Vec::new(), 0);
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        found.push((start, at));
    }
    assert_eq!(found, expected, "{place:?}: data");
    let longest = expected.iter().map(|(start, end)| end - start).max().unwrap_or(0).min(1 << 20) as usize;
    let (mut ours, mut theirs) = (vec![0; longest], vec![0; longest]);
    for (start, end) in expected {
        for at in (start..end).step_by(1 << 20) {
            let length = (end - at).min(1 << 20) as usize;
            source.read_at(at, &mut ours[..length]).unwrap();
            file.read_exact_at(&mut theirs[..length], at).unwrap();
            assert!(ours[..length] == theirs[..length], "{place:?}: content from {at} on");
        }
    }
}

fn xattrs(place: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0_u8; rustix::fs::llistxattr_query(place).unwrap()];
    if !list.is_empty() {
        rustix::fs::llistxattr(place, &mut list[..]).unwrap();
    }
    let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0_u8; rustix::fs::lgetxattr_query(place, name).unwrap()];
            if !value.is_empty() {
                rustix::fs::lgetxattr(place, name, &mut value[..]).unwrap();
            }
            (name.to_vec(), value)
        })
        .collect()
}

struct Reader(File);

impl ext4_view::Ext4Read for Reader {
    fn read(&mut self, start: u64, out: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_exact_at(out, start)?)
    }
}

/// Says whether a file lacks a whole indirect block: there the reader (ext4-view 1.0.0) takes block 0 for one.
fn lacks_indirect_block(source: &dyn Source, block: u64) -> bool {
    let (mut start, extents) = (12 * block, source.extents());
    while start < source.size_bytes() {
        let end = start + block / 4 * block;
        if !extents.iter().any(|extent| extent.offset < end && extent.offset + extent.length > start) {
            return true;
        }
        start = end;
    }
    false
}

/// Has an independent reader walk the image.
pub fn reader(tree: &Tree, image: &Path, options: &Options) {
    let block = u64::from(options.block_size.bytes());
    let view = ext4_view::Ext4::load(Box::new(Reader(File::open(image).unwrap()))).unwrap();
    tree.walk(|path, id| {
        let path = [b"/", path].concat();
        let path = ext4_view::Path::try_from(path.as_slice()).unwrap();
        let inode = tree.inode(id);
        let found = view.symlink_metadata(path).unwrap();
        let expected = (inode.metadata.mode, inode.metadata.uid, inode.metadata.gid);
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), expected, "{path:?}");
        match &inode.kind {
            Kind::Directory(_) => {
                let mut names: Vec<Vec<u8>> = view
                    .read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().as_ref().to_vec())
                    .filter(|name| name != b"." && name != b".." && name != b"lost+found")
                    .collect();
                names.sort();
                let expected = tree.entries(id).map(|(name, _)| name.to_vec()).filter(|name| name != b"lost+found");
                assert!(names == expected.collect::<Vec<_>>(), "{path:?}: names");
            }
            Kind::File(source) => {
                assert_eq!(found.len(), source.size_bytes(), "{path:?}");
                let extents = options.version == Version::Ext4;
                if source.size_bytes() < 64 << 20 && (extents || !lacks_indirect_block(&**source, block)) {
                    let mut expected = vec![0; source.size_bytes() as usize];
                    source.read_at(0, &mut expected).unwrap();
                    assert!(view.read(path).unwrap() == expected, "{path:?}: content");
                }
            }
            Kind::Symlink(target) => {
                assert!(found.is_symlink());
                let read = view.read_link(path).unwrap();
                assert_eq!(AsRef::<[u8]>::as_ref(&read), &**target, "{path:?}");
            }
            _ => assert!(!found.is_dir() && !found.is_symlink()),
        }
    });
}

/// Reads the image with our own eyes: everything but nothing else comes back.
pub fn ourselves(tree: &Tree, image: &Path, options: &Options) {
    let file = Arc::new(File::open(image).unwrap());
    let length = file.metadata().unwrap().len();
    let volume = Ext::open(Arc::new(FileSlice::new(file, 0, length))).unwrap();
    assert_eq!((volume.format(), volume.label()), (options.version.name(), options.label.clone()));
    let mut names: BTreeMap<InodeId, u32> = BTreeMap::new();
    tree.walk(|_, id| *names.entry(id).or_default() += 1);
    volume::compare(tree, &volume, |step, id| {
        let (found, mut expected) = (&step.node, tree.inode(id).metadata.clone());
        if options.clamp_times {
            expected.mtime = expected.mtime.min(Timestamp { seconds: options.epoch, nanoseconds: 0 });
        }
        assert_eq!(found.metadata, expected, "{}", step.path.escape_ascii());
        assert!(found.kind.is_directory() || found.links == names[&id], "{}: links", step.path.escape_ascii());
        assert!(found.allocated_bytes.is_multiple_of(u64::from(options.block_size.bytes())));
    });
}
