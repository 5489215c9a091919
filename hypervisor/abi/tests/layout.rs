//! Every item of this crate against `layout.txt`, and `layout.txt` against the headers that `libxen-dev` installs.
//!
//! `layout.txt` is made from those headers alone, by a C program that is compiled with their arm64 view; `BLESS=1` rewrites it.
//! What `release.rs` says of other releases is compared with `releases.txt`, which was made from the headers of their tags likewise.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use xen_abi::arch_arm::{VcpuGuestContext, VcpuGuestCoreRegs};
use xen_abi::domctl::{Createdomain, Getdomaininfo};
use xen_abi::sysctl::Physinfo;
use xen_abi::{Field, HEADERS, Handle, Plain, Release};

const INSTALLED: &str = "/usr/include/xen";

/// Returns this crate's items as lines: what, its place, its value.
fn ours() -> String {
    let mut text = String::new();
    for header in HEADERS {
        for structure in header.structures {
            writeln!(text, "{} {} size {}", header.name, structure.name, structure.size).unwrap();
            for member in structure.members {
                write!(text, "{} {}.{} offset {}", header.name, structure.name, bare(member.name), member.offset)
                    .unwrap();
                if member.name.starts_with('~') {
                    text.push('\n');
                } else {
                    writeln!(text, " size {}", member.size).unwrap();
                }
            }
        }
        for constant in header.constants.iter().copied().flatten() {
            writeln!(text, "{} {} = {}", header.name, constant.name, constant.value).unwrap();
        }
    }
    text
}

fn bare(name: &str) -> &str {
    name.trim_start_matches('~').trim_start_matches("r#")
}

/// Returns the same lines as a C compiler makes them from the headers in `folder`; nothing if there is no compiler.
fn theirs(folder: &Path, headers: &[xen_abi::Header]) -> Option<String> {
    let mut program = String::from("#include <stdint.h>\nint printf(const char *, ...);\n#define __XEN_TOOLS__ 1\n");
    for header in headers {
        writeln!(program, "#include \"{}\"", folder.join(header.name).display()).unwrap();
    }
    program.push_str("int main(void) {\n");
    for header in headers {
        for structure in header.structures {
            let (h, s) = (header.name, structure.name);
            writeln!(program, "printf(\"{h} {s} size %lu\\n\", sizeof({s}));").unwrap();
            for member in structure.members {
                let m = bare(member.name);
                write!(program, "printf(\"{h} {s}.{m} offset %lu").unwrap();
                if member.name.starts_with('~') {
                    writeln!(program, "\\n\", __builtin_offsetof({s}, {m}));").unwrap();
                } else {
                    writeln!(program, " size %lu\\n\", __builtin_offsetof({s}, {m}), sizeof((({s} *)0)->{m}));")
                        .unwrap();
                }
            }
        }
        for constant in header.constants.iter().copied().flatten() {
            writeln!(program, "printf(\"{} {} = %ld\\n\", (long)({}));", header.name, constant.name, constant.name)
                .unwrap();
        }
    }
    program.push_str("return 0; }\n");

    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("layout-{}", std::process::id()));
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("layout.c"), program).unwrap();
    // One of the headers asks for another by the name it has in Xen's own tree.
    std::os::unix::fs::symlink(folder, work.join("public")).unwrap();
    // The host's compiler sees the headers as one for arm64 would: both give integers and structures the same places.
    let compiled = Command::new("gcc")
        .args(["-std=gnu11", "-ffreestanding", "-fno-builtin", "-w", "-U__x86_64__", "-U__i386__", "-D__aarch64__"])
        .args(["-I.", "-o", "layout", "layout.c"])
        .current_dir(&work)
        .output()
        .ok()?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let printed = Command::new(work.join("layout")).output().unwrap();
    fs::remove_dir_all(&work).unwrap();
    Some(String::from_utf8(printed.stdout).unwrap())
}

fn compare(left: &str, right: &str, what: &str) {
    let differ: Vec<_> = left
        .lines()
        .zip(right.lines())
        .enumerate()
        .filter(|(_, (left, right))| left != right)
        .map(|(number, (left, right))| format!("line {}: {left}\n      not {right}", number + 1))
        .collect();
    assert!(differ.is_empty(), "{what}\n{}", differ.join("\n"));
    assert_eq!(left.lines().count(), right.lines().count(), "{what}: one has more lines");
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layout.txt")
}

#[test]
fn every_item_is_as_recorded() {
    let recorded = fs::read_to_string(recorded()).unwrap();
    assert!(recorded.lines().count() > 500);
    compare(&ours(), &recorded, "this crate and layout.txt");
}

