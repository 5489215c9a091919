//! What Debian's kernel asks of upstream Xen 4.17, as `tests/plugins/exits.c` recorded it, against what this crate knows.
//!
//! The records (`tests/data/exits/`) are of unmodified upstream with one CPU. Those of a boot (`up`) were made with `-icount` and repeat
//! to the last exit; that of toolstack and guest (`guest`) was made in real time, and its counts vary. They say which calls have to be
//! there for Domain 0 to boot, and what they return.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use xen_abi::event_channel::EventChannelOp;
use xen_abi::grant_table::GrantTableOp;
use xen_abi::hvm::hvm_op::HvmOp;
use xen_abi::memory::MemoryOp;
use xen_abi::physdev::PhysdevOp;
use xen_abi::platform::PlatformOp;
use xen_abi::sched::SchedOp;
use xen_abi::vcpu::VcpuOp;
use xen_abi::version::VersionOp;
use xen_abi::xen::ConsoleIo;
use xen_abi::{Errno, Hypercall, domctl::DomctlOp, sysctl::SysctlOp};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn record(name: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(top().join("tests/data/exits").join(name)).unwrap();
    text.lines()
        .map(|line| {
            let (count, what) = line.trim_start().split_once(' ').unwrap();
            (count.parse().unwrap(), what.to_owned())
        })
        .collect()
}

/// Returns the name of a call's operation, by this crate.
fn operation(call: Hypercall, number: u64) -> Option<&'static str> {
    match call {
        Hypercall::MemoryOp => MemoryOp::from_number(number).map(MemoryOp::name),
        Hypercall::XenVersion => VersionOp::from_number(number).map(VersionOp::name),
        Hypercall::ConsoleIo => ConsoleIo::from_number(number).map(ConsoleIo::name),
        Hypercall::GrantTableOp => GrantTableOp::from_number(number).map(GrantTableOp::name),
        Hypercall::VcpuOp => VcpuOp::from_number(number).map(VcpuOp::name),
        Hypercall::SchedOp => SchedOp::from_number(number).map(SchedOp::name),
        Hypercall::EventChannelOp => EventChannelOp::from_number(number).map(EventChannelOp::name),
        Hypercall::PhysdevOp => PhysdevOp::from_number(number).map(PhysdevOp::name),
        Hypercall::HvmOp => HvmOp::from_number(number).map(HvmOp::name),
        Hypercall::PlatformOp => PlatformOp::from_number(number).map(PlatformOp::name),
        Hypercall::Sysctl => SysctlOp::from_number(number).map(SysctlOp::name),
        Hypercall::Domctl => DomctlOp::from_number(number).map(DomctlOp::name),
        _ => Some("-"),
    }
}

/// Reads "hypercall NR NAME [cmd] OP ... = RESULT" of one domain, as "OPERATION = RESULT".
fn hypercalls(name: &str, domain: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, what) in record(name) {
        let Some(rest) = what.strip_prefix(domain).and_then(|rest| rest.strip_prefix(" hypercall ")) else { continue };
        let words: Vec<_> = rest.split(' ').collect();
        let call =
            Hypercall::from_number(words[0].parse().unwrap()).unwrap_or_else(|| panic!("{what}: not a known call"));
        assert_eq!(call.name().trim_start_matches("__HYPERVISOR_"), words[1], "{what}");
        let number = words[2..].iter().find_map(|word| word.parse().ok());
        let operation =
            number.map_or(call.name(), |number| operation(call, number).unwrap_or_else(|| panic!("{what}: unknown")));
        let result = rest
            .split_once(" = ")
            .map_or(if rest.ends_with("continued") { "again" } else { "never" }, |(_, result)| result);
        if let Some(error) = result.strip_prefix('-') {
            assert!(Errno::from_number(error.parse().unwrap()).is_some(), "{what}: an unknown error");
        }
        found.insert(format!("{} = {result}", if operation == "-" { call.name() } else { operation }));
    }
    found
}

/// What it takes to boot Domain 0 to its init: every call, and its answer.
const BOOT: &[&str] = &[
    "CONSOLEIO_read = 0",
    "CONSOLEIO_write = 0",
    "EVTCHNOP_alloc_unbound = 0",
    "EVTCHNOP_bind_vcpu = 0",
    "EVTCHNOP_bind_virq = 0",
    "EVTCHNOP_expand_array = 0",
    "EVTCHNOP_init_control = 0",
    "GNTTABOP_cache_flush = 0",
    "GNTTABOP_query_size = 0",
    "GNTTABOP_set_version = 0",
    "HVMOP_get_param = 0",
    "PHYSDEVOP_manage_pci_add = -38",
    "PHYSDEVOP_pci_device_add = -38",
    "SCHEDOP_shutdown = never",
    "VCPUOP_register_vcpu_info = 0",
    "XENMEM_add_to_physmap = 0",
    "XENPF_settime64 = 0",
    "XENVER_get_features = 0",
];

#[test]
fn domain_0_boots_with_these_calls() {
    for name in ["up-gicv3.txt", "up-gicv2.txt"] {
        assert_eq!(hypercalls(name, "dom0"), BOOT.iter().copied().map(String::from).collect(), "{name}");
    }
}

#[test]
fn every_call_of_toolstack_and_guest_is_known() {
    let all: BTreeSet<_> =
        hypercalls("guest-gicv3.txt", "dom0").union(&hypercalls("guest-gicv3.txt", "domu")).cloned().collect();
    for expected in [
        "XEN_DOMCTL_createdomain = 0",
        "XEN_SYSCTL_physinfo = 0",
        "XENMEM_acquire_resource = 0",
        "SCHEDOP_shutdown = 0",
    ] {
        assert!(all.contains(expected), "{expected} is not in the record");
    }
    assert!(all.len() > 70, "{}", all.len());
}

/// The devices that are emulated for Domain 0 are those of the interrupt controller, and nothing but registers of its is touched.
#[test]
fn domain_0_touches_no_device_but_its_interrupt_controller() {
    let v3: &[(u64, u64)] = &[(0x0800_0000, 0x1_0000), (0x080a_0000, 0x2_0000)];
    let v2: &[(u64, u64)] = &[(0x0800_0000, 0x1000)];
    for (name, frames) in [("up-gicv3.txt", v3), ("up-gicv2.txt", v2)] {
        let mut seen = 0;
        for (_, what) in record(name).into_iter().filter(|(_, what)| what.contains(" mmio ")) {
            let address = what.split(' ').find_map(|word| word.strip_prefix("0x")).unwrap().split("..").next().unwrap();
            let address = u64::from_str_radix(address, 16).unwrap();
            assert!(frames.iter().any(|(base, size)| (*base..base + size).contains(&address)), "{what}");
            seen += 1;
        }
        assert!(seen > 10, "{name}: {seen}");
    }
}

/// The plugin compiles without a word from the compiler.
#[test]
fn the_plugin_compiles() {
    let object = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exits.so");
    let Ok(compiled) = Command::new("gcc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
        .arg(&object)
        .arg(top().join("tests/plugins/exits.c"))
        .output()
    else {
        eprintln!("note: the plugin was not compiled: there is no gcc");
        return;
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}
