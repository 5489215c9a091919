//! The end of the hypervisor: registers, addresses for `xenbuild symbolise`, and a new start.
#![expect(unsafe_code, reason = "a symbol that the assembly calls")]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use hypervisor::arch::{self, Wreck};
use hypervisor::{console, domain, keys};

static DEAD: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    announce();
    console::line(format_args!("panic on CPU {}: {info}", arch::cpu()));
    end(arch::frame_pointer())
}

/// Called by the assembly when an exception is taken in EL2 itself.
#[unsafe(no_mangle)]
extern "C" fn hypervisor_died(wreck: &Wreck, kind: u64) -> ! {
    announce();
    let (syndrome, address) = arch::syndrome();
    console::line(format_args!(
        "exception {kind} on CPU {}: esr {syndrome:#x} far {address:#x} pc {:#x} pstate {:#x}",
        arch::cpu(),
        wreck.pc,
        wreck.pstate
    ));
    for (index, row) in wreck.x.chunks(4).enumerate() {
        console::line(format_args!("x{:<2} {row:018x?}", index * 4));
    }
    end(wreck.x[29])
}

/// Only the first CPU to die speaks.
fn announce() {
    console::dying();
    if DEAD.swap(true, SeqCst) {
        arch::stop()
    }
}

fn end(frame: u64) -> ! {
    for address in arch::backtrace(frame) {
        // The call itself: what follows it may be another function, where calls do not return.
        console::line(format_args!("  from {:#x}", address.wrapping_sub(4)));
    }
    keys::exits::last_of_each_cpu();
    if domain::is_final() {
        console::line(format_args!("noreboot: this is the end"));
    } else {
        console::line(format_args!("the machine starts anew"));
        arch::smp::system_reset();
    }
    arch::stop()
}
