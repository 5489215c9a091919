//! Images that mean no good: nothing leaves the destination, nothing acts on the terminal, and damage has a name.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::Command;

use imagegen::disk::Scheme;
use imagegen::ext::Version;
use imagegen::tree::Kind;

use super::images::{Images, add, boot, empty, file, root};

#[test]
fn a_copy_stays_where_it_is_told_to() {
    let images = Images::new();
    let outside = images.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    // First a link out, then a folder of the same name: as two copies into one destination could have it.
    let mut tree = empty();
    add(&mut tree, "way", Kind::Symlink(outside.to_str().unwrap().as_bytes().into()), 0o777);
    add(&mut tree, "file", Kind::Symlink(outside.join("file").to_str().unwrap().as_bytes().into()), 0o777);
    images.ext("first.img", &tree, Version::Ext4, "");
    let mut tree = empty();
    add(&mut tree, "way/file", file("changed"), 0o644);
    images.ext("second.img", &tree, Version::Ext4, "");
    let mut tree = empty();
    add(&mut tree, "file", file("changed"), 0o644);
    images.ext("third.img", &tree, Version::Ext4, "");
    fs::create_dir(images.path("to")).unwrap();
    images.good(&["cp", "-r", "first.img:/", "to"]);
    assert_eq!(fs::read_link(images.path("to/way")).unwrap(), outside);
    assert!(images.bad(6, &["cp", "-r", "second.img:/", "to"]).contains("cannot make second.img:/way here"));
    // A file takes a link's place, and does not go where that leads.
    images.good(&["cp", "-r", "third.img:/", "to"]);
    images.good(&["cp", "third.img:/file", "to"]);
    assert_eq!(fs::read_to_string(images.path("to/file")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    // Links that climb stay in the image when they are followed.
    let mut tree = root();
    add(&mut tree, "climb", Kind::Symlink(b"../../../../etc/hostname".as_slice().into()), 0o777);
    images.ext("climb.img", &tree, Version::Ext4, "");
    assert_eq!(images.good(&["cat", "climb.img:/climb"]), "dom0\n");
    assert_eq!(images.good(&["cat", "climb.img:/../../etc/hostname"]), "dom0\n");
}

#[test]
fn what_stands_where_a_copy_goes_is_not_taken_away() {
    let images = Images::new();
    images.ext("root.img", &root(), Version::Ext4, "");
    // A pipe gets the content.
    let pipe = images.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).unwrap());
    images.good(&["cp", "root.img:/etc/hostname", "pipe"]);
    assert_eq!(reader.join().unwrap(), "dom0\n");
    assert!(images.path("pipe").symlink_metadata().unwrap().file_type().is_fifo());
    symlink("/dev/null", images.path("null")).unwrap();
    images.good(&["cp", "root.img:/etc/hostname", "null"]);
    assert_eq!(fs::read_link(images.path("null")).unwrap().to_str(), Some("/dev/null"));
    // A link is followed where it was typed, if it leads to something.
    fs::write(images.path("target"), "old").unwrap();
    symlink("target", images.path("link")).unwrap();
    images.good(&["cp", "root.img:/etc/hostname", "link"]);
    assert!(images.path("link").is_symlink());
    assert_eq!(fs::read_to_string(images.path("target")).unwrap(), "dom0\n");
    symlink("nowhere", images.path("dangling")).unwrap();
    assert!(images.bad(6, &["cp", "root.img:/etc/hostname", "dangling"]).contains("cannot write to dangling"));
    assert!(images.bad(2, &["cp", "-r", "root.img:/sbin", "link"]).contains("link is there already"));
    assert!(images.bad(2, &["cp", "root.img:/etc/hostname", "new/"]).contains("new/: no such folder"));
    assert!(!images.path("new").exists());
}

