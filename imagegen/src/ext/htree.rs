//! Hashed directories: the half-MD4 name hash and the tree of (hash, block) pairs above the leaves (`dir_index`).
//!
//! ```text
//! block 0          root: "." and ".." hiding the first table from readers that know no hashes
//! blocks 1..=M     nodes, if one table does not suffice
//! the rest         leaves, in the order of their hashes
//! ```

use super::checksum::Sum;
use super::inode::{put16, put32};

/// `s_def_hash_version` and `dx_root_info.hash_version`: half of MD4.
pub(super) const HASH_HALF_MD4: u8 = 1;
/// `s_flags`: names are hashed as signed characters. Written always, since C compilers for x86 and Arm disagree on
/// `char`; signed is what mke2fs says on x86, and what readers assume that do not look.
pub(super) const FLAG_SIGNED_HASH: u32 = 1;
/// Bytes before the root's table: two directory entries and `dx_root_info`.
const ROOT_HEAD: usize = 32;
/// Bytes before a node's table: an entry without a name that fills the block.
const NODE_HEAD: usize = 8;
/// Bytes of a table's entry (`struct dx_entry`); the first holds limit and count instead of a hash.
const ENTRY_SIZE: usize = 8;
/// Bytes behind a table's last possible entry: a null word and the checksum (`struct dx_tail`).
const TAIL: usize = 8;

/// How tables are stacked above a number of leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tables {
    block_size: usize,
    /// Bytes of a block before its checksum.
    room: usize,
    leaves: usize,
    /// Nodes between root and leaves; 0 if the root points to leaves.
    nodes: usize,
}

impl Tables {
    /// Returns the tables for this many leaves, or `None` if two levels (all there are without `large_dir`) do not
    /// suffice.
    pub fn new(block_size: u32, checksums: bool, leaves: usize) -> Option<Self> {
        let block_size = block_size as usize;
        let room = block_size - if checksums { TAIL } else { 0 };
        let (root, node) = ((room - ROOT_HEAD) / ENTRY_SIZE, (room - NODE_HEAD) / ENTRY_SIZE);
        let nodes = if leaves <= root { 0 } else { leaves.div_ceil(node) };
        (nodes <= root).then_some(Tables { block_size, room, leaves, nodes })
    }

    /// Returns the number of blocks before the first leaf.
    pub fn blocks(&self) -> usize {
        1 + self.nodes
    }

    /// Writes one of those blocks. `hashes` has the first hash of each leaf, `parent` is the inode of `..`, `sum` is what
    /// the inode's checksums begin with if there are any.
    pub fn write(&self, block: usize, hashes: &[u32], ino: u32, parent: u32, sum: Option<Sum>, out: &mut [u8]) {
        out.fill(0);
        let per_node = if self.nodes == 0 { 1 } else { self.leaves.div_ceil(self.nodes) };
        if let Some(node) = block.checked_sub(1) {
            put16(out, 4, self.block_size as u16);
            let first = (node * per_node).min(self.leaves);
            let end = (first + per_node).min(self.leaves);
            let targets = (first..end).map(|leaf| (hashes[leaf], self.blocks() + leaf));
            return self.write_table(out, NODE_HEAD, targets, sum);
        }
        put32(out, 0, ino);
        out[4..10].copy_from_slice(&[12, 0, 1, 2, b'.', 0]);
        put32(out, 12, parent);
        put16(out, 16, self.block_size as u16 - 12);
        out[18..22].copy_from_slice(&[2, 2, b'.', b'.']);
        out[28..32].copy_from_slice(&[HASH_HALF_MD4, 8, u8::from(self.nodes > 0), 0]);
        if self.nodes == 0 {
            self.write_table(out, ROOT_HEAD, (0..self.leaves).map(|leaf| (hashes[leaf], 1 + leaf)), sum);
        } else {
            // The last nodes may be left empty by rounding; a node without a leaf is not in the root's table.
            let nodes = (0..self.nodes).take_while(|node| node * per_node < self.leaves);
            self.write_table(out, ROOT_HEAD, nodes.map(|node| (hashes[node * per_node], 1 + node)), sum);
        }
    }

    /// Writes limit, count and the (hash, block) pairs; the first pair's hash is implied. The checksum leaves out what
    /// lies between the last pair and the tail.
    fn write_table(&self, out: &mut [u8], at: usize, targets: impl Iterator<Item = (u32, usize)>, sum: Option<Sum>) {
        let limit = (self.room - at) / ENTRY_SIZE;
        let mut count = 0;
        for (hash, block) in targets {
            if count > 0 {
                put32(out, at + count * ENTRY_SIZE, hash);
            }
            put32(out, at + count * ENTRY_SIZE + 4, block as u32);
            count += 1;
        }
        put16(out, at, limit as u16);
        put16(out, at + 2, count as u16);
        if let Some(sum) = sum {
            let tail = at + limit * ENTRY_SIZE;
            let sum = sum.then(&out[..at + count * ENTRY_SIZE]).then(&[0; TAIL]);
            put32(out, tail + 4, sum.0);
        }
    }
}

