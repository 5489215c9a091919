//! Where U-Boot loads the parts, and the device tree that tells the hypervisor so.
//!
//! ```text
//! start of memory                                                                      end of the bank
//! | firmware's, 2 MiB | device tree | hypervisor | kernel | ramdisk | FIT | ...free... | U-Boot's own |
//! ```

use fdt::{Fdt, Tree};

use crate::board;
use crate::chosen::{self, EnableMethod, Module, Payload as Chosen};
use crate::error::Error;
use crate::kernel::{self, Image};
use crate::layout::{self, Item, MemoryMap, Range};
use crate::payload::Payload;
use crate::wrap::Hypervisor;

const PAGE: u64 = 4096;
const BLOCK: u64 = 2 << 20;
/// Firmware's spin tables and an emulator's device tree lie at the start of memory; and address 0 means "none" to U-Boot.
const LOW_BYTES: u64 = BLOCK;
/// U-Boot moves itself, with its heap and stack, to the end of the memory that it starts in.
const HIGH_BYTES: u64 = 32 << 20;
/// Room for what U-Boot writes into the tree before it starts a kernel (CONFIG_SYS_FDT_PAD is 12 KiB).
const TREE_ROOM: u32 = 16 << 10;
/// Where the tree is the firmware's, nobody knows its size before; QEMU's has a whole MiB.
const FOREIGN_TREE_BYTES: u64 = BLOCK;
/// What of a FIT is not parts.
pub const FIT_ROOM: u64 = 64 << 10;

/// What U-Boot is to load.
pub struct Spec<'a> {
    /// The board's device tree, a blob.
    pub device_tree: &'a [u8],
    /// What runs at EL2.
    pub hypervisor: Hypervisor<'a>,
    /// Dom0's kernel.
    pub kernel: &'a [u8],
    /// Its command line.
    pub bootargs: &'a str,
    /// Its initramfs.
    pub ramdisk: Option<&'a dyn Payload>,
    /// Addresses that the user wants, by name: `dtb`, `xen`, `kernel`, `initramfs`, `fit`.
    pub addresses: Vec<(String, u64)>,
    /// All of it comes in a FIT, which needs a place too.
    pub fit: bool,
    /// The device tree will be the firmware's, filled in by a script.
    pub foreign_tree: bool,
}

/// The parts, with addresses.
pub struct Loaded {
    /// Who goes where.
    pub map: MemoryMap,
    /// The device tree with everything said that the hypervisor needs.
    pub device_tree: Vec<u8>,
    /// The hypervisor, unpacked.
    pub hypervisor: Vec<u8>,
    /// Dom0's kernel, unpacked.
    pub kernel: Vec<u8>,
    /// What `/chosen` says.
    pub modules: Vec<Module>,
}

impl Loaded {
    /// Returns where a part goes.
    pub fn start(&self, name: &str) -> Option<u64> {
        self.map.find(name).map(|placed| placed.range.start)
    }
}