#[test]
fn a_copy_goes_on_behind_what_it_cannot_read_and_leaves_nothing_half_done() {
    let images = Images::new();
    let mut tree = empty();
    add(&mut tree, "a/big", file(vec![7; 3 << 20]), 0o644);
    add(&mut tree, "b", file("b"), 0o644);
    let path = images.ext("root.img", &tree, Version::Ext2, "");
    // A pointer of the file's last indirect block leads nowhere.
    let bytes = fs::read(&path).unwrap();
    let name = bytes.windows(3).position(|bytes| bytes == b"big").unwrap();
    let number = u32::from_le_bytes(bytes[name - 8..name - 4].try_into().unwrap()) as usize;
    let table = u32::from_le_bytes(bytes[2048 + 8..2048 + 12].try_into().unwrap()) as usize * 1024;
    let mut bytes = bytes;
    bytes[table + (number - 1) * 256 + 40 + 13 * 4 + 3] = 0xff;
    fs::write(&path, bytes).unwrap();
    assert!(images.bad(4, &["cp", "-r", "root.img:/", "to"]).contains("root.img:/a/big"));
    assert_eq!(fs::read_to_string(images.path("to/b")).unwrap(), "b");
    assert_eq!(fs::read_dir(images.path("to/a")).unwrap().count(), 0);
    fs::write(images.path("old"), "old").unwrap();
    images.bad(4, &["cp", "root.img:/a/big", "old"]);
    assert_eq!(fs::read_to_string(images.path("old")).unwrap(), "old");
}

#[test]
fn names_do_not_act_on_the_terminal() {
    let images = Images::new();
    let mut tree = empty();
    add(&mut tree, "\x1b[2J\n\u{202e}x", file("x"), 0o644);
    images.ext("a.img", &tree, Version::Ext4, "");
    images.ext("b.img", &empty(), Version::Ext4, "");
    for arguments in [&["ls", "a.img"][..], &["ls", "-l", "a.img"], &["du", "-a", "a.img"], &["diff", "a.img", "b.img"]]
    {
        let (_, out, _) = images.run(arguments);
        assert!(out.contains(r"\u{1b}[2J\n\u{202e}x") && !out.contains('\x1b'), "{arguments:?}: {out}");
    }
}

#[test]
fn damage_is_named_and_the_rest_is_shown() {
    let images = Images::new();
    let path = images.ext("root.img", &root(), Version::Ext2, "");
    let whole = fs::read(&path).unwrap();
    // The inode of `bin/ping` becomes one of no kind: the others are listed.
    let ping = whole.windows(4).position(|bytes| bytes == b"ping").unwrap();
    let number = u32::from_le_bytes(whole[ping - 8..ping - 4].try_into().unwrap());
    let table = u32::from_le_bytes(whole[2048 + 8..2048 + 12].try_into().unwrap()) as usize * 1024;
    let mut bytes = whole.clone();
    bytes[table + (number as usize - 1) * 256 + 1] = 0x30;
    fs::write(&path, &bytes).unwrap();
    let (code, out, err) = images.run(&["ls", "-l", "root.img:/bin"]);
    assert_eq!((code, out.lines().count()), (4, 3), "{out}{err}");
    assert!(out.lines().next().unwrap().starts_with("??????????"), "{out}");
    assert_eq!(err, format!("error: root.img:/bin/ping: inode {number}: has the type 30000, which no file has\n"));
    assert_eq!(images.run(&["du", "-s", "root.img"]).0, 4);
    assert_eq!(images.run(&["diff", "root.img:/bin", "root.img:/bin"]).0, 4);
    assert!(images.bad(4, &["cp", "-r", "root.img:/", "to"]).contains("has the type 30000"));
    // Truncated: what is gone is said to be.
    fs::write(&path, &whole[..table + 256]).unwrap();
    assert!(images.bad(4, &["ls", "root.img"]).contains("behind the end of the image"));
    fs::write(&path, &whole[..1500]).unwrap();
    assert!(images.bad(4, &["ls", "root.img:/"]).contains("is no disk, file system or archive"));
    fs::write(&path, "").unwrap();
    assert!(images.bad(4, &["cat", "root.img:/x"]).contains("is no disk, file system or archive"));
    let fat = images.fat("boot.img", &boot(), "");
    let status = Command::new("gzip").arg(&fat).status();
    if status.is_ok_and(|status| status.success()) {
        let packed = fs::read(images.path("boot.img.gz")).unwrap();
        fs::write(images.path("boot.img.gz"), &packed[..packed.len() / 2]).unwrap();
        assert!(images.bad(4, &["ls", "boot.img.gz"]).contains("the gzip stream is truncated"));
    }
    images.tar("a.tar", &boot());
    let tar = fs::read(images.path("a.tar")).unwrap();
    fs::write(images.path("a.tar"), &tar[..700]).unwrap();
    assert!(images.bad(4, &["ls", "a.tar"]).contains("a.tar: "));
}

