//! What the host's device tree says this machine has. Reads; takes nothing.

pub mod options;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use fdt::{Fdt, Node};

use crate::arch::GicPlace;
use crate::arch::smp::Way;
use crate::memory::ranges::{Full, Ranges};
use options::Options;

/// Compatibles of boot modules.
pub const MODULES: [&str; 2] = ["multiboot,module", "xen,multiboot-module"];

/// Pieces of memory that are understood.
pub type Pieces = Ranges<32>;

/// Memory as it is before anybody takes some.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// All of it that may be used, but for what firmware keeps.
    pub usable: Pieces,
    /// Modules and the device tree: used until Dom0 is built.
    pub boot: Pieces,
    /// Free, but kept in one piece until Dom0 has taken its own.
    pub later: Pieces,
}

/// Returns where memory is. Needs no heap.
///
/// # Errors
/// [`Full`].
pub fn memory(tree: &Fdt<'_>, tree_address: u64) -> Result<Memory, Full> {
    let mut memory = Memory::default();
    for (_, node) in tree.descendants() {
        if node.property("device_type").and_then(|kind| kind.as_str()) == Some("memory") && node.is_available() {
            node.reg().try_for_each(|(start, size)| memory.usable.add(start, start.saturating_add(size)))?;
        }
    }
    for (_, start, size) in module_nodes(tree) {
        memory.boot.add(page(start), page_up(start, size))?;
    }
    memory.boot.add(page(tree_address), page_up(tree_address, tree.as_bytes().len() as u64))?;
    for reservation in tree.reservations() {
        memory.usable.remove(page(reservation.address), page_up(reservation.address, reservation.size))?;
    }
    if let Some(reserved) = tree.find("/reserved-memory") {
        for (start, size) in reserved.children().flat_map(|node| node.reg()) {
            memory.usable.remove(page(start), page_up(start, size))?;
        }
    }
    memory.usable.align(4096);
    Ok(memory)
}

/// Returns the nodes of modules below /chosen with the first address and size of each. A folder that does not say how many cells they
/// have is like the one above it, as upstream has it, and QEMU's guest loader relies on.
fn module_nodes<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = (Node<'a>, u64, u64)> + use<'a> {
    /// A module is at most three folders deep.
    const DEPTH: usize = 3;
    let mut cells = [(2, 1); DEPTH + 1];
    let mut in_chosen = false;
    tree.descendants().filter_map(move |(depth, node)| {
        if depth == 1 {
            in_chosen = node.name() == "chosen";
        }
        if depth > DEPTH {
            return None;
        }
        let inherited = depth.checked_sub(1).map_or((2, 1), |above| cells[above]);
        let count = |name, inherited| node.property(name).and_then(|value| value.as_u32()).unwrap_or(inherited);
        cells[depth] = (count("#address-cells", inherited.0), count("#size-cells", inherited.1));
        if !in_chosen || !MODULES.iter().any(|module| node.is_compatible(module)) {
            return None;
        }
        let reg = node.property("reg").map_or(&[][..], |reg| reg.value);
        let (start, size) = fdt::Reg::new(reg, inherited.0, inherited.1).next()?;
        Some((node, start, size))
    })
}

fn page(address: u64) -> u64 {
    address & !4095
}

fn page_up(address: u64, size: u64) -> u64 {
    address.saturating_add(size).saturating_add(4095) & !4095
}

/// The interrupt controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gic {
    /// Path of its node.
    pub path: String,
    /// Distributor.
    pub distributor: (u64, u64),
    /// The rest, which differs.
    pub kind: GicKind,
    /// The interrupt by which list registers ask for attention.
    pub maintenance: u32,
}

/// What versions of the interrupt controller do not have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GicKind {
    /// GICv2.
    V2 {
        /// GICC, the CPU interface.
        interface: (u64, u64),
        /// GICH, what guests' interrupts are put into.
        control: (u64, u64),
        /// GICV, what guests see as their CPU interface.
        guest: (u64, u64),
    },
    /// GICv3.
    V3 {
        /// Regions of redistributors.
        redistributors: Vec<(u64, u64)>,
        /// Distance of redistributors, if the tree says.
        stride: Option<u64>,
    },
}

