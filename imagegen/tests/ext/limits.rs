//! What does not fit, what goes wrong midway, and what both say.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use imagegen::ext::{BlockSize, Options, Plan, PlanError, Version, WriteError};
use imagegen::tree::{Extent, Kind, Metadata, Tree};

use crate::oracle::{VERSIONS, fsck, image, options, run};
use crate::sources::{Broken, Growing, Sparse};
use crate::trees::{add, file, metadata, noise, tree};

fn refused(tree: &Tree, options: &Options) -> String {
    Plan::new(tree, options).unwrap_err().to_string()
}

fn one(kind: Kind) -> Tree {
    let mut tree = tree();
    add(&mut tree, "some/where", kind);
    tree
}

#[test]
fn a_given_size_that_is_too_small_says_why() {
    let mut tree = tree();
    for number in 1..=7 {
        add(&mut tree, format!("opt/data-{number}"), file(noise(number << 20, 1)));
    }
    let small = Options { size_bytes: Some(20 << 20), ..options() };
    assert_eq!(
        refused(&tree, &small),
        "needs 13 MiB more, because 32.2 MiB are needed where 20.0 MiB are given: 28.1 MiB of file content, \
         4.1 MiB of journal, 0.1 MiB of superblocks, descriptors and bitmaps, 0.1 MiB of directories, \
         0.1 MiB of tables for 32 inodes; the biggest files are opt/data-7 (7.1 MiB), opt/data-6 (6.1 MiB), \
         opt/data-5 (5.1 MiB), opt/data-4 (4.1 MiB), opt/data-3 (3.1 MiB)"
    );
    let Err(PlanError::TooSmall(shortage)) = Plan::new(&tree, &small) else { panic!("fits") };
    assert!(Plan::new(&tree, &Options { size_bytes: Some(shortage.needed_bytes - 4096), ..options() }).is_err());
    let exact = Options { size_bytes: Some(shortage.needed_bytes), ..options() };
    fsck(&image(&tree, &exact).path);
}

/// At 128 MiB and at 1 GiB mke2fs's journal grows by more than the block that is gained.
#[test]
fn a_given_size_where_the_journal_would_grow_is_no_harder_to_fill() {
    for (blocks, content) in [(32_768, 30_000), (262_144, 255_000)] {
        let size = content * 4096;
        let tree = one(Kind::File(Arc::new(Broken { size, extents: vec![Extent { offset: 0, length: size }] })));
        let journal_bytes = |blocks: u64| {
            let given = Options { size_bytes: Some(blocks * 4096), ..options() };
            Plan::new(&tree, &given).unwrap_or_else(|error| panic!("{blocks}: {error}")).usage().journal_bytes
        };
        assert_eq!(journal_bytes(blocks - 1), journal_bytes(blocks));
        let more = Options { size_bytes: Some(blocks * 4096), journal_blocks: Some(10_000), ..options() };
        assert!(refused(&tree, &more).contains("MiB of journal"));
    }
}

#[test]
fn inodes_and_journal_can_be_what_is_missing() {
    let mut tree = tree();
    for number in 0..30_000 {
        add(&mut tree, format!("{}/{number}", number % 100), file(""));
    }
    let text = refused(&tree, &Options { size_bytes: Some(8 << 20), ..options() });
    assert!(text.contains("needs 5 MiB more") && text.contains("given: 7.4 MiB of tables for 30112 inodes"), "{text}");
    let text = refused(&tree, &Options { inodes: Some(5_000), ..options() });
    assert_eq!(text, "inodes: 5000 do not suffice, 30111 are needed");
    let text = refused(&self::tree(), &Options { size_bytes: Some(2 << 20), ..options() });
    assert!(text.contains("given: 4.1 MiB of journal"), "{text}");
}

#[test]
fn room_asked_for_is_left() {
    for version in VERSIONS {
        let asked = Options { version, free_bytes: 10 << 20, free_inodes: 1_000, ..options() };
        let image = image(&tree(), &asked);
        fsck(&image.path);
        let usage = Plan::new(&tree(), &asked).unwrap().usage();
        assert!(usage.free_bytes >= 10 << 20 && usage.inodes - usage.used_inodes >= 1_000, "{usage:?}");
        let parts = [usage.file_bytes, usage.directory_bytes, usage.attribute_bytes, usage.inode_table_bytes];
        let sum = parts.iter().sum::<u64>() + usage.journal_bytes + usage.group_table_bytes + usage.free_bytes;
        assert_eq!(sum, std::fs::metadata(&image.path).unwrap().len());
        assert_eq!(usage.journal_bytes > 0, version != Version::Ext2);
    }
}

#[test]
fn options_out_of_range() {
    let label = Options { label: "more than sixteen".into(), ..options() };
    assert!(refused(&tree(), &label).starts_with("label: 'more than sixteen'"));
    let journal = Options { journal_blocks: Some(1023), ..options() };
    assert_eq!(refused(&tree(), &journal), "journal_blocks: 1023 is not from 1024 to 10240000");
    let none = Options { version: Version::Ext2, journal_blocks: Some(1024), ..options() };
    assert_eq!(refused(&tree(), &none), "journal_blocks: ext2 has no journal");
    let percent = Options { reserved_percent: Some(51), ..options() };
    assert_eq!(refused(&tree(), &percent), "reserved_percent: 51 is more than 50");
}

