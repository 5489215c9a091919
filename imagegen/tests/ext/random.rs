//! Random trees: whatever a tree can hold, the strangers see again.

use std::sync::Arc;

use imagegen::ext::{BlockSize, Options};
use imagegen::tree::{Kind, Metadata, Timestamp, Tree};
use proptest::prelude::*;

use crate::oracle::{check, options};
use crate::sources::Sparse;
use crate::trees::{directory, file, noise, target};

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![b'a'..=b'e', (1_u8..=255).prop_filter("separators", |byte| !b"/".contains(byte))];
    let length = prop_oneof![4 => 1_usize..4, 1 => 1_usize..256];
    length
        .prop_flat_map(move |length| proptest::collection::vec(byte.clone(), length))
        .prop_filter("dots", |name| name != b"." && name != b".." && name != b"lost+found")
}

fn kind() -> impl Strategy<Value = Kind> {
    let sparse = proptest::collection::vec((0_u64..3_000_000, 1_usize..20_000), 0..5).prop_map(|ranges| {
        let mut sparse = Sparse::default();
        for (gap, length) in ranges {
            sparse.data.insert(sparse.size + gap, noise(length, gap));
            sparse.size += gap + length as u64;
        }
        sparse.size += 5000;
        Kind::File(Arc::new(sparse))
    });
    prop_oneof![
        4 => (0_usize..30_000).prop_map(|length| file(noise(length, 9))),
        1 => (0_usize..2_000_000).prop_map(|length| file(noise(length, 9))),
        2 => sparse,
        3 => Just(directory()),
        2 => (1_usize..1024).prop_map(|length| Kind::Symlink(target(length))),
        1 => (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let space = prop_oneof![Just("trusted."), Just("security.x")];
    let attribute = (space, "[a-z]{1,20}", 0_usize..200, 0_u64..3);
    let attributes = prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(attribute, 0..4)];
    // The reader takes the 32 old bits of a time for unsigned, and knows no years 2038 to 2106.
    let times = (prop_oneof![0_i64..1 << 31, 1_i64 << 32..3 << 31], 0_u32..1_000_000_000);
    (any::<u32>(), any::<u32>(), 0_u16..0o10000, times, attributes).prop_map(|(uid, gid, mode, time, attributes)| {
        let xattrs = attributes
            .into_iter()
            .map(|(space, name, length, seed)| ([space, &name].concat().into_bytes(), noise(length, seed)))
            .collect();
        let mtime = Timestamp { seconds: time.0, nanoseconds: time.1 };
        // The kernel's "no such owner" is not for showing.
        Metadata { uid: uid.min(u32::MAX - 1), gid: gid.min(u32::MAX - 1), mode, mtime, xattrs }
    })
}

fn random_tree() -> impl Strategy<Value = Tree> {
    let path = || proptest::collection::vec(name(), 1..5);
    let one = (path(), kind(), metadata(), proptest::option::weighted(0.1, path()));
    (metadata(), proptest::collection::vec(one, 0..150)).prop_map(|(root, list)| {
        let mut tree = Tree::new(root);
        for (path, kind, metadata, second) in list {
            // Paths through files, or onto folders, are refused: what remains is a tree.
            let path = path.join(&b'/');
            if tree.insert(&path, kind, metadata).is_ok()
                && let Some(second) = second
            {
                let _ = tree.link(&path, &second.join(&b'/'));
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_trees(
        tree in random_tree(),
        block_size in prop_oneof![Just(BlockSize::KiB1), Just(BlockSize::KiB2), Just(BlockSize::KiB4)],
        given in proptest::option::of(64_u64..200),
    ) {
        let size_bytes = given.map(|mib| (mib << 20) + mib);
        check(&tree, &Options { block_size, size_bytes, ..options() });
    }
}
