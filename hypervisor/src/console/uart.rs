//! The UARTs that are driven: Arm's PL011 (DDI 0183), Cadence's (Xilinx UG1085, chapter 21), and the 8250 family.
//!
//! Their speed is the firmware's. They are waited for, byte by byte.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::arch::mmio::Region;
use crate::machine::UartKind;

/// A UART.
#[derive(Debug)]
pub struct Driver {
    kind: UartKind,
    registers: Region,
    /// It has not taken a byte for long: until it has room again, nothing is waited for.
    stuck: AtomicBool,
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

mod cadence {
    pub const CR: u64 = 0x00;
    pub const CR_DISABLED: u32 = 1 << 3 | 1 << 5;
    pub const CR_ENABLED: u32 = 1 << 2 | 1 << 4;
    pub const IER: u64 = 0x08;
    pub const IDR: u64 = 0x0c;
    pub const ISR: u64 = 0x14;
    /// How many bytes raise the receiver's interrupt.
    pub const RXWM: u64 = 0x20;
    pub const SR: u64 = 0x2c;
    pub const FIFO: u64 = 0x30;
    pub const SR_RXEMPTY: u32 = 1 << 1;
    pub const SR_TXFULL: u32 = 1 << 4;
    /// Enough was received, or something long ago.
    pub const RX: u32 = 1 << 0 | 1 << 8;
    pub const ALL: u32 = 0x1fff;
}

mod ns8250 {
    pub const DATA: u64 = 0;
    pub const IER: u64 = 1;
    pub const IIR: u64 = 2;
    pub const FCR: u64 = 2;
    pub const MCR: u64 = 4;
    pub const LSR: u64 = 5;
    /// DesignWare's own: the state of the UART.
    pub const USR: u64 = 0x1f;
    pub const LSR_DATA: u32 = 1;
    pub const LSR_EMPTY: u32 = 1 << 5;
    pub const IIR_MASK: u32 = 0xf;
    pub const IIR_NONE: u32 = 1;
    /// DesignWare's own: LCR was written while the UART was busy.
    pub const IIR_BUSY: u32 = 7;
    /// Something has been in the FIFO for long.
    pub const IIR_TIMEOUT: u32 = 0xc;
    pub const FIFO: u32 = 1;
    /// Ready, and the output that on many boards lets the interrupt out.
    pub const READY: u32 = 1 << 0 | 1 << 1 | 1 << 3;
}

/// How often room for a byte is looked for; a UART that hangs must not hang the machine.
const PATIENCE: u32 = 1 << 20;

impl Driver {
    /// Returns a driver for registers that were mapped for it.
    pub fn new(kind: UartKind, registers: Region) -> Driver {
        let driver = Driver { kind, registers, stuck: AtomicBool::new(false) };
        match kind {
            UartKind::Pl011 => driver.registers.write32(pl011::IMSC, 0),
            UartKind::Cadence => {
                driver.write(cadence::IDR, cadence::ALL);
                // Whoever started us may have left both directions off.
                driver.write(cadence::CR, driver.read(cadence::CR) & !cadence::CR_DISABLED | cadence::CR_ENABLED);
            }
            UartKind::Ns8250 { .. } => driver.write(ns8250::IER, 0),
        }
        driver
    }

    fn read(&self, register: u64) -> u32 {
        match self.kind {
            UartKind::Pl011 | UartKind::Cadence => self.registers.read32(register),
            UartKind::Ns8250 { shift, wide: true, .. } => self.registers.read32(register << shift),
            UartKind::Ns8250 { shift, wide: false, .. } => self.registers.read8(register << shift).into(),
        }
    }

    fn write(&self, register: u64, value: u32) {
        match self.kind {
            UartKind::Pl011 | UartKind::Cadence => self.registers.write32(register, value),
            UartKind::Ns8250 { shift, wide: true, .. } => self.registers.write32(register << shift, value),
            UartKind::Ns8250 { shift, wide: false, .. } => self.registers.write8(register << shift, value as u8),
        }
    }

