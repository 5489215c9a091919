//! What differs: each kind of difference by itself, and in what it lies.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imagegen::disk::Scheme;
use imagegen::ext::Version;
use imagegen::tree::{Kind, Tree};
use serde_json::Value;

use super::images::{Images, add, boot, file, metadata, root};

/// Makes two file systems, the second changed, and compares them; returns the lines but the one about bytes.
fn changed(change: impl Fn(&mut Tree)) -> Vec<String> {
    let images = Images::new();
    let mut tree = root();
    images.ext("a.img", &tree, Version::Ext4, "");
    change(&mut tree);
    images.ext("b.img", &tree, Version::Ext4, "");
    let (code, out, err) = images.run(&["diff", "a.img", "b.img"]);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    // How large it is follows from what is in it.
    let words = ["bytes: differ first at", "blocks:", "inodes:", "free-"];
    let counts = |line: &&str| words.iter().any(|word| line.starts_with(&format!("the whole: {word}")));
    assert!(out.contains("the whole: bytes: differ first at"), "{out}");
    out.lines().filter(|line| !counts(line)).map(String::from).collect()
}

#[test]
fn each_property_of_a_file() {
    let mode = |tree: &mut Tree| {
        let id = tree.lookup(b"etc/passwd", false).unwrap();
        tree.metadata_mut(id).mode = 0o600;
    };
    assert_eq!(changed(mode), ["/etc/passwd: mode: 0644 -> 0600"]);
    let owner = |tree: &mut Tree| {
        let id = tree.lookup(b"etc", false).unwrap();
        tree.metadata_mut(id).uid = 100_000;
    };
    assert_eq!(changed(owner), ["/etc: owner: 0:0 -> 100000:0"]);
    let time = |tree: &mut Tree| {
        let id = tree.lookup(b"sbin", false).unwrap();
        tree.metadata_mut(id).mtime.nanoseconds = 5;
    };
    assert_eq!(changed(time), ["/sbin: mtime: 2023-11-14T22:13:20Z -> 2023-11-14T22:13:20.000000005Z"]);
    let attributes = |tree: &mut Tree| {
        let id = tree.lookup(b"bin/ping", false).unwrap();
        tree.metadata_mut(id).xattrs = [(b"user.a".to_vec(), b"text".to_vec())].into();
    };
    let lines =
        ["/bin/ping: xattr security.capability: 0x01000002 -> none", "/bin/ping: xattr user.a: none -> \"text\""];
    assert_eq!(changed(attributes), lines);
    let device = |tree: &mut Tree| add(tree, "dev/console", Kind::CharacterDevice { major: 5, minor: 2 }, 0o600);
    assert_eq!(changed(device), ["/dev/console: device: 5:1 -> 5:2"]);
    let target = |tree: &mut Tree| add(tree, "sbin", Kind::Symlink((*b"etc").into()), 0o777);
    assert_eq!(changed(target), ["/sbin: target: bin -> etc"]);
    let kind = |tree: &mut Tree| add(tree, "sbin", file("x"), 0o777);
    assert_eq!(changed(kind), ["/sbin: type: symlink -> file"]);
    let content = |tree: &mut Tree| add(tree, "etc/hostname", file("dom0!\n"), 0o644);
    assert_eq!(changed(content), ["/etc/hostname: content: differs from byte 4 on; 5 -> 6 bytes"]);
    let links = |tree: &mut Tree| {
        tree.remove(b"bin/sudo");
        tree.insert(b"bin/sudo", file(vec![7; 5000]), metadata(0o4755)).unwrap();
    };
    assert_eq!(changed(links), ["/bin/su: links: 2 -> 1", "/bin/sudo: links: 2 -> 1"]);
    let names = |tree: &mut Tree| {
        tree.remove(b"run/pipe");
        add(tree, "etc/new/file", file("x"), 0o644);
    };
    assert_eq!(changed(names), ["only in b.img: /etc/new (directory)", "only in a.img: /run/pipe (fifo)"]);
}

#[test]
fn the_same_files_in_other_bytes() {
    let images = Images::new();
    let a = images.ext("a.img", &root(), Version::Ext4, "one");
    images.ext("b.img", &root(), Version::Ext4, "two");
    let (code, out, _) = images.run(&["diff", "a.img", "b.img"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, lines.len(), lines[0]), (1, 2, "the whole: label: one -> two"), "{out}");
    assert!(lines[1].starts_with("the whole: bytes: differ first at 1144 (block 1), in 1 of "), "{out}");
    // A byte that nobody refers to.
    fs::copy(&a, images.path("c.img")).unwrap();
    let length = a.metadata().unwrap().len();
    fs::File::options().write(true).open(images.path("c.img")).unwrap().write_all_at(b"x", 5).unwrap();
    let (code, out, _) = images.run(&["diff", "a.img", "c.img"]);
    assert_eq!(code, 1);
    assert_eq!(
        out,
        format!("the whole: bytes: differ first at 5 (block 0), in 1 of {} pieces of 4 KiB\n", length.div_ceil(4096))
    );
    assert_eq!(images.good(&["diff", "a.img", "a.img"]), "");
    assert_eq!(images.run(&["diff", "-q", "a.img", "c.img"]), (1, String::new(), String::new()));
    // The same, and something behind it.
    fs::copy(&a, images.path("d.img")).unwrap();
    fs::File::options().write(true).open(images.path("d.img")).unwrap().set_len(length + 8192).unwrap();
    let (code, out, _) = images.run(&["diff", "a.img", "d.img"]);
    assert_eq!(code, 1);
    assert!(out.starts_with(&format!("the whole: bytes: differ first at {length} (block ")), "{out}");
    assert!(out.ends_with(&format!(" pieces of 4 KiB; {length} -> {} bytes\n", length + 8192)), "{out}");
}

