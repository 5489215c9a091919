//! The test guest on our hypervisor, on Xen, and on QEMU alone: it makes every hypercall, well and badly, tries interrupts and timers,
//! and prints a line for each case. Ring: emulator.
//!
//! `tests/data/guest/*.expected` is what Xen 4.17 (hypercalls) and the machine itself (interrupts, timers) print. Where our hypervisor
//! prints otherwise, `*.differs` has both lines and the reason. `BLESS=1` rewrites what is expected, never what differs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootwrap::kernel::flatten;
use xenbuild::emulate::command::CommandLine;
use xenbuild::emulate::qemu;

#[path = "support/serial.rs"]
mod serial;
use serial::Run;

const GUEST: &[u8] = include_bytes!(env!("XENBUILD_TEST_GUEST"));
const HYPERVISOR: &[u8] = include_bytes!(env!("XENBUILD_HYPERVISOR"));
/// Upstream's image, for the conformance test: the tutorial's, or another.
const XEN: &str = "XENBUILD_XEN";
const LIMIT: Duration = Duration::from_secs(120);

/// What runs below the guest.
enum Below<'a> {
    Nothing,
    Hypervisor(&'a Path),
}

/// Runs the guest; returns its lines, or none where there is no QEMU, which is said aloud.
fn run(what: &str, gic: u32, below: &Below<'_>) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = folder.path().join("guest.bin");
    fs::write(&guest, flatten(GUEST).expect("an ELF file")).expect("written");
    let mut command = CommandLine::new(qemu::PROGRAM);
    if command.find_program().is_none() {
        eprintln!("skipped: {} is not installed", qemu::PROGRAM);
        return None;
    }
    command.add(["-cpu", "cortex-a57"]).add(["-nographic"]).add(["-nodefaults"]).add(["-serial", "mon:stdio"]);
    command.add(["-smp", "1"]).add(["-m", "1024"]).add(["-no-reboot"]);
    match below {
        Below::Nothing => {
            command.add(["-M".into(), format!("virt,gic-version={gic}")]);
            command.add(["-kernel".as_ref(), guest.as_os_str()]).add(["-append", what]);
        }
        Below::Hypervisor(image) => {
            command.add(["-M".into(), format!("virt,virtualization=on,gic-version={gic}")]);
            let words = "console=dtuart dtuart=/pl011@9000000 dom0_mem=512M dom0_max_vcpus=1 bootscrub=0";
            command.add(["-kernel".as_ref(), image.as_os_str()]).add(["-append", words]);
            let loader = format!("guest-loader,addr=0x4a000000,kernel={},bootargs={what}", guest.display());
            command.add(["-device".into(), loader]);
        }
    }
    let Run { printed, off } = serial::run(&command, folder.path(), None, LIMIT);
    assert!(off, "not off after {LIMIT:?}:\n{printed}");
    let lines = printed.lines().filter_map(|line| line.split_once("guest: ").map(|(_, text)| text.to_owned()));
    let lines: Vec<String> = lines.collect();
    assert_eq!(lines.last().map(String::as_str), Some("end"), "{printed}");
    Some(lines)
}

/// Compares with what is expected.
fn compare(name: &str, lines: &[String]) {
    let file = Path::new("tests/data/guest").join(format!("{name}.expected"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, lines.join("\n") + "\n").expect("written");
    }
    assert_eq!(lines, expected(name), "{name}");
}

fn expected(name: &str) -> Vec<String> {
    let file = Path::new("tests/data/guest").join(format!("{name}.expected"));
    fs::read_to_string(&file).expect("an expectation").lines().map(str::to_owned).collect()
}

/// What is known to differ: lines that are expected and not ours, and lines that are ours, each group after its reason.
///
/// ```text
/// # The reason.
/// - expected
/// + ours
/// ```
struct Differences {
    theirs: Vec<String>,
    ours: Vec<String>,
}

impl Differences {
    fn read(name: &str) -> Differences {
        let file = Path::new("tests/data/guest").join(format!("{name}.differs"));
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut differences = Differences { theirs: Vec::new(), ours: Vec::new() };
        let (mut has_reason, mut last) = (false, ' ');
        for line in text.lines() {
            let kind = line.chars().next().unwrap_or(' ');
            // A group begins with its reason.
            has_reason = kind == '#' || has_reason && (kind == '+' || kind == '-');
            match line.split_at_checked(2) {
                Some(("- ", rest)) if has_reason => differences.theirs.push(rest.into()),
                Some(("+ ", rest)) if has_reason => differences.ours.push(rest.into()),
                _ => assert!(kind == '#' || line.is_empty(), "{}: no reason stands before {line:?}", file.display()),
            }
            last = kind;
        }
        assert!(last != '#', "{}: a reason without lines", file.display());
        differences
    }

    /// Takes lines out of a list, in their order; all of them have to be there.
    fn take(known: &[String], lines: &[String]) -> Vec<String> {
        let mut known = known.iter().peekable();
        let left: Vec<String> = lines.iter().filter(|line| known.next_if_eq(line).is_none()).cloned().collect();
        assert_eq!(known.next(), None, "said to differ, but it does not (or not in this order)");
        left
    }
}

/// Compares our lines with what is expected, but for what is known to differ.
fn compare_ours(name: &str, lines: &[String]) {
    let known = Differences::read(name);
    let theirs = Differences::take(&known.theirs, &expected(name));
    let ours = Differences::take(&known.ours, lines);
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(ours, theirs, "{name}: ours is left, {} lines of {}", ours.len(), theirs.len());
    }
    assert_eq!(ours.len(), theirs.len(), "{name}: lines are missing");
}

fn our_image(folder: &Path) -> PathBuf {
    let image = folder.join("hypervisor.bin");
    fs::write(&image, flatten(HYPERVISOR).expect("an ELF file")).expect("written");
    image
}

fn on_ours(name: &str, what: &str, gic: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let image = our_image(folder.path());
    if let Some(lines) = run(what, gic, &Below::Hypervisor(&image)) {
        compare_ours(name, &lines);
    }
}

#[test]
fn hypercalls_are_answered_as_xen_does() {
    on_ours("hypercalls", "hypercalls", 3);
}

#[test]
fn hypercalls_are_as_expected_on_xen() {
    let Some(image) = std::env::var_os(XEN) else {
        eprintln!("skipped: {XEN} names no image of Xen 4.17");
        return;
    };
    if let Some(lines) = run("hypercalls", 3, &Below::Hypervisor(Path::new(&image))) {
        compare("hypercalls", &lines);
    }
}

#[test]
fn interrupts_without_a_hypervisor() {
    for (gic, name) in [(3, "interrupts-gicv3"), (2, "interrupts-gicv2")] {
        if let Some(lines) = run("interrupts", gic, &Below::Nothing) {
            compare(name, &lines);
        }
    }
}

#[test]
fn timers_without_a_hypervisor() {
    for gic in [3, 2] {
        if let Some(lines) = run("timers", gic, &Below::Nothing) {
            compare("timers", &lines);
        }
    }
}

#[test]
fn interrupts_on_ours() {
    for (gic, name) in [(3, "interrupts-gicv3"), (2, "interrupts-gicv2")] {
        on_ours(name, "interrupts", gic);
    }
}

#[test]
fn timers_on_ours() {
    for gic in [3, 2] {
        on_ours("timers", "timers", gic);
    }
}
