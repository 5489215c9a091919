//! sched.h: yielding, blocking, shutting down.

use crate::Handle;

numbers! {
    /// What `sched_op` can do.
    SchedOp: u32 {
        SCHEDOP_yield Yield = 0, "Lets others run.";
        SCHEDOP_block Block = 1, "Waits for an event, with interrupts enabled.";
        SCHEDOP_shutdown Shutdown = 2, "Shuts the domain down.";
        SCHEDOP_poll Poll = 3, "Waits for certain ports.";
        SCHEDOP_remote_shutdown RemoteShutdown = 4, "Shuts another domain down.";
        SCHEDOP_shutdown_code ShutdownCode = 5, "Says why the domain will shut down.";
        SCHEDOP_watchdog Watchdog = 6, "Sets a watchdog.";
        SCHEDOP_pin_override PinOverride = 7, "Pins the vCPU for a while.";
    }
}

numbers! {
    /// Why a domain shut down.
    ShutdownReason: u32 {
        SHUTDOWN_poweroff Poweroff = 0, "It wants to be off.";
        SHUTDOWN_reboot Reboot = 1, "It wants to start again.";
        SHUTDOWN_suspend Suspend = 2, "It wants to be saved.";
        SHUTDOWN_crash Crash = 3, "It crashed.";
        SHUTDOWN_watchdog Watchdog = 4, "Its watchdog fired.";
        SHUTDOWN_soft_reset SoftReset = 5, "It wants its state reset.";
    }
}

structures! {
    /// `SCHEDOP_shutdown` and `SCHEDOP_shutdown_code`.
    "struct sched_shutdown" Shutdown 4 {
        0 reason: u32, "`SHUTDOWN_*`.";
    }
    /// `SCHEDOP_poll`.
    "struct sched_poll" Poll 24 {
        0 ports: Handle, "An array of u32.";
        8 nr_ports: u32, "How many.";
        16 timeout: u64, "System time in nanoseconds; 0: none.";
    }
    /// `SCHEDOP_remote_shutdown`.
    "struct sched_remote_shutdown" RemoteShutdown 8 {
        0 domain_id: u16, "Which domain.";
        4 reason: u32, "`SHUTDOWN_*`.";
    }
    /// `SCHEDOP_watchdog`.
    "struct sched_watchdog" Watchdog 8 {
        0 id: u32, "Which; 0: a new one.";
        4 timeout: u32, "Seconds; 0: never.";
    }
    /// `SCHEDOP_pin_override`.
    "struct sched_pin_override" PinOverride 4 {
        0 pcpu: i32, "To which CPU; negative: to none.";
    }
}
