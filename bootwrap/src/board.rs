//! What a board's device tree says that the boot needs: memory, CPUs, interrupt controller, UART, power switch, clock.

use bootwrap_el3::parameters::{AFFINITY, CPUS_MAX, REDISTRIBUTORS_MAX};
use fdt::{Fdt, Node};

use crate::error::Error;
use crate::layout::Range;

/// Facts of a board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// First string of the root's `compatible`.
    pub compatible: String,
    /// Memory, in the tree's order.
    pub memory: Vec<Range>,
    /// `/memreserve/` entries and `/reserved-memory`.
    pub reserved: Vec<Range>,
    /// MPIDR affinities, in the tree's order.
    pub cpus: Vec<u64>,
    /// The interrupt controller, if it is one of the two.
    pub gic: Option<Gic>,
    /// A PL011: the one of `stdout-path`, else the first.
    pub uart: Option<u64>,
    /// How to switch off.
    pub power: Option<Power>,
    /// Rate of the system counter in Hz, where the tree or the platform says it.
    pub counter_hz: Option<u64>,
    /// The frame that starts the system counter, on platforms where reset leaves it stopped.
    pub counter_control: Option<u64>,
    /// Whether some firmware already offers PSCI.
    pub has_psci: bool,
}

/// An interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2: distributor and CPU interface.
    V2 {
        /// GICD.
        distributor: u64,
        /// GICC.
        cpu_interface: u64,
    },
    /// GICv3: distributor and redistributor regions.
    V3 {
        /// GICD.
        distributor: u64,
        /// GICR.
        redistributors: Vec<Range>,
    },
}

/// A device that switches the board off and resets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// Versatile Express system registers, on Arm's models too.
    Vexpress(u64),
    /// Output pins of a PL061.
    Pl061 {
        /// Its registers.
        address: u64,
        /// Which pin switches off.
        off: u8,
        /// Which pin resets.
        reset: u8,
    },
}

/// More banks or reservations than any board has: a guard against hostile trees.
const RANGES_MAX: usize = 1024;
const GIC_V2: &[&str] = &[
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "arm,cortex-a57-gic",
    "arm,eb11mp-gic",
];
/// Platforms whose system counter stands still until CNTCR is written, at the address that their memory maps share (Fixed Virtual
/// Platforms reference guide, base memory map: REFCLK CNTControl), and which runs at 100 MHz.
const MODELS: &[&str] =
    &["arm,vexpress", "arm,foundation-aarch64", "arm,fvp-base-revc", "arm,fvp-base", "arm,rtsm_ve,aemv8a"];
const MODELS_COUNTER_CONTROL: u64 = 0x2a43_0000;
const MODELS_COUNTER_HZ: u64 = 100_000_000;
/// QEMU's virt machine before 9.0, whose device tree does not say it.
const QEMU_VIRT: &str = "linux,dummy-virt";
const QEMU_VIRT_COUNTER_HZ: u64 = 62_500_000;

impl Board {
    /// Reads a tree. Errors name what is missing or unusable.
    pub fn read(tree: &Fdt<'_>) -> Result<Board, Error> {
        let root = tree.root();
        let compatible: Vec<&str> =
            root.property("compatible").map(|list| list.strings().collect()).unwrap_or_default();
        let model = compatible.iter().any(|name| MODELS.contains(name));
        let is_virt = compatible.contains(&QEMU_VIRT);
        let said_hz = ["arm,armv8-timer", "arm,armv7-timer"]
            .iter()
            .find_map(|name| tree.find_compatible(name).next()?.property("clock-frequency")?.as_u32())
            .map(u64::from);
        let known_hz = model.then_some(MODELS_COUNTER_HZ).or(is_virt.then_some(QEMU_VIRT_COUNTER_HZ));
        let board = Board {
            compatible: compatible.first().copied().unwrap_or_default().into(),
            memory: memory(tree)?,
            reserved: reserved(tree)?,
            cpus: cpus(tree)?,
            gic: gic(tree)?,
            uart: uart(tree),
            power: power(tree),
            counter_hz: said_hz.or(known_hz),
            counter_control: model.then_some(MODELS_COUNTER_CONTROL),
            has_psci: psci(tree).is_some(),
        };
        Ok(board)
    }
}

