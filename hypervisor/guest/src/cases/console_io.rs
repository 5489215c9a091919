//! `console_io`: Dom0's console.

use xen_abi::Hypercall;

use super::pointers::{hostile, nowhere, short};
use crate::calls::{call, case};
use crate::machine;

const CALL: Hypercall = Hypercall::ConsoleIo;

/// Runs the cases.
pub fn run() {
    let at = machine::page(4);
    case("console_io write, nothing", call(CALL, &[0, 0, at]));
    case("console_io write, nothing from nowhere", call(CALL, &[0, 0, nowhere()]));
    case("console_io write, a page of nothing", call(CALL, &[0, 1 << 12, short(0)]));
    case("console_io read, nothing typed", call(CALL, &[1, 16, at]));
    case("console_io read, no room", call(CALL, &[1, 0, at]));
    case("console_io read, -1 bytes", call(CALL, &[1, 0xffff_ffff, at]));
    case("console_io read, nowhere", call(CALL, &[1, 16, nowhere()]));
    case("console_io read, count beyond 32 bits", call(CALL, &[1, 1 << 32, at]));
    hostile("console_io write", CALL, [0, 1, 0, 0, 0], 2, b'\n');
}
