//! Facts read out of device trees.

use bootwrap::board::{Board, Gic, Power};
use bootwrap::layout::Range;
use fdt::{Fdt, Tree};
use proptest::prelude::*;

use super::samples;

fn read(tree: &Tree) -> Result<Board, String> {
    Board::read(&Fdt::new(&samples::blob(tree)).expect("a blob")).map_err(|error| error.to_string())
}

fn range(start: u64, size_bytes: u64) -> Range {
    Range { start, size_bytes }
}

#[test]
fn virt() {
    let wanted = Board {
        compatible: "linux,dummy-virt".into(),
        memory: vec![range(0x4000_0000, 0x8000_0000)],
        reserved: vec![],
        cpus: vec![0, 1],
        gic: Some(Gic::V3 { distributor: 0x800_0000, redistributors: vec![range(0x80a_0000, 0xf6_0000)] }),
        uart: Some(0x900_0000),
        power: Some(Power::Pl061 { address: 0x90b_0000, off: 0, reset: 1 }),
        counter_hz: Some(62_500_000),
        counter_control: None,
        has_psci: false,
    };
    assert_eq!(read(&samples::virt()), Ok(wanted));
}

#[test]
fn model() {
    let wanted = Board {
        compatible: "arm,fvp-base-revc".into(),
        memory: vec![range(0x8000_0000, 0x8000_0000), range(0x8_8000_0000, 0x8000_0000)],
        reserved: vec![range(0x8000_0000, 0x1_0000)],
        cpus: vec![0, 0x100, 0x1_0000, 0x1_0100],
        gic: Some(Gic::V3 { distributor: 0x2f00_0000, redistributors: vec![range(0x2f10_0000, 0x20_0000)] }),
        uart: Some(0x1c09_0000),
        power: Some(Power::Vexpress(0x1c01_0000)),
        counter_hz: Some(100_000_000),
        counter_control: Some(0x2a43_0000),
        has_psci: true,
    };
    assert_eq!(read(&samples::model()), Ok(wanted));
}

#[test]
fn gicv2_and_a_timer_that_says_its_rate() {
    let mut tree = samples::virt();
    let root = tree.root();
    let old = tree.find("/intc@8000000").expect("added");
    tree.remove(old);
    samples::device(
        &mut tree,
        root,
        "intc@8000000",
        &["arm,gic-400"],
        &[(0x800_0000, 0x1_0000), (0x801_0000, 0x1_0000)],
    );
    let timer = tree.add_child(root, "timer").expect("a name");
    tree.set_strings(timer, "compatible", &["arm,armv8-timer"]);
    tree.set_cells(timer, "clock-frequency", &[24_000_000]);
    let board = read(&tree).expect("a board");
    assert_eq!(board.gic, Some(Gic::V2 { distributor: 0x800_0000, cpu_interface: 0x801_0000 }));
    assert_eq!(board.counter_hz, Some(24_000_000));
}

#[test]
fn the_power_switch_of_the_normal_world_only_is_not_ours() {
    let mut tree = samples::virt();
    let node = tree.find("/gpio-poweroff").expect("added");
    tree.set_string(node, "secure-status", "disabled");
    assert_eq!(read(&tree).expect("a board").power, None);
}

#[test]
fn complaints() {
    let change = |edit: fn(&mut Tree)| {
        let mut tree = samples::virt();
        edit(&mut tree);
        read(&tree).expect_err("refused")
    };
    assert_eq!(
        change(|tree| {
            let node = tree.find("/memory").expect("added");
            tree.remove(node);
        }),
        "device tree: no memory: no node with device_type = \"memory\" and a reg"
    );
    assert_eq!(
        change(|tree| {
            let node = tree.find("/memory").expect("added");
            tree.set_reg(node, &[(u64::MAX - 5, 7)]);
        }),
        "device tree: memory at 0xfffffffffffffffa with 0x7 bytes leaves the address space"
    );
    assert_eq!(
        change(|tree| {
            let node = tree.find("/cpus/cpu@1").expect("added");
            tree.set_cells(node, "reg", &[0]);
        }),
        "device tree: /cpus/cpu@1: 0x0 is no affinity, or the second of its kind"
    );
    assert_eq!(
        change(|tree| {
            let node = tree.find("/cpus/cpu@1").expect("added");
            tree.set_cells(node, "reg", &[0x8000_0001]);
        }),
        "device tree: /cpus/cpu@1: 0x80000001 is no affinity, or the second of its kind"
    );
    assert_eq!(
        change(|tree| {
            let node = tree.find("/intc@8000000").expect("added");
            tree.set_reg(node, &[(0x800_0000, 0x1_0000)]);
        }),
        "device tree: /intc@8000000: reg has too few entries, or addresses that no bus above it translates"
    );
    assert_eq!(
        change(|tree| {
            let node = tree.find("/intc@8000000").expect("added");
            tree.set_cells(node, "#redistributor-regions", &[u32::MAX]);
        }),
        "device tree: /intc@8000000: 4294967295 redistributor regions, more than 8"
    );
    assert_eq!(
        change(|tree| {
            let parent = tree.find("/cpus").expect("added");
            for index in 2..65 {
                let cpu = tree.add_child(parent, &format!("cpu@{index:x}")).expect("a name");
                tree.set_string(cpu, "device_type", "cpu");
                tree.set_cells(cpu, "reg", &[index]);
            }
        }),
        "device tree: 65 CPUs, more than the 64 the EL3 stub has stacks for"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Damaged trees give an error or facts, never a panic.
    #[test]
    fn damaged_trees(hits in prop::collection::vec((0usize..4000, any::<u8>()), 1..20)) {
        for tree in [samples::virt(), samples::model()] {
            let mut bytes = samples::blob(&tree);
            for &(at, value) in &hits {
                let length = bytes.len();
                bytes[at % length] = value;
            }
            if let Ok(tree) = Fdt::new(&bytes) {
                let _ = Board::read(&tree);
            }
        }
    }
}
