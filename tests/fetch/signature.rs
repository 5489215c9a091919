//! Clear-signed text: what counts as signed, and each reason why something does not.

use std::process::{Command, Stdio};

use pgp::composed::{KeyType, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, Tag, Timestamp};
use xenbuild::fetch::signature::{Keyring, Refusal, Signed, verify};

use crate::key::{CREATED, Key, Params, Signing, config};

const TEXT: &str = "Suite: test\n- a list\n-----BEGIN\n\nlast";

fn now() -> i64 {
    Timestamp::now().as_secs().into()
}

fn check(message: &str, keyring: &[u8]) -> Result<Signed, Refusal> {
    verify(message.as_bytes(), &Keyring::parse(keyring, "test").unwrap(), Some(now()))
}

/// Returns the reason why a signature of a known key does not count.
fn unfit(message: &str, keyring: &[u8]) -> String {
    match check(message, keyring) {
        Err(Refusal::UnfitKey(_, why)) => why,
        other => panic!("expected an unfit key, got {other:?}"),
    }
}

#[test]
fn a_good_signature_yields_the_text() {
    let key = Key::new();
    let signed = check(&key.sign(TEXT), &key.keyring()).unwrap();
    assert_eq!(signed.text, format!("{TEXT}\n"));
    assert_eq!(signed.signer, key.0.primary_key.fingerprint().to_string().to_uppercase());
    assert!((signed.time - now()).abs() < 60);
}

#[test]
fn subkeys_armored_keyrings_and_binary_signatures_count_too() {
    let key = Key::with(Params { can_sign: false, signing_subkey: true, ..Params::default() });
    let message = key.sign_with(TEXT, Signing { subkey: true, ..Signing::default() });
    let armored = key.0.to_public_key().to_armored_string(Default::default()).unwrap();
    let other = Key::new().0.to_public_key().to_armored_string(Default::default()).unwrap();
    check(&message, format!("{other}\n{armored}").as_bytes()).unwrap();
    let both = [Key::new().keyring(), key.keyring()].concat();
    check(&message, &both).unwrap();

    // gpg signs clear text with type 0x01, but takes 0x00 as well.
    let key = Key::new();
    let text = TEXT.replace('\n', "\r\n");
    let message = key.sign_with(&text, Signing { kind: SignatureType::Binary, ..Signing::default() });
    assert_eq!(check(&message, &key.keyring()).unwrap().text, format!("{TEXT}\n"));
}

#[test]
fn line_ends_and_trailing_blanks_do_not_matter() {
    let key = Key::new();
    let message = key.sign(TEXT);
    let expected = check(&message, &key.keyring()).unwrap();
    assert_eq!(check(&message.replace('\n', "\r\n"), &key.keyring()).unwrap(), expected);
    assert_eq!(check(&message.replace("last\n", "last \t\n"), &key.keyring()).unwrap(), expected);
}

#[test]
fn tampered_text_is_a_bad_signature() {
    let key = Key::new();
    let message = key.sign(TEXT);
    for (from, to) in
        [("Suite: test", "Suite: tost"), ("last\n", "last\n\n"), ("last", "last\nmore"), ("- - a", "- - b")]
    {
        assert!(message.contains(from));
        let refusal = check(&message.replacen(from, to, 1), &key.keyring()).unwrap_err();
        assert!(matches!(refusal, Refusal::BadSignature(_)), "{from}: {refusal}");
    }
}

#[test]
fn an_unknown_key_is_named() {
    let (key, other) = (Key::new(), Key::new());
    let refusal = check(&key.sign(TEXT), &other.keyring()).unwrap_err();
    let fingerprint = key.0.primary_key.fingerprint().to_string().to_uppercase();
    assert_eq!(refusal, Refusal::UnknownKey(vec![fingerprint]));
}

