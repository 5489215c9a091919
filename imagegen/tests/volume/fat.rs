//! FAT as mkfs.fat and mtools make it of a folder, compared with the folder and with what mtools reads.

use std::path::Path;

use imagegen::fat::Fat;
use imagegen::volume::{Kind, Volume, lookup};
use tempfile::TempDir;

use crate::{device, fill, tool, tree_of, volume};

const KINDS: [&[&str]; 9] = [
    &["-F", "12", "-s", "8"],
    &["-F", "12", "-s", "16", "-f", "1"],
    &["-F", "16"],
    &["-F", "16", "-s", "4", "-r", "1024"],
    &["-F", "16", "-S", "4096", "-s", "1"],
    &["-F", "32"],
    &["-F", "32", "-s", "1"],
    &["-F", "32", "-s", "8", "-R", "99"],
    &["-F", "32", "-S", "2048", "-s", "2"],
];

#[test]
fn every_size_of_mkfs_fat() {
    let folder = TempDir::new().unwrap();
    let content = folder.path().join("content");
    std::fs::create_dir(&content).unwrap();
    fill(&content, false);
    let tree = tree_of(&content);
    let image = folder.path().join("image");
    let mut made = 0;
    for kind in KINDS {
        let bytes = if kind[1] == "12" { 15 << 20 } else { 64 << 20 };
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let device_path = image.to_str().unwrap();
        let Some(result) = tool("mkfs.fat", &[kind, &["-n", "LABEL", "-i", "1234abcd", device_path]].concat()) else {
            return;
        };
        if let Err(text) = result {
            eprintln!("skipped: this mkfs.fat does not make {kind:?}: {text}");
            continue;
        }
        // Names that mtools deletes again leave holes in the table, and entries that are none.
        let long = content.join("long");
        let copy =
            |from: &Path, to: &str| tool("mcopy", &["-s", "-n", "-m", "-i", device_path, from.to_str().unwrap(), to]);
        for number in 0..20 {
            let Some(Ok(_)) = copy(&content.join("block"), &format!("::gap with a long name {number}")) else { return };
        }
        for number in (0..20).step_by(2) {
            tool("mdel", &["-i", device_path, &format!("::gap with a long name {number}")]).unwrap().unwrap();
        }
        copy(&long, "::first").unwrap().unwrap();
        for number in (1..20).step_by(2) {
            tool("mdel", &["-i", device_path, &format!("::gap with a long name {number}")]).unwrap().unwrap();
        }
        for name in std::fs::read_dir(&content).unwrap() {
            copy(&name.unwrap().path(), "::").unwrap().unwrap();
        }
        tool("mdel", &["-i", device_path, "::first"]).unwrap().unwrap();
        eprintln!("{kind:?}");
        let read = Fat::open(device(&image)).unwrap();
        assert_eq!(read.label(), "LABEL");
        assert_eq!(read.format(), format!("FAT{}", kind[1]));
        assert!(read.facts().contains(&("serial", "1234-abcd".into())));
        volume::compare(&tree, &read, |step, id| {
            let expected = tree.inode(id).metadata.mtime;
            let found = step.node.metadata.mtime;
            if !step.node.kind.is_directory() {
                assert_eq!(found, volume::in_steps_of_two(expected), "{}", step.path.escape_ascii());
            }
        });
        let shouted = lookup(&read, b"/DEEP/er/AND/Deeper/FILE", true).unwrap();
        assert_eq!(shouted, lookup(&read, b"deep/er/and/deeper/file", true).unwrap());
        if let Some(Ok(text)) = tool("mtype", &["-i", device_path, "::deep/er/and/deeper/file"]) {
            assert_eq!(text, "found");
        }
        tool("mattrib", &["-i", device_path, "+r", "+h", "::small"]).unwrap().unwrap();
        let small = read.node(lookup(&read, b"small", true).unwrap()).unwrap();
        assert_eq!((small.flags.as_str(), small.metadata.mode), ("AHR", 0o444));
        assert!(matches!(small.kind, Kind::File(_)));
        made += 1;
    }
    assert!(made > 4, "{made}");
}
