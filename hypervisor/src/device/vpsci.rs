//! The firmware that guests see: PSCI 1.1 (ARM DEN 0022) and the calls of SMCCC 1.1 (ARM DEN 0028).

use core::sync::atomic::Ordering::Relaxed;

use crate::arch::speculation::{self, WORKAROUND_1, WORKAROUND_2, WORKAROUND_3};
use crate::arch::vcpu::{PSTATE_RESET, Saved};
use crate::arch::{Context, smp};
use crate::domain::vcpu::{NEVER, Status, Vcpu, WATCHDOGS};
use crate::hypercall::sched_op;
use crate::memory::Gfn;
use crate::run::{self, Caller, Then};
use crate::schedule;

const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
const ON_PENDING: i64 = -5;
const INVALID_ADDRESS: i64 = -9;

const VERSION: u32 = 0x8400_0000;
const CPU_SUSPEND_32: u32 = 0x8400_0001;
const CPU_SUSPEND: u32 = 0xc400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON_32: u32 = 0x8400_0003;
const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO_32: u32 = 0x8400_0004;
const AFFINITY_INFO: u32 = 0xc400_0004;
const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
const FEATURES: u32 = 0x8400_000a;
const SMCCC_VERSION: u32 = 0x8000_0000;
const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
/// PSCI 0.1, whose numbers the device tree gives.
const OLD_CPU_OFF: u32 = 1;
const OLD_CPU_ON: u32 = 2;
/// The standard hypervisor service of Xen: count, identifier, revision.
const HYPERVISOR: [u32; 3] = [0x8500_ff00, 0x8500_ff01, 0x8500_ff03];
/// Standard secure services: count, identifier, revision.
const STANDARD: [u32; 3] = [0x8400_ff00, 0x8400_ff01, 0x8400_ff03];
/// a71812dc-c698-4369-9acf-79d18ddee667, four bytes to a register.
const HYPERVISOR_ID: [u64; 4] = [0xdc12_18a7, 0x6943_98c6, 0xd179_cf9a, 0x67e6_de8d];
/// f863386f-4b39-4cbd-9220-ce1641e59f6f.
const STANDARD_ID: [u64; 4] = [0x6f38_63f8, 0xbd4c_394b, 0x16ce_2092, 0x6f9f_e541];

/// Answers HVC #0 or SMC #0.
pub fn call(caller: &mut Caller<'_>) -> Then {
    let x = &caller.state.context.x;
    let (function, [one, two, three]) = (x[0] as u32, [x[1], x[2], x[3]]);
    let narrow = |value: u64| value & 0xffff_ffff;
    let result = match function {
        VERSION => 0x1_0001,
        CPU_SUSPEND | CPU_SUSPEND_32 => {
            caller.state.context.x[0] = SUCCESS as u64;
            return run::wait(caller);
        }
        CPU_OFF | OLD_CPU_OFF => return Then::Off,
        CPU_ON => cpu_on(caller, one, two, three),
        CPU_ON_32 => cpu_on(caller, narrow(one), narrow(two), narrow(three)),
        OLD_CPU_ON => match cpu_on(caller, one, two, 0) {
            SUCCESS => SUCCESS,
            _ => INVALID_PARAMETERS,
        },
        AFFINITY_INFO => affinity_info(caller, one, two),
        AFFINITY_INFO_32 => affinity_info(caller, narrow(one), narrow(two)),
        MIGRATE_INFO_TYPE => 2,
        SYSTEM_OFF => return sched_op::shutdown(caller, 0),
        SYSTEM_RESET => return sched_op::shutdown(caller, 1),
        FEATURES => features(one as u32),
        SMCCC_VERSION => 0x1_0001,
        SMCCC_ARCH_FEATURES => match one as u32 {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => SUCCESS,
            function => speculation::answer(function).unwrap_or(NOT_SUPPORTED),
        },
        // Where they are needed they were made on the way here; they have no result.
        WORKAROUND_1 | WORKAROUND_3 => return Then::Resume,
        // Is on for good where it is needed; and where nobody knows, there is nothing to switch.
        WORKAROUND_2 if speculation::answer(WORKAROUND_2) != Some(NOT_SUPPORTED) => return Then::Resume,
        _ => match (HYPERVISOR.iter().position(|&id| id == function), STANDARD.iter().position(|&id| id == function)) {
            (Some(0), _) => 3,
            (Some(1), _) => return identify(caller, HYPERVISOR_ID),
            (Some(2), _) => return identify(caller, [0, 1]),
            (_, Some(0)) => 15,
            (_, Some(1)) => return identify(caller, STANDARD_ID),
            (_, Some(2)) => return identify(caller, [0, 1]),
            _ => NOT_SUPPORTED,
        },
    };
    caller.state.context.x[0] = result as u64;
    Then::Resume
}

