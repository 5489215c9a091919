//! Boots an image and talks to its console: QEMU, or one of Arm's models where the recipe names one.
//! Knows nothing of how the image was made.
//!
//! ```text
//! recipe + artifacts -> qemu | model -> command::CommandLine -> process::Emulator <-> console <-> dialogue ([test])
//!                                                                     |          <-> terminal (a person)
//!                                                                     +-> log (out/RECIPE/serial.log)
//! ```

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::recipe::{BootFormat, Recipe};

pub mod command;
pub mod console;
pub mod dialogue;
pub mod junit;
pub mod log;
pub mod machine;
pub mod model;
pub mod overlay;
pub mod plain;
pub mod process;
pub mod qcow2;
pub mod qemu;
pub mod qmp;
pub mod shell;
pub mod terminal;

/// What there is to boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The recipe's folder of artifacts: the serial log and kept overlays go there.
    pub folder: PathBuf,
    /// What the machine starts: the boot artifact, `RECIPE.axf`, or the firmware; none where there is nothing of the kind.
    pub boot: Option<PathBuf>,
    /// The device tree for firmware, where it is not the emulator's own.
    pub device_tree: Option<PathBuf>,
    /// Dom0's disks: its root first, which becomes `/dev/vda`; or the partitioned ones that the machine starts from.
    pub disks: Vec<PathBuf>,
}

impl Image {
    /// Returns what building the recipe makes, or would make, under `out`.
    pub fn of(recipe: &Recipe, out: &Path) -> Image {
        let folder = out.join(&recipe.name);
        let boot = match (&recipe.machine.firmware, recipe.boot.format) {
            (Some(_), _) => Some("firmware.bin".to_owned()),
            (None, BootFormat::Axf) => Some(format!("{}.axf", recipe.name)),
            (None, BootFormat::UBoot) => None,
        };
        Image {
            boot: boot.map(|name| folder.join(name)),
            device_tree: recipe.hands_over_a_key().then(|| folder.join("u-boot-key.dtb")),
            disks: recipe.machine_disks().into_iter().map(|name| folder.join(format!("{name}.img"))).collect(),
            folder,
        }
    }

    /// Makes its paths absolute: an emulator takes a relative one with a colon for a protocol.
    pub fn absolute(self) -> Result<Image> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).map_err(|source| Error::io(format!("cannot find {}", path.display()), source))
        };
        Ok(Image {
            folder: absolute(self.folder)?,
            boot: self.boot.map(absolute).transpose()?,
            device_tree: self.device_tree.map(absolute).transpose()?,
            disks: self.disks.into_iter().map(absolute).collect::<Result<_>>()?,
        })
    }

    /// Checks that all of it is there.
    pub fn check(&self) -> Result<()> {
        match self.boot.iter().chain(&self.device_tree).chain(&self.disks).find(|path| !path.is_file()) {
            Some(path) => Err(Error::new(Kind::Usage, format!("{} is not there", path.display()))
                .hint("without --no-build it is made first")),
            None => Ok(()),
        }
    }
}
