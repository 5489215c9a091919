//! The console: what the hypervisor says, what Dom0 says, and what is typed.

pub mod input;
pub mod limit;
pub mod ring;
pub mod uart;

use alloc::collections::VecDeque;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};

use crate::arch::{Lock, Once, mmio::Region, timer};
use crate::machine::UartKind;
use crate::machine::options::{Level, Threshold};
use input::{CTRL_A, Focus, Meaning, Switch};
use limit::Limit;
use ring::Ring;
use uart::Driver;

/// Bytes of log that are kept.
pub const RING: usize = 16 << 10;
/// Bytes typed that Dom0 has not taken.
const TYPED: usize = 256;

struct Console {
    ring: Ring<RING>,
    typed: VecDeque<u8>,
    switch: Switch,
}

/// The UART. Who uses it holds the lock below, but for the last words of a CPU that died with it.
static DRIVER: Once<Driver> = Once::new();
static CONSOLE: Lock<Console> =
    Lock::new(Console { ring: Ring::new(), typed: VecDeque::new(), switch: Switch::new(Some(CTRL_A), Focus::Dom0) });
static DYING: AtomicBool = AtomicBool::new(false);
static LIMIT: Lock<Limit> = Lock::new(Limit::new());

/// What is logged: of ours, and of what guests cause. Levels that are always, and those that are within the limit.
static ALWAYS: [AtomicU8; 2] = [AtomicU8::new(Level::Info as u8), AtomicU8::new(0)];
static LIMITED: [AtomicU8; 2] = [AtomicU8::new(Level::Info as u8), AtomicU8::new(Level::Warning as u8)];
const OWN: usize = 0;
const GUEST: usize = 1;

/// Takes the UART with registers at this address, of this size.
pub fn start(kind: UartKind, (address, size): (u64, u64)) {
    let registers = Region::map(address, size.clamp(0x100, 0x1000));
    DRIVER.set(Driver::new(kind, registers));
    // What was said before there was a UART.
    replay();
}

/// Says what is logged from now on.
pub fn set_levels(own: Threshold, guest: Threshold) {
    for (which, threshold) in [(OWN, own), (GUEST, guest)] {
        ALWAYS[which].store(threshold.always, Relaxed);
        LIMITED[which].store(threshold.limited, Relaxed);
    }
}

/// Whether lines of this level are logged; asked before anything is formatted.
pub fn is_logged(level: Level) -> bool {
    is_said(OWN, level, &LIMIT)
}

/// Whether lines of this level that a guest causes are logged, which has this right to speak.
pub fn is_guest_logged(level: Level, limit: &Lock<Limit>) -> bool {
    is_said(GUEST, level, limit)
}

fn is_said(which: usize, level: Level, limit: &Lock<Limit>) -> bool {
    if level as u8 <= ALWAYS[which].load(Relaxed) {
        return true;
    }
    if level as u8 > LIMITED[which].load(Relaxed) {
        return false;
    }
    let milliseconds = timer::now() / (timer::frequency() / 1000).max(1);
    let Some(missed) = limit.lock().take(milliseconds) else { return false };
    if missed > 0 {
        line(format_args!("{missed} messages suppressed"));
    }
    true
}

/// Lets typed bytes raise the UART's interrupt, and says who gets them.
pub fn listen(switch: Switch) {
    let mut console = CONSOLE.lock();
    console.switch = switch;
    if let Some(driver) = DRIVER.get() {
        driver.listen();
    }
    drop(console);
    announce(switch.focus());
}

/// Says who gets what is typed, in the words that upstream has for it.
fn announce(focus: Focus) {
    let who = if focus == Focus::Dom0 { "DOM0" } else { "Xen" };
    let character = CONSOLE.lock().switch.character();
    if let Some(byte) = character {
        let letter = char::from(byte | 0x60);
        line(format_args!("*** Serial input to {who} (type 'CTRL-{letter}' three times to switch input)"));
    }
}

/// What became of a byte that was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing yet.
    Nothing,
    /// Dom0 has something to read.
    Dom0,
    /// It is a debug key.
    Key(u8),
}

/// Takes a byte from the UART, if one came in.
pub fn next_input() -> Option<Input> {
    let mut console = CONSOLE.lock();
    let Console { switch, typed, .. } = &mut *console;
    let byte = DRIVER.get()?.get()?;
    let character = switch.character();
    match switch.take(byte) {
        Meaning::Held => Some(Input::Nothing),
        Meaning::Switched(focus) => {
            drop(console);
            announce(focus);
            Some(Input::Nothing)
        }
        Meaning::Typed(..) if switch.focus() == Focus::Keys => Some(Input::Key(byte)),
        Meaning::Typed(held, byte) => {
            // What does not fit is lost, as on a UART that nobody reads.
            let bytes = character.into_iter().cycle().take(held.into()).chain([byte]);
            bytes.take(TYPED.saturating_sub(typed.len())).for_each(|byte| typed.push_back(byte));
            Some(Input::Dom0)
        }
    }
}

/// Tells the UART that its interrupt was seen to.
pub fn end_interrupt() {
    let _console = CONSOLE.lock();
    if let Some(driver) = DRIVER.get() {
        driver.end_interrupt();
    }
}

/// Fills `out` with what was typed, and returns how much there was.
pub fn read(out: &mut [u8]) -> usize {
    let mut console = CONSOLE.lock();
    let count = out.len().min(console.typed.len());
    out[..count].iter_mut().zip(console.typed.drain(..count)).for_each(|(slot, byte)| *slot = byte);
    count
}

