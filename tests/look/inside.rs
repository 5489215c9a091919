//! What is in an image, whatever it lies in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use imagegen::disk::Scheme;
use imagegen::ext::Version;
use serde_json::Value;

use super::images::{Images, add, boot, empty, file, root};

const LONG: &str = "\
drwxr-xr-x  2   0     0  1024 2023-11-14 22:13:20 bin
drwxr-xr-x  2   0     0  1024 2023-11-14 22:13:20 dev
drwxr-xr-x  2   0     0  1024 2023-11-14 22:13:20 etc
drwx------  2   0     0 12288 2023-11-14 22:13:20 lost+found
drwxr-xr-x  2   0     0  1024 2023-11-14 22:13:20 run
lrwxrwxrwx  1   0     0     3 2023-11-14 22:13:20 sbin -> bin
";

#[test]
fn every_format_is_listed() {
    let images = Images::new();
    let plain = LONG.replace("   0     0", " 0 0");
    for version in [Version::Ext2, Version::Ext3, Version::Ext4] {
        images.ext("root.img", &root(), version, "");
        assert_eq!(images.good(&["ls", "-l", "root.img"]), plain);
        assert_eq!(images.good(&["ls", "root.img:/"]), "bin\ndev\netc\nlost+found\nrun\nsbin\n");
        let bin = "-rwxr-xr-x+ 1 3 70000    4 2023-11-14 22:13:20 ping\n    security.capability=0x01000002\n\
                   -rwsr-xr-x  2 0     0 5000 2023-11-14 22:13:20 su\n-rwsr-xr-x  2 0     0 5000 2023-11-14 22:13:20 sudo\n";
        assert_eq!(images.good(&["ls", "-x", "root.img:/bin"]), bin);
        assert_eq!(images.good(&["ls", "-lah1", "root.img:/bin/su"]).split_whitespace().nth(5), Some("KiB"));
        assert_eq!(images.good(&["ls", "-l", "root.img:/dev"]), "crw-------  1 0 0 5, 1 2023-11-14 22:13:20 console\n");
        assert_eq!(images.good(&["ls", "root.img:/sbin"]), "ping\nsu\nsudo\n");
        assert_eq!(
            images.good(&["ls", "-l", "root.img:/sbin"]),
            "lrwxrwxrwx  1 0 0 3 2023-11-14 22:13:20 /sbin -> bin\n"
        );
        assert_eq!(images.good(&["ls", "-ld", "root.img:/dev/.."]).split_whitespace().nth(7), Some("/dev/.."));
        assert_eq!(images.good(&["cat", "root.img:/etc/hostname", "root.img:/sbin/ping"]), "dom0\nping");
    }
    images.cpio("a.cpio", &root());
    images.tar("a.tar", &root_without_socket());
    images.fat("boot.img", &boot(), "BOOT");
    for (archive, names) in [("a.cpio", "bin\ndev\netc\nrun\nsbin\n"), ("a.tar", "bin\ndev\netc\nrun\nsbin\n")] {
        assert_eq!(images.good(&["ls", archive]), names);
        assert_eq!(images.good(&["cat", &format!("{archive}:/sbin/ping")]), "ping");
    }
    assert_eq!(
        images.good(&["ls", "-R", "boot.img"]),
        "boot.img:/:\nconfig.txt\noverlays\n\nboot.img:/overlays:\na long name.dtbo\n"
    );
    assert_eq!(images.good(&["cat", "boot.img:/OVERLAYS/A Long Name.DTBO"]), "overlay");
    // Compressed by others.
    for (program, extension) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        for image in ["root.img", "boot.img", "a.cpio", "a.tar"] {
            let status = Command::new(program).args(["-q", "-k", "-f", image]).current_dir(&images.folder).status();
            let Ok(true) = status.map(|status| status.success()) else {
                eprintln!("skipped: cannot run {program}");
                continue;
            };
            let packed = format!("{image}.{extension}");
            assert_eq!(images.good(&["ls", &packed]), images.good(&["ls", image]), "{packed}");
        }
    }
}

