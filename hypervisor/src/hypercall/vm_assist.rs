//! `vm_assist`: ways a guest wants to be treated.
#![expect(non_upper_case_globals, reason = "the headers' spelling")]

use core::sync::atomic::Ordering::Relaxed;

use xen_abi::xen::{VMASST_CMD_disable, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag};

use super::{Answer, Errno};
use crate::run::Caller;

/// Turns a way on (0) or off (1).
pub fn call(caller: &mut Caller<'_>, command: u64, kind: u64) -> Answer {
    if kind as u32 != VMASST_TYPE_runstate_update_flag {
        return Err(Errno::EINVAL);
    }
    let assists = &caller.domain().assists;
    match command as u32 {
        VMASST_CMD_enable => assists.fetch_or(1 << kind, Relaxed),
        VMASST_CMD_disable => assists.fetch_and(!(1 << kind), Relaxed),
        _ => return Err(Errno::ENOSYS),
    };
    Ok(0)
}
