//! A Domain 0 that switches the machine off as soon as its init runs: one CPU, 1 GiB, half of it Domain 0's, time is instructions.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use xenbuild::emulate::command::CommandLine;
use xenbuild::emulate::qemu;

/// The kernel and the initramfs.
pub struct Scenario {
    /// What begins the names of its tables.
    pub name: &'static str,
    kernel: PathBuf,
    initramfs: PathBuf,
    arguments: &'static str,
}

impl Scenario {
    /// Returns the one in which upstream was recorded, if `XENBUILD_LAB` names a folder with it.
    pub fn lab() -> Option<Scenario> {
        let lab = PathBuf::from(env::var_os("XENBUILD_LAB")?);
        let arguments = "console=hvc0 rdinit=/init lab=up";
        Some(Scenario { name: "up", kernel: lab.join("Image"), initramfs: lab.join("dom0.cpio.gz"), arguments })
    }

    /// Returns the tutorial's kernel, if `XENBUILD_KERNEL` names it, and the initramfs beside it.
    pub fn tutorial() -> Option<Scenario> {
        let kernel = PathBuf::from(env::var_os("XENBUILD_KERNEL")?);
        let initramfs = kernel.with_file_name("initramfs.cpio.gz");
        let arguments = "console=hvc0 rdinit=/bin/busybox -- poweroff -f";
        Some(Scenario { name: "boot", kernel, initramfs, arguments })
    }

    /// Returns the machine, with the hypervisor `image` and `words` besides those that all have.
    pub fn machine(&self, image: &Path, gic: u32, words: &str) -> CommandLine {
        let mut command = CommandLine::new(qemu::PROGRAM);
        command.add(["-M".into(), format!("virt,virtualization=on,gic-version={gic}")]).add(["-cpu", "cortex-a57"]);
        command.add(["-smp", "1"]).add(["-m", "1024"]).add(["-no-reboot"]);
        command.add(["-nographic"]).add(["-nodefaults"]).add(["-serial", "mon:stdio"]);
        command.add(["-icount", "shift=0,sleep=off"]).add(["-rtc", "clock=vm"]).add(["-seed", "42"]);
        let words = format!("console=dtuart dtuart=/pl011@9000000 dom0_mem=512M dom0_max_vcpus=1 bootscrub=0 {words}");
        command.add([OsStr::new("-kernel"), image.as_os_str()]).add(["-append".into(), words]);
        let (kernel, initramfs) = (self.kernel.display(), self.initramfs.display());
        let arguments = self.arguments;
        command.add(["-device".into(), format!("guest-loader,addr=0x4a000000,kernel={kernel},bootargs={arguments}")]);
        command.add(["-device".into(), format!("guest-loader,addr=0x4d000000,initrd={initramfs}")]);
        command
    }
}
