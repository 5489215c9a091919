//! The commands of a boot script, for U-Boot's hush shell.

use std::fmt::Write as _;

use super::load::Loaded;

/// From where the script's files are loaded: what U-Boot's distro boot and standard boot set before they run it.
const FROM: &str = "${devtype} ${devnum}:${distro_bootpart}";

/// Which device tree the hypervisor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceTree<'a> {
    /// The finished one, from this file.
    File(&'a str),
    /// The one that U-Boot got from the firmware before it, filled in with `fdt` commands.
    Firmware,
}

/// The files of a script, by their paths on the partition that it lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files<'a> {
    /// The hypervisor.
    pub hypervisor: &'a str,
    /// Dom0's kernel.
    pub kernel: &'a str,
    /// Its initramfs, if there is one.
    pub initramfs: Option<&'a str>,
    /// The device tree.
    pub device_tree: DeviceTree<'a>,
}

/// Writes the script that loads a FIT and starts its default configuration.
pub fn for_fit(title: &str, path: &str, address: u64) -> String {
    let mut script = Script::new(title);
    script.load(address, path);
    script.end(&format!("bootm {address:#x}"))
}

/// Writes the script that loads the parts and starts the hypervisor. `None`: the placement lacks one of them.
pub fn for_files(title: &str, files: &Files<'_>, loaded: &Loaded, hypervisor_bootargs: &str) -> Option<String> {
    let mut script = Script::new(title);
    let tree = loaded.start("dtb")?;
    let hypervisor = loaded.start("xen")?;
    script.load(hypervisor, files.hypervisor);
    script.load(loaded.start("kernel")?, files.kernel);
    if let Some(path) = files.initramfs {
        script.load(loaded.start("initramfs")?, path);
    }
    match files.device_tree {
        DeviceTree::File(path) => script.load(tree, path),
        DeviceTree::Firmware => fill(&mut script, tree, loaded, hypervisor_bootargs)?,
    }
    Some(script.end(&format!("booti {hypervisor:#x} - {tree:#x}")))
}

/// Commands, each of which is run only if those before it went well: hush's own `exit` does not end a script everywhere.
struct Script {
    text: String,
    open: usize,
}

impl Script {
    fn new(title: &str) -> Script {
        // A title could not end the comment: recipes have no line breaks in theirs, but somebody else's caller might.
        let title = title.replace(['\n', '\r'], " ");
        let text = format!("# {title}\ntest -n \"${{distro_bootpart}}\" || setenv distro_bootpart 1\n");
        Script { text, open: 0 }
    }

    /// Adds a command that the rest depends on.
    fn step(&mut self, command: &str) {
        let _ = writeln!(self.text, "if {command}; then");
        self.open += 1;
    }

    /// Adds a command that may fail.
    fn line(&mut self, command: &str) {
        let _ = writeln!(self.text, "{command}");
    }

    fn load(&mut self, address: u64, path: &str) {
        self.step(&format!("load {FROM} {address:#x} {}", quoted(path)));
    }

    fn end(mut self, start: &str) -> String {
        self.line(start);
        let ends = vec!["fi"; self.open].join("; ");
        self.line(&ends);
        self.text
    }
}

/// Copies the firmware's tree to where there is room, and says there what the hypervisor needs.
fn fill(script: &mut Script, tree: u64, loaded: &Loaded, hypervisor_bootargs: &str) -> Option<()> {
    // U-Boot takes a tree that ends where the next part begins for one that overlaps it.
    let room = loaded.map.find("dtb")?.range.size_bytes.checked_sub(4096)?;
    script.line("test -n \"${fdt_addr}\" || setenv fdt_addr ${fdtcontroladdr}");
    script.step("fdt addr ${fdt_addr}");
    script.step(&format!("fdt move ${{fdt_addr}} {tree:#x} {room:#x}"));
    script.line("fdt chosen");
    script.step("fdt set /chosen \\#address-cells <0x2>");
    script.step("fdt set /chosen \\#size-cells <0x2>");
    script.step(&format!("fdt set /chosen xen,xen-bootargs {}", quoted(hypervisor_bootargs)));
    for module in &loaded.modules {
        let (start, size) = (module.range.start, module.range.size_bytes);
        let node = format!("module@{start:x}");
        script.step(&format!("fdt mknod /chosen {node}"));
        script.step(&format!("fdt set /chosen/{node} compatible {} multiboot,module", module.compatible));
        let high_low = |value: u64| format!("{:#x} {:#x}", value >> 32, value & 0xffff_ffff);
        script.step(&format!("fdt set /chosen/{node} reg <{} {}>", high_low(start), high_low(size)));
        if let Some(bootargs) = &module.bootargs {
            script.step(&format!("fdt set /chosen/{node} bootargs {}", quoted(bootargs)));
            script.step(&format!("fdt set /chosen xen,dom0-bootargs {}", quoted(bootargs)));
        }
    }
    Some(())
}

/// Quotes a word for hush where it needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hush_sees_one_word() {
        assert_eq!(quoted("/xen-4.17"), "/xen-4.17");
        assert_eq!(quoted("console=hvc0 root=/dev/vda rw"), "'console=hvc0 root=/dev/vda rw'");
        assert_eq!(quoted("$a#b"), "'$a#b'");
        assert_eq!(quoted("it's"), "'it'\"'\"'s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_fit_is_loaded_and_started() {
        let text = for_fit("Xen\nrm", "/boot.itb", 0x4800_0000);
        assert_eq!(text.lines().next(), Some("# Xen rm"));
        assert!(text.ends_with(
            "if load ${devtype} ${devnum}:${distro_bootpart} 0x48000000 /boot.itb; then\nbootm 0x48000000\nfi\n"
        ));
    }
}
