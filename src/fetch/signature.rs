//! OpenPGP clear-signed text (an archive's `InRelease`), checked against a keyring: RFC 9580, sections 5.2, 7 and 10.
//! What is signed is handed out only after a signature over it has been verified.

use std::fmt;

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Fingerprint, KeyDetails, KeyId, PublicParams, Tag};

mod framing;
mod keyring;

pub use keyring::Keyring;

/// How far a signer's clock may be ahead of ours.
const CLOCK_SKEW_S: i64 = 60;
/// The fewest bits of an RSA modulus that a signing key may have.
const RSA_MINIMUM_BITS: usize = 2048;

/// Text that a key of the keyring has signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// The text, with `\n` line ends and without white space at the ends of lines: neither is covered by the signature.
    pub text: String,
    /// Fingerprint of the key (or subkey) that signed, in hexadecimal digits.
    pub signer: String,
    /// When it signed: seconds since 1970.
    pub time: i64,
}

/// Why a text is not taken as signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It does not claim to be signed.
    NotSigned,
    /// It is framed as signed text, but not correctly.
    Malformed(String),
    /// Whoever signed it, their keys are not in the keyring: the key ids or fingerprints.
    UnknownKey(Vec<String>),
    /// A key of the keyring is named, but the text is not what it signed.
    BadSignature(String),
    /// A key of the keyring is named that may not sign this: the key, and the reason.
    UnfitKey(String, String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotSigned => f.write_str("it is not signed"),
            Refusal::Malformed(why) => write!(f, "its signature cannot be read: {why}"),
            Refusal::UnknownKey(ids) => {
                write!(f, "no key of the keyring has signed it; the signing key is {}", ids.join(", "))
            }
            Refusal::BadSignature(key) => {
                write!(f, "its signature is bad: this text is not what key {key} has signed")
            }
            Refusal::UnfitKey(key, why) => write!(f, "its signature by key {key} does not count: {why}"),
        }
    }
}

/// Verifies a clear-signed message: one good signature by one key of the keyring is enough.
///
/// `now` (seconds since 1970) bounds the signature's own life time; `None`, where this machine's clock is not to be
/// trusted, takes the time at which it was made. Whether the key was valid is always asked for the time of signing.
pub fn verify(message: &[u8], keyring: &Keyring, now: Option<i64>) -> Result<Signed, Refusal> {
    let framed = framing::parse(message)?;
    let mut worst: Option<Refusal> = None;
    for signature in &framed.signatures {
        match verify_one(signature, &framed.canonical, keyring, now) {
            Ok((signer, time)) => return Ok(Signed { text: framed.text, signer, time }),
            Err(refusal) => worst = Some(worse(worst, refusal)),
        }
    }
    Err(worst.unwrap_or(Refusal::NotSigned))
}

/// Returns the refusal that says more: a bad signature before an unfit key, before an unknown one.
fn worse(one: Option<Refusal>, other: Refusal) -> Refusal {
    let rank = |refusal: &Refusal| match refusal {
        Refusal::BadSignature(_) => 4,
        Refusal::UnfitKey(..) => 3,
        Refusal::UnknownKey(_) => 2,
        Refusal::Malformed(_) => 1,
        Refusal::NotSigned => 0,
    };
    match (one, other) {
        (None, other) => other,
        (Some(Refusal::UnknownKey(mut ids)), Refusal::UnknownKey(more)) => {
            ids.extend(more);
            Refusal::UnknownKey(ids)
        }
        (Some(one), other) if rank(&one) >= rank(&other) => one,
        (Some(_), other) => other,
    }
}

/// Verifies one signature; returns the signer's fingerprint and the time of signing.
fn verify_one(
    signature: &Signature,
    canonical: &str,
    keyring: &Keyring,
    now: Option<i64>,
) -> Result<(String, i64), Refusal> {
    if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        return Err(Refusal::Malformed("it holds a signature of another type than one over a text".into()));
    }
    let mut refusal = Refusal::UnknownKey(vec![issuer(signature)]);
    for certificate in keyring.certificates() {
        // A key id is 64 bits and may stand for several keys: all are tried.
        let primary = names(signature, &certificate.primary_key).then_some(Signer::Primary(certificate));
        let subkeys = certificate.public_subkeys.iter().filter(|subkey| names(signature, &subkey.key));
        for signer in primary.into_iter().chain(subkeys.map(|subkey| Signer::Subkey(certificate, subkey))) {
            match verify_with(signature, canonical, &signer, now) {
                Ok(time) => return Ok((signer.fingerprint(), time)),
                Err(other) => refusal = worse(Some(refusal), other),
            }
        }
    }
    Err(refusal)
}

