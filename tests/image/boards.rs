//! Cards for real boards, made of Debian's packages: long, and from the network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a tool in a folder; `None`, announced, if it is not installed.
fn run(tool: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env("LC_ALL", "C").env("PATH", paths);
    match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "{tool} {arguments:?}:\n{text}");
            Some(text)
        }
        Err(error) => {
            eprintln!("skipped: cannot run {tool}: {error}");
            None
        }
    }
}

/// Builds a recipe of the project, and lets strangers look at its card: `files` are on its first partition.
fn card(recipe: &str, arguments: &[&str], files: &[&str]) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = format!("recipes/{recipe}.toml");
    let made = Command::new(env!("CARGO_BIN_EXE_xenbuild"))
        .args(["image", &path, "--quiet"])
        .args(arguments)
        .current_dir(&root)
        .status()
        .unwrap();
    assert!(made.success(), "{recipe}");
    let out = root.join("out").join(recipe);
    run("sfdisk", &["--verify", "card.img"], &out);
    run("fsck.fat", &["-n", "boot.img"], &out);
    run("e2fsck", &["-fn", "rootfs.img"], &out);
    if let Some(text) = run("dumpimage", &["-l", "boot.scr"], &out) {
        assert!(text.contains("AArch64 Linux Script"), "{text}");
    }
    if let Some(text) = run("mdir", &["-b", "-i", "card.img@@1M", "::"], &out) {
        for name in files.iter().chain(&["boot.scr", "xen", "Image", "initramfs.cpio.gz", "boot.dtb"]) {
            assert!(text.lines().any(|line| line == format!("::/{name}")), "{name}:\n{text}");
        }
    }
    let script = fs::read_to_string(out.join("boot.cmd")).unwrap();
    assert!(script.lines().any(|line| line.starts_with("booti 0x")), "{script}");
    let tree = fs::read(out.join("boot.dtb")).unwrap();
    let chosen = fdt::Fdt::new(&tree).unwrap().find("/chosen").unwrap();
    assert_eq!(chosen.children().filter(|node| node.is_compatible("multiboot,module")).count(), 2);
}

#[test]
#[ignore = "conformance: takes Debian's packages from the network"]
fn a_card_for_the_raspberry_pi_4() {
    card("raspberry-pi-4", &[], &["start4.elf", "fixup4.dat", "config.txt", "u-boot.bin", "bcm2711-rpi-4-b.dtb"]);
}

#[test]
#[ignore = "conformance: takes Debian's packages from the network"]
fn a_card_for_the_zcu102() {
    let vendor = tempfile::tempdir().unwrap();
    fs::write(vendor.path().join("BOOT.BIN"), [0x5a; 100_000]).unwrap();
    card("zcu102", &["--set", &format!("vendor={}", vendor.path().display())], &["BOOT.BIN"]);
}
