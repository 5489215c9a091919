//! What Dom0 is told: the host's device tree without what is the hypervisor's, and with what guests of Xen look for.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use fdt::{Cells, Error, NodeId, Tree};
use xen_abi::Release;

use super::affinity;
use crate::machine::{GicKind, MODULES, Machine};

/// Level-triggered, active low, on any CPU: the flags of an interrupt to a GIC before version 3.
const LEVEL_LOW: u32 = 0xf08;

/// What the tree says of the new domain.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Pieces of memory, as start and end.
    pub banks: &'a [(u64, u64)],
    /// The initial RAM disk, as start and end.
    pub ramdisk: Option<(u64, u64)>,
    /// Where the grant table may be mapped, and how large that is.
    pub grants: (u64, u64),
    /// The interrupt of event channels.
    pub events: u32,
    /// How many vCPUs there are.
    pub vcpus: usize,
    /// Which Xen it is.
    pub version: Release,
}

/// Says why a tree cannot be made.
fn wrong(error: Error) -> String {
    format!("device tree: {error}")
}

/// Makes Dom0's tree out of the host's.
///
/// # Errors
/// What the host's tree lacks.
pub fn build(machine: &Machine, host: &Tree, facts: &Facts<'_>) -> Result<Vec<u8>, String> {
    let mut tree = host.clone();
    let gic = tree.find(&machine.gic.path).ok_or("no interrupt controller")?;
    let gic_phandle = tree.ensure_phandle(gic).map_err(wrong)?;
    remove_hidden(&mut tree, machine);
    chosen(&mut tree, machine, facts).map_err(wrong)?;
    cpus(&mut tree, machine, host, facts).map_err(wrong)?;
    interrupt_controller(&mut tree, gic, machine);
    timer(&mut tree, machine, host, gic_phandle).map_err(wrong)?;
    memory(&mut tree, facts).map_err(wrong)?;
    firmware(&mut tree).map_err(wrong)?;
    hypervisor(&mut tree, facts, gic_phandle).map_err(wrong)?;
    tree.emit(&Default::default()).map_err(wrong)
}

/// Whether a node is never Dom0's.
fn is_hidden(tree: &Tree, node: NodeId, machine: &Machine) -> bool {
    const COMPATIBLES: [&str; 12] = [
        "arm,psci",
        "arm,psci-0.2",
        "arm,psci-1.0",
        "arm,armv7-timer-mem",
        "arm,cortex-a7-pmu",
        "arm,cortex-a15-pmu",
        "arm,armv8-pmuv3",
        "arm,cortex-a53-edac",
        "arm,gic-v3-its",
        "xen,xen",
        MODULES[0],
        MODULES[1],
    ];
    let path = tree.path(node);
    COMPATIBLES.iter().any(|name| tree.is_compatible(node, name))
        || machine.uart.as_ref().is_some_and(|uart| uart.path == path)
        || path == machine.timer_path
        || tree.string(node, "device_type") == Some("memory")
        || has_private_interrupt(tree, node, machine)
}

/// Whether a node's device raises a PPI: those are each CPU's own, and the hypervisor hands out none.
fn has_private_interrupt(tree: &Tree, node: NodeId, machine: &Machine) -> bool {
    if tree.path(node) == machine.gic.path || interrupt_parent(tree, node) != tree.find(&machine.gic.path) {
        return false;
    }
    let Some(value) = tree.get(node, "interrupts") else { return false };
    let cells: Vec<u32> = Cells::new(value).collect();
    cells.chunks_exact(3).any(|interrupt| interrupt[0] == 1)
}

fn interrupt_parent(tree: &Tree, node: NodeId) -> Option<NodeId> {
    let mut at = Some(node);
    while let Some(node) = at {
        if let Some(phandle) = tree.cell(node, "interrupt-parent") {
            return tree.find_phandle(phandle);
        }
        at = tree.parent(node);
    }
    None
}

fn remove_hidden(tree: &mut Tree, machine: &Machine) {
    let hidden: Vec<NodeId> = tree.walk(tree.root()).filter(|&node| is_hidden(tree, node, machine)).collect();
    hidden.into_iter().for_each(|node| tree.remove(node));
    let kept: Vec<NodeId> =
        tree.walk(tree.root()).filter(|&node| tree.get(node, "xen,passthrough").is_some()).collect();
    for node in kept {
        tree.remove_property(node, "xen,passthrough");
        tree.set_string(node, "status", "disabled");
    }
}

fn chosen(tree: &mut Tree, machine: &Machine, facts: &Facts<'_>) -> Result<(), Error> {
    let chosen = tree.ensure("/chosen")?;
    let gone = ["xen,xen-bootargs", "xen,dom0-bootargs", "stdout-path", "linux,initrd-start", "linux,initrd-end"];
    gone.iter().for_each(|name| {
        tree.remove_property(chosen, name);
    });
    let firmware: Vec<String> = tree
        .properties(chosen)
        .iter()
        .map(|property| property.name.to_string())
        .filter(|name| name.starts_with("linux,uefi-"))
        .collect();
    firmware.iter().for_each(|name| {
        tree.remove_property(chosen, name);
    });
    tree.set_string(chosen, "bootargs", &machine.dom0_arguments);
    if let Some((start, end)) = facts.ramdisk {
        tree.set_u64(chosen, "linux,initrd-start", start);
        tree.set_u64(chosen, "linux,initrd-end", end);
    }
    Ok(())
}

