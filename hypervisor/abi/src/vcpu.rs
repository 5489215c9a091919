//! vcpu.h: virtual CPUs.

numbers! {
    /// What `vcpu_op` can do. Arm has two of them: the areas that a guest registers.
    VcpuOp: u32 {
        VCPUOP_initialise Initialise = 0, "x86's.";
        VCPUOP_up Up = 1, "x86's.";
        VCPUOP_down Down = 2, "x86's.";
        VCPUOP_is_up IsUp = 3, "x86's.";
        VCPUOP_get_runstate_info GetRunstateInfo = 4, "x86's.";
        VCPUOP_register_runstate_memory_area RegisterRunstateMemoryArea = 5, "Where the run state is to be written.";
        VCPUOP_set_periodic_timer SetPeriodicTimer = 6, "x86's.";
        VCPUOP_stop_periodic_timer StopPeriodicTimer = 7, "x86's.";
        VCPUOP_set_singleshot_timer SetSingleshotTimer = 8, "x86's.";
        VCPUOP_stop_singleshot_timer StopSingleshotTimer = 9, "x86's.";
        VCPUOP_register_vcpu_info RegisterVcpuInfo = 10, "Where `vcpu_info` is to be.";
        VCPUOP_send_nmi SendNmi = 11, "x86's.";
        VCPUOP_get_physid GetPhysid = 12, "x86's.";
        VCPUOP_register_vcpu_time_memory_area RegisterVcpuTimeMemoryArea = 13, "x86's.";
    }
}

constants! {
    RUNSTATE_running: i32 = 0, "On a CPU.";
    RUNSTATE_runnable: i32 = 1, "Wants one.";
    RUNSTATE_blocked: i32 = 2, "Waits.";
    RUNSTATE_offline: i32 = 3, "Off.";
    XEN_RUNSTATE_UPDATE: u64 = 1 << 63, "In `state_entry_time`, while the area changes.";
}

structures! {
    /// How long a vCPU has been in which state.
    "struct vcpu_runstate_info" RunstateInfo 48 {
        0 state: i32, "`RUNSTATE_*`.";
        8 state_entry_time: u64, "System time when that began, in nanoseconds.";
        16 time: [u64; 4], "Nanoseconds in each state.";
    }
    /// `VCPUOP_register_runstate_memory_area`.
    "struct vcpu_register_runstate_memory_area" RegisterRunstateMemoryArea 8 {
        0 addr ("addr.p"): u64, "A virtual address.";
    }
    /// `VCPUOP_register_vcpu_info`.
    "struct vcpu_register_vcpu_info" RegisterVcpuInfo 16 {
        0 mfn: u64, "A frame of the guest.";
        8 offset: u32, "Where in it, in bytes.";
        12 rsvd: u32, "Unused.";
    }
}
