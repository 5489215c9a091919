//! Registers of features that a guest is not shown to have: none of them exists, for what one guest leaves there another one would find.

use crate::machine::attempt;
use crate::{read_register, say, write_register};

macro_rules! registers {
    ($($name:literal = $register:literal,)*) => {
        [$(($name, || read_register!($register))),*]
    };
}

/// Runs the cases: DDI 0487, C5.2 and D17.2.
pub fn run() {
    let registers: [(&str, fn() -> u64); _] = registers! {
        "LORSA_EL1" = "s3_0_c10_c4_0",
        "LOREA_EL1" = "s3_0_c10_c4_1",
        "LORN_EL1" = "s3_0_c10_c4_2",
        "LORC_EL1" = "s3_0_c10_c4_3",
        "LORID_EL1" = "s3_0_c10_c4_7",
        "ERRIDR_EL1" = "s3_0_c5_c3_0",
        "ERRSELR_EL1" = "s3_0_c5_c3_1",
        "ERXSTATUS_EL1" = "s3_0_c5_c4_2",
        "TRFCR_EL1" = "s3_0_c1_c2_1",
        "PMSIDR_EL1" = "s3_0_c9_c9_7",
        "PMBLIMITR_EL1" = "s3_0_c9_c10_0",
        "TRBLIMITR_EL1" = "s3_0_c9_c11_0",
        "PMCR_EL0" = "s3_3_c9_c12_0",
        "AMCR_EL0" = "s3_3_c13_c2_0",
        "ZCR_EL1" = "s3_0_c1_c2_0",
        "SMCR_EL1" = "s3_0_c1_c2_6",
        "SCXTNUM_EL1" = "s3_0_c13_c0_7",
        "APIAKeyLo_EL1" = "s3_0_c2_c1_0",
        "GCR_EL1" = "s3_0_c1_c0_6",
        "MPAM0_EL1" = "s3_0_c10_c5_1",
    };
    // EL1 refuses itself none: FPEN, ZEN and SMEN.
    write_register!("cpacr_el1", 3 << 24 | 3 << 20 | 3 << 16);
    for (name, read) in registers {
        match attempt(read) {
            Ok(value) => say!("{name} = {value:#x}"),
            Err(taken) => say!("{name} = an exception, class {:#x}", taken.syndrome >> 26),
        }
    }
}
