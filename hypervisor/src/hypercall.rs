//! Hypercalls: decode, and answer. One file for each call, named as in Xen's public interface.

pub mod console_io;
pub mod event_channel_op;
pub mod grant_table_op;
pub mod hvm_op;
pub mod memory_op;
pub mod multicall;
pub mod piece;
pub mod platform_op;
pub mod sched_op;
pub mod sysctl;
pub mod vcpu_op;
pub mod vm_assist;
pub mod xen_version;

use alloc::sync::Arc;

pub use xen_abi::Errno;
use xen_abi::Hypercall;
use xen_abi::Plain;
use xen_abi::domctl::DomctlCall;
use xen_abi::xen::DOMID_SELF;

use crate::domain::{self, Domain};
use crate::memory::guest;
use crate::run::{Caller, Then};

/// The immediate of HVC that means a hypercall.
pub const IMMEDIATE: u16 = 0xea1;
/// What a call returns.
pub type Answer = Result<u64, Errno>;

/// Answers HVC #0xea1.
pub fn call(caller: &mut Caller<'_>) -> Then {
    let x = &caller.state.context.x;
    let (number, [a, b, c]) = (x[16], [x[0], x[1], x[2]]);
    let (answer, then) = match Hypercall::from_number(number) {
        Some(Hypercall::SchedOp) => sched_op::call(caller, a, b),
        Some(Hypercall::Multicall) => multicall::call(caller, a, b),
        Some(known) => (dispatch(caller, known, a, b, c), Then::Resume),
        None => (Err(Errno::ENOSYS), Then::Resume),
    };
    caller.state.context.x[0] = to_register(answer);
    then
}

/// Returns what the guest finds in x0.
fn to_register(answer: Answer) -> u64 {
    answer.unwrap_or_else(Errno::to_register)
}

/// Answers a call that does not change what the vCPU does next. None takes more than three arguments.
fn dispatch(caller: &mut Caller<'_>, call: Hypercall, a: u64, b: u64, c: u64) -> Answer {
    match call {
        Hypercall::PlatformOp => platform_op::call(caller, a),
        Hypercall::MemoryOp => memory_op::call(caller, a, b),
        Hypercall::XenVersion => xen_version::call(caller, a, b),
        Hypercall::ConsoleIo => console_io::call(caller, a, b, c),
        Hypercall::GrantTableOp => grant_table_op::call(caller, a, b, c),
        Hypercall::VmAssist => vm_assist::call(caller, a, b),
        Hypercall::VcpuOp => vcpu_op::call(caller, a, b, c),
        Hypercall::EventChannelOp => event_channel_op::call(caller, a, b),
        Hypercall::HvmOp => hvm_op::call(caller, a, b),
        Hypercall::Sysctl => sysctl::call(caller, a),
        // The toolstack's: of another version than any that is spoken.
        Hypercall::Domctl => refuse::<DomctlCall>(caller, a),
        // Not asked here: what the vCPU does next depends on them.
        Hypercall::SchedOp | Hypercall::Multicall => Err(Errno::EINVAL),
        // What upstream is built without.
        Hypercall::XsmOp | Hypercall::PhysdevOp | Hypercall::ArgoOp | Hypercall::DmOp | Hypercall::HypfsOp => {
            Err(Errno::ENOSYS)
        }
    }
}

/// Refuses a call of the toolstack's. By itself, so that the stack of every other call stays small.
#[inline(never)]
fn refuse<T: Plain>(caller: &Caller<'_>, address: u64) -> Answer {
    caller.get::<T>(address)?;
    Err(if caller.domain().control { Errno::EACCES } else { Errno::EPERM })
}