#[test]
fn formats_are_compared_in_what_both_keep() {
    let images = Images::new();
    let mut tree = root();
    tree.remove(b"run/socket");
    images.ext("a.img", &tree, Version::Ext4, "");
    images.tar("a.tar", &tree);
    images.cpio("a.cpio", &tree);
    let files = |arguments: &[&str]| {
        let (_, out, err) = images.run(arguments);
        assert_eq!(err, "");
        let facts = |line: &&str| !line.starts_with("the whole: ") && !line.contains("lost+found");
        out.lines().filter(facts).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(files(&["diff", "a.img", "a.tar"]), [""; 0]);
    assert_eq!(files(&["diff", "a.cpio", "a.img"]), [""; 0]);
    images.run(&["cp", "-r", "a.img:/etc", "etc"]);
    assert_eq!(images.good(&["diff", "a.img:/etc", "etc"]), "");
    let (_, out, _) = images.run(&["diff", "a.img:/etc/hostname", "a.img:/etc/passwd"]);
    assert!(out.starts_with("a.img:/etc/hostname -> a.img:/etc/passwd: content: "), "{out}");
    fs::write(images.path("etc/hostname"), "domU\n").unwrap();
    assert_eq!(images.run(&["diff", "etc", "a.img:/etc"]).1, "/hostname: content: differs from byte 3 on\n");
}

#[test]
fn disks_folders_and_images_in_images() {
    let images = Images::new();
    let boot_image = images.fat("boot.img", &boot(), "BOOT");
    let disk = |name: &str, tree: &Tree, boot: &Path, more: bool| {
        let inner = images.ext("inner.img", tree, Version::Ext3, "");
        let mut outer = root();
        add(&mut outer, "srv/guest.img", file(fs::read(inner).unwrap()), 0o644);
        let outer = images.ext("outer.img", &outer, Version::Ext4, "");
        let mut parts = vec![("boot", "fat", boot), ("root", "linux", outer.as_path())];
        if more {
            parts.push(("more", "linux", boot));
        }
        images.disk(name, Scheme::Gpt, &parts)
    };
    fs::create_dir_all(images.path("one")).unwrap();
    fs::create_dir_all(images.path("two")).unwrap();
    disk("one/sd.img", &root(), &boot_image, false);
    let mut tree = root();
    add(&mut tree, "etc/hostname", file("domU\n"), 0o644);
    let mut other_boot = boot();
    add(&mut other_boot, "CONFIG.OLD", file("old"), 0o644);
    let other = images.fat("other.img", &other_boot, "BOOT");
    disk("two/sd.img", &tree, &other, true);
    for folder in ["one", "two"] {
        // What no two builds share, in a folder of artifacts.
        fs::write(images.path(folder).join(".state"), folder).unwrap();
        fs::write(images.path(folder).join("serial.log"), folder).unwrap();
        fs::write(images.path(folder).join("manifest"), "the same").unwrap();
    }
    let (code, out, err) = images.run(&["diff", "one", "two"]);
    assert_eq!((code, err.as_str()), (1, ""));
    let wanted = [
        "only in two: /sd.img:1:/CONFIG.OLD (file)",
        "/sd.img:2:/srv/guest.img:/etc/hostname: content: differs from byte 3 on",
        "only in two: /sd.img:3 (partition)",
    ];
    for line in wanted {
        assert!(out.lines().any(|found| found == line), "{line}:\n{out}");
    }
    assert!(!out.contains("serial.log") && !out.contains("state") && !out.contains("manifest"), "{out}");
    let (_, out, _) = images.run(&["diff", "--json", "one/sd.img", "two/sd.img"]);
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.iter().any(|row| row["difference"] == "content" && row["first-byte"] == 3), "{out}");
    assert!(rows.iter().any(|row| row["only-in"] == "b" && row["type"] == "partition"), "{out}");
    let last = rows.last().unwrap();
    assert!(last["difference"] == "bytes" && last["first-sector"].is_u64() && last["pieces"].is_u64(), "{out}");
}
