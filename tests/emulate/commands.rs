//! `xenbuild run` and `xenbuild test` as commands, with a QEMU that is a script (`--qemu`) and artifacts that are there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

use crate::dialogues::{is_running, wait_for_end, wait_for_pid};

const RECIPE: &str = r##"
version = 1
[machine]
type = "qemu-virt"
forward = ["tcp:0:22"]
[hypervisor]
path = "xen"
[kernel.linux]
path = "Image"
[filesystem.rootfs]
format = "ext3"
[dom0]
kernel = "linux"
root = "rootfs"
[test]
prompt = '# $'
fail = ["Kernel panic"]
steps = [
  { expect = "Xen version", within = "20s" },
  { run = "echo $((6 * 7))", expect = "^42$", within = "20s" },
  { send = "exit\n" },
  { power-off = true, within = "20s" },
]
"##;

/// A Xen that boots into a shell.
const GOOD: &str = "printf '\\033[1mXen version 4.17\\033[0m\\r\\n'\n\
    exec script -qfec \"env PS1='# ' dash -i\" /dev/null";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(qemu: &str) -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        std::fs::write(place.path("fixture.toml"), RECIPE).unwrap();
        std::fs::create_dir_all(place.path("out/fixture")).unwrap();
        std::fs::write(place.path("out/fixture/fixture.axf"), "an ELF").unwrap();
        std::fs::write(place.path("out/fixture/rootfs.img"), "a file system").unwrap();
        let text = format!("#!/bin/bash\necho $$ > {0}.new; mv {0}.new {0}\n{qemu}\n", place.path("pid").display());
        std::fs::write(place.path("qemu"), text).unwrap();
        std::fs::set_permissions(place.path("qemu"), std::fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenbuild"));
        command.args(args).current_dir(&self.folder).env_remove("XENBUILD_OUT");
        command.env("XENBUILD_QEMU", self.path("qemu")).stdin(Stdio::null());
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_test_that_passes_ends_in_0() {
    let place = Place::new(GOOD);
    let output = place.output(&["test", "--no-build", "fixture.toml"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("fixture: 4 steps passed in "), "{out}");
    assert!(err.contains("  2/4 ") && err.contains(" s  run `echo $((6 * 7))`"), "{err}");
    let port = regex::Regex::new(r"(?m)^port [1-9]\d* \(tcp, 127\.0\.0\.1\) leads to Dom0's port 22$").unwrap();
    assert!(port.is_match(&err), "{err}");
    assert!(!err.contains("Xen version 4.17\n"), "the console is for -v: {err}");
    assert!(text(&std::fs::read(place.path("out/fixture/serial.log")).unwrap()).contains("Xen version 4.17"));
}

#[test]
fn a_test_that_fails_ends_in_1_and_shows_the_line() {
    let place = Place::new("echo Xen version; printf '# '; read -r line; echo Kernel panic - not syncing; sleep 60");
    let output = place.output(&["test", "--no-build", "fixture.toml"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("fixture.toml:20:") && err.contains("run = "), "{err}");
    assert!(err.contains("hint: the whole console is in "), "{err}");
    wait_for_end(wait_for_pid(&place.path("pid")));
}

/// Gives the place's artifacts a manifest, as a build does.
fn with_manifest(place: &Place) -> serde_json::Value {
    use xenbuild::delivery::{self, Artifact, Document, Name, Recipe, document};
    use xenbuild::plan::Role;
    use xenbuild::step::Digest;
    let artifact = |(name, role): (&str, Role)| {
        let content = std::fs::read(place.path("out/fixture").join(name)).unwrap();
        let (name, sha256) = (Name::new(name).unwrap(), Digest::of(&content));
        let (bytes, step) = (content.len() as u64, "step".to_owned());
        Artifact { name, role, bytes, sha256, step, key: sha256, inputs: Vec::new() }
    };
    let document = Document {
        version: document::VERSION,
        xenbuild: "0".into(),
        recipe: Recipe { name: "fixture".into(), ..Recipe::default() },
        artifacts: [("fixture.axf", Role::Boot), ("rootfs.img", Role::Filesystem)].map(artifact).to_vec(),
        inputs: Default::default(),
        test: None,
    };
    delivery::write(&place.path("out/fixture"), &document).unwrap();
    manifest(place)
}

fn manifest(place: &Place) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(place.path("out/fixture/manifest.json")).unwrap()).unwrap()
}

#[test]
fn results_are_kept_with_the_artifacts_and_vouched_for_until_the_next_run() {
    let place = Place::new(GOOD);
    let before = with_manifest(&place);
    let verified = || {
        let output = place.output(&["verify", "out/fixture"]);
        (output.status.code(), text(&output.stdout))
    };
    let output = place.output(&["test", "--no-build", "--junit", "results/mine.xml", "fixture.toml"]);
    assert_eq!(output.status.code(), Some(6), "a folder that is not there: {}", text(&output.stderr));
    std::fs::create_dir(place.path("results")).unwrap();
    let output = place.output(&["test", "--no-build", "--junit", "results/mine.xml", "fixture.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let junit = text(&std::fs::read(place.path("out/fixture/junit.xml")).unwrap());
    assert!(junit.contains(" name=\"fixture\" ") && junit.contains(" tests=\"4\" failures=\"0\" "), "{junit}");
    assert_eq!(text(&std::fs::read(place.path("results/mine.xml")).unwrap()), junit);
    let after = manifest(&place);
    assert_eq!(after["artifacts"], before["artifacts"]);
    assert_eq!(after["test"]["passed"], true);
    let names: Vec<_> = after["test"]["files"].as_array().unwrap().iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["junit.xml", "serial.log"]);
    assert!(verified().1.ends_with("; its test passed; 1 passed over (-v)\n"), "{:?}", verified());
    assert!(text(&std::fs::read(place.path("out/fixture/SHA256SUMS")).unwrap()).contains("  serial.log\n"));
    // The log is part of it.
    let log = place.path("out/fixture/serial.log");
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(verified().0, Some(4));
    // Another run, whose test fails: its results take the place of the first.
    let qemu =
        std::fs::read_to_string(place.path("qemu")).unwrap().replace("Xen version", "Kernel panic \\001\\033[2J");
    std::fs::write(place.path("qemu"), qemu).unwrap();
    let output = place.output(&["test", "--no-build", "--junit", "nowhere/mine.xml", "fixture.toml"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("warning: cannot write nowhere/mine.xml: "), "{err}");
    assert!(verified().1.contains("; its test failed"), "{:?}", verified());
    let junit = text(&std::fs::read(place.path("out/fixture/junit.xml")).unwrap());
    assert!(junit.contains(" failures=\"1\" errors=\"0\" skipped=\"3\" "), "{junit}");
    assert!(!junit.contains('\u{1}') && !junit.contains('\u{1b}'), "{junit:?}");
    // One that is interrupted leaves none, and nothing that claims to be some.
    std::fs::write(
        place.path("qemu"),
        format!("#!/bin/sh\necho $$ >{}\nexec sleep 60\n", place.path("pid2").display()),
    )
    .unwrap();
    let mut command = place.command(&["test", "--no-build", "fixture.toml"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_pid(&place.path("pid2"));
    assert_eq!(manifest(&place), before, "while it runs, too");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(manifest(&place), before);
    assert!(!place.path("out/fixture/junit.xml").exists());
    let (_, told) = verified();
    assert!(told.contains(": all as they were made; ") && !told.contains("its test"), "{told}");
}

#[test]
fn results_are_not_kept_with_artifacts_that_were_not_tested() {
    let place = Place::new(GOOD);
    with_manifest(&place);
    // While the machine runs, another build puts its artifacts in place.
    let folder = place.path("out/fixture");
    let meddle = format!("sed -i s/fixture/other/ {}/manifest.json", folder.display());
    let qemu =
        std::fs::read_to_string(place.path("qemu")).unwrap().replace("exec script", &format!("{meddle}\nexec script"));
    std::fs::write(place.path("qemu"), qemu).unwrap();
    let output = place.output(&["test", "--no-build", "fixture.toml"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("its results are not kept with them"), "{err}");
    assert!(!folder.join("junit.xml").exists());
}

#[test]
fn a_machine_that_cannot_start_has_results_too() {
    let place = Place::new(GOOD);
    std::fs::write(place.path("qemu"), [0x7f, b'E', b'L', b'F', 0]).unwrap();
    let output = place.output(&["test", "--no-build", "fixture.toml"]);
    assert_ne!(output.status.code(), Some(0));
    let junit = text(&std::fs::read(place.path("out/fixture/junit.xml")).unwrap());
    assert!(junit.contains(" errors=\"1\" ") || junit.contains(" failures=\"1\" "), "{junit}");
}

#[test]
fn run_without_a_terminal_plays_the_test_and_shows_the_console() {
    let place = Place::new(GOOD);
    let output = place.output(&["run", "--no-build", "fixture.toml"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("no terminal: the recipe's test runs instead"), "{err}");
    assert!(err.contains("\nXen version 4.17\n"), "without the colours: {err}");
    let place = Place::new("exit 3");
    assert_eq!(place.output(&["run", "--no-build", "fixture.toml"]).status.code(), Some(1));
}

#[test]
fn machines_read_json() {
    let place = Place::new(GOOD);
    let output = place.output(&["--message-format=json", "test", "--no-build", "fixture.toml"]);
    let events: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |event: &str| events.iter().filter(|message| message["event"] == event).count();
    assert_eq!((count("test-step-begins"), count("test-step-passed"), count("test-passed")), (4, 4, 1));
    let output = Place::new("exit 3").output(&["--message-format=json", "test", "--no-build", "fixture.toml"]);
    let last: serde_json::Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["recipe"]), (&"test-failed".into(), &"fixture".into()));
}

#[test]
fn a_dry_run_prints_the_command_line_and_starts_nothing() {
    let place = Place::new("exit 3");
    let output = place.output(&["run", "--dry-run", "--gdb", "--gdb-wait", "fixture.toml", "--", "-d", "int"]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for part in
        ["-gdb tcp:127.0.0.1:1234", "\n  -S", "\n  -d", "fixture/fixture.axf", "snapshot=on,file=/", "mon:stdio"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!place.path("pid").exists() && !place.path("out/fixture/serial.log").exists());
    let output = place.output(&["test", "--dry-run", "fixture.toml"]);
    assert!(text(&output.stdout).contains("-no-reboot"));
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new(GOOD);
    let output = place.output(&["test", "--no-build", "--qemu", "/nowhere/qemu", "fixture.toml"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stderr).contains("cannot find /nowhere/qemu"));
    std::fs::remove_file(place.path("out/fixture/rootfs.img")).unwrap();
    let output = place.output(&["test", "--no-build", "fixture.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("rootfs.img is not there"));
}

#[test]
fn a_kept_overlay_is_kept() {
    let args = "for arg; do case $arg in *qcow2*file=*) cp \"${arg##*file=}\" seen;; esac; done\n";
    let place = Place::new(&format!("{args}{GOOD}"));
    let output = place.output(&["run", "--no-build", "--persist", "fixture.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(std::fs::read(place.path("seen")).unwrap().starts_with(b"QFI\xfb"));
    assert!(text(&output.stderr).contains("what is written stays in "));
    std::fs::write(place.path("out/fixture/rootfs.img"), "another").unwrap();
    let output = place.output(&["run", "--no-build", "--persist", "fixture.toml"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stderr).contains("hint: --persist=reset"));
    assert_eq!(place.output(&["run", "--no-build", "--persist=reset", "fixture.toml"]).status.code(), Some(0));
}

#[test]
fn ctrl_c_ends_in_130_and_the_emulator_with_us() {
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)] {
        let place = Place::new("exec sleep 60");
        let mut command = place.command(&["test", "--no-build", "fixture.toml"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let emulator = wait_for_pid(&place.path("pid"));
        assert!(is_running(emulator));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        wait_for_end(emulator);
    }
}

/// A pseudo-terminal with a person at it.
struct Person {
    keyboard: File,
    terminal: File,
    seen: String,
}

impl Person {
    fn new() -> Person {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(name).unwrap();
        let keyboard = File::from(master);
        rustix::io::ioctl_fionbio(&keyboard, true).unwrap();
        Person { keyboard, terminal, seen: String::new() }
    }

    fn start(&self, mut command: Command) -> Child {
        let terminal = || self.terminal.try_clone().unwrap();
        command.stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn().unwrap()
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal)
            .unwrap()
            .local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(count) = self.keyboard.read(&mut buffer) {
            self.seen.push_str(&text(&buffer[..count]));
        }
    }

    fn wait_for(&mut self, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(wanted) {
            assert!(Instant::now() < deadline, "no {wanted:?} in {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(10));
            self.read();
        }
    }

    fn wait_for_exit(&mut self, mut child: Child) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.read();
            if let Some(status) = child.try_wait().unwrap() {
                self.read();
                return status.code();
            }
            assert!(Instant::now() < deadline, "still running: {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_person_works_in_the_shell_and_gets_the_terminal_back() {
    let place = Place::new(GOOD);
    let mut person = Person::new();
    let child = person.start(place.command(&["run", "--no-build", "fixture.toml"]));
    person.wait_for("\u{1b}[1mXen version 4.17\u{1b}[0m\r\n");
    person.wait_for("# ");
    assert!(person.is_raw());
    person.type_keys("echo $((6 * 7))\r");
    person.wait_for("\n42\r\n");
    person.type_keys("sh -c \"echo be''gun; exec sleep 60\"\r");
    person.wait_for("begun");
    person.type_keys("\u{3}");
    person.type_keys("echo inter''rupted\r");
    person.wait_for("interrupted");
    person.type_keys("exit\r");
    assert_eq!(person.wait_for_exit(child), Some(0), "{:?}", person.seen);
    assert!(!person.is_raw());
    let log = text(&std::fs::read(place.path("out/fixture/serial.log")).unwrap());
    assert!(log.contains("] 42\n"), "{log}");
}

#[test]
fn ctrl_a_x_and_a_signal_end_the_machine_and_give_the_terminal_back() {
    for signal in [None, Some(Signal::TERM), Some(Signal::HUP)] {
        let place = Place::new("trap '' TERM; echo up; exec sleep 60");
        let mut person = Person::new();
        let child = person.start(place.command(&["run", "--no-build", "fixture.toml"]));
        person.wait_for("up\n");
        assert!(person.is_raw());
        match signal {
            None => person.type_keys("\u{1}x"),
            Some(signal) => kill_process(Pid::from_child(&child), signal).unwrap(),
        }
        let emulator = wait_for_pid(&place.path("pid"));
        let code = person.wait_for_exit(child);
        assert_eq!(code, Some(if signal.is_none() { 0 } else { 130 }), "{:?}", person.seen);
        assert!(!person.is_raw());
        wait_for_end(emulator);
    }
}
