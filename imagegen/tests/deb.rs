//! Debian packages, judged by dpkg-deb: its packages opened, the trees compared with what it extracts.

#[path = "support/dump.rs"]
mod dump;
#[path = "support/source.rs"]
mod source;
#[path = "support/tools.rs"]
mod tools;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use dump::dump;
use imagegen::archive::folder::{self, Keep};
use imagegen::archive::{ReadOptions, deb, tar};
use imagegen::decompress;
use imagegen::tree::{Metadata, Timestamp, Tree};
use proptest::prelude::*;
use source::{empty, file, folder_tree};
use tools::{available, shell};

/// Opens a package, unpacks it and reads its tar.
fn unpack(package: &Arc<File>) -> Result<(deb::Deb, Tree), String> {
    let deb = deb::open(package).map_err(|error| error.to_string())?;
    let output = tempfile::tempfile().unwrap();
    let length = deb.unpack(&output).map_err(|error| error.to_string())?;
    assert_eq!(length, output.metadata().unwrap().len());
    let mut tree = empty();
    tar::read_into(&mut tree, &Arc::new(output), &ReadOptions::default()).map_err(|error| error.to_string())?;
    Ok((deb, tree))
}

fn build(folder: &Path, compression: &str) -> Vec<u8> {
    shell(
        &format!(
            "rm -rf p; mkdir -p p/DEBIAN p/usr/bin p/etc; chmod -R go=rX p; chmod 755 p p/DEBIAN
             printf 'Package: hello\\nVersion: 1:2.0-1\\nArchitecture: arm64\\nMaintainer: M <m@example.org>\\nDescription: d\\n more\\n' >p/DEBIAN/control
             printf '#!/bin/sh\\n' >p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst; printf '/etc/hello\\n' >p/DEBIAN/conffiles
             seq 1 20000 >p/usr/bin/hello; chmod 4755 p/usr/bin/hello; ln -s hello p/usr/bin/hi; echo c >p/etc/hello
             find p -exec touch -h -d @1500000000 {{}} +
             dpkg-deb -Z{compression} --root-owner-group -b p p.deb >/dev/null"
        ),
        folder,
    );
    std::fs::read(folder.join("p.deb")).unwrap()
}

/// A package of our own making: an ar archive of these members.
fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

fn control_tar(control: &str) -> Vec<u8> {
    let mut tree = empty();
    let content = Arc::new(control.as_bytes().to_vec());
    tree.insert(b"control", imagegen::tree::Kind::File(content), Metadata::root(0o644, Timestamp::default())).unwrap();
    let mut bytes = Vec::new();
    tar::write(&tree, &mut bytes, &tar::WriteOptions::default()).unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = decompress::gzip_writer(Vec::new(), 6);
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn packages_of_every_compression_are_what_dpkg_extracts() {
    if !available("dpkg-deb") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    for compression in ["none", "gzip", "xz", "zstd"] {
        let bytes = build(temp.path(), compression);
        let (deb, tree) = unpack(&file(&bytes)).unwrap();
        assert_eq!(deb.control.get("Version"), Some("1:2.0-1"));
        assert_eq!(deb.control.get("Description"), Some("d\nmore"));
        let names: Vec<_> = deb.control_files.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        assert_eq!(names, ["conffiles", "control", "postinst"]);
        shell("rm -rf x; dpkg-deb -x p.deb x", temp.path());
        let theirs = folder_tree(&temp.path().join("x"), Some((0, 0)));
        assert_eq!(dump(&tree), dump(&theirs), "{compression}");
        let mut data = Vec::new();
        deb.data().unwrap().read_to_end(&mut data).unwrap();
        std::fs::write(temp.path().join("ours.tar"), &data).unwrap();
        shell("dpkg-deb --fsys-tarfile p.deb | cmp - ours.tar", temp.path());
    }
}

#[test]
fn a_package_cut_anywhere_is_an_error_that_names_the_member() {
    let control = gzip(&control_tar("Package: a\nVersion: 1\nArchitecture: all\n"));
    let data = gzip(&control_tar("not control"));
    let good = ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &data)]);
    assert!(unpack(&file(&good)).is_ok());
    for length in (0..good.len() - 1).step_by(13) {
        let error = unpack(&file(&good[..length])).map(|_| ()).unwrap_err();
        assert!(error.contains("truncated"), "{length}: {error}");
    }
    let error = unpack(&file(&good[..good.len() - 30])).map(|_| ()).unwrap_err();
    assert_eq!(
        error,
        format!(
            "member `data.tar.gz` at byte {}: the archive is truncated: it ends in the content of this member",
            good.len() - data.len() - 60 - good.len() % 2
        )
    );
}