fn cpus(tree: &mut Tree, machine: &Machine, host: &Tree, facts: &Facts<'_>) -> Result<(), Error> {
    if let Some(old) = tree.find("/cpus") {
        tree.remove(old);
    }
    let folder = tree.ensure("/cpus")?;
    tree.set_cells(folder, "#address-cells", &[1]);
    tree.set_cells(folder, "#size-cells", &[0]);
    for vcpu in 0..facts.vcpus {
        let number = affinity(vcpu);
        let node = tree.add_child(folder, &format!("cpu@{number:x}"))?;
        let model = machine.cpus.get(vcpu).or(machine.cpus.first()).and_then(|cpu| host.find(&cpu.path));
        let of_model = |name| model.and_then(|model| host.get(model, name)).map(<[u8]>::to_vec);
        tree.set(node, "compatible", of_model("compatible").unwrap_or_else(|| b"arm,armv8\0".to_vec()));
        tree.set_string(node, "device_type", "cpu");
        tree.set_cells(node, "reg", &[number as u32]);
        tree.set_string(node, "enable-method", "psci");
        if let Some(frequency) = of_model("clock-frequency") {
            tree.set(node, "clock-frequency", frequency);
        }
    }
    Ok(())
}

fn interrupt_controller(tree: &mut Tree, gic: NodeId, machine: &Machine) {
    tree.remove_property(gic, "interrupts");
    let mut regions = alloc::vec![machine.gic.distributor];
    match &machine.gic.kind {
        &GicKind::V2 { interface, guest, .. } => regions.push((interface.0, interface.1.min(guest.1))),
        GicKind::V3 { redistributors, .. } => {
            regions.extend(redistributors);
            tree.set_cells(gic, "#redistributor-regions", &[redistributors.len() as u32]);
            // Redistributors are where software looks for them without being told a distance.
            tree.remove_property(gic, "redistributor-stride");
        }
    }
    tree.set_reg(gic, &regions);
}

fn timer(tree: &mut Tree, machine: &Machine, host: &Tree, gic: u32) -> Result<(), Error> {
    let node = tree.ensure("/timer")?;
    tree.set_string(node, "compatible", "arm,armv8-timer");
    let cells: Vec<u32> =
        machine.timer[..3].iter().flat_map(|interrupt| [1, interrupt.wrapping_sub(16), LEVEL_LOW]).collect();
    tree.set_cells(node, "interrupts", &cells);
    tree.set_cells(node, "interrupt-parent", &[gic]);
    if let Some(frequency) = host.find(&machine.timer_path).and_then(|timer| host.cell(timer, "clock-frequency")) {
        tree.set_cells(node, "clock-frequency", &[frequency]);
    }
    Ok(())
}

fn memory(tree: &mut Tree, facts: &Facts<'_>) -> Result<(), Error> {
    let first = facts.banks.first().map_or(0, |&(start, _)| start);
    let node = tree.ensure(&format!("/memory@{first:x}"))?;
    tree.set_string(node, "device_type", "memory");
    let pairs: Vec<(u64, u64)> = facts.banks.iter().map(|&(start, end)| (start, end - start)).collect();
    tree.set_reg(node, &pairs);
    Ok(())
}

fn firmware(tree: &mut Tree) -> Result<(), Error> {
    let node = tree.ensure("/psci")?;
    tree.set_strings(node, "compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
    tree.set_string(node, "method", "hvc");
    tree.set_cells(node, "cpu_off", &[1]);
    tree.set_cells(node, "cpu_on", &[2]);
    Ok(())
}

fn hypervisor(tree: &mut Tree, facts: &Facts<'_>, gic: u32) -> Result<(), Error> {
    let node = tree.ensure("/hypervisor")?;
    tree.set_strings(node, "compatible", &[&format!("xen,xen-{}", facts.version.name()), "xen,xen"]);
    tree.set_reg(node, &[facts.grants]);
    tree.set_cells(node, "interrupts", &[1, facts.events - 16, LEVEL_LOW]);
    tree.set_cells(node, "interrupt-parent", &[gic]);
    Ok(())
}

/// Returns the registers and windows of all devices that are Dom0's, as address and size, in the machine's addresses.
pub fn devices(host: &Tree, machine: &Machine) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for node in host.walk(host.root()) {
        let path = host.path(node);
        if is_hidden(host, node, machine) || path == machine.gic.path || path.starts_with("/reserved-memory") {
            continue;
        }
        if host.get(node, "xen,passthrough").is_some() {
            continue;
        }
        found.extend(host.reg(node).filter_map(|(address, size)| Some((host.to_cpu(node, address)?, size))));
        if host.string(node, "device_type") == Some("pci") {
            found.extend(windows(host, node));
        }
    }
    found.retain(|&(_, size)| size != 0);
    found
}

/// Returns the windows that a PCI host bridge opens.
fn windows(tree: &Tree, node: NodeId) -> Vec<(u64, u64)> {
    tree.ranges(node).filter_map(|[_, address, size]| Some((tree.to_cpu(node, address)?, size))).collect()
}