/// Says whether the signature names this key as its maker.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    match fingerprints.is_empty() {
        true => signature.issuer_key_id().contains(&&key.legacy_key_id()),
        false => fingerprints.contains(&&key.fingerprint()),
    }
}

/// Returns how the signature calls its maker, for people.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| hexadecimal(fingerprint.as_bytes()));
    let id = || signature.issuer_key_id().first().map(|id: &&KeyId| hexadecimal(id.as_ref()));
    fingerprint.or_else(id).unwrap_or_else(|| "not named".into())
}

/// A key of the keyring that could have signed.
enum Signer<'a> {
    /// A certificate's primary key.
    Primary(&'a SignedPublicKey),
    /// One of its subkeys.
    Subkey(&'a SignedPublicKey, &'a SignedPublicSubKey),
}

impl Signer<'_> {
    fn fingerprint(&self) -> String {
        let fingerprint: Fingerprint = match self {
            Signer::Primary(certificate) => certificate.primary_key.fingerprint(),
            Signer::Subkey(_, subkey) => subkey.key.fingerprint(),
        };
        hexadecimal(fingerprint.as_bytes())
    }
}

/// Verifies a signature with one key: first the mathematics, then whether this key might sign at that time.
fn verify_with(signature: &Signature, canonical: &str, signer: &Signer<'_>, now: Option<i64>) -> Result<i64, Refusal> {
    let name = signer.fingerprint();
    let unfit = |why: String| Refusal::UnfitKey(name.clone(), why);
    let made = signature.created().map(|created| i64::from(created.as_secs()));
    let now = now.or(made).unwrap_or_default();
    let time = check_terms(signature, now).map_err(unfit)?;
    if time > now + CLOCK_SKEW_S {
        return Err(unfit("the signature is from the future: check this machine's clock".into()));
    }
    let verified = match signer {
        Signer::Primary(certificate) => signature.verify(&certificate.primary_key, canonical.as_bytes()),
        Signer::Subkey(_, subkey) => signature.verify(&subkey.key, canonical.as_bytes()),
    };
    verified.map_err(|_| Refusal::BadSignature(name.clone()))?;
    match signer {
        Signer::Primary(certificate) => check_primary(certificate, time, now, true).map_err(unfit)?,
        Signer::Subkey(certificate, subkey) => {
            check_primary(certificate, time, now, false).map_err(|why| unfit(format!("its primary key: {why}")))?;
            check_subkey(&certificate.primary_key, subkey, time, now).map_err(unfit)?;
        }
    }
    Ok(time)
}

/// Checks what a signature says of itself: hash, life time, terms we do not understand. Returns its time.
fn check_terms(signature: &Signature, now: i64) -> Result<i64, String> {
    let Some(config) = signature.config() else { return Err("it has a version that is not known".into()) };
    match config.hash_alg {
        HashAlgorithm::Sha256
        | HashAlgorithm::Sha384
        | HashAlgorithm::Sha512
        | HashAlgorithm::Sha3_256
        | HashAlgorithm::Sha3_512 => {}
        weak => return Err(format!("the hash {weak} is too weak")),
    }
    // RFC 9580, 5.2.3.7: a critical subpacket that is not understood makes the signature count for nothing.
    let unknown = |data: &SubpacketData| {
        matches!(data, SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_))
    };
    if config.hashed_subpackets().any(|subpacket| subpacket.is_critical && unknown(&subpacket.data)) {
        return Err("it has critical terms that are not understood".into());
    }
    let Some(created) = signature.created() else { return Err("it does not say when it was made".into()) };
    let created = i64::from(created.as_secs());
    match signature.signature_expiration_time() {
        Some(life) if life.as_secs() != 0 && created + i64::from(life.as_secs()) < now => {
            Err("the signature has expired".into())
        }
        _ => Ok(created),
    }
}