#[test]
fn an_image_that_ends_before_its_disk_does_is_read_with_a_warning() {
    let images = Images::new();
    let root = images.ext("root.img", &root(), Version::Ext4, "rootfs");
    for scheme in [Scheme::Gpt, Scheme::Mbr] {
        let disk = images.disk("sd.img", scheme, &[("a", "linux", &root), ("b", "linux", &root)]);
        // The second file system is gone: of it there is a line in the table.
        let cut = (1 << 20) + fs::metadata(&root).unwrap().len();
        fs::File::options().write(true).open(&disk).unwrap().set_len(cut).unwrap();
        let warning = format!(" bytes, the image {cut}\n");
        for (arguments, expected) in [
            (&["cat", "sd.img:1:/etc/hostname"], "dom0\n"),
            (&["ls", "sd.img:2"], "sd.img:2: 0 bytes of no known kind\n"),
        ] {
            let (code, out, err) = images.run(arguments);
            assert_eq!((code, out.as_str()), (0, expected), "{scheme:?}");
            assert!(
                err.starts_with("warning: sd.img: the disk of its table has ") && err.ends_with(&warning),
                "{scheme:?}: {err}"
            );
        }
        let (code, out, err) = images.run(&["ls", "sd.img"]);
        assert!(code == 0 && out.contains("ext4 \"rootfs\"") && err.ends_with(&warning), "{out}{err}");
    }
}

#[test]
fn a_damaged_table_is_read_as_far_as_it_can_be() {
    let images = Images::new();
    let root = images.ext("root.img", &root(), Version::Ext4, "rootfs");
    let disk = images.disk("sd.img", Scheme::Gpt, &[("system", "linux", &root)]);
    let whole = images.good(&["ls", "sd.img"]);
    let mut bytes = fs::read(&disk).unwrap();
    fs::write(images.path("other.img"), &bytes).unwrap();
    bytes[512 + 40] ^= 1;
    fs::write(&disk, &bytes).unwrap();
    let warning = "warning: sd.img: the primary partition table is damaged, so this is its backup: \
        the GPT header does not match its checksum\n";
    for (arguments, expected) in [
        (&["ls", "sd.img"][..], whole.as_str()),
        (&["cat", "sd.img:system:/etc/hostname"], "dom0\n"),
        (&["cp", "sd.img:1:/etc/hostname", "copy"], ""),
    ] {
        assert_eq!(images.run(arguments), (0, expected.into(), warning.into()), "{arguments:?}");
    }
    let (code, out, err) = images.run(&["du", "-s", "sd.img:/"]);
    assert_eq!((code, out.lines().count(), err.as_str()), (0, 1, warning), "{out}");
    assert_eq!(fs::read(images.path("copy")).unwrap(), b"dom0\n");
    let (code, out, err) = images.run(&["diff", "other.img", "sd.img"]);
    assert!(code == 1 && out.starts_with("the whole: bytes: differ first at 552 "), "{out}");
    assert!(err.starts_with("warning: the second: the primary partition table is damaged"), "{err}");
    assert_eq!(images.run(&["-q", "cat", "sd.img:1:/etc/hostname"]), (0, "dom0\n".into(), String::new()));
    // Without a backup it is no disk that could be looked into.
    let end = bytes.len() - 512;
    bytes[end] = 0;
    fs::write(&disk, &bytes).unwrap();
    assert!(images.bad(4, &["ls", "sd.img"]).contains("and there is no backup of it at the end"));
    // Of logical partitions those before the bad link.
    let boot = images.fat("boot.img", &boot(), "");
    let parts: [(&str, &str, &Path); 5] = ["a", "b", "c", "d", "e"].map(|name| (name, "fat", boot.as_path()));
    let disk = images.disk("mbr.img", Scheme::Mbr, &parts);
    let whole = images.good(&["ls", "mbr.img"]);
    let mut bytes = fs::read(&disk).unwrap();
    let last = whole.lines().last().unwrap().split_whitespace().nth(1).unwrap().parse::<usize>().unwrap();
    let table = (0..last).step_by(512).rev().find(|at| bytes[at + 510..at + 512] == [0x55, 0xaa]).unwrap();
    bytes[table + 510] = 0;
    fs::write(&disk, &bytes).unwrap();
    let (code, out, err) = images.run(&["ls", "mbr.img"]);
    assert_eq!((code, out.lines().count() + 1), (0, whole.lines().count()), "{out}");
    assert!(err.starts_with("warning: mbr.img: not all partitions are known: logical partition "), "{err}");
}