#[test]
fn the_record_is_what_the_headers_say() {
    if !Path::new(INSTALLED).join("xen.h").exists() {
        eprintln!("note: not compared with Xen's headers: libxen-dev is not installed");
        return;
    }
    let Some(theirs) = theirs(Path::new(INSTALLED), HEADERS) else {
        eprintln!("note: not compared with Xen's headers: there is no gcc");
        return;
    };
    if env::var_os("BLESS").is_some() {
        fs::write(recorded(), &theirs).unwrap();
    }
    compare(&fs::read_to_string(recorded()).unwrap(), &theirs, "layout.txt and the headers");
}

/// Families of numbers of which every member stands in this crate, by the headers' own list; but for these, which are not of Arm's.
const FAMILIES: &[(&str, &str, &[&str])] = &[
    ("xen.h", "VIRQ_", &["VIRQ_ARCH_"]),
    ("xen.h", "DOMID_", &[]),
    (
        "memory.h",
        "XENMEM_",
        &[
            "XENMEM_paging_op_",
            "XENMEM_sharing_op_",
            "XENMEM_SHARING_OP_",
            "XENMEM_FORK_",
            "XENMEM_RDM_",
            "XENMEM_resource_ioreq_server_frame",
            "XENMEM_add_to_physmap_range",
        ],
    ),
    ("memory.h", "XENMAPSPACE_", &[]),
    ("event_channel.h", "EVTCHN", &[]),
    ("grant_table.h", "GNTTABOP_", &["GNTTABOP_error_msgs"]),
    ("grant_table.h", "GNTST_", &[]),
    ("grant_table.h", "GTF_", &[]),
    ("sched.h", "SCHEDOP_", &[]),
    ("sched.h", "SHUTDOWN_", &["SHUTDOWN_MAX"]),
    ("vcpu.h", "VCPUOP_", &[]),
    ("version.h", "XENVER_", &[]),
    // One that no release has set since 4.6, and an old name of another.
    ("features.h", "XENFEAT_", &["XENFEAT_grant_map_identity"]),
    ("domctl.h", "XEN_DOMINF_", &[]),
    ("sysctl.h", "XEN_SYSCTL_PHYSCAP_", &["XEN_SYSCTL_PHYSCAP_MAX"]),
];

