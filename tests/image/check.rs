//! `check`: everything that can be known before the first long step, all of it at once, and nothing made.

use std::fs;

use crate::bench::{Bench, events, image};

#[track_caller]
fn wrong(bench: &Bench, code: i32, parts: &[&str]) -> String {
    let (found, told) = bench.run(&["check", "r.toml"]).unwrap_err();
    assert_eq!(found, code, "{told}");
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert!(!bench.path("out").exists(), "a check makes nothing");
    told
}

#[test]
fn a_good_recipe_is_good() {
    let bench = Bench::new();
    let output = bench.command(&["check", "r.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let told = "r: 1 kernel, 3 file systems, 1 guest, 0 test steps: no errors\n";
    assert!(String::from_utf8(output.stdout).unwrap().ends_with(told));
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(
        warning.starts_with("warning: cannot find qemu-system-aarch64: `run` and `test` will need it; "),
        "{warning}"
    );
    assert!(!bench.path("out").exists());
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let bench = Bench::new();
    bench.write("xen", "#!/bin/sh\nexec false\n");
    bench.write("board/extra.dts", "/dts-v1/;\n/plugin/;\n&{/} { extra = <1>\n};\n");
    fs::remove_file(bench.path("notes.txt")).unwrap();
    bench.edit("memory = \"64MiB\"", "memory = \"64MiB\"\nextra = \"it's \\\"so\\\"\"");
    let told = wrong(
        &bench,
        3,
        &[
            "error: xen is no arm64 Image, zboot, gzip, xz, zstd or ELF file; it begins with 23 21 2f 62 69 6e 2f 73 68 0a 65 78 65 63 20 66\n  --> r.toml:11:8",
            "error: extra.dts does not compile\n  --> r.toml:19:22",
            "extra.dts:3:19",
            "notes.txt: No such file",
            "r.toml:39:21",
            "cannot be written in xl.cfg",
            "r.toml:50:8",
        ],
    );
    assert!(told.ends_with("error: 4 errors in the recipe\n"), "{told}");
}

#[test]
fn addresses_are_looked_at_as_far_as_sizes_are_known() {
    let bench = Bench::new();
    let recipe = fs::read_to_string(bench.path("r.toml")).unwrap();
    let with = |addresses: &str| bench.write("r.toml", format!("{recipe}\n[boot.addresses]\n{addresses}\n"));
    with("kernel = 0x4800_0000\nxen = 0x4800_0000");
    wrong(&bench, 3, &["overlaps", "r.toml:56:10", "\nmemory 0x0040000000..0x0080000000   1024 MiB\n"]);
    with("initramfs = 0x1000");
    wrong(&bench, 3, &["initramfs at 0x1000..0x2000 is not in memory\n", "r.toml:56:13"]);
    with("dtb = 0x4800_1000");
    wrong(&bench, 3, &["dtb at 0x48001000 must lie on a multiple of 0x200000\n"]);
    // The hypervisor is a local file, so its size is known.
    bench.write("xen", image(4 << 20, 1));
    with("xen = 0x4800_0000\nkernel = 0x4820_0000");
    wrong(&bench, 3, &["kernel at 0x48200000..0x48201000 overlaps xen by 4096 bytes\n"]);
    with("xen = 0x4800_0000\nkernel = 0x4840_0000");
    assert!(bench.run(&["check", "r.toml"]).is_ok());
}

#[test]
fn the_memory_map_is_printed_as_image_writes_it() {
    let bench = Bench::new();
    // Before the first build: what is local, and no more.
    let told = bench.run(&["check", "r.toml"]).unwrap();
    assert!(told.starts_with("memory map of r.axf\nmemory 0x0040000000..0x0080000000   1024 MiB\n"), "{told}");
    let has = |told: &str, part: &str| told.lines().any(|line| line.split_whitespace().nth(3) == Some(part));
    assert!(["boot", "dtb", "xen"].iter().all(|part| has(&told, part)), "{told}");
    assert!(!has(&told, "kernel") && !has(&told, "initramfs"), "{told}");
    assert!(told.contains("\nnot made yet: kernel, initramfs (not in the map, "), "{told}");
    assert!(told.contains("\nnothing overlaps, "), "{told}");
    // After it: to the byte, and nothing is missing.
    bench.build();
    let map = fs::read_to_string(bench.path("out/r/memory-map.txt")).unwrap();
    let told = bench.run(&["check", "r.toml"]).unwrap();
    assert!(told.starts_with(&format!("memory map of r.axf\n{map}nothing overlaps, ")), "{told}");
    assert!(!told.contains("made"), "{told}");
    // An initramfs that is to be made again is taken as it was, and that is said.
    bench.edit("#!/bin/sh\\n", "#!/bin/sh\\nexec /bin/sh\\n");
    let told = bench.run(&["check", "r.toml"]).unwrap();
    assert!(told.contains(&map), "{told}");
    assert!(told.contains("\nto be made again: initramfs (in the map as the last build left it)\n"), "{told}");
    // What the last build left is no reason to refuse: what is made next may be smaller.
    let mut state = 1u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    let noise: String = (0..20_000).map(|_| letter()).collect();
    bench.edit("exec /bin/sh", &noise);
    bench.build();
    bench.edit(&noise, "exec /bin/sh");
    let recipe = fs::read_to_string(bench.path("r.toml")).unwrap();
    bench.write("r.toml", format!("{recipe}\n[boot.addresses]\ninitramfs = 0x7fff_f000\n"));
    let told = bench.run(&["check", "r.toml"]).unwrap();
    assert!(told.contains("\nto be made again: initramfs; as the last build left it, it would not do: "), "{told}");
    assert!(told.contains("is not in memory"), "{told}");
}

#[test]
fn the_hypervisor_that_is_carried_is_in_the_map() {
    let bench = Bench::new();
    bench.edit("path = \"xen\"", "from = \"integrated\"");
    let told = bench.run(&["check", "r.toml"]).unwrap();
    assert!(told.lines().any(|line| line.split_whitespace().nth(3) == Some("xen")), "{told}");
    assert!(told.contains("\nnot made yet: kernel, initramfs (not in the map, "), "{told}");
    let before: Vec<&str> = told.lines().filter(|line| line.split_whitespace().nth(3) == Some("xen")).collect();
    bench.build();
    let map = fs::read_to_string(bench.path("out/r/memory-map.txt")).unwrap();
    let size = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    let after: Vec<&str> = map.lines().filter(|line| line.split_whitespace().nth(3) == Some("xen")).collect();
    assert_eq!((before.len(), size(before[0])), (1, size(after[0])), "{told}{map}");
}

#[test]
fn programs_read_the_memory_map_as_numbers() {
    let bench = Bench::new();
    let check = || events(&bench.run(&["check", "r.toml", "--message-format=json", "-q"]).unwrap());
    let told = check();
    assert_eq!(told[0]["event"], "memory-map");
    assert_eq!(told[0]["not-made-yet"], serde_json::json!(["kernel", "initramfs"]));
    assert_eq!(told[1], serde_json::json!({ "event": "checked", "recipe": "r" }));
    bench.build();
    let told = check();
    let map = &told[0]["map"];
    assert_eq!(map["memory"], serde_json::json!([{ "start": 0x4000_0000, "bytes": 1 << 30 }]));
    // The same as in the table for people.
    let table = fs::read_to_string(bench.path("out/r/memory-map.txt")).unwrap();
    let placed = map["placed"].as_array().unwrap();
    assert_eq!(placed.len(), 5, "{map}");
    for part in placed {
        let (start, bytes) = (part["start"].as_u64().unwrap(), part["bytes"].as_u64().unwrap());
        let range = format!("{start:#012x}..{:#012x}", start + bytes);
        let name = part["name"].as_str().unwrap();
        assert!(table.lines().any(|line| line.contains(&range) && line.contains(name)), "{part}\n{table}");
    }
    assert_eq!((&told[0]["not-made-yet"], &told[0]["doubt"]), (&serde_json::json!([]), &serde_json::json!(null)));
}

#[test]
fn what_is_wrong_has_the_exit_code_that_a_build_gives_it() {
    let hash = format!("path = \"xen\"\nsha256 = \"{}\"", "1".repeat(64));
    let changes: [(i32, &str, &dyn Fn(&Bench)); 4] = [
        (4, "xen hashes to ", &|bench| bench.edit("path = \"xen\"", &hash)),
        (4, "xen is no arm64 Image", &|bench| bench.write("xen", "none")),
        (3, "notes.txt: No such file", &|bench| fs::remove_file(bench.path("notes.txt")).unwrap()),
        (3, "there is no file system `other`", &|bench| bench.edit("root = \"rootfs\"", "root = \"other\"")),
    ];
    for (code, part, change) in changes {
        let bench = Bench::new();
        change(&bench);
        for command in ["check", "image"] {
            let (found, told) = bench.run(&[command, "r.toml"]).unwrap_err();
            assert!(found == code && told.contains(part), "{command}: {found}\n{told}");
        }
    }
}