#[test]
fn what_is_no_image_is_refused() {
    let images = Images::new();
    assert_eq!(images.bad(2, &["ls", "nothing.img:/x"]), "error: nothing.img: no such file\n");
    fs::write(images.path("text"), "just text").unwrap();
    assert!(images.bad(4, &["cat", "text:/x"]).contains("text is no disk, file system or archive"));
    symlink("/dev/zero", images.path("zero")).unwrap();
    assert!(images.bad(2, &["ls", "zero"]).contains("is not a file"));
    assert!(images.bad(2, &["cat"]).contains("ADDRESS"));
}

#[test]
fn what_claims_more_than_there_is_ends() {
    let images = Images::new();
    // A file whose second extent is its first again.
    let mut tree = empty();
    add(&mut tree, "big", file(vec![7; 3 << 20]), 0o644);
    let path = images.ext("root.img", &tree, Version::Ext4, "");
    let mut bytes = fs::read(&path).unwrap();
    let name = bytes.windows(3).position(|bytes| bytes == b"big").unwrap();
    let number = u32::from_le_bytes(bytes[name - 8..name - 4].try_into().unwrap()) as usize;
    let table = u32::from_le_bytes(bytes[2048 + 8..2048 + 12].try_into().unwrap()) as usize * 1024;
    let inode = table + (number - 1) * 256;
    let first: [u8; 12] = bytes[inode + 52..inode + 64].try_into().unwrap();
    let length = u16::from_le_bytes([first[4], first[5]]);
    assert_eq!((bytes[inode + 42], length), (1, 3072));
    bytes[inode + 42] = 2;
    bytes[inode + 64..inode + 76].copy_from_slice(&first);
    bytes[inode + 64..inode + 68].copy_from_slice(&u32::from(length).to_le_bytes());
    bytes[inode + 4..inode + 8].copy_from_slice(&(6_u32 << 20).to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert!(images.bad(4, &["cp", "root.img:/big", "copy"]).contains("uses more blocks than the "));
    assert!(!images.path("copy").exists());

    // Two names of one folder, of FAT, where only the folder's first cluster tells.
    let mut tree = empty();
    add(&mut tree, "A/FILE", file("x"), 0o644);
    add(&mut tree, "B/FILE", file("y"), 0o644);
    let path = images.fat("boot.img", &tree, "");
    let mut bytes = fs::read(&path).unwrap();
    let entry = |name: &[u8; 12]| bytes.windows(12).position(|bytes| bytes == name).unwrap();
    let (a, b) = (entry(b"A          \x10"), entry(b"B          \x10"));
    bytes.copy_within(a + 26..a + 28, b + 26);
    fs::write(&path, bytes).unwrap();
    for arguments in [["ls", "-R", "boot.img"], ["du", "-s", "boot.img"]] {
        let (code, out, err) = images.run(&arguments);
        assert_eq!((code, err.lines().count()), (4, 1), "{out}{err}");
        assert!(err.contains("boot.img:/B: ") && err.contains("is in itself, or in two folders"), "{err}");
    }
}

#[test]
fn one_bad_name_hides_no_other() {
    let images = Images::new();
    let mut tree = empty();
    add(&mut tree, "in/good", file("x"), 0o644);
    add(&mut tree, "in/evil", file("x"), 0o644);
    add(&mut tree, "in/twin", file("x"), 0o644);
    add(&mut tree, "in/twix", file("x"), 0o644);
    let path = images.ext("root.img", &tree, Version::Ext2, "");
    let mut bytes = fs::read(&path).unwrap();
    for (name, other) in [(b"evil", b"../x"), (b"twix", b"twin")] {
        let at = bytes.windows(4).position(|window| window == name).unwrap();
        bytes[at..at + 4].copy_from_slice(other);
    }
    fs::write(&path, bytes).unwrap();
    let (code, out, err) = images.run(&["ls", "root.img:/in"]);
    assert_eq!((code, &*out), (4, "good\ntwin\n"), "{err}");
    assert!(err.contains("holds the name `../x`, which no file can have"), "{err}");
    assert!(err.contains("holds the name `twin` twice") && err.lines().count() == 2, "{err}");
    assert!(images.bad(4, &["cp", "-r", "root.img:/in", "to"]).contains("`../x`"));
    let mut names: Vec<_> = fs::read_dir(images.path("to")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["good", "twin"]);
    assert_eq!(images.run(&["diff", "root.img:/in", "to"]).0, 4);
}
