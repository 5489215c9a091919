//! A directory's blocks: entries in the order of their names, or of their hashes once they need more than one block.
//!
//! Leaves are filled to the last entry that fits: the sizes are exact, and a kernel that adds a name splits a leaf.

use super::checksum::Sum;
use super::htree::{self, Tables};
use super::inode::{put16, put32};

/// Bytes of an entry before its name (`struct ext2_dir_entry_2`).
const ENTRY_HEAD: usize = 8;
/// Bytes of the entries `.` and `..`.
const DOTS: usize = 24;
/// Bytes of what looks like an entry without name and holds a block's checksum (`struct ext4_dir_entry_tail`).
const TAIL: usize = 12;

/// A name, and what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub ino: u32,
    /// `EXT2_FT_REG_FILE` and so on.
    pub file_type: u8,
}

/// A directory laid out in blocks.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    /// Bytes of a block that entries fill: all but a checksum.
    room: usize,
    /// In the order they are written.
    entries: Vec<Entry<'a>>,
    /// Where in `entries` each leaf begins, and the number of entries.
    leaves: Vec<usize>,
    /// The tables above the leaves and the first hash in each, if it is hashed.
    hashed: Option<(Tables, Vec<u32>)>,
}

impl<'a> Directory<'a> {
    /// Lays out a directory of at least `blocks_min` blocks (`lost+found` has empty ones for e2fsck to use).
    ///
    /// It is hashed if it needs more than `blocks_min` blocks, as the kernel would have it; a directory too large for
    /// two levels of tables is left without, as kernels before `large_dir` leave it. With `checksums` each block ends
    /// in one.
    pub fn new(block_size: u32, checksums: bool, seed: &[u8; 16], entries: Vec<Entry<'a>>, blocks_min: usize) -> Self {
        let room = block_size as usize - if checksums { TAIL } else { 0 };
        let linear = pack(room, &entries, DOTS);
        if linear.len() - 1 > blocks_min.max(1) {
            let mut keyed: Vec<(u32, u32, Entry<'a>)> = entries
                .iter()
                .map(|entry| {
                    let (hash, minor) = htree::hash(entry.name, seed);
                    (hash, minor, *entry)
                })
                .collect();
            keyed.sort_unstable_by(|a, b| (a.0, a.1, a.2.name).cmp(&(b.0, b.1, b.2.name)));
            let sorted: Vec<Entry<'a>> = keyed.iter().map(|key| key.2).collect();
            let leaves = pack(room, &sorted, 0);
            if let Some(tables) = Tables::new(block_size, checksums, leaves.len() - 1) {
                // A hash that began in the leaf before is marked by its lowest bit.
                let first = |&leaf: &usize| keyed[leaf].0 | u32::from(leaf > 0 && keyed[leaf - 1].0 == keyed[leaf].0);
                let hashes = leaves[..leaves.len() - 1].iter().map(first).collect();
                return Directory { room, entries: sorted, leaves, hashed: Some((tables, hashes)) };
            }
        }
        let mut leaves = linear;
        let end = entries.len();
        leaves.resize(leaves.len().max(blocks_min + 1), end);
        Directory { room, entries, leaves, hashed: None }
    }

    /// Says whether it is hashed (`EXT2_INDEX_FL`).
    pub fn is_hashed(&self) -> bool {
        self.hashed.is_some()
    }

    /// Returns the number of blocks.
    pub fn blocks(&self) -> usize {
        self.leaves.len() - 1 + self.hashed.as_ref().map_or(0, |(tables, _)| tables.blocks())
    }

    /// Writes one block; `ino` and `parent` are what `.` and `..` mean, `sum` is what the inode's checksums begin with
    /// if there are any.
    pub fn write(&self, block: usize, ino: u32, parent: u32, sum: Option<Sum>, out: &mut [u8]) {
        out.fill(0);
        let leaf = match &self.hashed {
            Some((tables, hashes)) => match block.checked_sub(tables.blocks()) {
                Some(leaf) => leaf,
                None => return tables.write(block, hashes, ino, parent, sum, out),
            },
            None => block,
        };
        let dots = [Entry { name: b".", ino, file_type: 2 }, Entry { name: b"..", ino: parent, file_type: 2 }];
        let dots = if leaf == 0 && self.hashed.is_none() { &dots[..] } else { &[] };
        let (mut at, mut last) = (0, 0);
        for entry in dots.iter().chain(&self.entries[self.leaves[leaf]..self.leaves[leaf + 1]]) {
            put32(out, at, entry.ino);
            put16(out, at + 4, entry_size(entry.name) as u16);
            out[at + 6] = entry.name.len() as u8;
            out[at + 7] = entry.file_type;
            out[at + ENTRY_HEAD..at + ENTRY_HEAD + entry.name.len()].copy_from_slice(entry.name);
            last = at;
            at += entry_size(entry.name);
        }
        // The last entry reaches to the end of the room; without any, one without inode does.
        put16(out, last + 4, (self.room - last) as u16);
        if let Some(sum) = sum {
            let sum = sum.then(&out[..self.room]);
            out[self.room..self.room + 8].copy_from_slice(&[0, 0, 0, 0, TAIL as u8, 0, 0, 0xde]);
            put32(out, self.room + 8, sum.0);
        }
    }
}

/// Returns the bytes of an entry with this name.
fn entry_size(name: &[u8]) -> usize {
    (ENTRY_HEAD + name.len()).next_multiple_of(4)
}

/// Distributes entries over blocks in order, the first block having `taken` bytes less; returns where each block
/// begins, and the number of entries.
fn pack(block_size: usize, entries: &[Entry], mut taken: usize) -> Vec<usize> {
    let mut starts = vec![0];
    for (index, entry) in entries.iter().enumerate() {
        let size = entry_size(entry.name);
        if taken + size > block_size {
            starts.push(index);
            taken = 0;
        }
        taken += size;
    }
    starts.push(entries.len());
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(block: &[u8]) -> Vec<(Vec<u8>, u32)> {
        let (mut at, mut found) = (0, Vec::new());
        while at < block.len() {
            let ino = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            let size = usize::from(u16::from_le_bytes([block[at + 4], block[at + 5]]));
            assert!(size >= 8 && size.is_multiple_of(4));
            if ino != 0 {
                found.push((block[at + 8..at + 8 + usize::from(block[at + 6])].to_vec(), ino));
            }
            at += size;
        }
        assert_eq!(at, block.len());
        found
    }

    fn names(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|number| format!("name-{number:06}").into_bytes()).collect()
    }

