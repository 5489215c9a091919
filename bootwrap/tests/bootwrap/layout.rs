//! Memory maps: where things go, what is refused, and that the proof holds for whatever comes.

use bootwrap::layout::{Item, MemoryMap, Range};
use proptest::prelude::*;

use super::golden;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 2 * MIB;

fn range(start: u64, size_bytes: u64) -> Range {
    Range { start, size_bytes }
}

/// The usual suspects.
fn items() -> Vec<Item> {
    let mut boot = Item::new("boot", 0x1_3000, 0x1000);
    boot.file_bytes = 0x2330;
    let mut dtb = Item::new("dtb", 0x3000, BLOCK);
    dtb.window = BLOCK;
    let mut xen = Item::new("xen", 983_048, BLOCK);
    xen.memory_bytes = 0x13_60c8;
    vec![boot, dtb, xen, Item::new("kernel", 33 * MIB - 37, BLOCK), Item::new("initramfs", 28 * MIB + 5, 0x1000)]
}

#[test]
fn maps() {
    let virt = || vec![range(0x4000_0000, 2048 * MIB)];
    let model = || vec![range(0x8_8000_0000, 2048 * MIB), range(0x8000_0000, 2048 * MIB)];
    // Memory from 0, as on Raspberry Pi and Zynq, with firmware at both ends.
    let low = || vec![range(0, 0x3b40_0000)];
    let cases: [(&str, Vec<Range>, Vec<Range>); 4] = [
        ("virt", virt(), vec![]),
        ("model", model(), vec![range(0x8000_0000, 0x1_0000), range(0xfe00_0000, 32 * MIB)]),
        ("low", low(), vec![range(0, 0x1000), range(0x3b00_0000, 4 * MIB)]),
        // The kernel does not fit between the reservations; the initramfs does.
        ("islands", virt(), vec![range(0x4200_0000, MIB), range(0x4400_0000, MIB)]),
    ];
    for (name, banks, reserved) in cases {
        let map = MemoryMap::new(banks, reserved).place(&items()).expect("it fits");
        golden::check(&format!("layout/{name}"), &map.to_string());
    }
}

#[test]
fn refusals() {
    type Edit<'a> = &'a dyn Fn(&mut Vec<Item>);
    let place = |edit: Edit<'_>| {
        let mut items = items();
        edit(&mut items);
        MemoryMap::new(vec![range(0x4000_0000, 128 * MIB)], vec![range(0x4700_0000, MIB)]).place(&items)
    };
    let fix = |name: &'static str, address: u64| {
        move |items: &mut Vec<Item>| {
            items.iter_mut().find(|item| item.name == name).expect("an item").fixed = Some(address)
        }
    };
    let cases: [(&str, Edit<'_>); 8] = [
        ("overlap", &|items| {
            fix("kernel", 0x4200_0000)(items);
            fix("initramfs", 0x4300_0000)(items);
        }),
        ("reserved", &fix("initramfs", 0x4600_0000)),
        ("outside", &fix("initramfs", 0x3fff_f000)),
        ("beyond", &fix("initramfs", 0x47ff_f000)),
        ("wrapping", &fix("initramfs", u64::MAX - 0xfff)),
        ("misaligned", &fix("kernel", 0x4010_0000)),
        ("full", &|items| items.push(Item::new("domu", 60 * MIB, 0x1000))),
        // Room enough, but not in one piece.
        ("fixed-in-the-way", &|items| {
            fix("boot", 0x4100_0000)(items);
            fix("dtb", 0x4300_0000)(items);
            fix("xen", 0x4500_0000)(items);
        }),
    ];
    for (name, edit) in cases {
        let error = place(edit).expect_err(name);
        golden::check(&format!("layout/refused-{name}"), &error.to_string());
    }
}

#[test]
fn fixed_addresses_are_kept_and_the_rest_goes_around_them() {
    let mut items = items();
    items[2].fixed = Some(0x4000_0000);
    items[4].fixed = Some(0x4a00_0000);
    let map = MemoryMap::new(vec![range(0x4000_0000, 256 * MIB)], vec![]).place(&items).expect("it fits");
    golden::check("layout/fixed", &map.to_string());
}

