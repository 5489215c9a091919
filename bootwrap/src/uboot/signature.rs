//! Signatures of FIT configurations: RSA over SHA-256, as U-Boot verifies them (U-Boot: doc/uImage.FIT/signature.txt).
//!
//! PKCS#1 v1.5 needs no randomness: the same FIT signed twice is the same bytes.

use std::ops::Range;

use fdt::{Fdt, Tree};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// DigestInfo of SHA-256, as far as the digest itself (RFC 8017, section 9.2, note 1).
const SHA256_PREFIX: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];
/// What U-Boot has names for (lib/rsa/rsa-verify.c).
const BITS: &[usize] = &[2048, 3072, 4096];

/// A private key, and the name by which U-Boot finds its public half.
pub struct Key {
    private: RsaPrivateKey,
    name: String,
}

impl Key {
    /// Reads a PEM file: `BEGIN PRIVATE KEY` (PKCS#8) or `BEGIN RSA PRIVATE KEY` (PKCS#1), neither with a password.
    pub fn from_pem(pem: &str, name: &str) -> Result<Key, Error> {
        let private = if pem.contains("BEGIN RSA PRIVATE KEY") {
            RsaPrivateKey::from_pkcs1_pem(pem).map_err(|error| Error::Key(error.to_string()))?
        } else if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return Err(Error::Key("it is locked with a password, for which nobody can be asked here".into()));
        } else if pem.contains("BEGIN PRIVATE KEY") {
            RsaPrivateKey::from_pkcs8_pem(pem).map_err(|error| Error::Key(error.to_string()))?
        } else {
            return Err(Error::Key("it is no PEM file with an RSA private key".into()));
        };
        let bits = private.n().bits();
        if !BITS.contains(&bits) {
            return Err(Error::Key(format!("it has {bits} bits; U-Boot takes RSA keys of 2048, 3072 and 4096")));
        }
        if private.e().bits() > 64 {
            return Err(Error::Key("its exponent has more than 64 bits".into()));
        }
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(Error::Key(format!("{name:?} cannot be its name: it becomes the name of a node")));
        }
        Ok(Key { private, name: name.into() })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what U-Boot calls the algorithm: `sha256,rsa2048`.
    pub fn algorithm(&self) -> String {
        format!("sha256,rsa{}", self.bits())
    }

    fn bits(&self) -> usize {
        self.private.n().bits()
    }

    /// Returns the length of a signature in bytes.
    pub fn signature_bytes(&self) -> usize {
        self.bits() / 8
    }

    /// Signs a digest, and looks that the public half agrees.
    pub fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, Error> {
        let padding = || Pkcs1v15Sign { hash_len: Some(32), prefix: SHA256_PREFIX.into() };
        let failed = |error: rsa::Error| Error::Key(error.to_string());
        let signature = self.private.sign(padding(), digest).map_err(failed)?;
        self.private.to_public_key().verify(padding(), digest, &signature).map_err(failed)?;
        Ok(signature)
    }

    /// Puts the public key into the device tree that U-Boot is built or started with, so that it boots only what is signed
    /// with this key: `required = "conf"`.
    pub fn add_public(&self, tree: &mut Tree) -> Result<(), Error> {
        let node = tree.ensure("/signature")?;
        let node = tree.add_child(node, &format!("key-{}", self.name))?;
        let n = self.private.n();
        // What Montgomery's multiplication wants to know of the modulus: R^2 mod n, and -1/n mod 2^32.
        let r_squared = (BigUint::from(1u8) << (2 * self.bits())) % n;
        let exponent = self.private.e().to_bytes_be().iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        tree.set_string(node, "required", "conf");
        tree.set_string(node, "algo", &self.algorithm());
        tree.set_string(node, "key-name-hint", &self.name);
        tree.set_cells(node, "rsa,num-bits", &[self.bits() as u32]);
        tree.set_cells(node, "rsa,n0-inverse", &[negative_inverse(n)]);
        tree.set_u64(node, "rsa,exponent", exponent);
        tree.set(node, "rsa,modulus", padded(n, self.bits() / 8));
        tree.set(node, "rsa,r-squared", padded(&r_squared, self.bits() / 8));
        Ok(())
    }
}

/// Returns -1/n mod 2^32, by Newton's iteration: each round doubles the number of right bits.
fn negative_inverse(n: &BigUint) -> u32 {
    let low = n.to_bytes_le().iter().take(4).rev().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
    let mut inverse = 1u32;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(low.wrapping_mul(inverse)));
    }
    inverse.wrapping_neg()
}

fn padded(number: &BigUint, length: usize) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    let mut padded = vec![0; length.saturating_sub(bytes.len())];
    padded.extend_from_slice(&bytes);
    padded
}

/// Properties that no signature covers: the data, whose hashes are covered, and where they lie (boot/image-fit-sig.c).
const EXCLUDED: &[&str] = &["data", "data-size", "data-position", "data-offset"];

