//! One small image, digest and all: the same bytes on every machine and any day.

use sha2::{Digest, Sha256};

use imagegen::fat::{Options, Width};

use crate::oracle::{add, file, image, noise, tree, with};

#[test]
fn the_same_bytes_as_ever() {
    let mut tree = tree();
    add(&mut tree, "config.txt", file("kernel=Image\n"));
    add(&mut tree, "Image", file(noise(70_000, 1)));
    for number in 0..50 {
        add(&mut tree, format!("overlays/an overlay {number}.dtbo"), file(noise(number * 137, 1)));
    }
    let mut digests = String::new();
    for width in [Width::Fat12, Width::Fat16, Width::Fat32] {
        let image = image(&tree, &Options { label: "GOLDEN".into(), ..with(width) });
        let digest = Sha256::digest(std::fs::read(&image.path).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        digests.push_str(&format!("{digest} fat{}\n", width.bits()));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fat/small.sha256");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &digests).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), digests);
}
