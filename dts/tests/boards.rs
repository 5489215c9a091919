//! The boards agree with the machines: QEMU's own tree, and what Linux says about Arm's models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use dts::boards::{Boards, NAMES, get};
use fdt::{Cells, NodeId, Tree};

fn compile(name: &str, defines: &[(&str, &str)]) -> Tree {
    let defines = defines.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let options = dts::Options { defines, ..Default::default() };
    let output = dts::compile(&Boards, &format!("{name}.dts"), &options).unwrap_or_else(|error| panic!("{error}"));
    assert!(output.warnings.items.is_empty(), "{}", output.warnings);
    Tree::parse(&output.dtb).unwrap()
}

#[test]
fn every_board_compiles_as_it_stands() {
    for name in NAMES {
        let tree = compile(name, &[]);
        assert!(tree.find("/memory").is_some() && tree.find("/cpus/cpu").is_some(), "{name}");
        assert!(get(name).unwrap().contains("/dts-v1/"));
    }
    assert!(get("arm.h").is_none());
}

#[test]
fn parameters_out_of_range_are_refused() {
    for (name, define, value) in
        [("qemu-virt", "GIC_VERSION", "4"), ("qemu-virt", "CPUS", "9"), ("foundation-v8", "CPUS", "5")]
    {
        let options = dts::Options { defines: vec![(define.into(), value.into())], ..Default::default() };
        let error = dts::compile(&Boards, &format!("{name}.dts"), &options).unwrap_err();
        assert!(error.to_string().contains(define), "{error}");
    }
}

/// One way to start QEMU, and the parameters that say the same to the board.
struct Machine {
    options: &'static str,
    cpus: &'static str,
    memory: &'static str,
    defines: &'static [(&'static str, &'static str)],
}

/// Properties of QEMU's tree that the board does not have, and why.
const NOT_OURS: [(&str, &str); 2] =
    [("rng-seed", "drawn anew by every run"), ("kaslr-seed", "drawn anew by every run")];

/// Where phandles sit in a property: (first cell, cells from one to the next).
fn phandle_cells(property: &str) -> Option<(usize, usize)> {
    Some(match property {
        "interrupt-parent" | "clocks" | "cpu" => (0, 1),
        "gpios" => (0, 3),
        "msi-map" => (1, 4),
        "interrupt-map" => (4, 10),
        "phandle" => (0, 1),
        _ => return None,
    })
}

/// Returns every property as `path:name` with its cells, phandles replaced by paths.
fn facts(tree: &Tree) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for node in tree.walk(tree.root()) {
        let path = tree.path(node);
        facts.insert(path.clone(), String::new());
        for property in tree.properties(node).iter().filter(|property| property.name != "phandle") {
            let value = match phandle_cells(&property.name) {
                Some((first, step)) => Cells::new(&property.value)
                    .enumerate()
                    .map(|(index, cell)| match index >= first && (index - first) % step == 0 {
                        true => tree.path(tree.find_phandle(cell).unwrap_or(tree.root())) + " ",
                        false => format!("{cell:#x} "),
                    })
                    .collect(),
                None => format!("{:02x?} {}", property.value, String::from_utf8_lossy(&property.value)),
            };
            facts.insert(format!("{path}:{}", property.name), value);
        }
    }
    facts
}

#[test]
fn qemu_virt_is_what_qemu_says() {
    let machines = [
        Machine {
            options: "virtualization=on,gic-version=3",
            cpus: "2",
            memory: "1024",
            defines: &[("GIC_VERSION", "3"), ("CPUS", "2"), ("MEMORY_SIZE", "0x40000000")],
        },
        Machine {
            options: "virtualization=on,gic-version=2",
            cpus: "4",
            memory: "6144",
            defines: &[("GIC_VERSION", "2"), ("CPUS", "4"), ("MEMORY_SIZE", "6442450944")],
        },
        Machine {
            options: "gic-version=2",
            cpus: "1",
            memory: "512",
            defines: &[("GIC_VERSION", "2"), ("MEMORY_SIZE", "0x20000000"), ("VIRTUALIZATION", "0")],
        },
        Machine {
            options: "virtualization=on,secure=on,gic-version=3",
            cpus: "8",
            memory: "1024",
            defines: &[("GIC_VERSION", "3"), ("CPUS", "8"), ("SECURE", "1")],
        },
    ];
    for machine in machines {
        let dump = Path::new(env!("CARGO_TARGET_TMPDIR")).join("virt.dtb");
        let result = Command::new("qemu-system-aarch64")
            .args(["-display", "none", "-cpu", "cortex-a57", "-smp", machine.cpus, "-m", machine.memory, "-M"])
            .arg(format!("virt,{},dumpdtb={}", machine.options, dump.display()))
            .output();
        let Ok(result) = result else {
            eprintln!("qemu-system-aarch64 is not installed: this comparison is skipped");
            return;
        };
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        let mut theirs = facts(&Tree::parse(&std::fs::read(&dump).unwrap()).unwrap());
        theirs.retain(|name, _| !NOT_OURS.iter().any(|(property, _)| name.ends_with(&format!(":{property}"))));
        let ours = facts(&compile("qemu-virt", machine.defines));
        for (name, value) in &theirs {
            assert_eq!(ours.get(name), Some(value), "{}: {name}", machine.options);
        }
        for name in ours.keys() {
            assert!(theirs.contains_key(name), "{}: QEMU does not have {name}", machine.options);
        }
    }
}

/// A device as a driver sees it: what it is, where, and on which interrupts of the GIC.
type Device = (String, Vec<(u64, u64)>, Vec<Vec<u32>>);

