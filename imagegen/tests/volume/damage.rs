//! Damaged images: whatever the bytes say, reading ends, does not panic, and gives back no more than there is room for.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use imagegen::ext::{BlockSize, Ext, Options, Plan, Version};
use imagegen::fat::{self, Fat, Width};
use imagegen::tree::{Kind as TreeKind, Metadata, Source, Timestamp, Tree};
use imagegen::volume::{Kind, Volume, Walk, lookup};
use proptest::prelude::*;

/// An image with a few bytes changed, and perhaps cut off.
struct Damaged {
    base: Arc<Vec<u8>>,
    length: u64,
    changes: Vec<(u64, Vec<u8>)>,
}

impl Source for Damaged {
    fn size_bytes(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.base.read_at(offset, buffer)?;
        for (at, bytes) in &self.changes {
            for (place, byte) in (*at..).zip(bytes).filter(|(place, _)| *place >= offset) {
                if let Some(out) = buffer.get_mut((place - offset) as usize) {
                    *out = *byte;
                }
            }
        }
        Ok(())
    }
}

/// An image, and where in it something stands: with so little content, nearly all of that is the file system's own.
struct Sample {
    bytes: Arc<Vec<u8>>,
    places: Vec<u64>,
}

impl Sample {
    fn new(bytes: Vec<u8>) -> Self {
        let places = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at as u64).collect();
        Sample { bytes: Arc::new(bytes), places }
    }
}

fn tree(for_fat: bool) -> Tree {
    let metadata = Metadata::root(0o755, Timestamp { seconds: 1_600_000_000, nanoseconds: 0 });
    let mut tree = Tree::new(metadata.clone());
    let mut add = |path: &str, kind: TreeKind| tree.insert(path.as_bytes(), kind, metadata.clone()).map(drop).unwrap();
    add("a/b/c/file", TreeKind::File(Arc::new(vec![0; 20_000])));
    add("another file with a long name.text", TreeKind::File(Arc::new(b"x".to_vec())));
    add("long", TreeKind::File(Arc::new(vec![0; 400_000])));
    for number in 0..40 {
        add(&format!("many/of them {number}"), TreeKind::File(Arc::new(vec![0; 10])));
    }
    if for_fat {
        return tree;
    }
    add("link", TreeKind::Symlink((*b"a/b").into()));
    add("far", TreeKind::Symlink(b"a/../".repeat(30).into()));
    add("device", TreeKind::CharacterDevice { major: 5, minor: 1 });
    let mut attributes = BTreeMap::new();
    attributes.insert(b"security.capability".to_vec(), vec![1; 20]);
    attributes.insert(b"user.long".to_vec(), vec![2; 200]);
    let metadata = Metadata { xattrs: attributes, ..metadata };
    tree.insert(b"attributes", TreeKind::File(Arc::new(vec![1])), metadata).unwrap();
    tree
}

static EXT: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let versions = [Version::Ext2, Version::Ext3, Version::Ext4];
    let image = |version| {
        let block_size = BlockSize::KiB1;
        let options = Options { version, block_size, ..Options::new([1; 16], [2; 16], 1_700_000_000) };
        let file = tempfile::tempfile().unwrap();
        Plan::new(&tree(false), &options).unwrap().write(&file, 0, &mut |_| ControlFlow::Continue(())).unwrap();
        Sample::new(content_of(&file))
    };
    versions.map(image).into()
});

static FAT: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let image = |width| {
        let options = fat::Options { width: Some(width), label: "LABEL".into(), ..fat::Options::default() };
        let file = tempfile::tempfile().unwrap();
        fat::Plan::new(&tree(true), &options).unwrap().write(&file, 0, &mut |_| ControlFlow::Continue(())).unwrap();
        Sample::new(content_of(&file))
    };
    [Width::Fat12, Width::Fat16, Width::Fat32].map(image).into()
});

fn content_of(file: &std::fs::File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0).unwrap();
    bytes
}

/// Looks at everything; says how many files could be read.
fn look(volume: &dyn Volume) -> usize {
    let mut buffer = vec![0; 64 << 10];
    let mut readable = 0;
    let _ = (volume.label(), volume.facts());
    for step in Walk::new(volume, volume.root()).take(100_000) {
        let Ok(step) = step else { continue };
        if let Kind::File(content) = step.node.kind {
            let size = content.size_bytes();
            let mut end = 0;
            for extent in content.extents() {
                assert!(extent.offset >= end && extent.length > 0, "{extent:?}");
                end = extent.offset + extent.length;
                assert!(end <= size, "{extent:?} of {size}");
            }
            let part = size.min(buffer.len() as u64) as usize;
            let ends = [0, size - part as u64].map(|at| content.read_at(at, &mut buffer[..part]).is_ok());
            readable += usize::from(ends == [true, true]);
        }
    }
    let _ = lookup(volume, b"a/b/../b/c/file", true);
    let _ = lookup(volume, b"far/link/b/c", true);
    readable
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, bool, Vec<u8>)>> {
    let bytes = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 1..5),
        1 => Just(vec![0xff; 4]),
        1 => Just(vec![0; 4]),
        1 => (0_u32..2000).prop_map(|number| number.to_le_bytes().to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.9), bytes), 1..12)
}

