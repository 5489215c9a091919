//! Compiling from source: a stand-in for Linux that real make and the real cross compiler build in a second.

use std::fs;
use std::process::Command;

use crate::archive::{Debian, sha256, write};
use crate::bench::{Bench, image, ran, tarball, text};
use crate::server::{Fault, Server};

/// What Linux's make answers to, in small: two files to compile, a value that never sticks.
const MAKEFILE: &str = r#"
boot := $(O)/arch/arm64/boot
export SHELL = /bin/sh
defconfig:
	printf 'CONFIG_MODULES=y\nCONFIG_FAST=y\n' > $(O)/.config
olddefconfig:
	sed -i '/^CONFIG_NEEDY=/d' $(O)/.config
$(O)/%.o: %.c
	@echo "  CC      $*.o"
	@echo $* >> $(O)/compiled
	@cd $(O) && $(CROSS_COMPILE)gcc -g $(KCFLAGS) '-DSTAMP="$(KBUILD_BUILD_TIMESTAMP)"' -c $(CURDIR)/$< -o $@
Image.gz: $(O)/one.o $(O)/two.o
	@mkdir -p $(boot)
	@cat header.bin > $(boot)/Image
	@for part in one two; do $(CROSS_COMPILE)objcopy -O binary -j .rodata $(O)/$$part.o $(O)/$$part.bin || exit 1; done
	@cat $(O)/one.bin $(O)/two.bin | dd of=$(boot)/Image bs=1 seek=4096 conv=notrunc status=none
	@gzip -nc $(boot)/Image > $(boot)/Image.gz
	@cat $(O)/one.o $(O)/two.o | sha256sum > $(O)/System.map
modules dtbs:
modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/1.0
	@ln -sfn $(CURDIR) $(INSTALL_MOD_PATH)/lib/modules/1.0/build
	@date > $(INSTALL_MOD_PATH)/lib/modules/1.0/order && echo one.ko > $(INSTALL_MOD_PATH)/lib/modules/1.0/order
dtbs_install:
	@mkdir -p $(INSTALL_DTBS_PATH) && echo > $(INSTALL_DTBS_PATH)/board.dtb
"#;
const KCONFIG: &str = "config FAST\n\tbool \"Fast\"\nconfig NEEDY\n\tbool \"Needy\"\n\tdepends on ABSENT && FAST\n\
    config ABSENT\n\tbool\nconfig MODULES\n\tbool \"Modules\"\n";
const ONE: &str = "const char one[] = __FILE__ \" \" STAMP;\n";
const TWO: &str = "const char two[] = \"two\";\n";
const PATCH: &str =
    "--- a/two.c\n+++ b/two.c\n@@ -1 +1 @@\n-const char two[] = \"two\";\n+const char two[] = \"patched\";\n";

/// Says whether this host can compile; announces it where not.
fn can_compile() -> bool {
    let programs = ["aarch64-linux-gnu-gcc", "gcc", "make", "flex", "bison", "bc", "perl", "git"];
    let missing = programs
        .iter()
        .find(|program| !Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()));
    if let Some(missing) = missing {
        eprintln!("note: {missing} is missing; compiling from source is not tested");
    }
    missing.is_none()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("Makefile", MAKEFILE.as_bytes().to_vec()),
        ("Kconfig", KCONFIG.as_bytes().to_vec()),
        ("one.c", ONE.as_bytes().to_vec()),
        ("two.c", TWO.as_bytes().to_vec()),
        ("header.bin", image(1 << 16, 3)),
    ]
}

/// The recipe of all other tests, its kernel compiled from a tarball.
fn bench() -> Bench {
    let bench = Bench::new();
    let files: Vec<(String, Vec<u8>)> =
        files().into_iter().map(|(name, text)| (format!("linux-1.0/{name}"), text)).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    bench.write("linux.tar.gz", tarball(&files));
    bench.write("two.patch", PATCH);
    bench.edit("tarball = \"kernel.tar.gz\"\nfile = \"boot/vmlinuz-*\"", "source = \"linux\"");
    bench.edit("[machine]", "[source.linux]\ntarball = \"linux.tar.gz\"\n\n[machine]");
    bench
}