impl Gic {
    /// Returns the registers that are the hypervisor's alone, as address and size each.
    pub fn registers(&self) -> Vec<(u64, u64)> {
        let mut all = alloc::vec![self.distributor];
        match &self.kind {
            GicKind::V2 { interface, control, guest } => all.extend([interface, control, guest]),
            GicKind::V3 { redistributors, .. } => all.extend(redistributors),
        }
        all
    }

    /// Returns where the driver finds the controller.
    pub fn place(&self) -> GicPlace<'_> {
        let distributor = self.distributor;
        match &self.kind {
            &GicKind::V2 { interface, control, .. } => GicPlace::V2 { distributor, interface, control },
            GicKind::V3 { redistributors, stride } => GicPlace::V3 { distributor, redistributors, stride: *stride },
        }
    }
}

/// A CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// MPIDR's affinity fields.
    pub affinity: u64,
    /// How to start it.
    pub way: Option<Way>,
    /// Path of its node.
    pub path: String,
}

/// The kinds of UART that are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UartKind {
    /// Arm's PrimeCell PL011, or what SBSA makes of it.
    Pl011,
    /// 8250 and its heirs.
    Ns8250 {
        /// Registers are this many address bits apart.
        shift: u32,
        /// Registers are accessed as 32-bit words.
        wide: bool,
        /// There is room for the registers that DesignWare's has besides, under whatever name a tree calls it.
        extended: bool,
    },
}

/// The console's UART.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uart {
    /// Its kind.
    pub kind: UartKind,
    /// Registers.
    pub registers: (u64, u64),
    /// Its interrupt.
    pub interrupt: Option<u32>,
    /// Path of its node.
    pub path: String,
}

/// What a module is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// A kernel.
    Kernel,
    /// An initial RAM disk.
    Ramdisk,
    /// Something else, by its compatible or its place.
    Other,
}

/// A module that the loader left in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// What it is for.
    pub kind: ModuleKind,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Its command line.
    pub arguments: Option<String>,
}

/// Everything the hypervisor wants to know.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Interrupt controller.
    pub gic: Gic,
    /// CPUs, in the tree's order.
    pub cpus: Vec<Cpu>,
    /// Whether there is firmware that answers PSCI's SMCs.
    pub firmware: bool,
    /// Timer interrupts: secure, non-secure physical, virtual, EL2's.
    pub timer: [u32; 4],
    /// Path of the timer's node.
    pub timer_path: String,
    /// Console.
    pub uart: Option<Uart>,
    /// Modules for Dom0.
    pub modules: Vec<Module>,
    /// Our own command line.
    pub arguments: String,
    /// Dom0's command line.
    pub dom0_arguments: String,
    /// Our command line, understood.
    pub options: Options,
}

impl Machine {
    /// Reads the tree.
    ///
    /// # Errors
    /// What is missing or not understood.
    pub fn read(tree: &Fdt<'_>) -> Result<Machine, String> {
        let modules = modules(tree);
        let (arguments, dom0_arguments) = command_lines(tree, &modules);
        let options = Options::parse(&arguments);
        Ok(Machine {
            gic: gic(tree)?,
            cpus: cpus(tree),
            firmware: calls_by_hvc(tree) == Some(false),
            timer: timer(tree)?.0,
            timer_path: timer(tree)?.1,
            uart: uart(tree, options.dtuart.as_deref()),
            modules,
            arguments,
            dom0_arguments,
            options,
        })
    }

    /// Returns the module of a kind.
    pub fn module(&self, kind: ModuleKind) -> Option<&Module> {
        self.modules.iter().find(|module| module.kind == kind)
    }
}

