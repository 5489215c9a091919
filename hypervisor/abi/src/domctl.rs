//! domctl.h: the toolstack's view of a domain. Layouts of 4.17; [`crate::release`] has those of 4.14 and 4.20 where they differ.

use crate::Handle;
use crate::arch_arm::ArchDomainconfig;
use crate::xen::XenctlBitmap;

numbers! {
    /// What `domctl` can do.
    DomctlOp: u32 {
        XEN_DOMCTL_createdomain Createdomain = 1, "Creates a domain.";
        XEN_DOMCTL_destroydomain Destroydomain = 2, "Destroys it.";
        XEN_DOMCTL_pausedomain Pausedomain = 3, "Stops its vCPUs; counted.";
        XEN_DOMCTL_unpausedomain Unpausedomain = 4, "Takes one stop back.";
        XEN_DOMCTL_getdomaininfo Getdomaininfo = 5, "Tells of the first domain from this identifier on.";
        XEN_DOMCTL_setvcpuaffinity Setvcpuaffinity = 9, "Chooses the CPUs of a vCPU.";
        XEN_DOMCTL_shadow_op ShadowOp = 10, "x86's page tables; 4.14's pool of stage-2 tables.";
        XEN_DOMCTL_max_mem MaxMem = 11, "Limits its memory.";
        XEN_DOMCTL_setvcpucontext Setvcpucontext = 12, "Writes a vCPU's registers.";
        XEN_DOMCTL_getvcpucontext Getvcpucontext = 13, "Reads them.";
        XEN_DOMCTL_getvcpuinfo Getvcpuinfo = 14, "Tells of a vCPU.";
        XEN_DOMCTL_max_vcpus MaxVcpus = 15, "Makes its vCPUs.";
        XEN_DOMCTL_scheduler_op SchedulerOp = 16, "Parameters of its scheduling.";
        XEN_DOMCTL_setdomainhandle Setdomainhandle = 17, "Sets its UUID.";
        XEN_DOMCTL_setdebugging Setdebugging = 18, "Stops it for a debugger.";
        XEN_DOMCTL_irq_permission IrqPermission = 19, "Permits an interrupt.";
        XEN_DOMCTL_iomem_permission IomemPermission = 20, "Permits frames of devices.";
        XEN_DOMCTL_ioport_permission IoportPermission = 21, "x86's.";
        XEN_DOMCTL_hypercall_init HypercallInit = 22, "x86's.";
        XEN_DOMCTL_settimeoffset Settimeoffset = 24, "Shifts its wall clock.";
        XEN_DOMCTL_getvcpuaffinity Getvcpuaffinity = 25, "Tells the CPUs of a vCPU.";
        XEN_DOMCTL_real_mode_area RealModeArea = 26, "PowerPC's.";
        XEN_DOMCTL_resumedomain Resumedomain = 27, "Goes on after a suspend.";
        XEN_DOMCTL_sendtrigger Sendtrigger = 28, "x86's.";
        XEN_DOMCTL_subscribe Subscribe = 29, "Chooses the port that tells of its suspend.";
        XEN_DOMCTL_gethvmcontext Gethvmcontext = 33, "Saves it.";
        XEN_DOMCTL_sethvmcontext Sethvmcontext = 34, "Restores it.";
        XEN_DOMCTL_set_address_size SetAddressSize = 35, "Chooses 32 or 64 bits.";
        XEN_DOMCTL_get_address_size GetAddressSize = 36, "Tells which.";
        XEN_DOMCTL_assign_device AssignDevice = 37, "Gives it a device.";
        XEN_DOMCTL_bind_pt_irq BindPtIrq = 38, "Gives it an interrupt.";
        XEN_DOMCTL_memory_mapping MemoryMapping = 39, "Maps frames of devices.";
        XEN_DOMCTL_ioport_mapping IoportMapping = 40, "x86's.";
        XEN_DOMCTL_set_ext_vcpucontext SetExtVcpucontext = 42, "x86's.";
        XEN_DOMCTL_get_ext_vcpucontext GetExtVcpucontext = 43, "x86's.";
        XEN_DOMCTL_set_opt_feature SetOptFeature = 44, "Itanium's.";
        XEN_DOMCTL_test_assign_device TestAssignDevice = 45, "Asks whether a device can be given.";
        XEN_DOMCTL_set_target SetTarget = 46, "Makes it the device model of another.";
        XEN_DOMCTL_deassign_device DeassignDevice = 47, "Takes a device back.";
        XEN_DOMCTL_unbind_pt_irq UnbindPtIrq = 48, "Takes an interrupt back.";
        XEN_DOMCTL_get_device_group GetDeviceGroup = 50, "Tells which devices go together.";
        XEN_DOMCTL_debug_op DebugOp = 54, "x86's.";
        XEN_DOMCTL_gethvmcontext_partial GethvmcontextPartial = 55, "Saves a part of it.";
        XEN_DOMCTL_vm_event_op VmEventOp = 56, "Controls its event rings.";
        XEN_DOMCTL_mem_sharing_op MemSharingOp = 57, "x86's.";
        XEN_DOMCTL_gettscinfo Gettscinfo = 59, "x86's.";
        XEN_DOMCTL_settscinfo Settscinfo = 60, "x86's.";
        XEN_DOMCTL_getpageframeinfo3 Getpageframeinfo3 = 61, "x86's.";
        XEN_DOMCTL_setvcpuextstate Setvcpuextstate = 62, "x86's.";
        XEN_DOMCTL_getvcpuextstate Getvcpuextstate = 63, "x86's.";
        XEN_DOMCTL_set_access_required SetAccessRequired = 64, "Requires a listener of memory events.";
        XEN_DOMCTL_audit_p2m AuditP2m = 65, "x86's.";
        XEN_DOMCTL_set_virq_handler SetVirqHandler = 66, "Chooses who receives a global virtual interrupt.";
        XEN_DOMCTL_set_broken_page_p2m SetBrokenPageP2m = 67, "x86's.";
        XEN_DOMCTL_setnodeaffinity Setnodeaffinity = 68, "Chooses NUMA nodes.";
        XEN_DOMCTL_getnodeaffinity Getnodeaffinity = 69, "Tells which.";
        XEN_DOMCTL_cacheflush Cacheflush = 71, "Cleans and invalidates its memory.";
        XEN_DOMCTL_get_vcpu_msrs GetVcpuMsrs = 72, "x86's.";
        XEN_DOMCTL_set_vcpu_msrs SetVcpuMsrs = 73, "x86's.";
        XEN_DOMCTL_setvnumainfo Setvnumainfo = 74, "Sets the NUMA topology it sees.";
        XEN_DOMCTL_psr_cmt_op PsrCmtOp = 75, "x86's.";
        XEN_DOMCTL_monitor_op MonitorOp = 77, "Chooses what a monitor is told.";
        XEN_DOMCTL_psr_alloc PsrAlloc = 78, "x86's.";
        XEN_DOMCTL_soft_reset SoftReset = 79, "Resets its state.";
        XEN_DOMCTL_vuart_op VuartOp = 81, "Makes its UART.";
        XEN_DOMCTL_get_cpu_policy GetCpuPolicy = 82, "x86's.";
        XEN_DOMCTL_set_cpu_policy SetCpuPolicy = 83, "x86's.";
        XEN_DOMCTL_vmtrace_op VmtraceOp = 84, "Traces its instructions.";
        XEN_DOMCTL_get_paging_mempool_size GetPagingMempoolSize = 85, "Tells the size of its pool of stage-2 tables.";
        XEN_DOMCTL_set_paging_mempool_size SetPagingMempoolSize = 86, "Sets it.";
        XEN_DOMCTL_gdbsx_guestmemio GdbsxGuestmemio = 1000, "A debugger's.";
        XEN_DOMCTL_gdbsx_pausevcpu GdbsxPausevcpu = 1001, "A debugger's.";
        XEN_DOMCTL_gdbsx_unpausevcpu GdbsxUnpausevcpu = 1002, "A debugger's.";
        XEN_DOMCTL_gdbsx_domstatus GdbsxDomstatus = 1003, "A debugger's.";
    }
}

