//! sysctl.h: the toolstack's view of the system. Layouts of 4.17; [`crate::release`] has that of 4.14 where it differs.

use crate::Handle;
use crate::xen::XenctlBitmap;

numbers! {
    /// What `sysctl` can do.
    SysctlOp: u32 {
        XEN_SYSCTL_readconsole Readconsole = 1, "Reads the hypervisor's log.";
        XEN_SYSCTL_tbuf_op TbufOp = 2, "Controls trace buffers.";
        XEN_SYSCTL_physinfo Physinfo = 3, "Tells of the machine.";
        XEN_SYSCTL_sched_id SchedId = 4, "Tells the scheduler.";
        XEN_SYSCTL_perfc_op PerfcOp = 5, "Reads counters.";
        XEN_SYSCTL_getdomaininfolist Getdomaininfolist = 6, "Tells of domains.";
        XEN_SYSCTL_debug_keys DebugKeys = 7, "Presses debug keys.";
        XEN_SYSCTL_getcpuinfo Getcpuinfo = 8, "Tells how long CPUs were idle.";
        XEN_SYSCTL_availheap Availheap = 9, "Tells free memory.";
        XEN_SYSCTL_get_pmstat GetPmstat = 10, "Power management.";
        XEN_SYSCTL_cpu_hotplug CpuHotplug = 11, "CPUs come and go.";
        XEN_SYSCTL_pm_op PmOp = 12, "Power management.";
        XEN_SYSCTL_page_offline_op PageOfflineOp = 14, "Takes pages out of use.";
        XEN_SYSCTL_lockprof_op LockprofOp = 15, "Profiles locks.";
        XEN_SYSCTL_cputopoinfo Cputopoinfo = 16, "Tells cores and sockets.";
        XEN_SYSCTL_numainfo Numainfo = 17, "Tells nodes.";
        XEN_SYSCTL_cpupool_op CpupoolOp = 18, "Pools of CPUs.";
        XEN_SYSCTL_scheduler_op SchedulerOp = 19, "Parameters of scheduling.";
        XEN_SYSCTL_coverage_op CoverageOp = 20, "Test coverage.";
        XEN_SYSCTL_psr_cmt_op PsrCmtOp = 21, "x86's.";
        XEN_SYSCTL_pcitopoinfo Pcitopoinfo = 22, "Nodes of devices.";
        XEN_SYSCTL_psr_alloc PsrAlloc = 23, "x86's.";
        XEN_SYSCTL_get_cpu_levelling_caps GetCpuLevellingCaps = 25, "x86's.";
        XEN_SYSCTL_get_cpu_featureset GetCpuFeatureset = 26, "x86's.";
        XEN_SYSCTL_livepatch_op LivepatchOp = 27, "Patches the hypervisor.";
        XEN_SYSCTL_get_cpu_policy GetCpuPolicy = 29, "x86's.";
    }
}

constants! {
    XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x15, "The version of this interface.";
    XEN_SYSCTL_PHYSCAP_hvm: u32 = 1 << 0, "`physinfo.capabilities`: hardware-assisted guests.";
    XEN_SYSCTL_PHYSCAP_pv: u32 = 1 << 1, "`physinfo.capabilities`: paravirtual guests.";
    XEN_SYSCTL_PHYSCAP_directio: u32 = 1 << 2, "`physinfo.capabilities`: an IOMMU.";
    XEN_SYSCTL_PHYSCAP_hap: u32 = 1 << 3, "`physinfo.capabilities`: two-stage translation.";
    XEN_SYSCTL_PHYSCAP_shadow: u32 = 1 << 4, "`physinfo.capabilities`: shadow page tables.";
    XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share: u32 = 1 << 5, "`physinfo.capabilities`: the IOMMU shares stage-2 tables.";
    XEN_SYSCTL_PHYSCAP_vmtrace: u32 = 1 << 6, "`physinfo.capabilities`: instruction traces.";
    XEN_SYSCTL_PHYSCAP_vpmu: u32 = 1 << 7, "`physinfo.capabilities`: performance counters for guests.";
    XEN_SYSCTL_PHYSCAP_gnttab_v1: u32 = 1 << 8, "`physinfo.capabilities`: grants, version 1.";
    XEN_SYSCTL_PHYSCAP_gnttab_v2: u32 = 1 << 9, "`physinfo.capabilities`: grants, version 2.";
    XEN_SYSCTL_CPUPOOL_OP_CREATE: u32 = 1, "`cpupool_op.op`: makes a pool.";
    XEN_SYSCTL_CPUPOOL_OP_DESTROY: u32 = 2, "`cpupool_op.op`: removes it.";
    XEN_SYSCTL_CPUPOOL_OP_INFO: u32 = 3, "`cpupool_op.op`: tells of the first from this one on.";
    XEN_SYSCTL_CPUPOOL_OP_ADDCPU: u32 = 4, "`cpupool_op.op`: adds a CPU.";
    XEN_SYSCTL_CPUPOOL_OP_RMCPU: u32 = 5, "`cpupool_op.op`: takes one out.";
    XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: u32 = 6, "`cpupool_op.op`: moves a domain there.";
    XEN_SYSCTL_CPUPOOL_OP_FREEINFO: u32 = 7, "`cpupool_op.op`: tells the CPUs of no pool.";
    XEN_SYSCTL_CPUPOOL_PAR_ANY: u32 = u32::MAX, "`cpupool_op`: any.";
    XEN_SYSCTL_SCHEDOP_putinfo: u32 = 0, "`scheduler_op.cmd`: writes.";
    XEN_SYSCTL_SCHEDOP_getinfo: u32 = 1, "`scheduler_op.cmd`: reads.";
    XEN_INVALID_CORE_ID: u32 = u32::MAX, "No core.";
    XEN_INVALID_SOCKET_ID: u32 = u32::MAX, "No socket.";
    XEN_INVALID_NODE_ID: u32 = u32::MAX, "No node.";
}

