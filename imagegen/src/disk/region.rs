//! A disk's regions as text: what people look at when something overlaps.

use std::fmt;

/// A piece of the disk with a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Region {
    pub name: String,
    /// First byte.
    pub start: u64,
    /// Byte behind the last.
    pub end: u64,
}

impl Region {
    pub fn new(name: impl Into<String>, start: u64, end: u64) -> Self {
        Region { name: name.into(), start, end }
    }

    pub fn overlaps(&self, other: &Region) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The regions of a disk, in the order of their places.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Regions(pub Vec<Region>);

impl Regions {
    pub fn sort(&mut self) {
        self.0.sort_by_key(|region| (region.start, region.end));
    }

    /// Says what overlaps, and what lies outside a disk of this size.
    pub fn problems(&self, size_bytes: Option<u64>) -> Vec<String> {
        let mut problems = Vec::new();
        for (index, region) in self.0.iter().enumerate() {
            for other in self.0[..index].iter().filter(|other| other.overlaps(region)) {
                problems.push(format!("{} overlaps {}", region.name, other.name));
            }
            if let Some(size_bytes) = size_bytes
                && region.end > size_bytes
            {
                let more = size(region.end - size_bytes);
                problems.push(format!("{} ends {more} behind the end of the disk ({})", region.name, size(size_bytes)));
            }
        }
        problems
    }
}

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |bytes: u64| bytes.to_string();
        let last = self.0.iter().map(|region| region.end).max().unwrap_or(0);
        let width = number(last).len().max("start".len());
        write!(f, "{:>width$} {:>width$} {:>11}  what", "start", "end", "size")?;
        for Region { name, start, end } in &self.0 {
            write!(f, "\n{start:>width$} {end:>width$} {:>11}  {name}", size(end - start))?;
        }
        Ok(())
    }
}

/// Writes a size in the largest unit that says it without a fraction, or with one decimal.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, one) in UNITS {
        if bytes >= one && bytes.is_multiple_of(one) {
            return format!("{} {unit}", bytes / one);
        }
    }
    for (unit, one) in UNITS {
        if bytes >= one {
            let tenths = u128::from(bytes) * 10 / u128::from(one);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} bytes")
}