/// Decodes one interrupt of three cells (kind, number, flags): its number, and whether it is an edge.
pub fn interrupt(cells: &[u32]) -> Option<(u32, bool)> {
    let &[kind, number, flags, ..] = cells else { return None };
    let edge = flags & 0xf <= 2;
    match kind {
        0 if number < 988 => Some((number + 32, edge)),
        1 if number < 16 => Some((number + 16, edge)),
        _ => None,
    }
}

/// Returns a node's interrupts, of three cells each.
fn interrupts(node: &Node<'_>) -> Vec<(u32, bool)> {
    let cells: Vec<u32> = node.property("interrupts").map(|value| value.cells().collect()).unwrap_or_default();
    cells.chunks_exact(3).filter_map(interrupt).collect()
}

/// Compatibles of GICv2s that have what guests need.
const GICS_V2: [&str; 3] = ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic"];

fn gic(tree: &Fdt<'_>) -> Result<Gic, String> {
    if let Some(node) = tree.find_compatible("arm,gic-v3").next() {
        return gic_v3(&node);
    }
    let node = GICS_V2.iter().find_map(|name| tree.find_compatible(name).next());
    gic_v2(&node.ok_or("no GICv2 and no GICv3 in the device tree")?)
}

fn maintenance(node: &Node<'_>) -> u32 {
    interrupts(node).first().map_or(25, |&(interrupt, _)| interrupt)
}

fn gic_v2(node: &Node<'_>) -> Result<Gic, String> {
    let regions: Vec<(u64, u64)> = node.reg().collect();
    let &[distributor, interface, control, guest, ..] = &regions[..] else {
        return Err("the GICv2's node does not say where GICH and GICV are".into());
    };
    let kind = GicKind::V2 { interface, control, guest };
    Ok(Gic { path: node.path(), distributor, kind, maintenance: maintenance(node) })
}

fn gic_v3(node: &Node<'_>) -> Result<Gic, String> {
    let regions: Vec<(u64, u64)> = node.reg().collect();
    let count = node.property("#redistributor-regions").and_then(|value| value.as_u32()).unwrap_or(1) as usize;
    let (&distributor, rest) = regions.split_first().ok_or("the GIC's node has no reg")?;
    let redistributors = rest.get(..count).ok_or("the GIC's node has fewer regions than it says")?.to_vec();
    if redistributors.is_empty() {
        return Err("the GIC's node has no redistributors".into());
    }
    let stride = node.property("redistributor-stride").and_then(|value| value.as_u64());
    let kind = GicKind::V3 { redistributors, stride };
    Ok(Gic { path: node.path(), distributor, kind, maintenance: maintenance(node) })
}

fn timer(tree: &Fdt<'_>) -> Result<([u32; 4], String), String> {
    let node = ["arm,armv8-timer", "arm,armv7-timer"]
        .iter()
        .find_map(|name| tree.find_compatible(name).next())
        .ok_or("no timer in the device tree")?;
    let list = interrupts(&node);
    let number = |index: usize| list.get(index).map(|&(interrupt, _)| interrupt).ok_or("the timer lacks interrupts");
    Ok(([number(0)?, number(1)?, number(2)?, number(3)?], node.path()))
}

/// Returns whether PSCI, if it is there, is called by HVC.
fn calls_by_hvc(tree: &Fdt<'_>) -> Option<bool> {
    ["arm,psci", "arm,psci-0.2", "arm,psci-1.0"]
        .iter()
        .find_map(|name| tree.find_compatible(name).next())
        .map(|node| node.property("method").and_then(|method| method.as_str()) == Some("hvc"))
}

fn cpus(tree: &Fdt<'_>) -> Vec<Cpu> {
    let hvc = calls_by_hvc(tree);
    let Some(folder) = tree.find("/cpus") else { return Vec::new() };
    let mut cpus = Vec::new();
    for node in folder.children() {
        if node.property("device_type").and_then(|kind| kind.as_str()) != Some("cpu") {
            continue;
        }
        let Some(reg) = node.property("reg").and_then(|reg| reg.as_u64()) else { continue };
        let release = node.property("cpu-release-addr").and_then(|address| address.as_u64());
        let way = match node.property("enable-method").and_then(|method| method.as_str()) {
            Some("psci") => hvc.map(|hvc| Way::Psci { hvc }),
            Some("spin-table") => release.map(Way::SpinTable),
            _ => None,
        };
        cpus.push(Cpu { affinity: reg, way, path: node.path() });
    }
    cpus
}

