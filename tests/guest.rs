//! The test guest on our hypervisor, on Xen, and on QEMU alone: it makes every hypercall, well and badly, tries interrupts and timers,
//! and prints a line for each case. Ring: emulator.
//!
//! `tests/data/guest/*.expected` is what Xen 4.17 (hypercalls) and the machine itself (interrupts, timers) print. Where our hypervisor
//! prints otherwise, `*.differs` has both lines and the reason. `BLESS=1` rewrites what is expected, never what differs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootwrap::kernel::flatten;
use bootwrap::{Hypervisor, Level, Secondaries, Spec};
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
    /// With this on its command line, besides what every run has.
    Hypervisor(&'a Path, &'a str),
}

/// How many CPUs there are of which kind, and how time passes.
#[derive(Clone, Copy)]
struct Cpus {
    kind: &'static str,
    real: usize,
    virtual_: usize,
    /// Time is instructions, so that the machine on which the test runs does not show.
    counted: bool,
}

/// The guest, as it is loaded.
fn guest() -> Vec<u8> {
    flatten(GUEST).expect("an ELF file")
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).expect("packed");
    packer.finish().expect("packed")
}

/// Runs the guest on one CPU; returns its lines, or none where there is no QEMU, which is said aloud.
fn run(what: &str, gic: u32, below: &Below<'_>) -> Option<Vec<String>> {
    run_file(&guest(), what, gic, below)
}

/// Runs the guest, out of that file.
fn run_file(file: &[u8], what: &str, gic: u32, below: &Below<'_>) -> Option<Vec<String>> {
    let printed = run_on(Cpus { kind: "cortex-a57", real: 1, virtual_: 1, counted: false }, file, what, gic, below)?;
    let lines = printed.lines().filter_map(|line| line.split_once("guest: ").map(|(_, text)| text.to_owned()));
    let lines: Vec<String> = lines.collect();
    assert_eq!(lines.last().map(String::as_str), Some("end"), "{printed}");
    Some(lines)
}

/// Runs the guest; returns all that was printed.
fn run_on(cpus: Cpus, file: &[u8], what: &str, gic: u32, below: &Below<'_>) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = folder.path().join("guest.bin");
    fs::write(&guest, file).expect("written");
    let mut command = CommandLine::new(qemu::PROGRAM);
    if command.find_program().is_none() {
        eprintln!("skipped: {} is not installed", qemu::PROGRAM);
        return None;
    }
    command.add(["-cpu", cpus.kind]).add(["-nographic"]).add(["-nodefaults"]).add(["-serial", "mon:stdio"]);
    command.add(["-smp".into(), cpus.real.to_string()]).add(["-m", "1024"]).add(["-no-reboot"]);
    if cpus.counted {
        command.add(["-icount", "shift=6,sleep=off"]);
    }
    match below {
        Below::Nothing => {
            command.add(["-M".into(), format!("virt,gic-version={gic}")]);
            command.add(["-kernel".as_ref(), guest.as_os_str()]).add(["-append", what]);
        }
        Below::Hypervisor(image, more) => {
            command.add(["-M".into(), format!("virt,virtualization=on,gic-version={gic}")]);
            let vcpus = cpus.virtual_;
            let words =
                format!("console=dtuart dtuart=/pl011@9000000 dom0_mem=512M dom0_max_vcpus={vcpus} bootscrub=0 {more}");
            command.add(["-kernel".as_ref(), image.as_os_str()]).add(["-append".into(), words]);
            let loader = format!("guest-loader,addr=0x4a000000,kernel={},bootargs={what}", guest.display());
            command.add(["-device".into(), loader]);
        }
    }
    let Run { printed, off } = serial::run(&command, folder.path(), None, LIMIT);
    assert!(off, "not off after {LIMIT:?}:\n{printed}");
    Some(printed)
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
    if let Some(lines) = run(what, gic, &Below::Hypervisor(&image, "")) {
        compare_ours(name, &lines);
    }
}

#[test]
fn hypercalls_are_answered_as_xen_does() {
    on_ours("hypercalls", "hypercalls", 3);
}

