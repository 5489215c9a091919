//! Conformance: upstream Xen and a Debian Dom0 under a real QEMU, driven through the expect engine. `XENBUILD_LAB` names
//! a folder with `xen`, `Image` and `dom0.cpio.gz`, whose init gives a shell for `lab=shell` on the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xenbuild::emulate::command::CommandLine;
use xenbuild::emulate::dialogue::{Dialogue, Watch};
use xenbuild::emulate::{Image, qemu};
use xenbuild::recipe::{MachineKind, Recipe, TestAction};
use xenbuild::task::Cancel;

use crate::fixture::{expect, machine, power_off, recipe, run, send, start, step};

struct Told;

impl Watch for Told {
    fn passed(&self, number: usize, count: usize, what: &str, took: Duration) {
        eprintln!("{number}/{count} {:6.1} s  {what}", took.as_secs_f64());
    }
}

fn lab() -> Option<PathBuf> {
    let lab = std::env::var_os("XENBUILD_LAB").map(PathBuf::from);
    if lab.is_none() {
        eprintln!("skipped: XENBUILD_LAB names no reference system");
    }
    lab
}

fn qemu(lab: &Path, disks: &[PathBuf]) -> CommandLine {
    let image = Image { folder: lab.into(), boot: lab.join("xen"), disks: disks.to_vec() };
    let kernel = format!("guest-loader,addr=0x4a000000,kernel={}", lab.join("Image").display());
    let initrd = format!("guest-loader,addr=0x4d000000,initrd={}", lab.join("dom0.cpio.gz").display());
    let extra = [
        "-append",
        "console=dtuart dtuart=/pl011@9000000 dom0_mem=1024M dom0_max_vcpus=2 bootscrub=0",
        "-device",
        &format!("{kernel},bootargs=console=hvc0 rdinit=/init lab=shell"),
        "-device",
        &initrd,
    ];
    let options = qemu::Options {
        serial: qemu::Serial::Plain,
        no_reboot: true,
        extra: extra.map(OsString::from).to_vec(),
        ..qemu::Options::default()
    };
    let disks: Vec<_> = disks.iter().cloned().map(qemu::Disk::ThrowAway).collect();
    let mut machine = machine(MachineKind::QemuVirt);
    machine.forwards.clear();
    qemu::command_line(&machine, &image, &disks, &machine.forwards, &options)
}

fn play(lab: &Path, recipe: &Recipe, disks: &[PathBuf]) {
    let folder = std::env::var_os("XENBUILD_LAB_OUT").map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let folder = folder.as_deref().unwrap_or(temporary.path());
    let emulator = start(&qemu(lab, disks), folder, true);
    match Dialogue::compile(recipe).unwrap().play(emulator, &Cancel::default(), &Told) {
        Ok(report) => eprintln!("all in {:.1} s", report.took.as_secs_f64()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
#[ignore = "conformance: boots Xen, for a minute or two"]
fn a_dom0_shell_runs_commands_and_powers_off() {
    let Some(lab) = lab() else { return };
    let numbers: String = (1..=60).map(|n| format!("{n:04}-")).collect();
    let steps = vec![
        step(TestAction::Expect("Xen version".into()), 60_000),
        step(TestAction::Expect("=== UP".into()), 180_000),
        step(run("xl list", &["^Domain-0 +0 +1024 +2 ", "^Name"], 0).action, 120_000),
        run("false", &[], 1),
        run("sh -c 'exit 42' # a comment", &[], 42),
        run("echo \"it's\"; printf 'no line end'", &["^it's\nno line end$"], 0),
        run("cat <<E\na\tb\nE", &["^a\tb$"], 0),
        run(&format!("echo {numbers}"), &[&format!("^{numbers}$")], 0),
        run("echo between > /dev/kmsg; (sleep 1; echo late > /dev/kmsg) & echo started", &["started"], 0),
        run("nosuchcommand", &["not found"], 127),
        run("dmesg | head -400; ls -R /sys/class", &["Linux version"], 0),
        send("echo se''nt\n"),
        expect("^sent$"),
        send("poweroff -f\n"),
        step(power_off().action, 30_000),
    ];
    play(&lab, &recipe(&["Kernel panic", r"Panic on CPU"], steps, 400_000), &[]);
}

#[test]
#[ignore = "conformance: boots Xen, for a minute or two"]
fn disks_come_in_the_order_of_the_command_line() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, name.repeat(512 * 1024)).unwrap();
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&path, permissions).unwrap();
        path
    };
    let disks = ["aaaa", "bb,b", "cccc"].map(disk);
    let steps = vec![
        step(TestAction::Expect("=== UP".into()), 180_000),
        step(run("insmod /mods/virtio_mmio.ko && insmod /mods/virtio_blk.ko; ls /dev/vd*", &[], 0).action, 120_000),
        run("head -c 4 /dev/vda", &["^aaaa$"], 0),
        run("head -c 4 /dev/vdb", &["^bb,b$"], 0),
        run("head -c 4 /dev/vdc", &["^cccc$"], 0),
        run("echo zzzz > /dev/vda; sync; dd if=/dev/vda bs=4 count=1 iflag=direct", &["^zzzz"], 0),
        send("poweroff -f\n"),
        step(power_off().action, 30_000),
    ];
    play(&lab, &recipe(&["Kernel panic", r"Panic on CPU"], steps, 400_000), &disks);
    assert_eq!(std::fs::read(&disks[0]).unwrap(), b"aaaa".repeat(512 * 1024), "no guest writes an artifact");
}
