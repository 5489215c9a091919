//! hvm/params.h: the parameters of a domain.

constants! {
    HVM_PARAM_CALLBACK_IRQ: u32 = 0, "How events interrupt: the kind in 63:56.";
    HVM_PARAM_CALLBACK_TYPE_PPI: u64 = 2, "The kind: a PPI, its INTID in 7:0, flags in 15:8.";
    HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_MASK: u64 = 0xff00, "The flags.";
    HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_LOW_LEVEL: u64 = 2, "A flag: level-triggered, low.";
    HVM_PARAM_STORE_PFN: u32 = 1, "The frame of xenstore's ring.";
    HVM_PARAM_STORE_EVTCHN: u32 = 2, "Its port.";
    HVM_PARAM_CONSOLE_PFN: u32 = 17, "The frame of the console's ring.";
    HVM_PARAM_CONSOLE_EVTCHN: u32 = 18, "Its port.";
    HVM_PARAM_MONITOR_RING_PFN: u32 = 28, "The frame of a monitor's ring.";
    HVM_NR_PARAMS: u32 = 39, "How many there are.";
}
