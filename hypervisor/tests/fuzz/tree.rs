//! Bytes as a device tree: read, edited and written back; as what a host has; and as what Domain 0 is made to see of it, and is given.

use std::cell::RefCell;

use fdt::{EmitOptions, Fdt, Node, Tree};
use hypervisor::arch::{stage2, start_memory};
use hypervisor::domain::build::{self, Rehearsal};
use hypervisor::domain::devicetree::{self, Facts};
use hypervisor::machine::{self, GicKind, MODULES, Machine};
use hypervisor::memory::p2m::Kind;
use hypervisor::memory::{Gfn, Mfn, frames};
use xen_abi::Release;

use crate::holds;
use crate::verdict::{Reached, Seeded, Verdict};

/// Where the tree is said to lie.
const PLACE: u64 = 0x4800_0000;
/// Domain 0's memory.
const BANKS: [(u64, u64); 2] = [(0x4000_0000, 0x5000_0000), (0x6000_0000, 0x6020_0000)];
/// Bytes that Domain 0's tree may have more than the host's: its own nodes.
const MORE: usize = 4096;

/// Runs an input.
pub fn run(bytes: &[u8], seeded: Seeded) -> Verdict {
    let mut reached = Reached::default();
    let tree = match Fdt::new(bytes) {
        Ok(tree) => tree,
        Err(error) => {
            reached.note("complaints of the reader", hash(&without_numbers(&format!("{error}"))));
            return Ok(reached);
        }
    };
    walk(&tree, bytes, &mut reached)?;
    let host = written_back(&tree)?;
    if seeded == Seeded::Fault {
        careless(&tree);
    }
    look_for_memory(&tree, &mut reached)?;
    let machine = match Machine::read(&tree, &host) {
        Ok(machine) => machine,
        Err(complaint) => {
            reached.note("complaints about the machine", hash(&complaint));
            return Ok(reached);
        }
    };
    look_at_machine(&tree, &machine, bytes, &mut reached)?;
    let devices = devicetree::devices(&host, &machine);
    holds!(devices.len() <= bytes.len(), "{} devices in {} bytes", devices.len(), bytes.len());
    reached.note("counts of devices", devices.len() as u64);
    let facts = Facts {
        banks: &BANKS,
        ramdisk: Some((0x4c00_0000, 0x4d00_0000)),
        grants: (0x3900_0000, 0x4_0000),
        events: 16,
        vcpus: 3,
        redistributors: &[0x2_0000, 0x4_0000],
        version: Release::V4_17,
    };
    match devicetree::build(&machine, &host, &facts) {
        Ok(blob) => {
            holds!(blob.len() <= 2 * bytes.len() + MORE, "{} bytes of {}", blob.len(), bytes.len());
            look_at_dom0(&blob, &machine)?;
            reached.note("trees of Domain 0", 0);
        }
        Err(complaint) => reached.note("complaints of the builder", hash(&without_numbers(&complaint))),
    }
    look_at_memory(&tree, &machine, &host, &mut reached)?;
    Ok(reached)
}

/// Every way to look at a node ends, and agrees with the others.
fn walk(tree: &Fdt<'_>, bytes: &[u8], reached: &mut Reached) -> Result<(), String> {
    let mut nodes = 0;
    for (depth, node) in tree.descendants() {
        nodes += 1;
        holds!(nodes <= bytes.len(), "more nodes than bytes");
        reached.note("depths", depth as u64);
        let (address, size) = node.cells();
        reached.note("cells", u64::from(address.min(9)) << 4 | u64::from(size.min(9)));
        let (properties, pairs) = (node.properties().count(), node.reg().count());
        holds!(properties + pairs <= bytes.len(), "{}: {properties} properties, {pairs} pieces", node.name());
        holds!(node.children().count() <= bytes.len(), "{}: too many children", node.name());
        if nodes % 16 == 1 {
            // The first node of a path is found by it, which may be another one of the same name.
            let found = tree.find(&node.path()).map(|found| found.path());
            holds!(found.as_deref() == Some(&*node.path()), "{} is found as {found:?}", node.path());
        }
        for property in node.properties() {
            let (strings, cells) = (property.strings().count(), property.cells().count());
            holds!(strings + cells <= 2 * property.value.len() + 1, "{}: too much of it", property.name);
        }
    }
    holds!(tree.reservations().count() <= bytes.len() / 16 + 1, "too many reservations");
    let aliases = tree.aliases().filter(|(_, path)| tree.find(path).is_some()).count();
    reached.note("counts of aliases", aliases as u64);
    Ok(())
}

/// Reading and writing come to rest: what was written is read as what it was.
fn written_back(tree: &Fdt<'_>) -> Result<Tree, String> {
    let owned = Tree::from_fdt(tree);
    if let Ok(once) = owned.emit(&EmitOptions::default()) {
        let again = Tree::parse(&once).map_err(|error| format!("what was written is not read: {error}"))?;
        let twice = again.emit(&EmitOptions::default()).map_err(|error| format!("not written again: {error}"))?;
        holds!(once == twice, "what was written is not read as what it was");
    }
    Ok(owned)
}

