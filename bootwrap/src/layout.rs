//! Who sits where in memory: placement by arithmetic, and a proof, made by other code, that nothing overlaps.
//!
//! ```text
//! start of memory
//! | stub | device tree | hypervisor | kernel | ramdisk | ...free, in one piece...  |
//!        2 MiB         2 MiB        2 MiB    4 KiB
//! ```
//!
//! Everything goes as low as its rules allow, in the order asked for, so that what is left stays in one piece: the hypervisor hands
//! Dom0 its memory in naturally aligned blocks at their own addresses, and a module in the middle would split them.

use std::fmt;

/// A range of physical addresses, `start..start + size_bytes`, that does not wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size_bytes: u64,
}

impl Range {
    /// Returns the range, or none where it would leave the address space.
    pub fn new(start: u64, size_bytes: u64) -> Option<Range> {
        start.checked_add(size_bytes).map(|_| Range { start, size_bytes })
    }

    /// Returns the first address behind.
    pub fn end(&self) -> u64 {
        self.start + self.size_bytes
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    fn contains(&self, other: &Range) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }
}

/// Something to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What the table calls it.
    pub name: String,
    /// Bytes to load.
    pub file_bytes: u64,
    /// Bytes of memory, at least as many.
    pub memory_bytes: u64,
    /// Power of two of which the address is a multiple, plus `offset`.
    pub align: u64,
    /// Distance from that multiple.
    pub offset: u64,
    /// A power of two whose multiples the item must not straddle; 0 for no such rule.
    pub window: u64,
    /// The address the user wants.
    pub fixed: Option<u64>,
}

impl Item {
    /// Returns an item of `size_bytes` that begins on a multiple of `align`.
    pub fn new(name: &str, size_bytes: u64, align: u64) -> Item {
        Item {
            name: name.into(),
            file_bytes: size_bytes,
            memory_bytes: size_bytes,
            align,
            offset: 0,
            window: 0,
            fixed: None,
        }
    }
}

/// Gives items the addresses that were asked for, by their names.
///
/// # Errors
/// A name that none of them has.
pub fn fix(items: &mut [Item], addresses: &[(String, u64)]) -> Result<(), LayoutError> {
    for (name, address) in addresses {
        let Some(item) = items.iter_mut().find(|item| item.name == *name) else {
            let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
            let message = format!("an address is given for {name}, which is not among {}", names.join(", "));
            return Err(LayoutError { message, item: Some(name.clone()), map: Box::default() });
        };
        item.fixed = Some(*address);
    }
    Ok(())
}

/// An item with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What the table calls it.
    pub name: String,
    /// Where it lies, with all the memory it needs.
    pub range: Range,
    /// Bytes that come from the file; the rest is cleared.
    pub file_bytes: u64,
    /// Whether the user chose the address.
    pub fixed: bool,
}

/// Memory, and what is where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap {
    /// The board's memory, ascending.
    pub banks: Vec<Range>,
    /// What the board's device tree says nobody may use, ascending.
    pub reserved: Vec<Range>,
    /// What the firmware and the loader keep for themselves while they load.
    pub firmware: Vec<Range>,
    /// What was placed, ascending.
    pub placed: Vec<Placed>,
}

/// Why things cannot be placed, with the table as far as it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutError {
    /// What is wrong.
    pub message: String,
    /// Which item, where it is one in particular.
    pub item: Option<String>,
    /// What had been placed when it went wrong.
    pub map: Box<MemoryMap>,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory map: {}\n{}", self.message, self.map)
    }
}

impl std::error::Error for LayoutError {}

impl MemoryMap {
    /// Returns a map of empty memory. Banks and reserved ranges are sorted; banks that touch become one.
    pub fn new(mut banks: Vec<Range>, mut reserved: Vec<Range>) -> MemoryMap {
        banks.retain(|bank| bank.size_bytes > 0);
        reserved.retain(|range| range.size_bytes > 0);
        banks.sort_unstable();
        reserved.sort_unstable();
        let mut merged: Vec<Range> = Vec::new();
        for bank in banks {
            match merged.last_mut() {
                Some(last) if bank.start <= last.end() => {
                    last.size_bytes = last.size_bytes.max(bank.end() - last.start);
                }
                _ => merged.push(bank),
            }
        }
        MemoryMap { banks: merged, reserved, firmware: Vec::new(), placed: Vec::new() }
    }

