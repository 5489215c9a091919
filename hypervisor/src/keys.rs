//! Debug keys: what is typed to the hypervisor itself, after the character for that was typed three times. Named as Xen names them.
//!
//! Handlers run where the UART's interrupt was taken, so possibly on top of a vCPU whose state is locked. They lock one thing at a time,
//! for as long as it takes to look, and print with nothing locked.

pub mod domains;
pub mod events;
pub mod exits;
pub mod interrupts;
pub mod memory;
pub mod registers;

use crate::arch::smp;
use crate::console::{self, Input, line};
use crate::hypercall::console_io;

/// A key.
struct Key {
    key: u8,
    does: &'static str,
    act: fn(),
    /// Whether it only looks, so that `*` does it too.
    looks: bool,
}

const fn look(key: u8, does: &'static str, act: fn()) -> Key {
    Key { key, does, act, looks: true }
}

const fn act(key: u8, does: &'static str, act: fn()) -> Key {
    Key { key, does, act, looks: false }
}

/// All keys, in the order of their bytes.
const KEYS: &[Key] = &[
    act(b'*', "print all diagnostics", all),
    act(b'0', "dump Dom0 registers", registers::of_dom0),
    act(b'C', "trigger a crashdump", crash),
    act(b'P', "reset performance counters", exits::reset),
    act(b'R', "reboot machine", reboot),
    look(b'd', "dump registers", registers::of_all),
    look(b'e', "dump evtchn info", events::all),
    look(b'g', "print grant table usage", domains::grants),
    act(b'h', "show this message", help),
    look(b'i', "dump interrupt bindings", interrupts::all),
    look(b'm', "memory info", memory::all),
    look(b'p', "print performance counters", exits::counters),
    look(b'q', "dump domain (and guest debug) info", domains::all),
    look(b'r', "dump run queues", domains::queues),
    act(b'w', "synchronously dump console ring buffer (dmesg)", console::replay),
    look(b'x', "dump last exits", exits::last),
];

/// Takes what came in on the UART: for Dom0, which is told, or keys, which are acted on.
pub fn take_input() {
    let mut news = false;
    while let Some(input) = console::next_input() {
        match input {
            Input::Nothing => {}
            Input::Dom0 => news = true,
            Input::Key(key) => press(key),
        }
    }
    console::end_interrupt();
    if news {
        console_io::typed();
    }
}

/// Does what a key is for; nothing if it is for nothing.
pub fn press(key: u8) {
    let Some(known) = KEYS.iter().find(|known| known.key == key) else { return };
    line(format_args!("'{}' pressed -> {}", char::from(key), known.does));
    (known.act)();
}

fn help() {
    for known in KEYS {
        line(format_args!(" key '{}' (ascii '{:02x}') => {}", char::from(known.key), known.key, known.does));
    }
}

fn all() {
    for known in KEYS.iter().filter(|known| known.looks) {
        line(format_args!("[{}: {}]", char::from(known.key), known.does));
        (known.act)();
    }
}

fn reboot() {
    smp::system_reset();
    line(format_args!("the firmware refuses"));
}

/// There is no other kernel to crash into: what is known is printed, as at any end.
fn crash() {
    panic!("'C' pressed");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixture;
    use alloc::string::String;
    use alloc::vec::Vec;

    /// Returns what the log holds from a place on.
    fn log(mut from: u64) -> (u64, String) {
        let (mut all, mut bytes) = (Vec::new(), [0; 512]);
        loop {
            let (next, count) = console::read_log(from, &mut bytes);
            all.extend(&bytes[..count]);
            from = next;
            if count == 0 {
                return (from, String::from_utf8_lossy(&all).into_owned());
            }
        }
    }

    #[test]
    fn every_key_is_there_once_and_says_what_it_did() {
        assert!(KEYS.is_sorted_by(|one, other| one.key < other.key));
        let (domain, _) = fixture::domain(61, false);
        crate::domain::add(domain.clone());
        crate::schedule::enlist(&domain, 0);
        domain.vcpus[0].exits.note_call(18, 0, 0x1234);
        domain.vcpus[0].state.lock().context.x[30] = 0xfeed_beef;
        domain.events.lock().bind_virq(2, 0).unwrap();
        domain.vgic.lock().inject(0, 5);
        // The log is everybody's, so lines are looked for, not counted.
        let shown = |key: u8| {
            let (from, _) = log(u64::MAX);
            press(key);
            let (_, text) = log(from);
            assert!(text.contains("pressed -> "), "{text}");
            text
        };
        for (key, line) in [
            (b'h', " key 'e' (ascii '65') => dump evtchn info\n"),
            (b'q', "d61: "),
            (b'q', "d61v0: "),
            (b'd', "00000000feedbeef"),
            (b'e', "d61 port    1: vcpu 0, pending 0, masked 0, virq 2\n"),
            (b'i', "d61v0 interrupt    5: disabled, pending"),
            (b'm', "d61: 64 KiB\n"),
            (b'm', "hypervisor: "),
            (b'p', "d61: hypercall console_io 1\n"),
            (b'x', "hypercall console_io 0x0 pc 0x1234 at "),
            (b'g', "d61: "),
            (b'r', "d61v0"),
            (b'*', "[e: dump evtchn info]\n"),
        ] {
            let text = shown(key);
            assert!(text.contains(line), "{}: {line:?} is not in\n{text}", char::from(key));
        }
        let (from, _) = log(u64::MAX);
        press(b'~');
        assert!(!log(from).1.contains("'~'"));
        shown(b'P');
        assert!(!shown(b'p').contains("d61: hypercall"));
    }
}
