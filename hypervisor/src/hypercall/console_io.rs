//! `console_io`: Dom0's console.

use xen_abi::xen::{ConsoleIo, VIRQ_CONSOLE};

use super::piece::{Piece, again};
use super::{Answer, Errno};
use crate::run::Caller;
use crate::{console, domain};

/// Bytes that are copied at once.
const CHUNK: usize = 128;

/// Writes (0) `count` bytes from `buffer`, or reads (1) up to as many into it.
pub fn call(caller: &mut Caller<'_>, command: u64, count: u64, buffer: u64) -> Answer {
    if !caller.domain().control {
        return Err(Errno::EPERM);
    }
    let (count, mut bytes, mut done) = (count as u32, [0; CHUNK], 0);
    match ConsoleIo::from_number(u64::from(command as u32)).ok_or(Errno::ENOSYS)? {
        ConsoleIo::Write => {
            let mut piece = Piece::default();
            while done < count {
                let part = &mut bytes[..CHUNK.min((count - done) as usize)];
                caller.read(buffer.wrapping_add(done.into()), part)?;
                console::write_guest(part);
                done += part.len() as u32;
                // A UART takes milliseconds for so many.
                if done < count && piece.is_over(caller) {
                    let rest = buffer.wrapping_add(done.into());
                    return again(caller, [ConsoleIo::Write.number().into(), (count - done).into(), rest]);
                }
            }
            Ok(0)
        }
        ConsoleIo::Read if count > i32::MAX as u32 => Err(Errno::E2BIG),
        // No more than was typed and kept.
        ConsoleIo::Read => {
            while done < count {
                let wanted = CHUNK.min((count - done) as usize);
                let length = console::read(&mut bytes[..wanted]);
                if length == 0 {
                    break;
                }
                caller.write(buffer.wrapping_add(done.into()), &bytes[..length])?;
                done += length as u32;
            }
            Ok(done.into())
        }
    }
}

/// Tells Dom0 that something was typed.
pub fn typed() {
    if let Some(domain) = domain::hardware() {
        super::event_channel_op::raise_virq(domain, 0, VIRQ_CONSOLE);
    }
}
