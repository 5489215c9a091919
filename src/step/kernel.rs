//! `kernel`: a kernel or hypervisor, packed or not, becomes a plain arm64 Image.

use bootwrap::kernel::Image;

use super::{Description, Given, Kind, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};

/// The name of the input.
pub const INPUT: &str = "image";
/// The name of the output.
pub const OUTPUT: &str = "Image";

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// How errors call it: the file, or where it is from.
    pub title: String,
}

impl Kind for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, _description: &mut Description) {}

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let image = self.image(workspace.input(INPUT)?)?;
        output::write(&workspace.folder.join(OUTPUT), &image.bytes)
    }
}

impl Kernel {
    /// Unpacks the Image.
    pub fn image(&self, given: &Given) -> Result<Image> {
        let bytes = given.read(bootwrap::kernel::SIZE_MAX)?;
        bootwrap::kernel::read(&bytes).map_err(|error| Error::new(ErrorKind::Input, format!("{} {error}", self.title)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Content, Digest, NoPackages};
    use crate::task::Silent;

    /// Two libraries that know nothing of each other unpack xz: what one takes, a kernel or a package, the other does too.
    #[test]
    fn packages_and_kernels_may_ask_for_the_same_memory() {
        let packages = u64::from(imagegen::decompress::XZ_MEMORY_MAX_KIB) << 10;
        assert_eq!(packages, bootwrap::kernel::MEMORY_MAX);
    }

    fn kernel(bytes: impl Into<std::borrow::Cow<'static, [u8]>>) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let inputs = [Given { name: INPUT.into(), content: Content::Bytes(bytes.into()) }];
        let task = Silent::default();
        let workspace = Workspace {
            folder: folder.path(),
            key: Digest([0; 32]),
            inputs: &inputs,
            task: &task,
            packages: &NoPackages,
        };
        Kernel { title: "boot/Image".into() }.make(&workspace)?;
        Ok(std::fs::read(folder.path().join(OUTPUT)).unwrap())
    }

    #[test]
    fn what_is_no_kernel_is_refused_by_name() {
        let error = kernel(b"#!/bin/sh\n".as_slice()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Input);
        assert!(error.to_string().starts_with("boot/Image is no arm64 Image"), "{error}");
    }

    #[test]
    fn a_packed_image_is_unpacked() {
        use std::io::Write;
        let image = bootwrap::kernel::blank(4096);
        let mut gzip = imagegen::decompress::gzip_writer(Vec::new(), 6);
        gzip.write_all(&image).unwrap();
        assert_eq!(kernel(gzip.finish().unwrap()).unwrap(), image);
        assert_eq!(kernel(image.clone()).unwrap(), image);
    }
}
