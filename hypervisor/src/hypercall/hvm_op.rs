//! `hvm_op`: parameters of a domain.

use core::mem::offset_of;

use xen_abi::hvm::hvm_op::{HvmOp, HvmParam};
use xen_abi::hvm::params::*;

use super::{Answer, Errno};
use crate::run::Caller;

/// What a domain may read of itself.
const OWN: [u32; 5] = [
    HVM_PARAM_CALLBACK_IRQ,
    HVM_PARAM_STORE_PFN,
    HVM_PARAM_STORE_EVTCHN,
    HVM_PARAM_CONSOLE_PFN,
    HVM_PARAM_CONSOLE_EVTCHN,
];

/// Does `operation` with the parameter at `address`.
pub fn call(caller: &mut Caller<'_>, operation: u64, address: u64) -> Answer {
    // All 64 bits count.
    let operation = HvmOp::from_number(operation).ok_or(Errno::ENOSYS)?;
    if operation == HvmOp::GuestRequestVmEvent {
        // A request to a monitor, of which there is none.
        return if address == 0 { Ok(0) } else { Err(Errno::EINVAL) };
    }
    let parameter: HvmParam = caller.get(address)?;
    let domain = caller.target(parameter.domid)?;
    let (index, is_own) = (parameter.index, domain.id == caller.domain().id);
    if !OWN.contains(&index) && index != HVM_PARAM_MONITOR_RING_PFN {
        return Err(Errno::EINVAL);
    }
    if is_own && (operation == HvmOp::SetParam || index == HVM_PARAM_MONITOR_RING_PFN) {
        return Err(Errno::EPERM);
    }
    let mut parameters = domain.parameters.lock();
    let slot = parameters.get_mut(index as usize).ok_or(Errno::EINVAL)?;
    if operation == HvmOp::SetParam {
        *slot = parameter.value;
        return Ok(0);
    }
    caller.put(address.wrapping_add(offset_of!(HvmParam, value) as u64), *slot)?;
    Ok(0)
}
