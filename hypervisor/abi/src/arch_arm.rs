//! arch-arm.h: the calling convention, a vCPU's registers, and the physical address space that guests are promised.

pub mod smccc;

constants! {
    XEN_HYPERCALL_TAG: u16 = 0xea1, "The immediate of the HVC that is a hypercall: number in x16, arguments in x0 to x4, answer in x0.";
    XEN_LEGACY_MAX_VCPUS: usize = 1, "vCPUs with a place in `shared_info`.";

    VGCF_online: u32 = 1 << 0, "`vcpu_guest_context.flags`: the vCPU runs.";
    XEN_DOMCTL_CONFIG_GIC_NATIVE: u8 = 0, "A GIC like the host's.";
    XEN_DOMCTL_CONFIG_GIC_V2: u8 = 1, "A GICv2.";
    XEN_DOMCTL_CONFIG_GIC_V3: u8 = 2, "A GICv3.";
    XEN_DOMCTL_CONFIG_TEE_NONE: u16 = 0, "No trusted execution environment.";
    XEN_DOMCTL_CONFIG_TEE_OPTEE: u16 = 1, "OP-TEE.";

    PSR_FIQ_MASK: u64 = 1 << 6, "PSTATE.F.";
    PSR_IRQ_MASK: u64 = 1 << 7, "PSTATE.I.";
    PSR_ABT_MASK: u64 = 1 << 8, "PSTATE.A.";
    PSR_DBG_MASK: u64 = 1 << 9, "PSTATE.D.";
    PSR_MODE_BIT: u64 = 0x10, "AArch32.";
    PSR_MODE_EL1h: u64 = 0x05, "EL1 with its own stack pointer.";
    PSR_MODE_EL1t: u64 = 0x04, "EL1 with EL0's stack pointer.";
    PSR_MODE_EL0t: u64 = 0x00, "EL0.";
    PSR_GUEST64_INIT: u64 = PSR_ABT_MASK | PSR_FIQ_MASK | PSR_IRQ_MASK | PSR_MODE_EL1h, "PSTATE of a vCPU that starts.";
    SCTLR_GUEST_INIT: u64 = 0x00c5_0078, "SCTLR_EL1 of a vCPU that starts: MMU and caches off.";

    GUEST_VIRTIO_MMIO_BASE: u64 = 0x0200_0000, "virtio-mmio transports.";
    GUEST_VIRTIO_MMIO_SIZE: u64 = 0x0010_0000, "Bytes.";
    GUEST_GICD_BASE: u64 = 0x0300_1000, "GICv2: distributor.";
    GUEST_GICD_SIZE: u64 = 0x0000_1000, "Bytes.";
    GUEST_GICC_BASE: u64 = 0x0300_2000, "GICv2: CPU interface.";
    GUEST_GICC_SIZE: u64 = 0x0000_2000, "Bytes.";
    GUEST_GICV3_GICD_BASE: u64 = 0x0300_1000, "GICv3: distributor.";
    GUEST_GICV3_GICD_SIZE: u64 = 0x0001_0000, "Bytes.";
    GUEST_GICV3_RDIST_REGIONS: usize = 1, "GICv3: regions of redistributors.";
    GUEST_GICV3_GICR0_BASE: u64 = 0x0302_0000, "GICv3: redistributors.";
    GUEST_GICV3_GICR0_SIZE: u64 = 0x0100_0000, "Bytes, for 128 vCPUs.";
    GUEST_VPCI_ECAM_BASE: u64 = 0x1000_0000, "PCI: configuration.";
    GUEST_VPCI_ECAM_SIZE: u64 = 0x1000_0000, "Bytes.";
    GUEST_ACPI_BASE: u64 = 0x2000_0000, "ACPI tables.";
    GUEST_ACPI_SIZE: u64 = 0x0200_0000, "Bytes.";
    GUEST_PL011_BASE: u64 = 0x2200_0000, "The emulated SBSA UART.";
    GUEST_PL011_SIZE: u64 = 0x0000_1000, "Bytes.";
    GUEST_VPCI_MEM_ADDR: u64 = 0x2300_0000, "PCI: memory.";
    GUEST_VPCI_MEM_SIZE: u64 = 0x1000_0000, "Bytes.";
    GUEST_GNTTAB_BASE: u64 = 0x3800_0000, "Where grant frames may be mapped.";
    GUEST_GNTTAB_SIZE: u64 = 0x0100_0000, "Bytes.";
    GUEST_MAGIC_BASE: u64 = 0x3900_0000, "Rings of console, xenstore and others.";
    GUEST_MAGIC_SIZE: u64 = 0x0100_0000, "Bytes.";
    GUEST_RAM_BANKS: usize = 2, "Banks of memory.";
    GUEST_RAM0_BASE: u64 = 0x4000_0000, "The first bank.";
    GUEST_RAM0_SIZE: u64 = 0xc000_0000, "Bytes at most.";
    GUEST_VPCI_PREFETCH_MEM_ADDR: u64 = 0x1_0000_0000, "PCI: prefetchable memory.";
    GUEST_VPCI_PREFETCH_MEM_SIZE: u64 = 0x1_0000_0000, "Bytes.";
    GUEST_RAM1_BASE: u64 = 0x02_0000_0000, "The second bank.";
    GUEST_RAM1_SIZE: u64 = 0xfe_0000_0000, "Bytes at most.";
    GUEST_MAX_VCPUS: usize = 128, "vCPUs of one domain.";
    GUEST_TIMER_VIRT_PPI: u32 = 27, "INTID of the virtual timer.";
    GUEST_TIMER_PHYS_S_PPI: u32 = 29, "INTID of the secure physical timer.";
    GUEST_TIMER_PHYS_NS_PPI: u32 = 30, "INTID of the physical timer.";
    GUEST_EVTCHN_PPI: u32 = 31, "INTID of the event-channel interrupt.";
    GUEST_VPL011_SPI: u32 = 32, "INTID of the emulated UART.";
    GUEST_VIRTIO_MMIO_SPI_FIRST: u32 = 33, "INTID of the first virtio-mmio transport.";
    GUEST_VIRTIO_MMIO_SPI_LAST: u32 = 43, "INTID of the last.";
    PSCI_cpu_suspend: u32 = 0, "PSCI 0.1.";
    PSCI_cpu_off: u32 = 1, "PSCI 0.1.";
    PSCI_cpu_on: u32 = 2, "PSCI 0.1.";
    PSCI_migrate: u32 = 3, "PSCI 0.1.";
}