    /// Places all items: first those whose address is given, then the others, each at the lowest address its rules allow.
    pub fn place(mut self, items: &[Item]) -> Result<MemoryMap, LayoutError> {
        for item in items.iter().filter(|item| item.fixed.is_some()) {
            let start = item.fixed.unwrap_or_default();
            self.check_fixed(item, start).map_err(|message| LayoutError {
                message,
                item: Some(item.name.clone()),
                map: Box::new(self.clone()),
            })?;
            self.insert(item, start);
        }
        for item in items.iter().filter(|item| item.fixed.is_none()) {
            let Some(start) = self.lowest(item) else {
                let message = format!(
                    "no room for {}: {} bytes of free memory in one piece are needed",
                    item.name, item.memory_bytes
                );
                return Err(LayoutError { message, item: Some(item.name.clone()), map: Box::new(self) });
            };
            self.insert(item, start);
        }
        self.prove(items)?;
        Ok(self)
    }

    fn insert(&mut self, item: &Item, start: u64) {
        let range = Range { start, size_bytes: item.memory_bytes };
        let at = self.placed.partition_point(|other| other.range.start < start);
        let fixed = item.fixed.is_some();
        self.placed.insert(at, Placed { name: item.name.clone(), range, file_bytes: item.file_bytes, fixed });
    }

    fn check_fixed(&self, item: &Item, start: u64) -> Result<(), String> {
        let name = &item.name;
        let range =
            Range::new(start, item.memory_bytes).ok_or(format!("{name} at {start:#x} leaves the address space"))?;
        if start % item.align != item.offset {
            let place = if item.offset == 0 { "on".to_owned() } else { format!("{:#x} above", item.offset) };
            return Err(format!("{name} at {start:#x} must lie {place} a multiple of {:#x}", item.align));
        }
        if straddles(range, item.window) {
            return Err(format!("{name} at {start:#x} must not cross a multiple of {:#x}", item.window));
        }
        if !self.banks.iter().any(|bank| bank.contains(&range)) {
            return Err(format!("{name} at {start:#x}..{:#x} is not in memory", range.end()));
        }
        if let Some(other) = self.reserved.iter().find(|other| other.overlaps(&range)) {
            return Err(format!(
                "{name} at {start:#x} overlaps {:#x}..{:#x}, which the device tree reserves",
                other.start,
                other.end()
            ));
        }
        if let Some(other) = self.firmware.iter().find(|other| other.overlaps(&range)) {
            return Err(format!(
                "{name} at {start:#x} overlaps {:#x}..{:#x}, which the boot loader keeps for itself",
                other.start,
                other.end()
            ));
        }
        if let Some(other) = self.placed.iter().find(|other| other.range.overlaps(&range)) {
            let bytes = range.end().min(other.range.end()) - start.max(other.range.start);
            return Err(format!("{name} at {start:#x}..{:#x} overlaps {} by {bytes} bytes", range.end(), other.name));
        }
        Ok(())
    }

    /// Returns the lowest address at which `item` fits. Candidates: every bank's start, and the end of every obstacle.
    fn lowest(&self, item: &Item) -> Option<u64> {
        let obstacles =
            || self.reserved.iter().chain(&self.firmware).chain(self.placed.iter().map(|placed| &placed.range));
        let mut candidates: Vec<u64> = self
            .banks
            .iter()
            .map(|bank| bank.start)
            .chain(obstacles().map(Range::end))
            .filter_map(|low| fit(item, low))
            .collect();
        candidates.sort_unstable();
        candidates.into_iter().find(|&start| {
            Range::new(start, item.memory_bytes).is_some_and(|range| {
                self.banks.iter().any(|bank| bank.contains(&range)) && !obstacles().any(|other| other.overlaps(&range))
            })
        })
    }

