//! The trees of the promise: large directories, holes, links, devices, attributes, and next to nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use imagegen::ext::{BlockSize, Options, Plan};
use imagegen::tree::{Kind, Metadata, Timestamp, Tree};

use crate::oracle::{VERSIONS, check, compare, fsck, image, mounted, options, run};
use crate::sources::{Part, Sparse};

/// Returns metadata of root's, with a time.
pub fn metadata(mode: u16) -> Metadata {
    Metadata::root(mode, Timestamp { seconds: 1_600_000_000, nanoseconds: 250_000_000 })
}

/// Returns an empty tree.
pub fn tree() -> Tree {
    Tree::new(metadata(0o755))
}

/// Returns a file's content.
pub fn file(content: impl Into<Vec<u8>>) -> Kind {
    Kind::File(Arc::new(content.into()))
}

/// Returns an empty directory.
pub fn directory() -> Kind {
    Kind::Directory(BTreeMap::new())
}

/// Adds a file of root's.
pub fn add(tree: &mut Tree, path: impl AsRef<[u8]>, kind: Kind) {
    tree.insert(path.as_ref(), kind, metadata(0o644)).unwrap();
}

/// Returns a link's target of that length, of names that are not too long.
pub fn target(length: usize) -> Box<[u8]> {
    b"some/where/".iter().copied().cycle().take(length).collect()
}

/// Returns bytes without a pattern a compressor or a coincidence could hit.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = vec![0; length];
    for chunk in noise.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    noise
}

fn with(block_size: BlockSize) -> Options {
    Options { block_size, ..options() }
}

const SIZES: [BlockSize; 3] = [BlockSize::KiB1, BlockSize::KiB2, BlockSize::KiB4];

#[test]
fn next_to_nothing() {
    for size in SIZES {
        check(&tree(), &with(size));
    }
}

#[test]
fn a_hundred_thousand_files_in_one_directory() {
    let mut tree = tree();
    for number in 0..100_000 {
        let content = if number % 1000 == 0 { noise(number / 10, 1) } else { Vec::new() };
        add(&mut tree, format!("many/file-{number}.txt"), file(content));
    }
    for image in check(&tree, &options()) {
        assert!(std::fs::metadata(&image.path).unwrap().size() < 80 << 20);
    }
}

#[test]
fn hashed_directories_of_one_and_two_levels() {
    for (size, count) in [(BlockSize::KiB1, 300), (BlockSize::KiB1, 3_000), (BlockSize::KiB4, 4_000)] {
        let mut tree = tree();
        for number in 0..count {
            // 250 bytes, and characters beyond ASCII, on which signed and unsigned hashes differ.
            add(&mut tree, format!("d/é{}{number:08}ü", "n".repeat(238)), file(""));
        }
        for image in check(&tree, &with(size)) {
            let arguments = ["-R".as_ref(), "htree_dump /d".as_ref(), image.path.as_ref()];
            if let Some((_, text)) = run("debugfs", &arguments) {
                let levels = if count == 3_000 { "Indirect levels: 1" } else { "Indirect levels: 0" };
                assert!(text.contains(levels), "{text:.400}");
            }
        }
    }
}

#[test]
fn a_directory_too_large_for_its_tables_has_none() {
    let mut tree = tree();
    // Two levels of 1 KiB blocks reach 15,748 leaves of three such names.
    for number in 0..48_000 {
        add(&mut tree, format!("{number:0255}"), file(""));
    }
    for version in VERSIONS {
        fsck(&image(&tree, &Options { version, ..with(BlockSize::KiB1) }).path);
    }
}

#[test]
fn names_of_255_bytes() {
    let mut tree = tree();
    let long = "x".repeat(255);
    add(&mut tree, format!("{long}/{long}/{long}"), file("deep"));
    for number in 0..100 {
        add(&mut tree, format!("{number:0255}"), Kind::Symlink(long.as_bytes().into()));
    }
    check(&tree, &options());
}

#[test]
fn a_sparse_file_of_5_gib_and_files_of_every_depth() {
    for size in SIZES {
        let mut tree = tree();
        let data = [(0, 10), (4095, 2), (70_000, 5), (300 << 20, 100_000), (3 << 30, 1), ((5 << 30) - 3, 3)];
        let data = data.iter().map(|&(offset, length)| (offset, noise(length, offset))).collect();
        add(&mut tree, "sparse", Kind::File(Arc::new(Sparse { size: 5 << 30, data })));
        add(&mut tree, "hole", Kind::File(Arc::new(Sparse { size: 5 << 30, data: BTreeMap::new() })));
        let block = size.bytes() as usize;
        for blocks in [1, 12, 13, 12 + block / 4, 13 + block / 4] {
            add(&mut tree, format!("{blocks}-blocks"), file(noise(blocks * block, 3)));
            add(&mut tree, format!("{blocks}-blocks-less"), file(noise(blocks * block - 1, 4)));
        }
        check(&tree, &with(size));
    }
}

