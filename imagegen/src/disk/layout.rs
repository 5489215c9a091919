//! Where everything lies: a pure function of sizes and wishes. Knows no content.

use super::region::{Region, Regions};
use super::{Options, Partition, SECTOR, Scheme, Size, gpt, mbr};

/// A disk without a given size is a multiple of this: what media with large sectors can take.
const SIZE_STEP: u64 = 4096;

/// Where a partition lies, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    pub start: u64,
    pub end: u64,
    /// Where the record of a logical partition lies.
    pub record: Option<u64>,
}

/// Where everything lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub size_bytes: u64,
    /// One for each partition.
    pub places: Vec<Place>,
    /// All that the tables and their users take.
    pub regions: Regions,
}

/// What is placed besides partitions.
pub(super) struct Fixed<'a> {
    pub options: &'a Options,
    /// Gaps with their content.
    pub gaps: Vec<Region>,
}

impl Fixed<'_> {
    /// Returns where the GPT's entries lie.
    pub fn entries(&self) -> u64 {
        self.options.entries_offset.unwrap_or(2 * SECTOR)
    }

    /// Returns the bytes at the end that belong to the GPT's backup.
    pub fn tail(&self) -> u64 {
        if self.options.scheme.has_gpt() { gpt::ENTRIES_BYTES + SECTOR } else { 0 }
    }

    /// Returns the regions that are there before any partition.
    fn regions(&self) -> Vec<Region> {
        let mut regions = self.gaps.clone();
        let name = if self.options.scheme == Scheme::Gpt { "protective MBR" } else { "MBR" };
        regions.push(Region::new(name, mbr::SIGNATURE, SECTOR));
        if self.options.scheme.has_gpt() {
            regions.push(Region::new("GPT header", SECTOR, 2 * SECTOR));
            regions.push(Region::new("GPT entries", self.entries(), self.entries().saturating_add(gpt::ENTRIES_BYTES)));
        }
        regions
    }

    /// Returns where the first partition may begin.
    fn begin(&self) -> u64 {
        self.tables_end().max(self.options.alignment_bytes)
    }

    /// Returns where the tables at the start end: no partition may begin before.
    pub fn tables_end(&self) -> u64 {
        if self.options.scheme.has_gpt() { self.entries().saturating_add(gpt::ENTRIES_BYTES) } else { SECTOR }
    }
}

/// Places all partitions.
///
/// # Errors
/// What cannot be placed, in sentences, and the regions so far.
pub(super) fn layout(
    fixed: &Fixed<'_>,
    partitions: &[Partition],
    logical: &[bool],
) -> Result<Layout, (Vec<String>, Regions)> {
    let regions = fixed.regions();
    let mut placer = Placer {
        fixed,
        partitions,
        logical,
        obstacles: regions.clone(),
        places: vec![Place::default(); partitions.len()],
        now: fixed.begin(),
        problems: Vec::new(),
    };
    placer.all();
    let Placer { places, mut problems, .. } = placer;
    let mut regions = Regions(regions);
    for (index, (place, partition)) in places.iter().zip(partitions).enumerate() {
        let number = number(index, logical);
        if let Some(record) = place.record {
            let name = format!("record of partition {number} ({})", partition.name);
            regions.0.push(Region::new(name, record, record.saturating_add(SECTOR)));
        }
        regions.0.push(Region::new(format!("partition {number} ({})", partition.name), place.start, place.end));
        if fixed.options.scheme.has_gpt() && place.end <= fixed.entries() {
            let message = "begins before the GPT's entries: a GPT has partitions behind them only";
            problems.push(format!("{} {message}", partition.name));
        }
    }
    let end = regions.0.iter().map(|region| region.end).max().unwrap_or(0);
    let exact = end.checked_add(fixed.tail()).and_then(|end| end.checked_next_multiple_of(SIZE_STEP));
    let Some(size_bytes) = fixed.options.size_bytes.or(exact).filter(|&size| size < u64::MAX / 2) else {
        problems.push("the disk would be larger than any can be".into());
        return Err((problems, regions));
    };
    if fixed.options.scheme.has_gpt() {
        let start = size_bytes.saturating_sub(fixed.tail());
        regions.0.push(Region::new("backup GPT", start, start + fixed.tail()));
    }
    regions.sort();
    problems.extend(regions.problems(Some(size_bytes)));
    if fixed.options.scheme == Scheme::Mbr && size_bytes / SECTOR > u64::from(u32::MAX) {
        problems.push("an MBR reaches up to 2 TiB: a GPT does not end there".into());
    }
    if problems.is_empty() { Ok(Layout { size_bytes, places, regions }) } else { Err((problems, regions)) }
}