/// Returns a name's hash and its minor hash, which orders names of equal hash.
pub(super) fn hash(name: &[u8], seed: &[u8; 16]) -> (u32, u32) {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    if seed.iter().any(|&byte| byte != 0) {
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    for chunk in name.chunks(32) {
        half_md4(&mut state, &words(chunk));
    }
    // The lowest bit says "continued from the leaf before"; the highest value is the end of a directory.
    let hash = state[1] & !1;
    (if hash == 0xffff_fffe { 0xffff_fffc } else { hash }, state[2])
}

/// Packs up to 32 characters into eight words, padded with their number.
fn words(chunk: &[u8]) -> [u32; 8] {
    let pad = u32::from_ne_bytes([chunk.len() as u8; 4]);
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(chunk.chunks(4)) {
        for &byte in bytes {
            *word = (*word << 8).wrapping_add(i32::from(byte as i8) as u32);
        }
    }
    words
}

/// MD4's compression (RFC 1320, section 3.4) over eight words instead of sixteen.
fn half_md4(state: &mut [u32; 4], words: &[u32; 8]) {
    const ORDER: [[usize; 8]; 3] = [[0, 1, 2, 3, 4, 5, 6, 7], [1, 3, 5, 7, 0, 2, 4, 6], [3, 7, 2, 6, 1, 5, 0, 4]];
    const SHIFT: [[u32; 4]; 3] = [[3, 7, 11, 19], [3, 5, 9, 13], [3, 9, 11, 15]];
    const ADD: [u32; 3] = [0, 0x5a82_7999, 0x6ed9_eba1];
    let [mut a, mut b, mut c, mut d] = *state;
    for round in 0..3 {
        for step in 0..8 {
            let mixed = match round {
                0 => d ^ (b & (c ^ d)),
                1 => (b & c).wrapping_add((b ^ c) & d),
                _ => b ^ c ^ d,
            };
            let word = words[ORDER[round][step]];
            let sum = a.wrapping_add(mixed).wrapping_add(word).wrapping_add(ADD[round]);
            (a, b, c, d) = (d, sum.rotate_left(SHIFT[round][step % 4]), b, c);
        }
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line from `debugfs -R 'dx_hash -h half_md4 -s SEED NAME'` of e2fsprogs 1.47.0.
    #[test]
    fn hashes_are_those_of_debugfs() {
        let seed = *b"\x33\x3f\xa1\xeb\x58\x8c\x45\x6e\xb8\x1c\xd1\xd3\x43\xcd\x0e\x01";
        let long: String = ('a'..='z').chain('A'..='Z').cycle().take(255).collect();
        for (name, seed, expected) in [
            ("a", seed, (0x1fb2_5ba6, 0x00a3_3dde)),
            ("lost+found", seed, (0x8faa_653c, 0x2315_72b9)),
            ("12345678901234567890123456789012", seed, (0xfbd5_6cb6, 0x7ce4_b87a)),
            ("123456789012345678901234567890123", seed, (0x4a01_6cc4, 0x8509_8383)),
            ("F\u{151}tan\u{fa}s\u{ed}tv\u{e1}ny.pem", seed, (0xa62f_f034, 0x87ad_a212)),
            (&long, seed, (0xe40e_82e0, 0xae67_c46d)),
            ("a", [0; 16], (0xd5fa_7d7a, 0xacb4_8187)),
            ("lost+found", [0; 16], (0x591d_e422, 0x6ffc_56e0)),
            (&long, [0; 16], (0x2433_efe0, 0xcb12_4167)),
        ] {
            assert_eq!(hash(name.as_bytes(), &seed), expected, "{name}");
        }
    }

    #[test]
    fn two_levels_hold_what_their_tables_hold() {
        assert_eq!(Tables::new(4096, false, 508).unwrap().blocks(), 1);
        assert_eq!(Tables::new(4096, false, 509).unwrap().blocks(), 2);
        assert_eq!(Tables::new(4096, false, 512).unwrap().blocks(), 3);
        assert_eq!(Tables::new(4096, false, 508 * 511).unwrap().blocks(), 509);
        assert_eq!(Tables::new(4096, false, 508 * 511 + 1), None);
        assert_eq!(Tables::new(1024, false, 124 * 127 + 1), None);
        assert_eq!(Tables::new(4096, true, 507).unwrap().blocks(), 1);
        assert_eq!(Tables::new(4096, true, 507 * 510).unwrap().blocks(), 508);
        assert_eq!(Tables::new(4096, true, 507 * 510 + 1), None);
    }

    #[test]
    fn every_leaf_is_in_one_table() {
        for leaves in [2, 124, 125, 128, 1000, 1025, 15_748] {
            let tables = Tables::new(1024, false, leaves).unwrap();
            let hashes: Vec<u32> = (0..leaves as u32).map(|leaf| leaf * 2).collect();
            let mut block = vec![0; 1024];
            let table = |block: &[u8], head: usize| -> Vec<u32> {
                let count = u16::from_le_bytes([block[head + 2], block[head + 3]]) as usize;
                assert!(count > 0);
                let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
                (0..count).map(|entry| word(head + entry * 8 + 4)).collect()
            };
            tables.write(0, &hashes, 20, 2, None, &mut block);
            let mut found = table(&block, 32);
            if block[30] == 1 {
                found = found
                    .into_iter()
                    .flat_map(|node| {
                        tables.write(node as usize, &hashes, 20, 2, None, &mut block);
                        table(&block, 8)
                    })
                    .collect();
            }
            let first = tables.blocks() as u32;
            assert_eq!(found, (first..first + leaves as u32).collect::<Vec<_>>());
        }
    }
}
