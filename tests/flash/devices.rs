//! Flashing to the kernel's own devices: loop devices, where this machine has them and lets us; and the disk that the
//! system runs from, which is refused.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::commands::{command, flash};
use super::images::{MIB, read, usual};

/// A loop device, given back in the end.
struct Loop {
    node: String,
    backing: PathBuf,
    _folder: TempDir,
}

impl Loop {
    /// Makes one of this size, full of old content; nothing, and why on stderr, where that is not possible.
    fn new(size_bytes: u64, options: &[&str]) -> Option<Loop> {
        let folder = TempDir::new().unwrap();
        let backing = folder.path().join("backing");
        fs::write(&backing, vec![0xaa; size_bytes as usize]).unwrap();
        let path = backing.to_str().unwrap();
        let text = tool("losetup", &[options, &["--find", "--show", path]].concat())?;
        Some(Loop { node: text.trim().into(), backing, _folder: folder })
    }

    /// Returns what is on the device, as the device itself says.
    fn bytes(&self) -> Vec<u8> {
        tool("sync", &[&self.node]);
        read(&self.backing)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.node]);
    }
}

/// Runs a tool; returns its output, or nothing where it is missing or fails, which is announced.
fn tool(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            eprintln!("skipped: {program}: {}", String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

#[test]
fn a_loop_device_is_flashed() {
    let Some(device) = Loop::new(16 * MIB, &[]) else { return };
    let sample = usual().with_partition(2048, 18 * 1024);
    let path = sample.path.to_str().unwrap();
    let (code, out, _) = flash(&[path]);
    assert_eq!(code, 0);
    assert!(out.contains(&device.node) && out.contains("16.0 MiB"), "{out}");
    let (code, _, err) = flash(&[path, &device.node, "--yes", &device.node]);
    assert_eq!(code, 0, "{err}");
    let bytes = device.bytes();
    assert!(bytes[..10 * MIB as usize] == sample.bytes[..]);
    assert_eq!(bytes[10 * MIB as usize], 0xaa);
    // By another name, and by that name alone.
    let link = sample.folder.path().join("by-name");
    std::os::unix::fs::symlink(&device.node, &link).unwrap();
    let (code, _, err) = flash(&[path, link.to_str().unwrap(), "--yes", &device.node]);
    assert_eq!(code, 0, "{err}");
    // The file behind it is in use.
    let (code, _, err) = flash(&[path, "--yes", device.backing.to_str().unwrap()]);
    assert_eq!(code, 7, "{err}");
    assert!(err.contains(&format!("it is in use as {}", device.node)), "{err}");
}

#[test]
fn bmaptool_and_we_write_the_same() {
    let (Some(ours), Some(theirs)) = (Loop::new(16 * MIB, &[]), Loop::new(16 * MIB, &[])) else { return };
    let sample = usual();
    let path = sample.path.to_str().unwrap();
    let map = sample.folder.path().join("card.img.bmap");
    let Some(_) = tool("bmaptool", &["-q", "create", "-o", map.to_str().unwrap(), path]) else { return };
    let Some(_) = tool("bmaptool", &["-q", "copy", path, &theirs.node]) else { return };
    let (code, _, err) = flash(&[path, "--yes", &ours.node]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("card.img.bmap maps"), "{err}");
    // Between the ranges both left what was there; but the head we cleared.
    assert!(ours.bytes()[MIB as usize..] == theirs.bytes()[MIB as usize..]);
    assert!(ours.bytes()[..40 << 10] == theirs.bytes()[..40 << 10]);
}

#[test]
fn strangers_find_nothing_to_say_about_a_table_that_grew() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let image = at("card.img");
    File::create(&image).unwrap().set_len(20 * MIB).unwrap();
    fs::write(at("script"), "label: gpt\nstart=2048, size=8192, type=uefi\nstart=10240, size=28672\n").unwrap();
    let script = File::open(at("script")).unwrap();
    match Command::new("sfdisk").args(["-q", "--no-tell-kernel", &image]).stdin(script).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => return eprintln!("skipped: sfdisk: {error}"),
    }
    let check = |image: &str, size_bytes: u64| {
        let card = at("card");
        fs::write(&card, vec![0xaa; size_bytes as usize]).unwrap();
        let (code, _, err) = flash(&[image, "--yes", &card, "--grow"]);
        assert_eq!(code, 0, "{err}");
        assert!(err.contains("Partition 2 grows from 14.0 MiB to "), "{err}");
        if let Some(text) = tool("sgdisk", &["-v", &card]) {
            assert!(text.contains("No problems found"), "{image} on {size_bytes}: {text}");
        }
        if let Some(text) = tool("sfdisk", &["--verify", &card]) {
            assert!(text.contains("No errors detected"), "{image} on {size_bytes}: {text}");
        }
    };
    check(&image, 64 * MIB + 512);
    check(&image, 20 * MIB + 512);
    if tool("bmaptool", &["-q", "create", "-o", &at("card.img.bmap"), &image]).is_some() {
        check(&image, 64 * MIB);
        fs::remove_file(at("card.img.bmap")).unwrap();
    }
    for (program, arguments, suffix) in [
        ("gzip", vec!["-k"], "gz"),
        ("xz", vec!["-k"], "xz"),
        ("zstd", vec!["-q"], "zst"),
        ("bzip2", vec!["-k"], "bz2"),
    ] {
        if tool(program, &[arguments, vec![image.as_str()]].concat()).is_some() {
            check(&format!("{image}.{suffix}"), 64 * MIB);
        }
    }
    check(&format!("{image}.gz"), 20 * MIB + 512);
}

