//! Machines and their consoles: command lines, dialogues with a machine that is played by a script, and (conformance) a
//! real Xen under a real QEMU.

#[path = "emulate/command_lines.rs"]
mod command_lines;
#[path = "emulate/commands.rs"]
mod commands;
#[path = "emulate/dialogues.rs"]
mod dialogues;
#[path = "emulate/fixture.rs"]
mod fixture;
#[path = "emulate/qcow2.rs"]
mod qcow2;
