//! Ties firmware stub, hypervisor, device tree, kernel and initramfs into one ELF (.axf).
