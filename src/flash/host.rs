//! What this machine's kernel says of its disks and of what is in use: read from /sys, /proc and /dev, or from folders
//! that look like them. Opens no device.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the machine is looked at; a test gives folders of its own.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Where sysfs is mounted.
    pub sys: PathBuf,
    /// Where procfs is mounted.
    pub proc: PathBuf,
    /// Where device nodes are.
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }
}

/// The kernel's number of a device: major and minor.
pub type Number = (u32, u32);

/// Everything that decides whether a disk may be written.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Inventory {
    /// All whole disks, and what behaves like one, by name.
    pub disks: Vec<Disk>,
    /// What is mounted in this process's view.
    pub mounts: Vec<Mount>,
    /// Names of the active swap spaces, `sda2` or `dm-1`, and paths of swap files.
    pub swaps: Vec<String>,
    /// The arrays of `/proc/mdstat`, running or not.
    pub arrays: Vec<Array>,
}

/// A disk, as the kernel describes it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Disk {
    /// The kernel's name: `sdb`, `mmcblk0`.
    pub name: String,
    /// Its node.
    pub node: PathBuf,
    /// Its number.
    pub number: Number,
    /// Its length; 0 where no medium is in.
    pub bytes: u64,
    /// Vendor and model, as the device says.
    pub model: String,
    /// Its serial number, where it tells.
    pub serial: String,
    /// How it is attached: `usb`, `mmc`, `sata`, `nvme`, `virtio`, `loop`.
    pub bus: String,
    /// Whether the medium, or the device with it, is made to be taken out.
    pub removable: bool,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// The grain in which it is read and written.
    pub sector_bytes: u32,
    /// Counts media: another card in the same reader has another number.
    pub sequence: Option<u64>,
    /// The file behind a loop device.
    pub backing: Option<PathBuf>,
    /// What a device-mapper volume is called, and its kind: `vg-root`, `LVM-…`.
    pub mapper: Option<(String, String)>,
    /// Names of devices that use the whole disk.
    pub holders: Vec<String>,
    /// Names of devices this one is made of.
    pub slaves: Vec<String>,
    /// Its partitions, as the kernel sees them.
    pub partitions: Vec<Partition>,
}

/// A partition, as the kernel sees it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Partition {
    /// The kernel's name: `sdb1`, `mmcblk0p1`.
    pub name: String,
    /// Its number in the table.
    pub index: u32,
    /// Its device number.
    pub number: Number,
    /// Where it starts on the disk.
    pub start_bytes: u64,
    /// Its length.
    pub bytes: u64,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// Names of devices that use it.
    pub holders: Vec<String>,
}

/// A mounted file system.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Its device number; some file systems invent one.
    pub number: Number,
    /// What was mounted.
    pub source: String,
    /// Where.
    pub point: String,
}

/// A software RAID.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Array {
    /// Its name: `md0`.
    pub name: String,
    /// Names of its members.
    pub members: Vec<String>,
}

impl Inventory {
    /// Reads what the machine says. What cannot be read is taken as absent: opening a device exclusively, later, finds
    /// what was not seen here.
    pub fn read(roots: &Roots) -> Inventory {
        let mut disks: Vec<Disk> = names(&roots.sys.join("block")).into_iter().map(|name| disk(roots, &name)).collect();
        disks.sort_by(|one, other| natural(&one.name).cmp(&natural(&other.name)));
        Inventory {
            disks,
            mounts: mounts(&text(&roots.proc.join("self/mountinfo"))),
            swaps: swaps(roots, &text(&roots.proc.join("swaps"))),
            arrays: arrays(&text(&roots.proc.join("mdstat"))),
        }
    }

    /// Returns the disk of this name.
    pub fn disk(&self, name: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.name == name)
    }

    /// Returns the disk of which a name or number is a partition.
    pub fn disk_of_partition(&self, matches: impl Fn(&Partition) -> bool) -> Option<(&Disk, &Partition)> {
        self.disks.iter().find_map(|disk| Some((disk, disk.partitions.iter().find(|partition| matches(partition))?)))
    }
}

/// Orders `sdb` before `sdaa`, and `loop2` before `loop10`.
fn natural(name: &str) -> (&str, usize, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (if stem.starts_with("sd") { "sd" } else { stem }, name.len(), name)
}

fn disk(roots: &Roots, name: &str) -> Disk {
    let folder = roots.sys.join("block").join(name);
    let read = |file: &str| line(&folder.join(file));
    let real = fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
    let mut partitions: Vec<Partition> = names(&folder)
        .into_iter()
        .filter(|partition| folder.join(partition).join("partition").exists())
        .map(|name| partition(&folder, name))
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    Disk {
        name: name.into(),
        node: roots.dev.join(name.replace('!', "/")),
        number: number(&read("dev")).unwrap_or_default(),
        // Sysfs counts in units of 512 bytes, whatever the sectors.
        bytes: read("size").parse::<u64>().unwrap_or(0).saturating_mul(512),
        model: model(&folder),
        serial: serial(&folder, &real),
        bus: bus(name, &real),
        removable: read("removable") == "1" || matches!(bus(name, &real).as_str(), "usb" | "mmc"),
        read_only: read("ro") == "1",
        sector_bytes: read("queue/logical_block_size").parse().unwrap_or(512),
        sequence: read("diskseq").parse().ok(),
        backing: Some(read("loop/backing_file")).filter(|path| !path.is_empty()).map(PathBuf::from),
        mapper: Some((read("dm/name"), read("dm/uuid"))).filter(|(name, _)| !name.is_empty()),
        holders: names(&folder.join("holders")),
        slaves: names(&folder.join("slaves")),
        partitions,
    }
}

