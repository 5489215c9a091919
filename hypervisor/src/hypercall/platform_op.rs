//! `platform_op`: the clock on the wall, set by Dom0.

use core::mem::offset_of;
use core::sync::atomic::Ordering::*;

use xen_abi::Field;
use xen_abi::platform::{PlatformCall, PlatformOp, Settime64, XENPF_INTERFACE_VERSION};
use xen_abi::xen::SharedInfo;

use super::{Answer, Errno};
use crate::arch::{Lock, timer};
use crate::domain::{self, Domain};
use crate::run::Caller;

/// Nanoseconds since 1970 at which the machine's count was 0.
static BASE: Lock<u64> = Lock::new(0);

/// Does what `struct xen_platform_op` at `address` says.
pub fn call(caller: &mut Caller<'_>, address: u64) -> Answer {
    if !caller.domain().control {
        return Err(Errno::EPERM);
    }
    let operation: PlatformCall = caller.get(address)?;
    if operation.interface_version != XENPF_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    match PlatformOp::from_number(operation.cmd.into()) {
        Some(PlatformOp::Settime64) => {
            let set = Settime64::read(&operation.u);
            if set.mbz != 0 {
                return Err(Errno::EINVAL);
            }
            let time = u128::from(set.secs) * 1_000_000_000 + u128::from(set.nsecs);
            // The caller's system time counts from when its virtual count was 0.
            let since = u128::from(set.system_time) + u128::from(nanoseconds_of(caller.domain().time_offset));
            *BASE.lock() = u64::try_from(time.saturating_sub(since)).unwrap_or(u64::MAX);
            domain::all().iter().for_each(|domain| update(domain));
            Ok(0)
        }
        Some(PlatformOp::Settime32) | None => Err(Errno::ENOSYS),
    }
}

fn nanoseconds_of(count: u64) -> u64 {
    (u128::from(count) * 1_000_000_000 / u128::from(timer::frequency().max(1))) as u64
}

/// Writes the wall clock into a domain's shared page: the time at which that domain's virtual count was 0.
pub fn update(domain: &Domain) {
    let base = BASE.lock();
    let time = base.saturating_add(nanoseconds_of(domain.time_offset));
    let words = domain.shared_info.words();
    let [version, seconds, nanoseconds, high] = [
        offset_of!(SharedInfo, wc_version),
        offset_of!(SharedInfo, wc_sec),
        offset_of!(SharedInfo, wc_nsec),
        offset_of!(SharedInfo, wc_sec_hi),
    ]
    .map(|offset| &words[offset / 4]);
    version.fetch_add(1, SeqCst);
    seconds.store((time / 1_000_000_000) as u32, SeqCst);
    high.store(((time / 1_000_000_000) >> 32) as u32, SeqCst);
    nanoseconds.store((time % 1_000_000_000) as u32, SeqCst);
    version.fetch_add(1, SeqCst);
}
