//! A FIT: a flattened tree that lists images with their hashes, and configurations of them, with the images behind it
//! (U-Boot: doc/uImage.FIT/source_file_format.txt). The hypervisor is the kernel that `bootm` starts; Dom0's kernel and
//! initramfs are loadables, copied to where the device tree says they are.
//!
//! ```text
//! | tree, to a multiple of 4 KiB | xen | fdt | dom0-kernel | dom0-initramfs |     each from a multiple of 4 KiB on
//! ```

use std::io::{self, Write};

use fdt::{EmitOptions, Tree};
use sha2::{Digest, Sha256};

use super::load::{FIT_ROOM, Loaded};
use super::signature::{self, Key};
use crate::error::Error;
use crate::payload::Payload;

const PAGE: u64 = 4096;
/// The name of the one configuration.
const CONFIGURATION: &str = "xen";

/// What goes into a FIT.
pub struct Fit<'a> {
    /// For people.
    pub description: &'a str,
    /// Seconds since 1970.
    pub time: u32,
    /// The parts and their places.
    pub loaded: &'a Loaded,
    /// Dom0's initramfs, where there is one.
    pub ramdisk: Option<&'a dyn Payload>,
    /// What it is signed with, if it is.
    pub key: Option<&'a Key>,
}

/// One image.
struct Image<'a> {
    name: &'static str,
    description: &'static str,
    kind: &'static str,
    /// Its name in the memory map.
    part: &'static str,
    payload: &'a dyn Payload,
}

impl Fit<'_> {
    /// Writes it.
    ///
    /// # Errors
    /// A part without a place, or one that cannot be read; an output that takes nothing more.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let images = self.images();
        let blob = self.tree(&images)?;
        let failed = |name: &str, error| Error::Io(name.into(), error);
        out.write_all(&blob).map_err(|error| failed("FIT", error))?;
        for image in &images {
            image.payload.copy_to(out).map_err(|error| failed(image.part, error))?;
            let size = image.payload.size_bytes();
            let gap = size.next_multiple_of(PAGE) - size;
            out.write_all(&vec![0; gap as usize]).map_err(|error| failed(image.part, error))?;
        }
        Ok(())
    }

    fn images(&self) -> Vec<Image<'_>> {
        let loaded = self.loaded;
        let mut images = vec![
            Image { name: "xen", description: "Xen", kind: "kernel", part: "xen", payload: &loaded.hypervisor },
            Image {
                name: "fdt",
                description: "device tree",
                kind: "flat_dt",
                part: "dtb",
                payload: &loaded.device_tree,
            },
            Image {
                name: "dom0-kernel",
                description: "Domain 0's kernel",
                // Not `kernel`: nothing is to be started but the hypervisor.
                kind: "firmware",
                part: "kernel",
                payload: &loaded.kernel,
            },
        ];
        if let Some(payload) = self.ramdisk {
            images.push(Image {
                name: "dom0-initramfs",
                description: "Domain 0's initramfs",
                kind: "firmware",
                part: "initramfs",
                payload,
            });
        }
        images
    }

    /// Makes the tree, in two passes: a signature covers everything but itself.
    fn tree(&self, images: &[Image<'_>]) -> Result<Vec<u8>, Error> {
        let mut tree = Tree::new();
        let root = tree.root();
        tree.set_cells(root, "timestamp", &[self.time]);
        tree.set_string(root, "description", self.description);
        tree.set_cells(root, "#address-cells", &[2]);
        let mut offset = 0;
        for image in images {
            offset = self.image(&mut tree, image, offset)?;
        }
        let configuration = self.configuration(&mut tree, images)?;
        let options = EmitOptions { align: PAGE as u32, ..EmitOptions::default() };
        if let Some(key) = self.key {
            let node = tree.add_child(configuration, "signature-1")?;
            let nodes = signed_nodes(images);
            let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
            tree.set_string(node, "algo", &key.algorithm());
            tree.set_string(node, "key-name-hint", key.name());
            tree.set_strings(node, "sign-images", &["kernel", "fdt", "loadables"]);
            tree.set(node, "value", vec![0; key.signature_bytes()]);
            tree.set_strings(node, "hashed-nodes", &names);
            tree.set_cells(node, "hashed-strings", &[0, 0]);
            let blob = tree.emit(&options)?;
            let strings = fdt::Fdt::new(&blob)?.strings().len();
            tree.set_cells(node, "hashed-strings", &[0, strings as u32]);
            tree.set(node, "value", key.sign(&signature::digest(&blob, &nodes)?)?);
        }
        let blob = tree.emit(&options)?;
        if blob.len() as u64 > FIT_ROOM - PAGE * images.len() as u64 {
            return Err(Error::Board(format!(
                "the FIT's own tree has {} bytes, more than it has room for",
                blob.len()
            )));
        }
        Ok(blob)
    }

    /// Adds an image; returns where the next one begins.
    fn image(&self, tree: &mut Tree, image: &Image<'_>, offset: u64) -> Result<u64, Error> {
        let address = self.loaded.start(image.part);
        let address = address.ok_or_else(|| Error::Board(format!("{} has no place", image.part)))?;
        let size = image.payload.size_bytes();
        let number = |value: u64| {
            u32::try_from(value).map_err(|_| Error::Board(format!("{} ends beyond 4 GiB of the FIT", image.part)))
        };
        let node = tree.ensure(&format!("/images/{}", image.name))?;
        tree.set_string(node, "description", image.description);
        tree.set_string(node, "type", image.kind);
        tree.set_string(node, "arch", "arm64");
        if image.kind == "kernel" {
            // Xen starts as Linux does, and U-Boot has no other name for that.
            tree.set_string(node, "os", "linux");
        }
        tree.set_string(node, "compression", "none");
        tree.set_u64(node, "load", address);
        if image.kind == "kernel" {
            tree.set_u64(node, "entry", address);
        }
        tree.set_cells(node, "data-offset", &[number(offset)?]);
        tree.set_cells(node, "data-size", &[number(size)?]);
        let hash = tree.add_child(node, "hash-1")?;
        tree.set_string(hash, "algo", "sha256");
        let mut hasher = Hasher(Sha256::new());
        image.payload.copy_to(&mut hasher).map_err(|error| Error::Io(image.part.into(), error))?;
        tree.set(hash, "value", hasher.0.finalize().to_vec());
        number(offset + size.next_multiple_of(PAGE))?;
        Ok(offset + size.next_multiple_of(PAGE))
    }

    fn configuration(&self, tree: &mut Tree, images: &[Image<'_>]) -> Result<fdt::NodeId, Error> {
        let all = tree.ensure("/configurations")?;
        tree.set_string(all, "default", CONFIGURATION);
        let node = tree.add_child(all, CONFIGURATION)?;
        tree.set_string(node, "description", self.description);
        tree.set_string(node, "kernel", "xen");
        tree.set_string(node, "fdt", "fdt");
        let loadables: Vec<&str> =
            images.iter().filter(|image| image.kind == "firmware").map(|image| image.name).collect();
        tree.set_strings(node, "loadables", &loadables);
        Ok(node)
    }
}

/// Lists what the signature of the configuration covers: itself, and every image with its hash.
fn signed_nodes(images: &[Image<'_>]) -> Vec<String> {
    let mut nodes = vec!["/".to_owned(), format!("/configurations/{CONFIGURATION}")];
    for image in images {
        nodes.push(format!("/images/{}", image.name));
        nodes.push(format!("/images/{}/hash-1", image.name));
    }
    nodes
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
