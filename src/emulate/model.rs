//! The command lines of Arm's models, Foundation Platform and FVP Base RevC: pure functions of the recipe, the artifacts
//! and the options. The models are the user's own installation; their serial port is a TCP port that they announce.
//!
//! Arm, "Foundation Platform User Guide" (command-line options) and "Fixed Virtual Platforms, FVP Reference Guide"
//! (Base platform parameters). Both models start every CPU at EL3, at the entry of the ELF that they are given.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::command::CommandLine;
use crate::error::{Error, Kind, Result};
use crate::recipe::{Forward, Machine, MachineKind};

/// What can be asked for beside what the recipe says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The model itself, where it is not the one in `PATH`.
    pub program: Option<PathBuf>,
    /// Further arguments, as they are.
    pub extra: Vec<OsString>,
}

/// Returns the program's name, for machines that are models.
pub fn program(kind: MachineKind) -> Option<&'static str> {
    match kind {
        MachineKind::QemuVirt | MachineKind::Board => None,
        MachineKind::FoundationV8 => Some("Foundation_Platform"),
        MachineKind::FvpBaseRevC => Some("FVP_Base_RevC-2xAEMvA"),
    }
}

/// Composes the command line. `disk` is what the model may write to: never the artifact itself.
pub fn command_line(
    machine: &Machine,
    boot: &Path,
    disk: Option<&Path>,
    forwards: &[Forward],
    options: &Options,
) -> CommandLine {
    let name = program(machine.kind).unwrap_or("Foundation_Platform");
    let mut line = CommandLine::new(options.program.clone().unwrap_or_else(|| name.into()));
    let cpus = machine.cpus.value;
    if machine.kind == MachineKind::FvpBaseRevC {
        // Two clusters of four.
        line.add(["-C".into(), format!("cluster0.NUM_CORES={}", cpus.min(4))]);
        line.add(["-C".into(), format!("cluster1.NUM_CORES={}", cpus.saturating_sub(4).min(4))]);
        for parameter in [
            "bp.secure_memory=0",
            "cache_state_modelled=0",
            "bp.vis.disable_visualisation=1",
            "bp.pl011_uart0.untimed_fifos=1",
            "bp.terminal_0.mode=telnet",
            "bp.terminal_0.start_telnet=0",
            "bp.terminal_1.start_telnet=0",
            "bp.terminal_2.start_telnet=0",
            "bp.terminal_3.start_telnet=0",
            "bp.ve_sysregs.exit_on_shutdown=1",
            "bp.virtio_rng.enabled=1",
        ] {
            line.add(["-C", parameter]);
        }
        line.add(["-C".into(), format!("bp.dram_size={}", machine.memory_bytes.value.div_ceil(1 << 30))]);
        if let Some(disk) = disk {
            line.add(["-C".into(), joined("bp.virtioblockdevice.image_path=", disk)]);
        }
        line.add(["-C", "bp.virtio_net.enabled=1"]);
        line.add(["-C", "bp.virtio_net.hostbridge.userNetworking=1"]);
        if !forwards.is_empty() {
            line.add(["-C".into(), format!("bp.virtio_net.hostbridge.userNetPorts={}", ports(forwards, "127.0.0.1:"))]);
        }
        line.add(["-a".into(), joined("cluster*.cpu*=", boot)]);
    } else {
        line.add([format!("--cores={cpus}")]);
        line.add([if machine.gic == 3 { "--gicv3" } else { "--no-gicv3" }]);
        line.add(["--no-secure-memory"]);
        line.add(["--no-visualization"]);
        line.add([joined("--image=", boot)]);
        if let Some(disk) = disk {
            line.add([joined("--block-device=", disk)]);
        }
        line.add(["--network=nat"]);
        if !forwards.is_empty() {
            line.add([format!("--network-nat-ports={}", ports(forwards, ""))]);
        }
    }
    for argument in &options.extra {
        line.add([argument.clone()]);
    }
    line
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(option);
    joined.push(path);
    joined
}

