//! Tables of every kind, as sfdisk, sgdisk, partx and blkid read them.

use imagegen::disk::{Gap, NAMED, Options, Partition, Scheme, Size};

use crate::oracle::{check, content, guid, make, options, partition, run, sized};

fn says(dump: &str, lines: &[&str]) {
    if dump.is_empty() {
        return;
    }
    let squeezed: Vec<String> =
        dump.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in lines {
        assert!(squeezed.iter().any(|found| found == line), "{line}:\n{dump}");
    }
}

#[test]
fn a_gpt_as_large_as_its_content() {
    let partitions = [
        Partition { attributes: 1 << 2 | 1, ..partition("boot", "esp", 3_000_001) },
        Partition { label: Some("Würzel".into()), ..partition("root", "root-arm64", 5 << 20) },
        Partition { size: Size::Bytes(7 << 20), ..partition("swap", "swap", 0) },
    ];
    let dump = check(&options(Scheme::Gpt), &partitions, &[]);
    says(
        &dump,
        &[
            "label: gpt",
            "label-id: DDDDDDDD-DDDD-DDDD-DDDD-DDDDDDDDDDDD",
            "first-lba: 34",
            "disk1 : start= 2048, size= 5860, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=10101010-1010-1010-1010-101010101010, name=\"boot\", attrs=\"RequiredPartition LegacyBIOSBootable\"",
        ],
    );
    assert!(dump.is_empty() || dump.contains("name=\"W\\xc3\\xbcrzel\"") || dump.contains("name=\"Würzel\""), "{dump}");
    let made = make(&options(Scheme::Gpt), &partitions, &[]);
    // 8 MiB is where the swap begins: 1 and 3 MiB (rounded) before a root of 5.
    assert_eq!(
        std::fs::metadata(&made.path).unwrap().len(),
        ((9 << 20) + (7 << 20) + 33 * 512_u64).next_multiple_of(4096)
    );
}

#[test]
fn the_rest_goes_to_one() {
    for rest in 0..3 {
        let mut partitions = ["first", "second", "third"]
            .map(|name| Partition { size: Size::Bytes(3 << 20), ..partition(name, "linux", 100) });
        partitions[rest].size = Size::Rest;
        for scheme in [Scheme::Gpt, Scheme::Mbr] {
            let dump = check(&sized(scheme, 64), &partitions, &[]);
            let tail = if scheme == Scheme::Gpt { 33 } else { 0 };
            let sectors = 64 * 2048 - 2048 - 2 * 3 * 2048;
            let size = if rest == 2 {
                sectors - tail
            } else if tail > 0 {
                sectors - 2048
            } else {
                sectors
            };
            let start = 2048 + rest as u32 * 3 * 2048;
            assert!(
                dump.is_empty() || dump.contains(&format!("start= {start:>11}, size= {size:>11}")),
                "{rest}\n{dump}"
            );
        }
    }
}

#[test]
fn an_mbr_with_primary_and_logical_partitions() {
    let names = ["boot", "root", "home", "a", "b", "c"];
    let mut partitions = names.map(|name| partition(name, "linux", 1_500_000));
    partitions[0] = Partition { active: true, ..partition("boot", "fat", 1 << 20) };
    let dump = check(&options(Scheme::Mbr), &partitions, &[]);
    says(
        &dump,
        &[
            "label: dos",
            "label-id: 0x1234abcd",
            "disk1 : start= 2048, size= 2048, type=c, bootable",
            "disk2 : start= 4096, size= 2930, type=83",
            "disk4 : start= 12288, size= 17266, type=f",
            "disk5 : start= 14336, size= 2930, type=83",
            "disk7 : start= 26624, size= 2930, type=83",
        ],
    );
    // A primary partition behind the extended one.
    partitions[1].logical = Some(true);
    partitions[2].logical = Some(true);
    let dump = check(&options(Scheme::Mbr), &partitions[..4], &[]);
    says(&dump, &["disk2 : start= 4096, size= 11122, type=f", "disk3 : start= 16384, size= 2930, type=83"]);
}

#[test]
fn mbrs_of_one_to_four() {
    for count in 1..=4 {
        let partitions: Vec<Partition> = (0..count).map(|number| partition(&format!("p{number}"), "0c", 10)).collect();
        check(&options(Scheme::Mbr), &partitions, &[]);
    }
    // All of them logical.
    let partitions: Vec<Partition> =
        (0..20).map(|number| Partition { logical: Some(true), ..partition(&format!("p{number}"), "83", 10) }).collect();
    check(&options(Scheme::Mbr), &partitions, &[]);
}