/// Reads the controller's registers as one would who believes what a tree says: the seeded fault.
fn careless(tree: &Fdt<'_>) {
    for node in tree.find_compatible("arm,gic-v3") {
        let value = node.property("reg").map_or(&[][..], |reg| reg.value);
        let cell = |index: usize| u32::from_be_bytes(value[index * 4..index * 4 + 4].try_into().unwrap());
        assert_ne!(cell(0), 0xffff_ffff);
        assert_ne!(cell(7), 0xffff_ffff);
    }
}

fn look_for_memory(tree: &Fdt<'_>, reached: &mut Reached) -> Result<(), String> {
    let Ok(memory) = machine::memory(tree, PLACE) else {
        reached.note("pieces of memory", u64::MAX);
        return Ok(());
    };
    for pieces in [&memory.usable, &memory.boot] {
        let pieces = pieces.as_slice();
        holds!(pieces.iter().all(|(start, end)| start < end), "an empty piece: {pieces:x?}");
        holds!(pieces.windows(2).all(|pair| pair[0].1 < pair[1].0), "pieces that overlap: {pieces:x?}");
    }
    let usable = memory.usable.as_slice();
    holds!(usable.iter().all(|(start, end)| (start | end) % 4096 == 0), "parts of pages: {usable:x?}");
    for kept in tree.reservations().filter(|kept| kept.size != 0) {
        let end = kept.address.saturating_add(kept.size);
        let free = usable.iter().any(|&(low, high)| low < end && kept.address < high);
        holds!(!free, "reserved {:#x} is free: {usable:x?}", kept.address);
    }
    reached.note("pieces of memory", (usable.len() << 8 | memory.boot.as_slice().len()) as u64);
    Ok(())
}

fn look_at_machine(tree: &Fdt<'_>, machine: &Machine, bytes: &[u8], reached: &mut Reached) -> Result<(), String> {
    let is_there = |path: &str| tree.find(path).is_some();
    holds!(is_there(&machine.gic.path), "{} is not there", machine.gic.path);
    holds!(is_there(&machine.timer_path), "{} is not there", machine.timer_path);
    holds!(machine.cpus.iter().all(|cpu| is_there(&cpu.path)), "a CPU is not there");
    holds!(machine.timer.iter().all(|&number| (16..1020).contains(&number)), "timer: {:?}", machine.timer);
    holds!((16..1020).contains(&machine.gic.maintenance), "maintenance: {}", machine.gic.maintenance);
    holds!(machine.modules.len() <= bytes.len() / 12 && machine.cpus.len() <= bytes.len() / 12, "too many of them");
    holds!(machine.arguments.len() + machine.dom0_arguments.len() <= 2 * bytes.len(), "long arguments");
    let version = match &machine.gic.kind {
        GicKind::V2 { .. } => 2,
        GicKind::V3 { redistributors, .. } => {
            holds!(!redistributors.is_empty() && redistributors.len() <= bytes.len() / 4, "{redistributors:x?}");
            3
        }
    };
    let uart = machine.uart.as_ref().map_or(0, |uart| hash(&format!("{:?}", uart.kind)));
    let shape = (machine.cpus.len().min(9) << 12 | machine.modules.len().min(9) << 8 | version) as u64;
    reached.note("shapes of machines", shape << 16 ^ uart);
    reached.note(
        "ways of starting CPUs",
        machine.cpus.iter().fold(0, |hash_so_far, cpu| {
            hash_so_far ^ hash(&format!("{:?}", cpu.way.map(|way| std::mem::discriminant(&way))))
        }),
    );
    Ok(())
}

/// Domain 0 sees its own memory, one hypervisor, and nothing that is not for it.
fn look_at_dom0(blob: &[u8], machine: &Machine) -> Result<(), String> {
    let tree = Fdt::new(blob).map_err(|error| format!("Domain 0's tree is not read: {error}"))?;
    let is = |node: &Node<'_>, name: &str| node.is_compatible(name);
    let hypervisors = tree.find_compatible("xen,xen").count();
    holds!(hypervisors == 1, "{hypervisors} hypervisors");
    let memories: Vec<Node<'_>> = tree
        .descendants()
        .map(|(_, node)| node)
        .filter(|node| node.property("device_type").and_then(|kind| kind.as_str()) == Some("memory"))
        .collect();
    // The second is what is reserved.
    holds!((1..=2).contains(&memories.len()), "{} nodes of memory", memories.len());
    if (1..3).contains(&tree.root().cells().0) && (1..3).contains(&tree.root().cells().1) {
        let wanted = BANKS.map(|(start, end)| (start, end - start));
        let found = memories.iter().any(|node| node.reg().eq(wanted));
        holds!(found, "Domain 0's memory is not there");
    }
    for (_, node) in tree.descendants() {
        let hidden =
            MODULES.iter().any(|name| is(&node, name)) || is(&node, "arm,gic-v3-its") || is(&node, "arm,armv8-pmuv3");
        holds!(!hidden, "{} is not for Domain 0", node.path());
    }
    if let Some(uart) = &machine.uart {
        holds!(tree.find(&uart.path).is_none_or(|node| node.path() != uart.path), "Domain 0 sees {}", uart.path);
    }
    Ok(())
}

