//! A machine with nothing but its serial line, and what it prints.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::Path;
use std::time::{Duration, Instant};

use xenbuild::emulate::command::CommandLine;
use xenbuild::emulate::log::SerialLog;
use xenbuild::emulate::process::{Emulator, Start, Wire};

/// How a run ended.
pub struct Run {
    /// What was printed, without carriage returns.
    pub printed: String,
    /// Whether the machine switched itself off, or reset itself under `-no-reboot`.
    pub off: bool,
}

/// Starts a machine; its log goes into the folder.
pub fn start(command: &CommandLine, folder: &Path) -> Emulator {
    let log = SerialLog::create(folder, "test").expect("a log");
    Emulator::start(command, &Start { wire: Wire::Stdio, qmp: false, guardian: None }, log).expect("QEMU starts")
}

/// Runs a machine until it switches itself off, prints `until`, or the time is up.
pub fn run(command: &CommandLine, folder: &Path, until: Option<&str>, limit: Duration) -> Run {
    let mut emulator = start(command, folder);
    let (mut bytes, deadline) = (Vec::new(), Instant::now() + limit);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let turn = emulator.turn(None, left.min(Duration::from_millis(100))).expect("QEMU can be watched");
        bytes.extend(turn.serial);
        let is_over = turn.ended || left.is_zero();
        if is_over || until.is_some() {
            let printed = String::from_utf8_lossy(&bytes).replace('\r', "");
            // What it leaves running is ended as it goes out of scope.
            if is_over || until.is_some_and(|wanted| printed.contains(wanted)) {
                return Run { printed, off: turn.ended };
            }
        }
    }
}