fn build(bench: &Bench, arguments: &[&str]) -> Result<Vec<String>, (i32, String)> {
    let mut command = bench.command(&["image", "r.toml", "--message-format=json"]);
    command.args(arguments).env("PATH", std::env::var_os("PATH").unwrap());
    text(command.output().unwrap()).map(|output| ran(&output))
}

fn compiled(bench: &Bench) -> String {
    let list = fs::read_to_string(bench.path("out/cache/build/r/kernel.linux/build/compiled")).unwrap();
    // In whatever order: they are compiled side by side.
    let mut names: Vec<&str> = list.split_whitespace().collect();
    names.sort_unstable();
    names.join(" ")
}

fn image_text(bench: &Bench) -> String {
    String::from_utf8_lossy(&fs::read(bench.path("out/r/Image")).unwrap()[4096..4300]).into_owned()
}

#[track_caller]
fn fails(bench: &Bench, code: i32, parts: &[&str]) {
    let failure = build(bench, &[]).unwrap_err();
    assert_eq!(failure.0, code, "{}", failure.1);
    for part in parts {
        assert!(failure.1.contains(part), "{part:?} is not in\n{}", failure.1);
    }
    assert_eq!(bench.litter(), Vec::<std::path::PathBuf>::new());
    assert!(!bench.path("out/r/Image").exists());
}

#[test]
fn a_kernel_is_the_same_in_any_folder_and_goes_on_where_it_was() {
    if !can_compile() {
        return;
    }
    let (bench, other) = (bench(), bench());
    let steps = build(&bench, &[]).unwrap();
    assert!(steps.contains(&"kernel.linux:build".to_owned()), "{steps:?}");
    build(&other, &["--jobs", "7"]).unwrap();
    assert_eq!(bench.artifacts(), other.artifacts());
    let names: Vec<String> = bench.artifacts().into_iter().map(|(name, _)| name).collect();
    for name in ["linux.config", "linux.System.map", "linux.Image.gz", "linux.modules.tar", "linux.dtbs.tar"] {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
    }
    let text = image_text(&bench);
    assert!(text.contains("one.c Thu Jan  1 00:00:00 UTC 2026") && !text.contains("/tmp"), "{text}");
    assert_eq!(build(&bench, &[]).unwrap(), Vec::<String>::new());
    // A patch touches one file: make compiles that one.
    assert_eq!(compiled(&bench), "one two");
    bench.edit("tarball = \"linux.tar.gz\"", "tarball = \"linux.tar.gz\"\npatches = [\"two.patch\"]");
    build(&bench, &[]).unwrap();
    assert_eq!(compiled(&bench), "one two two");
    assert!(image_text(&bench).contains("patched"));
    // From nothing it comes out the same.
    let patched = bench.artifacts();
    fs::remove_dir_all(bench.path("out")).unwrap();
    build(&bench, &[]).unwrap();
    assert_eq!(bench.artifacts(), patched);
}

#[test]
fn values_that_do_not_stick_are_all_named() {
    if !can_compile() {
        return;
    }
    let bench = bench();
    bench.write("my.config", "CONFIG_NEEDY=y\n");
    let keys = "source = \"linux\"\nfragments = [\"my.config\"]\nconfig = { NEEDI = 7, MODULES = true }";
    bench.edit("source = \"linux\"", keys);
    // A value without an option stays where this make leaves it: what counts is that the option with one does not.
    fails(
        &bench,
        4,
        &[
            "step kernel.linux:build: the configuration does not keep 1 value that it was given",
            "NEEDY is n instead of y: depends on ABSENT (which is n) (the fragment my.config, line 1 asks for it)",
        ],
    );
    bench.write("my.config", "CONFIG_FAST y\n");
    fails(&bench, 4, &["the fragment my.config, line 1: `CONFIG_FAST y` is no value of a configuration"]);
}