structures! {
    /// A call: header and room for any argument.
    "struct xen_sysctl" SysctlCall 136 {
        0 cmd: u32, "`XEN_SYSCTL_*`.";
        4 interface_version: u32, "Of which interface.";
        8 u ("u.pad"): [u8; 128], "The argument.";
    }
    /// `readconsole`.
    "struct xen_sysctl_readconsole" Readconsole 24 {
        0 clear: u8, "Empties the ring.";
        1 incremental: u8, "Begins at `index`.";
        2 pad0: u8, "Padding.";
        3 pad1: u8, "Padding.";
        4 index: u32, "In: from where; out: to where.";
        8 buffer: Handle, "Where to.";
        16 count: u32, "In: room; out: bytes.";
    }
    /// `physinfo`.
    "struct xen_sysctl_physinfo" Physinfo 112 {
        0 threads_per_core: u32, "Threads of a core.";
        4 cores_per_socket: u32, "Cores of a socket.";
        8 nr_cpus: u32, "CPUs online.";
        12 max_cpu_id: u32, "The last CPU.";
        16 nr_nodes: u32, "Nodes online.";
        20 max_node_id: u32, "The last node.";
        24 cpu_khz: u32, "The counter's frequency, in kHz.";
        28 capabilities: u32, "`XEN_SYSCTL_PHYSCAP_*`.";
        32 arch_capabilities: u32, "Arm's (4.20: the length of SVE vectors).";
        36 pad: u32, "Padding.";
        40 total_pages: u64, "Pages there are.";
        48 free_pages: u64, "Pages nobody has.";
        56 scrub_pages: u64, "Those to be cleared first.";
        64 outstanding_pages: u64, "Those claimed.";
        72 max_mfn: u64, "The last frame.";
        80 hw_cap: [u32; 8], "x86's.";
    }
    /// `sched_id`.
    "struct xen_sysctl_sched_id" SchedId 4 {
        0 sched_id: u32, "Out: `XEN_SCHEDULER_*`.";
    }
    /// `getdomaininfolist`.
    "struct xen_sysctl_getdomaininfolist" Getdomaininfolist 24 {
        0 first_domain: u16, "From which on.";
        4 max_domains: u32, "How many at most.";
        8 buffer: Handle, "Out: an array of `getdomaininfo`.";
        16 num_domains: u32, "Out: how many.";
    }
    /// `debug_keys`.
    "struct xen_sysctl_debug_keys" DebugKeys 16 {
        0 keys: Handle, "Characters.";
        8 nr_keys: u32, "How many.";
    }
    /// `getcpuinfo`.
    "struct xen_sysctl_getcpuinfo" Getcpuinfo 24 {
        0 max_cpus: u32, "Room for.";
        8 info: Handle, "Out: an array of u64, nanoseconds idle.";
        16 nr_cpus: u32, "Out: how many.";
    }
    /// `availheap`.
    "struct xen_sysctl_availheap" Availheap 24 {
        0 min_bitwidth: u32, "Not below, in address bits.";
        4 max_bitwidth: u32, "Not above; 0: anywhere.";
        8 node: i32, "Which node; -1: any.";
        16 avail_bytes: u64, "Out: bytes.";
    }
    /// A CPU's place.
    "struct xen_sysctl_cputopo" Cputopo 12 {
        0 core: u32, "Its core.";
        4 socket: u32, "Its socket.";
        8 node: u32, "Its node.";
    }
    /// `cputopoinfo`.
    "struct xen_sysctl_cputopoinfo" Cputopoinfo 16 {
        0 num_cpus: u32, "In: room for; out: how many.";
        8 cputopo: Handle, "Out: an array of `cputopo`.";
    }
    /// A node's memory.
    "struct xen_sysctl_meminfo" Meminfo 16 {
        0 memsize: u64, "Bytes.";
        8 memfree: u64, "Bytes free.";
    }
    /// `numainfo`.
    "struct xen_sysctl_numainfo" Numainfo 24 {
        0 num_nodes: u32, "In: room for; out: how many.";
        8 meminfo: Handle, "Out: an array of `meminfo`.";
        16 distance: Handle, "Out: a matrix of u32.";
    }
    /// `cpupool_op`.
    "struct xen_sysctl_cpupool_op" CpupoolOp 40 {
        0 op: u32, "`XEN_SYSCTL_CPUPOOL_OP_*`.";
        4 cpupool_id: u32, "Which pool.";
        8 sched_id: u32, "Its scheduler.";
        12 domid: u32, "A domain to move.";
        16 cpu: u32, "A CPU to add or take out.";
        20 n_dom: u32, "Out: how many domains it has.";
        24 cpumap: XenctlBitmap, "Out: its CPUs.";
    }
    /// `scheduler_op`.
    "struct xen_sysctl_scheduler_op" SchedulerOp 32 {
        0 cpupool_id: u32, "Which pool.";
        4 sched_id: u32, "`XEN_SCHEDULER_*`.";
        8 cmd: u32, "`XEN_SYSCTL_SCHEDOP_*`.";
        16 u: [u64; 2], "The parameters: of credit2 the rate limit in µs, in 31:0.";
    }
}
