//! Tar, judged by GNU tar and Python's tarfile: their archives read, ours read by them, and hostile ones refused.

#[path = "support/dump.rs"]
mod dump;
#[path = "support/source.rs"]
mod source;
#[path = "support/tools.rs"]
mod tools;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use dump::{content, dump};
use imagegen::archive::filter::Pattern;
use imagegen::archive::{ArchiveError, ReadOptions, Summary, cpio, tar};
use imagegen::tree::{Kind, Metadata, Timestamp, Tree};
use proptest::prelude::*;
use source::{empty, file, folder_tree};
use tools::{available, shell};

fn read(bytes: &[u8], options: &ReadOptions) -> Result<(Tree, Summary), ArchiveError> {
    let mut tree = empty();
    tar::read_into(&mut tree, &file(bytes), options).map(|summary| (tree, summary))
}

fn read_path(path: &Path) -> Tree {
    let mut tree = empty();
    tar::read_into(&mut tree, &Arc::new(File::open(path).unwrap()), &ReadOptions::default()).unwrap();
    tree
}

fn written(tree: &Tree, sparse: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = tar::write(tree, &mut bytes, &tar::WriteOptions { sparse }).unwrap();
    assert_eq!(summary.size_bytes, bytes.len() as u64);
    bytes
}

/// A header of our own making, for archives that no tool writes.
struct Raw([u8; 512]);

impl Raw {
    fn new(name: &str, kind: u8) -> Self {
        let mut raw = Raw([0; 512]);
        raw.0[..name.len()].copy_from_slice(name.as_bytes());
        raw.0[156] = kind;
        raw.0[257..265].copy_from_slice(b"ustar\x0000");
        raw.set(100, "0000644\0")
            .set(108, "0000000\0")
            .set(116, "0000000\0")
            .set(124, "00000000000\0")
            .set(136, "00000000000\0")
    }

    fn set(mut self, at: usize, text: &str) -> Self {
        self.0[at..at + text.len()].copy_from_slice(text.as_bytes());
        self
    }

    fn size(self, size: usize) -> Self {
        self.set(124, &format!("{size:011o}\0"))
    }

    fn link(self, target: &str) -> Self {
        self.set(157, target)
    }

