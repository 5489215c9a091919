//! Keyrings: the files of OpenPGP certificates that say whom to trust.

use std::path::Path;

use pgp::composed::{PublicOrSecret, SignedPublicKey};
use pgp::types::KeyDetails;

use super::hexadecimal;
use crate::error::{Error, Kind, Result};

const BEGIN_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// More than any distribution's keyring, by far.
const LARGEST_BYTES: u64 = 16 << 20;
const MOST_CERTIFICATES: usize = 10_000;

/// Certificates that may vouch for an archive.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
    names: Vec<String>,
}

impl Keyring {
    /// Reads one keyring file, binary or armored; `name` in errors is its path.
    pub fn read(path: &Path) -> Result<Keyring> {
        let name = path.display().to_string();
        let fail = |error| Error::io(format!("cannot read the keyring {name}"), error);
        let size = std::fs::metadata(path).map_err(fail)?.len();
        if size > LARGEST_BYTES {
            return Err(Error::new(Kind::Input, format!("the keyring {name} is too large: {size} bytes")));
        }
        Keyring::parse(&std::fs::read(path).map_err(fail)?, &name)
    }

    /// Reads certificates out of bytes, binary or armored (then one block after another).
    ///
    /// A certificate that cannot be read is left out, as a newer kind of key among older ones must be; if none is left,
    /// that is an error.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Keyring> {
        let error = |why: &str| Error::new(Kind::Input, format!("the keyring {name} {why}"));
        // GnuPG's own keybox: blob length, then type 1, version, flags, and the magic.
        if bytes.get(8..12) == Some(b"KBXf") {
            return Err(error("is a GnuPG keybox")
                .hint(format!("export it: gpg --no-default-keyring --keyring {name} --export")));
        }
        let mut certificates = Vec::new();
        match std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN_KEY)) {
            Some(text) => {
                for block in text.split(BEGIN_KEY).skip(1) {
                    certificates.extend(read_all(format!("{BEGIN_KEY}{block}").as_bytes()));
                }
            }
            None => certificates.extend(read_all(bytes)),
        }
        match certificates.is_empty() {
            true => Err(error("holds no OpenPGP certificate that can be read")),
            false => Ok(Keyring { certificates, names: vec![name.to_string()] }),
        }
    }

    /// Adds the certificates of another keyring.
    pub fn add(&mut self, other: Keyring) {
        self.certificates.extend(other.certificates);
        self.names.extend(other.names);
    }

    /// Keeps only certificates one of whose keys has one of these fingerprints, in hexadecimal digits.
    pub fn retain(&mut self, fingerprints: &[String]) {
        let wanted = |key: &dyn KeyDetails| {
            let own = hexadecimal(key.fingerprint().as_bytes());
            fingerprints.iter().any(|fingerprint| fingerprint.eq_ignore_ascii_case(&own))
        };
        self.certificates.retain(|certificate| {
            wanted(&certificate.primary_key) || certificate.public_subkeys.iter().any(|subkey| wanted(&subkey.key))
        });
    }

    /// Returns the certificates.
    pub fn certificates(&self) -> &[SignedPublicKey] {
        &self.certificates
    }

    /// Returns where they are from, for people.
    pub fn describe(&self) -> String {
        self.names.join(", ")
    }
}

/// Reads as many certificates as can be read.
fn read_all(bytes: &[u8]) -> Vec<SignedPublicKey> {
    let Ok((keys, _headers)) = PublicOrSecret::from_reader_many(bytes) else { return Vec::new() };
    keys.take(MOST_CERTIFICATES)
        .filter_map(|key| match key {
            Ok(PublicOrSecret::Public(key)) => Some(key),
            _ => None,
        })
        .collect()
}
