//! Random trees: whatever FAT can hold, the strangers see again.

use imagegen::fat::{Options, PlanError, Width};
use imagegen::tree::{Kind, Tree};
use proptest::prelude::*;

use crate::oracle::{check, directory, file, metadata, noise, options, tree};

fn name() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        6 => proptest::char::range('a', 'e'),
        2 => proptest::char::range('A', 'C'),
        2 => Just('.'),
        1 => Just(' '),
        1 => Just('~'),
        1 => proptest::char::range('1', '3'),
        1 => proptest::char::range('\u{e0}', '\u{ff}'),
        1 => proptest::char::range('\u{4e00}', '\u{4eff}'),
        1 => proptest::char::range('!', '~'),
    ];
    let length = prop_oneof![4 => 1_usize..6, 4 => 6_usize..16, 1 => 16_usize..80];
    length
        .prop_flat_map(move |length| proptest::collection::vec(character.clone(), length))
        .prop_map(|characters| {
            characters.into_iter().collect::<String>().replace(['/', '"', '*', ':', '<', '>', '?', '\\', '|'], "_")
        })
        .prop_map(|name| name.trim_end_matches(['.', ' ']).to_owned())
        .prop_filter("names", |name| !name.is_empty() && name.len() < 255)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (0_usize..30_000).prop_map(|length| file(noise(length, 9))),
        1 => (0_usize..1_000_000).prop_map(|length| file(noise(length, 9))),
        2 => Just(directory()),
    ]
}

fn random_tree() -> impl Strategy<Value = Tree> {
    let path = proptest::collection::vec(name(), 1..4);
    proptest::collection::vec((path, kind()), 0..120).prop_map(|list| {
        let mut tree = tree();
        for (path, kind) in list {
            // Paths through files, or onto folders, are refused: what remains is a tree.
            let _ = tree.insert(path.join("/").as_bytes(), kind, metadata(0o644));
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_trees(
        mut tree in random_tree(),
        width in proptest::option::of(prop_oneof![Just(Width::Fat12), Just(Width::Fat16), Just(Width::Fat32)]),
        cluster_bytes in proptest::option::of(prop_oneof![Just(512), Just(2048), Just(8192)]),
        given in proptest::option::of(40_u64..300),
    ) {
        let options = Options { width, cluster_bytes, size_bytes: given.map(|mib| (mib << 20) + mib * 512), ..options() };
        // Names that differ in case alone are refused: take them away.
        while let Err(PlanError::Files(refused)) = imagegen::fat::Plan::new(&tree, &options) {
            for refusal in refused {
                prop_assert!(refusal.reason.contains("only in the case"), "{refusal:?}");
                tree.remove(refusal.path.as_bytes());
            }
        }
        // A small size may not suffice, for FAT32 with large clusters mostly.
        if !matches!(imagegen::fat::Plan::new(&tree, &options), Err(PlanError::TooSmall(_) | PlanError::TooLarge { .. })) {
            check(&tree, &options);
        }
    }
}
