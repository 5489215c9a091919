//! OpenPGP keys made for a test, and what they sign.

use pgp::composed::{CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Password, SigningKey, Timestamp};

/// A key pair with its certificate.
pub struct Key(pub SignedSecretKey);

/// What a key is to be like.
pub struct Params {
    pub key_type: KeyType,
    pub can_sign: bool,
    pub signing_subkey: bool,
    pub created: u32,
}

/// 2025-01-01: all test keys are made then.
pub const CREATED: u32 = 1_735_689_600;

impl Default for Params {
    fn default() -> Self {
        Params { key_type: KeyType::Ed25519Legacy, can_sign: true, signing_subkey: false, created: CREATED }
    }
}

impl Key {
    pub fn new() -> Key {
        Key::with(Params::default())
    }

    pub fn with(params: Params) -> Key {
        let mut builder = SecretKeyParamsBuilder::default();
        builder
            .key_type(params.key_type)
            .can_certify(true)
            .can_sign(params.can_sign)
            .created_at(Timestamp::from_secs(params.created))
            .primary_user_id("Test Archive <archive@mirror.test>".into());
        if params.signing_subkey {
            let mut subkey = SubkeyParamsBuilder::default();
            subkey.key_type(KeyType::Ed25519Legacy).can_sign(true).created_at(Timestamp::from_secs(params.created));
            builder.subkey(subkey.build().unwrap());
        }
        Key(builder.build().unwrap().generate(rand::thread_rng()).unwrap())
    }

    /// Returns the certificate, as a keyring file holds it.
    pub fn keyring(&self) -> Vec<u8> {
        self.0.to_public_key().to_bytes().unwrap()
    }

    /// Signs as `gpg --clearsign` would, now.
    pub fn sign(&self, text: &str) -> String {
        self.sign_with(text, Signing::default())
    }

    /// Signs in some particular way.
    pub fn sign_with(&self, text: &str, signing: Signing) -> String {
        match signing.subkey {
            true => sign(&self.0.secret_subkeys[0].key, text, signing),
            false => sign(&self.0.primary_key, text, signing),
        }
    }

    /// Makes a signature about this key itself.
    pub fn config(&self, kind: SignatureType, created: u32) -> SignatureConfig {
        config(&self.0.primary_key, kind, HashAlgorithm::Sha256, created)
    }
}

/// How to sign.
pub struct Signing {
    pub hash: HashAlgorithm,
    pub kind: SignatureType,
    pub time: u32,
    pub subkey: bool,
    pub extra: Vec<Subpacket>,
}

impl Default for Signing {
    fn default() -> Self {
        Signing {
            hash: HashAlgorithm::Sha512,
            kind: SignatureType::Text,
            time: Timestamp::now().as_secs(),
            subkey: false,
            extra: Vec::new(),
        }
    }
}

pub fn config(key: &impl SigningKey, kind: SignatureType, hash: HashAlgorithm, created: u32) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), hash);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(created))).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id())).unwrap()];
    config
}

fn sign(key: &impl SigningKey, text: &str, signing: Signing) -> String {
    let mut config = config(key, signing.kind, signing.hash, signing.time);
    config.hashed_subpackets.extend(signing.extra);
    let message = CleartextSignedMessage::new(text, config, key, &Password::empty()).unwrap();
    message.to_armored_string(Default::default()).unwrap()
}
