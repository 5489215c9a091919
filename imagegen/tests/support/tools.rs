//! Foreign programs as judges.

use std::process::{Command, Stdio};

/// Says whether a program can be started; announces it if not.
#[allow(dead_code, reason = "not every test needs a program that may be missing")]
pub fn available(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("SKIPPED: `{program}` is not installed");
    }
    found
}

/// Runs a shell script that must succeed and returns what it prints.
pub fn shell(script: &str, folder: &std::path::Path) -> String {
    let output = Command::new("sh").arg("-euc").arg(script).current_dir(folder).env("LC_ALL", "C").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
