//! `xen_version`: who is there.

use alloc::string::{String, ToString};

use xen_abi::Hypercall;
use xen_abi::grant_table::CopyPtr;
use xen_abi::version::{CompileInfo, FeatureInfo, PlatformParameters, VersionOp};

use super::pointers::{hostile, read_only};
use crate::calls::{call, case, case_and, get, with};
use crate::machine;

const CALL: Hypercall = Hypercall::XenVersion;

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).to_string()
}

/// Asks for `size` bytes that are a string; says whether all of them were written, and returns the string.
fn ask(operation: VersionOp, size: usize) -> (i64, bool, String) {
    let at = machine::page(4);
    machine::put(at, &[0xa5; 2048]);
    let result = call(CALL, &[operation.number().into(), at]);
    let mut bytes = [0; 2048];
    machine::get(at, &mut bytes);
    let exact = bytes[size - 1] == 0 && bytes[size..].iter().all(|&byte| byte == 0xa5);
    (result, exact, text(&bytes[..size]))
}

/// Runs the cases.
pub fn run() {
    case("xen_version 0", call(CALL, &[0, 0]));
    let strings = [
        (VersionOp::Extraversion, 16),
        (VersionOp::Capabilities, 1024),
        (VersionOp::Changeset, 64),
        (VersionOp::Commandline, 1024),
    ];
    for (operation, size) in strings {
        let (result, exact, value) = ask(operation, size);
        let shown = match operation {
            VersionOp::Capabilities => value,
            _ if value.is_empty() => "empty".into(),
            _ => "a text".into(),
        };
        case_and(operation.name(), result, format_args!("{size} bytes written {exact}, {shown}"));
    }
    let (result, info) = with(CALL, &[VersionOp::CompileInfo.number().into()], CompileInfo::default());
    let told = [&info.compiler[..], &info.compile_by, &info.compile_domain, &info.compile_date];
    let told = told.map(|field| !text(field).is_empty());
    case_and("XENVER_compile_info", result, format_args!("told {told:?}"));
    let (result, start) = with(CALL, &[5], PlatformParameters { virt_start: 1 });
    case_and("XENVER_platform_parameters", result, format_args!("in pages {}", start.virt_start.is_multiple_of(4096)));
    for index in [0, 1, 2, u32::MAX] {
        let (result, info) = with(CALL, &[6], FeatureInfo { submap_idx: index, submap: 0xffff_ffff });
        case_and(format_args!("XENVER_get_features {index}"), result, format_args!("{:#x}", info.submap));
    }
    case("XENVER_pagesize, null", call(CALL, &[7, 0]));
    case("XENVER_pagesize, a pointer", call(CALL, &[7, machine::page(4)]));
    let (result, handle) = with(CALL, &[8], 0u64);
    case_and("XENVER_guest_handle", result, format_args!("{handle:#x}"));
    for length in [0u32, 1, 19, 20, 64, u32::MAX] {
        let (result, after) = with(CALL, &[10], length);
        case_and(format_args!("XENVER_build_id, room for {length}"), result, format_args!("length {after}"));
    }

    for (name, operation) in [("XENVER_extraversion", 1), ("XENVER_guest_handle", 8)] {
        // Any 16 bytes.
        hostile(name, CALL, [operation, 0, 0, 0, 0], 1, CopyPtr::default());
    }
    hostile("XENVER_compile_info", CALL, [2, 0, 0, 0, 0], 1, CompileInfo::default());
    hostile("XENVER_get_features", CALL, [6, 0, 0, 0, 0], 1, FeatureInfo::default());
    hostile("XENVER_platform_parameters", CALL, [5, 0, 0, 0, 0], 1, PlatformParameters::default());
    // What cannot be written was not written.
    let (pointer, place) = read_only();
    machine::put(place, &[0, 0, 0, 0, 0x77, 0x77, 0x77, 0x77]);
    let result = call(CALL, &[6, pointer]);
    case_and("XENVER_get_features into what cannot be written", result, format_args!("{:#x}", get::<u32>(place + 4)));
}