fn damaged(
    sample: &Sample,
    changes: &[(prop::sample::Index, bool, Vec<u8>)],
    cut: Option<prop::sample::Index>,
) -> Arc<dyn Source> {
    let place = |(index, known, bytes): &(prop::sample::Index, bool, Vec<u8>)| {
        let at = if *known { *index.get(&sample.places) } else { index.index(sample.bytes.len()) as u64 };
        (at, bytes.clone())
    };
    let length = cut.map_or(sample.bytes.len(), |cut| cut.index(sample.bytes.len())) as u64;
    Arc::new(Damaged { base: sample.bytes.clone(), length, changes: changes.iter().map(place).collect() })
}

#[test]
fn what_is_whole_can_be_read() {
    for sample in EXT.iter() {
        assert_eq!(look(&Ext::open(sample.bytes.clone()).unwrap()), 44);
    }
    for sample in FAT.iter() {
        assert_eq!(look(&Fat::open(sample.bytes.clone()).unwrap()), 43);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_ext(which in 0_usize..3, changes in changes(), cut in prop::option::weighted(0.1, any::<prop::sample::Index>())) {
        if let Ok(volume) = Ext::open(damaged(&EXT[which], &changes, cut)) {
            look(&volume);
        }
    }

    #[test]
    fn damaged_fat(which in 0_usize..3, changes in changes(), cut in prop::option::weighted(0.1, any::<prop::sample::Index>())) {
        if let Ok(volume) = Fat::open(damaged(&FAT[which], &changes, cut)) {
            look(&volume);
        }
    }
}

/// Circles, one by one: each is named, and what is beside it can still be read.
#[test]
fn circles_end() {
    // FAT16: the chain of the folder `many` leads back to its own beginning.
    let sample = &FAT[1];
    let volume = Fat::open(sample.bytes.clone()).unwrap();
    let many = volume.node(lookup(&volume, b"many", true).unwrap()).unwrap();
    assert!(many.size_bytes > 512, "{}", many.size_bytes);
    let entry = lookup(&volume, b"many", true).unwrap().0 as usize;
    let first = u16::from_le_bytes([sample.bytes[entry + 26], sample.bytes[entry + 27]]);
    let table = 512 * usize::from(u16::from_le_bytes([sample.bytes[14], sample.bytes[15]]));
    let changes = vec![((table + usize::from(first) * 2 + 2) as u64, first.to_le_bytes().to_vec())];
    let length = sample.bytes.len() as u64;
    let volume = Fat::open(Arc::new(Damaged { base: sample.bytes.clone(), length, changes })).unwrap();
    let errors: Vec<String> =
        Walk::new(&volume, volume.root()).filter_map(Result::err).map(|error| error.to_string()).collect();
    assert_eq!(errors, [format!("/many: cluster {first}: begins a chain that goes round in circles")]);
    assert_eq!(look(&volume), 3);

    // ext2: `b` in `a` is the root again.
    let sample = &EXT[0];
    let volume = Ext::open(sample.bytes.clone()).unwrap();
    let inner = lookup(&volume, b"a/b", true).unwrap().0 as u32;
    let entry = [&inner.to_le_bytes()[..], &[244, 3, 1, 2, b'b']].concat();
    let at =
        sample.bytes.windows(entry.len()).position(|window| window[..4] == entry[..4] && window[6..] == entry[6..]);
    let changes = vec![(at.unwrap() as u64, 2_u32.to_le_bytes().to_vec())];
    let length = sample.bytes.len() as u64;
    let volume = Ext::open(Arc::new(Damaged { base: sample.bytes.clone(), length, changes })).unwrap();
    let errors: Vec<String> =
        Walk::new(&volume, volume.root()).filter_map(Result::err).map(|error| error.to_string()).collect();
    assert_eq!(errors, ["/a/b: the folder: is in itself, or in two folders"]);
    assert!(lookup(&volume, &b"a/b/".repeat(1000), true).is_ok());
}
