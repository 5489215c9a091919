//! The EL3 stub under QEMU's virt machine, from reset: a payload at EL2 calls all of PSCI on every CPU and prints the answers.
//! Ring: emulator.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bootwrap::{Hypervisor, Level, Secondaries, Spec};
use xenbuild::emulate::command::CommandLine;
use xenbuild::emulate::qemu;

#[path = "support/serial.rs"]
mod serial;
use serial::Run;

const PROBE: &[u8] = include_bytes!(env!("XENBUILD_EL3_PROBE"));
/// Where the probe is linked (bootwrap/el3/probe.ld).
const PROBE_ADDRESS: u64 = 0x4100_0000;
const LIMIT: Duration = Duration::from_secs(60);

/// One machine of QEMU's.
#[derive(Clone, Copy)]
struct Machine {
    options: &'static str,
    gic: u32,
    cpus: usize,
    memory_mib: u32,
}

impl Machine {
    /// Returns the command line of a machine with nothing but its serial line: what recipes cannot ask for, too.
    fn command(&self, more: &str) -> CommandLine {
        let mut command = CommandLine::new(qemu::PROGRAM);
        command.add(["-M".into(), format!("virt,{},gic-version={}{more}", self.options, self.gic)]);
        command.add(["-cpu", "cortex-a57"]).add(["-nographic"]).add(["-nodefaults"]).add(["-serial", "mon:stdio"]);
        command.add(["-smp".into(), self.cpus.to_string()]).add(["-m".into(), self.memory_mib.to_string()]);
        command
    }

    /// Returns the machine's own device tree; none, said aloud, where there is no QEMU.
    fn device_tree(&self, folder: &Path) -> Option<Vec<u8>> {
        let file = folder.join("board.dtb");
        let command = self.command(&format!(",dumpdtb={}", file.display()));
        if command.find_program().is_none() {
            eprintln!("skipped: {} is not installed", qemu::PROGRAM);
            return None;
        }
        let ending = serial::start(&command, folder).finish(LIMIT).expect("QEMU can be waited for");
        Some(fs::read(&file).unwrap_or_else(|error| panic!("{error}: {ending}")))
    }

    /// Runs an artifact until the machine switches itself off, prints `until`, or the time is up.
    fn run(&self, artifact: &Path, more: &[&str], until: Option<&str>, limit: Duration) -> Run {
        let folder = artifact.parent().expect("artifacts are in a folder");
        let mut command = self.command("");
        command.add(["-kernel".as_ref(), artifact.as_os_str()]).add(more);
        serial::run(&command, folder, until, limit)
    }
}

fn wrap_probe(device_tree: &[u8], level: Level, secondaries: Secondaries, artifact: &Path) {
    let probe = bootwrap::kernel::flatten(PROBE).expect("an ELF file");
    let spec = Spec {
        stub: xenbuild::carried::EL3,
        device_tree,
        level,
        secondaries,
        hypervisor: Some(Hypervisor { image: &probe, bootargs: "" }),
        kernel: None,
        bootargs: "",
        ramdisk: None,
        modules: Vec::new(),
        addresses: vec![("xen".into(), PROBE_ADDRESS)],
    };
    let wrapped = bootwrap::wrap(&spec).expect("it fits");
    let mut out = fs::File::create(artifact).expect("a file");
    wrapped.write_elf(&mut out).expect("written");
}

const SECURE: &str = "secure=on,virtualization=on";

/// Runs the probe from reset and compares with `tests/data/el3/<name>.expected`; `BLESS=1` rewrites it.
fn probe(name: &str, machine: Machine) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(device_tree) = machine.device_tree(folder.path()) else { return };
    let artifact = folder.path().join("probe.axf");
    wrap_probe(&device_tree, Level::El3, Secondaries::Psci, &artifact);
    let Run { printed, off } = machine.run(&artifact, &[], None, LIMIT);
    assert!(off, "{name}: not off after {LIMIT:?}:\n{printed}");
    let file = Path::new("tests/data/el3").join(format!("{name}.expected"));
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all("tests/data/el3").expect("a folder");
        fs::write(&file, &printed).expect("written");
    }
    let expected = fs::read_to_string(&file).expect("an expectation");
    assert_eq!(printed, expected, "{name}");
    // What the file says is checked here too, lest a blessed mistake stay: each CPU entered, the machine reset, no complaint.
    assert_eq!(printed.matches("own stack, x1 to x3 zero: yes\n").count(), machine.cpus);
    assert_eq!(printed.matches("context kept\n").count(), machine.cpus - 1);
    assert!(printed.ends_with("probe: again after reset\n"), "{printed}");
    assert!(!printed.contains("bootwrap:") && !printed.contains("came back"), "{printed}");
}

#[test]
fn one_cpu_gicv2() {
    probe("gicv2-1", Machine { options: SECURE, gic: 2, cpus: 1, memory_mib: 256 });
}

#[test]
fn four_cpus_gicv2() {
    probe("gicv2-4", Machine { options: SECURE, gic: 2, cpus: 4, memory_mib: 256 });
}

#[test]
fn one_cpu_gicv3() {
    probe("gicv3-1", Machine { options: SECURE, gic: 3, cpus: 1, memory_mib: 256 });
}