fn root_without_socket() -> imagegen::tree::Tree {
    let mut tree = root();
    tree.remove(b"run/socket");
    tree
}

#[test]
fn disks_partitions_and_images_in_images() {
    let images = Images::new();
    let (boot, root) =
        (images.fat("boot.img", &boot(), "BOOT"), images.ext("root.img", &root(), Version::Ext4, "rootfs"));
    for scheme in [Scheme::Gpt, Scheme::Hybrid, Scheme::Mbr] {
        let parts: Vec<(&str, &str, &Path)> = vec![
            ("firmware", "fat", &boot),
            ("system a", "linux", &root),
            ("third", "linux", &boot),
            ("fourth", "linux", &boot),
            ("fifth", "linux", &boot),
        ];
        images.disk("sd.img", scheme, &parts);
        let listing = images.good(&["ls", "sd.img"]);
        assert!(listing.starts_with(&format!("sd.img: {scheme}, sectors of 512 bytes\n")), "{listing}");
        assert!(listing.contains("ext4 \"rootfs\"") && listing.contains("FAT12 \"BOOT\""), "{listing}");
        assert_eq!(images.good(&["cat", "sd.img:2:/etc/hostname"]), "dom0\n");
        assert_eq!(images.good(&["cat", "sd.img:rootfs:/etc/hostname"]), "dom0\n");
        // In an MBR, the fourth and fifth are logical: 5 and 6.
        let last = if scheme == Scheme::Mbr { "6" } else { "5" };
        assert_eq!(images.good(&["ls", &format!("sd.img:{last}:/")]), "config.txt\noverlays\n");
        if scheme == Scheme::Mbr {
            assert!(images.bad(2, &["ls", "sd.img:4:/"]).contains("extended partition"));
        } else {
            assert_eq!(images.good(&["cat", "sd.img:system a:/etc/hostname"]), "dom0\n");
        }
        let lines: Vec<Value> =
            images.good(&["ls", "--json", "sd.img"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["table"], scheme.to_string());
        assert_eq!((&lines[2]["format"], &lines[2]["label"]), (&"ext4".into(), &"rootfs".into()));
        let refused = images.bad(2, &["cat", "sd.img:BOOT:/config.txt"]);
        assert!(
            refused.contains("4 partitions called `BOOT`") && refused.contains("hint: partitions are 1"),
            "{refused}"
        );
        assert!(images.bad(2, &["cat", "sd.img:9:/x"]).contains("no partition `9`"));
        assert!(images.bad(2, &["cat", "sd.img:/x"]).contains("5 partitions with files: say which"));
        assert!(images.bad(2, &["cat", "sd.img"]).contains("is a disk with partitions"));
    }
    // A disk in a file system in a disk; and a name with colons.
    let mut outer = empty();
    add(&mut outer, "srv/a:b.img", file(fs::read(images.path("sd.img")).unwrap()), 0o644);
    add(&mut outer, "srv/initrd.gz", file(gzip(&images)), 0o644);
    let outer = images.ext("outer.img", &outer, Version::Ext3, "");
    images.disk("nested.img", Scheme::Gpt, &[("only", "linux", &outer)]);
    assert_eq!(images.good(&["cat", "nested.img:1:/srv/a:b.img:2:/etc/hostname"]), "dom0\n");
    assert_eq!(images.good(&["cat", "nested.img:/srv/a:b.img:rootfs:/etc/hostname"]), "dom0\n");
    assert_eq!(images.good(&["ls", "nested.img:/srv/initrd.gz:/etc"]), "hostname\npasswd\n");
    assert!(images.bad(2, &["cat", "nested.img:/srv/a:b.img:2:/etc/nobody"]).contains("/etc/nobody: no such file"));
    fs::rename(images.path("nested.img"), images.path("x:1:y")).unwrap();
    assert_eq!(images.good(&["ls", "x:1:y:1:/srv"]), "a:b.img\ninitrd.gz\n");
}

fn gzip(images: &Images) -> Vec<u8> {
    images.cpio("initrd", &root());
    let mut writer = imagegen::decompress::gzip_writer(Vec::new(), 6);
    std::io::Write::write_all(&mut writer, &fs::read(images.path("initrd")).unwrap()).unwrap();
    writer.finish().unwrap()
}

#[test]
fn files_are_copied_out() {
    let images = Images::new();
    images.ext("root.img", &root(), Version::Ext4, "");
    let copied = images.path("copied");
    assert!(images.bad(2, &["cp", "root.img:/etc", "copied"]).contains("-r copies folders"));
    let (code, _, words) = images.run(&["cp", "-r", "root.img:/", "copied"]);
    assert_eq!(code, 0, "{words}");
    let words: Vec<&str> = words.lines().collect();
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words[0].contains("/dev/console is a device: left out"), "{words:?}");
    assert!(words[1].contains("/run/socket is a socket: left out"), "{words:?}");
    assert_eq!(fs::read_to_string(copied.join("etc/hostname")).unwrap(), "dom0\n");
    assert_eq!(fs::read_link(copied.join("sbin")).unwrap(), Path::new("bin"));
    let su = copied.join("bin/su").metadata().unwrap();
    // Whoever copies it is not who it belongs to.
    assert_eq!(su.permissions().mode() & 0o7777, 0o755);
    assert_eq!(su.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_700_000_000);
    let folder = copied.join("etc").metadata().unwrap().modified().unwrap();
    assert_eq!(folder.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_700_000_000);
    // Into a folder that is there, under its own name; and a single one under another; and over an old one.
    images.good(&["cp", "root.img:/etc/passwd", "root.img:/sbin/ping", "copied"]);
    images.good(&["cp", "root.img:/etc/hostname", "copied/passwd"]);
    assert_eq!(fs::read_to_string(copied.join("passwd")).unwrap(), "dom0\n");
    assert_eq!(fs::read_to_string(copied.join("ping")).unwrap(), "ping");
    assert!(images.bad(2, &["cp", "root.img:/etc/passwd", "root.img:/bin/su", "nowhere"]).contains("no folder"));
    assert!(images.bad(6, &["cp", "root.img:/etc/passwd", "no/where"]).contains("cannot open no"));
    // A path that ends in dots has no name of its own: what is there goes into the folder.
    fs::create_dir(images.path("dots")).unwrap();
    images.good(&["cp", "-R", "root.img:/bin/../etc/.", "dots"]);
    assert_eq!(fs::read_to_string(images.path("dots/hostname")).unwrap(), "dom0\n");
    // A capability outlives the owner that is given, for who may give either.
    if rustix::process::geteuid().is_root() {
        // cap_net_raw+ep, as capabilities(7) stores it (VFS_CAP_REVISION_2).
        let capability = [[1, 0, 0, 2], [0, 0x20, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
        let mut tree = root();
        let id = tree.lookup(b"bin/ping", false).unwrap();
        tree.metadata_mut(id).xattrs.insert(b"security.capability".to_vec(), capability.clone());
        images.ext("able.img", &tree, Version::Ext4, "");
        images.good(&["cp", "-p", "able.img:/bin/ping", "pinged"]);
        let mut value = [0; 32];
        let kept = rustix::fs::getxattr(images.path("pinged"), "security.capability", &mut value).unwrap();
        assert_eq!(value[..kept], capability);
    } else {
        eprintln!("skipped: owners and capabilities are root's to give");
    }
}

#[test]
fn a_full_disk_is_no_success() {
    let images = Images::new();
    let mut tree = empty();
    add(&mut tree, "line", file("no newline"), 0o644);
    images.ext("root.img", &tree, Version::Ext4, "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenbuild"));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command.args(["cat", "root.img:/line"]).current_dir(&images.folder).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"), "{output:?}");
}

#[test]
fn room_is_counted_once() {
    let images = Images::new();
    images.ext("root.img", &root(), Version::Ext4, "");
    let text = images.good(&["du", "-B1", "root.img"]);
    let number = |path: &str| -> u64 {
        let line = text.lines().find(|line| line.ends_with(&format!("  {path}"))).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    // A block of each folder, five of `su` with its two names, one of `ping`.
    assert_eq!((number("/bin"), number("/etc")), (1024 + 5 * 1024 + 1024, 3 * 1024));
    assert_eq!(number("/"), 1024 + number("/bin") + number("/etc") + 2 * 1024 + 12 * 1024);
    assert_eq!(images.good(&["du", "-s", "--apparent-size", "-b", "root.img:/bin"]), "      5004  /bin\n");
    assert_eq!(images.good(&["du", "-sb", "root.img:/bin"]), "      5004  /bin\n");
    assert_eq!(images.good(&["du", "-sh", "root.img:/etc"]), images.good(&["du", "-s", "root.img:/etc"]));
    let json: Value = serde_json::from_str(&images.good(&["du", "-s", "--json", "root.img:/etc"])).unwrap();
    assert_eq!((&json["path"], &json["allocated-bytes"]), (&"/etc".into(), &3072.into()));
}

#[test]
fn json_says_everything() {
    let images = Images::new();
    images.ext("root.img", &root(), Version::Ext4, "");
    let lines = images.good(&["ls", "-R", "--json", "root.img"]);
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |path: &str| rows.iter().find(|row| row["path"] == path).unwrap();
    let ping = find("/bin/ping");
    assert_eq!(ping["xattrs"]["security.capability"], "01000002");
    assert_eq!((&ping["mode"], &ping["uid"], &ping["gid"]), (&"0755".into(), &3.into(), &70_000.into()));
    assert_eq!(ping["mtime"], "2023-11-14T22:13:20Z");
    assert_eq!((&find("/dev/console")["major"], &find("/sbin")["target"]), (&5.into(), &"bin".into()));
}

#[test]
fn a_disk_is_listed_by_the_beginnings_of_its_partitions() {
    let images = Images::new();
    let root = images.ext("root.img", &root(), Version::Ext4, "rootfs");
    let mut bytes = fs::read(&root).unwrap();
    // Blocks of 2^200 KiB; and a stream that breaks off behind its first bytes.
    bytes[1024 + 24] = 200;
    fs::write(images.path("bad.img"), bytes).unwrap();
    fs::write(images.path("data.gz"), &gzip(&images)[..40]).unwrap();
    let (bad, packed) = (images.path("bad.img"), images.path("data.gz"));
    let parts: [(&str, &str, &Path); 3] = [("a", "linux", &root), ("b", "linux", &bad), ("c", "linux", &packed)];
    let disk = images.disk("sd.img", Scheme::Gpt, &parts);
    let (code, out, err) = images.run(&["ls", "sd.img"]);
    let holds: Vec<&str> = out.lines().skip(2).map(|line| line.split_whitespace().nth(4).unwrap()).collect();
    assert_eq!((code, &*holds), (4, &["ext4", "damaged", "gzip"][..]), "{out}");
    assert!(err.starts_with("error: sd.img:2: ") && err.lines().count() == 1, "{err}");
    assert_eq!(images.good(&["cat", "sd.img:/etc/hostname"]), "dom0\n");
    // Cut off: the table says more.
    let length = disk.metadata().unwrap().len();
    fs::File::options().write(true).open(&disk).unwrap().set_len(length - (1 << 20)).unwrap();
    let (_, _, err) = images.run(&["ls", "sd.img"]);
    assert!(err.contains(&format!("the image {}", length - (1 << 20))), "{err}");
    fs::write(images.path("text"), "just text").unwrap();
    let row: Value = serde_json::from_str(&images.good(&["ls", "--json", "text"])).unwrap();
    assert_eq!((&row["type"], &row["size-bytes"]), (&"data".into(), &9.into()));
}
