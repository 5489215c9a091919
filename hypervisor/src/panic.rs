//! The end of the hypervisor: registers, addresses for `xenbuild symbolise`, and a new start.
#![expect(unsafe_code, reason = "a symbol that the assembly calls")]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use hypervisor::arch::{self, Wreck};
use hypervisor::{console, domain, keys, run};

/// One more than the number of the CPU that died first.
static DEAD: AtomicUsize = AtomicUsize::new(0);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let frame = arch::frame_pointer();
    let wreck = arch::wreck();
    announce();
    console::line(format_args!("panic on CPU {}: {info}", arch::cpu()));
    registers(&wreck);
    end(frame)
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
    registers(wreck);
    end(wreck.x[29])
}

fn registers(wreck: &Wreck) {
    for (index, row) in wreck.x.chunks(4).enumerate() {
        console::line(format_args!("x{:<2} {row:018x?}", index * 4));
    }
}

/// Only the first CPU to die speaks; the others stop. One that dies while it says so says no more.
fn announce() {
    console::dying();
    let own = arch::cpu() + 1;
    let Err(first) = DEAD.compare_exchange(0, own, SeqCst, SeqCst) else { return run::stop_others() };
    if first == own && !domain::is_final() {
        arch::smp::system_reset();
    }
    arch::stop()
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
