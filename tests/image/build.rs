//! What is made, that nothing is made twice, and that the same comes of the same.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::bench::{Bench, events, ran};

const ALL: [&str; 11] = [
    "boot",
    "device-tree",
    "filesystem.domu",
    "filesystem.initramfs",
    "filesystem.rootfs",
    "guest.one",
    "hypervisor",
    "kernel.linux",
    "kernel.linux:file",
    "unpack.files.tar.gz",
    "unpack.kernel.tar.gz",
];

#[test]
fn a_recipe_becomes_artifacts_and_a_second_run_does_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.build(), ALL);
    let names: Vec<String> = bench.artifacts().into_iter().map(|(name, _)| name).collect();
    let wanted = [
        "Image",
        "SHA256SUMS",
        "domu.img",
        "initramfs.cpio.gz",
        "machine.dtb",
        "manifest.json",
        "memory-map.txt",
        "one.cfg",
        "r.axf",
        "rootfs.img",
        "xen",
    ];
    assert_eq!(names, wanted);
    for name in names {
        let metadata = fs::metadata(bench.path("out/r").join(&name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o444, "{name} is read-only");
    }
    let before = bench.artifacts();
    let index = fs::metadata(bench.path("out/cache/index")).unwrap().ino();
    let output = bench.run(&["image", "r.toml", "--message-format=json", "--offline", "--locked"]).unwrap();
    assert_eq!(ran(&output), Vec::<String>::new());
    let events = events(&output);
    assert_eq!(events[0], serde_json::json!({"event": "plan", "recipe": "r", "steps": 11}));
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["done"], &last["reused"]), (&"finished".into(), &0.into(), &11.into()));
    assert_eq!(bench.artifacts(), before);
    assert_eq!(fs::metadata(bench.path("out/cache/index")).unwrap().ino(), index, "nothing was written");
    // People are told, too.
    let output = bench.command(&["image", "r.toml"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("r: nothing to do, all 11 steps are up to date"), "{told}");
    assert_eq!(bench.command(&["image", "-q", "r.toml"]).output().unwrap().stderr, b"");
}

#[test]
fn one_inline_file_rebuilds_its_file_system_and_what_depends_on_it() {
    let bench = Bench::new();
    bench.build();
    bench.edit("dom0\\n", "other\\n");
    assert_eq!(bench.build(), ["filesystem.rootfs"]);
    bench.edit(
        "\"/init\" = { mode = 0o755, text = \"#!/bin/sh\\n\" }",
        "\"/init\" = { mode = 0o755, text = \"#!/bin/ash\\n\" }",
    );
    assert_eq!(bench.build(), ["boot", "filesystem.initramfs"]);
    bench.edit("[filesystem.domu.files]", "[filesystem.domu.files]\n\"/x\" = { text = \"x\" }");
    assert_eq!(bench.build(), ["filesystem.domu", "filesystem.rootfs"]);
    bench.edit("description = \"everything from local files\"", "description = \"other words\"");
    assert_eq!(bench.build(), Vec::<String>::new());
}

#[test]
fn the_same_content_in_another_wrapping_stops_the_wave() {
    let bench = Bench::new();
    bench.build();
    // The tarball is another file, what is in it is the same.
    let plain = {
        use std::io::Read;
        let mut plain = Vec::new();
        let file = fs::read(bench.path("kernel.tar.gz")).unwrap();
        let inner: Box<dyn std::io::BufRead + Send> = Box::new(std::io::Cursor::new(file));
        imagegen::decompress::reader(inner).unwrap().read_to_end(&mut plain).unwrap();
        plain
    };
    bench.write("kernel.tar.gz", plain);
    assert_eq!(bench.build(), ["unpack.kernel.tar.gz"]);
}

