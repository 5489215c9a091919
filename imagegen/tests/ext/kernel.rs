//! A kernel and resize2fs change our images, and e2fsck still finds nothing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use imagegen::ext::{BlockSize, Options, Version};
use imagegen::tree::Metadata;

use crate::oracle::{Image, VERSIONS, fsck, image, mounted, options, run};
use crate::trees::{add, file, metadata, noise, tree};

/// Returns an image with a hashed directory of so many files, `d/old-N`, and room for more.
fn with_directory(files: usize, options: &Options) -> Image {
    let mut tree = tree();
    for number in 0..files {
        add(&mut tree, format!("d/old-{number}"), file(noise(number % 50, 1)));
    }
    image(&tree, options)
}

/// Creates, renames and unlinks 10,000 files among those that are there, and looks whether all names are as they
/// should be. `files` is how many `d/old-N` there were.
fn churn(root: &Path, files: usize) {
    let d = root.join("d");
    for number in 0..10_000 {
        File::create(d.join(format!("new-{number}"))).unwrap();
    }
    for number in 0..10_000 {
        fs::rename(d.join(format!("new-{number}")), d.join(format!("renamed-{number}"))).unwrap();
        fs::remove_file(d.join(format!("old-{number}"))).unwrap();
    }
    for number in (0..10_000).step_by(2) {
        fs::remove_file(d.join(format!("renamed-{number}"))).unwrap();
    }
    let mut left: Vec<String> =
        fs::read_dir(d).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    let mut expected: Vec<String> = (1..10_000).step_by(2).map(|number| format!("renamed-{number}")).collect();
    expected.extend((10_000..files).map(|number| format!("old-{number}")));
    expected.sort();
    assert!(left == expected);
}

/// Returns every version with the smallest and the largest blocks.
fn versions_and_sizes() -> impl Iterator<Item = (Version, BlockSize)> {
    VERSIONS.into_iter().flat_map(|version| [(version, BlockSize::KiB1), (version, BlockSize::KiB4)])
}

#[test]
fn ten_thousand_creates_renames_and_unlinks() {
    for (version, block_size) in versions_and_sizes() {
        let room = Options { version, block_size, free_bytes: 16 << 20, free_inodes: 11_000, ..options() };
        let image = with_directory(12_000, &room);
        fsck(&image.path);
        mounted(&image, false, |root| churn(root, 12_000));
        fsck(&image.path);
    }
}

/// Writes files until no block is left, then takes every second one away again.
fn fill(root: &Path) {
    let chunk = noise(1 << 20, 3);
    let mut full = false;
    for number in 0..1_000 {
        let written = File::create(root.join(format!("fill-{number}")))
            .and_then(|mut file| (0..4).try_for_each(|_| file.write_all(&chunk)));
        if written.is_err() {
            full = true;
            break;
        }
    }
    assert!(full, "the image had more room than it should");
    for number in (0..1_000).step_by(2) {
        let _ = fs::remove_file(root.join(format!("fill-{number}")));
    }
}

#[test]
fn filling_up() {
    for version in VERSIONS {
        let exact = with_directory(100, &Options { version, ..options() });
        mounted(&exact, false, fill);
        fsck(&exact.path);
    }
    for (version, block_size) in versions_and_sizes() {
        let image = with_directory(100, &Options { version, block_size, size_bytes: Some(60 << 20), ..options() });
        mounted(&image, false, fill);
        fsck(&image.path);
    }
}

#[test]
fn growing_while_it_is_away() {
    for (version, block_size) in versions_and_sizes() {
        let image = with_directory(15_000, &Options { version, block_size, ..options() });
        File::options().write(true).open(&image.path).unwrap().set_len(700 << 20).unwrap();
        let Some((success, text)) = run("resize2fs", &[image.path.as_ref()]) else { return };
        assert!(success, "{text}");
        fsck(&image.path);
        mounted(&image, false, |root| churn(root, 15_000));
        fsck(&image.path);
        // After the mount resize2fs wants a check first, which e2fsck with -n does not record.
        run("e2fsck", &["-fp".as_ref(), image.path.as_ref()]);
        let (success, text) = run("resize2fs", &["-M".as_ref(), image.path.as_ref()]).unwrap();
        assert!(success, "{text}");
        fsck(&image.path);
    }
}

#[test]
fn growing_while_it_is_mounted() {
    for (version, block_size) in versions_and_sizes() {
        let image = with_directory(15_000, &Options { version, block_size, ..options() });
        // The loop device takes its size from the file when it is set up.
        File::options().write(true).open(&image.path).unwrap().set_len(700 << 20).unwrap();
        mounted(&image, false, |root| {
            let device = run(
                "findmnt",
                &["-n", "-o", "SOURCE"].map(OsStr::new).iter().copied().chain([root.as_ref()]).collect::<Vec<_>>(),
            );
            let Some((true, device)) = device else { return eprintln!("skipped: no findmnt") };
            let Some((success, text)) = run("resize2fs", &[device.trim().as_ref()]) else { return };
            if text.contains("Permission denied") {
                return eprintln!("skipped: this process may not resize (CAP_SYS_RESOURCE): {text}");
            }
            assert!(success && text.contains("on-line resizing"), "{text}");
            churn(root, 15_000);
            let size = rustix::fs::statvfs(root).unwrap();
            assert!(size.f_blocks * size.f_frsize > 600 << 20);
        });
        fsck(&image.path);
    }
}

#[test]
fn shared_attribute_blocks_are_let_go_one_by_one() {
    let mut tree = tree();
    for number in 0..1_100 {
        let xattrs = [(b"trusted.label".to_vec(), noise(300, 1))].into();
        tree.insert(format!("d/{number}").as_bytes(), file(""), Metadata { xattrs, ..metadata(0o644) }).unwrap();
    }
    for version in VERSIONS {
        let image = image(&tree, &Options { version, free_bytes: 8 << 20, ..options() });
        let_go(&image);
        fsck(&image.path);
    }
}

/// Removes, replaces and forgets attributes that files share.
fn let_go(image: &Image) {
    mounted(image, false, |root| {
        let flags = rustix::fs::XattrFlags::empty();
        for number in 0..1_050 {
            let path = root.join(format!("d/{number}"));
            match number % 3 {
                0 => fs::remove_file(path).unwrap(),
                1 => rustix::fs::lsetxattr(path, "trusted.label", &noise(300, number % 7), flags).unwrap(),
                _ => rustix::fs::lremovexattr(path, "trusted.label").unwrap(),
            }
        }
    });
}

#[test]
fn a_crash_leaves_a_journal_that_replays() {
    for version in [Version::Ext3, Version::Ext4] {
        let image =
            with_directory(12_000, &Options { version, free_bytes: 16 << 20, free_inodes: 11_000, ..options() });
        let copy = image.path.with_extension("crashed");
        mounted(&image, false, |root| {
            churn(root, 12_000);
            // What reached the disk by now is what a power cut would leave.
            let root = File::open(root).unwrap();
            rustix::fs::fsync(&root).unwrap();
            fs::copy(&image.path, &copy).unwrap();
        });
        if copy.exists() {
            let (_, text) = run("e2fsck", &["-fy".as_ref(), copy.as_ref()]).unwrap();
            assert!(text.contains("recovering journal") && text.contains("Pass 5"), "{text}");
            fsck(&copy);
        }
    }
}