    fn bytes(&self) -> [u8; 512] {
        let mut block = self.0;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// The header and its content in whole blocks.
    fn with(self, content: &[u8]) -> Vec<u8> {
        let mut bytes = self.size(content.len()).bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.extend([0; 1024]);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = String::new();
    for (keyword, value) in records {
        let rest = keyword.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).unwrap();
        content += &format!("{length} {keyword}={value}\n");
    }
    Raw::new("PaxHeaders/x", b'x').with(content.as_bytes())
}

fn pax_content(length: usize) -> Vec<u8> {
    format!("{length} comment={}\n", "x".repeat(length - 15)).into_bytes()
}

fn refused(members: &[Vec<u8>]) -> String {
    read(&archive(members), &ReadOptions::default()).unwrap_err().to_string()
}

/// Builds a folder with everything a user without privileges can make.
fn sample(folder: &Path) {
    shell(
        r#"
        mkdir -p top/empty top/deep/er
        printf hello >top/hello; printf '#!' >top/run; chmod 4755 top/run; : >top/nothing
        head -c 200000 /dev/urandom >top/deep/er/random
        ln top/hello top/deep/hard; ln -s ../hello top/deep/soft; ln -s /etc/passwd top/out
        mkfifo top/pipe
        truncate -s 3000000 top/holes; printf data | dd of=top/holes bs=1 seek=1048576 conv=notrunc status=none
        printf end | dd of=top/holes bs=1 seek=2999997 conv=notrunc status=none
        truncate -s 1000000 top/all-hole
        printf x >top/tail-hole; truncate -s 5000001 top/tail-hole
        for i in $(seq 0 60); do printf y | dd of=top/many bs=1 seek=$((i * 16384)) conv=notrunc status=none; done
        chmod 1777 top/empty; find top -exec touch -h -d @1500000000 {} +
        "#,
        folder,
    );
}

#[test]
fn every_format_of_gnu_tar_is_read_like_the_folder_itself() {
    if !available("tar") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    sample(temp.path());
    let expected = dump(&folder_tree(&temp.path().join("top"), None));
    let formats = [
        "--format=v7 --exclude=pipe",
        "--format=ustar",
        "--format=oldgnu",
        "--format=gnu",
        "--format=posix",
        "--format=oldgnu -S",
        "--format=gnu -S",
        "--format=posix -S --sparse-version=0.0",
        "--format=posix -S --sparse-version=0.1",
        "--format=posix -S --sparse-version=1.0",
    ];
    for format in formats {
        shell(&format!("tar -C top {format} -cf a.tar ."), temp.path());
        let tree = read_path(&temp.path().join("a.tar"));
        let mut expected = expected.clone();
        if format.contains("v7") {
            expected =
                expected.lines().filter(|line| !line.starts_with("/pipe")).map(|line| line.to_owned() + "\n").collect();
        }
        assert_eq!(dump(&tree), expected, "{format}");
        if format.contains("-S") {
            let Kind::File(source) = &tree.inode(tree.lookup(b"holes", false).unwrap()).kind else { panic!() };
            let stored: u64 = source.extents().iter().map(|extent| extent.length).sum();
            assert!(stored < 20_000, "{format}: {stored} bytes are stored");
        }
    }
}

#[test]
fn names_and_numbers_beyond_ustar_are_read() {
    if !available("tar") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(250));
    shell(&format!("mkdir {}; printf long >{long}; ln -s {long} soft; ln {long} hard", "d".repeat(120)), temp.path());
    for format in ["oldgnu", "gnu", "posix"] {
        shell(
            &format!(
                "tar --format={format} --owner=:3000000000 --group=:4294967294 --mtime=@-86400 --sort=name \
                 -cf a.tar hard soft {}",
                "d".repeat(120)
            ),
            temp.path(),
        );
        let tree = read_path(&temp.path().join("a.tar"));
        let inode = tree.inode(tree.lookup(long.as_bytes(), false).unwrap());
        assert_eq!((inode.metadata.uid, inode.metadata.gid), (3_000_000_000, 4_294_967_294), "{format}");
        assert_eq!(inode.metadata.mtime.seconds, -86400, "{format}");
        assert_eq!(tree.lookup(b"soft", true), tree.lookup(b"hard", false), "{format}");
    }
}

