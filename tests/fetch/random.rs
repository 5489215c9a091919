//! Whatever bytes come from outside, nothing panics, and nothing unsigned passes.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use xenbuild::fetch::mirror::{Environment, choose};
use xenbuild::fetch::release::Release;
use xenbuild::fetch::signature::{Keyring, verify};
use xenbuild::fetch::url::{Base, Url};
use xenbuild::fetch::{Lock, sources};

use crate::archive::packages;
use crate::key::Key;

static KEY: LazyLock<Key> = LazyLock::new(Key::new);
static MESSAGE: LazyLock<String> = LazyLock::new(|| KEY.sign("Suite: bookworm\nDate: x\n- dash\n\nend"));

/// Changes a text in a few places: other bytes, bytes gone, pieces twice.
fn mutated(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let change = (0..text.len(), 0..text.len(), any::<u8>(), 0..4u8);
    prop::collection::vec(change, 1..4).prop_map(move |changes| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, other, byte, kind) in changes {
            let (at, other) = (at % bytes.len().max(1), other % bytes.len().max(1));
            match kind {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                _ => bytes.extend_from_within(at.min(other)..at.max(other)),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_message_never_yields_another_text(bytes in mutated(&MESSAGE)) {
        let keyring = Keyring::parse(&KEY.keyring(), "test").unwrap();
        let signed = verify(MESSAGE.as_bytes(), &keyring, None).unwrap();
        if let Ok(other) = verify(&bytes, &keyring, None) {
            prop_assert_eq!(other.text, signed.text);
        }
    }

    #[test]
    fn any_keyring_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..200usize) {
        let _ = Keyring::parse(&bytes, "test");
        let mut keyring = KEY.keyring();
        let at = at % keyring.len();
        keyring[at] ^= bytes.first().copied().unwrap_or(1);
        if let Ok(keyring) = Keyring::parse(&keyring, "test") {
            let _ = verify(MESSAGE.as_bytes(), &keyring, None);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "(Suite|Date|SHA256|[A-Z]{0,3}|[ -~]|: |\n|[0-9a-f]{64}|\\PC){0,30}") {
        let _ = Release::parse(&text);
        let _ = Base::parse(&text).map(|base| base.join(&text));
        let _ = Url::parse("http://mirror.test/x").unwrap().follow(&text);
        let environment = Environment { apt: "/nonexistent".into(), mirror: Some(text.clone()), ..Environment::default() };
        let _ = choose(&packages(&text), Path::new("/"), &environment);
    }

    #[test]
    fn any_apt_source_is_read_or_passed_over(text in "(deb|\\[|\\]|signed-by=|Types: |URIs: |[a-z/:]{1,5}|[ \n#=]){0,40}") {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sources.list"), &text).unwrap();
        std::fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        std::fs::write(folder.path().join("sources.list.d/x.sources"), &text).unwrap();
        let _ = sources::read(folder.path());
    }

    #[test]
    fn any_lock_is_read_or_refused(bytes in mutated(LOCK)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(Some(lock)) = Lock::read(&path) {
            // What is read can be written, and reads the same again.
            lock.write(&path).unwrap();
            prop_assert_eq!(Lock::read(&path).unwrap(), Some(lock));
        }
    }
}

const LOCK: &str = "version = 1\narchitecture = \"arm64\"\ncomponents = [\"main\"]\n[[suite]]\nname = \"s\"\n\
    date = \"2026-07-11T10:16:37Z\"\n\
    in-release-sha256 = \"77737fa4b34f2693e982cc9ee35736816c35a7778fc2d326cc1bbf5b301fe1aa\"\n\
    [[selection]]\nnames = [\"a\", \"b=2\"]\nwithout = [\"c\"]\nsame-version = true\npackages = [\"a\", \"b=2\"]\n\
    [[package]]\nname = \"a\"\nversion = \"1\"\narchitecture = \"arm64\"\nsuite = \"s\"\nfilename = \"pool/a.deb\"\n\
    size = 1\nsha256 = \"c24fe4eb8e60d8632d72ed104cce7c92cff200847c897dc8ba764b6c47b519e0\"\n\
    [[package]]\nname = \"b\"\nversion = \"2\"\narchitecture = \"all\"\nsuite = \"s\"\nfilename = \"pool/b.deb\"\n\
    size = 2\nsha256 = \"c24fe4eb8e60d8632d72ed104cce7c92cff200847c897dc8ba764b6c47b519e0\"\n";
