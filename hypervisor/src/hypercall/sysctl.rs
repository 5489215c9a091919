//! `sysctl`: the toolstack's view of the system; so far, the log alone.

use xen_abi::Field;
use xen_abi::sysctl::{Readconsole, SysctlCall, SysctlOp};

use super::{Answer, Errno, xen_version};
use crate::console;
use crate::run::Caller;

/// Bytes that are copied at once.
const CHUNK: usize = 256;

/// Does what `struct xen_sysctl` at `address` says. By itself, so that the stack of every other call stays small.
#[inline(never)]
pub fn call(caller: &mut Caller<'_>, address: u64) -> Answer {
    let mut operation: SysctlCall = caller.get(address)?;
    let release = xen_version::version().ok_or(Errno::ENOSYS)?;
    if operation.interface_version != release.sysctl_interface() {
        return Err(Errno::EACCES);
    }
    if !caller.domain().control {
        return Err(Errno::EPERM);
    }
    match SysctlOp::from_number(operation.cmd.into()).ok_or(Errno::ENOSYS)? {
        SysctlOp::Readconsole => {
            let mut asked = Readconsole::read(&operation.u);
            read_console(caller, &mut asked)?;
            asked.write(&mut operation.u);
            caller.put(address, operation)?;
            Ok(0)
        }
        // The others are not there yet: as if of another version than any that is spoken.
        _ => Err(Errno::EACCES),
    }
}

/// Copies the log, from its first byte that was not cleared or from one that was said last; clears what was read.
fn read_console(caller: &Caller<'_>, asked: &mut Readconsole) -> Result<(), Errno> {
    let (start, end) = console::log_bounds();
    let mut place = start;
    // Places have 32 bits there. One that is not in the ring (any more) is as good as none.
    let ahead = u64::from(asked.index.wrapping_sub(start as u32));
    if asked.incremental != 0 && ahead <= end - start {
        place += ahead;
    }
    let (mut done, mut bytes) = (0u32, [0; CHUNK]);
    while place < end && done < asked.count {
        let wanted = CHUNK.min((asked.count - done) as usize).min((end - place) as usize);
        let (next, count) = console::read_log(place, &mut bytes[..wanted]);
        caller.write(asked.buffer.0.wrapping_add(done.into()), &bytes[..count])?;
        (place, done) = (next, done + count as u32);
    }
    if asked.clear != 0 {
        console::clear_log(place);
    }
    (asked.count, asked.index) = (done, place as u32);
    Ok(())
}
