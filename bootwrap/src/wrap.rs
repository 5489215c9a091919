//! From a specification to an artifact: reads the board, plans the memory map, extends the device tree, fills in the stub.

use std::io::{self, Write};

use bootwrap_el3::parameters::{self, FLAG_SPIN_TABLE, MEMORY_MAX, Parameters};
use fdt::{Fdt, Tree};

use crate::axf::{self, Segment};
use crate::board::{Board, Gic, Power};
use crate::chosen::{self, EnableMethod};
use crate::error::Error;
use crate::kernel::{self, Image};
use crate::layout::{self, Item, LayoutError, MemoryMap, Range};
use crate::payload::Payload;
use crate::stub::Stub;

const PAGE: u64 = 4096;
const BLOCK: u64 = 2 << 20;
/// Where a raw file stops being a reasonable way to carry things that lie far apart.
const RAW_MAX: u64 = 1 << 30;

/// The exception level at which the board enters the artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// From reset: the stub is all the firmware there is. The artifact also starts at EL2, where firmware offers PSCI by SMC.
    El3,
    /// From a loader or firmware, which has set up EL3 and offers PSCI.
    El2,
}

/// How the other CPUs wait to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secondaries {
    /// For PSCI's CPU_ON: the stub's at EL3, the firmware's at EL2.
    Psci,
    /// In the stub at EL2, for an address in a word.
    SpinTable,
}

/// A hypervisor and its command line.
pub struct Hypervisor<'a> {
    /// An arm64 Image, packed or not.
    pub image: &'a [u8],
    /// Its command line.
    pub bootargs: &'a str,
}

/// Something more for the hypervisor.
pub struct Module<'a> {
    /// Section name without the dot, and name in the memory map: `xsm`.
    pub name: &'a str,
    /// As in [`chosen::Module::compatible`].
    pub compatible: &'a str,
    /// Its bytes.
    pub payload: &'a dyn Payload,
}

/// What to tie together.
pub struct Spec<'a> {
    /// The EL3 stub, an ELF file.
    pub stub: &'a [u8],
    /// The board's device tree, a blob.
    pub device_tree: &'a [u8],
    /// Where the artifact begins.
    pub level: Level,
    /// How CPUs are started.
    pub secondaries: Secondaries,
    /// What runs at EL2; without it, the kernel does.
    pub hypervisor: Option<Hypervisor<'a>>,
    /// Dom0's kernel, or the one to start. A hypervisor may do without.
    pub kernel: Option<&'a [u8]>,
    /// The kernel's command line.
    pub bootargs: &'a str,
    /// The kernel's initramfs.
    pub ramdisk: Option<&'a dyn Payload>,
    /// More modules for the hypervisor.
    pub modules: Vec<Module<'a>>,
    /// Addresses that the user wants, by name: `boot`, `dtb`, `xen`, `kernel`, `initramfs`, or a module's.
    pub addresses: Vec<(String, u64)>,
}

/// The finished parts, with addresses, ready to be written.
pub struct Wrapped<'a> {
    /// Who sits where.
    pub map: MemoryMap,
    /// What the board's tree says.
    pub board: Board,
    /// The first instruction.
    pub entry: u64,
    /// The tree as it will be found in memory.
    pub device_tree: Vec<u8>,
    /// What the stub was told.
    pub parameters: Box<Parameters>,
    parts: Vec<Part<'a>>,
}

/// Bytes of one segment.
struct Part<'a> {
    name: String,
    bytes: Bytes<'a>,
    executable: bool,
}

enum Bytes<'a> {
    Owned(Vec<u8>),
    Handed(&'a dyn Payload),
}

impl Bytes<'_> {
    fn payload(&self) -> &dyn Payload {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Handed(payload) => *payload,
        }
    }
}

