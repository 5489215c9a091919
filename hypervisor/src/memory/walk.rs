//! What a guest's address means by the guest's own tables (stage 1), walked by software: for when the CPU's answer is that it means
//! nothing. That may be so for a moment only, while another CPU changes stage 2 below the tables or the page, and for pages that a CPU
//! would first mark as dirty or accessed.
//!
//! Tables of 4, 16 and 64 KiB with 48-bit addresses (DDI 0487, D8.3); what EL1 itself may do there.

/// The registers that say how EL1 translates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Regime {
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
}

const VALID: u64 = 1;
const TABLE: u64 = 2;
const READ_ONLY: u64 = 1 << 7;
/// Dirty bit management: the page becomes writable when it is written.
const DIRTY_MANAGED: u64 = 1 << 51;
/// In a table's entry: nothing below may be written.
const TABLE_READ_ONLY: u64 = 1 << 62;
const ADDRESS: u64 = 0xffff_ffff_f000;

/// Half of the address space: how many bits are translated, from which table, with which granule.
struct Half {
    bits: u32,
    table: u64,
    page_shift: u32,
}

impl Regime {
    fn half(&self, address: u64) -> Option<Half> {
        let upper = address >> 55 & 1 != 0;
        let (size, disabled, granule, tag, table) = if upper {
            (self.tcr >> 16 & 63, self.tcr >> 23 & 1, self.tcr >> 30 & 3, self.tcr >> 38 & 1, self.ttbr1)
        } else {
            (self.tcr & 63, self.tcr >> 7 & 1, self.tcr >> 14 & 3, self.tcr >> 37 & 1, self.ttbr0)
        };
        // The two halves number their granules differently.
        let page_shift = match (upper, granule) {
            (false, 0) | (true, 2) => 12,
            (false, 2) | (true, 1) => 14,
            (false, 1) | (true, 3) => 16,
            _ => return None,
        };
        let bits = 64 - size as u32;
        if disabled != 0 || !(25..=48).contains(&bits) {
            return None;
        }
        // What is above the translated bits repeats bit 55, but for a tag.
        let top = if tag != 0 { 56 } else { 64 };
        let above = (address & (u64::MAX >> (64 - top))) >> bits;
        let expected = if upper { (u64::MAX >> (64 - top)) >> bits } else { 0 };
        (above == expected).then_some(Half { bits, table: table & ADDRESS & !1, page_shift })
    }

