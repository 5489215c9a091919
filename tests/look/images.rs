//! The images that are looked into: small, and the same each time.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use imagegen::archive::{cpio, tar};
use imagegen::disk::{Content, Guid, Options, Partition, PartitionType, Plan, Scheme, Size};
use imagegen::tree::{Kind, Metadata, Source, Timestamp, Tree};
use imagegen::{ext, fat};
use tempfile::TempDir;

/// When everything was last changed: 2023-11-14 22:13:20 UTC.
pub const TIME: i64 = 1_700_000_000;

/// A folder of images.
pub struct Images {
    pub folder: TempDir,
}

impl Images {
    pub fn new() -> Self {
        Images { folder: TempDir::new().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command in the folder; returns its exit code, standard output, and standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenbuild"));
        let output = command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Runs a command that must succeed without a word on standard error; returns its output.
    pub fn good(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    /// Runs a command that must fail with this code; returns what it says.
    pub fn bad(&self, code: i32, arguments: &[&str]) -> String {
        let (found, out, err) = self.run(arguments);
        assert_eq!(found, code, "{arguments:?}: {out}{err}");
        err
    }

    pub fn ext(&self, name: &str, tree: &Tree, version: ext::Version, label: &str) -> PathBuf {
        let path = self.path(name);
        let block_size = ext::BlockSize::KiB1;
        let options = ext::Options::new([0x11; 16], [0x22; 16], TIME);
        let options = ext::Options { version, block_size, label: label.into(), ..options };
        let file = File::create(&path).unwrap();
        ext::Plan::new(tree, &options).unwrap().write(&file, 0, &mut |_| ControlFlow::Continue(())).unwrap();
        path
    }

    pub fn fat(&self, name: &str, tree: &Tree, label: &str) -> PathBuf {
        let path = self.path(name);
        let options = fat::Options { label: label.into(), serial: 7, epoch: TIME, ..fat::Options::default() };
        let file = File::create(&path).unwrap();
        fat::Plan::new(tree, &options).unwrap().write(&file, 0, &mut |_| ControlFlow::Continue(())).unwrap();
        path
    }

    pub fn cpio(&self, name: &str, tree: &Tree) {
        cpio::write(tree, &mut File::create(self.path(name)).unwrap()).unwrap();
    }

    pub fn tar(&self, name: &str, tree: &Tree) {
        let options = tar::WriteOptions { sparse: false };
        tar::write(tree, &mut File::create(self.path(name)).unwrap(), &options).unwrap();
    }

    /// Makes a disk of files: a boot partition of FAT, and as many others as there are.
    pub fn disk(&self, name: &str, scheme: Scheme, parts: &[(&str, &str, &Path)]) -> PathBuf {
        let path = self.path(name);
        let part = |(index, (name, kind, content)): (usize, &(&str, &str, &Path))| {
            let guid = Guid([index as u8 + 1; 16]);
            let mut part = Partition::new(*name, PartitionType::parse(kind).unwrap(), guid);
            let source: Arc<dyn Source> = Arc::new(fs::read(content).unwrap());
            part.content = Some(Content { source, mapped: None });
            part.size = Size::Content;
            part.hybrid = scheme == Scheme::Hybrid && index == 0;
            part
        };
        let parts: Vec<Partition> = parts.iter().enumerate().map(part).collect();
        let options = Options::new(scheme, Guid([9; 16]), 0x1234_5678);
        let plan = Plan::new(&options, &parts, &[]).unwrap();
        plan.write(&File::create(&path).unwrap(), &mut |_| ControlFlow::Continue(())).unwrap();
        path
    }
}

pub fn metadata(mode: u16) -> Metadata {
    Metadata::root(mode, Timestamp { seconds: TIME, nanoseconds: 0 })
}

pub fn file(content: impl Into<Vec<u8>>) -> Kind {
    Kind::File(Arc::new(content.into()))
}

pub fn add(tree: &mut Tree, path: &str, kind: Kind, mode: u16) {
    tree.insert(path.as_bytes(), kind, metadata(mode)).unwrap();
}

pub fn empty() -> Tree {
    Tree::new(metadata(0o755))
}

/// A small root file system with one of everything.
pub fn root() -> Tree {
    let mut tree = empty();
    add(&mut tree, "etc/hostname", file("dom0\n"), 0o644);
    add(&mut tree, "etc/passwd", file("root:x:0:0:\n"), 0o644);
    add(&mut tree, "bin/su", file(vec![7; 5000]), 0o4755);
    tree.link(b"bin/su", b"bin/sudo").unwrap();
    add(&mut tree, "dev/console", Kind::CharacterDevice { major: 5, minor: 1 }, 0o600);
    add(&mut tree, "run/pipe", Kind::Fifo, 0o640);
    add(&mut tree, "run/socket", Kind::Socket, 0o755);
    add(&mut tree, "sbin", Kind::Symlink((*b"bin").into()), 0o777);
    let id = tree.insert(b"bin/ping", file("ping"), Metadata { uid: 3, gid: 70_000, ..metadata(0o755) }).unwrap();
    tree.metadata_mut(id).xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
    tree
}

/// What a board's firmware reads.
pub fn boot() -> Tree {
    let mut tree = empty();
    add(&mut tree, "config.txt", file("kernel=u-boot.bin\n"), 0o644);
    add(&mut tree, "overlays/a long name.dtbo", file("overlay"), 0o644);
    tree
}
