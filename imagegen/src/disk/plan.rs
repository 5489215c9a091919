//! The plan: wishes checked, everything placed, the tables' bytes made.

use std::collections::BTreeMap;

use super::error::PlanError;
use super::layout::{self, Fixed, Layout, content_bytes};
use super::region::{Region, Regions, size};
use super::{Gap, Options, Partition, SECTOR, Scheme, Size, gpt, mbr};
use crate::tree::Extent;

/// Partitions an MBR lists.
const SLOTS: usize = 4;
/// Partitions of a GPT that a hybrid MBR can list: one slot is the GPT's own.
const HYBRID_MAX: usize = SLOTS - 1;

/// A disk laid out, ready to be written.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) partitions: &'a [Partition],
    pub(super) gaps: &'a [Gap],
    pub(super) layout: Layout,
    /// The tables' bytes and where they lie, ascending.
    pub(super) tables: Vec<(u64, Vec<u8>)>,
}

impl<'a> Plan<'a> {
    /// Lays a disk out; reads sizes, but no content.
    ///
    /// # Errors
    /// Everything that is wrong, with the table of what would lie where.
    pub fn new(options: &Options, partitions: &'a [Partition], gaps: &'a [Gap]) -> Result<Self, PlanError> {
        let problems = check(options, partitions, gaps);
        if !problems.is_empty() {
            return Err(PlanError { problems, regions: Regions::default() });
        }
        let logical = logical(options, partitions);
        let regions = gaps.iter().map(|gap| {
            let size = gap.content.source.size_bytes().max(1);
            Region::new(gap.name.clone(), gap.offset, gap.offset.saturating_add(size))
        });
        let fixed = Fixed { options, gaps: regions.collect() };
        let layout = layout::layout(&fixed, partitions, &logical)
            .map_err(|(problems, regions)| PlanError { problems, regions })?;
        let problems = too_full(partitions, &layout);
        if !problems.is_empty() {
            return Err(PlanError { problems, regions: layout.regions });
        }
        let mut tables = match options.scheme {
            Scheme::Mbr => mbr_tables(options, partitions, &layout, &logical),
            Scheme::Gpt | Scheme::Hybrid => gpt_tables(&fixed, partitions, &layout),
        };
        tables.sort_by_key(|(position, _)| *position);
        Ok(Plan { partitions, gaps, layout, tables })
    }

    /// Returns the disk's size.
    pub fn size_bytes(&self) -> u64 {
        self.layout.size_bytes
    }

    /// Returns where a partition lies: its first byte, and the byte behind its last.
    pub fn place(&self, index: usize) -> (u64, u64) {
        let place = &self.layout.places[index];
        (place.start, place.end)
    }

    /// Returns the table of what lies where, as text.
    pub fn table(&self) -> String {
        self.layout.regions.to_string()
    }

    /// Returns the bytes that [`Plan::write`] reports as its progress when it is done.
    pub fn content_bytes(&self) -> u64 {
        let contents = self.partitions.iter().filter_map(|partition| partition.content.as_ref());
        contents.chain(self.gaps.iter().map(|gap| &gap.content)).map(|content| content.source.size_bytes()).sum()
    }

    /// Returns the ranges of the disk that mean something, ascending: what a medium with old content must be given.
    pub fn extents(&self) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        // A disk of another size had its backup elsewhere; what lies before the first partition was somebody's too.
        for (position, bytes) in &self.tables {
            extents.push(Extent { offset: *position, length: bytes.len() as u64 });
        }
        let places = self.layout.places.iter().map(|place| place.start);
        let partitions = self.partitions.iter().zip(places);
        let partitions = partitions.filter_map(|(partition, start)| Some((partition.content.as_ref()?, start)));
        for (content, start) in partitions.chain(self.gaps.iter().map(|gap| (&gap.content, gap.offset))) {
            let all = vec![Extent { offset: 0, length: content.source.size_bytes() }];
            let mapped = content.mapped.clone().unwrap_or(all).into_iter().filter(|extent| extent.length > 0);
            extents.extend(mapped.map(|extent| Extent { offset: start + extent.offset, ..extent }));
        }
        extents.sort_by_key(|extent| extent.offset);
        let mut joined: Vec<Extent> = Vec::new();
        for extent in extents {
            match joined.last_mut() {
                Some(last) if last.offset + last.length >= extent.offset => {
                    last.length = last.length.max(extent.offset + extent.length - last.offset);
                }
                _ => joined.push(extent),
            }
        }
        joined
    }
}

/// Says which partitions are logical.
fn logical(options: &Options, partitions: &[Partition]) -> Vec<bool> {
    let told = partitions.iter().any(|partition| partition.logical == Some(true));
    let usual = |index: usize| options.scheme == Scheme::Mbr && !told && partitions.len() > SLOTS && index >= SLOTS - 1;
    partitions.iter().enumerate().map(|(index, one)| one.logical.unwrap_or_else(|| usual(index))).collect()
}

