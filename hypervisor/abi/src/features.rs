//! features.h: bits of what `XENVER_get_features` returns.

constants! {
    XENFEAT_writable_page_tables: u32 = 0, "Guests write page tables themselves.";
    XENFEAT_writable_descriptor_tables: u32 = 1, "x86's.";
    XENFEAT_auto_translated_physmap: u32 = 2, "Guests have frame numbers of their own.";
    XENFEAT_supervisor_mode_kernel: u32 = 3, "x86's.";
    XENFEAT_pae_pgdir_above_4gb: u32 = 4, "x86's.";
    XENFEAT_mmu_pt_update_preserve_ad: u32 = 5, "x86's.";
    XENFEAT_highmem_assist: u32 = 6, "x86's.";
    XENFEAT_gnttab_map_avail_bits: u32 = 7, "x86's.";
    XENFEAT_hvm_callback_vector: u32 = 8, "x86's.";
    XENFEAT_hvm_safe_pvclock: u32 = 9, "x86's.";
    XENFEAT_hvm_pirqs: u32 = 10, "x86's.";
    XENFEAT_dom0: u32 = 11, "The caller is Dom0.";
    XENFEAT_memory_op_vnode_supported: u32 = 13, "Virtual NUMA nodes may be named.";
    XENFEAT_ARM_SMCCC_supported: u32 = 14, "The SMC calling convention is followed.";
    XENFEAT_linux_rsdp_unrestricted: u32 = 15, "x86's.";
    XENFEAT_not_direct_mapped: u32 = 16, "The caller's frame numbers are its own.";
    XENFEAT_direct_mapped: u32 = 17, "The caller's frame numbers are the machine's.";
    XENFEAT_NR_SUBMAPS: u32 = 1, "How many words of bits there are.";
}
