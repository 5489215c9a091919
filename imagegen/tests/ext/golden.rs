//! One small image of each version, digest and all: the same bytes on every machine and any day.

use std::ffi::OsStr;
use std::path::Path;

use sha2::{Digest, Sha256};

use imagegen::ext::{BlockSize, Options, Version};
use imagegen::tree::{Kind, Metadata};

use crate::oracle::{VERSIONS, image, options, run};
use crate::trees::{add, file, metadata, noise, tree};

#[test]
fn the_same_bytes_as_ever() {
    let mut tree = tree();
    add(&mut tree, "etc/hostname", file("dom0\n"));
    add(&mut tree, "bin", Kind::Symlink((*b"usr/bin").into()));
    add(&mut tree, "dev/console", Kind::CharacterDevice { major: 5, minor: 1 });
    for number in 0..200 {
        add(&mut tree, format!("usr/bin/tool-{number}"), file(noise(number * 37, 1)));
    }
    let xattrs = [(b"security.selinux".to_vec(), noise(200, 1))].into();
    tree.insert(b"labelled", file("x"), Metadata { xattrs, ..metadata(0o600) }).unwrap();
    for version in VERSIONS {
        let options = Options { version, block_size: BlockSize::KiB1, label: "golden".into(), ..options() };
        let image = image(&tree, &options);
        let digest = Sha256::digest(std::fs::read(&image.path).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("{}/tests/data/ext/{}.sha256", env!("CARGO_MANIFEST_DIR"), version.name());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, format!("{digest}\n")).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap().trim(), digest, "{version:?}");
    }
}

/// Fields that mke2fs decides too are what it decides.
#[test]
fn fields_are_those_of_mke2fs() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    let fields = |path: &Path| -> Vec<String> {
        let (_, text) = run("dumpe2fs", &["-h".as_ref(), path.as_ref()]).unwrap();
        let differ =
            ["UUID", "created:", "write time", "checked:", "Seed", "dumpe2fs", "Free blocks:", "Checksum:", "Lifetime"];
        text.lines().filter(|line| !differ.iter().any(|word| line.contains(word))).map(String::from).collect()
    };
    for (version, mib) in VERSIONS.into_iter().flat_map(|version| [(version, 600), (version, 3000)]) {
        let Some(()) = mke2fs(version, &theirs, mib) else { return };
        let ours = image(&tree(), &Options { version, size_bytes: Some(mib << 20), ..options() });
        assert_eq!(fields(&ours.path), fields(&theirs));
    }
}

/// Has mke2fs make an empty file system; `None` if it is not installed.
fn mke2fs(version: Version, path: &Path, mib: u64) -> Option<()> {
    let _ = std::fs::remove_file(path);
    std::fs::File::create(path).unwrap().set_len(mib << 20).unwrap();
    let arguments = ["-q", "-F", "-t", version.name(), "-b", "4096", "-E", "lazy_itable_init=0"].map(OsStr::new);
    let (success, text) = run("mke2fs", &[&arguments[..], &[path.as_ref()]].concat())?;
    assert!(success, "{text}");
    Some(())
}

/// Groups that nothing of the tree reaches are described as mke2fs describes them: where their tables lie, and what of
/// them was never used.
#[test]
fn empty_groups_are_those_of_mke2fs() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    let Some(()) = mke2fs(Version::Ext4, &theirs, 3000) else { return };
    let ours = image(&tree(), &Options { version: Version::Ext4, size_bytes: Some(3000 << 20), ..options() });
    let groups = |path: &Path| -> Vec<String> {
        let (_, text) = run("dumpe2fs", &[path.as_ref()]).unwrap();
        let groups = text.split("\nGroup ").filter(|group| group.starts_with(|first: char| first.is_ascii_digit()));
        groups.map(|group| group.replace('\n', " ")).collect()
    };
    let (ours, theirs) = (groups(&ours.path), groups(&theirs));
    assert_eq!(ours.len(), theirs.len());
    let flags = |group: &str| group[group.find('[').unwrap()..group.find(']').unwrap()].to_owned();
    let tables = |group: &str| -> Vec<String> {
        let numbers = group.split("Inode table at ").nth(1).unwrap().split(' ').next();
        let bitmaps = group.split(" bitmap at ").skip(1).map(|text| text.split(' ').next().unwrap());
        bitmaps.chain(numbers).map(String::from).collect()
    };
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(tables(ours), tables(theirs), "{number}");
        // mke2fs puts its journal into the middle, and begins every 16 groups with their tables.
        if ![0, 10, 11, 16, 23].contains(&number) {
            assert_eq!(flags(ours), flags(theirs), "{number}");
            assert!(ours.contains("BLOCK_UNINIT") && ours.contains("INODE_UNINIT"), "{ours}");
        }
        assert!(ours.contains("ITABLE_ZEROED"));
    }
}
