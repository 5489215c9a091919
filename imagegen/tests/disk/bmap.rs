//! Block maps as bmaptool takes them.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use imagegen::disk::{Content, Partition, Plan, Scheme, Size, bmap};
use imagegen::tree::Extent;

use crate::oracle::{Hollow, make, partition, run, sized};

fn disk() -> [Partition; 2] {
    // Of the root only the first and last MiB mean something, and a hole in the first does too.
    let source = Arc::new(Hollow { size: 40 << 20, end: 100_000 });
    let mapped = Some(vec![Extent { offset: 0, length: 1 << 20 }, Extent { offset: 39 << 20, length: 1 << 20 }]);
    [
        partition("boot", "esp", 3_000_001),
        Partition { content: Some(Content { source, mapped }), size: Size::Rest, ..partition("root", "root-arm64", 0) },
    ]
}

#[test]
fn bmaptool_copies_what_means_something() {
    let (options, partitions) = (sized(Scheme::Gpt, 64), disk());
    let made = make(&options, &partitions, &[]);
    let plan = Plan::new(&options, &partitions, &[]).unwrap();
    let image = File::open(&made.path).unwrap();
    assert!(image.metadata().unwrap().blocks() * 512 < 4 << 20);
    let mut last = 0;
    let text = bmap::of(&image, plan.size_bytes(), &plan.extents(), &mut |done| {
        assert!(done > last);
        last = done;
        Ok(())
    });
    let text = text.unwrap();
    let map = made.folder.path().join("disk.bmap");
    std::fs::write(&map, &text).unwrap();
    let target = made.folder.path().join("target");
    let arguments = ["copy".as_ref(), "--bmap".as_ref(), map.as_ref(), made.path.as_ref(), target.as_ref()];
    let Some((success, said)) = run("bmaptool", &arguments) else { return };
    assert!(success, "bmaptool copy:\n{said}\n{text}");
    let (ours, theirs) = (std::fs::read(&made.path).unwrap(), std::fs::read(&target).unwrap());
    let mut covered = 0;
    for Extent { offset, length } in plan.extents() {
        let range = offset as usize..(offset + length) as usize;
        assert!(ours[range.clone()] == theirs[range], "from {offset} on");
        covered += length;
    }
    // Not many blocks more than needed were written: bmaptool makes a file one hole first.
    let written = std::fs::metadata(&target).unwrap().blocks() * 512;
    assert!(covered < 6 << 20 && written < covered + 20 * 4096, "{covered} {written}");
    // A wrong byte is found.
    let place = text.find("<Range chksum=\"").unwrap() + 20;
    let wrong =
        format!("{}{}{}", &text[..place], if &text[place..=place] == "0" { "1" } else { "0" }, &text[place + 1..]);
    std::fs::write(&map, wrong).unwrap();
    assert!(!run("bmaptool", &arguments).unwrap().0);
}

#[test]
fn a_last_block_that_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let (path, map) = (folder.path().join("image"), folder.path().join("map"));
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    let image = File::open(&path).unwrap();
    let text = bmap::of(&image, 10_000, &[Extent { offset: 0, length: 10_000 }], &mut |_| Ok(())).unwrap();
    assert!(text.contains("<Range chksum=") && text.contains("> 0-2 </Range>"));
    std::fs::write(&map, text).unwrap();
    let target = folder.path().join("target");
    let arguments = ["copy".as_ref(), "--bmap".as_ref(), map.as_ref(), path.as_ref(), target.as_ref()];
    let Some((success, said)) = run("bmaptool", &arguments) else { return };
    assert!(success && std::fs::read(&target).unwrap() == vec![7; 10_000], "{said}");
}
