//! The command as scripts use it: options, exit codes, files.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Runs `dts` in a folder of its own with `input` on standard input.
fn run(folder: &tempfile::TempDir, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dts"))
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const GOOD: &str = "/dts-v1/; / { model = \"m\"; n: node { a = <1>; }; };";

#[test]
fn good_input_is_0_bad_syntax_1_a_bad_tree_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&folder, &["-o", "out.dtb"], GOOD);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let blob = std::fs::read(folder.path().join("out.dtb")).unwrap();
    assert!(fdt::Tree::parse(&blob).unwrap().find("/node").is_some());

    let output = run(&folder, &["-o", "bad.dtb", "--message-format=dtc"], "/dts-v1/; / { a = ; };");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("Error: -:1.19-20 syntax error"), "{}", stderr(&output));
    assert!(!folder.path().join("bad.dtb").exists(), "no output on failure");

    let tree = "/dts-v1/; / { a = <&nowhere>; };";
    let output = run(&folder, &["-o", "bad.dtb", "--message-format=dtc"], tree);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("ERROR (phandle_references): /: Reference to"), "{}", stderr(&output));
    assert!(!folder.path().join("bad.dtb").exists());
    let output = run(&folder, &["-f", "-qq", "-o", "bad.dtb"], tree);
    assert_eq!(output.status.code(), Some(0));
    assert!(folder.path().join("bad.dtb").exists(), "forced");
    assert_eq!(run(&folder, &["--nonsense"], "").status.code(), Some(1));
    assert_eq!(run(&folder, &["missing.dts"], "").status.code(), Some(1));
}

#[test]
fn checks_can_be_switched_and_raised() {
    let folder = tempfile::tempdir().unwrap();
    let source = "/dts-v1/; / { node@1 { }; };";
    let run = |arguments: &[&str]| run(&folder, &[&["--message-format=dtc", "-O", "null"], arguments].concat(), source);
    let warned = run(&[]);
    assert_eq!(warned.status.code(), Some(0));
    assert!(stderr(&warned).contains("Warning (unit_address_vs_reg): /node@1: "), "{}", stderr(&warned));
    assert_eq!(stderr(&run(&["-Wno-unit_address_vs_reg"])), "");
    assert_eq!(stderr(&run(&["-q"])), "");
    assert_eq!(run(&["-E", "unit_address_vs_reg"]).status.code(), Some(2));
    assert_eq!(run(&["-E", "no-such-check"]).status.code(), Some(1));
    assert_eq!(run(&["-W", "always_fail"]).status.code(), Some(0));
}

#[test]
fn formats_convert_and_dependencies_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(path("main one.dts"), "/dts-v1/;\n/include/ \"part.dtsi\"\n#include \"m.h\"\n/ { value = <M>; };\n")
        .unwrap();
    std::fs::write(path("part.dtsi"), "/ { };\n").unwrap();
    std::fs::write(path("m.h"), "#define M N\n").unwrap();
    let arguments = ["-D", "N=7", "-o", "a.dtb", "-d", "a.d", "-S", "1000", "main one.dts"];
    let output = run(&folder, &arguments, "");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(std::fs::read(path("a.dtb")).unwrap().len(), 1000);
    let mut listed: Vec<_> = std::fs::read_to_string(path("a.d"))
        .unwrap()
        .replace("\\ ", "_")
        .split_whitespace()
        .map(String::from)
        .collect();
    listed.sort();
    assert_eq!(listed, ["a.dtb:", "m.h", "main_one.dts", "part.dtsi"]);

    let text = run(&folder, &["a.dtb"], "");
    assert!(String::from_utf8_lossy(&text.stdout).contains("\tvalue = <0x07>;\n"));
    std::fs::create_dir_all(path("tree/node")).unwrap();
    std::fs::write(path("tree/node/reg"), [0, 0, 0, 5]).unwrap();
    let text = run(&folder, &["-q", "-I", "fs", "-O", "dts", "tree"], "");
    assert!(String::from_utf8_lossy(&text.stdout).contains("\tnode {\n\t\treg = <0x05>;\n"), "{}", stderr(&text));
    let text = run(&folder, &["--preprocess=only", "-D", "N=7", "main one.dts"], "");
    assert!(String::from_utf8_lossy(&text.stdout).contains("/ { value = <7>; };"));
}
