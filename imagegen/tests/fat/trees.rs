//! The trees of the promise: large directories, long names, holes, next to nothing.

use std::fs;

use imagegen::fat::{Options, Plan, Width};
use imagegen::tree::{Kind, Tree};

use crate::oracle::{add, check, directory, file, fsck, image, noise, options, run, tree, with};

const WIDTHS: [Width; 3] = [Width::Fat12, Width::Fat16, Width::Fat32];

fn boot_files() -> Tree {
    let mut tree = tree();
    for (name, size) in [("bootcode.bin", 52_476), ("start4.elf", 2_300_000), ("config.txt", 300), ("Image", 1_000_000)]
    {
        add(&mut tree, name, file(noise(size, size as u64)));
    }
    add(&mut tree, "bcm2711-rpi-4-b.dtb", file(noise(50_000, 1)));
    add(&mut tree, "overlays/dwc2.dtbo", file(noise(801, 2)));
    add(&mut tree, "overlays/vc4-kms-dsi-7inch.dtbo", file(noise(2_813, 3)));
    add(&mut tree, "empty", file(""));
    add(&mut tree, "empty folder", directory());
    tree
}

#[test]
fn a_boot_partition_of_every_width() {
    for width in WIDTHS {
        let image = check(&boot_files(), &Options { label: "BOOT".into(), ..with(width) });
        let Some((true, text)) = run("blkid", &["-p".as_ref(), "-o".as_ref(), "export".as_ref(), image.path.as_ref()])
        else {
            continue;
        };
        let text = String::from_utf8(text).unwrap();
        for line in
            ["TYPE=vfat", "UUID=1234-ABCD", "LABEL=BOOT", "LABEL_FATBOOT=BOOT", &format!("VERSION=FAT{}", width.bits())]
        {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }
}

#[test]
fn an_empty_tree() {
    for width in WIDTHS {
        check(&tree(), &with(width));
        check(&tree(), &Options { label: "EMPTY".into(), ..with(width) });
    }
    assert_eq!(Plan::new(&tree(), &options()).unwrap().width(), Width::Fat12);
}

#[test]
fn ten_thousand_names_in_a_directory() {
    let mut tree = tree();
    for number in 0..10_000 {
        add(&mut tree, format!("many/a file with a number {number}.txt"), file(format!("{number}")));
        add(&mut tree, format!("short/{number}.txt"), file(""));
    }
    let image = check(&tree, &options());
    // Aliases are unique, which fsck.fat sees; 10,000 clusters make it FAT16.
    assert!(fs::metadata(&image.path).unwrap().len() < 16 << 20);
    check(&tree, &with(Width::Fat32));
}

#[test]
fn names_of_all_kinds() {
    let mut tree = tree();
    for name in [
        "lower.txt",
        "UPPER.TXT",
        "lower.TXT2",
        "UPPER2.txt",
        "Mixed.Txt",
        ".hidden",
        "..twice",
        "a.b.c.d",
        "no extension",
        " leading space",
        "+,;=[]",
        "$%'-_@~`!(){}^#&",
        "über straße.txt",
        "日本語.txt",
        "thirteen chars",
        "thirteen char",
        "LONGNA~1.TXT",
        "longname-first.txt",
        "longname-second.txt",
        "con",
        "aux.h",
        "x.toolong",
        "exactly8.ext",
        "9letters9.ext",
        "12345678",
        "123456789",
        "~1",
        "dir.with.dots/file",
    ] {
        add(&mut tree, name, file(name));
    }
    add(&mut tree, "n".repeat(255), file("long"));
    add(&mut tree, "日".repeat(85), file("three bytes each"));
    add(&mut tree, format!("{0}/{0}/{0}/x", "d".repeat(60)), file("deep"));
    for width in WIDTHS {
        check(&tree, &with(width));
    }
}

/// mtools knows no characters beyond 16 bits.
#[test]
fn characters_of_two_units() {
    let mut tree = tree();
    add(&mut tree, "emoji 🦀.rs", file("crab"));
    add(&mut tree, "🦀".repeat(63), file("252 bytes"));
    fsck(&image(&tree, &options()).path);
}

#[test]
fn a_second_name_is_a_copy() {
    let mut tree = tree();
    add(&mut tree, "a", file(noise(5_000, 1)));
    tree.link(b"a", b"b/c").unwrap();
    check(&tree, &options());
}

#[test]
fn deep_folders() {
    let mut tree = tree();
    add(&mut tree, "d/".repeat(100) + "leaf", file("leaf"));
    for width in WIDTHS {
        check(&tree, &with(width));
    }
}

#[test]
fn every_cluster_size() {
    for bytes in [512, 1024, 2048, 4096, 8192, 16_384, 32_768] {
        for width in [None, Some(Width::Fat12), Some(Width::Fat16), Some(Width::Fat32)] {
            let options = Options { cluster_bytes: Some(bytes), width, ..options() };
            let tree = boot_files();
            match Plan::new(&tree, &options) {
                Ok(plan) => assert_eq!(plan.cluster_bytes(), bytes),
                // 3.4 MB are more than 4084 clusters of 512 bytes.
                Err(error) => {
                    assert_eq!((bytes, width), (512, Some(Width::Fat12)), "{error}");
                    continue;
                }
            }
            check(&tree, &options);
        }
    }
}

/// Sizes around each limit, full of files to the last cluster.
#[test]
fn exactly_full() {
    for clusters in [4_083_usize, 4_084, 4_085, 4_086, 65_523, 65_524, 65_525] {
        let mut tree = tree();
        add(&mut tree, "all", file(noise(clusters * 512, 7)));
        let width = match clusters {
            ..4_085 => Width::Fat12,
            4_085..65_525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let exact = Options { cluster_bytes: Some(512), ..options() };
        let plan = Plan::new(&tree, &exact).unwrap();
        let root = if width == Width::Fat32 { 512 } else { 0 };
        assert_eq!((plan.width(), plan.usage().free_bytes, plan.usage().least_bytes), (width, 0, 0), "{clusters}");
        assert_eq!(plan.content_bytes(), clusters as u64 * 512 + root);
        let image = image(&tree, &exact);
        fsck(&image.path);
        if clusters < 5_000 {
            crate::oracle::mtools(&tree, &image);
        }
        let given = Options { size_bytes: Some(plan.size_bytes()), ..exact.clone() };
        assert_eq!(Plan::new(&tree, &given).unwrap().size_bytes(), plan.size_bytes());
        let smaller = Options { size_bytes: Some(plan.size_bytes() - 512), ..exact };
        assert!(Plan::new(&tree, &smaller).unwrap_err().to_string().starts_with("needs 1 MiB more, because "));
    }
}

#[test]
fn given_sizes() {
    for mib in [1_u64, 2, 3, 4, 5, 8, 16, 17, 40, 100, 128, 129, 300, 512, 513, 600, 5_000, 10_000] {
        let size_bytes = (mib << 20) + 512 * (mib % 3);
        let mut tree = tree();
        add(&mut tree, "folder/file", file(noise(100_000, mib)));
        let image = check(&tree, &Options { size_bytes: Some(size_bytes), ..options() });
        assert_eq!(fs::metadata(&image.path).unwrap().len(), size_bytes);
    }
    for (width, mib) in
        [(Width::Fat12, 300), (Width::Fat16, 3), (Width::Fat16, 2000), (Width::Fat16, 5000), (Width::Fat32, 34)]
    {
        check(&boot_files_if(mib > 5), &Options { size_bytes: Some(mib << 20), ..with(width) });
    }
}

fn boot_files_if(room: bool) -> Tree {
    if room { boot_files() } else { tree() }
}

#[test]
fn free_room_is_on_top() {
    let without = Plan::new(&boot_files(), &options()).unwrap().usage();
    let tree = boot_files();
    let options = Options { free_bytes: 50_000_000, ..options() };
    let plan = Plan::new(&tree, &options).unwrap();
    assert!(plan.usage().free_bytes >= 50_000_000 && without.free_bytes == 0);
    let image = check(&tree, &options);
    // What is not used is not written.
    let stat = fs::metadata(&image.path).unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&stat) * 512 < 6_000_000);
}

#[test]
fn a_root_of_twenty_thousand() {
    let mut tree = tree();
    for number in 0..20_000 {
        add(&mut tree, format!("file {number:05}"), file(""));
    }
    // 40,000 entries: FAT16's root grows with it.
    check(&tree, &with(Width::Fat16));
    check(&tree, &with(Width::Fat32));
}

#[test]
fn content_is_where_no_directory_is() {
    // A file of whole clusters, one of a byte more, one of a byte less.
    let mut tree = tree();
    for (name, size) in [("whole", 4096), ("more", 4097), ("less", 4095), ("one", 1)] {
        add(&mut tree, name, file(noise(size, size as u64)));
    }
    check(&tree, &Options { cluster_bytes: Some(4096), ..options() });
    let kind = tree.inode(tree.lookup(b"one", false).unwrap()).kind.clone();
    assert!(matches!(kind, Kind::File(_)));
}
