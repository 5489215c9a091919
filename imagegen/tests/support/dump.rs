//! A tree as text, one line per name: what two trees are compared by.

use std::collections::HashMap;
use std::fmt::Write;

use imagegen::tree::{Kind, Source, Tree};

/// Reads all of a source in odd steps, so that every boundary is crossed.
pub fn content(source: &dyn Source) -> Vec<u8> {
    let mut bytes = vec![0; source.size_bytes() as usize];
    for (index, part) in bytes.chunks_mut(70_001).enumerate() {
        source.read_at(index as u64 * 70_001, part).unwrap();
    }
    bytes
}

/// Describes a tree: `path type mode owner:group time content`, attributes behind.
pub fn dump(tree: &Tree) -> String {
    let (mut text, mut seen) = (String::new(), HashMap::new());
    tree.walk(|path, id| {
        let inode = tree.inode(id);
        let meta = &inode.metadata;
        let path = format!("/{}", path.escape_ascii());
        let first = seen.entry(id).or_insert_with(|| path.clone());
        let what = match &inode.kind {
            Kind::Directory(_) => "directory".to_owned(),
            _ if *first != path => format!("= {first}"),
            Kind::File(source) => {
                let bytes = content(&**source);
                let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
                });
                format!("file {} {hash:016x}", bytes.len())
            }
            Kind::Symlink(target) => format!("-> {}", target.escape_ascii()),
            other => format!("{other:?}"),
        };
        let time = format!("{}.{:09}", meta.mtime.seconds, meta.mtime.nanoseconds);
        writeln!(text, "{path} {:04o} {}:{} {time} {what}", meta.mode, meta.uid, meta.gid).unwrap();
        if !what.starts_with('=') {
            for (name, value) in &meta.xattrs {
                writeln!(text, "    {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
            }
        }
    });
    text
}
