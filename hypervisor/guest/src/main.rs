//! The test guest: a program at EL1 that is started as Domain 0's kernel, makes every hypercall well and badly, and says what came of
//! each in one line. A test on the host compares the lines of two hypervisors; its interrupt and timer cases run without one, too.
//!
//! ```text
//!   machine      the only unsafe part: calls, memory, registers, exceptions
//!   say          lines, by console_io or by the UART
//!   calls        making a hypercall with a structure; what is said of a result
//!   cases        one file for each hypercall; pointers.rs, hostile ones for any of them
//!   interrupts   the interrupt controller and the timers
//!   flood        one page mapped in ever more places
//!   hidden       registers of what the identification registers do not show
//!   debug        breakpoints, watchpoints, performance monitors
//!   several      several CPUs: registers, ticks, switching off and on
//!   bench        loops to be counted
//! ```
//!
//! The kernel's command line says what is run: `hypercalls`, `interrupts`, `timers`, `flood`, `hidden`, `debug`, `several=SECONDS`, `bench`.
#![no_std]
#![no_main]

extern crate alloc;

mod bench;
mod calls;
mod cases;
mod debug;
mod flood;
mod hidden;
mod interrupts;
mod machine;
mod say;
mod several;

use fdt::Fdt;

/// What the device tree says.
#[derive(Clone, Copy, Default)]
pub struct Board {
    /// Whether there is a Xen.
    pub is_guest: bool,
    /// Frames at which the grant table may be mapped.
    pub grants: (u64, u64),
    /// The memory's first piece.
    pub memory: (u64, u64),
    /// Distributor and redistributors, or CPU interface.
    pub gic: [(u64, u64); 2],
    /// Whether it is a GICv3.
    pub gicv3: bool,
    /// A device's registers that the guest has.
    pub device: u64,
}

/// Runs what the command line asks for.
fn run(tree: &'static [u8]) -> ! {
    let Ok(tree) = Fdt::new(tree) else { machine::power_off() };
    let board = read(&tree);
    say::start(board.is_guest);
    let arguments = tree.find("/chosen").and_then(|node| node.property("bootargs")?.as_str()).unwrap_or_default();
    for word in arguments.split(' ') {
        match word {
            "hypercalls" => cases::run(&board),
            "interrupts" => interrupts::run(&board, false),
            "timers" => interrupts::run(&board, true),
            "flood" => flood::run(&board),
            "hidden" => hidden::run(),
            "debug" => debug::run(),
            "bench" => bench::run(&board),
            _ => {
                if let Some(seconds) = word.strip_prefix("several=").and_then(|text| text.parse().ok()) {
                    several::run(&board, seconds);
                }
            }
        }
    }
    say!("end");
    machine::power_off()
}

fn read(tree: &Fdt<'_>) -> Board {
    let mut board = Board::default();
    if let Some(node) = tree.find_compatible("xen,xen").next() {
        board.is_guest = true;
        board.grants = node.reg().next().map_or((0, 0), |(at, size)| (at / machine::PAGE, size / machine::PAGE));
    }
    let memory = tree
        .descendants()
        .map(|(_, node)| node)
        .find(|node| node.property("device_type").and_then(|property| property.as_str()) == Some("memory"));
    board.memory = memory.and_then(|node| node.reg().next()).unwrap_or_default();
    for (compatible, gicv3) in [("arm,gic-v3", true), ("arm,cortex-a15-gic", false), ("arm,gic-400", false)] {
        if let Some(node) = tree.find_compatible(compatible).next() {
            board.gicv3 = gicv3;
            board.gic.iter_mut().zip(node.reg()).for_each(|(slot, pair)| *slot = pair);
        }
    }
    let clock = tree.find_compatible("arm,pl031").next();
    board.device = clock.and_then(|node| node.reg().next()).map_or(0, |(at, _)| at);
    board
}

/// Says why it cannot go on, and ends.
fn die(why: core::fmt::Arguments<'_>) -> ! {
    say::line(why);
    machine::power_off()
}

#[panic_handler]
fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
    die(format_args!("{information}"))
}
