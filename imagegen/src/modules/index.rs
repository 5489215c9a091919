//! kmod's index files, `modules.dep.bin` and its like: a trie of keys, written so that it can be searched where it lies.
//!
//! Source: kmod, `libkmod/libkmod-index.h` and `tools/depmod.c`. All numbers are big-endian.
//!
//! ```text
//! magic 0xb007f457 | version 2.1 | offset of the root
//! node: prefix NUL | first byte, last byte, one offset for each byte between | count, of each value: priority, text NUL
//! ```
//!
//! The upper bits of a node's offset tell which of the three parts it has. Children are written before their parents.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
/// What is left of an offset for the place in the file.
const PLACE_MASK: u32 = 0x0fff_ffff;
/// Bytes of keys are below this (`INDEX_CHILDMAX`).
const BYTE_MAX: u8 = 128;
/// The longest key: as deep as the trie can get.
const KEY_MAX_BYTES: usize = 1024;

/// A trie being filled.
#[derive(Default)]
pub(super) struct Index {
    root: Node,
}

#[derive(Default)]
struct Node {
    prefix: Vec<u8>,
    children: BTreeMap<u8, Node>,
    /// Ascending by priority; of one priority, the last one first.
    values: Vec<(u32, String)>,
}

impl Index {
    /// Adds a value; keys that the format cannot hold are passed over, as nothing could ask for them.
    pub fn insert(&mut self, key: &str, value: &str, priority: u32) {
        let mut key = key.as_bytes();
        if key.len() > KEY_MAX_BYTES || key.iter().any(|&byte| byte == 0 || byte >= BYTE_MAX) || value.contains('\0') {
            return;
        }
        let mut node = &mut self.root;
        loop {
            let common = node.prefix.iter().zip(key).take_while(|(left, right)| left == right).count();
            if common < node.prefix.len() {
                let lower = std::mem::take(node);
                let (upper, byte) = (lower.prefix[..common].to_vec(), lower.prefix[common]);
                let lower = Node { prefix: lower.prefix[common + 1..].to_vec(), ..lower };
                *node = Node { prefix: upper, children: BTreeMap::from([(byte, lower)]), values: Vec::new() };
            }
            key = &key[common..];
            let Some((&byte, rest)) = key.split_first() else { break };
            let new = || Node { prefix: rest.to_vec(), ..Node::default() };
            node = node.children.entry(byte).or_insert_with(new);
            key = rest;
        }
        // A value that is there already is there twice, as with depmod.
        let at = node.values.partition_point(|(other, _)| *other < priority);
        node.values.insert(at, (priority, value.to_owned()));
    }

    /// Returns the file's bytes; nothing, if there is more than it can hold.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut out = [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat();
        let root = write(&self.root, &mut out)?;
        out[8..12].copy_from_slice(&root.to_be_bytes());
        Some(out)
    }
}

/// Writes a node behind its children; returns where it is and which parts it has.
fn write(node: &Node, out: &mut Vec<u8>) -> Option<u32> {
    let mut offsets = Vec::new();
    let ends = node.children.first_key_value().zip(node.children.last_key_value());
    let ends = ends.map(|((&first, _), (&last, _))| (first, last));
    if let Some((first, last)) = ends {
        for byte in first..=last {
            offsets.push(match node.children.get(&byte) {
                Some(child) => write(child, out)?,
                None => 0,
            });
        }
    }
    let mut offset = u32::try_from(out.len()).ok().filter(|place| *place <= PLACE_MASK)?;
    if !node.prefix.is_empty() {
        out.extend(&node.prefix);
        out.push(0);
        offset |= HAS_PREFIX;
    }
    if let Some((first, last)) = ends {
        out.extend([first, last]);
        out.extend(offsets.iter().flat_map(|offset| offset.to_be_bytes()));
        offset |= HAS_CHILDREN;
    }
    if !node.values.is_empty() {
        out.extend(u32::try_from(node.values.len()).ok()?.to_be_bytes());
        for (priority, value) in &node.values {
            out.extend(priority.to_be_bytes());
            out.extend(value.as_bytes());
            out.push(0);
        }
        offset |= HAS_VALUES;
    }
    Some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_index_is_as_kmod_writes_it() {
        let mut index = Index::default();
        for (key, value, priority) in [("ab", "x", 2), ("abc", "y", 1), ("ab", "z", 0), ("\u{e4}", "n", 0)] {
            index.insert(key, value, priority);
        }
        let mut expected = vec![0xb0, 7, 0xf4, 0x57, 0, 2, 0, 1];
        // The root at 43 has only children.
        expected.extend([0x20, 0, 0, 43]);
        // "c", at 12: only a value.
        expected.extend([0, 0, 0, 1, 0, 0, 0, 1, b'y', 0]);
        // "a", at 22: the rest of the prefix, one child, two values.
        expected.extend([b'b', 0, b'c', b'c', 0x40, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0, 0, b'z', 0, 0, 0, 0, 2, b'x', 0]);
        let root = expected.len() as u8;
        expected[11] = root;
        expected.extend([b'a', b'a', 0xe0, 0, 0, 22]);
        assert_eq!(index.bytes().unwrap(), expected);
    }
}