/// Gives every part its place, and extends the device tree.
///
/// # Errors
/// A part that is not what it should be; memory that is too small, or an address that cannot be, with the map.
pub fn place(spec: &Spec<'_>) -> Result<Loaded, Error> {
    let tree = Fdt::new(spec.device_tree)?;
    let read = |name: &str, bytes: &[u8]| kernel::read(bytes).map_err(|error| Error::Kernel(name.into(), error));
    let hypervisor = read("hypervisor", spec.hypervisor.image)?;
    let kernel = read("kernel", spec.kernel)?;
    for text in [spec.bootargs, spec.hypervisor.bootargs] {
        if text.contains('\0') {
            return Err(Error::Board("a command line holds a NUL".into()));
        }
    }
    // Names of modules hold their addresses: the longest give a bound.
    let far = |name: &str| {
        Some(Range { start: u64::MAX - (if name == "kernel" { 2 } else { 1 }) * BLOCK, size_bytes: BLOCK })
    };
    let bound = extended(spec, &tree, &far)?.0.len() as u64;
    let items = items(spec, bound, &hypervisor, &kernel)?;
    let (banks, reserved) = board::memory_and_reserved(&tree)?;
    let mut map = MemoryMap::new(banks, reserved);
    if let Some(bank) = map.banks.first().copied() {
        let low = LOW_BYTES.min(bank.size_bytes);
        map.firmware.push(Range { start: bank.start, size_bytes: low });
        let high = HIGH_BYTES.min((bank.size_bytes - low) / 4);
        // Where the bank goes beyond 4 GiB, U-Boot stays below.
        let end = if bank.start < 1 << 32 { bank.end().min(1 << 32) } else { bank.end() };
        map.firmware.push(Range { start: end - high, size_bytes: high });
    }
    let mut map = map.place(&items)?;
    let at =
        |name: &str| map.find(name).map(|placed| Range { start: placed.range.start, size_bytes: placed.file_bytes });
    let (device_tree, modules) = extended(spec, &tree, &at)?;
    if device_tree.len() as u64 > bound {
        return Err(Error::Board(format!("grew to {} bytes, {bound} were reserved", device_tree.len())));
    }
    if let Some(placed) = map.placed.iter_mut().find(|placed| placed.name == "dtb" && !spec.foreign_tree) {
        placed.file_bytes = device_tree.len() as u64;
    }
    Ok(Loaded { map, device_tree, hypervisor: hypervisor.bytes, kernel: kernel.bytes, modules })
}

/// Returns everything that needs memory, in the order it is placed.
fn items(spec: &Spec<'_>, tree_bytes: u64, hypervisor: &Image, kernel: &Image) -> Result<Vec<Item>, Error> {
    let tree_bytes = if spec.foreign_tree { FOREIGN_TREE_BYTES } else { tree_bytes };
    if tree_bytes > BLOCK {
        return Err(Error::Board(format!("{tree_bytes} bytes; hypervisors take at most {BLOCK}")));
    }
    let mut tree = Item::new("dtb", tree_bytes.next_multiple_of(PAGE), BLOCK);
    tree.file_bytes = 0;
    tree.window = BLOCK;
    let mut xen = Item::new("xen", hypervisor.bytes.len() as u64, BLOCK);
    // `booti` moves what does not lie where its header says.
    xen.offset = hypervisor.text_offset;
    xen.memory_bytes = hypervisor.memory_bytes;
    let mut items = vec![tree, xen, Item::new("kernel", kernel.bytes.len() as u64, BLOCK)];
    if let Some(payload) = spec.ramdisk {
        items.push(Item::new("initramfs", payload.size_bytes(), PAGE));
    }
    if spec.fit {
        let parts: u64 = items.iter().map(|item| item.memory_bytes.next_multiple_of(PAGE)).sum();
        let mut fit = Item::new("fit", parts + FIT_ROOM, BLOCK);
        fit.file_bytes = 0;
        items.push(fit);
    }
    layout::fix(&mut items, &spec.addresses)?;
    Ok(items)
}

/// Returns the device tree's bytes for a given placement, and the modules that it lists.
fn extended(
    spec: &Spec<'_>,
    tree: &Fdt<'_>,
    place: &dyn Fn(&str) -> Option<Range>,
) -> Result<(Vec<u8>, Vec<Module>), Error> {
    let mut tree = Tree::from_fdt(tree);
    let kernel = Some(("kernel", "multiboot,kernel", Some(spec.bootargs.to_owned())));
    let ramdisk = spec.ramdisk.map(|_| ("initramfs", "multiboot,ramdisk", None));
    let modules: Vec<Module> = kernel
        .into_iter()
        .chain(ramdisk)
        .filter_map(|(name, compatible, bootargs)| {
            Some(Module { compatible: compatible.into(), range: place(name)?, bootargs })
        })
        .collect();
    let payload = Chosen::Hypervisor { bootargs: spec.hypervisor.bootargs.into(), modules: modules.clone() };
    chosen::edit(&mut tree, &payload, &EnableMethod::Keep, None)?;
    let options = fdt::EmitOptions { padding: TREE_ROOM, align: 8, ..fdt::EmitOptions::default() };
    Ok((tree.emit(&options)?, modules))
}
