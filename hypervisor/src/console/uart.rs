//! The UARTs that are driven: Arm's PL011 (DDI 0183) and the 8250 family. Set up by the firmware; waited for, byte by byte.

use crate::arch::mmio::Region;
use crate::machine::UartKind;

/// A UART.
#[derive(Debug)]
pub struct Driver {
    kind: UartKind,
    registers: Region,
}

mod pl011 {
    pub const DR: u64 = 0x00;
    pub const FR: u64 = 0x18;
    pub const FR_RXFE: u32 = 1 << 4;
    pub const FR_TXFF: u32 = 1 << 5;
    pub const IMSC: u64 = 0x38;
    pub const ICR: u64 = 0x44;
    pub const RX: u32 = 1 << 4 | 1 << 6;
}

mod ns8250 {
    pub const DATA: u64 = 0;
    pub const IER: u64 = 1;
    pub const LSR: u64 = 5;
    pub const LSR_DATA: u32 = 1;
    pub const LSR_EMPTY: u32 = 1 << 5;
}

/// How often a byte is waited for; a UART that hangs must not hang the machine.
const PATIENCE: u32 = 1 << 20;

impl Driver {
    /// Returns a driver for registers that were mapped for it.
    pub fn new(kind: UartKind, registers: Region) -> Driver {
        let driver = Driver { kind, registers };
        match kind {
            UartKind::Pl011 => driver.registers.write32(pl011::IMSC, 0),
            UartKind::Ns8250 { .. } => driver.write(ns8250::IER, 0),
        }
        driver
    }

    fn read(&self, register: u64) -> u32 {
        match self.kind {
            UartKind::Pl011 => self.registers.read32(register),
            UartKind::Ns8250 { shift, wide: true } => self.registers.read32(register << shift),
            UartKind::Ns8250 { shift, wide: false } => self.registers.read8(register << shift).into(),
        }
    }

    fn write(&self, register: u64, value: u32) {
        match self.kind {
            UartKind::Pl011 => self.registers.write32(register, value),
            UartKind::Ns8250 { shift, wide: true } => self.registers.write32(register << shift, value),
            UartKind::Ns8250 { shift, wide: false } => self.registers.write8(register << shift, value as u8),
        }
    }

    /// Writes a byte, once there is room for it.
    pub fn put(&self, byte: u8) {
        let full = || match self.kind {
            UartKind::Pl011 => self.read(pl011::FR) & pl011::FR_TXFF != 0,
            UartKind::Ns8250 { .. } => self.read(ns8250::LSR) & ns8250::LSR_EMPTY == 0,
        };
        let mut patience = PATIENCE;
        while full() && patience > 0 {
            patience -= 1;
            core::hint::spin_loop();
        }
        match self.kind {
            UartKind::Pl011 => self.write(pl011::DR, byte.into()),
            UartKind::Ns8250 { .. } => self.write(ns8250::DATA, byte.into()),
        }
    }

    /// Returns a byte that came in.
    pub fn get(&self) -> Option<u8> {
        match self.kind {
            UartKind::Pl011 => {
                self.write(pl011::ICR, pl011::RX);
                (self.read(pl011::FR) & pl011::FR_RXFE == 0).then(|| self.read(pl011::DR) as u8)
            }
            UartKind::Ns8250 { .. } => {
                (self.read(ns8250::LSR) & ns8250::LSR_DATA != 0).then(|| self.read(ns8250::DATA) as u8)
            }
        }
    }

    /// Lets bytes that come in raise the interrupt.
    pub fn listen(&self) {
        match self.kind {
            UartKind::Pl011 => self.write(pl011::IMSC, pl011::RX),
            UartKind::Ns8250 { .. } => self.write(ns8250::IER, 1),
        }
    }
}