impl Caller<'_> {
    /// Returns the domain.
    pub fn domain(&self) -> &Arc<Domain> {
        &self.entity.domain
    }

    /// Copies a structure in.
    fn get<T: Plain>(&self, address: u64) -> Result<T, Errno> {
        let mut bytes = T::CLEAR;
        guest::read(self.domain().id, address, bytes.as_mut()).map_err(|_| Errno::EFAULT)?;
        Ok(T::read(bytes.as_ref()))
    }

    /// Copies a structure out.
    fn put<T: Plain>(&self, address: u64, value: T) -> Result<(), Errno> {
        self.write(address, value.to_bytes().as_ref())
    }

    /// Copies bytes in.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        guest::read(self.domain().id, address, bytes).map_err(|_| Errno::EFAULT)
    }

    /// Copies bytes out.
    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        guest::write(self.domain().id, address, bytes).map_err(|_| Errno::EFAULT)
    }

    /// Returns the domain that a number names, if the caller may act on it: itself, or any if it controls.
    fn target(&self, id: u16) -> Result<Arc<Domain>, Errno> {
        let own = self.domain();
        if id == DOMID_SELF || id == own.id {
            return Ok(own.clone());
        }
        let found = domain::find(id).ok_or(Errno::ESRCH)?;
        if own.control { Ok(found) } else { Err(Errno::EPERM) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixture;
    use crate::domain::vcpu::State;
    use crate::schedule::Entity;
    use proptest::prelude::*;
    use xen_abi::event_channel::{AllocUnbound, BindVirq, EventChannelOp, Status};
    use xen_abi::features::*;
    use xen_abi::memory::{
        AddToPhysmap, MemoryOp, MemoryReservation, XENMAPSPACE_grant_table, XENMAPSPACE_shared_info,
    };
    use xen_abi::vcpu::RegisterVcpuInfo;
    use xen_abi::version::{FeatureInfo, VersionOp};
    use xen_abi::xen::VIRQ_CONSOLE;
    use xen_abi::{Field, Handle};

    /// Makes a call as vCPU 0 of `domain`.
    pub(super) fn hvc(domain: &Arc<Domain>, number: Hypercall, arguments: [u64; 3]) -> i64 {
        raw(domain, number.number(), [arguments[0], arguments[1], arguments[2], 0, 0])
    }

    pub(super) fn raw(domain: &Arc<Domain>, number: u64, arguments: [u64; 5]) -> i64 {
        let entity = Entity { domain: domain.clone(), index: 0 };
        let mut state = domain.vcpus[0].state.lock();
        let state: &mut State = &mut state;
        state.context.x[..5].copy_from_slice(&arguments);
        state.context.x[16] = number;
        call(&mut Caller { entity: &entity, state });
        state.context.x[0] as i64
    }

    pub(super) fn put<T: Plain>(domain: &Domain, address: u64, value: T) {
        guest::write(domain.id, address, value.to_bytes().as_ref()).unwrap();
    }

    pub(super) fn get<T: Plain>(domain: &Domain, address: u64) -> T {
        let mut bytes = T::CLEAR;
        guest::read(domain.id, address, bytes.as_mut()).unwrap();
        T::read(bytes.as_ref())
    }

    pub(super) fn is(errno: Errno) -> i64 {
        errno.to_register() as i64
    }

    #[test]
    fn features_are_those_of_a_direct_mapped_dom0() {
        let (domain, memory) = fixture::domain(21, true);
        put(&domain, memory, FeatureInfo { submap_idx: 0, submap: 0 });
        assert_eq!(hvc(&domain, Hypercall::XenVersion, [VersionOp::GetFeatures.number().into(), memory, 0]), 0);
        let features = get::<FeatureInfo>(&domain, memory).submap;
        assert_eq!(features, 0x2_6805);
        assert_ne!(features >> XENFEAT_dom0 & 1, 0);
        put(&domain, memory, FeatureInfo { submap_idx: 1, submap: 0 });
        assert_eq!(hvc(&domain, Hypercall::XenVersion, [6, memory, 0]), is(Errno::EINVAL));
        assert_eq!(hvc(&domain, Hypercall::XenVersion, [6, 0, 0]), is(Errno::EFAULT));
    }

    #[test]
    fn unknown_numbers_do_not_exist() {
        let (domain, _) = fixture::domain(22, true);
        for number in [0, 6, 16, 19, 27, 33, 39, 41, 42, 43, 1 << 32 | 17, u64::MAX] {
            assert_eq!(raw(&domain, number, [0; 5]), is(Errno::ENOSYS), "{number}");
        }
    }

    #[test]
    fn shared_pages_are_in_one_place_at_a_time() {
        let (domain, memory) = fixture::domain(23, true);
        let add = |space, idx, gpfn| {
            let argument = AddToPhysmap { domid: DOMID_SELF, space, idx, gpfn, ..AddToPhysmap::default() };
            put(&domain, memory, argument);
            hvc(&domain, Hypercall::MemoryOp, [MemoryOp::AddToPhysmap.number().into(), memory, 0])
        };
        assert_eq!(add(XENMAPSPACE_shared_info, 0, 0x100), 0);
        assert_eq!(add(XENMAPSPACE_shared_info, 0, 0x101), is(Errno::EBUSY));
        assert_eq!(add(XENMAPSPACE_shared_info, 1, 0x101), is(Errno::EINVAL));
        assert_eq!(add(XENMAPSPACE_shared_info, 0, u64::MAX), is(Errno::EINVAL));
        assert_eq!(add(XENMAPSPACE_grant_table, 3, 0x200), 0);
        assert_eq!(domain.grants.lock().size().0, 4);
        assert_eq!(add(XENMAPSPACE_grant_table, 64, 0x201), is(Errno::EINVAL));
    }

    #[test]
    fn a_balloon_gives_back_what_it_took() {
        let (domain, memory) = fixture::domain(24, true);
        let gfn = memory / 4096 + 1;
        put(&domain, memory, gfn);
        let at = memory + 64;
        let extents =
            MemoryReservation { extent_start: Handle(memory), nr_extents: 1, domid: DOMID_SELF, ..Default::default() };
        put(&domain, at, extents);
        let pages = domain.pages.load(core::sync::atomic::Ordering::Relaxed);
        assert_eq!(hvc(&domain, Hypercall::MemoryOp, [MemoryOp::DecreaseReservation.number().into(), at, 0]), 1);
        assert_eq!(domain.p2m.lock().get(crate::memory::Gfn(gfn)), None);
        assert_eq!(hvc(&domain, Hypercall::MemoryOp, [MemoryOp::DecreaseReservation.number().into(), at, 0]), 0);
        assert_eq!(hvc(&domain, Hypercall::MemoryOp, [MemoryOp::PopulatePhysmap.number().into(), at, 0]), 1);
        assert!(domain.p2m.lock().get(crate::memory::Gfn(gfn)).is_some());
        assert_eq!(domain.pages.load(core::sync::atomic::Ordering::Relaxed), pages);
        // A frame that is not its own it cannot have.
        put(&domain, memory, 1u64 << 20);
        assert_eq!(hvc(&domain, Hypercall::MemoryOp, [MemoryOp::PopulatePhysmap.number().into(), at, 0]), 0);
    }

    #[test]
    fn a_vcpu_registers_its_info_once_and_hears_an_event() {
        let (domain, memory) = fixture::domain(25, true);
        let argument = RegisterVcpuInfo { mfn: memory / 4096 + 2, offset: 64, rsvd: 0 };
        put(&domain, memory, argument);
        assert_eq!(hvc(&domain, Hypercall::VcpuOp, [10, 0, memory]), 0);
        assert_eq!(get::<u8>(&domain, memory + 2 * 4096 + 64), 1, "evtchn_upcall_pending");
        assert_eq!(get::<u64>(&domain, memory + 2 * 4096 + 72), u64::MAX, "evtchn_pending_sel");
        assert_eq!(hvc(&domain, Hypercall::VcpuOp, [10, 0, memory]), is(Errno::EINVAL));
        assert_eq!(hvc(&domain, Hypercall::VcpuOp, [10, 1, memory]), is(Errno::ENOENT));
        assert_eq!(hvc(&domain, Hypercall::VcpuOp, [3, 0, memory]), is(Errno::EINVAL));
    }

    #[test]
    fn the_log_is_read_in_pieces_and_cleared() {
        use xen_abi::sysctl::{Readconsole, SysctlCall};
        let (domain, memory) = fixture::domain(27, true);
        let (at, buffer) = (memory, memory + 4096);
        let ask = |asked: Readconsole, interface_version| {
            let mut call = SysctlCall { cmd: 1, interface_version, u: [0; 128] };
            Readconsole { buffer: Handle(buffer), ..asked }.write(&mut call.u);
            put(&domain, at, call);
            let answer = hvc(&domain, Hypercall::Sysctl, [at, 0, 0]);
            (answer, Readconsole::read(&get::<SysctlCall>(&domain, at).u))
        };
        let text = |count: u32| {
            let mut bytes = alloc::vec![0; count as usize];
            guest::read(domain.id, buffer, &mut bytes).unwrap();
            alloc::string::String::from_utf8(bytes).unwrap()
        };
        // Other tests say things as well.
        crate::console::line(format_args!("said first, {}", "and at length ".repeat(30)));
        crate::console::line(format_args!("said next"));
        assert_eq!(ask(Readconsole::default(), 0x14).0, is(Errno::EACCES));
        let (mut index, mut all) = (0, alloc::string::String::new());
        loop {
            let (answer, told) = ask(Readconsole { incremental: 1, index, count: 300, ..Default::default() }, 0x15);
            assert_eq!(answer, 0);
            if told.count == 0 {
                break;
            }
            all += &text(told.count);
            index = told.index;
        }
        let first = all.find("(EL2) said first, and at length and").expect("in the log");
        assert!(all[first..].contains("(EL2) said next\n"), "{all}");
        // What was never read, or is over, is begun anew.
        for wrong in [index.wrapping_add(0x8000_0000), u32::MAX] {
            let (_, told) = ask(Readconsole { incremental: 1, index: wrong, count: 8, ..Default::default() }, 0x15);
            assert_eq!((told.count, &text(8)[..]), (8, &all[..8]), "{wrong:#x}");
        }
        // Only what was read is cleared.
        let (_, cleared) = ask(Readconsole { clear: 1, count: 8, ..Default::default() }, 0x15);
        let (_, told) = ask(Readconsole { count: 8, ..Default::default() }, 0x15);
        assert_eq!((told.index, &text(8)[..]), (cleared.index.wrapping_add(8), &all[8..16]));
        let nowhere = SysctlCall { cmd: 1, interface_version: 0x15, u: [0; 128] };
        let mut call = nowhere;
        Readconsole { count: 1, ..Default::default() }.write(&mut call.u);
        for (call, expected) in [(call, is(Errno::EFAULT)), (nowhere, 0)] {
            put(&domain, at, call);
            assert_eq!(
                hvc(&domain, Hypercall::Sysctl, [at, 0, 0]),
                expected,
                "null is written to if there is something to write"
            );
        }
        let (other, memory) = fixture::domain(28, false);
        put(&other, memory, SysctlCall { cmd: 1, interface_version: 0x15, u: [0; 128] });
        assert_eq!(hvc(&other, Hypercall::Sysctl, [memory, 0, 0]), is(Errno::EPERM));
    }

    #[test]
    fn ports_are_made_and_asked_about() {
        let (domain, memory) = fixture::domain(26, true);
        let operation =
            |operation: EventChannelOp| hvc(&domain, Hypercall::EventChannelOp, [operation.number().into(), memory, 0]);
        put(&domain, memory, AllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 });
        assert_eq!(operation(EventChannelOp::AllocUnbound), 0);
        assert_eq!(get::<AllocUnbound>(&domain, memory).port, 1);
        put(&domain, memory, BindVirq { virq: VIRQ_CONSOLE, vcpu: 0, port: 0 });
        assert_eq!(operation(EventChannelOp::BindVirq), 0);
        assert_eq!(get::<BindVirq>(&domain, memory).port, 2);
        assert_eq!(operation(EventChannelOp::BindVirq), is(Errno::EEXIST));
        put(&domain, memory, Status { dom: DOMID_SELF, port: 2, ..Status::default() });
        assert_eq!(operation(EventChannelOp::Status), 0);
        assert_eq!(get::<Status>(&domain, memory).status, xen_abi::event_channel::EVTCHNSTAT_virq);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        /// No number, operation, pointer or structure makes the hypervisor panic, and what it hands out it gets back.
        #[test]
        fn no_call_panics(
            control in any::<bool>(),
            calls in proptest::collection::vec(
                (0u64..44, 0u64..32, any::<[u8; 64]>(), 0u8..5, any::<u64>(), any::<[u64; 2]>()), 1..40),
        ) {
            let (domain, memory) = fixture::domain(31, control);
            for (number, operation, bytes, pointer, wild, rest) in calls {
                let shuts_down = number == Hypercall::SchedOp.number() && operation == 2;
                if shuts_down {
                    continue;
                }
                let mut bytes = bytes;
                // Words that mean something more often than chance has it.
                if wild & 1 != 0 { bytes[..2].copy_from_slice(&DOMID_SELF.to_le_bytes()); }
                if wild & 2 != 0 { bytes[8..16].copy_from_slice(&(memory / 4096 + (wild >> 8) % 4).to_le_bytes()); }
                if wild & 4 != 0 { bytes[..8].copy_from_slice(&(memory + (wild >> 8) % 4096).to_le_bytes()); }
                if wild & 8 != 0 { bytes[16..24].copy_from_slice(&((wild >> 8) % 64).to_le_bytes()); }
                let _ = guest::write(domain.id, memory, &bytes);
                let address = match pointer {
                    0 => memory,
                    1 => memory + 4090,
                    2 => 0,
                    3 => memory + wild % 64,
                    _ => wild,
                };
                // Counts of elements stay small: each is a call of its own.
                raw(&domain, number, [operation, address, rest[0] % 8, rest[1], 0]);
                raw(&domain, number, [operation, rest[0] % 8, address, rest[1], 0]);
            }
            prop_assert!(Status::SIZE > 0);
        }
    }
}