#[test]
fn what_does_not_patch_or_compile_is_told() {
    if !can_compile() {
        return;
    }
    let bench = bench();
    bench.write("two.patch", PATCH.replace("-const char two[] = \"two\"", "-const char two[] = \"2\""));
    bench.edit("tarball = \"linux.tar.gz\"", "tarball = \"linux.tar.gz\"\npatches = [\"two.patch\"]");
    fails(&bench, 4, &["step source.linux: the patch two.patch does not apply: line 3: two.c: hunk 1 does not apply"]);
    bench.edit("patches = [\"two.patch\"]", "files = { \"two.c\" = { text = \"int x = ;\\n\" } }");
    fails(
        &bench,
        4,
        &[
            "step kernel.linux:build: make Image.gz modules dtbs failed with exit status 2",
            "the first error: ",
            "two.c:1:9: error: expected expression",
            "out/cache/build/r/kernel.linux/log",
        ],
    );
    // Once it is mended, what was compiled is not compiled again.
    bench.edit("int x = ;", "const char two[] = \\\"mended\\\";");
    build(&bench, &[]).unwrap();
    assert_eq!(compiled(&bench).matches("one").count(), 1);
}

#[test]
fn a_missing_compiler_is_told_before_anything_is_done() {
    let bench = bench();
    let (code, told) = bench.run(&["image", "r.toml"]).unwrap_err();
    assert_eq!(code, 6, "{told}");
    assert!(told.contains("programs that the build needs are missing: aarch64-linux-gnu-gcc"), "{told}");
    assert!(told.contains("apt-get install gcc-aarch64-linux-gnu"), "{told}");
    assert!(!bench.path("out/cache/build").exists());
}

#[test]
fn without_a_compiler_the_rest_is_known() {
    let bench = bench();
    let missing = "aarch64-linux-gnu-gcc; on Debian: sudo apt-get install gcc-aarch64-linux-gnu";
    let told = bench.run(&["plan", "r.toml"]).unwrap();
    let line = |step: &str| {
        let found = told.lines().find(|line| line.split_whitespace().next() == Some(step));
        found.unwrap_or_default().split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert!(line("kernel.linux:build").starts_with("unknown a program that the build needs is missing: "), "{told}");
    assert!(line("kernel.linux:build").ends_with(missing), "{told}");
    assert_eq!(line("kernel.linux"), "waits for kernel.linux:build");
    assert!(line("device-tree").starts_with("would run"), "{told}");
    assert!(told.contains(", 1 cannot be known without the compiler, "), "{told}");
    let told = bench.run(&["explain", "r.toml", "kernel.linux:build"]).unwrap();
    assert!(told.starts_with("kernel.linux:build: nobody can tell without the compiler: a program that "), "{told}");
    assert!(told.contains(missing), "{told}");
    let told = bench.run(&["explain", "r.toml", "--format", "json"]).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let verdict = |step: &str| {
        told.as_array().unwrap().iter().find(|one| one["step"] == step).map(|one| one["verdict"].clone()).unwrap()
    };
    assert_eq!((verdict("kernel.linux:build"), verdict("device-tree")), ("unknown".into(), "would-run".into()));
    let checked = bench.command(&["check", "r.toml"]).output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("not made yet: kernel, initramfs"));
    let warned = String::from_utf8(checked.stderr).unwrap();
    assert!(
        warned.starts_with("warning: programs that the build needs are missing: aarch64-linux-gnu-gcc, "),
        "{warned}"
    );
    assert!(!bench.path("out").exists(), "who looks makes nothing");
    // Built where there is one, looked at where there is none: what was made is what the last build left.
    if !can_compile() {
        return;
    }
    build(&bench, &[]).unwrap();
    let told = bench.run(&["explain", "r.toml"]).unwrap();
    assert!(told.starts_with("kernel.linux:build: nobody can tell without the compiler: "), "{told}");
    assert!(!told.contains("device-tree"), "{told}");
    assert!(bench.run(&["check", "r.toml"]).unwrap().contains("to be made again: kernel (in the map as the last "));
    bench.edit("[kernel.linux]", "[kernel.linux]\nconfig = { FAST = true }");
    let told = bench.run(&["explain", "r.toml"]).unwrap();
    assert!(told.contains("\n  parameter config FAST: new, true\n"), "{told}");
}

