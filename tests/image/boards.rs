//! Cards for real boards, made of Debian's packages: long, and from the network.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::bench::shown;

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
    shown("sfdisk", &["--verify", "card.img"], &out);
    shown("fsck.fat", &["-n", "boot.img"], &out);
    shown("e2fsck", &["-fn", "rootfs.img"], &out);
    if let Some(text) = shown("dumpimage", &["-l", "boot.scr"], &out) {
        assert!(text.contains("AArch64 Linux Script"), "{text}");
    }
    if let Some(text) = shown("mdir", &["-b", "-i", "card.img@@1M", "::"], &out) {
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