/// Says, in a sentence each, what of the wishes cannot be, whatever is placed where.
pub fn check(options: &Options, partitions: &[Partition], gaps: &[Gap]) -> Vec<String> {
    let logical = logical(options, partitions);
    let mut problems = Vec::new();
    let alignment = options.alignment_bytes;
    if alignment == 0 || !alignment.is_multiple_of(SECTOR) || alignment > 1 << 40 {
        problems.push(format!("an alignment of {alignment} bytes is not whole sectors of {SECTOR}"));
    }
    if options.size_bytes.is_some_and(|size| !size.is_multiple_of(SECTOR)) {
        problems.push(format!("the disk's size is not whole sectors of {SECTOR}"));
    }
    if let Some(offset) = options.entries_offset
        && (offset < 2 * SECTOR || !offset.is_multiple_of(SECTOR) || !options.scheme.has_gpt())
    {
        problems.push(format!("the GPT's entries cannot lie at {offset}: whole sectors, from {} on", 2 * SECTOR));
    }
    for partition in partitions {
        check_partition(options, partition, &mut problems);
    }
    for gap in gaps.iter().filter(|gap| gap.offset >= SECTOR && !gap.offset.is_multiple_of(SECTOR)) {
        problems.push(format!("{} cannot lie at {}: sectors are {SECTOR} bytes", gap.name, gap.offset));
    }
    match options.scheme {
        Scheme::Mbr => {
            let primary = logical.iter().filter(|&&logical| !logical).count();
            if primary + usize::from(logical.contains(&true)) > SLOTS {
                let message = "an MBR has four primary partitions, or three and any number of logical ones";
                problems.push(format!("{message}: {primary} are primary here"));
            }
            let first = logical.iter().position(|&logical| logical);
            let last = logical.iter().rposition(|&logical| logical);
            if let (Some(first), Some(last)) = (first, last)
                && logical[first..=last].contains(&false)
            {
                problems.push("logical partitions must follow each other: they lie in one extended partition".into());
            }
        }
        Scheme::Gpt | Scheme::Hybrid => {
            if partitions.len() as u64 > gpt::ENTRIES {
                problems.push(format!("a GPT has at most {} partitions, not {}", gpt::ENTRIES, partitions.len()));
            }
            let mut guids = BTreeMap::new();
            let twice = partitions.iter().find_map(|one| Some((guids.insert(one.guid, &one.name)?, &one.name)));
            if let Some((first, second)) = twice {
                problems.push(format!("{first} and {second} have the same GUID"));
            }
            let listed = partitions.iter().filter(|partition| partition.hybrid).count();
            if options.scheme == Scheme::Hybrid && !(1..=HYBRID_MAX).contains(&listed) {
                problems.push(format!("a hybrid MBR lists one to {HYBRID_MAX} partitions, not {listed}"));
            }
        }
    }
    let active = |partition: &&Partition| partition.active;
    if let [first, second, ..] = partitions.iter().filter(active).collect::<Vec<_>>()[..] {
        problems.push(format!("{} and {} cannot both be the active partition", first.name, second.name));
    }
    problems
}

fn check_partition(options: &Options, partition: &Partition, problems: &mut Vec<String>) {
    let name = &partition.name;
    let mut refuse = |reason: String| problems.push(format!("{name} {reason}"));
    let gpt = options.scheme.has_gpt();
    if gpt && partition.kind.guid.is_none() {
        refuse("needs a type that is a name or a GUID: this is the code of an MBR".into());
    }
    if (!gpt || partition.hybrid) && partition.kind.code.is_none() {
        refuse("needs a type that an MBR has: a name, or two hex digits".into());
    }
    if let Some(code) = partition.kind.code
        && (mbr::EXTENDED_ALL.contains(&code) || code == mbr::PROTECTIVE)
    {
        refuse(format!("cannot have type {code:02x}, which the table has for itself"));
    }
    let label = partition.label.as_ref().unwrap_or(name);
    if gpt && label.encode_utf16().count() > gpt::NAME_UNITS {
        refuse(format!("has a name of more than {} characters", gpt::NAME_UNITS));
    }
    let only = |told: bool, scheme: Scheme| told && options.scheme != scheme;
    if only(partition.logical == Some(true), Scheme::Mbr) {
        refuse(format!("cannot be logical: the table is a {}", options.scheme));
    }
    if only(partition.hybrid, Scheme::Hybrid) {
        refuse(format!("cannot be in the MBR too: the table is a {}", options.scheme));
    }
    if partition.active && gpt && !partition.hybrid {
        refuse("cannot be active: no MBR lists it".into());
    }
    if partition.attributes != 0 && !gpt {
        refuse("cannot have attributes: an MBR has no place for them".into());
    }
    if partition.offset.is_some_and(|offset| !offset.is_multiple_of(SECTOR)) {
        refuse(format!("cannot begin there: sectors are {SECTOR} bytes"));
    }
    match partition.size {
        Size::Bytes(bytes) if bytes == 0 || !bytes.is_multiple_of(SECTOR) => {
            refuse(format!("cannot have {bytes} bytes: sectors are {SECTOR} bytes"));
        }
        Size::Content if content_bytes(partition) == 0 => refuse("has neither a size nor content".into()),
        _ => {}
    }
}

