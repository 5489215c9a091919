//! Which disks may not be written, and why: decided from descriptions alone.

use std::collections::BTreeSet;

use imagegen::disk::signature::Larger;

use super::contents::Contents;
use super::host::{Disk, Inventory, Number};
use super::image::Needs;
use super::show_bytes;

/// Where a mounted file system is one that the running system needs.
const SYSTEM: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/boot/efi",
    "/boot/firmware",
    "/efi",
    "/etc",
    "/gnu/store",
    "/home",
    "/lib",
    "/nix",
    "/nix/store",
    "/opt",
    "/root",
    "/run/live/medium",
    "/sbin",
    "/srv",
    "/sysroot",
    "/usr",
    "/var",
];

/// A reason not to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Which reason it is: a promise to programs.
    pub reason: Reason,
    /// The same for people, with names.
    pub text: String,
}

/// The kinds of reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It is no disk that keeps what is written: memory, an optical drive.
    NotADisk,
    /// It is one partition of a disk.
    Partition,
    /// No medium is in it.
    NoMedium,
    /// The running system is on it.
    System,
    /// A file system on it is mounted.
    Mounted,
    /// Swap space on it is in use.
    Swap,
    /// It is a software RAID, or part of one.
    Raid,
    /// It is part of an LVM volume group, or a volume.
    Lvm,
    /// The device mapper uses it, or made it.
    DeviceMapper,
    /// Something else uses it.
    InUse,
    /// It cannot be written.
    ReadOnly,
    /// The image does not fit.
    TooSmall,
    /// The image counts in sectors of another size.
    SectorSize,
    /// It is the image itself.
    SameAsImage,
}

impl Reason {
    /// Returns the word by which programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotADisk => "not-a-disk",
            Reason::Partition => "partition",
            Reason::NoMedium => "no-medium",
            Reason::System => "system",
            Reason::Mounted => "mounted",
            Reason::Swap => "swap",
            Reason::Raid => "raid",
            Reason::Lvm => "lvm",
            Reason::DeviceMapper => "device-mapper",
            Reason::InUse => "in-use",
            Reason::ReadOnly => "read-only",
            Reason::TooSmall => "too-small",
            Reason::SectorSize => "sector-size",
            Reason::SameAsImage => "same-as-image",
        }
    }
}

impl Refusal {
    /// Makes a refusal.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Refusal { reason, text: text.into() }
    }
}

/// Returns every reason why a disk may not be written; none where it may. What its partitions hold, and what the image
/// needs, are considered where known.
pub fn disk(inventory: &Inventory, disk: &Disk, contents: Option<&Contents>, needs: Option<&Needs>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    kind(disk, &mut refusals);
    if disk.bytes == 0 {
        refusals.push(Refusal::new(Reason::NoMedium, "no medium is in it"));
        return refusals;
    }
    used(inventory, disk, &mut refusals);
    if let Some(contents) = contents {
        members(contents, &mut refusals);
    }
    if disk.read_only {
        refusals.push(Refusal::new(Reason::ReadOnly, "it is read-only; a card may have a lock switch"));
    } else if let Some(partition) = disk.partitions.iter().find(|partition| partition.read_only) {
        refusals.push(Refusal::new(Reason::ReadOnly, format!("its partition {} is read-only", partition.name)));
    }
    if let Some(needs) = needs {
        fits(disk.bytes, Some(disk.sector_bytes), needs, &mut refusals);
    }
    let mut seen = BTreeSet::new();
    refusals.retain(|refusal| seen.insert(refusal.text.clone()));
    refusals
}

/// Adds the reasons why something of this size cannot hold an image.
pub fn fits(bytes: u64, sector_bytes: Option<u32>, needs: &Needs, refusals: &mut Vec<Refusal>) {
    if bytes < needs.bytes {
        let text = format!(
            "it is too small: it has {}, the image needs {} ({} bytes more)",
            show_bytes(bytes),
            show_bytes(needs.bytes),
            needs.bytes - bytes
        );
        refusals.push(Refusal::new(Reason::TooSmall, text));
    }
    if let (Some(device), Some(table)) = (sector_bytes, needs.sector_bytes)
        && device != table
    {
        let text = format!("its sectors have {device} bytes, but the image's partition table counts in {table}");
        refusals.push(Refusal::new(Reason::SectorSize, text));
    }
}

/// Refuses what is a block device but no disk to flash.
fn kind(disk: &Disk, refusals: &mut Vec<Refusal>) {
    let name = disk.name.as_str();
    let mut refuse = |reason, text: String| refusals.push(Refusal::new(reason, text));
    if let Some((volume, uuid)) = &disk.mapper {
        let reason = if uuid.starts_with("LVM-") { Reason::Lvm } else { Reason::DeviceMapper };
        refuse(reason, format!("it is a volume of the device mapper ({volume})"));
    } else if name.starts_with("dm-") {
        refuse(Reason::DeviceMapper, "it is a volume of the device mapper".into());
    } else if name.starts_with("md") {
        refuse(Reason::Raid, "it is a software RAID".into());
    } else if name.starts_with("zram") || name.starts_with("ram") {
        refuse(Reason::NotADisk, "it is memory".into());
    } else if name.starts_with("sr") || name.starts_with("fd") || name.starts_with("mtdblock") {
        refuse(Reason::NotADisk, "it is no disk that an image is written to".into());
    } else if name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb")) {
        refuse(Reason::NotADisk, "it is a boot area of an eMMC, not the disk".into());
    }
}

