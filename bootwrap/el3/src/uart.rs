//! A PL011, to complain on (DDI 0183).

use bootwrap_el3::parameters::Parameters;

use crate::registers::Registers;

const DR: u64 = 0x00;
const FR: u64 = 0x18;
const FR_TRANSMIT_FULL: u32 = 1 << 5;
const LCR_H: u64 = 0x2c;
const LCR_H_8BIT_FIFO: u32 = 0x70;
const CR: u64 = 0x30;
const CR_TRANSMIT_ENABLE: u32 = 1 << 8 | 1;

/// The board's UART, or none.
pub struct Uart(Option<Registers>);

impl Uart {
    /// Returns the board's UART, ready to transmit at the rate it already has.
    pub fn new(board: &Parameters) -> Uart {
        let registers = (board.uart != 0).then(|| Registers::at(board.uart));
        if let Some(uart) = registers
            && uart.read(CR) & CR_TRANSMIT_ENABLE != CR_TRANSMIT_ENABLE
        {
            uart.write(LCR_H, LCR_H_8BIT_FIFO);
            uart.write(CR, CR_TRANSMIT_ENABLE);
        }
        Uart(registers)
    }

    /// Prints text.
    pub fn text(&self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
    }

    /// Prints a number, leading zeroes too.
    pub fn hexadecimal(&self, value: u64) {
        for shift in (0..16).rev() {
            let digit = (value >> (4 * shift)) as u8 & 0xf;
            self.byte(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }

    fn byte(&self, byte: u8) {
        let Some(uart) = self.0 else { return };
        while uart.read(FR) & FR_TRANSMIT_FULL != 0 {}
        uart.write(DR, byte.into());
    }
}