/// Says which contents are larger than their partitions.
fn too_full(partitions: &[Partition], layout: &Layout) -> Vec<String> {
    let lists = partitions.iter().zip(&layout.places);
    lists
        .filter_map(|(partition, place)| {
            let more = content_bytes(partition).checked_sub(place.end - place.start).filter(|&more| more > 0)?;
            let (has, given) = (size(content_bytes(partition)), size(place.end - place.start));
            let name = &partition.name;
            Some(format!("{name} needs {} more, because its content has {has} and the partition {given}", size(more)))
        })
        .collect()
}

fn sectors(bytes: u64) -> u64 {
    bytes / SECTOR
}

/// Returns a place or a count as MBRs have them: 32 bits, or the most these can say.
fn short(bytes: u64) -> u32 {
    u32::try_from(sectors(bytes)).unwrap_or(u32::MAX)
}

fn gpt_tables(fixed: &Fixed<'_>, partitions: &[Partition], layout: &Layout) -> Vec<(u64, Vec<u8>)> {
    let options = fixed.options;
    let lists = partitions.iter().zip(&layout.places);
    let list: Vec<gpt::Entry<'_>> = lists
        .clone()
        .map(|(partition, place)| gpt::Entry {
            kind: partition.kind.guid.unwrap_or_default(),
            guid: partition.guid,
            first: sectors(place.start),
            last: sectors(place.end) - 1,
            attributes: partition.attributes,
            name: partition.label.as_ref().unwrap_or(&partition.name),
        })
        .collect();
    let entries = gpt::entries(&list);
    let (last, backup) = (layout.size_bytes - SECTOR, layout.size_bytes - fixed.tail());
    // What lies between header and entries that were moved behind it is for boot loaders.
    let primary = gpt::Places {
        header: 1,
        other: sectors(last),
        entries: sectors(fixed.entries()),
        first_usable: sectors(fixed.tables_end()),
        last_usable: sectors(backup) - 1,
    };
    let other = gpt::Places { header: sectors(last), other: 1, entries: sectors(backup), ..primary };
    let listed = lists.filter(|(partition, _)| partition.hybrid).map(|(partition, place)| mbr::Entry {
        active: partition.active,
        code: partition.kind.code.unwrap_or_default(),
        first: short(place.start),
        count: short(place.end - place.start),
        absolute: sectors(place.start),
    });
    let mut records: Vec<mbr::Entry> = listed.collect();
    let reach = records.iter().map(|entry| entry.absolute).min().unwrap_or(sectors(layout.size_bytes));
    records.push(mbr::Entry {
        active: false,
        code: mbr::PROTECTIVE,
        first: 1,
        count: u32::try_from(reach - 1).unwrap_or(u32::MAX),
        absolute: 1,
    });
    let signature = if options.scheme == Scheme::Hybrid { options.signature } else { 0 };
    vec![
        (mbr::SIGNATURE, mbr::record(signature, &records).to_vec()),
        (SECTOR, gpt::header(primary, options.guid, &entries).to_vec()),
        (fixed.entries(), entries.clone()),
        (backup, entries.clone()),
        (last, gpt::header(other, options.guid, &entries).to_vec()),
    ]
}

fn mbr_tables(options: &Options, partitions: &[Partition], layout: &Layout, logical: &[bool]) -> Vec<(u64, Vec<u8>)> {
    let all = || partitions.iter().zip(&layout.places).zip(logical);
    let inner: Vec<_> = all().filter(|(_, logical)| **logical).map(|(one, _)| one).collect();
    let begin = inner.iter().filter_map(|(_, place)| place.record).min().unwrap_or(0);
    let end = inner.iter().map(|(_, place)| place.end).max().unwrap_or(0);
    let entry = |code: u8, active: bool, start: u64, end: u64, base: u64| mbr::Entry {
        active,
        code,
        first: short(start - base),
        count: short(end - start),
        absolute: sectors(start),
    };
    let (mut records, mut tables) = (Vec::new(), Vec::new());
    let mut extended = (!inner.is_empty()).then(|| entry(mbr::EXTENDED, false, begin, end, 0));
    for ((partition, place), logical) in all() {
        if *logical {
            records.extend(extended.take());
        } else {
            records.push(entry(partition.kind.code.unwrap_or_default(), partition.active, place.start, place.end, 0));
        }
    }
    tables.push((mbr::SIGNATURE, mbr::record(options.signature, &records).to_vec()));
    for (index, (partition, place)) in inner.iter().enumerate() {
        let at = place.record.unwrap_or_default();
        let code = partition.kind.code.unwrap_or_default();
        let mut records = vec![entry(code, partition.active, place.start, place.end, at)];
        if let Some((_, next)) = inner.get(index + 1) {
            // The chain's places count from the extended partition's start.
            let start = next.record.unwrap_or_default();
            records.push(entry(mbr::EXTENDED, false, start, next.end, begin));
        }
        tables.push((at + mbr::SIGNATURE, mbr::record(0, &records).to_vec()));
    }
    tables
}