/// Checks that a primary key was valid at `time`, and with `signing` that it may sign.
fn check_primary(certificate: &SignedPublicKey, time: i64, now: i64, signing: bool) -> Result<(), String> {
    let key = &certificate.primary_key;
    check_strength(key.public_params())?;
    // Whoever put a revocation into the keyring meant it: it counts even where its hash is too weak to vouch for a key.
    if !certificate.details.revocation_signatures.is_empty() {
        return Err("it has been revoked".into());
    }
    let direct = certificate
        .details
        .direct_signatures
        .iter()
        .filter(|signature| signature.typ() == Some(SignatureType::Key) && signature.verify_key(key).is_ok());
    let users = certificate.details.users.iter().filter(|user| {
        !user.signatures.iter().any(|signature| {
            signature.typ() == Some(SignatureType::CertRevocation)
                && signature.verify_certification(key, Tag::UserId, &user.id).is_ok()
        })
    });
    let certifications = users.flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature.typ() != Some(SignatureType::CertRevocation)
                && signature.verify_certification(key, Tag::UserId, &user.id).is_ok()
        })
    });
    let newest = newest(direct.chain(certifications), now).ok_or("nothing of its own vouches for it")?;
    check_life(key, newest, time)?;
    let says_flags = says_flags(newest);
    if signing && says_flags && !newest.key_flags().sign() {
        return Err("it is not meant for signing".into());
    }
    Ok(())
}

/// Checks that a subkey was bound to its primary key, valid at `time` and meant for signing.
fn check_subkey(primary: &PublicKey, subkey: &SignedPublicSubKey, time: i64, now: i64) -> Result<(), String> {
    check_strength(subkey.key.public_params())?;
    let of_type =
        |wanted: SignatureType| subkey.signatures.iter().filter(move |signature| signature.typ() == Some(wanted));
    if of_type(SignatureType::SubkeyRevocation).next().is_some() {
        return Err("it has been revoked".into());
    }
    let bindings = of_type(SignatureType::SubkeyBinding)
        .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok());
    let newest = newest(bindings, now).ok_or("its primary key does not vouch for it")?;
    check_life(&subkey.key, newest, time)?;
    if !newest.key_flags().sign() {
        return Err("it is not meant for signing".into());
    }
    // RFC 9580, 5.2.1.8: without the subkey's own word, any primary key could claim it.
    let back = newest.embedded_signature().ok_or("it does not vouch for its primary key")?;
    check_terms(back, now).map_err(|why| format!("its back signature: {why}"))?;
    back.verify_primary_key_binding(&subkey.key, primary)
        .map_err(|_| "its back signature over its primary key is bad".to_string())
}

/// Returns the newest self-signature that counts; what comes later replaces what was said before.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: i64) -> Option<&'a Signature> {
    let made = |signature: &&Signature| check_terms(signature, now).ok();
    signatures.filter(|signature| made(signature).is_some_and(|time| time <= now)).max_by_key(made)
}

/// Checks that a key existed at `time` and had not expired, by its newest self-signature.
fn check_life(key: &impl KeyDetails, says: &Signature, time: i64) -> Result<(), String> {
    let created = i64::from(key.created_at().as_secs());
    if time < created {
        return Err("it is younger than the signature".into());
    }
    match says.key_expiration_time() {
        Some(life) if life.as_secs() != 0 && created + i64::from(life.as_secs()) <= time => {
            Err("it had expired when it signed".into())
        }
        _ => Ok(()),
    }
}

fn says_flags(signature: &Signature) -> bool {
    let Some(config) = signature.config() else { return false };
    config.hashed_subpackets().any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
}

/// Refuses keys that are too short, and algorithms that are no longer trusted.
fn check_strength(parameters: &PublicParams) -> Result<(), String> {
    match parameters {
        PublicParams::RSA(rsa) => {
            let mut bytes = Vec::new();
            rsa.to_writer(&mut bytes).map_err(|error| error.to_string())?;
            // An MPI begins with its length in bits: RFC 9580, 3.2.
            let bits = bytes.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
            match bits {
                RSA_MINIMUM_BITS.. => Ok(()),
                _ => Err(format!("RSA with {bits} bits is too weak")),
            }
        }
        PublicParams::ECDSA(_) | PublicParams::EdDSALegacy(_) | PublicParams::Ed25519(_) | PublicParams::Ed448(_) => {
            Ok(())
        }
        PublicParams::DSA(_) => Err("DSA is too weak".into()),
        _ => Err("its algorithm cannot sign, or is not known".into()),
    }
}

/// Returns bytes as upper-case hexadecimal digits, as key ids are written.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
