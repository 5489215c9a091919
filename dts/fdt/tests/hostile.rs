//! Bytes that nobody meant: the reader says no, or reads them, but never panics.

use fdt::{EmitOptions, Error, Fdt, Tree, Version, Writer, overlay};
use proptest::prelude::*;

/// A small tree with overlay bookkeeping, so that damage reaches every part of the crate.
fn sample() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.reservations.push(fdt::Reservation { address: 0x1000, size: 0x100 });
    let root = tree.root();
    tree.set_cells(root, "#address-cells", &[2]);
    let soc = tree.ensure("/soc@1/uart@2/deep").unwrap();
    tree.set_string(soc, "compatible", "a,b");
    tree.set_reg(soc, &[(1, 2)]);
    let phandle = tree.ensure_phandle(soc).unwrap();
    let symbols = tree.ensure("/__symbols__").unwrap();
    tree.set_string(symbols, "deep", "/soc@1/uart@2/deep");
    let content = tree.ensure("/fragment@0/__overlay__/new").unwrap();
    let fragment = tree.find("/fragment@0").unwrap();
    tree.set_cells(fragment, "target", &[phandle]);
    tree.set_cells(content, "link", &[phandle, 7]);
    let fixups = tree.ensure("/__local_fixups__/fragment@0/__overlay__/new").unwrap();
    tree.set_cells(fixups, "link", &[4]);
    let fixups = tree.ensure("/__fixups__").unwrap();
    tree.set_string(fixups, "deep", "/fragment@0:target:0");
    tree.emit(&EmitOptions::default()).unwrap()
}

/// Uses everything the crate offers on bytes that may be anything.
fn exercise(bytes: &[u8]) {
    let Ok(fdt) = Fdt::new(bytes) else { return };
    for (_, node) in fdt.descendants() {
        let _ = (node.path(), node.reg().count(), node.phandle(), node.children().count());
        let _ = fdt.find(&node.path());
    }
    let _ = (fdt.find("/soc/uart"), fdt.find("deep"), fdt.find_phandle(1), fdt.aliases().count());
    let tree = Tree::from_fdt(&fdt);
    let again = Tree::parse(&tree.emit(&EmitOptions::default()).unwrap()).unwrap();
    if fdt.header().version >= 16 {
        assert_eq!(again, tree, "what is read can be written and read again");
    }
    let _ = tree.emit(&EmitOptions { version: Version::V1, ..Default::default() });
    let _ = overlay::apply(&mut tree.clone(), &tree);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_blobs_never_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = sample();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        exercise(&bytes);
    }

    #[test]
    fn cut_blobs_never_panic(cut in any::<prop::sample::Index>(), total in any::<bool>()) {
        let mut bytes = sample();
        let length = cut.index(bytes.len());
        bytes.truncate(length);
        if total && length >= 8 {
            bytes[4..8].copy_from_slice(&(length as u32).to_be_bytes());
        }
        exercise(&bytes);
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![0xd0, 0x0d, 0xfe, 0xed];
        bytes.extend(noise);
        exercise(&bytes);
    }
}

#[test]
fn damage_reaches_the_sample() {
    exercise(&sample());
    let error = Fdt::new(b"\x7fELF").unwrap_err();
    assert_eq!(error, Error::BadMagic(0x7f45_4c46));
    assert!(matches!(Fdt::new(&sample()[..100]), Err(Error::Truncated { .. })));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        let mut writer = Writer::new(Version::V17);
        writer.begin_node("");
        (1..depth).for_each(|_| writer.begin_node("n"));
        writer.finish(&[], 0, &EmitOptions::default()).unwrap()
    };
    assert_eq!(Fdt::new(&nested(fdt::MAX_DEPTH)).unwrap().descendants().count(), fdt::MAX_DEPTH);
    assert_eq!(Fdt::new(&nested(fdt::MAX_DEPTH + 1)).unwrap_err(), Error::TooDeep);
    assert_eq!(Fdt::new(&nested(100_000)).unwrap_err(), Error::TooDeep);
}

#[test]
fn edits_keep_order() {
    let mut tree = Tree::new();
    let root = tree.root();
    tree.set_string(root, "model", "x");
    tree.set_flag(root, "empty");
    tree.set_string(root, "model", "longer");
    let a = tree.ensure("/a/b@1").unwrap();
    assert_eq!(tree.ensure("/a/b").unwrap(), a, "an existing node with unit address serves");
    assert!(tree.remove_property(root, "empty"));
    assert!(!tree.remove_property(root, "empty"));
    let mut other = Tree::new();
    let c = other.ensure("/a/c").unwrap();
    other.set_u64(c, "big", 1 << 40);
    tree.merge(root, &other, other.root()).unwrap();
    assert_eq!(tree.to_string(), "/\n/:model = [6c6f6e67657200]\n/a\n/a/b@1\n/a/c\n/a/c:big = [0000010000000000]\n");
    tree.remove(tree.find("/a").unwrap());
    assert_eq!(tree.walk(root).count(), 1);
    assert_eq!(tree.add_child(root, "x/y"), Err(Error::BadName("x/y".into())));
}
