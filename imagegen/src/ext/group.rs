//! A group's descriptor and bitmaps, and the inode that keeps room for more descriptors.

use super::inode::{put16, put32};
use super::layout::{DESCRIPTOR_SIZE, Geometry, superblock_groups};

/// What is in use in one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    /// Blocks from the group's start on: its tables, then content.
    pub blocks: u32,
    /// Inodes from the group's first on.
    pub inodes: u32,
    pub directories: u32,
}

/// Writes a group's descriptor (`struct ext2_group_desc`) into zeroed bytes.
pub(super) fn write_descriptor(geometry: &Geometry, group: u32, usage: Usage, out: &mut [u8]) {
    let bitmaps = geometry.group_start(group) + geometry.head(group);
    put32(out, 0, bitmaps);
    put32(out, 4, bitmaps + 1);
    put32(out, 8, bitmaps + 2);
    // No count is above 32,768: one bit each in a bitmap of one block.
    put16(out, 12, (geometry.group_blocks(group) - usage.blocks) as u16);
    put16(out, 14, (geometry.inodes_per_group - usage.inodes) as u16);
    put16(out, 16, usage.directories as u16);
}

/// Returns all descriptors, padded to whole blocks.
pub(super) fn descriptors(geometry: &Geometry, usage: impl Fn(u32) -> Usage) -> Vec<u8> {
    let mut out = vec![0; (geometry.descriptor_blocks * geometry.block_size.bytes()) as usize];
    for (group, out) in (0..geometry.groups).zip(out.chunks_exact_mut(DESCRIPTOR_SIZE as usize)) {
        write_descriptor(geometry, group, usage(group), out);
    }
    out
}

/// Writes a bitmap whose first `used` of `count` bits are set; what lies beyond `count` does not exist and is set too.
pub(super) fn write_bitmap(out: &mut [u8], used: u32, count: u32) {
    let bits_set_below = |byte: usize, end: u32| {
        let bits = (end as usize).saturating_sub(byte * 8).min(8);
        ((1_u32 << bits) - 1) as u8
    };
    for (byte, out) in out.iter_mut().enumerate() {
        *out = bits_set_below(byte, used) | !bits_set_below(byte, count);
    }
}

/// Returns the size of the resize inode: as far as its double indirect block could reach.
pub(super) fn resize_inode_bytes(geometry: &Geometry) -> u64 {
    let size = u64::from(geometry.block_size.bytes());
    let fan = size / 4;
    (12 + fan + fan * fan) * size
}

/// Returns how many blocks the resize inode owns: its double indirect block and every reserved descriptor block.
pub(super) fn resize_inode_blocks(geometry: &Geometry) -> u32 {
    1 + geometry.reserved_descriptor_blocks * superblock_groups(geometry.groups).count() as u32
}

/// Writes the resize inode's double indirect block: the primary reserved blocks, each in the place of the descriptor
/// block it may become.
pub(super) fn write_resize_block(geometry: &Geometry, out: &mut [u8]) {
    out.fill(0);
    let fan = geometry.block_size.bytes() / 4;
    let first = geometry.first_data_block + 1 + geometry.descriptor_blocks;
    for number in 0..geometry.reserved_descriptor_blocks {
        let place = (geometry.descriptor_blocks + number) % fan;
        put32(out, place as usize * 4, first + number);
    }
}

/// Writes the primary copy of a reserved descriptor block: as an indirect block of the resize inode it points to its
/// own copies in the other groups.
pub(super) fn write_reserved_descriptor(geometry: &Geometry, number: u32, out: &mut [u8]) {
    out.fill(0);
    for (place, group) in superblock_groups(geometry.groups).skip(1).enumerate() {
        put32(out, place * 4, geometry.group_start(group) + 1 + geometry.descriptor_blocks + number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_have_every_bit_in_its_place() {
        for (used, count) in [(0, 0), (0, 64), (1, 64), (7, 9), (8, 61), (13, 13), (61, 61), (64, 64), (3, 5)] {
            let mut out = [0x5a; 8];
            write_bitmap(&mut out, used, count);
            for bit in 0..64_u32 {
                let set = out[bit as usize / 8] >> (bit % 8) & 1 == 1;
                assert_eq!(set, bit < used || bit >= count, "bit {bit} of {used} in {count}");
            }
        }
    }
}
