//! Indices: what an archive says of itself is taken only when it is signed, whole, current, and what was asked for.

use std::path::Path;

use tempfile::TempDir;
use xenbuild::error::{Error, Kind, Result};
use xenbuild::fetch::{Archive, Environment, Indices};
use xenbuild::task::Silent;

use crate::archive::{Debian, date, packages, write};
use crate::key::Key;
use crate::server::{Fault, Server};

const PACKAGES: [&str; 2] =
    ["Package: a\nVersion: 1\nArchitecture: arm64", "Package: b\nVersion: 2\nArchitecture: all"];

fn indices(mirror: &str, environment: &Environment, cache: &Path, offline: bool) -> Result<Indices> {
    let archive = Archive::open_in(&packages(mirror), Path::new("/"), offline, environment)?;
    archive.indices(cache, &Silent::default())
}

/// Reads the archive from its folder with an empty cache.
fn local(debian: &Debian) -> Result<Indices> {
    let cache = TempDir::new().unwrap();
    indices(debian.folder().to_str().unwrap(), &debian.environment(), cache.path(), false)
}

fn refused(debian: &Debian, kind: Kind, says: &str) -> Error {
    let error = local(debian).err().expect("it should be refused");
    assert!(error.message.contains(says), "{error}\n{:?}", error.hints);
    assert_eq!(error.kind, kind, "{error}");
    error
}

#[test]
fn a_signed_archive_is_read_from_a_folder_and_over_http() {
    let debian = Debian::new(&PACKAGES);
    let read = local(&debian).unwrap();
    assert_eq!(read.index.packages().count(), 2);
    assert_eq!(read.suites[0].suite, "bookworm");
    assert!(read.describe().starts_with("bookworm of 20"));

    let server = Server::start(debian.folder());
    let cache = TempDir::new().unwrap();
    let read = |offline| indices(&server.url(), &debian.environment(), cache.path(), offline);
    assert_eq!(read(false).unwrap().index.packages().count(), 2);
    assert_eq!(server.requests("by-hash/SHA256/").len(), 1);
    // A second time only the InRelease is asked for, and offline nothing.
    read(false).unwrap();
    assert_eq!((server.requests("").len(), server.requests("InRelease").len()), (3, 2));
    assert_eq!(read(true).unwrap().index.packages().count(), 2);
    assert_eq!(server.requests("").len(), 3);
}

#[test]
fn offline_without_a_cache_is_an_error() {
    let debian = Debian::new(&PACKAGES);
    let cache = TempDir::new().unwrap();
    let error = indices("http://mirror.test/debian", &debian.environment(), cache.path(), true).err().unwrap();
    assert_eq!(error.kind, Kind::Network);
    assert!(error.message.contains("offline, and the index of bookworm is not in the cache"), "{error}");
}

#[test]
fn a_tampered_in_release_is_refused() {
    let debian = Debian::new(&PACKAGES);
    let text = std::fs::read_to_string(debian.in_release()).unwrap();
    write(&debian.in_release(), text.replacen("Origin: Test", "Origin: Evil", 1).as_bytes());
    refused(&debian, Kind::Input, "its signature is bad");
    write(&debian.in_release(), b"Origin: Test\n");
    refused(&debian, Kind::Input, "it is not signed");
    write(&debian.in_release(), &text.as_bytes()[..text.len() / 2]);
    refused(&debian, Kind::Input, "cut short");
}

#[test]
fn a_key_outside_of_the_keyring_is_refused() {
    let mut debian = Debian::new(&PACKAGES);
    let environment = debian.environment();
    debian.key = Key::new();
    debian.publish();
    let cache = TempDir::new().unwrap();
    let error = indices(debian.folder().to_str().unwrap(), &environment, cache.path(), false).err().unwrap();
    assert!(error.message.contains("no key of the keyring has signed it; the signing key is "), "{error}");
    assert!(error.hints[0].contains("keyring.gpg"), "{:?}", error.hints);
}

#[test]
fn an_expired_in_release_is_refused_unless_told_otherwise() {
    let mut debian = Debian::new(&PACKAGES);
    debian.release = format!("Valid-Until: {}\n", date(-10));
    debian.publish();
    let error = refused(&debian, Kind::Input, "has expired: it was valid until");
    assert!(error.hints.iter().any(|hint| hint.contains("XENBUILD_CHECK_DATES=no")));
    let environment = Environment { check_dates: Some(false), ..debian.environment() };
    let cache = TempDir::new().unwrap();
    indices(debian.folder().to_str().unwrap(), &environment, cache.path(), false).unwrap();

    debian.release.clear();
    debian.date_s = 3600;
    debian.publish();
    refused(&debian, Kind::Input, "is from the future");
}

