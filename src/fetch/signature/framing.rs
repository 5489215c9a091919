//! The cleartext signature framework (RFC 9580, section 7): takes a message apart into text and signatures.
//!
//! Strict where others are lenient: nothing may stand before, between or after the two parts, so that what is read as
//! text is exactly what is verified as text.

use pgp::armor::{BlockType, Dearmor};
use pgp::packet::{Packet, PacketParser, Signature};
use std::io::Read;

use super::Refusal;

const BEGIN_MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

/// More armour than this is no signature.
const LARGEST_ARMOR_BYTES: usize = 256 << 10;
/// Archives sign with two or three keys; each costs a public-key operation.
const MOST_SIGNATURES: usize = 16;

/// A message in its parts.
pub struct Framed {
    /// The text with `\n` between its lines, unescaped.
    pub text: String,
    /// The same as it is hashed: `\r\n` between its lines, none after the last (section 7.2).
    pub canonical: String,
    /// Who vouches for it.
    pub signatures: Vec<Signature>,
}

/// Takes a message apart.
pub fn parse(message: &[u8]) -> Result<Framed, Refusal> {
    if !message.starts_with(BEGIN_MESSAGE.as_bytes()) {
        return Err(Refusal::NotSigned);
    }
    let message = std::str::from_utf8(message).map_err(|_| malformed("it is not UTF-8"))?;
    let mut lines = message.split('\n').map(|line| line.trim_end_matches([' ', '\t', '\r']));
    if lines.next() != Some(BEGIN_MESSAGE) {
        return Err(Refusal::NotSigned);
    }
    for line in lines.by_ref() {
        match line {
            "" => break,
            // The header is a hint for one-pass readers; the signature packet says which hash it is.
            line if line.starts_with("Hash: ") => {}
            _ => return Err(malformed("there is another header than Hash before the text")),
        }
    }
    let (text, canonical) = text(&mut lines)?;
    let armor = armor(&mut lines)?;
    Ok(Framed { text, canonical, signatures: signatures(&armor)? })
}

fn malformed(why: &str) -> Refusal {
    Refusal::Malformed(why.into())
}

/// Reads the dash-escaped text (section 7.1) up to where the signature begins.
fn text<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<(String, String), Refusal> {
    let (mut text, mut canonical) = (String::new(), String::new());
    let mut first = true;
    for line in lines {
        if line == BEGIN_SIGNATURE {
            return Ok((text, canonical));
        }
        let line = match line.strip_prefix('-') {
            None => line,
            // A line of "- " alone has lost its blank to the trimming.
            Some("") => "",
            Some(rest) => rest.strip_prefix(' ').ok_or_else(|| malformed("a line of the text begins with a dash"))?,
        };
        if line.contains('\r') {
            return Err(malformed("a line of the text holds a carriage return"));
        }
        if !first {
            canonical.push_str("\r\n");
        }
        first = false;
        canonical.push_str(line);
        text.push_str(line);
        text.push('\n');
    }
    Err(malformed("the signature is missing: the file is cut short"))
}

/// Reads the armour, after its first line, to its end; nothing may follow.
fn armor<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<String, Refusal> {
    let mut armor = format!("{BEGIN_SIGNATURE}\n");
    loop {
        let line = lines.next().ok_or_else(|| malformed("its end is missing: the file is cut short"))?;
        armor.push_str(line);
        armor.push('\n');
        if armor.len() > LARGEST_ARMOR_BYTES {
            return Err(malformed("it is too long"));
        }
        if line == END_SIGNATURE {
            break;
        }
    }
    match lines.all(str::is_empty) {
        true => Ok(armor),
        false => Err(malformed("something follows it")),
    }
}

/// Decodes the armour and the signature packets in it.
fn signatures(armor: &str) -> Result<Vec<Signature>, Refusal> {
    let mut dearmor = Dearmor::new(armor.as_bytes());
    dearmor.read_header().map_err(|error| malformed(&error.to_string()))?;
    if dearmor.typ != Some(BlockType::Signature) {
        return Err(malformed("the armor holds something else"));
    }
    let mut bytes = Vec::new();
    dearmor.read_to_end(&mut bytes).map_err(|error| malformed(&error.to_string()))?;
    let mut signatures = Vec::new();
    for packet in PacketParser::new(bytes.as_slice()) {
        match packet {
            Ok(Packet::Signature(signature)) => signatures.push(signature),
            // A signature of a newer version stands beside older ones, for those who can read it.
            Err(pgp::errors::Error::Unsupported { .. }) => {}
            Ok(_) => return Err(malformed("the armor holds another packet than signatures")),
            Err(error) => return Err(malformed(&error.to_string())),
        }
        if signatures.len() > MOST_SIGNATURES {
            return Err(malformed("there are too many signatures"));
        }
    }
    match signatures.is_empty() {
        true => Err(Refusal::NotSigned),
        false => Ok(signatures),
    }
}
