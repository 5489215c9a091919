//! A part of a source: a partition of a disk.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::tree::{Extent, Source};

/// A contiguous range of a source, as a source.
#[derive(Clone)]
pub struct Window {
    inner: Arc<dyn Source>,
    start: u64,
    length: u64,
}

impl Window {
    /// Takes `length` bytes from `start`; fewer where the source ends before.
    pub fn new(inner: Arc<dyn Source>, start: u64, length: u64) -> Self {
        let size = inner.size_bytes();
        let start = start.min(size);
        Window { length: length.min(size - start), inner, start }
    }
}

impl Source for Window {
    fn size_bytes(&self) -> u64 {
        self.length
    }

    fn extents(&self) -> Vec<Extent> {
        let end = self.start + self.length;
        let cut = |extent: Extent| {
            let (from, to) = (extent.offset.max(self.start), (extent.offset + extent.length).min(end));
            (from < to).then(|| Extent { offset: from - self.start, length: to - from })
        };
        self.inner.extents().into_iter().filter_map(cut).collect()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.inner.read_at(self.start + offset, buffer)
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        if offset < self.length { self.inner.file_at(self.start + offset) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_its_part_and_no_more() {
        let whole: Arc<dyn Source> = Arc::new(b"0123456789".to_vec());
        let window = Window::new(whole.clone(), 3, 4);
        let mut bytes = [0; 4];
        window.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"3456");
        assert!(window.read_at(1, &mut bytes).is_err());
        assert!(window.read_at(u64::MAX, &mut bytes).is_err());
        assert_eq!(window.extents(), [Extent { offset: 0, length: 4 }]);
        assert_eq!(Window::new(whole.clone(), 8, 100).size_bytes(), 2);
        assert_eq!(Window::new(whole, u64::MAX, u64::MAX).size_bytes(), 0);
    }
}