fn git(bench: &Bench, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(bench.path("repository"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Needs root, to mount a file system that is small. Each phase writes more than the disk grows by from run to run.
#[test]
fn a_disk_that_fills_up_in_any_phase_is_told() {
    if !can_compile() {
        return;
    }
    let bench = bench();
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut header = image(1 << 20, 0);
    header[64..].fill_with(&mut noise);
    let files = files().into_iter().map(|(name, text)| (format!("linux-1.0/{name}"), text));
    let files: Vec<(String, Vec<u8>)> = files
        .map(|(name, text)| if name.ends_with("header.bin") { (name, header.clone()) } else { (name, text) })
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    let content = tarball(&files);
    bench.write("web/linux.tar.gz", &content);
    let server = Server::start(&bench.path("web"));
    let keys = format!("url = \"{}/linux.tar.gz\"\nsha256 = \"{}\"", server.url(), sha256(&content));
    bench.edit("tarball = \"linux.tar.gz\"", &keys);
    bench.edit("\"/notes\" = ", "\"/Image\" = { kernel = \"linux\" }\n\"/notes\" = ");
    let disk = "[disk.card]\ntable = \"mbr\"\ncompress = \"gz\"\npartition = [{ type = \"linux\", filesystem = \"rootfs\" }]\n";
    bench.edit("[guest.one]", &format!("{disk}\n[guest.one]"));
    fs::create_dir(bench.path("out")).unwrap();
    let Some(small) = Small::mount(bench.path("out")) else { return };
    let mut full: Vec<String> = Vec::new();
    for size_kib in (400..).step_by(600) {
        assert!(size_kib < 64 << 10, "it never fits: {full:?}");
        small.grow(size_kib);
        let Err((code, told)) = build(&bench, &[]) else { break };
        assert_eq!(code, 6, "{size_kib} KiB: {told}");
        assert!(told.contains("the disk is full"), "{size_kib} KiB: {told}");
        full.push(told);
        let made = fs::read_dir(bench.path("out/r")).into_iter().flatten().flatten();
        let made: Vec<_> = made.map(|entry| entry.file_name()).filter(|name| name != ".state").collect();
        assert_eq!(made, Vec::<std::ffi::OsString>::new(), "{size_kib} KiB");
        assert_eq!(bench.litter(), Vec::<std::path::PathBuf>::new(), "{size_kib} KiB");
    }
    let phases =
        ["source.linux:file", "source.linux:archive", "kernel.linux:build", "filesystem.rootfs", "disk.card:gz"];
    for phase in phases {
        let step = format!("step {phase}: ");
        assert!(full.iter().any(|told| told.contains(&step)), "{phase} met no full disk: {full:#?}");
    }
    let other = Bench::new();
    for name in ["r.toml", "r.lock"] {
        other.write(name, fs::read(bench.path(name)).unwrap());
    }
    build(&other, &[]).unwrap();
    assert_eq!(bench.artifacts(), other.artifacts());
}

/// A small file system in memory, as long as this is kept.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(place: std::path::PathBuf) -> Option<Small> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&place).output();
        if !mount.as_ref().is_ok_and(|mount| mount.status.success()) {
            eprintln!("SKIPPED: a full disk needs root and mount(8) to be shown");
            return None;
        }
        Some(Small(place))
    }

    fn grow(&self, size_kib: u32) {
        let options = format!("remount,size={size_kib}k");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_branch_is_looked_up_once_and_its_objects_are_kept() {
    if !can_compile() {
        return;
    }
    let bench = bench();
    for (name, text) in files() {
        bench.write(&format!("repository/{name}"), text);
    }
    // Nothing of this may have a say in what is compiled.
    bench.write("repository/.gitattributes", "two.c export-ignore\none.c text eol=crlf\n");
    git(&bench, &["init", "-q"]);
    git(&bench, &["add", "."]);
    git(&bench, &["commit", "-qm", "one"]);
    let commit = git(&bench, &["rev-parse", "HEAD"]);
    bench.edit("tarball = \"linux.tar.gz\"", "git = \"repository\"\nrevision = \"main\"");
    build(&bench, &[]).unwrap();
    let lock = fs::read_to_string(bench.path("r.lock")).unwrap();
    assert!(lock.contains(&format!("revision = \"main\"\ncommit = \"{commit}\"\n")), "{lock}");
    let first = bench.artifacts();
    // The branch goes on; the lock does not.
    bench.write("repository/two.c", TWO.replace("two\"", "newer\""));
    git(&bench, &["commit", "-qam", "two"]);
    assert_eq!(build(&bench, &[]).unwrap(), Vec::<String>::new());
    // With the outputs gone, and the repository, the objects are still there.
    fs::remove_dir_all(bench.path("repository")).unwrap();
    for entry in fs::read_dir(bench.path("out/cache")).unwrap().flatten() {
        if entry.file_name().len() == 64 {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    assert!(build(&bench, &["--offline"]).unwrap().contains(&"source.linux:commit".to_owned()));
    assert_eq!(bench.artifacts(), first);
    bench.edit("revision = \"main\"", "revision = \"gone\"");
    let (code, told) = build(&bench, &[]).unwrap_err();
    assert!(code != 0 && told.contains("git cannot read"), "{told}");
}

#[test]
fn what_was_compiled_and_fetched_is_garbage_that_only_saves_time() {
    if !can_compile() {
        return;
    }
    let bench = bench();
    for (name, text) in files() {
        bench.write(&format!("repository/{name}"), text);
    }
    git(&bench, &["init", "-q"]);
    git(&bench, &["add", "."]);
    git(&bench, &["commit", "-qm", "one"]);
    bench.edit("tarball = \"linux.tar.gz\"", "git = \"repository\"\nrevision = \"main\"");
    build(&bench, &[]).unwrap();
    let before = bench.artifacts();
    let cache = |arguments: &[&str]| -> serde_json::Value {
        let told = bench.run(&[&["cache", "--message-format=json"], arguments].concat()).unwrap();
        serde_json::from_str(&told).unwrap()
    };
    // How much a folder takes is what the host's du says.
    let du = |folder: &str| -> u64 {
        let output = Command::new("du").args(["-s", "-B1"]).arg(bench.path(folder)).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    let whole = cache(&[]);
    let number = |value: &serde_json::Value, key: &str| value[key].as_u64().unwrap();
    let repositories = || fs::read_dir(bench.path("out/cache/git")).map_or(0, Iterator::count);
    let (in_use, all) = (number(&whole, "in-use-bytes"), number(&whole, "bytes"));
    assert!(all - in_use <= du("out/cache/git") + du("out/cache/build"), "{whole}");
    assert!(all - in_use >= du("out/cache/git"), "{whole}");
    // One byte too many: compiled things go, and the repository stays; then it goes, too.
    let told = cache(&["--gc", "--limit", &(all - 1).to_string()]);
    assert_eq!((number(&told, "removed-entries"), repositories()), (1, 1), "{told}");
    assert!(!bench.path("out/cache/build/r/kernel.linux").exists());
    let told = cache(&["--gc", "--limit", "0", "--dry-run"]);
    assert_eq!((number(&told, "removed-entries"), repositories()), (1, 1), "{told}");
    let told = cache(&["--gc", "--limit", "0"]);
    assert_eq!((number(&told, "removed-entries"), repositories()), (1, 0), "{told}");
    assert_eq!(number(&told, "bytes"), in_use, "{told}");
    assert!(!bench.path("out/cache/git").exists() && !bench.path("out/cache/build/r").exists());
    assert_eq!(bench.litter(), Vec::<std::path::PathBuf>::new());
    // Nothing is missing: not for what is built, and not for what is built again from nothing.
    assert_eq!(build(&bench, &["--offline"]).unwrap(), Vec::<String>::new());
    bench.write("repository/two.c", TWO.replace("two\"", "newer\""));
    fs::remove_dir_all(bench.path("out")).unwrap();
    build(&bench, &["--locked"]).unwrap();
    assert_eq!(bench.artifacts(), before);
}

#[test]
fn a_tarball_from_an_address_is_resumed_and_verified() {
    if !can_compile() {
        return;
    }
    let bench = bench();
    let content = fs::read(bench.path("linux.tar.gz")).unwrap();
    let (hash, part) = (sha256(&content), content.len() / 4);
    fs::create_dir(bench.path("web")).unwrap();
    fs::rename(bench.path("linux.tar.gz"), bench.path("web/linux.tar.gz")).unwrap();
    let server = Server::start(&bench.path("web"));
    let keys = format!("url = \"{}/linux.tar.gz\"\nsha256 = \"{hash}\"", server.url());
    bench.edit("tarball = \"linux.tar.gz\"", &keys);
    bench.run(&["lock", "r.toml"]).unwrap();
    let asked = server.requests("").len();
    let ranges = || -> Vec<Option<String>> {
        server.requests("")[asked..].iter().map(|request| request.header("range").map(String::from)).collect()
    };
    let from = |parts: usize| Some(format!("bytes={}-", parts * part));
    // Cut off, taken up, cut off, and gone: what has come waits for the next run.
    for fault in [Fault::Cut(part), Fault::Cut(part), Fault::Status(404)] {
        server.fault("linux.tar.gz", fault);
    }
    fails(&bench, 5, &["step source.linux:file: ", "linux.tar.gz"]);
    assert_eq!(ranges(), [None, from(1), from(2)]);
    let kept = bench.path("out/cache/partial").join(&hash);
    assert_eq!(fs::read(&kept).unwrap(), content[..2 * part]);
    server.fault("linux.tar.gz", Fault::Cut(part));
    build(&bench, &[]).unwrap();
    assert_eq!(ranges()[3..], [from(2), from(3)]);
    assert!(image_text(&bench).contains("one.c") && !kept.exists());
    // Other bytes in the rest, or in all of it, are not taken, nor kept.
    let mut other = content.clone();
    other[3 * part] ^= 1;
    fs::remove_dir_all(bench.path("out")).unwrap();
    server.fault("linux.tar.gz", Fault::Cut(part));
    (0..2).for_each(|_| server.fault("linux.tar.gz", Fault::Content(other.clone())));
    fails(&bench, 4, &["step source.linux:file: ", "its SHA-256 is not what it should be"]);
    assert_eq!(server.requests("").len() - asked, 8, "what was put together is loaded once more from the beginning");
    assert!(!kept.exists());
    build(&bench, &[]).unwrap();
    // Offline it is there, and then it is not.
    assert_eq!(build(&bench, &["--offline"]).unwrap(), Vec::<String>::new());
    fs::remove_dir_all(bench.path("out")).unwrap();
    assert_eq!(build(&bench, &["--offline"]).unwrap_err().0, 5);
}

#[test]
fn a_debian_source_package_is_patched_as_its_series_says() {
    if !can_compile() {
        return;
    }
    let bench = bench();
    let orig: Vec<(String, Vec<u8>)> =
        files().into_iter().map(|(name, text)| (format!("linux-1/{name}"), text)).collect();
    let orig: Vec<(&str, &[u8])> = orig.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    let series = "# in order\nfirst.patch\n";
    let debian = [("debian/patches/series", series.as_bytes()), ("debian/patches/first.patch", PATCH.as_bytes())];
    let parts = [
        ("linux_1.orig.tar.gz", tarball(&orig)),
        ("linux_1-1.debian.tar.gz", tarball(&debian)),
        ("linux_1-1.dsc", b"a signed text".to_vec()),
    ];
    let mut archive = Debian::new(&[]);
    let mut list = String::new();
    for (name, bytes) in &parts {
        write(&archive.folder().join("pool/l").join(name), bytes);
        list.push_str(&format!(" {} {} {name}\n", sha256(bytes), bytes.len()));
    }
    let sources = format!("Package: linux\nVersion: 1-1\nDirectory: pool/l\nChecksums-Sha256:\n{list}\n");
    archive.extra = vec![("main/source/Sources".into(), sources.into_bytes())];
    archive.publish();
    let packages = format!(
        "[packages]\nsuites = [\"bookworm\"]\nmirror = \"file://{}\"\nkeyring = \"{}\"\n\n[machine]",
        archive.folder().display(),
        archive.environment().keyring.unwrap().display()
    );
    bench.edit("[machine]", &packages);
    bench.edit("tarball = \"linux.tar.gz\"", "debian = \"linux\"");
    build(&bench, &[]).unwrap();
    assert!(image_text(&bench).contains("patched"));
    let lock = fs::read_to_string(bench.path("r.lock")).unwrap();
    assert!(
        lock.contains("request = \"linux\"\nname = \"linux\"\nversion = \"1-1\"\nsuite = \"bookworm\"\n"),
        "{lock}"
    );
    // The lock is enough.
    fs::remove_dir_all(archive.folder().join("dists")).unwrap();
    fs::remove_dir_all(bench.path("out")).unwrap();
    build(&bench, &["--locked"]).unwrap();
    bench.edit("debian = \"linux\"", "debian = \"linux/trixie\"");
    assert!(build(&bench, &["--locked"]).unwrap_err().1.contains("it does not know the source package linux/trixie"));
}