/// Translates an address of `node`'s bus up to the CPU's.
fn to_cpu(tree: &Tree, bus: NodeId, address: u64) -> Option<u64> {
    let Some(parent) = tree.parent(bus) else { return Some(address) };
    let ranges = tree.get(bus, "ranges")?;
    if ranges.is_empty() {
        return to_cpu(tree, parent, address);
    }
    let ((child_cells, size_cells), (parent_cells, _)) = (tree.cells(bus), tree.cells(parent));
    let mut cells = Cells::new(ranges);
    while let (Some(child), Some(up), Some(size)) =
        (cells.number(child_cells), cells.number(parent_cells), cells.number(size_cells))
    {
        if (child..child.saturating_add(size)).contains(&address) {
            return to_cpu(tree, parent, address - child + up);
        }
    }
    None
}

/// Returns the GIC's specifiers of a node's interrupts, through the bus's `interrupt-map` if it has one. CPU masks,
/// which only GICv2 heeds, are left out unless `with_mask`.
fn interrupts(tree: &Tree, node: NodeId, with_mask: bool) -> Vec<Vec<u32>> {
    let Some(value) = tree.get(node, "interrupts") else { return Vec::new() };
    let cells: Vec<u32> = Cells::new(value).collect();
    let mut bus = Some(node);
    while let Some(at) = bus {
        if let Some(map) = tree.get(at, "interrupt-map") {
            // The vexpress bus: child address (2), interrupt, GIC, its address cells, specifier (3).
            let map: Vec<u32> = Cells::new(map).collect();
            let gic = tree.find_phandle(map[3]).unwrap();
            let width = 4 + tree.cell(gic, "#address-cells").unwrap() as usize + 3;
            let find = |cell: &u32| map.chunks(width).find(|row| row[2] == *cell).unwrap()[width - 3..].to_vec();
            return cells.iter().map(find).collect();
        }
        bus = tree.parent(at);
    }
    let keep = if with_mask { u32::MAX } else { 0xff };
    cells.chunks(3).map(|cells| vec![cells[0], cells[1], cells[2] & keep]).collect()
}

fn devices(tree: &Tree, with_mask: bool) -> BTreeSet<Device> {
    let mut found = BTreeSet::new();
    for node in tree.walk(tree.root()) {
        let compatible: Vec<_> = tree.strings(node, "compatible").collect();
        let parent = tree.parent(node).unwrap_or(node);
        let is_cpu = tree.string(node, "device_type") == Some("cpu");
        let place = |(address, size)| (if is_cpu { address } else { to_cpu(tree, parent, address).unwrap() }, size);
        let mut reg: Vec<_> = tree.reg(node).map(place).collect();
        if tree.is_compatible(node, "simple-bus") {
            continue; // how buses nest is each source's own choice
        }
        if tree.is_compatible(node, "arm,fvp-base-revc") || compatible.is_empty() && reg.is_empty() {
            continue;
        }
        reg.sort();
        found.insert((compatible.join(" "), reg, interrupts(tree, node, with_mask)));
    }
    found
}

/// Needs a Linux source tree: every device of its sources for the models is in ours at the same place, and the other
/// way round. What differs on purpose is listed with its reason.
#[test]
#[ignore = "conformance: needs XENBUILD_LINUX_SOURCE, an unpacked Linux source tree"]
fn the_models_are_what_linux_says() {
    let folder = std::env::var("XENBUILD_LINUX_SOURCE").expect("XENBUILD_LINUX_SOURCE names a Linux source tree");
    type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
    let cases: [Case; 5] = [
        ("foundation-v8", "foundation-v8", &[("GIC_VERSION", "2"), ("PSCI", "0")]),
        ("foundation-v8-psci", "foundation-v8", &[("GIC_VERSION", "2")]),
        ("foundation-v8-gicv3", "foundation-v8", &[("PSCI", "0")]),
        ("foundation-v8-gicv3-psci", "foundation-v8", &[]),
        ("fvp-base-revc", "fvp-base-revc", &[]),
    ];
    // FVP's firmware offers PSCI 1.0 and more, Linux' source names only what 0.2 already had.
    let on_purpose = ["arm,psci-0.2", "arm,psci-1.0 arm,psci-0.2"];
    for (theirs, ours, defines) in cases {
        let root = PathBuf::from(&folder);
        let source = root.join(format!("arch/arm64/boot/dts/arm/{theirs}.dts"));
        let options = dts::Options {
            include_dirs: vec![root.join("scripts/dtc/include-prefixes").display().to_string()],
            ..Default::default()
        };
        let output = dts::compile(&Files, source.to_str().unwrap(), &options).unwrap_or_else(|error| panic!("{error}"));
        let with_mask = defines.contains(&("GIC_VERSION", "2"));
        let theirs_tree = Tree::parse(&output.dtb).unwrap();
        let ours_tree = compile(ours, defines);
        let (a, b) = (devices(&theirs_tree, with_mask), devices(&ours_tree, with_mask));
        let differences: Vec<_> =
            a.symmetric_difference(&b).filter(|device| !on_purpose.contains(&&*device.0)).collect();
        assert!(differences.is_empty(), "{theirs}: {differences:#x?}");
        // A spin table lies in memory that Linux' sources reserve always, ours only where there is one.
        if defines.contains(&("PSCI", "0")) {
            assert_eq!(theirs_tree.reservations, ours_tree.reservations);
        }
    }
}

struct Files;

impl dts::Loader for Files {
    fn load(&self, path: &str) -> Result<Vec<u8>, dts::LoadError> {
        std::fs::read(path).map_err(|_| dts::LoadError::NotFound)
    }
}
