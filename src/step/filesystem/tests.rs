//! File systems, read back: what wins over what, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imagegen::archive::{ReadOptions, tar};
use imagegen::fat::Width;
use imagegen::tree::{Kind as NodeKind, Metadata, Timestamp, Tree};

use super::*;
use crate::recipe::{Ext, Located, Origin};
use crate::step::{Content, Given, NoPackages, Workspace};
use crate::task::Silent;

/// Some day in 2023.
const EPOCH: i64 = 1_700_000_000;

struct Lab {
    folder: tempfile::TempDir,
    inputs: Vec<Given>,
    spec: Filesystem,
}

fn entry(content: FileContent) -> File {
    File { content, owner: Owner::default(), mode: None }
}

fn text(text: &str) -> File {
    entry(FileContent::Text(text.into()))
}

impl Lab {
    fn new() -> Self {
        let spec = Filesystem {
            title: "filesystem.test".into(),
            format: Format::Tar { gzip: false },
            epoch: EPOCH,
            merged_usr: false,
            exclude: Vec::new(),
            layers: Vec::new(),
            modules: None,
            guests: BTreeMap::new(),
            files: BTreeMap::new(),
            users: BTreeMap::new(),
        };
        Lab { folder: tempfile::tempdir().unwrap(), inputs: Vec::new(), spec }
    }

    /// Adds an unpacked archive as an input; the files' owner is 7:8, their time 1.
    fn archive(&mut self, name: &str, files: &[(&str, &str)]) {
        let metadata =
            |mode| Metadata { uid: 7, gid: 8, ..Metadata::root(mode, Timestamp { seconds: 1, nanoseconds: 0 }) };
        let mut tree = Tree::new(metadata(0o755));
        for (path, text) in files {
            let kind = match text.strip_prefix("-> ") {
                Some(target) => NodeKind::Symlink(target.as_bytes().into()),
                None => NodeKind::File(Arc::new(text.as_bytes().to_vec())),
            };
            tree.insert(path.as_bytes(), kind, metadata(0o750)).unwrap();
        }
        let path = self.folder.path().join(format!("in-{}", self.inputs.len()));
        let mut file = fs::File::create(&path).unwrap();
        tar::write(&tree, &mut file, &tar::WriteOptions::default()).unwrap();
        self.inputs.push(Given { name: name.into(), content: Content::Files(vec![path]) });
    }

    fn layer(&mut self, name: &str, files: &[(&str, &str)]) -> &mut Layer {
        self.archive(name, files);
        self.spec.layers.push(Layer { input: name.into(), ..Layer::default() });
        self.spec.layers.last_mut().unwrap()
    }

    fn file(&mut self, path: &str, file: File) {
        self.spec.files.insert(path.into(), file);
    }

    fn make(&self) -> Result<PathBuf> {
        let out = tempfile::Builder::new().tempdir_in(self.folder.path()).unwrap().keep();
        let task = Silent::default();
        let key = Digest([7; 32]);
        let workspace = Workspace { folder: &out, key, inputs: &self.inputs, task: &task, packages: &NoPackages };
        self.spec.make(&workspace)?;
        Ok(out.join(OUTPUT))
    }

    /// Makes the file system and lists it: mode, owner, path, and content in brackets.
    fn list(&self) -> String {
        let mut tree = Tree::new(Metadata::default());
        let file = Arc::new(fs::File::open(self.make().unwrap()).unwrap());
        tar::read_into(&mut tree, &file, &ReadOptions::default()).unwrap();
        let mut list = String::new();
        tree.walk(|path, id| {
            let inode = tree.inode(id);
            let content = match &inode.kind {
                NodeKind::Directory(_) => "/".to_owned(),
                NodeKind::File(source) => {
                    let mut bytes = vec![0; source.size_bytes() as usize];
                    source.read_at(0, &mut bytes).unwrap();
                    format!(" [{}]", String::from_utf8_lossy(&bytes).escape_debug())
                }
                NodeKind::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target)),
                other => format!(" {other:?}"),
            };
            let Metadata { mode, uid, gid, .. } = &inode.metadata;
            let path = String::from_utf8_lossy(path);
            list.push_str(&format!("{mode:04o} {uid}:{gid} {path}{content}\n"));
        });
        list
    }

    fn refused(&self) -> String {
        let error = self.make().unwrap_err();
        error.to_string()
    }
}

