//! What the hypervisor counts while Domain 0 boots, beside every exit that upstream Xen has in the same boot. Ring: golden; emulator.
//!
//! `tests/data/exits/up-*.txt` is upstream's, by a plugin of ours that saw each exit; `up-*.counted` is what our own counters said, in the
//! same scenario (one CPU, `-icount`, Domain 0 powers off as soon as its init runs). Reasons are to be the same, and counts within a
//! factor of two; `up.differs` has what is not, with why.
//!
//! `boot-*.counted` is what they said in a boot of the tutorial's kernel, which is made again where `XENBUILD_KERNEL` names that kernel,
//! with its initramfs beside it: what the kernel asks for is counted exactly, what depends on time closely. `XENBUILD_LAB` names a folder
//! with the kernel (`Image`) and Domain 0 (`dom0.cpio.gz`) of upstream's scenario. `BLESS=1` records anew.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bootwrap::kernel::flatten;

#[path = "support/serial.rs"]
mod serial;
#[path = "support/up.rs"]
mod up;
use serial::Run;
use up::Scenario;

const HYPERVISOR: &[u8] = include_bytes!(env!("XENBUILD_HYPERVISOR"));
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/exits");
const LIMIT: Duration = Duration::from_secs(600);
/// Factor between counts of theirs and ours that are called the same.
const SAME: u64 = 2;

/// Exits by reason, in our words.
type Counts = BTreeMap<String, u64>;