constants! {
    XEN_DOMCTL_INTERFACE_VERSION: u32 = 0x15, "The version of this interface.";
    XEN_DOMCTL_CDF_hvm: u32 = 1 << 0, "`createdomain.flags`: hardware-assisted; always on Arm.";
    XEN_DOMCTL_CDF_hap: u32 = 1 << 1, "`createdomain.flags`: two-stage translation; always on Arm.";
    XEN_DOMCTL_CDF_s3_integrity: u32 = 1 << 2, "`createdomain.flags`: x86's.";
    XEN_DOMCTL_CDF_oos_off: u32 = 1 << 3, "`createdomain.flags`: x86's.";
    XEN_DOMCTL_CDF_xs_domain: u32 = 1 << 4, "`createdomain.flags`: runs xenstore.";
    XEN_DOMCTL_CDF_iommu: u32 = 1 << 5, "`createdomain.flags`: may be given devices.";
    XEN_DOMCTL_CDF_nested_virt: u32 = 1 << 6, "`createdomain.flags`: x86's.";
    XEN_DOMCTL_CDF_vpmu: u32 = 1 << 7, "`createdomain.flags`: sees performance counters.";
    XEN_DOMCTL_IOMMU_no_sharept: u32 = 1 << 0, "`createdomain.iommu_opts`: tables of its own.";
    XEN_DOMCTL_GRANT_version_mask: u32 = 0xf, "`createdomain.grant_opts`: the highest version.";
    XEN_DOMINF_dying: u32 = 1 << 0, "`getdomaininfo.flags`: destroyed, but not all of it is gone.";
    XEN_DOMINF_hvm_guest: u32 = 1 << 1, "`getdomaininfo.flags`: hardware-assisted.";
    XEN_DOMINF_shutdown: u32 = 1 << 2, "`getdomaininfo.flags`: shut down.";
    XEN_DOMINF_paused: u32 = 1 << 3, "`getdomaininfo.flags`: stopped by the toolstack.";
    XEN_DOMINF_blocked: u32 = 1 << 4, "`getdomaininfo.flags`: all its vCPUs wait.";
    XEN_DOMINF_running: u32 = 1 << 5, "`getdomaininfo.flags`: one of its vCPUs is on a CPU.";
    XEN_DOMINF_debugged: u32 = 1 << 6, "`getdomaininfo.flags`: stopped for a debugger.";
    XEN_DOMINF_xs_domain: u32 = 1 << 7, "`getdomaininfo.flags`: runs xenstore.";
    XEN_DOMINF_hap: u32 = 1 << 8, "`getdomaininfo.flags`: two-stage translation.";
    XEN_DOMINF_shutdownmask: u32 = 255, "`getdomaininfo.flags`: why it shut down, shifted.";
    XEN_DOMINF_shutdownshift: u32 = 16, "`getdomaininfo.flags`: where that is.";
    XEN_INVALID_MAX_VCPU_ID: u32 = u32::MAX, "`getdomaininfo.max_vcpu_id` of a domain without vCPUs.";
    XEN_VCPUAFFINITY_HARD: u32 = 1 << 0, "`vcpuaffinity.flags`: where it may run.";
    XEN_VCPUAFFINITY_SOFT: u32 = 1 << 1, "`vcpuaffinity.flags`: where it would rather.";
    XEN_VCPUAFFINITY_FORCE: u32 = 1 << 2, "`vcpuaffinity.flags`: whatever else was asked.";
    XEN_SCHEDULER_CREDIT: u32 = 5, "A scheduler.";
    XEN_SCHEDULER_CREDIT2: u32 = 6, "A scheduler.";
    XEN_SCHEDULER_ARINC653: u32 = 7, "A scheduler.";
    XEN_SCHEDULER_RTDS: u32 = 8, "A scheduler.";
    XEN_SCHEDULER_NULL: u32 = 9, "A scheduler.";
    XEN_DOMCTL_SCHEDOP_putinfo: u32 = 0, "`scheduler_op.cmd`: writes a domain's.";
    XEN_DOMCTL_SCHEDOP_getinfo: u32 = 1, "`scheduler_op.cmd`: reads a domain's.";
    XEN_DOMCTL_SCHEDOP_putvcpuinfo: u32 = 2, "`scheduler_op.cmd`: writes vCPUs'.";
    XEN_DOMCTL_SCHEDOP_getvcpuinfo: u32 = 3, "`scheduler_op.cmd`: reads vCPUs'.";
    XEN_DOMCTL_DEV_PCI: u32 = 0, "A device: PCI.";
    XEN_DOMCTL_DEV_DT: u32 = 1, "A device: a node of the device tree.";
    PT_IRQ_TYPE_SPI: u32 = 4, "`bind_pt_irq.irq_type`: a shared interrupt.";
    DPCI_ADD_MAPPING: u32 = 1, "`memory_mapping.add_mapping`: adds.";
    DPCI_REMOVE_MAPPING: u32 = 0, "`memory_mapping.add_mapping`: removes.";
    XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION: u32 = 30, "`shadow_op.op`: size of the pool, in MiB.";
    XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION: u32 = 31, "`shadow_op.op`: sets it.";
    XEN_DOMCTL_VUART_OP_INIT: u32 = 0, "`vuart_op.cmd`.";
    XEN_DOMCTL_VUART_TYPE_VPL011: u32 = 0, "`vuart_op.type`: an SBSA UART.";
}