/// Returns the node that a path or alias names; what follows a colon is options.
fn named<'a>(tree: &Fdt<'a>, name: &str) -> Option<Node<'a>> {
    let name = name.split(':').next()?;
    if name.starts_with('/') {
        return tree.find(name);
    }
    let path = tree.aliases().find(|(alias, _)| *alias == name)?.1;
    tree.find(path)
}

/// Returns the UART for the console: the one that `wanted` names, else the tree's standard output, else any PL011.
pub fn uart(tree: &Fdt<'_>, wanted: Option<&str>) -> Option<Uart> {
    let standard =
        tree.find("/chosen").and_then(|chosen| chosen.property("stdout-path")).and_then(|path| path.as_str());
    let node = wanted
        .and_then(|name| named(tree, name))
        .or_else(|| standard.and_then(|name| named(tree, name)))
        .or_else(|| tree.find_compatible("arm,pl011").next())?;
    let number = |name| node.property(name).and_then(|value| value.as_u32());
    let (width, shift) = (number("reg-io-width").unwrap_or(1), number("reg-shift").unwrap_or(0));
    let registers = node.reg().next()?;
    let is = |names: &[&str]| names.iter().any(|name| node.is_compatible(name));
    let kind = if is(&["arm,pl011", "arm,sbsa-uart"]) {
        UartKind::Pl011
    } else if is(&["ns16550a", "ns16550", "ns8250", "snps,dw-apb-uart"]) {
        // Bytes, or words at multiples of four.
        let fits = |count: u64| count << shift <= registers.1;
        if !(matches!((width, shift), (1, 0..=4) | (4, 2..=4)) && fits(8)) {
            return None;
        }
        UartKind::Ns8250 { shift, wide: width == 4, extended: fits(32) }
    } else {
        return None;
    };
    let interrupt = interrupts(&node).first().map(|&(interrupt, _)| interrupt);
    Some(Uart { kind, registers, interrupt, path: node.path() })
}

fn modules(tree: &Fdt<'_>) -> Vec<Module> {
    let Some(chosen) = tree.find("/chosen") else { return Vec::new() };
    let mut found = Vec::new();
    let mut unnamed = 0;
    for (node, start, size) in module_nodes(tree) {
        let is = |names: [&str; 2]| names.iter().any(|name| node.is_compatible(name));
        let kind = if is(["multiboot,kernel", "xen,linux-zimage"]) {
            ModuleKind::Kernel
        } else if is(["multiboot,ramdisk", "xen,linux-initrd"]) {
            ModuleKind::Ramdisk
        } else if is(["xen,xsm-policy", "multiboot,device-tree"]) {
            ModuleKind::Other
        } else {
            unnamed += 1;
            [ModuleKind::Kernel, ModuleKind::Ramdisk].get(unnamed - 1).copied().unwrap_or(ModuleKind::Other)
        };
        let arguments = node.property("bootargs").and_then(|text| text.as_str()).map(ToString::to_string);
        found.push(Module { kind, start, size, arguments });
    }
    if !found.iter().any(|module| module.kind == ModuleKind::Ramdisk) {
        let number = |name| chosen.property(name).and_then(|value| value.as_u64());
        if let (Some(start), Some(end)) = (number("linux,initrd-start"), number("linux,initrd-end")) {
            let size = end.saturating_sub(start);
            found.push(Module { kind: ModuleKind::Ramdisk, start, size, arguments: None });
        }
    }
    found
}

