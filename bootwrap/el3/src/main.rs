//! The stub that runs first: takes every CPU from reset at EL3 (or from a loader at EL2) to EL2, and stays behind to answer PSCI.
//!
//! It knows an entry address and the boot registers, not what it starts.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "reset and exception vectors, and the memory they share with Rust")]

mod cpu;
mod gic;
mod power;
mod registers;
mod timer;
mod uart;

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use bootwrap_el3::parameters::{self, AFFINITY, FLAG_SPIN_TABLE, Parameters};
use bootwrap_el3::psci::{Action, Cpus};

/// Bytes of stack per CPU: a handler and a complaint need less than a quarter of it.
const STACK_BYTES: usize = 1024;

core::arch::global_asm!(
    include_str!("start.S"),
    magic = const parameters::MAGIC,
    version = const parameters::VERSION,
    size = const parameters::SIZE_BYTES,
    cpu_count = const core::mem::offset_of!(Parameters, cpu_count),
    cpus = const core::mem::offset_of!(Parameters, cpus),
    uart = const core::mem::offset_of!(Parameters, uart),
    stack = const STACK_BYTES,
    cpus_max = const parameters::CPUS_MAX,
    affinity_low = const AFFINITY & 0xffff_ffff,
    affinity_high = const AFFINITY >> 32,
);

unsafe extern "C" {
    #[link_name = "parameters"]
    static PARAMETERS: Parameters;
    #[link_name = "bss_start"]
    static mut BSS_START: u64;
    #[link_name = "bss_end"]
    static BSS_END: u64;
    safe fn park_anew(index: usize) -> !;
    fn spin();
}

/// Set once CPU 0 has prepared what is shared. Lives in the file's data, not in .bss, which CPU 0 has yet to clear.
#[unsafe(link_section = ".data.ready")]
static READY: AtomicU32 = AtomicU32::new(0);
static CPUS: Cpus = Cpus::new();

fn board() -> &'static Parameters {
    // SAFETY: start.S reserves the block with the type's size and alignment; nothing writes it while the stub runs except, with a
    // spin table, the operating system its `release` words, which the stub then reads in start.S alone.
    unsafe { &PARAMETERS }
}

/// Called by start.S once per CPU, with its own stack. `index` counts as the device tree does, `level` is the exception level.
#[unsafe(no_mangle)]
extern "C" fn stub_main(index: usize, level: u64) -> ! {
    let board = board();
    match level {
        3 => at_el3(index, board),
        2 => at_el2(index, board),
        _ if index == 0 => {
            stop(board, "bootwrap: started at EL1, but a hypervisor needs EL2 (QEMU virt: virtualization=on)")
        }
        _ => sleep(),
    }
}

fn at_el3(index: usize, board: &'static Parameters) -> ! {
    // First of all: a device that is not where the device tree says takes an exception, which needs the vectors to be told.
    cpu::set_up_el3(index);
    if index == 0 {
        // SAFETY: the linker script says that these bound .bss, 16-byte aligned; the other CPUs wait for READY, and the stacks are
        // outside.
        unsafe {
            let mut word = &raw mut BSS_START;
            while word.cast_const() < &raw const BSS_END {
                word.write_volatile(0);
                word = word.add(1);
            }
        }
        timer::start(board);
        if let Err(complaint) = gic::distributor(board) {
            stop(board, complaint);
        }
        CPUS.booted(0);
        READY.store(1, SeqCst);
        cpu::send_event();
    } else {
        while READY.load(SeqCst) == 0 {
            cpu::wait_for_event();
        }
    }
    timer::frequency(board);
    if !cpu::has_el2() {
        if index == 0 {
            stop(board, "bootwrap: this CPU has no EL2 (QEMU virt: virtualization=on)");
        }
        sleep();
    }
    if let Err(complaint) = gic::own_interface(board, cpu::affinity()) {
        stop(board, complaint);
    }
    if index == 0 {
        cpu::down(board.entry, board.dtb);
    } else if board.flags & FLAG_SPIN_TABLE != 0 {
        cpu::down(spin as *const () as u64, &raw const board.release[index] as u64);
    }
    park(index)
}

/// Whoever started the stub here has set up the rest, and holds the other CPUs unless there is a spin table.
fn at_el2(index: usize, board: &'static Parameters) -> ! {
    if cpu::mmu_is_on_at_el2() {
        stop(board, "bootwrap: started with the MMU or the data cache on");
    }
    if board.flags & FLAG_SPIN_TABLE != 0 && index != 0 {
        cpu::go_on(spin as *const () as u64, &raw const board.release[index] as u64);
    }
    cpu::go_on(board.entry, board.dtb)
}

/// Waits in EL3 until another CPU switches this one on, then goes down to EL2. start.S calls it on an emptied stack.
#[unsafe(no_mangle)]
extern "C" fn park(index: usize) -> ! {
    loop {
        if let Some(start) = CPUS.started(index) {
            cpu::down(start.entry, start.context);
        }
        cpu::wait_for_event();
    }
}

/// What start.S keeps of the lower level: x0 to x18, x29, x30.
#[repr(C)]
struct Frame {
    x: [u64; 21],
    unused: u64,
}

/// Exception classes (DDI 0487, ESR_ELx.EC) of SMC.
const SMC_AARCH32: u64 = 0x13;
const SMC_AARCH64: u64 = 0x17;

#[unsafe(no_mangle)]
extern "C" fn lower_sync(frame: &mut Frame, syndrome: u64) {
    let board = board();
    let class = syndrome >> 26 & 0x3f;
    if class != SMC_AARCH32 && class != SMC_AARCH64 {
        wrong(board, "bootwrap: an exception came up to EL3, esr=", syndrome, cpu::return_address());
    }
    let own = cpu::index();
    let arguments = [frame.x[0], frame.x[1], frame.x[2], frame.x[3]];
    match CPUS.call(board, own, arguments, class == SMC_AARCH64) {
        Action::Return(value) => frame.x[0] = value as u64,
        Action::Wake(value) => {
            cpu::send_event();
            frame.x[0] = value as u64;
        }
        Action::Standby => {
            cpu::wait_for_interrupt();
            frame.x[0] = 0;
        }
        Action::Off => park_anew(own),
        Action::SystemOff => {
            power::off(board);
            stop(board, "bootwrap: this board cannot be switched off from software");
        }
        Action::SystemReset => {
            // The other CPUs come back to a stub whose data is not new.
            READY.store(0, SeqCst);
            power::reset(board);
            stop(board, "bootwrap: this board cannot be reset from software");
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn wrong_vector(syndrome: u64, address: u64) -> ! {
    wrong(board(), "bootwrap: unexpected exception in EL3, esr=", syndrome, address)
}

fn wrong(board: &Parameters, what: &str, syndrome: u64, address: u64) -> ! {
    let uart = uart::Uart::new(board);
    uart.text(what);
    uart.hexadecimal(syndrome);
    uart.text(" elr=");
    uart.hexadecimal(address);
    uart.text("\r\n");
    sleep()
}

/// Says what is wrong, once, and never goes on.
fn stop(board: &Parameters, complaint: &str) -> ! {
    let uart = uart::Uart::new(board);
    uart.text(complaint);
    uart.text("\r\n");
    sleep()
}

fn sleep() -> ! {
    loop {
        cpu::wait_for_interrupt();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    stop(board(), "bootwrap: internal error in the EL3 stub")
}
