//! A sorted list of address ranges, with room for a fixed number: what memory there is, before there is a heap.

/// Ranges that do not overlap or touch, sorted.
#[derive(Debug, Clone)]
pub struct Ranges<const N: usize> {
    list: [(u64, u64); N],
    count: usize,
}

/// There are more pieces than room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl<const N: usize> Default for Ranges<N> {
    fn default() -> Self {
        Ranges { list: [(0, 0); N], count: 0 }
    }
}

impl<const N: usize> Ranges<N> {
    /// Returns the ranges, as start and end.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.list[..self.count]
    }

    /// Adds the addresses from `start` to `end`.
    ///
    /// # Errors
    /// [`Full`].
    pub fn add(&mut self, start: u64, end: u64) -> Result<(), Full> {
        if start >= end {
            return Ok(());
        }
        let (mut start, mut end) = (start, end);
        let mut index = 0;
        while index < self.count {
            let (low, high) = self.list[index];
            if high < start {
                index += 1;
            } else if low > end {
                break;
            } else {
                (start, end) = (start.min(low), end.max(high));
                self.delete(index);
            }
        }
        self.insert(index, (start, end))
    }

    /// Takes out the addresses from `start` to `end`.
    ///
    /// # Errors
    /// [`Full`].
    pub fn remove(&mut self, start: u64, end: u64) -> Result<(), Full> {
        let mut index = 0;
        while start < end && index < self.count {
            let (low, high) = self.list[index];
            if high <= start || low >= end {
                index += 1;
                continue;
            }
            self.delete(index);
            if low < start {
                self.insert(index, (low, start))?;
                index += 1;
            }
            if end < high {
                self.insert(index, (end, high))?;
                index += 1;
            }
        }
        Ok(())
    }

    /// Shrinks every range to whole multiples of `unit`.
    pub fn align(&mut self, unit: u64) {
        let mut kept = Ranges::<N>::default();
        for &(start, end) in self.as_slice() {
            let (start, end) = (start.div_ceil(unit) * unit, end / unit * unit);
            if start < end {
                kept.list[kept.count] = (start, end);
                kept.count += 1;
            }
        }
        *self = kept;
    }

    /// Whether all of `start` to `end` is in here.
    pub fn contains(&self, start: u64, end: u64) -> bool {
        self.as_slice().iter().any(|&(low, high)| low <= start && end <= high)
    }

    /// Takes `size` bytes off the end of the largest range, aligned.
    pub fn take_top(&mut self, size: u64, align: u64) -> Option<u64> {
        let &(low, high) = self.as_slice().iter().max_by_key(|(low, high)| high - low)?;
        let start = high.checked_sub(size)? / align * align;
        if start < low {
            return None;
        }
        self.remove(start, high).ok()?;
        Some(start)
    }

    fn delete(&mut self, index: usize) {
        self.list.copy_within(index + 1..self.count, index);
        self.count -= 1;
    }

    fn insert(&mut self, index: usize, range: (u64, u64)) -> Result<(), Full> {
        if self.count == N {
            return Err(Full);
        }
        self.list.copy_within(index..self.count, index + 1);
        self.list[index] = range;
        self.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_top_of_the_largest_is_taken() {
        let mut ranges = Ranges::<4>::default();
        ranges.add(0, 10).unwrap();
        ranges.add(100, 205).unwrap();
        assert_eq!(ranges.take_top(7, 10), Some(190));
        assert_eq!(ranges.as_slice(), [(0, 10), (100, 190)]);
        assert_eq!(ranges.take_top(91, 1), None);
    }

    #[test]
    fn a_full_list_says_so() {
        let mut ranges = Ranges::<1>::default();
        ranges.add(0, 10).unwrap();
        assert_eq!(ranges.add(20, 30), Err(Full));
        assert_eq!(ranges.clone().remove(4, 6), Err(Full));
        assert_eq!(ranges.add(10, 12), Ok(()));
        assert_eq!(ranges.as_slice(), [(0, 12)]);
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_addresses(steps in proptest::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 0..40)) {
            let mut ranges = Ranges::<64>::default();
            let mut naive = [false; 64];
            for (add, start, end) in steps {
                if add { ranges.add(start, end).unwrap() } else { ranges.remove(start, end).unwrap() }
                (start..end).for_each(|address| naive[address as usize] = add);
            }
            for address in 0..64 {
                prop_assert_eq!(ranges.contains(address, address + 1), naive[address as usize]);
            }
            prop_assert!(ranges.as_slice().windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", ranges);
        }
    }
}
