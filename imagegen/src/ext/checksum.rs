//! crc32c as `metadata_csum` has it: without the inversions that other users put at both ends, and seeded with what
//! the bytes belong to, so that a block that strays is noticed.

/// The polynomial of Castagnoli, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[n][b]`: what byte b does to the state n bytes later.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut state, mut bit) = (byte as u32, 0);
        while bit < 8 {
            state = if state & 1 == 1 { state >> 1 ^ POLYNOMIAL } else { state >> 1 };
            bit += 1;
        }
        tables[0][byte] = state;
        byte += 1;
    }
    let mut later = 1;
    while later < 8 {
        byte = 0;
        while byte < 256 {
            let before = tables[later - 1][byte];
            tables[later][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        later += 1;
    }
    tables
}

/// A checksum that goes on: what was summed up to here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sum(pub u32);

impl Sum {
    /// Returns the beginning of every sum.
    pub const START: Sum = Sum(u32::MAX);

    /// Returns the sum that everything in a file system begins with, but its superblock.
    pub fn of_file_system(uuid: &[u8; 16]) -> Self {
        Sum::START.then(uuid)
    }

    /// Returns the sum that everything of one inode begins with: its number and generation, which is always 0.
    pub fn of_inode(self, ino: u32) -> Self {
        self.then(&ino.to_le_bytes()).then(&[0; 4])
    }

    /// Returns the sum with these bytes added.
    pub fn then(self, bytes: &[u8]) -> Self {
        let mut state = self.0;
        let (chunks, rest) = bytes.as_chunks::<8>();
        for [a, b, c, d, e, f, g, h] in chunks {
            let [i, j, k, l] = (state ^ u32::from_le_bytes([*a, *b, *c, *d])).to_le_bytes();
            let look_up = |later: usize, byte: u8| TABLES[later][usize::from(byte)];
            state = look_up(7, i) ^ look_up(6, j) ^ look_up(5, k) ^ look_up(4, l);
            state ^= look_up(3, *e) ^ look_up(2, *f) ^ look_up(1, *g) ^ look_up(0, *h);
        }
        for &byte in rest {
            state = state >> 8 ^ TABLES[0][usize::from(state as u8 ^ byte)];
        }
        Sum(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, section B.4; there the result is inverted.
    #[test]
    fn the_test_vectors_of_iscsi() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, expected) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (&descending, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(!Sum::START.then(bytes).0, expected);
            for cut in 0..bytes.len() {
                assert_eq!(Sum::START.then(&bytes[..cut]).then(&bytes[cut..]), Sum(!expected), "{cut}");
            }
        }
    }
}