/// What the other releases say that guests are told of: their lines beside those of 4.17, but for the version's own number.
#[test]
fn each_release_says_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = our_image(folder.path());
    let lines = |name: &str, number: u32| {
        let lines = run("hypercalls", 3, &Below::Hypervisor(&image, &format!("xen-abi={name}")))?;
        let number = number.to_string();
        assert!(lines.contains(&format!("xen_version 0 = {number}")), "{name}");
        Some(lines.iter().map(|line| line.replace(&number, "VERSION")).collect::<Vec<_>>())
    };
    let Some(usual) = lines("4.17", 0x4_0011) else { return };
    let mut found = Vec::new();
    for (name, number) in [("4.14", 0x4_000e), ("4.20", 0x4_0014)] {
        let Some(other) = lines(name, number) else { return };
        let only = |these: &[String], those: &[String], sign: char| {
            these
                .iter()
                .filter(|line| !those.contains(line))
                .map(|line| format!("{name} {sign} {line}"))
                .collect::<Vec<_>>()
        };
        found.extend(only(&usual, &other, '-'));
        found.extend(only(&other, &usual, '+'));
    }
    compare("releases", &found);
}

#[test]
fn a_packed_kernel_is_unpacked() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = our_image(folder.path());
    let Some(lines) = run_file(&pack(&guest()), "timers", 3, &Below::Hypervisor(&image, "")) else { return };
    compare_ours("timers", &lines);
    // One that is not what it says is not started: the hypervisor says why, and starts the machine anew, which ends QEMU here.
    let mut broken = pack(&guest());
    let end = broken.len();
    broken[end - 5] ^= 1;
    let cpus = Cpus { kind: "cortex-a57", real: 1, virtual_: 1, counted: false };
    let printed = run_on(cpus, &broken, "timers", 3, &Below::Hypervisor(&image, "")).unwrap_or_default();
    assert!(printed.contains("the kernel cannot be unpacked: its checksum is wrong"), "{printed}");
    assert!(!printed.contains("guest:"), "{printed}");
}

/// From reset, by our own stub, with the other CPUs in a spin table: the hypervisor takes them out of it, in memory that is not its own.
/// There is no firmware to switch the machine off.
#[test]
fn cpus_are_taken_out_of_a_spin_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tree, artifact) = (folder.path().join("board.dtb"), folder.path().join("guest.axf"));
    let command = |machine: &str| {
        let mut command = CommandLine::new(qemu::PROGRAM);
        command.add(["-M".into(), format!("virt,secure=on,virtualization=on,gic-version=3{machine}")]);
        command.add(["-cpu", "cortex-a57"]).add(["-nographic"]).add(["-nodefaults"]).add(["-serial", "mon:stdio"]);
        command.add(["-smp", "4"]).add(["-m", "512"]);
        command
    };
    let dump = command(&format!(",dumpdtb={}", tree.display()));
    if dump.find_program().is_none() {
        eprintln!("skipped: {} is not installed", qemu::PROGRAM);
        return;
    }
    let ending = serial::start(&dump, folder.path()).finish(LIMIT).expect("QEMU can be waited for");
    let board = fs::read(&tree).unwrap_or_else(|error| panic!("{error}: {ending}"));
    let (image, kernel) = (flatten(HYPERVISOR).expect("an ELF file"), guest());
    let spec = Spec {
        stub: xenbuild::carried::EL3,
        device_tree: &board,
        level: Level::El3,
        secondaries: Secondaries::SpinTable,
        hypervisor: Some(Hypervisor { image: &image, bootargs: "console=dtuart dom0_mem=128M" }),
        kernel: Some(&kernel),
        bootargs: "several=1",
        ramdisk: None,
        modules: Vec::new(),
        addresses: Vec::new(),
    };
    let mut out = fs::File::create(&artifact).expect("a file");
    bootwrap::wrap(&spec).expect("it fits").write_elf(&mut out).expect("written");
    drop(out);
    let mut command = command("");
    command.add(["-kernel".as_ref(), artifact.as_os_str()]);
    let Run { printed, .. } = serial::run(&command, folder.path(), Some("Domain 0 powered off"), LIMIT);
    assert!(printed.contains("(EL2) 4 CPU(s)"), "{printed}");
    assert_eq!(counted(&printed).len(), 4, "{printed}");
}

