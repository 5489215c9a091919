//! Which disks are refused: machines that are folders, each with one thing that speaks against its disk.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use xenbuild::flash::host::{Inventory, Roots};
use xenbuild::flash::image::Needs;
use xenbuild::flash::refuse::Reason;
use xenbuild::flash::{Candidate, candidates};

const GIB: u64 = 1 << 30;

/// A machine in a folder: sysfs, procfs and device nodes.
struct Machine {
    folder: TempDir,
}

impl Machine {
    /// Makes a machine with `sda`, on which the system is, and `sdb`, a card of 8 GiB in a USB reader, with one partition.
    fn new() -> Self {
        let machine = Machine { folder: TempDir::new().unwrap() };
        machine.disk("devices/pci0/ata1/host0/block", "sda", "8:0", 500 * GIB);
        machine.partition("devices/pci0/ata1/host0/block/sda", "sda1", 1, "8:1");
        machine.disk("devices/pci0/usb1/1-2/host1/block", "sdb", "8:16", 8 * GIB);
        machine.partition("devices/pci0/usb1/1-2/host1/block/sdb", "sdb1", 1, "8:17");
        for (file, text) in [
            ("sys/devices/pci0/usb1/1-2/idVendor", "0bda\n"),
            ("sys/devices/pci0/usb1/1-2/serial", "2012\n"),
            ("sys/block/sdb/device/vendor", "Generic \n"),
            ("sys/block/sdb/device/model", "Card Reader     \n"),
            ("sys/block/sdb/removable", "1\n"),
            ("sys/block/sdb/diskseq", "7\n"),
        ] {
            machine.write(file, text);
        }
        machine.write("proc/self/mountinfo", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n");
        machine
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn append(&self, file: &str, text: &str) {
        let old = fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        self.write(file, old + text);
    }

    /// Makes a disk at a place in sysfs, a link to it, and its node.
    fn disk(&self, place: &str, name: &str, number: &str, bytes: u64) {
        let folder = format!("sys/{place}/{name}");
        self.write(&format!("{folder}/dev"), format!("{number}\n"));
        self.write(&format!("{folder}/size"), format!("{}\n", bytes / 512));
        self.write(&format!("{folder}/ro"), "0\n");
        self.write(&format!("{folder}/queue/logical_block_size"), "512\n");
        let block = self.folder.path().join("sys/block");
        fs::create_dir_all(&block).unwrap();
        std::os::unix::fs::symlink(self.folder.path().join(folder), block.join(name)).unwrap();
        self.write(&format!("dev/{name}"), "");
        let node = fs::File::options().write(true).open(self.folder.path().join("dev").join(name)).unwrap();
        node.set_len(bytes).unwrap();
    }

    fn partition(&self, disk: &str, name: &str, index: u32, number: &str) {
        let folder = format!("sys/{disk}/{name}");
        let files =
            [("dev", number), ("partition", &index.to_string()), ("start", "2048"), ("size", "4096"), ("ro", "0")];
        files.iter().for_each(|(file, text)| self.write(&format!("{folder}/{file}"), format!("{text}\n")));
    }

    /// Puts a device-mapper volume on top of something.
    fn mapped(&self, name: &str, number: &str, called: &str, uuid: &str, on: &str) {
        self.disk("devices/virtual/block", name, number, GIB);
        self.write(&format!("sys/block/{name}/dm/name"), called);
        self.write(&format!("sys/block/{name}/dm/uuid"), uuid);
        self.write(&format!("sys/block/{name}/slaves/{on}/dev"), "");
    }

    fn roots(&self) -> Roots {
        let at = |name: &str| self.folder.path().join(name);
        Roots { sys: at("sys"), proc: at("proc"), dev: at("dev") }
    }

    /// Returns what is found of a disk, for an image of this size.
    fn look(&self, name: &str, needs: u64) -> Candidate {
        let needs = Needs { bytes: needs, sector_bytes: Some(512) };
        let all = candidates(&self.roots(), &needs);
        all.into_iter().find(|candidate| candidate.disk.name == name).unwrap()
    }

    /// Checks that a disk is refused for exactly these reasons, in these words.
    fn refuses(&self, name: &str, wanted: &[(Reason, &str)]) {
        let found = self.look(name, 4 * GIB).refusals;
        let found: Vec<(Reason, &str)> = found.iter().map(|refusal| (refusal.reason, refusal.text.as_str())).collect();
        assert_eq!(found, wanted);
    }
}

#[test]
fn a_card_is_offered_and_described() {
    let machine = Machine::new();
    let Candidate { disk, contents, refusals } = machine.look("sdb", 8 * GIB);
    assert_eq!(refusals, []);
    assert_eq!((disk.model.as_str(), disk.serial.as_str(), disk.bus.as_str()), ("Generic Card Reader", "2012", "usb"));
    assert_eq!((disk.bytes, disk.removable, disk.sequence), (8 * GIB, true, Some(7)));
    assert_eq!(disk.node, machine.folder.path().join("dev/sdb"));
    assert_eq!(disk.partitions.len(), 1);
    assert_eq!((disk.partitions[0].start_bytes, disk.partitions[0].bytes), (1 << 20, 2 << 20));
    assert_eq!(contents, "nothing that is known");
    let names: Vec<String> = Inventory::read(&machine.roots()).disks.into_iter().map(|disk| disk.name).collect();
    assert_eq!(names, ["sda", "sdb"]);
}

#[test]
fn the_running_system_is_refused() {
    Machine::new().refuses("sda", &[(Reason::System, "it holds the running system: / is sda1")]);
    for point in ["/boot", "/boot/firmware", "/usr", "/home"] {
        let machine = Machine::new();
        machine.append("proc/self/mountinfo", &format!("23 22 8:17 / {point} rw - ext4 /dev/sdb1 rw\n"));
        let text = format!("it holds the running system: {point} is sdb1");
        machine.refuses("sdb", &[(Reason::System, &text)]);
    }
}

#[test]
fn the_running_system_is_found_through_layers() {
    // Root on LVM on an encrypted partition, as many installers make it.
    let machine = Machine::new();
    machine.mapped("dm-0", "253:0", "luks-1", "CRYPT-LUKS2-1", "sdb1");
    machine.mapped("dm-1", "253:1", "vg-root", "LVM-abc", "dm-0");
    machine.write("proc/self/mountinfo", "22 1 253:1 / / rw - ext4 /dev/mapper/vg-root rw\n");
    machine.refuses(
        "sdb",
        &[
            (Reason::DeviceMapper, "sdb1 is in use by dm-0 (encrypted, luks-1)"),
            (Reason::Lvm, "dm-0 (encrypted, luks-1) on sdb1 is in use by dm-1 (LVM, vg-root)"),
            (
                Reason::System,
                "it holds the running system: / is dm-1 (LVM, vg-root) on dm-0 (encrypted, luks-1) on sdb1",
            ),
        ],
    );
    machine.refuses(
        "dm-1",
        &[
            (Reason::Lvm, "it is a volume of the device mapper (vg-root)"),
            (Reason::System, "it holds the running system: / is dm-1"),
            (Reason::TooSmall, "it is too small: it has 1.0 GiB, the image needs 4.0 GiB (3221225472 bytes more)"),
        ],
    );
}

#[test]
fn what_is_mounted_is_refused() {
    let machine = Machine::new();
    machine.append("proc/self/mountinfo", "23 22 8:17 / /media/me/My\\040card rw - vfat /dev/sdb1 rw\n");
    machine.refuses("sdb", &[(Reason::Mounted, "it is mounted: sdb1 on /media/me/My card")]);
    // The whole disk, and a file system that invents its number.
    let machine = Machine::new();
    machine.append("proc/self/mountinfo", "23 22 0:44 / /mnt rw - btrfs /dev/sdb rw\n");
    machine.refuses("sdb", &[(Reason::Mounted, "it is mounted: sdb on /mnt")]);
    // A mount of another disk, or of one whose name only begins alike.
    let machine = Machine::new();
    machine.append("proc/self/mountinfo", "23 22 0:44 / /mnt rw - btrfs /dev/sdb10 rw\n");
    machine.refuses("sdb", &[]);
}

#[test]
fn swap_is_refused() {
    let machine = Machine::new();
    machine.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sdb1 partition 1 0 -2\n");
    machine.refuses("sdb", &[(Reason::Swap, "the system swaps to it: sdb1")]);
    machine.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda9 partition 1 0 -2\n");
    machine.refuses("sdb", &[]);
    // By another name of the same device.
    machine.write("dev/sdb1", "");
    fs::create_dir_all(machine.folder.path().join("dev/disk")).unwrap();
    std::os::unix::fs::symlink("../sdb1", machine.folder.path().join("dev/disk/pages")).unwrap();
    machine.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/disk/pages partition 1 0 -2\n");
    machine.refuses("sdb", &[(Reason::Swap, "the system swaps to it: sdb1")]);
}

#[test]
fn members_of_arrays_and_volumes_are_refused() {
    // A running array, seen by its holder and in mdstat; then only in mdstat, as when it is not running.
    let machine = Machine::new();
    machine.disk("devices/virtual/block", "md0", "9:0", 8 * GIB);
    machine.write("sys/block/sdb/sdb1/holders/md0/dev", "");
    machine.write("proc/mdstat", "Personalities : [raid1]\nmd0 : active raid1 sdb1[1] sdc1[0]\n");
    machine.refuses("sdb", &[(Reason::Raid, "sdb1 is in use by md0"), (Reason::Raid, "sdb1 is part of the RAID md0")]);
    machine.refuses("md0", &[(Reason::Raid, "it is a software RAID")]);
    let machine = Machine::new();
    machine.write("proc/mdstat", "md127 : inactive sdb[0](S)\n");
    machine.refuses("sdb", &[(Reason::Raid, "sdb is part of the RAID md127")]);
    // LVM, seen from below and from above; and something unknown.
    let machine = Machine::new();
    machine.mapped("dm-3", "253:3", "vg-home", "LVM-abc", "sdb");
    machine.refuses("sdb", &[(Reason::Lvm, "sdb is in use by dm-3 (LVM, vg-home)")]);
    let machine = Machine::new();
    machine.write("sys/block/sdb/holders/bcache0/dev", "");
    machine.refuses("sdb", &[(Reason::InUse, "sdb is in use by bcache0")]);
}

#[test]
fn members_are_known_by_their_bytes_too() {
    let machine = Machine::new();
    let mut bytes = vec![0; 4096 + 4096];
    bytes[512..520].copy_from_slice(b"LABELONE");
    bytes[536..544].copy_from_slice(b"LVM2 001");
    put(&machine.folder.path().join("dev/sdb"), &bytes);
    let text = "sdb is part of an LVM volume group; if it is no more, `wipefs -a` on it says so";
    machine.refuses("sdb", &[(Reason::Lvm, text)]);
    assert_eq!(machine.look("sdb", 1).contents, "LVM");
}

/// Writes into a node that is a sparse file.
fn put(node: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    fs::File::options().write(true).open(node).unwrap().write_all_at(bytes, 0).unwrap();
}

#[test]
fn what_cannot_be_written_is_refused() {
    let machine = Machine::new();
    machine.write("sys/block/sdb/ro", "1\n");
    machine.refuses("sdb", &[(Reason::ReadOnly, "it is read-only; a card may have a lock switch")]);
    let machine = Machine::new();
    machine.write("sys/block/sdb/sdb1/ro", "1\n");
    machine.refuses("sdb", &[(Reason::ReadOnly, "its partition sdb1 is read-only")]);
    let machine = Machine::new();
    machine.write("sys/block/sdb/size", "0\n");
    machine.refuses("sdb", &[(Reason::NoMedium, "no medium is in it")]);
    for (name, text) in [
        ("zram0", "it is memory"),
        ("ram1", "it is memory"),
        ("sr0", "it is no disk that an image is written to"),
        ("mmcblk0boot1", "it is a boot area of an eMMC, not the disk"),
    ] {
        machine.disk("devices/virtual/block", name, "251:0", 8 * GIB);
        machine.refuses(name, &[(Reason::NotADisk, text)]);
        assert!(machine.look(name, 1).is_noise());
    }
}

#[test]
fn what_is_too_small_is_refused_to_the_byte() {
    let machine = Machine::new();
    assert_eq!(machine.look("sdb", 8 * GIB).refusals, []);
    let refusals = machine.look("sdb", 8 * GIB + 1).refusals;
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].reason, Reason::TooSmall);
    assert_eq!(refusals[0].text, "it is too small: it has 8.0 GiB, the image needs 8.0 GiB (1 bytes more)");
    machine.write("sys/block/sdb/queue/logical_block_size", "4096\n");
    let text = "its sectors have 4096 bytes, but the image's partition table counts in 512";
    machine.refuses("sdb", &[(Reason::SectorSize, text)]);
}