/// Returns a tree's memory, and what nobody may use of it: all that matters where firmware does the rest.
pub fn memory_and_reserved(tree: &Fdt<'_>) -> Result<(Vec<Range>, Vec<Range>), Error> {
    Ok((memory(tree)?, reserved(tree)?))
}

/// Returns the node by which firmware offers PSCI, whatever its name.
fn psci<'a>(tree: &Fdt<'a>) -> Option<Node<'a>> {
    ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"].iter().find_map(|name| tree.find_compatible(name).next())
}

fn range(what: &str, start: u64, size_bytes: u64) -> Result<Range, Error> {
    Range::new(start, size_bytes)
        .ok_or(Error::Board(format!("{what} at {start:#x} with {size_bytes:#x} bytes leaves the address space")))
}

fn memory(tree: &Fdt<'_>) -> Result<Vec<Range>, Error> {
    let mut banks = Vec::new();
    for node in tree.root().children() {
        let is_memory = node.property("device_type").is_some_and(|kind| kind.as_str() == Some("memory"));
        if is_memory && node.is_available() {
            for (start, size) in node.reg() {
                banks.push(range("memory", start, size)?);
            }
        }
    }
    if banks.len() > RANGES_MAX {
        return Err(Error::Board(format!("{} ranges of memory, more than {RANGES_MAX}", banks.len())));
    }
    if banks.iter().all(|bank| bank.size_bytes == 0) {
        return Err(Error::Board("no memory: no node with device_type = \"memory\" and a reg".into()));
    }
    Ok(banks)
}

fn reserved(tree: &Fdt<'_>) -> Result<Vec<Range>, Error> {
    let mut ranges = Vec::new();
    for entry in tree.reservations() {
        ranges.push(range("/memreserve/", entry.address, entry.size)?);
    }
    if let Some(parent) = tree.find("/reserved-memory") {
        for node in parent.children().filter(Node::is_available) {
            for (start, size) in node.reg() {
                ranges.push(range(&node.path(), start, size)?);
            }
        }
    }
    if ranges.len() > RANGES_MAX {
        return Err(Error::Board(format!("{} reserved ranges, more than {RANGES_MAX}", ranges.len())));
    }
    Ok(ranges)
}

/// Says whether a `status` is a failure: `fail`, or `fail-` and what failed (devicetree specification 2.3.4).
pub(crate) fn has_failed(status: Option<&str>) -> bool {
    status.is_some_and(|status| status == "fail" || status.starts_with("fail-"))
}

fn cpus(tree: &Fdt<'_>) -> Result<Vec<u64>, Error> {
    let parent = tree.find("/cpus").ok_or(Error::Board("no /cpus".into()))?;
    let mut cpus = Vec::new();
    for node in parent.children() {
        let is_cpu =
            node.property("device_type").is_some_and(|kind| kind.as_str() == Some("cpu")) || node.base_name() == "cpu";
        // A disabled CPU is one that has to be started (devicetree specification 3.8), not one to leave alone.
        if !is_cpu || has_failed(node.property("status").and_then(|status| status.as_str())) {
            continue;
        }
        let (address, _) = node.reg().next().ok_or_else(|| Error::Board(format!("{} has no reg", node.path())))?;
        if address & !AFFINITY != 0 || cpus.contains(&address) {
            return Err(Error::Board(format!(
                "{}: {address:#x} is no affinity, or the second of its kind",
                node.path()
            )));
        }
        cpus.push(address);
    }
    match cpus.len() {
        0 => Err(Error::Board("no CPU in /cpus".into())),
        1..=CPUS_MAX => Ok(cpus),
        count => Err(Error::Board(format!("{count} CPUs, more than the {CPUS_MAX} the EL3 stub has stacks for"))),
    }
}

