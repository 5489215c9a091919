//! The same bytes on any host and any day: one recipe with every kind of step, built on two hosts that have nothing in
//! common but what they are asked for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use object::write::{Object, SectionKind};
use object::{Architecture, BinaryFormat, Endianness};

use crate::archive::Debian;
use crate::bench::Bench;
use crate::packages::{debian, use_packages};

/// What may differ from one host to the next.
struct Host {
    umask: &'static str,
    jobs: &'static str,
    /// Where the artifacts go, below the recipe's folder.
    out: &'static str,
    /// What `faketime` makes of the clock.
    clock: Option<&'static str>,
    environment: &'static [(&'static str, &'static str)],
    /// Local files are written in another order, with holes, and have these times and modes.
    backwards: bool,
    sparse: bool,
    time_s: u64,
    group_may_read: bool,
}

const HERE: Host = Host {
    umask: "022",
    jobs: "4",
    out: "out",
    clock: None,
    environment: &[("TZ", "UTC"), ("LC_ALL", "C"), ("USER", "root"), ("TERM", "dumb")],
    backwards: false,
    sparse: true,
    time_s: 1_000_000_000,
    group_may_read: true,
};

const ELSEWHERE: Host = Host {
    umask: "077",
    jobs: "1",
    out: "else/where/products",
    clock: Some("+4000d"),
    environment: &[
        ("TZ", "Asia/Kathmandu"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("LANG", "tr_TR.UTF-8"),
        ("USER", "somebody"),
        ("SOURCE_DATE_EPOCH", "1"),
        ("COLUMNS", "40"),
        ("HOME", "home of somebody"),
        ("CARGO_HOME", "home of somebody/cargo"),
        ("XDG_CACHE_HOME", "home of somebody/cache"),
        ("XDG_CONFIG_HOME", "home of somebody/settings"),
        ("TMPDIR", "home of somebody"),
    ],
    backwards: true,
    sparse: false,
    time_s: 2_000_000_000,
    group_may_read: false,
};

impl Host {
    /// Makes the recipe and what it names as this host has it. The lock is made once and handed on.
    fn bench(&self, debian: &Debian, lock: Option<&[u8]>) -> Bench {
        let bench = Bench::new();
        use_packages(&bench, debian);
        // Bench has what is most usual; here comes the rest.
        bench.edit("file = \"boot/vmlinuz-*\"", "file = \"boot/vmlinuz-*\"\nmodules = { path = \"modules\" }");
        bench.edit(
            "[filesystem.initramfs.files]",
            "modules = { kernel = \"linux\", names = [\"disk\", \"net\"], list = \"/order\" }\n[filesystem.initramfs.files]",
        );
        bench.edit(
            "[filesystem.domu]",
            "[filesystem.backup]\nformat = \"tar\"\ninclude = [{ path = \"overlay\" }]\n\n[filesystem.domu]",
        );
        bench.edit(
            "\"/notes\" = { path = \"notes.txt\" }",
            "\"/notes\" = { path = \"notes.txt\" }\n\"/disk\" = { path = \"disk.raw\" }",
        );
        let mut files: Vec<(String, Vec<u8>)> = vec![
            ("modules/lib/modules/6.1/kernel/disk.ko".into(), module("depends=bus|alias=disk:*|")),
            ("modules/lib/modules/6.1/kernel/net.ko".into(), module("depends=bus|softdep=pre: crc|")),
            ("modules/lib/modules/6.1/kernel/bus.ko".into(), module("depends=|")),
            ("modules/lib/modules/6.1/kernel/crc.ko".into(), module("depends=|alias=crc32|")),
        ];
        files.extend((0..100).map(|number| (format!("overlay/srv/{}", number * 7919 % 1000), vec![b'x'; number])));
        if self.backwards {
            files.reverse();
        }
        files.iter().for_each(|(name, bytes)| bench.write(name, bytes));
        for name in ["disk.raw", "overlay/var/disk.raw"] {
            self.disk(&bench, name);
        }
        if let Some(lock) = lock {
            bench.write("r.lock", lock);
        }
        self.touch(bench.folder.path());
        // A file that is as new as its reading is read again the next time.
        std::thread::sleep(Duration::from_millis(50));
        bench
    }

    /// Writes a file with much of nothing in it.
    fn disk(&self, bench: &Bench, name: &str) {
        let mut bytes = vec![0; 1 << 20];
        bytes[300_000..300_010].fill(1);
        bench.write(name, if self.sparse { &[][..] } else { &bytes });
        if self.sparse {
            let file = fs::File::options().write(true).open(bench.path(name)).unwrap();
            file.set_len(1 << 20).unwrap();
            file.write_all_at(&[1; 10], 300_000).unwrap();
        }
        let blocks = fs::metadata(bench.path(name)).unwrap().blocks();
        assert_eq!(blocks * 512 < 1 << 20, self.sparse, "the host keeps no holes: that is not tried");
    }

    /// Sets modes and times of all that the recipe names.
    fn touch(&self, folder: &Path) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let folder = path.is_dir();
            if folder {
                self.touch(&path);
            }
            let mode = if folder { 0o700 } else { 0o600 } | if self.group_may_read { 0o055 } else { 0 };
            let mode = if folder { mode } else { mode & !0o111 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            fs::File::open(&path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(self.time_s)).unwrap();
        }
    }

    /// Builds, and returns each step's key and each artifact's digest, by name.
    fn build(&self, bench: &Bench) -> BTreeMap<String, String> {
        let program = env!("CARGO_BIN_EXE_xenbuild");
        let clock = self.clock.filter(|_| {
            let there = Command::new("faketime").arg("--version").output().is_ok();
            if !there {
                eprintln!("SKIPPED: faketime: without it, the clock is the same");
            }
            there
        });
        let clock = clock.map_or(String::new(), |shift| format!("faketime -f {shift}"));
        let (umask, jobs, out) = (self.umask, self.jobs, self.out);
        let mut shell = Command::new("/bin/sh");
        shell
            .current_dir(bench.folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", bench.folder.path());
        for (name, value) in self.environment {
            // Folders are the host's own.
            let folder = bench.path(value);
            let is_folder = value.starts_with("home");
            if is_folder {
                fs::create_dir_all(&folder).unwrap();
            }
            shell.env(name, if is_folder { folder.as_os_str() } else { value.as_ref() });
        }
        let output = shell
            .args(["-c", &format!("umask {umask}; exec {clock} {program} image r.toml --jobs {jobs} --out {out}")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if self.out != "out" {
            fs::rename(bench.path(self.out), bench.path("out")).unwrap();
        }
        let mut made: BTreeMap<String, String> = bench.artifacts().into_iter().collect();
        for entry in fs::read_dir(bench.path("out/cache")).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() && entry.file_name() != "indices" {
                made.insert(format!("key {}", entry.file_name().display()), String::new());
            }
        }
        made
    }
}

/// How many steps the recipe has.
const STEPS: usize = 16;

/// A kernel module that says this of itself.
fn module(modinfo: &str) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
    let section = object.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(section, modinfo.replace('|', "\0").as_bytes(), 1);
    object.write().unwrap()
}

#[test]
fn nothing_of_the_host_shows() {
    let debian = debian();
    let here = HERE.bench(&debian, None);
    let made_here = HERE.build(&here);
    let lock = fs::read(here.path("r.lock")).unwrap();
    let elsewhere = ELSEWHERE.bench(&debian, Some(&lock));
    let made_elsewhere = ELSEWHERE.build(&elsewhere);
    assert_eq!(made_here, made_elsewhere);
    assert_eq!(made_here.keys().filter(|name| name.starts_with("key ")).count(), STEPS);
    for name in
        ["r.axf", "rootfs.img", "initramfs.cpio.gz", "backup.tar.gz", "one.cfg", "machine.dtb", "memory-map.txt"]
    {
        assert!(made_here.contains_key(name), "{name} is not among {made_here:?}");
    }
    let axf = fs::read(here.path("out/r/r.axf")).unwrap();
    let path = here.folder.path().to_str().unwrap().as_bytes();
    assert!(!axf.windows(path.len()).any(|bytes| bytes == path), "the folder's name is in the artifact");
    // What others may read does not depend on the umask either.
    let mode = |path: &str| fs::metadata(elsewhere.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("out/r"), mode("out/cache"), mode("out/r/xen")), (0o755, 0o755, 0o444));
}