#[test]
fn a_hybrid_lists_partitions_twice() {
    let partitions = [
        partition("env", "u-boot-env", 16_384),
        Partition { hybrid: true, active: true, ..partition("boot", "fat", 2 << 20) },
        Partition { hybrid: true, ..partition("root", "root-arm64", 3 << 20) },
    ];
    let dump = check(&options(Scheme::Hybrid), &partitions, &[]);
    assert!(dump.is_empty() || dump.contains("label: gpt"), "{dump}");
    let disk = make(&options(Scheme::Hybrid), &partitions, &[]);
    let nested = ["--label-nested", "dos", "--dump"].map(std::ffi::OsStr::new);
    if let Some((_, text)) = run("sfdisk", &[&nested[..], &[disk.path.as_ref()]].concat()) {
        let text = text.replace(&disk.path.display().to_string(), "disk");
        says(
            &text,
            &[
                "label-id: 0x1234abcd",
                "disk1 : start= 4096, size= 4096, type=c, bootable",
                "disk2 : start= 8192, size= 6144, type=83",
                "disk3 : start= 1, size= 4095, type=ee",
            ],
        );
    }
    if let Some((_, text)) = run("sgdisk", &["-p".as_ref(), disk.path.as_ref()]) {
        assert!(text.contains("root"), "{text}");
    }
}

#[test]
fn boot_loaders_lie_where_the_rom_looks() {
    let gap = |name: &str, offset: u64, bytes: usize| Gap { name: name.into(), offset, content: content(bytes, 9) };
    let partitions = [partition("root", "linux", 1 << 20)];
    check(&options(Scheme::Mbr), &partitions, &[gap("spl", 8192, 40_000), gap("boot code", 0, 440)]);
    // Behind 1 MiB it pushes what has no place of its own.
    let dump = check(&options(Scheme::Mbr), &partitions, &[gap("u-boot", 40_960, 1 << 20)]);
    says(&dump, &["disk1 : start= 4096, size= 2048, type=83"]);
    let spl = [gap("spl", 8192, 40_000)];
    let moved = Options { entries_offset: Some(524_288), ..options(Scheme::Gpt) };
    let dump = check(&moved, &partitions, &spl);
    says(
        &dump,
        &["first-lba: 1056", "table-length: 128"]
            .map(|line| if line.starts_with("table") { "label: gpt" } else { line }),
    );
}

#[test]
fn partitions_lie_where_they_are_told() {
    let partitions = [
        Partition { offset: Some(16 << 20), size: Size::Bytes(512), ..partition("a", "linux", 1) },
        Partition { offset: Some((20 << 20) + 512), ..partition("b", "linux", 512) },
        partition("c", "linux", 512),
    ];
    let lines = [
        "disk1 : start= 32768, size= 1, type=83",
        "disk2 : start= 40961, size= 1, type=83",
        "disk3 : start= 43008, size= 1, type=83",
    ];
    says(&check(&options(Scheme::Mbr), &partitions, &[]), &lines);
    check(&options(Scheme::Gpt), &partitions, &[]);
    let fine = Options { alignment_bytes: 4096, ..options(Scheme::Mbr) };
    let two = [partition("a", "linux", 512), partition("b", "linux", 512)];
    says(&check(&fine, &two, &[]), &["disk1 : start= 8, size= 1, type=83", "disk2 : start= 16, size= 1, type=83"]);
}

#[test]
fn a_gpt_of_128() {
    let one = |number: u8| Partition { guid: guid(number), ..partition(&format!("part {number}"), "linux", 512) };
    let partitions: Vec<Partition> = (0..128).map(one).collect();
    check(&options(Scheme::Gpt), &partitions, &[]);
}

/// The types' GUIDs and names are those that sfdisk knows.
#[test]
fn types_are_those_of_others() {
    let Some((true, text)) = run("sfdisk", &["--label".as_ref(), "gpt".as_ref(), "--list-types".as_ref()]) else {
        return;
    };
    let known = |guid: &str| text.lines().find(|line| line.to_lowercase().starts_with(guid));
    for (name, what) in [
        ("esp", "EFI System"),
        ("xbootldr", "Linux extended boot"),
        ("fat", "Microsoft basic data"),
        ("linux", "Linux filesystem"),
        ("swap", "Linux swap"),
        ("lvm", "Linux LVM"),
        ("raid", "Linux RAID"),
        ("root-arm64", "Linux root (ARM-64)"),
        ("root-arm64-verity", "Linux root verity (ARM-64)"),
        ("root-arm", "Linux root (ARM)"),
        ("root-x86-64", "Linux root (x86-64)"),
        ("root-riscv64", "Linux root (RISC-V-64)"),
        ("usr-arm64", "Linux /usr (ARM-64)"),
        ("usr-arm", "Linux /usr (ARM)"),
        ("usr-x86-64", "Linux /usr (x86-64)"),
        ("home", "Linux home"),
        ("srv", "Linux server data"),
        ("var", "Linux variable data"),
        ("tmp", "Linux temporary data"),
        ("linux-reserved", "Linux reserved"),
        ("bios-boot", "BIOS boot"),
    ] {
        let named = NAMED.iter().find(|named| named.name == name).unwrap();
        let line = known(named.guid).unwrap_or_else(|| panic!("{name}: sfdisk knows no {}", named.guid));
        assert!(line.ends_with(what), "{name}: {line}");
    }
}
