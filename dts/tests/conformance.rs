//! The whole of Linux' arm64 device trees, judged by dtc.

use std::path::{Path, PathBuf};
use std::process::Command;

use dts::{LoadError, Loader, Options};

struct Files;

impl Loader for Files {
    fn load(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        std::fs::read(path).map_err(|_| LoadError::NotFound)
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "dts") {
            found.push(path);
        }
    }
}

/// Preprocesses with cpp as Linux' build does.
fn preprocess(root: &Path, source: &Path, output: &Path) -> bool {
    let run = Command::new("cpp")
        .args(["-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp", "-I"])
        .arg(root.join("scripts/dtc/include-prefixes"))
        .args([source, output])
        .status();
    run.expect("cpp is installed").success()
}

/// Compiles every source with our preprocessor and compiler, and with cpp and dtc, with and without symbols.
#[test]
#[ignore = "conformance: needs XENBUILD_LINUX_SOURCE, cpp and dtc"]
fn linux_compiles_to_dtcs_bytes() {
    let root =
        PathBuf::from(std::env::var("XENBUILD_LINUX_SOURCE").expect("XENBUILD_LINUX_SOURCE names a Linux source tree"));
    let arch = std::env::var("XENBUILD_LINUX_ARCH").unwrap_or("arm64".into());
    let mut all = Vec::new();
    sources(&root.join("arch").join(arch).join("boot/dts"), &mut all);
    all.sort();
    let text = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linux.dts");
    let (mut compared, mut identical) = (0, 0);
    for source in &all {
        if !preprocess(&root, source, &text) {
            eprintln!("cpp refuses {}", source.display());
            continue;
        }
        let folders = [source.parent().unwrap().to_path_buf(), root.join("scripts/dtc/include-prefixes")];
        for symbols in [false, true] {
            let mut command = Command::new("dtc");
            command.args(["-q", "-q", "-I", "dts", "-O", "dtb", "-b", "0"]);
            for folder in &folders {
                command.arg("-i").arg(folder);
            }
            if symbols {
                command.arg("-@");
            }
            let theirs = command.arg(&text).output().expect("dtc is installed");
            assert!(theirs.status.success(), "dtc refuses {}", source.display());
            let options = Options {
                symbols,
                boot_cpu: Some(0),
                include_dirs: folders.iter().map(|folder| folder.display().to_string()).collect(),
                ..Options::default()
            };
            compared += 1;
            match dts::compile(&Files, source.to_str().unwrap(), &options) {
                Ok(ours) if ours.dtb == theirs.stdout => identical += 1,
                Ok(_) => eprintln!("differs: {} symbols {symbols}", source.display()),
                Err(error) => eprintln!("refused: {} {error}", source.display()),
            }
        }
    }
    println!("{identical} of {compared} compilations of {} sources are identical", all.len());
    assert!(compared > 0 && identical == compared);
}
