//! QEMU's command line for a recipe: a pure function of the recipe, the artifacts and the options.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Image;
use super::command::CommandLine;
use crate::error::{Error, Kind, Result};
use crate::recipe::{Forward, Machine};

/// The program's name where nothing else is asked for.
pub const PROGRAM: &str = "qemu-system-aarch64";

/// The oldest version that this is tested with.
pub const TESTED_FROM: (u64, u64) = (7, 2);

/// Where the serial console goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Serial {
    /// Standard input and output, with QEMU's monitor behind Ctrl-A as its users know it.
    #[default]
    WithMonitor,
    /// Standard input and output, every byte the guest's own.
    Plain,
}

/// What a disk is backed by while the machine runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Disk {
    /// The artifact, opened read-only, under an overlay that QEMU unlinks as soon as it is open: nothing is left of it,
    /// whatever happens to QEMU.
    ThrowAway(PathBuf),
    /// A qcow2 overlay that stays; it names the artifact as its backing file, which QEMU opens read-only.
    Kept(PathBuf),
}

/// What can be asked for beside what the recipe says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// QEMU itself, where it is not the one in `PATH`.
    pub program: Option<PathBuf>,
    /// Where the console goes.
    pub serial: Serial,
    /// Port of the GDB stub, on loopback.
    pub gdb: Option<u16>,
    /// Do not start the CPUs until GDB says so.
    pub gdb_wait: bool,
    /// End where the guest asks for a reset.
    pub no_reboot: bool,
    /// Further arguments, as they are.
    pub extra: Vec<OsString>,
}

/// Composes the command line. `forwards` are the machine's, with real ports ([`super::machine::choose_ports`]).
///
/// Disks and the network sit on the board's virtio-mmio transports, on buses named one by one: left alone, QEMU hands
/// them out from the highest address downwards while Linux counts upwards, so that the first disk would become the last
/// `/dev/vdX`. `iommu_platform` stays off: QEMU's virtio-mmio cannot offer it, and Linux uses the DMA API (and so
/// Xen's view of addresses) for every virtio device as soon as it runs as a Xen domain.
pub fn command_line(
    machine: &Machine,
    image: &Image,
    disks: &[Disk],
    forwards: &[Forward],
    options: &Options,
) -> CommandLine {
    if let Some(model) = &machine.qemu {
        return board(model, machine, image, disks, forwards, options);
    }
    let mut line = CommandLine::new(options.program.clone().unwrap_or_else(|| PROGRAM.into()));
    let secure = if machine.exception_level == 3 { ",secure=on" } else { "" };
    // Where firmware could want ACPI, the board has an ACPI device in the place of the one that switches it off.
    let acpi = if machine.firmware.is_some() { ",acpi=off" } else { "" };
    line.add(["-M".into(), format!("virt,virtualization=on{secure},gic-version={}{acpi}", machine.gic)]);
    line.add(["-accel", "tcg"]);
    line.add(["-cpu", &machine.cpu]);
    line.add(["-smp".into(), machine.cpus.value.to_string()]);
    line.add(["-m".into(), memory(machine.memory_bytes.value)]);
    line.add(["-nodefaults"]);
    console(&mut line, options);
    let start = if machine.firmware.is_some() { "-bios" } else { "-kernel" };
    line.add([OsString::from(start), boot_of(image)]);
    if let Some(tree) = &image.device_tree {
        line.add([OsString::from("-dtb"), tree.into()]);
    }
    line.add(["-global", "virtio-mmio.force-legacy=false"]);
    for (index, disk) in disks.iter().enumerate() {
        line.add([OsString::from("-drive"), drive(index, disk)]);
        line.add(["-device".into(), format!("virtio-blk-device,drive=disk{index},bus=virtio-mmio-bus.{index}")]);
    }
    let mut bus = disks.len();
    line.add(["-netdev".into(), netdev(forwards)]);
    line.add(["-device".into(), format!("virtio-net-device,netdev=net0,bus=virtio-mmio-bus.{bus}")]);
    bus += 1;
    line.add(["-device".into(), format!("virtio-rng-device,bus=virtio-mmio-bus.{bus}")]);
    asked(&mut line, options);
    line
}