#[test]
fn hypercalls_are_as_expected_on_xen() {
    let Some(image) = std::env::var_os(XEN) else {
        eprintln!("skipped: {XEN} names no image of Xen 4.17");
        return;
    };
    if let Some(lines) = run("hypercalls", 3, &Below::Hypervisor(Path::new(&image), "")) {
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
fn debugging_without_a_hypervisor() {
    if let Some(lines) = run("debug", 3, &Below::Nothing) {
        compare("debug", &lines);
    }
}

#[test]
fn debugging_on_ours() {
    on_ours("debug", "debug", 3);
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

#[test]
fn what_a_guest_is_not_shown_it_does_not_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = our_image(folder.path());
    // A CPU that has all that QEMU knows.
    let cpus = Cpus { kind: "max", real: 1, virtual_: 1, counted: false };
    let Some(printed) = run_on(cpus, &guest(), "hidden", 3, &Below::Hypervisor(&image, "")) else { return };
    let lines: Vec<&str> = printed.lines().filter_map(|line| Some(line.split_once("guest: ")?.1)).collect();
    let Some((&"end", registers)) = lines.split_last() else { panic!("{printed}") };
    assert!(registers.len() >= 20, "{printed}");
    for line in registers {
        assert!(line.ends_with(" = an exception, class 0x0"), "{line}");
    }
}

#[test]
fn a_guest_that_maps_a_page_everywhere_does_not_take_all_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = our_image(folder.path());
    let Some(lines) = run("flood", 3, &Below::Hypervisor(&image, "")) else { return };
    let [places, again, version, _] = &lines[..] else { panic!("{lines:?}") };
    let count = places.strip_prefix("a page in ").and_then(|rest| rest.strip_suffix(" places, then -ENOMEM"));
    // As many tables as upstream's tools set aside for one vCPU and 512 MiB: 896, two of which are above the others.
    let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{places}"));
    assert!((800..900).contains(&count), "{places}");
    assert_eq!((again.as_str(), version.as_str()), ("in the first place again = 0", "PSCI_VERSION = 0x10001"));
}

/// What each CPU of the guest counted: ticks, those that were due, microseconds that one was late, checks of registers.
fn counted(printed: &str) -> Vec<[u64; 4]> {
    let lines: Vec<&str> = printed.lines().filter(|line| line.contains("several: CPU ")).collect();
    let numbers = |line: &&str| {
        assert!(line.ends_with("wrong 0x0"), "registers are not what they were: {printed}");
        let (_, counts) = line.split_once("CPU ").expect("filtered");
        let numbers: Vec<u64> =
            counts.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        [numbers[1], numbers[2], numbers[3], numbers[4]]
    };
    lines.iter().map(numbers).collect()
}

/// Rounds in which the guest's CPUs are switched on and off (hypervisor/guest/src/several.rs).
const ROUNDS: u64 = 4;

#[test]
fn four_virtual_cpus_on_one_lose_no_tick_and_no_register() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = our_image(folder.path());
    for gic in [3, 2] {
        let cpus = Cpus { kind: "cortex-a57", real: 1, virtual_: 4, counted: true };
        let Some(printed) = run_on(cpus, &guest(), "several=1", gic, &Below::Hypervisor(&image, "")) else { return };
        let counts = counted(&printed);
        assert_eq!(counts.len(), 4, "{printed}");
        for [ticks, due, late, checks] in counts {
            assert!(ticks.abs_diff(due) <= 2 * ROUNDS && due >= 90, "{printed}");
            // A slice of each of the other three, and what they are interrupted for.
            assert!(late < 60_000 && checks >= 20, "{printed}");
        }
    }
}

#[test]
fn four_virtual_cpus_on_two_go_from_one_to_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = our_image(folder.path());
    for gic in [3, 2] {
        let cpus = Cpus { kind: "cortex-a57", real: 2, virtual_: 4, counted: false };
        let Some(printed) = run_on(cpus, &guest(), "several=2", gic, &Below::Hypervisor(&image, "")) else { return };
        assert_eq!(counted(&printed).len(), 4, "{printed}");
        let moves = printed.split_once("its vCPUs went to another CPU ").and_then(|(_, rest)| rest.split_once(' '));
        let moves: u64 = moves.and_then(|(count, _)| count.parse().ok()).unwrap_or(0);
        assert!(moves > 0, "{printed}");
    }
}
