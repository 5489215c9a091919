//! What Dom0 alone may ask: `platform_op`, `sysctl`, `domctl`; and devices, of which there are none.

use xen_abi::platform::{PlatformCall, XENPF_INTERFACE_VERSION};
use xen_abi::{Field, Hypercall};

use super::pointers::hostile;
use crate::calls::{Runs, call, case, with};
use crate::machine;

fn platform(cmd: u32, interface_version: u32, words: &[u64]) -> i64 {
    let mut u = [0; 128];
    words.iter().enumerate().for_each(|(index, word)| word.write(&mut u[index * 8..]));
    with(Hypercall::PlatformOp, &[], PlatformCall { cmd, interface_version, u }).0
}

/// Runs the cases.
pub fn run() {
    let version = XENPF_INTERFACE_VERSION;
    let mut runs = Runs::new("platform_op");
    // 62 sets the clock, below.
    for cmd in (0..70).filter(|cmd| ![17, 62].contains(cmd)) {
        runs.add(cmd.into(), platform(cmd, version, &[]));
    }
    drop(runs);
    case("XENPF_settime64", platform(62, version, &[1_700_000_000, 5, 1000]));
    case("XENPF_settime64, mbz", platform(62, version, &[1_700_000_000, 1 << 32, 1000]));
    case("XENPF_settime64, -1", platform(62, version, &[u64::MAX, 0xffff_ffff, u64::MAX]));
    case("XENPF_settime64, now again", platform(62, version, &[1_700_000_000, 5, 1000]));
    case("XENPF_settime32", platform(17, version, &[5, 5, 1000]));
    case("platform_op 0xffffffff", platform(u32::MAX, version, &[]));
    case("platform_op of version 0", platform(62, 0, &[0, 0, 0]));
    hostile(
        "platform_op",
        Hypercall::PlatformOp,
        [0; 5],
        0,
        PlatformCall { cmd: 69, interface_version: version, u: [0; 128] },
    );

    for (name, number, size) in [("sysctl", Hypercall::Sysctl, 136), ("domctl", Hypercall::Domctl, 144)] {
        let at = machine::page(7);
        for (what, version) in [("0", 0u32), ("-1", u32::MAX), ("0x7777", 0x7777)] {
            machine::put(at, &[0; 160][..size]);
            version.to_le_bytes().iter().zip(at + 4..).for_each(|(&byte, at)| machine::store(at, 1, byte.into()));
            case(format_args!("{name} of version {what}"), call(number, &[at]));
        }
        hostile(name, number, [0; 5], 0, PlatformCall { cmd: 3, interface_version: 0x7777, u: [0; 128] });
    }
}