#[test]
fn what_is_no_package_is_refused() {
    let control = gzip(&control_tar("Package: a\nVersion: 1\nArchitecture: all\n"));
    let binary: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"PK\x03\x04....".to_vec(), "at byte 0: this is no Debian package: no `!<arch>`"),
        (b"!<ar".to_vec(), "at byte 0: the archive is truncated: it ends in its first 8 bytes"),
        (
            ar(&[("debian-binary", b"3.0\n")]),
            "member `debian-binary` at byte 8: a package of format `3.0`: only 2.x is known",
        ),
        (ar(&[("data.tar", b"")]), "member `data.tar` at byte 8: a package has `debian-binary` in this place"),
        (
            ar(&[binary, ("control.tar.lzma", b"x")]),
            "member `control.tar.lzma` at byte 72: an unknown way of compression",
        ),
        (
            ar(&[binary, ("control.tar.gz", b"no gzip")]),
            "member `control.tar.gz` at byte 72: the member should be gzip but is plain",
        ),
        (
            ar(&[binary, ("control.tar.gz", &control[..60])]),
            "member `control.tar.gz` at byte 72: the gzip stream is truncated",
        ),
        (
            ar(&[binary, ("control.tar", &control_tar("Package: a\n"))]),
            "member `control.tar` at byte 72: its `control` file: `Version` is missing",
        ),
        (
            ar(&[binary, ("control.tar", &control_tar("nonsense"))]),
            "member `control.tar` at byte 72: its `control` file: line 1: neither a field (`Name: value`) nor a continuation",
        ),
        (
            ar(&[binary, ("control.tar", b"short")]),
            "member `control.tar` at byte 72: its control tar is broken: at byte 0: the archive is truncated: it ends in a header",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(deb::open(&file(&bytes)).map(|_| ()).unwrap_err().to_string(), expected);
    }
    // Members of later inventions are passed over, names may end as GNU ar ends them.
    let good =
        ar(&[("debian-binary/", b"2.1\n"), ("_future", b"odd"), ("control.tar.gz", &control), ("data.tar", b"")]);
    assert!(deb::open(&file(&good)).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_damage_makes_the_reader_panic(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let control = control_tar("Package: a\nVersion: 1\nArchitecture: all\n");
        let mut bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control[..2560]), ("data.tar.gz", &gzip(&control))]);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = unpack(&file(&bytes));
    }
}

#[test]
#[ignore = "conformance: reads every package of the folder in $DEB_FOLDER"]
fn real_packages_are_what_dpkg_extracts() {
    let Some(folder) = std::env::var_os("DEB_FOLDER") else {
        eprintln!("SKIPPED: $DEB_FOLDER is not set");
        return;
    };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        count += 1;
        let (deb, tree) = unpack(&Arc::new(File::open(&path).unwrap())).unwrap();
        let temp = tempfile::tempdir().unwrap();
        shell(&format!("dpkg-deb -x '{}' x", path.display()), temp.path());
        let mut theirs = empty();
        folder::read_into(&mut theirs, &temp.path().join("x"), &ReadOptions::default(), Keep::Everything).unwrap();
        // dpkg-deb makes links last, which gives the folders around them a new time.
        let text = |tree: &Tree| -> Vec<String> {
            let folder =
                |line: &str| line.ends_with(" directory").then(|| line.rsplitn(3, ' ').nth(2).map(str::to_owned));
            dump(tree).lines().map(|line| folder(line).flatten().unwrap_or(line.to_owned())).collect()
        };
        assert_eq!(text(&tree), text(&theirs), "{}", path.display());
        let version = shell(&format!("dpkg-deb -f '{}' Version", path.display()), temp.path());
        assert_eq!(deb.control.get("Version"), Some(version.trim()));
    }
    eprintln!("{count} packages");
    assert!(count > 0);
}