fn sized_for(version: Version, bytes: u64) -> Options {
    Options { version, size_bytes: Some(bytes), ..options() }
}

#[test]
fn sizes_no_block_number_reaches() {
    let sized = |block_size, bytes| Options { block_size, size_bytes: Some(bytes), ..options() };
    assert_eq!(
        refused(&tree(), &sized(BlockSize::KiB4, 16 << 40)),
        "size_bytes: 17592186044416 bytes are more than 2^32-1 blocks of 4096"
    );
    let largest = Plan::new(&tree(), &sized(BlockSize::KiB4, (16 << 40) - 4096)).map(|plan| plan.size_bytes());
    assert_eq!(largest, Ok((16 << 40) - 4096));
    assert_eq!(
        refused(&tree(), &sized(BlockSize::KiB1, 4 << 40 >> 1)),
        "size_bytes: 2199023255552 bytes need more groups than blocks of 1024 can describe"
    );
    for version in VERSIONS {
        let much = Options { version, free_bytes: u64::MAX, ..options() };
        assert!(refused(&tree(), &much).contains("more than a file system of this block size can hold"));
    }
    // 64 bytes describe a group, and all descriptors lie in the first: 512 × 32,768 groups of 32,768 blocks.
    let wide = |bytes| Options { version: Version::Ext4, inodes: Some(1 << 21), ..sized(BlockSize::KiB4, bytes) };
    let text = refused(&tree(), &wide(1 << 50));
    assert!(text.contains("need more groups than blocks of 4096 can describe"), "{text}");
    let text = refused(&tree(), &sized_for(Version::Ext4, u64::MAX));
    assert!(text.ends_with("are more than 2^48-1 blocks of 4096"), "{text}");
    let plan_tree = tree();
    let plan = Plan::new(&plan_tree, &sized_for(Version::Ext4, 20 << 40)).unwrap();
    assert_eq!(plan.size_bytes(), 20 << 40);
    assert!(plan.extents().last().unwrap().offset > 16 << 40);
}

#[test]
fn what_ext3_cannot_hold_is_named() {
    let long = one(Kind::Symlink(vec![b'x'; 1024].into()));
    let small_blocks = Options { block_size: BlockSize::KiB1, ..options() };
    assert_eq!(
        refused(&long, &small_blocks),
        "some/where: a symbolic link's target of 1024 bytes does not fit into a block of 1024"
    );
    assert!(Plan::new(&long, &options()).is_ok());
    let device = one(Kind::CharacterDevice { major: 4096, minor: 0 });
    assert_eq!(refused(&device, &options()), "some/where: a device number 4096:0 is above 4095:1048575");
    let huge = one(Kind::File(Arc::new(Sparse { size: 3 << 40, data: [].into() })));
    assert!(refused(&huge, &options()).starts_with("some/where: its 3298534883328 bytes are more than ext3's"));
    let mut tree = tree();
    let xattrs = [(b"user.big".to_vec(), vec![0; 5000])].into();
    tree.insert(b"x", file(""), Metadata { xattrs, ..metadata(0o644) }).unwrap();
    assert!(refused(&tree, &options()).starts_with("x: its extended attributes need 5020 bytes"));
}

#[test]
fn the_longest_file_is_as_long_as_the_kernel_s() {
    for (version, block_size, limit) in [
        (Version::Ext2, BlockSize::KiB4, 2_196_873_666_560),
        (Version::Ext3, BlockSize::KiB1, 17_247_252_480_u64),
        (Version::Ext3, BlockSize::KiB4, 2_196_873_666_560),
        (Version::Ext4, BlockSize::KiB1, 4_398_046_510_080),
        (Version::Ext4, BlockSize::KiB4, 17_592_186_040_320),
    ] {
        let options = Options { version, block_size, ..options() };
        let last = |size: u64| one(Kind::File(Arc::new(Sparse { size, data: [(size - 1, vec![1])].into() })));
        let tree = last(limit);
        let image = crate::oracle::check_one(&tree, &options);
        assert!(std::fs::metadata(&image.path).unwrap().len() < 6 << 20);
        assert!(refused(&last(limit + 1), &options).contains(&format!("{}'s {limit}", version.name())));
    }
}

#[test]
fn sources_that_lie_are_refused() {
    let extent = |offset, length| Extent { offset, length };
    for extents in [
        vec![extent(0, 11)],
        vec![extent(5, 2), extent(0, 2)],
        vec![extent(0, 5), extent(4, 2)],
        vec![extent(u64::MAX, 2)],
    ] {
        let tree = one(Kind::File(Arc::new(Broken { size: 10, extents })));
        assert!(refused(&tree, &options()).starts_with("some/where: its source describes"), "refused");
    }
}

