//! Small boards, kernels and a stub to wrap.

use bootwrap::axf::{self, Segment};
use bootwrap::el3::parameters::{OFFSET, Parameters, SIZE_BYTES};
use fdt::{EmitOptions, NodeId, Tree};

/// Returns a stub that does nothing: an ELF file with a fresh parameter block.
pub fn stub() -> Vec<u8> {
    stub_with(&Parameters::default())
}

/// Returns such a stub with any parameter block.
pub fn stub_with(parameters: &Parameters) -> Vec<u8> {
    let mut bytes = vec![0; 0x1000];
    bytes[OFFSET..OFFSET + SIZE_BYTES].copy_from_slice(&parameters.to_bytes());
    let mut file = Vec::new();
    let segment = Segment { name: ".boot", address: 0, payload: &bytes, memory_bytes: 0x1_3000, executable: true };
    axf::write(&mut file, 0, &[segment]).expect("an ELF file");
    file
}

/// Returns an arm64 Image of `length` bytes that needs `memory` bytes.
pub fn image(length: usize, text_offset: u64, memory: u64, flags: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|index| (index / 7) as u8).collect();
    bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
    bytes[16..24].copy_from_slice(&memory.to_le_bytes());
    bytes[24..32].copy_from_slice(&flags.to_le_bytes());
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes
}

/// Adds a node with a `compatible` and a `reg`.
pub fn device(tree: &mut Tree, parent: NodeId, name: &str, compatible: &[&str], reg: &[(u64, u64)]) -> NodeId {
    let node = tree.add_child(parent, name).expect("a name");
    tree.set_strings(node, "compatible", compatible);
    tree.set_reg(node, reg);
    node
}

fn common(compatible: &str, memory: &[(u64, u64)], cpus: &[u32]) -> Tree {
    let mut tree = Tree::new();
    let root = tree.root();
    tree.set_strings(root, "compatible", &[compatible]);
    tree.set_cells(root, "#address-cells", &[2]);
    tree.set_cells(root, "#size-cells", &[2]);
    tree.add_child(root, "chosen").expect("a name");
    let node = tree.add_child(root, "memory").expect("a name");
    tree.set_string(node, "device_type", "memory");
    tree.set_reg(node, memory);
    let parent = tree.add_child(root, "cpus").expect("a name");
    tree.set_cells(parent, "#address-cells", &[1]);
    tree.set_cells(parent, "#size-cells", &[0]);
    for &affinity in cpus {
        let cpu = tree.add_child(parent, &format!("cpu@{affinity:x}")).expect("a name");
        tree.set_string(cpu, "device_type", "cpu");
        tree.set_cells(cpu, "reg", &[affinity]);
    }
    tree
}

/// Returns a board like QEMU's virt machine started with `secure=on`.
pub fn virt() -> Tree {
    let mut tree = common("linux,dummy-virt", &[(0x4000_0000, 0x8000_0000)], &[0, 1]);
    let root = tree.root();
    let chosen = tree.find("/chosen").expect("added");
    tree.set_string(chosen, "stdout-path", "/pl011@9000000");
    tree.set_cells(chosen, "kaslr-seed", &[1, 2]);
    tree.set_string(chosen, "bootargs", "of another time");
    for name in ["/cpus/cpu@0", "/cpus/cpu@1"] {
        let cpu = tree.find(name).expect("added");
        tree.set_string(cpu, "enable-method", "psci");
    }
    let secure = tree.add_child(root, "secram@e000000").expect("a name");
    tree.set_string(secure, "device_type", "memory");
    tree.set_string(secure, "status", "disabled");
    tree.set_reg(secure, &[(0xe00_0000, 0x100_0000)]);
    device(&mut tree, root, "intc@8000000", &["arm,gic-v3"], &[(0x800_0000, 0x1_0000), (0x80a_0000, 0xf6_0000)]);
    device(&mut tree, root, "pl011@9040000", &["arm,pl011", "arm,primecell"], &[(0x904_0000, 0x1000)]);
    device(&mut tree, root, "pl011@9000000", &["arm,pl011", "arm,primecell"], &[(0x900_0000, 0x1000)]);
    let gpio = device(&mut tree, root, "pl061@90b0000", &["arm,pl061", "arm,primecell"], &[(0x90b_0000, 0x1000)]);
    tree.set_cells(gpio, "phandle", &[6]);
    for (name, pin) in [("gpio-poweroff", 0), ("gpio-restart", 1)] {
        let node = tree.add_child(root, name).expect("a name");
        tree.set_strings(node, "compatible", &[name]);
        tree.set_cells(node, "gpios", &[6, pin, 0]);
        tree.set_string(node, "status", "disabled");
        tree.set_string(node, "secure-status", "okay");
    }
    tree
}

