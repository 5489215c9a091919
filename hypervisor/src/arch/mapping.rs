//! The hypervisor's own tables as they grow while it boots: what is mapped stays, so nothing is ever replaced or forgotten
//! (DDI 0487, chapter D8: 48 bits, 4 KiB pages, four levels).

pub(super) const VALID: u64 = 1;
pub(super) const TABLE_OR_PAGE: u64 = 2;
const ADDRESS: u64 = 0xffff_ffff_f000;

/// A machine's own tables, by number; the first is the root.
pub(super) trait Tables {
    /// Reads an entry.
    fn read(&self, table: usize, index: usize) -> u64;
    /// Writes an entry, which the walker may see at once.
    fn write(&mut self, table: usize, index: usize, value: u64);
    /// Makes a table of invalid entries.
    fn add(&mut self) -> usize;
    /// Returns where the root lies; the others follow it.
    fn physical(&self) -> u64;
    /// Orders stores to a new table before the entry that leads there.
    fn order(&self);
    /// Lets the walker see what was written.
    fn publish(&self);
}

/// Maps what is not mapped yet, in pieces as large as fit; `attributes` are the descriptor's bits but for address and size.
pub(super) fn map(tables: &mut impl Tables, mut address: u64, mut physical: u64, size: u64, attributes: u64) {
    let end = address + size;
    let whole = [address, physical, size].iter().all(|value| value.is_multiple_of(4096));
    assert!(whole, "not whole pages");
    while address < end {
        let mut table = 0;
        let mut level = 0;
        loop {
            let span = 1 << (39 - 9 * level);
            let index = (address / span % 512) as usize;
            let fits =
                level > 0 && address.is_multiple_of(span) && physical.is_multiple_of(span) && end - address >= span;
            let entry = tables.read(table, index);
            if fits || level == 3 {
                assert!(entry == 0, "{address:#x} is mapped already");
                tables.write(table, index, physical | attributes | if level == 3 { TABLE_OR_PAGE } else { 0 });
                address += span;
                physical += span;
                break;
            }
            table = if entry == 0 {
                let new = tables.add();
                tables.order();
                tables.write(table, index, (tables.physical() + new as u64 * 4096) | VALID | TABLE_OR_PAGE);
                new
            } else {
                assert!(entry & TABLE_OR_PAGE != 0, "{address:#x} is mapped already");
                ((entry & ADDRESS) - tables.physical()) as usize / 4096
            };
            level += 1;
        }
    }
    tables.publish();
}
