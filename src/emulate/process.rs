//! A running emulator: its process, its serial line, its messages. One thread, one `poll`; no child outlives us.
//!
//! - Dropping an [`Emulator`] ends its whole process group: SIGTERM, and SIGKILL where that is not heard.
//! - A `kill -9` of ours is covered by the guardian: the child is this program again ([`become_child`]), which asks the
//!   kernel for a SIGTERM when its parent dies (`PR_SET_PDEATHSIG`, which exec keeps), and then becomes the emulator.
//!   The limit: the kernel looks at the parent *thread*, so an emulator is started by a thread that stays (the main one).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::command::CommandLine;
use super::log::SerialLog;
use super::model::Telnet;
use super::qmp::Qmp;
use crate::error::{Error, Kind, Result};

/// How long an emulator may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How many of the emulator's own messages are kept for an error.
const NOTES_MAX: usize = 12;
/// The longest message that is kept.
const NOTE_MAX_BYTES: usize = 1000;

/// Where the serial line of the machine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// The child's standard input and output (QEMU).
    Stdio,
    /// A TCP port on loopback that the child announces on its standard output (Arm's models).
    Announced,
}

/// How to start an emulator.
#[derive(Clone, Debug)]
pub struct Start {
    /// Where its serial line is.
    pub wire: Wire,
    /// Does it speak QEMU's machine protocol, which tells a power-off from a reset?
    pub qmp: bool,
    /// The program and first arguments that end in [`become_child`]; `None` starts the emulator directly.
    pub guardian: Option<(PathBuf, Vec<OsString>)>,
}

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    status: Option<ExitStatus>,
    wire: Wire,
    input: Option<File>,
    output: Option<File>,
    telnet: Telnet,
    notes: Vec<Notes>,
    kept: VecDeque<String>,
    qmp: Option<Qmp>,
    pending: VecDeque<u8>,
    log: SerialLog,
}

/// A stream of the emulator's own messages.
#[derive(Debug)]
struct Notes {
    file: File,
    line: Vec<u8>,
}

/// What one look at the emulator brought.
#[derive(Debug, Default)]
pub struct Turn {
    /// What came from the serial line.
    pub serial: Vec<u8>,
    /// Messages of the emulator itself, line by line.
    pub notes: Vec<String>,
    /// The caller's own descriptor can be read.
    pub extra: bool,
    /// The emulator has ended, and all it said has been read.
    pub ended: bool,
}

/// How an emulator ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Its exit status.
    pub status: ExitStatus,
    /// QEMU's word for the reason, where it gave one: `guest-shutdown`, `guest-reset`.
    pub reason: Option<String>,
    /// The last lines of its own messages.
    pub notes: Vec<String>,
}

impl Ending {
    /// Says whether the guest asked for the power to be cut, as far as can be known.
    pub fn is_power_off(&self) -> bool {
        self.status.success() && self.reason.as_deref().is_none_or(|reason| reason == "guest-shutdown")
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.reason.as_deref(), self.status.code(), self.status.signal()) {
            (Some("guest-shutdown"), ..) => f.write_str("the machine powered itself off"),
            (Some("guest-reset"), ..) => f.write_str("the machine was reset by its guest"),
            (Some("guest-panic"), ..) => f.write_str("the machine stopped: its guest panicked"),
            (Some("host-signal"), ..) => f.write_str("the emulator was ended by a signal"),
            (_, Some(0), _) => f.write_str("the emulator ended"),
            (_, Some(code), _) => write!(f, "the emulator ended with exit status {code}"),
            (_, _, signal) => write!(f, "the emulator was killed by signal {}", signal.unwrap_or_default()),
        }?;
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}

/// Becomes the emulator, having asked the kernel to end it when `parent` dies. Returns only if that fails.
pub fn become_child(parent: u32, program: OsString, args: Vec<OsString>) -> Error {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return Error::io("cannot tie the emulator to its parent", error.into());
    }
    // The parent may have died before the request was in place.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now != i32::try_from(parent).ok() {
        return Error::new(Kind::Interrupted, "the parent is gone already");
    }
    let error = Command::new(&program).args(args).exec();
    Error::io(format!("cannot start {}", program.to_string_lossy()), error)
}

