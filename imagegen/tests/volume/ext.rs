//! ext2, ext3 and ext4 as mke2fs makes them of a folder, compared with the folder.

use std::path::Path;

use imagegen::ext::Ext;
use imagegen::volume::{Volume, lookup};
use tempfile::TempDir;

use crate::{device, fill, tool, tree_of, volume};

/// Features and sizes, in mke2fs's words. What an older one does not know is announced and left out.
const KINDS: [&[&str]; 28] = [
    &["-t", "ext2"],
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext2", "-I", "128"],
    &["-t", "ext2", "-O", "none"],
    &["-t", "ext2", "-r", "0"],
    &["-t", "ext2", "-O", "^filetype"],
    &["-t", "ext3"],
    &["-t", "ext3", "-b", "2048", "-O", "^sparse_super,^resize_inode"],
    &["-t", "ext4"],
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "1024", "-g", "256"],
    &["-t", "ext4", "-b", "16384"],
    &["-t", "ext4", "-I", "128", "-O", "^metadata_csum"],
    &["-t", "ext4", "-I", "1024"],
    &["-t", "ext4", "-O", "^extent,^64bit"],
    &["-t", "ext4", "-O", "^64bit,^metadata_csum,uninit_bg"],
    &["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "256"],
    &["-t", "ext4", "-O", "bigalloc", "-C", "16384"],
    &["-t", "ext4", "-O", "bigalloc", "-b", "4096", "-C", "8192"],
    &["-t", "ext4", "-O", "inline_data", "-I", "256"],
    &["-t", "ext4", "-O", "inline_data", "-I", "1024"],
    &["-t", "ext4", "-O", "ea_inode"],
    &["-t", "ext4", "-O", "large_dir"],
    &["-t", "ext4", "-O", "sparse_super2,^resize_inode", "-b", "1024"],
    &["-t", "ext4", "-O", "casefold", "-E", "encoding=utf8"],
    &["-t", "ext4", "-O", "quota,project", "-I", "512"],
    &["-t", "ext4", "-O", "metadata_csum_seed,mmp,encrypt,verity,stable_inodes"],
    &["-t", "ext4", "-O", "^dir_index,^flex_bg,^has_journal,orphan_file"],
];

#[test]
fn every_feature_of_mke2fs() {
    let folder = TempDir::new().unwrap();
    let content = folder.path().join("content");
    std::fs::create_dir(&content).unwrap();
    fill(&content, true);
    let tree = tree_of(&content);
    let image = folder.path().join("image");
    let mut made = 0;
    for kind in KINDS {
        let _ = std::fs::remove_file(&image);
        let paths = ["-F", "-q", "-L", "a label", "-d", content.to_str().unwrap(), image.to_str().unwrap(), "64M"];
        match tool("mke2fs", &[kind, &paths].concat()) {
            None => return,
            Some(Err(text)) => eprintln!("skipped: this mke2fs does not make {kind:?}: {text}"),
            Some(Ok(_)) => {
                eprintln!("{kind:?}");
                compare(&tree, &image, kind);
                made += 1;
            }
        }
    }
    assert!(made > 10, "{made}");
}

