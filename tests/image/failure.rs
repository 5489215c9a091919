//! Bad input: each with the error that its user reads.

use std::fs;
use std::process::Command;

use crate::bench::{Bench, hash, image, tarball, text};

/// Changes something, builds, and returns exit code and error.
fn fails(change: impl FnOnce(&Bench)) -> (i32, String) {
    let bench = Bench::new();
    change(&bench);
    let failure = bench.run(&["image", "r.toml"]).unwrap_err();
    assert_eq!(bench.litter(), Vec::<std::path::PathBuf>::new());
    let made = fs::read_dir(bench.path("out/r")).into_iter().flatten().flatten();
    let is_artifact = |entry: &fs::DirEntry| entry.file_type().unwrap().is_file() && entry.file_name() != ".state";
    let made: Vec<_> = made.filter(is_artifact).map(|entry| entry.path()).collect();
    assert_eq!(made, Vec::<std::path::PathBuf>::new(), "no artifact of a build that failed");
    failure
}

#[track_caller]
fn says(failure: (i32, String), code: i32, parts: &[&str]) {
    assert_eq!(failure.0, code, "{}", failure.1);
    for part in parts {
        assert!(failure.1.contains(part), "{part:?} is not in\n{}", failure.1);
    }
}

#[test]
fn a_missing_file_is_shown_in_the_recipe() {
    let failure = fails(|bench| fs::remove_file(bench.path("notes.txt")).unwrap());
    says(
        failure,
        3,
        &["notes.txt: No such file or directory", "r.toml:39:21", "\"/notes\" = { path = \"notes.txt\" }"],
    );
    let failure = fails(|bench| fs::remove_dir_all(bench.path("overlay")).unwrap());
    says(failure, 3, &["overlay: No such file or directory", "r.toml:36:"]);
}

#[test]
fn a_wrong_hash_is_shown_with_both() {
    let wrong = "1".repeat(64);
    let failure = fails(|bench| bench.edit("path = \"xen\"", &format!("path = \"xen\"\nsha256 = \"{wrong}\"")));
    says(failure, 4, &["xen hashes to ", &format!(", not to {wrong}"), "r.toml:11:8"]);
}

#[test]
fn a_wrong_hash_of_an_archive_is_shown_before_it_is_read() {
    let wrong = "2".repeat(64);
    let failure = fails(|bench| {
        bench.write("kernel.tar.gz", "no archive");
        bench.edit("tarball = \"kernel.tar.gz\"", &format!("tarball = \"kernel.tar.gz\"\nsha256 = \"{wrong}\""));
    });
    says(failure, 4, &["kernel.tar.gz hashes to ", &format!(", not to {wrong}"), "r.toml:15:11"]);
    // The right one, in whatever case, is no obstacle.
    let bench = Bench::new();
    let right = hash(&bench.path("kernel.tar.gz")).to_uppercase();
    bench.edit("tarball = \"kernel.tar.gz\"", &format!("tarball = \"kernel.tar.gz\"\nsha256 = \"{right}\""));
    bench.build();
}

#[test]
fn a_kernel_that_is_none() {
    let failure = fails(|bench| bench.write("xen", "#!/bin/sh\nexec true\n"));
    says(
        failure,
        4,
        &[
            "step hypervisor: xen is no arm64 Image, zboot, gzip, xz, zstd or ELF file;",
            "it begins with 23 21 2f 62 69 6e 2f 73 68 0a 65 78 65 63 20 74\n",
        ],
    );
    let failure = fails(|bench| bench.write("xen", ""));
    says(failure, 4, &["step hypervisor: xen is no arm64 Image", "it begins with nothing: it is empty"]);
    let member = |bytes: &[u8]| tarball(&[("boot/vmlinuz-1", bytes)]);
    let failure = fails(|bench| bench.write("kernel.tar.gz", member(b"\x1f\x8bnot gzip")));
    says(failure, 4, &["step kernel.linux: boot/vmlinuz-* of kernel.tar.gz is damaged gzip data"]);
    let failure = fails(|bench| bench.write("kernel.tar.gz", member(b"MZ and what Windows starts")));
    let bytes = "it begins with 4d 5a 20 61 6e 64 20 77 68 61 74 20 57 69 6e 64\n";
    says(failure, 4, &["step kernel.linux: boot/vmlinuz-* of kernel.tar.gz is no arm64 Image", bytes]);
    let failure = fails(|bench| bench.write("kernel.tar.gz", member(b"\x7fELF\x02\x01")));
    says(failure, 4, &["step kernel.linux: boot/vmlinuz-* of kernel.tar.gz is an ELF file for another machine"]);
}