    fn entries(names: &[Vec<u8>]) -> Vec<Entry<'_>> {
        names.iter().enumerate().map(|(number, name)| Entry { name, ino: number as u32 + 20, file_type: 1 }).collect()
    }

    #[test]
    fn one_block_is_linear_and_complete() {
        let names = names(40);
        let directory = Directory::new(1024, false, &[1; 16], entries(&names), 1);
        assert_eq!((directory.blocks(), directory.is_hashed()), (1, false));
        let mut block = vec![0xff; 1024];
        directory.write(0, 12, 2, None, &mut block);
        let found = read(&block);
        assert_eq!(found[..2], [(b".".to_vec(), 12), (b"..".to_vec(), 2)]);
        assert_eq!(found[2..].iter().map(|entry| &entry.0).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    }

    #[test]
    fn lost_and_found_has_empty_blocks() {
        let directory = Directory::new(1024, false, &[1; 16], Vec::new(), 12);
        assert_eq!((directory.blocks(), directory.is_hashed()), (12, false));
        let mut block = vec![0xff; 1024];
        directory.write(11, 11, 2, None, &mut block);
        assert_eq!(read(&block), []);
    }

    #[test]
    fn a_large_one_is_hashed_and_loses_no_name() {
        for count in [60, 1_000, 9_000] {
            let names = names(count);
            let directory = Directory::new(1024, false, &[1; 16], entries(&names), 1);
            let tables = directory.hashed.as_ref().unwrap().0.blocks();
            assert_eq!(tables > 1, count == 9_000);
            let mut found = Vec::new();
            let mut block = vec![0xff; 1024];
            for number in tables..directory.blocks() {
                directory.write(number, 12, 2, None, &mut block);
                found.extend(read(&block).into_iter().map(|entry| entry.0));
            }
            found.sort();
            assert_eq!(found, names);
        }
    }

    #[test]
    fn too_large_for_two_levels_is_linear() {
        let names: Vec<Vec<u8>> = (0..48_000).map(|number| format!("{number:0255}").into_bytes()).collect();
        let directory = Directory::new(1024, false, &[1; 16], entries(&names), 1);
        assert_eq!((directory.blocks(), directory.is_hashed()), (16_000, false));
    }
}
