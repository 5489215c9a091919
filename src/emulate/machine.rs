//! From recipe, artifacts and options to a machine that runs: QEMU or a model, with its disks and ports.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use super::command::CommandLine;
use super::log::SerialLog;
use super::overlay::{self, Overlay, Persist};
use super::process::{Emulator, Start, Wire};
use super::{Image, model, qemu};
use crate::error::{Error, Kind, Result};
use crate::recipe::{Forward, Machine, MachineKind};
use crate::task::Cancel;

/// What can be asked for beside what the recipe says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// QEMU, or the model, where it is not the one in `PATH`.
    pub program: Option<PathBuf>,
    /// Where QEMU's monitor is.
    pub serial: qemu::Serial,
    /// Port of QEMU's GDB stub.
    pub gdb: Option<u16>,
    /// Wait for GDB before the first instruction.
    pub gdb_wait: bool,
    /// A reset ends the machine.
    pub no_reboot: bool,
    /// What becomes of what the machine writes.
    pub persist: Persist,
    /// Further arguments for the emulator.
    pub extra: Vec<OsString>,
    /// What starts the emulator so that it cannot outlive us: see [`Start::guardian`].
    pub guardian: Option<(PathBuf, Vec<OsString>)>,
}

/// A machine, composed but not started.
#[derive(Clone, Debug)]
pub struct Composed {
    /// Its command line.
    pub command: CommandLine,
    /// Its ports, none of them 0.
    pub forwards: Vec<Forward>,
    overlays: Vec<Overlay>,
    start: Start,
    is_model: bool,
}

/// A machine that runs, with what lives as long as it does.
#[derive(Debug)]
pub struct Running {
    /// The emulator.
    pub emulator: Emulator,
    // Dropped after the emulator.
    _copies: Vec<tempfile::TempPath>,
}

/// Composes the machine of a recipe. Touches no file, but looks for free ports where the recipe asks for port 0.
pub fn compose(machine: &Machine, image: &Image, options: &Options) -> Result<Composed> {
    let boot = startable(machine, image)?;
    let forwards = choose_ports(&machine.forwards)?;
    let is_model = model::program(machine.kind).is_some();
    let overlays = overlay::plan(image, is_model, options.persist);
    let command = if is_model {
        model::check(machine, overlays.len())?;
        if options.gdb.is_some() || options.gdb_wait {
            return Err(Error::new(Kind::Usage, "--gdb is QEMU's; the models have their own debugger interface"));
        }
        let disk = overlays.first().and_then(|overlay| overlay.path.as_deref());
        let chosen = model::Options { program: options.program.clone(), extra: options.extra.clone() };
        model::command_line(machine, boot, disk, &forwards, &chosen)
    } else {
        qemu::check_disks(overlays.len())?;
        let disks: Vec<_> = overlays.iter().map(Overlay::disk).collect();
        let chosen = qemu::Options {
            program: options.program.clone(),
            serial: options.serial,
            gdb: options.gdb,
            gdb_wait: options.gdb_wait,
            no_reboot: options.no_reboot,
            extra: options.extra.clone(),
        };
        qemu::command_line(machine, image, &disks, &forwards, &chosen)
    };
    let wire = if is_model { Wire::Announced } else { Wire::Stdio };
    let start = Start { wire, qmp: !is_model, guardian: options.guardian.clone() };
    Ok(Composed { command, forwards, overlays, start, is_model })
}

/// Returns what the machine starts, if there is an emulator of it that could start it.
fn startable<'a>(machine: &Machine, image: &'a Image) -> Result<&'a Path> {
    let error = if machine.kind == MachineKind::Board && machine.qemu.is_none() {
        Error::new(Kind::Usage, "the machine is a board of which the recipe names no emulator")
            .hint("`qemu` of `[machine]` names QEMU's model of it, where there is one")
    } else {
        let error = Error::new(Kind::Usage, "the recipe makes nothing that an emulator could start");
        match &image.boot {
            Some(boot) => return Ok(boot),
            None => error.hint("`firmware` of `[machine]` is started where `format` of `[boot]` is `u-boot`"),
        }
    };
    Err(error.hint("`xenbuild image` makes it, and `xenbuild flash` writes it to a card"))
}

impl Composed {
    /// Looks for the program: before a build of minutes it is good to know that it is there.
    pub fn check_program(&self) -> Result<PathBuf> {
        self.command.find_program().ok_or_else(|| match self.is_model {
            true => model::missing(&self.command.program),
            false => qemu::missing(&self.command.program),
        })
    }

    /// Starts it; its console goes to `log`.
    pub fn start(mut self, log: SerialLog, cancel: &Cancel) -> Result<Running> {
        self.command.program = self.check_program()?;
        let mut copies = Vec::new();
        for overlay in &self.overlays {
            copies.extend(overlay::prepare(overlay, cancel)?);
        }
        let emulator = Emulator::start(&self.command, &self.start, log)?;
        Ok(Running { emulator, _copies: copies })
    }

    /// Returns the overlays that stay after the machine has ended.
    pub fn kept(&self) -> impl Iterator<Item = &PathBuf> {
        self.overlays
            .iter()
            .filter(|overlay| overlay.persist != Persist::No)
            .filter_map(|overlay| overlay.path.as_ref())
    }
}

/// Replaces port 0 by a port that is free now. Another program may take it before the emulator does, which then says so.
pub fn choose_ports(forwards: &[Forward]) -> Result<Vec<Forward>> {
    // All stay open until the last is chosen: no port is given twice.
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    let mut chosen = Vec::new();
    for forward in forwards {
        let mut forward = forward.clone();
        if forward.host == 0 {
            let wrap = |source| Error::io("cannot find a free port on 127.0.0.1", source);
            if forward.udp {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(wrap)?;
                forward.host = socket.local_addr().map_err(wrap)?.port();
                udp.push(socket);
            } else {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(wrap)?;
                forward.host = listener.local_addr().map_err(wrap)?.port();
                tcp.push(listener);
            }
        }
        chosen.push(forward);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_becomes_free_ports_that_differ() {
        let any = Forward { udp: false, host: 0, guest: 22 };
        let fixed = Forward { udp: true, host: 5353, guest: 53 };
        let chosen = choose_ports(&[any.clone(), fixed.clone(), any]).unwrap();
        assert_ne!(chosen[0].host, 0);
        assert_ne!(chosen[0].host, chosen[2].host);
        assert_eq!(chosen[1], fixed);
    }
}
