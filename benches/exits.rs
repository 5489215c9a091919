//! What an exit costs, in instructions: the test guest's loops on our hypervisor and on Xen, counted by a plugin of QEMU's.
//!
//! `-icount shift=0` makes an instruction a unit of time, so that the figures repeat. Xen's image is `XENBUILD_XEN`; without it only
//! ours is counted. The last row is of a whole boot: what is executed at EL2 until Domain 0's init runs, which switches the machine off.
//! Its kernel is `XENBUILD_KERNEL`, the tutorial's, with the initramfs beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::Duration;

use bootwrap::kernel::flatten;
use xenbuild::emulate::command::CommandLine;
use xenbuild::emulate::qemu;

#[path = "../tests/support/serial.rs"]
mod serial;
#[path = "../tests/support/up.rs"]
mod up;
use up::Scenario;

const GUEST: &[u8] = include_bytes!(env!("XENBUILD_TEST_GUEST"));
const HYPERVISOR: &[u8] = include_bytes!(env!("XENBUILD_HYPERVISOR"));
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/marks.c");
/// Where each hypervisor executes: Xen 4.17 is linked at 2 MiB, ours has a window (hypervisor/src/arch/aarch64/layout.rs).
const XEN_WINDOW: (u64, u64) = (0x20_0000, 0x40_0000);
const OUR_WINDOW: (u64, u64) = (0x3f80_0000_0000, 0x3f80_0020_0000);
/// Times that the guest runs each loop, and the loops with what is to be reached.
const TIMES: u64 = 1000;
const LOOPS: [(&str, Option<u64>); 6] = [
    ("an empty loop", None),
    ("null hypercall", Some(220)),
    ("PSCI_VERSION", Some(220)),
    ("vGICD 32-bit read", Some(300)),
    ("trapped system register", Some(200)),
    ("yield, nothing else to run", Some(500)),
];
/// At EL2 until Domain 0's init runs.
const BOOT_GOAL: u64 = 20_000_000;
const LIMIT: Duration = Duration::from_secs(120);
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// Instructions of each loop: all, and the hypervisor's.
type Counts = Vec<(u64, u64)>;

fn main() {
    if CommandLine::new(qemu::PROGRAM).find_program().is_none() {
        eprintln!("skipped: {} is not installed", qemu::PROGRAM);
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("marks.so");
    let compiled = Command::new("gcc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&plugin).arg(PLUGIN).status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("skipped: gcc does not compile {PLUGIN}");
        return;
    }
    let ours = folder.path().join("hypervisor.bin");
    fs::write(&ours, flatten(HYPERVISOR).expect("an ELF file")).expect("written");
    fs::write(folder.path().join("guest.bin"), flatten(GUEST).expect("an ELF file")).expect("written");
    let xen = std::env::var_os("XENBUILD_XEN").map(PathBuf::from);
    let scenario = Scenario::lab().or_else(Scenario::tutorial);
    if scenario.is_none() {
        eprintln!("no row for a boot: neither XENBUILD_LAB nor XENBUILD_KERNEL names a Domain 0");
    }
    let mut missed = false;
    for gic in [3, 2] {
        let boot = |image: &Path, window| boot(scenario.as_ref()?, folder.path(), image, window, gic);
        let (our_boot, xens_boot) = (boot(&ours, OUR_WINDOW), xen.as_ref().and_then(|image| boot(image, XEN_WINDOW)));
        let Some(ours) = count(folder.path(), &ours, OUR_WINDOW, gic) else { continue };
        let xen = xen.as_ref().and_then(|image| count(folder.path(), image, XEN_WINDOW, gic));
        println!("\ninstructions for an exit, GICv{gic}     Xen 4.17 (at EL2)   ours (at EL2)   to reach");
        for (index, (name, goal)) in LOOPS.iter().enumerate() {
            let show = |counts: &Counts| {
                let (all, inside) = counts[index];
                format!("{} ({})", all / TIMES, inside / TIMES)
            };
            let theirs = xen.as_ref().map_or("-".into(), show);
            let goal_text = goal.map_or(String::new(), |goal| format!("{goal}"));
            println!("{name:34} {theirs:>19} {:>15} {goal_text:>10}", show(&ours));
            missed |= goal.is_some_and(|goal| ours[index].0 / TIMES > goal);
        }
        if let Some((all, inside)) = our_boot {
            let show = |(all, inside): (u64, u64)| format!("{}M ({:.1}M)", all / 1_000_000, inside as f64 / 1e6);
            let theirs = xens_boot.map_or("-".into(), show);
            let name = "until Dom0's init runs";
            println!(
                "{name:34} {theirs:>19} {:>15} {:>10}",
                show((all, inside)),
                format!("({}M)", BOOT_GOAL / 1_000_000)
            );
            missed |= inside > BOOT_GOAL;
        }
    }
    if missed {
        eprintln!("error: what was to be reached was missed");
        exit(1);
    }
}

/// Counts a boot; none if it does not come to its end, which is said aloud.
fn boot(scenario: &Scenario, folder: &Path, image: &Path, window: (u64, u64), gic: u32) -> Option<(u64, u64)> {
    let mut command = scenario.machine(image, gic, "");
    let (counts, ending) = counted(&mut command, folder, window, ",whole=yes", BOOT_LIMIT);
    if counts.len() != 1 {
        eprintln!("{} on GICv{gic}, {}: no boot: {ending}", image.display(), scenario.name);
    }
    counts.first().copied()
}

/// Runs the guest's loops; none if they do not come to an end, which is said aloud.
fn count(folder: &Path, image: &Path, window: (u64, u64), gic: u32) -> Option<Counts> {
    let mut command = CommandLine::new(qemu::PROGRAM);
    command.add(["-M".into(), format!("virt,virtualization=on,gic-version={gic}")]).add(["-cpu", "cortex-a57"]);
    command.add(["-smp", "1"]).add(["-m", "1024"]).add(["-no-reboot"]);
    command.add(["-nographic"]).add(["-nodefaults"]).add(["-serial", "mon:stdio"]);
    let words = "console=dtuart dtuart=/pl011@9000000 dom0_mem=512M dom0_max_vcpus=1 bootscrub=0";
    command.add(["-kernel".as_ref(), image.as_os_str()]).add(["-append", words]);
    let guest = folder.join("guest.bin");
    command.add(["-device".into(), format!("guest-loader,addr=0x4a000000,kernel={},bootargs=bench", guest.display())]);
    command.add(["-icount", "shift=0,sleep=off"]);
    let (counts, ending) = counted(&mut command, folder, window, "", LIMIT);
    if counts.len() != LOOPS.len() {
        eprintln!("{} on GICv{gic}: {} of {} loops: {ending}", image.display(), counts.len(), LOOPS.len());
        return None;
    }
    Some(counts)
}

/// Runs a machine with the plugin; returns what it counted, and how the machine ended.
fn counted(
    command: &mut CommandLine,
    folder: &Path,
    (lo, hi): (u64, u64),
    more: &str,
    limit: Duration,
) -> (Counts, String) {
    let (plugin, figures) = (folder.join("marks.so"), folder.join("figures"));
    let _ = fs::remove_file(&figures);
    command.add(["-plugin".into(), format!("{},lo={lo},hi={hi}{more},out={}", plugin.display(), figures.display())]);
    let ending = serial::start(command, folder).finish(limit).expect("QEMU is waited for");
    let text = fs::read_to_string(&figures).unwrap_or_default();
    let counts = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(all, inside)| Some((all.parse().ok()?, inside.parse().ok()?)))
        .collect();
    (counts, ending.to_string())
}