/// Returns a partition's number as Linux counts: logical ones from 5 on.
pub(super) fn number(index: usize, logical: &[bool]) -> usize {
    let before = logical[..index].iter().filter(|&&logical| logical).count();
    match (logical[index], before) {
        (true, before) => 5 + before,
        (false, 0) => index + 1,
        // All logical ones share the number of the extended partition they are in.
        (false, before) => index - before + 2,
    }
}

struct Placer<'a> {
    fixed: &'a Fixed<'a>,
    partitions: &'a [Partition],
    logical: &'a [bool],
    obstacles: Vec<Region>,
    places: Vec<Place>,
    /// Where what was placed last ends.
    now: u64,
    problems: Vec<String>,
}

impl Placer<'_> {
    fn all(&mut self) {
        for index in 0..self.partitions.len() {
            let partition = &self.partitions[index];
            let size = match partition.size {
                Size::Content => Some(content_bytes(partition)),
                Size::Bytes(bytes) => Some(bytes),
                Size::Rest => None,
            };
            self.places[index] = match size {
                Some(size) => self.place(index, size),
                None => self.rest(index),
            };
            self.now = self.places[index].end;
        }
    }

    /// Places a partition of this size.
    fn place(&self, index: usize, size: u64) -> Place {
        let alignment = self.fixed.options.alignment_bytes;
        let size = size.checked_next_multiple_of(SECTOR).unwrap_or(u64::MAX);
        if let Some(start) = self.partitions[index].offset {
            let room = self.now.saturating_add(alignment) <= start && start.is_multiple_of(alignment);
            let record = if room { start - alignment } else { start.saturating_sub(SECTOR) };
            return Place { start, end: start.saturating_add(size), record: self.logical[index].then_some(record) };
        }
        let head = if self.logical[index] { alignment } else { 0 };
        let mut from = align(self.now, alignment);
        loop {
            let start = from.saturating_add(head);
            let whole = Region::new("", from, start.saturating_add(size));
            match self.obstacles.iter().find(|region| region.overlaps(&whole)) {
                Some(region) if region.end < u64::MAX / 2 => from = align(region.end, alignment),
                _ => return Place { start, end: whole.end, record: self.logical[index].then_some(from) },
            }
        }
    }

    /// Places the partition that takes the rest: those behind it go to the end of the disk.
    fn rest(&mut self, index: usize) -> Place {
        let name = &self.partitions[index].name;
        let place = self.place(index, SECTOR);
        let Some(disk) = self.fixed.options.size_bytes else {
            self.problems.push(format!("{name} is to take the rest of the disk, whose size is not given"));
            return place;
        };
        let alignment = self.fixed.options.alignment_bytes;
        let mut limit = disk.saturating_sub(self.fixed.tail()) / SECTOR * SECTOR;
        if let Some(later) = self.partitions[index + 1..].iter().find(|later| later.size == Size::Rest) {
            self.problems.push(format!("{name} and {} cannot both take the rest of the disk", later.name));
        }
        let behind = &self.partitions[index + 1..];
        let movable = behind.iter().position(|later| later.offset.is_some()).unwrap_or(behind.len());
        if let Some(start) = behind.get(movable).and_then(|later| later.offset) {
            limit = limit.min(start);
        }
        for (later, logical) in behind[..movable].iter().zip(&self.logical[index + 1..]).rev() {
            let size = match later.size {
                Size::Content => content_bytes(later),
                Size::Bytes(bytes) => bytes,
                Size::Rest => 0,
            };
            let size = size.checked_next_multiple_of(SECTOR).unwrap_or(u64::MAX);
            limit = limit.saturating_sub(size) / alignment * alignment;
            limit = limit.saturating_sub(if *logical { alignment } else { 0 });
        }
        let obstacle = self.obstacles.iter().map(|region| region.start).filter(|&start| start >= place.start).min();
        let end = obstacle.map_or(limit, |start| limit.min(start / SECTOR * SECTOR)).max(place.start);
        let needed = content_bytes(&self.partitions[index]);
        if end - place.start < needed.max(SECTOR) {
            let more = super::region::size(needed.max(SECTOR) - (end - place.start));
            self.problems.push(format!("{name} needs {more} more than the rest of the disk"));
        }
        Place { end, ..place }
    }
}

/// Returns the bytes of a partition's content.
pub(super) fn content_bytes(partition: &Partition) -> u64 {
    partition.content.as_ref().map_or(0, |content| content.source.size_bytes())
}

fn align(position: u64, alignment: u64) -> u64 {
    position.checked_next_multiple_of(alignment).unwrap_or(u64::MAX)
}