    /// Writes a byte, once there is room for it. One that a UART does not take for long is lost, and so are the next ones at once.
    pub fn put(&self, byte: u8) {
        let full = || match self.kind {
            UartKind::Pl011 => self.read(pl011::FR) & pl011::FR_TXFF != 0,
            UartKind::Cadence => self.read(cadence::SR) & cadence::SR_TXFULL != 0,
            UartKind::Ns8250 { .. } => self.read(ns8250::LSR) & ns8250::LSR_EMPTY == 0,
        };
        let mut patience = if self.stuck.load(Relaxed) { 0 } else { PATIENCE };
        while full() {
            if patience == 0 {
                self.stuck.store(true, Relaxed);
                return;
            }
            patience -= 1;
            core::hint::spin_loop();
        }
        self.stuck.store(false, Relaxed);
        match self.kind {
            UartKind::Pl011 => self.write(pl011::DR, byte.into()),
            UartKind::Cadence => self.write(cadence::FIFO, byte.into()),
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
            // What comes after this raises it again.
            UartKind::Cadence => {
                self.write(cadence::ISR, cadence::RX);
                (self.read(cadence::SR) & cadence::SR_RXEMPTY == 0).then(|| self.read(cadence::FIFO) as u8)
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
            UartKind::Cadence => {
                self.write(cadence::RXWM, 1);
                self.write(cadence::IER, cadence::RX);
            }
            UartKind::Ns8250 { .. } => {
                self.write(ns8250::FCR, ns8250::FIFO);
                self.write(ns8250::MCR, ns8250::READY);
                self.write(ns8250::IER, 1);
            }
        }
    }

    /// Ends what still raises the interrupt when everything that came in was taken.
    pub fn end_interrupt(&self) {
        let UartKind::Ns8250 { extended, .. } = self.kind else { return };
        match self.read(ns8250::IIR) & ns8250::IIR_MASK {
            ns8250::IIR_NONE => {}
            // DesignWare's alone says this: LCR was written at a bad time, perhaps by who had it before. Its state's register ends it.
            ns8250::IIR_BUSY if extended => {
                self.read(ns8250::USR);
            }
            // DesignWare's may say this of an empty FIFO, until that is read.
            ns8250::IIR_TIMEOUT if self.read(ns8250::LSR) & ns8250::LSR_DATA == 0 => {
                self.read(ns8250::DATA);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::mmio::put_device;
    use alloc::collections::VecDeque;
    use alloc::rc::Rc;
    use alloc::vec::Vec;
    use core::cell::RefCell;

    /// An 8250 as far as the driver can tell: offsets as the driver uses them.
    #[derive(Debug, Default)]
    struct Chip {
        shift: u32,
        size: usize,
        sent: Vec<u8>,
        came: VecDeque<u8>,
        /// How often the transmitter says that it is busy before it takes a byte.
        busy: u32,
        waited: u32,
        /// Bytes that came while it was busy.
        overruns: u32,
        ier: u32,
        mcr: u32,
        fifo: bool,
        /// DesignWare: LCR was written at a bad time; the FIFO's timeout came without data.
        lcr_trouble: bool,
        false_timeout: bool,
    }

    impl Chip {
        fn access(&mut self, offset: u64, size: usize, value: Option<u32>) -> u32 {
            assert_eq!(size, self.size, "offset {offset:#x}");
            assert_eq!(offset % (1 << self.shift), 0, "offset {offset:#x}");
            match (offset >> self.shift, value) {
                (ns8250::DATA, None) => {
                    self.false_timeout = false;
                    self.came.pop_front().unwrap_or(0).into()
                }
                (ns8250::DATA, Some(byte)) => {
                    self.overruns += u32::from(self.waited != 0);
                    self.waited = self.busy;
                    self.sent.push(byte as u8);
                    0
                }
                (ns8250::IER, Some(value)) => {
                    self.ier = value;
                    0
                }
                (ns8250::FCR, Some(value)) => {
                    self.fifo = value & 1 != 0;
                    0
                }
                (ns8250::IIR, None) if self.lcr_trouble => ns8250::IIR_BUSY,
                (ns8250::IIR, None) if self.false_timeout => ns8250::IIR_TIMEOUT | 0xc0,
                (ns8250::IIR, None) => ns8250::IIR_NONE | 0xc0,
                (ns8250::MCR, Some(value)) => {
                    self.mcr = value;
                    0
                }
                (ns8250::LSR, None) => {
                    let ready = self.waited == 0;
                    self.waited = self.waited.saturating_sub(1);
                    let bit = |on: bool, bit: u32| if on { bit } else { 0 };
                    bit(ready, ns8250::LSR_EMPTY) | bit(!self.came.is_empty(), ns8250::LSR_DATA)
                }
                (ns8250::USR, None) => {
                    self.lcr_trouble = false;
                    0
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn chip(shift: u32, wide: bool, extended: bool) -> (Rc<RefCell<Chip>>, Driver) {
        let size = if wide { 4 } else { 1 };
        let chip = Rc::new(RefCell::new(Chip { shift, size, ier: 0xff, busy: 3, ..Chip::default() }));
        let device = chip.clone();
        put_device(move |offset, size, value| device.borrow_mut().access(offset, size, value));
        (chip, Driver::new(UartKind::Ns8250 { shift, wide, extended }, Region::map(0, 0x100)))
    }

    #[test]
    fn every_width_and_distance_of_an_8250_sends_and_receives() {
        let kinds = [(0, false), (1, false), (2, false), (2, true), (3, true)];
        for (shift, wide, extended) in kinds.into_iter().flat_map(|(a, b)| [(a, b, false), (a, b, true)]) {
            let (chip, driver) = chip(shift, wide, extended);
            assert_eq!(chip.borrow().ier, 0, "silent until somebody listens");
            b"hello".iter().for_each(|&byte| driver.put(byte));
            assert_eq!((&chip.borrow().sent[..], chip.borrow().overruns), (&b"hello"[..], 0));
            driver.listen();
            assert_eq!((chip.borrow().ier, chip.borrow().mcr, chip.borrow().fifo), (1, 0xb, true));
            assert_eq!(driver.get(), None);
            chip.borrow_mut().came.extend(b"ab");
            assert_eq!([driver.get(), driver.get(), driver.get()], [Some(b'a'), Some(b'b'), None]);
            driver.end_interrupt();
        }
    }

    #[test]
    fn what_only_designware_raises_is_ended() {
        // Where there is no room for its register, that is not touched.
        let (short, driver) = chip(2, true, false);
        short.borrow_mut().lcr_trouble = true;
        driver.end_interrupt();
        assert!(short.borrow().lcr_trouble);
        let (chip, driver) = chip(2, true, true);
        chip.borrow_mut().lcr_trouble = true;
        driver.end_interrupt();
        assert!(!chip.borrow().lcr_trouble);
        chip.borrow_mut().false_timeout = true;
        driver.end_interrupt();
        assert!(!chip.borrow().false_timeout);
        // A timeout with data is no false one: the data stays for who reads it.
        chip.borrow_mut().false_timeout = true;
        chip.borrow_mut().came.push_back(b'z');
        driver.end_interrupt();
        assert_eq!(driver.get(), Some(b'z'));
    }

    #[test]
    fn cadences_sends_and_receives() {
        /// What is masked in, what is latched, what came and what was sent; two bytes fit until somebody looks.
        #[derive(Debug, Default)]
        struct Chip {
            enabled: u32,
            latched: u32,
            trigger: u32,
            came: VecDeque<u8>,
            sent: Vec<u8>,
            room: u32,
            control: u32,
        }
        let chip =
            Rc::new(RefCell::new(Chip { enabled: cadence::ALL, trigger: 32, control: 0x128, ..Chip::default() }));
        let device = chip.clone();
        put_device(move |offset, size, value| {
            assert_eq!(size, 4, "offset {offset:#x}");
            let mut chip = device.borrow_mut();
            let now = u32::from(chip.trigger as usize <= chip.came.len());
            match (offset, value) {
                (cadence::CR, Some(bits)) => chip.control = bits,
                (cadence::CR, None) => return chip.control,
                (cadence::IER, Some(bits)) => chip.enabled |= bits,
                (cadence::IDR, Some(bits)) => chip.enabled &= !bits,
                (cadence::ISR, Some(bits)) => chip.latched = chip.latched & !bits | now,
                (cadence::RXWM, Some(count)) => chip.trigger = count,
                (cadence::FIFO, Some(byte)) => {
                    chip.room = chip.room.checked_sub(1).expect("sent while full");
                    chip.sent.push(byte as u8);
                }
                (cadence::FIFO, None) => return chip.came.pop_front().expect("read while empty").into(),
                (cadence::SR, None) => {
                    let full = chip.room == 0;
                    chip.room = 2;
                    return u32::from(chip.came.is_empty()) << 1 | u32::from(full) << 4 | now;
                }
                other => panic!("{other:x?}"),
            }
            0
        });
        let driver = Driver::new(UartKind::Cadence, Region::map(0, 0x1000));
        assert_eq!(chip.borrow().enabled, 0, "silent until somebody listens");
        b"hello".iter().for_each(|&byte| driver.put(byte));
        assert_eq!((chip.borrow().control, &chip.borrow().sent[..]), (0x114, &b"hello"[..]));
        driver.listen();
        assert_eq!((chip.borrow().enabled, chip.borrow().trigger), (cadence::RX, 1));
        chip.borrow_mut().came.extend(b"ab");
        chip.borrow_mut().latched = 1;
        assert_eq!([driver.get(), driver.get(), driver.get()], [Some(b'a'), Some(b'b'), None]);
        driver.end_interrupt();
        assert_eq!(chip.borrow().latched, 0, "nothing raises the interrupt any more");
    }

    #[test]
    fn a_uart_that_hangs_does_not_hang_us() {
        /// Whether it hangs, how often it was asked whether it does, and what it sent.
        #[derive(Default)]
        struct Hanging(bool, u32, Vec<u8>);
        let chip = Rc::new(RefCell::new(Hanging(true, 0, Vec::new())));
        let device = chip.clone();
        put_device(move |offset, _, value| {
            let mut device = device.borrow_mut();
            match (offset, value) {
                (pl011::FR, None) => {
                    device.1 += 1;
                    pl011::FR_RXFE | if device.0 { pl011::FR_TXFF } else { 0 }
                }
                (pl011::DR, Some(byte)) => {
                    assert!(!device.0, "sent while full");
                    device.2.push(byte as u8);
                    0
                }
                _ => 0,
            }
        });
        let driver = Driver::new(UartKind::Pl011, Region::map(0, 0x1000));
        (0..1000).for_each(|_| driver.put(b'x'));
        assert!(chip.borrow().1 < PATIENCE + 2000, "waited once, not for every byte");
        assert_eq!(driver.get(), None);
        chip.borrow_mut().0 = false;
        driver.put(b'y');
        // And it may hang again, and is waited for again.
        chip.borrow_mut().0 = true;
        chip.borrow_mut().1 = 0;
        driver.put(b'z');
        assert!(chip.borrow().1 > 1000);
        assert_eq!(chip.borrow().2, b"y");
    }
}
