//! From specification to artifact: the map, the tree and the parameters that come out, and what is refused.

use bootwrap::el3::parameters::{self, Parameters};
use bootwrap::{Hypervisor, Level, Module, Payload, Secondaries, Spec, Wrapped};
use fdt::{NodeId, Tree};

use super::{golden, samples};

struct Files {
    stub: Vec<u8>,
    tree: Vec<u8>,
    xen: Vec<u8>,
    kernel: Vec<u8>,
    ramdisk: Vec<u8>,
}

fn files(tree: &Tree) -> Files {
    Files {
        stub: samples::stub(),
        tree: samples::blob(tree),
        xen: samples::image(983_048, 0, 0x13_60c8, 0xa),
        kernel: samples::image(0x30_0000, 0, 0x40_0000, 0xa),
        ramdisk: vec![7; 0x12_3456],
    }
}

fn spec(files: &Files) -> Spec<'_> {
    Spec {
        stub: &files.stub,
        device_tree: &files.tree,
        level: Level::El3,
        secondaries: Secondaries::Psci,
        hypervisor: Some(Hypervisor { image: &files.xen, bootargs: "console=dtuart dom0_mem=512M" }),
        kernel: Some(&files.kernel),
        bootargs: "console=hvc0 root=/dev/ram0",
        ramdisk: Some(&files.ramdisk),
        modules: Vec::new(),
        addresses: Vec::new(),
    }
}

fn describe(wrapped: &Wrapped<'_>) -> String {
    let tree = Tree::parse(&wrapped.device_tree).expect("a tree");
    let reserved: String = tree
        .reservations
        .iter()
        .map(|entry| format!("/memreserve/ {:#x} {:#x};\n", entry.address, entry.size))
        .collect();
    let board = &wrapped.parameters;
    let used = |ranges: &[parameters::Range]| {
        let used = ranges.iter().filter(|range| range.size_bytes > 0);
        used.map(|range| format!(" {:#x}+{:#x}", range.start, range.size_bytes)).collect::<String>()
    };
    let told = format!(
        "entry {:#x}, dtb {:#x}, flags {}, GICv{} at {:#x} {:#x}{}, UART {:#x}, power {} at {:#x} pins {:#x}, counter {} Hz, control {:#x}\n\
         CPUs {:x?}, memory{}\n",
        board.entry,
        board.dtb,
        board.flags,
        board.gic_version,
        board.gic_distributor,
        board.gic_cpu_interface,
        used(&board.redistributors),
        board.uart,
        board.power_method,
        board.power_address,
        board.power_pins,
        board.counter_hz,
        board.counter_control,
        &board.cpus[..board.cpu_count as usize],
        used(&board.memory),
    );
    format!("{}\n{told}\n{reserved}{}", wrapped.map, source(&tree, tree.root(), 0))
}

/// Writes a tree as dtc would, near enough to read.
fn source(tree: &Tree, node: NodeId, depth: usize) -> String {
    let indent = "    ".repeat(depth);
    let mut text = format!("{indent}{} {{\n", if depth == 0 { "/" } else { tree.name(node) });
    for property in tree.properties(node) {
        let value = &property.value;
        let words = value.strip_suffix(&[0]).map(|text| text.split(|&byte| byte == 0));
        let printable = |word: &[u8]| !word.is_empty() && word.iter().all(|byte| (b' '..=b'~').contains(byte));
        let value = match words {
            Some(words) if words.clone().all(printable) => {
                words.map(|word| format!("{:?}", String::from_utf8_lossy(word))).collect::<Vec<_>>().join(", ")
            }
            _ => value
                .chunks(4)
                .map(|cell| cell.iter().map(|byte| format!("{byte:02x}")).collect())
                .collect::<Vec<String>>()
                .join(" "),
        };
        text += &format!("{indent}    {} = {value}\n", property.name);
    }
    for &child in tree.children(node) {
        text += &source(tree, child, depth + 1);
    }
    text + &indent + "}\n"
}

