//! Folders of the host: what is kept, what is normal, and what happens when they change.

#[path = "support/dump.rs"]
mod dump;
#[path = "support/tools.rs"]
mod tools;

use std::fs;
use std::io::{Read, Seek};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use dump::{content, dump};
use imagegen::archive::ReadOptions;
use imagegen::archive::filter::Pattern;
use imagegen::archive::folder::{Keep, read_into};
use imagegen::archive::tar;
use imagegen::ext;
use imagegen::tree::{Extent, Kind, Metadata, Timestamp, Tree};

const EPOCH: Keep = Keep::Content(Timestamp { seconds: 1_700_000_000, nanoseconds: 0 });

fn read(path: &Path, options: &ReadOptions, keep: Keep) -> Tree {
    let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
    read_into(&mut tree, path, options, keep).unwrap();
    tree
}

fn checkout(umask: u32) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    tools::shell(
        &format!(
            "umask {umask:04o}; mkdir -p top/sub top/sub/empty; echo one >top/one; echo two >top/sub/two
             printf '#!' >top/run; chmod u+x top/run; ln -s ../one top/sub/link; ln top/one top/uno"
        ),
        temp.path(),
    );
    temp
}

#[test]
fn umask_and_owner_and_time_of_a_checkout_do_not_show() {
    let texts = [0o022, 0o077, 0o002].map(|umask| {
        let temp = checkout(umask);
        dump(&read(&temp.path().join("top"), &ReadOptions::default(), EPOCH))
    });
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0], texts[2]);
    let lines: Vec<&str> = texts[0].lines().map(|line| line.split(" file").next().unwrap()).collect();
    let expected = [
        "/ 0755 0:0 1700000000.000000000 directory",
        "/one 0644 0:0 1700000000.000000000",
        "/run 0755 0:0 1700000000.000000000",
        "/sub 0755 0:0 1700000000.000000000 directory",
        "/sub/empty 0755 0:0 1700000000.000000000 directory",
        "/sub/link 0777 0:0 1700000000.000000000 -> ../one",
        "/sub/two 0644 0:0 1700000000.000000000",
        "/uno 0644 0:0 1700000000.000000000",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn everything_is_kept_where_asked() {
    let temp = checkout(0o027);
    let top = temp.path().join("top");
    fs::set_permissions(top.join("run"), fs::Permissions::from_mode(0o6711)).unwrap();
    tools::shell("touch -d @1234567890.5 top/one; touch -h -d @5 top/sub/link", temp.path());
    let kept = read(&top, &ReadOptions::default(), Keep::Everything);
    let metadata = |path: &[u8]| kept.inode(kept.lookup(path, false).unwrap()).metadata.clone();
    assert_eq!(metadata(b"run").mode, 0o6711);
    assert_eq!(metadata(b"sub").mode, 0o750);
    assert_eq!(metadata(b"one").mtime, Timestamp { seconds: 1_234_567_890, nanoseconds: 500_000_000 });
    assert_eq!(metadata(b"sub/link").mtime.seconds, 5);
    assert_eq!(kept.lookup(b"one", false), kept.lookup(b"uno", false));
    let owner = ReadOptions { owner: Some((8, 9)), ..ReadOptions::default() };
    let owned = read(&top, &owner, Keep::Everything);
    let metadata = &owned.inode(owned.lookup(b"sub/link", false).unwrap()).metadata;
    assert_eq!((metadata.uid, metadata.gid), (8, 9));
}

#[test]
fn parts_are_chosen_and_placed() {
    let temp = checkout(0o022);
    let options = ReadOptions {
        to: b"srv/data".to_vec(),
        exclude: vec![Pattern::new("**/two"), Pattern::new("sub/empty")],
        ..ReadOptions::default()
    };
    let text = dump(&read(&temp.path().join("top"), &options, EPOCH));
    let names: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let expected = [
        "/",
        "/srv",
        "/srv/data",
        "/srv/data/one",
        "/srv/data/run",
        "/srv/data/sub",
        "/srv/data/sub/link",
        "/srv/data/uno",
    ];
    assert_eq!(names, expected);
    let options = ReadOptions { include: vec![Pattern::new("**/t*")], ..ReadOptions::default() };
    let text = dump(&read(&temp.path().join("top"), &options, EPOCH));
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn a_file_that_changes_after_it_was_looked_at_is_an_error() {
    type Change = fn(&Path);
    let changes: [Change; 4] = [
        |path| fs::write(path, "longer than before").unwrap(),
        |path| fs::write(path, "s").unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
    ];
    for change in changes {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "before").unwrap();
        let tree = read(temp.path(), &ReadOptions::default(), EPOCH);
        change(&path);
        let Kind::File(source) = &tree.inode(tree.lookup(b"file", false).unwrap()).kind else { panic!() };
        assert!(source.read_at(0, &mut [0; 6]).is_err());
    }
    // And while it is open.
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("file");
    fs::write(&path, "before").unwrap();
    let tree = read(temp.path(), &ReadOptions::default(), EPOCH);
    let Kind::File(source) = &tree.inode(tree.lookup(b"file", false).unwrap()).kind else { panic!() };
    source.read_at(0, &mut [0; 3]).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4).unwrap();
    let error = source.read_at(3, &mut [0; 3]).unwrap_err();
    assert!(error.to_string().ends_with("file` changed while it was being read"), "{error}");
}

