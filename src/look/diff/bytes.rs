//! Bytes beside bytes: where they begin to differ, and how much of them does.

use std::io;

use imagegen::tree::{Extent, Source};

/// The pieces in which differences are counted.
const PIECE_BYTES: u64 = 4096;
/// How much is read at once: whole pieces.
const CHUNK_BYTES: u64 = 1 << 20;

/// How bytes differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bytes {
    /// The first one that is not the same, or that only one has.
    pub first: u64,
    /// Both lengths.
    pub sizes: [u64; 2],
    /// How many pieces of 4 KiB differ, as far as they were counted.
    pub pieces: u64,
    /// How many there are, of the longer one.
    pub all_pieces: u64,
}

/// Which of the two cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    A(io::Error),
    B(io::Error),
}

/// Compares two sources; nothing if they are the same. Without `all`, it stops at the first difference. Where both have
/// holes, nothing is read.
pub(super) fn compare(a: &dyn Source, b: &dyn Source, all: bool) -> Result<Option<Bytes>, ReadError> {
    let sizes = [a.size_bytes(), b.size_bytes()];
    let common = sizes[0].min(sizes[1]);
    let longest = sizes[0].max(sizes[1]);
    let mut found: Option<Bytes> = None;
    let differing = |first| Bytes { first, sizes, pieces: 0, all_pieces: longest.div_ceil(PIECE_BYTES) };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (start, end) in union(a.extents(), b.extents(), common) {
        let mut at = start;
        while at < end {
            let length = (end - at).min(CHUNK_BYTES - at % CHUNK_BYTES) as usize;
            left.resize(length, 0);
            right.resize(length, 0);
            a.read_at(at, &mut left).map_err(ReadError::A)?;
            b.read_at(at, &mut right).map_err(ReadError::B)?;
            if left != right {
                let same = left.iter().zip(&right).take_while(|(left, right)| left == right).count();
                let bytes = found.get_or_insert_with(|| differing(at + same as u64));
                if !all {
                    return Ok(Some(*bytes));
                }
                let piece = PIECE_BYTES as usize;
                bytes.pieces +=
                    left.chunks(piece).zip(right.chunks(piece)).filter(|(left, right)| left != right).count() as u64;
            }
            at += length as u64;
        }
    }
    if sizes[0] != sizes[1] {
        let bytes = found.get_or_insert_with(|| differing(common));
        bytes.pieces += longest.div_ceil(PIECE_BYTES) - common.div_ceil(PIECE_BYTES);
    }
    Ok(found)
}

/// Returns the ranges up to `end` in which either side has data, in whole pieces, ascending.
fn union(a: Vec<Extent>, b: Vec<Extent>, end: u64) -> Vec<(u64, u64)> {
    let mut all: Vec<Extent> = a.into_iter().chain(b).collect();
    all.sort_unstable_by_key(|extent| extent.offset);
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for Extent { offset, length } in all {
        let from = offset / PIECE_BYTES * PIECE_BYTES;
        let to = offset.saturating_add(length).checked_next_multiple_of(PIECE_BYTES).unwrap_or(u64::MAX).min(end);
        match ranges.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ if from < to => ranges.push((from, to)),
            _ => {}
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(a: &[u8], b: &[u8], all: bool) -> Option<Bytes> {
        compare(&a.to_vec(), &b.to_vec(), all).unwrap()
    }

    #[test]
    fn the_first_difference_and_the_number_of_pieces() {
        let a = vec![7; 3 << 20];
        let mut b = a.clone();
        assert_eq!(found(&a, &b, true), None);
        (b[1 << 20], b[(1 << 20) + 4095], b[(2 << 20) + 5]) = (0, 0, 0);
        let bytes = found(&a, &b, true).unwrap();
        assert_eq!((bytes.first, bytes.pieces, bytes.all_pieces), (1 << 20, 2, 768));
        assert_eq!(found(&a, &b, false).unwrap().first, 1 << 20);
        let bytes = found(&a[..5000], &a[..9000], true).unwrap();
        assert_eq!((bytes.first, bytes.sizes, bytes.pieces), (5000, [5000, 9000], 1));
        assert_eq!(found(b"", b"", true), None);
    }

    #[test]
    fn holes_on_both_sides_are_one() {
        let extent = |offset, length| Extent { offset, length };
        let (a, b) = (vec![extent(0, 10), extent(9000, 1)], vec![extent(4096, 1), extent(20_000, 9)]);
        assert_eq!(union(a, b, 20_004), [(0, 12_288), (16_384, 20_004)]);
        assert_eq!(union(vec![extent(u64::MAX - 1, 1)], vec![], 100), []);
    }
}
