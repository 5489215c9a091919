//! grant_table.h: pages lent between domains.

use crate::Handle;

numbers! {
    /// What `grant_table_op` can do.
    GrantTableOp: u32 {
        GNTTABOP_map_grant_ref MapGrantRef = 0, "Maps pages of others.";
        GNTTABOP_unmap_grant_ref UnmapGrantRef = 1, "Unmaps them.";
        GNTTABOP_setup_table SetupTable = 2, "Grows a table and says where it is.";
        GNTTABOP_dump_table DumpTable = 3, "Writes a table to the log.";
        GNTTABOP_transfer Transfer = 4, "Gives pages away.";
        GNTTABOP_copy Copy = 5, "Copies between pages.";
        GNTTABOP_query_size QuerySize = 6, "Asks how large a table is.";
        GNTTABOP_unmap_and_replace UnmapAndReplace = 7, "Unmaps and maps another page there.";
        GNTTABOP_set_version SetVersion = 8, "Chooses the caller's version.";
        GNTTABOP_get_status_frames GetStatusFrames = 9, "Says where the state words are (version 2).";
        GNTTABOP_get_version GetVersion = 10, "Asks a domain's version.";
        GNTTABOP_swap_grant_ref SwapGrantRef = 11, "Exchanges two of the caller's entries.";
        GNTTABOP_cache_flush CacheFlush = 12, "Maintains caches over a granted page.";
    }
}

numbers! {
    /// How one element of a grant operation ended.
    GrantStatus: i16 {
        GNTST_okay Okay = 0, "Well.";
        GNTST_general_error GeneralError = -1, "Otherwise than the others.";
        GNTST_bad_domain BadDomain = -2, "No such domain.";
        GNTST_bad_gntref BadGntref = -3, "No such grant, or not for the caller.";
        GNTST_bad_handle BadHandle = -4, "No such mapping.";
        GNTST_bad_virt_addr BadVirtAddr = -5, "Not where it is mapped.";
        GNTST_bad_dev_addr BadDevAddr = -6, "Not a device's address.";
        GNTST_no_device_space NoDeviceSpace = -7, "No room in the IOMMU.";
        GNTST_permission_denied PermissionDenied = -8, "Not allowed.";
        GNTST_bad_page BadPage = -9, "Not a page that can be lent.";
        GNTST_bad_copy_arg BadCopyArg = -10, "A copy that leaves its page.";
        GNTST_address_too_big AddressTooBig = -11, "Beyond what can be addressed.";
        GNTST_eagain Eagain = -12, "In use; again later.";
        GNTST_no_space NoSpace = -13, "No handle is left.";
    }
}

constants! {
    GNTTAB_NR_RESERVED_ENTRIES: u32 = 8, "Entries that belong to the toolstack.";
    GNTTAB_RESERVED_CONSOLE: u32 = 0, "The entry of the console's ring.";
    GNTTAB_RESERVED_XENSTORE: u32 = 1, "The entry of xenstore's ring.";
    GTF_invalid: u16 = 0, "Type: no grant.";
    GTF_permit_access: u16 = 1, "Type: `domid` may use `frame`.";
    GTF_accept_transfer: u16 = 2, "Type: `domid` may give a page.";
    GTF_transitive: u16 = 3, "Type: `domid` may use another's grant (version 2).";
    GTF_type_mask: u16 = 3, "The type.";
    GTF_readonly: u16 = 1 << 2, "Not to be written.";
    GTF_reading: u16 = 1 << 3, "Set by Xen: in use.";
    GTF_writing: u16 = 1 << 4, "Set by Xen: in use for writing.";
    GTF_PWT: u16 = 1 << 5, "x86's cache attribute.";
    GTF_PCD: u16 = 1 << 6, "x86's cache attribute.";
    GTF_PAT: u16 = 1 << 7, "x86's cache attribute.";
    GTF_sub_page: u16 = 1 << 8, "Of a part of the page (version 2).";
    GTF_transfer_committed: u16 = 1 << 2, "Set by Xen: a page is on its way.";
    GTF_transfer_completed: u16 = 1 << 3, "Set by Xen: a page has arrived.";
    GNTMAP_device_map: u32 = 1 << 0, "Maps for devices.";
    GNTMAP_host_map: u32 = 1 << 1, "Maps for the CPU.";
    GNTMAP_readonly: u32 = 1 << 2, "Not to be written.";
    GNTMAP_application_map: u32 = 1 << 3, "x86's.";
    GNTMAP_contains_pte: u32 = 1 << 4, "x86's.";
    GNTCOPY_source_gref: u16 = 1 << 0, "The source is a grant.";
    GNTCOPY_dest_gref: u16 = 1 << 1, "The destination is a grant.";
    GNTTAB_CACHE_CLEAN: u32 = 1 << 0, "Cleans.";
    GNTTAB_CACHE_INVAL: u32 = 1 << 1, "Invalidates.";
    GNTTAB_CACHE_SOURCE_GREF: u32 = 1 << 31, "The page is a grant.";
}