fn write(tree: &Tree, progress: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<(), WriteError> {
    Plan::new(tree, &options()).unwrap().write(&tempfile::tempfile().unwrap(), 0, progress)
}

#[test]
fn trouble_midway_is_told_with_the_file_s_name() {
    let stuck = Broken { size: 10, extents: vec![Extent { offset: 0, length: 10 }] };
    let error = write(&one(Kind::File(Arc::new(stuck))), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.to_string(), "cannot read some/where: the drawer is stuck");
    let growing = Arc::new(Growing::default());
    let tree = one(Kind::File(growing.clone()));
    let plan = Plan::new(&tree, &options()).unwrap();
    growing.grow(5_000);
    let error = plan.write(&tempfile::tempfile().unwrap(), 0, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.to_string(), "some/where changed while its image was made");
}

#[test]
fn writing_can_be_broken_off() {
    let tree = one(file(noise(20 << 20, 1)));
    let mut calls = 0;
    let result = write(&tree, &mut |_| {
        calls += 1;
        if calls == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(WriteError::Cancelled)) && calls == 5);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("read-only");
    std::fs::write(&path, b"").unwrap();
    let plan_tree = tree();
    let plan = Plan::new(&plan_tree, &options()).unwrap();
    let result = plan.write(&File::open(&path).unwrap(), 0, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(result, Err(WriteError::Output(_))), "{result:?}");
}

#[test]
fn an_image_inside_a_larger_file_touches_nothing_else() {
    let tree = one(file(noise(3_000_000, 4)));
    for version in VERSIONS {
        inside(&tree, &Options { version, ..options() });
    }
}

/// Writes an image into the middle of a disk with old content.
fn inside(tree: &Tree, options: &Options) {
    let alone = std::fs::read(image(tree, options).path).unwrap();
    let disk = tempfile::tempfile().unwrap();
    let old = vec![0xaa; alone.len() + (2 << 20)];
    disk.write_all_at(&old, 0).unwrap();
    Plan::new(tree, options).unwrap().write(&disk, 1 << 20, &mut |_| ControlFlow::Continue(())).unwrap();
    let mut new = vec![0; old.len()];
    disk.read_exact_at(&mut new, 0).unwrap();
    let end = (1 << 20) + alone.len();
    assert!(new[..1 << 20] == old[..1 << 20] && new[end..] == old[end..], "outside");
    assert!(new[1 << 20..end] == alone, "inside");
}

#[test]
fn extents_are_all_a_medium_with_old_content_needs() {
    let mut tree = one(file(noise(30 << 20, 4)));
    add(&mut tree, "gone", Kind::File(Arc::new(Sparse { size: 1 << 30, data: [(1 << 29, noise(9000, 2))].into() })));
    for version in VERSIONS {
        extents_suffice(
            &tree,
            &Options { size_bytes: Some(400 << 20), block_size: BlockSize::KiB1, version, ..options() },
        );
    }
}

/// Copies what `extents` names onto old content, and looks at that.
fn extents_suffice(tree: &Tree, options: &Options) {
    let image = image(tree, options);
    let source = File::open(&image.path).unwrap();
    let target =
        File::options().read(true).write(true).open(image.path.with_extension("old")).or_else(|_| {
            File::options().read(true).write(true).create_new(true).open(image.path.with_extension("old"))
        });
    let target = target.unwrap();
    let chunk = vec![0xdb; 1 << 20];
    (0..400).for_each(|mib| target.write_all_at(&chunk, mib << 20).unwrap());
    let mut copied = 0;
    for extent in Plan::new(tree, options).unwrap().extents() {
        let mut buffer = vec![0; extent.length as usize];
        source.read_exact_at(&mut buffer, extent.offset).unwrap();
        target.write_all_at(&buffer, extent.offset).unwrap();
        copied += extent.length;
    }
    assert!(copied < 100 << 20, "{copied}");
    fsck(&image.path.with_extension("old"));
    crate::oracle::reader(tree, &image.path.with_extension("old"), options);
}

#[test]
fn same_tree_same_bytes_whatever_the_order_of_making() {
    let make = |order: &[u32]| {
        let mut tree = tree();
        for number in order {
            add(&mut tree, format!("d{}/{number}", number % 3), file(noise(*number as usize * 100, 1)));
        }
        std::fs::read(image(&tree, &options()).path).unwrap()
    };
    let ascending: Vec<u32> = (0..200).collect();
    let descending: Vec<u32> = (0..200).rev().collect();
    assert!(make(&ascending) == make(&descending));
}

#[test]
fn superblock_backups_are_whole() {
    for version in VERSIONS {
        let options = Options { version, size_bytes: Some(100 << 20), block_size: BlockSize::KiB1, ..options() };
        let image = image(&one(file("x")), &options);
        for block in ["8193", "24577", "40961", "57345", "73729"] {
            let arguments = ["-fn", "-b", block, "-B", "1024"].map(std::ffi::OsStr::new);
            let Some((_, text)) = run("e2fsck", &[&arguments[..], &[image.path.as_ref()]].concat()) else { return };
            assert!(text.contains("Pass 5") && !text.contains('?'), "{text}");
        }
    }
}
