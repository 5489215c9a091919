//! The memory map ahead of the build: as `image` will write it, as far as the sizes of the parts are known.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootwrap::Payload;
use bootwrap::layout::MemoryMap;

use super::survey::{Prospect, Surveyed};
use super::{Blame, History, survey};
use crate::error::Result;
use crate::plan::{Plan, PlannedStep, Role};
use crate::step::uboot::{self, UBoot};
use crate::step::wrap::{Parts, Wrap, ramdisk};
use crate::step::{InputSource, Step, StepId, output};
use crate::task::Cancel;

/// What stands for a part that is not there yet: small, so that what is wrong with it in place is wrong in any case.
const STAND_IN_BYTES: usize = 4096;

/// Parts that were made of local files already.
#[derive(Default)]
pub struct Local {
    /// The hypervisor's Image.
    pub hypervisor: Option<Vec<u8>>,
    /// Dom0's Image.
    pub kernel: Option<Vec<u8>>,
    /// The machine's device tree.
    pub device_tree: Option<Vec<u8>>,
}

/// The memory map as it will be.
#[derive(Debug)]
pub struct Preview {
    /// The name of the file to boot.
    pub artifact: String,
    /// Who sits where; nothing, if the device tree is not known yet.
    pub map: Option<MemoryMap>,
    /// Parts that are not there yet, and so not in the map.
    pub missing: Vec<&'static str>,
    /// Parts that will be made again, and are in the map as the last build left them.
    pub last: Vec<&'static str>,
    /// What would be wrong if those came out as they were.
    pub doubt: Option<String>,
}

/// Where a part is to be had.
enum Part {
    /// As it will be.
    Known(Bytes),
    /// As the last build left it.
    Last(PathBuf),
    Missing,
}

enum Bytes {
    Here(Vec<u8>),
    File(PathBuf),
}

/// Gives all parts their places, as far as they are known.
///
/// # Errors
/// What cannot be whatever the parts that are missing turn out to be.
pub fn preview(plan: &Plan, local: Local, out: &Path, blame: Blame<'_>, cancel: &Arc<Cancel>) -> Result<Preview> {
    let artifact = plan.artifacts.iter().find(|artifact| artifact.role == Role::Boot).map(|artifact| &artifact.name);
    let mut preview = Preview {
        artifact: artifact.cloned().unwrap_or_default(),
        map: None,
        missing: Vec::new(),
        last: Vec::new(),
        doubt: None,
    };
    let of =
        |wanted: fn(&Step) -> Option<Boot<'_>>| plan.steps().find_map(|(_, step)| Some((step, wanted(&step.step)?)));
    let wrapped = of(|step| if let Step::Wrap(wrap) = step { Some(Boot::Wrap(wrap)) } else { None });
    let loaded = || of(|step| if let Step::UBoot(boot) = step { Some(Boot::UBoot(boot)) } else { None });
    let Some((boot, wrap)) = wrapped.or_else(loaded) else { return Ok(preview) };
    if let Boot::UBoot(_) = wrap {
        preview.artifact = uboot::SCRIPT.to_owned();
    }
    let (surveyed, history) = survey(plan, out, blame, cancel)?;
    let finder = Finder { plan, boot, surveyed: &surveyed, history: &history, cache: out.join("cache") };
    let found = [
        ("dtb", finder.find("device-tree", local.device_tree)),
        ("xen", finder.find("hypervisor", local.hypervisor)),
        ("kernel", finder.find("kernel", local.kernel)),
        ("initramfs", if wrap.initramfs() { finder.find("initramfs", None) } else { Part::Missing }),
    ];
    for (name, part) in &found {
        match part {
            Part::Missing if *name == "initramfs" && !wrap.initramfs() => {}
            Part::Missing => preview.missing.push(name),
            Part::Last(_) => preview.last.push(name),
            Part::Known(_) => {}
        }
    }
    let parts = found.map(|(_, part)| part);
    if matches!(parts[0], Part::Missing) {
        return Ok(preview);
    }
    if matches!(parts[0], Part::Known(_)) {
        preview.map = Some(place(&wrap, &parts, false)?);
    }
    if !preview.last.is_empty() {
        match place(&wrap, &parts, true) {
            Ok(map) => preview.map = Some(map),
            Err(error) => preview.doubt = Some(error.to_string()),
        }
    }
    if let Some(map) = &mut preview.map {
        let unknown =
            |name: &str| preview.missing.contains(&name) || preview.doubt.is_some() && preview.last.contains(&name);
        // A FIT is as large as what is in it.
        let no_fit = !preview.missing.is_empty();
        map.placed.retain(|placed| !(unknown(&placed.name) || no_fit && placed.name == "fit"));
    }
    Ok(preview)
}