fn compare(tree: &imagegen::tree::Tree, image: &Path, kind: &[&str]) {
    let read = Ext::open(device(image)).unwrap();
    assert_eq!(read.label(), "a label");
    assert!(kind.contains(&read.format()) || kind.contains(&"none"), "{}", read.format());
    volume::compare(tree, &read, |step, id| {
        let (found, expected) = (&step.node.metadata, &tree.inode(id).metadata);
        // The root is mke2fs's own.
        if !step.path.is_empty() {
            let at = step.path.escape_ascii();
            assert_eq!((found.mode, found.uid, found.gid), (expected.mode, expected.uid, expected.gid), "{at}");
            // An inode of 128 bytes has no room for more.
            assert_eq!(found.mtime.seconds, expected.mtime.seconds, "{at}");
            // Without the feature, mke2fs leaves them out.
            if !kind.contains(&"none") && !kind.contains(&"0") {
                assert!(found.xattrs == expected.xattrs, "{at}: attributes");
            }
        }
    });
    // What the feature list says is what dumpe2fs lists.
    if let Some(Ok(text)) = tool("dumpe2fs", &["-h", image.to_str().unwrap()]) {
        let line = text.lines().find_map(|line| line.strip_prefix("Filesystem features:")).unwrap();
        let mut theirs: Vec<&str> = line.split_whitespace().filter(|word| *word != "(none)").collect();
        let facts = read.facts();
        let ours = &facts.iter().find(|(name, _)| *name == "features").unwrap().1;
        let mut ours: Vec<&str> = ours.split_whitespace().collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, theirs);
        let uuid = text.lines().find_map(|line| line.strip_prefix("Filesystem UUID:")).unwrap().trim();
        assert!(facts.contains(&("uuid", uuid.into())));
    }
}

/// What debugfs writes afterwards: a device of each form, deleted names, a file in pieces.
#[test]
fn what_debugfs_changes() {
    let folder = TempDir::new().unwrap();
    let (image, source, dump) = (folder.path().join("image"), folder.path().join("source"), folder.path().join("dump"));
    let words: Vec<u8> = (0..700_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    std::fs::write(&source, &words).unwrap();
    for kind in ["ext2", "ext4"] {
        let _ = std::fs::remove_file(&image);
        let made = tool("mke2fs", &["-F", "-q", "-t", kind, "-b", "1024", image.to_str().unwrap(), "16M"]);
        let Some(Ok(_)) = made else { return };
        let mut script = String::from("mkdir d\n");
        for number in 0..200 {
            script += &format!("write /etc/hostname d/f{number}\n");
        }
        for number in (0..200).step_by(2) {
            script += &format!("rm d/f{number}\n");
        }
        script += &format!("write {} pieces\nmknod old b 8 17\nmknod new c 300 60000\n", source.display());
        script +=
            "symlink far /d/f1\nea_set pieces user.a \"some value\"\nset_inode_field pieces mtime 19991231235959\n";
        script +=
            "set_inode_field pieces mode 0104755\nset_inode_field pieces uid 70000\nset_inode_field pieces gid 99\n";
        let commands = folder.path().join("commands");
        std::fs::write(&commands, script).unwrap();
        let Some(Ok(_)) = tool("debugfs", &["-w", "-f", commands.to_str().unwrap(), image.to_str().unwrap()]) else {
            return;
        };
        let read = Ext::open(device(&image)).unwrap();
        let node = |path: &str| read.node(lookup(&read, path.as_bytes(), false).unwrap()).unwrap();
        assert_eq!(read.entries(lookup(&read, b"/d", true).unwrap()).unwrap().entries.len(), 100);
        assert_eq!(format!("{:?}", node("/old").kind), "block-device 8:17");
        assert_eq!(format!("{:?}", node("/new").kind), "character-device 300:60000");
        assert_eq!(lookup(&read, b"/far", true).unwrap(), lookup(&read, b"/d/f1", true).unwrap());
        let pieces = node("/pieces");
        let metadata = &pieces.metadata;
        assert_eq!((metadata.mode, metadata.uid, metadata.gid), (0o4755, 70_000, 99));
        assert_eq!(metadata.mtime.seconds, 946_684_799);
        assert_eq!(metadata.xattrs[&b"user.a"[..]], b"some value");
        let imagegen::volume::Kind::File(content) = pieces.kind else { panic!("{:?}", pieces.kind) };
        let mut bytes = vec![0; content.size_bytes() as usize];
        content.read_at(0, &mut bytes).unwrap();
        assert!(bytes == words, "{kind}");
        let command = format!("dump pieces {}", dump.display());
        if let Some(Ok(_)) = tool("debugfs", &["-R", &command, image.to_str().unwrap()]) {
            assert!(std::fs::read(&dump).unwrap() == bytes);
        }
    }
}
