//! memory.h: the memory of domains.

use crate::Handle;

numbers! {
    /// What `memory_op` can do, in bits 0 to 5 of its first argument; the bits above are the extent to start at.
    MemoryOp: u32 {
        XENMEM_increase_reservation IncreaseReservation = 0, "Gives a domain pages, mapped nowhere.";
        XENMEM_decrease_reservation DecreaseReservation = 1, "Takes pages away.";
        XENMEM_maximum_ram_page MaximumRamPage = 2, "The machine's last frame, plus one.";
        XENMEM_current_reservation CurrentReservation = 3, "A domain's pages.";
        XENMEM_maximum_reservation MaximumReservation = 4, "How many it may have.";
        XENMEM_machphys_mfn_list MachphysMfnList = 5, "x86's.";
        XENMEM_populate_physmap PopulatePhysmap = 6, "Gives a domain pages, mapped where it says.";
        XENMEM_add_to_physmap AddToPhysmap = 7, "Maps a page of some space.";
        XENMEM_memory_map MemoryMap = 9, "x86's.";
        XENMEM_machine_memory_map MachineMemoryMap = 10, "x86's.";
        XENMEM_exchange Exchange = 11, "Exchanges pages for others.";
        XENMEM_machphys_mapping MachphysMapping = 12, "x86's.";
        XENMEM_set_memory_map SetMemoryMap = 13, "x86's.";
        XENMEM_maximum_gpfn MaximumGpfn = 14, "A domain's highest frame.";
        XENMEM_remove_from_physmap RemoveFromPhysmap = 15, "Removes a mapping.";
        XENMEM_set_pod_target SetPodTarget = 16, "Populate-on-demand.";
        XENMEM_get_pod_target GetPodTarget = 17, "Populate-on-demand.";
        XENMEM_get_sharing_freed_pages GetSharingFreedPages = 18, "Pages saved by sharing.";
        XENMEM_get_sharing_shared_pages GetSharingSharedPages = 19, "Pages shared.";
        XENMEM_paging_op PagingOp = 20, "Paging of guests.";
        XENMEM_access_op AccessOp = 21, "Permissions of pages.";
        XENMEM_sharing_op SharingOp = 22, "Sharing of pages.";
        XENMEM_add_to_physmap_batch AddToPhysmapBatch = 23, "Maps pages of some space.";
        XENMEM_claim_pages ClaimPages = 24, "Reserves pages for a domain to be built.";
        XENMEM_machphys_compat_mfn_list MachphysCompatMfnList = 25, "x86's.";
        XENMEM_get_vnumainfo GetVnumainfo = 26, "The NUMA topology a guest sees.";
        XENMEM_reserved_device_memory_map ReservedDeviceMemoryMap = 27, "Memory that devices keep.";
        XENMEM_acquire_resource AcquireResource = 28, "Maps a resource of another domain.";
    }
}

constants! {
    XENMEMF_populate_on_demand: u32 = 1 << 16, "`mem_flags`: populate on demand.";
    XENMEMF_exact_node_request: u32 = 1 << 17, "`mem_flags`: from that node or not at all.";
    XENMEMF_vnode: u32 = 1 << 18, "`mem_flags`: the node is a virtual one.";
    XENMAPSPACE_shared_info: u32 = 0, "The page with `shared_info`.";
    XENMAPSPACE_grant_table: u32 = 1, "Frames of the grant table.";
    XENMAPSPACE_gmfn: u32 = 2, "The guest's own pages.";
    XENMAPSPACE_gmfn_range: u32 = 3, "A range of them.";
    XENMAPSPACE_gmfn_foreign: u32 = 4, "Pages of another domain.";
    XENMAPSPACE_dev_mmio: u32 = 5, "Pages of devices.";
    XENMAPIDX_grant_table_status: u64 = 0x8000_0000, "In an index of grant-table frames: of the status frames.";
    XENMEM_resource_ioreq_server: u16 = 0, "Pages of an I/O server.";
    XENMEM_resource_grant_table: u16 = 1, "Frames of the grant table.";
    XENMEM_resource_vmtrace_buf: u16 = 2, "A trace buffer.";
    XENMEM_resource_grant_table_id_shared: u32 = 0, "The table's entries.";
    XENMEM_resource_grant_table_id_status: u32 = 1, "The entries' states (version 2).";
    XENMEM_access_op_set_access: u8 = 0, "`access_op`: sets a range.";
    XENMEM_access_op_get_access: u8 = 1, "`access_op`: reads.";
    XENMEM_access_op_set_access_multi: u8 = 4, "`access_op`: sets a list.";
}

