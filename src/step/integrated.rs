//! `integrated`: the hypervisor that xenbuild carries: its Image, and its ELF file, which knows the names of addresses.

use bootwrap::kernel;

use super::{Description, Kind, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};

/// The name of the input: the ELF file.
pub const INPUT: &str = "hypervisor";
/// The Image among the outputs.
pub const IMAGE: &str = "Image";
/// The ELF file among the outputs.
pub const SYMBOLS: &str = "xen-syms";

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Integrated;

impl Kind for Integrated {
    fn name(&self) -> &'static str {
        "integrated"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, _description: &mut Description) {}

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let bytes = workspace.input(INPUT)?.read(kernel::SIZE_MAX)?;
        output::write(&workspace.folder.join(IMAGE), &image(&bytes)?)?;
        output::write(&workspace.folder.join(SYMBOLS), &bytes)
    }
}

/// Makes the Image of the ELF file that is carried.
pub fn image(elf: &[u8]) -> Result<Vec<u8>> {
    let failed = |error| Error::new(ErrorKind::Internal, format!("the hypervisor that is carried {error}"));
    kernel::flatten(elf).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_is_an_image_that_fits_its_promise() {
        let flat = kernel::flatten(crate::carried::HYPERVISOR).unwrap();
        assert!(flat.len() < 300 << 10, "{} bytes", flat.len());
        let image = kernel::read(&flat).unwrap();
        assert!(image.anywhere && image.text_offset == 0 && image.memory_bytes >= flat.len() as u64, "{image:?}");
    }
}