fn data(name: &str) -> String {
    fs::read_to_string(Path::new(DATA).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns our word for an exit of upstream's, as the plugin describes it, and of how many addresses it is.
fn reason(what: &str) -> (String, u64) {
    let words: Vec<&str> = what.split_whitespace().collect();
    let plain = |name: &str| (name.to_owned(), 1);
    match words[0] {
        "hypercall" => (format!("hypercall {}", words[2]), 1),
        "hvc" | "smc" => plain("firmware call"),
        "irq" => plain("interrupt"),
        "wfi" | "wfe" => plain("wait"),
        "sysreg" => plain("system register"),
        "mmio" => {
            let (kind, bits) = words[1].split_at(words[1].find(|c: char| c.is_ascii_digit()).expect("a width"));
            let bytes = bits.parse::<u64>().expect("a width") / 8;
            let address = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("an address");
            let (first, last) = words[2].split_once("..").unwrap_or((words[2], words[2]));
            let (first, last) = (address(first), address(last));
            let device = if first < 0x080a_0000 { "distributor" } else { "redistributor" };
            (format!("{device} {kind}"), (last - first) / bytes + 1)
        }
        _ => plain(what),
    }
}

/// Reads what the plugin recorded of upstream.
fn upstream(gic: u32) -> Counts {
    let mut counts = Counts::new();
    for line in data(&format!("up-gicv{gic}.txt")).lines() {
        let (count, what) = line.trim_start().split_once(' ').expect("a count");
        let (reason, addresses) = reason(what.strip_prefix("dom0 ").expect("Domain 0's"));
        *counts.entry(reason).or_default() += count.parse::<u64>().expect("a count") * addresses;
    }
    counts
}

/// Reads counters as the hypervisor prints them.
fn counters<'a>(lines: impl Iterator<Item = &'a str>) -> Counts {
    lines
        .map(|line| line.rsplit_once(' ').expect("a reason and a count"))
        .map(|(reason, count)| (reason.to_owned(), count.parse().expect("a count")))
        .collect()
}

/// Returns the reasons that are known to differ.
fn known(gic: u32) -> Vec<String> {
    let (mut known, mut has_reason) = (Vec::new(), false);
    for line in data("up.differs").lines() {
        has_reason = line.starts_with('#') || has_reason && !line.is_empty();
        assert!(has_reason || line.is_empty(), "up.differs: nothing says why {line:?}");
        if let Some(rest) = line.strip_prefix(&format!("gicv{gic} ")) {
            known.push(rest.to_owned());
        }
    }
    known
}

/// Returns the reasons whose counts are not within a factor of each other.
fn different(theirs: &Counts, ours: &Counts, factor: u64) -> Vec<String> {
    let count = |counts: &Counts, reason: &String| counts.get(reason).copied().unwrap_or(0);
    let mut reasons: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
    reasons.sort();
    reasons.dedup();
    let far = |reason: &&String| {
        let (theirs, ours) = (count(theirs, reason), count(ours, reason));
        theirs.max(ours) > theirs.min(ours) * factor
    };
    reasons.into_iter().filter(far).cloned().collect()
}

#[test]
fn what_is_counted_is_what_upstream_has() {
    for gic in [3, 2] {
        let (theirs, ours) = (upstream(gic), counters(data(&format!("up-gicv{gic}.counted")).lines()));
        assert!(theirs.values().sum::<u64>() > 1000 && ours.len() > 10, "{theirs:?} {ours:?}");
        let mut known = known(gic);
        known.sort();
        assert_eq!(different(&theirs, &ours, SAME), known, "GICv{gic}: upstream {theirs:#?}, ours {ours:#?}");
    }
}

#[test]
fn exits_that_differ_are_found() {
    let counts = |all: &[(&str, u64)]| all.iter().map(|&(name, count)| (name.to_owned(), count)).collect::<Counts>();
    let (theirs, ours) = (counts(&[("a", 10), ("b", 1), ("c", 3)]), counts(&[("a", 21), ("c", 2), ("d", 1)]));
    assert_eq!(different(&theirs, &ours, 2), ["a", "b", "d"]);
    assert_eq!(reason("mmio write64 0x08006140..0x080067f8"), ("distributor write".into(), 216));
    assert_eq!(reason("mmio read32 0x080b0c04 = 0x0"), ("redistributor read".into(), 1));
    assert_eq!(reason("hypercall 18 console_io 1 = 0"), ("hypercall console_io".into(), 1));
}

/// How far a count may be from what was recorded. What a kernel asks for is its own; how often it is interrupted, waits, or says
/// something meanwhile follows from how long it takes.
fn room(reason: &str, recorded: u64) -> u64 {
    match reason {
        "interrupt" | "wait" => recorded / 4 + 1,
        "hypercall console_io" => recorded / 16 + 1,
        _ => 0,
    }
}

/// Returns the reasons whose counts are not what was recorded.
fn off(recorded: &Counts, counted: &Counts) -> Vec<String> {
    let count = |counts: &Counts, reason: &String| counts.get(reason).copied().unwrap_or(0);
    let reasons = recorded.keys().chain(counted.keys().filter(|reason| !recorded.contains_key(*reason)));
    let is_off = |reason: &&String| {
        let (before, now) = (count(recorded, reason), count(counted, reason));
        now.abs_diff(before) > room(reason, before)
    };
    reasons.filter(is_off).cloned().collect()
}

#[test]
fn a_counter_that_is_off_is_found() {
    for gic in [3, 2] {
        let recorded = counters(data(&format!("boot-gicv{gic}.counted")).lines());
        assert!(recorded.len() > 12 && off(&recorded, &recorded).is_empty());
        for reason in recorded.keys() {
            let changed = |to: fn(u64) -> u64| {
                let mut counted = recorded.clone();
                counted.entry(reason.clone()).and_modify(|count| *count = to(*count));
                off(&recorded, &counted)
            };
            // Twice as often, and (but for what happens once or twice) half as often or never.
            assert_eq!(changed(|count| 2 * count + 2), std::slice::from_ref(reason));
            if recorded[reason] > 2 {
                assert_eq!(changed(|count| count / 2), std::slice::from_ref(reason));
                assert_eq!(changed(|_| 0), std::slice::from_ref(reason));
            }
            assert_eq!(changed(|count| count + 1).is_empty(), room(reason, recorded[reason]) > 0, "{reason}");
        }
        let mut more = recorded.clone();
        more.insert("hypercall sysctl".into(), 1);
        assert_eq!(off(&recorded, &more), ["hypercall sysctl"]);
    }
}

/// Boots, and returns what the counters say when Domain 0 powers off; none where there is no QEMU, which is said aloud.
fn boot(scenario: &Scenario, gic: u32) -> Option<Counts> {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("hypervisor.bin");
    fs::write(&image, flatten(HYPERVISOR).expect("an ELF file")).expect("written");
    let command = scenario.machine(&image, gic, "loglvl=all");
    if command.find_program().is_none() {
        eprintln!("skipped: {} is not installed", xenbuild::emulate::qemu::PROGRAM);
        return None;
    }
    let Run { printed, off } = serial::run(&command, folder.path(), None, LIMIT);
    assert!(off && printed.contains("Domain 0 powered off"), "not off after {LIMIT:?}:\n{printed}");
    Some(counters(printed.lines().filter_map(|line| line.strip_prefix("(EL2) d0: "))))
}

#[test]
fn a_boot_counts_what_was_recorded() {
    let scenarios: Vec<Scenario> = [Scenario::lab(), Scenario::tutorial()].into_iter().flatten().collect();
    if scenarios.is_empty() {
        eprintln!("skipped: neither XENBUILD_LAB nor XENBUILD_KERNEL names a Domain 0");
    }
    for (scenario, gic) in scenarios.iter().flat_map(|scenario| [(scenario, 3), (scenario, 2)]) {
        let Some(counted) = boot(scenario, gic) else { return };
        let name = format!("{}-gicv{gic}.counted", scenario.name);
        if env::var_os("BLESS").is_some() {
            let text: String = counted.iter().map(|(reason, count)| format!("{reason} {count}\n")).collect();
            fs::write(Path::new(DATA).join(&name), text).expect("written");
        }
        let recorded = counters(data(&name).lines());
        let off = off(&recorded, &counted);
        assert!(off.is_empty(), "{name}: {off:?}: {recorded:#?}, now {counted:#?}; BLESS=1 records it");
    }
}
