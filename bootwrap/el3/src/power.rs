//! Switching the board off, and resetting it, through the board's own device.

use bootwrap_el3::parameters::{POWER_PL061, POWER_VEXPRESS, Parameters};

use crate::cpu;
use crate::registers::Registers;

/// Versatile Express and models (DUI 0447, system configuration registers).
const SYS_CFGDATA: u64 = 0xa0;
const SYS_CFGCTRL: u64 = 0xa4;
const SYS_CFGCTRL_START_WRITE: u32 = 0b11 << 30;
const FUNCTION_SHUTDOWN: u32 = 8 << 20;
const FUNCTION_REBOOT: u32 = 9 << 20;

/// PL061 (DDI 0190): the data register's address bits 9..2 select the pins that a write changes.
const DATA: u64 = 0x000;
const DIRECTION: u64 = 0x400;

/// Switches the board off; returns if that did nothing.
pub fn off(board: &Parameters) {
    act(board, FUNCTION_SHUTDOWN, board.power_pins);
}

/// Resets the board; returns if that did nothing.
pub fn reset(board: &Parameters) {
    act(board, FUNCTION_REBOOT, board.power_pins >> 8);
}

fn act(board: &Parameters, function: u32, pin: u32) {
    let device = Registers::at(board.power_address);
    match board.power_method {
        POWER_VEXPRESS => {
            device.write(SYS_CFGDATA, 0);
            device.write(SYS_CFGCTRL, SYS_CFGCTRL_START_WRITE | function);
        }
        POWER_PL061 => {
            // Low first: the board acts on the rising edge.
            let mask = 1 << (pin & 7);
            device.write(DATA + u64::from(mask << 2), 0);
            device.write(DIRECTION, device.read(DIRECTION) | mask);
            device.write(DATA + u64::from(mask << 2), mask);
        }
        _ => return,
    }
    // The device may need a moment; an emulator on a busy machine, several.
    cpu::wait_seconds(5);
}