/// The step that gives parts their places: where there are both, the one that makes the file to boot.
enum Boot<'a> {
    Wrap(&'a Wrap),
    UBoot(&'a UBoot),
}

impl Boot<'_> {
    fn initramfs(&self) -> bool {
        match self {
            Boot::Wrap(wrap) => wrap.initramfs,
            Boot::UBoot(boot) => boot.initramfs,
        }
    }

    fn place(&self, parts: &Parts<'_>) -> Result<MemoryMap> {
        match self {
            Boot::Wrap(wrap) => Ok(wrap.wrap(parts)?.map),
            Boot::UBoot(boot) => Ok(boot.place(parts.device_tree, parts.hypervisor, parts.kernel, parts.ramdisk)?.map),
        }
    }
}

struct Finder<'a> {
    plan: &'a Plan,
    boot: &'a PlannedStep,
    surveyed: &'a [Surveyed],
    history: &'a History,
    cache: PathBuf,
}

impl Finder<'_> {
    /// Finds an input of the step that wraps: in the cache, in memory, or among what the last build made.
    fn find(&self, input: &str, local: Option<Vec<u8>>) -> Part {
        let source = self.boot.inputs.iter().find(|known| known.name == input).map(|known| &known.source);
        let Some(&InputSource::Step(id)) = source else { return Part::Missing };
        let surveyed = &self.surveyed[id.index()];
        if let (Prospect::Cached, Some(path)) = (&surveyed.prospect, self.file(id, &surveyed.manifest)) {
            return Part::Known(Bytes::File(path));
        }
        if let Some(bytes) = local {
            return Part::Known(Bytes::Here(bytes));
        }
        let last = self.history.manifest(&self.plan.step(id).name);
        last.and_then(|manifest| self.file(id, &manifest)).map_or(Part::Missing, Part::Last)
    }

    /// Returns the one file that a step made according to this manifest, if it is there.
    fn file(&self, id: StepId, manifest: &crate::plan::manifest::Manifest) -> Option<PathBuf> {
        let name = match &self.plan.step(id).step {
            Step::Kernel(_) => crate::step::kernel::OUTPUT,
            Step::DeviceTree(_) => crate::step::device_tree::OUTPUT,
            Step::Filesystem(_) => crate::step::filesystem::OUTPUT,
            _ => return None,
        };
        let path = self.cache.join(manifest.key().to_string()).join(name);
        path.is_file().then_some(path)
    }
}

/// Places the device tree, the hypervisor, the kernel and the initramfs; with `last`, also as the last build left them.
fn place(wrap: &Boot<'_>, parts: &[Part; 4], last: bool) -> Result<MemoryMap> {
    let read = |part: &Part| -> Result<Option<Vec<u8>>> {
        let path = match part {
            Part::Known(Bytes::Here(bytes)) => return Ok(Some(bytes.clone())),
            Part::Known(Bytes::File(path)) => path,
            Part::Last(path) if last => path,
            _ => return Ok(None),
        };
        output::read_limited(path, bootwrap::kernel::SIZE_MAX).map(Some)
    };
    let [device_tree, hypervisor, kernel, initramfs] = parts;
    let blank = || bootwrap::kernel::blank(STAND_IN_BYTES);
    let stand_in = vec![0u8; STAND_IN_BYTES];
    let file = match initramfs {
        Part::Known(Bytes::File(path)) => Some(ramdisk(path)?),
        Part::Last(path) if last => Some(ramdisk(path)?),
        _ => None,
    };
    let payload: &dyn Payload = match &file {
        Some(file) => file,
        None => &stand_in,
    };
    let parts = Parts {
        stub: crate::carried::EL3,
        device_tree: &read(device_tree)?.unwrap_or_default(),
        hypervisor: &read(hypervisor)?.unwrap_or_else(blank),
        kernel: &read(kernel)?.unwrap_or_else(blank),
        ramdisk: wrap.initramfs().then_some(payload),
    };
    wrap.place(&parts)
}

impl Preview {
    /// Says in one line what the map does not show as it will be; nothing, if it shows all.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        if !self.missing.is_empty() {
            let list = self.missing.join(", ");
            let map =
                if self.map.is_some() { "not in the map, and what comes after may lie elsewhere" } else { "so no map" };
            gaps.push(format!("not made yet: {list} ({map})"));
        }
        if !self.last.is_empty() && self.doubt.is_none() {
            gaps.push(format!("to be made again: {} (in the map as the last build left it)", self.last.join(", ")));
        }
        if let Some(doubt) = &self.doubt {
            let list = self.last.join(", ");
            gaps.push(format!(
                "to be made again: {list}; as the last build left it, it would not do: {}",
                doubt.trim_end()
            ));
        }
        gaps
    }
}
