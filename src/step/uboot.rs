//! `u-boot`: what U-Boot boots from: the script, the finished device tree, a FIT and the device tree with its key.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use bootwrap::uboot::fit::Fit;
use bootwrap::uboot::legacy;
use bootwrap::uboot::load::{self, Loaded};
use bootwrap::uboot::script::{self, DeviceTree, Files};
use bootwrap::uboot::signature::Key;
use bootwrap::{Hypervisor, Payload};

use super::wrap::{input_error, layout_error, ramdisk};
use super::{Description, Kind, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::recipe::{BootPart, Located};

/// The name of the script, wrapped for U-Boot.
pub const SCRIPT: &str = "boot.scr";
/// The name of the script as text.
pub const TEXT: &str = "boot.cmd";
/// The name of the device tree that says where everything is loaded.
pub const DEVICE_TREE: &str = "boot.dtb";
/// The name of the table of who goes where.
pub const MEMORY_MAP: &str = "memory-map.txt";
/// The name of the FIT.
pub const FIT: &str = "boot.itb";
/// The name of the device tree that holds the public key.
pub const KEY_TREE: &str = "u-boot-key.dtb";
const DEVICE_TREE_MAX_BYTES: u64 = 2 << 20;
const KEY_MAX_BYTES: u64 = 64 << 10;

/// The step. Its inputs are `device-tree`, `hypervisor`, `kernel`, and where there are such `initramfs`, `script`, `key`
/// and `control`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UBoot {
    /// The recipe's name and description, for people.
    pub title: String,
    /// Seconds since 1970.
    pub time: u32,
    /// The hypervisor's command line, complete.
    pub hypervisor_bootargs: String,
    /// Dom0's command line.
    pub kernel_bootargs: String,
    /// There is an initramfs.
    pub initramfs: bool,
    /// Load addresses that the recipe fixes, by the name of the part.
    pub addresses: BTreeMap<String, Located<u64>>,
    /// What the script says.
    pub script: Script,
    /// There is to be a FIT, signed with a key of this name, or with none.
    pub fit: Option<Option<String>>,
}

/// What the script says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Script {
    /// It loads these files.
    Made {
        /// Their paths.
        paths: BTreeMap<BootPart, String>,
        /// The hypervisor gets the firmware's device tree.
        firmware_tree: bool,
    },
    /// This.
    Text(String),
    /// What the input `script` says.
    Input,
}

impl Kind for UBoot {
    fn name(&self) -> &'static str {
        "u-boot"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        description.parameter("title", &self.title);
        description.parameter("time", self.time);
        description.parameter("hypervisor bootargs", &self.hypervisor_bootargs);
        description.parameter("kernel bootargs", &self.kernel_bootargs);
        for (name, address) in &self.addresses {
            description.parameter(format!("address {name}"), format_args!("{:#x}", address.value));
        }
        match &self.script {
            Script::Made { paths, firmware_tree } => {
                description.parameter("device tree", if *firmware_tree { "the firmware's" } else { "a file" });
                for (part, path) in paths {
                    description.parameter(format!("path of {}", part.name()), path);
                }
            }
            Script::Text(text) => description.text("script", text),
            Script::Input => {}
        }
        match &self.fit {
            None => {}
            Some(None) => description.parameter("fit", "not signed"),
            Some(Some(name)) => description.parameter("fit", format_args!("signed with {name}")),
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        let limit = bootwrap::kernel::SIZE_MAX;
        let ramdisk = if self.initramfs { Some(ramdisk(workspace.file("initramfs")?)?) } else { None };
        let payload = ramdisk.as_ref().map(|payload| payload as &dyn Payload);
        let device_tree = workspace.input("device-tree")?.read(DEVICE_TREE_MAX_BYTES)?;
        let hypervisor = workspace.input("hypervisor")?.read(limit)?;
        let kernel = workspace.input("kernel")?.read(limit)?;
        let loaded = self.place(&device_tree, &hypervisor, &kernel, payload)?;
        workspace.task.cancel().check()?;
        let write = |name: &str, bytes: &[u8]| output::write(&workspace.folder.join(name), bytes);
        write(DEVICE_TREE, &loaded.device_tree)?;
        write(MEMORY_MAP, loaded.map.to_string().as_bytes())?;
        let text = self.text(&loaded, workspace)?;
        let wrapped = legacy::script(&text, &self.title, self.time).ok_or_else(|| {
            Error::new(ErrorKind::Input, format!("the script has more than {} bytes", legacy::SCRIPT_MAX_BYTES))
        })?;
        write(TEXT, &text)?;
        write(SCRIPT, &wrapped)?;
        self.fit(&loaded, payload, workspace)
    }
}

