//! The hypervisor on machines where it cannot go on: it says why, whatever it lacks, and where it was, and the machine starts anew.
//! Ring: emulator.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bootwrap::kernel::flatten;
use fdt::Tree;
use xenbuild::emulate::command::CommandLine;
use xenbuild::emulate::qemu;
use xenbuild::symbols::Symbols;

#[path = "support/serial.rs"]
mod serial;

const HYPERVISOR: &[u8] = include_bytes!(env!("XENBUILD_HYPERVISOR"));
const LIMIT: Duration = Duration::from_secs(120);
const MACHINE: &str = "virt,virtualization=on,gic-version=3";
/// What stands last before the machine starts anew, and first after it.
const ANEW: &str = "the machine starts anew\n(EL2) ";

/// Boots a machine of two CPUs with the hypervisor alone, and with QEMU's own tree as `change` leaves it, until it starts anew;
/// returns what it printed, or none where there is no QEMU, which is said aloud.
fn boot(change: Option<fn(&mut Tree)>) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("hypervisor.bin");
    fs::write(&image, flatten(HYPERVISOR).expect("an ELF file")).expect("written");
    let command = |machine: &str| {
        let mut command = CommandLine::new(qemu::PROGRAM);
        command.add(["-cpu", "cortex-a57", "-smp", "2", "-m", "512", "-nodefaults", "-M", machine]);
        command
    };
    let mut machine = command(MACHINE);
    if machine.find_program().is_none() {
        eprintln!("skipped: {} is not installed", qemu::PROGRAM);
        return None;
    }
    machine.add(["-nographic", "-serial", "mon:stdio"]).add(["-kernel".as_ref(), image.as_os_str()]);
    if let Some(change) = change {
        let file = folder.path().join("machine.dtb");
        dump(command(&format!("{MACHINE},dumpdtb={}", file.display())), folder.path());
        let mut tree = Tree::parse(&fs::read(&file).expect("dumped")).expect("a tree");
        change(&mut tree);
        fs::write(&file, tree.emit(&Default::default()).expect("emitted")).expect("written");
        machine.add(["-dtb".as_ref(), file.as_os_str()]);
    }
    let run = serial::run(&machine, folder.path(), Some(ANEW), LIMIT);
    assert!(run.printed.contains(ANEW), "not anew after {LIMIT:?}:\n{}", run.printed);
    Some(run.printed)
}

/// Lets QEMU write the tree that it makes for a machine.
fn dump(mut command: CommandLine, folder: &Path) {
    command.add(["-display", "none"]);
    assert!(serial::run(&command, folder, None, LIMIT).off, "QEMU writes the tree and ends");
}

#[test]
fn a_panic_says_where_it_was_and_starts_the_machine_anew() {
    let Some(printed) = boot(None) else { return };
    assert!(printed.contains("panic on CPU 0: "), "{printed}");
    assert!(printed.contains("no kernel among the modules"), "{printed}");
    let rows: Vec<&str> =
        printed.lines().filter(|line| line.starts_with("(EL2) x") && line.contains(" [")).take(8).collect();
    assert!(rows.len() == 8 && rows[0].contains("x0 ") && rows[7].contains("x28 "), "{printed}");
    let symbols = Symbols::read(HYPERVISOR, "the hypervisor").expect("symbols");
    let calls: Vec<String> =
        printed.lines().filter(|line| line.contains("  from 0x")).map(|line| symbols.annotate(line)).collect();
    assert!(calls.iter().any(|line| line.contains("hypervisor_main")), "{calls:#?}");
}

#[test]
fn what_a_machine_lacks_is_heard_of_before_anything_is_taken() {
    let Some(printed) = boot(Some(|tree| {
        let gic = tree.find_compatible("arm,gic-v3").next().expect("a GICv3");
        tree.set_string(gic, "compatible", "arm,gic-v9");
    })) else {
        return;
    };
    assert!(printed.starts_with("(EL2) panic on CPU 0: "), "{printed}");
    assert!(printed.contains("no GICv2 and no GICv3 in the device tree"), "{printed}");
    let Some(printed) = boot(Some(|tree| {
        let timer = tree.find("/timer").expect("a timer");
        tree.remove_property(timer, "interrupts");
    })) else {
        return;
    };
    assert!(printed.contains("the timer lacks interrupts"), "{printed}");
}
