//! event_channel.h: event channels.

numbers! {
    /// What `event_channel_op` can do.
    EventChannelOp: u32 {
        EVTCHNOP_bind_interdomain BindInterdomain = 0, "Connects to another domain's port.";
        EVTCHNOP_bind_virq BindVirq = 1, "Takes a virtual interrupt.";
        EVTCHNOP_bind_pirq BindPirq = 2, "Takes a physical interrupt; none exist on Arm.";
        EVTCHNOP_close Close = 3, "Closes a port.";
        EVTCHNOP_send Send = 4, "Signals the other end.";
        EVTCHNOP_status Status = 5, "Asks what a port is.";
        EVTCHNOP_alloc_unbound AllocUnbound = 6, "Makes a port that another domain may connect to.";
        EVTCHNOP_bind_ipi BindIpi = 7, "Makes a port for signals between vCPUs.";
        EVTCHNOP_bind_vcpu BindVcpu = 8, "Chooses the vCPU that a port notifies.";
        EVTCHNOP_unmask Unmask = 9, "Unmasks a port and delivers what waited.";
        EVTCHNOP_reset Reset = 10, "Closes every port.";
        EVTCHNOP_init_control InitControl = 11, "Gives a vCPU a control block; the first changes to FIFO.";
        EVTCHNOP_expand_array ExpandArray = 12, "Adds a page of event words.";
        EVTCHNOP_set_priority SetPriority = 13, "Chooses a port's queue.";
    }
}

constants! {
    EVTCHNSTAT_closed: u32 = 0, "A port: free.";
    EVTCHNSTAT_unbound: u32 = 1, "A port: waits for its other end.";
    EVTCHNSTAT_interdomain: u32 = 2, "A port: connected.";
    EVTCHNSTAT_pirq: u32 = 3, "A port: a physical interrupt.";
    EVTCHNSTAT_virq: u32 = 4, "A port: a virtual interrupt.";
    EVTCHNSTAT_ipi: u32 = 5, "A port: between vCPUs.";
    EVTCHN_2L_NR_CHANNELS: u32 = 4096, "Ports of the 2-level ABI.";
    EVTCHN_FIFO_PRIORITY_MAX: u32 = 0, "The most urgent queue.";
    EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7, "A new port's queue.";
    EVTCHN_FIFO_PRIORITY_MIN: u32 = 15, "The least urgent queue.";
    EVTCHN_FIFO_MAX_QUEUES: u32 = 16, "Queues of a vCPU.";
    EVTCHN_FIFO_PENDING: u32 = 31, "Bit of an event word: an event waits.";
    EVTCHN_FIFO_MASKED: u32 = 30, "Bit of an event word: do not deliver.";
    EVTCHN_FIFO_LINKED: u32 = 29, "Bit of an event word: it is in a queue.";
    EVTCHN_FIFO_BUSY: u32 = 28, "Bit of an event word: Xen is about to link; the guest waits.";
    EVTCHN_FIFO_LINK_BITS: u32 = 17, "Bits of the link.";
    EVTCHN_FIFO_LINK_MASK: u32 = (1 << 17) - 1, "The next port of the queue, or 0.";
    EVTCHN_FIFO_NR_CHANNELS: u32 = 1 << 17, "Ports of the FIFO ABI.";
}

structures! {
    /// `EVTCHNOP_alloc_unbound`.
    "struct evtchn_alloc_unbound" AllocUnbound 8 {
        0 dom: u16, "In whom.";
        2 remote_dom: u16, "For whom.";
        4 port: u32, "Out: the port.";
    }
    /// `EVTCHNOP_bind_interdomain`.
    "struct evtchn_bind_interdomain" BindInterdomain 12 {
        0 remote_dom: u16, "To whom.";
        4 remote_port: u32, "To which of their ports.";
        8 local_port: u32, "Out: the port.";
    }
    /// `EVTCHNOP_bind_virq`.
    "struct evtchn_bind_virq" BindVirq 12 {
        0 virq: u32, "`VIRQ_*`.";
        4 vcpu: u32, "Notified; 0 unless each vCPU has its own.";
        8 port: u32, "Out: the port.";
    }
    /// `EVTCHNOP_bind_pirq`.
    "struct evtchn_bind_pirq" BindPirq 12 {
        0 pirq: u32, "Which.";
        4 flags: u32, "Bit 0: will share.";
        8 port: u32, "Out: the port.";
    }
    /// `EVTCHNOP_bind_ipi`.
    "struct evtchn_bind_ipi" BindIpi 8 {
        0 vcpu: u32, "Notified.";
        4 port: u32, "Out: the port.";
    }
    /// `EVTCHNOP_close`.
    "struct evtchn_close" Close 4 {
        0 port: u32, "Which.";
    }
    /// `EVTCHNOP_send`.
    "struct evtchn_send" Send 4 {
        0 port: u32, "Which.";
    }
    /// `EVTCHNOP_status`.
    "struct evtchn_status" Status 24 {
        0 dom: u16, "Whose port.";
        4 port: u32, "Which.";
        8 status: u32, "Out: `EVTCHNSTAT_*`.";
        12 vcpu: u32, "Out: whom it notifies.";
        16 dom_or_irq ("u.pirq"): u32, "Out: the other end's domain (16 bits), or the interrupt.";
        20 remote_port ("u.interdomain.port"): u32, "Out: the other end's port, where connected.";
    }
    /// `EVTCHNOP_bind_vcpu`.
    "struct evtchn_bind_vcpu" BindVcpu 8 {
        0 port: u32, "Which.";
        4 vcpu: u32, "Notified from now on.";
    }
    /// `EVTCHNOP_unmask`.
    "struct evtchn_unmask" Unmask 4 {
        0 port: u32, "Which.";
    }
    /// `EVTCHNOP_reset`.
    "struct evtchn_reset" Reset 2 {
        0 dom: u16, "Whose ports.";
    }
    /// `EVTCHNOP_init_control`.
    "struct evtchn_init_control" InitControl 24 {
        0 control_gfn: u64, "The frame with the control block.";
        8 offset: u32, "Where in it, in bytes.";
        12 vcpu: u32, "Whose.";
        16 link_bits: u8, "Out: bits of links.";
        17 _pad: [u8; 7], "Padding.";
    }
    /// `EVTCHNOP_expand_array`.
    "struct evtchn_expand_array" ExpandArray 8 {
        0 array_gfn: u64, "The frame with 1024 more event words.";
    }
    /// `EVTCHNOP_set_priority`.
    "struct evtchn_set_priority" SetPriority 8 {
        0 port: u32, "Which.";
        4 priority: u32, "Its queue, 0 to 15.";
    }
    /// Where the queues of a vCPU begin; shared.
    "struct evtchn_fifo_control_block" FifoControlBlock 72 {
        0 ready: u32, "Bit n: queue n was appended to.";
        4 _rsvd: u32, "Reserved.";
        8 head: [u32; 16], "Where each queue that was empty begins.";
    }
}