#[test]
fn another_suite_component_or_architecture_is_refused() {
    let debian = Debian::new(&PACKAGES);
    let other = debian.folder().join("dists/sid/InRelease");
    write(&other, &std::fs::read(debian.in_release()).unwrap());
    let read = |change: fn(&mut xenbuild::recipe::Packages)| {
        let mut packages = packages(debian.folder().to_str().unwrap());
        change(&mut packages);
        let archive = Archive::open_in(&packages, Path::new("/"), false, &debian.environment()).unwrap();
        archive.indices(TempDir::new().unwrap().path(), &Silent::default()).err().unwrap().message
    };
    let message = read(|packages| packages.suites = vec!["sid".into()]);
    assert!(message.contains("of another suite: asked for sid, got oldstable or bookworm"), "{message}");
    let message = read(|packages| packages.suites = vec!["trixie".into()]);
    assert!(message.contains("has no suite trixie"), "{message}");
    let message = read(|packages| packages.components = vec!["universe".into()]);
    assert!(message.contains("no component universe; it has main"), "{message}");
    let message = read(|packages| packages.architecture = "riscv64".into());
    assert!(message.contains("no architecture riscv64; it has amd64, arm64"), "{message}");
    // The architecture is listed, but its index is not.
    let message = read(|packages| packages.architecture = "amd64".into());
    assert!(message.contains("lists no main/binary-amd64/Packages"), "{message}");
}

#[test]
fn an_index_must_be_the_one_that_was_signed() {
    let mut debian = Debian::new(&PACKAGES);
    debian.by_hash = false;
    std::fs::remove_dir_all(debian.dists("main")).unwrap();
    debian.publish();
    let path = debian.dists("main/binary-arm64/Packages.gz");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    write(&path, &bytes);
    refused(&debian, Kind::Input, "SHA-256 is not what it should be\n  expected ");
    bytes.pop();
    write(&path, &bytes);
    refused(&debian, Kind::Input, "bytes, but the archive's index says");
    std::fs::remove_file(&path).unwrap();
    refused(&debian, Kind::Network, "lacks main/binary-arm64/Packages.gz of bookworm");
}

#[test]
fn a_damaged_cache_is_loaded_again() {
    let debian = Debian::new(&PACKAGES);
    let server = Server::start(debian.folder());
    let cache = TempDir::new().unwrap();
    let read = |offline| indices(&server.url(), &debian.environment(), cache.path(), offline);
    read(false).unwrap();
    let folder = cache.path().join("bookworm-arm64");
    let kept = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|path| !path.ends_with("InRelease")).collect::<Vec<_>>();
    assert_eq!(kept.len(), 1);
    write(&kept[0], b"\x1f\x8b damaged");
    assert!(read(true).is_err());
    read(false).unwrap();
    read(true).unwrap();
    assert_eq!(server.requests("by-hash").len(), 2);
    // An index that the suite no longer names goes away.
    write(&folder.join("ab".repeat(32)), b"old");
    read(false).unwrap();
    assert!(!folder.join("ab".repeat(32)).exists());
}

#[test]
fn by_hash_falls_back_to_the_name() {
    let debian = Debian::new(&PACKAGES);
    std::fs::remove_dir_all(debian.dists("main/binary-arm64/by-hash")).unwrap();
    let server = Server::start(debian.folder());
    indices(&server.url(), &debian.environment(), TempDir::new().unwrap().path(), false).unwrap();
    assert_eq!((server.requests("by-hash").len(), server.requests("Packages.gz").len()), (1, 1));
}

#[test]
fn an_endless_in_release_is_cut_off() {
    let debian = Debian::new(&PACKAGES);
    let server = Server::start(debian.folder());
    server.fault("InRelease", Fault::Content(vec![b'x'; 9 << 20]));
    let error = indices(&server.url(), &debian.environment(), TempDir::new().unwrap().path(), false).err().unwrap();
    assert!(error.message.contains("is larger than"), "{error}");
}
