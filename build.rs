//! Builds what `xenbuild` carries inside, the programs that run on bare metal, by a nested cargo with its own target folder.
//!
//! Two ways, found out by looking (or named in `XENBUILD_BARE`):
//! - `rustup`: the compiler has the target's library installed (`rustup target add`).
//! - `debian`: a compiler has its library's source beside it (Debian's rustc-web and rust-web-src; rustup's rust-src too); the
//!   library is compiled once into a small sysroot in the target folder.
//!
//! The bytes depend on neither: not on where the project lies, on CARGO_HOME, nor on the flags of the outer build.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const TARGET: &str = "aarch64-unknown-none-softfloat";
/// Package, and its programs with the variable that tells the crate where each lies.
const PROGRAMS: &[(&str, &[(&str, &str)])] = &[
    ("bootwrap-el3", &[("bootwrap-el3", "XENBUILD_EL3_STUB"), ("bootwrap-el3-probe", "XENBUILD_EL3_PROBE")]),
    ("hypervisor", &[("hypervisor", "XENBUILD_HYPERVISOR")]),
    ("test-guest", &[("test-guest", "XENBUILD_TEST_GUEST")]),
];
/// What those programs are made of.
const SOURCES: &[&str] = &[
    "build.rs",
    "Cargo.toml",
    "bootwrap/el3/Cargo.toml",
    "bootwrap/el3/build.rs",
    "bootwrap/el3/src",
    "bootwrap/el3/stub.ld",
    "bootwrap/el3/probe.ld",
    "dts/fdt/Cargo.toml",
    "dts/fdt/src",
    "hypervisor/Cargo.toml",
    "hypervisor/abi/Cargo.toml",
    "hypervisor/abi/src",
    "hypervisor/build.rs",
    "hypervisor/guest/Cargo.toml",
    "hypervisor/guest/build.rs",
    "hypervisor/guest/guest.ld",
    "hypervisor/guest/src",
    "hypervisor/hypervisor.ld",
    "hypervisor/src",
];

fn main() {
    println!("cargo:rerun-if-env-changed=XENBUILD_BARE");
    SOURCES.iter().for_each(|path| println!("cargo:rerun-if-changed={path}"));
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    let compiler = Compiler::find(&out).unwrap_or_else(|message| fail(&message));
    let target = out.join("bare");
    for (package, programs) in PROGRAMS {
        // A hypervisor that dies follows the chain of its frames; the Makefile says the same.
        let flags: &[&str] = if *package == "hypervisor" { &["-Cforce-frame-pointers=yes"] } else { &[] };
        let mut cargo = compiler.cargo(&[&root], flags);
        cargo.args([
            "build",
            "--offline",
            "--profile",
            "bare",
            "--target",
            TARGET,
            "--package",
            package,
            "--manifest-path",
        ]);
        cargo.arg(root.join("Cargo.toml")).arg("--target-dir").arg(&target);
        run(cargo);
        for (program, name) in *programs {
            let built = target.join(TARGET).join("bare").join(program);
            println!("cargo:rustc-env={name}={}", built.display());
        }
    }
}

/// A compiler that can make bare-metal programs.
struct Compiler {
    rustc: PathBuf,
    /// Flags for the programs: where the library is, how to link.
    flags: Vec<String>,
}

impl Compiler {
    /// Looks for one. `Err` is for the user.
    fn find(out: &Path) -> Result<Compiler, String> {
        let own = PathBuf::from(variable("RUSTC"));
        let way = env::var("XENBUILD_BARE").unwrap_or_else(|_| "auto".into());
        if !["auto", "rustup", "debian"].contains(&way.as_str()) {
            return Err(format!("XENBUILD_BARE is {way:?}; it may be auto, rustup or debian"));
        }
        if way != "debian" && library(&own).is_some_and(|library| library.join(TARGET).join("lib").is_dir()) {
            return Ok(Compiler { rustc: own, flags: Vec::new() });
        }
        if way != "rustup" {
            for rustc in [own, "/usr/bin/rustc".into()] {
                if library(&rustc).is_some_and(|library| library.join("src/rust/library/core/src/lib.rs").is_file()) {
                    let flags = linker()?;
                    let sysroot = sysroot(&rustc, out)?;
                    return Ok(Compiler {
                        rustc,
                        flags: [vec![format!("--sysroot={}", sysroot.display())], flags].concat(),
                    });
                }
            }
        }
        Err(format!(
            "no Rust library for {TARGET}, which the programs on bare metal need ({way}). One of these gives it:\n\
             \x20 rustup target add {TARGET}\n\
             \x20 apt-get install rustc-web rust-web-src lld-22     (Debian; as root)"
        ))
    }

