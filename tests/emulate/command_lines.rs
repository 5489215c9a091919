//! Golden command lines, as `--dry-run` prints them: `tests/data/emulate/CASE.expected`; `BLESS=1` rewrites them.

use std::path::{Path, PathBuf};

use xenbuild::emulate::machine::{Options, compose};
use xenbuild::emulate::overlay::Persist;
use xenbuild::emulate::{Image, qemu};
use xenbuild::error::Kind;
use xenbuild::recipe::{Forward, Machine, MachineKind};

use crate::fixture::{located, machine};

fn image(disks: &[&str]) -> Image {
    let folder = PathBuf::from("/out/tutorial");
    let disks = disks.iter().map(|name| folder.join(name)).collect();
    Image { boot: Some(folder.join("tutorial.axf")), device_tree: None, disks, folder }
}

#[track_caller]
fn check(case: &str, machine: &Machine, disks: &[&str], options: &Options) {
    let text = format!("{}\n", compose(machine, &image(disks), options).unwrap().command);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/emulate").join(format!("{case}.expected"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{} (BLESS=1 rewrites it)", path.display());
}

#[test]
fn qemu_as_the_tutorial_has_it() {
    check("qemu", &machine(MachineKind::QemuVirt), &["rootfs.img"], &Options::default());
}

#[test]
fn qemu_for_a_test_at_el3_with_gicv2() {
    let mut machine = machine(MachineKind::QemuVirt);
    machine.gic = 2;
    machine.exception_level = 3;
    machine.cpus = located(4);
    machine.forwards.clear();
    let options = Options { serial: qemu::Serial::Plain, no_reboot: true, ..Options::default() };
    check("qemu-el3-test", &machine, &["rootfs.img", "data.img"], &options);
}

#[test]
fn qemu_with_everything_asked_for() {
    let mut machine = machine(MachineKind::QemuVirt);
    machine.memory_bytes = located((1 << 30) + 4096);
    machine.cpu = "max,sve=off".into();
    machine.forwards.push(Forward { udp: true, host: 6969, guest: 69 });
    let options = Options {
        program: Some("/opt/qemu 9/bin/qemu-system-aarch64".into()),
        gdb: Some(1234),
        gdb_wait: true,
        persist: Persist::Keep,
        extra: vec!["-d".into(), "int,guest_errors".into(), "-D".into(), "it's.log".into()],
        ..Options::default()
    };
    check("qemu-everything", &machine, &["root,fs.img"], &options);
}

#[test]
fn qemu_with_firmware_and_a_key() {
    let path = located(PathBuf::from("/u-boot.bin"));
    let mut machine = machine(MachineKind::QemuVirt);
    machine.firmware = Some(xenbuild::recipe::FileSource::Path { path, sha256: None });
    let tree = Some(PathBuf::from("/out/tutorial/u-boot-key.dtb"));
    let image = Image { device_tree: tree, ..image(&["card.img"]) };
    let shown = compose(&machine, &image, &Options::default()).unwrap().command.to_string();
    for line in [
        " -M virt,virtualization=on,gic-version=3,acpi=off ",
        " -bios /out/tutorial/tutorial.axf ",
        " -dtb /out/tutorial/u-boot-key.dtb ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("-kernel"), "{shown}");
}

#[test]
fn boards_run_where_there_is_a_model_of_them() {
    let mut machine = machine(MachineKind::Board);
    let error = compose(&machine, &image(&[]), &Options::default()).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert!(error.to_string().contains("no emulator"), "{error}");
    machine.qemu = Some("xlnx-zcu102,virtualization=on".into());
    machine.slot = 1;
    check("board", &machine, &["card.img"], &Options::default());
    let nothing = Image { boot: None, ..image(&[]) };
    let error = compose(&machine, &nothing, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("nothing that an emulator could start"), "{error}");
}

#[test]
fn foundation_platform() {
    check("foundation", &machine(MachineKind::FoundationV8), &["rootfs.img"], &Options::default());
    let mut machine = machine(MachineKind::FoundationV8);
    machine.gic = 2;
    machine.forwards.clear();
    let options = Options { persist: Persist::Keep, extra: vec!["--quantum=1000".into()], ..Options::default() };
    check("foundation-kept", &machine, &["rootfs.img"], &options);
}

#[test]
fn fvp_base_revc() {
    let mut machine = machine(MachineKind::FvpBaseRevC);
    machine.cpus = located(6);
    machine.exception_level = 3;
    check("fvp", &machine, &["rootfs.img"], &Options::default());
}

#[test]
fn what_an_emulator_cannot_do_is_refused() {
    let refused = |machine: &Machine, disks: &[&str], options: &Options| {
        let error = compose(machine, &image(disks), options).unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        error.message
    };
    let model = machine(MachineKind::FoundationV8);
    assert!(refused(&model, &["a.img", "b.img"], &Options::default()).contains("one block device"));
    let gdb = Options { gdb: Some(1234), ..Options::default() };
    assert!(refused(&model, &[], &gdb).contains("--gdb"));
    let mut udp = model.clone();
    udp.forwards[0].udp = true;
    assert!(refused(&udp, &[], &Options::default()).contains("UDP"));
    let mut gicv2 = machine(MachineKind::FvpBaseRevC);
    gicv2.gic = 2;
    assert!(refused(&gicv2, &[], &Options::default()).contains("GICv3 only"));
    let mut cpus = model.clone();
    cpus.cpus.value = 5;
    assert!(refused(&cpus, &[], &Options::default()).contains("up to 4"));
    let many = vec!["x.img"; 31];
    assert!(refused(&machine(MachineKind::QemuVirt), &many, &Options::default()).contains("room for 30"));
}

#[test]
fn a_program_that_is_not_there_is_named_with_what_brings_it() {
    let options = Options { program: Some("/nowhere/qemu".into()), ..Options::default() };
    let composed = compose(&machine(MachineKind::QemuVirt), &image(&[]), &options).unwrap();
    let error = composed.check_program().unwrap_err();
    assert_eq!(error.kind, Kind::Host);
    assert_eq!(error.message, "cannot find /nowhere/qemu");
    assert!(qemu::missing(Path::new(qemu::PROGRAM)).hints[0].contains("qemu-system-arm"));
    let model = Options { program: Some("/nowhere/FVP".into()), ..Options::default() };
    let composed = compose(&machine(MachineKind::FvpBaseRevC), &image(&[]), &model).unwrap();
    assert!(composed.check_program().unwrap_err().hints[0].contains("Arm"));
}
