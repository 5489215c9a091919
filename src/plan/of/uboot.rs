//! Plans what U-Boot boots from.

use super::{Planner, hypervisor_bootargs, wrong_at};
use crate::error::{Error, Kind, Result};
use crate::plan::Role;
use crate::recipe::{BootFormat, BootPart, Origin, ScriptText};
use crate::step::extract;
use crate::step::filesystem as fs;
use crate::step::kernel;
use crate::step::uboot::{self, Script, UBoot};
use crate::step::{Input, InputSource, Step, StepId};

impl Planner<'_> {
    /// Plans the step that makes script, device tree and FIT.
    pub(super) fn uboot(&mut self) -> Result<StepId> {
        if let Some(id) = self.uboot {
            return Ok(id);
        }
        let recipe = self.recipe;
        let missing = || Error::new(Kind::Internal, "a boot script that nobody asked for");
        let asked = recipe.boot.script.as_ref().ok_or_else(missing)?;
        let mut inputs = vec![
            Input::step("hypervisor", self.hypervisor()?),
            Input::step("kernel", self.kernel(&recipe.dom0.kernel)?),
            Input::step("device-tree", self.device_tree()?),
        ];
        if let Some(initramfs) = &recipe.dom0.initramfs {
            inputs.push(Input::step("initramfs", self.filesystem(&initramfs.value, &initramfs.origin)?));
        }
        let script = match &asked.text {
            ScriptText::Text(text) => Script::Text(text.clone()),
            ScriptText::Path(path) => {
                let source = InputSource::File { path: path.value.clone(), sha256: None, mode: false };
                inputs.push(Input { name: "script".into(), source, origin: Some(path.origin.clone()) });
                Script::Input
            }
            ScriptText::Made => {
                let mut paths = recipe.boot_files().paths;
                let wanted = recipe.loaded_parts();
                paths.retain(|part, _| wanted.contains(part));
                Script::Made { paths, firmware_tree: asked.firmware_tree }
            }
        };
        let key = recipe.boot.fit.as_ref().and_then(|fit| fit.key.as_ref());
        if let Some(key) = key {
            let source = InputSource::File { path: key.path.value.clone(), sha256: None, mode: false };
            inputs.push(Input { name: "key".into(), source, origin: Some(key.path.origin.clone()) });
            match &key.control {
                Some(control) => inputs.push(self.one_file("boot.fit.control", "control", control)?),
                // An emulated machine hands its own tree to U-Boot.
                None if recipe.machine.firmware.is_some() => {
                    inputs.push(Input::step("control", self.device_tree()?));
                }
                None => {}
            }
        }
        let fit = recipe.boot.fit.as_ref().map(|fit| fit.key.as_ref().map(|key| key.name.clone()));
        let step = UBoot {
            title: recipe.name.clone(),
            // The language holds it below 2^31.
            time: u32::try_from(recipe.epoch).unwrap_or_default(),
            hypervisor_bootargs: hypervisor_bootargs(recipe),
            kernel_bootargs: recipe.dom0.bootargs.clone(),
            initramfs: recipe.dom0.initramfs.is_some(),
            addresses: self.addresses("boot"),
            script,
            fit,
        };
        let id = self.plan.push("u-boot", Step::UBoot(Box::new(step)), inputs)?;
        self.uboot = Some(id);
        Ok(id)
    }

    /// Returns the addresses that the recipe gives, but for a part that is not there.
    pub(super) fn addresses(&self, without: &str) -> std::collections::BTreeMap<String, crate::recipe::Located<u64>> {
        let addresses = self.recipe.boot.addresses.iter().filter(|(name, _)| *name != without);
        addresses.map(|(name, address)| (name.clone(), address.clone())).collect()
    }

    /// Plans what is published for U-Boot.
    pub(super) fn uboot_artifacts(&mut self) -> Result<()> {
        let recipe = self.recipe;
        if recipe.boot.script.is_some() {
            let id = self.uboot()?;
            for name in [uboot::SCRIPT, uboot::TEXT, uboot::DEVICE_TREE] {
                self.artifact(Role::UBoot, name, id, name);
            }
            let alone = recipe.boot.format == BootFormat::UBoot;
            let (role, map) =
                if alone { (Role::MemoryMap, uboot::MEMORY_MAP) } else { (Role::UBoot, "boot-memory-map.txt") };
            self.artifact(role, map, id, uboot::MEMORY_MAP);
            if let Some(fit) = &recipe.boot.fit {
                self.artifact(Role::UBoot, &format!("{}.itb", recipe.name), id, uboot::FIT);
                if fit.key.is_some() {
                    self.artifact(Role::UBoot, uboot::KEY_TREE, id, uboot::KEY_TREE);
                }
            }
        }
        if let Some(firmware) = &recipe.machine.firmware {
            let input = self.one_file("machine.firmware", extract::INPUT, firmware)?;
            let id = match input.source {
                InputSource::Step(id) => id,
                _ => self.plan.push("machine.firmware", Step::Copy(extract::Copy), vec![input])?,
            };
            self.artifact(Role::Firmware, "firmware.bin", id, extract::OUTPUT);
        }
        Ok(())
    }

    /// Plans a file that is something to boot from, as the input of this name.
    pub(super) fn boot_part(&mut self, input: &str, part: BootPart, origin: &Origin) -> Result<Input> {
        let recipe = self.recipe;
        let not_made = |what: &str| wrong_at(origin, format!("the recipe makes no {what}"));
        Ok(match part {
            BootPart::Hypervisor => Input::output(input, self.hypervisor()?, kernel::OUTPUT),
            BootPart::Kernel => Input::step(input, self.kernel(&recipe.dom0.kernel)?),
            BootPart::Initramfs => {
                let initramfs = recipe.dom0.initramfs.as_ref().ok_or_else(|| not_made("initramfs"))?;
                Input::output(input, self.filesystem(&initramfs.value, &initramfs.origin)?, fs::OUTPUT)
            }
            BootPart::Script | BootPart::DeviceTree if recipe.boot.script.is_none() => {
                return Err(not_made("boot script"));
            }
            BootPart::Fit if recipe.boot.fit.is_none() => return Err(not_made("FIT")),
            BootPart::Script => Input::output(input, self.uboot()?, uboot::SCRIPT),
            BootPart::DeviceTree => Input::output(input, self.uboot()?, uboot::DEVICE_TREE),
            BootPart::Fit => Input::output(input, self.uboot()?, uboot::FIT),
        })
    }
}