structures! {
    /// A call: header and room for any argument.
    "struct xen_domctl" DomctlCall 144 {
        0 cmd: u32, "`XEN_DOMCTL_*`.";
        4 interface_version: u32, "Of which interface.";
        8 domain: u16, "Which domain.";
        10 _pad: [u16; 3], "Padding.";
        16 u ("u.pad"): [u8; 128], "The argument.";
    }
    /// `createdomain`.
    "struct xen_domctl_createdomain" Createdomain 68 {
        0 ssidref: u32, "Its label.";
        4 handle: [u8; 16], "Its UUID.";
        20 flags: u32, "`XEN_DOMCTL_CDF_*`.";
        24 iommu_opts: u32, "`XEN_DOMCTL_IOMMU_*`.";
        28 max_vcpus: u32, "How many vCPUs it will have.";
        32 max_evtchn_port: u32, "Its highest port.";
        36 max_grant_frames: i32, "Frames of its grant table; negative: as usual.";
        40 max_maptrack_frames: i32, "Frames for its mappings of grants; negative: as usual.";
        44 grant_opts: u32, "The highest version of grants it may use.";
        48 vmtrace_size: u32, "Bytes of trace buffers.";
        52 cpupool_id: u32, "Its pool of CPUs.";
        56 arch: ArchDomainconfig, "What kind of machine it is.";
    }
    /// `getdomaininfo`.
    "struct xen_domctl_getdomaininfo" Getdomaininfo 120 {
        0 domain: u16, "Which.";
        2 pad1: u16, "Padding.";
        4 flags: u32, "`XEN_DOMINF_*`.";
        8 tot_pages: u64, "Pages it has.";
        16 max_pages: u64, "Pages it may have.";
        24 outstanding_pages: u64, "Pages claimed for it.";
        32 shr_pages: u64, "Pages it shares.";
        40 paged_pages: u64, "Pages swapped out.";
        48 shared_info_frame: u64, "The frame of `shared_info`.";
        56 cpu_time: u64, "Nanoseconds its vCPUs ran.";
        64 nr_online_vcpus: u32, "vCPUs that are not off.";
        68 max_vcpu_id: u32, "The last of its vCPUs.";
        72 ssidref: u32, "Its label.";
        76 handle: [u8; 16], "Its UUID.";
        92 cpupool: u32, "Its pool of CPUs.";
        96 gpaddr_bits: u8, "Bits of its physical addresses.";
        97 pad2: [u8; 7], "Padding.";
        104 arch_config: ArchDomainconfig, "Zeros on Arm.";
    }
    /// `shadow_op`.
    "struct xen_domctl_shadow_op" ShadowOp 40 {
        0 op: u32, "`XEN_DOMCTL_SHADOW_OP_*`.";
        4 mode: u32, "x86's.";
        8 mb: u32, "MiB.";
        16 dirty_bitmap: Handle, "x86's.";
        24 pages: u64, "x86's.";
        32 stats: [u32; 2], "x86's.";
    }
    /// `max_mem`.
    "struct xen_domctl_max_mem" MaxMem 8 {
        0 max_memkb: u64, "KiB.";
    }
    /// `setvcpucontext` and `getvcpucontext`.
    "struct xen_domctl_vcpucontext" Vcpucontext 16 {
        0 vcpu: u32, "Which vCPU.";
        8 ctxt: Handle, "A `vcpu_guest_context`.";
    }
    /// `getvcpuinfo`.
    "struct xen_domctl_getvcpuinfo" Getvcpuinfo 24 {
        0 vcpu: u32, "Which vCPU.";
        4 online: u8, "Out: not off.";
        5 blocked: u8, "Out: waits.";
        6 running: u8, "Out: on a CPU.";
        8 cpu_time: u64, "Out: nanoseconds it ran.";
        16 cpu: u32, "Out: its CPU.";
    }
    /// `setnodeaffinity` and `getnodeaffinity`.
    "struct xen_domctl_nodeaffinity" Nodeaffinity 16 {
        0 nodemap: XenctlBitmap, "Nodes.";
    }
    /// `setvcpuaffinity` and `getvcpuaffinity`.
    "struct xen_domctl_vcpuaffinity" Vcpuaffinity 40 {
        0 vcpu: u32, "Which vCPU.";
        4 flags: u32, "`XEN_VCPUAFFINITY_*`.";
        8 cpumap_hard: XenctlBitmap, "Where it may run.";
        24 cpumap_soft: XenctlBitmap, "Where it would rather.";
    }
    /// `max_vcpus`.
    "struct xen_domctl_max_vcpus" MaxVcpus 4 {
        0 max: u32, "How many.";
    }
    /// `scheduler_op`.
    "struct xen_domctl_scheduler_op" SchedulerOp 24 {
        0 sched_id: u32, "`XEN_SCHEDULER_*`.";
        4 cmd: u32, "`XEN_DOMCTL_SCHEDOP_*`.";
        8 weight ("u.credit2.weight"): u16, "Of credit and credit2.";
        10 cap ("u.credit2.cap"): u16, "Of credit and credit2, in hundredths of a CPU.";
        12 rest ("~u.rtds.budget"): u32, "Of others.";
        16 nr_vcpus ("u.v.nr_vcpus"): u32, "Of calls that list vCPUs.";
        20 padding ("u.v.padding"): u32, "Padding.";
    }
    /// `setdomainhandle`.
    "struct xen_domctl_setdomainhandle" Setdomainhandle 16 {
        0 handle: [u8; 16], "A UUID.";
    }
    /// `setdebugging`.
    "struct xen_domctl_setdebugging" Setdebugging 1 {
        0 enable: u8, "On or off.";
    }
    /// `irq_permission`.
    "struct xen_domctl_irq_permission" IrqPermission 8 {
        0 pirq: u32, "An interrupt.";
        4 allow_access: u8, "Permitted or not.";
        5 pad: [u8; 3], "Padding.";
    }
    /// `iomem_permission`.
    "struct xen_domctl_iomem_permission" IomemPermission 24 {
        0 first_mfn: u64, "The first frame.";
        8 nr_mfns: u64, "How many.";
        16 allow_access: u8, "Permitted or not.";
    }
    /// `settimeoffset`.
    "struct xen_domctl_settimeoffset" Settimeoffset 8 {
        0 time_offset_seconds: i64, "Seconds.";
    }
    /// `set_address_size` and `get_address_size`.
    "struct xen_domctl_address_size" AddressSize 4 {
        0 size: u32, "Bits.";
    }
    /// `assign_device` and its kin.
    "struct xen_domctl_assign_device" AssignDevice 24 {
        0 dev: u32, "`XEN_DOMCTL_DEV_*`.";
        4 flags: u32, "Bit 0: reserved memory may be missing.";
        8 sbdf_or_size ("u.dt.size"): u32, "PCI: which function; device tree: bytes of the path.";
        16 path ("u.dt.path"): Handle, "Device tree: the node's path.";
    }
    /// `bind_pt_irq` and `unbind_pt_irq`.
    "struct xen_domctl_bind_pt_irq" BindPtIrq 24 {
        0 machine_irq: u32, "The host's interrupt.";
        4 irq_type: u32, "`PT_IRQ_TYPE_*`.";
        8 spi ("u.spi.spi"): u16, "The guest's.";
        16 gtable ("u.msi.gtable"): u64, "x86's.";
    }
    /// `memory_mapping`.
    "struct xen_domctl_memory_mapping" MemoryMapping 32 {
        0 first_gfn: u64, "Where.";
        8 first_mfn: u64, "What.";
        16 nr_mfns: u64, "How many frames.";
        24 add_mapping: u32, "`DPCI_*`.";
        28 padding: u32, "Padding.";
    }
    /// `set_target`.
    "struct xen_domctl_set_target" SetTarget 2 {
        0 target: u16, "Which domain.";
    }
    /// `subscribe`.
    "struct xen_domctl_subscribe" Subscribe 4 {
        0 port: u32, "A port of the domain.";
    }
    /// `set_virq_handler`.
    "struct xen_domctl_set_virq_handler" SetVirqHandler 4 {
        0 virq: u32, "`VIRQ_*`.";
    }
    /// `set_access_required`.
    "struct xen_domctl_set_access_required" SetAccessRequired 1 {
        0 access_required: u8, "On or off.";
    }
    /// `cacheflush`.
    "struct xen_domctl_cacheflush" Cacheflush 16 {
        0 start_pfn: u64, "The first frame.";
        8 nr_pfns: u64, "How many.";
    }
    /// `get_paging_mempool_size` and `set_paging_mempool_size`.
    "struct xen_domctl_paging_mempool" PagingMempool 8 {
        0 size: u64, "Bytes.";
    }
    /// `vuart_op`.
    "struct xen_domctl_vuart_op" VuartOp 24 {
        0 cmd: u32, "`XEN_DOMCTL_VUART_OP_*`.";
        4 r#type ("type"): u32, "`XEN_DOMCTL_VUART_TYPE_*`.";
        8 gfn: u64, "The frame of its ring.";
        16 console_domid: u16, "Who is at the other end.";
        18 pad: [u8; 2], "Zero.";
        20 evtchn: u32, "Out: its port.";
    }
}