#[test]
fn later_wins_layers_then_guests_then_files() {
    let mut lab = Lab::new();
    lab.layer("package a", &[("etc/a", "a"), ("etc/b", "a"), ("etc/c", "a"), ("etc/d", "a")]);
    lab.layer("include 1", &[("etc/b", "include"), ("etc/c", "include"), ("etc/d", "include")]);
    lab.spec.guests = BTreeMap::from([("/etc/c".into(), text("guest")), ("/etc/d".into(), text("guest"))]);
    lab.file("/etc/d", File { mode: Some(0o600), owner: Owner { uid: 1, gid: 2 }, ..text("file") });
    assert_eq!(
        lab.list(),
        "0755 7:8 /\n0755 0:0 etc/\n0750 7:8 etc/a [a]\n0750 7:8 etc/b [include]\n0644 0:0 etc/c [guest]\n\
         0600 1:2 etc/d [file]\n"
    );
}

#[test]
fn layers_are_moved_stripped_owned_and_thinned() {
    let mut lab = Lab::new();
    lab.spec.exclude = vec!["/usr/share/doc".into(), "**/*.la".into()];
    lab.layer("package a", &[("usr/share/doc/a/copyright", "c"), ("usr/lib/x.la", "l"), ("usr/lib/x.so", "s")]);
    let layer = lab.layer("include 1", &[("top/x", "x"), ("top/y/z", "z"), ("other", "o")]);
    (layer.to, layer.strip, layer.owner) = ("/opt/it".into(), 1, Some(Owner { uid: 5, gid: 6 }));
    let list = lab.list();
    assert!(list.contains("usr/lib/x.so [s]") && !list.contains("x.la") && !list.contains("copyright"), "{list}");
    assert!(list.contains("5:6 opt/it/x [x]\n") && list.contains("5:6 opt/it/y/z [z]\n"), "{list}");
    assert!(!list.contains("other"), "{list}");
}

#[test]
fn a_merged_usr_takes_what_packages_put_into_bin() {
    let mut lab = Lab::new();
    lab.spec.merged_usr = true;
    lab.layer("package a", &[("bin/sh", "sh"), ("usr/bin/env", "env"), ("lib/ld.so", "ld")]);
    let list = lab.list();
    assert!(list.contains("0777 0:0 bin -> usr/bin\n"), "{list}");
    assert!(list.contains(" usr/bin/sh [sh]\n") && list.contains(" usr/lib/ld.so [ld]\n"), "{list}");
}

#[test]
fn every_kind_of_entry() {
    let mut lab = Lab::new();
    lab.layer("package a", &[("gone/x", "x"), ("kept/x", "x"), ("a/data", "data")]);
    fs::write(lab.folder.path().join("local"), "local").unwrap();
    let local = Content::Files(vec![lab.folder.path().join("local")]);
    lab.inputs.push(Given { name: "file /local".into(), content: local });
    lab.file("/gone", entry(FileContent::Absent));
    lab.file("/kept/x", entry(FileContent::Absent));
    lab.file("/text", text("text"));
    lab.file("/local", entry(FileContent::Local("file /local".into())));
    lab.file("/image", entry(FileContent::Image("file /local".into())));
    let (inputs, pattern) = (vec!["package a".to_owned()], "a/da*".to_owned());
    lab.file("/archived", entry(FileContent::Archived { inputs, pattern, title: "a".into() }));
    lab.file("/folder", entry(FileContent::Directory));
    lab.file("/link", entry(FileContent::Symlink("text".into())));
    // Named before what it is another name of: that must not matter.
    lab.file("/another", entry(FileContent::Hardlink("/text".into())));
    lab.file("/dev/console", entry(FileContent::CharacterDevice(5, 1)));
    lab.file("/dev/loop0", entry(FileContent::BlockDevice(7, 0)));
    lab.file("/pipe", entry(FileContent::Fifo));
    assert_eq!(
        lab.list(),
        "0755 7:8 /\n0755 0:0 a/\n0750 7:8 a/data [data]\n0644 0:0 another [text]\n0750 0:0 archived [data]\n\
         0755 0:0 dev/\n0600 0:0 dev/console CharacterDevice(5:1)\n0600 0:0 dev/loop0 BlockDevice(7:0)\n\
         0755 0:0 folder/\n0644 0:0 image [local]\n0755 0:0 kept/\n0777 0:0 link -> text\n0644 0:0 local [local]\n\
         0644 0:0 pipe Fifo\n0644 0:0 text [text]\n"
    );
}