    /// Checks the finished map against the rules, pair by pair and without knowing how it was made.
    pub fn prove(&self, items: &[Item]) -> Result<(), LayoutError> {
        let fail = |message: String| Err(LayoutError { message, item: None, map: Box::new(self.clone()) });
        if self.placed.len() != items.len() {
            return fail(format!("{} things to place, {} placed", items.len(), self.placed.len()));
        }
        for (index, placed) in self.placed.iter().enumerate() {
            let range = placed.range;
            let Some(item) = items.iter().find(|item| item.name == placed.name) else {
                return fail(format!("{} was not asked for", placed.name));
            };
            if Range::new(range.start, range.size_bytes).is_none()
                || !self.banks.iter().any(|bank| bank.contains(&range))
            {
                return fail(format!("{} is not in memory", placed.name));
            }
            if range.start % item.align != item.offset || straddles(range, item.window) {
                return fail(format!("{} is not aligned", placed.name));
            }
            if range.size_bytes < item.file_bytes || range.size_bytes != item.memory_bytes {
                return fail(format!("{} has the wrong size", placed.name));
            }
            if self.reserved.iter().chain(&self.firmware).any(|other| other.overlaps(&range)) {
                return fail(format!("{} is in reserved memory", placed.name));
            }
            if let Some(other) = self.placed[index + 1..].iter().find(|other| other.range.overlaps(&range)) {
                return fail(format!("{} and {} overlap", placed.name, other.name));
            }
        }
        Ok(())
    }

    /// Returns where an item was placed.
    pub fn find(&self, name: &str) -> Option<&Placed> {
        self.placed.iter().find(|placed| placed.name == name)
    }

    /// Returns the free ranges, ascending.
    pub fn free(&self) -> Vec<Range> {
        let mut taken: Vec<Range> = self
            .reserved
            .iter()
            .chain(&self.firmware)
            .copied()
            .chain(self.placed.iter().map(|placed| placed.range))
            .collect();
        taken.sort_unstable();
        let mut free = Vec::new();
        for bank in &self.banks {
            let mut low = bank.start;
            for range in taken.iter().filter(|range| range.overlaps(bank)) {
                if range.start > low {
                    free.push(Range { start: low, size_bytes: range.start - low });
                }
                low = low.max(range.end());
            }
            if low < bank.end() {
                free.push(Range { start: low, size_bytes: bank.end() - low });
            }
        }
        free
    }
}

/// Returns the lowest address from `low` on that the item's own rules allow.
fn fit(item: &Item, low: u64) -> Option<u64> {
    let mut start = low.saturating_sub(item.offset).checked_next_multiple_of(item.align)?.checked_add(item.offset)?;
    if straddles(Range::new(start, item.memory_bytes)?, item.window) {
        if item.memory_bytes > item.window {
            return None;
        }
        let boundary = start.checked_next_multiple_of(item.window)?;
        start = boundary.checked_next_multiple_of(item.align)?.checked_add(item.offset)?;
        if straddles(Range::new(start, item.memory_bytes)?, item.window) {
            return None;
        }
    }
    Some(start)
}

fn straddles(range: Range, window: u64) -> bool {
    window != 0 && range.size_bytes != 0 && range.start / window != (range.end() - 1) / window
}

/// The table that people see: every range of every bank, in order.
impl fmt::Display for MemoryMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<(Range, String)> = self.free().into_iter().map(|range| (range, "free".into())).collect();
        rows.extend(self.reserved.iter().map(|&range| (range, "reserved by the device tree".into())));
        rows.extend(self.firmware.iter().map(|&range| (range, "the boot loader's own".into())));
        rows.extend(self.placed.iter().map(|placed| {
            let cleared = placed.range.size_bytes - placed.file_bytes.min(placed.range.size_bytes);
            let mut text = placed.name.clone();
            if cleared > 0 {
                text += &format!(" ({cleared} bytes beyond the file)");
            }
            if placed.fixed {
                text += " (address given)";
            }
            (placed.range, text)
        }));
        rows.sort();
        for bank in &self.banks {
            writeln!(f, "memory {:#012x}..{:#012x}  {:>9}", bank.start, bank.end(), size(bank.size_bytes))?;
            for (range, text) in rows.iter().filter(|(range, _)| bank.overlaps(range)) {
                writeln!(
                    f,
                    "       {:#012x}..{:#012x}  {:>9}  {text}",
                    range.start,
                    range.end(),
                    size(range.size_bytes)
                )?;
            }
        }
        Ok(())
    }
}

/// Writes a size in the largest unit that loses nothing much.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x2800 => format!("{bytes} B"),
        0x2800..0xa0_0000 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}