    /// Returns the guest physical address behind `address`, as EL1 would read or write there; `read` returns the word at a guest
    /// physical address.
    pub fn walk(&self, address: u64, write: bool, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        if self.sctlr & 1 == 0 {
            return (address >> 48 == 0).then_some(address);
        }
        let half = self.half(address)?;
        let per_level = half.page_shift - 3;
        let levels = (half.bits - half.page_shift).div_ceil(per_level);
        let mut table = half.table;
        for level in 4 - levels..=3 {
            let shift = half.page_shift + (3 - level) * per_level;
            let width = per_level.min(half.bits - shift);
            let entry = read(table + (address >> shift & ((1 << width) - 1)) * 8)?;
            if entry & VALID == 0 {
                return None;
            }
            let is_block = entry & TABLE == 0;
            if level < 3 && !is_block {
                if write && entry & TABLE_READ_ONLY != 0 {
                    return None;
                }
                table = entry & ADDRESS & !((1 << half.page_shift) - 1);
                continue;
            }
            let may_be_block = level == 2 || level == 1 && half.page_shift == 12;
            if is_block != (level < 3) || is_block && !may_be_block {
                return None;
            }
            if write && entry & READ_ONLY != 0 && entry & DIRTY_MANAGED == 0 {
                return None;
            }
            let inside = (1 << shift) - 1;
            return Some(entry & ADDRESS & !inside | address & inside);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// Linux's: 48 bits below and above, 4 KiB, tags below.
    const LINUX: Regime =
        Regime { sctlr: 1, tcr: 16 | 16 << 16 | 2 << 30 | 1 << 37, ttbr0: 0x1000, ttbr1: 0x10_0000_0000_9000 };

    fn memory(entries: &[(u64, u64)]) -> impl Fn(u64) -> Option<u64> {
        let entries: BTreeMap<u64, u64> = entries.iter().copied().collect();
        move |at| entries.get(&at).copied()
    }

    #[test]
    fn pages_blocks_and_permissions() {
        let read = memory(&[
            (0x9000 + 0x100 * 8, 0xa000 | 3),
            (0xa000, 0xb000 | 3),
            (0xb000, 0x4020_0000 | 0x701),
            (0xb008, 0xc000 | 3),
            (0xc000 + 5 * 8, 0x5000_0000 | READ_ONLY | 0x403),
            (0xc000 + 6 * 8, 0x5000_1000 | READ_ONLY | DIRTY_MANAGED | 3),
            (0xc000 + 7 * 8, 0x5000_2000 | 1),
            (0xb010, 0xc000 | 3 | TABLE_READ_ONLY),
        ]);
        let upper = 0xffff_8000_0000_0000;
        assert_eq!(LINUX.walk(upper + 0x12345, true, &read), Some(0x4021_2345));
        assert_eq!(LINUX.walk(upper + 0x20_5008, false, &read), Some(0x5000_0008));
        assert_eq!(LINUX.walk(upper + 0x20_5008, true, &read), None, "read-only");
        assert_eq!(LINUX.walk(upper + 0x20_6008, true, &read), Some(0x5000_1008), "would become writable");
        assert_eq!(LINUX.walk(upper + 0x20_7000, false, &read), None, "not a page's descriptor");
        assert_eq!(LINUX.walk(upper + 0x40_6000, false, &read), Some(0x5000_1000));
        assert_eq!(LINUX.walk(upper + 0x40_6000, true, &read), None, "the table forbids");
        assert_eq!(LINUX.walk(upper + 0x60_0000, false, &read), None, "nothing");
        assert_eq!(LINUX.walk(0x7fff_8000_0000_0000, false, &read), None, "no address");
    }

    #[test]
    fn tags_and_sizes() {
        let read = memory(&[(0x1000, 0x2000 | 3), (0x2000 + 8, 0x8000_0000 | 0x701)]);
        assert_eq!(LINUX.walk(0x4000_0010, false, &read), Some(0x8000_0010));
        assert_eq!(LINUX.walk(0xab00_0000_4000_0010, false, &read), Some(0x8000_0010), "a tag");
        assert_eq!(
            Regime { tcr: 25, ..LINUX }.walk(0x10, false, memory(&[(0x1000, 0x4000_0000 | 0x701)])),
            Some(0x4000_0010)
        );
        assert_eq!(Regime { tcr: 25, ..LINUX }.walk(1 << 39, false, &read), None, "beyond 39 bits");
        assert_eq!(Regime { tcr: LINUX.tcr | 1 << 7, ..LINUX }.walk(0x4000_0010, false, &read), None, "disabled");
        assert_eq!(Regime { sctlr: 0, ..LINUX }.walk(0x1234, true, &read), Some(0x1234), "the MMU is off");
    }

    proptest! {
        /// No registers, tables or addresses make it panic or walk for ever, and whatever is found is an address of 48 bits.
        #[test]
        fn nothing_panics(sctlr in any::<bool>(), tcr: u64, ttbr: u64, address: u64, write: bool, entry: u64, other: u64) {
            let regime = Regime { sctlr: sctlr.into(), tcr, ttbr0: ttbr, ttbr1: !ttbr };
            let found = regime.walk(address, write, |at| Some(if at & 8 == 0 { entry } else { other }));
            prop_assert!(found.is_none_or(|at| at >> 48 == 0));
        }
    }
}
