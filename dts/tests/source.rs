//! Sources and what becomes of them: golden files, and dtc itself as the judge where it is installed.
//!
//! `data/accept/*.dts` compile; `.expected` is the tree printed as source. `data/refuse/*.dts` do not, `data/warn/*.dts`
//! do with warnings; `.expected` are the messages, with source lines and in dtc's format. `BLESS=1` rewrites them.

use std::path::{Path, PathBuf};
use std::process::Command;

use dts::emit::{self, Annotate};
use dts::{LoadError, Loader, Options};

fn data(topic: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(topic)
}

/// The sources of a topic, in order.
fn sources(topic: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data(topic)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "dts")).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// Files of one folder, by bare name, so that messages are the same everywhere.
struct Folder(PathBuf);

impl Loader for Folder {
    fn load(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        std::fs::read(self.0.join(path)).map_err(|_| LoadError::NotFound)
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// `<macros.h>` is looked for in the folder itself.
fn options() -> Options {
    Options { include_dirs: vec![".".into()], ..Options::default() }
}

fn golden(source: &Path, actual: &str) {
    let expected = source.with_extension("expected");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&expected, actual).unwrap();
    }
    let text = std::fs::read_to_string(&expected).unwrap_or_else(|_| panic!("{} is missing", expected.display()));
    assert!(text == actual, "{}: expected\n{text}\nbut it is\n{actual}", source.display());
}

#[test]
fn accepted_sources_become_the_expected_trees() {
    for source in sources("accept") {
        let loader = Folder(data("accept"));
        let compiled = dts::analyze(&loader, name(&source), &Options { for_source: true, ..options() });
        assert!(!compiled.diagnostics.has_errors(), "{}: {}", source.display(), compiled.diagnostics);
        golden(&source, &emit::dts(&compiled.tree, &compiled.diagnostics.sources, Annotate::Nothing));
    }
}

#[test]
fn printed_trees_compile_to_the_same_bytes() {
    for source in sources("accept") {
        let loader = Folder(data("accept"));
        for symbols in [false, true] {
            let once = dts::compile(&loader, name(&source), &Options { symbols, ..options() }).unwrap();
            let printable = Options { symbols: false, for_source: true, ..options() };
            let compiled = dts::analyze(&loader, name(&source), &printable);
            // Which nodes are kept, and that a node once had a label, depends on more than what is printed.
            if symbols && (source.ends_with("omit.dts") || source.ends_with("merge.dts")) {
                continue;
            }
            let text = emit::dts(&compiled.tree, &compiled.diagnostics.sources, Annotate::Range);
            let again = dts::MemoryLoader::new().with("again.dts", text.clone());
            let twice = dts::compile(&again, "again.dts", &Options { symbols, ..options() });
            let twice = twice.unwrap_or_else(|error| panic!("{}: {error}\n{text}", source.display()));
            assert!(once.dtb == twice.dtb, "{} symbols {symbols}:\n{text}", source.display());
            let flat = dts::analyze_flat(&fdt::Tree::parse(&once.dtb).unwrap(), &Options::default());
            assert!(!flat.diagnostics.has_errors(), "{}", flat.diagnostics);
            assert!(!emit::asm(&compiled.tree, 0).is_empty() && emit::yaml(&compiled.tree).starts_with("---\n"));
        }
    }
}

#[test]
fn dtc_makes_the_same_bytes() {
    if Command::new("dtc").arg("-v").output().is_err() {
        eprintln!("dtc is not installed: this comparison is skipped");
        return;
    }
    let has_cpp = Command::new("cpp").arg("--version").output().is_ok();
    for source in sources("accept") {
        // What dtc 1.6.1, the oldest around, does not know yet.
        if name(&source).ends_with(".new.dts") {
            continue;
        }
        let folder = data("accept");
        let mut input = source.clone();
        if std::fs::read_to_string(&source).unwrap().contains("#include") {
            if !has_cpp {
                eprintln!("cpp is not installed: {} is skipped", source.display());
                continue;
            }
            input = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preprocessed.dts");
            let run = Command::new("cpp")
                .args(["-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp", "-I"])
                .args([&folder, &source, &input])
                .status();
            assert!(run.unwrap().success());
        }
        for symbols in [false, true] {
            let mut command = Command::new("dtc");
            command.args(["-q", "-q", "-f", "-I", "dts", "-O", "dtb", "-i"]).arg(&folder).arg(&input);
            if symbols {
                command.arg("-@");
            }
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
            let ours = dts::compile(&Folder(folder.clone()), name(&source), &Options { symbols, ..options() });
            let ours = ours.unwrap_or_else(|error| panic!("{}: {error}", source.display())).dtb;
            if ours != output.stdout {
                let (ours, theirs) = (fdt::Tree::parse(&ours).unwrap(), fdt::Tree::parse(&output.stdout).unwrap());
                assert_eq!(ours.to_string(), theirs.to_string(), "{} symbols {symbols}", source.display());
                panic!("{} symbols {symbols}: same trees, other bytes", source.display());
            }
        }
    }
}

#[test]
fn messages_are_the_expected_ones() {
    for topic in ["refuse", "warn"] {
        for source in sources(topic) {
            let compiled = dts::analyze(&Folder(data(topic)), name(&source), &options());
            let messages = &compiled.diagnostics;
            assert_eq!(messages.has_errors(), topic == "refuse", "{}: {messages}", source.display());
            golden(&source, &format!("{}{}", messages.render(false), messages.render_like_dtc("<stdout>")));
        }
    }
}

/// Every check that dtc 1.6.1 has too finds the same places.
#[test]
fn warnings_are_dtcs() {
    // Wording that changed between the versions, and checks that one of them lacks.
    let differs = ["interrupt_map", "interrupt_provider", "graph_", "avoid_unnecessary_addr_size"];
    let lines = |text: &str| -> Vec<String> {
        let kept = text.lines().filter(|line| !differs.iter().any(|part| line.contains(part)));
        kept.map(String::from).collect()
    };
    let mut compared = 0;
    for source in sources("warn").into_iter().filter(|source| !name(source).ends_with(".new.dts")) {
        let mut command = Command::new("dtc");
        command.args(["-I", "dts", "-O", "null"]).arg(name(&source)).current_dir(data("warn"));
        let Ok(output) = command.output() else {
            eprintln!("dtc is not installed: this comparison is skipped");
            return;
        };
        let compiled = dts::analyze(&Folder(data("warn")), name(&source), &options());
        let theirs = lines(&String::from_utf8_lossy(&output.stderr));
        assert_eq!(lines(&compiled.diagnostics.render_like_dtc("<stdout>")), theirs);
        compared += theirs.len();
    }
    assert!(compared > 20, "only {compared} lines");
}
