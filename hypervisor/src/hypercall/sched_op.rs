//! `sched_op`: yielding, blocking, shutting down.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::*;

use xen_abi::Plain;
use xen_abi::sched::{PinOverride, Poll, RemoteShutdown, SchedOp, Shutdown, Watchdog};

use super::{Answer, Errno};
use crate::arch::{smp, timer};
use crate::domain;
use crate::domain::vcpu::{NEVER, NOWHERE, POLL, WATCHDOGS};
use crate::run::{self, Caller, Then};
use crate::schedule;

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
        SchedOp::Poll => match poll(caller, address) {
            Ok(then) => (Ok(0), then),
            Err(errno) => (Err(errno), Then::Resume),
        },
        SchedOp::RemoteShutdown => remote_shutdown(caller, address),
        SchedOp::ShutdownCode => {
            let latch = |argument: Shutdown| *caller.domain().shutdown.lock().get_or_insert(argument.reason);
            (caller.get(address).map(latch).map(|_| 0), Then::Resume)
        }
        SchedOp::Watchdog => (watchdog(caller, address), Then::Resume),
        SchedOp::PinOverride => pin_override(caller, address),
    }
}

/// The domain stops.
pub fn shutdown(caller: &mut Caller<'_>, reason: u32) -> Then {
    caller.domain().stop(reason);
    Then::Off
}

/// Returns the machine's count at a moment of system time, in nanoseconds: the time that run states tell.
fn count_at(nanoseconds: u64) -> u64 {
    let ticks = u128::from(nanoseconds) * u128::from(timer::frequency()) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Waits until one of the ports is pending, an interrupt is, or the time has come.
fn poll(caller: &mut Caller<'_>, address: u64) -> Result<Then, Errno> {
    let argument: Poll = caller.get(address)?;
    if argument.nr_ports > POLL_MAX {
        return Err(Errno::EINVAL);
    }
    let domain = caller.domain().clone();
    let vcpu = caller.entity.vcpu();
    // Said first, so that a port that becomes pending while they are looked at is noticed.
    vcpu.polls.store(true, SeqCst);
    domain.polling.store(1, SeqCst);
    let mut any = false;
    for port in 0..u64::from(argument.nr_ports) {
        let port: u32 = caller.get(argument.ports.0.wrapping_add(port * u32::CLEAR.len() as u64))?;
        any |= domain.events.lock().is_pending(port, &domain.event_words())?;
    }
    let until = if argument.timeout == 0 { NEVER } else { count_at(argument.timeout) };
    if any || until <= timer::now() {
        return Ok(Then::Resume);
    }
    vcpu.deadlines[POLL].store(until, Relaxed);
    schedule::set_timer();
    let then = run::wait(caller);
    // What became pending before the news were cleared is looked at once more by the guest.
    if !vcpu.polls.load(SeqCst) {
        // It goes on where it is, with what the wait took out of its list registers.
        vcpu.news.store(true, SeqCst);
        return Ok(Then::Resume);
    }
    Ok(then)
}

fn remote_shutdown(caller: &mut Caller<'_>, address: u64) -> (Answer, Then) {
    let find = |argument: RemoteShutdown| {
        let domain = domain::find(argument.domain_id).ok_or(Errno::ESRCH)?;
        if !caller.domain().control {
            return Err(Errno::EPERM);
        }
        Ok((domain, argument.reason))
    };
    match caller.get(address).and_then(find) {
        Ok((domain, reason)) if domain.id == caller.domain().id => (Ok(0), shutdown(caller, reason)),
        Ok((domain, reason)) => {
            domain.stop(reason);
            (Ok(0), Then::Resume)
        }
        Err(errno) => (Err(errno), Then::Resume),
    }
}

/// Sets, changes or ends one of the domain's watchdogs, which end the domain unless they are set anew in time.
fn watchdog(caller: &mut Caller<'_>, address: u64) -> Answer {
    let Watchdog { id, timeout } = caller.get(address)?;
    let count = WATCHDOGS.len() as u32;
    if id > count {
        return Err(Errno::EINVAL);
    }
    let first = &caller.domain().vcpus[0];
    let slots = &first.deadlines[WATCHDOGS];
    let until = timer::now().saturating_add(u64::from(timeout) * timer::frequency());
    let answer = if id == 0 {
        let free = |slot: &AtomicU64| slot.compare_exchange(NEVER, until, SeqCst, SeqCst).is_ok();
        slots.iter().position(free).map(|index| index as u64 + 1).ok_or(Errno::ENOSPC)?
    } else {
        let slot = &slots[id as usize - 1];
        if slot.load(SeqCst) == NEVER {
            return Err(Errno::EINVAL);
        }
        slot.store(if timeout == 0 { NEVER } else { until }, SeqCst);
        0
    };
    schedule::set_timer_of(first);
    Ok(answer)
}

/// Holds the vCPU on a CPU, where it goes on, or lets it go.
fn pin_override(caller: &mut Caller<'_>, address: u64) -> (Answer, Then) {
    let pin = |PinOverride { pcpu }: PinOverride| {
        if !caller.domain().control {
            return Err(Errno::EPERM);
        }
        let held = &caller.entity.vcpu().held;
        let Ok(cpu) = usize::try_from(pcpu) else {
            return if held.swap(NOWHERE, SeqCst) == NOWHERE { Err(Errno::EINVAL) } else { Ok(0) };
        };
        if cpu >= smp::count() {
            return Err(Errno::EINVAL);
        }
        held.compare_exchange(NOWHERE, cpu, SeqCst, SeqCst).map(|_| 0).map_err(|_| Errno::EBUSY)
    };
    let answer = caller.get(address).and_then(pin);
    (answer, if schedule::may_stay(caller.entity) { Then::Resume } else { Then::Yield })
}