fn partition(disk: &Path, name: String) -> Partition {
    let folder = disk.join(&name);
    let read = |file: &str| line(&folder.join(file));
    let bytes = |file: &str| read(file).parse::<u64>().unwrap_or(0).saturating_mul(512);
    Partition {
        index: read("partition").parse().unwrap_or(0),
        number: number(&read("dev")).unwrap_or_default(),
        start_bytes: bytes("start"),
        bytes: bytes("size"),
        read_only: read("ro") == "1",
        holders: names(&folder.join("holders")),
        name,
    }
}

/// Reads vendor and model as SCSI and NVMe have them, or the name that a card gives itself.
fn model(folder: &Path) -> String {
    let parts = ["device/vendor", "device/model", "device/name"].map(|file| line(&folder.join(file)));
    // Virtio gives the number of a PCI vendor, and ATA a word instead of one.
    let wanted = |part: &String| !part.is_empty() && part != "ATA" && !part.starts_with("0x");
    parts.into_iter().filter(wanted).collect::<Vec<_>>().join(" ")
}

/// Reads the serial number: the disk's own, or that of the USB device it is in.
fn serial(folder: &Path, real: &Path) -> String {
    let own = ["serial", "device/serial"].map(|file| line(&folder.join(file)));
    if let Some(own) = own.into_iter().find(|serial| !serial.is_empty()) {
        return own;
    }
    let usb = real.ancestors().take_while(|folder| folder.parent().is_some()).filter(|f| f.join("idVendor").exists());
    usb.map(|folder| line(&folder.join("serial"))).find(|serial| !serial.is_empty()).unwrap_or_default()
}

/// Tells by where sysfs has a disk how it is attached.
fn bus(name: &str, real: &Path) -> String {
    let has = |start: &str| real.iter().any(|part| part.to_string_lossy().starts_with(start));
    let buses = [("usb", "usb"), ("mmc_host", "mmc"), ("nvme", "nvme"), ("ata", "sata"), ("virtio", "virtio")];
    let virtual_ones = ["loop", "zram", "ram", "dm-", "md", "nbd"];
    if let Some(kind) = virtual_ones.iter().find(|kind| name.starts_with(**kind)) {
        return kind.trim_end_matches('-').into();
    }
    match buses.iter().find(|(start, _)| has(start)) {
        Some((_, bus)) => (*bus).into(),
        None if name.starts_with("sd") => "scsi".into(),
        None if name.starts_with("xvd") => "xen".into(),
        None => String::new(),
    }
}

/// Reads `/proc/self/mountinfo`: proc(5).
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let source = right.split(' ').nth(1)?;
        Some(Mount { number: number(left.get(2)?)?, source: unescape(source), point: unescape(left.get(4)?) })
    };
    text.lines().filter_map(mount).collect()
}

/// Reads `/proc/swaps`. A space on a device is named as the kernel names that.
fn swaps(roots: &Roots, text: &str) -> Vec<String> {
    let name = |line: &str| {
        let path = unescape(line.split_whitespace().next()?);
        let Some(below) = path.strip_prefix("/dev/") else { return Some(path) };
        let node = roots.dev.join(below);
        let real = fs::canonicalize(&node).unwrap_or(node);
        Some(real.file_name()?.to_string_lossy().into_owned())
    };
    text.lines().skip(1).filter_map(name).collect()
}

/// Reads `/proc/mdstat`: `md0 : active raid1 sdb1[1] sda1[0](F)`.
fn arrays(text: &str) -> Vec<Array> {
    let array = |line: &str| {
        let (name, rest) = line.split_once(" : ")?;
        let members = rest.split(' ').filter_map(|word| Some(word.split_once('[')?.0.to_owned())).collect();
        name.starts_with("md").then(|| Array { name: name.trim().into(), members })
    };
    text.lines().filter_map(array).collect()
}

/// Undoes the octal escapes of procfs.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                bytes.push(value);
                rest = &after[3..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn number(text: &str) -> Option<Number> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Returns the names in a folder, sorted; none where there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: BTreeSet<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.into_iter().collect()
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Returns a file's only line; empty where there is no such file.
fn line(path: &Path) -> String {
    text(path).trim().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procfs_is_understood() {
        let text = "36 35 8:1 / /a\\040b rw,noatime shared:1 - ext4 /dev/sda1 rw\n\
                    37 35 0:33 / /c rw - btrfs /dev/mapper/x rw\nnonsense\n";
        let found = mounts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Mount { number: (8, 1), source: "/dev/sda1".into(), point: "/a b".into() });
        let text = "Personalities : [raid1]\nmd0 : active raid1 sdb1[1] sda1[0](F)\n      1 blocks\n\
                    md127 : inactive sdc[0](S)\nunused devices: <none>\n";
        let found = arrays(text);
        assert_eq!(found[0], Array { name: "md0".into(), members: vec!["sdb1".into(), "sda1".into()] });
        assert_eq!(found[1].members, ["sdc"]);
        let found = swaps(&Roots::default(), "Filename Type\n/dev/nosuch7 partition 1\n/swap\\040file file 1\n");
        assert_eq!(found, ["nosuch7", "/swap file"]);
        assert_eq!(unescape("a\\134b\\9\\"), "a\\b\\9\\");
    }

    #[test]
    fn names_come_in_the_order_people_count() {
        let mut names = ["sdaa", "loop10", "sdb", "loop2", "mmcblk0"];
        names.sort_by(|one, other| natural(one).cmp(&natural(other)));
        assert_eq!(names, ["loop2", "loop10", "mmcblk0", "sdb", "sdaa"]);
    }
}
