//! What U-Boot boots, end to end: made by recipe, shown to U-Boot's own tools, and booted by U-Boot itself. The
//! hypervisor is a few instructions that say what they found: the initramfs, the device tree, the kernel, their level.

use std::fs;
use std::path::{Path, PathBuf};

use rsa::pkcs8::{EncodePrivateKey, LineEnding};

use crate::bench::{Bench, shown};

const UBOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
/// What the instructions below print: the archive's magic, the tree's as `T`, the Image's first letter, EL2.
const FOUND: &str = "070701TA2";

const RECIPE: &str = r##"version = 1
variables.wanted = "070701TA2"

[machine]
type = "qemu-virt"
memory = "1GiB"
firmware = { path = "u-boot.bin" }

[hypervisor]
path = "xen"

[kernel.linux]
path = "Image"

[dom0]
kernel = "linux"
initramfs = "initramfs"
memory = "256MiB"

[boot]
format = "u-boot"
addresses = { kernel = 0x48000000, initramfs = 0x49000000 }

[filesystem.initramfs]
format = "cpio"
gzip = false
files."/init" = { mode = 0o755, text = "#!/bin/sh\n" }

[filesystem.boot]
format = "fat"
[filesystem.boot.files]
"/boot.scr" = { boot = "script" }
"/boot/xen" = { boot = "xen" }
"/boot/Image" = { boot = "kernel" }
"/boot/initramfs" = { boot = "initramfs" }
"/boot/a tree.dtb" = { boot = "device-tree" }

[disk.card]
table = "mbr"
partition = [{ type = "fat", filesystem = "boot", active = true }]

[test]
timeout = "3min"
steps = [
  { expect = "U-Boot 20", within = "60s" },
  { expect = "{{wanted}}", within = "90s" },
]

[variant.tree]
boot.script.device-tree = "firmware"

[variant.fit]
boot.fit = {}
filesystem.boot.files."/card.itb" = { boot = "fit" }

[variant.signed]
boot.fit = { key = "dev.pem", key-name = "mine" }
filesystem.boot.files."/card.itb" = { boot = "fit" }

[variant.own]
boot.script.text = "echo my own script\npoweroff\n"
"##;

/// An Image: `mov x19, x0`; prints six bytes from 0x4900_0000, `T` if `[x19]` begins as a tree does, the byte at
/// 0x4800_0038, and CurrentEL; then switches off by PSCI's SYSTEM_OFF. The UART is at 0x0900_0000.
fn hypervisor() -> Vec<u8> {
    const CODE: &[u32] = &[
        0xaa00_03f3,
        0xd2a1_2001,
        0xd2a9_2002,
        0x5280_00c4, // x1: the UART, x2: the initramfs, w4: 6
        0x3840_1443,
        0x3900_0023,
        0x7100_0484,
        0x54ff_ffa1, // prints them
        0xb940_0263,
        0x5281_ba05,
        0x72bd_bfc5,
        0x6b05_007f, // compares the tree's magic
        0x5280_0a86,
        0x5280_0e87,
        0x1a87_00c6,
        0x3900_0026, // prints `T` or `t`
        0xd2a9_0002,
        0x3940_e043,
        0x3900_0023, // prints of the kernel's magic the first letter
        0xd538_4243,
        0xd342_fc63,
        0x1100_c063,
        0x3900_0023, // prints the exception level
        0x5280_0143,
        0x3900_0023, // ends the line
        0x5280_0100,
        0x72b0_8000,
        0xd400_0003,
        0x1400_0000, // smc(SYSTEM_OFF), for ever
    ];
    let mut image = bootwrap::kernel::blank(4096);
    image[..4].copy_from_slice(&0x1400_0010u32.to_le_bytes());
    for (place, word) in image[64..].chunks_exact_mut(4).zip(CODE) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    image
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("r.toml", RECIPE);
    bench.write("xen", hypervisor());
    bench.write("Image", bootwrap::kernel::blank(300_000));
    bench.write("u-boot.bin", fs::read(UBOOT).unwrap_or_default());
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(3);
    let key = rsa::RsaPrivateKey::new(&mut random, 2048).unwrap();
    bench.write("dev.pem", key.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes());
    bench
}