#[test]
fn four_cpus_gicv3() {
    probe("gicv3-4", Machine { options: SECURE, gic: 3, cpus: 4, memory_mib: 256 });
}

/// Every complaint of the stub's, and that it is the only thing printed.
#[test]
fn complaints() {
    let machine = Machine { options: SECURE, gic: 3, cpus: 2, memory_mib: 256 };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(device_tree) = machine.device_tree(folder.path()) else { return };
    let artifact = folder.path().join("probe.axf");
    wrap_probe(&device_tree, Level::El3, Secondaries::Psci, &artifact);
    let wrong = [
        (
            Machine { gic: 2, ..machine },
            "bootwrap: the device tree says GICv3, the CPU says GICv2 (QEMU virt: gic-version=3)\n",
        ),
        (Machine { options: "secure=on", ..machine }, "bootwrap: this CPU has no EL2 (QEMU virt: virtualization=on)\n"),
        (
            Machine { options: "secure=off", ..machine },
            "bootwrap: started at EL1, but a hypervisor needs EL2 (QEMU virt: virtualization=on)\n",
        ),
    ];
    for (machine, complaint) in wrong {
        // Long enough to see that nothing follows.
        let run = machine.run(&artifact, &[], None, Duration::from_secs(2));
        assert_eq!((&*run.printed, run.off), (complaint, false));
    }
}

/// A device tree whose interrupt controller is at an address where nothing answers: the abort is told, not lost.
#[test]
fn a_device_that_is_not_there() {
    let machine = Machine { options: SECURE, gic: 3, cpus: 2, memory_mib: 256 };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut device_tree) = machine.device_tree(folder.path()) else { return };
    // The distributor's `reg`: 64 KiB at 0x800_0000; nothing is at 0xb00_0000.
    let there = [0x800_0000u64, 0x1_0000].map(u64::to_be_bytes).concat();
    let at = device_tree.windows(16).position(|bytes| bytes == there).expect("the distributor");
    device_tree[at + 4] = 0x0b;
    let artifact = folder.path().join("probe.axf");
    wrap_probe(&device_tree, Level::El3, Secondaries::Psci, &artifact);
    let run = machine.run(&artifact, &[], Some(" elr="), Duration::from_secs(10));
    assert!(run.printed.starts_with("bootwrap: unexpected exception in EL3, esr="), "{:?}", run.printed);
}

/// The same artifact started at EL2, where QEMU answers PSCI: the stub goes straight on.
#[test]
fn starts_at_el2_too() {
    let machine = Machine { options: "virtualization=on", gic: 3, cpus: 1, memory_mib: 256 };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(device_tree) = machine.device_tree(folder.path()) else { return };
    let artifact = folder.path().join("probe.axf");
    wrap_probe(&device_tree, Level::El2, Secondaries::Psci, &artifact);
    // That PSCI answers some of the probe's bad calls in its own way and sleeps for ever in CPU_SUSPEND: only the start is compared.
    let printed = machine.run(&artifact, &[], Some("PSCI_VERSION"), LIMIT).printed;
    assert!(
        printed.contains("probe:   EL2\nprobe:   masked, MMU and caches off, own stack, x1 to x3 zero: yes\n"),
        "{printed}"
    );
    assert!(printed.contains("probe: device tree at x0\n"), "{printed}");
}

/// Linux alone, from reset, with both ways of starting CPUs. It finds no init, panics and resets, which PSCI alone can do.
///
/// Needs `XENBUILD_KERNEL`, an arm64 Image: the tutorial's, in `make conformance`.
#[test]
#[ignore = "conformance: boots Linux twice"]
fn linux_alone() {
    let Some(kernel) = std::env::var_os("XENBUILD_KERNEL") else {
        eprintln!("skipped: XENBUILD_KERNEL is not set");
        return;
    };
    let kernel = fs::read(kernel).expect("an Image");
    let machine = Machine { options: SECURE, gic: 3, cpus: 4, memory_mib: 512 };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(device_tree) = machine.device_tree(folder.path()) else { return };
    for secondaries in [Secondaries::Psci, Secondaries::SpinTable] {
        let spec = Spec {
            stub: xenbuild::carried::EL3,
            device_tree: &device_tree,
            level: Level::El3,
            secondaries,
            hypervisor: None,
            kernel: Some(&kernel),
            bootargs: "console=ttyAMA0 panic=-1",
            ramdisk: None,
            modules: Vec::new(),
            addresses: Vec::new(),
        };
        let artifact = folder.path().join("linux.axf");
        let mut out = std::io::BufWriter::new(fs::File::create(&artifact).expect("a file"));
        bootwrap::wrap(&spec).expect("it fits").write_elf(&mut out).expect("written");
        drop(out);
        let until = (secondaries == Secondaries::SpinTable).then_some("Kernel panic");
        let Run { printed, off } = machine.run(&artifact, &["-no-reboot"], until, Duration::from_secs(200));
        for wanted in ["Brought up 1 node, 4 CPUs", "CPU: All CPU(s) started at EL2", "Kernel panic"] {
            assert!(printed.contains(wanted), "{secondaries:?}: no {wanted:?} in\n{printed}");
        }
        assert_eq!(off, secondaries == Secondaries::Psci, "{printed}");
    }
}