#[test]
fn users_are_added_to_what_packages_bring() {
    let mut lab = Lab::new();
    lab.layer(
        "package a",
        &[
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nann:x:9:9::/:/bin/false\n"),
            ("etc/group", "root:x:0:\nstaff:x:50:"),
            ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
        ],
    );
    let user = |uid, gid, password: Option<&str>| User {
        uid,
        gid,
        home: format!("/home/{uid}"),
        shell: "/bin/bash".into(),
        password: password.map(String::from),
    };
    lab.spec.users = BTreeMap::from([
        ("ann".into(), user(1000, 1000, None)),
        ("bob".into(), user(1001, 50, Some("$6$salt$hash"))),
        ("root".into(), user(0, 0, Some(""))),
    ]);
    let list = lab.list();
    let passwd = "[root:x:0:0::/home/0:/bin/bash\\nann:x:1000:1000::/home/1000:/bin/bash\\n\
                  bob:x:1001:50::/home/1001:/bin/bash\\n]";
    assert!(list.contains(passwd), "{list}");
    assert!(list.contains("[root:x:0:\\nstaff:x:50:\\nann:x:1000:\\n]"), "{list}");
    let shadow = "[root::19675:0:99999:7:::\\nann:!:19675:0:99999:7:::\\nbob:$6$salt$hash:19675:0:99999:7:::\\n]";
    assert!(list.contains(shadow), "{list}");
    assert!(list.contains("0755 1001:50 home/1001/\n"), "{list}");
    lab.spec.users.get_mut("ann").unwrap().home = "/a:b".into();
    assert_eq!(lab.refused(), "filesystem.test: user \"ann\": home cannot be \"/a:b\"");
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    let mut lab = Lab::new();
    lab.layer("package a", &[("etc/a", "a")]);
    lab.file("/etc", text("a file in a folder's place"));
    assert_eq!(lab.refused(), "filesystem.test: /etc: is a directory already");
    lab.spec.files.clear();
    lab.file("/x", entry(FileContent::Hardlink("/nowhere".into())));
    assert!(lab.refused().starts_with("filesystem.test: /nowhere: a hard link names it"), "{}", lab.refused());
    lab.spec.files.clear();
    let (inputs, pattern) = (vec!["package a".to_owned()], "etc/b".to_owned());
    lab.file("/x", entry(FileContent::Archived { inputs, pattern, title: "a".into() }));
    assert_eq!(lab.refused(), "filesystem.test: /x: a holds no file that matches `etc/b`");
    lab.spec.files.clear();
    lab.spec.modules =
        Some(Modules { inputs: vec!["package a".into()], names: vec!["ext4".into()], list: "/list".into() });
    assert_eq!(lab.refused(), "filesystem.test: the kernel's modules have no folder `lib/modules/VERSION`");
    lab.archive("modules 1", &[("lib/modules/6.1/x.ko", "no ELF"), ("lib/modules/6.2/x.ko", "")]);
    lab.spec.modules.as_mut().unwrap().inputs = vec!["modules 1".into()];
    let several = "the kernel's modules are of several versions: lib/modules/6.1, lib/modules/6.2";
    assert_eq!(lab.refused(), format!("filesystem.test: {several}"));
    lab.archive("modules 2", &[("usr/lib/modules/6.1/kernel/extra4.ko", "no ELF")]);
    lab.spec.modules.as_mut().unwrap().inputs = vec!["modules 2".into()];
    // Looking for an alias of that name reads every module.
    let error = "filesystem.test: usr/lib/modules/6.1/kernel/extra4.ko: this is no ELF file";
    assert_eq!(lab.refused(), error);
}

