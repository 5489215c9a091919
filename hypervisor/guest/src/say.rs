//! Lines: written by console_io where there is a hypervisor, else to QEMU's UART.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use xen_abi::Hypercall;

use crate::machine;

/// The data register of the UART of QEMU's virt machine (hw/arm/virt.c).
const UART: u64 = 0x0900_0000;
/// Begins each line, so that it is told from what others print.
const MARK: &str = "guest: ";
/// Bytes of a line.
const LINE: usize = 400;

static IS_GUEST: AtomicBool = AtomicBool::new(false);

/// Says whether there is a hypervisor.
pub fn start(is_guest: bool) {
    IS_GUEST.store(is_guest, SeqCst);
}

struct Line {
    bytes: [u8; LINE],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // Room for the line's end stays.
            if self.length < LINE - 1 {
                self.bytes[self.length] = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// Prints a line.
pub fn line(text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE], length: 0 };
    // A line cannot fail.
    let _ = write!(line, "{MARK}{text}");
    line.bytes[line.length] = b'\n';
    let bytes = &line.bytes[..=line.length];
    if IS_GUEST.load(SeqCst) {
        let arguments = [0, bytes.len() as u64, machine::address_of(bytes), 0, 0];
        machine::hypercall(Hypercall::ConsoleIo.number(), arguments);
    } else {
        for &byte in bytes {
            machine::store(machine::DIRECT + UART, 4, byte.into());
        }
    }
}

/// Prints a line, formatted.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => { $crate::say::line(format_args!($($part)*)) };
}