/// Does everything but write.
pub fn wrap<'a>(spec: &Spec<'a>) -> Result<Wrapped<'a>, Error> {
    let tree = Fdt::new(spec.device_tree)?;
    let board = Board::read(&tree)?;
    check(spec, &board)?;
    let stub = Stub::parse(spec.stub)?;
    let read = |name: &str, bytes: &[u8]| kernel::read(bytes).map_err(|error| Error::Kernel(name.into(), error));
    let hypervisor = spec.hypervisor.as_ref().map(|hypervisor| read("hypervisor", hypervisor.image)).transpose()?;
    let kernel = spec.kernel.map(|bytes| read("kernel", bytes)).transpose()?;

    // How long the tree gets depends on the addresses, and those on its length: the longest addresses give a bound.
    let far = |name: &str| {
        let index = NAMES
            .iter()
            .copied()
            .chain(spec.modules.iter().map(|module| module.name))
            .position(|other| other == name)?;
        Some(Range { start: u64::MAX - (index as u64 + 1) * BLOCK, size_bytes: BLOCK })
    };
    let bound = extended(spec, &tree, &board, kernel.as_ref(), &far)?.len() as u64;
    let items = items(spec, &stub, bound, hypervisor.as_ref(), kernel.as_ref())?;
    let mut map = MemoryMap::new(board.memory.clone(), board.reserved.clone()).place(&items)?;
    if hypervisor.is_none() {
        check_linux(&map)?;
    }

    let loaded =
        |name: &str| map.find(name).map(|placed| Range { start: placed.range.start, size_bytes: placed.file_bytes });
    let with_stub = |name: &str| if name == "boot" { map.find(name).map(|placed| placed.range) } else { loaded(name) };
    let device_tree = extended(spec, &tree, &board, kernel.as_ref(), &with_stub)?;
    if device_tree.len() as u64 > bound {
        return Err(Error::Board(format!("grew to {} bytes, {bound} were reserved", device_tree.len())));
    }
    if let Some(placed) = map.placed.iter_mut().find(|placed| placed.name == "dtb") {
        placed.file_bytes = device_tree.len() as u64;
    }
    let start = |name: &str| map.find(name).map(|placed| placed.range.start).unwrap_or_default();
    let first = if hypervisor.is_some() { "xen" } else { "kernel" };
    let parameters = Box::new(parameters(spec, &board, &map, start(first), start("dtb"))?);
    let entry = start("boot");

    let mut parts = vec![
        Part { name: "boot".into(), bytes: Bytes::Owned(stub.with(&parameters)), executable: true },
        Part { name: "dtb".into(), bytes: Bytes::Owned(device_tree.clone()), executable: false },
    ];
    for (name, image) in [("xen", hypervisor), ("kernel", kernel)] {
        if let Some(image) = image {
            parts.push(Part { name: name.into(), bytes: Bytes::Owned(image.bytes), executable: name == first });
        }
    }
    if let Some(payload) = spec.ramdisk {
        parts.push(Part { name: "initramfs".into(), bytes: Bytes::Handed(payload), executable: false });
    }
    for module in &spec.modules {
        parts.push(Part { name: module.name.into(), bytes: Bytes::Handed(module.payload), executable: false });
    }
    parts.sort_by_key(|part| start(&part.name));
    Ok(Wrapped { map, board, entry, device_tree, parameters, parts })
}

/// Finds contradictions that need no memory map.
fn check(spec: &Spec<'_>, board: &Board) -> Result<(), Error> {
    if spec.hypervisor.is_none() && spec.kernel.is_none() {
        return Err(Error::Board("nothing to start: neither a hypervisor nor a kernel".into()));
    }
    if spec.hypervisor.is_none() && !spec.modules.is_empty() {
        return Err(Error::Board(format!("module {} has no hypervisor to go to", spec.modules[0].name)));
    }
    if spec.ramdisk.is_some() && spec.kernel.is_none() {
        return Err(Error::Board("an initramfs without a kernel".into()));
    }
    for (index, module) in spec.modules.iter().enumerate() {
        let taken = NAMES.contains(&module.name) || spec.modules[..index].iter().any(|other| other.name == module.name);
        if taken
            || module.name.is_empty()
            || !module.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(Error::Board(format!(
                "module name {:?} is taken, or not made of letters, digits and _",
                module.name
            )));
        }
    }
    let ramdisk = spec.ramdisk.map(|payload| ("initramfs", payload));
    for (name, payload) in ramdisk.into_iter().chain(spec.modules.iter().map(|module| (module.name, module.payload))) {
        if payload.size_bytes() == 0 {
            return Err(Error::Io(name.into(), io::Error::other("is empty")));
        }
    }
    for (index, (name, _)) in spec.addresses.iter().enumerate() {
        if spec.addresses[..index].iter().any(|(other, _)| other == name) {
            return Err(Error::Board(format!("two addresses are given for {name}")));
        }
    }
    for (what, text) in [
        ("kernel", spec.bootargs),
        ("hypervisor", spec.hypervisor.as_ref().map_or("", |hypervisor| hypervisor.bootargs)),
    ] {
        if text.contains('\0') {
            return Err(Error::Board(format!("the {what}'s command line holds a NUL")));
        }
    }
    if spec.level == Level::El3 && board.gic.is_none() {
        return Err(Error::Board("no GICv2 or GICv3, which the EL3 stub would have to set up".into()));
    }
    if spec.level == Level::El2 && spec.secondaries == Secondaries::Psci && !board.has_psci && board.cpus.len() > 1 {
        return Err(Error::Board(
            "no PSCI from firmware, so nothing could start the other CPUs at EL2: start at EL3, or use a spin table"
                .into(),
        ));
    }
    Ok(())
}