#[test]
fn artifacts() {
    let (virt, model) = (files(&samples::virt()), files(&samples::model()));
    let xsm = vec![0xf9; 100];
    let cases: [(&str, Spec<'_>); 6] = [
        ("virt-el3", spec(&virt)),
        ("model-el3", spec(&model)),
        ("model-el2", Spec { level: Level::El2, ..spec(&model) }),
        ("virt-spin-table", Spec { secondaries: Secondaries::SpinTable, level: Level::El2, ..spec(&virt) }),
        ("virt-linux", Spec { hypervisor: None, ..spec(&virt) }),
        (
            "virt-modules",
            Spec {
                modules: vec![Module { name: "xsm", compatible: "xen,xsm-policy", payload: &xsm }],
                addresses: vec![("kernel".into(), 0x6000_0000), ("xsm".into(), 0x5000_0000)],
                ..spec(&virt)
            },
        ),
    ];
    for (name, spec) in cases {
        let wrapped = bootwrap::wrap(&spec).unwrap_or_else(|error| panic!("{name}: {error}"));
        golden::check(&format!("wrap/{name}"), &describe(&wrapped));
    }
}

/// A CPU that has failed is none of the stub's, and takes no other CPU's word: with a hole in the middle each word is still the one that
/// the stub watches for the CPU of that affinity.
#[test]
fn failed_cpus_are_left_out_of_both_ways_to_start() {
    let with = |failed: &[&str], secondaries: Secondaries| {
        let mut tree = samples::model();
        for name in failed {
            let cpu = tree.find(name).expect("added");
            tree.set_string(cpu, "status", if *name == "/cpus/cpu@0" { "fail" } else { "fail-cache" });
            tree.set_string(cpu, "enable-method", "of another time");
        }
        let files = files(&tree);
        let wrapped = bootwrap::wrap(&Spec { secondaries, ..spec(&files) }).expect("it fits");
        let tree = Tree::parse(&wrapped.device_tree).expect("a blob");
        let boot = wrapped.map.find("boot").expect("placed").range.start;
        let release = boot + (parameters::OFFSET + std::mem::offset_of!(parameters::Parameters, release)) as u64;
        let told = tree.children(tree.find("/cpus").expect("there")).to_vec().into_iter().map(|cpu| {
            let word = tree.get(cpu, "cpu-release-addr").map(|value| u64::from_be_bytes(value.try_into().expect("8")));
            let affinity = tree.reg(cpu).next().expect("an affinity").0;
            let watched = wrapped.parameters.index_of(affinity).map(|index| release + 8 * index as u64);
            assert_eq!(word, watched.filter(|_| secondaries == Secondaries::SpinTable), "{affinity:#x}");
            tree.string(cpu, "enable-method").map(str::to_owned)
        });
        told.collect::<Vec<_>>()
    };
    let (spin, psci) = (Some("spin-table".to_owned()), Some("psci".to_owned()));
    for failed in ["/cpus/cpu@0", "/cpus/cpu@100", "/cpus/cpu@10100"] {
        let expected = |method: &Option<String>| {
            let names = ["/cpus/cpu@0", "/cpus/cpu@100", "/cpus/cpu@10000", "/cpus/cpu@10100"];
            names.map(|name| method.clone().filter(|_| name != failed))
        };
        assert_eq!(with(&[failed], Secondaries::SpinTable), expected(&spin), "{failed}");
        assert_eq!(with(&[failed], Secondaries::Psci), expected(&psci), "{failed}");
    }
    assert_eq!(with(&["/cpus/cpu@0", "/cpus/cpu@100"], Secondaries::SpinTable), [None, None, spin.clone(), spin]);
}

/// Linux alone starts with room for its .bss; a hypervisor copies it, so there the file is enough.
#[test]
fn room_behind_a_kernel() {
    let files = files(&samples::virt());
    let size =
        |spec: &Spec<'_>| bootwrap::wrap(spec).expect("it fits").map.find("kernel").expect("placed").range.size_bytes;
    assert_eq!(size(&spec(&files)), 0x30_0000);
    assert_eq!(size(&Spec { hypervisor: None, ..spec(&files) }), 0x40_0000);
}

#[test]
fn elf_and_raw_hold_the_same() {
    use object::read::elf::{FileHeader, ProgramHeader};
    let files = files(&samples::virt());
    let wrapped = bootwrap::wrap(&spec(&files)).expect("it fits");
    let (mut file, mut again, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    wrapped.write_elf(&mut file).expect("written");
    wrapped.write_elf(&mut again).expect("written");
    wrapped.write_raw(&mut raw).expect("written");
    assert!(file == again);
    let header = object::elf::FileHeader64::<object::Endianness>::parse(&*file).expect("an ELF file");
    let endian = header.endian().expect("a byte order");
    let headers = header.program_headers(endian, &*file).expect("headers");
    assert_eq!(headers.len(), 5);
    for header in headers {
        let bytes = header.data(endian, &*file).expect("bytes");
        let offset = (header.p_paddr(endian) - wrapped.entry) as usize;
        assert!(raw[offset..offset + bytes.len()] == *bytes);
    }
    let at = |name: &str| (wrapped.map.find(name).expect("placed").range.start - wrapped.entry) as usize;
    assert!(raw[at("kernel")..].starts_with(&files.kernel) && raw[at("initramfs")..].starts_with(&files.ramdisk));
    assert!(raw[at("dtb")..].starts_with(&wrapped.device_tree));
    assert!(raw[parameters::OFFSET..].starts_with(&wrapped.parameters.to_bytes()));
}

#[test]
fn a_file_is_streamed_in() {
    let files = files(&samples::virt());
    let path = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(path.path(), &files.ramdisk).expect("written");
    let payload = bootwrap::FilePayload::new(path.reopen().expect("open")).expect("a file");
    let (mut from_file, mut from_memory) = (Vec::new(), Vec::new());
    let with_file = Spec { ramdisk: Some(&payload as &dyn Payload), ..spec(&files) };
    bootwrap::wrap(&with_file).expect("it fits").write_elf(&mut from_file).expect("written");
    bootwrap::wrap(&spec(&files)).expect("it fits").write_elf(&mut from_memory).expect("written");
    assert!(from_file == from_memory);
    // Cut short between planning and writing: an error, not an artifact with a hole.
    let wrapped = bootwrap::wrap(&with_file).expect("it fits");
    path.as_file().set_len(100).expect("cut");
    assert!(wrapped.write_elf(&mut Vec::new()).is_err());
}

#[test]
fn refusals() {
    let files = files(&samples::virt());
    let message = |spec: &Spec<'_>| match bootwrap::wrap(spec) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    let module =
        |name: &'static str| Module { name, compatible: "xen,xsm-policy", payload: &files.ramdisk as &dyn Payload };
    let empty = Vec::new();
    let old = samples::stub_with(&Parameters { version: 0, ..Parameters::default() });
    let mut no_gic = samples::virt();
    let node = no_gic.find("/intc@8000000").expect("added");
    no_gic.remove(node);
    let no_gic = samples::blob(&no_gic);
    let cases = [
        (
            Spec { hypervisor: None, kernel: None, ..spec(&files) },
            "device tree: nothing to start: neither a hypervisor nor a kernel",
        ),
        (Spec { kernel: None, ..spec(&files) }, "device tree: an initramfs without a kernel"),
        (Spec { ramdisk: Some(&empty), ..spec(&files) }, "initramfs: is empty"),
        (
            Spec { kernel: Some(b"#!/bin/sh"), ..spec(&files) },
            "kernel: is no arm64 Image, zboot, gzip, xz, zstd or ELF file; it begins with 23 21 2f 62 69 6e 2f 73 68",
        ),
        (
            Spec { hypervisor: Some(Hypervisor { image: b"BZh9", bootargs: "" }), ..spec(&files) },
            "hypervisor: is packed with bzip2, which is not unpacked here: unpack it, or pack it with gzip, xz or zstd",
        ),
        (Spec { bootargs: "a\0b", ..spec(&files) }, "device tree: the kernel's command line holds a NUL"),
        (
            Spec { modules: vec![module("dtb")], ..spec(&files) },
            "device tree: module name \"dtb\" is taken, or not made of letters, digits and _",
        ),
        (
            Spec { modules: vec![module("x"), module("x")], ..spec(&files) },
            "device tree: module name \"x\" is taken, or not made of letters, digits and _",
        ),
        (
            Spec { hypervisor: None, modules: vec![module("x")], ..spec(&files) },
            "device tree: module x has no hypervisor to go to",
        ),
        (
            Spec { level: Level::El2, ..spec(&files) },
            "device tree: no PSCI from firmware, so nothing could start the other CPUs at EL2: start at EL3, or use a spin table",
        ),
        (
            Spec { stub: &old, ..spec(&files) },
            "EL3 stub: no parameter block of version 1 at 0x40: built by another version?",
        ),
        (Spec { stub: b"\x7fELF", ..spec(&files) }, "EL3 stub: Invalid ELF header size or alignment"),
        (
            Spec { device_tree: &no_gic, ..spec(&files) },
            "device tree: no GICv2 or GICv3, which the EL3 stub would have to set up",
        ),
        (
            Spec { addresses: vec![("kernel".into(), 0), ("kernel".into(), 0)], ..spec(&files) },
            "device tree: two addresses are given for kernel",
        ),
        (
            Spec { addresses: vec![("ramdisk".into(), 0)], ..spec(&files) },
            "memory map: an address is given for ramdisk, which is not among boot, dtb, xen, kernel, initramfs\n",
        ),
    ];
    for (spec, wanted) in cases {
        assert_eq!(message(&spec), wanted);
    }
    let apart = Spec { addresses: vec![("kernel".into(), 0x4020_0000), ("xen".into(), 0x4040_0000)], ..spec(&files) };
    assert!(
        message(&apart).starts_with("memory map: kernel at 0x40200000..0x40500000 overlaps xen by 1048576 bytes\n"),
        "{}",
        message(&apart)
    );
}

/// A tree that nearly fills its 2 MiB is taken, one that does not fit is not.
#[test]
fn large_trees() {
    let with = |bytes: usize| {
        let mut tree = samples::virt();
        let root = tree.root();
        tree.set(root, "filler", vec![0; bytes]);
        let files = files(&tree);
        bootwrap::wrap(&spec(&files)).map(|wrapped| wrapped.device_tree.len()).map_err(|error| error.to_string())
    };
    assert!(with(2_000_000).expect("it fits") > 2_000_000);
    assert!(with(2 << 20).expect_err("too large").ends_with("bytes; kernels take at most 2097152"));
}
