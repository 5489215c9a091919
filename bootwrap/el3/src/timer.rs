//! The generic timer's part that only EL3 can do: start the system counter, say how fast it is (DDI 0487, D12 and I3).

use bootwrap_el3::parameters::Parameters;

use crate::cpu;
use crate::registers::Registers;

const CNTCR: u64 = 0x00;
const CNTCR_ENABLE: u32 = 1;
const CNTFID0: u64 = 0x20;

/// Starts the system counter where reset leaves it stopped.
pub fn start(board: &Parameters) {
    if board.counter_control != 0 {
        let counter = Registers::at(board.counter_control);
        if board.counter_hz != 0 {
            counter.write(CNTFID0, board.counter_hz as u32);
        }
        counter.write(CNTCR, counter.read(CNTCR) | CNTCR_ENABLE);
    }
}

/// Fills in this CPU's CNTFRQ_EL0, unless an emulator or earlier firmware already did.
pub fn frequency(board: &Parameters) {
    if cpu::counter_frequency() == 0 {
        cpu::set_counter_frequency(board.counter_hz);
    }
}
