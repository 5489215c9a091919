//! Edits of the device tree: what the hypervisor or kernel finds under `/chosen`, and how CPUs are switched on.
//!
//! Xen: docs/misc/arm/device-tree/booting.txt; Linux: Documentation/devicetree/bindings/{chosen,arm/psci,arm/cpus}.

use fdt::{EmitOptions, Error, NodeId, Reservation, Tree};

use crate::board::has_failed;
use crate::layout::Range;

/// A multiboot module: a node under `/chosen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Before `multiboot,module`: `multiboot,kernel`, `multiboot,ramdisk`, `xen,xsm-policy`.
    pub compatible: String,
    /// Where it lies.
    pub range: Range,
    /// The kernel's command line.
    pub bootargs: Option<String>,
}

/// What is started, as the tree has to tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A hypervisor with modules.
    Hypervisor {
        /// Its own command line.
        bootargs: String,
        /// What it finds in memory.
        modules: Vec<Module>,
    },
    /// Linux alone.
    Kernel {
        /// Its command line.
        bootargs: String,
        /// Its initramfs.
        ramdisk: Option<Range>,
    },
}

/// How the operating system gets the CPUs that did not boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnableMethod {
    /// As the tree already says.
    Keep,
    /// By SMC, from the stub.
    Psci,
    /// By an address written to a word: each CPU's affinity, and where its word is.
    SpinTable(Vec<(u64, u64)>),
}

/// Properties that whoever started this board before has left behind.
const STALE: &[&str] = &["linux,initrd-start", "linux,initrd-end", "bootargs", "xen,xen-bootargs", "xen,dom0-bootargs"];
/// Random at each dump of an emulator's tree; in an artifact they would be constant, which is worse than none.
const SEEDS: &[&str] = &["kaslr-seed", "rng-seed"];

/// Returns the tree with everything said that the boot needs. `stub` is memory that nobody else may touch.
pub fn edit(tree: &mut Tree, payload: &Payload, method: &EnableMethod, stub: Option<Range>) -> Result<(), Error> {
    let chosen = tree.ensure("/chosen")?;
    for name in STALE.iter().chain(SEEDS) {
        tree.remove_property(chosen, name);
    }
    for child in tree.children(chosen).to_vec() {
        if ["multiboot,module", "xen,multiboot-module"].iter().any(|name| tree.is_compatible(child, name)) {
            tree.remove(child);
        }
    }
    match payload {
        Payload::Hypervisor { bootargs, modules } => hypervisor(tree, chosen, bootargs, modules)?,
        Payload::Kernel { bootargs, ramdisk } => {
            tree.set_string(chosen, "bootargs", bootargs);
            if let Some(range) = ramdisk {
                tree.set_u64(chosen, "linux,initrd-start", range.start);
                tree.set_u64(chosen, "linux,initrd-end", range.end());
            }
        }
    }
    enable(tree, method)?;
    if let Some(range) = stub {
        tree.reservations.push(Reservation { address: range.start, size: range.size_bytes });
    }
    Ok(())
}

fn hypervisor(tree: &mut Tree, chosen: NodeId, bootargs: &str, modules: &[Module]) -> Result<(), Error> {
    // Cells are the parent's business: without these, `reg` would be read with the defaults 2 and 1.
    tree.set_cells(chosen, "#address-cells", &[2]);
    tree.set_cells(chosen, "#size-cells", &[2]);
    tree.set_string(chosen, "xen,xen-bootargs", bootargs);
    for module in modules {
        let node = tree.add_child(chosen, &format!("module@{:x}", module.range.start))?;
        tree.set_strings(node, "compatible", &[&module.compatible, "multiboot,module"]);
        tree.set_reg(node, &[(module.range.start, module.range.size_bytes)]);
        if let Some(text) = &module.bootargs {
            tree.set_string(node, "bootargs", text);
            if module.compatible == "multiboot,kernel" {
                tree.set_string(chosen, "xen,dom0-bootargs", text);
            }
        }
    }
    Ok(())
}

fn enable(tree: &mut Tree, method: &EnableMethod) -> Result<(), Error> {
    if *method == EnableMethod::Keep {
        return Ok(());
    }
    let root = tree.root();
    let firmware: Vec<NodeId> = tree
        .walk(root)
        .filter(|&node| ["arm,psci", "arm,psci-0.2", "arm,psci-1.0"].iter().any(|name| tree.is_compatible(node, name)))
        .collect();
    // What earlier firmware offered, and in which way, is gone.
    firmware.into_iter().for_each(|node| tree.remove(node));
    if *method == EnableMethod::Psci {
        let psci = tree.add_child(root, "psci")?;
        tree.set_strings(psci, "compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
        tree.set_string(psci, "method", "smc");
        // For systems that know only version 0.1, which has no fixed function numbers.
        tree.set_cells(psci, "cpu_suspend", &[0xc400_0001]);
        tree.set_cells(psci, "cpu_off", &[0x8400_0002]);
        tree.set_cells(psci, "cpu_on", &[0xc400_0003]);
    }
    let cpus = tree.ensure("/cpus")?;
    let words: &[(u64, u64)] = match method {
        EnableMethod::SpinTable(words) => words,
        _ => &[],
    };
    for cpu in tree.children(cpus).to_vec() {
        if tree.string(cpu, "device_type") != Some("cpu") && !fdt::name_matches(tree.name(cpu), "cpu") {
            continue;
        }
        // Power-down states belong to the firmware that the tree was written for.
        tree.remove_property(cpu, "cpu-idle-states");
        tree.remove_property(cpu, "cpu-release-addr");
        // By affinity, not by count: the stub does not know CPUs that the board says have failed.
        let affinity = tree.reg(cpu).next().map(|(affinity, _)| affinity);
        let word = words.iter().find(|&&(own, _)| Some(own) == affinity);
        if has_failed(tree.string(cpu, "status")) {
            tree.remove_property(cpu, "enable-method");
        } else if *method == EnableMethod::Psci {
            tree.set_string(cpu, "enable-method", "psci");
        } else if let Some(&(_, address)) = word {
            tree.set_string(cpu, "enable-method", "spin-table");
            tree.set_u64(cpu, "cpu-release-addr", address);
        }
    }
    Ok(())
}

/// Writes the blob, with a little room for a loader that adds to it in place.
pub fn emit(tree: &Tree) -> Result<Vec<u8>, Error> {
    tree.emit(&EmitOptions { padding: 1024, align: 8, ..EmitOptions::default() })
}