/// Names of the parts that are not modules: sections, rows of the memory map, and keys of [`Spec::addresses`].
pub const NAMES: &[&str] = &["boot", "dtb", "xen", "kernel", "initramfs"];

/// Returns everything that needs memory, in the order it is placed.
fn items(
    spec: &Spec<'_>,
    stub: &Stub,
    tree_bytes: u64,
    hypervisor: Option<&Image>,
    kernel: Option<&Image>,
) -> Result<Vec<Item>, Error> {
    // Each starts a 2 MiB block of its own, so that nobody maps it together with the stub.
    let mut tree = Item::new("dtb", tree_bytes.next_multiple_of(PAGE), BLOCK);
    tree.file_bytes = 0;
    tree.window = BLOCK;
    if tree_bytes > BLOCK {
        return Err(Error::Board(format!("{tree_bytes} bytes; kernels take at most {BLOCK}")));
    }
    let mut boot = Item::new("boot", stub.memory_bytes, PAGE);
    boot.file_bytes = stub.file_bytes();
    let mut items = vec![boot, tree];
    for (name, image) in [("xen", hypervisor), ("kernel", kernel)] {
        if let Some(image) = image {
            items.push(image_item(name, image, name == "xen" || hypervisor.is_none()));
        }
    }
    if let Some(payload) = spec.ramdisk {
        items.push(Item::new("initramfs", payload.size_bytes(), PAGE));
    }
    items.extend(spec.modules.iter().map(|module| Item::new(module.name, module.payload.size_bytes(), PAGE)));
    layout::fix(&mut items, &spec.addresses)?;
    Ok(items)
}

/// A hypervisor copies the kernel before it starts it, so only what is started where it lies needs room behind the file.
fn image_item(name: &str, image: &Image, starts: bool) -> Item {
    let mut item = Item::new(name, image.bytes.len() as u64, BLOCK);
    if starts {
        item.offset = image.text_offset;
        item.memory_bytes = image.memory_bytes;
    }
    item
}

/// Linux: kernel and initramfs within 32 GiB, counted from a multiple of 1 GiB (Documentation/arm64/booting.rst).
fn check_linux(map: &MemoryMap) -> Result<(), Error> {
    let (Some(kernel), Some(ramdisk)) = (map.find("kernel"), map.find("initramfs")) else { return Ok(()) };
    let base = kernel.range.start.min(ramdisk.range.start) & !((1 << 30) - 1);
    if kernel.range.end().max(ramdisk.range.end()) - base > 32 << 30 {
        let message = "kernel and initramfs are more than 32 GiB apart".into();
        return Err(LayoutError { message, item: None, map: Box::new(map.clone()) }.into());
    }
    Ok(())
}

/// Returns the device tree's bytes for a given placement.
fn extended(
    spec: &Spec<'_>,
    tree: &Fdt<'_>,
    board: &Board,
    kernel: Option<&Image>,
    place: &dyn Fn(&str) -> Option<Range>,
) -> Result<Vec<u8>, Error> {
    let mut tree = Tree::from_fdt(tree);
    let payload = match &spec.hypervisor {
        Some(hypervisor) => {
            let kernel = kernel.map(|_| ("kernel", "multiboot,kernel", Some(spec.bootargs.into())));
            let ramdisk = spec.ramdisk.map(|_| ("initramfs", "multiboot,ramdisk", None));
            let others = spec.modules.iter().map(|module| (module.name, module.compatible, None));
            let modules = kernel
                .into_iter()
                .chain(ramdisk)
                .chain(others)
                .filter_map(|(name, compatible, bootargs)| {
                    Some(chosen::Module { compatible: compatible.into(), range: place(name)?, bootargs })
                })
                .collect();
            chosen::Payload::Hypervisor { bootargs: hypervisor.bootargs.into(), modules }
        }
        None => {
            let ramdisk = spec.ramdisk.and_then(|_| place("initramfs"));
            chosen::Payload::Kernel { bootargs: spec.bootargs.into(), ramdisk }
        }
    };
    let boot = place("boot");
    let method = match (spec.secondaries, spec.level) {
        (Secondaries::SpinTable, _) => {
            let base = boot.map_or(0, |range| range.start) + parameters::OFFSET as u64;
            let first = base + std::mem::offset_of!(Parameters, release) as u64;
            // As the stub counts: in the order of `Parameters::cpus`.
            EnableMethod::SpinTable(board.cpus.iter().copied().zip((first..).step_by(8)).collect())
        }
        (Secondaries::Psci, Level::El3) => EnableMethod::Psci,
        (Secondaries::Psci, Level::El2) => EnableMethod::Keep,
    };
    let stays = method != EnableMethod::Keep;
    chosen::edit(&mut tree, &payload, &method, boot.filter(|_| stays))?;
    Ok(chosen::emit(&tree)?)
}