/// Composes the command line for QEMU's model of a board: its disks are cards, its network what the board has.
fn board(
    model: &str,
    machine: &Machine,
    image: &Image,
    disks: &[Disk],
    forwards: &[Forward],
    options: &Options,
) -> CommandLine {
    let mut line = CommandLine::new(options.program.clone().unwrap_or_else(|| PROGRAM.into()));
    line.add(["-M", model]);
    line.add(["-accel", "tcg"]);
    line.add(["-smp".into(), machine.cpus.value.to_string()]);
    line.add(["-m".into(), memory(machine.memory_bytes.value)]);
    console(&mut line, options);
    line.add([OsString::from("-kernel"), boot_of(image)]);
    for (index, disk) in (machine.slot..).zip(disks) {
        let mut option = OsString::from(format!("if=sd,index={index},"));
        option.push(drive_file(disk));
        line.add([OsString::from("-drive"), option]);
    }
    let ports = netdev(forwards);
    line.add(["-nic".to_owned(), ports.replacen(",id=net0", "", 1)]);
    asked(&mut line, options);
    line
}

/// Returns what is started; [`super::machine::compose`] sees to it that there is something.
fn boot_of(image: &Image) -> OsString {
    image.boot.clone().unwrap_or_default().into()
}

fn console(line: &mut CommandLine, options: &Options) {
    line.add(["-display", "none"]);
    match options.serial {
        Serial::WithMonitor => line.add(["-serial", "mon:stdio"]),
        Serial::Plain => line.add(["-serial", "stdio"]).add(["-monitor", "none"]),
    };
}

/// Adds what was asked for beside what the recipe says.
fn asked(line: &mut CommandLine, options: &Options) {
    if options.no_reboot {
        line.add(["-no-reboot"]);
    }
    if let Some(port) = options.gdb {
        line.add(["-gdb".into(), format!("tcp:127.0.0.1:{port}")]);
    }
    if options.gdb_wait {
        line.add(["-S"]);
    }
    for argument in &options.extra {
        line.add([argument.clone()]);
    }
}

/// How many disks the board has room for: its virtio-mmio transports, less the network and the entropy source.
pub const DISKS_MAX: usize = 32 - 2;

/// Writes a size as `-m` wants it; a plain number would be MiB.
fn memory(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{}M", bytes >> 20) } else { format!("{bytes}B") }
}

/// Writes a `-drive` option. In QEMU's option syntax a comma in a value is written twice.
fn drive(index: usize, disk: &Disk) -> OsString {
    let mut option = OsString::from(format!("if=none,id=disk{index},"));
    option.push(drive_file(disk));
    option
}

fn drive_file(disk: &Disk) -> OsString {
    let (format, path, snapshot) = match disk {
        Disk::ThrowAway(path) => ("raw", path, ",snapshot=on"),
        Disk::Kept(path) => ("qcow2", path, ""),
    };
    let mut option = OsString::from(format!("format={format}{snapshot},file="));
    option.push(double_commas(path));
    option
}

/// Doubles the commas of a path.
fn double_commas(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

/// Writes the `-netdev` option: user networking, with the forwarded ports on loopback only.
fn netdev(forwards: &[Forward]) -> String {
    let mut option = String::from("user,id=net0");
    for Forward { udp, host, guest } in forwards {
        let protocol = if *udp { "udp" } else { "tcp" };
        option.push_str(&format!(",hostfwd={protocol}:127.0.0.1:{host}-:{guest}"));
    }
    option
}

/// Makes the error for a QEMU that is not there.
pub fn missing(program: &Path) -> Error {
    let error = Error::new(Kind::Host, format!("cannot find {}", program.display()));
    if program != Path::new(PROGRAM) {
        return error.hint("the path came from --qemu or XENBUILD_QEMU");
    }
    error
        .hint("Debian and Ubuntu have it in the package qemu-system-arm: apt-get install qemu-system-arm")
        .hint("or name one that you have: --qemu PATH, or XENBUILD_QEMU=PATH")
}

/// Checks that the machine's disks fit on the board.
pub fn check_disks(count: usize) -> Result<()> {
    if count <= DISKS_MAX {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, format!("{count} disks, but the board has room for {DISKS_MAX}")))
}
