//! platform.h: control of the machine, by Dom0.

constants! {
    XENPF_INTERFACE_VERSION: u32 = 0x0300_0001, "The version of this interface.";
}

numbers! {
    /// What `platform_op` can do on Arm.
    PlatformOp: u32 {
        XENPF_settime32 Settime32 = 17, "Sets the wall clock; 32-bit seconds.";
        XENPF_settime64 Settime64 = 62, "Sets the wall clock.";
    }
}

structures! {
    /// A call: header and room for any argument.
    "struct xen_platform_op" PlatformCall 136 {
        0 cmd: u32, "`XENPF_*`.";
        4 interface_version: u32, "`XENPF_INTERFACE_VERSION`.";
        8 u ("u.pad"): [u8; 128], "The argument.";
    }
    /// `XENPF_settime64`.
    "struct xenpf_settime64" Settime64 24 {
        0 secs: u64, "Seconds since 1970.";
        8 nsecs: u32, "Nanoseconds.";
        12 mbz: u32, "Zero.";
        16 system_time: u64, "The caller's system time at that moment, in nanoseconds.";
    }
}
