//! QEMU's machine protocol, as far as it is needed to learn why a machine stopped.
//!
//! docs/interop/qmp-spec.txt: one JSON object per line. After `qmp_capabilities` QEMU sends events, among them
//! `SHUTDOWN` with `data.reason`: `guest-shutdown`, `guest-reset`, `host-signal` and so on.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::command::CommandLine;

/// A line that is longer is not ours to read; QEMU's greeting has about 200 bytes.
const LINE_MAX_BYTES: usize = 64 << 10;

/// Our end of the connection.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    line: Vec<u8>,
    reason: Option<String>,
    version: Option<(u64, u64)>,
    closed: bool,
}

impl Qmp {
    /// Makes a connection: our end, and QEMU's, which a child inherits while the returned descriptor lives.
    pub fn new() -> std::io::Result<(Qmp, OwnedFd)> {
        let (mut ours, theirs) = UnixStream::pair()?;
        // QEMU reads it when its monitor comes up; the socket's buffer keeps it until then.
        ours.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
        ours.set_nonblocking(true)?;
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
        Ok((Qmp { stream: ours, line: Vec::new(), reason: None, version: None, closed: false }, theirs.into()))
    }

    /// Returns `command` with the options that make QEMU speak on its end, `theirs`.
    pub fn attach(command: &CommandLine, theirs: &OwnedFd) -> CommandLine {
        let mut command = command.clone();
        command.add(["-chardev".to_owned(), format!("socket,id=xenbuild,fd={}", theirs.as_raw_fd())]);
        command.add(["-mon", "chardev=xenbuild,mode=control"]);
        command
    }

    /// Returns the descriptor to wait for, until QEMU closes its end.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.closed).then(|| self.stream.as_fd())
    }

    /// Takes in what there is to read.
    pub fn read(&mut self) {
        let mut buffer = [0; 4096];
        while !self.closed {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(count) => self.take(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
        }
    }

    /// Returns QEMU's word for why the machine stopped, if it has.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Returns QEMU's version, major and minor, once it has greeted.
    pub fn version(&self) -> Option<(u64, u64)> {
        self.version
    }

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < LINE_MAX_BYTES {
                    self.line.push(byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if let Ok(message) = serde_json::from_slice::<Value>(&line) {
                self.heed(&message);
            }
        }
    }

    fn heed(&mut self, message: &Value) {
        let version = &message["QMP"]["version"]["qemu"];
        if let (Some(major), Some(minor)) = (version["major"].as_u64(), version["minor"].as_u64()) {
            self.version = Some((major, minor));
        }
        if message["event"] == "SHUTDOWN"
            && let Some(reason) = message["data"]["reason"].as_str()
        {
            self.reason = Some(reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_read_out_of_the_events() {
        let (mut qmp, theirs) = Qmp::new().unwrap();
        let mut theirs = UnixStream::from(theirs);
        let mut greeting = [0; 64];
        let count = theirs.read(&mut greeting).unwrap();
        assert_eq!(&greeting[..count], b"{\"execute\":\"qmp_capabilities\"}\n");
        theirs
            .write_all(b"{\"QMP\": {\"version\": {\"qemu\": {\"minor\": 2, \"major\": 7}}}}\r\n{\"return\": {}}\r\n")
            .unwrap();
        theirs.write_all(b"nonsense\r\n[]\r\n{\"event\": \"STOP\"}\r\n").unwrap();
        qmp.read();
        assert_eq!(qmp.version(), Some((7, 2)));
        assert_eq!(qmp.reason(), None);
        theirs.write_all(b"{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\"").unwrap();
        qmp.read();
        theirs.write_all(b": \"guest-reset\"}}\r\n").unwrap();
        drop(theirs);
        qmp.read();
        assert_eq!(qmp.reason(), Some("guest-reset"));
        assert!(qmp.fd().is_none(), "closed");
    }
}
