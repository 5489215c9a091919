//! What the kernel of the tutorial's Domain 0 warns of on our hypervisor, it warns of on upstream Xen too. Ring: emulator.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;

const RECIPE: &str = "tests/data/hypervisor/dmesg.toml";
/// What a kernel says of a host that is too busy to run it, whatever is below it.
const BUSY: [&str; 3] = ["hrtimer: interrupt took", "rcu: INFO: rcu_", "sched: RT throttling"];
/// What the recipe's test says when the log was shown.
const END: &str = "end of the 1 log";

/// Returns the warnings in a serial log: the lines that `dmesg --raw` shows with a level, `<4>[    0.000000] text`, without what is never
/// the same twice.
fn warnings(log: &str) -> BTreeSet<String> {
    let line = Regex::new(r"<(\d+)>\[ *\d+\.\d+\] (.*)").expect("a pattern");
    let changing = Regex::new(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+").expect("a pattern");
    line.captures_iter(log)
        // The level is in the lower three bits; 4 is a warning.
        .filter(|found| found[1].parse::<u32>().is_ok_and(|value| value & 7 <= 4))
        .filter(|found| !BUSY.iter().any(|start| found[2].starts_with(start)))
        .map(|found| changing.replace_all(found[2].trim_end(), "#").into_owned())
        .collect()
}

/// Builds and boots the recipe, and returns its Domain 0's warnings.
fn boot(variant: Option<&str>) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenbuild"));
    command.current_dir(root).args(["test", RECIPE]);
    if let Some(variant) = variant {
        command.args(["--variant", variant]);
    }
    let output = command.output().expect("xenbuild runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{variant:?}: {said}");
    let name = variant.map_or("dmesg".into(), |variant| format!("dmesg@{variant}"));
    let log = fs::read_to_string(root.join("out").join(name).join("serial.log")).expect("a log");
    assert!(log.contains(END), "{variant:?}: {log}");
    warnings(&log)
}

#[test]
fn warnings_are_told_from_news_and_lose_what_changes() {
    let log = "[     2.113] <6>[    0.000000] Booting Linux on physical CPU 0x0000000000\r\n\
               [     2.113] <4>[    1.234567] thing ffff800008a0b000 failed (0x1f) with -22\r\n\
               [     2.114] <28>[    2.5] of another facility\r\n\
               [     2.114] <4>[    3.5] hrtimer: interrupt took 188401776 ns\r\n\
               [     2.114] a line with <4> in it\r\n";
    assert_eq!(warnings(log), ["of another facility", "thing # failed (#) with -#"].map(String::from).into());
}

#[test]
#[ignore = "conformance: boots Domain 0 on upstream Xen and on ours"]
fn our_hypervisor_gives_no_cause_for_other_warnings() {
    let (theirs, ours) = (boot(None), boot(Some("ours")));
    // Silence would prove nothing.
    assert!(!theirs.is_empty(), "upstream's kernel warned of nothing at all");
    let only: Vec<_> = ours.difference(&theirs).collect();
    assert!(only.is_empty(), "on ours alone: {only:#?}\non upstream: {theirs:#?}");
    eprintln!("{} warnings on upstream, {} on ours, none of them on ours alone", theirs.len(), ours.len());
}
