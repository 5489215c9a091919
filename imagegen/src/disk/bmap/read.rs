//! Reads block maps, and believes none that contradicts itself.

use std::fmt;
use std::ops::Range;

use roxmltree::{Document, Node, ParsingOptions};
use sha2::{Digest, Sha256};

/// The largest map that is read, in bytes: two million ranges.
pub const SIZE_MAX: usize = 256 << 20;
/// The largest block a map may count in, in bytes.
const BLOCK_BYTES_MAX: u64 = 1 << 20;

/// A block map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bmap {
    /// The length of the image, in bytes.
    pub image_bytes: u64,
    /// What of the image matters: ascending, not overlapping. What lies between need not be copied.
    pub mapped: Vec<Mapped>,
}

/// A range of an image that matters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// Where it is, in bytes; the last one may end within a block, with the image.
    pub range: Range<u64>,
    /// The SHA-256 of its content.
    pub sha256: Option<[u8; 32]>,
}

/// Why a text is not a block map that can be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BmapError(String);

impl fmt::Display for BmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BmapError {}

type Result<T> = std::result::Result<T, BmapError>;

fn wrong<T>(message: impl Into<String>) -> Result<T> {
    Err(BmapError(message.into()))
}

/// Says by its first bytes whether a file is a block map rather than an image.
pub fn is_bmap(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&head[..head.len().min(8 << 10)]);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<bmap") || (text.starts_with("<?xml") && text.contains("<bmap"))
}

/// Reads a block map, and checks its own checksum and that its numbers agree with each other.
///
/// # Errors
/// It is no block map, one of a version or with checksums unknown here, or one that contradicts itself.
pub fn read(text: &[u8]) -> Result<Bmap> {
    if text.len() > SIZE_MAX {
        return wrong("the block map is too large");
    }
    let text = std::str::from_utf8(text).map_err(|_| BmapError("the block map is not UTF-8".into()))?;
    let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| BmapError(format!("the block map is not well-formed XML: {error}")))?;
    let root = document.root_element();
    if !root.has_tag_name("bmap") {
        return wrong(format!("not a block map: its root is <{}>, not <bmap>", root.tag_name().name()));
    }
    let version = root.attribute("version").unwrap_or_default();
    if !matches!(version, "1.4" | "2.0") {
        return wrong(format!(
            "a block map of version {version:?}: 1.4 and 2.0 are known; make it again with bmaptool"
        ));
    }
    let kind = text_of(root, "ChecksumType")?;
    if kind != "sha256" {
        return wrong(format!("checksums of type {kind:?}: only sha256 is known"));
    }
    check_own_sum(root, text)?;
    let image_bytes = number(root, "ImageSize")?;
    let block_bytes = number(root, "BlockSize")?;
    if !block_bytes.is_power_of_two() || !(512..=BLOCK_BYTES_MAX).contains(&block_bytes) {
        return wrong(format!("<BlockSize> {block_bytes} is no power of two from 512 to {BLOCK_BYTES_MAX}"));
    }
    let blocks = number(root, "BlocksCount")?;
    if blocks != image_bytes.div_ceil(block_bytes) {
        return wrong(format!("<BlocksCount> {blocks} does not fit an image of {image_bytes} bytes"));
    }
    let mut map = Bmap { image_bytes, mapped: Vec::new() };
    let mut counted = 0;
    for node in child(root, "BlockMap")?.children().filter(Node::is_element) {
        let (first, last) = range(node)?;
        let previous = map.mapped.last().map_or(0, |mapped| mapped.range.end.div_ceil(block_bytes));
        if first < previous || first > last || last >= blocks {
            return wrong(format!("range {first}-{last} of {blocks} blocks: out of order, or past the end"));
        }
        counted += last - first + 1;
        let range = first * block_bytes..((last + 1) * block_bytes).min(image_bytes);
        map.mapped.push(Mapped { range, sha256: node.attribute("chksum").map(digest).transpose()? });
    }
    let promised = number(root, "MappedBlocksCount")?;
    if counted != promised {
        return wrong(format!("<MappedBlocksCount> is {promised}, but the ranges hold {counted} blocks"));
    }
    Ok(map)
}