#[test]
fn a_file_through_a_triple_indirect_block() {
    let mut tree = tree();
    // 1 KiB blocks: the triple one begins after 12 + 256 + 65,536 blocks.
    add(&mut tree, "dense", file(noise(66 << 20, 5)));
    let far = [(1 << 30, noise(3000, 1)), ((15 << 30) + 5, noise(70_000, 2))].into();
    add(&mut tree, "far", Kind::File(Arc::new(Sparse { size: 16 << 30, data: far })));
    check(&tree, &with(BlockSize::KiB1));
}

#[test]
fn content_the_kernel_copies() {
    let mut host = tempfile::tempfile().unwrap();
    let content = noise(9 << 20, 8);
    host.write_all(&content).unwrap();
    let part = |offset: u64, size: u64| Part { file: host.try_clone().unwrap(), offset, size };
    let mut tree = tree();
    for (number, (offset, size)) in [(0, 9 << 20), (512, 5 << 20), (1000, 65_537), (5, 12), (7, 0)].iter().enumerate() {
        add(&mut tree, format!("part-{number}"), Kind::File(Arc::new(part(*offset, *size))));
    }
    check(&tree, &options());
}

#[test]
fn a_thousand_hard_links() {
    let mut tree = tree();
    add(&mut tree, "first", file("one"));
    add(&mut tree, "link", Kind::Symlink((*b"first").into()));
    add(&mut tree, "null", Kind::CharacterDevice { major: 1, minor: 3 });
    for number in 0..999 {
        tree.link(b"first", format!("d/{number}").as_bytes()).unwrap();
    }
    tree.link(b"link", b"d/link").unwrap();
    tree.link(b"null", b"d/null").unwrap();
    check(&tree, &options());
}

#[test]
fn devices_owners_modes_and_times() {
    let mut tree = tree();
    for (major, minor) in [(0, 0), (1, 3), (255, 255), (256, 0), (8, 256), (4095, 0xf_ffff)] {
        add(&mut tree, format!("c-{major}-{minor}"), Kind::CharacterDevice { major, minor });
        add(&mut tree, format!("b-{major}-{minor}"), Kind::BlockDevice { major, minor });
    }
    add(&mut tree, "fifo", Kind::Fifo);
    add(&mut tree, "socket", Kind::Socket);
    for (number, uid) in [0, 1, 65_534, 65_536, u32::MAX - 1].into_iter().enumerate() {
        let gid = uid.rotate_left(7);
        let other = Metadata { uid, gid, ..metadata(0o7000 | number as u16) };
        tree.insert(format!("owner-{uid}").as_bytes(), file("x"), other).unwrap();
    }
    check(&tree, &options());
}

#[test]
fn times_from_1901_to_2310() {
    let mut tree = tree();
    for seconds in [-(1_i64 << 31), -1, 0, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 33) + 5, 10_737_418_239] {
        let mtime = Timestamp { seconds, nanoseconds: 999_999_999 };
        tree.insert(format!("time{seconds}").as_bytes(), directory(), Metadata::root(0o1777, mtime)).unwrap();
    }
    for (version, clamp_times) in VERSIONS.into_iter().flat_map(|version| [(version, false), (version, true)]) {
        let options = Options { version, clamp_times, ..options() };
        // The reader takes the 32 old bits for unsigned; the kernel does not.
        let image = image(&tree, &options);
        fsck(&image.path);
        mounted(&image, true, |root| compare(&tree, root, &options));
    }
}

#[test]
fn symbolic_links_short_and_long() {
    for size in SIZES {
        let mut tree = tree();
        for length in [1, 58, 59, 60, 61, 500, 1023, size.bytes() as usize - 1] {
            add(&mut tree, format!("to-{length}"), Kind::Symlink(target(length)));
        }
        check(&tree, &with(size));
    }
}

