//! What Dom0 is told: the host's device tree without what is the hypervisor's, and with what guests of Xen look for.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use fdt::{Error, NodeId, Tree};
use xen_abi::Release;

use super::affinity;
use crate::machine::{GicKind, MODULES, Machine, interrupt};

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
    /// For each of the machine's regions of redistributors, the bytes that the vCPUs' own take.
    pub redistributors: &'a [u64],
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
    tree.ensure_phandle(gic).map_err(wrong)?;
    remove_hidden(&mut tree, machine);
    chosen(&mut tree, machine, facts).map_err(wrong)?;
    cpus(&mut tree, machine, host, facts).map_err(wrong)?;
    interrupt_controller(&mut tree, gic, machine, facts);
    timer(&mut tree, machine, host, gic).map_err(wrong)?;
    memory(&mut tree, facts).map_err(wrong)?;
    reserved_memory(&mut tree, host, facts).map_err(wrong)?;
    firmware(&mut tree).map_err(wrong)?;
    hypervisor(&mut tree, facts, gic).map_err(wrong)?;
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
    let Some(gic) = tree.find(&machine.gic.path).filter(|&gic| gic != node) else { return false };
    interrupt::all(tree, node, gic).into_iter().flatten().any(|(interrupt, _)| interrupt < 32)
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

/// The controller's registers stay where they are, in the words of the bus that it is on: fewer of them.
fn interrupt_controller(tree: &mut Tree, gic: NodeId, machine: &Machine, facts: &Facts<'_>) {
    tree.remove_property(gic, "interrupts");
    tree.remove_property(gic, "interrupts-extended");
    let given: Vec<(u64, u64)> = tree.reg(gic).collect();
    let Some((&distributor, given)) = given.split_first() else { return };
    let mut regions = alloc::vec![distributor];
    match &machine.gic.kind {
        GicKind::V2 { interface, guest, .. } => {
            regions.extend(given.first().map(|&(start, _)| (start, interface.1.min(guest.1))));
        }
        GicKind::V3 { .. } => {
            let share = given.iter().zip(facts.redistributors).map(|(&(start, _), &size)| (start, size));
            regions.extend(share.filter(|&(_, size)| size != 0));
            tree.set_cells(gic, "#redistributor-regions", &[regions.len() as u32 - 1]);
            // Redistributors are where software looks for them without being told a distance.
            tree.remove_property(gic, "redistributor-stride");
        }
    }
    tree.set_reg(gic, &regions);
}