impl UBoot {
    /// Gives every part its place.
    pub fn place(
        &self,
        device_tree: &[u8],
        hypervisor: &[u8],
        kernel: &[u8],
        ramdisk: Option<&dyn Payload>,
    ) -> Result<Loaded> {
        let spec = load::Spec {
            device_tree,
            hypervisor: Hypervisor { image: hypervisor, bootargs: &self.hypervisor_bootargs },
            kernel,
            bootargs: &self.kernel_bootargs,
            ramdisk,
            addresses: self.addresses.iter().map(|(name, address)| (name.clone(), address.value)).collect(),
            fit: self.fit.is_some(),
            foreign_tree: matches!(self.script, Script::Made { firmware_tree: true, .. }),
        };
        load::place(&spec).map_err(|error| layout_error(&self.addresses, error))
    }

    fn text(&self, loaded: &Loaded, workspace: &Workspace<'_>) -> Result<Vec<u8>> {
        let (paths, firmware_tree) = match &self.script {
            Script::Input => return workspace.input("script")?.read(legacy::SCRIPT_MAX_BYTES as u64),
            Script::Text(text) => return Ok(text.clone().into_bytes()),
            Script::Made { paths, firmware_tree } => (paths, *firmware_tree),
        };
        let path = |part: BootPart| {
            let missing = || Error::new(ErrorKind::Internal, format!("the script knows no path of {}", part.name()));
            paths.get(&part).map(String::as_str).ok_or_else(missing)
        };
        let no_place = || Error::new(ErrorKind::Internal, "a part has no place");
        let text = match loaded.start("fit") {
            Some(address) => script::for_fit(&self.title, path(BootPart::Fit)?, address),
            None => {
                let files = Files {
                    hypervisor: path(BootPart::Hypervisor)?,
                    kernel: path(BootPart::Kernel)?,
                    initramfs: if self.initramfs { Some(path(BootPart::Initramfs)?) } else { None },
                    device_tree: match firmware_tree {
                        true => DeviceTree::Firmware,
                        false => DeviceTree::File(path(BootPart::DeviceTree)?),
                    },
                };
                script::for_files(&self.title, &files, loaded, &self.hypervisor_bootargs).ok_or_else(no_place)?
            }
        };
        Ok(text.into_bytes())
    }

    fn fit(&self, loaded: &Loaded, ramdisk: Option<&dyn Payload>, workspace: &Workspace<'_>) -> Result<()> {
        let Some(key) = &self.fit else { return Ok(()) };
        let key = match key {
            None => None,
            Some(name) => {
                let pem = workspace.input("key")?.read(KEY_MAX_BYTES)?;
                Some(Key::from_pem(&String::from_utf8_lossy(&pem), name).map_err(input_error)?)
            }
        };
        let fit = Fit { description: &self.title, time: self.time, loaded, ramdisk, key: key.as_ref() };
        let path = workspace.folder.join(FIT);
        let mut out = BufWriter::with_capacity(output::CHUNK_BYTES, output::create(&path)?);
        fit.write(&mut out).map_err(input_error)?;
        out.flush().map_err(|error| output::write_error(&path, error))?;
        let Some(key) = key else { return Ok(()) };
        let blob_error = |error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Input, format!("the device tree that the key is added to: {error}"))
        };
        let mut tree = match workspace.input("control") {
            Ok(control) => {
                fdt::Tree::parse(&control.read(DEVICE_TREE_MAX_BYTES)?).map_err(|error| blob_error(&error))?
            }
            Err(_) => fdt::Tree::new(),
        };
        key.add_public(&mut tree).map_err(input_error)?;
        let blob = tree.emit(&fdt::EmitOptions::default()).map_err(|error| blob_error(&error))?;
        output::write(&workspace.folder.join(KEY_TREE), &blob)
    }
}