structures! {
    /// An entry of version 1; shared.
    "struct grant_entry_v1" EntryV1 8 {
        0 flags: u16, "`GTF_*`.";
        2 domid: u16, "To whom.";
        4 frame: u32, "Which frame of the granter.";
    }
    /// An entry of version 2 for a page or a part of one; shared.
    "union grant_entry_v2" EntryV2 16 {
        0 flags ("hdr.flags"): u16, "`GTF_*`, without those that Xen sets: they stand in the state words.";
        2 domid ("hdr.domid"): u16, "To whom.";
        4 page_off ("sub_page.page_off"): u16, "First byte of the part; of a transitive grant the other granter.";
        6 length ("sub_page.length"): u16, "Bytes of the part.";
        8 frame ("full_page.frame"): u64, "Which frame; of a transitive grant the other's reference (32 bits).";
    }
    /// `GNTTABOP_map_grant_ref`.
    "struct gnttab_map_grant_ref" MapGrantRef 32 {
        0 host_addr: u64, "The guest's physical address where it goes.";
        8 flags: u32, "`GNTMAP_*`.";
        12 r#ref ("ref"): u32, "Which grant.";
        16 dom: u16, "Whose.";
        18 status: i16, "Out: `GNTST_*`.";
        20 handle: u32, "Out: by which it is unmapped.";
        24 dev_bus_addr: u64, "Out: its machine address.";
    }
    /// `GNTTABOP_unmap_grant_ref`.
    "struct gnttab_unmap_grant_ref" UnmapGrantRef 24 {
        0 host_addr: u64, "Where it is; 0: leave.";
        8 dev_bus_addr: u64, "Where devices see it; 0: leave.";
        16 handle: u32, "Which mapping.";
        20 status: i16, "Out: `GNTST_*`.";
    }
    /// `GNTTABOP_setup_table`.
    "struct gnttab_setup_table" SetupTable 24 {
        0 dom: u16, "Whose table.";
        4 nr_frames: u32, "Frames it shall have.";
        8 status: i16, "Out: `GNTST_*`.";
        16 frame_list: Handle, "Out: an array of u64: where they are mapped.";
    }
    /// `GNTTABOP_dump_table`.
    "struct gnttab_dump_table" DumpTable 4 {
        0 dom: u16, "Whose table.";
        2 status: i16, "Out: `GNTST_*`.";
    }
    /// `GNTTABOP_transfer`.
    "struct gnttab_transfer" Transfer 24 {
        0 mfn: u64, "The page.";
        8 domid: u16, "To whom.";
        12 r#ref ("ref"): u32, "Their entry.";
        16 status: i16, "Out: `GNTST_*`.";
    }
    /// One side of a copy.
    "struct gnttab_copy_ptr" CopyPtr 16 {
        0 ref_or_gmfn ("u.gmfn"): u64, "A grant (32 bits), or a frame of the caller.";
        8 domid: u16, "Whose.";
        10 offset: u16, "First byte in the page.";
    }
    /// `GNTTABOP_copy`.
    "struct gnttab_copy" Copy 40 {
        0 source: CopyPtr, "From.";
        16 dest: CopyPtr, "To.";
        32 len: u16, "Bytes.";
        34 flags: u16, "`GNTCOPY_*`.";
        36 status: i16, "Out: `GNTST_*`.";
    }
    /// `GNTTABOP_query_size`.
    "struct gnttab_query_size" QuerySize 16 {
        0 dom: u16, "Whose table.";
        4 nr_frames: u32, "Out: frames it has.";
        8 max_nr_frames: u32, "Out: frames it may have.";
        12 status: i16, "Out: `GNTST_*`.";
    }
    /// `GNTTABOP_unmap_and_replace`.
    "struct gnttab_unmap_and_replace" UnmapAndReplace 24 {
        0 host_addr: u64, "Where it is.";
        8 new_addr: u64, "What takes its place.";
        16 handle: u32, "Which mapping.";
        20 status: i16, "Out: `GNTST_*`.";
    }
    /// `GNTTABOP_set_version`.
    "struct gnttab_set_version" SetVersion 4 {
        0 version: u32, "In: wanted; out: in force.";
    }
    /// `GNTTABOP_get_status_frames`.
    "struct gnttab_get_status_frames" GetStatusFrames 16 {
        0 nr_frames: u32, "How many.";
        4 dom: u16, "Whose.";
        6 status: i16, "Out: `GNTST_*`.";
        8 frame_list: Handle, "Out: an array of u64: where they are mapped.";
    }
    /// `GNTTABOP_get_version`.
    "struct gnttab_get_version" GetVersion 8 {
        0 dom: u16, "Whose table.";
        2 pad: u16, "Padding.";
        4 version: u32, "Out: its version.";
    }
    /// `GNTTABOP_swap_grant_ref`.
    "struct gnttab_swap_grant_ref" SwapGrantRef 12 {
        0 ref_a: u32, "One.";
        4 ref_b: u32, "The other.";
        8 status: i16, "Out: `GNTST_*`.";
    }
    /// `GNTTABOP_cache_flush`.
    "struct gnttab_cache_flush" CacheFlush 16 {
        0 address_or_ref ("a.dev_bus_addr"): u64, "A machine address, or a grant (32 bits).";
        8 offset: u16, "First byte in the page.";
        10 length: u16, "Bytes.";
        12 op: u32, "`GNTTAB_CACHE_*`.";
    }
}
