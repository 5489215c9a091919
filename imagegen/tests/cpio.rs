//! cpio, judged by GNU cpio: its archives read, ours read by it, and hostile ones refused.

#[path = "support/dump.rs"]
mod dump;
#[path = "support/source.rs"]
mod source;
#[path = "support/tools.rs"]
mod tools;

use std::fs::File;
use std::sync::Arc;

use dump::dump;
use imagegen::archive::filter::Pattern;
use imagegen::archive::{ArchiveError, ReadOptions, Summary, cpio};
use imagegen::tree::{Kind, Metadata, Timestamp, Tree};
use proptest::prelude::*;
use source::{empty, file, folder_tree};
use tools::{available, shell};

fn read(bytes: &[u8]) -> Result<(Tree, Summary), ArchiveError> {
    let mut tree = empty();
    cpio::read_into(&mut tree, &file(bytes), &ReadOptions::default()).map(|summary| (tree, summary))
}

fn written(tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = cpio::write(tree, &mut bytes).unwrap();
    assert_eq!(summary.size_bytes, bytes.len() as u64);
    assert_eq!(bytes.len() % 512, 0);
    bytes
}

fn sample() -> Tree {
    let mut tree = empty();
    let meta = |mode| Metadata {
        uid: 3,
        gid: 4,
        ..Metadata::root(mode, Timestamp { seconds: 1_500_000_000, nanoseconds: 0 })
    };
    tree.insert(b"dev/console", Kind::CharacterDevice { major: 5, minor: 1 }, meta(0o600)).unwrap();
    tree.insert(b"dev/loop0", Kind::BlockDevice { major: 7, minor: 300_000 }, meta(0o660)).unwrap();
    tree.insert(b"bin/busybox", Kind::File(Arc::new(b"busy".repeat(50_001))), meta(0o4755)).unwrap();
    tree.link(b"bin/busybox", b"bin/sh").unwrap();
    tree.link(b"bin/busybox", b"sbin/init").unwrap();
    tree.insert(b"bin/empty", Kind::File(Arc::new(Vec::new())), meta(0o644)).unwrap();
    tree.link(b"bin/empty", b"bin/empty2").unwrap();
    tree.insert(b"init", Kind::Symlink((*b"sbin/init").into()), meta(0o777)).unwrap();
    tree.insert(b"run/pipe", Kind::Fifo, meta(0o600)).unwrap();
    tree.insert(b"run/socket", Kind::Socket, meta(0o600)).unwrap();
    for length in 1..=9 {
        tree.insert(&b"abcdefghi"[..length], Kind::File(Arc::new(vec![b'x'; length])), meta(0o644)).unwrap();
    }
    tree
}

#[test]
fn what_is_written_is_read_back() {
    let bytes = written(&sample());
    let (back, summary) = read(&bytes).unwrap();
    assert_eq!(dump(&back), dump(&sample()));
    assert_eq!(summary.end, bytes.len() as u64);
    assert_eq!(written(&back), bytes);
}

