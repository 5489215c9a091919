//! One build at a time per `out/`: a lock file that names who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::task::Cancel;

/// The lock file's name in `out/`.
pub const FILE_NAME: &str = ".lock";
/// How often a waiting process looks again: it must also see Ctrl-C, so it cannot just block.
const POLL: Duration = Duration::from_millis(40);

/// Holds `out/` for this process until dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub struct Exclusive {
    _file: File,
}

impl Exclusive {
    /// Takes the lock of `out`, which must exist, waiting for whoever has it; `say` is told once whom we wait for.
    pub fn wait(out: &Path, cancel: &Cancel, say: &mut dyn FnMut(String)) -> Result<Self> {
        let path = out.join(FILE_NAME);
        let failed = |error| Error::io(format!("cannot lock {}", path.display()), error);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o644).open(&path).map_err(failed)?;
        let mut said = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => {
                    if !said {
                        say(format!("waiting for {}, which is using {}", holder(&mut file), out.display()));
                        said = true;
                    }
                    cancel.check()?;
                    std::thread::sleep(POLL);
                }
            }
        }
        let name = format!("process {} ({})\n", std::process::id(), command_line());
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(name.as_bytes())).map_err(failed)?;
        Ok(Exclusive { _file: file })
    }
}

/// Returns what the holder wrote about itself.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let known = file.rewind().is_ok() && file.take(4096).read_to_string(&mut text).is_ok() && !text.trim().is_empty();
    if known { text.trim().escape_debug().to_string() } else { "another process".to_owned() }
}

/// Returns this process's command line, for people.
fn command_line() -> String {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let text = words.join(" ");
    text.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_and_says_for_whom() {
        let out = tempfile::tempdir().unwrap();
        let cancel = Cancel::default();
        let first = Exclusive::wait(out.path(), &cancel, &mut |line| panic!("{line}")).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let mut lines = Vec::new();
                let lock = Exclusive::wait(out.path(), &cancel, &mut |line| lines.push(line)).unwrap();
                (lock, lines)
            });
            std::thread::sleep(POLL * 3);
            assert!(!second.is_finished());
            drop(first);
            let (_lock, lines) = second.join().unwrap();
            assert_eq!(lines.len(), 1);
            assert!(lines[0].starts_with(&format!("waiting for process {} (", std::process::id())), "{}", lines[0]);
        });
    }

    #[test]
    fn waiting_can_be_interrupted() {
        let out = tempfile::tempdir().unwrap();
        let cancel = Cancel::default();
        let _first = Exclusive::wait(out.path(), &cancel, &mut |_| {}).unwrap();
        cancel.set();
        let error = Exclusive::wait(out.path(), &cancel, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Interrupted);
    }
}
