//! hvm/hvm_op.h: reading and writing the parameters of a domain.

numbers! {
    /// What `hvm_op` can do on Arm.
    HvmOp: u32 {
        HVMOP_set_param SetParam = 0, "Writes a parameter.";
        HVMOP_get_param GetParam = 1, "Reads one.";
        HVMOP_guest_request_vm_event GuestRequestVmEvent = 24, "Calls a monitor.";
    }
}

structures! {
    /// A parameter.
    "struct xen_hvm_param" HvmParam 16 {
        0 domid: u16, "Whose.";
        2 pad: u16, "Padding.";
        4 index: u32, "`HVM_PARAM_*`.";
        8 value: u64, "In or out.";
    }
}