fn image(bench: &Bench, variant: &str) -> PathBuf {
    let variant = if variant.is_empty() { vec![] } else { vec!["--variant", variant] };
    bench.run(&[&["image", "r.toml"], &variant[..]].concat()).unwrap();
    bench.path(&format!("out/r{}", variant.get(1).map_or(String::new(), |name| format!("@{name}"))))
}

#[test]
fn a_script_is_what_mkimage_makes_and_lies_on_the_card() {
    let bench = bench();
    let out = image(&bench, "");
    let script = fs::read_to_string(out.join("boot.cmd")).unwrap();
    assert!(script.contains(" 0x48000000 /boot/Image; then\n"), "{script}");
    assert!(script.contains(" '/boot/a tree.dtb'; then\n"), "{script}");
    let arguments = ["-A", "arm64", "-T", "script", "-C", "none", "-n", "r", "-d", "boot.cmd", "theirs.scr"];
    if shown("mkimage", &arguments, &out).is_some() {
        assert!(fs::read(out.join("theirs.scr")).unwrap() == fs::read(out.join("boot.scr")).unwrap());
    }
    if let Some(text) = shown("dumpimage", &["-l", "boot.scr"], &out) {
        assert!(text.contains("AArch64 Linux Script") && text.contains("Thu Jan  1 00:00:00 2026"), "{text}");
    }
    shown("sfdisk", &["--verify", "card.img"], &out);
    shown("fsck.fat", &["-n", "boot.img"], &out);
    for (inner, file) in [("boot.scr", "boot.scr"), ("boot/xen", "xen"), ("boot/a tree.dtb", "boot.dtb")] {
        if shown("mcopy", &["-i", "card.img@@1M", &format!("::{inner}"), "inner"], &out).is_some() {
            assert!(fs::read(out.join("inner")).unwrap() == fs::read(out.join(file)).unwrap(), "{inner}");
            fs::remove_file(out.join("inner")).unwrap();
        }
    }
    let tree = fs::read(out.join("boot.dtb")).unwrap();
    let tree = fdt::Fdt::new(&tree).unwrap();
    let module = tree.find("/chosen/module@48000000").unwrap();
    assert_eq!(module.reg().collect::<Vec<_>>(), [(0x4800_0000, 300_000)]);
    assert!(module.is_compatible("multiboot,kernel"));
    assert!(fs::read_to_string(out.join("memory-map.txt")).unwrap().contains("the boot loader's own"));
    let told = bench.run(&["check", "r.toml"]).unwrap();
    assert!(told.contains("memory map of boot.scr") && told.contains("the boot loader's own"), "{told}");
    let own = image(&bench, "own");
    assert_eq!(fs::read_to_string(own.join("boot.cmd")).unwrap(), "echo my own script\npoweroff\n");
}

