//! xen.h: the numbers of the hypercalls, domain identifiers, virtual interrupts, and the pages that Xen and a guest share.

use crate::Handle;

numbers! {
    /// A hypercall that exists on Arm: what the dispatcher matches on. Every other number is answered by −ENOSYS.
    Hypercall: u64 {
        __HYPERVISOR_platform_op PlatformOp = 7, "Control of the machine.";
        __HYPERVISOR_memory_op MemoryOp = 12, "Memory of domains.";
        __HYPERVISOR_multicall Multicall = 13, "Several calls at once.";
        __HYPERVISOR_xen_version XenVersion = 17, "Who is there.";
        __HYPERVISOR_console_io ConsoleIo = 18, "The console.";
        __HYPERVISOR_grant_table_op GrantTableOp = 20, "Pages lent between domains.";
        __HYPERVISOR_vm_assist VmAssist = 21, "Ways a guest wants to be treated.";
        __HYPERVISOR_vcpu_op VcpuOp = 24, "Virtual CPUs.";
        __HYPERVISOR_xsm_op XsmOp = 27, "Security policies.";
        __HYPERVISOR_sched_op SchedOp = 29, "Yielding, blocking, shutting down.";
        __HYPERVISOR_event_channel_op EventChannelOp = 32, "Event channels.";
        __HYPERVISOR_physdev_op PhysdevOp = 33, "Physical devices.";
        __HYPERVISOR_hvm_op HvmOp = 34, "Parameters of a domain.";
        __HYPERVISOR_sysctl Sysctl = 35, "The toolstack's view of the system.";
        __HYPERVISOR_domctl Domctl = 36, "The toolstack's view of a domain.";
        __HYPERVISOR_argo_op ArgoOp = 39, "Messages between domains.";
        __HYPERVISOR_dm_op DmOp = 41, "Calls of a device model.";
        __HYPERVISOR_hypfs_op HypfsOp = 42, "Xen's own file system.";
    }
}

impl Hypercall {
    /// Returns how many of x0 to x4 the call takes.
    pub const fn arguments(self) -> usize {
        match self {
            Self::PlatformOp | Self::XsmOp | Self::Sysctl | Self::Domctl => 1,
            Self::MemoryOp
            | Self::Multicall
            | Self::XenVersion
            | Self::VmAssist
            | Self::SchedOp
            | Self::EventChannelOp
            | Self::PhysdevOp
            | Self::HvmOp => 2,
            Self::ConsoleIo | Self::GrantTableOp | Self::VcpuOp | Self::DmOp => 3,
            Self::ArgoOp | Self::HypfsOp => 5,
        }
    }
}

numbers! {
    /// What `console_io` can do.
    ConsoleIo: u32 {
        CONSOLEIO_write Write = 0, "Writes a buffer.";
        CONSOLEIO_read Read = 1, "Reads what was typed.";
    }
}

constants! {
    VIRQ_TIMER: u32 = 0, "A one-shot timer; one for each vCPU.";
    VIRQ_DEBUG: u32 = 1, "The guest is asked to dump its state; one for each vCPU.";
    VIRQ_CONSOLE: u32 = 2, "Something was typed (Dom0).";
    VIRQ_DOM_EXC: u32 = 3, "A domain died or shut down (Dom0).";
    VIRQ_TBUF: u32 = 4, "A trace buffer has records (Dom0).";
    VIRQ_DEBUGGER: u32 = 6, "A domain stopped for a debugger (Dom0).";
    VIRQ_XENOPROF: u32 = 7, "A profiler has samples; one for each vCPU.";
    VIRQ_CON_RING: u32 = 8, "The console's ring received bytes (Dom0).";
    VIRQ_PCPU_STATE: u32 = 9, "A physical CPU came or went (Dom0).";
    VIRQ_MEM_EVENT: u32 = 10, "An event on memory happened (Dom0).";
    VIRQ_ARGO: u32 = 11, "A message arrived.";
    VIRQ_ENOMEM: u32 = 12, "Memory runs low (Dom0).";
    VIRQ_XENPMU: u32 = 13, "A performance counter overflowed; one for each vCPU.";
    VIRQ_ARCH_0: u32 = 16, "The first that an architecture defines.";
    NR_VIRQS: u32 = 24, "How many there are.";

    VMASST_CMD_enable: u32 = 0, "`vm_assist`: turns on.";
    VMASST_CMD_disable: u32 = 1, "`vm_assist`: turns off.";
    VMASST_TYPE_runstate_update_flag: u32 = 5, "`vm_assist`: a flag stands in the run-state area while it changes.";

    DOMID_FIRST_RESERVED: u16 = 0x7ff0, "Domains have identifiers below this.";
    DOMID_SELF: u16 = 0x7ff0, "The caller.";
    DOMID_IO: u16 = 0x7ff1, "The owner of pages of devices.";
    DOMID_XEN: u16 = 0x7ff2, "The owner of pages of the hypervisor.";
    DOMID_COW: u16 = 0x7ff3, "The owner of pages that are shared copy-on-write.";
    DOMID_INVALID: u16 = 0x7ff4, "Nobody.";
    DOMID_IDLE: u16 = 0x7fff, "The idle domain.";
    DOMID_MASK: u16 = 0x7fff, "The bits of an identifier.";
}

structures! {
    /// One call of a `multicall`.
    "struct multicall_entry" MulticallEntry 64 {
        0 op: u64, "Which hypercall.";
        8 result: u64, "Out: what it returned.";
        16 args: [u64; 6], "Its arguments.";
    }
    /// Time as x86's clock source wants it; zeros on Arm.
    "struct vcpu_time_info" VcpuTimeInfo 32 {
        0 version: u32, "Odd while it changes.";
        8 tsc_timestamp: u64, "Unused on Arm.";
        16 system_time: u64, "Unused on Arm.";
        24 tsc_to_system_mul: u32, "Unused on Arm.";
        28 tsc_shift: i8, "Unused on Arm.";
        29 flags: u8, "Unused on Arm.";
        30 pad1: [u8; 2], "Padding.";
    }
    /// What Xen and a virtual CPU share.
    "struct vcpu_info" VcpuInfo 48 {
        0 evtchn_upcall_pending: u8, "Set when an event waits, cleared by the guest.";
        1 pad0: u8, "The mask of other architectures; unused on Arm.";
        8 evtchn_pending_sel: u64, "Bit n: word n of `evtchn_pending` has something for this vCPU (2-level).";
        16 time: VcpuTimeInfo, "Zeros on Arm.";
    }
    /// What Xen and a domain share: the beginning of a page.
    "struct shared_info" SharedInfo 1088 {
        0 vcpu_info: [VcpuInfo; 1], "Of vCPU 0, until it registers another place.";
        48 evtchn_pending: [u64; 64], "Bit n: port n is pending (2-level).";
        560 evtchn_mask: [u64; 64], "Bit n: port n is masked (2-level).";
        1072 wc_version: u32, "Odd while the wall clock changes.";
        1076 wc_sec: u32, "Seconds since 1970 when the domain's clock was 0; the low word.";
        1080 wc_nsec: u32, "Nanoseconds to go with them.";
        1084 wc_sec_hi: u32, "The high word.";
    }
    /// A bitmap of the toolstack's.
    "struct xenctl_bitmap" XenctlBitmap 16 {
        0 bitmap: Handle, "Bytes, the lowest bits first.";
        8 nr_bits: u32, "How many bits the caller has room for.";
    }
}
