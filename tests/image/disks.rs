//! Disks end to end: partitioned by recipe, then shown to strangers, who announce themselves missing.

use std::fs;

use crate::bench::{Bench, ran, shown, tool};

const DISKS: &str = r#"
[filesystem.boot]
format = "fat"
label = "BOOT"
free = "1MiB"
files."/overlays/a long name.dtbo" = { text = "overlay" }
files."/config.txt" = { text = "kernel=Image\n" }

[filesystem.outer]
files."/srv/card.img" = { disk = "card" }

[disk.card]
size = "64MiB"
compress = "gz"
gap = [{ offset = "32KiB", path = "loader.bin" }]

[[disk.card.partition]]
type = "esp"
filesystem = "boot"
size = "8MiB"

[[disk.card.partition]]
type = "root-arm64"
filesystem = "domu"
size = "rest"
attributes = ["grow"]

[disk.small]
table = "mbr"
compress = "zst"
bmap = false
partition = [{ type = "fat12", filesystem = "boot" }, { type = "linux", filesystem = "domu", logical = true }]
"#;

fn bench() -> Bench {
    let bench = Bench::new();
    let recipe = fs::read_to_string(bench.path("r.toml")).unwrap();
    fs::write(bench.path("r.toml"), recipe + DISKS).unwrap();
    fs::write(bench.path("loader.bin"), [0x5a; 5000]).unwrap();
    bench
}

#[test]
fn disks_are_published_and_strangers_read_them() {
    let bench = bench();
    let made = bench.build();
    for step in ["disk.card", "disk.card:bmap", "disk.card:gz", "disk.small", "disk.small:zst", "filesystem.outer"] {
        assert!(made.iter().any(|name| name == step), "{step}: {made:?}");
    }
    let out = bench.path("out/r");
    let names: Vec<String> = bench.artifacts().into_iter().map(|(name, _)| name).collect();
    for name in ["boot.img", "card.img", "card.img.bmap", "card.img.gz", "small.img", "small.img.zst"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name == "small.img.bmap"));
    for name in ["card.img", "small.img"] {
        shown("sfdisk", &["--verify", name], &out);
    }
    if let Some(text) = shown("sfdisk", &["--dump", "card.img"], &out) {
        assert!(
            text.contains("label: gpt") && text.contains("name=\"boot\"") && text.contains("name=\"domu\""),
            "{text}"
        );
        // The root takes what the 64 MiB leave: from 9 MiB on, but for the backup of the table.
        assert!(text.contains("start=       18432, size=      112607"), "{text}");
        assert!(text.contains("type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE") && text.contains("GUID:59"), "{text}");
    }
    if let Some(text) = shown("sgdisk", &["-v", "card.img"], &out) {
        assert!(text.contains("No problems found"), "{text}");
    }
    let card = fs::read(out.join("card.img")).unwrap();
    assert_eq!(card.len(), 64 << 20);
    assert!(card[32 << 10..][..5000].iter().all(|&byte| byte == 0x5a));
    let boot = fs::read(out.join("boot.img")).unwrap();
    assert!(card[1 << 20..][..boot.len()] == boot[..]);
    if let Some((_, text)) = tool("mtype", &["-i", "card.img@@1M", "::overlays/a long name.dtbo"], &out) {
        assert_eq!(String::from_utf8_lossy(&text), "overlay");
    }
    for (program, packed, plain) in [("gzip", "card.img.gz", "card.img"), ("zstd", "small.img.zst", "small.img")] {
        if let Some((success, content)) = tool(program, &["-dc", packed], &out) {
            assert!(success && content == fs::read(out.join(plain)).unwrap(), "{packed}");
        }
    }
    // bmaptool finds the map by the image's name, and takes the compressed image as well.
    let target = bench.path("target");
    let arguments = ["copy", "card.img.gz", target.to_str().unwrap()];
    if let Some((success, text)) = tool("bmaptool", &arguments, &out) {
        assert!(success, "{}", String::from_utf8_lossy(&text));
        assert!(fs::read(&target).unwrap() == card);
    }
    let before = bench.artifacts();
    let output = bench.run(&["image", "r.toml", "--message-format=json", "--offline", "--locked"]).unwrap();
    assert_eq!(ran(&output), Vec::<String>::new());
    fs::remove_dir_all(bench.path("out")).unwrap();
    bench.build();
    assert!(bench.artifacts() == before, "made again, the same bytes");
}

#[test]
fn a_disk_that_cannot_be_shows_its_table_and_its_place() {
    let bench = bench();
    let recipe = fs::read_to_string(bench.path("r.toml")).unwrap();
    fs::write(bench.path("r.toml"), recipe.replace("offset = \"32KiB\"", "offset = \"8KiB\"")).unwrap();
    let output = bench.command(&["image", "r.toml", "--offline"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("disk.card: gap 1 overlaps GPT entries"), "{told}");
    assert!(told.contains("r.toml:") && told.contains("[disk.card]"), "{told}");
    assert!(told.contains("    8192    13192     4.8 KiB  gap 1"), "{told}");
    assert!(!bench.path("out/r/card.img").exists());
}
