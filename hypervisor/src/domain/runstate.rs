//! How long a vCPU has been in which state, and where the guest wants to see it.

use core::sync::atomic::Ordering::*;

use xen_abi::Plain;
use xen_abi::vcpu::{RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running};
use xen_abi::vcpu::{RunstateInfo, XEN_RUNSTATE_UPDATE};
use xen_abi::xen::VMASST_TYPE_runstate_update_flag;

use super::vcpu::{State, Status};
use crate::arch::timer;
use crate::memory::guest;
use crate::run::Caller;
use crate::schedule::Entity;

/// Returns the account of a vCPU that is switched off.
pub fn new() -> RunstateInfo {
    RunstateInfo { state: RUNSTATE_offline, ..RunstateInfo::default() }
}

/// Returns a physical count as system time, in nanoseconds.
fn time_of(count: u64) -> u64 {
    (u128::from(count) * 1_000_000_000 / u128::from(timer::frequency().max(1))) as u64
}

/// Notes that a vCPU, which is loaded, does something else from now on, and tells the guest if it wants to know.
pub fn change(entity: &Entity, state: &mut State, status: Status) {
    let number = match status {
        Status::Running => RUNSTATE_running,
        Status::Runnable => RUNSTATE_runnable,
        Status::Blocked => RUNSTATE_blocked,
        Status::Off | Status::Starting => RUNSTATE_offline,
    };
    let (info, now) = (&mut state.runstate, time_of(timer::now()));
    if info.state != RUNSTATE_running && info.state != RUNSTATE_runnable {
        // Who wakes it cannot tell the guest, whose tables are not there. The time since then it was without a CPU.
        let woken = time_of(entity.vcpu().woken.load(Relaxed));
        enter(info, RUNSTATE_runnable, woken.clamp(info.state_entry_time.min(now), now));
    }
    enter(info, number, now);
    tell(entity, state);
}

fn enter(info: &mut RunstateInfo, number: i32, at: u64) {
    if let Some(time) = info.time.get_mut(info.state as usize) {
        *time += at.saturating_sub(info.state_entry_time);
    }
    (info.state, info.state_entry_time) = (number, at);
}

/// Puts the account where the guest wants it. A wrong address is the guest's own loss.
fn tell(entity: &Entity, state: &State) {
    let area = entity.vcpu().runstate_area.load(Relaxed);
    if area == 0 {
        return;
    }
    let (domain, mut info) = (&entity.domain, state.runstate);
    if domain.assists.load(Relaxed) >> VMASST_TYPE_runstate_update_flag & 1 == 0 {
        let _ = guest::write(domain.id, area, info.to_bytes().as_ref());
        return;
    }
    // The entry time's highest bit stands there while the rest changes.
    let at = area.wrapping_add(core::mem::offset_of!(RunstateInfo, state_entry_time) as u64);
    let entry = info.state_entry_time;
    info.state_entry_time |= XEN_RUNSTATE_UPDATE;
    let _ = guest::write(domain.id, at, &info.state_entry_time.to_le_bytes());
    let _ = guest::write(domain.id, area, info.to_bytes().as_ref());
    let _ = guest::write(domain.id, at, &entry.to_le_bytes());
}

/// VCPUOP_register_runstate_memory_area: from now on, or never again where the address is 0.
pub fn register(caller: &mut Caller<'_>, index: usize, address: u64) {
    caller.domain().vcpus[index].runstate_area.store(address, Relaxed);
    if index == caller.entity.index {
        tell(caller.entity, caller.state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixture;
    use crate::schedule;

    /// Lets microseconds pass.
    fn pass(microseconds: u64) {
        timer::pass(microseconds * timer::frequency() / 1_000_000);
    }

    fn times(state: &State) -> [u64; 4] {
        let time = state.runstate.time;
        [RUNSTATE_running, RUNSTATE_runnable, RUNSTATE_blocked, RUNSTATE_offline]
            .map(|which| time[which as usize] / 1000)
    }

    #[test]
    fn who_is_awake_and_has_no_cpu_is_runnable() {
        let (domain, _) = fixture::domain(67, false);
        let entity = Entity { domain: domain.clone(), index: 0 };
        let (vcpu, mut state) = (entity.vcpu(), entity.vcpu().state.lock());
        pass(1_000_000);
        assert!(schedule::start(&domain, 0));
        pass(4);
        assert!(vcpu.change(Status::Runnable, Status::Running));
        change(&entity, &mut state, Status::Running);
        let [_, runnable, _, offline] = times(&state);
        assert_eq!((runnable, offline / 1_000_000), (4, 1));
        pass(10);
        change(&entity, &mut state, Status::Blocked);
        assert!(vcpu.change(Status::Running, Status::Blocked));
        pass(200);
        schedule::wake(&domain, 0);
        pass(4000);
        // It is awake already.
        schedule::wake(&domain, 0);
        assert!(vcpu.change(Status::Runnable, Status::Running));
        change(&entity, &mut state, Status::Running);
        assert_eq!(times(&state), [10, 4004, 200, offline]);
        pass(50);
        change(&entity, &mut state, Status::Runnable);
        pass(600);
        change(&entity, &mut state, Status::Running);
        assert_eq!(times(&state), [60, 4604, 200, offline]);
        assert_eq!(state.runstate.time.iter().sum::<u64>(), state.runstate.state_entry_time);
    }
}