structures! {
    /// Extents of pages.
    "struct xen_memory_reservation" MemoryReservation 32 {
        0 extent_start: Handle, "An array of `nr_extents` frame numbers; of what is in it, the operation says.";
        8 nr_extents: u64, "How many.";
        16 extent_order: u32, "Each has 2 to this power of pages.";
        20 mem_flags: u32, "`XENMEMF_*`; address bits in 7:0, node + 1 in 15:8.";
        24 domid: u16, "Whose memory.";
    }
    /// An exchange of pages.
    "struct xen_memory_exchange" MemoryExchange 72 {
        0 given ("in"): MemoryReservation, "What is given.";
        32 out: MemoryReservation, "What is taken.";
        64 nr_exchanged: u64, "Out: how many extents were exchanged; in: 0.";
    }
    /// A question about a domain.
    "struct xen_memory_domain" MemoryDomain 2 {
        0 domid: u16, "Which.";
    }
    /// One page to map.
    "struct xen_add_to_physmap" AddToPhysmap 24 {
        0 domid: u16, "Whose map is changed.";
        2 size: u16, "Pages, of `XENMAPSPACE_gmfn_range`.";
        4 space: u32, "`XENMAPSPACE_*`.";
        8 idx: u64, "Which page of the space.";
        16 gpfn: u64, "Where it goes.";
    }
    /// Pages to map.
    "struct xen_add_to_physmap_batch" AddToPhysmapBatch 32 {
        0 domid: u16, "Whose map is changed.";
        2 space: u16, "`XENMAPSPACE_*`.";
        4 size: u16, "How many pages.";
        6 foreign_domid ("u.foreign_domid"): u16, "Whose pages, of `XENMAPSPACE_gmfn_foreign`; else 0.";
        8 idxs: Handle, "An array of u64: which pages of the space.";
        16 gpfns: Handle, "An array of u64: where they go.";
        24 errs: Handle, "Out: an array of i32: 0, or an error negated.";
    }
    /// A mapping to remove.
    "struct xen_remove_from_physmap" RemoveFromPhysmap 16 {
        0 domid: u16, "Whose map is changed.";
        8 gpfn: u64, "Where.";
    }
    /// Targets of populate-on-demand.
    "struct xen_pod_target" PodTarget 40 {
        0 target_pages: u64, "In: the target.";
        8 tot_pages: u64, "Out: pages of the domain.";
        16 pod_cache_pages: u64, "Out: pages in its cache.";
        24 pod_entries: u64, "Out: entries without pages.";
        32 domid: u16, "Which domain.";
    }
    /// Permissions of pages.
    "struct xen_mem_access_op" MemAccessOp 32 {
        0 op: u8, "`XENMEM_access_op_*`.";
        1 access: u8, "The permission.";
        2 domid: u16, "Which domain.";
        4 nr: u32, "How many pages.";
        8 pfn: u64, "The first; for `set_access_multi` the progress; ~0 is the default.";
        16 pfn_list: Handle, "An array of u64.";
        24 access_list: Handle, "An array of u8.";
    }
    /// Memory that devices keep.
    "struct xen_reserved_device_memory_map" ReservedDeviceMemoryMap 24 {
        0 flags: u32, "Bit 0: of all devices.";
        4 nr_entries: u32, "In: room for; out: there are.";
        8 buffer: Handle, "Out: pairs of u64, start and number.";
        16 pci ("~dev.pci"): u32, "Which device: segment, bus, function.";
    }
    /// A resource of another domain.
    "struct xen_mem_acquire_resource" MemAcquireResource 32 {
        0 domid: u16, "Whose.";
        2 r#type ("type"): u16, "`XENMEM_resource_*`.";
        4 id: u32, "Which of that type.";
        8 nr_frames: u32, "How many frames; out, where 0 was passed: how many there are.";
        12 pad: u32, "Zero.";
        16 frame: u64, "The first.";
        24 frame_list: Handle, "Frames of the caller that will be theirs.";
    }
    /// The NUMA topology a guest sees.
    "struct xen_vnuma_topology_info" VnumaTopologyInfo 40 {
        0 domid: u16, "Which domain.";
        2 pad: u16, "Padding.";
        4 nr_vnodes: u32, "Room for, then number of, nodes.";
        8 nr_vcpus: u32, "Room for, then number of, vCPUs.";
        12 nr_vmemranges: u32, "Room for, then number of, ranges.";
        16 vdistance: Handle, "Out: distances.";
        24 vcpu_to_vnode: Handle, "Out: the vCPUs' nodes.";
        32 vmemrange: Handle, "Out: ranges.";
    }
}
