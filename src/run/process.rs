//! Runs the programs of steps: in a group of their own, their words in a log, stopped when the build is.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::jobserver::Jobserver;
use super::tools;
use crate::error::{Error, Kind, Result};
use crate::step::host::Call;
use crate::step::output;
use crate::task::Task;

/// How often a wait looks at the cancel flag.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How many last lines an error shows.
const LAST_MAX: usize = 12;
/// Longer lines are cut for people; the log has them whole.
const LINE_MAX_BYTES: usize = 300;

/// Runs a program to its end; makes of it take further jobs from the pool.
pub fn run(call: &Call<'_>, jobs: Option<&Jobserver>, task: &dyn Task) -> Result<()> {
    let program = tools::find(call.program)?;
    let mut command = match jobs {
        // The pipe is opened by the child itself, so that no other child has it: make knows it by number.
        Some(jobs) => {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "exec 3<>\"$0\" 4<>\"$0\" && exec \"$@\""]).arg(jobs.path()).arg(program);
            command.env_clear().env("MAKEFLAGS", "-j --jobserver-fds=3,4 --jobserver-auth=3,4");
            command
        }
        None => {
            let mut command = Command::new(program);
            command.env_clear();
            command
        }
    };
    command.args(&call.arguments).current_dir(call.folder).process_group(0).stdin(Stdio::null());
    command.env("PATH", tools::search_path(call.programs)).envs([("LC_ALL", "C"), ("TZ", "UTC0")]);
    for kept in ["HOME", "TMPDIR"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command.envs(call.environment.iter().map(|(name, value)| (name, value)));
    let (ended, told) = follow(command, call, task)?;
    if ended.success() {
        return Ok(());
    }
    Err(told.error(call, ended))
}

/// Starts a program and follows it to its end.
fn follow(mut command: Command, call: &Call<'_>, task: &dyn Task) -> Result<(ExitStatus, Told)> {
    let started = |error| Error::io(format!("cannot start {}", call.program), error);
    let (mut reader, writer) = io::pipe().map_err(started)?;
    rustix::io::ioctl_fionbio(&reader, true).map_err(|error| started(error.into()))?;
    command.stdout(writer.try_clone().map_err(started)?).stderr(writer);
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(call.log)
        .map_err(|error| Error::io(format!("cannot open {}", call.log.display()), error))?;
    let words: Vec<&str> = std::iter::once(call.program).chain(call.arguments.iter().map(String::as_str)).collect();
    writeln!(log, "$ {}", words.join(" ")).map_err(|error| output::write_error(call.log, error))?;
    let mut child = Running { child: command.spawn().map_err(started)?, ended: None };
    // Its ends of the pipe were the command's.
    drop(command);
    let mut told = Told::default();
    loop {
        task.cancel().check()?;
        let timeout = Timespec { tv_sec: 0, tv_nsec: GLANCE.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&timeout));
        let ended = child.has_ended()?;
        // What it said last is there by the time it has ended.
        let open = drain(&mut reader, &mut log, &mut told, call, task)?;
        if ended || !open {
            break;
        }
    }
    let ended = child.wait()?;
    told.line_ends(task);
    Ok((ended, told))
}

/// Takes in what is there to read; says whether more may come.
fn drain(
    reader: &mut io::PipeReader,
    log: &mut File,
    told: &mut Told,
    call: &Call<'_>,
    task: &dyn Task,
) -> Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                log.write_all(&buffer[..count]).map_err(|error| output::write_error(call.log, error))?;
                told.hear(&buffer[..count], task);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(Error::io(format!("cannot hear {}", call.program), error)),
        }
    }
}

/// What a program said, as far as people want to know.
#[derive(Default)]
struct Told {
    line: Vec<u8>,
    last: VecDeque<String>,
    first_error: Option<String>,
}