fn gic(tree: &Fdt<'_>) -> Result<Option<Gic>, Error> {
    if let Some(node) = tree.find_compatible("arm,gic-v3").next() {
        let regions = node.property("#redistributor-regions").and_then(|count| count.as_u32()).unwrap_or(1) as usize;
        if regions > REDISTRIBUTORS_MAX {
            return Err(Error::Board(format!(
                "{}: {regions} redistributor regions, more than {REDISTRIBUTORS_MAX}",
                node.path()
            )));
        }
        let reg = registers(tree, &node);
        let [(distributor, _), rest @ ..] = &reg[..] else { return Err(no_reg(&node)) };
        if rest.len() < regions {
            return Err(no_reg(&node));
        }
        let mut redistributors = Vec::new();
        for &(start, size) in &rest[..regions] {
            redistributors.push(range(&node.path(), start, size)?);
        }
        return Ok(Some(Gic::V3 { distributor: *distributor, redistributors }));
    }
    let Some(node) = GIC_V2.iter().find_map(|name| tree.find_compatible(name).next()) else { return Ok(None) };
    match registers(tree, &node)[..] {
        [(distributor, _), (cpu_interface, _), ..] => Ok(Some(Gic::V2 { distributor, cpu_interface })),
        _ => Err(no_reg(&node)),
    }
}

fn no_reg(node: &Node<'_>) -> Error {
    Error::Board(format!("{}: reg has too few entries, or addresses that no bus above it translates", node.path()))
}

fn uart(tree: &Fdt<'_>) -> Option<u64> {
    let is_pl011 = |node: &Node<'_>| node.is_compatible("arm,pl011") || node.is_compatible("arm,sbsa-uart");
    let address = |node: Node<'_>| registers(tree, &node).first().map(|&(address, _)| address);
    let chosen = tree.find("/chosen").and_then(|chosen| chosen.property("stdout-path")).and_then(|path| {
        // The part behind a colon is the line's speed.
        let name = path.as_str()?.split(':').next()?;
        let path = if name.starts_with('/') { name } else { tree.aliases().find(|&(alias, _)| alias == name)?.1 };
        tree.find(path).filter(is_pl011)
    });
    chosen.and_then(address).or_else(|| {
        let first = tree.descendants().map(|(_, node)| node).find(|node| is_pl011(node) && node.is_available())?;
        address(first)
    })
}

fn power(tree: &Fdt<'_>) -> Option<Power> {
    let pin = |compatible: &str| -> Option<(u64, u8)> {
        let node = tree.find_compatible(compatible).find(usable_at_el3)?;
        let mut cells = node.property("gpios")?.cells();
        let [phandle, pin] = [cells.next()?, cells.next()?];
        let device = tree.find_phandle(phandle).filter(|device| device.is_compatible("arm,pl061"))?;
        Some((registers(tree, &device).first()?.0, u8::try_from(pin).ok().filter(|&pin| pin < 8)?))
    };
    if let (Some((address, off)), Some((other, reset))) = (pin("gpio-poweroff"), pin("gpio-restart"))
        && address == other
    {
        return Some(Power::Pl061 { address, off, reset });
    }
    let node = tree.find_compatible("arm,vexpress-sysreg").next()?;
    Some(Power::Vexpress(registers(tree, &node).first()?.0))
}

/// Secure firmware sees `secure-status` where a node has one (Linux: Documentation/devicetree/bindings/arm/secure.txt).
fn usable_at_el3(node: &Node<'_>) -> bool {
    match node.property("secure-status") {
        Some(status) => matches!(status.as_str(), Some("okay" | "ok")),
        None => node.is_available(),
    }
}

/// Returns a node's register ranges as the CPUs see them; those that no bus above translates are left out.
fn registers(tree: &Fdt<'_>, node: &Node<'_>) -> Vec<(u64, u64)> {
    tree.registers(node).flatten().collect()
}
