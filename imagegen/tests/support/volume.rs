//! A volume beside the tree that it was made from, as our own readers see it.

use std::collections::BTreeMap;

use imagegen::tree::{InodeId, Kind as TreeKind, Source, Timestamp, Tree};
use imagegen::volume::{Kind, NodeId, Step, Volume, Walk};

/// Reads all of a volume.
pub fn steps(volume: &dyn Volume) -> BTreeMap<Vec<u8>, Step> {
    Walk::new(volume, volume.root()).map(|step| step.unwrap()).map(|step| (step.path.clone(), step)).collect()
}

/// Compares names, kinds and content; `also` looks at what else the format keeps.
pub fn compare(tree: &Tree, volume: &dyn Volume, also: impl Fn(&Step, InodeId)) {
    let mut found = steps(volume);
    let mut numbers: BTreeMap<InodeId, NodeId> = BTreeMap::new();
    tree.walk(|path, id| {
        let shown = String::from_utf8_lossy(path).into_owned();
        let step = found.remove(path).unwrap_or_else(|| panic!("{shown} is missing"));
        let first = *numbers.entry(id).or_insert(step.id);
        match (&tree.inode(id).kind, &step.node.kind) {
            (TreeKind::Directory(_), Kind::Directory) => {}
            (TreeKind::File(ours), Kind::File(theirs)) => {
                assert_eq!(step.node.size_bytes, ours.size_bytes(), "{shown}");
                assert_eq!(theirs.size_bytes(), ours.size_bytes(), "{shown}");
                if first == step.id || step.node.links == 1 {
                    same_content(&shown, &**ours, &**theirs);
                }
            }
            (TreeKind::Symlink(ours), Kind::Symlink(theirs)) => assert_eq!(ours, theirs, "{shown}"),
            (
                TreeKind::CharacterDevice { major, minor },
                Kind::CharacterDevice { major: their_major, minor: their_minor },
            )
            | (TreeKind::BlockDevice { major, minor }, Kind::BlockDevice { major: their_major, minor: their_minor }) => {
                assert_eq!((major, minor), (their_major, their_minor), "{shown}");
            }
            (TreeKind::Fifo, Kind::Fifo) | (TreeKind::Socket, Kind::Socket) => {}
            (ours, theirs) => panic!("{shown}: {ours:?} became {theirs:?}"),
        }
        also(&step, id);
    });
    found.remove(&b"lost+found"[..]);
    assert!(found.is_empty(), "more than there was: {:?}", found.keys());
}

/// Compares content where either side has data; what both call a hole is one.
fn same_content(shown: &str, ours: &dyn Source, theirs: &dyn Source) {
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for extent in ours.extents().into_iter().chain(theirs.extents()) {
        let end = extent.offset + extent.length;
        for at in (extent.offset..end).step_by(1 << 20) {
            let length = (end - at).min(1 << 20) as usize;
            ours.read_at(at, &mut left[..length]).unwrap();
            theirs.read_at(at, &mut right[..length]).unwrap();
            assert!(left[..length] == right[..length], "{shown}: content from {at} on");
        }
    }
    assert!(theirs.read_at(theirs.size_bytes(), &mut [0]).is_err(), "{shown}: has no end");
}

/// Returns a time without what FAT cannot say.
#[allow(dead_code, reason = "not every test has FAT")]
pub fn in_steps_of_two(time: Timestamp) -> Timestamp {
    let seconds = time.seconds.clamp(315_532_800, 4_354_819_199);
    Timestamp { seconds: seconds.div_euclid(2) * 2, nanoseconds: 0 }
}
