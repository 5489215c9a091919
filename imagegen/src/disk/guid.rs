//! GUIDs: as text, and in the mixed byte order of GPTs (UEFI Specification 2.10, appendix A).

use std::fmt;
use std::str::FromStr;

/// A GUID; its bytes are in the order of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Returns the bytes as they stand in a GPT: the first three fields with their lowest byte first.
    pub fn to_gpt(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }

    /// Reads the bytes of a GPT.
    pub fn from_gpt(bytes: [u8; 16]) -> Self {
        Guid(Guid(bytes).to_gpt())
    }
}

/// Text that is no GUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoGuid;

impl fmt::Display for NoGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GUID looks like 0fc63daf-8483-4772-8e79-3d69d8477de4")
    }
}

impl std::error::Error for NoGuid {}

impl FromStr for Guid {
    type Err = NoGuid;

    fn from_str(text: &str) -> Result<Self, NoGuid> {
        let mut bytes = [0; 16];
        let text = text.as_bytes();
        if text.len() != 36 {
            return Err(NoGuid);
        }
        let (mut at, mut index) = (0, 0);
        while at < text.len() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if text[at] != b'-' {
                    return Err(NoGuid);
                }
                at += 1;
                continue;
            }
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NoGuid);
            bytes[index] = ((digit(text[at])? << 4) | digit(text[at + 1])?) as u8;
            (at, index) = (at + 2, index + 1);
        }
        Ok(Guid(bytes))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_the_table_s_order() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        let guid: Guid = text.to_uppercase().parse().unwrap();
        assert_eq!(guid.to_string(), text);
        let table = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        assert_eq!(guid.to_gpt(), table);
        assert_eq!(Guid::from_gpt(table), guid);
        for bad in [
            "",
            "c12a7328f81f11d2ba4b00a0c93ec93b",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93",
            "g12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "c12a7328-f81f-11d2-ba4b00-a0c93ec93b",
        ] {
            assert_eq!(bad.parse::<Guid>(), Err(NoGuid), "{bad}");
        }
    }
}