/// Returns what the stub needs to know.
fn parameters(spec: &Spec<'_>, board: &Board, map: &MemoryMap, entry: u64, dtb: u64) -> Result<Parameters, Error> {
    let mut parameters = Parameters {
        flags: if spec.secondaries == Secondaries::SpinTable { FLAG_SPIN_TABLE } else { 0 },
        cpu_count: board.cpus.len() as u32,
        entry,
        dtb,
        uart: board.uart.unwrap_or_default(),
        counter_hz: board.counter_hz.unwrap_or_default(),
        counter_control: board.counter_control.unwrap_or_default(),
        ..Parameters::default()
    };
    parameters.cpus[..board.cpus.len()].copy_from_slice(&board.cpus);
    let entry_of = |range: &Range| parameters::Range { start: range.start, size_bytes: range.size_bytes };
    match &board.gic {
        Some(Gic::V2 { distributor, cpu_interface }) => {
            parameters.gic_version = 2;
            parameters.gic_distributor = *distributor;
            parameters.gic_cpu_interface = *cpu_interface;
        }
        Some(Gic::V3 { distributor, redistributors }) => {
            parameters.gic_version = 3;
            parameters.gic_distributor = *distributor;
            parameters.redistributor_count = redistributors.len() as u32;
            for (slot, range) in parameters.redistributors.iter_mut().zip(redistributors) {
                *slot = entry_of(range);
            }
        }
        None => {}
    }
    match board.power {
        Some(Power::Vexpress(address)) => {
            parameters.power_method = parameters::POWER_VEXPRESS;
            parameters.power_address = address;
        }
        Some(Power::Pl061 { address, off, reset }) => {
            parameters.power_method = parameters::POWER_PL061;
            parameters.power_address = address;
            parameters.power_pins = u32::from(off) | u32::from(reset) << 8;
        }
        None => {}
    }
    let stub: Vec<Range> = map.find("boot").map(|placed| placed.range).into_iter().collect();
    let memory = MemoryMap::new(board.memory.clone(), stub).free();
    if memory.len() > MEMORY_MAX {
        return Err(Error::Board(format!(
            "{} pieces of memory, more than the {MEMORY_MAX} the EL3 stub can hold",
            memory.len()
        )));
    }
    for (slot, range) in parameters.memory.iter_mut().zip(&memory) {
        *slot = entry_of(range);
    }
    Ok(parameters)
}

impl Wrapped<'_> {
    /// Writes the ELF file.
    pub fn write_elf(&self, out: &mut dyn Write) -> Result<(), Error> {
        let names: Vec<String> = self.parts.iter().map(|part| format!(".{}", part.name)).collect();
        let segments: Vec<Segment<'_>> = self
            .parts
            .iter()
            .zip(&names)
            .filter_map(|(part, name)| {
                let range = self.map.find(&part.name)?.range;
                let (payload, executable) = (part.bytes.payload(), part.executable);
                Some(Segment { name, address: range.start, payload, memory_bytes: range.size_bytes, executable })
            })
            .collect();
        axf::write(out, self.entry, &segments)
    }

    /// Writes the memory from the first byte to the last as it is, with zeros between, for loaders that know no ELF: it belongs at
    /// the address of the first byte, which is also where it is entered if the stub lies lowest.
    pub fn write_raw(&self, out: &mut dyn Write) -> Result<(), Error> {
        let failed = |name: &str, error| Error::Io(name.into(), error);
        let refused =
            |message: String| Error::from(LayoutError { message, item: None, map: Box::new(self.map.clone()) });
        let placed: Vec<_> =
            self.parts.iter().filter_map(|part| Some((part, self.map.find(&part.name)?.range))).collect();
        let (Some((_, first)), Some((_, last))) = (placed.first(), placed.last()) else { return Ok(()) };
        if first.start != self.entry {
            return Err(refused(format!(
                "a raw file begins with its lowest part, and the stub at {:#x} is not that",
                self.entry
            )));
        }
        if last.end() - first.start > RAW_MAX {
            return Err(refused(format!(
                "a raw file would have {} bytes, more than {RAW_MAX}",
                last.end() - first.start
            )));
        }
        let mut at = first.start;
        for (part, range) in placed {
            io::copy(&mut io::Read::take(io::repeat(0), range.start - at), out)
                .map_err(|error| failed(&part.name, error))?;
            part.bytes.payload().copy_to(out).map_err(|error| failed(&part.name, error))?;
            at = range.start + part.bytes.payload().size_bytes();
        }
        Ok(())
    }
}
