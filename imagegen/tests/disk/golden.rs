//! Small disks, digest and all: the same bytes on every machine and any day.

use imagegen::disk::{Partition, Scheme};
use sha2::{Digest, Sha256};

use crate::oracle::{make, options, partition};

#[test]
fn the_same_bytes_as_ever() {
    let mut digests = String::new();
    for scheme in [Scheme::Gpt, Scheme::Mbr, Scheme::Hybrid] {
        let mut partitions: Vec<Partition> =
            (0..6).map(|number| partition(&format!("part {number}"), "linux", 5_000 * number + 1)).collect();
        partitions[2].hybrid = scheme == Scheme::Hybrid;
        let disk = make(&options(scheme), &partitions, &[]);
        let digest = Sha256::digest(std::fs::read(&disk.path).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        digests.push_str(&format!("{digest} {scheme}\n"));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/disk/small.sha256");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &digests).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), digests);
}
