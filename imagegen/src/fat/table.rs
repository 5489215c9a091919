//! The allocation table: chains of files that lie in one piece, as bytes, a part at a time.

use super::Width;
use super::boot::MEDIA;
use super::layout::FIRST_CLUSTER;

/// Clusters that follow each other and belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub first: u32,
    pub count: u32,
}

/// Entries made at once: a multiple of 2, so that FAT12's are whole bytes.
const PART: u32 = 1 << 14;

/// Hands the table's used bytes to `put`, from the start on. The runs follow each other from the first cluster on.
pub(super) fn write<E>(width: Width, runs: &[Run], mut put: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
    let end = runs.last().map_or(FIRST_CLUSTER, |run| run.first + run.count);
    let mut runs = runs.iter();
    let mut last = FIRST_CLUSTER - 1;
    let mut bytes = Vec::new();
    for start in (0..end).step_by(PART as usize) {
        bytes.clear();
        let mut half = None;
        for cluster in start..end.min(start + PART) {
            let value = match cluster {
                0 => 0x0fff_ff00 | u32::from(MEDIA),
                // Cleanly unmounted, no errors; and what ends a chain.
                1 => 0x0fff_ffff,
                _ => {
                    if cluster > last {
                        last = runs.next().map_or(cluster, |run| run.first + run.count - 1);
                    }
                    if cluster == last { 0x0fff_ffff } else { cluster + 1 }
                }
            };
            match width {
                Width::Fat32 => bytes.extend_from_slice(&value.to_le_bytes()),
                Width::Fat16 => bytes.extend_from_slice(&(value as u16).to_le_bytes()),
                Width::Fat12 => match half.take() {
                    None => half = Some(value & 0xfff),
                    Some(low) => bytes.extend_from_slice(&(low | (value & 0xfff) << 12).to_le_bytes()[..3]),
                },
            }
        }
        if let Some(low) = half {
            bytes.extend_from_slice(&low.to_le_bytes()[..2]);
        }
        put(u64::from(start) * u64::from(width.bits()) / 8, &bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(width: Width, runs: &[Run]) -> Vec<u32> {
        let mut table = Vec::new();
        write::<()>(width, runs, |at, bytes| {
            assert_eq!(at, table.len() as u64);
            table.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        let count = table.len() * 8 / width.bits() as usize;
        table.resize(table.len() + 4, 0);
        let bits = width.bits() as usize;
        let entry = |number: usize| {
            let at = number * bits / 8;
            let word = u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
            if bits == 12 { word >> (number % 2 * 4) & 0xfff } else { word & (u32::MAX >> (32 - bits)) }
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn chains_end_where_their_runs_end() {
        let runs = [Run { first: 2, count: 1 }, Run { first: 3, count: 3 }, Run { first: 6, count: 2 }];
        for (width, media, end) in
            [(Width::Fat12, 0xff8, 0xfff), (Width::Fat16, 0xfff8, 0xffff), (Width::Fat32, 0x0fff_fff8, 0x0fff_ffff)]
        {
            assert_eq!(entries(width, &runs), [media, end, end, 4, 5, end, 7, end]);
            assert_eq!(entries(width, &[]), [media, end]);
        }
    }

    #[test]
    fn parts_join() {
        let long = [Run { first: 2, count: 50_000 }, Run { first: 50_002, count: 1 }];
        let table = entries(Width::Fat32, &long);
        assert!((2..50_001).all(|cluster| table[cluster] == cluster as u32 + 1));
        assert_eq!(table[50_001..], [0x0fff_ffff, 0x0fff_ffff]);
        let odd = entries(Width::Fat12, &[Run { first: 2, count: 4083 }]);
        assert_eq!((odd.len(), odd[4083], odd[4084]), (4085, 4084, 0xfff));
    }
}