fn timer(tree: &mut Tree, machine: &Machine, host: &Tree, gic: NodeId) -> Result<(), Error> {
    let node = tree.ensure("/timer")?;
    tree.set_string(node, "compatible", "arm,armv8-timer");
    let cells: Vec<u32> =
        machine.timer[..3].iter().flat_map(|&timer| interrupt::private(tree, gic, timer, LEVEL_LOW)).collect();
    tree.set_cells(node, "interrupts", &cells);
    let gic = tree.ensure_phandle(gic)?;
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

/// Memory that firmware or drivers keep is Dom0's to reach, as with upstream: it is memory, and /reserved-memory says that it is taken.
fn reserved_memory(tree: &mut Tree, host: &Tree, facts: &Facts<'_>) -> Result<(), Error> {
    let Some(folder) = host.find("/reserved-memory") else { return Ok(()) };
    let is_new = |start: u64, size: u64| {
        size != 0 && !facts.banks.iter().any(|&(low, high)| low < start.saturating_add(size) && start < high)
    };
    let regions = host.children(folder).iter().flat_map(|&node| host.reg(node));
    let regions: Vec<(u64, u64)> = regions.filter(|&(start, size)| is_new(start, size)).collect();
    let Some(&(first, _)) = regions.first() else { return Ok(()) };
    let node = tree.ensure(&format!("/memory@{first:x}"))?;
    tree.set_string(node, "device_type", "memory");
    tree.set_reg(node, &regions);
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

fn hypervisor(tree: &mut Tree, facts: &Facts<'_>, gic: NodeId) -> Result<(), Error> {
    let node = tree.ensure("/hypervisor")?;
    tree.set_strings(node, "compatible", &[&format!("xen,xen-{}", facts.version.name()), "xen,xen"]);
    tree.set_reg(node, &[facts.grants]);
    let cells = interrupt::private(tree, gic, facts.events, LEVEL_LOW);
    tree.set_cells(node, "interrupts", &cells);
    let gic = tree.ensure_phandle(gic)?;
    tree.set_cells(node, "interrupt-parent", &[gic]);
    Ok(())
}

/// Returns the registers and windows of all devices that are Dom0's, as address and size, in the machine's addresses.
pub fn devices(host: &Tree, machine: &Machine) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for node in host.walk(host.root()) {
        let path = host.path(node);
        if is_hidden(host, node, machine) || path == machine.gic.path {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose controller has four cells for an interrupt, three regions of redistributors, and stands behind a bus.
    fn host() -> Tree {
        let mut tree = Tree::new();
        let root = tree.root();
        tree.set_cells(root, "#address-cells", &[2]);
        tree.set_cells(root, "#size-cells", &[2]);
        tree.set_cells(root, "interrupt-parent", &[1]);
        let folder = tree.ensure("/reserved-memory").unwrap();
        tree.set_cells(folder, "#address-cells", &[2]);
        tree.set_cells(folder, "#size-cells", &[2]);
        tree.set_flag(folder, "ranges");
        let kept = tree.ensure("/reserved-memory/pool@5f000000").unwrap();
        tree.set_reg(kept, &[(0x5f00_0000, 0x10_0000)]);
        let timer = tree.ensure("/clock").unwrap();
        tree.set_string(timer, "compatible", "arm,armv8-timer");
        let soc = tree.ensure("/soc").unwrap();
        tree.set_cells(soc, "#address-cells", &[1]);
        tree.set_cells(soc, "#size-cells", &[1]);
        tree.set_cells(soc, "ranges", &[0, 1, 0, 0x1000_0000]);
        let gic = tree.ensure("/soc/gic@800000").unwrap();
        tree.set_string(gic, "compatible", "arm,gic-v3");
        tree.set_cells(gic, "phandle", &[1]);
        tree.set_cells(gic, "#interrupt-cells", &[4]);
        tree.set_cells(gic, "#redistributor-regions", &[3]);
        let places = [(0x80_0000, 0x1_0000), (0x90_0000, 0x4_0000), (0xa0_0000, 0x1000), (0xb0_0000, 0x8_0000)];
        tree.set_reg(gic, &places);
        for (name, interrupts) in [("own", [1, 7, 4, 0]), ("shared", [0, 7, 4, 0])] {
            let node = tree.ensure(&format!("/soc/{name}")).unwrap();
            tree.set_cells(node, "interrupts", &interrupts);
        }
        let extended = tree.ensure("/soc/extended").unwrap();
        tree.set_cells(extended, "interrupts-extended", &[1, 0, 7, 4, 0, 1, 1, 7, 4, 0]);
        tree
    }

    fn machine(host: &Tree) -> Machine {
        let mut tree = host.clone();
        let timer = tree.find("/clock").unwrap();
        tree.set_cells(timer, "interrupts", &[1, 13, 8, 0, 1, 14, 8, 0, 1, 11, 8, 0, 1, 10, 8, 0]);
        let bytes = tree.emit(&Default::default()).unwrap();
        Machine::read(&fdt::Fdt::new(&bytes).unwrap(), &tree).unwrap()
    }

    fn dom0(host: &Tree) -> Tree {
        let facts = Facts {
            banks: &[(0x4000_0000, 0x5000_0000)],
            ramdisk: None,
            grants: (0x3900_0000, 0x4_0000),
            events: 16,
            vcpus: 3,
            redistributors: &[0x4_0000, 0, 0x2_0000],
            version: Release::V4_17,
        };
        Tree::parse(&build(&machine(host), host, &facts).unwrap()).unwrap()
    }

    #[test]
    fn interrupts_have_the_controllers_cells() {
        let tree = dom0(&host());
        let cells = |path: &str| fdt::Cells::new(tree.get(tree.find(path).unwrap(), "interrupts").unwrap()).collect();
        let hypervisor: Vec<u32> = cells("/hypervisor");
        assert_eq!(hypervisor, [1, 0, LEVEL_LOW, 0]);
        let timer: Vec<u32> = cells("/timer");
        assert_eq!(timer, [1, 13, LEVEL_LOW, 0, 1, 14, LEVEL_LOW, 0, 1, 11, LEVEL_LOW, 0]);
        // Devices with private interrupts are nobody's, however they say so.
        let has = |name: &str| tree.find(&format!("/soc/{name}")).is_some();
        assert_eq!([has("own"), has("shared"), has("extended")], [false, true, false]);
    }

    #[test]
    fn redistributors_are_those_that_are_there_in_the_buss_words() {
        let tree = dom0(&host());
        let gic = tree.find("/soc/gic@800000").unwrap();
        let regions: Vec<(u64, u64)> = tree.reg(gic).collect();
        assert_eq!(regions, [(0x80_0000, 0x1_0000), (0x90_0000, 0x4_0000), (0xb0_0000, 0x2_0000)]);
        assert_eq!(tree.cell(gic, "#redistributor-regions"), Some(2));
    }

    #[test]
    fn what_is_reserved_is_dom0s_to_reach() {
        let host = host();
        assert!(devices(&host, &machine(&host)).contains(&(0x5f00_0000, 0x10_0000)));
        let tree = dom0(&host);
        let memory: Vec<_> = tree.reg(tree.find("/memory@5f000000").unwrap()).collect();
        assert_eq!(memory, [(0x5f00_0000, 0x10_0000)]);
        assert!(tree.find("/reserved-memory/pool@5f000000").is_some());
    }
}