impl Told {
    fn hear(&mut self, bytes: &[u8], task: &dyn Task) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.line_ends(task),
                _ if self.line.len() < LINE_MAX_BYTES => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn line_ends(&mut self, task: &dyn Task) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.trim().is_empty() {
            return;
        }
        task.tail(line.trim());
        if self.first_error.is_none() && is_error(&line) {
            self.first_error = Some(line.trim().to_owned());
        }
        if self.last.len() == LAST_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn error(self, call: &Call<'_>, ended: ExitStatus) -> Error {
        let how = match (ended.code(), ended.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (_, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let mut message = format!("{} failed with {how}", call.title);
        if let Some(first) = &self.first_error {
            message.push_str(&format!("\n  the first error: {first}"));
        }
        message.push_str("\n  the last lines:");
        for line in &self.last {
            message.push_str(&format!("\n    {line}"));
        }
        message.push_str(&format!("\n  all of it: {}", call.log.display()));
        let all = self.last.iter().map(String::as_str).chain(self.first_error.as_deref());
        let hints = tools::hint(all);
        // Where this machine lacks something, the source is not to blame.
        let kind = if hints.is_empty() { Kind::Input } else { Kind::Host };
        Error { hints, ..Error::new(kind, message) }
    }
}

/// Says whether a line of a compiler, a linker or make tells of an error.
fn is_error(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let marks =
        ["error:", "*** ", "undefined reference", ": not found", "no such file", "cannot find", "no space left"];
    marks.iter().any(|mark| lower.contains(mark))
}

/// A running program; dropping it ends its whole group.
struct Running {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Running {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Says whether it has ended; it is not reaped yet, so that the group's number is still its own.
    fn has_ended(&self) -> Result<bool> {
        let Some(pid) = self.pid() else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(None) | Err(rustix::io::Errno::INTR) => Ok(false),
            Ok(Some(_)) => Ok(true),
            Err(error) => Err(Error::io("cannot wait for a program", error.into())),
        }
    }

    /// Waits for its end.
    fn wait(&mut self) -> Result<ExitStatus> {
        while !self.has_ended()? {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.reap().ok_or_else(|| Error::new(Kind::Host, "cannot wait for a program"))
    }

    /// Ends what is left of the group, then reaps it.
    fn reap(&mut self) -> Option<ExitStatus> {
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        self.ended = self.child.wait().ok();
        self.ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(group) = self.pid().filter(|_| self.ended.is_none()) else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && !self.has_ended().unwrap_or(true) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.reap();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::task::{Cancel, Silent};

    fn sh(script: &str, folder: &Path, jobs: Option<&Jobserver>, task: &dyn Task) -> Result<()> {
        let call = Call {
            title: "the script",
            program: "sh",
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("WORD", "said".into())],
            folder,
            programs: None,
            log: &folder.join("log"),
        };
        run(&call, jobs, task)
    }

    #[test]
    fn a_failure_shows_its_first_error_and_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        sh("echo $WORD", folder.path(), None, &Silent::default()).unwrap();
        let script = "echo one; echo 'x.c:1: error: bad' >&2; for n in $(seq 30); do echo line $n; done; exit 3";
        let error = sh(script, folder.path(), None, &Silent::default()).unwrap_err();
        let told = error.to_string();
        assert!(
            told.starts_with("the script failed with exit status 3\n  the first error: x.c:1: error: bad\n"),
            "{told}"
        );
        assert!(told.contains("\n    line 30\n") && !told.contains("line 18\n"), "{told}");
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(log.contains("\nsaid\n") && log.contains("\nline 1\n"), "{log}");
    }

    #[test]
    fn a_cancelled_program_ends_with_all_that_it_started() {
        struct Later(Cancel);
        impl Task for Later {
            fn total(&self, _bytes: u64) {}
            fn advance(&self, _bytes: u64) {}
            fn note(&self, _line: &str) {}
            fn tail(&self, _line: &str) {
                self.0.set();
            }
            fn cancel(&self) -> &Cancel {
                &self.0
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let script = "sh -c 'sleep 60; touch late' & echo $! > pid; echo begun; sleep 60";
        let error = sh(script, folder.path(), None, &Later(Cancel::default())).unwrap_err();
        assert_eq!(error.kind, Kind::Interrupted);
        assert!(began.elapsed() < Duration::from_secs(20));
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }

    #[test]
    fn makes_share_the_jobs() {
        let folder = tempfile::tempdir().unwrap();
        if tools::find("make").is_err() {
            eprintln!("note: make is missing; not tried");
            return;
        }
        let jobs = Jobserver::new(&folder.path().join("jobs"), 3).unwrap();
        // Each recipe line notes when it begins and ends.
        let text = "all: $(addprefix t,1 2 3 4 5 6 7 8)\nt%:\n\t@echo b >> times; sleep 0.05; echo e >> times\n";
        std::fs::write(folder.path().join("Makefile"), text).unwrap();
        jobs.take(&Cancel::default()).unwrap();
        let call = Call {
            title: "make",
            program: "make",
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.path(),
            programs: None,
            log: &folder.path().join("log"),
        };
        run(&call, Some(&jobs), &Silent::default()).unwrap();
        let times = std::fs::read_to_string(folder.path().join("times")).unwrap();
        let (mut now, mut most) = (0, 0);
        for line in times.lines() {
            now += if line == "b" { 1 } else { -1 };
            most = most.max(now);
        }
        assert_eq!((times.lines().count(), most), (16, 3), "{times}");
    }
}