/// Returns a board like Arm's base model: two banks, two clusters, and devices behind three buses that translate addresses.
pub fn model() -> Tree {
    let mut tree = common(
        "arm,fvp-base-revc",
        &[(0x8000_0000, 0x8000_0000), (0x8_8000_0000, 0x8000_0000)],
        &[0, 0x100, 0x1_0000, 0x1_0100],
    );
    let root = tree.root();
    let aliases = tree.add_child(root, "aliases").expect("a name");
    tree.set_string(aliases, "serial0", "/bus@8000000/motherboard-bus/iofpga/serial@90000");
    let chosen = tree.find("/chosen").expect("added");
    tree.set_string(chosen, "stdout-path", "serial0:115200n8");
    let psci = tree.add_child(root, "psci").expect("a name");
    tree.set_strings(psci, "compatible", &["arm,psci-0.2"]);
    tree.set_string(psci, "method", "hvc");
    let gic = &[(0x2f00_0000, 0x1_0000), (0x2f10_0000, 0x20_0000), (0x2c00_0000, 0x2000)];
    device(&mut tree, root, "interrupt-controller@2f000000", &["arm,gic-v3"], gic);
    let bus = device(&mut tree, root, "bus@8000000", &["simple-bus"], &[]);
    tree.set_cells(bus, "#address-cells", &[2]);
    tree.set_cells(bus, "#size-cells", &[1]);
    // Two windows; chip select 3 is the peripherals'.
    tree.set_cells(bus, "ranges", &[0, 0, 0, 0x800_0000, 0x400_0000, 3, 0, 0, 0x1c00_0000, 0x400_0000]);
    let board = device(&mut tree, bus, "motherboard-bus", &["simple-bus"], &[]);
    tree.set_cells(board, "#address-cells", &[2]);
    tree.set_cells(board, "#size-cells", &[1]);
    tree.set_flag(board, "ranges");
    let fpga = device(&mut tree, board, "iofpga", &["simple-bus"], &[]);
    tree.set_cells(fpga, "#address-cells", &[1]);
    tree.set_cells(fpga, "#size-cells", &[1]);
    tree.set_cells(fpga, "ranges", &[0, 3, 0, 0x20_0000]);
    device(&mut tree, fpga, "sysreg@10000", &["arm,vexpress-sysreg"], &[(0x1_0000, 0x1000)]);
    device(&mut tree, fpga, "serial@90000", &["arm,pl011", "arm,primecell"], &[(0x9_0000, 0x1000)]);
    let reserved = tree.add_child(root, "reserved-memory").expect("a name");
    tree.set_cells(reserved, "#address-cells", &[2]);
    tree.set_cells(reserved, "#size-cells", &[2]);
    let node = tree.add_child(reserved, "vram@80000000").expect("a name");
    tree.set_reg(node, &[(0x8000_0000, 0x1_0000)]);
    tree
}

/// Writes a blob.
pub fn blob(tree: &Tree) -> Vec<u8> {
    tree.emit(&EmitOptions::default()).expect("a blob")
}
