//! `sched_op`: yielding, blocking, shutting down.

use xen_abi::Plain;
use xen_abi::sched::{Poll, RemoteShutdown, SchedOp, Shutdown};

use super::{Answer, Errno};
use crate::arch::Once;
use crate::domain;
use crate::run::{self, Caller, Then};

static NO_REBOOT: Once<bool> = Once::new();

/// Says whether the machine stops where it would start anew.
pub fn start(no_reboot: bool) {
    NO_REBOOT.set(no_reboot);
}

/// PSTATE.I.
const MASK_IRQ: u64 = 1 << 7;
/// Ports that can be polled at once.
const POLL_MAX: u32 = 128;

/// Answers, and says what the vCPU does next.
pub fn call(caller: &mut Caller<'_>, command: u64, address: u64) -> (Answer, Then) {
    let Some(operation) = SchedOp::from_number(u64::from(command as u32)) else {
        return (Err(Errno::ENOSYS), Then::Resume);
    };
    match operation {
        SchedOp::Yield => (Ok(0), Then::Yield),
        SchedOp::Block => {
            caller.state.context.pstate &= !MASK_IRQ;
            (Ok(0), run::wait(caller))
        }
        SchedOp::Shutdown => match caller.get::<Shutdown>(address) {
            Ok(argument) => (Ok(0), shutdown(caller, argument.reason)),
            Err(errno) => (Err(errno), Then::Resume),
        },
        SchedOp::Poll => (poll(caller, address), Then::Yield),
        SchedOp::RemoteShutdown => (remote_shutdown(caller, address), Then::Resume),
        SchedOp::ShutdownCode => {
            let latch = |argument: Shutdown| *caller.domain().shutdown.lock().get_or_insert(argument.reason);
            (caller.get(address).map(latch).map(|_| 0), Then::Resume)
        }
        SchedOp::Watchdog | SchedOp::PinOverride => (Err(Errno::ENOSYS), Then::Resume),
    }
}

/// The domain stops.
pub fn shutdown(caller: &mut Caller<'_>, reason: u32) -> Then {
    let domain = caller.domain();
    let code = *domain.shutdown.lock().get_or_insert(reason);
    if domain.control {
        run::stop_machine(code, NO_REBOOT.get().copied().unwrap_or(false));
    }
    Then::Off
}

/// Returns at once, after others had their turn: to the caller a wake-up before its time, after which it looks and polls again.
fn poll(caller: &mut Caller<'_>, address: u64) -> Answer {
    let argument: Poll = caller.get(address)?;
    if argument.nr_ports > POLL_MAX {
        return Err(Errno::EINVAL);
    }
    for index in 0..u64::from(argument.nr_ports) {
        let port: u32 = caller.get(argument.ports.0.wrapping_add(index * u32::CLEAR.len() as u64))?;
        let domain = caller.domain();
        domain.events.lock().is_pending(port, &domain.event_words())?;
    }
    Ok(0)
}

fn remote_shutdown(caller: &mut Caller<'_>, address: u64) -> Answer {
    let argument: RemoteShutdown = caller.get(address)?;
    if !caller.domain().control {
        return Err(Errno::EPERM);
    }
    let domain = domain::find(argument.domain_id).ok_or(Errno::ESRCH)?;
    domain.shutdown.lock().get_or_insert(argument.reason);
    Ok(0)
}