impl Emulator {
    /// Starts `command`; its console goes to `log` from now on.
    ///
    /// # Errors
    /// [`Kind::Host`] where the program cannot be started.
    pub fn start(command: &CommandLine, start: &Start, log: SerialLog) -> Result<Emulator> {
        let wrap = |source| Error::io(format!("cannot start {}", command.program.display()), source);
        let (qmp, theirs) = match start.qmp {
            true => Qmp::new().map(|(ours, theirs)| (Some(ours), Some(theirs))).map_err(wrap)?,
            false => (None, None),
        };
        let command = match &theirs {
            Some(theirs) => Qmp::attach(command, theirs),
            None => command.clone(),
        };
        let mut child = match &start.guardian {
            Some((program, first)) => {
                let mut child = Command::new(program);
                child.args(first).arg(std::process::id().to_string()).arg(&command.program);
                child
            }
            None => Command::new(&command.program),
        };
        child.args(command.args());
        // A group of its own: Ctrl-C on our terminal is ours to handle, and the whole group is ours to end.
        child.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if start.wire == Wire::Announced {
            // With a display the models open a terminal window that takes the serial port's only connection.
            child.stdin(Stdio::null()).env_remove("DISPLAY");
        }
        let mut child = child.spawn().map_err(wrap)?;
        drop(theirs);

        let input = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let output = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let errors = child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let mut notes: Vec<Notes> = errors.into_iter().map(|file| Notes { file, line: Vec::new() }).collect();
        let mut emulator = Emulator {
            child,
            status: None,
            wire: start.wire,
            input,
            output: None,
            telnet: Telnet::default(),
            notes: Vec::new(),
            kept: VecDeque::new(),
            qmp,
            pending: VecDeque::new(),
            log,
        };
        match start.wire {
            Wire::Stdio => emulator.output = output,
            Wire::Announced => notes.extend(output.map(|file| Notes { file, line: Vec::new() })),
        }
        emulator.notes = notes;
        let files = emulator.input.iter().chain(&emulator.output).chain(emulator.notes.iter().map(|notes| &notes.file));
        for file in files {
            rustix::io::ioctl_fionbio(file, true).map_err(|error| wrap(error.into()))?;
        }
        Ok(emulator)
    }

