//! Images of packages, from a signed archive in a folder: built, built again without it, and what happens when it is damaged.

use std::fs;
use std::io::Write;

use imagegen::decompress::gzip_writer;

use crate::archive::{Debian, sha256};
use crate::bench::{Bench, ran, tarball};

/// A package as dpkg-deb would build it: one file that says which it is.
pub fn deb(name: &str, version: &str) -> Vec<u8> {
    let control = format!("Package: {name}\nVersion: {version}\nArchitecture: arm64\n");
    let text = format!("{name} {version}\n");
    let control = tarball(&[("control", control.as_bytes())]);
    // Incompressible too, so that half of it is no whole package.
    let noise: Vec<u8> = (0..200u32).flat_map(|index| sha256(&index.to_le_bytes()).into_bytes()).collect();
    let data = tarball(&[(&format!("usr/share/{name}/version"), text.as_bytes()), ("usr/share/noise", &noise)]);
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.gz", &control), ("data.tar.gz", &data)] {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

/// An archive of two packages, the first of which needs the second.
pub fn debian() -> Debian {
    let mut debian = Debian::new(&[
        "Package: tool\nVersion: 1.0-1\nArchitecture: arm64\nDepends: base (>= 2)",
        "Package: base\nVersion: 2.0\nArchitecture: arm64",
    ]);
    debian.content = deb;
    debian.publish();
    debian
}

/// Has the recipe take `tool` from this archive.
pub fn use_packages(bench: &Bench, debian: &Debian) {
    let keyring = debian.environment().keyring.unwrap();
    let packages = format!(
        "[packages]\nsuites = [\"bookworm\"]\nmirror = \"file://{}\"\nkeyring = \"{}\"\n\n[machine]",
        debian.folder().display(),
        keyring.display()
    );
    bench.edit("[machine]", &packages);
    bench.edit("label = \"rootfs\"", "label = \"rootfs\"\npackages = [\"tool\"]");
}

fn bench() -> (Debian, Bench) {
    let (debian, bench) = (debian(), Bench::new());
    use_packages(&bench, &debian);
    (debian, bench)
}

#[test]
fn packages_become_an_image_and_then_nobody_asks_for_them() {
    let (debian, bench) = bench();
    let steps = bench.build();
    let added = ["fetch.base", "fetch.tool", "lock", "unpack.base", "unpack.tool"];
    assert_eq!(steps.len(), 11 + added.len(), "{steps:?}");
    assert!(added.iter().all(|name| steps.iter().any(|step| step == name)), "{steps:?}");
    let image = fs::read(bench.path("out/r/rootfs.img")).unwrap();
    let ext4 = ext4_view::Ext4::load(Box::new(image)).unwrap();
    assert_eq!(ext4.read_to_string("/usr/share/tool/version").unwrap(), "tool 1.0-1\n");
    assert_eq!(ext4.read_to_string("/usr/share/base/version").unwrap(), "base 2.0\n");
    assert!(fs::read_to_string(bench.path("r.lock")).unwrap().contains("1.0-1"));

    let before = bench.artifacts();
    let folder = debian.folder().to_owned();
    drop(debian);
    assert!(!folder.exists());
    for arguments in
        [&["image", "r.toml", "--message-format=json"][..], &["image", "r.toml", "--message-format=json", "--locked"]]
    {
        assert_eq!(ran(&bench.run(arguments).unwrap()), Vec::<String>::new());
    }
    assert_eq!(bench.artifacts(), before);
    // Another content of the image needs them unpacked, and they are.
    bench.edit("dom0\\n", "other\\n");
    assert_eq!(bench.build(), ["filesystem.rootfs"]);
}

/// Damages the archive after the lock is written, builds, and returns exit code and error.
fn fails(damage: impl FnOnce(&Debian)) -> (i32, String) {
    let (debian, bench) = bench();
    bench.run(&["lock", "r.toml"]).unwrap();
    damage(&debian);
    let failure = bench.run(&["image", "r.toml"]).unwrap_err();
    assert_eq!(bench.litter(), Vec::<std::path::PathBuf>::new());
    assert_eq!(half_made(&bench), Vec::<String>::new());
    // Mended, it goes on from there.
    debian.publish();
    bench.build();
    assert!(bench.path("out/r/r.axf").exists());
    failure
}

/// Lists packages in the cache that are not whole, and artifacts of a build that did not come to its end.
fn half_made(bench: &Bench) -> Vec<String> {
    let whole = [sha256(&deb("tool", "1.0-1")), sha256(&deb("base", "2.0"))];
    let mut found = Vec::new();
    let mut todo = vec![bench.path("out")];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                todo.push(path);
            } else if name.ends_with(".part")
                || name == "package.deb" && !whole.contains(&crate::bench::hash(&path))
                || name == "rootfs.img"
                || name == "r.axf"
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_truncated_package_is_named() {
    let failure = fails(|debian| {
        let path = debian.folder().join("pool/tool_1.0-1_arm64.deb");
        let whole = fs::read(&path).unwrap();
        fs::File::create(path).unwrap().write_all(&whole[..whole.len() / 2]).unwrap();
    });
    assert_eq!(failure.0, 4, "{}", failure.1);
    for part in ["tool 1.0-1", "tool_1.0-1_arm64.deb", "bytes, but the archive's index says"] {
        assert!(failure.1.contains(part), "{part:?} is not in\n{}", failure.1);
    }
}

#[test]
fn a_version_that_has_vanished_is_named_with_the_way_on() {
    let failure = fails(|debian| fs::remove_file(debian.folder().join("pool/base_2.0_arm64.deb")).unwrap());
    assert_eq!(failure.0, 5, "{}", failure.1);
    for part in ["base 2.0 is no longer on the mirror", "xenbuild lock --update"] {
        assert!(failure.1.contains(part), "{part:?} is not in\n{}", failure.1);
    }
}

#[test]
fn a_package_that_is_none_is_named() {
    // Of the right size and hash, so that the archive is to blame.
    let (mut debian, bench) = bench();
    debian.content = |name, version| match name {
        "tool" => gzip_writer(Vec::new(), 6).finish().unwrap(),
        _ => deb(name, version),
    };
    debian.publish();
    let (code, told) = bench.run(&["image", "r.toml"]).unwrap_err();
    assert_eq!(code, 4, "{told}");
    assert!(told.contains("tool 1.0-1"), "{told}");
    assert!(!bench.path("out/r/rootfs.img").exists());
    assert_eq!(bench.litter(), Vec::<std::path::PathBuf>::new());
}