#[test]
fn no_file_that_matches_and_two_that_do() {
    let failure = fails(|bench| bench.write("kernel.tar.gz", tarball(&[("boot/vmlinux-1", b"x")])));
    says(failure, 4, &["kernel.tar.gz holds no file that matches `boot/vmlinuz-*`", "the nearest is `boot/vmlinux-1`"]);
    let two = tarball(&[("boot/vmlinuz-1", &image(4096, 1)), ("boot/vmlinuz-2", &image(4096, 2))]);
    let failure = fails(|bench| bench.write("kernel.tar.gz", two));
    says(failure, 4, &["holds 2 files that match `boot/vmlinuz-*`: boot/vmlinuz-1, boot/vmlinuz-2"]);
}

#[test]
fn a_tarball_that_is_broken() {
    let failure = fails(|bench| {
        let whole = fs::read(bench.path("files.tar.gz")).unwrap();
        bench.write("files.tar.gz", &whole[..whole.len() / 2]);
    });
    says(failure, 4, &["step unpack.files.tar.gz: cannot read files.tar.gz: ", "truncated"]);
    let failure = fails(|bench| bench.write("files.tar.gz", "no archive ".repeat(100)));
    says(failure, 4, &["step unpack.files.tar.gz: files.tar.gz: "]);
}

/// Writes an archive of files and links by hand: the writer would not write these. Links are `name -> target`.
fn archive(members: &[&str]) -> Vec<u8> {
    let mut archive = Vec::new();
    for member in members {
        let (name, target) = member.split_once(" -> ").unwrap_or((member, ""));
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(b"00000000000\0");
        header[156] = if target.is_empty() { b'0' } else { b'2' };
        header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
    }
    archive.extend([0; 1024]);
    archive
}

#[test]
fn a_tarball_that_leads_out() {
    for name in ["../escape", "a/../../escape", "/../escape"] {
        let failure = fails(|bench| bench.write("files.tar.gz", archive(&[name])));
        says(failure, 4, &["files.tar.gz: ", &format!("`{name}`"), "leads out of its folder"]);
    }
}

/// A link may point anywhere, as in a root file system it must; what is put below it stays inside all the same.
#[test]
fn a_tarball_whose_links_lead_out() {
    let bench = Bench::new();
    let victim = bench.path("victim");
    fs::create_dir(&victim).unwrap();
    let absolute = format!("here -> {}", victim.display());
    bench.write("files.tar.gz", archive(&["up -> ../../../..", "up/planted", &absolute, "up/etc/planted"]));
    bench.build();
    let image = ext4_view::Ext4::load(Box::new(fs::read(bench.path("out/r/rootfs.img")).unwrap())).unwrap();
    for inside in ["/planted", "/etc/planted"] {
        assert!(image.exists(inside).unwrap(), "{inside} is in the image");
    }
    assert_eq!(image.read_link("/opt/here").unwrap(), ext4_view::Path::new(victim.to_str().unwrap()));
    assert!(!bench.path("planted").exists() && !bench.path("out/planted").exists());
    // Where nothing inside is at the link's end, nothing can be put there, least of all into the host's folder.
    let failure = fails(|bench| {
        let absolute = format!("here -> {}", bench.path("overlay").display());
        bench.write("files.tar.gz", archive(&[&absolute, "here/planted"]));
    });
    says(failure, 4, &["files.tar.gz: member `here/planted`", "passes through a symbolic link that leads nowhere"]);
    assert_eq!(fs::read_dir(victim).unwrap().count(), 0);
    // Nor does a link fetch what it names on the host.
    let failure = fails(|bench| {
        let kernel = format!("boot/vmlinuz-1 -> {}", bench.path("xen").display());
        bench.write("kernel.tar.gz", archive(&[&kernel, "boot/vmlinuz-2 -> ../../../../../../../../etc/passwd"]));
    });
    says(failure, 4, &["kernel.tar.gz holds no file that matches `boot/vmlinuz-*`"]);
}