    /// Queues bytes to be typed; they are written as the machine takes them, in [`Emulator::turn`].
    pub fn type_bytes(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    /// Says how many bytes are still waiting to be taken.
    pub fn untyped(&self) -> usize {
        self.pending.len()
    }

    /// Returns QEMU's version, major and minor, once it has told it.
    pub fn qemu_version(&self) -> Option<(u64, u64)> {
        self.qmp.as_ref().and_then(Qmp::version)
    }

    /// Returns the log.
    pub fn log(&mut self) -> &mut SerialLog {
        &mut self.log
    }

    /// Waits until something happens or `timeout` is over, and takes it in. A signal ends the wait early.
    ///
    /// `extra` is a descriptor of the caller's to wait for as well.
    pub fn turn(&mut self, extra: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<Turn> {
        let mut turn = Turn { extra: self.wait(extra, timeout)?, ..Turn::default() };
        self.write_pending();
        self.read_notes(&mut turn.notes)?;
        for note in &turn.notes {
            self.log.note(note)?;
        }
        if let Some(qmp) = &mut self.qmp {
            qmp.read();
        }
        self.read_serial(&mut turn.serial);
        if !turn.serial.is_empty() {
            self.log.write(&turn.serial)?;
        } else if !turn.extra {
            turn.ended = self.has_ended()?;
        }
        Ok(turn)
    }

    /// Waits with `poll`; says whether `extra` can be read.
    fn wait(&mut self, extra: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<bool> {
        // With the serial line closed only the process is left to watch, and `poll` does not watch processes.
        let timeout = if self.output.is_none() { timeout.min(Duration::from_millis(10)) } else { timeout };
        let mut fds = Vec::new();
        if let Some(extra) = &extra {
            fds.push(PollFd::new(extra, PollFlags::IN));
        }
        fds.extend(self.output.iter().map(|file| PollFd::new(file, PollFlags::IN)));
        fds.extend(self.notes.iter().map(|notes| PollFd::new(&notes.file, PollFlags::IN)));
        if !self.pending.is_empty() {
            fds.extend(self.input.iter().map(|file| PollFd::new(file, PollFlags::OUT)));
        }
        let qmp = self.qmp.as_ref().and_then(Qmp::fd);
        fds.extend(qmp.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => Ok(extra.is_some() && !fds[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(Error::io("cannot wait for the emulator", error.into())),
        }
    }

    fn write_pending(&mut self) {
        let Some(input) = &mut self.input else {
            // A model whose port is not known yet: what is typed waits. After the end nobody is left to read.
            if self.output.is_none() && self.wire == Wire::Stdio {
                self.pending.clear();
            }
            return;
        };
        while !self.pending.is_empty() {
            match input.write(self.pending.as_slices().0) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.input = None;
                    self.pending.clear();
                    return;
                }
            }
        }
    }

    fn read_serial(&mut self, serial: &mut Vec<u8>) {
        let Some(output) = &mut self.output else { return };
        let mut buffer = [0; 16 << 10];
        loop {
            match output.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    match self.wire {
                        Wire::Stdio => serial.extend(&buffer[..count]),
                        Wire::Announced => self.telnet.push(&buffer[..count], serial),
                    }
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    self.output = None;
                    return;
                }
            }
        }
    }

    /// Takes in the emulator's messages; a model's serial port is among them.
    fn read_notes(&mut self, lines: &mut Vec<String>) -> Result<()> {
        self.notes.retain_mut(|notes| notes.read(lines));
        for line in &*lines {
            if self.kept.len() == NOTES_MAX {
                self.kept.pop_front();
            }
            self.kept.push_back(line.clone());
            if self.wire == Wire::Announced
                && self.input.is_none()
                && let Some(port) = super::model::announced_port(line)
            {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                    .and_then(|stream| stream.set_nonblocking(true).map(|()| stream))
                    .and_then(|stream| stream.try_clone().map(|clone| (stream, clone)))
                    .map_err(|source| Error::io(format!("cannot reach the model's serial port {port}"), source))?;
                self.input = Some(File::from(OwnedFd::from(stream.0)));
                self.output = Some(File::from(OwnedFd::from(stream.1)));
            }
        }
        Ok(())
    }

    /// Says whether the process is gone; what it left behind in its group goes with it.
    fn has_ended(&mut self) -> Result<bool> {
        let Some(pid) = self.pid().filter(|_| self.status.is_none()) else { return Ok(true) };
        let wrap = |source| Error::io("cannot wait for the emulator", source);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(None) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(Some(_)) => {}
            Err(error) => return Err(wrap(error.into())),
        }
        // Not reaped yet, so that the number is still its own.
        let _ = kill_process_group(pid, Signal::KILL);
        self.status = Some(self.child.wait().map_err(wrap)?);
        Ok(true)
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Waits for the emulator's end and says how it was; one that does not end by itself within `patience` is ended.
    pub fn finish(&mut self, patience: Duration) -> Result<Ending> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !self.turn(None, Duration::from_millis(10))?.ended {}
        self.end();
        self.turn(None, Duration::ZERO)?;
        let status = match self.status {
            Some(status) => status,
            None => self.child.wait().map_err(|source| Error::io("cannot wait for the emulator", source))?,
        };
        let reason = self.qmp.as_ref().and_then(Qmp::reason).map(str::to_owned);
        Ok(Ending { status, reason, notes: self.kept.iter().cloned().collect() })
    }

    /// Ends the process group: SIGTERM, a while, SIGKILL.
    fn end(&mut self) {
        let Some(group) = self.pid().filter(|_| self.status.is_none()) else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.has_ended(), Ok(false)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = kill_process_group(group, Signal::KILL);
        self.status = self.child.wait().ok();
    }
}

impl Notes {
    /// Takes in whole lines; says whether more may come.
    fn read(&mut self, lines: &mut Vec<String>) -> bool {
        let mut buffer = [0; 4096];
        let open = loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => {
                    for &byte in &buffer[..count] {
                        match byte {
                            b'\n' => self.finish_line(lines),
                            _ if self.line.len() < NOTE_MAX_BYTES => self.line.push(byte),
                            _ => {}
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        if !open {
            self.finish_line(lines);
        }
        open
    }

    fn finish_line(&mut self, lines: &mut Vec<String>) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() {
            lines.push(line.trim_end().to_owned());
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.end();
    }
}