/// Compares the checksum that the map gives of itself: over the whole text, with zeros in the checksum's place.
fn check_own_sum(root: Node<'_, '_>, text: &str) -> Result<()> {
    let node = child(root, "BmapFileChecksum")?;
    let wanted = digest(text_of(root, "BmapFileChecksum")?)?;
    let inner = node.first_child().map(|child| child.range()).unwrap_or_default();
    let start = inner.start + text[inner.clone()].find(|c: char| !c.is_whitespace()).unwrap_or(0);
    let mut hasher = Sha256::new();
    hasher.update(&text.as_bytes()[..start]);
    hasher.update([b'0'; 64]);
    hasher.update(text.as_bytes().get(start + 64..).unwrap_or_default());
    if hasher.finalize()[..] != wanted {
        return wrong("the block map does not match its own checksum: it was changed or damaged");
    }
    Ok(())
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Result<Node<'a, 'input>> {
    let mut found = node.children().filter(|child| child.has_tag_name(name));
    match (found.next(), found.next()) {
        (Some(child), None) => Ok(child),
        (None, _) => wrong(format!("<{name}> is missing")),
        _ => wrong(format!("<{name}> stands there twice")),
    }
}

fn text_of<'a>(node: Node<'a, '_>, name: &str) -> Result<&'a str> {
    Ok(child(node, name)?.text().unwrap_or_default().trim())
}

fn number(node: Node<'_, '_>, name: &str) -> Result<u64> {
    let text = text_of(node, name)?;
    // Above this, arithmetic on ranges could overflow, and no device is that large.
    match text.parse::<u64>() {
        Ok(number) if number < 1 << 60 => Ok(number),
        _ => wrong(format!("<{name}> is {text:?}, not a number that could be meant")),
    }
}

fn range(node: Node<'_, '_>) -> Result<(u64, u64)> {
    let text = node.text().unwrap_or_default().trim();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (node.has_tag_name("Range"), first.trim().parse(), last.trim().parse()) {
        (true, Ok(first), Ok(last)) => Ok((first, last)),
        _ => wrong(format!("<{}> {text:?} is no range of blocks", node.tag_name().name())),
    }
}

fn digest(text: &str) -> Result<[u8; 32]> {
    let mut digest = [0; 32];
    let text = text.trim().as_bytes();
    let mut pairs = text.chunks_exact(2);
    let good = text.len() == 64
        && digest.iter_mut().zip(&mut pairs).all(|(byte, pair)| {
            let value = |digit: u8| (digit as char).to_digit(16);
            match (value(pair[0]), value(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = (high << 4 | low) as u8;
                    true
                }
                _ => false,
            }
        });
    if good { Ok(digest) } else { wrong("a checksum is not 64 hexadecimal digits") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What bmaptool 3.6 wrote for an image of 64 MiB, its long comment left out and its own checksum made anew.
    fn sample() -> String {
        sealed(
            r#"<?xml version="1.0" ?>
<!-- a comment -->
<bmap version="2.0">
    <ImageSize> 67108352 </ImageSize>
    <BlockSize> 4096 </BlockSize>
    <BlocksCount> 16384 </BlocksCount>
    <MappedBlocksCount> 259   </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> SUM </BmapFileChecksum>
    <BlockMap>
        <Range chksum="1d00e1fb4f632c9c154ef643aca2131c5a178f7198ed2eda7be9f5e57ffb96f5"> 0-1 </Range>
        <Range> 256-511 </Range>
        <Range chksum="436e3c33dace997d88751c2fb92026ad5b74a7b099c94095e022b8771d61bbcf"> 16383 </Range>
    </BlockMap>
</bmap>
"#,
        )
    }

    /// Puts the right checksum in the place of `SUM`.
    fn sealed(text: &str) -> String {
        let zeroed = text.replace("SUM", &"0".repeat(64));
        let sum: String = Sha256::digest(&zeroed).iter().map(|byte| format!("{byte:02x}")).collect();
        text.replace("SUM", &sum)
    }

    #[test]
    fn ranges_and_sums_are_read() {
        let map = read(sample().as_bytes()).unwrap();
        assert_eq!(map.image_bytes, 67_108_352);
        let ranges: Vec<_> = map.mapped.iter().map(|mapped| mapped.range.clone()).collect();
        assert_eq!(ranges, [0..8192, 1 << 20..2 << 20, 16383 * 4096..67_108_352]);
        assert_eq!(map.mapped[0].sha256.unwrap()[..3], [0x1d, 0x00, 0xe1]);
        assert_eq!(map.mapped[1].sha256, None);
    }

    #[test]
    fn what_contradicts_itself_is_not_believed() {
        let unsealed = sample();
        let sum = unsealed.split("<BmapFileChecksum> ").nth(1).unwrap()[..64].to_owned();
        let unsealed = unsealed.replace(&sum, "SUM");
        let cases = [
            ("16383 </Range>", "16384 </Range>", "past the end"),
            ("256-511", "1-511", "out of order"),
            ("256-511", "511-256", "out of order"),
            ("256-511", "256-510", "hold 258 blocks"),
            ("256-511", "256-x", "no range"),
            ("> 4096 <", "> 4095 <", "power of two"),
            ("> 4096 <", "> 8192 <", "does not fit"),
            ("67108352", "18446744073709551615", "not a number"),
            ("sha256", "sha1", "only sha256"),
            ("\"2.0\"", "\"1.2\"", "1.4 and 2.0 are known"),
            ("1d00e1", "1d00", "64 hexadecimal"),
            ("<BlockMap>", "<BlockMap/><BlockMap>", "twice"),
            ("<ImageSize> 67108352 </ImageSize>", "", "missing"),
            ("</bmap>", "", "well-formed"),
            ("<?xml version=\"1.0\" ?>", "<!DOCTYPE a [<!ENTITY b \"c\">]>", "well-formed"),
        ];
        for (from, to, reason) in cases {
            assert!(unsealed.contains(from), "{from}");
            let error = read(sealed(&unsealed.replacen(from, to, 1)).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{from} -> {to}: {error}");
        }
        let changed = sample().replace("256-511", "257-512");
        assert!(read(changed.as_bytes()).unwrap_err().to_string().contains("its own checksum"));
    }

    #[test]
    fn a_map_is_told_from_an_image() {
        assert!(is_bmap(sample().as_bytes()));
        assert!(!is_bmap(b"<?xml version=\"1.0\"?><svg/>"));
        assert!(!is_bmap(&[0; 512]));
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..900, byte: u8) {
            let mut text = sample().into_bytes();
            if let Some(place) = text.get_mut(at) {
                *place = byte;
            }
            let _ = read(&text);
        }
    }
}