fn identify<const N: usize>(caller: &mut Caller<'_>, words: [u64; N]) -> Then {
    caller.state.context.x[..N].copy_from_slice(&words);
    Then::Resume
}

fn features(function: u32) -> i64 {
    match function {
        VERSION | CPU_SUSPEND | CPU_SUSPEND_32 | CPU_OFF | CPU_ON | CPU_ON_32 | AFFINITY_INFO | AFFINITY_INFO_32
        | MIGRATE_INFO_TYPE | SYSTEM_OFF | SYSTEM_RESET | FEATURES | SMCCC_VERSION => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

fn cpu_on(caller: &mut Caller<'_>, target: u64, entry: u64, argument: u64) -> i64 {
    let domain = &caller.entity.domain;
    let Some(index) = domain.by_affinity(target) else { return INVALID_PARAMETERS };
    let vcpu = &domain.vcpus[index];
    // Where it could not begin; of who is on already that is no matter.
    let is_code = || domain.p2m.lock().get(Gfn::of(entry)).is_some_and(|(_, kind)| kind.is_memory());
    if entry & 3 != 0 || vcpu.status() == Status::Off && !is_code() {
        return INVALID_ADDRESS;
    }
    // Of several callers one prepares the state. The others do not even wait for it: once the vCPU runs, its CPU keeps it.
    if !vcpu.change(Status::Off, Status::Starting) {
        return if vcpu.status() == Status::Starting { ON_PENDING } else { ALREADY_ON };
    }
    let mut state = vcpu.state.lock();
    state.context = Context { pc: entry, pstate: PSTATE_RESET, ..Context::default() };
    state.context.x[0] = argument;
    state.saved = Saved::new(state.saved.mpidr, state.saved.vttbr, state.saved.time_offset);
    state.physical_timer = (0, 0);
    // The watchdogs are the domain's, not this vCPU's.
    vcpu.deadlines[..WATCHDOGS.start].iter().for_each(|deadline| deadline.store(NEVER, Relaxed));
    domain.vgic.lock().reset(index);
    drop(state);
    schedule::start(domain, index);
    SUCCESS
}

fn affinity_info(caller: &Caller<'_>, target: u64, level: u64) -> i64 {
    if level > 3 || target & !smp::AFFINITY != 0 {
        return INVALID_PARAMETERS;
    }
    let mask = match level {
        0 => smp::AFFINITY,
        1 => smp::AFFINITY & !0xff,
        2 => smp::AFFINITY & !0xffff,
        _ => smp::AFFINITY & !0xff_ffff,
    };
    let some = caller.entity.domain.vcpus.iter().filter(|vcpu| vcpu.affinity() & mask == target & mask);
    // ON, OFF, ON_PENDING: of several vCPUs one that is on counts, or else one that will be.
    let level = |vcpu: &Vcpu| match vcpu.status() {
        Status::Blocked | Status::Runnable | Status::Running => (0, 0),
        Status::Starting => (1, 2),
        Status::Off => (2, 1),
    };
    some.map(level).min().map_or(INVALID_PARAMETERS, |(_, answer)| answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Domain, fixture};
    use crate::memory::p2m::Kind;
    use crate::schedule::Entity;
    use alloc::sync::Arc;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    /// Makes a call as a vCPU.
    fn firmware(domain: &Arc<Domain>, index: usize, arguments: [u64; 4]) -> i64 {
        let entity = Entity { domain: domain.clone(), index };
        let mut state = domain.vcpus[index].state.lock();
        state.context.x[..4].copy_from_slice(&arguments);
        call(&mut Caller { entity: &entity, state: &mut state });
        state.context.x[0] as i64
    }

    fn wait_until(what: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < end, "it does not happen");
            thread::yield_now();
        }
    }

    #[test]
    fn who_comes_second_does_not_wait_for_the_first() {
        let (domain, memory) = fixture::domain_of(61, false, 3);
        let target = domain.vcpus[2].state.lock();
        let (one, two) = (domain.clone(), domain.clone());
        let first = thread::spawn(move || firmware(&one, 0, [CPU_ON.into(), 2, memory, 7]));
        wait_until(|| domain.vcpus[2].status() == Status::Starting);
        let (answer, answered) = channel();
        thread::spawn(move || answer.send(firmware(&two, 1, [CPU_ON.into(), 2, memory, 8])));
        assert_eq!(answered.recv_timeout(Duration::from_secs(20)), Ok(ON_PENDING));
        assert_eq!(firmware(&domain, 1, [AFFINITY_INFO.into(), 2, 0, 0]), 2, "ON_PENDING");
        drop(target);
        assert_eq!(first.join().unwrap(), SUCCESS);
        assert_eq!(firmware(&domain, 1, [CPU_ON.into(), 2, memory, 9]), ALREADY_ON);
        assert_eq!(firmware(&domain, 1, [AFFINITY_INFO.into(), 2, 0, 0]), 0, "ON");
        let state = domain.vcpus[2].state.lock();
        assert_eq!((state.context.pc, state.context.x[0]), (memory, 7), "what the first one said counts");
    }

    #[test]
    fn a_vcpu_begins_in_the_guests_memory_or_not_at_all() {
        let (domain, memory) = fixture::domain_of(68, false, 2);
        let shared = domain.shared_info.frame();
        domain.p2m.lock().set(Gfn(9), shared, 1, Kind::Lent).unwrap();
        for entry in [memory | 2, 0, 9 * 4096, memory - 4, memory + 16 * 4096, 1 << 40 | memory, u64::MAX - 3] {
            assert_eq!(firmware(&domain, 0, [CPU_ON.into(), 1, entry, 0]), INVALID_ADDRESS, "{entry:#x}");
            assert_eq!(domain.vcpus[1].status(), Status::Off);
        }
        assert_eq!(firmware(&domain, 0, [CPU_ON.into(), 1, memory + 16 * 4096 - 4, 0]), SUCCESS);
        assert_eq!(firmware(&domain, 0, [CPU_ON.into(), 1, 0, 0]), ALREADY_ON);
        assert_eq!(firmware(&domain, 0, [CPU_ON.into(), 2, memory, 0]), INVALID_PARAMETERS);
    }

    #[test]
    fn of_two_that_switch_one_on_one_does_and_then_it_may_run_for_ever() {
        for _ in 0..200 {
            let (domain, memory) = fixture::domain_of(62, false, 3);
            let (together, answered) = (Barrier::new(2), AtomicUsize::new(0));
            let call = |index| {
                together.wait();
                let answer = firmware(&domain, index, [CPU_ON.into(), 2, memory, 0]);
                // From now on the target computes: its CPU keeps its state until the other one has been answered too.
                let state = (answer == SUCCESS).then(|| domain.vcpus[2].state.lock());
                answered.fetch_add(1, SeqCst);
                wait_until(|| answered.load(SeqCst) == 2);
                drop(state);
                answer
            };
            let answers = thread::scope(|scope| {
                let other = scope.spawn(|| call(1));
                [call(0), other.join().unwrap()]
            });
            assert_eq!(answers.iter().filter(|&&answer| answer == SUCCESS).count(), 1, "{answers:?}");
            assert!(answers.iter().all(|answer| [SUCCESS, ALREADY_ON, ON_PENDING].contains(answer)), "{answers:?}");
        }
    }
}