#[test]
fn more_files_than_may_be_open_are_read_all_the_same() {
    let temp = tempfile::tempdir().unwrap();
    for index in 0..200 {
        fs::write(temp.path().join(format!("{index}")), format!("content {index}")).unwrap();
    }
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    let tree = read(temp.path(), &ReadOptions::default(), EPOCH);
    for _ in 0..2 {
        for index in 0..200 {
            let id = tree.lookup(index.to_string().as_bytes(), false).unwrap();
            let Kind::File(source) = &tree.inode(id).kind else { panic!() };
            assert_eq!(content(&**source), format!("content {index}").into_bytes());
        }
    }
    let after = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(after < before + 100, "{before} files were open, now {after}");
}

#[test]
fn holes_are_where_the_content_is_zeros_and_not_where_the_host_has_them() {
    let temp = tempfile::tempdir().unwrap();
    tools::shell(
        "mkdir sparse
         truncate -s 10000000 sparse/holes; printf x | dd of=sparse/holes bs=1 seek=4194304 conv=notrunc status=none
         truncate -s 4096 sparse/hole; truncate -s 100 sparse/small; seq 1 20000 >sparse/full
         cp -r --sparse=never sparse dense",
        temp.path(),
    );
    let blocks = |name: &str| fs::metadata(temp.path().join(name)).unwrap().blocks();
    assert!(blocks("sparse/holes") < blocks("dense/holes"), "the host keeps no holes: this test shows nothing");
    for keep in [EPOCH, Keep::Everything] {
        let trees = ["sparse", "dense"].map(|name| read(&temp.path().join(name), &ReadOptions::default(), keep));
        for tree in &trees {
            let extents = |name: &[u8]| match &tree.inode(tree.lookup(name, false).unwrap()).kind {
                Kind::File(source) => source.extents(),
                _ => panic!(),
            };
            assert_eq!(extents(b"hole"), []);
            assert_eq!(extents(b"holes"), [Extent { offset: 4_194_304, length: 4096 }]);
            assert_eq!(extents(b"small"), [Extent { offset: 0, length: 100 }]);
            assert_eq!(extents(b"full"), [Extent { offset: 0, length: 108_894 }]);
        }
        if keep == EPOCH {
            let [sparse, dense] = trees.map(|tree| images(&tree));
            assert!(sparse == dense, "the images differ");
        }
    }
}

/// Writes a tree as ext3 and as tar.
fn images(tree: &Tree) -> (Vec<u8>, Vec<u8>) {
    let plan = ext::Plan::new(tree, &ext::Options::new([1; 16], [2; 16], 1_700_000_000)).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    plan.write(&file, 0, &mut |_| ControlFlow::Continue(())).unwrap();
    let (mut image, mut archive) = (Vec::new(), Vec::new());
    file.rewind().unwrap();
    file.read_to_end(&mut image).unwrap();
    tar::write(tree, &mut archive, &tar::WriteOptions { sparse: true }).unwrap();
    (image, archive)
}

#[test]
fn what_is_no_folder_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    let mut tree = Tree::new(Metadata::default());
    for (name, reason) in [("file", "ot a directory"), ("none", "No such file")] {
        let error =
            read_into(&mut tree, &temp.path().join(name), &ReadOptions::default(), EPOCH).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}`: ")) && error.contains(reason), "{error}");
    }
}