#[test]
fn a_fit_holds_what_it_says_and_is_the_same_bytes_twice() {
    let bench = bench();
    let out = image(&bench, "signed");
    let fit = fs::read(out.join("r@signed.itb")).unwrap();
    let tree = fdt::Fdt::new(&fit).unwrap();
    let behind = tree.header().total_size;
    for (name, file) in [("xen", "xen"), ("fdt", "boot.dtb"), ("dom0-kernel", "Image")] {
        let node = tree.find(&format!("/images/{name}")).unwrap();
        let number = |name: &str| node.property(name).unwrap().as_u32().unwrap() as usize;
        let data = &fit[behind + number("data-offset")..][..number("data-size")];
        assert!(data == fs::read(out.join(file)).unwrap(), "{name}");
        let hash = node.child("hash-1").unwrap().property("value").unwrap().value;
        use sha2::Digest;
        assert_eq!(hash, sha2::Sha256::digest(data).as_slice(), "{name}");
    }
    if let Some(text) = shown("dumpimage", &["-l", "r@signed.itb"], &out) {
        for line in ["Kernel:       xen", "dom0-initramfs", "Sign algo:    sha256,rsa2048:mine", "0x48000000"] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
    }
    // The same key as mkimage writes it: certificates are openssl's business.
    fs::create_dir(bench.path("keys")).unwrap();
    fs::copy(bench.path("dev.pem"), bench.path("keys/mine.key")).unwrap();
    let certify = ["req", "-batch", "-new", "-x509", "-key", "dev.pem", "-subj", "/CN=test", "-out", "keys/mine.crt"];
    if shown("openssl", &certify, bench.folder.path()).is_some() {
        bench.write("theirs.itb", &fit);
        bench.write("theirs.dtb", fdt::Tree::new().emit(&fdt::EmitOptions::default()).unwrap());
        let sign = ["-F", "-k", "keys", "-K", "theirs.dtb", "-r", "theirs.itb"];
        if shown("mkimage", &sign, bench.folder.path()).is_some() {
            let key = |path: &Path| {
                let tree = fdt::Tree::parse(&fs::read(path).unwrap()).unwrap();
                let node = tree.find("/signature/key-mine").unwrap();
                let mut properties: Vec<_> = tree.properties(node).to_vec();
                properties.sort_by(|one, other| one.name.cmp(&other.name));
                properties.into_iter().map(|property| (property.name, property.value)).collect::<Vec<_>>()
            };
            assert_eq!(key(&out.join("u-boot-key.dtb")), key(&bench.path("theirs.dtb")));
        }
    }
    let again = self::bench();
    let other = image(&again, "signed");
    for name in ["r@signed.itb", "boot.scr", "boot.dtb", "u-boot-key.dtb", "card.img"] {
        assert!(fs::read(out.join(name)).unwrap() == fs::read(other.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn keys_that_cannot_sign_are_refused_by_name() {
    let bench = bench();
    bench.write("dev.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    let (code, error) = bench.run(&["image", "r.toml", "--variant", "signed"]).unwrap_err();
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("the key: it is locked with a password"), "{error}");
    bench.edit("key = \"dev.pem\"", "key = \"gone.pem\"");
    let (code, error) = bench.run(&["image", "r.toml", "--variant", "signed"]).unwrap_err();
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("gone.pem") && error.contains("r.toml:"), "{error}");
}

/// Boots with U-Boot; `None`, announced, where there is no U-Boot or no QEMU.
fn boots(bench: &Bench, arguments: &[&str]) -> Option<Result<String, (i32, String)>> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let qemu =
        std::env::split_paths(&paths).map(|folder| folder.join("qemu-system-aarch64")).find(|path| path.is_file());
    if qemu.is_none() || !Path::new(UBOOT).is_file() {
        eprintln!("skipped: booting needs qemu-system-aarch64, and {UBOOT} of the package u-boot-qemu");
        return None;
    }
    let qemu = qemu.unwrap();
    let common = ["test", "r.toml", "--patience", "4", "--qemu", qemu.to_str().unwrap()];
    Some(bench.run(&[&common, arguments].concat()))
}

#[test]
fn u_boot_boots_the_card() {
    let bench = bench();
    for variant in [&[][..], &["--variant", "tree"], &["--variant", "fit"], &["--variant", "signed"]] {
        let Some(result) = boots(&bench, variant) else { return };
        let said = result.unwrap();
        assert!(said.contains("2 steps passed"), "{variant:?}: {said}");
    }
    let log = fs::read_to_string(bench.path("out/r@signed/serial.log")).unwrap();
    assert!(log.contains("sha256,rsa2048:mine+ OK") && log.contains(FOUND), "{log}");
}

#[test]
fn u_boot_boots_nothing_that_was_changed_after_it_was_signed() {
    let bench = bench();
    let out = image(&bench, "signed");
    let card = fs::read(out.join("card.img")).unwrap();
    let fit = fs::read(out.join("r@signed.itb")).unwrap();
    let at = card.windows(64).position(|window| window == &fit[..64]).expect("the FIT lies in one piece");
    let place = |part: &[u8]| at + fit.windows(part.len()).position(|window| window == part).unwrap();
    let kernel = fs::read(out.join("Image")).unwrap();
    // A byte of Dom0's kernel; and the address that it is loaded to, which only the signature covers.
    let changes = [
        (place(&kernel[..4096]) + 200_000, "Bad hash value"),
        (place(&0x4800_0000u64.to_be_bytes()) + 7, "Failed to verify required signature"),
    ];
    for (changed, wanted) in changes {
        let mut bad = card.clone();
        bad[changed] ^= 1;
        fs::remove_file(out.join("card.img")).unwrap();
        fs::write(out.join("card.img"), bad).unwrap();
        let wanted = format!("wanted={wanted}");
        let Some(result) = boots(&bench, &["--variant", "signed", "--no-build", "--set", &wanted]) else { return };
        result.unwrap();
        let log = fs::read_to_string(out.join("serial.log")).unwrap();
        assert!(!log.contains(FOUND), "{log}");
    }
}
