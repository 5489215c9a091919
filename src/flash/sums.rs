//! Compares an image with the checksums of its block map, while it is read from front to back.

use std::path::Path;

use imagegen::disk::bmap::Mapped;
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};

/// The comparison, part way through.
#[derive(Debug)]
pub struct Sums<'a> {
    image: &'a Path,
    map: &'a Path,
    /// The range at hand, and those to come.
    ranges: &'a [Mapped],
    hasher: Sha256,
}

impl<'a> Sums<'a> {
    /// Begins.
    pub fn new(image: &'a Path, map: &'a Path, ranges: &'a [Mapped]) -> Self {
        Sums { image, map, ranges, hasher: Sha256::new() }
    }

    /// Takes the bytes at an offset; offsets ascend, and cover every range.
    ///
    /// # Errors
    /// A range ends here whose checksum is another.
    pub fn feed(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset + bytes.len() as u64;
        while let Some(Mapped { range, sha256 }) = self.ranges.first() {
            let (from, to) = (range.start.max(offset), range.end.min(end));
            if from < to && sha256.is_some() {
                self.hasher.update(&bytes[(from - offset) as usize..(to - offset) as usize]);
            }
            if range.end > end {
                break;
            }
            let found = self.hasher.finalize_reset();
            if sha256.is_some_and(|wanted| found[..] != wanted) {
                return Err(self.differs(range.start, range.end));
            }
            self.ranges = &self.ranges[1..];
        }
        Ok(())
    }

    /// Ends.
    ///
    /// # Errors
    /// Not all of the ranges came by.
    pub fn finish(self) -> Result<()> {
        match self.ranges.first() {
            Some(Mapped { range, .. }) => Err(self.differs(range.start, range.end)),
            None => Ok(()),
        }
    }

    fn differs(&self, start: u64, end: u64) -> Error {
        let (image, map) = (self.image.display(), self.map.display());
        let message = format!("{image} is corrupt: its bytes {start} to {end} do not match their checksum in {map}");
        Error::new(Kind::Input, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_compared_whatever_the_pieces() {
        let bytes: Vec<u8> = (0..10_000u32).map(|n| (n * 7 % 251) as u8).collect();
        let sum = |range: std::ops::Range<u64>| Mapped {
            sha256: Some(Sha256::digest(&bytes[range.start as usize..range.end as usize]).into()),
            range,
        };
        let ranges = [sum(0..1), sum(1..5000), Mapped { range: 5000..6000, sha256: None }, sum(7000..10_000)];
        for size in [1, 999, 5000, 10_000] {
            let mut sums = Sums::new(Path::new("i"), Path::new("m"), &ranges);
            for (index, piece) in bytes.chunks(size).enumerate() {
                sums.feed((index * size) as u64, piece).unwrap();
            }
            sums.finish().unwrap();
            let mut damaged = bytes.clone();
            damaged[8000] ^= 1;
            damaged[5500] ^= 1;
            let mut sums = Sums::new(Path::new("i"), Path::new("m"), &ranges);
            let result =
                damaged.chunks(size).enumerate().try_for_each(|(n, piece)| sums.feed((n * size) as u64, piece));
            assert!(result.unwrap_err().message.contains("7000 to 10000"));
        }
        let mut sums = Sums::new(Path::new("i"), Path::new("m"), &ranges);
        sums.feed(0, &bytes[..9000]).unwrap();
        assert!(sums.finish().is_err());
    }
}