fn ports(forwards: &[Forward], host: &str) -> String {
    let one = |forward: &Forward| format!("{host}{}={}", forward.host, forward.guest);
    forwards.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Checks what the models cannot do: more than one disk, UDP forwards, too many CPUs, a GICv2 on the Base platform.
pub fn check(machine: &Machine, disks: usize) -> Result<()> {
    let (cpus_max, gicv2) = if machine.kind == MachineKind::FvpBaseRevC { (8, false) } else { (4, true) };
    if machine.cpus.value > cpus_max {
        let message = format!("{} CPUs, but the model has up to {cpus_max}", machine.cpus.value);
        return Err(Error::new(Kind::Usage, message));
    }
    if machine.gic == 2 && !gicv2 {
        return Err(Error::new(Kind::Usage, "a GICv2, but the model has a GICv3 only"));
    }
    if disks > 1 {
        return Err(Error::new(Kind::Usage, format!("{disks} disks, but the model has one block device")));
    }
    if machine.forwards.iter().any(|forward| forward.udp) {
        return Err(Error::new(Kind::Usage, "the models forward TCP ports only, not UDP"));
    }
    Ok(())
}

/// Makes the error for a model that is not there.
pub fn missing(program: &Path) -> Error {
    Error::new(Kind::Host, format!("cannot find {}", program.display()))
        .hint("it is one of Arm's own models: install it from Arm's developer site and put its folder into PATH")
        .hint("or name it: --model PATH, or XENBUILD_MODEL=PATH; --dry-run prints its command line without it")
}

/// Reads the port of the first serial line out of a message: `terminal_0: Listening for serial connection on port 5000`.
pub fn announced_port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("terminal_0: Listening for serial connection on port ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|&port| port != 0)
}

/// Takes the telnet protocol (RFC 854) out of what a model's serial port sends: IAC, its commands and negotiations.
#[derive(Debug, Default)]
pub struct Telnet {
    state: TelnetState,
}

#[derive(Clone, Copy, Debug, Default)]
enum TelnetState {
    #[default]
    Data,
    Command,
    Option,
    Sub,
    SubCommand,
}

impl Telnet {
    /// Appends the data among `input` to `output`.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) {
        const IAC: u8 = 255;
        const SB: u8 = 250;
        const SE: u8 = 240;
        for &byte in input {
            self.state = match (self.state, byte) {
                (TelnetState::Data, IAC) => TelnetState::Command,
                (TelnetState::Command, IAC) | (TelnetState::Data, _) => {
                    output.push(byte);
                    TelnetState::Data
                }
                (TelnetState::Command, SB) => TelnetState::Sub,
                (TelnetState::Command, 251..=254) => TelnetState::Option,
                (TelnetState::Command | TelnetState::Option, _) => TelnetState::Data,
                (TelnetState::Sub, IAC) => TelnetState::SubCommand,
                (TelnetState::SubCommand, SE) => TelnetState::Data,
                (TelnetState::Sub | TelnetState::SubCommand, _) => TelnetState::Sub,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_out_of_the_announcement() {
        assert_eq!(announced_port("terminal_0: Listening for serial connection on port 5000"), Some(5000));
        assert_eq!(announced_port("Info: x: terminal_0: Listening for serial connection on port 5012."), Some(5012));
        assert_eq!(announced_port("terminal_1: Listening for serial connection on port 5001"), None);
        assert_eq!(announced_port("terminal_0: Listening for serial connection on port 99999"), None);
    }

    #[test]
    fn telnet_commands_are_taken_out_wherever_they_are_cut() {
        let bytes = b"\xff\xfb\x01\xff\xfd\x03Xen\xff\xfa\x18\x01\xff\xf0 4\xff\xff\xff\xf1.17";
        for cut in 0..bytes.len() {
            let (mut telnet, mut output) = (Telnet::default(), Vec::new());
            telnet.push(&bytes[..cut], &mut output);
            telnet.push(&bytes[cut..], &mut output);
            assert_eq!(output, b"Xen 4\xff.17", "cut at {cut}");
        }
    }
}