/// A tree with all that tar can hold, devices and attributes included.
fn full_tree() -> Tree {
    let mut tree =
        Tree::new(Metadata { uid: 1, gid: 2, ..Metadata::root(0o750, Timestamp { seconds: 7, nanoseconds: 0 }) });
    let meta = |mode| Metadata::root(mode, Timestamp { seconds: 1_600_000_000, nanoseconds: 0 });
    let bytes = |text: &str| Kind::File(Arc::new(text.as_bytes().to_vec()));
    tree.insert(b"dev/console", Kind::CharacterDevice { major: 5, minor: 1 }, meta(0o600)).unwrap();
    tree.insert(b"dev/sda", Kind::BlockDevice { major: 4095, minor: 1_048_575 }, meta(0o660)).unwrap();
    tree.insert(b"run/pipe", Kind::Fifo, meta(0o644)).unwrap();
    tree.insert(b"run/socket", Kind::Socket, meta(0o644)).unwrap();
    let mut capable = meta(0o4755);
    capable
        .xattrs
        .insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    capable.xattrs.insert(b"user.a=b%c".to_vec(), b"\n=\0\xff".to_vec());
    capable.xattrs.insert(b"user.empty".to_vec(), Vec::new());
    tree.insert(b"bin/ping", bytes("ping"), capable).unwrap();
    tree.link(b"bin/ping", b"bin/ping6").unwrap();
    tree.insert(b"bin/sh", Kind::Symlink((*b"/usr/bin/dash").into()), meta(0o777)).unwrap();
    let times = [(-1, 500_000_000), (8_589_934_592, 0), (1, 1), (-62_135_596_800, 0)];
    for (index, (seconds, nanoseconds)) in times.into_iter().enumerate() {
        let mtime = Timestamp { seconds, nanoseconds };
        tree.insert(format!("times/{index}").as_bytes(), bytes("t"), Metadata::root(0o644, mtime)).unwrap();
    }
    let mut rich = meta(0o600);
    (rich.uid, rich.gid) = (u32::MAX - 1, 2_097_152);
    for length in [1, 99, 100, 101, 154, 155, 156, 255] {
        let name = "n".repeat(length);
        tree.insert(name.as_bytes(), bytes(&name), meta(0o644)).unwrap();
        tree.insert(
            format!("{name}.d/{name}").as_bytes().get(..length + 3 + length.min(255)).unwrap(),
            bytes("x"),
            meta(0o644),
        )
        .ok();
        let target = "t".repeat(length);
        tree.insert(format!("links/{length}").as_bytes(), Kind::Symlink(target.into_bytes().into()), meta(0o777))
            .unwrap();
    }
    tree.insert(b"rich", bytes(""), rich).unwrap();
    tree.insert("ünïcödé \u{1f600}".as_bytes(), bytes("u"), meta(0o644)).unwrap();
    tree.insert(b"not\xff utf\n-8", bytes("u"), meta(0o644)).unwrap();
    tree
}

/// What a socket-less copy of the tree looks like.
fn without_sockets(text: &str) -> String {
    text.lines().filter(|line| !line.contains(" Socket")).map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn what_is_written_is_read_back() {
    let tree = full_tree();
    let bytes = written(&tree, false);
    let (back, summary) = read(&bytes, &ReadOptions::default()).unwrap();
    assert_eq!(dump(&back), without_sockets(&dump(&tree)));
    assert_eq!(summary.ignored, Vec::<String>::new());
    assert_eq!(bytes, written(&tree, false), "the same tree, the same bytes");
    assert_eq!(written(&back, false), bytes, "reading and writing again changes nothing");
}

/// 800 bytes of archive say that there is a file of 8 EiB: writing it again takes no more than that.
#[test]
fn what_is_written_is_bounded_by_what_is_there() {
    let size = i64::MAX.to_string();
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "huge"),
        ("GNU.sparse.realsize", &size),
    ];
    let bytes =
        archive(&[pax(&records), Raw::new("h", b'0').with(&[&b"1\n4096\n5\n"[..], &[0; 503], b"hello"].concat())]);
    let (tree, _) = read(&bytes, &ReadOptions::default()).unwrap();
    let again = written(&tree, false);
    assert!(again.len() <= 20 * 512, "{} bytes", again.len());
    let (back, _) = read(&again, &ReadOptions::default()).unwrap();
    let Kind::File(source) = &back.inode(back.lookup(b"huge", false).unwrap()).kind else { panic!("a file") };
    assert_eq!((source.size_bytes(), source.extents().len()), (i64::MAX as u64, 1));
    let error = cpio::write(&tree, &mut std::io::sink()).unwrap_err().to_string();
    assert!(error.contains("member `huge`") && error.contains("4 GiB or more"), "{error}");

    // Many that are small enough for cpio each, but not together; and a single one with no more holes than is fair.
    let member = |name: &str, size: &str| {
        let records = [("GNU.sparse.size", size), ("GNU.sparse.map", "0,5")];
        [pax(&records), Raw::new(name, b'0').with(b"hello")].concat()
    };
    let (tree, _) =
        read(&archive(&[member("a", "40000000"), member("b", "40000000")]), &ReadOptions::default()).unwrap();
    let error = cpio::write(&tree, &mut std::io::sink()).unwrap_err().to_string();
    assert!(error.contains("member `b`") && error.ends_with("for 10 bytes of data in all: too many"), "{error}");
    assert!(written(&tree, false).len() <= 20 * 512);
    let (tree, _) = read(&archive(&[member("a", "40000")]), &ReadOptions::default()).unwrap();
    cpio::write(&tree, &mut std::io::sink()).unwrap();
    let plain = written(&tree, false);
    assert!(plain.len() > 40_000 && !plain.windows(10).any(|window| window == b"GNU.sparse"), "small holes are zeros");
}

