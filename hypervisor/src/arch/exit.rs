//! Why a guest came back: the syndrome registers, decoded (DDI 0487, ESR_EL2).

/// Why a guest came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A physical interrupt waits to be acknowledged.
    Interrupt,
    /// An SError arrived.
    SystemError,
    /// HVC with this immediate. The program counter is behind it.
    Hvc(u16),
    /// SMC with this immediate. The program counter is at it.
    Smc(u16),
    /// WFI, or WFE where `event`.
    Wait {
        /// Whether it is WFE.
        event: bool,
        /// Under which condition it does something, if the syndrome says so.
        condition: Option<u8>,
    },
    /// An access to a trapped system register.
    SystemRegister(SystemRegister),
    /// A translation or permission that stage 2 refuses.
    Abort(Abort),
    /// Anything else: ESR_EL2.
    Other(u64),
}

/// An MRS or MSR that was trapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemRegister {
    /// Op0, Op1, CRn, CRm, Op2.
    pub name: (u8, u8, u8, u8, u8),
    /// The general register.
    pub register: u8,
    /// Whether it is MRS.
    pub read: bool,
    /// All of that as the syndrome has it.
    pub syndrome: u32,
}

impl SystemRegister {
    /// Decodes a syndrome (DDI 0487, ISS encoding for an exception from MSR, MRS, or System instruction execution).
    pub fn decode(syndrome: u32) -> SystemRegister {
        let field = |from: u32, mask: u32| (syndrome >> from & mask) as u8;
        SystemRegister {
            name: (field(20, 3), field(14, 7), field(10, 15), field(1, 15), field(17, 7)),
            register: field(5, 31),
            read: syndrome & 1 != 0,
            syndrome,
        }
    }
}

/// A stage 2 abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// Whether an instruction was fetched.
    pub fetch: bool,
    /// Whether something was written.
    pub write: bool,
    /// The instruction's operands, if the CPU tells them.
    pub access: Option<Access>,
    /// Guest physical address.
    pub address: u64,
    /// Guest virtual address.
    pub virtual_address: u64,
    /// Whether the abort came while the guest's own tables were walked.
    pub walk: bool,
    /// Fault status code.
    pub status: u8,
}

/// A load or store of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Bytes: 1, 2, 4, 8.
    pub size: u8,
    /// The general register, 31 for zero.
    pub register: u8,
    /// Whether a load extends the sign.
    pub signed: bool,
    /// Whether the register is 64 bits wide.
    pub wide: bool,
}

impl Access {
    /// Returns what a load of `value` leaves in the register.
    pub fn extend(&self, value: u64) -> u64 {
        let bits = u32::from(self.size) * 8;
        let unused = 64 - bits;
        let value = value << unused >> unused;
        match (self.signed, self.wide) {
            (false, _) => value,
            (true, true) => ((value << unused) as i64 >> unused) as u64,
            (true, false) => ((value << unused) as i64 >> unused) as u64 & 0xffff_ffff,
        }
    }

    /// Returns what a store of the register's `value` writes.
    pub fn truncate(&self, value: u64) -> u64 {
        let unused = 64 - u32::from(self.size) * 8;
        value << unused >> unused
    }
}

impl Exit {
    /// Decodes the syndrome of a synchronous exception from a lower level.
    pub fn decode(syndrome: u64, far: u64, hpfar: u64) -> Exit {
        let iss = syndrome & 0x1ff_ffff;
        match syndrome >> 26 & 0x3f {
            0x01 => {
                let condition = (iss >> 24 & 1 != 0).then_some((iss >> 20 & 15) as u8);
                Exit::Wait { event: iss & 1 != 0, condition }
            }
            0x16 => Exit::Hvc(iss as u16),
            0x17 => Exit::Smc(iss as u16),
            0x18 => Exit::SystemRegister(SystemRegister::decode(iss as u32)),
            class @ (0x20 | 0x24) => Exit::Abort(Abort {
                fetch: class == 0x20,
                write: class == 0x24 && iss >> 6 & 1 != 0,
                access: (class == 0x24 && iss >> 24 & 1 != 0).then_some(Access {
                    size: 1 << (iss >> 22 & 3),
                    register: (iss >> 16 & 31) as u8,
                    signed: iss >> 21 & 1 != 0,
                    wide: iss >> 15 & 1 != 0,
                }),
                address: hpfar >> 4 << 12 & 0xf_ffff_ffff_f000 | far & 0xfff,
                virtual_address: far,
                walk: iss >> 7 & 1 != 0,
                status: (iss & 0x3f) as u8,
            }),
            _ => Exit::Other(syndrome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_extend_and_stores_truncate() {
        let byte = Access { size: 1, register: 0, signed: true, wide: false };
        assert_eq!(byte.extend(0x1ff), 0xffff_ffff);
        assert_eq!(Access { wide: true, ..byte }.extend(0x80), 0xffff_ffff_ffff_ff80);
        assert_eq!(Access { signed: false, ..byte }.extend(0x1ff), 0xff);
        assert_eq!(byte.truncate(0x1234), 0x34);
        assert_eq!(Access { size: 8, ..byte }.truncate(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_store_to_a_device_is_decoded() {
        // str w3, [x1] at stage 2: ISV, SAS = 2, SRT = 3, WnR, translation fault at level 2.
        let esr = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 3 << 16 | 1 << 6 | 0b000110;
        let Exit::Abort(abort) = Exit::decode(esr, 0xffff_8000_0000_0104, 0x8_0000 << 4) else { panic!() };
        assert_eq!(abort.address, 0x8000_0104);
        assert!(abort.write && !abort.fetch && !abort.walk);
        assert_eq!(abort.access, Some(Access { size: 4, register: 3, signed: false, wide: false }));
    }

    #[test]
    fn who_waits_says_how_and_under_which_condition() {
        let decode = |iss: u64| Exit::decode(1 << 26 | iss, 0, 0);
        let condition = Some(14);
        assert_eq!(decode(0x1e0_0000), Exit::Wait { event: false, condition }, "A64 or A32");
        assert_eq!(decode(0x1e0_0001), Exit::Wait { event: true, condition });
        assert_eq!(decode(0x110_0000), Exit::Wait { event: false, condition: Some(1) }, "wfine");
        assert_eq!(decode(0), Exit::Wait { event: false, condition: None }, "T32");
    }

    #[test]
    fn a_trapped_register_is_named() {
        // mrs x5, id_aa64pfr0_el1 is S3_0_C0_C4_0.
        let iss = 3 << 20 | 5 << 5 | 4 << 1 | 1;
        let expected = SystemRegister { name: (3, 0, 0, 4, 0), register: 5, read: true, syndrome: iss };
        assert_eq!(Exit::decode(0x18 << 26 | u64::from(iss), 0, 0), Exit::SystemRegister(expected));
    }
}
