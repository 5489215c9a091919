//! `explain` names exactly the input that changed, for each kind of input changed alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::bench::{Bench, image, tarball};

/// Builds, changes one thing, and returns what `explain` says of a step (or of all).
fn explain(change: impl FnOnce(&Bench), step: Option<&str>) -> String {
    let bench = Bench::new();
    bench.build();
    change(&bench);
    let mut arguments = vec!["explain", "r.toml"];
    arguments.extend(step);
    let told = bench.run(&arguments).unwrap();
    without_digests(&told)
}

/// Twelve hex digits are a shortened digest.
fn without_digests(text: &str) -> String {
    let digest = |word: &str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |word: &str| match word.strip_suffix(',').unwrap_or(word) {
        plain if digest(plain) => word.replace(plain, "DIGEST"),
        _ => word.to_owned(),
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_changed() {
    assert_eq!(explain(|_| (), None), "r: all 11 steps are up to date");
    assert_eq!(explain(|_| (), Some("boot")), "boot: up to date");
}

#[test]
fn a_local_file() {
    let told = explain(|bench| bench.write("notes.txt", "other\n"), None);
    assert_eq!(told, "filesystem.rootfs: would run\n  input file /notes: DIGEST -> DIGEST (file notes.txt)");
}

#[test]
fn a_local_files_right_to_run() {
    let change = |bench: &Bench| {
        fs::set_permissions(bench.path("notes.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let told = explain(change, None);
    let wanted = "filesystem.rootfs: would run\n  input file /notes: DIGEST -> DIGEST program (file notes.txt)";
    assert_eq!(told, wanted);
}

#[test]
fn a_file_of_a_local_folder() {
    let told = explain(|bench| bench.write("overlay/etc/motd", "other\n"), None);
    let wanted = "filesystem.rootfs: would run\n  \
                  input include 1: etc/motd: file DIGEST -> file DIGEST (file overlay/etc/motd)";
    assert_eq!(told, wanted);
}

#[test]
fn a_file_more_in_a_local_folder() {
    let told = explain(|bench| bench.write("overlay/etc/new", "new\n"), None);
    let wanted = "filesystem.rootfs: would run\n  \
                  input include 1: etc/new: new, file DIGEST (file overlay/etc/new)";
    assert_eq!(told, wanted);
}

#[test]
fn a_tarball_and_what_is_made_of_it() {
    let change = |bench: &Bench| bench.write("kernel.tar.gz", tarball(&[("boot/vmlinuz-6.2", &image(1 << 17, 3))]));
    let told = explain(change, Some("boot"));
    let wanted = "boot: would run if what it takes turns out different
  input kernel (step kernel.linux)
kernel.linux: would run if what it takes turns out different
  input image (step kernel.linux:file)
kernel.linux:file: would run if what it takes turns out different
  input tarball (step unpack.kernel.tar.gz)
unpack.kernel.tar.gz: would run
  input archive: DIGEST -> DIGEST (file kernel.tar.gz)";
    assert_eq!(told, wanted);
}

#[test]
fn a_header_that_a_device_tree_includes() {
    let told = explain(|bench| bench.write("board/extra.h", "#define EXTRA 2\n"), Some("device-tree"));
    let wanted = "device-tree: would run\n  \
                  input overlay 1: extra.h: DIGEST -> DIGEST (source board/extra.dts and what it includes)";
    assert_eq!(told, wanted);
}

#[test]
fn an_inline_file() {
    let told = explain(|bench| bench.edit("dom0\\n", "doma\\n"), None);
    let wanted = "filesystem.rootfs: would run\n  \
                  parameter file /etc/hostname: text of 5 bytes, sha256 DIGEST, owner 0:0 -> \
                  text of 5 bytes, sha256 DIGEST, owner 0:0";
    assert_eq!(told, wanted);
}

#[test]
fn a_file_less() {
    let told = explain(|bench| bench.edit("\"/notes\" = { path = \"notes.txt\" }\n", ""), None);
    let wanted = "filesystem.rootfs: would run
  input file /notes: gone, was DIGEST
  parameter file /notes: gone, was local file, owner 0:0";
    assert_eq!(told, wanted);
}

#[test]
fn parameters_of_every_kind_of_step() {
    let cases = [
        ("label = \"rootfs\"", "label = \"root\"", "filesystem.rootfs", "parameter label: rootfs -> root"),
        ("size = \"16MiB\"", "size = \"17MiB\"", "filesystem.domu", "parameter size: 16777216 -> 17825792"),
        (
            "uid = 1000",
            "uid = 1001",
            "filesystem.rootfs",
            "parameter user ann: 1000:1000 /home/ann /bin/sh, password locked -> 1001:1000 /home/ann /bin/sh, password locked",
        ),
        ("to = \"/opt\"", "to = \"/srv\"", "filesystem.rootfs", "parameter layer include 2: to /opt -> to /srv"),
        ("cpus = 2", "cpus = 1", "device-tree", "parameter define CPUS: 2 -> 1"),
        (
            "console=dtuart",
            "noreboot",
            "boot",
            "parameter hypervisor bootargs: console=dtuart dom0_mem=256M dom0_max_vcpus=2 -> noreboot dom0_mem=256M dom0_max_vcpus=2",
        ),
        ("console=hvc0", "quiet", "boot", "parameter kernel bootargs: console=hvc0 -> quiet"),
        ("memory = \"64MiB\"", "memory = \"65MiB\"", "guest.one", "parameter memory: 64 -> 65"),
        ("boot/vmlinuz-*", "boot/vmlinuz-6*", "kernel.linux:file", "parameter file: boot/vmlinuz-* -> boot/vmlinuz-6*"),
    ];
    let bench = Bench::new();
    bench.build();
    for (from, to, step, line) in cases {
        bench.edit(from, to);
        let told = bench.run(&["explain", "r.toml", step]).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines, [format!("{step}: would run"), format!("  {line}")], "{from} -> {to}");
        bench.edit(to, from);
    }
    assert_eq!(bench.run(&["explain", "r.toml"]).unwrap(), "r: all 11 steps are up to date\n");
}

#[test]
fn a_step_that_is_not_there_is_suggested() {
    let bench = Bench::new();
    let (code, told) = bench.run(&["explain", "r.toml", "rotfs"]).unwrap_err();
    assert_eq!(code, 2);
    assert!(told.contains("r has no step called `rotfs`"), "{told}");
    assert!(told.contains("did you mean `filesystem.rootfs`?"), "{told}");
}

#[test]
fn before_the_first_build_and_after_the_cache_is_gone() {
    let bench = Bench::new();
    let told = bench.run(&["explain", "r.toml", "boot"]).unwrap();
    assert!(told.starts_with("boot: would run: it was never built\n"), "{told}");
    bench.build();
    fs::remove_dir_all(bench.path("out/cache")).unwrap();
    let told = bench.run(&["explain", "r.toml", "hypervisor"]).unwrap();
    assert_eq!(told, "hypervisor: would run: its output is gone from the cache\n");
    let json = bench.run(&["explain", "r.toml", "hypervisor", "--format=json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["verdict"], "would-run");
}
