//! Builds that are killed, interrupted, or wait for each other.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use xenbuild::delivery::verify::verify;
use xenbuild::task::Cancel;

use crate::bench::{Bench, events};

/// Starts a build that prints JSON lines.
fn start(bench: &Bench) -> Child {
    let mut command = bench.command(&["image", "r.toml", "--message-format=json", "--jobs=2"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads so many lines; says whether there were as many.
fn read_lines(child: &mut Child, mut count: usize) -> bool {
    let out = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while count > 0 {
        if out.read(&mut byte).unwrap() == 0 {
            return false;
        }
        count -= usize::from(byte[0] == b'\n');
    }
    true
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Lists the children that a process has at this moment.
fn children(pid: u32) -> String {
    let mut all = String::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        all += &fs::read_to_string(task.path().join("children")).unwrap_or_default();
    }
    all
}

#[test]
fn killed_at_every_event_the_next_build_is_whole() {
    let whole = Bench::new();
    let output = whole.run(&["image", "r.toml", "--message-format=json", "--jobs=2"]).unwrap();
    let count = events(&output).len();
    let wanted = whole.artifacts();
    assert!(count > 30, "{count} events");
    // Builds wait for the disk more than they work: several at the same time.
    std::thread::scope(|scope| {
        for first in 1..=4 {
            let wanted = &wanted;
            scope.spawn(move || {
                let bench = Bench::new();
                for event in (first..=count).step_by(4) {
                    kill_at(&bench, event, count, wanted);
                    fs::remove_dir_all(bench.path("out")).unwrap();
                }
            });
        }
    });
}

/// Kills a build after so many events, looks at what is there, and builds again.
fn kill_at(bench: &Bench, event: usize, count: usize, wanted: &[(String, String)]) {
    let mut child = start(bench);
    let killed = read_lines(&mut child, event);
    child.kill().unwrap();
    child.wait().unwrap();
    if !killed {
        // Threads tell things in another order, and now and then one thing less.
        assert!(event + 10 > count, "the build ended after {event} of {count} events");
    }
    // Nothing by a final name is half made: what is there is what it should be.
    for (name, wanted) in wanted {
        let path = bench.path("out/r").join(name);
        if path.exists() {
            assert_eq!(crate::bench::hash(&path), *wanted, "{name} at event {event}");
        }
    }
    // A manifest, if there is one, is one of a whole set.
    if bench.path("out/r/manifest.json").exists() {
        let report = verify(&bench.path("out/r"), &Cancel::default()).unwrap();
        assert_eq!(report.findings, [], "event {event}");
    }
    bench.build();
    assert_eq!(bench.artifacts(), wanted, "killed at event {event}");
    assert_eq!(bench.litter(), Vec::<PathBuf>::new(), "killed at event {event}");
}

#[test]
fn a_killed_build_that_is_built_on_again_and_again_ends() {
    let bench = Bench::new();
    // Each run gets a little further: what was finished is kept.
    for _ in 0..4 {
        let mut child = start(&bench);
        read_lines(&mut child, 8);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let whole = Bench::new();
    whole.build();
    bench.build();
    assert_eq!(bench.artifacts(), whole.artifacts());
    assert_eq!(bench.litter(), Vec::<PathBuf>::new());
}

#[test]
fn signals_stop_a_build_and_leave_nothing() {
    for name in ["INT", "TERM"] {
        let bench = Bench::new();
        // Large enough not to be done before the signal comes.
        let large: Vec<u8> = (0..48u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        bench.write("overlay/large", large);
        let mut child = start(&bench);
        assert!(read_lines(&mut child, 4));
        assert_eq!(children(child.id()), "", "a build starts no programs");
        let began = Instant::now();
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
        assert_eq!(bench.litter(), Vec::<PathBuf>::new());
        assert!(!bench.path("out/r/r.axf").exists());
    }
}

#[test]
fn two_builds_in_one_folder_wait_for_each_other() {
    let bench = Bench::new();
    let mut first = start(&bench);
    assert!(read_lines(&mut first, 1));
    // Stopped, it still holds the folder.
    signal(&first, "STOP");
    let second = bench.command(&["image", "r.toml"]).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(!bench.path("out/r/r.axf").exists());
    signal(&first, "CONT");
    let mut rest = String::new();
    first.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    let pid = first.id();
    assert!(first.wait().unwrap().success());
    let second = second.wait_with_output().unwrap();
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(second.status.success(), "{told}");
    assert!(told.contains(&format!("waiting for process {pid} (")), "{told}");
    assert!(told.contains("image r.toml"), "{told}");
    assert!(told.contains("which is using out"), "{told}");
    assert!(told.contains("nothing to do, all 11 steps are up to date"), "{told}");
}

#[test]
fn who_waits_can_be_interrupted() {
    let bench = Bench::new();
    let mut first = start(&bench);
    assert!(read_lines(&mut first, 1));
    signal(&first, "STOP");
    let second = bench.command(&["image", "r.toml"]).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    signal(&second, "INT");
    let second = second.wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(130));
    first.kill().unwrap();
    first.wait().unwrap();
}