#[test]
fn gnu_tar_extracts_what_is_written() {
    if !available("tar") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    sample(temp.path());
    let tree = folder_tree(&temp.path().join("top"), None);
    for sparse in [false, true] {
        std::fs::write(temp.path().join("b.tar"), written(&tree, sparse)).unwrap();
        shell("rm -rf out; mkdir out; tar -C out -xpf b.tar", temp.path());
        assert_eq!(dump(&folder_tree(&temp.path().join("out"), None)), dump(&tree), "sparse: {sparse}");
        let back = read_path(&temp.path().join("b.tar"));
        assert_eq!(dump(&back), dump(&tree), "sparse: {sparse}");
        let blocks = shell("du -B1 out/holes | cut -f1", temp.path());
        assert!(!sparse || blocks.trim().parse::<u64>().unwrap() < 100_000, "the holes are restored: {blocks}");
    }
    // What only root may extract is listed.
    std::fs::write(temp.path().join("c.tar"), written(&full_tree(), false)).unwrap();
    let list = shell("tar --numeric-owner --full-time --xattrs --xattrs-include='*' -tvvf c.tar", temp.path());
    for line in [
        "crw------- 0/0             5,1 2020-09-13 12:26:40 dev/console",
        "brw-rw---- 0/0    4095,1048575 2020-09-13 12:26:40 dev/sda",
        "hrwsr-xr-x* 0/0              0 2020-09-13 12:26:40 bin/ping6 link to bin/ping",
        "  x: 20 security.capability",
        "-rw------- 4294967294/2097152 0 2020-09-13 12:26:40 rich",
    ] {
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace("x* ", "x ");
        assert!(list.lines().any(|found| squeeze(found) == squeeze(line)), "{line}\nnot in\n{list}");
    }
}

#[test]
fn python_sees_the_same_members() {
    if !available("python3") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("a.tar"), written(&full_tree(), false)).unwrap();
    let script = r#"
import tarfile
for m in tarfile.open("a.tar", errors="surrogateescape"):
    kind = {b"0": "file", b"1": "hard", b"2": "soft", b"3": "char", b"4": "block", b"5": "dir", b"6": "fifo"}[m.type]
    name = "".join(chr(b) if 32 < b < 127 else "\\%02x" % b for b in m.name.encode(errors="surrogateescape"))
    print(kind, oct(m.mode), m.uid, m.gid, repr(float(m.mtime)), m.size, m.devmajor, m.devminor, name, m.linkname)
