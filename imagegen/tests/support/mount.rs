//! The kernel's own mount as a judge.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Mounts an image of this type at a new folder, if that is possible here, and calls `look` with the place.
pub fn mounted(image: &Path, kind: &str, options: &str, place: &Path, look: impl FnOnce(&Path)) {
    fs::create_dir_all(place).unwrap();
    let arguments = ["-t", kind, "-o", options].map(OsStr::new);
    match run("mount", &[&arguments[..], &[image.as_ref(), place.as_ref()]].concat()) {
        Ok(()) => {}
        Err(text) => {
            let known = ["cannot run", "unknown filesystem type", "loop device"].iter().any(|why| text.contains(why));
            assert!(known || !rustix::process::getuid().is_root(), "mount: {text}");
            return eprintln!("skipped: no loop mount of {kind} here: {text}");
        }
    }
    let mounted = Mounted(place);
    look(place);
    drop(mounted);
}

/// A mounted folder, unmounted also when the look at it fails.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // A program that another test is just starting still has our open files, for a moment.
        let mut result = run("umount", &[self.0.as_ref()]);
        for _ in 0..100 {
            if !result.as_ref().is_err_and(|text| text.contains("busy")) {
                break;
            }
            sleep(Duration::from_millis(100));
            result = run("umount", &[self.0.as_ref()]);
        }
        if !std::thread::panicking() {
            result.unwrap();
        }
    }
}

fn run(tool: &str, arguments: &[&OsStr]) -> Result<(), String> {
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = output.map_err(|error| format!("cannot run {tool}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