structures! {
    /// What kind of machine a domain is.
    "struct xen_arch_domainconfig" ArchDomainconfig 12 {
        0 gic_version: u8, "`XEN_DOMCTL_CONFIG_GIC_*`; out: what it became. (4.20 reads the byte after it as the length of SVE vectors.)";
        2 tee_type: u16, "`XEN_DOMCTL_CONFIG_TEE_*`.";
        4 nr_spis: u32, "How many shared interrupts the guest sees.";
        8 clock_frequency: u32, "Out: Hz, if the host's device tree names one.";
    }
    /// A vCPU's general registers. The banked ones of AArch32 share their places.
    "struct vcpu_guest_core_regs" VcpuGuestCoreRegs 312 {
        0 x ("~x0"): [u64; 31], "x0 to x30.";
        248 pc ("pc64"): u64, "The program counter.";
        256 cpsr: u64, "PSTATE, as SPSR has it.";
        264 spsr_el1: u64, "SPSR_EL1.";
        272 spsr_fiq: u32, "SPSR_fiq.";
        276 spsr_irq: u32, "SPSR_irq.";
        280 spsr_und: u32, "SPSR_und.";
        284 spsr_abt: u32, "SPSR_abt.";
        288 sp_el0: u64, "SP_EL0.";
        296 sp_el1: u64, "SP_EL1.";
        304 elr_el1: u64, "ELR_EL1.";
    }
    /// A vCPU's state, as the toolstack reads and writes it.
    "struct vcpu_guest_context" VcpuGuestContext 352 {
        0 flags: u32, "`VGCF_*`.";
        8 user_regs: VcpuGuestCoreRegs, "General registers.";
        320 sctlr: u64, "SCTLR_EL1.";
        328 ttbcr: u64, "TCR_EL1.";
        336 ttbr0: u64, "TTBR0_EL1.";
        344 ttbr1: u64, "TTBR1_EL1.";
    }
}
