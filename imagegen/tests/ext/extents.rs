//! What only ext4 has: trees of extents, tables of many groups together, folders beyond what a link count can say.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use imagegen::ext::{BlockSize, Options, Plan, PlanError, Version};
use imagegen::tree::Kind;

use crate::oracle::{check_one, fsck, fsck_with, image, mounted, options, run};
use crate::sources::Sparse;
use crate::trees::{add, directory, file, noise, tree};

fn ext4(block_size: BlockSize) -> Options {
    Options { version: Version::Ext4, block_size, ..options() }
}

/// Returns a file of so many extents of one block, each behind a hole.
fn comb(extents: u64, block_size: BlockSize) -> Kind {
    let block = u64::from(block_size.bytes());
    let data: BTreeMap<u64, Vec<u8>> =
        (0..extents).map(|number| ((number * 2 + 1) * block, noise(7, number + 1))).collect();
    Kind::File(Arc::new(Sparse { size: (extents * 2 + 3) * block, data }))
}

/// Returns how many extents fill a tree of this depth.
fn full(block_size: BlockSize, depth: u32) -> u64 {
    4 * (u64::from(block_size.bytes() - 12) / 12).pow(depth)
}

/// Returns the depth of a file's tree as debugfs sees it.
fn depth(image: &std::path::Path, path: &str) -> Option<String> {
    let (_, text) = run("debugfs", &["-R".as_ref(), format!("ex {path}").as_ref(), image.as_ref()])?;
    let line = text.lines().find(|line| line.trim_start().starts_with("0/"))?.trim_start().to_owned();
    Some(line[2..4].trim().to_owned())
}

#[test]
fn trees_of_every_depth_and_one_more() {
    for (block_size, depths) in [(BlockSize::KiB1, 0..3), (BlockSize::KiB2, 0..2), (BlockSize::KiB4, 0..2)] {
        let mut tree = tree();
        for depth in depths.clone() {
            add(&mut tree, format!("full-{depth}"), comb(full(block_size, depth), block_size));
            add(&mut tree, format!("more-{depth}"), comb(full(block_size, depth) + 1, block_size));
        }
        let image = check_one(&tree, &ext4(block_size));
        for level in depths {
            let Some(found) = depth(&image.path, &format!("/full-{level}")) else { return };
            assert_eq!(found, format!("{level}"));
            assert_eq!(depth(&image.path, &format!("/more-{level}")), Some(format!("{}", level + 1)));
        }
    }
}

#[test]
fn a_kernel_changes_trees_of_extents() {
    for block_size in [BlockSize::KiB1, BlockSize::KiB4] {
        let mut tree = tree();
        for name in ["fill", "cut", "grow"] {
            add(&mut tree, name, comb(full(block_size, 1) + 10, block_size));
        }
        let image = image(&tree, &Options { free_bytes: 32 << 20, ..ext4(block_size) });
        fsck(&image.path);
        mounted(&image, false, |root| {
            let open = |name: &str| File::options().write(true).open(root.join(name)).unwrap();
            let (fill, cut, grow) = (open("fill"), open("cut"), open("grow"));
            let block = u64::from(block_size.bytes());
            for number in 0..full(block_size, 1) {
                fill.write_all_at(&noise(block as usize, number), number * 2 * block).unwrap();
                if number % 3 == 0 {
                    grow.write_all_at(b"more", number * 8 * block).unwrap();
                }
            }
            for blocks in [2_000, 300, 7, 1, 0] {
                cut.set_len(blocks * block).unwrap();
                cut.sync_all().unwrap();
            }
        });
        // The kernel leaves trees broader than they need be, and e2fsck would offer to rebuild them.
        fsck_with(&["-E", "no_optimize_extents"], &image.path);
    }
}

/// The exact size follows from where runs are interrupted; it still is exact.
#[test]
fn exact_sizes_know_the_nodes() {
    for count in [336_u64, 337, 1_000, 28_224, 28_225] {
        let mut tree = tree();
        add(&mut tree, "comb", comb(count, BlockSize::KiB1));
        add(&mut tree, "behind", file(noise(5_000_000, 1)));
        let options = Options { journal_blocks: Some(1024), ..ext4(BlockSize::KiB1) };
        let exact = Plan::new(&tree, &options).unwrap();
        assert_eq!(exact.usage().free_bytes, 0, "{count}");
        let sized = |bytes: u64| Options { size_bytes: Some(bytes), ..options.clone() };
        assert_eq!(Plan::new(&tree, &sized(exact.size_bytes())).unwrap().usage(), exact.usage());
        match Plan::new(&tree, &sized(exact.size_bytes() - 1024)) {
            Err(PlanError::TooSmall(shortage)) => assert_eq!(shortage.needed_bytes, exact.size_bytes()),
            other => panic!("{count}: {other:?}"),
        }
        fsck(&image(&tree, &options).path);
    }
}

#[test]
fn tables_of_sixteen_groups_overflow_the_first() {
    let mut tree = tree();
    for number in 0..2_000 {
        add(&mut tree, format!("{}/{number}", number % 50), file(noise(number * 10, 1)));
    }
    // 250 MiB of inodes for 1 GiB: 32 MiB in each 128 MiB, whose first group has 8.
    let many = Options { size_bytes: Some(1 << 30), inodes: Some(1_000_000), ..ext4(BlockSize::KiB1) };
    let image = check_one(&tree, &many);
    mounted(&image, false, |root| {
        for number in 0..20_000 {
            let folder = root.join(format!("new-{}", number % 200));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{number}")), noise(number % 3_000, 2)).unwrap();
        }
    });
    fsck(&image.path);
}

#[test]
fn a_journal_of_many_extents() {
    let long = Options { journal_blocks: Some(300_000), ..ext4(BlockSize::KiB4) };
    let image = check_one(&tree(), &long);
    assert_eq!(depth(&image.path, "<8>").unwrap_or("1".into()), "1");
}

#[test]
fn more_folders_than_a_link_count_can_say() {
    let mut tree = tree();
    (0..64_999).for_each(|number| add(&mut tree, format!("d/{number}"), directory()));
    let image = image(&tree, &Options { free_bytes: 16 << 20, free_inodes: 100, ..ext4(BlockSize::KiB1) });
    fsck(&image.path);
    mounted(&image, false, |root| {
        let d = root.join("d");
        assert_eq!(fs::metadata(&d).unwrap().nlink(), 1);
        (0..10).for_each(|number| fs::create_dir(d.join(format!("new-{number}"))).unwrap());
        (0..20).for_each(|number| fs::remove_dir(d.join(format!("{number}"))).unwrap());
    });
    fsck(&image.path);
}

#[test]
fn features_are_those_of_ext4() {
    let image = image(&tree(), &ext4(BlockSize::KiB4));
    let Some((_, text)) = run("dumpe2fs", &["-h".as_ref(), image.path.as_ref()]) else { return };
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().split(':').nth(1).unwrap().trim();
    assert_eq!(
        line("Filesystem features"),
        "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file \
         dir_nlink extra_isize metadata_csum"
    );
    assert_eq!((line("Group descriptor size"), line("Flex block group size")), ("64", "16"));
    assert_eq!(line("Checksum type"), "crc32c");
}
