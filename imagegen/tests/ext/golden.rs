//! One small image, digest and all: the same bytes on every machine and any day.

use sha2::{Digest, Sha256};

use imagegen::ext::{BlockSize, Options};
use imagegen::tree::{Kind, Metadata};

use crate::oracle::{image, options, run};
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
    let options = Options { block_size: BlockSize::KiB1, label: "golden".into(), ..options() };
    let image = image(&tree, &options);
    let digest = Sha256::digest(std::fs::read(&image.path).unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ext/ext3.sha256");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, format!("{digest}\n")).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap().trim(), digest);
}

/// Fields that mke2fs decides too are what it decides.
#[test]
fn fields_are_those_of_mke2fs() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    std::fs::File::create(&theirs).unwrap().set_len(600 << 20).unwrap();
    let arguments = ["-q", "-F", "-t", "ext3", "-b", "4096", "-E", "lazy_itable_init=0"].map(std::ffi::OsStr::new);
    if run("mke2fs", &[&arguments[..], &[theirs.as_ref()]].concat()).is_none() {
        return;
    }
    let ours = image(&tree(), &Options { size_bytes: Some(600 << 20), ..options() });
    let fields = |path: &std::path::Path| -> Vec<String> {
        let (_, text) = run("dumpe2fs", &["-h".as_ref(), path.as_ref()]).unwrap();
        let differ = ["UUID", "created:", "write time", "checked:", "Seed", "dumpe2fs", "Free blocks:"];
        text.lines().filter(|line| !differ.iter().any(|word| line.contains(word))).map(String::from).collect()
    };
    assert_eq!(fields(&ours.path), fields(&theirs));
}
