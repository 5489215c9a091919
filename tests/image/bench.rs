//! A folder with a recipe and everything that it names, and the program to run on it in a sealed environment.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use imagegen::archive::tar;
use imagegen::decompress::gzip_writer;
use imagegen::tree::{Kind, Metadata, Timestamp, Tree};
use sha2::Digest;

/// A recipe that has one of each kind of step and of local input.
pub const RECIPE: &str = r##"version = 1
description = "everything from local files"
epoch = "2026-01-01T00:00:00Z"

[machine]
type = "qemu-virt"
cpus = 2
memory = "1GiB"

[hypervisor]
path = "xen"
bootargs = "console=dtuart"

[kernel.linux]
tarball = "kernel.tar.gz"
file = "boot/vmlinuz-*"

[device-tree]
overlays = [{ path = "board/extra.dts" }]

[dom0]
kernel = "linux"
initramfs = "initramfs"
root = "rootfs"
memory = "256MiB"
bootargs = "console=hvc0"

[filesystem.initramfs]
format = "cpio"
[filesystem.initramfs.files]
"/init" = { mode = 0o755, text = "#!/bin/sh\n" }

[filesystem.rootfs]
format = "ext3"
label = "rootfs"
include = [{ path = "overlay", to = "/" }, { tarball = "files.tar.gz", to = "/opt" }]
[filesystem.rootfs.files]
"/etc/hostname" = { text = "dom0\n" }
"/notes" = { path = "notes.txt" }
[filesystem.rootfs.users.ann]
uid = 1000
gid = 1000

[filesystem.domu]
format = "ext3"
size = "16MiB"
[filesystem.domu.files]
"/sbin/init" = { mode = 0o755, text = "#!/bin/sh\n" }

[guest.one]
kernel = "linux"
memory = "64MiB"
disk = [{ filesystem = "domu", device = "xvda" }]
"##;

/// The folder.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    /// Makes the recipe and its files.
    pub fn new() -> Self {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        bench.write("r.toml", RECIPE);
        bench.write("xen", image(1 << 16, 1));
        bench.write("notes.txt", "notes\n");
        bench.write("overlay/etc/motd", "hello\n");
        bench.write("overlay/usr/bin/tool", "#!/bin/sh\n");
        bench.write("board/extra.dts", "#include \"extra.h\"\n/dts-v1/;\n/plugin/;\n&{/} { extra = <EXTRA>; };\n");
        bench.write("board/extra.h", "#define EXTRA 1\n");
        bench.write("kernel.tar.gz", tarball(&[("boot/vmlinuz-6.1", &image(1 << 17, 2)), ("boot/config-6.1", b"c")]));
        bench.write("files.tar.gz", tarball(&[("a", b"a"), ("b/c", b"c")]));
        // A file that is as new as its reading is read again the next time, as in git: some tests count that.
        std::thread::sleep(std::time::Duration::from_millis(50));
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Changes the recipe; what is to be changed must be there.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("r.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in the recipe");
        self.write("r.toml", text.replacen(from, to, 1));
    }

    /// Returns the program with these arguments, in the folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenbuild"));
        command.args(arguments).current_dir(self.folder.path());
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/nowhere").stdin(Stdio::null());
        command
    }

    /// Runs the program; returns its standard output, or its exit code and standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String, (i32, String)> {
        text(self.command(arguments).output().unwrap())
    }

    /// Builds; returns the names of the steps that ran, sorted.
    pub fn build(&self) -> Vec<String> {
        let output = self.run(&["image", "r.toml", "--message-format=json"]).unwrap();
        ran(&output)
    }

    /// Returns name and SHA-256 of everything in `out/r`.
    pub fn artifacts(&self) -> Vec<(String, String)> {
        let mut artifacts = Vec::new();
        for entry in fs::read_dir(self.path("out/r")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with('.') {
                artifacts.push((name, hash(&entry.path())));
            }
        }
        artifacts.sort();
        artifacts
    }

    /// Lists what a killed build may leave for the next one to remove.
    pub fn litter(&self) -> Vec<PathBuf> {
        let mut litter = Vec::new();
        let mut todo = vec![self.path("out")];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if ["tmp-", ".new-", ".index-"].iter().any(|prefix| name.starts_with(prefix)) {
                    litter.push(entry.path());
                }
                if entry.file_type().unwrap().is_dir() {
                    todo.push(entry.path());
                }
            }
        }
        litter
    }
}

/// Returns the names of the steps that ran, sorted, out of JSON lines.
pub fn ran(output: &str) -> Vec<String> {
    let mut steps: Vec<String> = events(output)
        .into_iter()
        .filter(|event| event["event"] == "end" && event["outcome"] == "done")
        .map(|event| event["step"].as_str().unwrap().to_owned())
        .collect();
    steps.sort();
    steps
}

/// Reads JSON lines.
pub fn events(output: &str) -> Vec<serde_json::Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn text(output: Output) -> Result<String, (i32, String)> {
    let stderr = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
        code => Err((code.unwrap_or(-1), stderr)),
    }
}

/// Runs a stranger's tool in a folder; says whether it succeeded, and what it wrote; `None`, announced, if it is not
/// installed.
pub fn tool(tool: &str, arguments: &[&str], folder: &Path) -> Option<(bool, Vec<u8>)> {
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env("LC_ALL", "C").env("PATH", paths);
    match command.env("SOURCE_DATE_EPOCH", "1767225600").env("TZ", "UTC").output() {
        Ok(output) => Some((output.status.success(), [output.stdout, output.stderr].concat())),
        Err(error) => {
            eprintln!("skipped: cannot run {tool}: {error}");
            None
        }
    }
}

/// Runs a stranger's tool, which has to succeed, and returns what it wrote.
pub fn shown(name: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let (success, text) = tool(name, arguments, folder)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(success, "{name} {arguments:?}:\n{text}");
    Some(text)
}

pub fn hash(path: &Path) -> String {
    let digest = sha2::Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns an arm64 Image that does nothing (Linux: Documentation/arm64/booting.rst).
pub fn image(size_bytes: usize, fill: u8) -> Vec<u8> {
    let mut image = vec![fill; size_bytes];
    image[..64].fill(0);
    image[16..24].copy_from_slice(&(size_bytes as u64).to_le_bytes());
    image[24..32].copy_from_slice(&0b1010u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// Returns a tar.gz.
pub fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tree = Tree::new(Metadata::root(0o755, Timestamp::default()));
    for (path, bytes) in files {
        let kind = Kind::File(Arc::new(bytes.to_vec()));
        tree.insert(path.as_bytes(), kind, Metadata::root(0o644, Timestamp::default())).unwrap();
    }
    let mut gzip = gzip_writer(Vec::new(), 6);
    tar::write(&tree, &mut gzip, &tar::WriteOptions::default()).unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}