#[test]
fn framing_is_strict() {
    let key = Key::new();
    let message = key.sign(TEXT);
    let refused = |message: &str| check(message, &key.keyring()).unwrap_err();
    assert_eq!(refused("Suite: test\n"), Refusal::NotSigned);
    assert_eq!(refused(""), Refusal::NotSigned);
    assert_eq!(refused(&format!("Suite: evil\n{message}")), Refusal::NotSigned);
    let malformed = |message: String, says: &str| {
        let refusal = refused(&message);
        assert!(matches!(&refusal, Refusal::Malformed(why) if why.contains(says)), "{refusal:?}");
    };
    malformed(format!("{message}Suite: evil\n"), "something follows");
    malformed(message.replacen("Hash: ", "Suite: ", 1), "another header");
    malformed(message.replacen("- - a list", "- a list\n-evil", 1), "begins with a dash");
    malformed(message.replacen("Suite", "Su\rite", 1), "carriage return");
    malformed(message.replacen("-----END PGP SIGNATURE-----", "", 1), "cut short");
    let (text, _) = message.split_once("-----BEGIN PGP SIGNATURE-----").unwrap();
    malformed(text.into(), "cut short");
    // Cut at any byte, flip any byte of the armor: never a panic, never a success.
    for end in (0..message.trim_end().len()).step_by(7) {
        assert!(check(&message[..end], &key.keyring()).is_err(), "cut at {end}");
    }
    for at in (text.len()..message.len()).step_by(3) {
        let mut bytes = message.clone().into_bytes();
        bytes[at] ^= 1;
        let keyring = Keyring::parse(&key.keyring(), "test").unwrap();
        if let Ok(signed) = verify(&bytes, &keyring, Some(now())) {
            // Only the armor's own checksum and its line ends are without meaning.
            assert_eq!(signed.text, format!("{TEXT}\n"));
        }
    }
}

#[test]
fn weak_hashes_and_keys_do_not_count() {
    let key = Key::with(Params { key_type: KeyType::Rsa(2048), ..Params::default() });
    check(&key.sign(TEXT), &key.keyring()).unwrap();
    let message = key.sign_with(TEXT, Signing { hash: HashAlgorithm::Sha1, ..Signing::default() });
    assert!(unfit(&message, &key.keyring()).contains("hash SHA1 is too weak"));
}

#[test]
fn a_key_must_be_meant_for_signing() {
    let key = Key::with(Params { can_sign: false, ..Params::default() });
    assert!(unfit(&key.sign(TEXT), &key.keyring()).contains("not meant for signing"));
}

#[test]
fn expiry_is_judged_for_the_time_of_signing() {
    let mut key = Key::new();
    let mut renewal = key.config(SignatureType::CertPositive, CREATED + 10);
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    renewal.hashed_subpackets.extend([
        Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap(),
        Subpacket::regular(SubpacketData::KeyExpirationTime(Duration::from_secs(1000))).unwrap(),
    ]);
    let user = &key.0.details.users[0];
    let public = key.0.primary_key.public_key();
    // The builder certifies as of now; this test needs the word of then to be the last.
    let signature =
        renewal.sign_certification(&key.0.primary_key, &public, &Password::empty(), Tag::UserId, &user.id).unwrap();
    key.0.details.users[0].signatures = vec![signature];
    let at = |time| key.sign_with(TEXT, Signing { time, ..Signing::default() });
    check(&at(CREATED + 999), &key.keyring()).unwrap();
    assert!(unfit(&at(CREATED + 1000), &key.keyring()).contains("had expired"));
    assert!(unfit(&at(CREATED - 1), &key.keyring()).contains("younger than the signature"));
    let life = Subpacket::regular(SubpacketData::SignatureExpirationTime(Duration::from_secs(10))).unwrap();
    let message = key.sign_with(TEXT, Signing { time: CREATED + 20, extra: vec![life], ..Signing::default() });
    assert!(unfit(&message, &key.keyring()).contains("signature has expired"));
}

#[test]
fn a_signature_from_the_future_counts_only_without_a_clock() {
    let key = Key::new();
    let keyring = Keyring::parse(&key.keyring(), "test").unwrap();
    let message = key.sign(TEXT);
    let yesterday = Some(now() - 86400);
    let refusal = verify(message.as_bytes(), &keyring, yesterday).unwrap_err();
    assert!(refusal.to_string().contains("from the future"), "{refusal}");
    verify(message.as_bytes(), &keyring, None).unwrap();
    verify(message.as_bytes(), &keyring, Some(now() + 86400)).unwrap();
}

#[test]
fn critical_terms_must_be_understood() {
    let key = Key::new();
    let term = |critical: fn(SubpacketData) -> pgp::errors::Result<Subpacket>| {
        let extra = vec![critical(SubpacketData::Experimental(101, b"x"[..].into())).unwrap()];
        key.sign_with(TEXT, Signing { extra, ..Signing::default() })
    };
    check(&term(Subpacket::regular), &key.keyring()).unwrap();
    assert!(unfit(&term(Subpacket::critical), &key.keyring()).contains("critical terms"));
}

#[test]
fn a_revoked_key_signs_nothing() {
    let mut key = Key::new();
    let message = key.sign(TEXT);
    let public = key.0.primary_key.public_key();
    let revocation = key.config(SignatureType::KeyRevocation, CREATED + 1);
    let revocation = revocation.sign_key(&key.0.primary_key, &Password::empty(), &public).unwrap();
    key.0.details.revocation_signatures.push(revocation);
    assert!(unfit(&message, &key.keyring()).contains("revoked"));
}