#[test]
fn formats_are_what_they_say_and_the_same_each_time() {
    let mut lab = Lab::new();
    lab.file("/a", text("a"));
    let ext = |version| Format::Ext { version, size_bytes: None, free_bytes: 1 << 20, label: "lab".into() };
    let label =
        |text: &str| Located { value: text.into(), origin: Origin { file: None, span: 0..0, key: "label".into() } };
    let fat = Format::Fat { width: Some(Width::Fat16), size_bytes: None, free_bytes: 0, label: label("LAB") };
    let formats: [(Format, usize, &[u8]); 8] = [
        (Format::Cpio { gzip: false }, 0, b"070701"),
        (Format::Cpio { gzip: true }, 0, &[0x1f, 0x8b]),
        (Format::Tar { gzip: false }, 257, b"ustar"),
        (Format::Tar { gzip: true }, 0, &[0x1f, 0x8b]),
        (ext(Ext::Ext2), 1080, &[0x53, 0xef]),
        (ext(Ext::Ext3), 1080, &[0x53, 0xef]),
        (ext(Ext::Ext4), 1080, &[0x53, 0xef]),
        (fat, 43, b"LAB        FAT16   "),
    ];
    for (format, at, magic) in formats {
        lab.spec.format = format;
        let read = |path: &Path| fs::read(path).unwrap();
        let (first, second) = (read(&lab.make().unwrap()), read(&lab.make().unwrap()));
        assert_eq!(&first[at..at + magic.len()], magic);
        assert!(first == second);
        if let Format::Ext { version, .. } = &lab.spec.format {
            // has_journal in s_feature_compat, extent in s_feature_incompat.
            let features = (first[1024 + 92] & 4 != 0, first[1024 + 96] & 0x40 != 0);
            assert_eq!(features, (*version != Ext::Ext2, *version == Ext::Ext4));
            assert_eq!(&first[1024 + 120..1024 + 123], b"lab");
            // A UUID of version 8, RFC 9562.
            assert_eq!((first[1024 + 104 + 6] >> 4, first[1024 + 104 + 8] >> 6), (8, 2));
        }
    }
}

#[test]
fn a_cancelled_step_says_so() {
    let mut lab = Lab::new();
    lab.file("/a", text("a"));
    let task = Silent::default();
    task.0.set();
    let ext = |version| Format::Ext { version, size_bytes: None, free_bytes: 0, label: "".into() };
    for format in [Format::Cpio { gzip: true }, ext(Ext::Ext3), ext(Ext::Ext4)] {
        lab.spec.format = format;
        let out = tempfile::tempdir().unwrap();
        let key = Digest([7; 32]);
        let workspace = Workspace { folder: out.path(), key, inputs: &[], task: &task, packages: &NoPackages };
        assert_eq!(lab.spec.make(&workspace).unwrap_err().kind, crate::error::Kind::Interrupted);
    }
}

#[test]
fn kernel_modules_are_listed_as_depmod_would() {
    let mut lab = Lab::new();
    lab.spec.merged_usr = true;
    lab.layer("kernel", &[("lib/modules/6.1/kernel/x.ko", "no ELF"), ("lib/modules/6.1/modules.builtin", "a/b.ko\n")]);
    lab.layer("own", &[("lib/modules/6.2/kernel/x.ko", "no ELF"), ("lib/modules/6.2/modules.dep", "as it was")]);
    lab.layer("none", &[("lib/modules/6.3/notes", "no modules")]);
    let mut tree = Tree::new(Metadata::default());
    let image = Arc::new(fs::File::open(lab.make().unwrap()).unwrap());
    tar::read_into(&mut tree, &image, &ReadOptions::default()).unwrap();
    let read = |path: &str| {
        let id = tree.lookup(path.as_bytes(), true)?;
        let NodeKind::File(source) = &tree.inode(id).kind else { return None };
        let mut bytes = vec![0; source.size_bytes() as usize];
        source.read_at(0, &mut bytes).unwrap();
        Some(bytes)
    };
    assert_eq!(read("usr/lib/modules/6.1/modules.dep").unwrap(), b"kernel/x.ko:\n");
    assert!(read("usr/lib/modules/6.1/modules.dep.bin").unwrap().starts_with(b"\xb0\x07\xf4\x57"));
    let builtin = read("usr/lib/modules/6.1/modules.builtin.bin").unwrap();
    assert!(builtin.ends_with(b"bb\x40\0\0\x0c"), "the root leads to a module `b` without more: {builtin:x?}");
    assert_eq!(read("lib/modules/6.2/modules.dep").unwrap(), b"as it was");
    assert!(read("lib/modules/6.2/modules.dep.bin").is_none() && read("lib/modules/6.3/modules.dep").is_none());
}
