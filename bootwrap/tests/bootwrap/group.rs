//! The registers by which the stub hands interrupts to the non-secure world, for controllers of each make, on the host.

use std::collections::BTreeMap;

use bootwrap::el3::group::{self, Write};

/// Plays the writes to a block whose registers all read as the worst: Group 0, with the modifier set.
fn after(writes: impl Iterator<Item = Write>) -> BTreeMap<u64, u32> {
    let mut registers = BTreeMap::new();
    for (register, value) in writes {
        assert_eq!(registers.insert(register, value), None, "{register:#x} is written twice");
    }
    registers
}

/// Returns the registers of `group` and `modifier`, numbers `first..end`, as they must be.
fn group_one(group: u64, modifier: Option<u64>, first: u64, end: u64) -> BTreeMap<u64, u32> {
    let groups = (first..end).map(|index| (group + 4 * index, u32::MAX));
    groups.chain(modifier.into_iter().flat_map(|base| (first..end).map(move |index| (base + 4 * index, 0)))).collect()
}

#[test]
fn shared_interrupts_of_gicv2_and_gicv3() {
    // QEMU's virt machine: 288 interrupts, of which the first 32 are each CPU's own.
    assert_eq!(after(group::shared(2, 0x0000_0468)), group_one(0x80, None, 1, 9));
    assert_eq!(after(group::shared(3, 0x037a_0008)), group_one(0x80, Some(0xd00), 1, 9));
    // No shared interrupts at all, and as many as can be: 1020.
    assert_eq!(after(group::shared(3, 0)), BTreeMap::new());
    assert_eq!(after(group::shared(3, 0x1f)), group_one(0x80, Some(0xd00), 1, 32));
}

#[test]
fn extended_shared_interrupts() {
    let typer = |range: u32| range << 27 | 1 << 8 | 1;
    for range in [0, 1, 31] {
        let mut wanted = group_one(0x80, Some(0xd00), 1, 2);
        wanted.extend(group_one(0x1000, Some(0x3400), 0, u64::from(range) + 1));
        assert_eq!(after(group::shared(3, typer(range))), wanted, "ESPI_range {range}");
    }
    // The last is GICD_IGROUPR31E: interrupts 5088 to 5119.
    assert_eq!(after(group::shared(3, typer(31))).range(0x1000..0x3000).last(), Some((&0x107c, &u32::MAX)));
    // Without ESPI the range means nothing, and GICv2 has other things in that bit.
    assert_eq!(after(group::shared(3, typer(31) & !(1 << 8))), group_one(0x80, Some(0xd00), 1, 2));
    assert_eq!(after(group::shared(2, typer(31))), group_one(0x80, None, 1, 2));
}

#[test]
fn extended_private_interrupts() {
    for blocks in 0..32 {
        // PPInum says 0, 1 or 2 blocks of 32; the rest is reserved, and nothing is there to be written.
        let registers = if blocks <= 2 { u64::from(blocks) + 1 } else { 1 };
        let typer = blocks << 27 | 1 << 4 | 3;
        assert_eq!(after(group::private(typer)), group_one(0x1_0080, Some(0x1_0d00), 0, registers), "PPInum {blocks}");
    }
}