#[test]
fn a_device_tree_that_does_not_compile() {
    let failure = fails(|bench| bench.write("board/extra.dts", "/dts-v1/;\n/plugin/;\n&{/} { extra = <1>\n};\n"));
    says(failure, 4, &["step device-tree: extra.dts does not compile\n", "extra.dts:3:19", "expected `;`"]);
    let failure = fails(|bench| fs::remove_file(bench.path("board/extra.h")).unwrap());
    says(failure, 4, &["extra.h"]);
}

#[test]
fn a_file_system_that_is_too_small() {
    let failure = fails(|bench| {
        bench.edit("size = \"16MiB\"", "size = \"2MiB\"");
    });
    says(failure, 4, &["step filesystem.domu: filesystem.domu: needs ", "MiB more, because"]);
}

#[test]
fn an_artifacts_place_that_is_taken() {
    let failure = fails(|bench| fs::create_dir_all(bench.path("out/r/xen")).unwrap());
    says(failure, 6, &["out/r/xen is a folder, in the place of an artifact"]);
}

#[test]
fn a_folder_that_cannot_be_made() {
    let failure = fails(|bench| bench.write("out", "a file"));
    says(
        failure,
        6,
        &["cannot make the folder out", "hint: `--out DIR`, or XENBUILD_OUT, puts what is made elsewhere"],
    );
}

#[test]
fn a_recipe_that_is_none() {
    let bench = Bench::new();
    let failure = |recipe: &str| bench.run(&["image", recipe]).unwrap_err();
    says(failure("gone.toml"), 3, &["error: cannot read gone.toml: No such file or directory"]);
    says(failure("r"), 3, &["error: cannot read r: No such file", "help: did you mean `r.toml`?"]);
    let folder = "it is a folder, where a recipe's file was expected\n";
    says(failure("overlay"), 3, &["error: cannot read overlay: ", folder]);
    let told = failure(".");
    assert_eq!(told, (3, format!("error: cannot read .: {folder}")));
    assert!(!bench.path("out").exists());
}

/// Needs root, to mount a file system that is small.
#[test]
fn a_full_disk_leaves_nothing() {
    let bench = Bench::new();
    fs::create_dir(bench.path("out")).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=600k", "none"]).arg(bench.path("out")).output();
    if !mount.as_ref().is_ok_and(|mount| mount.status.success()) {
        eprintln!("SKIPPED: a full disk needs root and mount(8) to be shown");
        return;
    }
    struct Unmount<'a>(&'a Bench);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0.path("out")).status();
        }
    }
    let unmount = Unmount(&bench);
    let failure = text(bench.command(&["image", "r.toml"]).output().unwrap()).unwrap_err();
    says(failure, 6, &["No space left on device", "the disk is full: make room, and run the command again"]);
    assert_eq!(bench.litter(), Vec::<std::path::PathBuf>::new());
    assert!(!bench.path("out/r/r.axf").exists());
    // With more room, what was finished is used and the rest is made.
    let grown = Command::new("mount").args(["-o", "remount,size=200m"]).arg(bench.path("out")).status().unwrap();
    assert!(grown.success());
    assert!(bench.build().len() <= 11);
    assert_eq!(bench.build(), Vec::<String>::new());
    let whole = Bench::new();
    whole.build();
    assert_eq!(bench.artifacts(), whole.artifacts());
    drop(unmount);
}

#[test]
fn a_build_that_stops_while_it_publishes_leaves_a_set_that_is_not_run() {
    let bench = Bench::new();
    bench.build();
    let kept = hash(&bench.path("out/r/r.axf"));
    // A folder in the way of one artifact: others may be in place by then.
    fs::remove_file(bench.path("out/r/rootfs.img")).unwrap();
    fs::create_dir(bench.path("out/r/rootfs.img")).unwrap();
    bench.write("notes.txt", "other notes\n");
    bench.edit("console=dtuart", "console=dtuart loglvl=all");
    says(bench.run(&["image", "r.toml"]).unwrap_err(), 6, &["rootfs.img is a folder, in the place of an artifact"]);
    bench.write("qemu", "#!/bin/sh\nexit 0\n");
    fs::set_permissions(bench.path("qemu"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let test = ["test", "r.toml", "--no-build", "--qemu", "./qemu"];
    says(bench.run(&test).unwrap_err(), 2, &["out/r is incomplete: ", "hint: without --no-build"]);
    fs::remove_dir(bench.path("out/r/rootfs.img")).unwrap();
    assert_eq!(bench.build(), Vec::<String>::new());
    assert_ne!(hash(&bench.path("out/r/r.axf")), kept);
    bench.run(&test).unwrap();
}