#[test]
fn large_sectors_and_read_only_devices_are_known() {
    let sample = usual().with_partition(2048, 18 * 1024);
    let path = sample.path.to_str().unwrap();
    if let Some(device) = Loop::new(16 * MIB, &["--sector-size", "4096"]) {
        let (code, _, err) = flash(&[path, "--yes", &device.node]);
        assert_eq!(code, 7, "{err}");
        assert!(err.contains("its sectors have 4096 bytes, but the image's partition table counts in 512"), "{err}");
        let plain = usual();
        let (code, _, err) = flash(&[plain.path.to_str().unwrap(), "--yes", &device.node]);
        assert_eq!(code, 0, "{err}");
        assert!(device.bytes()[..10 * MIB as usize] == plain.bytes[..]);
    }
    if let Some(device) = Loop::new(16 * MIB, &["--read-only"]) {
        let (code, _, err) = flash(&[path, "--yes", &device.node]);
        assert_eq!(code, 7, "{err}");
        assert!(err.contains("is refused: it is read-only"), "{err}");
    }
    if let Some(device) = Loop::new(8 * MIB, &[]) {
        let (code, _, err) = flash(&[path, "--yes", &device.node]);
        assert_eq!(code, 7, "{err}");
        assert!(err.contains("it is too small"), "{err}");
    }
}

#[test]
fn a_device_in_use_is_refused_even_where_that_does_not_show() {
    let Some(device) = Loop::new(16 * MIB, &[]) else { return };
    let held = rustix::fs::open(device.node.as_str(), OFlags::RDONLY | OFlags::EXCL, Mode::empty()).unwrap();
    let sample = usual();
    let (code, _, err) = flash(&[sample.path.to_str().unwrap(), "--yes", &device.node]);
    assert_eq!(code, 7, "{err}");
    assert!(err.contains("is in use, by something that does not show here"), "{err}");
    drop(held);
    assert!(device.bytes().iter().all(|byte| *byte == 0xaa));
}

#[test]
fn a_mounted_device_is_refused() {
    let Some(device) = Loop::new(16 * MIB, &[]) else { return };
    let folder = TempDir::new().unwrap();
    let place = folder.path().to_str().unwrap();
    if tool("mke2fs", &["-q", "-F", "-L", "precious", &device.node]).is_none() {
        return;
    }
    if tool("mount", &[&device.node, place]).is_none() {
        return;
    }
    let sample = usual();
    let mounted = flash(&[sample.path.to_str().unwrap(), "--yes", &device.node]);
    tool("umount", &[place]);
    let (code, _, err) = mounted;
    assert_eq!(code, 7, "{err}");
    assert!(err.contains(&format!("is refused: it is mounted: {} on {place}", &device.node[5..])), "{err}");
    // What is on it is shown before it is overwritten.
    let (_, _, err) = flash(&[sample.path.to_str().unwrap(), &device.node, "--dry-run"]);
    assert!(err.contains("All of it will be lost:\n    ext2 \"precious\""), "{err}");
}

#[test]
fn a_full_disk_below_a_file_is_told() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().to_str().unwrap();
    if tool("mount", &["-t", "tmpfs", "-o", "size=3m", "none", place]).is_none() {
        return;
    }
    let card = folder.path().join("card");
    File::create(&card).unwrap().set_len(16 * MIB).unwrap();
    let sample = usual();
    let result = flash(&[sample.path.to_str().unwrap(), "--yes", card.to_str().unwrap()]);
    let head = read(&card)[..4096].to_vec();
    tool("umount", &[place]);
    let (code, _, err) = result;
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("the disk is full") || err.contains("No space left"), "{err}");
    assert!(err.contains("card is unusable as it is") && head.iter().all(|byte| *byte == 0), "{err}");
}

/// Without `--yes`, and with nobody to ask: were the guard to fail, nothing would be written all the same.
#[test]
fn the_disk_of_the_running_system_is_refused() {
    let number = fs::metadata("/").unwrap().dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let Ok(real) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else {
        return eprintln!("skipped: / is on no disk");
    };
    let disk = if real.join("partition").exists() { real.parent().unwrap() } else { &real };
    let node = Path::new("/dev").join(disk.file_name().unwrap());
    let sample = usual();
    let (code, _, err) = flash(&[sample.path.to_str().unwrap(), node.to_str().unwrap()]);
    assert_eq!(code, 7, "{err}");
    assert!(err.contains("holds the running system: / is "), "{err}");
}

#[test]
fn without_permission_it_says_what_it_takes() {
    let Some(device) = Loop::new(16 * MIB, &[]) else { return };
    // The program and its image where everybody can reach them.
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let sample = usual();
    let image = folder.path().join("card.img");
    fs::copy(&sample.path, &image).unwrap();
    let arguments = [image.to_str().unwrap(), device.node.as_str(), "--yes", device.node.as_str()];
    let output = match command(&arguments).current_dir("/").uid(65534).gid(65534).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: cannot run as nobody: {error}"),
    };
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{err}");
    let metadata = File::open(&device.node).unwrap().metadata().unwrap();
    assert!(err.contains(&format!("{}: permission denied: reading and writing it is needed", device.node)), "{err}");
    assert!(err.contains(&format!("mode {:04o}", metadata.mode() & 0o7777)), "{err}");
    assert!(err.contains("hint: or run this command with sudo"), "{err}");
}
