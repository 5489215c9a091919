//! Ties a person's terminal to a machine's console: raw mode while it lasts, and the terminal as it was on every way out.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::console::TYPED_AT_ONCE_BYTES;
use super::process::{Emulator, Ending};
use crate::error::{Error, Result};
use crate::task::Cancel;

/// How soon a signal is heard.
const TURN: Duration = Duration::from_millis(100);
/// How long a machine may take to end after its console has.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the echo of what was typed is waited for.
const ECHO: Duration = Duration::from_millis(50);
/// How much of a paste is read ahead.
const PASTE_MAX_BYTES: usize = 1 << 20;
/// Ctrl-A, the key that QEMU's users know.
const ESCAPE: u8 = 1;

/// Raw mode: every key goes to the machine. Dropping it gives the terminal back as it was, on a panic too.
struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    fn enter(terminal: OwnedFd) -> rustix::io::Result<RawMode> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done where this fails: the terminal has gone away.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Says whether a person sits at standard input.
pub fn is_attached() -> bool {
    rustix::termios::isatty(std::io::stdin().as_fd())
}

/// Passes keys and output between the terminal on standard input and output and the machine until the machine ends,
/// Ctrl-A x is typed, or `cancel` is set. `has_monitor` says that the emulator itself acts on Ctrl-A (QEMU).
///
/// Returns how the machine ended, if it was not ended by Ctrl-A x.
///
/// # Errors
/// [`crate::error::Kind::Interrupted`] if cancelled; [`crate::error::Kind::Host`] where the terminal cannot be used.
pub fn attach(emulator: &mut Emulator, has_monitor: bool, cancel: &Cancel) -> Result<Option<Ending>> {
    let wrap = |source: std::io::Error| Error::io("cannot use the terminal", source);
    let mut stdin = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(wrap)?);
    let terminal = stdin.as_fd().try_clone_to_owned().map_err(wrap)?;
    let raw = RawMode::enter(terminal).map_err(|error| wrap(error.into()))?;
    let mut keys = Keys { has_monitor, escaped: false };
    let result = pump(emulator, &mut stdin, &mut keys, cancel);
    drop(raw);
    // The guest may have left colours, an odd character set or a hidden cursor behind.
    let _ = std::io::stdout().write_all(b"\x1b[0m\x1b(B\x1b[?25h\r\n").and_then(|()| std::io::stdout().flush());
    result
}

/// What a person has typed or pasted and the machine has not been given yet: a machine loses what comes too fast.
#[derive(Default)]
struct Typed {
    waiting: VecDeque<u8>,
    given: usize,
    heard: usize,
    last: Option<Instant>,
}

impl Typed {
    /// Returns what to give now: the next few keys, once the last ones have been echoed, or some time is over.
    fn next(&mut self) -> Vec<u8> {
        let is_time = self.heard >= self.given || self.last.is_none_or(|last| last.elapsed() > ECHO);
        if self.waiting.is_empty() || !is_time {
            return Vec::new();
        }
        let count = self.waiting.len().min(TYPED_AT_ONCE_BYTES);
        (self.given, self.heard, self.last) = (count, 0, Some(Instant::now()));
        self.waiting.drain(..count).collect()
    }
}

fn pump(
    emulator: &mut Emulator,
    stdin: &mut std::fs::File,
    keys: &mut Keys,
    cancel: &Cancel,
) -> Result<Option<Ending>> {
    let mut stdout = std::io::stdout();
    let mut listening = true;
    let mut typed = Typed::default();
    loop {
        cancel.check()?;
        if emulator.untyped() == 0 {
            emulator.type_bytes(&typed.next());
        }
        // No more is read than fits; Ctrl-A x still comes through while a paste is under way.
        let extra = (listening && typed.waiting.len() < PASTE_MAX_BYTES).then(|| stdin.as_fd());
        let turn = emulator.turn(extra, if typed.waiting.is_empty() { TURN } else { ECHO / 5 })?;
        typed.heard += turn.serial.len();
        for note in &turn.notes {
            let _ = write!(stdout, "{note}\r\n");
        }
        let shown = stdout.write_all(&turn.serial).and_then(|()| stdout.flush());
        shown.map_err(|source| Error::io("cannot write to the terminal", source))?;
        if turn.ended {
            return emulator.finish(PATIENCE).map(Some);
        }
        if turn.extra {
            let mut buffer = [0; 1024];
            match stdin.read(&mut buffer) {
                Ok(0) => listening = false,
                Ok(count) => {
                    let mut bytes = Vec::new();
                    let quit = keys.push(&buffer[..count], &mut bytes);
                    typed.waiting.extend(bytes);
                    if quit {
                        return emulator.finish(Duration::ZERO).map(|_| None);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("cannot read from the terminal", error)),
            }
        }
    }
}

/// Looks for Ctrl-A x among what is typed.
struct Keys {
    /// QEMU acts on Ctrl-A itself, and is told everything; else Ctrl-A Ctrl-A stands for one.
    has_monitor: bool,
    escaped: bool,
}

impl Keys {
    /// Appends what the machine gets to `typed`; says whether to quit. Quitting is not left to the emulator: it works
    /// where the emulator hangs, too.
    fn push(&mut self, input: &[u8], typed: &mut Vec<u8>) -> bool {
        for &byte in input {
            match (std::mem::take(&mut self.escaped), byte) {
                (true, b'x' | b'X') => return true,
                (true, _) => typed.push(byte),
                (false, ESCAPE) => {
                    self.escaped = true;
                    if self.has_monitor {
                        typed.push(byte);
                    }
                }
                (false, _) => typed.push(byte),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(keys: &mut Keys, input: &[u8]) -> (Vec<u8>, bool) {
        let mut typed = Vec::new();
        let quit = keys.push(input, &mut typed);
        (typed, quit)
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = std::fs::File::options().read(true).write(true).open(name).unwrap();
        let is_raw = || !tcgetattr(&terminal).unwrap().local_modes.contains(rustix::termios::LocalModes::ICANON);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let result = std::panic::catch_unwind(|| {
            let _raw = RawMode::enter(terminal.try_clone().unwrap().into()).unwrap();
            assert!(is_raw());
            panic!("in the middle");
        });
        std::panic::set_hook(hook);
        assert!(result.unwrap_err().is::<&str>() && !is_raw());
    }

    #[test]
    fn ctrl_a_x_quits_even_in_two_reads() {
        let mut keys = Keys { has_monitor: true, escaped: false };
        assert_eq!(push(&mut keys, b"ls\r"), (b"ls\r".to_vec(), false));
        assert_eq!(push(&mut keys, b"\x01"), (b"\x01".to_vec(), false));
        assert_eq!(push(&mut keys, b"x"), (vec![], true));
        let mut keys = Keys { has_monitor: true, escaped: false };
        assert_eq!(push(&mut keys, b"\x01cx\x01\x01x"), (b"\x01cx\x01\x01x".to_vec(), false), "QEMU's own keys pass");
    }

    #[test]
    fn without_a_monitor_ctrl_a_is_typed_twice() {
        let mut keys = Keys { has_monitor: false, escaped: false };
        assert_eq!(push(&mut keys, b"a\x01\x01b"), (b"a\x01b".to_vec(), false));
    }
}
