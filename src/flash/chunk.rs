//! The units in which a card is written: aligned memory, and pieces of an image that no unit of a card straddles.

use std::ops::Range;

/// The largest piece, in bytes: what cards and readers take in one go, and what is written again after an error.
pub const CHUNK_BYTES: usize = 4 << 20;
/// What is written last: tables, boot sectors and, on many boards, the first-stage loader.
pub const HEAD_BYTES: u64 = 1 << 20;
/// The alignment of all memory and of all ranges: the largest sector of any card or disk.
pub const ALIGNMENT: usize = 4096;

/// Memory that direct I/O takes: aligned, of [`CHUNK_BYTES`].
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Returns memory filled with zeros.
    pub fn new() -> Self {
        let memory = vec![0; CHUNK_BYTES + ALIGNMENT];
        let start = (memory.as_ptr() as usize).next_multiple_of(ALIGNMENT) - memory.as_ptr() as usize;
        Buffer { memory, start }
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + CHUNK_BYTES]
    }

    /// Returns its bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + CHUNK_BYTES]
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer::new()
    }
}

/// A part of an image that is written at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Where it goes.
    pub offset: u64,
    /// Its length: at most [`CHUNK_BYTES`].
    pub length: usize,
    /// Whether it is a hole of the image: it has to read as zeros, however that is brought about.
    pub zeros: bool,
}

impl Piece {
    /// Returns where it ends.
    pub fn end(&self) -> u64 {
        self.offset + self.length as u64
    }

    /// Says whether it is written last.
    pub fn is_head(&self) -> bool {
        self.offset < HEAD_BYTES
    }
}

/// Cuts a range into pieces at multiples of [`CHUNK_BYTES`], and at [`HEAD_BYTES`].
pub fn pieces(range: Range<u64>, zeros: bool) -> impl Iterator<Item = Piece> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let end = boundary(at).min(range.end);
        let piece = Piece { offset: at, length: end.saturating_sub(at) as usize, zeros };
        at = end;
        (piece.length > 0).then_some(piece)
    })
}

/// Returns where a piece that begins here ends at the latest.
pub fn boundary(offset: u64) -> u64 {
    if offset < HEAD_BYTES { HEAD_BYTES } else { (offset / CHUNK_BYTES as u64 + 1) * CHUNK_BYTES as u64 }
}

/// Aligns ranges outwards, sorts them, and joins what touches or lies closer than `gap`.
pub fn join(mut ranges: Vec<Range<u64>>, gap: u64, end: u64) -> Vec<Range<u64>> {
    let grain = ALIGNMENT as u64;
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        let range = range.start / grain * grain..range.end.next_multiple_of(grain).min(end).max(range.end);
        match joined.last_mut() {
            Some(last) if range.start <= last.end + gap => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Returns what lies between sorted ranges, up to an end.
pub fn between(ranges: &[Range<u64>], end: u64) -> Vec<Range<u64>> {
    let mut holes = Vec::new();
    let mut at = 0;
    for range in ranges {
        if range.start.min(end) > at {
            holes.push(at..range.start.min(end));
        }
        at = at.max(range.end);
    }
    if at < end {
        holes.push(at..end);
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned() {
        let mut buffer = Buffer::new();
        assert_eq!(buffer.bytes().as_ptr() as usize % ALIGNMENT, 0);
        assert_eq!((buffer.bytes().len(), buffer.bytes_mut().len()), (CHUNK_BYTES, CHUNK_BYTES));
    }

    #[test]
    fn pieces_cover_a_range_and_straddle_nothing() {
        let cut = |range| pieces(range, false).map(|piece| (piece.offset, piece.end())).collect::<Vec<_>>();
        const MIB: u64 = 1 << 20;
        assert_eq!(cut(0..512), [(0, 512)]);
        assert_eq!(cut(0..9 * MIB), [(0, MIB), (MIB, 4 * MIB), (4 * MIB, 8 * MIB), (8 * MIB, 9 * MIB)]);
        assert_eq!(cut(5 * MIB..5 * MIB), []);
    }

    #[test]
    fn ranges_are_joined_and_their_holes_found() {
        let joined = join(vec![20000..20001, 0..1, 5000..9000, 30000..30001], 4096, 30100);
        assert_eq!(joined, [0..20480, 28672..30100]);
        assert_eq!(between(&joined, 40000), [20480..28672, 30100..40000]);
        assert_eq!(between(&[], 10).first(), Some(&(0..10)));
        assert_eq!(between(&vec![0..10; 1], 10), []);
    }
}