#[test]
fn a_subkey_is_bound_from_both_sides() {
    let mut key = Key::with(Params { signing_subkey: true, ..Params::default() });
    let message = key.sign_with(TEXT, Signing { subkey: true, ..Signing::default() });
    let subkey = key.0.secret_subkeys[0].key.public_key();
    let public = |key: &Key| key.0.primary_key.public_key().clone();

    // Somebody else claims the subkey: bound by their primary key, without the subkey's own word.
    let thief = Key::new();
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    let mut binding = config(&thief.0.primary_key, SignatureType::SubkeyBinding, HashAlgorithm::Sha256, CREATED);
    binding.hashed_subpackets.push(Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap());
    let binding =
        binding.sign_subkey_binding(&thief.0.primary_key, &public(&thief), &Password::empty(), &subkey).unwrap();
    let mut certificate = thief.0.to_public_key();
    certificate.public_subkeys.push(SignedPublicSubKey::new(subkey.clone(), vec![binding]));
    assert!(unfit(&message, &certificate.to_bytes().unwrap()).contains("does not vouch for its primary key"));

    // Or copies the true binding, which names another primary key.
    let mut certificate = thief.0.to_public_key();
    certificate.public_subkeys = key.0.to_public_key().public_subkeys;
    certificate.public_subkeys.extend(key.0.secret_subkeys.iter().map(|subkey| subkey.signed_public_key()));
    assert!(unfit(&message, &certificate.to_bytes().unwrap()).contains("does not vouch for it"));

    check(&message, &key.keyring()).unwrap();
    let revocation = key.config(SignatureType::SubkeyRevocation, CREATED + 1);
    let revocation =
        revocation.sign_subkey_binding(&key.0.primary_key, &public(&key), &Password::empty(), &subkey).unwrap();
    key.0.secret_subkeys[0].signatures.push(revocation);
    assert!(unfit(&message, &key.keyring()).contains("revoked"));
}

#[test]
fn keyrings_that_are_none_are_refused() {
    for bytes in [&b""[..], b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n", &[0x99; 40]] {
        assert!(Keyring::parse(bytes, "k").unwrap_err().message.contains("holds no OpenPGP certificate"));
    }
    let keybox = b"\0\0\0\x20\x01\x01\0\0KBXf\0\0\0\0";
    assert!(Keyring::parse(keybox, "k").unwrap_err().hints[0].contains("gpg --no-default-keyring"));
    let (one, two) = (Key::new(), Key::new());
    let mut keyring = Keyring::parse(&[one.keyring(), two.keyring()].concat(), "k").unwrap();
    keyring.retain(&[two.0.primary_key.fingerprint().to_string()]);
    assert_eq!(keyring.certificates().len(), 1);
    assert!(verify(one.sign(TEXT).as_bytes(), &keyring, Some(now())).is_err());
    assert!(verify(two.sign(TEXT).as_bytes(), &keyring, Some(now())).is_ok());
}

/// GnuPG is the stranger here: it takes what the tests sign, and its signatures are taken.
#[test]
fn gnupg_agrees() {
    let home = tempfile::tempdir().unwrap();
    let gpg = |arguments: &[&str], input: &str| -> Option<String> {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(home.path()).args(["--batch", "--no-tty", "--passphrase", ""]).args(arguments);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: gpg cannot be started: {error}");
                return None;
            }
        };
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(_) = gpg(&["--quick-generate-key", "stranger@mirror.test", "ed25519", "sign", "never"], "") else {
        return;
    };
    let keyring = gpg(&["--armor", "--export"], "").unwrap();
    let text = format!("{TEXT} \t\n- \n\n");
    let message = gpg(&["--clearsign", "--digest-algo", "SHA256"], &text).unwrap();
    let signed = check(&message, keyring.as_bytes()).unwrap();
    assert_eq!(signed.text, format!("{TEXT}\n-\n\n"));

    gpg(&["--quick-generate-key", "weak@mirror.test", "rsa1024", "sign", "never"], "").unwrap();
    let keyring = gpg(&["--armor", "--export", "weak@mirror.test"], "").unwrap();
    let message = gpg(&["--clearsign", "--local-user", "weak@mirror.test"], TEXT).unwrap();
    assert!(unfit(&message, keyring.as_bytes()).contains("RSA with 1024 bits"));

    let key = Key::new();
    let path = home.path().join("ours.gpg");
    std::fs::write(&path, key.keyring()).unwrap();
    let verify = ["--trust-model", "always", "--no-default-keyring", "--keyring", path.to_str().unwrap(), "--verify"];
    gpg(&verify, &key.sign(TEXT)).unwrap();
    // The agent that gpg has started for this home ends with it.
    let _ = Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).status();
}
