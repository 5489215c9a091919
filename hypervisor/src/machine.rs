//! What the host's device tree says this machine has. Reads; takes nothing.

pub mod interrupt;
pub mod options;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use fdt::{Fdt, Node, NodeId, Tree};

use crate::arch::GicPlace;
use crate::arch::smp::Way;
use crate::memory::ranges::{Full, Ranges};
use interrupt::Interrupt;
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

impl Memory {
    /// Returns what is to be mapped: all that may be used, and what the loader left, wherever that is; but not the tree, which is
    /// mapped already. Needs no heap.
    ///
    /// # Errors
    /// [`Full`].
    pub fn to_map(&self, tree: &Fdt<'_>, tree_address: u64) -> Result<Pieces, Full> {
        let mut pieces = self.usable.clone();
        self.boot.as_slice().iter().try_for_each(|&(start, end)| pieces.add(start, end))?;
        pieces.remove(page(tree_address), page_up(tree_address, tree.as_bytes().len() as u64))?;
        Ok(pieces)
    }
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
    for (start, size) in module_nodes(tree).map(|(_, start, size)| (start, size)).chain(ramdisk(tree)) {
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

/// Returns the first address and the size of the RAM disk as loaders name it that know no modules.
fn ramdisk(tree: &Fdt<'_>) -> Option<(u64, u64)> {
    let chosen = tree.find("/chosen")?;
    let number = |name| chosen.property(name).and_then(|value| value.as_u64());
    let (start, end) = (number("linux,initrd-start")?, number("linux,initrd-end")?);
    Some((start, end.checked_sub(start)?))
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
    /// Cadence's, as Xilinx' chips have it.
    Cadence,
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
    /// Timer interrupts: secure, non-secure physical, virtual, EL2's.
    pub timer: [u32; 4],
    /// Path of the timer's node.
    pub timer_path: String,
    /// How often the timers count in a second, where the counter's own register does not say it.
    pub timer_frequency: Option<u32>,
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
    /// Reads the tree; `host` is the same one, to go up and down in.
    ///
    /// # Errors
    /// What is missing or not understood.
    pub fn read(tree: &Fdt<'_>, host: &Tree) -> Result<Machine, String> {
        let (arguments, dom0_arguments) = command_lines(tree);
        let controller = controller(host)?;
        let timer = timer(host, controller)?;
        Ok(Machine {
            gic: gic(host, controller)?,
            cpus: cpus(tree),
            timer: interrupts_of_timer(host, timer, controller)?,
            timer_path: host.path(timer),
            timer_frequency: host.cell(timer, "clock-frequency").filter(|&frequency| frequency != 0),
            uart: uart(tree, host, controller),
            modules: modules(tree),
            options: Options::parse(arguments),
            arguments: arguments.to_string(),
            dom0_arguments: dom0_arguments.to_string(),
        })
    }

    /// Returns the module of a kind.
    pub fn module(&self, kind: ModuleKind) -> Option<&Module> {
        self.modules.iter().find(|module| module.kind == kind)
    }
}

/// Compatibles of GICv2s that have what guests need.
const GICS_V2: [&str; 3] = ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic"];

/// Finds the interrupt controller.
fn controller(host: &Tree) -> Result<NodeId, String> {
    let found = ["arm,gic-v3"].iter().chain(&GICS_V2).find_map(|name| host.find_compatible(name).next());
    let node = found.ok_or("no GICv2 and no GICv3 in the device tree")?;
    interrupt::cells(host, node).ok_or("the GIC's #interrupt-cells are not understood")?;
    Ok(node)
}

fn gic(host: &Tree, node: NodeId) -> Result<Gic, String> {
    let regions = host.reg(node).map(|(address, size)| Some((host.to_cpu(node, address)?, size)));
    let regions: Option<Vec<(u64, u64)>> = regions.collect();
    let regions = regions.ok_or("a bus does not pass on the addresses of the GIC")?;
    if regions.iter().any(|&(start, size)| start.checked_add(size).is_none_or(|end| end > u64::MAX - 4096)) {
        return Err("the GIC's registers are beyond all addresses".into());
    }
    let kind = if host.is_compatible(node, "arm,gic-v3") { gic_v3(host, node, &regions) } else { gic_v2(&regions) }?;
    let maintenance =
        interrupt::all(host, node, node).first().copied().flatten().map_or(25, |(interrupt, _)| interrupt);
    Ok(Gic { path: host.path(node), distributor: regions[0], kind, maintenance })
}

fn gic_v2(regions: &[(u64, u64)]) -> Result<GicKind, String> {
    let &[_, interface, control, guest, ..] = regions else {
        return Err("the GICv2's node does not say where GICH and GICV are".into());
    };
    Ok(GicKind::V2 { interface, control, guest })
}

fn gic_v3(host: &Tree, node: NodeId, regions: &[(u64, u64)]) -> Result<GicKind, String> {
    let count = host.cell(node, "#redistributor-regions").unwrap_or(1) as usize;
    let (_, rest) = regions.split_first().ok_or("the GIC's node has no reg")?;
    let redistributors = rest.get(..count).ok_or("the GIC's node has fewer regions than it says")?.to_vec();
    if redistributors.is_empty() {
        return Err("the GIC's node has no redistributors".into());
    }
    let stride = host.get(node, "redistributor-stride").and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
    Ok(GicKind::V3 { redistributors, stride })
}

/// Finds the timer.
fn timer(host: &Tree, gic: NodeId) -> Result<NodeId, String> {
    let mut timers = ["arm,armv8-timer", "arm,armv7-timer"].iter().filter_map(|name| host.find_compatible(name).next());
    Ok(timers.find(|&node| node != gic).ok_or("no timer in the device tree")?)
}

fn interrupts_of_timer(host: &Tree, node: NodeId, gic: NodeId) -> Result<[u32; 4], String> {
    let list: Vec<Option<Interrupt>> = interrupt::all(host, node, gic);
    let number = |index: usize| Some(list.get(index).copied().flatten()?.0);
    let numbers = [number(0), number(1), number(2), number(3)];
    let [Some(secure), Some(physical), Some(virtual_one), Some(own)] = numbers else {
        return Err("the timer lacks interrupts".into());
    };
    Ok([secure, physical, virtual_one, own])
}

/// Returns whether there is firmware that is called by SMC. Needs no heap.
pub fn has_firmware(tree: &Fdt<'_>) -> bool {
    calls_by_hvc(tree) == Some(false)
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
        // One that is disabled only waits to be started (specification 3.8.1).
        let status = node.property("status").and_then(|status| status.as_str());
        if status.is_some_and(|status| status == "fail" || status.starts_with("fail-")) {
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

/// Returns the node of the console's UART, its kind and its registers: the one that our command line names, else the tree's standard
/// output, else any PL011. Needs no heap.
pub fn console<'a>(tree: &Fdt<'a>) -> Option<(Node<'a>, UartKind, (u64, u64))> {
    let standard =
        tree.find("/chosen").and_then(|chosen| chosen.property("stdout-path")).and_then(|path| path.as_str());
    let node = options::dtuart(command_lines(tree).0)
        .and_then(|name| named(tree, name))
        .or_else(|| standard.and_then(|name| named(tree, name)))
        .or_else(|| tree.find_compatible("arm,pl011").next())?;
    let number = |name| node.property(name).and_then(|value| value.as_u32());
    let (width, shift) = (number("reg-io-width").unwrap_or(1), number("reg-shift").unwrap_or(0));
    let (start, size) = tree.registers(&node).next()??;
    let is = |names: &[&str]| names.iter().any(|name| node.is_compatible(name));
    let kind = if is(&["arm,pl011", "arm,sbsa-uart"]) {
        UartKind::Pl011
    } else if is(&["cdns,uart-r1p8", "cdns,uart-r1p12", "xlnx,xuartps"]) {
        UartKind::Cadence
    } else if is(&["ns16550a", "ns16550", "ns8250", "snps,dw-apb-uart"]) {
        // Bytes, or words at multiples of four.
        let fits = |count: u64| count << shift <= size;
        if !(matches!((width, shift), (1, 0..=4) | (4, 2..=4)) && fits(8)) {
            return None;
        }
        UartKind::Ns8250 { shift, wide: width == 4, extended: fits(32) }
    } else {
        return None;
    };
    (start.checked_add(size)? < u64::MAX - 4096).then_some((node, kind, (start, size)))
}

fn uart(tree: &Fdt<'_>, host: &Tree, gic: NodeId) -> Option<Uart> {
    let (node, kind, registers) = console(tree)?;
    let path = node.path();
    let interrupts = host.find(&path).map(|node| interrupt::all(host, node, gic)).unwrap_or_default();
    let interrupt = interrupts.first().copied().flatten().map(|(interrupt, _)| interrupt);
    Some(Uart { kind, registers, interrupt, path })
}

/// Returns the nodes of modules with what each is for, its first address and its size. Needs no heap.
fn known_modules<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = (Node<'a>, ModuleKind, u64, u64)> + use<'a> {
    let mut unnamed = 0;
    module_nodes(tree).map(move |(node, start, size)| {
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
        (node, kind, start, size)
    })
}

fn modules(tree: &Fdt<'_>) -> Vec<Module> {
    let text = |node: Node<'_>| node.property("bootargs")?.as_str().map(ToString::to_string);
    let module = |(node, kind, start, size)| Module { kind, start, size, arguments: text(node) };
    let mut found: Vec<Module> = known_modules(tree).map(module).collect();
    if !found.iter().any(|module| module.kind == ModuleKind::Ramdisk) {
        let plain = |(start, size)| Module { kind: ModuleKind::Ramdisk, start, size, arguments: None };
        found.extend(ramdisk(tree).map(plain));
    }
    found
}

/// Returns our command line and Dom0's, by upstream's rules (docs/misc/arm/device-tree/booting.txt). Needs no heap.
fn command_lines<'a>(tree: &Fdt<'a>) -> (&'a str, &'a str) {
    let chosen = tree.find("/chosen");
    let text = |name| chosen?.property(name)?.as_str();
    let kernel = known_modules(tree).find(|&(_, kind, ..)| kind == ModuleKind::Kernel);
    let of_kernel =
        kernel.and_then(|(node, ..)| node.property("bootargs")?.as_str()).filter(|arguments| !arguments.is_empty());
    let (xen, dom0, plain) = (text("xen,xen-bootargs"), text("xen,dom0-bootargs"), text("bootargs"));
    let own = match xen {
        Some(xen) => xen,
        None if dom0.is_some() || of_kernel.is_some() => plain.unwrap_or_default(),
        None => "",
    };
    (own, dom0.or(of_kernel).or(plain).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

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
    fn what_the_loader_left_is_mapped_even_where_nobody_may_take_it() {
        let mut given = Tree::parse(&tree(|tree| {
            let memory = tree.ensure("/memory@40000000").unwrap();
            tree.set_string(memory, "device_type", "memory");
            tree.set_reg(memory, &[(0x4000_0000, 0x1000_0000)]);
            let kernel = tree.ensure("/chosen/module@4a000000").unwrap();
            tree.set_strings(kernel, "compatible", &["multiboot,module", "multiboot,kernel"]);
            let chosen = tree.find("/chosen").unwrap();
            tree.set_cells(chosen, "#address-cells", &[2]);
            tree.set_cells(chosen, "#size-cells", &[2]);
            tree.set_reg(kernel, &[(0x4a00_0000, 0x1800)]);
            // A RAM disk as U-Boot names it.
            tree.set_cells(chosen, "linux,initrd-start", &[0x4f80_0000]);
            tree.set_cells(chosen, "linux,initrd-end", &[0x4f80_0123]);
        }))
        .unwrap();
        for (address, size) in [(0x4800_0000, 0x1000), (0x4a00_0000, 0x2000), (0x4f00_0000, 0x100_0000)] {
            given.reservations.push(fdt::Reservation { address, size });
        }
        let bytes = given.emit(&Default::default()).unwrap();
        let fdt = Fdt::new(&bytes).unwrap();
        let memory = memory(&fdt, 0x4800_0000).unwrap();
        assert!(!memory.usable.contains(0x4a00_0000, 0x4a00_1000));
        let pieces = memory.to_map(&fdt, 0x4800_0000).unwrap();
        let all = [(0x4000_0000, 0x4800_0000), (0x4800_1000, 0x4f00_0000), (0x4f80_0000, 0x4f80_1000)];
        assert_eq!(pieces.as_slice(), all);
        let disk = modules(&fdt).into_iter().find(|module| module.kind == ModuleKind::Ramdisk).unwrap();
        assert_eq!((disk.start, disk.size), (0x4f80_0000, 0x123));
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
            let (own, dom0) = command_lines(&Fdt::new(&bytes).unwrap());
            (own.to_string(), dom0.to_string())
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
                let chosen = tree.ensure("/chosen").unwrap();
                tree.set_strings(chosen, "stdout-path", &["/serial@1c020000"]);
                let node = tree.ensure("/serial@1c020000").unwrap();
                tree.set_strings(node, "compatible", compatible);
                tree.set_reg(node, &[(0x1c02_0000, size)]);
                width.iter().for_each(|&width| tree.set_cells(node, "reg-io-width", &[width]));
                shift.iter().for_each(|&shift| tree.set_cells(node, "reg-shift", &[shift]));
            });
            let (node, kind, registers) = console(&Fdt::new(&bytes).unwrap())?;
            assert_eq!((node.path().as_str(), registers), ("/serial@1c020000", (0x1c02_0000, size)));
            Some(kind)
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
    fn both_kinds_of_interrupt_controller_are_found() {
        let found = |compatible: &str, regions: &[(u64, u64)]| {
            let bytes = tree(|tree| {
                let node = tree.ensure("/intc@8000000").unwrap();
                tree.set_string(node, "compatible", compatible);
                tree.set_cells(node, "interrupts", &[1, 9, 4]);
                tree.set_reg(node, regions);
            });
            let host = Tree::parse(&bytes).unwrap();
            gic(&host, controller(&host)?)
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

    /// A machine like the Raspberry Pi 4: what matters stands below /soc, whose addresses are not the CPUs'.
    fn behind_a_bus() -> Vec<u8> {
        tree(|tree| {
            tree.set_cells(tree.root(), "#size-cells", &[1]);
            tree.set_cells(tree.root(), "interrupt-parent", &[1]);
            let chosen = tree.ensure("/chosen").unwrap();
            tree.set_string(chosen, "stdout-path", "serial0:115200n8");
            tree.set_string(chosen, "xen,xen-bootargs", "loglvl=all dtuart=serial1 dtuart=serial0");
            let aliases = tree.ensure("/aliases").unwrap();
            tree.set_string(aliases, "serial0", "/soc/serial@7e201000");
            let soc = tree.ensure("/soc").unwrap();
            tree.set_cells(soc, "#address-cells", &[1]);
            tree.set_cells(soc, "#size-cells", &[1]);
            let ranges = [0x7e00_0000, 0, 0xfe00_0000, 0x180_0000, 0x4000_0000, 0, 0xff80_0000, 0x80_0000];
            tree.set_cells(soc, "ranges", &ranges);
            let gic = tree.ensure("/soc/interrupt-controller@40041000").unwrap();
            tree.set_string(gic, "compatible", "arm,gic-400");
            tree.set_cells(gic, "phandle", &[1]);
            tree.set_cells(gic, "#interrupt-cells", &[3]);
            tree.set_cells(gic, "interrupts", &[1, 9, 0xf04]);
            let places = [0x4004_1000, 0x1000, 0x4004_2000, 0x2000, 0x4004_4000, 0x2000, 0x4004_6000, 0x2000];
            tree.set_cells(gic, "reg", &places);
            let timer = tree.ensure("/timer").unwrap();
            tree.set_string(timer, "compatible", "arm,armv8-timer");
            tree.set_cells(timer, "clock-frequency", &[54_000_000]);
            tree.set_cells(timer, "interrupts", &[1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08, 1, 10, 0xf08]);
            let uart = tree.ensure("/soc/serial@7e201000").unwrap();
            tree.set_strings(uart, "compatible", &["arm,pl011", "arm,primecell"]);
            tree.set_cells(uart, "reg", &[0x7e20_1000, 0x200]);
            tree.set_cells(uart, "interrupts", &[0, 121, 4]);
        })
    }

    #[test]
    fn what_lies_behind_a_bus_is_where_the_cpus_see_it() {
        let bytes = behind_a_bus();
        let machine = Machine::read(&Fdt::new(&bytes).unwrap(), &Tree::parse(&bytes).unwrap()).unwrap();
        assert_eq!(machine.gic.distributor, (0xff84_1000, 0x1000));
        let GicKind::V2 { interface, control, guest } = machine.gic.kind else { panic!("{:?}", machine.gic) };
        assert_eq!([interface.0, control.0, guest.0], [0xff84_2000, 0xff84_4000, 0xff84_6000]);
        let uart = machine.uart.unwrap();
        assert_eq!((uart.registers, uart.interrupt), ((0xfe20_1000, 0x200), Some(153)));
        assert_eq!(machine.timer, [29, 30, 27, 26]);
        assert_eq!(machine.timer_frequency, Some(54_000_000));
    }

    #[test]
    fn the_console_is_found_whatever_else_is_missing() {
        let mut broken = Tree::parse(&behind_a_bus()).unwrap();
        let gic = broken.find("/soc/interrupt-controller").unwrap();
        broken.remove(gic);
        let bytes = broken.emit(&Default::default()).unwrap();
        let fdt = Fdt::new(&bytes).unwrap();
        assert!(Machine::read(&fdt, &broken).is_err());
        let (_, kind, registers) = console(&fdt).unwrap();
        assert_eq!((kind, registers), (UartKind::Pl011, (0xfe20_1000, 0x200)));
    }

    #[test]
    fn cpus_that_failed_are_no_cpus() {
        let bytes = tree(|tree| {
            for (number, status) in [None, Some("fail"), Some("disabled"), Some("fail-burnt")].into_iter().enumerate() {
                let node = tree.ensure(&alloc::format!("/cpus/cpu@{number}")).unwrap();
                tree.set_string(node, "device_type", "cpu");
                tree.set_cells(node, "reg", &[number as u32]);
                status.iter().for_each(|status| tree.set_string(node, "status", status));
            }
        });
        let cpus = cpus(&Fdt::new(&bytes).unwrap());
        assert_eq!(cpus.iter().map(|cpu| cpu.affinity).collect::<Vec<_>>(), [0, 2]);
    }
}
