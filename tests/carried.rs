//! The bare-metal programs that xenbuild carries have the same bytes wherever it was built: `build.rs` itself, run on
//! copies of the sources in other folders, with another CARGO_HOME, HOME, umask, time zone and other file times.
//!
//! The clock is not among these: the compiler does not run under `faketime`. The copies' file times are years apart.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, UNIX_EPOCH};

/// What the nested cargo reads: it wants to see the whole workspace.
const SOURCES: &[&str] =
    &["Cargo.toml", "Cargo.lock", "build.rs", "benches", "src", "imagegen", "bootwrap", "dts", "hypervisor"];

/// Where and how to build.
struct Place {
    folder: &'static str,
    umask: &'static str,
    time_zone: &'static str,
    time_s: u64,
}

const PLACES: [Place; 2] = [
    Place { folder: "a", umask: "022", time_zone: "UTC", time_s: 1_000_000_000 },
    Place { folder: "much deeper/than/that", umask: "077", time_zone: "Asia/Kathmandu", time_s: 1_600_000_000 },
];

/// Copies sources, every file of this time.
fn copy(from: &Path, to: &Path, time_s: u64) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "target") {
            copy(&entry.path(), &to.join(entry.file_name()), time_s);
        }
    } else {
        fs::write(to, fs::read(from).unwrap()).unwrap();
        fs::File::open(to).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(time_s)).unwrap();
    }
}

/// Returns a folder that a tool keeps in the user's home, as rustup and cargo find it.
fn home(variable: &str, name: &str) -> Option<PathBuf> {
    let usual = || Some(PathBuf::from(env::var_os("HOME")?).join(name));
    env::var_os(variable).map(PathBuf::from).or_else(usual).filter(|path| path.is_dir())
}

/// Runs `build.rs` in a place below `top`; returns the place and what the script said.
fn build(top: &Path, place: &Place, way: &str) -> (PathBuf, Output) {
    let folder = top.join(place.folder);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(folder.join("source")).unwrap();
    SOURCES.iter().for_each(|name| copy(&root.join(name), &folder.join("source").join(name), place.time_s));
    // Another CARGO_HOME that knows the same crates, so that nothing is asked of the network.
    let cargo_home = folder.join("cargo home");
    fs::create_dir_all(&cargo_home).unwrap();
    if let Some(own) = home("CARGO_HOME", ".cargo") {
        for entry in fs::read_dir(own).unwrap().map(Result::unwrap) {
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                symlink(entry.path(), cargo_home.join(entry.file_name())).unwrap();
            }
        }
    }
    let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
    let script = folder.join("build-script");
    let mut compiler = Command::new(&rustc);
    compiler.args(["--edition", "2024", "-o"]).arg(&script).arg("build.rs").current_dir(root);
    assert!(compiler.status().unwrap().success(), "{compiler:?}");
    let out = folder.join("target/debug/build/xenbuild-0/out");
    fs::create_dir_all(&out).unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("umask {}; exec \"$0\"", place.umask)]).arg(script).current_dir(folder.join("source"));
    // First, so that HOME can be another one.
    shell.envs(home("RUSTUP_HOME", ".rustup").map(|path| ("RUSTUP_HOME", path)));
    shell.env("CARGO_MANIFEST_DIR", folder.join("source")).env("OUT_DIR", &out).env("CARGO_HOME", cargo_home);
    shell.env("HOME", folder.join("home")).env("TZ", place.time_zone).env("XENBUILD_BARE", way);
    shell.env("RUSTC", rustc).env("CARGO", env::var_os("CARGO").unwrap_or(OsString::from("cargo")));
    (folder, shell.output().unwrap())
}

/// Returns the programs that a build's output names: the stub, the probe, the hypervisor.
fn programs(output: &Output) -> [Vec<u8>; 3] {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    ["XENBUILD_EL3_STUB", "XENBUILD_EL3_PROBE", "XENBUILD_HYPERVISOR"].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("cargo:rustc-env={name}=")));
        fs::read(line.unwrap_or_else(|| panic!("no {name} in {text}"))).unwrap()
    })
}

/// Builds in both places and compares; `None`, said aloud, where this way is not to be had.
fn same_everywhere(way: &str) -> Option<[Vec<u8>; 3]> {
    let top = tempfile::tempdir().unwrap();
    let mut found: Vec<[Vec<u8>; 3]> = Vec::new();
    for place in &PLACES {
        let (folder, output) = build(top.path(), place, way);
        let told = String::from_utf8_lossy(&output.stderr);
        if told.contains("error: no Rust library for ") && way != "auto" {
            eprintln!("SKIPPED: {way}: {told}");
            return None;
        }
        assert!(output.status.success(), "{told}");
        let made = programs(&output);
        let names = [folder.as_path(), Path::new(env!("CARGO_MANIFEST_DIR")), top.path()];
        for name in names.map(|path| path.as_os_str().as_encoded_bytes()) {
            let shows = |program: &Vec<u8>| program.windows(name.len()).any(|bytes| bytes == name);
            assert!(!made.iter().any(shows), "{} is in a program", String::from_utf8_lossy(name));
        }
        found.push(made);
    }
    assert!(found[0] == found[1], "{way}: the programs differ from one folder to the other");
    found.pop()
}

#[test]
fn what_is_carried_does_not_show_where_it_was_built() {
    let way = env::var("XENBUILD_BARE").unwrap_or("auto".into());
    let [stub, probe, hypervisor] = same_everywhere(&way).expect("this very program has been built that way");
    assert!(stub == xenbuild::carried::EL3, "it is not what this xenbuild carries");
    assert!(hypervisor == xenbuild::carried::HYPERVISOR, "it is not what this xenbuild carries");
    assert!(probe == include_bytes!(env!("XENBUILD_EL3_PROBE")), "it is not what this build has made");
}

#[test]
#[ignore = "conformance: compiles Rust's core library twice"]
fn nor_with_a_core_library_made_on_the_spot() {
    same_everywhere("debian");
}
