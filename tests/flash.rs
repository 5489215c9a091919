//! Flashing: guards on machines that are folders, cards that fail in every way, and the command on files and, where the
//! machine allows, loop devices.

#[path = "flash/cards.rs"]
mod cards;
#[path = "flash/commands.rs"]
mod commands;
#[path = "flash/devices.rs"]
mod devices;
#[path = "flash/faults.rs"]
mod faults;
#[path = "flash/guards.rs"]
mod guards;
#[path = "flash/images.rs"]
mod images;