/// A device of this disk or above it: RAID, LVM and the device mapper stack devices on devices.
struct Layer {
    name: String,
    number: Number,
    /// How to speak of it: `sda3`, `dm-0 (vg-root) on sda3`.
    shown: String,
}

/// Refuses what is mounted, swapped to, or part of something, on whatever layer.
fn used(inventory: &Inventory, disk: &Disk, refusals: &mut Vec<Refusal>) {
    let layers = layers(inventory, disk, refusals);
    for layer in &layers {
        let mut points: Vec<&str> = (inventory.mounts.iter())
            .filter(|mount| mount.number == layer.number || is_source(&mount.source, layer))
            .map(|mount| mount.point.as_str())
            .collect();
        points.sort_unstable();
        points.dedup();
        let shown = &layer.shown;
        if let Some(point) = points.iter().find(|point| SYSTEM.contains(point)) {
            refusals.push(Refusal::new(Reason::System, format!("it holds the running system: {point} is {shown}")));
        } else if let Some(point) = points.first() {
            refusals.push(Refusal::new(Reason::Mounted, format!("it is mounted: {shown} on {point}")));
        }
        if inventory.swaps.contains(&layer.name) {
            refusals.push(Refusal::new(Reason::Swap, format!("the system swaps to it: {shown}")));
        }
        for array in inventory.arrays.iter().filter(|array| array.members.contains(&layer.name)) {
            refusals.push(Refusal::new(Reason::Raid, format!("{shown} is part of the RAID {}", array.name)));
        }
    }
}

/// Says whether what was mounted is this device, by the name that the mount gives.
fn is_source(source: &str, layer: &Layer) -> bool {
    source.strip_prefix("/dev/").is_some_and(|name| name == layer.name)
}

/// Returns the disk, its partitions, and everything above them; what is directly above is a reason by itself.
fn layers(inventory: &Inventory, disk: &Disk, refusals: &mut Vec<Refusal>) -> Vec<Layer> {
    let own = |name: &str, number| Layer { name: name.into(), number, shown: name.into() };
    let mut layers = vec![own(&disk.name, disk.number)];
    layers.extend(disk.partitions.iter().map(|partition| own(&partition.name, partition.number)));
    let mut at = 0;
    while at < layers.len() {
        let base = layers[at].name.clone();
        let shown = layers[at].shown.clone();
        // Sysfs names both directions; either suffices.
        let down = inventory.disks.iter().filter(|above| above.slaves.contains(&base)).map(|above| above.name.clone());
        let up = inventory.disks.iter().flat_map(|disk| {
            let whole = [(&disk.name, &disk.holders)];
            whole.into_iter().chain(disk.partitions.iter().map(|partition| (&partition.name, &partition.holders)))
        });
        let up = up.filter(|(name, _)| **name == base).flat_map(|(_, holders)| holders.clone());
        let holders: BTreeSet<String> = down.chain(up).collect();
        for holder in holders {
            if layers.iter().any(|layer| layer.name == holder) {
                continue;
            }
            let above = inventory.disk(&holder);
            let (reason, what) = match above.and_then(|above| above.mapper.as_ref()) {
                Some((name, uuid)) if uuid.starts_with("LVM-") => (Reason::Lvm, format!("{holder} (LVM, {name})")),
                Some((name, uuid)) if uuid.starts_with("CRYPT-") => {
                    (Reason::DeviceMapper, format!("{holder} (encrypted, {name})"))
                }
                Some((name, _)) => (Reason::DeviceMapper, format!("{holder} ({name})")),
                None if holder.starts_with("md") => (Reason::Raid, holder.clone()),
                None if holder.starts_with("dm-") => (Reason::DeviceMapper, holder.clone()),
                None => (Reason::InUse, holder.clone()),
            };
            refusals.push(Refusal::new(reason, format!("{shown} is in use by {what}")));
            let number = above.map_or((0, u32::MAX), |above| above.number);
            layers.push(Layer { name: holder, number, shown: format!("{what} on {shown}") });
            // A RAID or a mapped device may have partitions of its own.
            for partition in above.iter().flat_map(|above| &above.partitions) {
                layers.push(Layer {
                    name: partition.name.clone(),
                    number: partition.number,
                    shown: format!("{} on {shown}", partition.name),
                });
            }
        }
        at += 1;
    }
    layers
}

/// Refuses what the bytes on the disk say is a part of something larger, although nothing uses it now.
fn members(contents: &Contents, refusals: &mut Vec<Refusal>) {
    for (name, found) in contents.signatures() {
        let (reason, what) = match found.member_of {
            Some(Larger::Raid) => (Reason::Raid, "a Linux RAID"),
            Some(Larger::Lvm) => (Reason::Lvm, "an LVM volume group"),
            Some(Larger::Pool) => (Reason::InUse, "a ZFS pool"),
            None => continue,
        };
        let text = format!("{name} is part of {what}; if it is no more, `wipefs -a` on it says so");
        refusals.push(Refusal::new(reason, text));
    }
}
