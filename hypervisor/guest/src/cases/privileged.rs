//! What Dom0 alone may ask: `platform_op`, `sysctl`, `domctl`; and devices, of which there are none.

use alloc::format;
use xen_abi::platform::{PlatformCall, XENPF_INTERFACE_VERSION};

use xen_abi::sysctl::{Readconsole, SysctlCall, XEN_SYSCTL_INTERFACE_VERSION};
use xen_abi::{Field, Handle, Hypercall};

use super::pointers::{hostile, read_only, short};
use crate::calls::{Runs, call, case, case_and, with};
use crate::{machine, say};

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
    case("sysctl 0x7777", sysctl(0x7777, Readconsole::default()).0);
    log();
}

fn sysctl(cmd: u32, asked: Readconsole) -> (i64, Readconsole) {
    let mut u = [0; 128];
    asked.write(&mut u);
    let (answer, told) =
        with(Hypercall::Sysctl, &[], SysctlCall { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION, u });
    (answer, Readconsole::read(&told.u))
}

/// Reads the hypervisor's log, which is a few hundred bytes at least and has been read by nobody.
fn log() {
    let at = machine::page(5);
    let bytes = |count: usize| {
        let mut bytes = [0; 128];
        machine::get(at, &mut bytes[..count]);
        bytes
    };
    let read = |what: &str, asked: Readconsole| {
        let (answer, told) = sysctl(1, Readconsole { buffer: Handle(at), ..asked });
        case_and(
            format_args!("readconsole, {what}"),
            answer,
            format_args!("count {}, index {}", told.count, told.index),
        );
    };
    let some = Readconsole { count: 64, ..Readconsole::default() };
    read("128 bytes", Readconsole { count: 128, ..some });
    let whole = bytes(128);
    say!("readconsole, it is text {}", whole.iter().all(|byte| (b' '..127).contains(byte) || b"\r\n\t".contains(byte)));
    read("64", some);
    say!("readconsole, the same {}", bytes(64)[..64] == whole[..64]);
    read("64, an index that is not asked for", Readconsole { index: 32, ..some });
    read("64 from 64", Readconsole { incremental: 1, index: 64, ..some });
    say!("readconsole, they follow {}", bytes(64)[..64] == whole[64..]);
    for index in [0, 1, 0x7fff_ffff, u32::MAX] {
        read(&format!("64 from {index:#x}"), Readconsole { incremental: 1, index, ..some });
    }
    read("none", Readconsole { count: 0, ..some });
    let mut all = Readconsole { count: 4096, incremental: 1, ..some };
    let mut pieces = 0;
    loop {
        let (answer, told) = sysctl(1, Readconsole { buffer: Handle(at), ..all });
        pieces += 1;
        if answer != 0 || told.count == 0 || pieces > 100 {
            case("readconsole, all of it in pieces", answer);
            say!("readconsole, it ends {}, where it did {}", told.count == 0 && pieces > 1, told.index == all.index);
            break;
        }
        all.index = told.index;
    }
    for (what, buffer, count) in [
        ("to null", 0, 64),
        ("none to null", 0, 0),
        ("into nothing", short(32), 64),
        ("up to nothing", short(32), 32),
        ("to what is read-only", read_only().0, 64),
    ] {
        let (answer, told) = sysctl(1, Readconsole { buffer: Handle(buffer), count, ..Readconsole::default() });
        case_and(format_args!("readconsole, {what}"), answer, format_args!("count {}", told.count));
    }
    let mut u = [0; 128];
    Readconsole::default().write(&mut u);
    let asked = SysctlCall { cmd: 1, interface_version: XEN_SYSCTL_INTERFACE_VERSION, u };
    hostile("readconsole", Hypercall::Sysctl, [0; 5], 0, asked);
    read("64 and clear", Readconsole { clear: 1, ..some });
    read("64 after that", some);
    say!("readconsole, they follow {}", bytes(64)[..64] == whole[64..]);
    read("64 from 32, which was cleared", Readconsole { incremental: 1, index: 32, ..some });
    read("64 from 96", Readconsole { incremental: 1, index: 96, ..some });
}
