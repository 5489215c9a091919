//! Where U-Boot loads the parts, and what it is told.

use bootwrap::uboot::fit::Fit;
use bootwrap::uboot::load::{Loaded, Spec, place};
use bootwrap::uboot::script::{self, DeviceTree, Files};
use bootwrap::{Error, Hypervisor, Payload};
use fdt::{EmitOptions, Fdt, Tree};

use super::samples;

const MIB: u64 = 1 << 20;

/// A board with this memory, and nothing else.
fn board(memory: &[(u64, u64)]) -> Vec<u8> {
    let mut tree = Tree::new();
    let root = tree.root();
    tree.set_cells(root, "#address-cells", &[2]);
    tree.set_cells(root, "#size-cells", &[2]);
    let node = tree.add_child(root, "memory").unwrap();
    tree.set_string(node, "device_type", "memory");
    tree.set_reg(node, memory);
    tree.emit(&EmitOptions::default()).unwrap()
}

fn placed(memory: &[(u64, u64)], addresses: &[(&str, u64)], fit: bool, foreign_tree: bool) -> Result<Loaded, Error> {
    let ramdisk = vec![7u8; 5000];
    place(&Spec {
        device_tree: &board(memory),
        hypervisor: Hypervisor { image: &samples::image(0x10000, 0, 0x28000, 0xa), bootargs: "console=dtuart" },
        kernel: &samples::image(0x30000, 0, 0x40000, 0xa),
        bootargs: "root=/dev/mmcblk0p2 it's",
        ramdisk: Some(&ramdisk as &dyn Payload),
        addresses: addresses.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect(),
        fit,
        foreign_tree,
    })
}

fn refused(memory: &[(u64, u64)], addresses: &[(&str, u64)]) -> String {
    placed(memory, addresses, true, false).err().expect("an error").to_string()
}

#[test]
fn what_the_loader_needs_itself_is_left_to_it() {
    let loaded = placed(&[(0, 1024 * MIB)], &[], true, false).unwrap();
    for name in ["dtb", "xen", "kernel", "initramfs", "fit"] {
        let range = loaded.map.find(name).unwrap().range;
        assert!(range.start >= 2 * MIB && range.end() <= 992 * MIB, "{name}: {range:x?}");
    }
    let tree = Fdt::new(&loaded.device_tree).unwrap();
    let kernel = loaded.start("kernel").unwrap();
    let module = tree.find(&format!("/chosen/module@{kernel:x}")).unwrap();
    assert_eq!(module.property("bootargs").unwrap().as_str(), Some("root=/dev/mmcblk0p2 it's"));
    assert_eq!(loaded.modules.len(), 2);
    // U-Boot stays below 4 GiB, however long the bank is.
    let long = placed(&[(0x4000_0000, 8 << 30)], &[("fit", 0x1_0000_0000)], true, false).unwrap();
    assert_eq!(long.map.firmware[1].end(), 1 << 32);
}

#[test]
fn memory_that_is_too_small_and_addresses_that_cannot_be_are_refused() {
    let memory = &[(0x4000_0000, 512 * MIB)];
    assert!(refused(&[(0x4000_0000, 4 * MIB)], &[]).contains("no room for"));
    assert!(refused(memory, &[("xen", 0x4000_0000)]).contains("the boot loader keeps for itself"));
    assert!(refused(memory, &[("kernel", 0x4010_0000)]).contains("a multiple of 0x200000"));
    assert!(refused(memory, &[("boot", 0x4400_0000)]).contains("not among dtb, xen, kernel, initramfs, fit"));
    assert!(refused(memory, &[("fit", 0x1000)]).contains("a multiple of"));
}

#[test]
fn a_script_says_all_that_the_tree_would() {
    let loaded = placed(&[(0x4000_0000, 512 * MIB)], &[], false, true).unwrap();
    let files =
        Files { hypervisor: "/xen", kernel: "/Image", initramfs: Some("/i"), device_tree: DeviceTree::Firmware };
    let text = script::for_files("a board", &files, &loaded, "console=dtuart").unwrap();
    let kernel = loaded.start("kernel").unwrap();
    for line in [
        format!("if fdt set /chosen/module@{kernel:x} compatible multiboot,kernel multiboot,module; then"),
        format!("if fdt set /chosen/module@{kernel:x} reg <0x0 {kernel:#x} 0x0 0x30000>; then"),
        format!("if fdt set /chosen/module@{kernel:x} bootargs 'root=/dev/mmcblk0p2 it'\"'\"'s'; then"),
        "if fdt set /chosen xen,xen-bootargs console=dtuart; then".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let opened = text.lines().filter(|line| line.starts_with("if ")).count();
    assert_eq!(text.lines().last().unwrap().split("; ").count(), opened);
}

#[test]
fn a_part_that_cannot_be_read_ends_a_fit() {
    struct Broken;
    impl Payload for Broken {
        fn size_bytes(&self) -> u64 {
            5000
        }
        fn copy_to(&self, _out: &mut dyn std::io::Write) -> std::io::Result<()> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let loaded = placed(&[(0x4000_0000, 512 * MIB)], &[], true, false).unwrap();
    let fit = Fit { description: "", time: 0, loaded: &loaded, ramdisk: Some(&Broken), key: None };
    let error = fit.write(&mut Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "initramfs: the disk is gone");
}