#[test]
fn a_machine_that_says_nothing_has_no_disks() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let roots = Roots { sys: at("a"), proc: at("b"), dev: at("c") };
    assert_eq!(Inventory::read(&roots), Inventory::default());
}

#[test]
fn cards_of_other_buses_are_described() {
    let machine = Machine::new();
    let mmc = "devices/platform/soc/mmc_host/mmc0/mmc0:1234/block";
    machine.disk(mmc, "mmcblk0", "179:0", 32 * GIB);
    machine.partition(&format!("{mmc}/mmcblk0"), "mmcblk0p1", 1, "179:1");
    machine.write("sys/block/mmcblk0/device/name", "SD32G\n");
    machine.write("sys/block/mmcblk0/device/serial", "0x1234\n");
    let Candidate { disk, .. } = machine.look("mmcblk0", 1);
    assert_eq!((disk.bus.as_str(), disk.model.as_str(), disk.serial.as_str()), ("mmc", "SD32G", "0x1234"));
    assert!(disk.removable);
    machine.disk("devices/virtual/block", "loop0", "7:0", GIB);
    machine.write("sys/block/loop0/loop/backing_file", "/tmp/a card.img\n");
    let Candidate { disk, .. } = machine.look("loop0", 1);
    assert_eq!((disk.bus.as_str(), disk.backing.as_deref()), ("loop", Some(Path::new("/tmp/a card.img"))));
    machine.disk("devices/virtual/block", "loop1", "7:1", 0);
    assert!(machine.look("loop1", 1).is_noise());
}
