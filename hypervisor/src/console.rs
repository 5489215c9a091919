//! The console: what the hypervisor says, what Dom0 says, and what is typed.

pub mod uart;

use alloc::collections::VecDeque;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};

use crate::arch::{Lock, mmio::Region};
use crate::machine::Uart;
use crate::machine::options::Level;
use uart::Driver;

/// Bytes of log that are kept.
pub const RING: usize = 16 << 10;
/// Bytes typed that Dom0 has not taken.
const TYPED: usize = 256;

struct Console {
    driver: Option<Driver>,
    ring: [u8; RING],
    /// Bytes ever written to the ring.
    written: u64,
    typed: VecDeque<u8>,
}

static CONSOLE: Lock<Console> =
    Lock::new(Console { driver: None, ring: [0; RING], written: 0, typed: VecDeque::new() });
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static DYING: AtomicBool = AtomicBool::new(false);

/// Takes the UART.
pub fn start(uart: &Uart) {
    let registers = Region::map(uart.registers.0, uart.registers.1.clamp(0x100, 0x1000));
    let mut console = CONSOLE.lock();
    console.driver = Some(Driver::new(uart.kind, registers));
    // What was said before there was a UART.
    let (ring, written) = (console.ring, console.written.min(RING as u64) as usize);
    if let Some(driver) = &console.driver {
        ring[..written].iter().for_each(|&byte| driver.put(byte));
    }
}

/// Says what is logged from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Relaxed);
}

/// Whether lines of this level are logged; asked before anything is formatted.
pub fn is_logged(level: Level) -> bool {
    level as u8 <= LEVEL.load(Relaxed)
}

/// Lets typed bytes raise the UART's interrupt.
pub fn listen() {
    if let Some(driver) = &CONSOLE.lock().driver {
        driver.listen();
    }
}

/// Takes what was typed from the UART; returns whether there was anything.
pub fn take_input() -> bool {
    let mut console = CONSOLE.lock();
    let mut any = false;
    while let Some(byte) = console.driver.as_ref().and_then(Driver::get) {
        if console.typed.len() < TYPED {
            console.typed.push_back(byte);
            any = true;
        }
    }
    any
}

/// Fills `out` with what was typed, and returns how much there was.
pub fn read(out: &mut [u8]) -> usize {
    let mut console = CONSOLE.lock();
    let count = out.len().min(console.typed.len());
    out[..count].iter_mut().zip(console.typed.drain(..count)).for_each(|(slot, byte)| *slot = byte);
    count
}

/// Writes Dom0's bytes to the UART as they are.
pub fn write_guest(bytes: &[u8]) {
    let console = CONSOLE.lock();
    if let Some(driver) = &console.driver {
        for &byte in bytes {
            if byte == b'\n' {
                driver.put(b'\r');
            }
            driver.put(byte);
        }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.driver.iter().for_each(|driver| driver.put(b'\r'));
            }
            self.driver.iter().for_each(|driver| driver.put(byte));
            self.ring[(self.written % RING as u64) as usize] = byte;
            self.written += 1;
        }
        Ok(())
    }
}

/// Writes a line to log and UART.
pub fn line(text: fmt::Arguments<'_>) {
    // A panic while the lock is held must still be heard.
    let mut console = if DYING.load(Relaxed) {
        let mut patience = 1_000_000;
        loop {
            match CONSOLE.try_lock() {
                Some(console) => break console,
                None if patience == 0 => return,
                None => patience -= 1,
            }
        }
    } else {
        CONSOLE.lock()
    };
    // Writing to the console cannot fail.
    let _ = console.write_fmt(format_args!("(EL2) {text}\n"));
}

/// Makes the console usable for a panic.
pub fn dying() {
    DYING.store(true, Relaxed);
}

/// Logs an error.
#[macro_export]
macro_rules! error {
    ($($part:tt)*) => { $crate::log!(Error, $($part)*) };
}

/// Logs a warning.
#[macro_export]
macro_rules! warning {
    ($($part:tt)*) => { $crate::log!(Warning, $($part)*) };
}

/// Logs news.
#[macro_export]
macro_rules! info {
    ($($part:tt)*) => { $crate::log!(Info, $($part)*) };
}

/// Logs details.
#[macro_export]
macro_rules! debug {
    ($($part:tt)*) => { $crate::log!(Debug, $($part)*) };
}

/// Logs a line of a level, formatted only if it is wanted.
#[macro_export]
macro_rules! log {
    ($level:ident, $($part:tt)*) => {
        if $crate::console::is_logged($crate::machine::options::Level::$level) {
            $crate::console::line(format_args!($($part)*));
        }
    };
}