#[test]
fn guests_are_in_the_root_file_system() {
    let bench = Bench::new();
    bench.build();
    let image = fs::read(bench.path("out/r/rootfs.img")).unwrap();
    let ext4 = ext4_view::Ext4::load(Box::new(image)).unwrap();
    assert_eq!(ext4.read("/etc/xen/one.cfg").unwrap(), fs::read(bench.path("out/r/one.cfg")).unwrap());
    let images = "/var/lib/xen/images/one";
    assert_eq!(ext4.read(format!("{images}/kernel").as_str()).unwrap(), fs::read(bench.path("out/r/Image")).unwrap());
    let disk = ext4.metadata(format!("{images}/xvda.img").as_str()).unwrap();
    assert_eq!(disk.len(), 16 << 20);
    assert_eq!(ext4.read("/opt/b/c").unwrap(), b"c");
    assert_eq!(ext4.read("/etc/motd").unwrap(), b"hello\n");
    assert_eq!(ext4.read_to_string("/etc/passwd").unwrap(), "ann:x:1000:1000::/home/ann:/bin/sh\n");
    let tool = ext4.metadata("/notes").unwrap();
    assert_eq!((tool.uid(), tool.gid(), tool.mode() & 0o7777), (0, 0, 0o644));
    debugfs_agrees(&bench, &format!("{images}/xvda.img"), "domu.img");
    // The nested image keeps its holes: it is far smaller than it says.
    let blocks = fs::metadata(bench.path("out/r/rootfs.img")).unwrap().blocks();
    assert!(blocks * 512 < 12 << 20, "{} bytes", blocks * 512);
}

/// Compares a file that has holes, as another reader sees it.
fn debugfs_agrees(bench: &Bench, path: &str, artifact: &str) {
    let debugfs = |request: &str| {
        let paths = "/usr/sbin:/sbin:/usr/bin:/bin";
        let mut command = std::process::Command::new("debugfs");
        command.env("PATH", paths).args(["-R", request]).arg(bench.path("out/r/rootfs.img")).output()
    };
    let out = bench.path("dumped");
    match debugfs(&format!("dump {path} {}", out.display())) {
        Err(error) => eprintln!("SKIPPED: debugfs: {error}"),
        Ok(_) => assert!(fs::read(out).unwrap() == fs::read(bench.path("out/r").join(artifact)).unwrap()),
    }
}

#[test]
fn variants_have_folders_of_their_own_and_share_the_cache() {
    let bench = Bench::new();
    bench.build();
    bench.edit("[guest.one]", "[variant.three]\nmachine.cpus = 3\n\n[guest.one]");
    let output = bench.run(&["image", "r.toml", "--variant", "three", "--message-format=json"]).unwrap();
    assert_eq!(ran(&output), ["boot", "device-tree"]);
    assert!(bench.path("out/r@three/r@three.axf").exists());
    assert_eq!(
        fs::metadata(bench.path("out/r@three/rootfs.img")).unwrap().ino(),
        fs::metadata(bench.path("out/r/rootfs.img")).unwrap().ino()
    );
    // A recipe of its own is not in its way, whatever it is called.
    let recipe = fs::read_to_string(bench.path("r.toml")).unwrap();
    bench.write("r-three.toml", recipe.replace("cpus = 2", "cpus = 1"));
    bench.run(&["image", "r-three.toml"]).unwrap();
    let tree = |folder: &str| fs::read(bench.path(folder).join("machine.dtb")).unwrap();
    assert_ne!(tree("out/r-three"), tree("out/r@three"));
    assert_eq!(
        bench.run(&["image", "r.toml", "--variant", "three", "--message-format=json"]).map(|out| ran(&out)),
        Ok(vec![])
    );
    assert_eq!(bench.run(&["clean", "r.toml", "--variant", "three"]).as_deref(), Ok("removed out/r@three\n"));
    assert!(bench.path("out/r-three/xen").exists());
}

#[test]
fn artifacts_of_file_systems_that_are_gone_go() {
    let bench = Bench::new();
    bench.edit("[filesystem.domu]", "[filesystem.spare]\nformat = \"tar\"\n\n[filesystem.domu]");
    bench.build();
    assert!(bench.path("out/r/spare.tar.gz").exists());
    bench.edit("[filesystem.spare]\nformat = \"tar\"\n\n", "");
    bench.build();
    assert!(!bench.path("out/r/spare.tar.gz").exists());
    assert!(bench.path("out/r/rootfs.img").exists());
}