#[test]
fn attributes_up_to_the_limit() {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for size in SIZES {
        let room = size.bytes() as usize - 32 - 4;
        let mut tree = tree();
        let mut put = |path: &str, kind: Kind, list: &[(&str, Vec<u8>)]| {
            let xattrs = list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect();
            tree.insert(path.as_bytes(), kind, Metadata { xattrs, ..metadata(0o755) }).unwrap();
        };
        put("ping", file("elf"), &[("security.capability", capability.clone())]);
        put("inode-full", file(""), &[("user.a", vec![1; 68])]);
        put("block-by-one", file(""), &[("user.a", vec![1; 69])]);
        put("block-full", file(""), &[("user.a", vec![2; room - 20])]);
        put("both-full", file("x"), &[("user.a", vec![2; room - 20]), ("user.b", vec![3; 68])]);
        put("empty-value", directory(), &[("trusted.e", Vec::new()), ("user.e", Vec::new())]);
        put("long-name", file(""), &[(&format!("user.{}", "n".repeat(250)), noise(100, 1))]);
        put(
            "many",
            file(""),
            &["a", "bb", "ccc", "dd"].map(|name| (["user.", name].concat().leak() as &str, noise(40, 2))),
        );
        put(
            "link",
            Kind::Symlink((*b"ping").into()),
            &[("trusted.t", noise(100, 6)), ("security.selinux", noise(30, 3))],
        );
        put("device", Kind::BlockDevice { major: 8, minor: 0 }, &[("trusted.t", noise(100, 6))]);
        put("long-link", Kind::Symlink([b'l'; 100].into()), &[("trusted.t", noise(100, 6))]);
        check(&tree, &with(size));
    }
}

#[test]
fn access_lists_mean_the_same() {
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let list = [
        vec![2, 0, 0, 0],
        entry(0x01, 7, none),
        entry(0x02, 6, 1000),
        entry(0x04, 5, none),
        entry(0x08, 4, 70_000),
        entry(0x10, 7, none),
        entry(0x20, 0, none),
    ]
    .concat();
    let mut tree = tree();
    let name = |kind: &str| format!("system.posix_acl_{kind}").into_bytes();
    let xattrs: BTreeMap<_, _> = [(name("access"), list.clone()), (name("default"), list.clone())].into();
    tree.insert(b"shared", directory(), Metadata { xattrs, ..metadata(0o770) }).unwrap();
    let xattrs = [(name("access"), list)].into();
    tree.insert(b"shared/file", file("x"), Metadata { xattrs, ..metadata(0o670) }).unwrap();
    check(&tree, &options());
}

#[test]
fn equal_attributes_share_blocks() {
    let mut tree = tree();
    for number in 0..2_500 {
        let xattrs = [(b"security.selinux".to_vec(), noise(200, 1))].into();
        tree.insert(format!("d/{number}").as_bytes(), file(""), Metadata { xattrs, ..metadata(0o644) }).unwrap();
    }
    // 1024 references each: 2,500 files share three blocks.
    assert_eq!(Plan::new(&tree, &options()).unwrap().usage().attribute_bytes, 3 * 4096);
    check(&tree, &options());
}

#[test]
fn many_small_files_make_small_groups() {
    let mut tree = tree();
    for number in 0..70_000 {
        add(&mut tree, format!("{:03}/{number}", number % 500), file(""));
    }
    for version in VERSIONS {
        let image = image(&tree, &Options { version, ..options() });
        fsck(&image.path);
        // 18 MiB of inodes; three whole groups would be 384 MiB.
        assert!(std::fs::metadata(&image.path).unwrap().size() < 32 << 20);
    }
}

#[test]
fn several_groups_of_content() {
    let mut tree = tree();
    // 8 MiB per group of 1 KiB blocks: groups 0, 1, 3, 5, 7, 9 hold superblocks.
    for number in 0..30 {
        add(&mut tree, format!("{number}"), file(noise(3_000_000 + number * 1000, number as u64)));
    }
    check(&tree, &with(BlockSize::KiB1));
    let given = Options { size_bytes: Some(300 << 20), label: "sixteen bytes ok".into(), ..with(BlockSize::KiB2) };
    check(&tree, &given);
}

#[test]
fn a_lost_and_found_of_the_tree_s_own() {
    let mut tree = tree();
    tree.insert(b"lost+found", directory(), Metadata { uid: 5, ..metadata(0o750) }).unwrap();
    for number in 0..600 {
        add(&mut tree, format!("lost+found/#{number:0100}"), file("found"));
    }
    check(&tree, &options());
    check(&tree, &with(BlockSize::KiB1));
}
