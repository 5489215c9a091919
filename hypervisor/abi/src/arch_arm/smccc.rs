//! arch-arm/smccc.h: what Xen answers through the SMC calling convention.

constants! {
    XEN_SMCCC_MAJOR_REVISION: u32 = 0, "The revision of Xen's service, major.";
    XEN_SMCCC_MINOR_REVISION: u32 = 1, "The revision of Xen's service, minor.";
    SSSC_SMCCC_MAJOR_REVISION: u32 = 0, "The revision of the standard secure service, major.";
    SSSC_SMCCC_MINOR_REVISION: u32 = 1, "The revision of the standard secure service, minor.";
}

/// `XEN_SMCCC_UID`: who answers calls of owner 5, packed as the convention packs it: first byte lowest in w0.
pub const XEN_SMCCC_UID: [u32; 4] = uid(0xa718_12dc_c698_4369_9acf_79d1_8dde_e667);

/// `SSSC_SMCCC_UID`: who answers calls of owner 4, likewise.
pub const SSSC_SMCCC_UID: [u32; 4] = uid(0xf863_386f_4b39_4cbd_9220_ce16_41e5_9f6f);

/// Packs a UUID, as it is written, into w0 to w3.
const fn uid(uuid: u128) -> [u32; 4] {
    let b = uuid.to_be_bytes();
    [
        u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        u32::from_le_bytes([b[8], b[9], b[10], b[11]]),
        u32::from_le_bytes([b[12], b[13], b[14], b[15]]),
    ]
}

const _: () = assert!(XEN_SMCCC_UID[0] == 0xdc12_18a7 && XEN_SMCCC_UID[3] == 0x67e6_de8d);