/// Returns our command line and Dom0's, by upstream's rules (docs/misc/arm/device-tree/booting.txt).
fn command_lines(tree: &Fdt<'_>, modules: &[Module]) -> (String, String) {
    let chosen = tree.find("/chosen");
    let text = |name| chosen?.property(name)?.as_str().map(ToString::to_string);
    let kernel = modules.iter().find(|module| module.kind == ModuleKind::Kernel);
    let of_kernel = kernel.and_then(|module| module.arguments.clone()).filter(|arguments| !arguments.is_empty());
    let (xen, dom0, plain) = (text("xen,xen-bootargs"), text("xen,dom0-bootargs"), text("bootargs"));
    let own = match xen {
        Some(xen) => xen,
        None if dom0.is_some() || of_kernel.is_some() => plain.clone().unwrap_or_default(),
        None => String::new(),
    };
    (own, dom0.or(of_kernel).or(plain).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use fdt::Tree;

    fn tree(build: impl FnOnce(&mut Tree)) -> Vec<u8> {
        let mut tree = Tree::new();
        let root = tree.root();
        tree.set_cells(root, "#address-cells", &[2]);
        tree.set_cells(root, "#size-cells", &[2]);
        build(&mut tree);
        tree.emit(&Default::default()).unwrap()
    }

    #[test]
    fn memory_is_what_banks_hold_and_nobody_keeps() {
        let bytes = tree(|tree| {
            let memory = tree.ensure("/memory@40000000").unwrap();
            tree.set_string(memory, "device_type", "memory");
            tree.set_reg(memory, &[(0x4000_0000, 0x1000_0000), (0x8000_0000, 0x800)]);
            let kept = tree.ensure("/reserved-memory/firmware").unwrap();
            let folder = tree.find("/reserved-memory").unwrap();
            tree.set_cells(folder, "#address-cells", &[2]);
            tree.set_cells(folder, "#size-cells", &[2]);
            tree.set_reg(kept, &[(0x4000_0800, 0x1000)]);
        });
        let memory = memory(&Fdt::new(&bytes).unwrap(), 0x4800_0000).unwrap();
        assert_eq!(memory.usable.as_slice(), [(0x4000_2000, 0x5000_0000)].as_slice().get(..1).unwrap());
        assert_eq!(memory.boot.as_slice(), [(0x4800_0000, 0x4800_1000)]);
    }

    #[test]
    fn command_lines_follow_upstreams_rules() {
        let lines = |properties: &[(&str, &str)], kernel: Option<&str>| {
            let bytes = tree(|tree| {
                let chosen = tree.ensure("/chosen").unwrap();
                properties.iter().for_each(|(name, text)| tree.set_string(chosen, name, text));
                tree.set_cells(chosen, "#address-cells", &[2]);
                tree.set_cells(chosen, "#size-cells", &[2]);
                let module = tree.ensure("/chosen/module@1").unwrap();
                tree.set_strings(module, "compatible", &["multiboot,module", "multiboot,kernel"]);
                tree.set_reg(module, &[(0x1000, 0x1000)]);
                kernel.iter().for_each(|text| tree.set_string(module, "bootargs", text));
            });
            let fdt = Fdt::new(&bytes).unwrap();
            command_lines(&fdt, &modules(&fdt))
        };
        let is = |own: &str, dom0: &str| (own.to_string(), dom0.to_string());
        assert_eq!(lines(&[("bootargs", "a")], None), is("", "a"));
        assert_eq!(lines(&[("bootargs", "a")], Some("k")), is("a", "k"));
        assert_eq!(lines(&[("bootargs", "a"), ("xen,dom0-bootargs", "d")], Some("k")), is("a", "d"));
        assert_eq!(lines(&[("bootargs", "a"), ("xen,xen-bootargs", "x")], None), is("x", "a"));
    }

    #[test]
    fn uarts_are_driven_as_the_tree_says_or_not_at_all() {
        let found = |compatible: &[&str], width: Option<u32>, shift: Option<u32>, size: u64| {
            let bytes = tree(|tree| {
                let node = tree.ensure("/serial@1c020000").unwrap();
                tree.set_strings(node, "compatible", compatible);
                tree.set_reg(node, &[(0x1c02_0000, size)]);
                tree.set_cells(node, "interrupts", &[0, 76, 4]);
                width.iter().for_each(|&width| tree.set_cells(node, "reg-io-width", &[width]));
                shift.iter().for_each(|&shift| tree.set_cells(node, "reg-shift", &[shift]));
            });
            let uart = uart(&Fdt::new(&bytes).unwrap(), Some("/serial@1c020000"))?;
            assert_eq!((uart.registers, uart.interrupt), ((0x1c02_0000, size), Some(108)));
            Some(uart.kind)
        };
        let ns = |shift, wide, extended| Some(UartKind::Ns8250 { shift, wide, extended });
        // As boards have them: Allwinner, HiSilicon, X-Gene, a plain 16550.
        let dw = ["snps,dw-apb-uart"];
        assert_eq!(found(&dw, Some(4), Some(2), 0x400), ns(2, true, true));
        assert_eq!(found(&dw, None, Some(2), 0x100), ns(2, false, true));
        assert_eq!(found(&["ns16550a"], Some(4), Some(2), 0x1000), ns(2, true, true));
        assert_eq!(found(&["ns16550"], None, None, 8), ns(0, false, false));
        // Too short for DesignWare's own registers, which are not touched then.
        assert_eq!(found(&dw, Some(4), Some(2), 0x20), ns(2, true, false));
        // Words that overlap, half words, too far apart, not all there: none that is known.
        for (width, shift, size) in
            [(4, 0, 0x100), (4, 1, 0x100), (2, 1, 0x100), (8, 3, 0x100), (1, 5, 0x1000), (1, 0, 7)]
        {
            assert_eq!(found(&["ns16550a"], Some(width), Some(shift), size), None, "{width} {shift} {size}");
        }
        assert_eq!(found(&["arm,pl011", "arm,primecell"], None, None, 0x1000), Some(UartKind::Pl011));
        assert_eq!(found(&["arm,sbsa-uart"], None, None, 0x1000), Some(UartKind::Pl011));
        assert_eq!(found(&["xlnx,xps-uartlite"], None, None, 0x1000), None);
    }

    #[test]
    fn interrupts_are_numbered_from_their_kinds_first() {
        assert_eq!(interrupt(&[0, 1, 4]), Some((33, false)));
        assert_eq!(interrupt(&[1, 11, 1]), Some((27, true)));
        assert_eq!(interrupt(&[1, 16, 4]), None);
        assert_eq!(interrupt(&[0, 988, 4]), None);
        assert_eq!(interrupt(&[0, 1]), None);
    }

    #[test]
    fn both_kinds_of_interrupt_controller_are_found() {
        let found = |compatible: &str, regions: &[(u64, u64)]| {
            let bytes = tree(|tree| {
                let node = tree.ensure("/intc@8000000").unwrap();
                tree.set_string(node, "compatible", compatible);
                tree.set_cells(node, "interrupts", &[1, 9, 4]);
                tree.set_reg(node, regions);
            });
            gic(&Fdt::new(&bytes).unwrap())
        };
        let regions = [(0x800_0000, 0x1_0000), (0x801_0000, 0x1_0000), (0x803_0000, 0x1_0000), (0x804_0000, 0x2000)];
        let v2 = found("arm,gic-400", &regions).unwrap();
        assert_eq!(v2.maintenance, 25);
        assert_eq!(v2.kind, GicKind::V2 { interface: regions[1], control: regions[2], guest: regions[3] });
        assert_eq!(v2.registers(), regions);
        assert!(found("arm,gic-400", &regions[..2]).is_err(), "no room for guests");
        let v3 = found("arm,gic-v3", &regions[..2]).unwrap();
        assert_eq!(v3.kind, GicKind::V3 { redistributors: vec![regions[1]], stride: None });
        assert!(found("arm,gic-v3", &regions[..1]).is_err());
        assert!(found("arm,pl390", &regions).is_err());
    }
}