"#;
    std::fs::write(temp.path().join("list.py"), script).unwrap();
    let theirs = shell("python3 list.py", temp.path());
    let tree = full_tree();
    let mut ours = String::new();
    let mut seen = std::collections::HashMap::new();
    tree.walk(|path, id| {
        let inode = tree.inode(id);
        let (mut size, mut numbers, mut link) = (0, (0, 0), String::new());
        let kind = match (&inode.kind, seen.get(&id)) {
            (Kind::Socket, _) => return,
            (Kind::Directory(_), _) => "dir",
            (_, Some(first)) => {
                link = String::clone(first);
                "hard"
            }
            (Kind::File(source), _) => {
                size = source.size_bytes();
                "file"
            }
            (Kind::Symlink(target), _) => {
                link = String::from_utf8_lossy(target).into_owned();
                "soft"
            }
            (&Kind::CharacterDevice { major, minor }, _) => {
                numbers = (major, minor);
                "char"
            }
            (&Kind::BlockDevice { major, minor }, _) => {
                numbers = (major, minor);
                "block"
            }
            (Kind::Fifo, _) => "fifo",
        };
        seen.entry(id).or_insert_with(|| String::from_utf8_lossy(path).into_owned());
        let meta = &inode.metadata;
        let time = format!("{:?}", meta.mtime.seconds as f64 + f64::from(meta.mtime.nanoseconds) / 1e9);
        let name: String = path
            .iter()
            .map(|&byte| if (33..127).contains(&byte) { char::from(byte).to_string() } else { format!("\\{byte:02x}") })
            .collect();
        let name = if name.is_empty() { "." } else { &name };
        ours += &format!(
            "{kind} 0o{:o} {} {} {time} {size} {} {} {name} {link}\n",
            meta.mode, meta.uid, meta.gid, numbers.0, numbers.1
        );
    });
    assert_eq!(ours.lines().collect::<Vec<_>>(), theirs.lines().collect::<Vec<_>>());
}

#[test]
fn members_are_chosen_stripped_and_placed() {
    let bytes = archive(&[
        Raw::new("./top/", b'5').set(100, "0000700\0").bytes().to_vec(),
        Raw::new("./top/bin/", b'5').set(100, "0000711\0").bytes().to_vec(),
        Raw::new("./top/bin/tool", b'0').with(b"tool"),
        Raw::new("./top/doc/manual", b'0').with(b"manual"),
        Raw::new("./top/bin/other", b'1').link("./top/doc/manual").bytes().to_vec(),
        Raw::new("./top/bin/third", b'1').link("./top/doc/manual").bytes().to_vec(),
        Raw::new("./top/bin/again", b'1').link("./top/bin/tool").bytes().to_vec(),
    ]);
    let options = ReadOptions {
        to: b"opt".to_vec(),
        strip: 1,
        include: vec![Pattern::new("top/bin/*")],
        exclude: vec![Pattern::new("**/doc")],
        owner: Some((7, 8)),
    };
    let (tree, summary) = read(&bytes, &options).unwrap();
    assert_eq!((summary.taken, summary.left_out), (4, 3));
    let text = dump(&tree);
    let lines: Vec<&str> = text.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let expected = [
        "/ 0755 0:0 0.000000000",
        "/opt 0755 0:0 0.000000000",
        "/opt/bin 0711 7:8 0.000000000",
        "/opt/bin/again 0644 7:8 0.000000000 file 4",
        "/opt/bin/other 0644 7:8 0.000000000 file 6",
        "/opt/bin/third 0644 7:8 0.000000000 =",
        "/opt/bin/tool 0644 7:8 0.000000000 =",
    ];
    assert_eq!(lines, expected);
    let one = tar::member(&file(&bytes), b"top/bin/third").unwrap().unwrap();
    assert!(matches!(&one.kind, Kind::File(source) if content(&**source) == b"manual"));
    assert!(tar::member(&file(&bytes), b"top/none").unwrap().is_none());
}

#[test]
fn the_last_member_of_a_name_counts() {
    let bytes = archive(&[
        Raw::new("a", b'0').with(b"first"),
        Raw::new("b", b'1').link("a").bytes().to_vec(),
        Raw::new("a", b'0').with(b"second, longer"),
    ]);
    let (tree, _) = read(&bytes, &ReadOptions::default()).unwrap();
    let text = |path: &[u8]| match &tree.inode(tree.lookup(path, false).unwrap()).kind {
        Kind::File(source) => content(&**source),
        _ => panic!(),
    };
    assert_eq!(text(b"a"), b"second, longer");
    assert_eq!(text(b"b"), b"first");
}

