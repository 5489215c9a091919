//! `wrap`: stub, hypervisor, device tree, kernel and initramfs become one file to boot, and a table of who sits where.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use bootwrap::{FilePayload, Hypervisor, Level, Payload, Secondaries, Spec, Wrapped};

use super::{Description, Kind, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::recipe::Located;

/// The name of the file to boot.
pub const OUTPUT: &str = "boot.axf";
/// The name of the table.
pub const MEMORY_MAP: &str = "memory-map.txt";
/// The largest device tree.
const DEVICE_TREE_MAX_BYTES: u64 = 2 << 20;

/// The step. Its inputs are `stub`, `device-tree`, `hypervisor`, `kernel`, and `initramfs` if there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrap {
    /// Where the board enters: 2 or 3.
    pub exception_level: u8,
    /// The hypervisor's command line, complete.
    pub hypervisor_bootargs: String,
    /// Dom0's command line.
    pub kernel_bootargs: String,
    /// There is an initramfs.
    pub initramfs: bool,
    /// Load addresses that the recipe fixes, by the name of the part.
    pub addresses: BTreeMap<String, Located<u64>>,
}

impl Kind for Wrap {
    fn name(&self) -> &'static str {
        "wrap"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("exception-level", self.exception_level);
        description.parameter("hypervisor bootargs", &self.hypervisor_bootargs);
        description.parameter("kernel bootargs", &self.kernel_bootargs);
        for (name, address) in &self.addresses {
            description.parameter(format!("address {name}"), format_args!("{:#x}", address.value));
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let limit = bootwrap::kernel::SIZE_MAX;
        let ramdisk = if self.initramfs { Some(ramdisk(workspace.file("initramfs")?)?) } else { None };
        let parts = Parts {
            stub: &workspace.input("stub")?.read(limit)?,
            device_tree: &workspace.input("device-tree")?.read(DEVICE_TREE_MAX_BYTES)?,
            hypervisor: &workspace.input("hypervisor")?.read(limit)?,
            kernel: &workspace.input("kernel")?.read(limit)?,
            ramdisk: ramdisk.as_ref().map(|payload| payload as &dyn Payload),
        };
        workspace.task.cancel().check()?;
        let wrapped = self.wrap(&parts)?;
        let path = workspace.folder.join(OUTPUT);
        let mut out = BufWriter::with_capacity(output::CHUNK_BYTES, output::create(&path)?);
        wrapped.write_elf(&mut out).map_err(input_error)?;
        out.flush().map_err(|error| output::write_error(&path, error))?;
        output::write(&workspace.folder.join(MEMORY_MAP), wrapped.map.to_string().as_bytes())
    }
}

/// What is tied together.
pub struct Parts<'a> {
    /// The EL3 stub, an ELF file.
    pub stub: &'a [u8],
    /// The machine's device tree, a blob.
    pub device_tree: &'a [u8],
    /// The hypervisor's Image.
    pub hypervisor: &'a [u8],
    /// Dom0's Image.
    pub kernel: &'a [u8],
    /// Dom0's initramfs.
    pub ramdisk: Option<&'a dyn Payload>,
}

/// Opens an initramfs, to be read when it is written.
pub fn ramdisk(path: &Path) -> Result<FilePayload> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    FilePayload::new(output::open(path)?).map_err(failed)
}

impl Wrap {
    /// Gives every part its place, and proves that nothing is wrong with it.
    ///
    /// # Errors
    /// A part that is not what it should be; and all that the memory map can say, with that map.
    pub fn wrap<'a>(&'a self, parts: &Parts<'a>) -> Result<Wrapped<'a>> {
        let spec = Spec {
            stub: parts.stub,
            device_tree: parts.device_tree,
            level: if self.exception_level == 3 { Level::El3 } else { Level::El2 },
            secondaries: Secondaries::Psci,
            hypervisor: Some(Hypervisor { image: parts.hypervisor, bootargs: &self.hypervisor_bootargs }),
            kernel: Some(parts.kernel),
            bootargs: &self.kernel_bootargs,
            ramdisk: parts.ramdisk,
            modules: Vec::new(),
            addresses: self.addresses.iter().map(|(name, address)| (name.clone(), address.value)).collect(),
        };
        bootwrap::wrap(&spec).map_err(|error| layout_error(&self.addresses, error))
    }
}

/// An address that cannot be is the recipe's fault, and shown there.
pub(super) fn layout_error(addresses: &BTreeMap<String, Located<u64>>, error: bootwrap::Error) -> Error {
    let address = match &error {
        bootwrap::Error::Layout(layout) => layout.item.as_ref().and_then(|name| addresses.get(name)),
        _ => None,
    };
    match address {
        Some(address) => Error::new(ErrorKind::Recipe, error.to_string()).at(&address.origin),
        None => input_error(error),
    }
}

/// A file that cannot be written is the host's fault, all else the inputs'.
pub(super) fn input_error(error: bootwrap::Error) -> Error {
    match error {
        bootwrap::Error::Io(what, error) => Error::io(format!("cannot write the {what}"), error),
        other => Error::new(ErrorKind::Input, other.to_string()),
    }
}
