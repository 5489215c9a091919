//! The journal: how long it is, and its superblock (`journal_superblock_s` of JBD2, big-endian).

/// The shortest journal a kernel accepts, in blocks (`JBD2_MIN_JOURNAL_BLOCKS`).
pub(super) const BLOCKS_MIN: u32 = 1024;
/// The longest journal mke2fs makes, in blocks.
pub(super) const BLOCKS_MAX: u32 = 10_240_000;

/// Block counts of file systems below which a journal has so many blocks, as mke2fs has it; but the smallest file
/// systems have the shortest journal instead of none.
pub(super) const DEFAULTS: [(u64, u32); 8] = [
    (32_768, 1024),
    (256 * 1024, 4096),
    (512 * 1024, 8192),
    (4096 * 1024, 16_384),
    (8192 * 1024, 32_768),
    (16_384 * 1024, 65_536),
    (32_768 * 1024, 131_072),
    (u64::MAX, 262_144),
];

/// Returns the journal's blocks for a file system of so many.
pub(super) fn default_blocks(blocks: u64) -> u32 {
    DEFAULTS[DEFAULTS.partition_point(|&(below, _)| below <= blocks).min(DEFAULTS.len() - 1)].1
}

/// Writes the superblock of an empty journal into a zeroed block.
pub(super) fn write_superblock(out: &mut [u8], block_size: u32, blocks: u32, uuid: &[u8; 16]) {
    const MAGIC: u32 = 0xc03b_3998;
    const SUPERBLOCK_V2: u32 = 4;
    let mut put = |at: usize, value: u32| out[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0, MAGIC);
    put(4, SUPERBLOCK_V2);
    put(12, block_size);
    put(16, blocks);
    put(20, 1); // s_first: the log begins behind this block
    put(24, 1); // s_sequence; s_start, at 28, stays 0: nothing to replay
    put(64, 1); // s_nr_users
    out[48..64].copy_from_slice(uuid);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `mke2fs -t ext3` 1.47.0 made.
    #[test]
    fn sizes_are_those_of_mke2fs() {
        for (blocks, journal) in [
            (2_048, 1024),
            (32_767, 1024),
            (32_768, 4096),
            (262_144, 8192),
            (524_288, 16_384),
            (4_194_303, 16_384),
            (4_194_304, 32_768),
            (8_388_608, 65_536),
            (16_777_216, 131_072),
            (33_554_432, 262_144),
        ] {
            assert_eq!(default_blocks(blocks), journal);
        }
    }
}
