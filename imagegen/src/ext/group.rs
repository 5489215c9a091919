//! A group's descriptor and bitmaps, and the inode that keeps room for more descriptors.

use super::checksum::Sum;
use super::geometry::{Geometry, superblock_groups};
use super::inode::{put16, put32};
use super::layout::Layout;

/// `EXT4_BG_INODE_UNINIT`, `EXT4_BG_BLOCK_UNINIT`: nobody needs to read the bitmap, since it follows from the
/// descriptors. It is written all the same: who restores descriptors from a backup does not trust their flags.
const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;
/// `EXT4_BG_INODE_ZEROED`: what the inode table does not use is zeros.
const INODE_ZEROED: u16 = 4;

/// What is in use in one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    pub free_blocks: u32,
    /// Inodes from the group's first on.
    pub inodes: u32,
    pub directories: u32,
    /// Whether the group's own tables are all that uses blocks, and the bitmap follows from that.
    pub block_uninit: bool,
}

/// Writes a group's descriptor (`struct ext4_group_desc`) into zeroed bytes; with checksums it also says what the
/// bitmaps' are, and what of the tables was never used.
pub(super) fn write_descriptor(layout: &Layout, group: u32, usage: &Usage, bitmaps: [Sum; 2], out: &mut [u8]) {
    let geometry = &layout.geometry;
    let places = layout.places[group as usize];
    for (number, block) in [places.block_bitmap, places.inode_bitmap, places.inode_table].into_iter().enumerate() {
        put32(out, number * 4, block as u32);
        if out.len() > 32 {
            put32(out, 32 + number * 4, (block >> 32) as u32);
        }
    }
    // No count is above 32,768: one bit each in a bitmap of one block.
    put16(out, 12, usage.free_blocks as u16);
    put16(out, 14, (geometry.inodes_per_group - usage.inodes) as u16);
    put16(out, 16, usage.directories as u16);
    if geometry.version.has_checksums() {
        let block_uninit = if usage.block_uninit { BLOCK_UNINIT } else { 0 };
        let inode_uninit = if usage.inodes == 0 { INODE_UNINIT } else { 0 };
        put16(out, 18, block_uninit | inode_uninit | INODE_ZEROED);
        put16(out, 28, (geometry.inodes_per_group - usage.inodes) as u16);
        for (number, sum) in bitmaps.into_iter().enumerate() {
            put16(out, 24 + number * 2, sum.0 as u16);
            put16(out, 56 + number * 2, (sum.0 >> 16) as u16);
        }
    }
}

/// Writes a descriptor's own checksum, which stands within it.
pub(super) fn write_descriptor_sum(group: u32, sum: Sum, out: &mut [u8]) {
    put16(out, 30, 0);
    let sum = sum.then(&group.to_le_bytes()).then(out);
    put16(out, 30, sum.0 as u16);
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

/// Writes the bitmap of a group's blocks: all are in use but those of slots from `used` on.
pub(super) fn write_block_bitmap(layout: &Layout, group: u32, used: u64, out: &mut [u8]) {
    out.fill(0xff);
    let slots = layout.slots_in(group);
    let start = layout.geometry.group_start(group);
    for free in layout.blocks_of(slots.start.max(used)..slots.end) {
        clear_bits(out, (free.start - start) as usize, (free.end - start) as usize);
    }
}

/// Clears the bits `start..end`.
fn clear_bits(out: &mut [u8], start: usize, end: usize) {
    let (first, last) = (start / 8, (end - 1) / 8);
    let (keep_below, keep_above) = ((1_u8 << (start % 8)) - 1, !(u8::MAX >> (7 - (end - 1) % 8)));
    if first == last {
        out[first] &= keep_below | keep_above;
    } else {
        out[first] &= keep_below;
        out[first + 1..last].fill(0);
        out[last] &= keep_above;
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
        let block = geometry.group_start(group) + u64::from(1 + geometry.descriptor_blocks + number);
        put32(out, place * 4, block as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleared_bits_are_those_asked_for() {
        for start in 0..32 {
            for end in start + 1..=32 {
                let mut out = [0xff; 4];
                clear_bits(&mut out, start, end);
                for bit in 0..32 {
                    assert_eq!(
                        out[bit / 8] >> (bit % 8) & 1 == 0,
                        (start..end).contains(&bit),
                        "{bit} of {start}..{end}"
                    );
                }
            }
        }
    }

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
