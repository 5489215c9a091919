//! What the tests here share: a recipe with a test, a machine played by a script, and a way to bring them together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xenbuild::emulate::command::CommandLine;
use xenbuild::emulate::dialogue::{Dialogue, Nobody, Report};
use xenbuild::emulate::log::SerialLog;
use xenbuild::emulate::process::{Emulator, Start, Wire};
use xenbuild::error::Result;
use xenbuild::recipe::*;
use xenbuild::task::Cancel;

pub fn origin(key: &str) -> Origin {
    Origin { file: Some(0), span: 0..1, key: key.into() }
}

pub fn located<T>(value: T) -> Located<T> {
    Located { value, origin: origin("test") }
}

/// A machine as recipes/tutorial.toml has it.
pub fn machine(kind: MachineKind) -> Machine {
    Machine {
        kind,
        gic: 3,
        cpus: located(2),
        cpu: "cortex-a57".into(),
        memory_bytes: located(2 << 30),
        exception_level: 2,
        forwards: vec![Forward { udp: false, host: 2222, guest: 22 }],
        firmware: None,
        qemu: None,
        slot: 0,
        origin: origin("machine.type"),
    }
}

/// One step of a dialogue; its place in the recipe is the line with its number.
pub fn step(action: TestAction, within_ms: u64) -> TestStep {
    TestStep { action, within: Duration::from_millis(within_ms), origin: origin("test.steps") }
}

pub fn expect(regex: &str) -> TestStep {
    step(TestAction::Expect(regex.into()), 10_000)
}

pub fn send(text: &str) -> TestStep {
    step(TestAction::Send(text.into()), 10_000)
}

pub fn run(command: &str, expect: &[&str], status: u8) -> TestStep {
    let expect = expect.iter().map(|text| text.to_string()).collect();
    step(TestAction::Run { command: command.into(), expect, status }, 20_000)
}

pub fn power_off() -> TestStep {
    step(TestAction::PowerOff, 10_000)
}

/// A recipe of which only the test is of interest. Each step "stands" on a line of its own, from line 2.
pub fn recipe(fail: &[&str], mut steps: Vec<TestStep>, timeout_ms: u64) -> Recipe {
    let mut text = String::from("[test]\n");
    for (index, step) in steps.iter_mut().enumerate() {
        step.origin.span = text.len() + 2..text.len() + 6;
        text.push_str(&format!("  step {index}\n"));
    }
    let kernel = || located("debian".to_owned());
    let image = FileSource::Path { path: located(PathBuf::from("/Image")), sha256: None };
    Recipe {
        name: "fixture".into(),
        description: String::new(),
        sources: vec![SourceText { path: "recipes/fixture.toml".into(), text: text.into() }],
        epoch: 0,
        packages: Packages {
            suites: Vec::new(),
            components: Vec::new(),
            architecture: "arm64".into(),
            mirror: None,
            keyring: None,
        },
        machine: machine(MachineKind::QemuVirt),
        hypervisor: Hypervisor { image: image.clone(), bootargs: String::new() },
        source_trees: BTreeMap::new(),
        kernels: BTreeMap::from([("debian".into(), Kernel { image, modules: None })]),
        device_tree: DeviceTree { source: None, defines: BTreeMap::new(), overlays: Vec::new() },
        filesystems: BTreeMap::new(),
        disks: BTreeMap::new(),
        dom0: Dom0 {
            kernel: kernel(),
            initramfs: None,
            root: None,
            disks: Vec::new(),
            memory_bytes: located(512 << 20),
            vcpus: located(2),
            bootargs: String::new(),
        },
        guests: BTreeMap::new(),
        boot: Boot { format: BootFormat::Axf, addresses: BTreeMap::new(), script: None, fit: None },
        test: Test {
            timeout: Duration::from_millis(timeout_ms),
            prompt: "[#>] $".into(),
            fail: fail.iter().map(|text| located(text.to_string())).collect(),
            steps,
        },
    }
}

/// A machine that is a script of bash: what it prints is the console, what it reads was typed.
pub fn script(folder: &Path, text: &str) -> CommandLine {
    let path = folder.join("machine");
    std::fs::write(&path, text).unwrap();
    let mut command = CommandLine::new("bash");
    command.add([path]);
    command
}

pub fn start(command: &CommandLine, folder: &Path, qmp: bool) -> Emulator {
    let log = SerialLog::create(folder, "test").unwrap();
    Emulator::start(command, &Start { wire: Wire::Stdio, qmp, guardian: None }, log).unwrap()
}

/// Plays a dialogue against a script.
pub fn play(folder: &Path, machine: &str, recipe: &Recipe) -> Result<Report> {
    let emulator = start(&script(folder, machine), folder, false);
    Dialogue::compile(recipe)?.play(emulator, &Cancel::default(), &Nobody).passed()
}
