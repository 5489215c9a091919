//! `wrap`: stub, hypervisor, device tree, kernel and initramfs become one file to boot, and a table of who sits where.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use bootwrap::{FilePayload, Hypervisor, Level, Payload, Secondaries, Spec};

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
        let stub = workspace.input("stub")?.read(limit)?;
        let device_tree = workspace.input("device-tree")?.read(DEVICE_TREE_MAX_BYTES)?;
        let hypervisor = workspace.input("hypervisor")?.read(limit)?;
        let kernel = workspace.input("kernel")?.read(limit)?;
        let ramdisk = match self.initramfs {
            true => {
                let path = workspace.file("initramfs")?;
                let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
                Some(FilePayload::new(output::open(path)?).map_err(failed)?)
            }
            false => None,
        };
        workspace.task.cancel().check()?;
        let spec = Spec {
            stub: &stub,
            device_tree: &device_tree,
            level: if self.exception_level == 3 { Level::El3 } else { Level::El2 },
            secondaries: Secondaries::Psci,
            hypervisor: Some(Hypervisor { image: &hypervisor, bootargs: &self.hypervisor_bootargs }),
            kernel: Some(&kernel),
            bootargs: &self.kernel_bootargs,
            ramdisk: ramdisk.as_ref().map(|payload| payload as &dyn Payload),
            modules: Vec::new(),
            addresses: self.addresses.iter().map(|(name, address)| (name.clone(), address.value)).collect(),
        };
        let wrapped = bootwrap::wrap(&spec).map_err(|error| self.layout_error(error))?;
        let path = workspace.folder.join(OUTPUT);
        let mut out = BufWriter::with_capacity(output::CHUNK_BYTES, output::create(&path)?);
        wrapped.write_elf(&mut out).map_err(input_error)?;
        out.flush().map_err(|error| output::write_error(&path, error))?;
        output::write(&workspace.folder.join(MEMORY_MAP), wrapped.map.to_string().as_bytes())
    }
}

impl Wrap {
    /// An address that cannot be is the recipe's fault, and shown there.
    fn layout_error(&self, error: bootwrap::Error) -> Error {
        let address = match &error {
            bootwrap::Error::Layout(layout) => layout.item.as_ref().and_then(|name| self.addresses.get(name)),
            _ => None,
        };
        match address {
            Some(address) => Error::new(ErrorKind::Recipe, error.to_string()).at(&address.origin),
            None => input_error(error),
        }
    }
}

/// A file that cannot be written is the host's fault, all else the inputs'.
fn input_error(error: bootwrap::Error) -> Error {
    match error {
        bootwrap::Error::Io(what, error) => Error::io(format!("cannot write the {what}"), error),
        other => Error::new(ErrorKind::Input, other.to_string()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! What other tests need, too.

    /// Returns an arm64 Image that does nothing, of this many bytes (Linux: Documentation/arm64/booting.rst).
    pub fn image(size_bytes: usize) -> Vec<u8> {
        let mut image = vec![0; size_bytes];
        image[16..24].copy_from_slice(&(size_bytes as u64).to_le_bytes());
        image[24..32].copy_from_slice(&0b1010u64.to_le_bytes());
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }
}