    /// Returns a cargo that knows nothing of the one that started us but its job slots, and leaves no path of `hidden` in its output;
    /// `more` are flags for the compiler.
    fn cargo(&self, hidden: &[&Path], more: &[&str]) -> Command {
        let mut flags = self.flags.clone();
        flags.extend(more.iter().map(ToString::to_string));
        for (index, path) in hidden.iter().enumerate() {
            flags.push(format!("--remap-path-prefix={}=/source{index}", path.display()));
        }
        if let Some(home) = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        {
            flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
        }
        let mut cargo = Command::new(variable("CARGO"));
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let keep = ["CARGO_HOME", "CARGO_MAKEFLAGS", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].contains(&&*text);
            let ours = ["CARGO", "RUST", "DEP_", "CLIPPY_"].iter().any(|prefix| text.starts_with(prefix));
            if ours && !keep
                || ["OUT_DIR", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS"].contains(&&*text)
            {
                cargo.env_remove(name);
            }
        }
        cargo.env("RUSTC", &self.rustc);
        // Empty means none, whatever the user's configuration file says; and these flags replace that file's.
        cargo.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        cargo
    }
}

/// Returns the folder of the compiler's libraries, if it is there and runs.
fn library(rustc: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    let path = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(Path::new(path.trim()).join("lib/rustlib"))
}

/// Returns flags that name a linker. rustup's compilers bring their own; Debian's need one of these.
fn linker() -> Result<Vec<String>, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let find = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    let lld = ["rust-lld", "ld.lld"]
        .iter()
        .find_map(|name| find(name))
        .or_else(|| (14..100).rev().find_map(|version| find(&format!("ld.lld-{version}"))));
    let (linker, flavor) = match lld {
        Some(lld) => (lld, "ld.lld"),
        None => {
            let gnu = find("aarch64-linux-gnu-ld")
                .ok_or("no linker for AArch64: apt-get install lld-22 (or binutils-aarch64-linux-gnu)")?;
            (gnu, "ld")
        }
    };
    Ok(vec![format!("-Clinker={}", linker.display()), format!("-Clinker-flavor={flavor}")])
}

/// Compiles the library of `rustc` from source, once per compiler, and returns the folder that holds it as rustc expects it.
fn sysroot(rustc: &Path, out: &Path) -> Result<PathBuf, String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let output = Command::new(rustc).arg("-vV").output().map_err(|error| failed(rustc, error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").trim().to_owned();
    let key = format!("{}-{:.12}", field("release:"), field("commit-hash:"));
    // Shared by the outer build's profiles: OUT_DIR is <target>/<profile>/build/<package>/out.
    let shared = out.ancestors().nth(4).unwrap_or(out);
    let sysroot = shared.join(format!("bare-sysroot-{key}"));
    let inside = Path::new("lib/rustlib").join(TARGET).join("lib");
    if sysroot.join(&inside).is_dir() {
        return Ok(sysroot);
    }
    println!("cargo:warning=building Rust's core library for {TARGET}, once; this takes about a minute");

    let package = out.join("sysroot");
    let make = |path: PathBuf, text: &str| -> Result<(), String> {
        let parent = path.parent().unwrap_or(out);
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        fs::write(&path, text).map_err(|error| failed(&path, error))
    };
    make(
        package.join("Cargo.toml"),
        "[package]\nname = \"sysroot\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [profile.release]\nopt-level = \"s\"\npanic = \"abort\"\ncodegen-units = 1\n",
    )?;
    make(package.join("src/lib.rs"), "#![no_std]\n")?;
    let rustlib = library(rustc).ok_or(format!("{} does not run", rustc.display()))?;
    let source = rustlib.join("src/rust/library");
    // Bitcode too: the programs are optimised together with the library.
    let compiler = Compiler { rustc: rustc.into(), flags: vec!["-Cembed-bitcode=yes".into()] };
    let mut cargo = compiler.cargo(&[&package, &source], &[]);
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.args(["build", "--release", "--offline", "--target", TARGET, "-Zbuild-std=core,alloc"]);
    cargo.arg("-Zbuild-std-features=compiler-builtins-mem");
    if source.join("vendor").is_dir() {
        cargo.args(["--config", "source.crates-io.replace-with=\"library\"", "--config"]);
        cargo.arg(format!("source.library.directory={:?}", source.join("vendor").display().to_string()));
    }
    cargo.arg("--manifest-path").arg(package.join("Cargo.toml")).arg("--target-dir").arg(package.join("target"));
    run(cargo);

    // Made aside and renamed, so that it is there whole or not at all.
    let aside = shared.join(format!("bare-sysroot-{key}.{}", std::process::id()));
    let libraries = aside.join(&inside);
    fs::create_dir_all(&libraries).map_err(|error| failed(&libraries, error))?;
    let built = package.join("target").join(TARGET).join("release/deps");
    for entry in fs::read_dir(&built).map_err(|error| failed(&built, error))? {
        let path = entry.map_err(|error| failed(&built, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = ["libcore-", "liballoc-", "libcompiler_builtins-"].iter().any(|prefix| name.starts_with(prefix));
        if wanted && name.ends_with(".rlib") {
            fs::copy(&path, libraries.join(&name)).map_err(|error| failed(&path, error))?;
        }
    }
    // Another build may have been faster; its result is as good.
    if fs::rename(&aside, &sysroot).is_err() && !sysroot.join(&inside).is_dir() {
        return Err(format!("{} cannot be put in place", sysroot.display()));
    }
    let _ = fs::remove_dir_all(&aside);
    let _ = fs::remove_dir_all(package.join("target"));
    Ok(sysroot)
}

fn run(mut command: Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("{command:?}\nended with {status}")),
        Err(error) => fail(&format!("{command:?}: {error}")),
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    exit(1)
}