/// Fills `out` with the log from place `from` on, counted from its first byte ever, or from the oldest that is kept; returns the place
/// after it and how many bytes it is.
pub fn read_log(from: u64, out: &mut [u8]) -> (u64, usize) {
    CONSOLE.lock().ring.read(from, out)
}

/// Returns the place of the log's first byte that is kept and not cleared, and the place after its last one.
pub fn log_bounds() -> (u64, u64) {
    CONSOLE.lock().ring.bounds()
}

/// Clears the log before a place, for those who ask for its bounds.
pub fn clear_log(before: u64) {
    CONSOLE.lock().ring.clear(before);
}

/// Writes what is kept of the log to the UART.
pub fn replay() {
    let (mut place, mut bytes) = (0, [0; 128]);
    loop {
        let (next, count) = read_log(place, &mut bytes);
        if count == 0 {
            return;
        }
        write_guest(&bytes[..count]);
        place = next;
    }
}

/// Writes Dom0's bytes to the UART as they are.
pub fn write_guest(bytes: &[u8]) {
    let _console = CONSOLE.lock();
    send(bytes);
}

/// Writes to the UART.
fn send(bytes: &[u8]) {
    let Some(driver) = DRIVER.get() else { return };
    for &byte in bytes {
        if byte == b'\n' {
            driver.put(b'\r');
        }
        driver.put(byte);
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        send(text.as_bytes());
        text.bytes().for_each(|byte| self.ring.push(byte));
        Ok(())
    }
}

/// The UART alone.
struct Bare;

impl Write for Bare {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        send(text.as_bytes());
        Ok(())
    }
}

/// Writes a line to log and UART.
pub fn line(text: fmt::Arguments<'_>) {
    let mut console = if DYING.load(Relaxed) {
        let mut patience = 1_000_000;
        loop {
            match CONSOLE.try_lock() {
                Some(console) => break console,
                // The CPU that died has it, and must still be heard.
                None if patience == 0 => {
                    let _ = Bare.write_fmt(format_args!("(EL2) {text}\n"));
                    return;
                }
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

/// Logs a line that a guest's doing causes: `guest_log!(domain, Warning, "...")`, formatted only if it is wanted and the guest has not
/// caused too many.
#[macro_export]
macro_rules! guest_log {
    ($domain:expr, $level:ident, $($part:tt)*) => {
        if $crate::console::is_guest_logged($crate::machine::options::Level::$level, &$domain.log) {
            $crate::console::line(format_args!($($part)*));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::mmio::put_device;
    use alloc::string::String;
    use alloc::vec::Vec;

    /// Types on a PL011, and looks at what became of it and at what came out.
    #[test]
    fn what_is_typed_goes_where_the_focus_is() {
        use alloc::rc::Rc;
        use core::cell::RefCell;
        let typed = Rc::new(RefCell::new(VecDeque::from(b"ls\x01\n\x01\x01\x01h\x01m\x01\x01\x01x".to_vec())));
        let said = Rc::new(RefCell::new(Vec::new()));
        let (keyboard, screen) = (typed.clone(), said.clone());
        put_device(move |offset, _, value| match (offset, value) {
            (0, None) => keyboard.borrow_mut().pop_front().unwrap_or(0).into(),
            (0, Some(byte)) => {
                screen.borrow_mut().push(byte as u8);
                0
            }
            (0x18, None) => u32::from(keyboard.borrow().is_empty()) << 4,
            _ => 0,
        });
        start(UartKind::Pl011, (0x900_0000, 0x1000));
        listen(Switch::new(Some(CTRL_A), Focus::Dom0));
        let inputs: Vec<Input> = core::iter::from_fn(next_input).collect();
        let expected = [
            Input::Dom0,
            Input::Dom0,
            Input::Nothing,
            Input::Dom0,
            Input::Nothing,
            Input::Nothing,
            Input::Nothing,
            Input::Key(b'h'),
            Input::Nothing,
            Input::Key(b'm'),
            Input::Nothing,
            Input::Nothing,
            Input::Nothing,
            Input::Dom0,
        ];
        assert_eq!(inputs, expected);
        let mut bytes = [0; 16];
        let count = read(&mut bytes);
        assert_eq!(&bytes[..count], b"ls\x01\nx");
        let said = String::from_utf8(said.take()).unwrap();
        let changes: Vec<_> = said.lines().filter(|line| line.contains("Serial input to")).collect();
        let change =
            |who| alloc::format!("(EL2) *** Serial input to {who} (type 'CTRL-a' three times to switch input)");
        assert_eq!(changes, [change("DOM0"), change("Xen"), change("DOM0")]);
    }

    #[test]
    fn a_guest_is_cut_off_and_others_are_not() {
        let (loud, quiet) = (Lock::new(Limit::new()), Lock::new(Limit::new()));
        let said = |limit| (0..100).filter(|_| is_guest_logged(Level::Warning, limit)).count() as u64;
        assert_eq!(said(&loud), limit::BURST);
        assert_eq!(said(&quiet), limit::BURST);
        assert!(!is_guest_logged(Level::Info, &Lock::new(Limit::new())));
        assert!((0..100).all(|_| is_logged(Level::Info)));
        assert!(!is_logged(Level::Debug));
    }
}