/// Takes memory for Domain 0, finds places in it, and looks at what it could reach then.
fn look_at_memory(tree: &Fdt<'_>, machine: &Machine, host: &Tree, reached: &mut Reached) -> Result<(), String> {
    let Ok(memory) = machine::memory(tree, PLACE) else { return Ok(()) };
    let usable = memory.usable.as_slice();
    // Of more there is no table of frames on the fake machine, nor are there addresses beyond.
    let total = usable.iter().fold(0, |sum: u64, (start, end)| sum.saturating_add(end - start));
    if total > 8 << 30 || usable.last().is_some_and(|last| last.1 > 1 << stage2::address_bits()) {
        reached.note("too much memory", 0);
        return Ok(());
    }
    start_memory();
    let free = frames::counts().1;
    // What the hypervisor has itself lies in the middle, or at the end.
    let own = usable.last().map(|&(start, end)| if total & 4096 == 0 { (start + end) / 2 } else { end - 1 });
    let taken = RefCell::new(Vec::<(u64, u64)>::new());
    let claim = |start: u64, size: u64| {
        let end = start + size;
        let is_taken = taken.borrow().iter().any(|&(low, high)| low < end && start < high);
        let is_free = memory.usable.contains(start, end) && !own.is_some_and(|own| (start..end).contains(&own));
        if is_free && !is_taken {
            taken.borrow_mut().push((start, end));
        }
        is_free && !is_taken
    };
    let image = ([0, 0x8_0000][(total >> 13 & 1) as usize], 40 << 20);
    let dom0 = match build::rehearse(machine, host, &memory, image, claim) {
        Ok(dom0) => dom0,
        Err(complaint) => {
            reached.note("complaints about memory", hash(&without_numbers(&complaint)));
            return Ok(());
        }
    };
    let Rehearsal { banks, kernel, ramdisk, memory: p2m } = &dom0;
    let sum = |pieces: &[(u64, u64)]| pieces.iter().map(|(start, end)| end - start).sum::<u64>();
    holds!(banks.windows(2).all(|pair| pair[0].1 < pair[1].0), "banks that overlap or touch: {banks:x?}");
    holds!(sum(banks) == sum(&taken.borrow()), "{banks:x?} are not what was taken: {:x?}", taken.borrow());
    holds!(sum(banks) >= machine.options.dom0_memory.max(64 << 20), "{banks:x?} are too little");
    let inside = |range: (u64, u64)| banks.iter().any(|&(start, end)| start <= range.0 && range.1 <= end);
    let sizes = [*kernel].into_iter().chain(*ramdisk);
    holds!(sizes.clone().all(|range| range.0 <= range.1 && inside(range)), "{kernel:x?} {ramdisk:x?} in {banks:x?}");
    holds!(kernel.1 - kernel.0 == image.1 && kernel.0 % (2 << 20) == image.0, "the kernel is at {kernel:x?}");
    let apart = ramdisk.is_none_or(|disk| disk.1 <= kernel.0 || kernel.1 <= disk.0);
    holds!(apart, "the RAM disk lies in the kernel: {kernel:x?} {ramdisk:x?}");
    for &(start, end) in banks {
        for address in [start, (start + end) / 2, end - 1] {
            let frame = Mfn::of(address);
            let own = p2m.get(Gfn::of(address)).is_some_and(|found| found == (frame, Kind::Memory));
            let is_interface = matches!(machine.gic.kind, GicKind::V2 { interface, .. }
                if (interface.0 & !4095..interface.0.saturating_add(interface.1)).contains(&address));
            holds!(own || is_interface, "{address:#x} is not Domain 0's memory");
        }
    }
    let console = machine.uart.iter().map(|uart| uart.registers.0);
    for register in [machine.gic.distributor.0].into_iter().chain(console) {
        let found = p2m.get(Gfn::of(register));
        let is_interface =
            matches!(machine.gic.kind, GicKind::V2 { interface, .. } if interface.0 >> 12 == register >> 12);
        holds!(found.is_none() || inside((register, register)) || is_interface, "{register:#x} is {found:x?}");
    }
    reached.note("pieces of Domain 0's memory", banks.len().min(9) as u64);
    let moved = machine
        .modules
        .iter()
        .filter(|module| kernel.0 == module.start || Some(module.start) == ramdisk.map(|disk| disk.0));
    reached.note("modules that stay", moved.count() as u64);
    drop(dom0);
    let left = free - frames::counts().1;
    holds!(left == 0, "{left} frames are not free again");
    Ok(())
}

/// Leaves out what differs from input to input.
fn without_numbers(text: &str) -> String {
    text.split(|letter: char| !letter.is_alphabetic()).filter(|word| word.len() > 2).take(9).collect()
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