#[test]
fn writing_through_a_link_stays_inside() {
    let bytes = archive(&[
        Raw::new("etc", b'2').link("/../../../real").bytes().to_vec(),
        Raw::new("real/", b'5').bytes().to_vec(),
        Raw::new("etc/passwd", b'0').with(b"root"),
        Raw::new("up", b'2').link("../../../../..").bytes().to_vec(),
        Raw::new("up/top", b'0').with(b"top"),
    ]);
    let (tree, _) = read(&bytes, &ReadOptions::default()).unwrap();
    assert!(tree.lookup(b"real/passwd", false).is_some());
    assert!(tree.lookup(b"top", false).is_some());
    assert!(matches!(&tree.inode(tree.lookup(b"etc", false).unwrap()).kind, Kind::Symlink(_)));
}

#[test]
fn hostile_archives_are_refused_with_member_and_offset() {
    let a = || Raw::new("a", b'0').with(b"a");
    let cases: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (
            vec![a(), Raw::new("x/../../y", b'0').with(b"")],
            "member `x/../../y` at byte 1024: x/../../y: leads out of its folder with `..`",
        ),
        (
            vec![Raw::new("h", b'1').link("../a").bytes().to_vec()],
            "member `h` at byte 0: ../a: leads out of its folder with `..`",
        ),
        (
            vec![a(), Raw::new("h", b'1').link("b").bytes().to_vec(), Raw::new("b", b'0').with(b"")],
            "member `h` at byte 1024: b: a hard link names it, but nothing of that name came before",
        ),
        (
            vec![Raw::new("d/", b'5').bytes().to_vec(), Raw::new("d", b'0').with(b"")],
            "member `d` at byte 512: d: is a directory already",
        ),
        (
            vec![a(), Raw::new("a/b", b'0').with(b"")],
            "member `a/b` at byte 1024: a/b: passes through something that is no directory",
        ),
        (
            vec![Raw::new("s", b'2').bytes().to_vec()],
            "member `s` at byte 0: s: a symbolic link's target needs 1 to 4095 bytes and no NUL",
        ),
        (vec![vec![b'x'; 512]], "at byte 0: this is no tar header: its checksum does not match"),
        (vec![a(), vec![0; 512], a()], "at byte 1024: a lone zero block in the middle"),
        (vec![pax(&[("path", "b")])], "at byte 0: the archive ends after an extended header without its member"),
        (vec![Raw::new("x", b'x').with(b"12 path=b\n"), a()], "at byte 0: a PAX record's length is wrong"),
        (vec![pax(&[("size", "9x")]), a()], "member `a` at byte 0: the PAX keyword `size` has a bad value"),
        (vec![pax(&[("path", "a\0b")]), a()], "member `a\\0b` at byte 0: a\0b: a path cannot hold a NUL byte"),
        (vec![pax(&[("uid", "4294967296")]), a()], "member `a` at byte 0: the PAX keyword `uid` has a bad value"),
        (
            vec![Raw::new("a", b'0').set(124, "0000000000z\0").bytes().to_vec()],
            "member `a` at byte 0: the header's size is no number",
        ),
        (
            vec![Raw::new("a", b'0').set(124, "77777777777\0").bytes().to_vec()],
            "member `a` at byte 0: the archive is truncated: it ends in the content of this member",
        ),
        (
            vec![Raw::new("x", b'x').set(124, "77777777777\0").bytes().to_vec()],
            "at byte 0: extended headers of more than 16777216 bytes",
        ),
        (
            vec![Raw::new("g", b'g').with(&pax_content(40_000)), Raw::new("g", b'g').with(&pax_content(40_000)), a()],
            "at byte 0: extended headers of more than 65536 bytes",
        ),
        (vec![Raw::new("m", b'M').with(b"")], "member `m` at byte 0: a file continued from another volume"),
        (
            vec![pax(&[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,50,10,60")]), a()],
            "member `a` at byte 0: the pieces of a sparse file overlap or go backwards",
        ),
        (
            vec![pax(&[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,50,99,2")]), a()],
            "member `a` at byte 0: a piece of a sparse file lies behind its end",
        ),
        (
            vec![pax(&[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,2")]), a()],
            "member `a` at byte 0: the pieces of a sparse file have 2 bytes, but 1 are stored",
        ),
        (
            vec![
                pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9")]),
                Raw::new("a", b'0').with(b"18446744073709551616\n"),
            ],
            "member `a` at byte 0: a sparse file's map is longer than its content",
        ),
    ];
    for (members, expected) in cases {
        assert_eq!(refused(&members), expected);
    }
}

#[test]
fn the_size_in_a_pax_header_is_not_lost_on_the_way() {
    // Each of these made some reader take content for a header: RUSTSEC-2026-0068 and its relatives.
    let inner = Raw::new("smuggled", b'0').with(b"");
    let content = [inner, vec![b'.'; 512]].concat();
    let size = content.len().to_string();
    // The header says 0, the record says where the next member really is.
    let lying = [Raw::new("big", b'0').bytes().to_vec(), content.clone()].concat();
    let after = Raw::new("after", b'0').with(b"end");
    let (tree, _) =
        read(&archive(&[pax(&[("size", &size)]), lying.clone(), after.clone()]), &ReadOptions::default()).unwrap();
    assert!(tree.lookup(b"smuggled", false).is_none() && tree.lookup(b"after", false).is_some());
    // A long name between the record and its member has a size of its own.
    let long = Raw::new("././@LongLink", b'L').with(b"a-long-name\0");
    let (tree, _) =
        read(&archive(&[pax(&[("size", &size)]), long, lying, after.clone()]), &ReadOptions::default()).unwrap();
    assert_eq!(dump(&tree).lines().count(), 3);
    assert!(tree.lookup(b"a-long-name", false).is_some() && tree.lookup(b"after", false).is_some());
    // POSIX: a link or a folder has no content, whatever its size says.
    for kind in [b'1', b'2', b'5', b'6'] {
        let odd = Raw::new("odd", kind).link("a").size(512).bytes().to_vec();
        let members = [Raw::new("a", b'0').with(b"a"), odd, after.clone()];
        assert!(read(&archive(&members), &ReadOptions::default()).unwrap().0.lookup(b"after", false).is_some());
    }
}

fn global(records: &[(&str, &str)]) -> Vec<u8> {
    let bytes = pax(records);
    let mut block = Raw(bytes[..512].try_into().unwrap());
    block.0[156] = b'g';
    [block.bytes().to_vec(), bytes[512..].to_vec()].concat()
}

/// Were they taken, each of many members would hold a copy.
#[test]
fn global_headers_give_no_attributes() {
    for keyword in ["SCHILY.xattr.user.k", "LIBARCHIVE.xattr.user.k"] {
        let member = || Raw::new("a", b'0').with(b"");
        assert_eq!(
            refused(&[member(), global(&[("uid", "12"), (keyword, "dg")]), member()]),
            "at byte 512: a global header with extended attributes, for every member behind it"
        );
        assert!(read(&archive(&[pax(&[(keyword, "dg")]), member()]), &ReadOptions::default()).is_ok());
    }
}

#[test]
fn global_headers_hold_until_they_are_taken_back() {
    let bytes = archive(&[
        global(&[("uid", "12"), ("mtime", "1.5"), ("comment", "c"), ("VENDOR.x", "y")]),
        Raw::new("a", b'0').with(b""),
        pax(&[("uid", ""), ("gid", "9"), ("SCHILY.xattr.user.k", "v")]),
        Raw::new("b", b'0').with(b""),
        Raw::new("c", b'0').with(b""),
    ]);
    let (tree, summary) = read(&bytes, &ReadOptions::default()).unwrap();
    let owners = |path: &[u8]| {
        let meta = &tree.inode(tree.lookup(path, false).unwrap()).metadata;
        (meta.uid, meta.gid, meta.mtime.nanoseconds, meta.xattrs.len())
    };
    assert_eq!(
        [owners(b"a"), owners(b"b"), owners(b"c")],
        [(12, 0, 500_000_000, 0), (0, 9, 500_000_000, 1), (12, 0, 500_000_000, 0)]
    );
    assert_eq!(summary.ignored, ["VENDOR.x"]);
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    let bytes = written(&full_tree(), false);
    let end = (bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1).next_multiple_of(512);
    for length in (0..end).step_by(512).chain((1..end).step_by(701)) {
        let error = read(&bytes[..length], &ReadOptions::default()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("truncated"), "{length}: {error}");
    }
    read(&bytes[..end + 512], &ReadOptions::default()).expect("one zero block is enough at the end");
}

#[test]
fn an_archive_within_a_file_counts_from_its_own_start() {
    let inner = written(&full_tree(), false);
    let outer = [vec![b'!'; 333], inner.clone(), vec![b'!'; 100]].concat();
    let mut tree = empty();
    tar::read_range_into(&mut tree, &file(&outer), 333, inner.len() as u64, &ReadOptions::default()).unwrap();
    assert_eq!(dump(&tree), without_sockets(&dump(&full_tree())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes, &ReadOptions::default());
    }

    #[test]
    fn no_damage_makes_the_reader_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        fix in any::<bool>(),
    ) {
        let mut bytes = SEED.with(Clone::clone);
        for (at, byte) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
            if fix {
                // With a right checksum the damage gets past the door.
                let block = at / 512 * 512;
                let fixed = Raw(bytes[block..block + 512].try_into().unwrap()).bytes();
                bytes[block..block + 512].copy_from_slice(&fixed);
            }
        }
        if let Ok((tree, _)) = read(&bytes, &ReadOptions::default()) {
            tree.walk(|_, id| if let Kind::File(source) = &tree.inode(id).kind {
                for extent in source.extents().into_iter().take(100) {
                    source.read_at(extent.offset, &mut [0; 1]).unwrap();
                }
            });
        }
    }

    #[test]
    fn random_trees_survive(names in proptest::collection::vec(("[a-c/.]{1,12}", 0u8..6, any::<u32>(), any::<i32>()), 0..40)) {
        let mut tree = empty();
        for (name, kind, number, seconds) in names {
            let mtime = Timestamp { seconds: i64::from(seconds) << 4, nanoseconds: number % 1_000_000_000 };
            let meta = Metadata { uid: number, gid: number / 3, ..Metadata::root((number & 0o7777) as u16, mtime) };
            let kind = match kind {
                0 => Kind::File(Arc::new(vec![b'c'; (number % 2000) as usize])),
                1 => Kind::Directory(Default::default()),
                2 => Kind::Symlink((*b"a/b").into()),
                3 => Kind::Fifo,
                4 => Kind::CharacterDevice { major: number & 0xfff, minor: number & 0xfffff },
                _ => {
                    let _ = tree.link(b"a", name.as_bytes());
                    continue;
                }
            };
            let _ = tree.insert(name.as_bytes(), kind, meta);
        }
        let bytes = written(&tree, true);
        let (back, _) = read(&bytes, &ReadOptions::default()).unwrap();
        prop_assert_eq!(dump(&back), dump(&tree));
    }
}

thread_local! {
    static SEED: Vec<u8> = {
        let mut bytes = written(&full_tree(), false);
        let sparse = pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9999"), ("GNU.sparse.name", "s")]);
        let map = b"2\n0\n3\n9998\n1\n".to_vec();
        let data = [map.clone(), vec![0; 512 - map.len()], b"abcd".to_vec()].concat();
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        bytes.truncate(end.next_multiple_of(512));
        bytes.extend(archive(&[sparse, Raw::new("s", b'0').with(&data)]));
        bytes
    };
}