/// Returns the digest of what a signature over `nodes` covers: those nodes with their properties, the frames of what lies
/// around and directly below them, and the strings.
pub fn digest(blob: &[u8], nodes: &[String]) -> Result<[u8; 32], Error> {
    let fdt = Fdt::new(blob)?;
    let header = fdt.header();
    let mut hash = Sha256::new();
    for range in regions(blob, header.struct_offset, fdt.strings(), nodes)? {
        hash.update(blob.get(range).ok_or_else(torn)?);
    }
    hash.update(fdt.strings());
    Ok(hash.finalize().into())
}

fn torn() -> Error {
    Error::Board("ends inside its structure".into())
}

/// How much of a node is covered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    Nothing,
    /// Its beginning and end.
    Frame,
    /// Its properties too.
    All,
}

/// Walks the structure block, token by token, as U-Boot's `fdt_find_regions` does (boot/fdt_region.c).
fn regions(blob: &[u8], start: usize, strings: &[u8], nodes: &[String]) -> Result<Vec<Range<usize>>, Error> {
    let word = |at: usize| -> Result<u32, Error> {
        let bytes = blob.get(at..at + 4).ok_or_else(torn)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let text = |bytes: &[u8], at: usize| -> Result<String, Error> {
        let rest = bytes.get(at..).ok_or_else(torn)?;
        let end = rest.iter().position(|&byte| byte == 0).ok_or_else(torn)?;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut cover = |range: Range<usize>| match found.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => found.push(range),
    };
    let mut at = start;
    let mut open: Vec<(String, Cover)> = Vec::new();
    loop {
        let token = at;
        let tag = word(at)?;
        at += 4;
        match tag {
            1 => {
                let name = text(blob, at)?;
                at = (at + name.len() + 1).next_multiple_of(4);
                let path = match open.last() {
                    None => "/".to_owned(),
                    Some((above, _)) if above == "/" => format!("/{name}"),
                    Some((above, _)) => format!("{above}/{name}"),
                };
                let around = open.last().map_or(Cover::Nothing, |(_, cover)| *cover);
                let own = match around {
                    _ if nodes.contains(&path) => Cover::All,
                    Cover::All => Cover::Frame,
                    _ => Cover::Nothing,
                };
                if own != Cover::Nothing {
                    cover(token..at);
                }
                open.push((path, own));
            }
            2 => {
                let (_, own) = open.pop().ok_or_else(torn)?;
                if own != Cover::Nothing {
                    cover(token..at);
                }
            }
            3 => {
                let (length, name) = (word(at)? as usize, text(strings, word(at + 4)? as usize)?);
                at = (at + 8 + length).next_multiple_of(4);
                let own = open.last().map(|(_, cover)| *cover);
                if own == Some(Cover::All) && !EXCLUDED.contains(&name.as_str()) {
                    cover(token..at);
                }
            }
            4 => {
                if open.last().is_some_and(|(_, own)| *own == Cover::All) {
                    cover(token..at);
                }
            }
            9 => {
                cover(token..at);
                return Ok(found);
            }
            _ => return Err(torn()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses_are_inverses() {
        for low in [1u32, 3, 0x8000_0001, 0xdead_beef, u32::MAX] {
            let inverse = negative_inverse(&BigUint::from(low));
            assert_eq!(low.wrapping_mul(inverse), u32::MAX, "{low:#x}");
        }
        assert_eq!(padded(&BigUint::from(0x102u32), 4), [0, 0, 1, 2]);
    }

    #[test]
    fn a_signature_covers_nodes_but_not_their_data() {
        let mut tree = Tree::new();
        let image = tree.ensure("/images/xen").unwrap();
        tree.set(image, "data-offset", [0, 0, 0, 1]);
        tree.set(image, "load", [0, 0, 0, 2]);
        let other = tree.ensure("/images/other").unwrap();
        tree.set(other, "load", [0, 0, 0, 3]);
        let nodes = ["/".to_owned(), "/images/xen".to_owned()];
        let of = |tree: &Tree| digest(&tree.emit(&fdt::EmitOptions::default()).unwrap(), &nodes).unwrap();
        let first = of(&tree);
        let mut same = tree.clone();
        same.set(image, "data-offset", [9, 9, 9, 9]);
        same.set(other, "load", [9, 9, 9, 9]);
        assert_eq!(of(&same), first);
        let mut differs = tree.clone();
        differs.set(image, "load", [9, 9, 9, 9]);
        assert_ne!(of(&differs), first);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let refused = |pem: &str, name: &str| Key::from_pem(pem, name).err().map(|error| error.to_string()).unwrap();
        assert!(refused("", "dev").contains("no PEM file"));
        assert!(refused("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "dev").contains("password"));
        assert!(
            refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "dev").starts_with("the key: ")
        );
    }
}
