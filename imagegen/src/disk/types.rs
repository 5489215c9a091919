//! What partitions are for, by name: the Discoverable Partitions Specification's types and a few older ones.

use super::guid::{Guid, NoGuid};

/// What a partition is for, as either kind of table says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PartitionType {
    /// In a GPT.
    pub guid: Option<Guid>,
    /// In an MBR.
    pub code: Option<u8>,
}

/// A type that has a name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// In a GPT.
    pub guid: &'static str,
    /// In an MBR, where it has a code of its own or shares that of Linux.
    pub code: u8,
    /// What it is for.
    pub what: &'static str,
}

const fn named(name: &'static str, guid: &'static str, code: u8, what: &'static str) -> Named {
    Named { name, guid, code, what }
}

const BASIC_DATA: &str = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7";

/// All names there are.
pub const NAMED: &[Named] = &[
    named("esp", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 0xef, "EFI system partition"),
    named("xbootldr", "bc13c2ff-59e6-4262-a352-b275fd6f7172", 0xea, "Linux extended boot"),
    named("fat", BASIC_DATA, 0x0c, "FAT, what a board's firmware reads; in an MBR as FAT32"),
    named("fat16", BASIC_DATA, 0x0e, "the same; in an MBR as FAT16"),
    named("fat12", BASIC_DATA, 0x01, "the same; in an MBR as FAT12"),
    named("linux", "0fc63daf-8483-4772-8e79-3d69d8477de4", 0x83, "Linux file system"),
    named("swap", "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", 0x82, "Linux swap"),
    named("lvm", "e6d6d379-f507-44c2-a23c-238f2a3df928", 0x8e, "Linux LVM"),
    named("raid", "a19d880f-05fc-4d3b-a006-743f0f84911e", 0xfd, "Linux RAID"),
    named("root-arm64", "b921b045-1df0-41c3-af44-4c6f280d3fae", 0x83, "root file system for arm64"),
    named("root-arm64-verity", "df3300ce-d69f-4c92-978c-9bfb0f38d820", 0x83, "dm-verity hashes of it"),
    named("root-arm", "69dad710-2ce4-4e3c-b16c-21a1d49abed3", 0x83, "root file system for 32-bit Arm"),
    named("root-x86-64", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", 0x83, "root file system for x86-64"),
    named("root-riscv64", "72ec70a6-cf74-40e6-bd49-4bda08e8f224", 0x83, "root file system for 64-bit RISC-V"),
    named("usr-arm64", "b0e01050-ee5f-4390-949a-9101b17104e9", 0x83, "/usr for arm64"),
    named("usr-arm", "7d0359a3-02b3-4f0a-865c-654403e70625", 0x83, "/usr for 32-bit Arm"),
    named("usr-x86-64", "8484680c-9521-48c6-9c11-b0720656f69e", 0x83, "/usr for x86-64"),
    named("home", "933ac7e1-2eb4-4f13-b844-0e14e2aef915", 0x83, "/home"),
    named("srv", "3b8f8425-20e0-4f3b-907f-1a25a76f98e8", 0x83, "/srv"),
    named("var", "4d21b016-b534-45c2-a9fb-5c16e091fd2d", 0x83, "/var"),
    named("tmp", "7ec6f557-3bc5-4aca-b293-16ef5df639d1", 0x83, "/var/tmp"),
    named("linux-reserved", "8da63339-0007-60c0-c436-083ac8230908", 0x83, "Linux reserved"),
    named("bios-boot", "21686148-6449-6e6f-744e-656564454649", 0xda, "GRUB's core image on BIOS machines"),
    named("u-boot-env", "3de21764-95bd-54bd-a5c3-4abe786f38a8", 0xda, "U-Boot's environment"),
];

impl PartitionType {
    /// Reads a name, a GUID, or an MBR's code in two hex digits: `esp`, `0c`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str) -> Result<Self, NoGuid> {
        if let Some(named) = NAMED.iter().find(|named| named.name == text) {
            return Ok(named.kind());
        }
        let text = text.strip_prefix("0x").unwrap_or(text);
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u8::from_str_radix(text, 16) {
            Ok(code) if digits && code != 0 => Ok(PartitionType { guid: None, code: Some(code) }),
            _ => text.parse().map(|guid| PartitionType { guid: Some(guid), code: None }),
        }
    }
}

impl PartitionType {
    /// Returns what it is for, where it has a name: of several that share a code, the first.
    pub fn purpose(&self) -> Option<&'static str> {
        // Codes that others use and nothing here makes.
        let other = |code| match code {
            0x04 | 0x06 | 0x0b => Some("FAT"),
            0x07 => Some("NTFS or exFAT"),
            _ => None,
        };
        let named = match (self.guid, self.code) {
            (Some(guid), _) => NAMED.iter().find(|named| named.guid.parse() == Ok(guid)),
            (None, Some(code)) => {
                return NAMED.iter().find(|named| named.code == code).map(|named| named.what).or_else(|| other(code));
            }
            (None, None) => None,
        };
        named.map(|named| named.what)
    }
}

impl Named {
    /// Returns it as both tables have it.
    pub fn kind(&self) -> PartitionType {
        PartitionType { guid: self.guid.parse().ok(), code: Some(self.code) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_codes_and_guids() {
        let esp = PartitionType::parse("esp").unwrap();
        assert_eq!(
            (esp.guid.unwrap().to_string().as_str(), esp.code),
            ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Some(0xef))
        );
        assert_eq!(PartitionType::parse("0c").unwrap(), PartitionType { guid: None, code: Some(0x0c) });
        assert_eq!(PartitionType::parse("0xEF").unwrap().code, Some(0xef));
        assert_eq!(PartitionType::parse("C12A7328-F81F-11D2-BA4B-00A0C93EC93B").unwrap().guid, esp.guid);
        for bad in ["", "00", "c", "+c", "root", "0c0c"] {
            assert!(PartitionType::parse(bad).is_err(), "{bad}");
        }
        assert!(NAMED.iter().all(|named| named.kind().guid.is_some()));
    }
}
