//! version.h: who is there.

numbers! {
    /// What `xen_version` can tell.
    VersionOp: u32 {
        XENVER_version Version = 0, "Major in 31:16, minor in 15:0.";
        XENVER_extraversion Extraversion = 1, "What follows these: 16 bytes.";
        XENVER_compile_info CompileInfo = 2, "Who built it.";
        XENVER_capabilities Capabilities = 3, "What guests it runs: 1024 bytes.";
        XENVER_changeset Changeset = 4, "Its revision: 64 bytes.";
        XENVER_platform_parameters PlatformParameters = 5, "Where it is.";
        XENVER_get_features GetFeatures = 6, "Bits of `XENFEAT_*`.";
        XENVER_pagesize Pagesize = 7, "Bytes of a page.";
        XENVER_guest_handle GuestHandle = 8, "The caller's UUID: 16 bytes.";
        XENVER_commandline Commandline = 9, "Its command line: 1024 bytes.";
        XENVER_build_id BuildId = 10, "The linker's identifier.";
    }
}

/// Bytes of `xen_extraversion_t`.
pub const XEN_EXTRAVERSION_LEN: usize = 16;
/// Bytes of `xen_capabilities_info_t`.
pub const XEN_CAPABILITIES_INFO_LEN: usize = 1024;
/// Bytes of `xen_changeset_info_t`.
pub const XEN_CHANGESET_INFO_LEN: usize = 64;
/// Bytes of `xen_commandline_t`.
pub const XEN_COMMANDLINE_LEN: usize = 1024;

structures! {
    /// Who built it; strings that end in 0.
    "struct xen_compile_info" CompileInfo 144 {
        0 compiler: [u8; 64], "The compiler.";
        64 compile_by: [u8; 16], "The user.";
        80 compile_domain: [u8; 32], "The host.";
        112 compile_date: [u8; 32], "The date.";
    }
    /// Where the hypervisor is.
    "struct xen_platform_parameters" PlatformParameters 8 {
        0 virt_start: u64, "The first address of its own.";
    }
    /// `XENVER_get_features`.
    "struct xen_feature_info" FeatureInfo 8 {
        0 submap_idx: u32, "In: which 32 of them.";
        4 submap: u32, "Out: the bits.";
    }
    /// `XENVER_build_id`, and the texts of 4.20 ([`crate::release::VersionText`]): the beginning of a structure that ends in as many bytes.
    "struct xen_build_id" BuildId 4 {
        0 len: u32, "Bytes that follow.";
    }
}