#[test]
fn no_number_of_a_family_is_missing() {
    let mut missing = Vec::new();
    for (header, family, except) in FAMILIES {
        let Ok(text) = fs::read_to_string(Path::new(INSTALLED).join(header)) else {
            eprintln!("note: {header} not searched: libxen-dev is not installed");
            return;
        };
        let ours = HEADERS.iter().find(|ours| ours.name == *header).unwrap();
        for name in text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("#define "))
            .filter_map(|rest| rest.split_whitespace().next())
        {
            let known = ours.constants.iter().copied().flatten().any(|constant| constant.name == name);
            let excepted = except.iter().any(|prefix| name.starts_with(prefix)) || name.contains('(');
            let private = name == "EVTCHNOP_reset_cont";
            if name.starts_with(family) && !known && !excepted && !private {
                missing.push(format!("{header}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// What `release.rs` says of other releases, as offsets and sizes; and the same out of their headers, recorded in `releases.txt`.
#[test]
fn other_releases_are_laid_out_as_their_headers_say() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/releases.txt");
    let expected = fs::read_to_string(recorded).unwrap();
    let find = |release: Release, what: &str| -> Option<u64> {
        let line = expected.lines().find_map(|line| line.strip_prefix(&format!("{} {what} ", release.name())))?;
        Some(line.parse().unwrap())
    };
    for release in Release::ALL {
        assert_eq!(find(release, "XEN_DOMCTL_INTERFACE_VERSION"), Some(release.domctl_interface().into()));
        assert_eq!(find(release, "XEN_SYSCTL_INTERFACE_VERSION"), Some(release.sysctl_interface().into()));
        assert_eq!(find(release, "createdomain"), Some(Createdomain::size(release) as u64));
        assert_eq!(find(release, "getdomaininfo"), Some(Getdomaininfo::size(release) as u64));
        assert_eq!(find(release, "physinfo"), Some(Physinfo::size(release) as u64));

        // Each part of createdomain is found where the header has it, by a mark put there.
        for part in ["ssidref", "flags", "max_vcpus", "grant_opts", "vmtrace_size", "cpupool_id", "arch.nr_spis"] {
            let Some(at) = find(release, &format!("createdomain.{part}")) else { continue };
            let mut bytes = vec![0; Createdomain::size(release)];
            bytes[at as usize..at as usize + 4].copy_from_slice(&0x1234_5678_u32.to_le_bytes());
            let (read, unknown) = Createdomain::read_as(release, &bytes);
            let found = match part {
                "ssidref" => read.ssidref,
                "flags" => read.flags,
                "max_vcpus" => read.max_vcpus,
                "grant_opts" => read.grant_opts,
                "vmtrace_size" => read.vmtrace_size,
                "cpupool_id" => read.cpupool_id,
                _ => read.arch.nr_spis,
            };
            assert_eq!((found, unknown), (0x1234_5678, 0), "{part} of {}", release.name());
        }

        let user_regs = VcpuGuestCoreRegs { cpsr: 1, spsr_el1: 2, spsr_abt: 3, elr_el1: 4, ..Default::default() };
        let context = VcpuGuestContext { user_regs, ttbr1: 5, ..Default::default() };
        let mut bytes = vec![0xff; 353];
        context.write_as(release, &mut bytes);
        assert_eq!(find(release, "vcpu_guest_context"), Some(VcpuGuestContext::size(release) as u64));
        for (part, value) in [("cpsr", 1), ("spsr_el1", 2), ("spsr_abt", 3), ("elr_el1", 4), ("ttbr1", 5)] {
            let at = find(release, &format!("vcpu_guest_context.{part}")).unwrap() as usize;
            assert_eq!(u32::read(&bytes[at..]), value, "{part} of {}", release.name());
        }
        assert_eq!(bytes[VcpuGuestContext::size(release)], 0xff, "nothing is written beyond it");
        assert_eq!(VcpuGuestContext::read_as(release, &bytes), context);

        let info = Getdomaininfo { cpupool: 5, gpaddr_bits: 40, ..Default::default() };
        let mut bytes = vec![0xff; 128];
        info.write_as(release, &mut bytes);
        assert_eq!(bytes[find(release, "getdomaininfo.cpupool").unwrap() as usize], 5);
        if let Some(at) = find(release, "getdomaininfo.gpaddr_bits") {
            assert_eq!(bytes[at as usize], 40);
        }
        assert_eq!(bytes[Getdomaininfo::size(release)], 0xff, "nothing is written beyond it");

        let info = Physinfo { total_pages: 7, max_mfn: 9, capabilities: 0x109, ..Default::default() };
        info.write_as(release, &mut bytes);
        assert_eq!(bytes[find(release, "physinfo.total_pages").unwrap() as usize], 7);
        assert_eq!(bytes[find(release, "physinfo.max_mfn").unwrap() as usize], 9);
        assert_eq!(bytes[28], 9);
        assert_eq!(bytes[29], u8::from(release != Release::V4_14));
    }
}

#[test]
fn what_is_written_is_read_again_and_padding_is_clear() {
    let map = xen_abi::memory::AddToPhysmap { domid: 0x7ff0, size: 1, space: 2, idx: 3, gpfn: u64::MAX };
    let bytes = map.to_bytes();
    assert_eq!(bytes.len(), 24);
    assert_eq!(xen_abi::memory::AddToPhysmap::read(&bytes), map);
    let info = xen_abi::vcpu::RunstateInfo { state: -1, state_entry_time: u64::MAX, time: [1, 2, 3, 4] };
    let bytes = info.to_bytes();
    assert_eq!(bytes[4..8], [0; 4], "padding tells nothing");
    assert_eq!(xen_abi::vcpu::RunstateInfo::read(&bytes), info);
    assert_eq!(
        xen_abi::domctl::DomctlCall::read(&xen_abi::domctl::DomctlCall { cmd: 7, ..Default::default() }.to_bytes()).cmd,
        7
    );
}

#[test]
fn short_bytes_read_as_zeros_and_are_written_as_far_as_they_go() {
    assert_eq!(u64::read(&[1, 2]), 0x0201);
    assert_eq!(Handle::read(&[]), Handle(0));
    let mut three = [0xff; 3];
    0x0403_0201_u32.write(&mut three);
    assert_eq!(three, [1, 2, 3]);
    assert_eq!(<[u16; 4]>::read(&[1, 0, 2, 0, 3]), [1, 2, 3, 0]);
    assert_eq!(Createdomain::read(&[]), Createdomain::default());
}

#[test]
fn numbers_become_operations_or_are_refused() {
    for hypercall in xen_abi::Hypercall::ALL {
        assert_eq!(xen_abi::Hypercall::from_number(hypercall.number()), Some(*hypercall));
        assert!((1..=5).contains(&hypercall.arguments()));
    }
    for unknown in [0, 6, 16, 19, 26, 37, 64, u64::MAX, 1 << 32 | 17] {
        assert_eq!(xen_abi::Hypercall::from_number(unknown), None, "{unknown}");
    }
    assert_eq!(xen_abi::Errno::ENOSYS.to_register() as i64, -38);
    assert_eq!(xen_abi::Errno::EFAULT.to_word(), -14);
    assert_eq!(Release::V4_17.features(true, true), 0x0002_6805);
    assert_eq!(Release::V4_17.features(false, false), 0x0001_6005);
    assert_eq!(Release::V4_14.features(true, true), 0x0000_6805);
}
