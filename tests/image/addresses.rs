//! Load addresses that the recipe fixes: kept to the byte, or refused with the memory map and the recipe's line.

use std::fs;

use xenbuild::recipe::keys::TABLES;

use crate::bench::Bench;

/// Lays these addresses into the recipe.
fn with(addresses: &str) -> Bench {
    let bench = Bench::new();
    let recipe = fs::read_to_string(bench.path("r.toml")).unwrap();
    bench.write("r.toml", format!("{recipe}\n[boot.addresses]\n{addresses}"));
    bench
}

/// Builds what cannot be; returns what the user reads.
#[track_caller]
fn refused(addresses: &str) -> String {
    let bench = with(addresses);
    let (code, told) = bench.run(&["image", "r.toml"]).unwrap_err();
    assert_eq!(code, 3, "{told}");
    assert!(!bench.path("out/r").exists(), "there are no artifacts");
    assert_eq!(bench.litter(), Vec::<std::path::PathBuf>::new());
    told
}

#[test]
fn the_recipe_and_the_wrapper_know_the_same_names() {
    let table = TABLES.iter().find(|table| table.name == "addresses").unwrap();
    // The FIT is nothing that is wrapped: U-Boot reads it from there.
    let wrapped: Vec<&str> = table.keys().map(|key| key.name).filter(|name| *name != "fit").collect();
    assert_eq!(wrapped, bootwrap::wrap::NAMES);
}

#[test]
fn everything_lies_where_it_was_told_to() {
    let addresses = [
        ("boot", 0x4100_1000),
        ("dtb", 0x4400_0000),
        ("xen", 0x4600_0000u64),
        ("kernel", 0x4800_0000),
        ("initramfs", 0x5000_3000),
    ];
    let text: String = addresses.iter().map(|(name, address)| format!("{name} = {address:#x}\n")).collect();
    let bench = with(&text);
    bench.build();
    let map = fs::read_to_string(bench.path("out/r/memory-map.txt")).unwrap();
    for (name, address) in addresses {
        let line = map.lines().find(|line| line.split_whitespace().nth(3) == Some(name)).unwrap();
        assert!(line.trim_start().starts_with(&format!("{address:#012x}..")), "{name}: {map}");
        assert!(line.ends_with("(address given)"), "{map}");
    }
    // Little-endian ELF64: e_entry at 24, and the program headers that e_phoff at 32 leads to, 56 bytes each.
    let axf = fs::read(bench.path("out/r/r.axf")).unwrap();
    let double = |at: usize| u64::from_le_bytes(axf[at..at + 8].try_into().unwrap());
    assert_eq!(double(24), 0x4100_1000, "the machine enters at the stub");
    let headers = (0..usize::from(axf[56])).map(|index| double(32) as usize + 56 * index);
    let physical: Vec<u64> = headers.map(|at| double(at + 24)).collect();
    assert_eq!(physical, addresses.map(|(_, address)| address));
    // Without them, everything gets a place; only the wrapping is done again.
    let text = fs::read_to_string(bench.path("r.toml")).unwrap().replace("kernel = 0x48000000\n", "");
    bench.write("r.toml", text);
    let told = bench.run(&["explain", "r.toml", "boot"]).unwrap();
    assert!(told.contains("address kernel"), "{told}");
    assert_eq!(bench.build(), ["boot"]);
}

#[test]
fn an_overlap_is_shown_with_the_memory_map() {
    // The hypervisor has 64 KiB.
    let told = refused("xen = 0x4800_0000\nkernel = 0x4800_0000\n");
    for part in [
        "step boot: memory map: kernel at 0x48000000..0x48020000 overlaps xen by 65536 bytes\n",
        "r.toml:57:10\n",
        "57 | kernel = 0x4800_0000\n",
        "|          ^^^^^^^^^^^\n",
        "\nmemory 0x0040000000..0x0080000000   1024 MiB\n",
        "0x0048000000..0x0048010000     64 KiB  xen (address given)\n",
        "0x0048010000..0x0080000000    896 MiB  free\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}

#[test]
fn an_address_outside_of_memory_is_shown_with_the_memory_map() {
    for (address, end) in [("0x800_0000", "0x8020000"), ("0x7fff_f000", ""), ("0xf_ffff_ffe0_0000", "0xfffffffe20000")]
    {
        let told = refused(&format!("kernel = {address}\n"));
        assert!(told.contains("r.toml:56:10\n"), "{told}");
        assert!(told.contains("\nmemory 0x0040000000..0x0080000000   1024 MiB\n"), "{told}");
        if !end.is_empty() {
            assert!(told.contains(&format!("..{end} is not in memory\n")), "{told}");
        }
    }
}

#[test]
fn an_address_that_is_not_aligned_is_refused() {
    for (line, rule) in [
        ("kernel = 0x4810_0000", "kernel at 0x48100000 must lie on a multiple of 0x200000\n"),
        ("dtb = 0x4400_1000", "dtb at 0x44001000 must lie on a multiple of 0x200000\n"),
        ("boot = 0x4400_0004", "boot at 0x44000004 must lie on a multiple of 0x1000\n"),
    ] {
        let told = refused(&format!("{line}\n"));
        assert!(told.contains(rule) && told.contains("r.toml:56:") && told.contains(line), "{told}");
    }
}