#[test]
fn gnu_cpio_lists_and_extracts_what_is_written() {
    if !available("cpio") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("a.cpio"), written(&sample())).unwrap();
    let list = shell("cpio -itvn --quiet <a.cpio", temp.path());
    let squeezed: Vec<String> =
        list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").replace(", ", ",")).collect();
    for line in [
        "crw------- 1 3 4 5,1 Jul 14 2017 dev/console",
        "brw-rw---- 1 3 4 7,300000 Jul 14 2017 dev/loop0",
        "-rwsr-xr-x 3 3 4 0 Jul 14 2017 bin/busybox",
        "-rwsr-xr-x 3 3 4 200004 Jul 14 2017 sbin/init",
        "lrwxrwxrwx 1 3 4 9 Jul 14 2017 init -> sbin/init",
        "drwxr-xr-x 6 0 0 0 Jan 1 1970 .",
    ] {
        assert!(squeezed.iter().any(|found| found == line), "{line}\nnot in\n{list}");
    }
    // Devices and owners need root; everything else comes back as it was.
    shell("mkdir out; cd out; cpio -idm --quiet --no-preserve-owner -f 'dev/*' 'run/socket' <../a.cpio", temp.path());
    let out = folder_tree(&temp.path().join("out"), None);
    let plain = |tree: &Tree| -> Vec<String> {
        let text = dump(tree);
        let kept = text
            .lines()
            .filter(|line| !line.starts_with("/dev") && !line.contains("Socket") && !line.contains("directory"));
        // Without mode and owner, as a set-id bit does not survive a change of owner; GNU cpio leaves links their time.
        let dropped = |at: usize, line: &str| at == 1 || at == 2 || at == 3 && line.contains("->");
        kept.map(|line| {
            line.split(' ')
                .enumerate()
                .filter(|(at, _)| !dropped(*at, line))
                .map(|(_, part)| part)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
    };
    assert_eq!(plain(&out), plain(&sample()));
}

#[test]
fn archives_of_gnu_cpio_are_read_like_the_folder_itself() {
    if !available("cpio") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    shell(
        "mkdir -p top/d/e; echo hello >top/d/f; ln top/d/f top/d/g; ln top/d/f top/z; ln -s d/f top/s; mkfifo top/p
         : >top/nothing; find top -exec touch -h -d @1500000000 {} +",
        temp.path(),
    );
    for format in ["newc", "crc"] {
        shell(&format!("cd top; find . | cpio -o --quiet -H {format} >../a.cpio"), temp.path());
        let bytes = std::fs::read(temp.path().join("a.cpio")).unwrap();
        assert_eq!(dump(&read(&bytes).unwrap().0), dump(&folder_tree(&temp.path().join("top"), None)), "{format}");
        if format == "crc" {
            let mut broken = bytes;
            let at = broken.windows(5).position(|window| window == b"hello").unwrap();
            broken[at] = b'j';
            assert!(read(&broken).unwrap_err().to_string().ends_with("the content's sum is wrong"));
        }
    }
}

/// newc brings a file's content with its last name; it is the file's whichever of the names are taken.
#[test]
fn a_filter_leaves_linked_files_their_content() {
    let file = file(&written(&sample()));
    let busy = b"busy".repeat(50_001);
    // The names in the archive's order: bin/busybox, bin/sh, and sbin/init, which has the content.
    for (include, exclude, names) in [
        (&["bin"][..], &[][..], &["bin/busybox", "bin/sh"][..]),
        (&["bin/sh"], &[], &["bin/sh"]),
        (&["sbin"], &[], &["sbin/init"]),
        (&[], &["sbin/init"], &["bin/busybox", "bin/sh"]),
        (&["bin/busybox", "sbin"], &[], &["bin/busybox", "sbin/init"]),
    ] {
        let patterns = |texts: &[&str]| texts.iter().map(Pattern::new).collect();
        let options = ReadOptions { include: patterns(include), exclude: patterns(exclude), ..ReadOptions::default() };
        let mut tree = empty();
        cpio::read_into(&mut tree, &file, &options).unwrap();
        let found: Vec<_> = names.iter().map(|name| tree.lookup(name.as_bytes(), false).unwrap()).collect();
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "one file: {include:?} {exclude:?}");
        let Kind::File(source) = &tree.inode(found[0]).kind else { panic!("a file") };
        assert!(dump::content(&**source) == busy, "{include:?} {exclude:?}");
        let all = ["bin/busybox", "bin/sh", "sbin/init"];
        let taken = all.iter().filter(|name| tree.lookup(name.as_bytes(), false).is_some()).count();
        assert_eq!(taken, names.len(), "{include:?} {exclude:?}");
    }
}

#[test]
fn archives_may_follow_each_other() {
    let mut second = empty();
    second
        .insert(b"late", Kind::File(Arc::new(b"late".to_vec())), Metadata::root(0o644, Timestamp::default()))
        .unwrap();
    let mut bytes = written(&sample());
    bytes.extend([0; 1000]);
    bytes.extend(written(&second));
    let end = bytes.len() as u64;
    bytes.extend(b"\x1f\x8bcompressed");
    let (tree, summary) = read(&bytes).unwrap();
    assert!(tree.lookup(b"late", false).is_some() && tree.lookup(b"bin/busybox", false).is_some());
    assert_eq!(summary.end, end, "what follows starts here");
}

#[test]
fn broken_archives_are_refused_with_member_and_offset() {
    let good = written(&sample());
    let change = |from: &str, to: &str| {
        let at = good.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        read(&bytes).unwrap_err().to_string()
    };
    assert_eq!(change("070701", "070707"), "at byte 0: the old portable cpio format");
    assert_eq!(change("070701", "070701+"), "at byte 0: a header's field is no number");
    assert_eq!(
        change("bin/empty2\0", "../empty-2\0"),
        "member `../empty-2` at byte 1588: ../empty-2: leads out of its folder with `..`"
    );
    assert_eq!(read(b"").unwrap_err().to_string(), "at byte 0: the archive is truncated: it ends in a header");
    for length in (0..good.len() - 512).step_by(97) {
        let error = read(&good[..length]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("truncated"), "{length}: {error}");
    }
}

#[test]
fn a_file_too_long_for_the_format_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("huge")).unwrap().set_len(1 << 32).unwrap();
    let error = cpio::write(&folder_tree(folder.path(), None), &mut std::io::sink()).unwrap_err();
    assert!(error.to_string().contains("member `huge`") && error.to_string().contains("4 GiB"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_damage_makes_the_reader_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"0123fF/.\0\xff+".to_vec())), 1..6),
    ) {
        let mut bytes = SEED.with(Clone::clone);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok((tree, _)) = read(&bytes) {
            dump(&tree);
        }
    }
}

thread_local! {
    static SEED: Vec<u8> = {
        let mut tree = sample();
        tree.remove(b"bin/busybox");
        tree.remove(b"bin/sh");
        tree.remove(b"sbin/init");
        written(&tree)
    };
}
