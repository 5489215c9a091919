//! The legacy uImage header, in which U-Boot expects its scripts (U-Boot: include/image.h).
//!
//! ```text
//!  0  magic 27 05 19 56   16  load address       28  system, machine, type, packing: a byte each
//!  4  header's CRC        20  entry point        32  name, 32 bytes
//!  8  time                24  content's CRC      64  content: a script's length, 0, and the script
//! 12  content's length
//! ```

const MAGIC: u32 = 0x2705_1956;
const HEADER_BYTES: usize = 64;
const NAME_BYTES: usize = 32;
/// IH_OS_LINUX, IH_ARCH_ARM64, IH_TYPE_SCRIPT, IH_COMP_NONE.
const KIND: [u8; 4] = [5, 22, 6, 0];
/// The largest script: more than anybody writes, and far below what the header's 32 bits can say.
pub const SCRIPT_MAX_BYTES: usize = 1 << 20;

/// Wraps a script as `mkimage -A arm64 -T script -C none -n NAME` does. A name beyond 32 bytes is cut; `time` is in seconds
/// since 1970. `None`: the script is longer than [`SCRIPT_MAX_BYTES`].
pub fn script(text: &[u8], name: &str, time: u32) -> Option<Vec<u8>> {
    if text.len() > SCRIPT_MAX_BYTES {
        return None;
    }
    let mut content = (text.len() as u32).to_be_bytes().to_vec();
    content.extend_from_slice(&[0; 4]);
    content.extend_from_slice(text);

    let mut header = Vec::with_capacity(HEADER_BYTES + content.len());
    for word in [MAGIC, 0, time, content.len() as u32, 0, 0, crc(&content)] {
        header.extend_from_slice(&word.to_be_bytes());
    }
    header.extend_from_slice(&KIND);
    header.extend(name.bytes().take(NAME_BYTES));
    header.resize(HEADER_BYTES, 0);
    // Counted with zeros in its own place.
    let own = crc(&header);
    header[4..8].copy_from_slice(&own.to_be_bytes());
    header.extend_from_slice(&content);
    Some(header)
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_what_follows() {
        let image = script(b"echo hello\n", "a name that is longer than thirty-two bytes", 0x6955_b900).unwrap();
        assert_eq!(image.len(), 64 + 8 + 11);
        assert_eq!(image[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(image[8..16], [0x69, 0x55, 0xb9, 0x00, 0, 0, 0, 19]);
        assert_eq!(image[28..32], [5, 22, 6, 0]);
        assert_eq!(&image[32..64], b"a name that is longer than thirt");
        assert_eq!(image[64..72], [0, 0, 0, 11, 0, 0, 0, 0]);
        let mut zeroed = image[..64].to_vec();
        zeroed[4..8].fill(0);
        assert_eq!(crc(&zeroed).to_be_bytes(), image[4..8]);
        assert!(script(&vec![b'#'; SCRIPT_MAX_BYTES + 1], "", 0).is_none());
    }
}