#[test]
fn text_offset_is_kept_above_the_boundary() {
    let mut kernel = Item::new("kernel", MIB, BLOCK);
    kernel.offset = 0x8_0000;
    for (start, wanted) in [(0x4000_0000, 0x4008_0000), (0x4008_0000, 0x4008_0000), (0x4008_1000, 0x4028_0000)] {
        let map =
            MemoryMap::new(vec![range(start, 16 * MIB)], vec![]).place(std::slice::from_ref(&kernel)).expect("it fits");
        assert_eq!(map.find("kernel").expect("placed").range.start, wanted);
    }
}

#[test]
fn the_proof_sees_what_the_placing_did_wrong() {
    let items = items();
    let good = MemoryMap::new(vec![range(0x4000_0000, 2048 * MIB)], vec![range(0x5000_0000, MIB)])
        .place(&items)
        .expect("it fits");
    let fails = |edit: &dyn Fn(&mut MemoryMap)| {
        let mut map = good.clone();
        edit(&mut map);
        map.prove(&items).expect_err("seen").message
    };
    assert!(good.prove(&items).is_ok());
    assert_eq!(
        fails(&|map| map.placed[4].range.start = (map.placed[3].range.end() - 0x1000) & !0xfff),
        "kernel and initramfs overlap"
    );
    assert_eq!(fails(&|map| map.placed[4].range.start = 0x5000_0000), "initramfs is in reserved memory");
    assert_eq!(fails(&|map| map.placed[4].range.start = 0x3000_0000), "initramfs is not in memory");
    assert_eq!(fails(&|map| map.placed[4].range.start += 1), "initramfs is not aligned");
    assert_eq!(fails(&|map| map.placed[2].range.size_bytes -= 1), "xen has the wrong size");
    assert_eq!(fails(&|map| map.placed[2].name = "yen".into()), "yen was not asked for");
    assert!(fails(&|map| drop(map.placed.pop())).contains("5 things to place, 4 placed"));
}

fn any_item(index: usize) -> impl Strategy<Value = Item> {
    (1u64..40 * MIB, 0u32..22, 0u64..2, prop::bool::weighted(0.2), prop::option::weighted(0.2, 0u64..600)).prop_map(
        move |(size, align, offset, window, fixed)| {
            let mut item = Item::new(&format!("item{index}"), size, 1 << align);
            item.offset = if align > 12 { offset << 12 } else { 0 };
            item.window = if window { 64 * MIB } else { 0 };
            item.fixed = fixed.map(|mib| mib * MIB + item.offset);
            item
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked for, the answer is a map in which nothing overlaps, or an error; and the free list is the exact rest.
    #[test]
    fn random_maps(
        banks in prop::collection::vec((0u64..600, 1u64..300), 1..4),
        reserved in prop::collection::vec((0u64..600 * MIB, 1u64..8 * MIB), 0..6),
        items in (1usize..7).prop_flat_map(|count| (0..count).map(any_item).collect::<Vec<_>>()),
    ) {
        let banks = banks.into_iter().map(|(start, size)| range(start * MIB, size * MIB)).collect();
        let reserved: Vec<Range> = reserved.into_iter().map(|(start, size)| range(start, size)).collect();
        let map = match MemoryMap::new(banks, reserved).place(&items) {
            Ok(map) => map,
            Err(error) => *error.map,
        };
        let _ = map.to_string();
        let overlap = |a: &Range, b: &Range| a.start < b.end() && b.start < a.end();
        let mut all: Vec<Range> = map.placed.iter().map(|placed| placed.range).collect();
        for free in map.free() {
            prop_assert!(!map.reserved.iter().any(|other| overlap(&free, other)));
            prop_assert!(map.banks.iter().any(|bank| bank.start <= free.start && free.end() <= bank.end()));
            all.push(free);
        }
        for (index, one) in all.iter().enumerate() {
            prop_assert!(!all[index + 1..].iter().any(|other| overlap(one, other)), "{map}");
        }
    }
}
